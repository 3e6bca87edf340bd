//! Listeners inside containers go when the containers do.

use super::Server;
use super::listeners::{Listener, Open};
use crate::kernel_netns::{Left, Owner, Watch, Watcher};
use crate::model::Happened;
use holm_netns::NsId;
use holm_nfsd::service::Listening;
use std::io;
use std::sync::{Mutex, PoisonError, Weak};

/// Watches the owners of the kernel's network namespaces that are listened in.
#[derive(Debug)]
pub(super) struct Owners {
    server: Weak<Server>,
    /// Most servers have no such listener, and need no thread for it.
    watcher: Mutex<Option<Watcher>>,
}

impl Owners {
    pub(super) fn new(server: Weak<Server>) -> Self {
        Self { server, watcher: Mutex::default() }
    }

    /// Has a listener of a namespace go when the owner leaves.
    pub(super) fn watch(&self, ns: &NsId, open: Open, owner: Owner) -> io::Result<Watch> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let watcher = match &mut *watcher {
            Some(watcher) => watcher,
            none => none.insert(Watcher::start()?),
        };
        let (server, ns) = (self.server.clone(), ns.clone());
        watcher.watch(owner, move |left| {
            // First, and whatever else goes on in the server.
            open.close();
            if let Some(server) = server.upgrade() {
                server.owner_left(&ns, &open, &left);
            }
        })
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(watcher);
    }
}

impl Server {
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
        let listening: Vec<Listening> =
            tenant.listeners.iter().flat_map(Listener::listening).collect();
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
