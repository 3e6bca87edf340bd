//! Joins the TCP/IP stacks of a namespace and its RPC server: what is served at the namespace's own
//! addresses.

use crate::nfs::Programme;
use bytes::Bytes;
use holm_ifnet::stack::{self, NsStacks, Offered};
use holm_netns::Namespace;
use holm_nfs_proto::portmap;
use holm_nfsd::service::{Listening, Transport};
use holm_pool::{NsPool, PoolSubsystem};
use holm_sunrpc::server::{
    self, Counted, ListenerHandle, Received, ServerLimits, Wake, receive_arrivals, serve_datagrams,
};
use holm_xdr::Encoder;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The port of NFS.
const NFS: u16 = 2049;
/// What a namespace serves at all addresses of its own interfaces, until this is dropped.
pub struct AtOwnLinks {
    _offered: Vec<Offered>,
    arrivals: ListenerHandle,
}

impl AtOwnLinks {
    /// Has the programs of the namespace answer on the ports of NFS and of the port mapper. Connections
    /// wait until [`set_limits`](Self::set_limits) lets them in.
    ///
    /// # Errors
    ///
    /// The namespace goes.
    pub fn serve(
        ns: &Namespace,
        pool: &NsPool,
        stacks: &NsStacks,
        streams: &Arc<Programme>,
        datagrams: &Arc<Programme>,
        counted: &Arc<Counted>,
    ) -> io::Result<Self> {
        let shut = ServerLimits { connections: 0, ..ServerLimits::default() };
        let (listener, arrivals) = receive_arrivals(pool, streams.clone(), shut, counted.clone())?;
        let arrivals = Arc::new(arrivals);
        let mut offered = Vec::new();
        for port in [NFS, portmap::PORT] {
            let arrivals = arrivals.clone();
            let accept = move |stream| arrivals.arrive(Stream(stream));
            offered.push(stacks.listen(port, accept)?);
            let (ns, datagrams, counted) = (ns.clone(), datagrams.clone(), counted.clone());
            let bound = move |socket| {
                let Some(inside) = ns.enter() else { return };
                let Some(pool) = inside.get::<PoolSubsystem>() else { return };
                // Refused if the namespace goes; then the socket does, too.
                let _ =
                    serve_datagrams(pool, Datagrams(socket), datagrams.clone(), counted.clone());
            };
            offered.push(stacks.bind(port, bound)?);
        }
        Ok(Self { _offered: offered, arrivals: listener })
    }

    /// For connections from now on.
    pub fn set_limits(&self, limits: ServerLimits) {
        self.arrivals.set_limits(limits);
    }

    /// What clients are told who ask the port mapper, of all programs but itself.
    pub fn listening() -> impl Iterator<Item = Listening> {
        [Transport::Tcp, Transport::Udp]
            .into_iter()
            .map(|transport| Listening::at_own_links(transport, NFS))
    }
}

impl fmt::Debug for AtOwnLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtOwnLinks").field("arrivals", &self.arrivals).finish_non_exhaustive()
    }
}

/// A connection of a stack's.
struct Stream(stack::Stream);

impl server::Transport for Stream {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&self, wake: Wake) {
        self.0.set_wake(wake);
    }

    fn want(&self, bytes: usize) {
        self.0.want(bytes);
    }

    fn peer(&self) -> SocketAddr {
        self.0.peer()
    }

    fn local(&self) -> SocketAddr {
        self.0.local()
    }

    fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        self.0.receive(space)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn keeps(&self) -> bool {
        true
    }

    fn keep(&self, reply: Encoder) -> (Bytes, Encoder) {
        let (memory, length) = reply.into_memory();
        let (kept, other) = self.0.keep(memory, length);
        (kept, Encoder::in_memory(other))
    }

    fn send_kept(&self, reply: &Bytes, from: usize) -> io::Result<usize> {
        self.0.send_kept(reply, from)
    }

    fn end(&self) {
        self.0.end();
    }

    fn abort(&self) {
        self.0.abort();
    }
}

/// A datagram socket of a stack's.
struct Datagrams(stack::Datagrams);

impl server::Datagrams for Datagrams {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&self, wake: Wake) {
        self.0.set_wake(wake);
    }

    fn receive(&self, space: &mut [u8]) -> io::Result<Received> {
        let stack::Received { count, from, to } = self.0.receive(space)?;
        Ok(Received { count, from, to })
    }

    fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<usize> {
        self.0.send(from, to, bytes).map(|()| bytes.len())
    }
}
