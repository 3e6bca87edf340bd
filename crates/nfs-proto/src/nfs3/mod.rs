//! NFS version 3 (RFC 1813).
//!
//! Names follow the RFC, without its `3`: `GETATTR3args` is [`GetAttrArgs`], `GETATTR3res` is
//! [`GetAttrRes`], which is an [`Outcome`].
//!
//! - [`attributes`]: what a file is, what it shall become, and what a client needs to keep its
//!   cache right (sections 2.5 and 2.6).
//! - [`files`], [`names`], [`directories`], [`system`]: arguments and results of the procedures
//!   (section 3.3).
//! - [`ReadReply`] and [`DirReply`]: results that are written in place.

pub mod attributes;
mod dir_reply;
pub mod directories;
mod error;
pub mod files;
pub mod names;
mod read_reply;
pub mod system;

pub use attributes::*;
pub use dir_reply::{DirReply, Full, TooSmall, name_of_entry};
pub use directories::*;
pub use error::{Error, Outcome};
pub use files::*;
pub use names::*;
pub use read_reply::{ReadReply, read_head};
pub use system::*;

use holm_xdr::Opaque;

/// The program's number.
pub const PROGRAM: u32 = 100_003;
/// The version that is described here.
pub const VERSION: u32 = 3;
/// The port that it is served on by convention.
pub const PORT: u16 = 2049;

/// Most bytes of a file handle (`NFS3_FHSIZE`).
pub const HANDLE_MAX: u32 = 64;
/// Most bytes of a name that we decode, and of a path; the RFC has no bound.
pub const NAME_MAX: u32 = 65_536;

/// A file, as the server calls it (`nfs_fh3`): at most 64 bytes that mean nothing to the client.
pub type FileHandle<'a> = Opaque<'a, HANDLE_MAX>;
/// A name in a directory (`filename3`): bytes, unchecked.
pub type FileName<'a> = Opaque<'a, NAME_MAX>;
/// The content of a symbolic link (`nfspath3`): bytes, unchecked.
pub type Path<'a> = Opaque<'a, NAME_MAX>;
/// Tells whether cookies of a directory are still good (`cookieverf3`). Zero with cookie 0.
pub type CookieVerifier = [u8; 8];
/// Tells one exclusive CREATE from another (`createverf3`).
pub type CreateVerifier = [u8; 8];
/// Changes whenever uncommitted writes may have been lost (`writeverf3`).
pub type WriteVerifier = [u8; 8];

program! {
    /// The procedures (section 3.3).
    Procedure,
    /// A procedure and its arguments, borrowed from the call: the payload of a WRITE is where it
    /// was received.
    Call<'a> {
        /// Do nothing.
        Null = 0 "NULL",
        /// Get file attributes.
        GetAttr(GetAttrArgs<'a>) = 1 "GETATTR",
        /// Set file attributes.
        SetAttr(SetAttrArgs<'a>) = 2 "SETATTR",
        /// Look up a name.
        Lookup(LookupArgs<'a>) = 3 "LOOKUP",
        /// Check access permission.
        Access(AccessArgs<'a>) = 4 "ACCESS",
        /// Read a symbolic link.
        ReadLink(ReadLinkArgs<'a>) = 5 "READLINK",
        /// Read from a file.
        Read(ReadArgs<'a>) = 6 "READ",
        /// Write to a file.
        Write(WriteArgs<'a>) = 7 "WRITE",
        /// Create a file.
        Create(CreateArgs<'a>) = 8 "CREATE",
        /// Create a directory.
        MkDir(MkDirArgs<'a>) = 9 "MKDIR",
        /// Create a symbolic link.
        SymLink(SymLinkArgs<'a>) = 10 "SYMLINK",
        /// Create a special file.
        MkNod(MkNodArgs<'a>) = 11 "MKNOD",
        /// Remove a file.
        Remove(RemoveArgs<'a>) = 12 "REMOVE",
        /// Remove a directory.
        RmDir(RemoveArgs<'a>) = 13 "RMDIR",
        /// Rename a file or directory.
        Rename(RenameArgs<'a>) = 14 "RENAME",
        /// Create a hard link.
        Link(LinkArgs<'a>) = 15 "LINK",
        /// Read a directory.
        ReadDir(ReadDirArgs<'a>) = 16 "READDIR",
        /// Read a directory, with attributes and handles.
        ReadDirPlus(ReadDirPlusArgs<'a>) = 17 "READDIRPLUS",
        /// Get what changes about a file system.
        FsStat(FsArgs<'a>) = 18 "FSSTAT",
        /// Get what does not change about a file system.
        FsInfo(FsArgs<'a>) = 19 "FSINFO",
        /// Get POSIX limits.
        PathConf(PathConfArgs<'a>) = 20 "PATHCONF",
        /// Commit what was written unstable.
        Commit(CommitArgs<'a>) = 21 "COMMIT",
    }
}

impl Procedure {
    /// Whether doing it again does no harm, so that a retransmission needs no duplicate request
    /// cache. SETATTR does not count: its guard may fail the second time.
    pub const fn is_idempotent(self) -> bool {
        !matches!(
            self,
            Self::SetAttr
                | Self::Create
                | Self::MkDir
                | Self::SymLink
                | Self::MkNod
                | Self::Remove
                | Self::RmDir
                | Self::Rename
                | Self::Link
        )
    }
}
