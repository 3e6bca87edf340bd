//! What has to change in a running server so that it is as configured.

use super::Config;
use crate::model::{NamespaceState, NamespaceView};
use crate::server::{Alteration, Change, LocalChange};
use std::collections::{HashMap, HashSet};

/// The changes that lead from what is served to what `wanted` says. `before` is the configuration in
/// force: of what is served, that is what goes if it is not wanted any more. What came by the admin API
/// stays.
pub fn difference(running: &[NamespaceView], before: &Config, wanted: &Config) -> Vec<Change> {
    // One that drains is none: its name is free.
    let live = running.iter().filter(|ns| ns.state == NamespaceState::Live);
    let live: HashMap<&str, &NamespaceView> = live.map(|ns| (ns.name.as_str(), ns)).collect();
    let stays: HashSet<&str> = wanted.namespaces.iter().map(|spec| spec.name.as_str()).collect();
    let mut changes = Vec::new();
    for spec in &before.namespaces {
        if !stays.contains(spec.name.as_str()) && live.contains_key(spec.name.as_str()) {
            changes.push(Change::Remove(spec.name.clone()));
        }
    }
    for spec in &wanted.namespaces {
        let Some(now) = live.get(spec.name.as_str()) else {
            changes.push(Change::Add(spec.clone()));
            continue;
        };
        let exports: Vec<_> = now.exports.iter().map(|export| &export.spec).collect();
        let listens: Vec<_> = now.listeners.iter().map(|listener| &listener.spec).collect();
        let links: Vec<_> = now.links.iter().filter_map(|link| link.spec.as_ref()).collect();
        let addrs: Vec<_> = now.addr.iter().collect();
        let routes: Vec<_> = now.routes.iter().map(|route| &route.spec).collect();
        let name = spec.name.clone();
        let alteration = Alteration {
            name: name.clone(),
            del_export: gone(&exports, &spec.export).map(|export| export.path.clone()).collect(),
            add_export: new(&exports, &spec.export),
            del_listen: gone(&listens, &spec.listen).cloned().collect(),
            add_listen: new(&listens, &spec.listen),
            del_link: gone(&links, &spec.link).map(|link| link.name.clone()).collect(),
            add_link: new(&links, &spec.link),
            set_link: Vec::new(),
            set_far: Vec::new(),
            del_addr: gone(&addrs, &spec.addr).cloned().collect(),
            add_addr: new(&addrs, &spec.addr),
            del_route: gone(&routes, &spec.route).cloned().collect(),
            add_route: new(&routes, &spec.route),
            limits: (now.limits != spec.limits).then(|| spec.limits.clone()),
            local: (now.local.spec != spec.local).then(|| LocalChange::Become(spec.local.clone())),
        };
        if alteration != (Alteration { name, ..Alteration::default() }) {
            changes.push(Change::Alter(alteration));
        }
    }
    changes
}

/// What there is and should not be.
fn gone<'a, T: PartialEq>(now: &'a [&T], wanted: &'a [T]) -> impl Iterator<Item = &'a T> {
    now.iter().copied().filter(|now| !wanted.contains(now))
}

/// What should be and is not there.
fn new<T: PartialEq + Clone>(now: &[&T], wanted: &[T]) -> Vec<T> {
    wanted.iter().filter(|wanted| !now.contains(wanted)).cloned().collect()
}
