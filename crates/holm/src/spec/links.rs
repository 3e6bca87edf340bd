//! What can be said against links, addresses and routes, and what the interfaces make of them.

use super::{Checked, Problem, Step};
use crate::model::{
    AddrSpec, HashLayer, LacpSpec, LaggProto, LinkKind, LinkSpec, MediaSpec, NamespaceSpec,
    PeerLinkSpec, RouteSpec,
};
use crate::spelling::nearest;
use holm_ifnet::aggregation::{HashLayers, LacpOptions, Protocol};
use holm_ifnet::ether::{MTU_MAX, MTU_MIN};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::stack::{Network, Route};
use holm_ifnet::{Cidr, IfName, MacAddress, Media};
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::path::Path;

impl Checked for LinkSpec {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.foreign());
        problems.extend(self.missing());
        let name = self.name.parse::<IfName>();
        problems.extend(name.err().map(|error| Problem::at("name", error)));
        let lo = LinkKind::Lo;
        if self.kind == lo && self.name != "lo" {
            let why = "each namespace has one interface of type lo, and it is called lo";
            problems.push(Problem::at("name", why));
        } else if self.kind != lo && self.name == "lo" {
            let why = "lo is the loopback interface: give it type = \"lo\", or another name";
            problems.push(Problem::at("name", why));
        }
        for (index, addr) in self.addr.iter().enumerate() {
            let before = self.addr.iter().take(index).any(|other| other == addr);
            let twice = before.then(|| format!("{addr} is there twice: leave one out"));
            if let Some(why) = address(addr).err().or(twice) {
                problems.push(Problem::at_element("addr", index, why));
            }
        }
        if let Some(mtu) = self.mtu {
            problems.extend(check_mtu(mtu, &self.addr));
        }
        let mac = self.mac.as_ref().map(|mac| mac_address(mac));
        problems.extend(mac.and_then(Result::err).map(|why| Problem::at("mac", why)));
        for (field, path) in [("path", &self.path), ("peer-path", &self.peer_path)] {
            let why = path.as_deref().and_then(socket_path);
            problems.extend(why.map(|why| Problem::at(field, why)));
        }
        if let Some(interface) = &self.interface
            && !is_kernel_name(interface)
        {
            let why = format!("the kernel calls no interface {interface:?}: write 1 to 15 letters");
            problems.push(Problem::at("interface", why));
        }
        problems.extend(self.netns.as_ref().and_then(super::netns_problem));
        if let Some(peer) = &self.peer {
            problems.extend(peer.parse::<IfName>().err().map(|error| Problem::at("peer", error)));
            if *peer == self.name && self.peer_ns.is_none() {
                let why = "both ends have the same name: give one of them another";
                problems.push(Problem::at("peer", why));
            }
        }
        if let Some(PeerLinkSpec { mtu, mac, .. }) = &self.peer_link {
            let mtu = mtu.and_then(|mtu| check_mtu(mtu, &[]));
            let mac = mac.as_ref().and_then(|mac| mac_address(mac).err());
            for mut problem in mtu.into_iter().chain(mac.map(|why| Problem::at("mac", why))) {
                problem.place.insert(0, Step::Field("peer-link"));
                problems.push(problem);
            }
        }
        for (index, port) in self.ports.iter().enumerate() {
            let why = if *port == self.name {
                Some("a lagg cannot be a port of itself".into())
            } else if self.ports.iter().take(index).any(|other| other == port) {
                Some(format!("{port} is there twice: leave one out"))
            } else {
                port.parse::<IfName>().err().map(|error| error.to_string())
            };
            problems.extend(why.map(|why| Problem::at_element("ports", index, why)));
        }
        if self.hash.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::at("hash", "write one layer at least, as [\"l3\", \"l4\"]"));
        }
        problems
    }
}

