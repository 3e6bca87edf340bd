//! The nouns of a namespace's own network: links, addresses, routes.

use super::{NetnsRef, yes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use utoipa::ToSchema;

/// An interface to be. Each kind has keys of its own; what others have may not be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkSpec {
    /// Its name, which no other interface of the namespace has: 1 to 15 of `a-z`, `A-Z`, `0-9`, `.`,
    /// `_` and `-`. For `lo`, which each namespace has from birth, it is `lo`. Who makes one on a running
    /// server may leave it empty: then it is its kind with the next number that is free, as `lagg0`.
    #[schema(examples("p0"))]
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LinkKind,
    /// Its addresses, each with the length of its network's prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(examples(json!(["10.0.0.1/24", "fd00::1/64"])))]
    pub addr: Vec<String>,
    /// Whether it may carry frames.
    #[serde(default = "yes")]
    pub up: bool,
    /// Bytes that one frame may carry, 576 to 65521; otherwise what is usual for its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its MAC address; otherwise one that follows from the names of namespace and interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("02:00:5e:10:00:01"))]
    pub mac: Option<String>,
    /// What its link is said to be like: what LACP weighs it by. Not of `lo`, nor of `lagg`, which is as its
    /// ports are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaSpec>,
    /// `stream` and `dgram`: the unix socket; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("/run/vm7/net0.sock"))]
    pub path: Option<PathBuf>,
    /// `stream`: connect to that socket, again and again for as long as nobody listens; otherwise
    /// listen at it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub connect: bool,
    /// `dgram`: the peer's socket; otherwise the first who sends is the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub peer_path: Option<PathBuf>,
    /// `packet`: which interface of the kernel. `tap`: what the kernel calls it, by default as it is
    /// called here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// `packet` and `tap`: in which kernel network namespace; by default the one that the server runs
    /// in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// `pair`: the name of the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// `pair`: the namespace that the other end is in; by default the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_ns: Option<String>,
    /// `pair`: what the other end is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_link: Option<PeerLinkSpec>,
    /// `lagg`: how it uses its ports; by default `failover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<LaggProto>,
    /// `lagg`: the interfaces that are its ports, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// `lagg`: what a flow is known by; by default all layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<HashLayer>>,
    /// `lagg`: how it takes part in LACP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp: Option<LacpSpec>,
}

impl LinkSpec {
    /// A name and a kind, everything else as if nothing had been said.
    pub fn new(name: impl Into<String>, kind: LinkKind) -> Self {
        Self {
            name: name.into(),
            kind,
            addr: Vec::new(),
            up: true,
            mtu: None,
            mac: None,
            media: None,
            path: None,
            connect: false,
            peer_path: None,
            interface: None,
            netns: None,
            peer: None,
            peer_ns: None,
            peer_link: None,
            proto: None,
            ports: Vec::new(),
            hash: None,
            lacp: None,
        }
    }
}

/// What the other end of a pair is like. What is not said is as usual, but for the MTU, which is that of this end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PeerLinkSpec {
    /// Whether it may carry frames.
    #[serde(default = "yes")]
    pub up: bool,
    /// Bytes that one frame may carry, 576 to 65521.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its MAC address; otherwise one that follows from the names of its namespace and itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("02:00:5e:10:00:02"))]
    pub mac: Option<String>,
    /// What its link is said to be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaSpec>,
}

impl Default for PeerLinkSpec {
    fn default() -> Self {
        Self { up: true, mtu: None, mac: None, media: None }
    }
}

/// Kinds of interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// The loopback interface.
    Lo,
    /// One end of a virtual cable, whose other end is in this or another namespace.
    Pair,
    /// An interface of the kernel whose other end is the server.
    Tap,
    /// An interface of the kernel that somebody else has made, through a packet socket.
    Packet,
    /// A unix stream socket, as QEMU's `-netdev stream` and passt speak it.
    Stream,
    /// A unix datagram socket, as QEMU's `-netdev dgram` and vfkit speak it.
    Dgram,
    /// Several interfaces as one.
    Lagg,
}

/// How a lagg uses its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaggProto {
    /// Not at all.
    None,
    /// The first that is there carries all; the next one when it fails.
    Failover,
    /// Each flow stays on one port.
    Loadbalance,
    /// Each frame goes by the next port.
    Roundrobin,
    /// Each frame goes by all ports.
    Broadcast,
    /// As `loadbalance`, over those ports on which the partner has agreed (IEEE 802.1AX).
    Lacp,
}

/// What of a frame says to which flow it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashLayer {
    /// The MAC addresses, the type and the VLAN.
    L2,
    /// The IP addresses, and the flow label of IPv6.
    L3,
    /// The ports of TCP, UDP and SCTP.
    L4,
}

/// What a link is said to be like. What is not said is as it is of virtual links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MediaSpec {
    /// Megabits a second, by default 10000; 0 where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// Both ends may send at the same time, as they do by default. LACP uses no other links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_duplex: Option<bool>,
}

