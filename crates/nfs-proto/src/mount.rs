//! MOUNT version 3 (RFC 1813, appendix I): from a path to the first file handle.

use crate::nfs3::FileHandle;
use holm_xdr::{Array, Decode, Encode, List, Opaque};

/// The program's number.
pub const PROGRAM: u32 = 100_005;
/// The version that is described here.
pub const VERSION: u32 = 3;

/// Most bytes of a path (`MNTPATHLEN`).
pub const PATH_MAX: u32 = 1024;
/// Most bytes of a host's or group's name (`MNTNAMLEN`).
pub const NAME_MAX: u32 = 255;
/// Most entries of a list, and most authentication flavors, that a client takes.
pub const LIST_MAX: u32 = 65_536;

/// A directory of the server (`dirpath`).
pub type DirPath<'a> = Opaque<'a, PATH_MAX>;
/// The name of a host or of a group of hosts (`name`).
pub type Name<'a> = Opaque<'a, NAME_MAX>;

program! {
    /// The procedures.
    Procedure,
    /// A procedure and its arguments.
    Call<'a> {
        /// Do nothing.
        Null = 0 "NULL",
        /// Get the handle of a path, and be listed as having mounted it.
        Mnt(DirPath<'a>) = 1 "MNT",
        /// Who has mounted what: [`DumpRes`].
        Dump = 2 "DUMP",
        /// Be listed no longer for that path. No result.
        Umnt(DirPath<'a>) = 3 "UMNT",
        /// Be listed no longer at all. No result.
        UmntAll = 4 "UMNTALL",
        /// What can be mounted by whom: [`ExportRes`].
        Export = 5 "EXPORT",
    }
}

/// What MNT failed with (`mountstat3` without `MNT3_OK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Encode, Decode)]
#[repr(i32)]
pub enum Error {
    /// Not permitted (EPERM).
    #[error("operation not permitted")]
    Perm = 1,
    /// No such directory (ENOENT).
    #[error("no such file or directory")]
    NoEnt = 2,
    /// A hard error of the device (EIO).
    #[error("input/output error")]
    Io = 5,
    /// Not for this client (EACCES).
    #[error("permission denied")]
    Acces = 13,
    /// Not a directory (ENOTDIR).
    #[error("not a directory")]
    NotDir = 20,
    /// Not a path that can be mounted (EINVAL).
    #[error("invalid argument")]
    Inval = 22,
    /// A path too long (ENAMETOOLONG).
    #[error("file name too long")]
    NameTooLong = 63,
    /// The server does not do that.
    #[error("not supported")]
    NotSupp = 10_004,
    /// An error that has no better name.
    #[error("server fault")]
    ServerFault = 10_006,
}

/// The result of MNT (`mountres3`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MountRes<'a> {
    /// `MNT3_OK`.
    #[xdr(case = 0)]
    Ok(MountOk<'a>),
    /// Anything else.
    #[xdr(default)]
    Failed(Error),
}

/// What MNT gives (`mountres3_ok`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MountOk<'a> {
    /// The directory.
    pub handle: FileHandle<'a>,
    /// The RPC authentication flavors that it can be used with, the best first.
    pub flavors: Array<u32, LIST_MAX>,
}

/// One mount (`mountbody`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MountEntry<'a> {
    /// By whom.
    pub host: Name<'a>,
    /// What.
    pub directory: DirPath<'a>,
}

/// The result of DUMP (`mountlist`).
pub type DumpRes<'a> = List<MountEntry<'a>, LIST_MAX>;

/// One export (`exportnode`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExportEntry<'a> {
    /// What can be mounted.
    pub directory: DirPath<'a>,
    /// By whom: hosts, networks or groups as people write them; everybody, if there are none.
    pub groups: List<Name<'a>, LIST_MAX>,
}

/// The result of EXPORT (`exports`).
pub type ExportRes<'a> = List<ExportEntry<'a>, LIST_MAX>;