impl LinkSpec {
    /// What is said and means nothing for the kind.
    fn foreign(&self) -> Vec<Problem> {
        use LinkKind::{Dgram, Lagg, Lo, Packet, Pair, Stream, Tap};
        let all_but_lo: &[LinkKind] = &[Pair, Tap, Packet, Stream, Dgram, Lagg];
        let ports: &[LinkKind] = &[Pair, Tap, Packet, Stream, Dgram];
        let keys: [(&str, bool, &[LinkKind]); 14] = [
            ("mac", self.mac.is_some(), all_but_lo),
            ("media", self.media.is_some(), ports),
            ("path", self.path.is_some(), &[Stream, Dgram]),
            ("connect", self.connect, &[Stream]),
            ("peer-path", self.peer_path.is_some(), &[Dgram]),
            ("interface", self.interface.is_some(), &[Packet, Tap]),
            ("netns", self.netns.is_some(), &[Packet, Tap]),
            ("peer", self.peer.is_some(), &[Pair]),
            ("peer-ns", self.peer_ns.is_some(), &[Pair]),
            ("peer-link", self.peer_link.is_some(), &[Pair]),
            ("proto", self.proto.is_some(), &[Lagg]),
            ("ports", !self.ports.is_empty(), &[Lagg]),
            ("hash", self.hash.is_some(), &[Lagg]),
            ("lacp", self.lacp.is_some(), &[Lagg]),
        ];
        let foreign = keys.into_iter().filter(|(_, said, of)| *said && !of.contains(&self.kind));
        let problem = |(key, _, of): (&'static str, bool, &[LinkKind])| {
            let of: Vec<String> = of.iter().map(ToString::to_string).collect();
            let kind = self.kind;
            let why = format!("a {kind} has no {key}, only {}: leave it out", of.join(" and "));
            Problem::at(key, why)
        };
        let mut problems: Vec<_> = foreign.map(problem).collect();
        if self.kind == Lo && !self.up {
            problems.push(Problem::at("up", "lo stays up: leave this out"));
        }
        problems
    }

    /// What is not said and has to be.
    fn missing(&self) -> Option<Problem> {
        let said = match self.kind {
            LinkKind::Stream | LinkKind::Dgram => self.path.is_some(),
            LinkKind::Packet => self.interface.is_some(),
            LinkKind::Pair => self.peer.is_some(),
            LinkKind::Lo | LinkKind::Tap | LinkKind::Lagg => true,
        };
        let (key, example) = match self.kind {
            LinkKind::Packet => ("interface", "write which interface of the kernel, as \"tap7\""),
            LinkKind::Pair => ("peer", "write what the other end is called, as \"p1\""),
            _ => ("path", "write where the unix socket is, as \"/run/vm7/net0.sock\""),
        };
        // At the element, which has no such field.
        (!said).then(|| Problem::at("type", format!("a {} needs {key}: {example}", self.kind)))
    }

    /// Its name. Whether it is one is found out by [`problems`](Checked::problems).
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn if_name(&self) -> Result<IfName, Problem> {
        self.name.parse().map_err(|error| Problem::at("name", error))
    }

    /// Its addresses.
    ///
    /// # Errors
    ///
    /// One of them is none.
    pub fn addresses(&self) -> Result<Vec<Cidr>, Problem> {
        let addresses = self.addr.iter().map(|addr| address(addr));
        addresses.collect::<Result<_, _>>().map_err(|why| Problem::at("addr", why))
    }

    /// Its MAC address, if it is said.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn mac_address(&self) -> Result<Option<MacAddress>, Problem> {
        let mac = self.mac.as_ref().map(|mac| mac_address(mac)).transpose();
        mac.map_err(|why| Problem::at("mac", why))
    }

    /// What its link is said to be like.
    pub fn to_media(&self) -> Media {
        self.media.as_ref().map(MediaSpec::to_media).unwrap_or_default()
    }

    /// The other end of the pair that it is of, as if it were said of by itself.
    pub fn other_end(&self) -> Self {
        let PeerLinkSpec { up, mtu, mac, media } = self.peer_link.clone().unwrap_or_default();
        let name = self.peer.clone().unwrap_or_default();
        Self { up, mtu: mtu.or(self.mtu), mac, media, ..Self::new(name, self.kind) }
    }

    /// The lagg that it is.
    pub fn to_lagg(&self) -> NewLagg {
        let usual = NewLagg::default();
        NewLagg {
            protocol: self.proto.map_or(usual.protocol, Protocol::from),
            hash: self.hash.as_deref().map_or(usual.hash, hash_layers),
            lacp: self.lacp.as_ref().map_or(usual.lacp, |lacp| lacp.applied_to(usual.lacp)),
            ..usual
        }
    }
}

impl MediaSpec {
    /// What is said here, and else what is usual.
    pub fn to_media(&self) -> Media {
        let usual = Media::default();
        Media {
            speed: self.speed.unwrap_or(usual.speed),
            full_duplex: self.full_duplex.unwrap_or(usual.full_duplex),
        }
    }

