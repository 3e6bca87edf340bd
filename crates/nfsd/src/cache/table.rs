//! Which files are open, by handle, access and caller.
//!
//! Shards, each behind a mutex that is held for a few instructions and never while a file is opened,
//! closed or asked. The handle's MAC is its hash: nobody without the namespace's key can make
//! handles that collide.
//!
//! An entry is *hashed* while it is in the table, which then has one count of its `Arc`; whoever
//! uses it has another. New ones are made under the shard's lock, or by who has one, so under it an
//! entry whose count is one is used by nobody.

use super::counters::Permit;
use super::file::{File, Key, Kind, Stamp};
use super::flush::Flushes;
use super::watcher::Mark;
use crate::handle::FileHandle;
use holm_lifetime::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One open file.
pub(super) struct Entry<F> {
    pub(super) key: Key,
    pub(super) kind: Kind,
    pub(super) file: F,
    pub(super) flushes: Arc<Flushes>,
    /// The collector's round in which it was used last.
    used: AtomicU32,
    /// The one in which it was opened.
    born: u32,
    /// When it was last seen to be where it belongs, in milliseconds.
    placed: AtomicU64,
    /// After the file, so that it is counted until it is closed.
    pub(super) permit: Permit,
}

pub(super) type Held<F> = Arc<Entry<F>>;

impl<F> Entry<F> {
    pub(super) fn new(
        key: &Key,
        kind: Kind,
        file: F,
        flushes: Arc<Flushes>,
        (round, now): (u32, u64),
        permit: Permit,
    ) -> Held<F> {
        let (used, placed) = (AtomicU32::new(round), AtomicU64::new(now));
        Arc::new(Self { key: *key, kind, file, flushes, used, born: round, placed, permit })
    }

    /// When it was last seen to be where it belongs.
    pub(super) fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }

    /// It was where it belongs at that time.
    pub(super) fn was_placed(&self, at: u64) {
        if self.placed() < at {
            self.placed.fetch_max(at, Ordering::Relaxed);
        }
    }

    fn is_misplaced(&self, now: impl FnOnce() -> u64) -> bool {
        now().saturating_sub(self.placed()) >= ASK_AFTER
    }

    fn use_in(&self, round: u32) {
        if self.used.load(Ordering::Relaxed) != round {
            self.used.store(round, Ordering::Relaxed);
        }
    }
}

pub(super) struct Table<F>(Box<[Shard<F>]>);

#[repr(align(64))]
struct Shard<F>(Mutex<Inside<F>>);

struct Inside<F> {
    slots: HashMap<FileHandle, Slot<F>, BuildHasherDefault<IsHash>>,
    hits: u64,
    /// Nothing comes in any more.
    stopped: bool,
}

/// What belongs to one file.
struct Slot<F> {
    entries: Vec<Held<F>>,
    /// How many entries there are, hashed or not, and how many are being opened. The slot goes with
    /// the last of them, so that nobody finds a file without what was written to it.
    live: usize,
    flushes: Arc<Flushes>,
    watch: Watch,
    /// How often it was seen to have changed.
    changes: u64,
}

/// How changes of a file come to be known.
enum Watch {
    Untried,
    Watched(Mark),
    /// Asked for its stamp; when it last was, in milliseconds.
    Asked {
        stamp: Stamp,
        at: u64,
    },
}

/// What a look-up finds.
pub(super) enum Lookup<F> {
    Hit(Held<F>),
    /// Not watched, and not asked for too long: this was its stamp.
    Doubtful(Held<F>, Stamp),
    /// Not seen for too long where it belongs.
    Misplaced(Held<F>),
    Miss(Ticket),
    Stopped,
}

/// The right to open a file of the table; to be given back.
#[must_use]
pub(super) struct Ticket {
    pub(super) flushes: Arc<Flushes>,
    changes: u64,
    /// Somebody should try to watch the file.
    pub(super) to_watch: bool,
}

/// How an open ends.
pub(super) enum Outcome {
    /// It is in the table.
    Hashed,
    /// It is not, and is closed when it is put.
    NotKept,
}

/// What the last entry of a file has to do when it is closed.
pub(super) enum Farewell {
    /// Flush it first, and ask again.
    Flush,
    /// End the watch, if there is one; and close it.
    Close(Option<Mark>),
}

