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
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

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
        let (bound, owner) = match &spec.netns {
            None => (bind(spec.addr, spec.udp), None),
            Some(netns) => {
                let (bound, owner) = kernel_netns::open(netns, || bind(spec.addr, spec.udp))
                    .map_err(|error| {
                        Error::Failed(format!("could not listen at {spec}: {error}"))
                    })?;
                (bound, Some(owner))
            }
        };
        let (streams, datagrams) = bound.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrNotAvailable if owner.is_some() => {
                    ": there is no such address in there (is its interface up?)"
                }
                ErrorKind::AddrInUse => ": another program listens there, or another holm",
                ErrorKind::AddrNotAvailable => ": this machine has no such address",
                ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
                _ => "",
            };
            Error::Failed(format!("could not listen at {spec}: {error}{hint}"))
        })?;
        let local = streams.local_addr().map_err(Error::failed)?;
        Ok(Self { spec: spec.clone(), local, streams, datagrams, owner })
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
    _watch: Option<Watch>,
}

/// The sockets of a listener that is served.
#[derive(Debug, Clone)]
pub(super) struct Open(Arc<OpenSockets>);

#[derive(Debug)]
struct OpenSockets {
    streams: ListenerHandle,
    datagrams: Option<Handle>,
}

/// What is served at sockets, in every namespace the same.
#[derive(Clone)]
pub(super) struct Programmes {
    pub(super) streams: Arc<Programme>,
    pub(super) datagrams: Arc<Programme>,
}

impl Listener {
    /// Has sockets served from now on.
    pub(super) fn start(
        sockets: Sockets,
        pool: &NsPool,
        served: &Served,
        programmes: &Programmes,
        limits: ServerLimits,
        (ns, owners): (&NsId, &Owners),
    ) -> Result<Self, Error> {
        let Sockets { spec, local, streams, datagrams, owner } = sockets;
        let counted = served.counted();
        let failed =
            |error: std::io::Error| Error::Failed(format!("could not listen at {local}: {error}"));
        let programme = programmes.streams.clone();
        let streams = listen(pool, streams, programme, limits, counted.clone()).map_err(failed)?;
        let programme = programmes.datagrams.clone();
        let datagrams = datagrams
            .map(|socket| listen_datagrams(pool, socket, programme, counted.clone()))
            .transpose()
            .map_err(|error| {
                streams.close();
                failed(error)
            })?;
        let open = Open(Arc::new(OpenSockets { streams, datagrams }));
        let watch = owner.map(|owner| owners.watch(ns, open.clone(), owner));
        let watch = watch.transpose().map_err(|error| {
            open.close();
            failed(error)
        })?;
        Ok(Self { spec, local, open, _watch: watch })
    }

    /// Closes the sockets, and the connections that came by them.
    pub(super) fn close(&self) {
        self.open.close();
    }

    /// Whether these are its sockets.
    pub(super) fn is(&self, open: &Open) -> bool {
        Arc::ptr_eq(&self.open.0, &open.0)
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

    /// Whether somebody means it by that address, with the port asked for or the port it has.
    pub(super) fn is_at(&self, addr: SocketAddr, netns: Option<&NetnsRef>) -> bool {
        (self.spec.addr == addr || self.local == addr) && self.spec.netns.as_ref() == netns
    }
}

impl Open {
    /// Closes them, and the connections that came by them.
    pub(super) fn close(&self) {
        self.0.streams.close();
        if let Some(datagrams) = &self.0.datagrams {
            datagrams.remove();
        }
    }
}

fn listening(spec: &ListenSpec, local: SocketAddr) -> impl Iterator<Item = Listening> + use<> {
    let transports = [Some(Transport::Tcp), spec.udp.then_some(Transport::Udp)];
    transports.into_iter().flatten().map(move |transport| Listening::new(transport, local))
}

/// A stream socket, and a datagram socket at the same address and port.
fn bind(address: SocketAddr, udp: bool) -> std::io::Result<(TcpListener, Option<UdpSocket>)> {
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
