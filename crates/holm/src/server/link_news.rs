//! What happens to interfaces reaches whoever listens to events.

use super::events::Speaker;
use crate::model::{Happened, LinkKind};
use crate::nfs::Nfs;
use holm_ifnet::{IfName, LinkChange, LinkEvent, lo};
use holm_netns::Namespace;
use holm_netns::notifier::{Notifier, NsHeld, Refusal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says what happens to interfaces, in namespaces of which was said that they are there.
pub(super) struct LinkNews {
    pub(super) speaker: Arc<Speaker>,
    pub(super) reasons: Arc<Reasons>,
}

/// Why interfaces go that nobody has asked to go, by the number of the namespace and the name.
#[derive(Debug, Default)]
pub(super) struct Reasons(Mutex<BTreeMap<(u64, IfName), String>>);

impl Reasons {
    /// Does something of which an interface goes, for that reason.
    pub(super) fn given<R>(&self, ns: u64, name: IfName, why: String, go: impl FnOnce() -> R) -> R {
        self.all().insert((ns, name), why);
        let result = go();
        self.all().remove(&(ns, name));
        result
    }

    fn of(&self, ns: u64, name: IfName) -> Option<String> {
        self.all().get(&(ns, name)).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(u64, IfName), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notifier<LinkEvent> for LinkNews {
    fn name(&self) -> &str {
        "events"
    }

    fn notify(&self, ns: &Namespace, event: &LinkEvent, _: &mut NsHeld<'_>) -> Result<(), Refusal> {
        // What happens in one that goes follows from that.
        let Some(inside) = ns.enter() else { return Ok(()) };
        if inside.get::<Nfs>().is_some_and(|served| served.is_announced())
            && let Some(what) = self.said_of(ns, event)
        {
            self.speaker.say(Some(ns.id()), what);
        }
        Ok(())
    }
}

impl LinkNews {
    fn said_of(&self, ns: &Namespace, event: &LinkEvent) -> Option<Happened> {
        let name = event.name.to_string();
        Some(match &event.change {
            LinkChange::Registered => {
                let kind = kind(event.interface.upgrade()?.kind());
                Happened::LinkAdded { name, kind }
            }
            LinkChange::Unregistered => {
                Happened::LinkRemoved { name, why: self.reasons.of(ns.id().id, event.name) }
            }
            // Nobody but the server itself is concerned.
            LinkChange::ReceiverChanged => return None,
            change => Happened::LinkChanged { name, change: change.to_string() },
        })
    }
}

/// The kind of that name.
pub(super) fn kind(name: &str) -> LinkKind {
    use LinkKind::{Dgram, Lagg, Lo, Packet, Pair, Stream, Tap};
    let all = [Pair, Tap, Packet, Stream, Dgram, Lagg];
    debug_assert!(name == lo::KIND || all.iter().any(|kind| kind.as_str() == name), "{name}");
    all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Lo)
}
