//! The interfaces, addresses and routes of namespaces, as they are and as somebody asks for them.

use super::link_news::kind;
use super::tenants::Tenant;
use super::{Alteration, Change, Error, Server, first, view};
use crate::model::{
    AddrSpec, AddrView, DirectionCounters, HolderView, LacpEndView, LacpPortView, LaggPortView,
    LaggView, LinkCounters, LinkPatch, LinkSpec, LinkView, MediaView, PeerLinkView, RouteSpec,
    RouteView,
};
use crate::spec::hash_layers_view;
use holm_ifnet::aggregation::{LacpEnd, LacpPort, LaggRequest, LaggStatus};
use holm_ifnet::counters::DirectionValues;
use holm_ifnet::stack::{Network, StackSubsystem};
use holm_ifnet::{
    Cloner, DropReason, Flags, IfnetSubsystem, Interface, Leaving, NsInterfaces, Reply, Request,
};
use holm_lifetime::Deadline;

impl Server {
    /// The interfaces of a namespace, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn links(&self, ns: &str) -> Result<Vec<LinkView>, Error> {
        Ok(views(self.tenants().resolve(ns)?))
    }

    /// Gives a namespace one interface more. One without a name is called after its kind and the next unit
    /// that is free.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn add_link(&self, ns: &str, spec: LinkSpec) -> Result<LinkView, Error> {
        if spec.name.is_empty() {
            return self.add_link_of_next_unit(ns, &spec);
        }
        let name = spec.name.clone();
        self.alter_one(Alteration {
            name: ns.into(),
            add_link: vec![spec],
            ..Alteration::default()
        })?;
        self.link(ns, &name)
    }

    fn add_link_of_next_unit(&self, ns: &str, spec: &LinkSpec) -> Result<LinkView, Error> {
        let mut unit = 0;
        loop {
            let taken = self.links(ns)?;
            let is_taken = |name: &str| taken.iter().any(|link| link.name == name);
            let named = |unit: u32| format!("{}{unit}", spec.kind);
            while is_taken(&named(unit)) || spec.peer.as_ref() == Some(&named(unit)) {
                unit += 1;
            }
            let name = named(unit);
            match self.add_link(ns, LinkSpec { name: name.clone(), ..spec.clone() }) {
                // Somebody else was faster.
                Err(Error::Exists(_)) if self.link(ns, &name).is_ok() => {}
                outcome => return outcome,
            }
        }
    }

    /// Gives a namespace one interface less, with its addresses, and waits until nobody uses it. That of
    /// a lagg leaves it, and that of a pair takes the other end with it.
    ///
    /// # Errors
    ///
    /// [`Error::StillHeld`] when `wait` passes; it goes as soon as it can.
    pub fn del_link(&self, ns: &str, name: &str, wait: Deadline) -> Result<(), Error> {
        let removal = self.removal_of_link(ns, name)?;
        let changed = self.change(vec![removal]).map_err(first)?;
        for leaving in changed.links {
            leaving.wait(wait).map_err(|leaving| still_held(ns, &leaving))?;
        }
        Ok(())
    }

    /// Changes an interface. It may be called otherwise then.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn set_link(&self, ns: &str, name: &str, patch: LinkPatch) -> Result<LinkView, Error> {
        let now = patch.name.clone().unwrap_or_else(|| name.to_owned());
        let changes = self.changes_of_link(ns, name, patch)?;
        self.change(changes).map_err(first)?;
        self.link(ns, &now)
    }

    /// The addresses of a namespace's interfaces.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn addresses(&self, ns: &str) -> Result<Vec<AddrView>, Error> {
        let of = |link: LinkView| {
            let given = link.addresses.into_iter().map(|cidr| (cidr, false));
            let all = given.chain(link.link_local.map(|cidr| (cidr, true)));
            let view = move |(cidr, automatic)| {
                let spec = AddrSpec { cidr, dev: link.name.clone() };
                AddrView { spec, automatic }
            };
            all.map(view)
        };
        Ok(self.links(ns)?.into_iter().flat_map(of).collect())
    }

    /// Gives an interface one address more.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn add_address(&self, ns: &str, addr: AddrSpec) -> Result<AddrSpec, Error> {
        let add_addr = vec![addr.clone()];
        self.alter_one(Alteration { name: ns.into(), add_addr, ..Alteration::default() })?;
        Ok(addr)
    }

    /// Gives an interface one address less. Connections that end there are reset.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn del_address(&self, ns: &str, addr: AddrSpec) -> Result<(), Error> {
        if self.addresses(ns)?.contains(&AddrView { spec: addr.clone(), automatic: true }) {
            let why = "is automatic: it goes with the last other address of the link";
            return Err(Error::Invalid(format!("namespace {ns}: {addr} {why}")));
        }
        self.alter_one(Alteration {
            name: ns.into(),
            del_addr: vec![addr],
            ..Alteration::default()
        })
    }

    /// The routes of a namespace.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn routes(&self, ns: &str) -> Result<Vec<RouteView>, Error> {
        let tenants = self.tenants();
        let tenant = tenants.resolve(ns)?;
        Ok(routes(tenant, tenant.network_now().routes))
    }

    /// Gives a namespace one route more.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn add_route(&self, ns: &str, route: RouteSpec) -> Result<RouteView, Error> {
        let add_route = vec![route.clone()];
        self.alter_one(Alteration { name: ns.into(), add_route, ..Alteration::default() })?;
        let found = self.routes(ns)?.into_iter().find(|it| it.spec == route);
        found.ok_or_else(|| Error::NotFound(format!("the route {route} was removed meanwhile")))
    }

    /// Gives a namespace one route less.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn del_route(&self, ns: &str, route: RouteSpec) -> Result<(), Error> {
        self.alter_one(Alteration {
            name: ns.into(),
            del_route: vec![route],
            ..Alteration::default()
        })
    }

    pub(super) fn alter_one(&self, alteration: Alteration) -> Result<(), Error> {
        self.change(vec![Change::Alter(alteration)]).map_err(first).map(drop)
    }

    pub(super) fn link(&self, ns: &str, name: &str) -> Result<LinkView, Error> {
        let found = self.links(ns)?.into_iter().find(|link| link.name == name);
        found
            .ok_or_else(|| Error::NotFound(format!("link {name} of namespace {ns} has gone again")))
    }
}

