//! A server: programs on sockets, run by the service pool.
//!
//! A [`Service`] is what a namespace serves: its programs, and what a call of one is given. Sockets
//! come from outside, bound and in whatever network they belong to; [`listen`] gives a stream listener
//! to the pool, [`listen_datagrams`] a datagram socket. From then on both, and every connection that
//! is accepted, are sources of the namespace: they go with it, and the [limits](ServerLimits) hold
//! for all of them together.
//!
//! All that is ready on a connection is received at once, served, and sent at once, by the worker that
//! was told of it. When a peer does not take its replies nothing more is received from it, so what
//! waits for it is bounded by [`Limits::unsent`](crate::Limits::unsent) and one call. All connections of
//! a namespace together keep no more than [`ServerLimits::memory`] of calls that have not arrived whole
//! and replies that were not taken.

mod accepted;
mod addressed;
mod arrivals;
mod connection;
mod datagrams;
mod laden;
mod limits;
mod listener;
mod replies;
mod transport;

pub use accepted::ListenerHandle;
pub use arrivals::{Arrivals, receive_arrivals};
pub use datagrams::{Datagrams, Received, listen_datagrams, serve_datagrams};
pub use limits::{Counted, Counters, ServerLimits};
pub use listener::listen;
pub use transport::{Transport, Wake};

use crate::Programs;
use holm_pool::Turn;
use std::net::SocketAddr;

/// What a namespace serves.
pub trait Service: Send + Sync + 'static {
    /// What every call of a program is given.
    type Context;

    /// The programs.
    fn programs(&self) -> &Programs<Self::Context>;

    /// Whether a peer may connect at all. One that may not is reset before it takes one of the
    /// [connections](ServerLimits::connections), and before anything is received from it; it is asked
    /// once for each connection, and not for datagrams. Whoever is asked must not wait.
    fn admits(&self, turn: &Turn<'_>, peer: SocketAddr) -> bool {
        let _ = (turn, peer);
        true
    }

    /// Makes the context of the calls that a peer has ready, on the worker that serves them, and calls
    /// `serve` with it. The namespace is there for as long as this lasts. What `serve` has answered is
    /// sent afterwards. `None`: there is no context to be had, or nothing may be answered; the
    /// connection is closed, and nothing is sent.
    fn with_context<R>(
        &self,
        turn: &Turn<'_>,
        peer: Peer,
        serve: impl FnOnce(&mut Self::Context) -> R,
    ) -> Option<R>;
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its address and port.
    pub address: SocketAddr,
    /// Ours, at which it has reached us.
    pub local: SocketAddr,
    /// Whether it came by a datagram.
    pub datagram: bool,
}
