//! A datagram socket as a source of the pool.

use super::addressed::{Addressed, Received};
use super::listener::into_io;
use super::{Counted, Peer, Service};
use crate::{Framing, Served};
use holm_lifetime::sync::Arc;
use holm_pool::{Handle, Next, NsPool, Source, Turn};
use holm_xdr::Encoder;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

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
    let socket = Addressed::new(socket)?;
    pool.add(Arc::new(Datagrams { socket, service, counted })).map_err(into_io)
}

struct Datagrams<S> {
    socket: Addressed,
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

impl<S: Service> Source for Datagrams<S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let mut buffers = turn.scratch::<Buffers>();
        let Buffers { call, reply } = &mut *buffers;
        while turn.left() > 0 {
            let Received { count, from, to } = match self.socket.receive(call) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
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