fn still_held(ns: &str, leaving: &Leaving) -> Error {
    let all = leaving.held();
    let holders = all.holders.iter().map(view::holder).collect();
    let held = crate::model::HeldView { count: all.count, holders, exiting: None };
    Error::StillHeld { message: format!("namespace {ns}: {leaving}"), held }
}

/// The interfaces, as they are; none of one that drains.
pub(super) fn views(tenant: &Tenant) -> Vec<LinkView> {
    let Some(inside) = tenant.ns.enter() else { return Vec::new() };
    let Some(interfaces) = inside.get::<IfnetSubsystem>() else { return Vec::new() };
    let stacks = inside.get::<StackSubsystem>();
    let all = interfaces.list();
    let laggs: Vec<_> =
        all.iter().filter_map(|it| Some((it.name(), status(interfaces, it)?))).collect();
    let view = |interface: &Interface| {
        let name = interface.name();
        let has = |status: &LaggStatus| status.ports.iter().any(|port| port.name == name);
        let master = laggs.iter().find(|(_, status)| has(status)).map(|(lagg, _)| lagg.to_string());
        let lagg =
            laggs.iter().find(|(lagg, _)| *lagg == name).map(|(_, status)| lagg_view(status));
        let stack = stacks.and_then(|stacks| stacks.stack(interface.index()));
        LinkView {
            name: name.to_string(),
            kind: kind(interface.kind()),
            index: interface.index(),
            flags: flags(interface.flags()),
            mtu: u32::try_from(interface.mtu()).unwrap_or(u32::MAX),
            mac: interface.mac().to_string(),
            media: media(interfaces, interface),
            addresses: interface.addresses().iter().map(ToString::to_string).collect(),
            link_local: stack.and_then(|stack| stack.link_local()).map(|own| own.to_string()),
            master,
            peer: interface.partner().map(|end| PeerLinkView {
                name: end.name().to_string(),
                ns: end.namespace().id().name.to_string(),
            }),
            counters: LinkCounters::of(interface),
            lagg,
            spec: tenant.network.link(name.as_str()).cloned(),
        }
    };
    all.iter().map(|interface| view(interface)).collect()
}

