//! The churn detection machines: two ends that can't agree, because they are configured against each
//! other (IEEE 802.1AX-2014, section 6.4.17). One machine watches our end, one the partner's.

use super::timer::{CHURN_DETECTION, Timer};
use std::time::Instant;

/// Where the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChurnState {
    /// Not in agreement yet.
    #[default]
    Monitor,
    /// In agreement.
    NoChurn,
    /// Not in agreement for a minute.
    Churn,
}

#[derive(Debug, Default)]
pub(super) struct Churn {
    state: ChurnState,
    timer: Timer,
    count: u64,
}

impl Churn {
    pub(super) fn state(&self) -> ChurnState {
        self.state
    }

    /// How often there was churn.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timer.end()
    }

    pub(super) fn advance(&mut self, now: Instant, enabled: bool, in_sync: bool) {
        if !enabled {
            self.state = ChurnState::Monitor;
            self.timer.stop();
        } else if in_sync {
            self.state = ChurnState::NoChurn;
            self.timer.stop();
        } else if self.state == ChurnState::Monitor && self.timer.is_over(now) {
            self.state = ChurnState::Churn;
            self.timer.stop();
            self.count += 1;
        } else if self.state != ChurnState::Churn && self.timer.end().is_none() {
            self.state = ChurnState::Monitor;
            self.timer.start(now, CHURN_DETECTION);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChurnState::{Churn as InChurn, Monitor, NoChurn};
    use std::time::Duration;

    #[test]
    fn a_minute_without_agreement_is_churn() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut churn = Churn::default();
        // When, whether the link is up, whether it is in agreement, and what follows.
        let steps = [
            (0, false, false, Monitor),
            (100, true, false, Monitor),
            (159, true, false, Monitor),
            (160, true, false, InChurn),
            (500, true, false, InChurn),
            (500, true, true, NoChurn),
            (900, true, true, NoChurn),
            (900, true, false, Monitor),
            (950, false, false, Monitor),
            (1000, true, false, Monitor),
            (1059, true, false, Monitor),
            (1060, true, false, InChurn),
            (1061, false, false, Monitor),
            (1062, true, false, Monitor),
            (1121, true, true, NoChurn),
        ];
        for (at, enabled, in_sync, state) in steps {
            churn.advance(after(at), enabled, in_sync);
            assert_eq!(churn.state(), state, "after {at} s");
        }
        assert_eq!(churn.count(), 2);
    }
}
