//! Who is at the other end, and where we are reached.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How calls come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Over a stream.
    Tcp,
    /// As datagrams: MOUNT and the port mapper only.
    Udp,
}

/// Where a client is, as far as it matters for whether it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Its address.
    pub address: IpAddr,
    /// It came by an interface that belongs to the namespace alone, and not by the kernel's network.
    pub own_link: bool,
}

/// A client, as its transport knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    transport: Transport,
    address: IpAddr,
    privileged: bool,
    own_link: bool,
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
            own_link: false,
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        }
    }

    /// The same, where something other than the number of its port says whether the program at the
    /// other end is one that its system trusts.
    #[must_use]
    pub fn with_privilege(self, privileged: bool) -> Self {
        Self { privileged, ..self }
    }

    /// The same, where it came by an interface that belongs to the namespace alone.
    #[must_use]
    pub fn with_own_link(self, own_link: bool) -> Self {
        Self { own_link, ..self }
    }

    /// Where it is.
    pub fn origin(&self) -> Origin {
        Origin { address: self.address, own_link: self.own_link }
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
    /// It is one of the namespace's own interfaces, and not of the kernel.
    pub own_link: bool,
}

impl Listening {
    /// Reached there, by the kernel's network.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, own_link: false }
    }

    /// Reached at that port of all addresses of the namespace's own interfaces.
    pub fn at_own_links(transport: Transport, port: u16) -> Self {
        let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        Self { transport, address, own_link: true }
    }
}

const PRIVILEGED: u16 = 1024;
