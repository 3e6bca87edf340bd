//! What can be said against a spec without touching the system, and what the parts of holm make of
//! it. Configuration and API check by the same rules; a problem names the field it is about, so that
//! the configuration can point at it.

mod links;
mod local;

pub use links::{hash_layers, hash_layers_view, network_problems};

use crate::model::{
    ExportSpec, LimitsSpec, ListenSpec, NamespaceSpec, NetnsRef, OWN_LINKS, Squash,
};
use holm_ifnet::stack::Limits as StackLimits;
use holm_netns::NsName;
use holm_nfsd::beneath::Mounts;
use holm_nfsd::export::{ExportOptions, Network, OptionProblem, OptionsError};
use holm_nfsd::identity::{self, SquashWho};
use holm_nfsd::volume::Durability;
use holm_sunrpc::server::ServerLimits;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, from the outermost field to the innermost.
    pub place: Vec<Step>,
    /// What, and what to do about it.
    pub why: String,
    /// The place of what it does not go together with, if that is another element.
    pub other: Option<Vec<Step>>,
}

/// One step on the way to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a field.
    Field(&'static str),
    /// To an element of a list, from 0.
    Element(usize),
}

/// A spec that holds what it has to hold.
pub trait Checked {
    /// All that is wrong with it.
    fn problems(&self) -> Vec<Problem>;
}

impl Checked for NamespaceSpec {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = self.name.parse::<NsName>() {
            let near = self.name.to_ascii_lowercase().replace(['_', '.', ' '], "-");
            let hint = match near.parse::<NsName>() {
                Ok(near) => format!(": did you mean {near}?"),
                Err(_) => String::new(),
            };
            problems.push(Problem::at("name", format!("{error}{hint}")));
        }
        for (index, export) in self.export.iter().enumerate() {
            problems.extend(export.problems().into_iter().map(|it| it.within("export", index)));
            let twice = self.export.iter().take(index).position(|it| it.path == export.path);
            if let Some(first) = twice {
                let why = format!(
                    "{} is exported twice: give one of them another path, or leave it out",
                    export.path
                );
                let problem = Problem::at("path", why).within("export", index);
                problems.push(problem.beside("export", first));
            }
            let longest = self.limits.record_size.unwrap_or(u32::MAX);
            if longest < export.max_write.saturating_add(CALL_OVERHEAD) {
                let why = format!(
                    "a WRITE of {} bytes is a call of more than the {longest} that the limit \
                     record-size allows: make one of them fit the other",
                    export.max_write
                );
                problems.push(Problem::at("max-write", why).within("export", index));
            }
        }
        for (index, listen) in self.listen.iter().enumerate() {
            problems.extend(listen.problems().into_iter().map(|it| it.within("listen", index)));
            let mut before = self.listen.iter().take(index).enumerate();
            if let Some((first, other)) = before.find(|(_, it)| it.overlaps(listen)) {
                let problem = Problem::at("addr", overlapping(other)).within("listen", index);
                problems.push(problem.beside("listen", first));
            }
        }
        for (index, link) in self.link.iter().enumerate() {
            problems.extend(link.problems().into_iter().map(|it| it.within("link", index)));
        }
        let limits = self.limits.problems().into_iter().map(|it| it.inside("limits"));
        problems.extend(limits);
        problems.extend(self.local.problems().into_iter().map(|it| it.inside("local")));
        problems
    }
}

impl Checked for ExportSpec {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, client) in self.clients.iter().enumerate() {
            if let Err(error) = client.parse::<Network>()
                && client != OWN_LINKS
            {
                problems.push(Problem::at_element("clients", index, error));
            }
        }
        if let Err(error) = self.path.parse::<holm_nfsd::export::ExportPath>() {
            problems.push(Problem::at("path", error));
        }
        // One by one: a check says only the first that it finds.
        let known = |client: &&String| *client == OWN_LINKS || client.parse::<Network>().is_ok();
        let clients = self.clients.iter().filter(known);
        let rest = Self { path: "/".into(), clients: clients.cloned().collect(), ..self.clone() };
        let Ok(options) = rest.to_options() else { return problems };
        let mut probes = [(); 5].map(|()| ExportOptions::new(options.path.clone(), "/"));
        let [dir, clients, squash, read, write] = &mut probes;
        dir.directory.clone_from(&options.directory);
        if self.clients.is_empty() {
            clients.clients.clear();
        }
        squash.squash = options.squash;
        read.read_max = options.read_max;
        write.write_max = options.write_max;
        for probe in probes {
            if let Err(OptionsError { what, .. }) = probe.check() {
                problems.push(Problem::at(field_of(&what, &options), what));
            }
        }
        problems
    }
}

