//! Listeners inside containers go when the containers do.

use super::Server;
use super::listeners::{Listener, Open};
use crate::kernel_netns::{Left, Owner, Watch, Watcher};
use crate::model::Happened;
use holm_ifnet::{IfName, IfnetSubsystem, Interface};
use holm_lifetime::{Deadline, WeakRef};
use holm_netns::{Namespace, NsId};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

/// Watches the owners of the kernel's network namespaces that are listened in.
#[derive(Debug)]
pub(super) struct Owners {
    server: Weak<Server>,
    /// Most servers have no such listener, and need no thread for it.
    watcher: Mutex<Option<Watcher>>,
    /// Those of interfaces, by the number of the namespace and the name.
    links: Mutex<BTreeMap<(u64, IfName), Watch>>,
}

impl Owners {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self { server, watcher: Mutex::default(), links: Mutex::default() }
    }

    /// Has a listener of a namespace go when the owner leaves.
    pub(super) fn watch(&self, ns: &NsId, open: Open, owner: Owner) -> io::Result<Watch> {
        let (server, ns) = (self.server.clone(), ns.clone());
        self.watcher(|watcher| {
            watcher.watch(owner, move |left| {
                // First, and whatever else goes on in the server.
                open.close();
                if let Some(server) = server.upgrade() {
                    server.owner_left(&ns, &open, &left);
                }
            })
        })
    }

    /// Has an interface of a namespace go when the owner leaves.
    pub(super) fn watch_link(
        &self,
        ns: &Namespace,
        interface: &Interface,
        owner: Owner,
    ) -> io::Result<()> {
        let (server, of, name) = (self.server.clone(), ns.clone(), interface.name());
        let interface = interface.downgrade();
        let watch = self.watcher(|watcher| {
            watcher.watch(owner, move |left| {
                if let Some(server) = server.upgrade() {
                    server.link_owner_left(&of, &interface, &left);
                }
            })
        })?;
        let before = self.links().insert((ns.id().id, name), watch);
        drop(before);
        Ok(())
    }

    /// An interface was destroyed: nobody has to be watched for it.
    pub(super) fn forget_link(&self, ns: &NsId, name: IfName) {
        let watch = self.links().remove(&(ns.id, name));
        drop(watch);
    }

    /// An interface has another name.
    pub(super) fn rename_link(&self, ns: &NsId, from: IfName, to: IfName) {
        let mut links = self.links();
        if let Some(watch) = links.remove(&(ns.id, from)) {
            links.insert((ns.id, to), watch);
        }
    }

    /// All of a namespace are.
    pub(super) fn forget_links(&self, ns: &NsId) {
        let gone: Vec<_> = self.links().extract_if(.., |(of, _), _| *of == ns.id).collect();
        drop(gone);
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<(u64, IfName), Watch>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watcher(&self, watch: impl FnOnce(&Watcher) -> io::Result<Watch>) -> io::Result<Watch> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watch(match &mut *watcher {
            Some(watcher) => watcher,
            none => none.insert(Watcher::start()?),
        })
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(watcher);
    }
}

impl Server {
    /// Destroys an interface that lies in a container whose owner has left, and says so.
    fn link_owner_left(&self, ns: &Namespace, interface: &WeakRef<Interface>, left: &Left) {
        let id = ns.id();
        // It may have another name by now.
        let Some(name) = interface.upgrade().map(|interface| interface.name()) else { return };
        tracing::warn!(ns = %id, link = %name, "it goes, because it lies in a container: {left}");
        // First, and whatever else goes on in the server.
        if let Some(inside) = ns.enter()
            && let Some(interfaces) = inside.get::<IfnetSubsystem>()
        {
            // What still uses it lets go of it; it is listed until then.
            let destroy = || interfaces.destroy(name, Deadline::now());
            let _ = self.reasons.given(id.id, name, left.to_string(), destroy);
        }
        let mut tenants = self.tenants();
        let tenant = tenants.live.get_mut(id.name.as_str()).filter(|tenant| tenant.ns.id() == id);
        if let Some(tenant) = tenant {
            tenant.network.forget(name.as_str());
            tenant.version += 1;
        }
        drop(tenants);
        self.owners.forget_link(id, name);
    }

    /// Forgets a listener that was closed because its owner left, and says so.
    fn owner_left(&self, ns: &NsId, open: &Open, left: &Left) {
        let mut tenants = self.tenants();
        let super::tenants::Tenants { live, addresses, .. } = &mut *tenants;
        let tenant = live.get_mut(ns.name.as_str()).filter(|tenant| tenant.ns.id() == ns);
        let Some(tenant) = tenant else { return };
        let gone: Vec<_> = tenant.listeners.extract_if(.., |it| it.is(open)).collect();
        for Listener { spec, local, .. } in &gone {
            addresses.remove(*local, spec.netns.as_ref(), ns.name.as_str());
            tracing::warn!(ns = %ns, addr = %local, "not listening there any more: {left}");
            let (addr, netns, why) = (*local, spec.netns.clone(), Some(left.to_string()));
            self.speaker.say(Some(ns), Happened::ListenerRemoved { addr, netns, why });
        }
        tenant.version += 1;
        let listening = tenant.listening();
        if let Some(inside) = tenant.ns.enter()
            && let Some(served) = inside.get::<crate::nfs::Nfs>()
            && let Some(service) = served.service()
        {
            service.set_listening(listening);
        }
        drop(tenants);
        // Ends the watch, which is over.
        drop(gone);
    }
}
