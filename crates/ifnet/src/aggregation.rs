//! What a lagg is asked and told, and what it says of itself.

use crate::ether::MacAddress;
use crate::name::IfName;
use std::fmt;
use std::str::FromStr;

/// How a lagg uses its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Not at all: nothing is sent or received.
    None,
    /// The first that is there carries all; the next one when it fails.
    Failover,
    /// Each flow stays on the port that the hash of its addresses chooses.
    LoadBalance,
    /// Each frame goes by the next port.
    RoundRobin,
    /// Each frame goes by all ports.
    Broadcast,
    /// As `LoadBalance`, over those ports on which the partner has agreed (IEEE 802.1AX).
    Lacp,
}

/// What of a frame says to which flow it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashLayers {
    /// The MAC addresses, the type and the VLAN.
    pub l2: bool,
    /// The IP addresses, and the flow label of IPv6.
    pub l3: bool,
    /// The ports of TCP, UDP and SCTP; of fragments none, since only the first has them.
    pub l4: bool,
}

/// How a lagg takes part in LACP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LacpOptions {
    /// It sends LACPDUs also to who has sent none.
    pub active: bool,
    /// It asks the partner for one each second, and misses it after three; otherwise 30 and 90.
    pub fast: bool,
    /// What it calls itself first when partners compare: lower is better.
    pub system_priority: u16,
    /// It uses no port whose partner does not speak LACP; otherwise one such port, if there is no other.
    pub strict: bool,
}

/// What a lagg can be asked or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaggRequest {
    /// Asks for [`LaggStatus`].
    Status,
    /// Another protocol.
    SetProtocol(Protocol),
    /// An interface of the namespace becomes a port.
    AddPort(IfName),
    /// A port becomes an ordinary interface.
    RemovePort(IfName),
    /// Other layers for the hash.
    SetHash(HashLayers),
    /// Other options for LACP.
    SetLacp(LacpOptions),
}

impl LaggRequest {
    /// Whether it changes the configuration.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Status)
    }
}

/// What a lagg says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaggStatus {
    /// How it uses its ports.
    pub protocol: Protocol,
    /// What it knows flows by.
    pub hash: HashLayers,
    /// How it takes part in LACP.
    pub lacp: LacpOptions,
    /// Its ports, in the order in which they joined.
    pub ports: Vec<PortStatus>,
}

/// What a lagg says of one of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// Which interface.
    pub name: IfName,
    /// Frames may be sent by it now.
    pub sends: bool,
    /// Frames are taken from it now.
    pub receives: bool,
    /// What LACP knows, where that is the protocol.
    pub lacp: Option<LacpPort>,
}

/// A port as LACP sees it (IEEE 802.1AX-2014, 6.4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LacpPort {
    /// What we say of our end.
    pub actor: LacpEnd,
    /// What the partner says of its own; `None` while none is known.
    pub partner: Option<LacpEnd>,
    /// The port was selected to be used.
    pub selected: bool,
    /// Our end has been failing to agree with the partner for too long.
    pub actor_churn: bool,
    /// So has the partner's.
    pub partner_churn: bool,
    /// LACPDUs received.
    pub received: u64,
    /// LACPDUs sent.
    pub sent: u64,
    /// LACPDUs that could not be understood.
    pub malformed: u64,
}

/// One end of a link as LACPDUs describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LacpEnd {
    /// The system's priority and address.
    pub system: (u16, MacAddress),
    /// Ports with the same key may be aggregated.
    pub key: u16,
    /// The port's priority and number.
    pub port: (u16, u16),
    /// The state as eight bits (6.4.2.3), activity in the lowest.
    pub state: u8,
}

impl Default for HashLayers {
    /// All of them.
    fn default() -> Self {
        Self { l2: true, l3: true, l4: true }
    }
}

impl Default for LacpOptions {
    /// Active, slow and strict, with the priority in the middle.
    fn default() -> Self {
        Self { active: true, fast: false, system_priority: 0x8000, strict: true }
    }
}

const PROTOCOLS: [(Protocol, &str); 6] = [
    (Protocol::None, "none"),
    (Protocol::Failover, "failover"),
    (Protocol::LoadBalance, "loadbalance"),
    (Protocol::RoundRobin, "roundrobin"),
    (Protocol::Broadcast, "broadcast"),
    (Protocol::Lacp, "lacp"),
];

/// Not the name of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no protocol of a lagg: \
     there are none, failover, loadbalance, roundrobin, broadcast and lacp"
)]
pub struct NoProtocol(String);

impl FromStr for Protocol {
    type Err = NoProtocol;

    fn from_str(text: &str) -> Result<Self, NoProtocol> {
        let found = PROTOCOLS.iter().find(|(_, name)| *name == text);
        found.map(|(protocol, _)| *protocol).ok_or_else(|| NoProtocol(text.to_owned()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = PROTOCOLS.iter().find(|(protocol, _)| protocol == self);
        f.pad(found.map_or("", |(_, name)| name))
    }
}

/// As in `l2,l3,l4`.
impl fmt::Display for HashLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.l2, "l2"), (self.l3, "l3"), (self.l4, "l4")];
        let names = names.into_iter().filter(|(on, _)| *on).map(|(_, name)| name);
        f.pad(&names.collect::<Vec<_>>().join(","))
    }
}

/// Not layers with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no list of layers to hash: one or more of l2, l3 and l4, as in l2,l3,l4")]
pub struct NoLayers(String);

impl FromStr for HashLayers {
    type Err = NoLayers;

    fn from_str(text: &str) -> Result<Self, NoLayers> {
        let mut layers = Self { l2: false, l3: false, l4: false };
        for name in text.split(',') {
            match name {
                "l2" => layers.l2 = true,
                "l3" => layers.l3 = true,
                "l4" => layers.l4 = true,
                _ => return Err(NoLayers(text.to_owned())),
            }
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_layers_are_read_as_they_are_written() {
        for (protocol, name) in PROTOCOLS {
            assert_eq!(protocol.to_string(), name);
            assert_eq!(name.parse(), Ok(protocol));
        }
        assert!("LACP".parse::<Protocol>().is_err());
        for text in ["l2", "l3", "l4", "l2,l3", "l2,l4", "l3,l4", "l2,l3,l4"] {
            assert_eq!(text.parse::<HashLayers>().unwrap().to_string(), text);
        }
        for wrong in ["", "l1", "l2,", "l2 l3", "L2"] {
            assert!(wrong.parse::<HashLayers>().is_err(), "{wrong}");
        }
    }
}
