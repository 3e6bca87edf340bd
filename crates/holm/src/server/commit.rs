//! What was prepared takes its place.

use super::change::{Alteration, Changed};
use super::doors::{self, DoorChange};
use super::link_news::kind;
use super::listeners::{Datagrams, Listener, Retained};
use super::network::{Network, PHASES, Plan, Site, Step};
use super::prepare::{Altered, Coming, Prepared, served};
use super::tenants::{KnownExport, Tenant, Tenants};
use super::wires::Elsewhere;
use super::{Error, Server};
use crate::local::{Door, DoorFile, Host};
use crate::model::{Happened, LimitsSpec, LocalSpec, RouteSpec};
use crate::stack::AtOwnLinks;
use crate::state;
use holm_ifnet::stack::StackSubsystem;
use holm_ifnet::{IfnetSubsystem, Leaving, lo};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{Inside, Namespace};
use holm_nfsd::cache::{Caches, Object};
use holm_nfsd::export::ExportTable;
use holm_pool::{NsPool, PoolSubsystem};
use holm_sunrpc::server::ServerLimits;
use std::num::NonZero;
use std::sync::Arc;

impl Server {
    /// Puts what was prepared in place, or fails and leaves everything as it was.
    pub(super) fn commit(&self, prepared: Prepared) -> Result<Changed, Error> {
        let _claim = self.claim(&prepared)?;
        let Prepared { coming, altered, going, readdressed, .. } = prepared;

        // The list is not locked: this takes as long as interfaces and the disk of the state take.
        let mut started = Started::new(self);
        started.keep(&coming, &going)?;
        // First: they lose their addresses before they go.
        started.plans = readdressed;
        for coming in coming {
            started.create(coming)?;
        }
        for altered in altered {
            started.alter(altered)?;
        }
        started.change_networks()?;

        let mut tenants = self.tenants();
        // From here on nothing fails.
        let (created, altered, links) = started.succeed();
        for tenant in created {
            self.add(&mut tenants, tenant);
        }
        let mut changed = Changed { links, ..Changed::default() };
        for altered in altered {
            self.alter(&mut tenants, altered, &mut changed);
        }
        for (name, _) in going {
            self.remove(&mut tenants, &name, &mut changed);
        }
        drop(tenants);
        // Nobody is waited for.
        let _ = self.registry.remove(&changed.removed, Deadline::now());
        Ok(changed)
    }

    fn add(&self, tenants: &mut Tenants, mut tenant: Tenant) {
        let name = tenant.ns.id().name.to_string();
        self.announce(&tenant);
        tenant.listeners.retain(|listener| !listener.is_closed());
        tenant.network.forget_those_left(&tenant.interfaces);
        let limits = tenant.limits.or(&self.limits).of_sockets();
        for listener in &tenant.listeners {
            tenants.addresses.add(listener.local, listener.spec.netns.as_ref(), &name);
            listener.set_limits(limits);
        }
        set_limits_at_own_links(&tenant.ns, limits);
        tenants.live.insert(name, tenant);
    }

    /// Says that a namespace and its interfaces are there, before anything that happens to them.
    fn announce(&self, tenant: &Tenant) {
        let id = tenant.ns.id();
        let inside = tenant.ns.enter();
        let parts = inside
            .as_ref()
            .and_then(|inside| Some((served(inside).ok()?, inside.get::<IfnetSubsystem>()?)));
        // Nothing happens to them meanwhile.
        let mut held = Locked::nothing();
        let _guard = tenant.ns.lock(&mut held);
        self.speaker.say(Some(id), Happened::Created);
        let Some((served, interfaces)) = parts else { return };
        for interface in interfaces.list().iter().filter(|it| it.kind() != lo::KIND) {
            let (name, kind) = (interface.name().to_string(), kind(interface.kind()));
            self.speaker.say(Some(id), Happened::LinkAdded { name, kind });
        }
        served.announce();
    }

