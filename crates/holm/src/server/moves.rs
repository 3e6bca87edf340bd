//! How an end of a pair comes to another namespace.
//!
//! The interface itself moves at once, with both namespaces locked: see [`NsInterfaces::move_to`]. What was
//! asked for follows it. A pair is said of once, by one of its ends: so up to three namespaces are about it,
//! those between which the end moves and the one that speaks of the pair, and all of them are claimed.

use super::commit::set_limits_at_own_links;
use super::far_ends::{name_of, speaker};
use super::network::{Network, Site, if_name};
use super::tenants::{Tenant, Tenants};
use super::{Error, Server};
use crate::model::{LinkKind, LinkMove, LinkSpec, LinkView, NamespaceSpec};
use holm_ifnet::{IfName, MoveError};
use holm_netns::Namespace;
use std::collections::{BTreeMap, BTreeSet};

/// A move that may be made.
struct Move {
    name: IfName,
    to_name: IfName,
    from: Namespace,
    to: Namespace,
    /// The networks of the namespaces that it is about as they are then, by name.
    networks: BTreeMap<String, Network>,
}

impl Server {
    /// Moves an end of a pair to another namespace. Its addresses stay behind, and the connections to them
    /// are reset.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn move_link(&self, ns: &str, name: &str, place: &LinkMove) -> Result<LinkView, Error> {
        let mut planned = Err(Error::no_namespace(ns));
        let mut tenants = self.wait_while(|tenants| {
            planned = Move::plan(tenants, ns, name, place);
            let about = [ns, &place.to].map(|spec| spec.split('@').next().unwrap_or(spec));
            let is_claimed = |name: &str| tenants.claimed.contains(name);
            about.iter().any(|name| is_claimed(name))
                || planned.as_ref().is_ok_and(|planned| planned.names().any(is_claimed))
        });
        let planned = planned?;
        for name in planned.names() {
            self.check(&planned.spec_of(tenants.live(name)?), &planned.far_ends(&tenants, name))?;
        }
        let names: BTreeSet<String> = planned.names().map(str::to_owned).collect();
        let claim = self.claim_of(&mut tenants, names);
        let limits = tenants.live(&place.to)?.limits.or(&self.limits).of_sockets();
        drop(tenants);

        self.carry_over(&planned)?;
        set_limits_at_own_links(&planned.to, limits);
        let mut tenants = self.tenants();
        for (name, network) in planned.networks {
            let Some(tenant) = tenants.live.get_mut(&name) else { continue };
            tenant.network = network;
            tenant.network.forget_those_left(&tenant.interfaces);
            tenant.version += 1;
        }
        drop((tenants, claim));
        self.link(&place.to, planned.to_name.as_str())
    }

    /// Moves the interface.
    fn carry_over(&self, planned: &Move) -> Result<(), Error> {
        let Move { name, to_name, from, to, .. } = planned;
        let enter =
            |ns: &Namespace| ns.enter().ok_or_else(|| Error::no_namespace(ns.id().name.as_str()));
        let (here, there) = (enter(from)?, enter(to)?);
        let (here, there) = (Site::of(from, &here)?, Site::of(to, &there)?);
        there.serve(&self.programmes)?;
        let why = format!("moved to namespace {} as {to_name}", to.id());
        let go = || here.interfaces.move_to(*name, &there.interfaces, Some(*to_name));
        self.reasons.given(from.id().id, *name, why, go).map_err(|error| {
            let text = format!("namespace {}: {error}", from.id().name);
            match error {
                MoveError::NoInterface(_) => Error::NotFound(text),
                MoveError::Exists(_) => Error::Exists(text),
                MoveError::Stays { .. } => Error::Invalid(text),
                MoveError::Gone(_) => Error::Failed(text),
            }
        })
    }
}