const SHARDS: usize = 8;
/// Callers beyond these share no slot: whoever is not used is replaced.
const MOST_ENTRIES: usize = 64;
/// After so many milliseconds a file that is not watched is asked, and one that may have been moved
/// away is looked for.
pub(super) const ASK_AFTER: u64 = 1000;

impl<F: File> Table<F> {
    pub(super) fn new() -> Self {
        let shard =
            |_| Shard(Mutex::new(Inside { slots: HashMap::default(), hits: 0, stopped: false }));
        Self((0..SHARDS).map(shard).collect())
    }

    /// Finds an open file of which nothing has to be asked, if there is one.
    pub(super) fn peek(
        &self,
        key: &Key,
        round: u32,
        placed: bool,
        now: impl Fn() -> u64,
    ) -> Option<Held<F>> {
        let mut inside = self.shard(key.handle()).lock();
        let inside = &mut *inside;
        let slot = inside.slots.get(key.handle())?;
        let same = |entry: &&Held<F>| entry.kind == Kind::Cached && entry.key == *key;
        let entry = slot.entries.iter().find(same)?;
        if inside.stopped || slot.is_doubtful(key, &now).is_some() {
            return None;
        }
        if placed && entry.is_misplaced(now) {
            return None;
        }
        inside.hits += 1;
        entry.use_in(round);
        Some(entry.clone())
    }

    /// Finds an open file, or begins to open one. With `placed`, one that was where it belongs not
    /// long ago.
    pub(super) fn find(
        &self,
        key: &Key,
        kind: Kind,
        round: u32,
        placed: bool,
        now: impl Fn() -> u64,
    ) -> Lookup<F> {
        let mut inside = self.shard(key.handle()).lock();
        let inside = &mut *inside;
        if inside.stopped {
            return Lookup::Stopped;
        }
        let slot = match inside.slots.get_mut(key.handle()) {
            Some(slot) => slot,
            None => inside.slots.entry(*key.handle()).or_insert_with(Slot::new),
        };
        let found = slot.entries.iter().find(|entry| entry.kind == kind && entry.key == *key);
        if let Some(entry) = found {
            if let Some(stamp) = slot.is_doubtful(key, &now) {
                return Lookup::Doubtful(entry.clone(), stamp);
            }
            if placed && entry.is_misplaced(now) {
                return Lookup::Misplaced(entry.clone());
            }
            inside.hits += 1;
            entry.use_in(round);
            return Lookup::Hit(entry.clone());
        }
        slot.live += 1;
        let to_watch = key.can_be_watched() && matches!(slot.watch, Watch::Untried);
        Lookup::Miss(Ticket { flushes: slot.flushes.clone(), changes: slot.changes, to_watch })
    }

    /// Ends an open: the new entry goes in, unless there is one by now, which then replaces it in
    /// `entry`; that, and whom it has replaced, is returned to be put.
    pub(super) fn insert(
        &self,
        entry: &mut Held<F>,
        ticket: &Ticket,
        watch: Option<NewWatch>,
        unchanged: bool,
        evicted: &mut Vec<Held<F>>,
    ) -> (Outcome, Option<Mark>) {
        let name = entry.key.handle();
        let mut inside = self.shard(name).lock();
        let stopped = inside.stopped;
        let Some(slot) = inside.slots.get_mut(name) else {
            return (Outcome::NotKept, watch.and_then(NewWatch::mark));
        };
        let surplus = slot.set_watch(watch);
        if stopped || !unchanged || slot.changes != ticket.changes {
            return (Outcome::NotKept, surplus);
        }
        let same = |other: &&Held<F>| other.kind == entry.kind && other.key == entry.key;
        if let Some(winner) = slot.entries.iter().find(same) {
            evicted.push(std::mem::replace(entry, winner.clone()));
            return (Outcome::Hashed, surplus);
        }
        if slot.entries.len() >= MOST_ENTRIES {
            let idle = slot.entries.iter().position(|other| is_idle(other));
            let Some(idle) = idle else { return (Outcome::NotKept, surplus) };
            evicted.push(slot.entries.swap_remove(idle));
        }
        slot.entries.push(entry.clone());
        (Outcome::Hashed, surplus)
    }

