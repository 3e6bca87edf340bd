//! How much there is, how much there may be, and what happened.

use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many files may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all namespaces together.
    pub files: usize,
    /// In each.
    pub per_namespace: usize,
}

impl Limits {
    /// Three quarters of the descriptors that the process may have; the rest is for sockets, and
    /// for what is opened beside the cache.
    pub fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1 << 20);
        Self::files(limit / 4 * 3)
    }

    /// So many, for whichever namespace needs them.
    pub fn files(files: usize) -> Self {
        Self { files, per_namespace: files }
    }
}

/// A count with a limit, and marks at which making room begins and ends.
#[derive(Debug)]
pub(super) struct Level {
    limit: AtomicUsize,
    open: AtomicUsize,
    /// Of those, files on a dispose list.
    leaving: AtomicUsize,
}

impl Level {
    pub(super) fn new(limit: usize) -> Self {
        let limit = AtomicUsize::new(limit);
        Self { limit, open: AtomicUsize::new(0), leaving: AtomicUsize::new(0) }
    }

    /// What is too much now goes when room is made next.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.open() >= self.limit.load(Ordering::Relaxed)
    }

    /// How many files should leave, beside those that do.
    pub(super) fn excess(&self) -> usize {
        let staying = self.open().saturating_sub(self.leaving.load(Ordering::Relaxed));
        let limit = self.limit.load(Ordering::Relaxed);
        let high = limit.saturating_sub(limit / 8 + 1);
        let low = high.min(limit - limit / 4);
        if staying > high { staying - low } else { 0 }
    }

    pub(super) fn leave(&self, count: usize) {
        self.leaving.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn left(&self, count: usize) {
        self.leaving.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Counts one open file, in its namespace and in the process.
#[derive(Debug)]
pub(super) struct Permit([Arc<Level>; 2]);

impl Permit {
    pub(super) fn take(levels: [&Arc<Level>; 2]) -> Self {
        for level in levels {
            level.open.fetch_add(1, Ordering::Relaxed);
        }
        Self(levels.map(Arc::clone))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for level in &self.0 {
            level.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What has happened in the cache of one namespace, and how many files are open now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Statistics {
            /// Files that are open now, in use or not, those about to be closed included.
            pub open: u64,
            /// Found open.
            pub hits: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> Statistics {
                let mut read = Statistics::default();
                $(read.$name = self.$name.load(Ordering::Relaxed);)*
                read
            }
        }
    };
}

counters! {
    /// Opened because they were not.
    opened,
    /// Opened while somebody else opened the same, and closed again.
    raced,
    /// Opened and not kept: there was no room, or the file was changing.
    not_kept,
    /// Not used for long, or kept for long.
    aged,
    /// Made to leave so that others could be opened.
    evicted,
    /// Made to leave because the file was deleted, moved, or its attributes were changed.
    changed,
    /// Asked for their stamp because they are not watched.
    revalidated,
    /// Deleted files that were closed without a flush, though something had been written.
    deleted,
    /// Closed, for whatever reason.
    closed,
    /// Flushes carried out.
    flushes,
    /// Commits that shared the flush of another.
    joined,
    /// Flushes that failed; each has changed the write verifier.
    failed_flushes,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        if count > 0 {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
