//! Data on its way to the disk: who has written, who waits, and what if it is lost.
//!
//! The commits of one file share flushes. A commit needs a flush that **begins** after the writes it
//! covers have returned; so while one runs, all that come wait for the next, which one of them
//! carries out. Linux tells of a failed flush once and then forgets the data; whoever waited for it
//! hears of it, and the namespace's write verifier changes, from which clients learn that what they
//! have not seen committed must be sent again (RFC 1813, section 3.3.21).

use super::counters::Counters;
use crate::{Result, Status};
use holm_lifetime::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, Condvar, Mutex};

/// What the replies to WRITE and COMMIT carry: as long as it is the same, nothing unstable was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteVerifier(pub [u8; 8]);

/// The current write verifier of a namespace.
pub(super) struct Verifier(AtomicU64);

impl Verifier {
    /// One that no server had before.
    pub(super) fn new() -> Result<Self> {
        let mut bytes = [0; 8];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => Ok(Self(AtomicU64::new(u64::from_ne_bytes(bytes)))),
            _ => Err(Status::ServerFault),
        }
    }

    pub(super) fn now(&self) -> WriteVerifier {
        WriteVerifier(self.0.load(Ordering::Acquire).to_be_bytes())
    }

    pub(super) fn change(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// What something that was written waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// A commit, if one ever comes.
    Commit,
    /// Its own answer, before which it is flushed.
    Answer,
}

/// The flushes of one file.
pub(super) struct Flushes {
    /// Something was written since the last flush began.
    dirty: AtomicBool,
    /// Some of that waits for a commit, which may be far: there may be much of it.
    unstable: AtomicBool,
    /// How many have failed.
    failures: AtomicU64,
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Default)]
struct Rounds {
    /// The flush that runs.
    running: Option<Arc<Round>>,
    /// The one after it; who made it carries it out.
    next: Option<Arc<Round>>,
}

/// One flush.
struct Round(Mutex<Option<Result<()>>>);

impl Flushes {
    pub(super) fn new() -> Self {
        Self {
            dirty: AtomicBool::new(false),
            unstable: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            rounds: Mutex::new(Rounds::default()),
            ended: Condvar::new(),
        }
    }

    /// Notes that something was written. After the write, and before it is answered: a flush that
    /// began during the write need not have seen it.
    pub(super) fn written(&self, until: Until) {
        let unstable = (until == Until::Commit).then_some(&self.unstable);
        for flag in unstable.into_iter().chain([&self.dirty]) {
            if !flag.load(Ordering::Relaxed) {
                flag.store(true, Ordering::Release);
            }
        }
    }

    /// Whether something that was written waits for a commit.
    pub(super) fn is_unstable(&self) -> bool {
        self.unstable.load(Ordering::Acquire)
    }

    /// How many flushes have failed. Linux tells whoever flushes next, and nobody after that: a write
    /// whose own flush went well is lost all the same if another one failed in between.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Somebody heard of a failure otherwise than by a commit.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Waits until all that was written before the call is on the disk.
    pub(super) fn commit(
        &self,
        verifier: &Verifier,
        counters: &Counters,
        flush: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut rounds = self.rounds.lock();
        let covering = if self.is_dirty() { &rounds.next } else { &rounds.running };
        if let Some(round) = covering.clone() {
            Counters::add(&counters.joined, 1);
            loop {
                if let Some(outcome) = *round.0.lock() {
                    return outcome;
                }
                rounds = self.ended.wait(rounds);
            }
        }
        if !self.is_dirty() {
            // The flush that covered it has ended; had it failed, the verifier would have changed.
            return Ok(());
        }
        let round = Arc::new(Round(Mutex::new(None)));
        rounds.next = Some(round.clone());
        while rounds.running.is_some() {
            rounds = self.ended.wait(rounds);
        }
        rounds.running = rounds.next.take();
        // What is written from here on is for another flush.
        self.unstable.store(false, Ordering::Release);
        self.dirty.store(false, Ordering::Release);
        drop(rounds);

        let mut ending =
            Ending { flushes: self, round, outcome: Err(Status::ServerFault), verifier, counters };
        ending.outcome = flush();
        ending.outcome
    }
}

/// Tells everybody how a flush ended, also if it panicked.
struct Ending<'f> {
    flushes: &'f Flushes,
    round: Arc<Round>,
    outcome: Result<()>,
    verifier: &'f Verifier,
    counters: &'f Counters,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        Counters::add(&self.counters.flushes, 1);
        if self.outcome.is_err() {
            Counters::add(&self.counters.failed_flushes, 1);
            self.flushes.written(Until::Commit);
            self.flushes.failed();
            // Before the next flush, which may succeed without the data, lets anybody answer.
            self.verifier.change();
        }
        let mut rounds = self.flushes.rounds.lock();
        *self.round.0.lock() = Some(self.outcome);
        rounds.running = None;
        drop(rounds);
        self.flushes.ended.notify_all();
    }
}
