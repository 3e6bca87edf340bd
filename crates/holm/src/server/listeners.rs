//! The sockets that a namespace listens at.

use super::Error;
use super::owners::Owners;
use crate::kernel_netns::{self, Owner, Watch};
use crate::model::{ListenSpec, ListenerView, NetnsRef};
use crate::nfs::{Programme, Served};
use holm_netns::NsId;
use holm_nfsd::service::{Listening, Transport};
use holm_pool::{Handle, NsPool};
use holm_sunrpc::server::{ListenerHandle, ServerLimits, listen, listen_datagrams};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sockets of a listener that is not served yet.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) spec: ListenSpec,
    local: SocketAddr,
    streams: TcpListener,
    datagrams: Option<UdpSocket>,
    owner: Option<Owner>,
}

impl Sockets {
    /// Binds what a spec asks for.
    pub(super) fn bind(spec: &ListenSpec) -> Result<Self, Error> {
        let udp = spec.udp;
        let ((streams, datagrams), owner) = within(spec, || bind(spec.addr, udp))?;
        let local = streams.local_addr().map_err(Error::failed)?;
        Ok(Self { spec: spec.clone(), local, streams, datagrams, owner })
    }

    /// Has sockets that are shared with a listener fit a spec for the same address.
    pub(super) fn fit(mut self, spec: &ListenSpec) -> Result<Self, Error> {
        if !spec.udp {
            self.datagrams = None;
        } else if self.datagrams.is_none() {
            self.datagrams = Some(datagrams_beside(spec, self.local, self.owner.as_ref())?);
        }
        self.spec = spec.clone();
        Ok(self)
    }

    /// What clients are told who ask the port mapper.
    pub(super) fn listening(&self) -> impl Iterator<Item = Listening> + use<> {
        listening(&self.spec, self.local)
    }
}

/// A listener that is served.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) spec: ListenSpec,
    pub(super) local: SocketAddr,
    open: Open,
    /// In whose network namespace it is.
    watch: Option<Watch>,
}

/// The sockets of a listener that is served.
#[derive(Debug, Clone)]
pub(super) struct Open(Arc<OpenSockets>);

#[derive(Debug)]
struct OpenSockets {
    streams: ListenerHandle,
    /// None once they are closed.
    shared: Mutex<Option<Shared>>,
}

/// Descriptors of what is served, so that another namespace can take it over.
#[derive(Debug)]
struct Shared {
    streams: Arc<TcpListener>,
    datagrams: Option<Datagrams>,
}

/// A datagram socket that is served.
#[derive(Debug)]
pub(super) struct Datagrams {
    handle: Handle,
    shared: Arc<UdpSocket>,
}

/// A listener that stays, with other options.
#[derive(Debug)]
pub(super) struct Retained<D> {
    pub(super) open: Open,
    pub(super) spec: ListenSpec,
    /// A datagram socket that it did not have.
    pub(super) datagrams: Option<D>,
}

/// What is served at sockets, in every namespace the same.
#[derive(Clone)]
pub(super) struct Programmes {
    pub(super) streams: Arc<Programme>,
    pub(super) datagrams: Arc<Programme>,
    /// The same at the namespace's own interfaces.
    pub(super) own_streams: Arc<Programme>,
    pub(super) own_datagrams: Arc<Programme>,
}

impl Listener {
    /// Has the pool serve sockets. Connections wait in the kernel until
    /// [`set_limits`](Self::set_limits) lets them in: what is not in force yet answers nobody, who may
    /// come for the listener that had the sockets.
    pub(super) fn start(
        sockets: Sockets,
        pool: &NsPool,
        served: &Served,
        programmes: &Programmes,
        (ns, owners): (&NsId, &Owners),
    ) -> Result<Self, Error> {
        let Sockets { spec, local, streams, datagrams, owner } = sockets;
        let failed = |error: io::Error| failed(&spec, &error);
        let streams = Arc::new(streams);
        let shared = streams.clone();
        let programme = programmes.streams.clone();
        let shut = ServerLimits { connections: 0, ..ServerLimits::default() };
        let streams =
            listen(pool, streams, programme, shut, served.counted().clone()).map_err(failed)?;
        let open = OpenSockets {
            streams,
            shared: Mutex::new(Some(Shared { streams: shared, datagrams: None })),
        };
        let open = Open(Arc::new(open));
        let rest = || {
            if let Some(socket) = datagrams {
                open.set_datagrams(Some(Datagrams::start(socket, pool, served, programmes)?));
            }
            owner.map(|owner| owners.watch(ns, open.clone(), owner)).transpose()
        };
        let watch = rest().map_err(|error| {
            open.close();
            failed(error)
        })?;
        Ok(Self { spec, local, open, watch })
    }

