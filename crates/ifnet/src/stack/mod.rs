//! The TCP/IP stack of a link.
//!
//! A [`Stack`] belongs to one link that has addresses. Whoever has a frame that came by the link, or
//! sees that its time has come, gives it to the stack and does all that follows from it: what is to be
//! sent goes out by [`Outside::transmit`], and whoever waits is woken, before the call returns. There
//! is no thread and no queue in between.
//!
//! ```text
//!   frames ─▶ Stack ─▶ Machine ─▶ Tcp ─▶ Connection (smoltcp, its buffers, what is kept)
//!               │         ├─▶ Udp
//!               │         └─▶ Neighbors (ARP, neighbour discovery)
//!               └─▶ Outside::transmit, wake-ups, new connections
//! ```
//!
//! TCP is smoltcp's. What is below it is our own, so that it is bounded by what is needed and not by
//! what was compiled in: addresses, routes, neighbours, and which connection a segment is for.
//! Connections of one link never leave by another.
//!
//! | What | How |
//! | --- | --- |
//! | a frame that is malformed, not for us, or from where nobody can be | dropped and counted by [`Reason`] |
//! | a fragment of IPv4, an extension header of IPv6 | dropped: nothing here sends more than an MTU |
//! | a SYN for nobody | answered with RST; a datagram for nobody with "port unreachable" |
//! | half-open connections | [`Limits::half_open`] at most; the oldest makes room |
//! | connections whose owner has left, TIME-WAIT included | [`Limits::left`] at most, each for [`Limits::left_for`] at most |
//! | buffers | of a size that falls with the number of connections; memory where data is, given back when there is none |
//! | long replies | kept where they lie until they were acknowledged, with as many bytes as the buffer could hold, which are half of each reply at least, as a reply is of its memory: up to four times as much memory, if somebody has every reply end just so; and as much as the buffer to make others in |
//! | what was lost | sent again when three acknowledgements have said so, and from then on one segment with each that comes; or when nothing was acknowledged for two round trips and 200 ms. What takes a second is left to smoltcp's timer |
//! | a peer that is gone | asked every [`Limits::keep_alive`], reset after [`Limits::silence`] |

mod address;
mod arp;
mod buffers;
mod connection;
mod counters;
mod icmp;
mod kept;
mod link;
mod machine;
mod namespace;
mod neighbors;
mod packet;
mod recovery;
mod segment;
mod sockets;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

pub use address::{Network, NoNetwork, Route};
pub use counters::{Dropped, Reason};
pub use link::{Outside, Stack};
pub use namespace::{NsStacks, Offered, StackSubsystem};
pub use sockets::{Datagrams, Listener, Received, Stream};

use crate::MacAddress;
use connection::{ConnectionId, Ends};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a stack begins with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Our address on the link.
    pub mac: MacAddress,
    /// Bytes of the longest packet.
    pub mtu: usize,
    /// It leads nowhere: what is sent comes back. No checksums are made, and nobody is asked for.
    pub loopback: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What a stack may use, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, of all kinds.
    pub connections: usize,
    /// Connections that are being made.
    pub half_open: usize,
    /// For how long one is.
    pub half_open_for: Duration,
    /// Connections whose owner has left before all was delivered and the wait was over.
    pub left: usize,
    /// For how long such a one stays.
    pub left_for: Duration,
    /// A peer that has been silent for that long is asked whether it is there.
    pub keep_alive: Duration,
    /// A connection whose peer is silent for that long, though it should answer, is reset.
    pub silence: Duration,
    /// Bytes that the buffers of all connections share, for as long as each gets
    /// [`room_min`](Self::room_min) for each direction.
    pub memory: usize,
    /// Bytes of the smallest buffer.
    pub room_min: usize,
    /// Bytes of the largest buffer to send from, at most 1 GiB. A whole reply should fit. One to receive into
    /// has a quarter: what comes is taken soon, and the less room there is, the more of it is still in the cache.
    pub room_max: usize,
    /// Stations of the link of which it is remembered where they are.
    pub neighbors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            half_open: 256,
            half_open_for: Duration::from_secs(10),
            left: 256,
            left_for: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
            silence: Duration::from_secs(180),
            memory: 256 << 20,
            room_min: 64 << 10,
            room_max: 4 << 20,
            neighbors: 1024,
        }
    }
}

/// Why a link can't have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is one of a group, of a network or of nobody; or of this host where there is more than that.
    #[error("{0} is no address that a station on this link can have")]
    NoStation(Network),
    /// It has it.
    #[error("{0} is an address of this link already")]
    Exists(IpAddr),
    /// IPv6 needs 1280 bytes (RFC 8200, section 5).
    #[error("IPv6 needs an MTU of 1280, and that of this link is {0}")]
    SmallMtu(usize),
    /// It has very many.
    #[error("the link has as many addresses as it can have")]
    TooMany,
}

/// What a stack has, and what it has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Connections, those included that are being made or have been left.
    pub connections: usize,
    /// Connections that are being made.
    pub half_open: usize,
    /// What came and was dropped, or could not be sent.
    pub dropped: Dropped,
}

/// Tells somebody that something is there for him. It is called by whoever has brought it about, while
/// no lock is held.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What every link of IPv6 carries, in bytes (RFC 8200, section 5).
const IPV6_MTU_MIN: usize = 1280;

/// Takes a connection that was made.
type Acceptor = Arc<dyn Fn(ConnectionId, Ends) + Send + Sync>;
