//! Who is at the other end, and where we are reached.

use std::net::{IpAddr, SocketAddr};

/// How calls come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Over a stream.
    Tcp,
    /// As datagrams: MOUNT and the port mapper only.
    Udp,
}

/// A client, as its transport knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    transport: Transport,
    address: IpAddr,
    privileged: bool,
    local: SocketAddr,
}

impl Peer {
    /// The peer at `address`, which has reached us at `local`. IPv4 addresses that are written as
    /// IPv6 become IPv4.
    pub fn new(transport: Transport, address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            transport,
            address: address.ip().to_canonical(),
            privileged: address.port() < PRIVILEGED,
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        }
    }

    /// The same, where something other than the number of its port says whether the program at the
    /// other end is one that its system trusts.
    #[must_use]
    pub fn with_privilege(self, privileged: bool) -> Self {
        Self { privileged, ..self }
    }

    /// How its calls come.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it calls from a port that only its system's administrator can use.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// Where it has reached us.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

/// An address that a service is reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listening {
    /// How.
    pub transport: Transport,
    /// The address, which may be "all addresses".
    pub address: SocketAddr,
}

impl Listening {
    /// Reached there.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address }
    }
}

const PRIVILEGED: u16 = 1024;