    /// What is said here, and else what `before` says.
    pub fn or(&self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        Self {
            speed: self.speed.or(before.speed),
            full_duplex: self.full_duplex.or(before.full_duplex),
        }
    }
}

impl LacpSpec {
    /// What is said here, and else what `before` says.
    pub fn applied_to(&self, before: LacpOptions) -> LacpOptions {
        LacpOptions {
            active: self.active.unwrap_or(before.active),
            fast: self.fast.unwrap_or(before.fast),
            system_priority: self.system_priority.unwrap_or(before.system_priority),
            strict: self.strict.unwrap_or(before.strict),
        }
    }
}

impl From<LacpOptions> for LacpSpec {
    fn from(options: LacpOptions) -> Self {
        Self {
            active: Some(options.active),
            fast: Some(options.fast),
            system_priority: Some(options.system_priority),
            strict: Some(options.strict),
        }
    }
}

impl AddrSpec {
    /// The address.
    ///
    /// # Errors
    ///
    /// It is none that an interface can have.
    pub fn to_cidr(&self) -> Result<Cidr, Problem> {
        address(&self.cidr).map_err(|why| Problem::at("cidr", why))
    }
}

impl Checked for AddrSpec {
    fn problems(&self) -> Vec<Problem> {
        let dev = self.dev.parse::<IfName>().err().map(|error| Problem::at("dev", error));
        self.to_cidr().err().into_iter().chain(dev).collect()
    }
}

impl RouteSpec {
    /// The route.
    ///
    /// # Errors
    ///
    /// Where it leads is no network, or nobody can be there who forwards.
    pub fn to_route(&self) -> Result<Route, Problem> {
        let family = if self.via.is_ipv4() { "IPv4" } else { "IPv6" };
        let network = match self.to.as_str() {
            "default" if self.via.is_ipv4() => "0.0.0.0/0".parse(),
            "default" => "::/0".parse(),
            network => network.parse::<Network>(),
        };
        let network = network.map_err(|_| {
            let to = &self.to;
            let why = format!(
                "{to:?} is no destination: write a network, as \"10.1.0.0/16\", or \"default\""
            );
            Problem::at("to", why)
        })?;
        if network.address().is_ipv4() != self.via.is_ipv4() {
            let why = format!("{} is an address of {family}, and {} is not", self.via, self.to);
            return Err(Problem::at("via", why));
        }
        if Cidr::new(self.via, 0).is_err() {
            let why = format!("{} names a group or nobody: write who forwards", self.via);
            return Err(Problem::at("via", why));
        }
        Ok(Route { network, via: self.via })
    }
}

impl Checked for RouteSpec {
    fn problems(&self) -> Vec<Problem> {
        self.to_route().err().into_iter().collect()
    }
}

/// What does not go together in the network of a namespace, and what is more than the limits in force, which
/// `spec` has, allow. `far` are names of interfaces that it has
/// beside: ends of pairs that are said of elsewhere.
pub fn network_problems(spec: &NamespaceSpec, far: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: HashMap<&str, (usize, LinkKind)> = HashMap::new();
    for (index, link) in spec.link.iter().enumerate() {
        let ends = [Some(&link.name), link.peer.as_ref().filter(|_| link.peer_ns.is_none())];
        for (field, name) in ["name", "peer"].into_iter().zip(ends) {
            let Some(name) = name else { continue };
            if let Some((first, _)) = names.insert(name, (index, link.kind))
                && first != index
            {
                let why = format!("{name} is there twice: give one of them another name");
                let problem = Problem::at(field, why).within("link", index);
                problems.push(problem.beside("link", first));
            }
        }
    }
    for name in far {
        names.entry(name).or_insert((usize::MAX, LinkKind::Pair));
    }
    problems.extend(ports(spec, &names));
    problems.extend(addresses(spec, &names));
    problems.extend(too_many_addresses(spec));
    problems.extend(routes(spec));
    problems
}

