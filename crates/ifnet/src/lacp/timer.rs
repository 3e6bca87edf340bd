//! A timer of a machine: not running, or running until an instant.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Timer(Option<Instant>);

impl Timer {
    pub(super) fn start(&mut self, now: Instant, time: Duration) {
        self.0 = Some(now + time);
    }

    pub(super) fn stop(&mut self) {
        self.0 = None;
    }

    /// Whether it was started and its time is over.
    pub(super) fn is_over(self, now: Instant) -> bool {
        self.0.is_some_and(|end| end <= now)
    }

    /// When its time is over.
    pub(super) fn end(self) -> Option<Instant> {
        self.0
    }
}

/// Between two LACPDUs to a partner that wants many; also what the limit of LACPDUs is counted in.
pub(super) const FAST_PERIODIC: Duration = Duration::from_secs(1);
/// Between two LACPDUs to a partner that is content with few.
pub(super) const SLOW_PERIODIC: Duration = Duration::from_secs(30);
/// Without a LACPDU for that long, a port that wants many has no partner.
pub(super) const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// Without a LACPDU for that long, a port that is content with few has no partner.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(90);
/// Two ends that have not agreed after that long never will.
pub(super) const CHURN_DETECTION: Duration = Duration::from_secs(60);
/// How long a port waits for others that may come up with it.
pub(super) const AGGREGATE_WAIT: Duration = Duration::from_secs(2);