/// Routes, and by which interfaces they lead.
pub(super) fn routes(tenant: &Tenant, routes: Vec<RouteSpec>) -> Vec<RouteView> {
    let inside = tenant.ns.enter();
    let interfaces = inside.as_ref().and_then(|inside| inside.get::<IfnetSubsystem>());
    let all = interfaces.map(NsInterfaces::list).unwrap_or_default();
    let dev = |route: &RouteSpec| {
        let leads = |interface: &&holm_lifetime::Ref<Interface>| {
            let mut networks = interface.addresses().into_iter().map(Network::from);
            networks.any(|network| network.contains(route.via))
        };
        all.iter().find(leads).map(|interface| interface.name().to_string())
    };
    routes.into_iter().map(|spec| RouteView { dev: dev(&spec), spec }).collect()
}

/// Who still refers to interfaces that are destroyed.
pub(super) fn holders(tenant: &Tenant) -> Vec<HolderView> {
    let leaving = tenant.interfaces.leaving();
    let of = |(name, held): (holm_ifnet::IfName, holm_lifetime::Held)| {
        let holders: Vec<_> = held.holders.iter().map(view::holder).collect();
        holders.into_iter().map(move |holder| HolderView {
            operation: Some("using an interface".to_owned()),
            object: Some(format!("link {name}")),
            ..holder
        })
    };
    leaving.into_iter().flat_map(of).collect()
}

/// What its link is like; of a lagg, what all those of its ports are.
fn media(interfaces: &NsInterfaces, interface: &Interface) -> MediaView {
    let media = match interfaces.request(interface.name(), &Request::Media) {
        Ok(Reply::Media(media)) => media,
        // It goes just now.
        _ => interface.media(),
    };
    MediaView { speed: media.speed, full_duplex: media.full_duplex }
}

fn status(interfaces: &NsInterfaces, interface: &Interface) -> Option<LaggStatus> {
    if interface.kind() != holm_ifnet::lagg::NewLagg::KIND {
        return None;
    }
    let status = interfaces.request(interface.name(), &Request::Lagg(LaggRequest::Status));
    match status {
        Ok(Reply::Lagg(status)) => Some(*status),
        // It goes just now.
        _ => None,
    }
}

fn lagg_view(status: &LaggStatus) -> LaggView {
    let ports = status.ports.iter().map(|port| LaggPortView {
        name: port.name.to_string(),
        sends: port.sends,
        receives: port.receives,
        lacp: port.lacp.as_ref().map(lacp_view),
    });
    LaggView {
        proto: status.protocol.into(),
        hash: hash_layers_view(status.hash),
        lacp: status.lacp.into(),
        ports: ports.collect(),
    }
}

fn lacp_view(port: &LacpPort) -> LacpPortView {
    LacpPortView {
        actor: end_view(&port.actor),
        partner: port.partner.as_ref().map(end_view),
        selected: port.selected,
        actor_churn: port.actor_churn,
        partner_churn: port.partner_churn,
        received: port.received,
        sent: port.sent,
        malformed: port.malformed,
    }
}

fn end_view(end: &LacpEnd) -> LacpEndView {
    let bits = LACP_STATE.into_iter().enumerate();
    let state = bits.filter(|(bit, _)| end.state & (1 << bit) != 0);
    LacpEndView {
        system_priority: end.system.0,
        system: end.system.1.to_string(),
        key: end.key,
        port_priority: end.port.0,
        port: end.port.1,
        state: state.map(|(_, name)| name.to_owned()).collect(),
    }
}

fn flags(flags: Flags) -> Vec<String> {
    let all = [
        (Flags::UP, "up"),
        (Flags::RUNNING, "running"),
        (Flags::DYING, "dying"),
        (Flags::TAPPED, "tapped"),
    ];
    all.into_iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| name.to_owned()).collect()
}

impl LinkCounters {
    /// What an interface has counted.
    pub(crate) fn of(interface: &Interface) -> Self {
        let counters = interface.counters().values();
        Self { received: direction(&counters.received), sent: direction(&counters.sent) }
    }
}

fn direction(values: &DirectionValues) -> DirectionCounters {
    let drops = DropReason::ALL.into_iter().map(|reason| (reason, values.dropped(reason)));
    let drops = drops.filter(|(_, count)| *count > 0);
    DirectionCounters {
        frames: values.frames,
        bytes: values.bytes,
        errors: values.errors,
        drops: drops.map(|(reason, count)| (reason.to_string(), count)).collect(),
    }
}

/// The bits of a port's state, the lowest first (IEEE 802.1AX-2014, 6.4.2.3).
const LACP_STATE: [&str; 8] = [
    "active",
    "short-timeout",
    "aggregatable",
    "in-sync",
    "collecting",
    "distributing",
    "defaulted",
    "expired",
];
