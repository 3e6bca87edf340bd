//! What a change needs, made beside what is served.

use super::change::{Alteration, Change};
use super::doors::DoorChange;
use super::listeners::{Listener, Missing, Open, Retained, Sockets};
use super::network::{Network, Plan, if_name};
use super::operations::Desk;
use super::tenants::{KnownExport, Tenant};
use super::{Error, Refused, Server};
use crate::local::Door;
use crate::model::{AddrSpec, ExportSpec, LinkSpec, ListenSpec, LocalSpec, NamespaceSpec};
use crate::nfs::{Nfs, Paths, Served};
use crate::spec::{Checked, network_problems};
use crate::state::Incarnation;
use holm_netns::{Contents, Inside, Namespace};
use holm_nfsd::export::{Export, ExportTable};
use holm_nfsd::handle::HandleKey;
use holm_nfsd::service::Service;
use std::fmt::Display;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;

/// Changes that need only take their place.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) coming: Vec<Coming>,
    pub(super) altered: Vec<Altered>,
    /// Name and number.
    pub(super) going: Vec<(String, u64)>,
    /// What is to be done in namespaces that have the far end of a pair which is made anew.
    pub(super) readdressed: Vec<(Namespace, Plan)>,
    /// Listeners that hand their sockets over or stay, each once: of whom, and which.
    pub(super) taken: Vec<(String, Open)>,
}

/// A namespace to be.
pub(super) struct Coming {
    pub(super) spec: NamespaceSpec,
    pub(super) incarnation: Incarnation,
    pub(super) service: Arc<Service>,
    pub(super) paths: Paths,
    pub(super) exports: Vec<KnownExport>,
    pub(super) sockets: Vec<Sockets>,
    pub(super) door: DoorChange,
    pub(super) network: (Network, Plan),
}

/// What a namespace is to be beside what it is.
pub(super) struct Altered {
    pub(super) change: Alteration,
    pub(super) ns: Namespace,
    pub(super) version: u64,
    pub(super) exports: Option<(ExportTable, Vec<KnownExport>)>,
    pub(super) sockets: Vec<Sockets>,
    pub(super) retained: Vec<Retained<UdpSocket>>,
    pub(super) local: Option<(LocalSpec, DoorChange)>,
    /// Its own network then, and the way there.
    pub(super) network: Option<(Network, Plan)>,
    // After what it is the way to.
    pub(super) inside: Inside,
}

impl Server {
    /// Does what may fail or take long, beside what is served.
    pub(super) fn prepare(&self, changes: Vec<Change>) -> Result<Prepared, Vec<Refused>> {
        let (mut prepared, mut errors) = (Prepared::default(), Vec::new());
        let desk = self.operations.desk();
        self.wait_unclaimed(changes.iter().map(Change::ns));
        let mut places = Places { changes: &changes, taken: Vec::new() };
        for change in changes.iter().cloned() {
            let ns = change.ns().to_owned();
            let outcome = match change {
                Change::Add(spec) => {
                    self.prepare_coming(spec, &mut places).map(|it| prepared.coming.push(it))
                }
                Change::Alter(change) => {
                    let altered = self.prepare_altered(change, &desk, &mut places);
                    altered.map(|it| prepared.altered.push(it))
                }
                Change::Remove(name) => {
                    let tenants = self.tenants();
                    let id = tenants.live(&name).map(|tenant| tenant.ns.id().clone());
                    id.map(|id| prepared.going.push((id.name.to_string(), id.id)))
                }
            };
            errors.extend(outcome.err().map(|error| Refused { ns: Some(ns), error }));
        }
        prepared.taken = places.taken;
        match self.readdressed(&prepared) {
            Ok(readdressed) => prepared.readdressed = readdressed,
            Err(error) => errors.push(error.into()),
        }
        if errors.is_empty() { Ok(prepared) } else { Err(errors) }
    }

