//! The cache of one namespace.

use super::Shared;
use super::counters::{Counters, Level, Permit, Statistics};
use super::file::{File, Key, Kind, Opened};
use super::flush::{Flushes, Verifier, WriteVerifier};
use super::in_use::Cached;
use super::isolated::{BATCH, DisposeList, Isolated, Within};
use super::table::{Entry, Farewell, Held, Lookup, NewWatch, Outcome, Table, Ticket};
use crate::handle::FileHandle;
use crate::{Result, Status};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use holm_netns::Namespace;
use std::fmt;

/// The open files of one namespace.
///
/// It is found inside of the namespace, `inside.get::<Caches<F>>()`; so whoever has a reference is
/// inside, and what borrows from it, as an open [`Cached`] file does, is gone before they leave.
pub struct Cache<F: File> {
    pub(super) shared: Arc<Shared<F>>,
    pub(super) ns: Namespace,
    pub(super) table: Table<F>,
    disposing: Mutex<DisposeList<F>>,
    /// No worker is sent any more.
    stopped: AtomicBool,
    level: Arc<Level>,
    pub(super) verifier: Verifier,
    counters: Counters,
}

impl<F: File> Cache<F> {
    pub(super) fn new(shared: Arc<Shared<F>>, ns: &Namespace) -> Result<Self> {
        Ok(Self {
            level: Arc::new(Level::new(shared.limits.per_namespace)),
            shared,
            ns: ns.clone(),
            table: Table::new(),
            disposing: Mutex::new(DisposeList::default()),
            stopped: AtomicBool::new(false),
            verifier: Verifier::new()?,
            counters: Counters::default(),
        })
    }