    /// Ends an open that gave no file.
    pub(super) fn give_up(&self, key: &Key) -> Option<Mark> {
        match self.farewell(key.handle(), |_| false) {
            Farewell::Close(mark) => mark,
            Farewell::Flush => None,
        }
    }

    /// One of the entries of a file is about to be closed; with `flush`, not before all is flushed
    /// that was written to the file, unless another can do that later. A node cannot, and what is
    /// being opened may not come to anything.
    pub(super) fn leave(&self, entry: &Entry<F>, flush: bool) -> Farewell {
        let flush = flush && entry.key.can_be_flushed();
        let is_last = |slot: &Slot<F>| !slot.entries.iter().any(|other| other.key.can_be_flushed());
        let name = entry.key.handle();
        self.farewell(name, |slot| flush && slot.flushes.is_dirty() && is_last(slot))
    }

    fn farewell(&self, name: &FileHandle, wait: impl FnOnce(&Slot<F>) -> bool) -> Farewell {
        let mut inside = self.shard(name).lock();
        let Some(slot) = inside.slots.get_mut(name) else { return Farewell::Close(None) };
        if wait(slot) {
            return Farewell::Flush;
        }
        slot.live -= 1;
        if slot.live > 0 {
            return Farewell::Close(None);
        }
        let slot = inside.slots.remove(name);
        Farewell::Close(slot.and_then(|slot| slot.watch.mark()))
    }

    /// A stateful open ends: takes it out if nobody else has it. Returns what is to be put.
    pub(super) fn release(&self, entry: Held<F>) -> Option<Held<F>> {
        let name = entry.key.handle();
        let mut inside = self.shard(name).lock();
        let Some(slot) = inside.slots.get_mut(name) else { return Some(entry) };
        let Some(at) = slot.entries.iter().position(|other| Arc::ptr_eq(other, &entry)) else {
            // Unhashed before: the last one closes it.
            return Some(entry);
        };
        // The other count is this one; whoever comes under this lock finds the entry or not.
        if Arc::strong_count(&entry) == 2 {
            return Some(slot.entries.swap_remove(at));
        }
        drop(entry);
        None
    }

    /// A file that was doubtful has the stamp it had.
    pub(super) fn still_has(&self, key: &Key, same: Stamp, now: u64) {
        let name = key.handle();
        let mut inside = self.shard(name).lock();
        if let Some(Slot { watch: Watch::Asked { stamp, at }, .. }) = inside.slots.get_mut(name)
            && *stamp == same
        {
            *at = now.max(*at);
        }
    }

    /// Unhashes all entries of a file that has changed. Those being opened will not be hashed.
    pub(super) fn take_file(&self, handle: &FileHandle, into: &mut Vec<Held<F>>) {
        if let Some(slot) = self.shard(handle).lock().slots.get_mut(handle) {
            slot.take(into);
        }
    }

    /// Unhashes all entries of the files that `which` is true for.
    pub(super) fn take_files(&self, which: impl Fn(&FileHandle) -> bool, into: &mut Vec<Held<F>>) {
        for shard in &self.0 {
            for (name, slot) in &mut shard.lock().slots {
                if which(name) {
                    slot.take(into);
                }
            }
        }
    }

    /// Unhashes what is on the LRU and not in use, and has not been used in the last `idle` rounds
    /// (half of it, if it is not watched or open for writing); and what was opened `old` rounds ago,
    /// used or not.
    pub(super) fn take_aged(&self, round: u32, idle: u32, old: u32, into: &mut Vec<Held<F>>) {
        for shard in &self.0 {
            for slot in shard.lock().slots.values_mut() {
                let is_watched = matches!(slot.watch, Watch::Watched(_));
                into.extend(slot.entries.extract_if(.., |entry| {
                    let long = is_watched && !entry.key.is_for_writing();
                    let idle = if long { idle } else { idle / 2 };
                    entry.kind == Kind::Cached
                        && (round.wrapping_sub(entry.born) >= old
                            || (is_idle(entry) && entry.unused_for(round) >= idle))
                }));
            }
        }
    }

