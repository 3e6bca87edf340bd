//! A namespace's own network: what it is, and the steps from there to what it is to be.
//!
//! A step is one thing that is done to an interface, and knows how it is undone. Steps come in three
//! [phases](Plan): what goes, what comes, and what is said of what is there; all namespaces that change
//! together are through with one before the next begins, since an interface that comes in one namespace
//! may be what another speaks of. Whoever fails on the way goes back step by step.

use super::Error;
use super::change::Alteration;
use super::listeners::Programmes;
use super::prepare::served;
use super::wires::{self, Elsewhere};
use crate::model::{
    AddrSpec, LacpSpec, LinkKind, LinkPatch, LinkSpec, NamespaceSpec, PeerLinkSpec, RouteSpec,
};
use crate::stack::AtOwnLinks;
use holm_ifnet::aggregation::LaggRequest;
use holm_ifnet::stack::{self as ip, NsStacks, StackSubsystem};
use holm_ifnet::{
    Cidr, DestroyError, IfName, IfnetSubsystem, Leaving, NsInterfaces, Request, RequestError, lo,
};
use holm_lifetime::Deadline;
use holm_netns::{Inside, Namespace};
use holm_pool::PoolSubsystem;
use std::time::Duration;

/// The own network of a namespace, as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) links: Vec<LinkSpec>,
    pub(super) addrs: Vec<AddrSpec>,
    pub(super) routes: Vec<RouteSpec>,
}

/// How a network becomes another.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) phases: [Vec<Step>; PHASES],
}

/// What goes, what comes, and what is said of what is there.
pub(super) const PHASES: usize = 3;

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create(LinkSpec),
    Destroy(LinkSpec),
    /// Asks an interface something.
    Ask(Asked),
    /// The same of one in that namespace.
    AskThere(String, Asked),
    Rename {
        from: IfName,
        to: IfName,
    },
    Routes {
        before: Vec<RouteSpec>,
        after: Vec<RouteSpec>,
    },
}

/// A request to an interface, and the one that undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    name: IfName,
    request: Request,
    undo: Option<Request>,
}

/// Where steps are taken.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) ns: Namespace,
    pub(super) interfaces: NsInterfaces,
    stacks: NsStacks,
}

impl Plan {
    /// An interface that is made anew gets the addresses again that it has.
    pub(super) fn readdress(name: IfName, addresses: &[Cidr]) -> Self {
        let mut plan = Self::default();
        let Self { phases: [going, _, saying] } = &mut plan;
        for cidr in addresses {
            let (add, remove) = (Request::AddAddress(*cidr), Request::RemoveAddress(*cidr));
            let undo = Some(add.clone());
            going.push(Step::Ask(Asked { name, request: remove.clone(), undo }));
            saying.push(Step::Ask(Asked { name, request: add, undo: Some(remove) }));
        }
        plan
    }

    /// The pairs that come.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &LinkSpec> {
        self.phases.iter().flatten().filter_map(|step| match step {
            Step::Create(spec) if spec.kind == LinkKind::Pair => Some(spec),
            _ => None,
        })
    }
}

impl Network {
    /// What a spec asks for.
    pub(super) fn of(spec: &NamespaceSpec) -> Self {
        Self { links: spec.link.clone(), addrs: spec.addr.clone(), routes: spec.route.clone() }
    }

    /// What an alteration makes of it.
    pub(super) fn altered(&self, change: &Alteration) -> Result<Self, Error> {
        let ns = &change.name;
        let mut after = self.clone();
        for (name, patch) in &change.set_link {
            if after.link(name).is_none() {
                return Err(none(ns, name));
            }
            after.patch(ns, name, patch)?;
        }
        for (name, patch) in change.set_other_ends() {
            let link = after.links.iter_mut().find(|link| link.name == *name);
            patch.apply_to_peer(link.ok_or_else(|| none(ns, name))?);
        }
        for (name, patch) in change.set_here() {
            after.patch(ns, name, patch)?;
        }
        for name in &change.del_link {
            let link = after.links.iter().position(|link| link.name == *name);
            let gone = after.links.remove(link.ok_or_else(|| none(ns, name))?);
            if !change.add_link.iter().any(|link| link.name == *name) {
                after.forget(name);
                let far = gone.peer.filter(|_| gone.peer_ns.is_none());
                far.into_iter().for_each(|far| after.forget(&far));
            }
        }
        for link in &change.add_link {
            if after.link(&link.name).is_some() {
                return Err(Error::Exists(format!("namespace {ns} has a link {}", link.name)));
            }
            after.links.push(link.clone());
        }
        for addr in &change.del_addr {
            after.remove_address(ns, addr)?;
        }
        after.addrs.extend(change.add_addr.iter().cloned());
        for route in &change.del_route {
            let place = after.routes.iter().position(|it| it == route);
            let none = || Error::NotFound(format!("namespace {ns} has no route {route}"));
            after.routes.remove(place.ok_or_else(none)?);
        }
        after.routes.extend(change.add_route.iter().cloned());
        Ok(after)
    }

