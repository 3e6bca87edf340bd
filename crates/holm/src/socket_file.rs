//! Unix sockets as files: made where nobody listens, put in the place of what a dead server has left, and
//! gone with who made them.

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What stood in the way of a socket.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It is in use.
    #[error("a server answers there; stop it, or choose another path")]
    InUse,
    /// It would overwrite something.
    #[error("what is there is not a socket; remove it, or choose another path")]
    NotASocket,
    /// Whoever may write to the folder could put a socket of their own in our place.
    #[error("others may write to {0}; use a folder that is yours alone")]
    SharedFolder(PathBuf),
    /// The kernel takes no such path for a socket.
    #[error("its path is longer than 107 bytes; choose a shorter one")]
    TooLong,
    /// It has no folder to lie in.
    #[error("this is no path of a file")]
    NoFolder,
    /// What the system said.
    #[error("{0} failed: {1}")]
    System(&'static str, Errno),
}

/// How a socket is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: SocketType,
    /// Who may connect.
    pub(crate) mode: Mode,
    /// So many may wait to be accepted.
    pub(crate) backlog: i32,
}

/// A socket that listens, and blocks nobody. Its file goes when this does.
///
/// Who accepts has [the socket](Self::socket) alone. So a worker, which may act for a caller and without the
/// server's rights, is never the last to have the file, and it is removed by who made it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    socket: Arc<OwnedFd>,
    /// The file is ours as long as it is this one: device and number.
    file: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. Makes its folder if need be, in which others may find what they know the name
    /// of, and no more; replaces the socket of a server that is gone.
    ///
    /// # Errors
    ///
    /// [`Why`]; what was at `path` is still there then.
    pub(crate) fn bind(path: &Path, shape: Shape) -> Result<Self, Why> {
        let address = SocketAddrUnix::new(path).map_err(|error| match error {
            Errno::NAMETOOLONG => Why::TooLong,
            error => Why::System("its address", error),
        })?;
        // Of two servers that start at once, the second looks when the first listens.
        let folder = folder_of(path)?;
        make_folder(folder)?;
        let (_locked, mode) = lock(folder)?;
        if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
            return Err(Why::SharedFolder(folder.into()));
        }
        make_room(path, &address, shape.kind)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, shape.kind, flags, None)
            .map_err(|error| Why::System("socket", error))?;
        rustix::net::bind(&socket, &address).map_err(|error| Why::System("bind", error))?;
        // Nobody can connect before `listen`, whatever the umask is.
        let finish = || {
            let system = |what| move |error| Why::System(what, error);
            rustix::fs::chmod(path, shape.mode).map_err(system("chmod"))?;
            rustix::net::listen(&socket, shape.backlog).map_err(system("listen"))?;
            identity(path).map_err(system("stat"))
        };
        match finish() {
            Ok(file) => Ok(Self { path: path.into(), socket: Arc::new(socket), file }),
            Err(why) => {
                let _ = rustix::fs::unlink(path);
                Err(why)
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, to accept at.
    pub(crate) fn socket(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// Removes the file, so that somebody else may listen there. As long as the socket is open no other
    /// file has its number.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

impl AsFd for SocketFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody replaces it before it is closed, unless somebody has removed the file.
        self.remove();
    }
}

fn folder_of(path: &Path) -> Result<&Path, Why> {
    match path.parent() {
        Some(folder) if folder == Path::new("") => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(Why::NoFolder),
    }
}

/// Makes a folder, and those that it lies in, where they are missing. Nobody else can list it, or lock it;
/// who may connect to a socket in it is said by the socket.
fn make_folder(folder: &Path) -> Result<(), Why> {
    let made = !folder.exists();
    DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(|error| {
        Why::System("making its folder", Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    // Whatever the umask is.
    let mode = Mode::RWXU | Mode::XGRP | Mode::XOTH;
    let opened = if made { rustix::fs::chmod(folder, mode) } else { Ok(()) };
    opened.map_err(|error| Why::System("chmod of its folder", error))
}

/// The folder, locked until the descriptor is dropped, and who may do what in it.
fn lock(folder: &Path) -> Result<(OwnedFd, Mode), Why> {
    let system = |what| move |error| Why::System(what, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let locked =
        rustix::fs::open(folder, flags, Mode::empty()).map_err(system("opening its folder"))?;
    let stat = rustix::fs::fstat(&locked).map_err(system("stat of its folder"))?;
    rustix::fs::flock(&locked, FlockOperation::LockExclusive)
        .map_err(system("locking its folder"))?;
    Ok((locked, Mode::from_raw_mode(stat.st_mode)))
}

/// Removes a socket at which nobody listens.
fn make_room(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), Why> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Why::System("stat", error)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
        Ok(_) => return Err(Why::NotASocket),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
        .map_err(|error| Why::System("socket", error))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            rustix::fs::unlink(path).map_err(|error| Why::System("removing the old one", error))
        }
        // Somebody listens; perhaps more want to talk than there is room for, or in another way.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(Why::InUse),
        Err(error) => Err(Why::System("connect", error)),
    }
}

fn identity(path: &Path) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The folder on the way to `path` that lets nobody else pass, if there is one. Whoever runs the server
/// can pass anyway.
pub(crate) fn closed_folder(path: &Path) -> Option<&Path> {
    let is_closed = |folder: &&Path| {
        std::fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
    };
    path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).find(is_closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_goes_with_who_made_it_and_not_with_who_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let shape = Shape { kind: SocketType::STREAM, mode: Mode::RWXU, backlog: 1 };
        let file = SocketFile::bind(&path, shape).unwrap();
        let accepts = file.socket();
        std::thread::spawn({
            let accepts = file.socket();
            move || drop(accepts)
        })
        .join()
        .unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
        drop(accepts);
    }
}