    /// The file of this key: open already, or opened by `open`.
    ///
    /// Nobody waits for anybody: who opens the same at the same time opens it too, and the first to
    /// finish is kept. One slow open delays no other, and a failed one fails only where it failed.
    ///
    /// When as many files are open as may be, some that are not in use are closed first. If all are
    /// in use, the file is opened all the same and closed after its use: so many more can be open as
    /// there are operations at a time.
    ///
    /// # Errors
    ///
    /// Those of `open`; [`Status::Jukebox`] if the namespace is on its way out.
    pub fn open(
        &self,
        key: &Key,
        open: impl FnOnce() -> Result<Opened<F>>,
    ) -> Result<Cached<'_, F>> {
        self.open_placed(key, NOWHERE, open)
    }

    /// The same for a file that has to be somewhere: `place` finds out whether it is, if it was not
    /// seen there within the last second.
    pub(super) fn open_placed(
        &self,
        key: &Key,
        place: Option<impl Fn() -> Result<()>>,
        open: impl FnOnce() -> Result<Opened<F>>,
    ) -> Result<Cached<'_, F>> {
        let ticket = match self.find(key, Kind::Cached, place)? {
            Ok(found) => return Ok(Cached::new(self, found)),
            Err(ticket) => ticket,
        };
        let opening = Opening::begin(self, key, ticket);
        let room = self.make_room();
        let entry = opening.finish(Kind::Cached, room, self.shared.clock.now(), open)?;
        Ok(Cached::new(self, entry))
    }

    /// Puts in what somebody has opened and seen where it belongs at the time `placed`.
    pub(super) fn keep(&self, key: &Key, opened: Opened<F>, placed: u64) -> Result<()> {
        match self.find(key, Kind::Cached, NOWHERE)? {
            Ok(known) => {
                known.was_placed(placed);
                self.put(known);
            }
            Err(ticket) => {
                let opening = Opening::begin(self, key, ticket);
                let room = self.make_room();
                self.put(opening.finish(Kind::Cached, room, placed, || Ok(opened))?);
            }
        }
        Ok(())
    }

    /// A file was changed or removed, and whoever did it says so: it is opened anew when it is needed
    /// next, and its space comes back as soon as nobody uses it. What happens behind our back is
    /// noticed without.
    pub fn changed(&self, handle: &FileHandle) {
        let gone = Isolated::new(self).gather(|cache, into| cache.table.take_file(handle, into));
        self.dispose_changed(gone);
    }

    /// Closes the files that `which` is true for, and does not return before, save for those in use,
    /// which are closed after it: for the end of an export, or other rules for it.
    pub fn forget(&self, which: impl Fn(&FileHandle) -> bool) {
        drop(Isolated::new(self).gather(|cache, into| {
            cache.table.take_files(&which, into);
            let mut disposing = cache.disposing.lock();
            let (gone, stay): (Vec<_>, Vec<_>) =
                disposing.files.drain(..).partition(|entry| which(entry.key.handle()));
            disposing.files.extend(stay);
            drop(disposing);
            cache.left(gone.len());
            into.extend(gone);
        }));
    }

    /// The current write verifier, for replies that belong to no open file.
    pub fn write_verifier(&self) -> WriteVerifier {
        self.verifier.now()
    }

    /// Something that was written may have been lost, and it was not a commit that found out: clients
    /// have to send again what they have not committed.
    pub fn change_write_verifier(&self) {
        self.verifier.change();
    }

    /// Keeps so many files open here from now on; none: as many as any namespace may.
    pub fn set_limit(&self, files: Option<usize>) {
        let most = self.shared.limits.per_namespace;
        self.level.set_limit(files.map_or(most, |files| files.min(most)));
    }

    /// Enters the namespace once more, for what outlasts the one who is inside now; not if it is on its
    /// way out.
    #[track_caller]
    pub(crate) fn enter_again(&self) -> Option<Within<F>> {
        Within::enter(&self.ns)
    }

    /// The time, in milliseconds since some moment.
    pub(crate) fn now(&self) -> u64 {
        self.shared.clock.now()
    }

    /// What has happened so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            open: self.level.open() as u64,
            hits: self.table.hits(),
            ..self.counters.read()
        }
    }

    /// The file of this key, if it is open and nothing has to be asked about it first; with `placed`,
    /// not even where it is.
    pub(super) fn find_open(&self, key: &Key, placed: bool) -> Option<Cached<'_, F>> {
        let clock = || self.shared.clock.now();
        let entry = self.table.peek(key, self.shared.round(), placed, clock)?;
        Some(Cached::new(self, entry))
    }

    pub(super) fn find(
        &self,
        key: &Key,
        kind: Kind,
        place: Option<impl Fn() -> Result<()>>,
    ) -> Result<std::result::Result<Held<F>, Ticket>> {
        loop {
            let clock = || self.shared.clock.now();
            match self.table.find(key, kind, self.shared.round(), place.is_some(), clock) {
                Lookup::Misplaced(entry) => {
                    let asked = clock();
                    let found = Cached::new(self, entry);
                    if let Some(Err(status)) = place.as_ref().map(|place| place()) {
                        drop(found);
                        self.changed(key.handle());
                        return Err(status);
                    }
                    found.entry().was_placed(asked);
                }
                Lookup::Hit(entry) => return Ok(Ok(entry)),
                Lookup::Miss(ticket) => return Ok(Err(ticket)),
                Lookup::Stopped => return Err(Status::Jukebox),
                Lookup::Doubtful(entry, stamp) => {
                    let asked = clock();
                    let found = Cached::new(self, entry);
                    Counters::add(&self.counters.revalidated, 1);
                    if found.stamp() == Ok(stamp) {
                        self.table.still_has(key, stamp, asked);
                        if let Some(entry) = found.into_entry() {
                            return Ok(Ok(entry));
                        }
                    } else {
                        drop(found);
                        self.changed(key.handle());
                    }
                }
            }
        }
    }

    /// Whether there is room for one more file, now that there should be.
    pub(super) fn make_room(&self) -> bool {
        let excess = self.level.excess();
        if excess > 0 {
            let round = self.shared.round();
            let oldest = Isolated::new(self)
                .gather(|cache, into| cache.table.take_oldest(round, excess, into));
            self.dispose_evicted(oldest);
        }
        self.shared.shrink();
        while self.level.is_full() || self.shared.level.is_full() {
            // Whoever wants more than there is closes one for it.
            if self.close_some(1) == 0 {
                return false;
            }
        }
        true
    }

    // ---- the ways out ----

    /// Collector: isolates what is old.
    pub(super) fn age(within: Within<F>, round: u32) {
        if within.level.open() == 0 {
            return;
        }
        let (idle, old) = (super::IDLE_ROUNDS, super::OLD_ROUNDS);
        let aged = Isolated::new(within)
            .gather(|cache, into| cache.table.take_aged(round, idle, old, into));
        Counters::add(&aged.cache().counters.aged, aged.len());
        aged.dispose();
    }

    /// Shrinker: isolates its share of what is too much.
    pub(super) fn shrink(within: Within<F>, excess: usize, of: usize) {
        let share = (excess * within.level.open()).div_ceil(of.max(1));
        let round = within.shared.round();
        let oldest =
            Isolated::new(within).gather(|cache, into| cache.table.take_oldest(round, share, into));
        let cache = oldest.cache();
        Counters::add(&cache.counters.evicted, oldest.len());
        oldest.dispose();
    }

    /// Watcher: isolates a file that has changed, or all.
    pub(super) fn has_changed(within: Within<F>, handle: Option<&FileHandle>) {
        let gone = Isolated::new(within).gather(|cache, into| match handle {
            Some(handle) => cache.table.take_file(handle, into),
            None => cache.table.take_files(|_| true, into),
        });
        Counters::add(&gone.cache().counters.changed, gone.len());
        gone.dispose();
    }

    fn dispose_changed(&self, gone: Isolated<F, &Self>) {
        Counters::add(&self.counters.changed, gone.len());
        gone.dispose();
    }

    fn dispose_evicted(&self, oldest: Isolated<F, &Self>) {
        Counters::add(&self.counters.evicted, oldest.len());
        oldest.dispose();
    }

    /// Puts isolated files on the dispose list and sends for a worker.
    pub(super) fn dispose_later(&self, files: &mut Vec<Held<F>>) {
        if files.is_empty() {
            return;
        }
        for level in [&self.level, &self.shared.level] {
            level.leave(files.len());
        }
        let mut disposing = self.disposing.lock();
        disposing.files.extend(files.drain(..));
        let send = !std::mem::replace(&mut disposing.scheduled, true);
        drop(disposing);
        if send {
            self.send_worker();
        }
    }

    fn send_worker(&self) {
        // Later it is `exit` that closes what is on the list.
        if !self.stopped.load(Ordering::Relaxed) {
            let ns = self.ns.clone();
            let work = move || {
                if let Some(within) = Within::<F>::enter(&ns) {
                    within.close_batch();
                }
            };
            self.shared.worker.spawn(&self.ns, Box::new(work));
        }
    }

    /// A worker's part: closes a few, and comes again if there are more.
    fn close_batch(&self) {
        self.close_some(BATCH);
        let mut disposing = self.disposing.lock();
        disposing.scheduled = !disposing.files.is_empty();
        let again = disposing.scheduled;
        drop(disposing);
        if again {
            self.send_worker();
        }
    }

    /// Closes up to `most` from the dispose list; says how many.
    fn close_some(&self, most: usize) -> usize {
        let batch = Isolated::new(self).gather(|cache, into| {
            let mut disposing = cache.disposing.lock();
            let count = most.min(disposing.files.len());
            into.extend(disposing.files.drain(..count));
            drop(disposing);
            cache.left(count);
        });
        batch.len()
    }

    fn left(&self, count: usize) {
        for level in [&self.level, &self.shared.level] {
            level.left(count);
        }
    }

    /// Lets go of a file; the last who does closes it.
    pub(super) fn put(&self, entry: Held<F>) {
        if let Some(entry) = Arc::into_inner(entry) {
            self.close(entry, true);
        }
    }

    fn close(&self, entry: Entry<F>, flush: bool) {
        let mut flush = flush;
        let mark = loop {
            match self.table.leave(&entry, flush) {
                Farewell::Close(mark) => break mark,
                Farewell::Flush if entry.file.stamp().is_ok_and(|stamp| stamp.links == 0) => {
                    Counters::add(&self.counters.deleted, 1);
                    flush = false;
                }
                // Closed, it could not be asked any more whether all has gone well. If it has not,
                // the write verifier says so by now.
                Farewell::Flush => {
                    flush = self.commit(&entry.flushes, || entry.file.flush()).is_ok();
                }
            }
        };
        if let Some(mark) = mark {
            self.shared.watcher.end(mark, entry.file.descriptor());
        }
        Counters::add(&self.counters.closed, 1);
        let Entry { file, permit, .. } = entry;
        drop(file);
        drop(permit);
    }

    pub(super) fn commit(
        &self,
        flushes: &Flushes,
        flush: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        flushes.commit(&self.verifier, &self.counters, flush)
    }

    // ---- the end ----

    /// Stops new opens and empties the LRU.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.table.stop();
        Isolated::new(self)
            .gather(|cache, into| {
                let everything = usize::MAX;
                cache.table.take_oldest(cache.shared.round(), everything, into);
            })
            .dispose();
    }

    /// Closes everything; nobody is inside. What is not on the disk is in the kernel's hands.
    pub(super) fn end(self) {
        let mut files = Vec::new();
        self.table.take_files(|_| true, &mut files);
        let mut disposing = self.disposing.lock();
        self.left(disposing.files.len());
        files.extend(disposing.files.drain(..));
        drop(disposing);
        for entry in files.into_iter().filter_map(Arc::into_inner) {
            self.close(entry, false);
        }
    }
}