    /// An interface becomes another.
    fn patch(&mut self, ns: &str, name: &str, patch: &LinkPatch) -> Result<(), Error> {
        let to = patch.name.as_deref().unwrap_or(name);
        if to != name {
            if name == lo::KIND {
                return Err(Error::Invalid(format!(
                    "link {name} of namespace {ns} keeps its name"
                )));
            }
            if self.link(to).is_some() {
                return Err(Error::Exists(format!("namespace {ns} has a link {to}")));
            }
            self.rename(name, to);
        }
        if let Some(link) = self.links.iter_mut().find(|link| link.name == to) {
            patch.apply(link);
        }
        let is_port = |lagg: &LinkSpec| lagg.ports.iter().any(|port| port == to);
        let stays = |lagg: &LinkSpec| patch.master.as_ref() == Some(&lagg.name) && is_port(lagg);
        if patch.nomaster || patch.master.is_some() {
            for lagg in self.links.iter_mut().filter(|lagg| !stays(lagg)) {
                lagg.ports.retain(|port| port != to);
            }
        }
        if let Some(master) = &patch.master {
            let none = || Error::NotFound(format!("namespace {ns} has no link {master}"));
            let lagg = self.links.iter_mut().find(|link| link.name == *master).ok_or_else(none)?;
            if !is_port(lagg) {
                lagg.ports.push(to.to_owned());
            }
        }
        Ok(())
    }

    /// An address, wherever it was said, goes.
    fn remove_address(&mut self, ns: &str, addr: &AddrSpec) -> Result<(), Error> {
        if let Some(place) = self.addrs.iter().position(|it| it == addr) {
            self.addrs.remove(place);
            return Ok(());
        }
        let link = self.links.iter_mut().find(|link| link.name == addr.dev);
        let place = link.and_then(|link| {
            let place = link.addr.iter().position(|it| *it == addr.cidr)?;
            Some((link, place))
        });
        let (link, place) = place
            .ok_or_else(|| Error::NotFound(format!("namespace {ns} has no address {addr}")))?;
        link.addr.remove(place);
        Ok(())
    }

    pub(super) fn link(&self, name: &str) -> Option<&LinkSpec> {
        self.links.iter().find(|link| link.name == name)
    }

    /// An interface has gone by itself.
    pub(super) fn forget(&mut self, name: &str) {
        self.links.retain(|link| link.name != name);
        self.addrs.retain(|addr| addr.dev != name);
        self.links.iter_mut().for_each(|link| link.ports.retain(|port| port != name));
    }

