//! Deadlines: when a source is to be run though nothing happens.
//!
//! A source has at most one, so they are kept as a sorted set: exact removal, no ticks, and no memory
//! for what is not there. A wheel would save a few comparisons a deadline and cost slots and ticks
//! in an idle server; deadlines are set seldom, because who waits for something to stay quiet sets
//! the next one when the last has come.
//!
//! No thread keeps the time. Of the workers that wait for events, one waits only until the earliest
//! deadline: the one that has [armed](Timers::arm) it. While none of them waits, the watchdog looks.

use crate::source::SourceId;
use holm_lifetime::sync::Mutex;
use holm_lifetime::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(crate) struct Timers {
    inner: Mutex<Inner>,
    /// The earliest deadline, in nanoseconds since `base`; [`NEVER`] if there is none.
    earliest: AtomicU64,
    /// Until when somebody waits.
    armed: AtomicU64,
    base: Instant,
}

#[derive(Default)]
struct Inner {
    by_time: BTreeSet<(u64, SourceId)>,
    of: BTreeMap<SourceId, u64>,
}

const NEVER: u64 = u64::MAX;

/// Somebody waits until then, unless something happens before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed(u64);

impl Timers {
    pub(crate) fn new(base: Instant) -> Self {
        Self {
            inner: Mutex::default(),
            earliest: AtomicU64::new(NEVER),
            armed: AtomicU64::new(NEVER),
            base,
        }
    }

    /// Sets the deadline of a source, or takes it back, if the source is there `still`. Whether
    /// somebody must be woken because everybody waits longer than that.
    pub(crate) fn set(
        &self,
        id: SourceId,
        deadline: Option<Instant>,
        still: impl FnOnce() -> bool,
    ) -> bool {
        let mut inner = self.inner.lock();
        // In the lock: a source that is ended takes its deadline back after it ceased to be there.
        let deadline = deadline.filter(|_| still()).map(|deadline| self.nanoseconds(deadline));
        if let Some(before) = inner.of.remove(&id) {
            inner.by_time.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            inner.by_time.insert((deadline, id));
            inner.of.insert(id, deadline);
        }
        self.note_earliest(&inner);
        deadline.is_some_and(|deadline| deadline < self.armed.load(Ordering::SeqCst))
    }

    /// The sources whose deadlines have come.
    pub(crate) fn expire(&self, now: Instant) -> Vec<SourceId> {
        let now = self.nanoseconds(now);
        let mut expired = Vec::new();
        if self.earliest.load(Ordering::SeqCst) > now {
            return expired;
        }
        let mut inner = self.inner.lock();
        while let Some(&(deadline, id)) = inner.by_time.first()
            && deadline <= now
        {
            inner.by_time.pop_first();
            inner.of.remove(&id);
            expired.push(id);
        }
        self.note_earliest(&inner);
        expired
    }

    /// Called by who is about to wait, after it counts as waiting: if there is a deadline and nobody
    /// waits for it yet, the caller does.
    #[inline]
    pub(crate) fn arm(&self) -> Option<Armed> {
        let earliest = self.earliest.load(Ordering::SeqCst);
        if earliest == NEVER {
            return None;
        }
        let mut armed = self.armed.load(Ordering::SeqCst);
        while earliest < armed {
            match self.armed.compare_exchange_weak(
                armed,
                earliest,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return Some(Armed(earliest)),
                Err(now) => armed = now,
            }
        }
        None
    }

    /// Called by who has waited.
    #[inline]
    pub(crate) fn disarm(&self, armed: Armed) {
        // Another may have armed an earlier one meanwhile.
        let order = (Ordering::SeqCst, Ordering::Relaxed);
        let _ = self.armed.compare_exchange(armed.0, NEVER, order.0, order.1);
    }

    /// How long it is until then; nothing if it is over.
    pub(crate) fn until(&self, armed: Armed, now: Instant) -> Duration {
        Duration::from_nanos(armed.0.saturating_sub(self.nanoseconds(now)))
    }

    /// How many deadlines are set.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.inner.lock().of.len()
    }

    fn note_earliest(&self, inner: &Inner) {
        let earliest = inner.by_time.first().map_or(NEVER, |(deadline, _)| *deadline);
        self.earliest.store(earliest, Ordering::SeqCst);
    }

    fn nanoseconds(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.base).as_nanos();
        u64::try_from(since).unwrap_or(NEVER).min(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceId = SourceId { generation: 1, index: 0 };
    const B: SourceId = SourceId { generation: 1, index: 1 };

    #[test]
    fn one_waits_for_the_earliest_and_is_told_of_an_earlier_one() {
        let base = Instant::now();
        let timers = Timers::new(base);
        let at = |ms| base + Duration::from_millis(ms);
        assert!(timers.arm().is_none());
        assert!(timers.set(A, Some(at(20)), || true), "nobody waits");
        let first = timers.arm().expect("a deadline");
        assert_eq!(timers.until(first, at(15)), Duration::from_millis(5));
        assert!(timers.arm().is_none(), "one is enough");
        assert!(!timers.set(B, Some(at(30)), || true));
        assert!(timers.set(B, Some(at(10)), || true));
        let second = timers.arm().expect("an earlier one");
        timers.disarm(second);
        assert_eq!(timers.expire(at(10)), [B]);
        assert_eq!(timers.expire(at(19)), []);
        assert_eq!(timers.expire(at(25)), [A]);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_source_that_is_gone_leaves_no_deadline() {
        let base = Instant::now();
        let timers = Timers::new(base);
        assert!(!timers.set(A, Some(base), || false));
        timers.set(A, Some(base), || true);
        timers.set(A, None, || true);
        assert_eq!(timers.len(), 0);
        assert_eq!(timers.expire(base), []);
    }
}
