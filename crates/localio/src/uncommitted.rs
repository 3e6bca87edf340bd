//! What was written and may still be lost: kept until the server has it on stable storage.
//!
//! A server answers an UNSTABLE write before the data is safe, with a verifier that changes whenever such
//! data may have been lost (RFC 1813, section 3.3.21). So all of it is kept, in the order in which it was
//! written, until a COMMIT answers with the same verifier, and written again where it is another.
//!
//! Three things must not meet. Data that is written **again** must not land on what was written after
//! it, not even for a moment, in which somebody may read it: so it is written while no other write is under
//! way, and of each byte the newest only.
//! A COMMIT must not be taken for data that was written again after it: so there is one at a time. And
//! what is kept must not be older than what was written to the file itself, past the server: while somebody
//! does that, writes by RPC are stable, and nothing is kept.

use crate::error::{Error, Problem, Result};
use crate::handle::Handle;
use crate::nfs3::Written;
use holm_lifetime::sync::atomic::{AtomicUsize, Ordering};
use holm_lifetime::sync::{Condvar, Mutex, MutexGuard};
use holm_nfs_proto::nfs3::{self, StableHow, WriteVerifier};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// A server that is asked by RPC, as far as a file's data is concerned.
pub trait Remote: Send + Sync {
    /// Most bytes of one call that reads.
    fn read_max(&self) -> usize;
    /// Most bytes of one call that writes.
    fn write_max(&self) -> usize;
    /// Reads: how much, and whether the file ends there.
    ///
    /// # Errors
    /// What the server or the way to it failed with.
    fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<(usize, bool)>;
    /// Writes some of the data.
    ///
    /// # Errors
    /// What the server or the way to it failed with.
    fn write(&self, file: &Handle, offset: u64, data: &[u8], stable: StableHow) -> Result<Written>;
    /// Has everything on stable storage, if the verifier is still the same.
    ///
    /// # Errors
    /// What the server or the way to it failed with.
    fn commit(&self, file: &Handle) -> Result<WriteVerifier>;
}

/// How much may be kept of all files together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    fn take(&self, bytes: usize) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What is kept of one file.
pub struct Uncommitted {
    file: Handle,
    budget: Arc<Budget>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order in which they were answered.
    kept: VecDeque<Kept>,
    /// Writes by RPC that are under way.
    writing: usize,
    /// Nobody may begin one.
    closed: bool,
    /// Somebody commits.
    committing: bool,
    /// How many may write to the file itself.
    local: usize,
}

struct Kept {
    offset: u64,
    data: Box<[u8]>,
    /// The server has it for certain, if it commits with this one.
    verifier: WriteVerifier,
}