    fn prepare_coming(
        &self,
        spec: NamespaceSpec,
        places: &mut Places<'_>,
    ) -> Result<Coming, Error> {
        let name = &spec.name;
        self.check(&spec, &self.far_ends(name, places.changes))?;
        let network = Network::of(&spec);
        let plan = Network::default().plan(&network)?;
        if let Some(tenant) = self.tenants().live.get(name) {
            return Err(Error::Exists(format!("namespace {} exists already", tenant.ns.id())));
        }
        let incarnation = self.state.incarnation(name).map_err(Error::failed)?;
        let paths = Paths::new(self.state.paths(&incarnation));
        // What is left of it if it does not come to be is nobody's.
        let given_up = |error: Error| {
            self.state.give_up(&incarnation);
            error
        };
        let key = incarnation.key();
        let open = |spec: &ExportSpec| open(name, spec, key, &paths);
        let opened = spec.export.iter().map(open).collect::<Result<Vec<_>, _>>();
        let opened = opened.map_err(given_up)?;
        let known = spec.export.iter().zip(&opened);
        let exports = known.map(|(spec, export)| KnownExport::new(spec.clone(), export)).collect();
        let sockets = spec.listen.iter().map(|listen| self.bind(name, listen, places));
        let sockets = sockets.collect::<Result<_, _>>().map_err(given_up)?;
        let service = Service::new(key.clone(), Default::default())
            .map_err(|_| Error::Failed("the kernel gives no random numbers".into()))
            .map_err(given_up)?;
        service.set_exports(table(name, opened).map_err(given_up)?);
        let door = self.prepare_door(name, &spec.local, None).map_err(given_up)?;
        let network = (network, plan);
        Ok(Coming { exports, sockets, service, paths, incarnation, spec, door, network })
    }

    /// Far ends of pairs that are made anew have the addresses again that are said of them where they are.
    fn readdressed(&self, prepared: &Prepared) -> Result<Vec<(Namespace, Plan)>, Error> {
        let tenants = self.tenants();
        let Prepared { coming, altered, .. } = prepared;
        let coming = coming.iter().map(|it| (&it.spec.name, &it.network.1));
        let changed = altered.iter().filter_map(|it| {
            let (_, plan) = it.network.as_ref()?;
            Some((&it.change.name, plan))
        });
        let mut plans = Vec::new();
        for (ns, plan) in coming.chain(changed) {
            for pair in plan.pairs() {
                let ns = pair.peer_ns.as_ref().unwrap_or(ns);
                let (Some(peer), Some(tenant)) = (&pair.peer, tenants.live.get(ns)) else {
                    continue;
                };
                let after = altered.iter().find(|it| it.change.name == *ns);
                let after = after.and_then(|it| it.network.as_ref()).map(|(after, _)| after);
                let mut addrs = tenant.network_now().addrs;
                addrs.retain(|addr| addr.dev == *peer);
                addrs.retain(|addr| after.is_none_or(|after| after.addrs.contains(addr)));
                let addresses = addrs.iter().map(AddrSpec::to_cidr).collect::<Result<Vec<_>, _>>();
                let addresses = addresses.map_err(Error::failed)?;
                if !addresses.is_empty() {
                    let plan = Plan::readdress(if_name(peer)?, &addresses);
                    plans.push((tenant.ns.clone(), plan));
                }
            }
        }
        Ok(plans)
    }

    /// The names of ends that other namespaces have in this one, or will have.
    fn far_ends(&self, name: &str, changes: &[Change]) -> Vec<String> {
        let tenants = self.tenants();
        let renamed = |ns: &str, link: &LinkSpec| {
            let mut changes = changes.iter().filter_map(|change| match change {
                Change::Alter(change) if change.name == ns => Some(change),
                _ => None,
            });
            changes.find_map(|change| {
                let (_, patch) = change.set_other_ends().find(|(name, _)| **name == link.name)?;
                patch.name.clone()
            })
        };
        let there = tenants.live.iter().flat_map(|(ns, tenant)| {
            let links = tenant.network.links.iter();
            links
                .filter(|link| link.peer_ns.as_deref() == Some(name))
                .filter_map(|link| renamed(ns, link).or_else(|| link.peer.clone()))
        });
        let coming = changes.iter().flat_map(|change| match change {
            Change::Add(spec) => &spec.link[..],
            Change::Alter(change) => &change.add_link[..],
            Change::Remove(_) => &[],
        });
        let coming = coming.filter(|link| link.peer_ns.as_deref() == Some(name));
        there.chain(coming.filter_map(|link| link.peer.clone())).collect()
    }