impl Move {
    /// What is to be done, unless it cannot be.
    fn plan(tenants: &Tenants, ns: &str, name: &str, place: &LinkMove) -> Result<Self, Error> {
        let (from, to) = (tenants.live(ns)?, tenants.live(&place.to)?);
        let (from_ns, to_ns) = (name_of(from), name_of(to));
        let to_name = place.name.as_deref().unwrap_or(name);
        let none = || Error::NotFound(format!("namespace {from_ns} has no link {name}"));
        let (here, there) = (if_name(name)?, if_name(to_name)?);
        let kind = from.interfaces.find(here).map(|interface| interface.kind());
        let kind = kind.ok_or_else(none)?;
        if kind != LinkKind::Pair.as_str() {
            let why = "stays in its namespace: only an end of a pair can be moved";
            let text = format!("link {name} of namespace {from_ns} is of type {kind}, which {why}");
            return Err(Error::Invalid(text));
        }
        if from_ns == to_ns {
            let why = "give it another name with link set";
            let text = format!("link {name} is in namespace {to_ns} already: {why}");
            return Err(Error::Invalid(text));
        }
        if to.interfaces.find(there).is_some() {
            let text = format!("namespace {to_ns} has a link {to_name}: give another name");
            return Err(Error::Exists(text));
        }
        let mut here_now = from.network_now();
        let is_port = |lagg: &&LinkSpec| lagg.ports.iter().any(|port| port == name);
        if let Some(lagg) = here_now.links.iter().find(is_port) {
            let (lagg, why) = (&lagg.name, "take it out first, with nomaster");
            let text = format!("link {name} of namespace {from_ns} is a port of {lagg}: {why}");
            return Err(Error::Invalid(text));
        }
        let mut there_now = to.network_now();
        let mut networks = BTreeMap::new();
        if let Some(spec) = here_now.link(name).cloned() {
            // It speaks of the pair, and goes on with that where it will be.
            let peer_ns = spec.peer_ns.as_deref().unwrap_or(from_ns);
            let peer_ns = (peer_ns != to_ns).then(|| peer_ns.to_owned());
            let (name, addr) = (to_name.to_owned(), Vec::new());
            there_now.links.push(LinkSpec { name, addr, peer_ns, ..spec });
        } else {
            let (owner, link) = speaker(tenants, from_ns, name).ok_or_else(none)?;
            let mut of_others = None;
            let network = match name_of(owner) {
                ns if ns == from_ns => &mut here_now,
                ns if ns == to_ns => &mut there_now,
                _ => of_others.insert(owner.network_now()),
            };
            for spec in network.links.iter_mut().filter(|spec| spec.name == link.name) {
                spec.peer = Some(to_name.to_owned());
                spec.peer_ns = (name_of(owner) != to_ns).then(|| to_ns.to_owned());
            }
            networks.extend(of_others.map(|network| (name_of(owner).to_owned(), network)));
        }
        here_now.forget(name);
        networks.insert(from_ns.to_owned(), here_now);
        networks.insert(to_ns.to_owned(), there_now);
        let (from, to) = (from.ns.clone(), to.ns.clone());
        Ok(Self { name: here, to_name: there, from, to, networks })
    }

    /// The namespaces that it is about.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.networks.keys().map(String::as_str)
    }

    /// What a namespace is then, as far as its network goes.
    fn spec_of(&self, tenant: &Tenant) -> NamespaceSpec {
        let name = name_of(tenant).to_owned();
        let Network { links, addrs, routes } =
            self.networks.get(&name).cloned().unwrap_or_default();
        let limits = tenant.limits.clone();
        NamespaceSpec {
            name,
            link: links,
            addr: addrs,
            route: routes,
            limits,
            ..Default::default()
        }
    }

    /// The names of ends that other namespaces have in this one then.
    fn far_ends(&self, tenants: &Tenants, ns: &str) -> Vec<String> {
        let links = tenants.live.iter().flat_map(|(name, tenant)| {
            let network = self.networks.get(name).unwrap_or(&tenant.network);
            network.links.iter().filter(|link| link.peer_ns.as_deref() == Some(ns))
        });
        links.filter_map(|link| link.peer.clone()).collect()
    }
}