impl Uncommitted {
    pub fn new(file: Handle, budget: &Arc<Budget>) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { file, budget: budget.clone(), state, changed }
    }

    pub const fn file(&self) -> &Handle {
        &self.file
    }

    /// Writes all of the data; but what `itself` can write to the file itself, which is asked when it
    /// can't change any more whether that [may be](Self::begin_local), is not written here.
    pub fn write(
        &self,
        remote: &impl Remote,
        mut offset: u64,
        mut data: &[u8],
        itself: impl Fn(u64, &[u8]) -> usize,
    ) -> Result<()> {
        while !data.is_empty() {
            let (piece, _) = data.split_at(data.len().min(remote.write_max().max(1)));
            let mut charge = Charge::new(&self.budget, piece.len());
            if charge.is_none() {
                self.commit(remote)?;
                charge = Charge::new(&self.budget, piece.len());
            }
            let count = match charge {
                Some(charge) => {
                    self.write_piece(remote, offset, piece, charge, || itself(offset, data))?
                }
                // Others keep all that may be kept.
                None => self.with_nothing_kept(remote, || match itself(offset, data) {
                    0 => {
                        let stable = StableHow::FileSync;
                        Ok(remote.write(&self.file, offset, piece, stable)?.count)
                    }
                    count => Ok(count),
                })?,
            };
            data = data.get(count..).unwrap_or_default();
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    fn write_piece(
        &self,
        remote: &impl Remote,
        offset: u64,
        piece: &[u8],
        charge: Charge<'_>,
        itself: impl Fn() -> usize,
    ) -> Result<usize> {
        let writing = self.begin();
        let count = itself();
        if count > 0 {
            return Ok(count);
        }
        let stable = if writing.local { StableHow::FileSync } else { StableHow::Unstable };
        let written = remote.write(&self.file, offset, piece, stable)?;
        let now = piece.get(..written.count).unwrap_or(piece);
        let mut state = self.state.lock();
        // What is safe is kept, too, as long as something older is that may be written again over it.
        if written.committed == StableHow::Unstable || !state.kept.is_empty() {
            charge.spend(now.len());
            let verifier = written.verifier;
            state.kept.push_back(Kept { offset, data: now.into(), verifier });
        }
        Ok(now.len())
    }

    /// Has all that was answered before it on stable storage.
    pub fn commit(&self, remote: &impl Remote) -> Result<()> {
        let _turn = self.turn();
        self.commit_in_turn(remote)
    }

    /// Commits, and then, while no write is under way and nothing is kept, does something with which the
    /// file itself may be written, if it says so. [`end_local`](Self::end_local) ends that.
    pub fn begin_local(&self, remote: &impl Remote, work: impl FnOnce() -> bool) -> Result<bool> {
        self.with_nothing_kept(remote, || {
            // Before it can be told that it is over.
            self.state.lock().local += 1;
            let may = work();
            if !may {
                self.end_local();
            }
            Ok(may)
        })
    }

    /// One fewer that may write to the file itself.
    pub fn end_local(&self) {
        let mut state = self.state.lock();
        state.local = state.local.saturating_sub(1);
    }

    /// Does something after which what is kept must not be written again, as cutting the file short.
    pub fn with_nothing_kept<T>(
        &self,
        remote: &impl Remote,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _turn = self.turn();
        let _closed = self.close();
        self.commit_in_turn(remote)?;
        work()
    }

    fn commit_in_turn(&self, remote: &impl Remote) -> Result<()> {
        for _ in 0..ROUNDS {
            // What comes later is for a later commit: it may have been written after this one.
            let count = self.state.lock().kept.len();
            if count == 0 {
                return Ok(());
            }
            let verifier = match remote.commit(&self.file) {
                Ok(verifier) => verifier,
                Err(error) => {
                    if error.status() == Some(nfs3::Error::Stale) {
                        // Nobody will ever want it.
                        self.forget();
                    }
                    return Err(error);
                }
            };
            // From the first on that may be lost all is kept: what is written again has to come under
            // what came later, also where that is safe.
            let mut state = self.state.lock();
            let is_safe = |kept: &&Kept| kept.verifier == verifier;
            let safe = state.kept.iter().take(count).take_while(is_safe).count();
            let bytes = state.kept.drain(..safe).map(|kept| kept.data.len()).sum();
            drop(state);
            self.budget.give_back(bytes);
            if safe == count {
                return Ok(());
            }
            self.write_again(remote)?;
        }
        let why = format!("the server lost what was written to it {ROUNDS} times in a row");
        Err(Error::new("commit", format!("{:?}", self.file), Problem::Lost(why)))
    }

    /// Writes everything that is kept once more, while nobody else writes.
    fn write_again(&self, remote: &impl Remote) -> Result<()> {
        let _closed = self.close();
        let all = std::mem::take(&mut self.state.lock().kept);
        let before = bytes_of(&all);
        let mut old = newest(all);
        self.budget.give_back(before.saturating_sub(bytes_of(&old)));
        let mut new = VecDeque::new();
        let mut outcome = Ok(());
        while let Some(Kept { offset, data, verifier }) = old.pop_front() {
            let piece = data.get(..data.len().min(remote.write_max().max(1))).unwrap_or_default();
            let written = match remote.write(&self.file, offset, piece, StableHow::Unstable) {
                Ok(written) => written,
                Err(error) => {
                    old.push_front(Kept { offset, data, verifier });
                    outcome = Err(error);
                    break;
                }
            };
            let (now, later) = data.split_at(written.count.min(data.len()));
            if written.committed == StableHow::Unstable {
                new.push_back(Kept { offset, data: now.into(), verifier: written.verifier });
            } else {
                self.budget.give_back(now.len());
            }
            if !later.is_empty() {
                let offset = offset.saturating_add(now.len() as u64);
                old.push_front(Kept { offset, data: later.into(), verifier });
            }
        }
        new.append(&mut old);
        self.state.lock().kept = new;
        outcome
    }

    fn forget(&self) {
        let forgotten = std::mem::take(&mut self.state.lock().kept);
        self.budget.give_back(bytes_of(&forgotten));
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while condition(&state) {
            state = self.changed.wait(state);
        }
        state
    }

    fn begin(&self) -> Writing<'_> {
        // One that has closed it already waits for those that have begun.
        let mut state = self.wait_while(|state| state.closed);
        state.writing += 1;
        Writing { uncommitted: self, local: state.local > 0 }
    }

    fn turn(&self) -> Turn<'_> {
        self.wait_while(|state| state.committing).committing = true;
        Turn(self)
    }

    /// By whoever has the turn. Closing what is closed is nothing.
    fn close(&self) -> Closed<'_> {
        let mut state = self.state.lock();
        let was = std::mem::replace(&mut state.closed, true);
        drop(state);
        drop(self.wait_while(|state| state.writing > 0));
        Closed { uncommitted: self, was }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

