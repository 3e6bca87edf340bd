//! A datagram socket as a source of the pool.

use super::addressed::Addressed;
use super::listener::into_io;
use super::{Counted, Peer, Service, Wake};
use crate::{Framing, Served};
use holm_lifetime::sync::Arc;
use holm_pool::{Handle, Next, NsPool, Source, Turn};
use holm_xdr::Encoder;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;

/// Has the pool serve the calls that come in datagrams, one each.
///
/// What is no call is dropped, as is a reply that finds no room. A peer may forge whom a datagram is
/// from, so only programs whose replies are not much longer than the calls belong here.
///
/// # Errors
/// When the socket can't be made not to block, or the pool does not take it.
pub fn listen_datagrams<S: Service>(
    pool: &NsPool,
    socket: impl Into<std::sync::Arc<UdpSocket>>,
    service: Arc<S>,
    counted: Arc<Counted>,
) -> io::Result<Handle> {
    let socket = socket.into();
    socket.set_nonblocking(true)?;
    serve_datagrams(pool, Addressed::new(socket)?, service, counted)
}

/// The same for datagrams that the kernel has nothing to do with.
///
/// # Errors
/// The pool does not take it.
pub fn serve_datagrams<S: Service>(
    pool: &NsPool,
    socket: impl Datagrams,
    service: Arc<S>,
    counted: Arc<Counted>,
) -> io::Result<Handle> {
    let source = Arc::new(Calls { socket, service, counted });
    let handle = pool.add(source.clone()).map_err(into_io)?;
    if source.socket.fd().is_none() {
        let waker = handle.clone();
        source.socket.wake_by(std::sync::Arc::new(move || waker.wake()));
        // It may have ended before.
        handle.wake();
    }
    Ok(handle)
}

/// Datagrams that come and go, and never wait.
pub trait Datagrams: Send + Sync + 'static {
    /// The descriptor whose events tell of it; none if its owner wakes the source.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Has `wake` called when a datagram has come, or none will come any more; and at once. Asked for
    /// once, of one without a descriptor.
    fn wake_by(&self, wake: Wake) {
        let _ = wake;
    }

    /// Receives a datagram into the front of `space`; what is longer is cut off.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `NotConnected` when there will be none any more; any other is about
    /// one datagram.
    fn receive(&self, space: &mut [u8]) -> io::Result<Received>;

    /// Sends a datagram from an address of ours.
    ///
    /// # Errors
    /// It was not sent.
    fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<usize>;
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it.
    pub count: usize,
    /// Who says to have sent it.
    pub from: SocketAddr,
    /// Our address and port that it was sent to.
    pub to: SocketAddr,
}

struct Calls<D, S> {
    socket: D,
    service: Arc<S>,
    counted: Arc<Counted>,
}

/// Longer ones do not exist (RFC 768).
const LONGEST: usize = 1 << 16;

/// What a worker serves datagrams with.
struct Buffers {
    call: Vec<u8>,
    reply: Encoder,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { call: vec![0; LONGEST], reply: Encoder::new() }
    }
}

impl<D: Datagrams, S: Service> Source for Calls<D, S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.fd()
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let mut buffers = turn.scratch::<Buffers>();
        let Buffers { call, reply } = &mut *buffers;
        while turn.left() > 0 {
            let Received { count, from, to } = match self.socket.receive(call) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Next::Done,
                // Such as a port that an earlier reply did not find.
                Err(_) => {
                    turn.charge(1);
                    continue;
                }
            };
            turn.charge(1);
            reply.clear();
            let call = call.get(..count).unwrap_or_default();
            let peer = Peer { address: from, local: to, datagram: true };
            let served = self.service.with_context(turn, peer, |context| {
                self.service.programs().serve(context, call, Framing::Datagram, reply)
            });
            let mut sent = 0;
            if let Some(Ok(Served::Now)) = served {
                sent = self.socket.send(reply, to, from).unwrap_or(0);
            }
            self.counted.turn(u64::from(matches!(served, Some(Ok(_)))), count, sent);
        }
        Next::More
    }
}