impl ExportSpec {
    /// The export that this is. Whether it can be is found out by [`ExportOptions::check`] and by
    /// opening it.
    ///
    /// # Errors
    ///
    /// If the path or a client is none.
    pub fn to_options(&self) -> Result<ExportOptions, Problem> {
        let path = self.path.parse().map_err(|error| Problem::at("path", error))?;
        let mut options = ExportOptions::new(path, &self.dir);
        options.read_only = self.read_only;
        options.squash = identity::Squash {
            who: match self.squash {
                Squash::Root => SquashWho::Root,
                Squash::All => SquashWho::Everybody,
                Squash::None => SquashWho::Nobody,
            },
            uid: self.anon_uid,
            gid: self.anon_gid,
        };
        options.own_links = self.clients.iter().any(|client| client == OWN_LINKS);
        let networks = self.clients.iter().filter(|client| *client != OWN_LINKS);
        let clients = networks.map(|client| client.parse());
        options.clients = clients
            .collect::<Result<_, _>>()
            .map_err(|error: holm_nfsd::export::NetworkError| Problem::at("clients", error))?;
        options.privileged_port = self.privileged_port;
        options.mounts = if self.cross_mounts { Mounts::Crossed } else { Mounts::Closed };
        options.read_max = self.max_read;
        options.write_max = self.max_write;
        options.durability = if self.lose_changes_on_power_failure {
            Durability::LostOnPowerFailure
        } else {
            Durability::Durable
        };
        Ok(options)
    }
}

impl Checked for ListenSpec {
    fn problems(&self) -> Vec<Problem> {
        self.netns.as_ref().and_then(netns_problem).into_iter().collect()
    }
}

impl ListenSpec {
    /// Whether both cannot be listened at.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.netns == other.netns && overlap(self.addr, other.addr)
    }
}

/// What is wrong with the name of a kernel network namespace.
fn netns_problem(netns: &NetnsRef) -> Option<Problem> {
    match netns {
        NetnsRef::Pid(0) => Some(Problem::at("netns", "a process has a number from 1 on")),
        NetnsRef::Path(path) if !path.starts_with('/') => {
            let why = format!("{path:?} has to be an absolute path, or the number of a process");
            Some(Problem::at("netns", why))
        }
        _ => None,
    }
}

/// Whether the system lets nobody listen at both. Port 0 is another one each time.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |ip: IpAddr, other: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        // Also those of IPv4.
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port()
        && one.port() != 0
        && (one_ip == other_ip || all(one_ip, other_ip) || all(other_ip, one_ip))
}

/// That two listeners can't be.
pub(crate) fn overlapping(other: impl fmt::Display) -> String {
    format!("it overlaps {other}: listen at another address or port, or leave one of them out")
}

/// Who listens where.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<Port, HashMap<IpAddr, String>>);

/// A port, in a kernel network namespace.
type Port = (Option<NetnsRef>, u16);

impl Addresses {
    /// Who is in the way of somebody who would listen there, and at which address.
    pub fn overlapping(
        &self,
        addr: SocketAddr,
        netns: Option<&NetnsRef>,
    ) -> Option<(SocketAddr, &str)> {
        let taken = self.0.get(&(netns.cloned(), addr.port()))?;
        let ip = addr.ip().to_canonical();
        let found = if ip.is_unspecified() {
            taken.iter().find(|(other, _)| overlap(addr, SocketAddr::new(**other, addr.port())))
        } else {
            let all_v4 = ip.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into());
            let all_v6 = Some(Ipv6Addr::UNSPECIFIED.into());
            let in_the_way = [Some(ip), all_v4, all_v6].into_iter().flatten();
            in_the_way.filter_map(|ip| taken.get_key_value(&ip)).next()
        };
        // Port 0 is another one each time.
        let (ip, owner) = found.filter(|_| addr.port() != 0)?;
        Some((SocketAddr::new(*ip, addr.port()), owner))
    }

    /// Somebody listens there from now on.
    pub fn add(&mut self, addr: SocketAddr, netns: Option<&NetnsRef>, owner: &str) {
        let taken = self.0.entry((netns.cloned(), addr.port())).or_default();
        taken.insert(addr.ip().to_canonical(), owner.to_owned());
    }

    /// `owner` does not listen there any more; somebody else may by now.
    pub fn remove(&mut self, addr: SocketAddr, netns: Option<&NetnsRef>, owner: &str) {
        let port = (netns.cloned(), addr.port());
        let ip = addr.ip().to_canonical();
        if let Some(taken) = self.0.get_mut(&port) {
            if taken.get(&ip).is_some_and(|by| by == owner) {
                taken.remove(&ip);
            }
            if taken.is_empty() {
                self.0.remove(&port);
            }
        }
    }
}

