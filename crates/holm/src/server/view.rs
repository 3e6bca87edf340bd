//! What is shown of namespaces.

use super::events::milliseconds;
use super::operations::{Note, On, Operations};
use super::tenants::Tenant;
use super::{doors, links};
use crate::model::{
    CountersView, ExportView, HeldView, HolderView, ListenerView, NamespaceState, NamespaceView,
};
use crate::nfs::{Nfs, Served};
use holm_lifetime::{Deadline, Holder};
use holm_netns::Inside;
use holm_nfsd::FileHandle;
use holm_nfsd::localio::ClientInfo;
use holm_pool::PoolSubsystem;
use std::fmt::Write;
use std::panic::Location;
use std::time::{Duration, SystemTime};

/// A namespace, as it is.
pub(super) fn namespace(tenant: &Tenant, operations: &Operations) -> NamespaceView {
    let id = tenant.ns.id();
    // Before this thread enters.
    let held = held(tenant, operations, None);
    let inside = tenant.ns.enter();
    let counters = inside.as_ref().and_then(counters);
    let is_live = inside.is_some() && !tenant.is_draining;
    let network = tenant.network_now();
    let state = if is_live { NamespaceState::Live } else { NamespaceState::Draining };
    NamespaceView {
        name: id.name.to_string(),
        id: id.id,
        state,
        held,
        exports: exports(tenant),
        listeners: listeners(tenant),
        links: links::views(tenant),
        addr: network.addrs,
        routes: links::routes(tenant, network.routes),
        limits: tenant.limits.clone(),
        local: doors::view(tenant),
        counters,
    }
}

pub(super) fn exports(tenant: &Tenant) -> Vec<ExportView> {
    tenant.exports.iter().map(|export| export.view.clone()).collect()
}

pub(super) fn listeners(tenant: &Tenant) -> Vec<ListenerView> {
    tenant.listeners.iter().map(|listener| listener.view()).collect()
}

/// Who is inside a namespace, or what is going on with one of its exports.
pub(super) fn held(tenant: &Tenant, operations: &Operations, export: Option<u32>) -> HeldView {
    let all = tenant.ns.held();
    let notes = operations.of(tenant.ns.id().id);
    let about = |note: &&Note| match (export, &note.on) {
        (None, _) => true,
        (Some(export), On::Export(id)) => *id == export,
        (Some(_), On::Path(_) | On::None) => false,
    };
    let mut holders: Vec<_> =
        notes.iter().filter(about).map(|note| operation(tenant, note)).collect();
    holders.extend(doors::clients(tenant).iter().filter_map(|it| lent(it, export.is_some())));
    if export.is_some() {
        return HeldView { count: holders.len(), holders, exiting: None };
    }
    holders.extend(all.holders.iter().map(holder));
    holders.extend(links::holders(tenant));
    holders.sort_by_key(|holder| holder.since);
    let exiting = match tenant.ns.state() {
        holm_netns::NsState::Draining => {
            tenant.ns.wait_gone(Deadline::now()).err().and_then(|draining| draining.exiting)
        }
        _ => None,
    };
    HeldView { count: all.count.max(holders.len()), holders, exiting }
}

/// What `held` says, in a line.
pub(super) fn in_words(held: &HeldView) -> String {
    let mut text = String::new();
    for holder in &held.holders {
        let separator = if text.is_empty() { "" } else { "; " };
        // Into a string: never fails.
        let _ = write!(text, "{separator}{}", holder.operation.as_deref().unwrap_or("a thread"));
        for (word, what) in
            [("of", &holder.object), ("in export", &holder.export), ("for", &holder.client)]
        {
            if let Some(what) = what {
                let _ = write!(text, " {word} {what}");
            }
        }
        let _ = write!(text, " since {:.1} s, held from {}", holder.age, holder.at);
    }
    if let Some(exiting) = &held.exiting {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{exiting} is closing what was open");
    }
    match held.count.saturating_sub(held.holders.len()) {
        0 if text.is_empty() => text.push_str("nothing that is known"),
        0 => {}
        others if text.is_empty() => {
            let _ = write!(text, "{others} unnamed");
        }
        others => {
            let _ = write!(text, "; and {others} unnamed");
        }
    }
    text
}

fn operation(tenant: &Tenant, note: &Note) -> HolderView {
    let (export, object) = match &note.on {
        On::Path(path) => (Some(path.clone()), None),
        On::None => (None, None),
        On::Export(id) => {
            let object = note.object.as_ref().map(|handle| object(tenant, *id, handle));
            (tenant.path_of(*id).map(str::to_owned), object)
        }
    };
    let age = note.age();
    HolderView {
        operation: Some(note.operation.to_owned()),
        export,
        object,
        client: note.client.map(|client| client.to_string()),
        since: since(age),
        age: age.as_secs_f64(),
        at: note.at.to_string(),
        thread: None,
    }
}

/// A program that has files past the network. Of an export that goes, those that were asked for some.
#[track_caller]
fn lent(client: &ClientInfo, only_recalled: bool) -> Option<HolderView> {
    let since_when = client.recalled.or(client.oldest.filter(|_| !only_recalled))?.elapsed();
    let asked = if client.recalled.is_some() { ", which were asked for" } else { "" };
    let files = client.files;
    (files > 0).then(|| HolderView {
        operation: Some(format!("local use of {files} files{asked}")),
        export: None,
        object: None,
        client: Some(doors::program(client)),
        since: since(since_when),
        age: since_when.as_secs_f64(),
        at: Location::caller().to_string(),
        thread: None,
    })
}

/// The path of an object where it is known without asking the file system, which may be what does
/// not answer; or its handle.
fn object(tenant: &Tenant, export: u32, handle: &FileHandle) -> String {
    let path = tenant.glimpse.look(|service| {
        let exports = service.exports();
        let volume = exports.of_handle(export).ok()?.volume();
        let path = volume.store().last_seen(handle.node())?;
        Some(path)
    });
    match path.flatten() {
        Some(path) => format!("/{}", path.display()),
        None => handle.as_bytes().iter().fold("handle ".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

pub(super) fn holder(holder: &Holder) -> HolderView {
    HolderView {
        operation: None,
        export: None,
        object: None,
        client: None,
        since: since(holder.age()),
        age: holder.age().as_secs_f64(),
        at: holder.location.to_string(),
        thread: holder.thread.clone(),
    }
}

fn counters(inside: &Inside) -> Option<CountersView> {
    let served: &Served = inside.get::<Nfs>()?;
    let sockets = served.counted().read();
    let pool = inside.get::<PoolSubsystem>()?.metrics();
    let local = served.service().map(|service| service.local().statistics()).unwrap_or_default();
    Some(CountersView {
        connections: sockets.connections,
        accepted: sockets.accepted,
        refused: sockets.refused,
        strangers: sockets.strangers,
        broken: sockets.broken,
        idle: sockets.idle,
        calls: sockets.calls,
        received: sockets.received,
        sent: sockets.sent,
        mounted: served.service().map_or(0, |service| service.mounted()),
        queued: pool.queued,
        held_back: pool.held_back,
        stuck_calls: pool.stuck_calls,
        slow: pool.slow,
        panics: pool.panics,
        local_clients: local.arrived,
        local_refused: local.turned_away,
        local_opened: local.opened,
        local_cut_off: local.cut_off,
    })
}

pub(super) fn since(age: Duration) -> u64 {
    SystemTime::now().checked_sub(age).map_or(0, milliseconds)
}
