//! Operations at full speed for a while, with how long each of them took.

use crate::files::outcome::{Result, Trouble};
use hdrhistogram::Histogram;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'s> {
    /// Each with one operation at a time.
    pub threads: usize,
    /// For how long.
    pub time: Duration,
    /// Or until this is set.
    pub stop: &'s AtomicBool,
}

/// What came of it.
#[derive(Debug)]
pub struct Measured {
    /// Nanoseconds.
    pub latencies: Histogram<u64>,
    /// From the first operation to the end of the last thread.
    pub elapsed: Duration,
}

/// Each thread `begin`s with its number, does `step` until the time is over, then `end`s: that counts in the
/// elapsed time, not as an operation.
///
/// # Errors
/// What one of those failed with.
pub fn measure<S>(
    plan: &Plan<'_>,
    begin: impl Fn(usize) -> Result<S> + Sync,
    step: impl Fn(&mut S) -> Result<()> + Sync,
    end: impl Fn(&mut S) -> Result<()> + Sync,
) -> Result<Measured> {
    let threads = plan.threads.max(1);
    let barrier = Barrier::new(threads);
    let work = |number| {
        let state = begin(number);
        // Also without a state: the others wait.
        barrier.wait();
        let mut state = state?;
        let mut latencies = histogram()?;
        let begun = Instant::now();
        let mut now = begun;
        while now - begun < plan.time && !plan.stop.load(Ordering::Relaxed) {
            step(&mut state)?;
            let then = std::mem::replace(&mut now, Instant::now());
            latencies.saturating_record((now - then).as_nanos().try_into().unwrap_or(u64::MAX));
        }
        end(&mut state)?;
        Ok((latencies, begun, Instant::now()))
    };
    let done: Vec<Result<_>> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        let panicked = |_| Err(Trouble::new("a thread that measured panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut latencies = histogram()?;
    let (mut first, mut last) = (None::<Instant>, None::<Instant>);
    for thread in done {
        let (of_thread, begun, ended) = thread?;
        latencies.add(of_thread).map_err(no_histogram)?;
        first = Some(first.map_or(begun, |first| first.min(begun)));
        last = Some(last.map_or(ended, |last| last.max(ended)));
    }
    let elapsed = last.zip(first).map(|(last, first)| last - first).unwrap_or_default();
    Ok(Measured { latencies, elapsed })
}

/// From a nanosecond to a quarter of an hour, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 900_000_000_000, 3).map_err(no_histogram)
}

fn no_histogram(error: impl std::fmt::Display) -> Trouble {
    Trouble::new(format!("could not count latencies: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_step_is_counted_until_it_stops() {
        let stop = AtomicBool::new(false);
        let plan = Plan { threads: 3, time: Duration::from_secs(3600), stop: &stop };
        let (steps, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let step = |_: &mut usize| {
            if steps.fetch_add(1, Ordering::Relaxed) > 1000 {
                stop.store(true, Ordering::Relaxed);
            }
            Ok(())
        };
        let end = |_: &mut usize| {
            ends.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let measured = measure(&plan, Ok, step, end).unwrap();
        assert_eq!(measured.latencies.len(), steps.into_inner() as u64);
        assert_eq!(ends.into_inner(), 3);
    }

    #[test]
    fn one_that_fails_is_no_reason_to_wait_for_ever() {
        let stop = AtomicBool::new(false);
        let plan = Plan { threads: 3, time: Duration::ZERO, stop: &stop };
        let begin = |number| if number == 1 { Err(Trouble::new("no")) } else { Ok(number) };
        let failed = measure(&plan, begin, |_| Ok(()), |_| Ok(())).unwrap_err();
        assert_eq!(failed.to_string(), "no");
    }
}