impl fmt::Display for ListenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)?;
        match &self.netns {
            None => Ok(()),
            Some(netns) => write!(f, " in {netns}"),
        }
    }
}

impl fmt::Display for NetnsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "the network namespace of process {pid}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

impl Checked for LimitsSpec {
    fn problems(&self) -> Vec<Problem> {
        let in_range = |field, value: Option<u32>, least: u32, most: u32| {
            let value = value.filter(|value| !(least..=most).contains(value))?;
            let why = format!("{value} is out of range: write a number from {least} to {most}");
            Some(Problem::at(field, why))
        };
        [
            in_range("connections", self.connections, 1, 1 << 20),
            in_range("record-size", self.record_size, 16 << 10, 64 << 20),
            in_range("unsent-replies", self.unsent_replies, 16 << 10, 1 << 30),
            in_range("idle-time", self.idle_time, 10, 365 * 86400),
            in_range("requests-in-flight", self.requests_in_flight, 1, 1 << 20).map(|it| Problem {
                why: format!("{}, or leave it out for no limit", it.why),
                ..it
            }),
            in_range("open-files", self.open_files, 1, 1 << 24),
            in_range("local-files", self.local_files, 1, 1 << 20),
            in_range("addresses", self.addresses, 1, 255),
            in_range("routes", self.routes, 1, 1024),
            in_range("neighbors", self.neighbors, 16, 8192),
            in_range("link-connections", self.link_connections, 1, 1 << 20),
            in_range("link-half-open", self.link_half_open, 1, 1 << 16),
            in_range("link-memory", self.link_memory, 1 << 20, u32::MAX),
            in_range("link-buffer", self.link_buffer, 64 << 10, 1 << 30),
            in_range("link-silence", self.link_silence, 10, 365 * 86400),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl LimitsSpec {
    /// The same, and where nothing is said what `others` say.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        Self {
            connections: self.connections.or(others.connections),
            record_size: self.record_size.or(others.record_size),
            unsent_replies: self.unsent_replies.or(others.unsent_replies),
            idle_time: self.idle_time.or(others.idle_time),
            requests_in_flight: self.requests_in_flight.or(others.requests_in_flight),
            open_files: self.open_files.or(others.open_files),
            local_files: self.local_files.or(others.local_files),
            addresses: self.addresses.or(others.addresses),
            routes: self.routes.or(others.routes),
            neighbors: self.neighbors.or(others.neighbors),
            link_connections: self.link_connections.or(others.link_connections),
            link_half_open: self.link_half_open.or(others.link_half_open),
            link_memory: self.link_memory.or(others.link_memory),
            link_buffer: self.link_buffer.or(others.link_buffer),
            link_silence: self.link_silence.or(others.link_silence),
        }
    }

    /// Those of a namespace's sockets.
    pub fn of_sockets(&self) -> ServerLimits {
        let mut limits = ServerLimits::default();
        let size = |value: Option<u32>, default| value.map_or(default, |value| value as usize);
        limits.connections = size(self.connections, limits.connections);
        limits.connection.record = size(self.record_size, limits.connection.record);
        limits.connection.unsent = size(self.unsent_replies, limits.connection.unsent);
        limits.idle = self.idle_time.map_or(limits.idle, |time| Duration::from_secs(time.into()));
        limits
    }
}

impl LimitsSpec {
    /// Those of the stack of each interface.
    pub fn of_stacks(&self) -> StackLimits {
        let mut limits = StackLimits::default();
        let size = |value: Option<u32>, default| value.map_or(default, |value| value as usize);
        limits.connections = size(self.link_connections, limits.connections);
        limits.half_open = size(self.link_half_open, limits.half_open);
        limits.memory = size(self.link_memory, limits.memory);
        limits.room_max = size(self.link_buffer, limits.room_max);
        limits.neighbors = size(self.neighbors, limits.neighbors);
        if let Some(silence) = self.link_silence {
            limits.silence = Duration::from_secs(silence.into());
            // Often enough that one answer may be lost.
            limits.keep_alive = limits.silence / 3;
        }
        limits
    }

