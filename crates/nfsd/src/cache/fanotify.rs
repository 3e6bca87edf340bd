//! The kernel's notices about inodes, in the form in which they name inodes by handle.

#![allow(unsafe_code)]

use crate::sys::{self, HANDLE_IDENTIFIER};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the kernel calls an inode: file system and handle, as bytes.
pub(super) type Inode = Box<[u8]>;

/// A group of watched inodes, and the queue of what happened to them.
#[derive(Debug)]
pub(super) struct Fanotify(OwnedFd);

/// What a read of the queue gave.
pub(super) enum Notice<'b> {
    /// Something happened to this inode.
    Changed(&'b [u8]),
    /// Something happened, and it is not known to what.
    Lost,
}

/// Attributes, permissions and the number of links; and being moved elsewhere.
const MASK: u64 = libc::FAN_ATTRIB | libc::FAN_MOVE_SELF;

impl Fanotify {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags =
            libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        match init(flags | libc::FAN_UNLIMITED_MARKS) {
            // Not privileged: with a limit, then.
            Err(Errno::PERM) => init(flags),
            other => other,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Watches an open file. The kernel may forget it when nobody has it open any more.
    pub(super) fn add(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.mark(libc::FAN_MARK_ADD | libc::FAN_MARK_EVICTABLE, file)
    }

    /// Watches it no longer.
    pub(super) fn remove(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.mark(libc::FAN_MARK_REMOVE, file)
    }

    /// Reads what has happened, as far as it fits.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> Result<Notices<'b>, Errno> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(count) => return Ok(Notices(buffer.get(..count).unwrap_or_default())),
            }
        }
    }

    fn mark(&self, action: libc::c_uint, file: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: without a path the call takes numbers only.
        let result = unsafe {
            libc::fanotify_mark(
                self.0.as_raw_fd(),
                action,
                MASK,
                file.as_raw_fd(),
                std::ptr::null(),
            )
        };
        if result == 0 { Ok(()) } else { Err(last_error()) }
    }
}

/// How the kernel will call an open file in its notices.
pub(super) fn inode(file: BorrowedFd<'_>) -> Result<Inode, Errno> {
    let file_system = rustix::fs::fstatvfs(file)?.f_fsid;
    let handle = sys::name_to_handle(file, HANDLE_IDENTIFIER)?;
    let mut bytes = Vec::with_capacity(FSID + 8 + handle.bytes().len());
    // Two numbers of 32 bits, which the system call's wrapper has put into one of 64.
    bytes.extend((file_system as u32).to_ne_bytes());
    bytes.extend(((file_system >> 32) as u32).to_ne_bytes());
    bytes.extend((handle.bytes().len() as u32).to_ne_bytes());
    bytes.extend(handle.kind.to_ne_bytes());
    bytes.extend(handle.bytes());
    Ok(bytes.into())
}

/// Walks over what was read.
pub(super) struct Notices<'b>(&'b [u8]);

impl Notices<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'b> Iterator for Notices<'b> {
    type Item = Notice<'b>;

    fn next(&mut self) -> Option<Notice<'b>> {
        if self.0.is_empty() {
            return None;
        }
        let (notice, rest) = parse(self.0).unwrap_or((Notice::Lost, &[]));
        self.0 = rest;
        Some(notice)
    }
}

/// `struct fanotify_event_metadata`, then `struct fanotify_event_info_fid`: header, file system,
/// handle.
fn parse(bytes: &[u8]) -> Option<(Notice<'_>, &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let metadata = usize::from(u16_at(bytes, 6)?);
    let mask = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    if length < METADATA || metadata > length {
        return None;
    }
    let (event, rest) = bytes.split_at_checked(length)?;
    if mask & libc::FAN_Q_OVERFLOW != 0 {
        return Some((Notice::Lost, rest));
    }
    let information = event.get(metadata..)?;
    if information.first() != Some(&libc::FAN_EVENT_INFO_TYPE_FID) {
        return None;
    }
    let handle_length = u32_at(information, INFO_HEADER + FSID)? as usize;
    let end = handle_length.checked_add(INFO_HEADER + FSID + 8)?;
    Some((Notice::Changed(information.get(INFO_HEADER..end)?), rest))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

const METADATA: usize = 24;
const INFO_HEADER: usize = 4;
const FSID: usize = 8;

fn init(flags: libc::c_uint) -> Result<Fanotify, Errno> {
    let events = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE) as libc::c_uint;
    // SAFETY: the call takes numbers only.
    let descriptor = unsafe { libc::fanotify_init(flags, events) };
    if descriptor < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Fanotify(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

fn last_error() -> Errno {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_read_is_walked_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Notices(&bytes).count() <= bytes.len());
        }
    }
}
