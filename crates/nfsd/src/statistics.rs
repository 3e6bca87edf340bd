//! What the calls of a namespace come to: how many, how long, how they end.
//!
//! Each thread that serves writes a sheet of its own, which nobody else writes: adding is a load and
//! a store, without a shared cache line. Whoever reads adds the sheets up. Memory comes with use: for
//! a thread with its first call, for a procedure with the thread's first call of it, for errors with
//! the first error.
//!
//! There is one reading of the clock for each call: the end of one is the beginning of the next that
//! is served with it.

use crate::Status;
use holm_nfs_proto::nfs3::Procedure;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What the NFS calls of one namespace have come to, since it was made.
#[derive(Debug, Default)]
pub struct Statistics {
    sheets: OnceLock<Box<[OnceLock<Box<Sheet>>]>>,
}

/// The figures of one procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcedureStatistics {
    /// Which.
    pub procedure: Procedure,
    /// How long its calls took, and how many they were: from when the arguments were there until the
    /// result was, without waiting for the thread or the network.
    pub latency: Histogram,
    /// Bytes of files that it read or wrote.
    pub bytes: u64,
    /// How many failed with what. The others succeeded.
    pub errors: Vec<(Status, u64)>,
}

/// How often how long: durations counted in buckets, each twice as wide as the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; Self::BUCKETS],
    nanoseconds: u64,
}

impl Statistics {
    /// What the procedures that were called at all have come to. Calls that are being served now are
    /// in it later.
    pub fn read(&self) -> Vec<ProcedureStatistics> {
        let sheets = || self.sheets.get().into_iter().flatten().filter_map(OnceLock::get);
        let of = |procedure: &Procedure| {
            let mut sum = ProcedureStatistics {
                procedure: *procedure,
                latency: Histogram::default(),
                bytes: 0,
                errors: Vec::new(),
            };
            for sheet in sheets() {
                if let Some(tally) = sheet.tally(*procedure).and_then(OnceLock::get) {
                    tally.add_to(&mut sum);
                }
            }
            (sum.latency.count() > 0).then_some(sum)
        };
        Procedure::ALL.iter().filter_map(of).collect()
    }

    /// Counts a call that a thread has served.
    #[inline]
    pub(crate) fn count(&self, place: &Place, call: Counted) {
        let sheets = self.sheets.get_or_init(|| (0..=places()).map(|_| OnceLock::new()).collect());
        let own = place.0 < places();
        // The last one is shared by threads beyond those.
        let Some(sheet) = sheets.get(place.0.min(places())) else { return };
        let sheet = sheet.get_or_init(Box::default);
        if let Some(tally) = sheet.tally(call.procedure) {
            tally.get_or_init(Box::default).count(&call, own);
        }
    }
}

/// A call that was served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) procedure: Procedure,
    pub(crate) took: Duration,
    pub(crate) bytes: u64,
    pub(crate) failed: Option<Status>,
}

impl ProcedureStatistics {
    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.latency.count()
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }
}

impl Histogram {
    /// How many buckets there are. The last one takes everything that is longer.
    pub const BUCKETS: usize = 28;

    /// Up to what duration a bucket goes: 256 ns for the first, twice as much for each that follows;
    /// none for the last, which has no end.
    pub const fn bound(bucket: usize) -> Option<Duration> {
        if bucket + 1 < Self::BUCKETS {
            Some(Duration::from_nanos(SHORTEST << bucket))
        } else {
            None
        }
    }

    /// How many durations are in each bucket.
    pub fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.counts
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// The duration that this part of them, 0 to 1, does not exceed. It is right within its bucket,
    /// in which durations are taken to be spread evenly; what is beyond the last bound is taken for
    /// that. `None` if there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = (part.clamp(0.0, 1.0) * self.count() as f64).max(f64::MIN_POSITIVE);
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = *count as f64;
            if below + count >= wanted && count > 0.0 {
                let from = if bucket == 0 { 0 } else { SHORTEST << (bucket - 1) } as f64;
                let to = Self::bound(bucket).map_or(from, |bound| bound.as_nanos() as f64);
                let nanoseconds = from + (to - from) * ((wanted - below) / count);
                return Some(Duration::from_nanos(nanoseconds as u64));
            }
            below += count;
        }
        None
    }

    /// With those of another.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.nanoseconds = self.nanoseconds.saturating_add(other.nanoseconds);
    }

    /// What has come since it was `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = self.clone();
        for (count, old) in new.counts.iter_mut().zip(&before.counts) {
            *count = count.saturating_sub(*old);
        }
        new.nanoseconds = self.nanoseconds.saturating_sub(before.nanoseconds);
        new
    }

    fn bucket(nanoseconds: u64) -> usize {
        let doublings = u64::BITS - (nanoseconds / SHORTEST).leading_zeros();
        (doublings as usize).min(Self::BUCKETS - 1)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS], nanoseconds: 0 }
    }
}

/// The bound of the first bucket, in nanoseconds.
const SHORTEST: u64 = 256;

/// What one thread has counted.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sheet {
    tallies: [OnceLock<Box<Tally>>; Procedure::ALL.len()],
}

impl Sheet {
    fn tally(&self, procedure: Procedure) -> Option<&OnceLock<Box<Tally>>> {
        self.tallies.get(procedure.number() as usize)
    }
}

/// What one thread has counted of one procedure.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tally {
    counts: [AtomicU64; Histogram::BUCKETS],
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
    errors: OnceLock<Box<[AtomicU64; Status::ALL.len()]>>,
}