    /// How many addresses an interface may have.
    pub(crate) fn addresses_of_link(&self) -> usize {
        self.addresses.map_or(ADDRESSES, |most| most as usize)
    }

    /// How many routes there may be.
    pub(crate) fn routes_in_all(&self) -> usize {
        self.routes.map_or(ROUTES, |most| most as usize)
    }
}

/// Addresses of an interface where nothing is said.
const ADDRESSES: usize = 64;
/// Routes of a namespace where nothing is said.
const ROUTES: usize = 256;

impl Problem {
    fn at(field: &'static str, why: impl fmt::Display) -> Self {
        Self { place: vec![Step::Field(field)], why: why.to_string(), other: None }
    }

    fn at_element(field: &'static str, index: usize, why: impl fmt::Display) -> Self {
        let place = vec![Step::Field(field), Step::Element(index)];
        Self { place, why: why.to_string(), other: None }
    }

    fn beside(self, field: &'static str, index: usize) -> Self {
        Self { other: Some(vec![Step::Field(field), Step::Element(index)]), ..self }
    }

    /// The same in the words of who knows the spec, but not its order: `export /more: clients: …`.
    pub fn said_of(&self, spec: &NamespaceSpec) -> String {
        let (what, within) = match &self.place[..] {
            [Step::Field("export"), Step::Element(index), rest @ ..] => {
                (spec.export.get(*index).map(|it| format!("export {}", it.path)), rest)
            }
            [Step::Field("listen"), Step::Element(index), rest @ ..] => {
                (spec.listen.get(*index).map(|it| format!("listener {it}")), rest)
            }
            [Step::Field("link"), Step::Element(index), rest @ ..] => {
                (spec.link.get(*index).map(|it| format!("link {}", it.name)), rest)
            }
            [Step::Field("addr"), Step::Element(index), rest @ ..] => {
                (spec.addr.get(*index).map(|it| format!("address {}", it.cidr)), rest)
            }
            [Step::Field("route"), Step::Element(index), rest @ ..] => {
                (spec.route.get(*index).map(|it| format!("route to {}", it.to)), rest)
            }
            _ => (None, &[][..]),
        };
        let Some(what) = what else { return self.to_string() };
        // The value itself is in the reason.
        let field = within.iter().find_map(|step| match step {
            Step::Field(field) => Some(*field),
            Step::Element(_) => None,
        });
        match field {
            Some(field) => format!("{what}: {field}: {}", self.why),
            None => format!("{what}: {}", self.why),
        }
    }

    fn inside(mut self, field: &'static str) -> Self {
        self.place.insert(0, Step::Field(field));
        self
    }

    fn within(mut self, field: &'static str, index: usize) -> Self {
        self.place.splice(0..0, [Step::Field(field), Step::Element(index)]);
        self
    }
}

/// `export[0].clients[2]: …`, with elements counted from 0.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.place.iter().enumerate() {
            match step {
                Step::Field(field) if index == 0 => f.write_str(field)?,
                Step::Field(field) => write!(f, ".{field}")?,
                Step::Element(element) => write!(f, "[{element}]")?,
            }
        }
        write!(f, ": {}", self.why)
    }
}

fn field_of(problem: &OptionProblem, options: &ExportOptions) -> &'static str {
    match problem {
        OptionProblem::Relative(_) => "dir",
        OptionProblem::NoClients => "clients",
        OptionProblem::Transfer { option: "read size", .. } => "max-read",
        OptionProblem::Transfer { .. } => "max-write",
        OptionProblem::NoUser if options.squash.uid == u32::MAX => "anon-uid",
        OptionProblem::NoUser => "anon-gid",
    }
}

