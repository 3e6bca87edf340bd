//! Files in use: borrowed for an operation, kept for a flush, or open for somebody.

use super::file::{File, Key, Kind, Opened};
use super::flush::{Flushes, Until, WriteVerifier};
use super::isolated::Within;
use super::namespace::{Cache, NOWHERE, Opening};
use super::table::{Entry, Held};
use crate::handle::FileHandle;
use crate::{Result, Status};
use std::any::Any;
use std::fmt;
use std::ops::Deref;

/// A file in use by an operation. Dropping it leaves the file in the cache.
#[must_use]
pub struct Cached<'c, F: File> {
    cache: &'c Cache<F>,
    /// Taken by the destructor only, and where the file is handed on.
    entry: Option<Held<F>>,
}

impl<'c, F: File> Cached<'c, F> {
    pub(super) fn new(cache: &'c Cache<F>, entry: Held<F>) -> Self {
        Self { cache, entry: Some(entry) }
    }

    /// Runs something that writes to the file, and gives the verifier for its reply: the one from
    /// before the write, so that a flush that loses what is being written is noticed.
    pub fn write<R>(&self, write: impl FnOnce(&F) -> R) -> (R, WriteVerifier) {
        write_to(self.cache, self.entry(), Until::Commit, write)
    }

    /// Keeps the file for writes that are to be [flushed](Kept::flush) before they are answered. Not if
    /// what others have written waits for a commit, since it would be flushed with it, however much
    /// it is; nor if the namespace is on its way out.
    pub fn keep(&self) -> Option<Kept<F>> {
        let entry = self.entry();
        if entry.flushes.is_unstable() {
            return None;
        }
        let within = Within::enter(&self.cache.ns)?;
        Some(Kept { failures: entry.flushes.failures(), entry: self.entry.clone(), within })
    }

    /// As [`write`](Self::write), for a file that is [kept](Self::keep) to be flushed.
    pub fn write_kept<R>(&self, write: impl FnOnce(&F) -> R) -> R {
        write_to(self.cache, self.entry(), Until::Answer, write).0
    }

    /// A write that was to flush what it wrote has failed.
    pub fn write_failed(&self) {
        self.entry().flushes.failed();
        self.cache.verifier.change();
    }

    /// Brings everything that was written before to the disk, whoever wrote it, and gives the
    /// verifier for the reply. Commits at the same time share one flush.
    ///
    /// # Errors
    ///
    /// If the flush failed; everybody who shared it gets the same, and the verifier is another now.
    pub fn commit(&self) -> Result<WriteVerifier> {
        self.commit_in(|| ())
    }

    /// The same; what `begin` gives is held during the flush, by whoever carries it out.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit_in<G>(&self, begin: impl FnOnce() -> G) -> Result<WriteVerifier> {
        commit_of(self.cache, self.entry(), begin)
    }

    /// When the file was last seen to be where it belongs.
    pub(super) fn placed(&self) -> u64 {
        self.entry().placed()
    }

    /// It was seen there.
    pub(super) fn was_placed(&self, at: u64) {
        self.entry().was_placed(at);
    }

    pub(super) fn into_entry(mut self) -> Option<Held<F>> {
        self.entry.take()
    }

    pub(super) fn entry(&self) -> &Entry<F> {
        match &self.entry {
            Some(entry) => entry,
            None => unreachable!("emptied only by what consumes it"),
        }
    }
}

fn write_to<F: File, R>(
    cache: &Cache<F>,
    entry: &Entry<F>,
    until: Until,
    write: impl FnOnce(&F) -> R,
) -> (R, WriteVerifier) {
    /// However the write ends, something may have been written.
    struct Written<'e>(&'e Flushes, Until);
    impl Drop for Written<'_> {
        fn drop(&mut self) {
            self.0.written(self.1);
        }
    }
    let verifier = cache.verifier.now();
    let written = Written(&entry.flushes, until);
    let result = write(&entry.file);
    drop(written);
    (result, verifier)
}

fn commit_of<F: File, G>(
    cache: &Cache<F>,
    entry: &Entry<F>,
    begin: impl FnOnce() -> G,
) -> Result<WriteVerifier> {
    cache.commit(&entry.flushes, || {
        let _held = begin();
        entry.file.flush()
    })?;
    // After the flush: if another one failed before, this is not what the client has seen.
    Ok(cache.verifier.now())
}

impl<F: File> Deref for Cached<'_, F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.entry().file
    }
}