    /// Interfaces that have gone by themselves are gone: in containers whose owners have left, and ends of
    /// pairs with the other; and with them their addresses, and routes by networks of those.
    pub(super) fn forget_those_left(&mut self, interfaces: &NsInterfaces) {
        let is_there = |name: &str| name.parse().is_ok_and(|it| interfaces.find(it).is_some());
        let links = self.links.iter().map(|link| &link.name);
        let all = links.chain(self.addrs.iter().map(|addr| &addr.dev));
        let left: Vec<String> = all.filter(|name| !is_there(name)).cloned().collect();
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|name| self.forget(name));
        let of_links = self.links.iter().flat_map(|link| &link.addr);
        let cidrs = of_links.chain(self.addrs.iter().map(|addr| &addr.cidr));
        let networks: Vec<ip::Network> = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
        self.routes.retain(|route| networks.iter().any(|network| network.contains(route.via)));
    }

    /// An interface has another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let name = |name: &mut String| {
            if name == from {
                *name = to.to_owned();
            }
        };
        for link in &mut self.links {
            name(&mut link.name);
            link.ports.iter_mut().for_each(name);
        }
        self.addrs.iter_mut().for_each(|addr| name(&mut addr.dev));
    }

    /// All addresses of an interface that were asked for.
    fn addresses(&self, link: &LinkSpec) -> Result<Vec<Cidr>, Error> {
        let others = self.addrs.iter().filter(|addr| addr.dev == link.name);
        let others = others.map(AddrSpec::to_cidr).collect::<Result<Vec<_>, _>>();
        let own = link.addresses().map_err(Error::failed)?;
        Ok(own.into_iter().chain(others.map_err(Error::failed)?).collect())
    }

    /// Addresses of interfaces of which nothing else is said: of `lo`, or of a pair that is said of
    /// elsewhere.
    fn addresses_of_others(&self) -> Result<Vec<(IfName, Cidr)>, Error> {
        let others = self.addrs.iter().filter(|addr| self.link(&addr.dev).is_none());
        let parsed = others.map(|addr| Ok((if_name(&addr.dev)?, cidr(addr)?)));
        parsed.collect()
    }

    /// How this becomes that, by an alteration.
    pub(super) fn plan_of(&self, change: &Alteration, after: &Self) -> Result<Plan, Error> {
        let (mut before, mut renames) = (self.clone(), Vec::new());
        for (name, patch) in change.set_other_ends() {
            let link = before.links.iter_mut().find(|link| link.name == *name);
            if let (Some(link), Some(to)) = (link, &patch.name) {
                link.peer = Some(to.clone());
            }
        }
        let own = change.set_link.iter().map(|(name, patch)| (name, patch));
        for (name, patch) in own.chain(change.set_here()) {
            if let Some(to) = patch.name.as_ref().filter(|to| *to != name) {
                before.rename(name, to);
                renames.push(Step::Rename { from: if_name(name)?, to: if_name(to)? });
            }
        }
        let mut plan = before.plan(after)?;
        let [going, ..] = &mut plan.phases;
        going.splice(..0, renames);
        Ok(plan)
    }

    /// How this becomes that.
    pub(super) fn plan(&self, after: &Self) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let Plan { phases: [going, coming, saying] } = &mut plan;
        let goes = |old: &LinkSpec| !after.link(&old.name).is_some_and(|new| is_same(old, new));
        let comes = |new: &LinkSpec| !self.link(&new.name).is_some_and(|old| is_same(old, new));
        // One of a pair that is said of elsewhere does.
        let stays = |name: &str| !self.links.iter().any(|link| link.name == name && goes(link));
        // Laggs let go of their ports before these go.
        let laggs_first = |link: &&LinkSpec| link.kind != LinkKind::Lagg;
        let mut olds: Vec<&LinkSpec> = self.links.iter().collect();
        olds.sort_by_key(laggs_first);
        let mut news: Vec<&LinkSpec> = after.links.iter().collect();
        news.sort_by_key(|link| !laggs_first(link));

        for old in &olds {
            let new = after.link(&old.name).filter(|_| !goes(old));
            let kept = new.map(|new| after.addresses(new)).transpose()?.unwrap_or_default();
            for cidr in self.addresses(old)?.into_iter().filter(|cidr| !kept.contains(cidr)) {
                going.push(ask(old, Request::RemoveAddress(cidr), Request::AddAddress(cidr))?);
            }
            for port in old.ports.iter().skip(common(old, new, stays)) {
                let port = if_name(port)?;
                going.push(ask(old, lagg(LaggRequest::RemovePort(port)), join(port))?);
            }
        }
        for old in olds.iter().filter(|old| goes(old) && old.kind != LinkKind::Lo) {
            if old.up {
                going.push(ask(old, Request::SetUp(false), Request::SetUp(true))?);
            }
            going.push(Step::Destroy((*old).clone()));
        }
        for new in news.iter().filter(|new| comes(new) && new.kind != LinkKind::Lo) {
            coming.push(Step::Create((*new).clone()));
        }
        for new in &news {
            let old = self.link(&new.name).filter(|_| !comes(new));
            saying.extend(settings(old, new)?.into_iter().map(Step::Ask));
            saying.extend(settings_of_other_end(old, new)?);
        }
        for new in &news {
            let old = self.link(&new.name).filter(|_| !comes(new));
            for port in new.ports.iter().skip(old.map_or(0, |old| common(old, Some(new), stays))) {
                let port = if_name(port)?;
                saying.push(ask(new, join(port), lagg(LaggRequest::RemovePort(port)))?);
            }
        }
        for new in news.iter().filter(|new| new.kind != LinkKind::Lo) {
            let was = self.link(&new.name).filter(|_| !comes(new)).is_some_and(|old| old.up);
            if new.up != was {
                saying.push(ask(new, Request::SetUp(new.up), Request::SetUp(was))?);
            }
        }
        for new in &news {
            let old = self.link(&new.name).filter(|_| !comes(new));
            let had = old.map(|old| self.addresses(old)).transpose()?.unwrap_or_default();
            for cidr in after.addresses(new)?.into_iter().filter(|cidr| !had.contains(cidr)) {
                saying.push(ask(new, Request::AddAddress(cidr), Request::RemoveAddress(cidr))?);
            }
        }
        let (before, later) = (self.addresses_of_others()?, after.addresses_of_others()?);
        for (name, cidr) in before.iter().filter(|addr| !later.contains(addr)) {
            let undo = Some(Request::AddAddress(*cidr));
            going.push(Step::Ask(Asked {
                name: *name,
                request: Request::RemoveAddress(*cidr),
                undo,
            }));
        }
        for (name, cidr) in later.iter().filter(|addr| !before.contains(addr)) {
            let undo = Some(Request::RemoveAddress(*cidr));
            saying.push(Step::Ask(Asked {
                name: *name,
                request: Request::AddAddress(*cidr),
                undo,
            }));
        }
        if self.routes != after.routes {
            let (before, after) = (self.routes.clone(), after.routes.clone());
            saying.push(Step::Routes { before, after });
        }
        Ok(plan)
    }
}