impl Drop for Uncommitted {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for Uncommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uncommitted").field("file", &self.file).finish_non_exhaustive()
    }
}

fn bytes_of(kept: &VecDeque<Kept>) -> usize {
    kept.iter().map(|kept| kept.data.len()).sum()
}

/// Of each byte what was written to it last. Nothing overlaps any more.
fn newest(kept: VecDeque<Kept>) -> VecDeque<Kept> {
    let mut newest = VecDeque::with_capacity(kept.len());
    // Where something newer is: disjoint ranges, by where they begin, with their ends.
    let mut newer: BTreeMap<u64, u64> = BTreeMap::new();
    for Kept { offset, data, verifier } in kept.into_iter().rev() {
        let end = offset.saturating_add(data.len() as u64);
        let mut at = offset;
        while at < end {
            let before = newer.range(..=at).next_back().map(|(_, end)| *end);
            if let Some(covered) = before.filter(|covered| *covered > at) {
                at = covered;
                continue;
            }
            let next = newer.range(at..end).next().map_or(end, |(begin, _)| *begin);
            // Within the data, whose length is a usize.
            let part = (at - offset) as usize..(next - offset) as usize;
            let part = data.get(part).unwrap_or_default();
            newest.push_front(Kept { offset: at, data: part.into(), verifier });
            at = next;
        }
        // All of it is covered now, and what it touches is one range with it.
        let mut range = (offset, end);
        while let Some((begin, end)) = newer.range(..=range.1).next_back().map(|(b, e)| (*b, *e)) {
            if end < range.0 {
                break;
            }
            newer.remove(&begin);
            range = (range.0.min(begin), range.1.max(end));
        }
        newer.insert(range.0, range.1);
    }
    newest
}

/// A write by RPC is under way.
struct Writing<'u> {
    uncommitted: &'u Uncommitted,
    /// Somebody may write to the file itself.
    local: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.uncommitted.change(|state| state.writing -= 1);
    }
}

/// The right to commit.
struct Turn<'u>(&'u Uncommitted);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.committing = false);
    }
}

/// No write by RPC is under way.
struct Closed<'u> {
    uncommitted: &'u Uncommitted,
    was: bool,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.uncommitted.change(|state| state.closed = self.was);
    }
}

/// A part of the budget, given back if it is not spent.
struct Charge<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl<'b> Charge<'b> {
    fn new(budget: &'b Budget, bytes: usize) -> Option<Self> {
        budget.take(bytes).then_some(Self { budget, bytes })
    }

    /// So much is kept.
    fn spend(mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// How often a server may lose the same before we give up.
const ROUNDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_byte_the_newest_is_left() {
        let mut state = 1u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..2000 {
            let mut expected = [0u8; 32];
            let mut kept = VecDeque::new();
            for value in 1..=below(12) as u8 {
                let offset = below(32);
                let data = vec![value; 1 + below(32 - offset) as usize];
                expected[offset as usize..][..data.len()].copy_from_slice(&data);
                kept.push_back(Kept { offset, data: data.into(), verifier: [value; 8] });
            }
            let mut found = [0u8; 32];
            for Kept { offset, data, verifier } in newest(kept) {
                let place = &mut found[offset as usize..][..data.len()];
                assert!(place.iter().all(|byte| *byte == 0), "twice");
                place.copy_from_slice(&data);
                assert!(data.iter().all(|byte| *byte == verifier[0]));
            }
            assert_eq!(found, expected);
        }
    }
}