    /// Unhashes up to `count` that are not in use, the longest unused first.
    pub(super) fn take_oldest(&self, round: u32, count: usize, into: &mut Vec<Held<F>>) {
        let mut ages = [0; AGES];
        for shard in &self.0 {
            for slot in shard.lock().slots.values() {
                for entry in slot.entries.iter().filter(|entry| is_idle(entry)) {
                    ages[entry.age(round)] += 1;
                }
            }
        }
        let mut older = 0;
        let mut youngest = AGES;
        while older < count && youngest > 0 {
            youngest -= 1;
            older += ages[youngest];
        }
        let mut left = count;
        for shard in &self.0 {
            for slot in shard.lock().slots.values_mut() {
                if left == 0 {
                    return;
                }
                let before = into.len();
                let mut free = left;
                into.extend(slot.entries.extract_if(.., |entry| {
                    let take = free > 0 && is_idle(entry) && entry.age(round) >= youngest;
                    free -= usize::from(take);
                    take
                }));
                left -= into.len() - before;
            }
        }
    }

    /// From now on nothing is hashed.
    pub(super) fn stop(&self) {
        for shard in &self.0 {
            shard.lock().stopped = true;
        }
    }

    pub(super) fn hits(&self) -> u64 {
        self.0.iter().map(|shard| shard.lock().hits).sum()
    }

    fn shard(&self, name: &FileHandle) -> &Shard<F> {
        // Other bits than those by which the map in it goes.
        let at = (name.mac() >> 24) as usize % self.0.len();
        &self.0[at]
    }
}

/// What an opener found out about watching the file.
pub(super) enum NewWatch {
    Watched(Mark),
    Asked { stamp: Stamp, at: u64 },
}

impl NewWatch {
    fn mark(self) -> Option<Mark> {
        match self {
            Self::Watched(mark) => Some(mark),
            Self::Asked { .. } => None,
        }
    }
}

impl Watch {
    fn mark(self) -> Option<Mark> {
        match self {
            Self::Watched(mark) => Some(mark),
            Self::Untried | Self::Asked { .. } => None,
        }
    }
}

impl<F: File> Slot<F> {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            live: 0,
            flushes: Arc::new(Flushes::new()),
            watch: Watch::Untried,
            changes: 0,
        }
    }

    /// The stamp that a file should have still, if it is time to ask it.
    fn is_doubtful(&self, key: &Key, now: impl Fn() -> u64) -> Option<Stamp> {
        match self.watch {
            Watch::Asked { stamp, at }
                if key.can_be_watched() && now().saturating_sub(at) >= ASK_AFTER =>
            {
                Some(stamp)
            }
            _ => None,
        }
    }

    fn take(&mut self, into: &mut Vec<Held<F>>) {
        self.changes += 1;
        into.append(&mut self.entries);
        if let Watch::Asked { .. } = self.watch {
            self.watch = Watch::Untried;
        }
    }

    /// The mark that is one too many, if somebody else has made one.
    fn set_watch(&mut self, new: Option<NewWatch>) -> Option<Mark> {
        match (new, &self.watch) {
            (None, _) => None,
            (Some(NewWatch::Watched(mark)), Watch::Watched(_)) => Some(mark),
            (Some(NewWatch::Asked { .. }), Watch::Watched(_)) => None,
            (Some(NewWatch::Watched(mark)), _) => {
                self.watch = Watch::Watched(mark);
                None
            }
            (Some(NewWatch::Asked { .. }), Watch::Asked { .. }) => None,
            (Some(NewWatch::Asked { stamp, at }), Watch::Untried) => {
                self.watch = Watch::Asked { stamp, at };
                None
            }
        }
    }
}

impl<F> Shard<F> {
    fn lock(&self) -> holm_lifetime::sync::MutexGuard<'_, Inside<F>> {
        self.0.lock()
    }
}

impl<F> Entry<F> {
    fn unused_for(&self, round: u32) -> u32 {
        round.wrapping_sub(self.used.load(Ordering::Relaxed))
    }

    fn age(&self, round: u32) -> usize {
        (self.unused_for(round) as usize).min(AGES - 1)
    }
}

/// On the LRU, and used by nobody. Under the shard's lock.
fn is_idle<F>(entry: &Held<F>) -> bool {
    entry.kind == Kind::Cached && Arc::strong_count(entry) == 1
}

const AGES: usize = 16;

/// A MAC is a hash already.
#[derive(Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