/// Bytes of a WRITE beside its data, and room to spare: header, credential, handle.
const CALL_OVERHEAD: u32 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_links_are_those_of_stacks() {
        let said = LimitsSpec {
            link_connections: Some(7),
            link_half_open: Some(3),
            link_memory: Some(1 << 21),
            link_buffer: Some(1 << 17),
            link_silence: Some(30),
            ..LimitsSpec::default()
        };
        let limits = said.of_stacks();
        assert_eq!((limits.connections, limits.half_open), (7, 3));
        assert_eq!((limits.memory, limits.room_max), (1 << 21, 1 << 17));
        let seconds = Duration::from_secs;
        assert_eq!((limits.silence, limits.keep_alive), (seconds(30), seconds(10)));
        assert_eq!(LimitsSpec::default().of_stacks(), StackLimits::default());
    }

    #[test]
    fn addresses_overlap_as_the_system_has_it() {
        for (one, other, expected) in [
            ("127.0.0.1:2049", "127.0.0.1:2049", true),
            ("127.0.0.1:2049", "127.0.0.2:2049", false),
            ("127.0.0.1:2049", "127.0.0.1:2050", false),
            ("0.0.0.0:2049", "10.0.0.1:2049", true),
            ("0.0.0.0:2049", "[::1]:2049", false),
            ("[::]:2049", "10.0.0.1:2049", true),
            ("[::ffff:10.0.0.1]:2049", "10.0.0.1:2049", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
            let mut addresses = Addresses::default();
            addresses.add(one, None, "blue");
            let found = addresses.overlapping(other, None);
            assert_eq!(found.is_some(), expected, "{other} beside {one}");
            addresses.remove(one, None, "green");
            assert_eq!(addresses.overlapping(other, None).is_some(), expected);
            addresses.remove(one, None, "blue");
            assert_eq!(addresses.overlapping(other, None), None);
        }
    }

    #[test]
    fn problems_say_where_and_all_of_them() {
        let mut bad = ExportSpec::new("x", "relative");
        bad.clients = vec!["10.0.0.0/8".into(), "10.0.0.1/8".into()];
        bad.max_read = 1;
        let mut other = ExportSpec::new("/a", "/srv");
        other.clients.clear();
        let spec = NamespaceSpec {
            name: "Blue".into(),
            export: vec![bad, other.clone(), other],
            listen: vec![
                ListenSpec::new("0.0.0.0:1".parse().unwrap()),
                ListenSpec::new("127.0.0.1:1".parse().unwrap()),
            ],
            limits: LimitsSpec {
                connections: Some(0),
                record_size: Some(1 << 20),
                requests_in_flight: Some(0),
                ..LimitsSpec::default()
            },
            ..NamespaceSpec::default()
        };
        let named =
            spec.problems().iter().map(|problem| problem.said_of(&spec)).collect::<Vec<_>>();
        for expected in [
            "name: namespace name \"Blue\"",
            "export x: clients: \"10.0.0.1/8\" has bits behind its prefix",
            "export /a: path: /a is exported twice",
            "listener 127.0.0.1:1: addr: it overlaps 0.0.0.0:1",
            "limits.connections: 0 is out of range",
        ] {
            assert!(named.iter().any(|said| said.starts_with(expected)), "{expected}: {named:#?}");
        }
        let said: Vec<String> = spec.problems().iter().map(ToString::to_string).collect();
        for expected in [
            "name: namespace name \"Blue\"",
            "export[0].clients[1]: \"10.0.0.1/8\" has bits behind its prefix",
            "export[0].path: \"x\" cannot be the path of an export",
            "export[0].dir: the directory relative has to be an absolute path",
            "export[0].max-write: a WRITE of 1048576 bytes",
            "export[1].clients: it has no clients",
            "export[2].path: /a is exported twice",
            "listen[1].addr: it overlaps 0.0.0.0:1",
            "limits.connections: 0 is out of range: write a number from 1 to 1048576",
            "limits.requests-in-flight: 0 is out of range: write a number from 1 to 1048576, or leave \
             it out for no limit",
        ] {
            assert!(said.iter().any(|said| said.starts_with(expected)), "{expected}: {said:#?}");
        }
    }
}
