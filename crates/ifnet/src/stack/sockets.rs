//! What the users of a stack hold.

use super::connection::{Connection, ConnectionId, Ends};
use super::kept::Spares;
use super::link::Stack;
use super::udp::Bound;
use super::{Wake, machine::Machine};
use bytes::Bytes;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection. Nothing that is done with it waits.
///
/// Dropped, it sends what it has to and then ends; if something was not received, it is reset.
pub struct Stream {
    stack: Arc<Stack>,
    id: ConnectionId,
    ends: Ends,
}

impl Stream {
    pub(super) fn new(stack: Arc<Stack>, id: ConnectionId, ends: Ends) -> Self {
        Self { stack, id, ends }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.ends.peer
    }

    /// At which of our addresses.
    pub fn local(&self) -> SocketAddr {
        self.ends.local
    }

    /// Has `wake` called whenever there is something new to be received, or room after there was none,
    /// or the connection has come to an end; and at once. Without it nobody is told.
    pub fn set_wake(&self, wake: Wake) {
        let first = wake.clone();
        // The one before may own something of this stack, and is dropped when it is not locked.
        drop(self.with(|connection| connection.wake.replace(wake)));
        first();
    }

    /// From now on, something to be received is new when there are so many bytes of it, or half of what
    /// there is room for; whoever is woken sooner could do nothing with it. If that much is there,
    /// [`wake`](Self::set_wake) is called at once.
    pub fn want(&self, bytes: usize) {
        self.with(|connection| connection.want(bytes));
    }

    /// Receives what is there, into the front of `space`. 0: the peer sends no more.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing; any other ends the connection.
    pub fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        let mut received = 0;
        // Others wait for the stack meanwhile.
        for part in space.chunks_mut(AT_ONCE) {
            match self.with(|connection| connection.receive(part)).unwrap_or(Err(reset())) {
                Ok(count) => {
                    received += count;
                    if count < part.len() {
                        break;
                    }
                }
                // It is said again.
                Err(_) if received > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }

    /// Sends as much as there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; any other ends the connection.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|connection| connection.send(bytes)).unwrap_or(Err(reset()))
    }

    /// Makes the first bytes of some memory, so many of them, what can be [sent](Self::send_kept) without being
    /// copied, and gives other memory for it: what came back of such memory, or none.
    pub fn keep(&self, memory: Vec<u8>, length: usize) -> (Bytes, Vec<u8>) {
        let spares = self.with(|connection| connection.spares().clone());
        spares.unwrap_or_else(|| Spares::new(0)).exchange(memory, length)
    }

    /// Sends as much as there is room for, from that byte on. The memory is kept until the peer has it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_kept(&self, memory: &Bytes, from: usize) -> io::Result<usize> {
        self.with(|connection| connection.send_kept(memory, from)).unwrap_or(Err(reset()))
    }

    /// Ends both directions, after what was sent.
    pub fn end(&self) {
        self.with(Connection::end);
    }

    /// Resets the connection: what is unsent is given up.
    pub fn abort(&self) {
        self.with(Connection::abort);
    }

    fn with<R>(&self, f: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        self.stack.with(self.id, f)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stack.run(|machine, now| machine.leave(now, self.id));
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({} from {})", self.local(), self.peer())
    }
}

/// Bytes that are received from a connection before another is looked at.
const AT_ONCE: usize = 128 << 10;

fn reset() -> io::Error {
    ErrorKind::ConnectionReset.into()
}

/// A port at which connections are taken, until this is dropped. Those that were made go on.
pub struct Listener {
    stack: Arc<Stack>,
    at: Bound,
}

impl Listener {
    pub(super) fn new(stack: Arc<Stack>, at: Bound) -> Self {
        Self { stack, at }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stack.run(|machine, now| machine.unlisten(now, self.at));
    }
}

/// A port at which datagrams are received, until this is dropped. What has come and is not taken is
/// bounded; more is dropped.
pub struct Datagrams {
    stack: Arc<Stack>,
    at: Bound,
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its bytes.
    pub count: usize,
    /// Who says to have sent it.
    pub from: SocketAddr,
    /// To which of our addresses: an answer comes from there.
    pub to: SocketAddr,
}

impl Datagrams {
    pub(super) fn new(stack: Arc<Stack>, at: Bound) -> Self {
        Self { stack, at }
    }

    /// Has `wake` called whenever something has come; at once, if something is there.
    pub fn set_wake(&self, wake: Wake) {
        self.stack.run(|machine, _| machine.set_datagram_wake(self.at, wake));
    }

    /// Receives the next, into the front of `space`; what does not fit is lost.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; any other: there will be none.
    pub fn receive(&self, space: &mut [u8]) -> io::Result<Received> {
        let received = self.stack.run(|machine: &mut Machine, _| machine.receive_datagram(self.at));
        let received = received?;
        let count = received.payload.len().min(space.len());
        for (to, byte) in space.iter_mut().zip(&received.payload) {
            *to = *byte;
        }
        Ok(Received { count, from: received.from, to: received.to })
    }

    /// Sends one from an address of ours.
    ///
    /// # Errors
    ///
    /// The address is not ours, `to` is no station, or it is longer than the link carries.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        self.stack.run(|machine, now| machine.send_datagram(now, from, to, payload))
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stack.run(|machine, _| machine.unbind(self.at));
    }
}
