//! The socket that is the door, and who is let in.

use super::LocalClients;
use super::connection::Connection;
use super::credentials::{Credentials, credentials};
use super::overdue::Overdue;
use super::socket::Socket;
use crate::nfs::Served;
use crate::socket_file::{Shape, SocketFile, Why, closed_folder};
use holm_nfsd::localio::{Line, PeerCredentials};
use holm_pool::{Handle, Next, NsPool, PoolSubsystem, Source, Turn};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, accept_with};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A door that nobody answers at yet. Its file goes with it.
#[derive(Debug)]
pub(crate) struct DoorFile(SocketFile);

/// A door at which a namespace answers.
#[derive(Debug)]
pub(crate) struct Door {
    file: SocketFile,
    handle: Handle,
}

/// A door could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make the door {}: {why}", path.display())]
pub(crate) struct BindError {
    path: PathBuf,
    pub(crate) why: Why,
}

impl DoorFile {
    /// Makes the socket, in a folder that is made if need be. Everybody may connect: the kernel says who it
    /// is, and then it is seen who may.
    pub(crate) fn bind(path: &Path, users: &BTreeSet<u32>) -> Result<Self, BindError> {
        let failed = |why| BindError { path: path.into(), why };
        let file = SocketFile::bind(path, SHAPE).map_err(failed)?;
        let own = [0, rustix::process::geteuid().as_raw()];
        if let Some(folder) = closed_folder(path)
            && users.iter().any(|user| !own.contains(user))
        {
            tracing::warn!(
                door = %path.display(),
                "other users may come by the door and can't reach it: {} lets nobody pass (chmod o+x, or \
                 choose another socket)",
                folder.display()
            );
        }
        Ok(Self(file))
    }
}

impl Door {
    /// Has whoever comes let in from now on, if the rules are so.
    pub(crate) fn start(file: DoorFile, pool: &NsPool, served: &Served) -> io::Result<Self> {
        let clients = served.local().clone();
        if clients.overdue.get().is_none() {
            let handle = pool.add(Arc::new(Overdue(clients.clone()))).map_err(io::Error::other)?;
            if let Err(another) = clients.overdue.set(handle) {
                another.remove();
            }
        }
        let DoorFile(file) = file;
        let listener = Listener { socket: file.socket(), clients };
        let handle = pool.add(Arc::new(listener)).map_err(io::Error::other)?;
        Ok(Self { file, handle })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Nobody comes in any more, and somebody else may have a door there. Who is in stays.
    pub(crate) fn close(&self) {
        self.file.remove();
        self.handle.remove();
    }
}

struct Listener {
    socket: Arc<OwnedFd>,
    clients: Arc<LocalClients>,
}

impl Source for Listener {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        while turn.left() > 0 {
            match accept_with(&*self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => {
                    turn.charge(1);
                    self.arrive(turn, socket);
                }
                Err(Errno::AGAIN) => return Next::Idle,
                // What a connection died of: accept(2).
                Err(Errno::INTR | Errno::CONNABORTED) => turn.charge(1),
                Err(_) => {
                    // It waits in the kernel, and there is no event for it any more.
                    turn.wake_at(Instant::now().checked_add(SHORTAGE));
                    return Next::Idle;
                }
            }
        }
        Next::More
    }
}

impl Listener {
    /// Lets somebody in, or not: then the end of the connection is all that is said.
    fn arrive(&self, turn: &Turn<'_>, socket: OwnedFd) {
        let Some(service) = self.clients.service() else { return };
        let Some(pool) = turn.contents().get::<PoolSubsystem>() else { return };
        let socket = Arc::new(Socket::new(socket));
        let who = match credentials(&*socket) {
            Ok(Credentials { pid, uid, gid, groups }) => PeerCredentials { pid, uid, gid, groups },
            Err(error) => return tracing::debug!(%error, "the kernel does not say who came"),
        };
        let session = match service.local().arrive(who, ToClient(socket.clone())) {
            Ok(session) => session,
            Err(why) => return tracing::debug!(%why, "somebody was sent away at the door"),
        };
        if let Err(error) = Connection::begin(socket, session, &self.clients, pool) {
            // The namespace goes, or there are too many sources.
            tracing::debug!(%error, "somebody could not be served at the door");
        }
    }
}

/// What a session says its messages to.
struct ToClient(Arc<Socket>);

impl Line for ToClient {
    fn send(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.0.send(message, file)
    }

    fn end(&self) {
        self.0.end();
    }
}

/// Everybody may connect.
const SHAPE: Shape =
    Shape { kind: SocketType::SEQPACKET, mode: Mode::from_raw_mode(0o666), backlog: 128 };
/// After this long it is tried again where the machine had no descriptor or memory left.
const SHORTAGE: Duration = Duration::from_millis(100);