impl LinkSpec {
    /// What it is then.
    pub(super) fn patched(mut self, patch: &LinkPatch) -> Self {
        patch.apply(&mut self);
        self
    }
}

impl LinkPatch {
    /// What is said here becomes part of a spec; names of it and of others are looked after elsewhere.
    fn apply(&self, link: &mut LinkSpec) {
        link.up = self.up.unwrap_or(link.up);
        link.mtu = self.mtu.or(link.mtu);
        link.mac = self.mac.clone().or_else(|| link.mac.take());
        if let Some(media) = &self.media {
            link.media = Some(media.or(link.media.take()));
        }
        link.proto = self.proto.or(link.proto);
        link.hash = self.hash.clone().or_else(|| link.hash.take());
        if let Some(lacp) = &self.lacp {
            let before = link.lacp.take().unwrap_or_default();
            link.lacp = Some(LacpSpec {
                active: lacp.active.or(before.active),
                fast: lacp.fast.or(before.fast),
                system_priority: lacp.system_priority.or(before.system_priority),
                strict: lacp.strict.or(before.strict),
            });
        }
    }

    /// What is said here becomes part of what the spec of a pair says of the other end, and so does the name.
    fn apply_to_peer(&self, link: &mut LinkSpec) {
        link.peer = self.name.clone().or_else(|| link.peer.take());
        let mut peer = link.peer_link.take().unwrap_or_default();
        peer.up = self.up.unwrap_or(peer.up);
        peer.mtu = self.mtu.or(peer.mtu);
        peer.mac = self.mac.clone().or(peer.mac);
        peer.media = self.media.as_ref().map(|media| media.or(peer.media.clone())).or(peer.media);
        link.peer_link = Some(peer).filter(|peer| *peer != PeerLinkSpec::default());
    }
}

fn none(ns: &str, name: &str) -> Error {
    Error::NotFound(format!("namespace {ns} has no link {name}"))
}

/// Whether one can become the other without being destroyed.
fn is_same(one: &LinkSpec, other: &LinkSpec) -> bool {
    let rest = |link: &LinkSpec| LinkSpec {
        addr: Vec::new(),
        up: true,
        mtu: None,
        mac: None,
        media: None,
        peer_link: None,
        proto: None,
        ports: Vec::new(),
        hash: None,
        lacp: None,
        ..link.clone()
    };
    // What is not said any more is what a new one would have.
    let unsaid = |one: bool, other: bool| one && !other;
    let as_new = |one: &LinkSpec, other: &LinkSpec| {
        unsaid(one.mtu.is_some(), other.mtu.is_some())
            || unsaid(one.mac.is_some(), other.mac.is_some())
    };
    let as_new = as_new(one, other) || as_new(&one.other_end(), &other.other_end());
    rest(one) == rest(other) && (!as_new || one.kind == LinkKind::Lo)
}

