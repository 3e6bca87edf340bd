//! Changes of what is served: each whole or not at all.
//!
//! First everything that may fail or take long is done beside what is served: directories are
//! opened, sockets bound (`prepare`). Then the namespaces that it is about are claimed, and what may
//! fail but can be undone is done: namespaces are created, interfaces are changed, which may take as long
//! as somebody uses one that goes. Last, with the list of namespaces locked for a moment, all takes the
//! place of what was there (`commit`). So many changes at once are as whole as one, and the changes of
//! some namespaces do not wait for those of others.
//!
//! Whoever prepares a change of a namespace is inside it, and is shown as one who holds it. Who comes
//! while it is claimed waits. Of two who have prepared a change of the same namespace the second is
//! refused: it would have been made for something that is not there any more.

use super::tenants::LeavingExport;
use super::{Error, Refused, Server};
use crate::model::{
    AddrSpec, ExportSpec, LimitsSpec, LinkPatch, LinkSpec, ListenSpec, LocalPatch, LocalSpec,
    NamespaceSpec, RouteSpec,
};
use holm_ifnet::Leaving;
use holm_netns::Namespace;
use std::fmt;

/// A change of what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace comes.
    Add(NamespaceSpec),
    /// The namespace that `NAME` or `NAME@ID` means goes, and its key is destroyed.
    Remove(String),
    /// A namespace becomes another.
    Alter(Alteration),
}

/// How a namespace becomes another. An export or a listener that is both removed and added is
/// replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alteration {
    /// Which namespace: `NAME` or `NAME@ID`.
    pub name: String,
    /// Paths of exports that go.
    pub del_export: Vec<String>,
    /// Exports that come.
    pub add_export: Vec<ExportSpec>,
    /// Listeners that go: as they were asked for, or with the port that they have.
    pub del_listen: Vec<ListenSpec>,
    /// Listeners that come.
    pub add_listen: Vec<ListenSpec>,
    /// Names of interfaces that go. One that comes back with other settings only is not destroyed.
    pub del_link: Vec<String>,
    /// Interfaces that come.
    pub add_link: Vec<LinkSpec>,
    /// Interfaces that stay and become others, before any goes or comes: which, and how.
    pub set_link: Vec<(String, LinkPatch)>,
    /// Ends of pairs that are said of by their other ends become others.
    pub set_far: Vec<(FarEnd, LinkPatch)>,
    /// Addresses that go.
    pub del_addr: Vec<AddrSpec>,
    /// Addresses that come.
    pub add_addr: Vec<AddrSpec>,
    /// Routes that go.
    pub del_route: Vec<RouteSpec>,
    /// Routes that come.
    pub add_route: Vec<RouteSpec>,
    /// Other limits: those of connections for who comes from now on, the others at once.
    pub limits: Option<LimitsSpec>,
    /// Others on this machine who may open files past the network.
    pub local: Option<LocalChange>,
}

/// An end of a pair of which its other end speaks, and which side of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarEnd {
    /// That of this name here: what it is called, and of which lagg it is a port.
    Here(String),
    /// The other end of the link of this name: what that says of it.
    Of(String),
}

impl Alteration {
    /// The far ends that are here and become others.
    pub(super) fn set_here(&self) -> impl Iterator<Item = (&String, &LinkPatch)> {
        self.set_far.iter().filter_map(|(end, patch)| match end {
            FarEnd::Here(name) => Some((name, patch)),
            FarEnd::Of(_) => None,
        })
    }

    /// The links here whose other ends become others.
    pub(super) fn set_other_ends(&self) -> impl Iterator<Item = (&String, &LinkPatch)> {
        self.set_far.iter().filter_map(|(end, patch)| match end {
            FarEnd::Of(name) => Some((name, patch)),
            FarEnd::Here(_) => None,
        })
    }
}

/// How it becomes other programs that may open files past the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalChange {
    /// These, by this door.
    Become(LocalSpec),
    /// Those and others.
    Patch(LocalPatch),
}

impl LocalChange {
    pub(super) fn applied(&self, before: &LocalSpec) -> LocalSpec {
        match self {
            Self::Become(spec) => spec.clone(),
            Self::Patch(patch) => before.patched(patch),
        }
    }
}

impl Change {
    /// The namespace that it is about, as it is named.
    pub(super) fn ns(&self) -> &str {
        match self {
            Self::Add(spec) => &spec.name,
            Self::Remove(name) => name,
            Self::Alter(change) => &change.name,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(spec) => write!(f, "namespace {} added", spec.name),
            Self::Remove(name) => write!(f, "namespace {name} removed"),
            Self::Alter(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exports = self.add_export.iter().map(|export| &export.path);
        let (added, removed) = ("added", "removed");
        write!(f, "namespace {}:", self.name)?;
        let mut parts = Vec::new();
        parts.extend(self.del_export.iter().map(|path| format!(" export {path} {removed}")));
        parts.extend(exports.map(|path| format!(" export {path} {added}")));
        parts.extend(self.del_listen.iter().map(|listen| format!(" listener {listen} {removed}")));
        parts.extend(self.add_listen.iter().map(|listen| format!(" listener {listen} {added}")));
        let links = self.add_link.iter().map(|link| &link.name);
        parts.extend(self.del_link.iter().map(|name| format!(" link {name} {removed}")));
        parts.extend(links.map(|name| format!(" link {name} {added}")));
        let own = self.set_link.iter().map(|(name, patch)| (name, patch));
        parts.extend(own.chain(self.set_here()).map(|(name, patch)| match &patch.name {
            Some(to) => format!(" link {name} changed and called {to}"),
            None => format!(" link {name} changed"),
        }));
        parts.extend(
            self.set_other_ends().map(|(name, _)| format!(" other end of link {name} changed")),
        );
        parts.extend(self.del_addr.iter().map(|addr| format!(" address {addr} {removed}")));
        parts.extend(self.add_addr.iter().map(|addr| format!(" address {addr} {added}")));
        parts.extend(self.del_route.iter().map(|route| format!(" route {route} {removed}")));
        parts.extend(self.add_route.iter().map(|route| format!(" route {route} {added}")));
        parts.extend(self.limits.iter().map(|_| " limits changed".to_owned()));
        parts.extend(self.local.iter().map(|_| " local users changed".to_owned()));
        f.write_str(&parts.join(","))
    }
}

/// What has come of changes.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) removed: Vec<Namespace>,
    pub(super) leaving: Vec<LeavingExport>,
    /// Interfaces that are destroyed and still used.
    pub(super) links: Vec<Leaving>,
}

impl Server {
    /// Carries out all changes or none.
    pub(super) fn change(&self, changes: Vec<Change>) -> Result<Changed, Vec<Refused>> {
        let prepared = self.prepare(changes)?;
        let changed = self.commit(prepared).map_err(|error| vec![error.into()])?;
        if !changed.removed.is_empty() {
            // Their keys must not come back after a crash of the machine.
            self.state.sync().map_err(|error| vec![Error::failed(error).into()])?;
        }
        Ok(changed)
    }
}