    /// The sockets once more, for another namespace that is to listen there when this goes.
    pub(super) fn share(&self) -> Result<Sockets, Error> {
        let failed = |error: io::Error| failed(&self.spec, &error);
        let gone = || Error::Failed(format!("the listener at {} has gone meanwhile", self.spec));
        let open = self.open.shared();
        let shared = open.as_ref().ok_or_else(gone)?;
        let datagrams = shared.datagrams.as_ref().map(|datagrams| datagrams.shared.try_clone());
        Ok(Sockets {
            spec: self.spec.clone(),
            local: self.local,
            streams: shared.streams.try_clone().map_err(failed)?,
            datagrams: datagrams.transpose().map_err(failed)?,
            owner: self.owner()?,
        })
    }

    /// What it takes to be as a spec for the same address says.
    pub(super) fn retain(&self, spec: &ListenSpec) -> Result<Retained<Missing>, Error> {
        let missing = Missing { local: self.local, owner: self.owner()? };
        let datagrams = (spec.udp && !self.spec.udp).then_some(missing);
        Ok(Retained { open: self.open.clone(), spec: spec.clone(), datagrams })
    }

    /// In whose network namespace it is.
    fn owner(&self) -> Result<Option<Owner>, Error> {
        let owner = self.watch.as_ref().map(Watch::owner).transpose();
        owner.map_err(|error| failed(&self.spec, &error))
    }

    /// Changes its options.
    pub(super) fn become_as(&mut self, spec: ListenSpec, datagrams: Option<Datagrams>) {
        if datagrams.is_some() || !spec.udp {
            self.open.set_datagrams(datagrams);
        }
        self.spec = spec;
    }

    /// Closes the sockets, and the connections that came by them.
    pub(super) fn close(&self) {
        self.open.close();
    }

    /// Lets the sockets go; the connections that came by them end with their namespace.
    pub(super) fn stop(&self) {
        self.open.stop();
    }

    /// Whether its sockets are closed, as they are when the owner of its network namespace has left.
    pub(super) fn is_closed(&self) -> bool {
        self.open.shared().is_none()
    }

    /// Its sockets.
    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    /// Whether these are its sockets.
    pub(super) fn is(&self, open: &Open) -> bool {
        self.open.is(open)
    }

    /// For connections from now on.
    pub(super) fn set_limits(&self, limits: ServerLimits) {
        self.open.0.streams.set_limits(limits);
    }

    /// What clients are told who ask the port mapper.
    pub(super) fn listening(&self) -> impl Iterator<Item = Listening> + use<> {
        listening(&self.spec, self.local)
    }

    pub(super) fn view(&self) -> ListenerView {
        ListenerView {
            spec: self.spec.clone(),
            local: self.local,
            connections: self.open.0.streams.connections(),
        }
    }

    /// Whether it has that address.
    pub(super) fn has(&self, addr: SocketAddr, netns: Option<&NetnsRef>) -> bool {
        self.local == addr && self.spec.netns.as_ref() == netns
    }

    /// Whether somebody means it by that address, with the port asked for or the port it has.
    pub(super) fn is_at(&self, addr: SocketAddr, netns: Option<&NetnsRef>) -> bool {
        (self.spec.addr == addr || self.local == addr) && self.spec.netns.as_ref() == netns
    }
}

impl Open {
    /// Closes them, and the connections that came by them.
    pub(super) fn close(&self) {
        self.0.streams.close();
        self.stop();
    }