/// How many ports, from the first, are the same and stay.
fn common(old: &LinkSpec, new: Option<&LinkSpec>, stays: impl Fn(&str) -> bool) -> usize {
    let Some(new) = new else { return 0 };
    let pairs = old.ports.iter().zip(&new.ports);
    pairs.take_while(|(old, new)| old == new && stays(old)).count()
}

/// What is said of a link beside its ports and addresses. One that is new was made with it, but for its
/// media.
fn settings(old: Option<&LinkSpec>, new: &LinkSpec) -> Result<Vec<Asked>, Error> {
    let mut steps = Vec::new();
    let undo = |request: Option<Request>| request;
    let mut say = |request: Request, undo: Option<Request>| -> Result<(), Error> {
        steps.push(Asked { name: name_of(new)?, request, undo });
        Ok(())
    };
    let (is, was) = (new.to_media(), old.map(LinkSpec::to_media).unwrap_or_default());
    if is != was {
        say(Request::SetMedia(is), Some(Request::SetMedia(was)))?;
    }
    let Some(old) = old else { return Ok(steps) };
    if let Some(mtu) = new.mtu.filter(|_| new.mtu != old.mtu) {
        say(Request::SetMtu(mtu as usize), undo(old.mtu.map(|mtu| Request::SetMtu(mtu as usize))))?;
    }
    if let Some(mac) = new.mac_address().map_err(Error::failed)?.filter(|_| new.mac != old.mac) {
        let before = old.mac_address().map_err(Error::failed)?;
        say(Request::SetMac(mac), before.map(Request::SetMac))?;
    }
    let (is, was) = (new.to_lagg(), old.to_lagg());
    for (to, from) in [
        (lagg(LaggRequest::SetProtocol(is.protocol)), lagg(LaggRequest::SetProtocol(was.protocol))),
        (lagg(LaggRequest::SetHash(is.hash)), lagg(LaggRequest::SetHash(was.hash))),
        (lagg(LaggRequest::SetLacp(is.lacp)), lagg(LaggRequest::SetLacp(was.lacp))),
    ] {
        if to != from {
            say(to, Some(from))?;
        }
    }
    Ok(steps)
}

/// What is said of the other end, if it is a pair. One that is new was made with it, but for its media.
fn settings_of_other_end(old: Option<&LinkSpec>, new: &LinkSpec) -> Result<Vec<Step>, Error> {
    if new.kind != LinkKind::Pair {
        return Ok(Vec::new());
    }
    let (was, is) = (old.map(LinkSpec::other_end), new.other_end());
    let mut all = settings(was.as_ref(), &is)?;
    if let Some(was) = was.filter(|was| was.up != is.up) {
        let (request, undo) = (Request::SetUp(is.up), Some(Request::SetUp(was.up)));
        all.push(Asked { name: name_of(&is)?, request, undo });
    }
    let step = |asked| match &new.peer_ns {
        Some(ns) => Step::AskThere(ns.clone(), asked),
        None => Step::Ask(asked),
    };
    Ok(all.into_iter().map(step).collect())
}

fn ask(link: &LinkSpec, request: Request, undo: Request) -> Result<Step, Error> {
    Ok(Step::Ask(Asked { name: name_of(link)?, request, undo: Some(undo) }))
}

fn lagg(request: LaggRequest) -> Request {
    Request::Lagg(request)
}

fn join(port: IfName) -> Request {
    lagg(LaggRequest::AddPort(port))
}

fn name_of(link: &LinkSpec) -> Result<IfName, Error> {
    if_name(&link.name)
}

pub(super) fn if_name(name: &str) -> Result<IfName, Error> {
    name.parse().map_err(|error| Error::Invalid(format!("{error}")))
}

fn cidr(addr: &AddrSpec) -> Result<Cidr, Error> {
    addr.to_cidr().map_err(Error::failed)
}

impl Site {
    /// Where steps are taken in a namespace.
    pub(super) fn of(ns: &Namespace, inside: &Inside) -> Result<Self, Error> {
        let ended = || Error::Failed("interfaces have ended".into());
        let interfaces = inside.get::<IfnetSubsystem>().ok_or_else(ended)?.clone();
        let stacks = inside.get::<StackSubsystem>().ok_or_else(ended)?.clone();
        Ok(Self { ns: ns.clone(), interfaces, stacks })
    }

