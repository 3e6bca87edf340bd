//! The time, which tests may set.

use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::{AtomicU64, Ordering};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Where a cache reads the time; only differences mean anything.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The kernel's, in steps of a few milliseconds, which costs next to nothing to read.
    pub fn monotonic() -> Self {
        Self(None)
    }

    /// One that stands still until somebody [advances](Self::advance) it.
    pub fn manual() -> Self {
        Self(Some(Arc::new(AtomicU64::new(0))))
    }

    /// Moves a manual clock on; all clones of it move.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            manual.fetch_add(milliseconds(by), Ordering::Relaxed);
        }
    }

    /// Milliseconds since some moment.
    pub(super) fn now(&self) -> u64 {
        match &self.0 {
            Some(manual) => manual.load(Ordering::Relaxed),
            None => {
                let time = clock_gettime(ClockId::MonotonicCoarse);
                (time.tv_sec as u64)
                    .saturating_mul(1000)
                    .saturating_add(time.tv_nsec as u64 / 1_000_000)
            }
        }
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
