//! Where what was replaced waits for a grace period.

use crate::interface::Hooks;
use crate::names::{Bucket, Buckets};
use holm_lifetime::sync::{Arc, Mutex};
use holm_lifetime::{Outgoing, grace};

/// What was replaced and may still be looked at. Who looks pays while grace periods are many, so those
/// that hold nothing but names share one.
#[derive(Default)]
pub(crate) struct Attic(Mutex<Vec<Old>>);

pub(crate) enum Old {
    Bucket(Outgoing<Bucket>),
    Buckets(Outgoing<Buckets>),
    Hooks(Outgoing<Arc<Hooks>>),
}

/// How many wait at most.
const MOST: usize = 64;

impl Attic {
    pub(crate) fn keep(&self, old: Option<Old>) {
        self.0.lock().extend(old);
    }

    /// Frees what waits, if it is much or holds what others own. Nothing is held.
    pub(crate) fn tidy(&self) {
        let urgent = {
            let waiting = self.0.lock();
            waiting.len() >= MOST || waiting.iter().any(|old| matches!(old, Old::Hooks(_)))
        };
        if urgent {
            self.empty();
        }
    }

    /// Frees all that waits.
    pub(crate) fn empty(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        if all.is_empty() {
            return;
        }
        let elapsed = grace::synchronize();
        for old in all {
            match old {
                Old::Bucket(bucket) => drop(bucket.reclaim(&elapsed)),
                Old::Buckets(buckets) => drop(buckets.reclaim(&elapsed)),
                Old::Hooks(hooks) => drop(hooks.reclaim(&elapsed)),
            }
        }
    }
}
