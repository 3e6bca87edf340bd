//! What an operation answers when it does not succeed.

use rustix::io::Errno;

/// The errors of NFSv3, with their numbers on the wire (RFC 1813, section 2.6: `nfsstat3`).
///
/// Success is not among them: it is the `Ok` of a [`Result`](crate::Result).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u32)]
pub enum Status {
    /// The caller is neither owner nor privileged.
    #[error("not owner")]
    Perm = 1,
    /// There is no such name.
    #[error("no such file or directory")]
    NoEnt = 2,
    /// The disk failed.
    #[error("input or output error")]
    Io = 5,
    /// The device does not exist.
    #[error("no such device or address")]
    NxIo = 6,
    /// The caller may not.
    #[error("permission denied")]
    Acces = 13,
    /// The name exists.
    #[error("file exists")]
    Exist = 17,
    /// A link or rename across file systems.
    #[error("different file systems")]
    XDev = 18,
    /// The device does not do this.
    #[error("no such device")]
    NoDev = 19,
    /// A directory was needed.
    #[error("not a directory")]
    NotDir = 20,
    /// A directory cannot be used so.
    #[error("is a directory")]
    IsDir = 21,
    /// An argument makes no sense, or not for this kind of object.
    #[error("invalid argument")]
    Inval = 22,
    /// The file would be too large.
    #[error("file too large")]
    FBig = 27,
    /// The file system is full.
    #[error("no space left")]
    NoSpc = 28,
    /// The file system or export is read-only.
    #[error("read-only file system")]
    RoFs = 30,
    /// Too many hard links.
    #[error("too many links")]
    MLink = 31,
    /// The name is too long.
    #[error("name too long")]
    NameTooLong = 63,
    /// The directory is not empty.
    #[error("directory not empty")]
    NotEmpty = 66,
    /// The quota is used up.
    #[error("quota exceeded")]
    DQuot = 69,
    /// The handle was good once; what it named is gone, or gone from the export.
    #[error("stale file handle")]
    Stale = 70,
    /// Too many levels of remote.
    #[error("too many levels of remote")]
    Remote = 71,
    /// The handle was never one of ours.
    #[error("bad file handle")]
    BadHandle = 10001,
    /// The guard of a SETATTR did not match.
    #[error("attributes changed since")]
    NotSync = 10002,
    /// A directory cookie that means nothing (any more).
    #[error("bad directory cookie")]
    BadCookie = 10003,
    /// The file system does not do this.
    #[error("not supported")]
    NotSupp = 10004,
    /// The reply does not fit into the space that the client gave.
    #[error("buffer too small")]
    TooSmall = 10005,
    /// The server could not, for a reason of its own.
    #[error("server fault")]
    ServerFault = 10006,
    /// The kind of object cannot be created here.
    #[error("type not supported")]
    BadType = 10007,
    /// Not now: ask again later.
    #[error("try again later")]
    Jukebox = 10008,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::Perm,
        Self::NoEnt,
        Self::Io,
        Self::NxIo,
        Self::Acces,
        Self::Exist,
        Self::XDev,
        Self::NoDev,
        Self::NotDir,
        Self::IsDir,
        Self::Inval,
        Self::FBig,
        Self::NoSpc,
        Self::RoFs,
        Self::MLink,
        Self::NameTooLong,
        Self::NotEmpty,
        Self::DQuot,
        Self::Stale,
        Self::Remote,
        Self::BadHandle,
        Self::NotSync,
        Self::BadCookie,
        Self::NotSupp,
        Self::TooSmall,
        Self::ServerFault,
        Self::BadType,
        Self::Jukebox,
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}

impl From<Errno> for Status {
    /// The meaning that fits most operations; those for which it does not fit look first.
    fn from(errno: Errno) -> Self {
        match errno {
            // The second: an encrypted directory without its key.
            Errno::PERM | Errno::NOKEY => Self::Perm,
            Errno::NOENT => Self::NoEnt,
            // A disk, a damaged file system, a file system in user space that ended meanwhile.
            Errno::IO
            | Errno::REMOTEIO
            | Errno::NODATA
            | Errno::UCLEAN
            | Errno::BADMSG
            | Errno::CONNABORTED => Self::Io,
            Errno::NXIO => Self::NxIo,
            // A running program, a mount point: it may last, so the client is not told to wait.
            Errno::ACCESS | Errno::TXTBSY | Errno::BUSY => Self::Acces,
            Errno::EXIST => Self::Exist,
            Errno::XDEV => Self::XDev,
            Errno::NODEV => Self::NoDev,
            Errno::NOTDIR => Self::NotDir,
            Errno::ISDIR => Self::IsDir,
            // Names that the file system cannot store; symbolic links where none may be.
            Errno::INVAL | Errno::ILSEQ | Errno::LOOP | Errno::DOM => Self::Inval,
            Errno::FBIG | Errno::OVERFLOW => Self::FBig,
            Errno::NOSPC => Self::NoSpc,
            Errno::ROFS => Self::RoFs,
            Errno::MLINK => Self::MLink,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::DQUOT => Self::DQuot,
            Errno::STALE | Errno::NOTCONN | Errno::SHUTDOWN => Self::Stale,
            Errno::REMOTE => Self::Remote,
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY => Self::NotSupp,
            // Shortages pass: descriptors, memory, leases, signals, a network behind the files.
            Errno::AGAIN
            | Errno::INTR
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOLCK
            | Errno::TIMEDOUT => Self::Jukebox,
            _ => Self::ServerFault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_that_a_file_system_call_documents_has_a_meaning() {
        let documented = [
            libc::EPERM,
            libc::ENOENT,
            libc::EINTR,
            libc::EIO,
            libc::ENXIO,
            libc::EAGAIN,
            libc::ENOMEM,
            libc::EACCES,
            libc::EBUSY,
            libc::EEXIST,
            libc::EXDEV,
            libc::ENODEV,
            libc::ENOTDIR,
            libc::EISDIR,
            libc::EINVAL,
            libc::ENFILE,
            libc::EMFILE,
            libc::ETXTBSY,
            libc::EFBIG,
            libc::ENOSPC,
            libc::EROFS,
            libc::EMLINK,
            libc::ENAMETOOLONG,
            libc::ENOTEMPTY,
            libc::ELOOP,
            libc::EOVERFLOW,
            libc::EOPNOTSUPP,
            libc::ENOSYS,
            libc::EDQUOT,
            libc::ESTALE,
            libc::ENOTCONN,
            // What file systems give though no page of the manual says so.
            libc::EUCLEAN,
            libc::EBADMSG,
            libc::ENODATA,
            libc::ENOKEY,
            libc::EREMOTEIO,
            libc::ETIMEDOUT,
            libc::EREMOTE,
            libc::EILSEQ,
            libc::ECONNABORTED,
            libc::ESHUTDOWN,
            libc::ENOLCK,
            libc::ENOBUFS,
        ];
        for number in documented {
            let status = Status::from(Errno::from_raw_os_error(number));
            assert_ne!(status, Status::ServerFault, "errno {number}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_wire() {
        assert_eq!(Status::Stale.number(), 70);
        assert_eq!(Status::NameTooLong.number(), 63);
        assert_eq!(Status::BadHandle.number(), 10001);
        assert_eq!(Status::Jukebox.number(), 10008);
    }
}