impl<F: File> Drop for Cached<'_, F> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.cache.put(entry);
        }
    }
}

impl<F: File> Within<F> {
    /// Opens a file for somebody who will say when it is closed. It is not on the LRU, nothing makes
    /// it leave, and the last who drops it closes it at once. Stateful opens of one key share a file.
    ///
    /// It keeps the namespace from going: whoever holds one lets go in `pre_exit`.
    ///
    /// # Errors
    ///
    /// Those of `open`; [`Status::Jukebox`] if the namespace is on its way out, or as many files are
    /// open as may be.
    pub fn open_stateful(
        self,
        key: &Key,
        open: impl FnOnce() -> Result<Opened<F>>,
    ) -> Result<Stateful<F>> {
        let cache: &Cache<F> = &self;
        let entry = match cache.find(key, Kind::Stateful, NOWHERE)? {
            Ok(found) => found,
            Err(ticket) => {
                let opening = Opening::begin(cache, key, ticket);
                if !cache.make_room() {
                    return Err(Status::Jukebox);
                }
                opening.finish(Kind::Stateful, true, cache.shared.clock.now(), open)?
            }
        };
        Ok(Stateful { entry: Some(entry), kept: None, within: self })
    }
}

/// A file that is open until this is dropped.
#[must_use]
pub struct Stateful<F: File> {
    entry: Option<Held<F>>,
    /// After the file.
    kept: Option<Box<dyn Any + Send + Sync>>,
    /// After both: Rule 2.
    within: Within<F>,
}

impl<F: File> Stateful<F> {
    /// As [`Cached::write`].
    pub fn write<R>(&self, write: impl FnOnce(&F) -> R) -> (R, WriteVerifier) {
        write_to(&self.within, self.entry(), Until::Commit, write)
    }

    /// As [`Cached::commit`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit(&self) -> Result<WriteVerifier> {
        commit_of(&self.within, self.entry(), || ())
    }

    /// Keeps something for as long as the file is open here: it is dropped after the file, and before
    /// the namespace is left.
    pub fn keeping(self, what: impl Any + Send + Sync) -> Self {
        let mut this = self;
        this.kept = Some(Box::new(what));
        this
    }

    /// What is [kept](Self::keeping).
    pub fn kept(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.kept.as_deref()
    }

    /// Which file it is.
    pub fn handle(&self) -> &FileHandle {
        self.entry().key.handle()
    }

    fn entry(&self) -> &Entry<F> {
        match &self.entry {
            Some(entry) => entry,
            None => unreachable!("emptied only by the destructor"),
        }
    }
}

impl<F: File> Deref for Stateful<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.entry().file
    }
}

impl<F: File> Drop for Stateful<F> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take().and_then(|entry| self.within.table.release(entry)) {
            self.within.put(entry);
        }
    }
}

/// A file that is written to, and flushed before any of that is answered. It may be held longer than
/// a borrowed [`Cached`], not longer than what its owner does within the namespace.
#[must_use]
pub struct Kept<F: File> {
    /// Taken by the destructor only.
    entry: Option<Held<F>>,
    /// How many flushes had failed before the first of the writes.
    failures: u64,
    /// After the file: Rule 2.
    within: Within<F>,
}

impl<F: File> Kept<F> {
    /// Brings everything that was written to the disk, in one flush with whoever else asks for it.
    /// What `begin` gives is held by whoever carries it out.
    ///
    /// # Errors
    ///
    /// If that failed, or another flush since the file was kept: what was written may be lost. The
    /// verifier is another now.
    pub fn flush<G>(&self, begin: impl FnOnce() -> G) -> Result<()> {
        commit_of(&self.within, self.entry(), begin)?;
        let unchanged = self.entry().flushes.failures() == self.failures;
        if unchanged { Ok(()) } else { Err(Status::Io) }
    }

    /// Whether it is what this operation uses.
    pub fn is(&self, file: &Cached<'_, F>) -> bool {
        std::ptr::eq(self.entry(), file.entry())
    }

    fn entry(&self) -> &Entry<F> {
        match &self.entry {
            Some(entry) => entry,
            None => unreachable!("emptied only by the destructor"),
        }
    }
}

impl<F: File> Deref for Kept<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.entry().file
    }
}

impl<F: File> Drop for Kept<F> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.within.put(entry);
        }
    }
}

impl<F: File> fmt::Debug for Kept<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("handle", self.entry().key.handle()).finish_non_exhaustive()
    }
}
