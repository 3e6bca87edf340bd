//! Files that stay open between operations.
//!
//! Every namespace has a [`Cache`]: what was opened for one operation is found open by the next, if
//! it comes from the same caller and wants the same. [`Caches`] is the pernet subsystem, and what the
//! caches of all namespaces have in common: how many files may be open, who watches them, and who
//! closes them.
//!
//! ```text
//!                 open          hashed            unhashed
//! operation  ──▶ opening ──▶  table: in use  ──▶  its users
//!                              ▲      │                │ last put
//!                              │      ▼                ▼
//!                             table: on the LRU      closed
//!   collector, shrinker, watcher ─▶ isolated ─▶ dispose list ─▶ worker ─▶ closed
//! ```
//!
//! - The **collector** ([`Caches::collect`]) isolates what nobody has used for some rounds, and after
//!   [`OLD_ROUNDS`] also what somebody uses: so what cannot be watched, like a directory above that
//!   was moved out of the export, is noticed then at the latest.
//! - The **shrinker** comes when too many files are open.
//! - The **watcher** hears of files that are deleted, moved, or whose attributes are changed, behind
//!   our back or by ourselves. What cannot be watched (on a file system that does not name its
//!   inodes, or when the caller may not read the file, or the user's marks are used up) is asked
//!   before it is used, when a second has passed since it last was.
//!
//! None of them closes anything, because a close may wait for a disk that is dead: files go to the
//! namespace's dispose list, and a [`Worker`] closes them in small batches. Two rules, which are
//! types in `isolated.rs`, keep that apart from the end of the namespace: who holds files that are in
//! neither table nor dispose list is inside the namespace since before they were taken out, and lets
//! go of the files before it leaves. So the subsystem's `exit`, which gets the cache by value when
//! nobody is inside, finds every file that there is, and when it returns none is open.
//!
//! `tests/races` runs all of this under [shuttle](https://docs.rs/shuttle) with files that know when
//! they are closed too late, too often or never, next to sketches with one mistake in them.

mod clock;
mod counters;
mod fanotify;
mod file;
mod flush;
mod in_use;
mod isolated;
mod namespace;
mod objects;
mod table;
mod watcher;

pub use clock::Clock;
pub use counters::{Limits, Statistics};
pub use file::{File, Key, Object, Opened, Stamp};
pub use flush::WriteVerifier;
pub use in_use::{Cached, Kept, Stateful};
pub use isolated::Within;
pub use namespace::Cache;
pub use objects::{CachedFile, CachedListing, CachedNode};
pub use watcher::Watcher;

use counters::Level;
use holm_lifetime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use holm_netns::{Held, InitError, Namespace, Subsystem, View};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use watcher::Change;

/// Who closes files.
pub trait Worker: Send + Sync + 'static {
    /// Has a job run soon, by somebody who may block, and not before this returns. It belongs to
    /// `ns` and enters it itself. A job that is never run is no harm: what it would have closed is
    /// closed when the namespace goes.
    fn spawn(&self, ns: &Namespace, job: Job);
}

/// Something to do.
pub type Job = Box<dyn FnOnce() + Send>;

/// The file caches of all namespaces. A handle, and the subsystem to be registered.
pub struct Caches<F: File>(Arc<Shared<F>>);

pub(in crate::cache) struct Shared<F: File> {
    limits: Limits,
    level: Arc<Level>,
    worker: Box<dyn Worker>,
    watcher: Watcher,
    clock: Clock,
    /// Counts what the collector has done; the time in which the age of files is measured.
    round: AtomicU32,
    overflows: AtomicU64,
    /// Those that have a cache.
    namespaces: Mutex<BTreeMap<u64, Namespace>>,
    _files: std::marker::PhantomData<fn() -> F>,
}

/// So many rounds of the [collector](Caches::collect) a file stays that nobody uses; one that is not
/// watched, or is open for writing, half as many.
pub const IDLE_ROUNDS: u32 = 4;
/// After so many it is opened anew, used or not.
pub const OLD_ROUNDS: u32 = 60;

impl<F: File> Caches<F> {
    /// Caches that keep to `limits`.
    pub fn new(limits: Limits, watcher: Watcher, clock: Clock, worker: impl Worker) -> Self {
        Self(Arc::new(Shared {
            limits,
            level: Arc::new(Level::new(limits.files)),
            worker: Box::new(worker),
            watcher,
            clock,
            round: AtomicU32::new(0),
            overflows: AtomicU64::new(0),
            namespaces: Mutex::new(BTreeMap::new()),
            _files: std::marker::PhantomData,
        }))
    }

    /// The collector's round. To be called once a second; it does not block.
    pub fn collect(&self) {
        let round = self.0.round.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.0.for_each(|within| Cache::age(within, round));
    }

    /// The shrinker, which is called when it is needed; it does not block.
    pub fn shrink(&self) {
        self.0.shrink();
    }

    /// What becomes readable when the watcher has something to do; nothing, if it watches nothing.
    pub fn watcher_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.watcher.fd()
    }

    /// The watcher's part, to be called when [its descriptor](Self::watcher_fd) is readable; it does
    /// not block. Whether there may be more.
    pub fn readable(&self) -> bool {
        let mut buffer = [0; 16 << 10];
        let (changes, more) = self.0.watcher.read(&mut buffer);
        for change in changes {
            match change {
                Change::File(ns, handle) => {
                    if let Some(within) = Within::enter(&ns) {
                        Cache::<F>::has_changed(within, Some(&handle));
                    }
                }
                Change::Anything => self.forget_everything(),
            }
        }
        more
    }

    /// Empties all caches, because something may have been missed.
    pub fn forget_everything(&self) {
        self.0.overflows.fetch_add(1, Ordering::Relaxed);
        self.0.for_each(|within| Cache::has_changed(within, None));
    }

    /// How many files are open now, in all namespaces together.
    pub fn open_files(&self) -> usize {
        self.0.level.open()
    }

    /// How often all caches were emptied because something may have been missed.
    pub fn overflows(&self) -> u64 {
        self.0.overflows.load(Ordering::Relaxed)
    }
}

impl<F: File> Shared<F> {
    fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    fn shrink(&self) {
        let excess = self.level.excess();
        if excess > 0 {
            let open = self.level.open();
            self.for_each(|within| Cache::shrink(within, excess, open));
        }
    }

    /// Enters each namespace, one after the other, and leaves it to `f`.
    fn for_each(&self, f: impl Fn(Within<F>)) {
        let all: Vec<Namespace> = self.namespaces.lock().values().cloned().collect();
        for within in all.iter().filter_map(Within::enter) {
            f(within);
        }
    }
}

impl<F: File> Subsystem for Caches<F> {
    type State = Cache<F>;

    // Closes files.
    const EXIT_MAY_BLOCK: bool = true;

    fn name(&self) -> &str {
        "file cache"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<Cache<F>, InitError> {
        let ns = ns.namespace();
        let cache = Cache::new(self.0.clone(), ns);
        let cache = cache.map_err(|_| InitError("there are no random numbers".into()))?;
        self.0.namespaces.lock().insert(ns.id().id, ns.clone());
        Ok(cache)
    }

    fn pre_exit(&self, ns: &View<'_>, cache: &Cache<F>) {
        self.0.namespaces.lock().remove(&ns.namespace().id().id);
        cache.stop();
    }

    fn exit(&self, _: &View<'_>, cache: Cache<F>) {
        cache.end();
    }
}

impl<F: File> Clone for Caches<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: File> fmt::Debug for Caches<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches")
            .field("limits", &self.0.limits)
            .field("open", &self.open_files())
            .finish_non_exhaustive()
    }
}