    fn alter(&self, tenants: &mut Tenants, altered: Ready, changed: &mut Changed) {
        let Ready { change, exports, listeners, retained, local, network, inside } = altered;
        let Tenants { live, addresses, .. } = tenants;
        let Some(tenant) = live.get_mut(&change.name) else { return };
        let id = tenant.ns.id().clone();
        let say = |what| self.speaker.say(Some(&id), what);

        let goes = |it: &mut Listener| {
            !retained.iter().any(|retained| it.is(&retained.open))
                && change.del_listen.iter().any(|del| it.is_at(del.addr, del.netns.as_ref()))
        };
        for listener in tenant.listeners.extract_if(.., goes) {
            addresses.remove(listener.local, listener.spec.netns.as_ref(), &change.name);
            listener.close();
            let (addr, netns) = (listener.local, listener.spec.netns.clone());
            say(Happened::ListenerRemoved { addr, netns, why: None });
        }
        for Retained { open, spec, datagrams } in retained {
            if let Some(listener) = tenant.listeners.iter_mut().find(|it| it.is(&open)) {
                let (addr, netns, udp) = (listener.local, spec.netns.clone(), spec.udp);
                listener.become_as(spec, datagrams);
                say(Happened::ListenerChanged { addr, netns, udp });
            }
        }
        // Somebody's who has left meanwhile is not missed: who watches him has not found it here.
        for listener in listeners.into_iter().filter(|listener| !listener.is_closed()) {
            addresses.add(listener.local, listener.spec.netns.as_ref(), &change.name);
            let (addr, netns) = (listener.local, listener.spec.netns.clone());
            say(Happened::ListenerAdded { addr, netns });
            tenant.listeners.push(listener);
        }
        if let Some(service) = served(&inside).ok().and_then(|served| served.service()) {
            service.set_listening(tenant.listening());
            if let Some((table, known)) = exports {
                drop(service.set_exports(table));
                let goes = |it: &mut KnownExport| change.del_export.iter().any(|p| p == it.path());
                tenant.leaving.retain(|export| !export.closed.is_closed());
                for export in tenant.exports.extract_if(.., goes) {
                    let path = export.path().to_owned();
                    // Who looks it up does not find it any more.
                    service.local().recall_export(export.id);
                    let leaving = export.leave(&tenant.ns);
                    changed.leaving.push(leaving.clone());
                    tenant.leaving.push(leaving);
                    say(Happened::ExportRemoved { path });
                }
                for export in &change.add_export {
                    say(Happened::ExportAdded { path: export.path.clone() });
                }
                tenant.exports = known;
            }
        }
        if let Some(mut network) = network {
            network.forget_those_left(&tenant.interfaces);
            let gone = |route: &&RouteSpec| !network.routes.contains(route);
            for route in tenant.network.routes.iter().filter(gone) {
                say(Happened::RouteRemoved { route: route.clone() });
            }
            let new = |route: &&RouteSpec| !tenant.network.routes.contains(route);
            for route in network.routes.iter().filter(new) {
                say(Happened::RouteAdded { route: route.clone() });
            }
            tenant.network = network;
        }
        let are_other_rules = local.is_some() || change.limits.is_some();
        if let Some(limits) = change.limits {
            limit_work(&inside, &limits.or(&self.limits));
            tenant.limits = limits;
            say(Happened::LimitsChanged);
        }
        if let Some((local, door)) = local {
            match door {
                OtherDoor::Same => {}
                OtherDoor::None => tenant.close_door(),
                OtherDoor::This(door) => {
                    tenant.close_door();
                    tenant.door = Some(door);
                }
            }
            say(Happened::LocalChanged { users: local.users.clone() });
            tenant.local = local;
        }
        if let Ok(served) = served(&inside) {
            if are_other_rules {
                let limits = tenant.limits.or(&self.limits);
                doors::set_rules(served, &tenant.local, &limits, tenant.door.as_ref());
            }
            served.local().recalled();
        }
        let of_sockets = tenant.limits.or(&self.limits).of_sockets();
        tenant.listeners.iter().for_each(|listener| listener.set_limits(of_sockets));
        set_limits_at_own_links(&tenant.ns, of_sockets);
        tenant.version += 1;
    }

    fn remove(&self, tenants: &mut Tenants, name: &str, changed: &mut Changed) {
        let Some(mut tenant) = tenants.live.remove(name) else { return };
        tenant.begin_draining();
        for listener in &tenant.listeners {
            tenants.addresses.remove(listener.local, listener.spec.netns.as_ref(), name);
            // At once: somebody else may listen there from now on.
            listener.stop();
        }
        self.owners.forget_links(tenant.ns.id());
        self.speaker.say(Some(tenant.ns.id()), Happened::Draining);
        changed.removed.push(tenant.ns.clone());
        tenants.draining.insert(tenant.ns.id().id, tenant);
    }
}

/// What has been begun and is undone if this is dropped before all has succeeded.
struct Started<'s> {
    server: &'s Server,
    kept: Vec<state::Change>,
    created: Vec<Tenant>,
    altered: Vec<Ready>,
    /// The ways of their networks that are still to be gone.
    plans: Vec<(Namespace, Plan)>,
    /// What was done of them.
    taken: Vec<(Site, Step)>,
    leaving: Vec<Leaving>,
}

