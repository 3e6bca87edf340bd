//! The files that unix sockets are bound to.

use super::rights;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The file of a socket of ours. Dropping it removes it, if it still is ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// A unix socket that never waits.
pub(super) fn unix_socket(kind: SocketType) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

impl SocketFile {
    /// Binds a socket. A file that a dead process has left is replaced; one that somebody listens at is
    /// not, and neither is any other kind of file.
    pub(super) fn bind(
        socket: impl AsFd,
        kind: SocketType,
        path: &Path,
    ) -> rustix::io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        // Others may do the same at the same time.
        for _ in 0..ATTEMPTS {
            match rustix::net::bind(&socket, &address) {
                Ok(()) => {
                    let inode = identity(&rustix::fs::lstat(path)?);
                    return Ok(Self { path: path.into(), inode });
                }
                Err(Errno::ADDRINUSE) => remove_stale(kind, path, &address)?,
                Err(error) => return Err(error),
            }
        }
        Err(Errno::ADDRINUSE)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let remove = || match rustix::fs::lstat(&self.path) {
            Ok(found) if identity(&found) == self.inode => rustix::fs::unlink(&self.path),
            outcome => outcome.map(drop),
        };
        // A worker may be the last to have it. If it can't be removed, the next one to bind there does.
        let _ = rights::as_server(remove);
    }
}

/// Removes the file at the path if it is of a socket that nobody has.
fn remove_stale(kind: SocketType, path: &Path, address: &SocketAddrUnix) -> rustix::io::Result<()> {
    // While it is held its number is not given to another file.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&found)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
        return Err(Errno::ADDRINUSE);
    }
    match rustix::net::connect(unix_socket(kind)?, address) {
        Err(Errno::CONNREFUSED) => {}
        Err(Errno::NOENT) => return Ok(()),
        // Somebody is there, or it can't be known.
        _ => return Err(Errno::ADDRINUSE),
    }
    // Another may have replaced it meanwhile: what is removed is what was looked at.
    let aside = aside(path);
    match rustix::fs::rename(path, &aside) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    if identity(&rustix::fs::lstat(&aside)?) == identity(&stat) {
        return rustix::fs::unlinkat(CWD, &aside, AtFlags::empty());
    }
    let _ = rustix::fs::renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE);
    Err(Errno::ADDRINUSE)
}

/// A name beside it that nobody else uses.
fn aside(path: &Path) -> PathBuf {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{thread}.stale"));
    path.with_file_name(name)
}

fn identity(stat: &rustix::fs::Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

const ATTEMPTS: usize = 3;
