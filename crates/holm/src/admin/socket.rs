//! The unix socket of the admin API: where it is, how it is made, and that it goes with the server.

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Connections that the kernel holds for us until we accept them.
const BACKLOG: i32 = 64;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the admin socket {path}: {why}")]
pub struct SocketError {
    /// Which.
    pub path: PathBuf,
    /// What stood in the way, and what to do about it.
    pub why: Why,
}

/// What stood in the way of a socket.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It is in use.
    #[error("a server answers there; stop it, or choose another socket with --admin")]
    InUse,
    /// It would overwrite something.
    #[error("what is there is not a socket; remove it, or choose another socket with --admin")]
    NotASocket,
    /// Whoever may write to the folder could put a socket of their own in our place.
    #[error("others may write to {0}; use a folder that is yours alone")]
    SharedFolder(PathBuf),
    /// The kernel takes no such path for a socket.
    #[error("its path is longer than 107 bytes; choose a shorter one with --admin")]
    TooLong,
    /// It has no folder to lie in.
    #[error("this is no path of a file")]
    NoFolder,
    /// What the system said.
    #[error("{0} failed: {1}")]
    System(&'static str, Errno),
}

/// Neither the system nor the caller says where the socket is.
#[derive(Debug, thiserror::Error)]
#[error("XDG_RUNTIME_DIR does not say where the admin socket is; use --admin SOCK")]
pub struct NoDefault;

/// Where the socket is if nothing else is said.
///
/// # Errors
///
/// For an ordinary user without a folder for such things.
pub fn default_path() -> Result<PathBuf, NoDefault> {
    if rustix::process::geteuid().is_root() {
        return Ok("/run/holm/admin.sock".into());
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match folder.filter(|folder| folder.is_absolute()) {
        Some(folder) => Ok(folder.join("holm/admin.sock")),
        None => Err(NoDefault),
    }
}

/// A socket that listens. Its file goes when this does.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// The file is ours as long as it is this one: device and number.
    file: (u64, u64),
}

impl Socket {
    /// Listens at `path`, for the user who we are. Makes its folder if need be, for that user alone;
    /// replaces the socket of a server that is gone.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; what was at `path` is still there then.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |why| SocketError { path: path.into(), why };
        let (listener, file) = bind(path).map_err(failed)?;
        Ok(Self { path: path.into(), listener, file })
    }

    /// Listens at `path`, or where one is looked for if nothing is said; then there is none if it
    /// can't be, and the log says why: a server that nobody configured serves all the same.
    ///
    /// # Errors
    ///
    /// [`SocketError`], for a path that was said.
    pub fn choose(path: Option<&Path>) -> Result<Option<Self>, SocketError> {
        if let Some(path) = path {
            return Self::bind(path).map(Some);
        }
        let bound = match default_path() {
            Ok(path) => Self::bind(&path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Ok(bound.inspect_err(|why| tracing::info!("no admin socket: {why}")).ok())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same socket, for whoever accepts.
    ///
    /// # Errors
    ///
    /// The system's, if there are no descriptors left.
    pub fn listener(&self) -> std::io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever replaced the file has done so under the folder's lock.
        let Ok((_locked, _)) = folder_of(&self.path).and_then(lock) else { return };
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

fn bind(path: &Path) -> Result<(UnixListener, (u64, u64)), Why> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => Why::TooLong,
        error => Why::System("its address", error),
    })?;
    // Of two servers that start at once, the second looks when the first listens.
    let folder = folder_of(path)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        Why::System("making its folder", Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    let (_locked, mode) = lock(folder)?;
    if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(Why::SharedFolder(folder.into()));
    }
    make_room(path, &address)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| Why::System("socket", error))?;
    rustix::net::bind(&socket, &address).map_err(|error| Why::System("bind", error))?;
    // Nobody can connect before `listen`, whatever the umask is.
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Why::System("chmod", error))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| Why::System("listen", error))?;
    let file = identity(path).map_err(|error| Why::System("stat", error))?;
    Ok((socket.into(), file))
}

fn folder_of(path: &Path) -> Result<&Path, Why> {
    match path.parent() {
        Some(folder) if folder == Path::new("") => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(Why::NoFolder),
    }
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
fn make_room(path: &Path, address: &SocketAddrUnix) -> Result<(), Why> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Why::System("stat", error)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
        Ok(_) => return Err(Why::NotASocket),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| Why::System("socket", error))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            rustix::fs::unlink(path).map_err(|error| Why::System("removing the old one", error))
        }
        // Somebody listens; perhaps more want to talk than there is room for.
        Ok(()) | Err(Errno::AGAIN) => Err(Why::InUse),
        Err(error) => Err(Why::System("connect", error)),
    }
}

fn identity(path: &Path) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}
