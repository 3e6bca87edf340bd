//! What the server knows of its namespaces, beside what is in them.

use super::Error;
use super::listeners::Listener;
use super::network::Network;
use crate::local::Door;
use crate::model::{ExportSpec, ExportView, HandleKind, LimitsSpec, LocalSpec};
use crate::nfs::Glimpse;
use crate::spec::Addresses;
use crate::stack::AtOwnLinks;
use crate::state::Incarnation;
use holm_ifnet::NsInterfaces;
use holm_netns::{Namespace, NsState};
use holm_nfsd::export::{Closed, Export};
use holm_nfsd::service::Listening;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All namespaces. Locked for short: nothing that touches an export's files or waits for an interface is
/// done meanwhile.
#[derive(Default)]
pub(super) struct Tenants {
    /// Names of those that a change is being carried out of, with the list unlocked.
    pub(super) claimed: BTreeSet<String>,
    pub(super) live: BTreeMap<String, Tenant>,
    pub(super) draining: BTreeMap<u64, Tenant>,
    pub(super) addresses: Addresses,
}

/// One namespace.
pub(super) struct Tenant {
    pub(super) ns: Namespace,
    pub(super) incarnation: Incarnation,
    /// In the order in which they came.
    pub(super) exports: Vec<KnownExport>,
    pub(super) listeners: Vec<Listener>,
    pub(super) network: Network,
    /// To see what is left of its interfaces when it goes.
    pub(super) interfaces: NsInterfaces,
    pub(super) limits: LimitsSpec,
    pub(super) local: LocalSpec,
    /// By which programs on this machine come, if any may.
    pub(super) door: Option<Door>,
    /// Exports that are served no longer and not closed yet.
    pub(super) leaving: Vec<LeavingExport>,
    pub(super) glimpse: Arc<Glimpse>,
    /// How often it was changed.
    pub(super) version: u64,
    /// It is on its way out, though its registry may not have been told yet.
    pub(super) is_draining: bool,
}

/// What is known of an export without having it.
#[derive(Clone, Debug)]
pub(super) struct KnownExport {
    pub(super) id: u32,
    pub(super) view: ExportView,
    pub(super) closed: Closed,
}

/// An export on its way out.
#[derive(Clone, Debug)]
pub(super) struct LeavingExport {
    pub(super) ns: Namespace,
    pub(super) id: u32,
    pub(super) path: String,
    pub(super) closed: Closed,
}

impl KnownExport {
    pub(super) fn new(spec: ExportSpec, export: &Export) -> Self {
        let why_paths = export.why_paths().map(ToString::to_string);
        let handles = if why_paths.is_some() { HandleKind::Paths } else { HandleKind::Kernel };
        let view = ExportView { spec, handles, why_paths };
        Self { id: export.id(), view, closed: export.closed() }
    }

    pub(super) fn path(&self) -> &str {
        &self.view.spec.path
    }

    pub(super) fn leave(self, ns: &Namespace) -> LeavingExport {
        LeavingExport {
            ns: ns.clone(),
            id: self.id,
            path: self.view.spec.path,
            closed: self.closed,
        }
    }
}

impl Tenants {
    /// The live namespace that `NAME` or `NAME@ID` means.
    pub(super) fn live(&self, spec: &str) -> Result<&Tenant, Error> {
        if spec.contains('@') {
            let tenant = self.resolve(spec)?;
            let is_live = !self.draining.contains_key(&tenant.ns.id().id);
            let why = "is draining: nothing of it can be changed any more";
            return if is_live {
                Ok(tenant)
            } else {
                Err(Error::NotFound(format!("namespace {spec} {why}")))
            };
        }
        let name = spec;
        self.live.get(name).ok_or_else(|| {
            let draining = self.draining.values().find(|it| it.ns.id().name.as_str() == name);
            match draining {
                None => Error::no_namespace_of(name, self.live.keys()),
                Some(draining) => Error::NotFound(format!(
                    "there is no namespace {name} any more; {} is draining",
                    draining.ns.id()
                )),
            }
        })
    }

    /// The namespace that `NAME` or `NAME@ID` means.
    pub(super) fn resolve(&self, spec: &str) -> Result<&Tenant, Error> {
        let Some((name, id)) = spec.split_once('@') else { return self.live(spec) };
        let found = id.parse().ok().and_then(|id| {
            let live = self.live.get(name).filter(|tenant| tenant.ns.id().id == id);
            live.or_else(|| self.draining.get(&id))
        });
        found
            .filter(|tenant| tenant.ns.id().name.as_str() == name)
            .ok_or_else(|| Error::no_namespace(spec))
    }

    /// Forgets what is gone.
    pub(super) fn prune(&mut self) {
        self.draining.retain(|_, tenant| tenant.ns.state() != NsState::Gone);
    }
}

impl Tenant {
    /// What clients are told who ask the port mapper.
    pub(super) fn listening(&self) -> Vec<Listening> {
        let of_listeners = self.listeners.iter().flat_map(Listener::listening);
        of_listeners.chain(AtOwnLinks::listening()).collect()
    }

    /// Its own network, without what has gone by itself.
    pub(super) fn network_now(&self) -> Network {
        let mut network = self.network.clone();
        network.forget_those_left(&self.interfaces);
        network
    }

    /// It is not served any more from now on.
    pub(super) fn begin_draining(&mut self) {
        self.is_draining = true;
        self.close_door();
    }

    /// Nobody comes in any more; somebody else may have a door there.
    pub(super) fn close_door(&mut self) {
        if let Some(door) = self.door.take() {
            door.close();
        }
    }

    pub(super) fn export(&self, path: &str) -> Option<&KnownExport> {
        self.exports.iter().find(|export| export.path() == path)
    }

    /// The path of an export by its number, also if it is on its way out.
    pub(super) fn path_of(&self, export: u32) -> Option<&str> {
        let known = self.exports.iter().find(|known| known.id == export).map(KnownExport::path);
        let mut leaving = self.leaving.iter();
        known.or_else(|| leaving.find(|it| it.id == export).map(|it| it.path.as_str()))
    }
}