/// What is wrong with the ports of laggs.
fn ports(spec: &NamespaceSpec, names: &HashMap<&str, (usize, LinkKind)>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut masters: HashMap<&str, usize> = HashMap::new();
    for (index, lagg) in spec.link.iter().enumerate() {
        for (at, port) in lagg.ports.iter().enumerate() {
            let found = names.get(port.as_str());
            let addressed = found
                .and_then(|(at, _)| spec.link.get(*at))
                .is_some_and(|link| link.name == *port && !link.addr.is_empty());
            let why = match found {
                None => Some(no_link(port, names.keys().copied())),
                Some((_, kind @ (LinkKind::Lo | LinkKind::Lagg))) => {
                    Some(format!("{port} is of type {kind}, which cannot be a port"))
                }
                Some(_) if addressed || spec.addr.iter().any(|addr| addr.dev == *port) => {
                    Some(format!("{port} is a port: the addresses belong to {}", lagg.name))
                }
                Some(_) => None,
            };
            let first = masters.insert(port, index).filter(|first| *first != index);
            let twice = first.and_then(|first| spec.link.get(first)).map(|first| {
                format!("{port} is a port of {} already: leave it out of one of them", first.name)
            });
            if let Some(why) = why.or(twice) {
                problems.push(Problem::at_element("ports", at, why).within("link", index));
            }
        }
    }
    problems
}

/// What is wrong with the addresses.
fn addresses(spec: &NamespaceSpec, names: &HashMap<&str, (usize, LinkKind)>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, addr) in spec.addr.iter().enumerate() {
        problems.extend(addr.problems().into_iter().map(|it| it.within("addr", index)));
        if addr.dev != "lo" && !names.contains_key(addr.dev.as_str()) {
            let why = no_link(&addr.dev, names.keys().copied());
            problems.push(Problem::at("dev", why).within("addr", index));
        }
    }
    let of_links = spec.link.iter().enumerate().flat_map(|(index, link)| {
        let place = move |at| (Some((index, at)), "link");
        link.addr.iter().enumerate().map(move |(at, addr)| (addr.as_str(), place(at), index))
    });
    let others = spec.addr.iter().enumerate();
    let others = others.map(|(index, addr)| (addr.cidr.as_str(), (None, "addr"), index));
    let mut owners: HashMap<IpAddr, (&str, usize)> = HashMap::new();
    for (text, (element, list), index) in of_links.chain(others) {
        // What is none is said elsewhere; twice at the same link, too.
        let Ok(cidr) = address(text) else { continue };
        if let Some((other_list, other)) = owners.insert(cidr.address(), (list, index))
            && (other_list, other) != (list, index)
        {
            let why = format!("{} is there twice: leave one of them out", cidr.address());
            let problem = match element {
                Some((_, at)) => Problem::at_element("addr", at, why),
                None => Problem::at("cidr", why),
            };
            let other_list = if other_list == "link" { "link" } else { "addr" };
            problems.push(problem.within(list, index).beside(other_list, other));
        }
    }
    problems
}

/// The first address of each interface that is one too many.
fn too_many_addresses(spec: &NamespaceSpec) -> Vec<Problem> {
    let most = spec.limits.addresses_of_link();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    let mut count = |name, place: &dyn Fn(String) -> Problem| {
        let count = counts.entry(name).or_default();
        *count += 1;
        if *count == most + 1 {
            let why = format!(
                "{name} has more than {most} addresses: leave some out, or raise the limit addresses"
            );
            problems.push(place(why));
        }
    };
    for (index, link) in spec.link.iter().enumerate() {
        for at in 0..link.addr.len() {
            count(&link.name, &|why| Problem::at_element("addr", at, why).within("link", index));
        }
    }
    for (index, addr) in spec.addr.iter().enumerate() {
        count(&addr.dev, &|why| Problem::at("cidr", why).within("addr", index));
    }
    problems
}

/// What is wrong with the routes.
fn routes(spec: &NamespaceSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let most = spec.limits.routes_in_all();
    if spec.route.len() > most {
        let why =
            format!("there are more than {most} routes: leave some out, or raise the limit routes");
        problems.push(Problem::at("to", why).within("route", most));
    }
    let of_links = spec.link.iter().flat_map(|link| &link.addr);
    let networks = of_links.chain(spec.addr.iter().map(|addr| &addr.cidr));
    let networks: Vec<Network> = networks.filter_map(|addr| addr.parse().ok()).collect();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, route) in spec.route.iter().enumerate() {
        problems.extend(route.problems().into_iter().map(|it| it.within("route", index)));
        let Ok(parsed) = route.to_route() else { continue };
        if let Some(first) = known.insert(parsed.network.to_string(), index) {
            let why = format!("there are two routes to {}: leave one of them out", route.to);
            let problem = Problem::at("to", why).within("route", index);
            problems.push(problem.beside("route", first));
        }
        if !networks.iter().any(|network| network.contains(route.via)) {
            let why = format!(
                "{} is in no network of an address here: whoever forwards is a neighbour",
                route.via
            );
            problems.push(Problem::at("via", why).within("route", index));
        }
    }
    problems
}