/// An alteration whose listeners are served.
struct Ready {
    change: Alteration,
    exports: Option<(ExportTable, Vec<KnownExport>)>,
    listeners: Vec<Listener>,
    retained: Vec<Retained<Datagrams>>,
    local: Option<(LocalSpec, OtherDoor)>,
    network: Option<Network>,
    // Last: whoever is told that the namespace is gone finds nothing of it here.
    inside: Inside,
}

/// The door from now on.
enum OtherDoor {
    Same,
    None,
    This(Door),
}

impl<'s> Started<'s> {
    fn new(server: &'s Server) -> Self {
        Self {
            server,
            kept: Vec::new(),
            created: Vec::new(),
            altered: Vec::new(),
            plans: Vec::new(),
            taken: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Keeps the keys of those that come, and destroys those of who goes.
    fn keep(&mut self, coming: &[Coming], going: &[(String, u64)]) -> Result<(), Error> {
        let comes = coming.iter().map(|coming| {
            state::Change::Keep(coming.spec.name.clone(), coming.incarnation.clone())
        });
        let mut kept = Vec::new();
        for (name, _) in going {
            let incarnation = self.server.tenants().live(name)?.incarnation.clone();
            kept.push(state::Change::Destroy(name.clone(), incarnation));
        }
        kept.extend(comes);
        self.server.state.change(&kept).map_err(Error::failed)?;
        self.kept = kept;
        Ok(())
    }

    fn create(&mut self, coming: Coming) -> Result<(), Error> {
        let Coming { spec, incarnation, service, paths, exports, sockets, door, network } = coming;
        let ns = self.server.registry.create(spec.name.as_str()).map_err(Error::failed)?;
        let inside = ns.enter();
        let inside = inside.ok_or_else(|| Error::no_namespace(&spec.name))?;
        let served = served(&inside)?;
        served.begin(service.clone(), paths);
        served.local().begin(Host {
            ns: ns.id().clone(),
            service: Arc::downgrade(&service),
            serving: self.server.serving.clone(),
            speaker: self.server.speaker.clone(),
        });
        let (network, plan) = network;
        self.plans.push((ns.clone(), plan));
        let interfaces = Site::of(&ns, &inside)?.interfaces;
        self.created.push(Tenant {
            ns,
            incarnation,
            exports,
            listeners: Vec::new(),
            network,
            interfaces,
            limits: spec.limits,
            local: spec.local,
            door: None,
            leaving: Vec::new(),
            glimpse: served.glimpse().clone(),
            version: 0,
            is_draining: false,
        });
        let Some(tenant) = self.created.last_mut() else { return Ok(()) };
        limit_work(&inside, &tenant.limits.or(&self.server.limits));
        let addresses = sockets.iter().flat_map(|sockets| sockets.listening());
        service.set_listening(addresses.chain(AtOwnLinks::listening()).collect());
        for sockets in sockets {
            let programmes = &self.server.programmes;
            let owners = (tenant.ns.id(), &self.server.owners);
            let listener = Listener::start(sockets, pool(&inside)?, served, programmes, owners)?;
            tenant.listeners.push(listener);
        }
        if let DoorChange::Comes(file) = door {
            tenant.door = Some(start_door(file, &inside)?);
        }
        let limits = tenant.limits.or(&self.server.limits);
        doors::set_rules(served, &tenant.local, &limits, tenant.door.as_ref());
        Ok(())
    }

    fn alter(&mut self, altered: Altered) -> Result<(), Error> {
        let Altered { change, ns, exports, sockets, retained, local, network, inside, .. } =
            altered;
        let owners = (ns.id(), &self.server.owners);
        let (network, plan) = network.unzip();
        self.plans.extend(plan.map(|plan| (ns.clone(), plan)));
        self.altered.push(Ready {
            change,
            exports,
            listeners: Vec::new(),
            retained: Vec::new(),
            local: None,
            network,
            inside,
        });
        let Some(ready) = self.altered.last_mut() else { return Ok(()) };
        let (pool, served) = (pool(&ready.inside)?, served(&ready.inside)?);
        let programmes = &self.server.programmes;
        for sockets in sockets {
            let listener = Listener::start(sockets, pool, served, programmes, owners)?;
            ready.listeners.push(listener);
        }
        for retained in retained {
            ready.retained.push(retained.start(pool, served, programmes)?);
        }
        if let Some((local, door)) = local {
            let door = match door {
                DoorChange::Stays => OtherDoor::Same,
                DoorChange::Goes => OtherDoor::None,
                DoorChange::Comes(file) => OtherDoor::This(start_door(file, &ready.inside)?),
            };
            ready.local = Some((local, door));
        }
        Ok(())
    }

    /// Takes all steps of all networks.
    fn change_networks(&mut self) -> Result<(), Error> {
        let plans = std::mem::take(&mut self.plans);
        let mut sites = Vec::new();
        for (ns, plan) in plans {
            let inside = ns.enter();
            let inside = inside.ok_or_else(|| Error::no_namespace(ns.id().name.as_str()))?;
            sites.push((Site::of(&ns, &inside)?, plan.phases.map(Vec::into_iter), inside));
        }
        let created: Vec<_> = self.created.iter().map(|tenant| tenant.ns.clone()).collect();
        let Server { owners, programmes, .. } = self.server;
        let find = |name: &str| find(name, &created, self.server);
        let elsewhere = Elsewhere { owners, programmes, find: &find };
        for phase in 0..PHASES {
            for (site, phases, _) in &mut sites {
                for step in phases.get_mut(phase).into_iter().flatten() {
                    site.take(&step, &elsewhere, &mut self.leaving)?;
                    self.taken.push((site.clone(), step));
                }
            }
        }
        Ok(())
    }

    fn succeed(mut self) -> (Vec<Tenant>, Vec<Ready>, Vec<Leaving>) {
        self.kept.clear();
        self.taken.clear();
        let leaving = std::mem::take(&mut self.leaving);
        (std::mem::take(&mut self.created), std::mem::take(&mut self.altered), leaving)
    }

    /// Goes back all steps that were taken.
    fn undo_networks(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken.is_empty() {
            return;
        }
        let created: Vec<_> = self.created.iter().map(|tenant| tenant.ns.clone()).collect();
        let Server { owners, programmes, .. } = self.server;
        let find = |name: &str| find(name, &created, self.server);
        let elsewhere = Elsewhere { owners, programmes, find: &find };
        for (site, step) in taken.iter().rev() {
            let Some(_inside) = site.ns.enter() else { continue };
            if let Err(error) = site.take_back(step, &elsewhere) {
                tracing::error!("a change that failed could not be undone: {error}");
            }
        }
    }
}

/// Where steps are taken in a namespace that is there, or is coming.
fn find(name: &str, created: &[Namespace], server: &Server) -> Result<Site, Error> {
    let coming = created.iter().find(|ns| ns.id().name.as_str() == name);
    let ns = match coming {
        Some(ns) => ns.clone(),
        None => server.tenants().live(name)?.ns.clone(),
    };
    let inside = ns.enter().ok_or_else(|| Error::no_namespace(name))?;
    Site::of(&ns, &inside)
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.undo_networks();
        let created = self.created.iter().flat_map(|tenant| &tenant.listeners);
        for listener in created.chain(self.altered.iter().flat_map(|ready| &ready.listeners)) {
            listener.close();
        }
        self.created.iter_mut().for_each(Tenant::close_door);
        for ready in self.altered.drain(..) {
            if let Some((_, OtherDoor::This(door))) = &ready.local {
                door.close();
            }
            let datagrams = ready.retained.into_iter().filter_map(|retained| retained.datagrams);
            datagrams.for_each(Datagrams::close);
        }
        let created: Vec<_> = self.created.drain(..).map(|tenant| tenant.ns).collect();
        // Nobody but clients that have just connected can be inside; what they hold goes with them.
        let _ = self.server.registry.remove(&created, Deadline::now());
        let undo: Vec<_> = self.kept.iter().map(state::Change::undo).collect();
        if let Err(error) = self.server.state.change(&undo) {
            tracing::error!("a change that failed is still in the state directory: {error:#}");
        }
    }
}

fn start_door(file: DoorFile, inside: &Inside) -> Result<Door, Error> {
    Door::start(file, pool(inside)?, served(inside)?).map_err(Error::failed)
}

/// What is limited elsewhere than at the sockets.
fn limit_work(inside: &Inside, limits: &LimitsSpec) {
    if let Some(pool) = inside.get::<PoolSubsystem>() {
        let most = limits.requests_in_flight.and_then(|most| NonZero::new(most as usize));
        pool.limit_turns(most);
    }
    if let Some(stacks) = inside.get::<StackSubsystem>() {
        stacks.set_limits(limits.of_stacks());
    }
    if let Some(cache) = inside.get::<Caches<Object>>() {
        cache.set_limit(limits.open_files.map(|files| files as usize));
    }
}

pub(super) fn set_limits_at_own_links(ns: &Namespace, limits: ServerLimits) {
    let Some(inside) = ns.enter() else { return };
    if let Ok(served) = served(&inside) {
        served.limit_own_links(limits);
    }
}

fn pool(inside: &Inside) -> Result<&NsPool, Error> {
    inside.get::<PoolSubsystem>().ok_or_else(|| Error::Failed("the pool has ended".into()))
}
