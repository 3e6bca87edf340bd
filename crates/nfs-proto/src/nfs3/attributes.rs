//! What a file is, and what it shall become (RFC 1813, sections 2.5 and 2.6).

use super::{FileHandle, FileName};
use holm_xdr::{Decode, Encode, FixedSize};

/// The type of a file (`ftype3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(i32)]
pub enum FileType {
    /// A regular file.
    Regular = 1,
    /// A directory.
    Directory = 2,
    /// A block device.
    Block = 3,
    /// A character device.
    Character = 4,
    /// A symbolic link.
    SymLink = 5,
    /// A socket.
    Socket = 6,
    /// A named pipe.
    Fifo = 7,
}

/// A point in time (`nfstime3`), since the beginning of 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Time {
    /// Seconds.
    pub seconds: u32,
    /// Nanoseconds; whoever sends it keeps below 1,000,000,000, which decoding does not check.
    pub nanoseconds: u32,
}

/// The number of a device (`specdata3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct DeviceNumber {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// The attributes of a file (`fattr3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Attributes {
    /// What it is.
    pub file_type: FileType,
    /// Permission bits with set-uid, set-gid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes that it takes on the device.
    pub used: u64,
    /// Which device it stands for, if it is one.
    pub rdev: DeviceNumber,
    /// The file system.
    pub fsid: u64,
    /// The file's number within the file system.
    pub fileid: u64,
    /// When it was last read.
    pub atime: Time,
    /// When it was last written.
    pub mtime: Time,
    /// When its attributes last changed.
    pub ctime: Time,
}

impl FixedSize for Attributes {
    const SIZE: usize = 84;
}

/// Attributes after an operation, if the server could get them (`post_op_attr`).
pub type PostOpAttributes = Option<Attributes>;

/// What a client needs of the attributes before an operation, to tell whether somebody else
/// changed the file in between (`wcc_attr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct WccAttributes {
    /// Bytes in the file.
    pub size: u64,
    /// When it was last written.
    pub mtime: Time,
    /// When its attributes last changed.
    pub ctime: Time,
}

impl From<&Attributes> for WccAttributes {
    fn from(attributes: &Attributes) -> Self {
        Self { size: attributes.size, mtime: attributes.mtime, ctime: attributes.ctime }
    }
}

/// Weak cache consistency data: around an operation (`wcc_data`). `before` may be there only if
/// nobody else could change the file between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct WccData {
    /// Before (`pre_op_attr`).
    pub before: Option<WccAttributes>,
    /// After.
    pub after: PostOpAttributes,
}

/// What SETATTR and the creating procedures shall set (`sattr3`); `None` leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// When it was last read.
    pub atime: SetTime,
    /// When it was last written.
    pub mtime: SetTime,
}

/// How a time shall be set (`set_atime`, `set_mtime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub enum SetTime {
    /// Not at all.
    #[default]
    #[xdr(case = 0)]
    DontChange,
    /// To the server's time.
    #[xdr(case = 1)]
    ServerTime,
    /// To this time.
    #[xdr(case = 2)]
    ClientTime(Time),
}

/// A name in a directory (`diropargs3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct DirOpArgs<'a> {
    /// The directory.
    pub dir: FileHandle<'a>,
    /// The name in it.
    pub name: FileName<'a>,
}