fn no_link<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no link {name}: did you mean {near}?"),
        None => format!("there is no link {name}: add it, or name one that is there"),
    }
}

/// An address that an interface can have.
fn address(text: &str) -> Result<Cidr, String> {
    let cidr: Cidr = text.parse().map_err(|error| format!("{error}"))?;
    let network = text.parse::<Network>().map_err(|error| error.to_string())?;
    if network.is_station() {
        return Ok(cidr);
    }
    Err(format!("{text} names the whole network, and not a station in it: write another address"))
}

fn mac_address(text: &str) -> Result<MacAddress, String> {
    let mac: MacAddress =
        text.parse().map_err(|_| format!("{text:?} is no MAC address: write 02:00:5e:10:00:01"))?;
    if mac.is_station() {
        return Ok(mac);
    }
    Err(format!("{mac} names a group or nobody: write the address of a station"))
}

fn check_mtu(mtu: u32, addresses: &[String]) -> Option<Problem> {
    if !(MTU_MIN..=MTU_MAX).contains(&(mtu as usize)) {
        let why = format!("{mtu} is out of range: write a number from {MTU_MIN} to {MTU_MAX}");
        return Some(Problem::at("mtu", why));
    }
    let v6 = addresses.iter().find(|addr| addr.contains(':')).filter(|_| mtu < IPV6_MTU_MIN)?;
    let why = format!("{mtu} is too little for {v6}: IPv6 needs {IPV6_MTU_MIN}");
    Some(Problem::at("mtu", why))
}

/// What is wrong with the path of a unix socket.
fn socket_path(path: &Path) -> Option<String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Some(format!("{shown} has to be an absolute path"));
    }
    let length = path.as_os_str().len();
    (length > SOCKET_PATH_MAX).then(|| {
        format!(
            "{shown} has {length} bytes: the path of a unix socket has {SOCKET_PATH_MAX} at most"
        )
    })
}

fn is_kernel_name(name: &str) -> bool {
    let visible = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    (1..=15).contains(&name.len()) && name.chars().all(visible) && name != "." && name != ".."
}

/// The layers of a hash.
pub fn hash_layers(layers: &[HashLayer]) -> HashLayers {
    let has = |layer| layers.contains(&layer);
    HashLayers { l2: has(HashLayer::L2), l3: has(HashLayer::L3), l4: has(HashLayer::L4) }
}

/// The same in the words of the model.
pub fn hash_layers_view(layers: HashLayers) -> Vec<HashLayer> {
    let all = [(layers.l2, HashLayer::L2), (layers.l3, HashLayer::L3), (layers.l4, HashLayer::L4)];
    all.into_iter().filter_map(|(on, layer)| on.then_some(layer)).collect()
}

impl From<LaggProto> for Protocol {
    fn from(proto: LaggProto) -> Self {
        match proto {
            LaggProto::None => Self::None,
            LaggProto::Failover => Self::Failover,
            LaggProto::Loadbalance => Self::LoadBalance,
            LaggProto::Roundrobin => Self::RoundRobin,
            LaggProto::Broadcast => Self::Broadcast,
            LaggProto::Lacp => Self::Lacp,
        }
    }
}

impl From<Protocol> for LaggProto {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::None => Self::None,
            Protocol::Failover => Self::Failover,
            Protocol::LoadBalance => Self::Loadbalance,
            Protocol::RoundRobin => Self::Roundrobin,
            Protocol::Broadcast => Self::Broadcast,
            Protocol::Lacp => Self::Lacp,
        }
    }
}

impl LinkKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lo => "lo",
            Self::Pair => "pair",
            Self::Tap => "tap",
            Self::Packet => "packet",
            Self::Stream => "stream",
            Self::Dgram => "dgram",
            Self::Lagg => "lagg",
        }
    }
}

/// As in `10.0.0.1/24 dev p0`.
impl Display for AddrSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.cidr, self.dev)
    }
}

/// As in `default via 10.0.0.254`.
impl Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.to, self.via)
    }
}

impl Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What IPv6 needs, in bytes (RFC 8200, section 5).
const IPV6_MTU_MIN: u32 = 1280;
/// The longest path of a unix socket, in bytes (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