    /// Has the namespace served at its interfaces, if it is not yet.
    pub(super) fn serve(&self, programmes: &Programmes) -> Result<(), Error> {
        let name = self.ns.id().name.as_str();
        let inside = self.ns.enter().ok_or_else(|| Error::no_namespace(name))?;
        let (served, pool) = (served(&inside)?, inside.get::<PoolSubsystem>());
        let pool = pool.ok_or_else(|| Error::Failed("the pool has ended".into()))?;
        let Programmes { own_streams, own_datagrams, .. } = programmes;
        let begin = || {
            let (ns, counted) = (&self.ns, served.counted());
            AtOwnLinks::serve(ns, pool, &self.stacks, own_streams, own_datagrams, counted)
        };
        served.serve_own_links(begin).map_err(|error| self.refused(&error))
    }

    /// Takes a step. What is destroyed and still held is put with `leaving`.
    pub(super) fn take(
        &self,
        step: &Step,
        elsewhere: &Elsewhere<'_>,
        leaving: &mut Vec<Leaving>,
    ) -> Result<(), Error> {
        match step {
            Step::Create(spec) => wires::create(self, spec, elsewhere),
            Step::Destroy(spec) => self.destroy(spec, leaving),
            Step::Ask(asked) => self.ask(asked.name, &asked.request),
            Step::AskThere(ns, asked) => (elsewhere.find)(ns)?.ask(asked.name, &asked.request),
            Step::Rename { from, to } => self.rename(*from, *to, elsewhere),
            Step::Routes { after, .. } => self.set_routes(after),
        }
    }

    /// Takes it back.
    pub(super) fn take_back(&self, step: &Step, elsewhere: &Elsewhere<'_>) -> Result<(), Error> {
        match step {
            Step::Create(spec) => self.destroy(spec, &mut Vec::new()),
            Step::Destroy(spec) => wires::create(self, spec, elsewhere),
            Step::Ask(Asked { name, undo: Some(undo), .. }) => self.ask(*name, undo),
            Step::AskThere(ns, Asked { name, undo: Some(undo), .. }) => {
                (elsewhere.find)(ns)?.ask(*name, undo)
            }
            Step::Ask(_) | Step::AskThere(..) => Ok(()),
            Step::Rename { from, to } => self.rename(*to, *from, elsewhere),
            Step::Routes { before, .. } => self.set_routes(before),
        }
    }

    fn ask(&self, name: IfName, request: &Request) -> Result<(), Error> {
        match self.interfaces.request(name, request) {
            Ok(_) => Ok(()),
            // It has gone by itself, and what was asked for with it.
            Err(RequestError::NoInterface(_)) if is_farewell(request) => Ok(()),
            Err(error) => Err(self.refused(&error)),
        }
    }

    fn rename(&self, from: IfName, to: IfName, elsewhere: &Elsewhere<'_>) -> Result<(), Error> {
        self.ask(from, &Request::Rename(to))?;
        elsewhere.owners.rename_link(self.ns.id(), from, to);
        Ok(())
    }

    fn destroy(&self, spec: &LinkSpec, leaving: &mut Vec<Leaving>) -> Result<(), Error> {
        match self.interfaces.destroy(name_of(spec)?, Deadline::after(SHORT)) {
            Err(DestroyError::StillHeld(held)) => {
                leaving.push(*held);
                Ok(())
            }
            // It has gone by itself.
            Ok(()) | Err(DestroyError::NoInterface(_)) => Ok(()),
            Err(error @ DestroyError::Permanent(_)) => Err(self.refused(&error)),
        }
    }

    fn set_routes(&self, routes: &[RouteSpec]) -> Result<(), Error> {
        let routes = routes.iter().map(RouteSpec::to_route).collect::<Result<_, _>>();
        self.stacks.set_routes(routes.map_err(Error::failed)?);
        Ok(())
    }

    fn refused(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Failed(format!("namespace {}: {error}", self.ns.id().name))
    }
}

/// Whether it takes something away.
fn is_farewell(request: &Request) -> bool {
    matches!(
        request,
        Request::RemoveAddress(_)
            | Request::SetUp(false)
            | Request::Lagg(LaggRequest::RemovePort(_))
    )
}

/// Longer than whoever uses an interface needs to notice that it goes.
const SHORT: Duration = Duration::from_secs(1);