    /// Refuses a spec that cannot be, with all that is wrong with it. `far` are ends of pairs that are said of
    /// elsewhere.
    pub(super) fn check(&self, spec: &NamespaceSpec, far: &[String]) -> Result<(), Error> {
        let spec = &NamespaceSpec { limits: spec.limits.or(&self.limits), ..spec.clone() };
        let mut problems = spec.problems();
        let far: Vec<&str> = far.iter().map(String::as_str).collect();
        problems.extend(network_problems(spec, &far));
        let problems: Vec<String> = problems.iter().map(|problem| problem.said_of(spec)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!("namespace {}: {}", spec.name, problems.join("; "))))
    }

    fn prepare_altered(
        &self,
        mut change: Alteration,
        desk: &Desk,
        places: &mut Places<'_>,
    ) -> Result<Altered, Error> {
        let tenants = self.tenants();
        let tenant = tenants.live(&change.name)?;
        change.name = tenant.ns.id().name.to_string();
        let name = &change.name;
        let (version, ns) = (tenant.version, tenant.ns.clone());
        let incarnation = tenant.incarnation.clone();
        for path in &change.del_export {
            if tenant.export(path).is_none() {
                return Err(Error::NotFound(format!("namespace {name} does not export {path}")));
            }
        }
        for listen in &change.del_listen {
            if !tenant.listeners.iter().any(|it| it.is_at(listen.addr, listen.netns.as_ref())) {
                return Err(Error::NotFound(format!(
                    "namespace {name} does not listen at {listen}"
                )));
            }
        }
        let stays = |known: &&KnownExport| !change.del_export.iter().any(|it| it == known.path());
        let mut exports: Vec<KnownExport> = tenant.exports.iter().filter(stays).cloned().collect();
        let limits = change.limits.clone().unwrap_or_else(|| tenant.limits.clone());
        let (local, door) = (tenant.local.clone(), tenant.door.as_ref().map(Door::path));
        let (other_local, door) = (change.local.clone(), door.map(Path::to_owned));
        let other_local = other_local.map(|change| change.applied(&local));
        let before = tenant.network.clone();
        // What went by itself is not there to be changed; but its routes are still set.
        let there = Network { routes: before.routes.clone(), ..tenant.network_now() };
        let after = tenant.network_now().altered(&change)?;
        drop(tenants);
        // All that it would be, so that what does not go together is refused.
        let whole = NamespaceSpec {
            name: name.clone(),
            export: exports.iter().map(|known| known.view.spec.clone()).collect(),
            listen: change.add_listen.clone(),
            link: after.links.clone(),
            addr: after.addrs.clone(),
            route: after.routes.clone(),
            limits,
            local: other_local.clone().unwrap_or(local),
        };
        for added in &change.add_export {
            if exports.iter().any(|known| known.path() == added.path) {
                return Err(Error::Exists(format!(
                    "namespace {name} exports {} already",
                    added.path
                )));
            }
        }
        let whole = NamespaceSpec {
            export: whole.export.into_iter().chain(change.add_export.iter().cloned()).collect(),
            ..whole
        };
        self.check(&whole, &self.far_ends(name, places.changes))?;
        let network = if there == after && change.set_far.is_empty() {
            None
        } else {
            Some((after.clone(), there.plan_of(&change, &after)?))
        };

        let inside = ns.enter().ok_or_else(|| Error::no_namespace(name))?;
        let served = served(&inside)?;
        let (Some(service), Some(paths)) = (served.service(), served.paths()) else {
            return Err(Error::Failed(format!("namespace {name} serves nothing")));
        };
        let mut opened: Vec<Arc<Export>> = service.exports().exports().to_vec();
        opened.retain(|export| {
            !change.del_export.iter().any(|it| it == export.options().path.as_str())
        });
        for spec in &change.add_export {
            let _noted = desk.begin_own(ns.id().id, "opening an export", &spec.path);
            let export = open(name, spec, incarnation.key(), paths)?;
            exports.push(KnownExport::new(spec.clone(), &export));
            opened.push(export);
        }
        let is_other = !change.add_export.is_empty() || !change.del_export.is_empty();
        let exports = if is_other { Some((table(name, opened)?, exports)) } else { None };
        let (mut sockets, mut retained) = (Vec::new(), Vec::new());
        for listen in &change.add_listen {
            match self.retain(&change, listen, places)? {
                Some(stays) => retained.push(stays.bind()?),
                None => sockets.push(self.bind(name, listen, places)?),
            }
        }
        let local = match other_local {
            Some(local) => {
                let door = self.prepare_door(name, &local, door.as_deref())?;
                Some((local, door))
            }
            None => None,
        };
        Ok(Altered { change, ns, version, exports, sockets, retained, local, network, inside })
    }

    /// The listener of an altered namespace that goes and comes back with other options: it stays, with
    /// its connections.
    fn retain(
        &self,
        change: &Alteration,
        spec: &ListenSpec,
        places: &mut Places<'_>,
    ) -> Result<Option<Retained<Missing>>, Error> {
        let tenants = self.tenants();
        let netns = spec.netns.as_ref();
        let goes = |it: &&Listener| {
            change.del_listen.iter().any(|del| it.is_at(del.addr, del.netns.as_ref()))
        };
        let mut going = tenants.live(&change.name)?.listeners.iter().filter(goes);
        let same = going.find(|it| it.is_at(spec.addr, netns) && places.is_free(it.open()));
        let Some(same) = same else { return Ok(None) };
        places.taken.push((change.name.clone(), same.open().clone()));
        same.retain(spec).map(Some)
    }

    /// Binds the sockets of a listener, or shares those of one that goes from the same address.
    fn bind(
        &self,
        name: &str,
        spec: &ListenSpec,
        places: &mut Places<'_>,
    ) -> Result<Sockets, Error> {
        let tenants = self.tenants();
        let Some((address, owner)) = tenants.addresses.overlapping(spec.addr, spec.netns.as_ref())
        else {
            drop(tenants);
            return Sockets::bind(spec);
        };
        let other = tenants.live(owner)?;
        let netns = spec.netns.as_ref();
        let same = other.listeners.iter().find(|it| it.has(spec.addr, netns));
        if let Some(same) = same.filter(|it| places.goes(other, it) && places.is_free(it.open())) {
            places.taken.push((owner.to_owned(), same.open().clone()));
            let shared = same.share()?;
            drop(tenants);
            return shared.fit(spec);
        }
        let in_the_way = ListenSpec { netns: netns.cloned(), ..ListenSpec::new(address) };
        let goes =
            other.listeners.iter().any(|it| it.has(address, netns) && places.goes(other, it));
        let hint = if goes {
            format!(
                ", which goes at the same time, and the system lets nobody listen at both meanwhile: \
                 take {in_the_way} away first, and then add this"
            )
        } else {
            ": listen at another address or port, or remove that one".into()
        };
        let owner = if owner == name { "it".into() } else { format!("namespace {owner}") };
        Err(Error::Exists(format!(
            "namespace {name} cannot listen at {spec}: {owner} listens at {address}{hint}"
        )))
    }
}

