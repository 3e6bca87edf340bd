//! What is known of an object, and what a caller wants changed.

use crate::{Result, sys};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use std::os::fd::BorrowedFd;

/// What an object is (RFC 1813: `ftype3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

impl Kind {
    pub(crate) fn from_file_type(file_type: FileType) -> Option<Self> {
        match file_type {
            FileType::RegularFile => Some(Self::Regular),
            FileType::Directory => Some(Self::Directory),
            FileType::BlockDevice => Some(Self::Block),
            FileType::CharacterDevice => Some(Self::Character),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Socket => Some(Self::Socket),
            FileType::Fifo => Some(Self::Fifo),
            _ => None,
        }
    }
}

/// A point in time as the file system stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl From<StatxTimestamp> for Time {
    fn from(time: StatxTimestamp) -> Self {
        Self { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
    }
}

/// The attributes of an object at one moment (RFC 1813: `fattr3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Permissions with set-uid, set-gid and sticky: 12 bits.
    pub mode: u32,
    /// Hard links. None is left of an object that was removed while it was open: answer
    /// [`Status::Stale`](crate::Status::Stale) for it.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes of storage in use; less than `size` for a sparse file.
    pub used: u64,
    /// Major and minor number, of a device.
    pub device: (u32, u32),
    /// Major and minor number of the file system it is on.
    pub file_system: (u32, u32),
    /// The inode number.
    pub inode: u64,
    /// Last read.
    pub accessed: Time,
    /// Contents last changed.
    pub modified: Time,
    /// Attributes or contents last changed; a caller cannot set it.
    pub changed: Time,
}

impl Attributes {
    /// Asks the file system about an open object; the descriptor may be `O_PATH`.
    pub fn of(object: BorrowedFd<'_>) -> Result<Self> {
        Self::from_statx(&sys::statx(object, StatxFlags::BASIC_STATS)?)
    }

    /// Whether a read of `count` bytes at `offset` came to the end of the file.
    pub fn ends_at(&self, offset: u64, count: usize) -> bool {
        offset.saturating_add(count as u64) >= self.size
    }

    pub(crate) fn from_statx(statx: &Statx) -> Result<Self> {
        let mode = u32::from(statx.stx_mode);
        let kind = Kind::from_file_type(FileType::from_raw_mode(mode))
            .ok_or(crate::Status::ServerFault)?;
        Ok(Self {
            kind,
            mode: mode & 0o7777,
            links: statx.stx_nlink,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            size: statx.stx_size,
            used: statx.stx_blocks.saturating_mul(512),
            device: (statx.stx_rdev_major, statx.stx_rdev_minor),
            file_system: (statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            accessed: statx.stx_atime.into(),
            modified: statx.stx_mtime.into(),
            changed: statx.stx_ctime.into(),
        })
    }
}

/// What to do with a time stamp (RFC 1813: `set_atime`, `set_mtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The server's clock, now.
    Server,
    /// What the client says.
    Client(Time),
}

/// Attributes to change; what is `None` stays (RFC 1813: `sattr3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permissions with set-uid, set-gid and sticky; further bits are ignored.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The length in bytes: cut off, or extended with zeros.
    pub size: Option<u64>,
    /// Last read.
    pub accessed: SetTime,
    /// Contents last changed.
    pub modified: SetTime,
}

impl SetAttributes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(crate) const EMPTY_PATH: AtFlags = AtFlags::EMPTY_PATH;