    fn stop(&self) {
        self.0.streams.stop();
        let shared = self.shared().take();
        if let Some(datagrams) = shared.and_then(|shared| shared.datagrams) {
            datagrams.close();
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// In the place of those that there were; closed at once where the others are.
    fn set_datagrams(&self, datagrams: Option<Datagrams>) {
        let old = match &mut *self.shared() {
            Some(shared) => std::mem::replace(&mut shared.datagrams, datagrams),
            None => datagrams,
        };
        if let Some(old) = old {
            old.close();
        }
    }

    fn shared(&self) -> MutexGuard<'_, Option<Shared>> {
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Datagrams {
    /// Has a socket served from now on.
    pub(super) fn start(
        socket: UdpSocket,
        pool: &NsPool,
        served: &Served,
        programmes: &Programmes,
    ) -> io::Result<Self> {
        let (shared, programme) = (Arc::new(socket), programmes.datagrams.clone());
        let handle = listen_datagrams(pool, shared.clone(), programme, served.counted().clone())?;
        Ok(Self { handle, shared })
    }

    pub(super) fn close(self) {
        self.handle.remove();
    }
}

/// A datagram socket that is to be bound where a listener is.
#[derive(Debug)]
pub(super) struct Missing {
    local: SocketAddr,
    owner: Option<Owner>,
}

impl Retained<Missing> {
    /// Binds what is missing.
    pub(super) fn bind(self) -> Result<Retained<UdpSocket>, Error> {
        let Self { open, spec, datagrams } = self;
        let bind = |it: Missing| datagrams_beside(&spec, it.local, it.owner.as_ref());
        let datagrams = datagrams.map(bind).transpose()?;
        Ok(Retained { open, spec, datagrams })
    }
}

impl Retained<UdpSocket> {
    /// Has what was bound served.
    pub(super) fn start(
        self,
        pool: &NsPool,
        served: &Served,
        programmes: &Programmes,
    ) -> Result<Retained<Datagrams>, Error> {
        let Self { open, spec, datagrams } = self;
        let start = |socket| Datagrams::start(socket, pool, served, programmes);
        let datagrams = datagrams.map(start).transpose().map_err(|error| failed(&spec, &error))?;
        Ok(Retained { open, spec, datagrams })
    }
}

fn listening(spec: &ListenSpec, local: SocketAddr) -> impl Iterator<Item = Listening> + use<> {
    let transports = [Some(Transport::Tcp), spec.udp.then_some(Transport::Udp)];
    transports.into_iter().flatten().map(move |transport| Listening::new(transport, local))
}

/// A datagram socket at the address of a listener that has none, where its owner still is.
fn datagrams_beside(
    spec: &ListenSpec,
    local: SocketAddr,
    owner: Option<&Owner>,
) -> Result<UdpSocket, Error> {
    let (socket, _) = within(spec, || UdpSocket::bind(local))?;
    // Whoever has come in its place is listened for in vain.
    match owner.and_then(Owner::left) {
        Some(left) => Err(Error::Failed(format!("could not listen at {spec}: {left}"))),
        None => Ok(socket),
    }
}

/// Binds something in the network namespace of a spec.
fn within<T: Send>(
    spec: &ListenSpec,
    bind: impl FnOnce() -> io::Result<T> + Send,
) -> Result<(T, Option<Owner>), Error> {
    let (bound, owner) = match &spec.netns {
        None => (bind(), None),
        Some(netns) => {
            let (bound, owner) = kernel_netns::open(netns, bind)
                .map_err(|error| Error::Failed(format!("could not listen at {spec}: {error}")))?;
            (bound, Some(owner))
        }
    };
    match bound {
        Ok(bound) => Ok((bound, owner)),
        Err(error) => Err(failed(spec, &error)),
    }
}

fn failed(spec: &ListenSpec, error: &io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::AddrNotAvailable if spec.netns.is_some() => {
            ": there is no such address in there (is its interface up?)"
        }
        ErrorKind::AddrInUse => ": another program listens there, or another holm",
        ErrorKind::AddrNotAvailable => ": this machine has no such address",
        ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    Error::Failed(format!("could not listen at {spec}: {error}{hint}"))
}

/// A stream socket, and a datagram socket at the same address and port.
fn bind(address: SocketAddr, udp: bool) -> io::Result<(TcpListener, Option<UdpSocket>)> {
    let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
    loop {
        let streams = TcpListener::bind(address)?;
        // Once more, with more room: the standard library's is soon full when many clients come back
        // at a time, and then they wait for a second.
        rustix::net::listen(&streams, BACKLOG)?;
        if !udp {
            return Ok((streams, None));
        }
        attempts -= 1;
        match UdpSocket::bind(streams.local_addr()?) {
            Ok(datagrams) => return Ok((streams, Some(datagrams))),
            // Somebody else's datagrams come to the port that happened to be free for streams.
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// So many connections may wait to be accepted, if the system lets them.
const BACKLOG: i32 = 4096;
/// So many ports are tried where any will do.
const ATTEMPTS: usize = 16;