/// Which places to listen at become free by the changes that are prepared.
struct Places<'c> {
    changes: &'c [Change],
    taken: Vec<(String, Open)>,
}

impl Places<'_> {
    /// Whether a listener goes.
    fn goes(&self, tenant: &Tenant, listener: &Listener) -> bool {
        let id = tenant.ns.id();
        let is_meant = |name: &str| name == id.name.as_str() || name == id.to_string();
        self.changes.iter().any(|change| match change {
            Change::Add(_) => false,
            Change::Remove(name) => is_meant(name),
            Change::Alter(change) => {
                let mut del = change.del_listen.iter();
                is_meant(&change.name)
                    && del.any(|del| listener.is_at(del.addr, del.netns.as_ref()))
            }
        })
    }

    /// Whether nobody else gets its sockets.
    fn is_free(&self, open: &Open) -> bool {
        !self.taken.iter().any(|(_, taken)| taken.is(open))
    }
}

fn open(
    name: &str,
    spec: &ExportSpec,
    key: &HandleKey,
    paths: &Paths,
) -> Result<Arc<Export>, Error> {
    let failed = |error: &dyn Display| Error::Invalid(format!("namespace {name}: {error}"));
    let options = spec.to_options().map_err(|problem| failed(&problem))?;
    let export = Export::open(options, key, || paths.open()).map_err(|error| failed(&error))?;
    Ok(Arc::new(export))
}

fn table(name: &str, exports: Vec<Arc<Export>>) -> Result<ExportTable, Error> {
    ExportTable::new(exports).map_err(|error| Error::Invalid(format!("namespace {name}: {error}")))
}

/// What is served in a namespace.
pub(super) fn served(contents: &Contents) -> Result<&Served, Error> {
    contents.get::<Nfs>().ok_or_else(|| Error::Failed("NFS is not served any more".into()))
}
