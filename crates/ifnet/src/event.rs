//! What happens to interfaces.

use crate::cidr::Cidr;
use crate::ether::MacAddress;
use crate::flags::{LinkState, Media};
use crate::interface::Interface;
use crate::name::IfName;
use holm_lifetime::WeakRef;
use holm_netns::notifier::Notice;
use std::fmt;

/// Something that happened to an interface. It is told by the chain of the
/// [subsystem](crate::IfnetSubsystem::register), under the configuration lock of the namespace.
#[derive(Debug, Clone)]
pub struct LinkEvent {
    /// To which. It can be referred to while this is told, also if it is being unregistered.
    pub interface: WeakRef<Interface>,
    /// Its number, which it has for life.
    pub index: u64,
    /// Its name, after what happened.
    pub name: IfName,
    /// What.
    pub change: LinkChange,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    /// It is there.
    Registered,
    /// It goes: nobody finds it any more. What others have of it ends here.
    Unregistered,
    /// It may carry frames.
    Up,
    /// It may not.
    Down,
    /// It has another name.
    Renamed {
        /// The one it had.
        from: IfName,
    },
    /// It has another MTU.
    Mtu(usize),
    /// It has another MAC address.
    Mac(MacAddress),
    /// It has one more address.
    AddressAdded(Cidr),
    /// It has one address less.
    AddressRemoved(Cidr),
    /// Its link is up or down.
    Link(LinkState),
    /// What its link is like is another.
    Media(Media),
    /// It is a lagg with failover, and this port carries its frames now; or none does. Who sends to its
    /// addresses has to hear of it.
    ActivePort(Option<IfName>),
    /// It is a port of this lagg now.
    Joined(IfName),
    /// It is a port of this lagg no longer.
    Left(IfName),
    /// Somebody else receives from it, or nobody.
    ReceiverChanged,
}

impl Notice for LinkEvent {
    fn reverse(&self) -> Option<Self> {
        let change = match &self.change {
            LinkChange::Registered => LinkChange::Unregistered,
            LinkChange::Unregistered => LinkChange::Registered,
            LinkChange::Up => LinkChange::Down,
            LinkChange::Down => LinkChange::Up,
            LinkChange::AddressAdded(cidr) => LinkChange::AddressRemoved(*cidr),
            LinkChange::AddressRemoved(cidr) => LinkChange::AddressAdded(*cidr),
            LinkChange::Joined(lagg) => LinkChange::Left(*lagg),
            LinkChange::Left(lagg) => LinkChange::Joined(*lagg),
            LinkChange::Renamed { .. }
            | LinkChange::Mtu(_)
            | LinkChange::Mac(_)
            | LinkChange::Link(_)
            | LinkChange::Media(_)
            | LinkChange::ActivePort(_)
            | LinkChange::ReceiverChanged => return None,
        };
        Some(Self { change, ..self.clone() })
    }
}

impl fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.change)
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered => f.write_str("created"),
            Self::Unregistered => f.write_str("destroyed"),
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Renamed { from } => write!(f, "renamed from {from}"),
            Self::Mtu(mtu) => write!(f, "mtu {mtu}"),
            Self::Mac(mac) => write!(f, "mac {mac}"),
            Self::AddressAdded(cidr) => write!(f, "address {cidr} added"),
            Self::AddressRemoved(cidr) => write!(f, "address {cidr} removed"),
            Self::Link(state) => write!(f, "link {state}"),
            Self::Media(media) => write!(f, "media {media}"),
            Self::ActivePort(Some(port)) => write!(f, "active port {port}"),
            Self::ActivePort(None) => f.write_str("no active port"),
            Self::Joined(lagg) => write!(f, "joined {lagg}"),
            Self::Left(lagg) => write!(f, "left {lagg}"),
            Self::ReceiverChanged => f.write_str("receiver changed"),
        }
    }
}
