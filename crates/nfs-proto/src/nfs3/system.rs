//! Procedures on a file system: FSSTAT, FSINFO, PATHCONF.

use super::{FileHandle, Outcome, PostOpAttributes, Time};
use holm_xdr::{Decode, Encode};

/// FSSTAT, section 3.3.18, and FSINFO, section 3.3.19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FsArgs<'a> {
    /// A file of the file system; the root of the mount as a rule.
    pub fs_root: FileHandle<'a>,
}

/// What FSSTAT gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FsStatOk {
    /// The attributes of the file.
    pub object_attributes: PostOpAttributes,
    /// Bytes in the file system.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes free for this caller.
    pub available_bytes: u64,
    /// Files that the file system can have.
    pub total_files: u64,
    /// How many more it can have.
    pub free_files: u64,
    /// How many more this caller can create.
    pub available_files: u64,
    /// For how many seconds this is not expected to change.
    pub invariant_seconds: u32,
}

/// The result of FSSTAT; with a failure the attributes of the file.
pub type FsStatRes = Outcome<FsStatOk, PostOpAttributes>;

/// What FSINFO gives. All sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FsInfoOk {
    /// The attributes of the file.
    pub object_attributes: PostOpAttributes,
    /// Most that a READ gives.
    pub read_max: u32,
    /// What a READ had best ask for.
    pub read_preferred: u32,
    /// What the size of a READ had best be a multiple of.
    pub read_multiple: u32,
    /// Most that a WRITE takes.
    pub write_max: u32,
    /// What a WRITE had best bring.
    pub write_preferred: u32,
    /// What the size of a WRITE had best be a multiple of.
    pub write_multiple: u32,
    /// What a READDIR had best ask for.
    pub dir_preferred: u32,
    /// The greatest size of a file.
    pub max_file_size: u64,
    /// How fine the server's times are.
    pub time_delta: Time,
    /// Bits of [`properties`].
    pub properties: u32,
}

/// The result of FSINFO; with a failure the attributes of the file.
pub type FsInfoRes = Outcome<FsInfoOk, PostOpAttributes>;

/// What a file system can do (`FSF3_…`).
pub mod properties {
    /// Hard links.
    pub const LINK: u32 = 0x01;
    /// Symbolic links.
    pub const SYMLINK: u32 = 0x02;
    /// PATHCONF says the same of all its files.
    pub const HOMOGENEOUS: u32 = 0x08;
    /// SETATTR can set times to the client's.
    pub const CAN_SET_TIME: u32 = 0x10;
}

/// PATHCONF, section 3.3.20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PathConfArgs<'a> {
    /// A file of the file system.
    pub object: FileHandle<'a>,
}

/// What PATHCONF gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PathConfOk {
    /// The attributes of the file.
    pub object_attributes: PostOpAttributes,
    /// Most hard links of a file.
    pub link_max: u32,
    /// Most bytes of a name.
    pub name_max: u32,
    /// Whether a longer name is refused, not cut.
    pub no_trunc: bool,
    /// Whether only the privileged may change the owner of a file.
    pub chown_restricted: bool,
    /// Whether names that differ only in case are the same.
    pub case_insensitive: bool,
    /// Whether the case of a name is kept.
    pub case_preserving: bool,
}

/// The result of PATHCONF; with a failure the attributes of the file.
pub type PathConfRes = Outcome<PathConfOk, PostOpAttributes>;
