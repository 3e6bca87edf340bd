//! Between the types of the wire and those of volumes.

use crate::Status;
use crate::attributes::{Attributes, Kind, SetAttributes, SetTime, Time};
use crate::export::Export;
use crate::volume::Stability;
use holm_nfs_proto::nfs3::{self, Error, FileType, StableHow};

impl Export {
    /// Attributes as they are told to clients.
    pub(super) fn attributes(&self, known: &Attributes) -> nfs3::Attributes {
        nfs3::Attributes {
            file_type: file_type(known.kind),
            mode: known.mode,
            nlink: known.links,
            uid: known.uid,
            gid: known.gid,
            size: known.size,
            used: known.used,
            rdev: nfs3::DeviceNumber { major: known.device.0, minor: known.device.1 },
            fsid: self.file_system(known.file_system),
            fileid: known.inode,
            atime: known.accessed.into(),
            mtime: known.modified.into(),
            ctime: known.changed.into(),
        }
    }
}

/// What the protocol cannot say is the nearest that it can.
impl From<Time> for nfs3::Time {
    fn from(time: Time) -> Self {
        match u32::try_from(time.seconds) {
            Ok(seconds) => Self { seconds, nanoseconds: time.nanoseconds },
            Err(_) if time.seconds < 0 => Self { seconds: 0, nanoseconds: 0 },
            Err(_) => Self { seconds: u32::MAX, nanoseconds: 999_999_999 },
        }
    }
}

impl From<nfs3::Time> for Time {
    fn from(time: nfs3::Time) -> Self {
        Self { seconds: time.seconds.into(), nanoseconds: time.nanoseconds }
    }
}

impl From<nfs3::SetTime> for SetTime {
    fn from(time: nfs3::SetTime) -> Self {
        match time {
            nfs3::SetTime::DontChange => Self::Keep,
            nfs3::SetTime::ServerTime => Self::Server,
            nfs3::SetTime::ClientTime(time) => Self::Client(time.into()),
        }
    }
}

impl From<&nfs3::SetAttributes> for SetAttributes {
    fn from(new: &nfs3::SetAttributes) -> Self {
        Self {
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            size: new.size,
            accessed: new.atime.into(),
            modified: new.mtime.into(),
        }
    }
}

impl From<StableHow> for Stability {
    fn from(how: StableHow) -> Self {
        match how {
            StableHow::Unstable => Self::Unstable,
            StableHow::DataSync => Self::DataSync,
            StableHow::FileSync => Self::FileSync,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match status {
            Status::Perm => Self::Perm,
            Status::NoEnt => Self::NoEnt,
            Status::Io => Self::Io,
            Status::NxIo => Self::NxIo,
            Status::Acces => Self::Acces,
            Status::Exist => Self::Exist,
            Status::XDev => Self::XDev,
            Status::NoDev => Self::NoDev,
            Status::NotDir => Self::NotDir,
            Status::IsDir => Self::IsDir,
            Status::Inval => Self::Inval,
            Status::FBig => Self::FBig,
            Status::NoSpc => Self::NoSpc,
            Status::RoFs => Self::RoFs,
            Status::MLink => Self::MLink,
            Status::NameTooLong => Self::NameTooLong,
            Status::NotEmpty => Self::NotEmpty,
            Status::DQuot => Self::DQuot,
            Status::Stale => Self::Stale,
            Status::Remote => Self::Remote,
            Status::BadHandle => Self::BadHandle,
            Status::NotSync => Self::NotSync,
            Status::BadCookie => Self::BadCookie,
            Status::NotSupp => Self::NotSupp,
            Status::TooSmall => Self::TooSmall,
            Status::ServerFault => Self::ServerFault,
            Status::BadType => Self::BadType,
            Status::Jukebox => Self::JukeBox,
        }
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Regular => FileType::Regular,
        Kind::Directory => FileType::Directory,
        Kind::Block => FileType::Block,
        Kind::Character => FileType::Character,
        Kind::Symlink => FileType::SymLink,
        Kind::Socket => FileType::Socket,
        Kind::Fifo => FileType::Fifo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_same_number_on_the_wire() {
        for &status in Status::ALL {
            assert_eq!(Error::from(status) as u32, status.number(), "{status:?}");
        }
    }

    #[test]
    fn times_that_the_wire_cannot_say_are_the_nearest() {
        let wire = |seconds| nfs3::Time::from(Time { seconds, nanoseconds: 7 });
        assert_eq!(wire(-1), nfs3::Time { seconds: 0, nanoseconds: 0 });
        assert_eq!(wire(1 << 31), nfs3::Time { seconds: 1 << 31, nanoseconds: 7 });
        assert_eq!(wire(1 << 32), nfs3::Time { seconds: u32::MAX, nanoseconds: 999_999_999 });
    }
}