/// For files that may be anywhere.
pub(super) const NOWHERE: Option<fn() -> Result<()>> = None;

/// Between look-up and table: ends the ticket whatever happens.
pub(super) struct Opening<'c, F: File> {
    cache: &'c Cache<F>,
    key: &'c Key,
    ticket: Ticket,
    /// An entry is counted in its slot by itself.
    has_entry: bool,
}

impl<'c, F: File> Opening<'c, F> {
    pub(super) fn begin(cache: &'c Cache<F>, key: &'c Key, ticket: Ticket) -> Self {
        Self { cache, key, ticket, has_entry: false }
    }

    pub(super) fn finish(
        mut self,
        kind: Kind,
        keep: bool,
        asked: u64,
        open: impl FnOnce() -> Result<Opened<F>>,
    ) -> Result<Held<F>> {
        let Cache { shared, level, counters, ns, table, .. } = self.cache;
        let permit = Permit::take([level, &shared.level]);
        let Opened { file, stamp } = open()?;
        Counters::add(&counters.opened, 1);

        let handle = self.key.handle();
        let mut unchanged = true;
        let mut watch = None;
        if keep && self.ticket.to_watch {
            watch = Some(match shared.watcher.begin(ns, handle, file.descriptor()) {
                Some(mark) => {
                    // What happens from here on is heard of. Did something happen before?
                    unchanged = file.stamp() == Ok(stamp);
                    NewWatch::Watched(mark)
                }
                None => NewWatch::Asked { stamp, at: asked },
            });
        }
        let flushes = self.ticket.flushes.clone();
        let now = (shared.round(), asked);
        let mut entry = Entry::new(self.key, kind, file, flushes, now, permit);
        self.has_entry = true;
        let mut replaced = Vec::new();
        let outcome = if keep {
            let (outcome, surplus) =
                table.insert(&mut entry, &self.ticket, watch, unchanged, &mut replaced);
            if let Some(mark) = surplus {
                shared.watcher.end(mark, entry.file.descriptor());
            }
            outcome
        } else {
            Outcome::NotKept
        };
        match outcome {
            Outcome::Hashed => Counters::add(&counters.raced, replaced.len()),
            Outcome::NotKept => Counters::add(&counters.not_kept, 1),
        }
        for entry in replaced {
            self.cache.put(entry);
        }
        Ok(entry)
    }
}

impl<F: File> Drop for Opening<'_, F> {
    fn drop(&mut self) {
        if !self.has_entry
            && let Some(mark) = self.cache.table.give_up(self.key)
        {
            self.cache.shared.watcher.end(mark, None);
        }
    }
}

impl<F: File> fmt::Debug for Cache<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", self.ns.id())
            .field("open", &self.level.open())
            .finish_non_exhaustive()
    }
}
