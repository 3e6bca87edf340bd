//! The sockets that a namespace listens at.

use super::Error;
use crate::model::{ListenSpec, ListenerView, NetnsRef};
use crate::nfs::{Programme, Served};
use holm_nfsd::service::{Listening, Transport};
use holm_pool::{Handle, NsPool};
use holm_sunrpc::server::{ServerLimits, listen, listen_datagrams};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// The sockets of a listener that is not served yet.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) spec: ListenSpec,
    local: SocketAddr,
    streams: TcpListener,
    datagrams: Option<UdpSocket>,
}

impl Sockets {
    /// Binds what a spec asks for.
    pub(super) fn bind(spec: &ListenSpec) -> Result<Self, Error> {
        if let Some(netns) = &spec.netns {
            return Err(Error::Invalid(format!(
                "could not listen at {spec}: this server does not open sockets in {netns}"
            )));
        }
        let (streams, datagrams) = bind(spec.addr, spec.udp).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => ": another program listens there, or another holm",
                ErrorKind::AddrNotAvailable => ": this machine has no such address",
                ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
                _ => "",
            };
            Error::Failed(format!("could not listen at {spec}: {error}{hint}"))
        })?;
        let local = streams.local_addr().map_err(Error::failed)?;
        Ok(Self { spec: spec.clone(), local, streams, datagrams })
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
    handles: Vec<Handle>,
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
    ) -> Result<Self, Error> {
        let Sockets { spec, local, streams, datagrams } = sockets;
        let counted = served.counted();
        let failed = |error| Error::Failed(format!("could not listen at {spec}: {error}"));
        let streams = listen(pool, streams, programmes.streams.clone(), limits, counted.clone());
        let mut this = Self { handles: vec![streams.map_err(failed)?], local, spec: spec.clone() };
        if let Some(socket) = datagrams {
            let programme = programmes.datagrams.clone();
            match listen_datagrams(pool, socket, programme, counted.clone()) {
                Ok(handle) => this.handles.push(handle),
                Err(error) => {
                    this.stop();
                    return Err(failed(error));
                }
            }
        }
        Ok(this)
    }

    /// Closes the sockets, and the connections that came by them.
    pub(super) fn stop(&mut self) {
        for handle in self.handles.drain(..) {
            handle.remove();
        }
    }

    /// What clients are told who ask the port mapper.
    pub(super) fn listening(&self) -> impl Iterator<Item = Listening> + use<> {
        listening(&self.spec, self.local)
    }

    pub(super) fn view(&self) -> ListenerView {
        ListenerView { spec: self.spec.clone(), local: self.local, connections: 0 }
    }

    /// Whether somebody means it by that address, with the port asked for or the port it has.
    pub(super) fn is_at(&self, addr: SocketAddr, netns: Option<&NetnsRef>) -> bool {
        (self.spec.addr == addr || self.local == addr) && self.spec.netns.as_ref() == netns
    }
}

/// Who listens where, over all namespaces.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<Port, Vec<Taken>>);

/// A port, in a kernel network namespace.
type Port = (Option<NetnsRef>, u16);

/// An address of which a port is taken, and by which namespace.
type Taken = (IpAddr, String);

impl Addresses {
    /// The namespace that listens where `spec` would, and its address.
    pub(super) fn overlapping(&self, spec: &ListenSpec) -> Option<(SocketAddr, &str)> {
        let taken = self.0.get(&(spec.netns.clone(), spec.addr.port()))?;
        taken.iter().find_map(|(ip, owner)| {
            let other = SocketAddr::new(*ip, spec.addr.port());
            crate::spec::overlap(spec.addr, other).then_some((other, owner.as_str()))
        })
    }

    pub(super) fn add(&mut self, listener: &Listener, owner: &str) {
        let Listener { spec, local, .. } = listener;
        let taken = self.0.entry((spec.netns.clone(), local.port())).or_default();
        taken.push((local.ip(), owner.to_owned()));
    }

    pub(super) fn remove(&mut self, listener: &Listener) {
        let Listener { spec, local, .. } = listener;
        let key = (spec.netns.clone(), local.port());
        if let Some(taken) = self.0.get_mut(&key) {
            taken.retain(|(ip, _)| *ip != local.ip());
            if taken.is_empty() {
                self.0.remove(&key);
            }
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

/// So many ports are tried where any will do.
const ATTEMPTS: usize = 16;
