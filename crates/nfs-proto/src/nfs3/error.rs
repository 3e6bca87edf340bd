//! How a procedure ends.

use holm_xdr::{Decode, Encode};

/// What a procedure failed with (`nfsstat3` without `NFS3_OK`; section 2.6). The message is for
/// people; the name on the wire is [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Encode, Decode)]
#[repr(i32)]
pub enum Error {
    /// Neither owner nor privileged (EPERM).
    #[error("operation not permitted")]
    Perm = 1,
    /// No such file or directory (ENOENT).
    #[error("no such file or directory")]
    NoEnt = 2,
    /// A hard error of the device (EIO).
    #[error("input/output error")]
    Io = 5,
    /// No such device or address (ENXIO).
    #[error("no such device or address")]
    NxIo = 6,
    /// Permission denied (EACCES).
    #[error("permission denied")]
    Acces = 13,
    /// The file exists (EEXIST).
    #[error("file exists")]
    Exist = 17,
    /// A hard link or rename across file systems (EXDEV).
    #[error("across file systems")]
    XDev = 18,
    /// No such device (ENODEV).
    #[error("no such device")]
    NoDev = 19,
    /// Not a directory (ENOTDIR).
    #[error("not a directory")]
    NotDir = 20,
    /// A directory (EISDIR).
    #[error("is a directory")]
    IsDir = 21,
    /// An argument that is invalid or not supported for the object (EINVAL).
    #[error("invalid argument")]
    Inval = 22,
    /// Beyond the greatest file size (EFBIG).
    #[error("file too large")]
    FBig = 27,
    /// No space left (ENOSPC).
    #[error("no space left on device")]
    NoSpc = 28,
    /// A read-only file system (EROFS).
    #[error("read-only file system")]
    RoFs = 30,
    /// Too many hard links (EMLINK).
    #[error("too many links")]
    MLink = 31,
    /// A name too long (ENAMETOOLONG).
    #[error("file name too long")]
    NameTooLong = 63,
    /// A directory that is not empty (ENOTEMPTY).
    #[error("directory not empty")]
    NotEmpty = 66,
    /// The quota is used up (EDQUOT).
    #[error("disk quota exceeded")]
    DQuot = 69,
    /// The file of that handle is gone, or access to it was revoked (ESTALE).
    #[error("stale file handle")]
    Stale = 70,
    /// Too many levels of remote in a path (EREMOTE).
    #[error("too many levels of remote")]
    Remote = 71,
    /// No handle of this server.
    #[error("bad file handle")]
    BadHandle = 10_001,
    /// The guard of a SETATTR did not match.
    #[error("changed since it was looked at")]
    NotSync = 10_002,
    /// The cookie of a READDIR is stale.
    #[error("stale directory cookie")]
    BadCookie = 10_003,
    /// The server does not do that.
    #[error("not supported")]
    NotSupp = 10_004,
    /// The client's buffer is too small.
    #[error("buffer too small")]
    TooSmall = 10_005,
    /// An error that has no better name.
    #[error("server fault")]
    ServerFault = 10_006,
    /// A type of file that the server cannot create.
    #[error("type not supported")]
    BadType = 10_007,
    /// It takes long: the client shall ask again, with a new transaction.
    #[error("try again later")]
    JukeBox = 10_008,
}

impl Error {
    /// Its name in RFC 1813.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Perm => "NFS3ERR_PERM",
            Self::NoEnt => "NFS3ERR_NOENT",
            Self::Io => "NFS3ERR_IO",
            Self::NxIo => "NFS3ERR_NXIO",
            Self::Acces => "NFS3ERR_ACCES",
            Self::Exist => "NFS3ERR_EXIST",
            Self::XDev => "NFS3ERR_XDEV",
            Self::NoDev => "NFS3ERR_NODEV",
            Self::NotDir => "NFS3ERR_NOTDIR",
            Self::IsDir => "NFS3ERR_ISDIR",
            Self::Inval => "NFS3ERR_INVAL",
            Self::FBig => "NFS3ERR_FBIG",
            Self::NoSpc => "NFS3ERR_NOSPC",
            Self::RoFs => "NFS3ERR_ROFS",
            Self::MLink => "NFS3ERR_MLINK",
            Self::NameTooLong => "NFS3ERR_NAMETOOLONG",
            Self::NotEmpty => "NFS3ERR_NOTEMPTY",
            Self::DQuot => "NFS3ERR_DQUOT",
            Self::Stale => "NFS3ERR_STALE",
            Self::Remote => "NFS3ERR_REMOTE",
            Self::BadHandle => "NFS3ERR_BADHANDLE",
            Self::NotSync => "NFS3ERR_NOT_SYNC",
            Self::BadCookie => "NFS3ERR_BAD_COOKIE",
            Self::NotSupp => "NFS3ERR_NOTSUPP",
            Self::TooSmall => "NFS3ERR_TOOSMALL",
            Self::ServerFault => "NFS3ERR_SERVERFAULT",
            Self::BadType => "NFS3ERR_BADTYPE",
            Self::JukeBox => "NFS3ERR_JUKEBOX",
        }
    }
}

/// The result of a procedure: a union over `nfsstat3` of what it gives and what it says when it
/// failed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome<T, F = ()> {
    /// `NFS3_OK`.
    #[xdr(case = 0)]
    Ok(T),
    /// Anything else.
    #[xdr(default)]
    Failed(Error, F),
}

impl<T, F> Outcome<T, F> {
    /// As a `Result`, without what comes with a failure.
    ///
    /// # Errors
    /// What the procedure failed with.
    pub fn into_result(self) -> Result<T, Error> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Failed(error, _) => Err(error),
        }
    }
}