impl Tally {
    #[inline]
    fn count(&self, call: &Counted, own: bool) {
        let took = u64::try_from(call.took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(Histogram::bucket(took)) {
            add(count, 1, own);
        }
        add(&self.nanoseconds, took, own);
        if call.bytes > 0 {
            add(&self.bytes, call.bytes, own);
        }
        if let Some(status) = call.failed {
            let errors = self.errors.get_or_init(Box::default);
            let place = Status::ALL.iter().position(|other| *other == status);
            if let Some(count) = place.and_then(|place| errors.get(place)) {
                add(count, 1, own);
            }
        }
    }

    fn add_to(&self, sum: &mut ProcedureStatistics) {
        for (sum, count) in sum.latency.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        sum.latency.nanoseconds += self.nanoseconds.load(Ordering::Relaxed);
        sum.bytes += self.bytes.load(Ordering::Relaxed);
        for (status, count) in
            Status::ALL.iter().zip(self.errors.get().into_iter().flat_map(|e| &**e))
        {
            let count = count.load(Ordering::Relaxed);
            match sum.errors.iter_mut().find(|(known, _)| known == status) {
                _ if count == 0 => {}
                Some((_, sum)) => *sum += count,
                None => sum.errors.push((*status, count)),
            }
        }
    }
}

#[inline]
fn add(counter: &AtomicU64, amount: u64, own: bool) {
    if own {
        // No other thread writes it.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    } else {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Which sheet of each namespace is a thread's own, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Place(usize);

impl Place {
    /// The lowest that nobody has.
    pub(crate) fn take() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(match free.given_back.pop() {
            Some(Reverse(place)) => place,
            None => {
                free.never_taken += 1;
                free.never_taken - 1
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever takes it next sees what was counted here: both hold the lock.
        FREE.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(Reverse(self.0));
    }
}

struct Free {
    given_back: BinaryHeap<Reverse<usize>>,
    /// All from here on.
    never_taken: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { given_back: BinaryHeap::new(), never_taken: 0 });

/// How many threads have sheets of their own.
fn places() -> usize {
    static PLACES: OnceLock<usize> = OnceLock::new();
    *PLACES.get_or_init(|| {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (8 * cpus).clamp(16, 512)
    })
}

/// Tells how long each of the calls took that a thread serves one after another.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// The first call begins.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// A call has ended, and the next begins.
    #[inline]
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.saturating_duration_since(std::mem::replace(&mut self.0, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(procedure: Procedure, micros: u64) -> Counted {
        Counted { procedure, took: Duration::from_micros(micros), bytes: 0, failed: None }
    }

    #[test]
    fn nothing_is_kept_of_what_was_not_called() {
        let statistics = Statistics::default();
        assert!(statistics.read().is_empty());
        assert!(statistics.sheets.get().is_none());
        statistics.count(&Place::take(), call(Procedure::Read, 1));
        let tallies = statistics.sheets.get().into_iter().flatten().filter_map(OnceLock::get);
        let tallies = tallies.flat_map(|sheet| &sheet.tallies).filter_map(OnceLock::get);
        assert_eq!(tallies.map(|tally| tally.errors.get().is_some()).collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn what_threads_count_adds_up() {
        const THREADS: u64 = 40; // more than there are sheets on a small machine
        let statistics = Statistics::default();
        let all_here = std::sync::Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let place = Place::take();
                    all_here.wait();
                    for _ in 0..1000 {
                        statistics.count(&place, call(Procedure::GetAttr, 3));
                        let read = Counted { bytes: 4096, ..call(Procedure::Read, 20) };
                        statistics.count(&place, read);
                    }
                    let failed = Some(Status::NoEnt);
                    statistics.count(&place, Counted { failed, ..call(Procedure::Lookup, 1) });
                });
            }
        });
        let read = statistics.read();
        let [getattr, lookup, data] = &read[..] else { panic!("{read:?}") };
        assert_eq!((getattr.procedure, getattr.calls()), (Procedure::GetAttr, THREADS * 1000));
        assert_eq!(getattr.latency.sum(), Duration::from_micros(3 * THREADS * 1000));
        assert_eq!((data.procedure, data.bytes), (Procedure::Read, THREADS * 1000 * 4096));
        assert_eq!(
            (lookup.failed(), &lookup.errors[..]),
            (THREADS, &[(Status::NoEnt, THREADS)][..])
        );
    }

    #[test]
    fn a_place_is_taken_by_one() {
        let (first, second) = (Place::take(), Place::take());
        assert_ne!(first.0, second.0);
    }

    #[test]
    fn buckets_have_the_bounds_they_say() {
        for (nanoseconds, bucket) in
            [(0, 0), (255, 0), (256, 1), (511, 1), (512, 2), (u64::MAX, Histogram::BUCKETS - 1)]
        {
            assert_eq!(Histogram::bucket(nanoseconds), bucket, "{nanoseconds}");
        }
        for bucket in 0..Histogram::BUCKETS - 1 {
            let bound = Histogram::bound(bucket).unwrap().as_nanos() as u64;
            assert_eq!(
                (Histogram::bucket(bound - 1), Histogram::bucket(bound)),
                (bucket, bucket + 1)
            );
        }
        assert_eq!(Histogram::bound(Histogram::BUCKETS - 1), None);
    }

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        // 90 between 1024 and 2048 ns, 10 between 65536 and 131072.
        histogram.counts[3] = 90;
        histogram.counts[9] = 10;
        assert_eq!(histogram.quantile(0.45), Some(Duration::from_nanos(1536)));
        assert_eq!(histogram.quantile(0.9), Some(Duration::from_nanos(2048)));
        assert_eq!(histogram.quantile(0.95), Some(Duration::from_nanos(98304)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_nanos(131072)));
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_nanos(1024)));

        let before = histogram.clone();
        histogram.add(&before);
        assert_eq!(histogram.since(&before), before);
    }
}
