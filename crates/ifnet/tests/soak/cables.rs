//! What leads from one namespace to another: both ends, of every kind.

use crate::world::Site;
use holm_ifnet::aggregation::{LacpOptions, LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::wires::{DgramOptions, PacketOptions, StreamEnd, StreamOptions, TapOptions};
use holm_ifnet::{Cloner, IfName, NewInterface, Request};
use holm_lifetime::Deadline;
use std::path::Path;
use std::time::Duration;

/// How two namespaces are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pair,
    Stream,
    Dgram,
    /// A tap, and a packet socket at its end in the kernel.
    Tap,
    /// Packet sockets at both ends of a veth pair of the kernel's.
    Veth,
    /// A lagg at each end, over two others.
    Lagg,
    /// The same, by LACP.
    Lacp,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Pair, Self::Stream, Self::Dgram, Self::Tap, Self::Veth, Self::Lagg, Self::Lacp];

    pub fn is_lagg(self) -> bool {
        matches!(self, Self::Lagg | Self::Lacp)
    }

    pub fn needs_kernel(self) -> bool {
        matches!(self, Self::Tap | Self::Veth)
    }
}

/// Two ends with addresses.
#[derive(Clone, Debug)]
pub struct Cable {
    pub kind: Kind,
    /// Which namespaces.
    pub ends: [usize; 2],
    /// Interfaces at each end, what lies above others first.
    pub names: [Vec<IfName>; 2],
    pub number: u32,
}

impl Cable {
    /// The address of an end.
    pub fn address(&self, end: usize) -> [u8; 4] {
        let [.., a, b] = self.number.to_be_bytes();
        [10, a, b, 1 + end as u8]
    }
}

/// Makes a cable, up and with addresses; `None` if somebody was in the way. `which` is of things that there
/// are several of.
pub fn make(
    kind: Kind,
    sites: [&Site; 2],
    number: u32,
    folder: &Path,
    which: [usize; 2],
) -> Option<[Vec<IfName>; 2]> {
    let mut made = [Vec::new(), Vec::new()];
    let done = if kind.is_lagg() {
        let under = [which[0] % 3, which[1] % 3].map(|n| Kind::ALL[n]);
        under.into_iter().enumerate().all(|(n, kind)| {
            wire(kind, sites, number * 2 + n as u32, folder, which, &mut made).is_some()
        }) && aggregate(sites, kind, which[0], &mut made).is_some()
    } else {
        wire(kind, sites, number * 2, folder, which, &mut made).is_some()
    };
    let done = done && {
        let cable = Cable { kind, ends: [0, 0], names: made.clone(), number };
        (0..2).all(|end| {
            let [a, b, c, d] = cable.address(end);
            let address = format!("{a}.{b}.{c}.{d}/24").parse().expect("an address");
            let name = made[end][0];
            let mtu = Request::SetMtu([1500, 1500, 9000][which[1] % 3].min(most(kind)));
            [mtu, Request::SetUp(true), Request::AddAddress(address)]
                .iter()
                .all(|request| sites[end].interfaces.request(name, request).is_ok())
        })
    };
    if done {
        return Some(made);
    }
    destroy(sites, &made);
    None
}

/// Destroys what is there of it.
pub fn destroy(sites: [&Site; 2], names: &[Vec<IfName>; 2]) {
    for (site, names) in sites.into_iter().zip(names) {
        for name in names {
            // The end of a pair goes with the other.
            let _ = site.interfaces.destroy(*name, Deadline::Never);
        }
    }
}

/// A veth pair has an MTU of its own.
fn most(kind: Kind) -> usize {
    if kind.needs_kernel() { 1500 } else { usize::MAX }
}

/// Interfaces at both ends, up.
fn wire(
    kind: Kind,
    sites: [&Site; 2],
    number: u32,
    folder: &Path,
    which: [usize; 2],
    made: &mut [Vec<IfName>; 2],
) -> Option<()> {
    let path = |side: char| folder.join(format!("{number}.{side}"));
    let mut add = |end: usize, name: Option<IfName>| {
        let name = name?;
        made[end].push(name);
        sites[end].interfaces.request(name, &Request::SetUp(true)).ok().map(drop)
    };
    match kind {
        Kind::Pair | Kind::Lagg | Kind::Lacp => {
            let [near, far] = sites.map(|site| &site.interfaces);
            let new = NewInterface::default();
            let ends = near.create_pair(new, far, new).ok();
            let names = ends.map(|(one, two)| [one.name(), two.name()])?;
            add(0, Some(names[0]))?;
            add(1, Some(names[1]))
        }
        Kind::Stream => {
            let connect = StreamEnd::Connect { retry: Duration::from_millis(1) };
            add(0, one(sites[0], StreamOptions { path: path('s'), end: StreamEnd::Listen }))?;
            add(1, one(sites[1], StreamOptions { path: path('s'), end: connect }))
        }
        Kind::Dgram => {
            let [near, far] = [path('a'), path('b')];
            add(0, one(sites[0], DgramOptions { path: near.clone(), peer: Some(far.clone()) }))?;
            add(1, one(sites[1], DgramOptions { path: far, peer: Some(near) }))
        }
        Kind::Tap => {
            let name = format!("t{number}");
            add(0, one(sites[0], TapOptions { name: Some(name.clone()) }))?;
            add(1, one(sites[1], PacketOptions { interface: name }))
        }
        Kind::Veth => {
            let pair = which[0] % VETHS;
            add(0, one(sites[0], PacketOptions { interface: format!("va{pair}") }))?;
            add(1, one(sites[1], PacketOptions { interface: format!("vb{pair}") }))
        }
    }
}

fn one<C: Cloner>(site: &Site, cloner: C) -> Option<IfName> {
    let new = NewInterface { mtu: Some(1500), ..NewInterface::default() };
    site.interfaces.create(new, cloner).ok().map(|interface| interface.name())
}

/// A lagg at each end of what there is.
fn aggregate(
    sites: [&Site; 2],
    kind: Kind,
    which: usize,
    made: &mut [Vec<IfName>; 2],
) -> Option<()> {
    let others = [Protocol::Failover, Protocol::LoadBalance, Protocol::RoundRobin];
    let protocol = if kind == Kind::Lacp { Protocol::Lacp } else { others[which % others.len()] };
    let lacp = LacpOptions { fast: true, ..LacpOptions::default() };
    for (site, names) in sites.into_iter().zip(made) {
        let lagg = one(site, NewLagg { protocol, lacp, ..NewLagg::default() })?;
        let ports = names.clone();
        names.insert(0, lagg);
        for port in ports {
            let join = Request::Lagg(LaggRequest::AddPort(port));
            site.interfaces.request(lagg, &join).ok()?;
        }
    }
    Some(())
}

/// Veth pairs that the kernel has, `va0` and `vb0` and so on.
pub const VETHS: usize = 4;