/// How a lagg takes part in LACP. What is not said is as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LacpSpec {
    /// It speaks also to who has not spoken; by default it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// It misses the partner after 3 seconds and not after 90; by default it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<bool>,
    /// What partners compare first: lower is better; by default 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_priority: Option<u16>,
    /// It uses no port whose partner does not speak LACP, which is the default; otherwise one such port, if
    /// there is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// What is to be different about an interface. What is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkPatch {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it may carry frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Another MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Another MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// What its link is to be said to be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaSpec>,
    /// The lagg that it is to be a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// It is to be the port of no lagg.
    #[serde(default, skip_serializing_if = "is_no")]
    pub nomaster: bool,
    /// `lagg`: how it is to use its ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<LaggProto>,
    /// `lagg`: what a flow is to be known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Vec<HashLayer>>,
    /// `lagg`: how it is to take part in LACP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp: Option<LacpSpec>,
}

/// Where an end of a pair goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkMove {
    /// The namespace that it is to be in: `NAME`, or `NAME@ID`.
    pub to: String,
    /// What it is to be called there; otherwise as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddrSpec {
    /// The address, with the length of its network's prefix.
    #[schema(examples("10.0.0.1/24"))]
    pub cidr: String,
    /// Of which interface.
    pub dev: String,
}

/// An address, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AddrView {
    /// Which one, and of which interface.
    #[serde(flatten)]
    pub spec: AddrSpec,
    /// The interface has it by itself, as the link-local one of IPv6: it goes with the last other one.
    #[serde(default, skip_serializing_if = "is_no")]
    pub automatic: bool,
}

/// A route to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RouteSpec {
    /// To which network; `default`: to all that no other route leads to.
    #[schema(examples("default", "10.1.0.0/16"))]
    pub to: String,
    /// Who forwards: an address in the network of one of the interfaces.
    #[schema(value_type = String, examples("10.0.0.254"))]
    pub via: IpAddr,
}

/// An interface, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LinkView {
    /// Its name.
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LinkKind,
    /// Its number, which no other interface of this server has or had.
    pub index: u64,
    /// What state it is in: of `up`, `running` (frames can go by it), `dying` and `tapped` (somebody
    /// looks at its frames).
    pub flags: Vec<String>,
    /// Bytes that one frame may carry.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: String,
    /// What its link is like.
    pub media: MediaView,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The link-local address of IPv6 that it has by itself while it has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("fe80::5eff:fe10:1/64"))]
    pub link_local: Option<String>,
    /// The lagg that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// `pair`: where the other end is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerLinkView>,
    /// What it has counted.
    pub counters: LinkCounters,
    /// What it knows of its ports, if it is a lagg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lagg: Option<LaggView>,
    /// As it was asked for and changed since; nothing for the `lo` of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<LinkSpec>,
}

/// The other end of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PeerLinkView {
    /// What it is called.
    pub name: String,
    /// In which namespace.
    pub ns: String,
}

/// What a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MediaView {
    /// Megabits a second; 0 where nobody knows.
    pub speed: u32,
    /// Both ends may send at the same time.
    pub full_duplex: bool,
}

/// What an interface has counted, seen from the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LinkCounters {
    /// What came in.
    pub received: DirectionCounters,
    /// What went out.
    pub sent: DirectionCounters,
}

/// What was counted in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DirectionCounters {
    /// Frames that passed.
    pub frames: u64,
    /// Bytes of them, with their headers.
    pub bytes: u64,
    /// Calls of the system that failed.
    pub errors: u64,
    /// Frames that were dropped, by the reason; only reasons that there were.
    pub drops: BTreeMap<String, u64>,
}

/// What a lagg says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LaggView {
    /// How it uses its ports.
    pub proto: LaggProto,
    /// What it knows flows by.
    pub hash: Vec<HashLayer>,
    /// How it takes part in LACP, all of it said.
    pub lacp: LacpSpec,
    /// Its ports, in the order in which they joined.
    pub ports: Vec<LaggPortView>,
}

/// What a lagg says of one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LaggPortView {
    /// Which interface.
    pub name: String,
    /// Frames may be sent by it now.
    pub sends: bool,
    /// Frames are taken from it now.
    pub receives: bool,
    /// What LACP knows, where that is the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp: Option<LacpPortView>,
}

/// A port as LACP sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LacpPortView {
    /// What we say of our end.
    pub actor: LacpEndView,
    /// What the partner says of its own, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<LacpEndView>,
    /// It was selected to be used.
    pub selected: bool,
    /// Our end has failed to agree with the partner for too long.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LacpEndView {
    /// The priority of its system.
    pub system_priority: u16,
    /// The MAC address of its system.
    pub system: String,
    /// Ports with the same key may be used as one.
    pub key: u16,
    /// The priority of the port.
    pub port_priority: u16,
    /// The number of the port.
    pub port: u16,
    /// Its state: of `active`, `short-timeout`, `aggregatable`, `in-sync`, `collecting`,
    /// `distributing`, `defaulted` and `expired`.
    pub state: Vec<String>,
}

/// A route, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RouteView {
    /// Where it leads, and by whom.
    #[serde(flatten)]
    pub spec: RouteSpec,
    /// The interface in whose network that is; none if it leads nowhere now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
}

fn is_no(value: &bool) -> bool {
    !*value
}
