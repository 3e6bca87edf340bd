//! The unix socket of the admin API: where it is, how it is made, and that it goes with the server.

pub use crate::socket_file::Why;

use crate::socket_file::{Shape, SocketFile};
use rustix::fs::Mode;
use rustix::net::SocketType;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Who runs the server may connect, and the kernel holds so many connections for us until we accept them.
const SHAPE: Shape =
    Shape { kind: SocketType::STREAM, mode: Mode::RUSR.union(Mode::WUSR), backlog: 64 };

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the admin socket {path}: {why} (--admin SOCK says where it is)")]
pub struct SocketError {
    /// Which.
    pub path: PathBuf,
    /// What stood in the way, and what to do about it.
    pub why: Why,
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
pub struct Socket(SocketFile);

impl Socket {
    /// Listens at `path`, for the user who we are. Makes its folder if need be; replaces the socket of a
    /// server that is gone.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; what was at `path` is still there then.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |why| SocketError { path: path.into(), why };
        SocketFile::bind(path, SHAPE).map(Self).map_err(failed)
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
        self.0.path()
    }

    /// Where the doors for programs on this machine are if nothing else is said: a folder beside it.
    pub fn doors(&self) -> PathBuf {
        self.path().with_file_name("local")
    }

    /// The same socket, for whoever accepts.
    ///
    /// # Errors
    ///
    /// The system's, if there are no descriptors left.
    pub fn listener(&self) -> std::io::Result<UnixListener> {
        self.0.as_fd().try_clone_to_owned().map(UnixListener::from)
    }
}
