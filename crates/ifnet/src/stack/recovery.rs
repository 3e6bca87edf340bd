//! When what was sent is to be sent again, before smoltcp would.
//!
//! smoltcp sends one segment again when three acknowledgements have said the same. If more was lost, or there is
//! nothing behind it that would be acknowledged, it waits for its timer, which is never less than a second. So
//! it is shown the newest acknowledgement three times more: when one has come that is for less than had been sent
//! when the loss was noticed (RFC 6582, section 3.2), and once when nothing was acknowledged for long (as RFC
//! 8985 probes for a loss at the end, section 7).

use std::time::Duration;

/// What is known of a connection's sending, in sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Up to where was sent, and acknowledged.
    sent: u32,
    acknowledged: u32,
    /// How often that was said again.
    repeated: u32,
    /// Something was lost; up to where had been sent then.
    recovers: Option<u32>,
    /// Since when nothing was acknowledged of what was sent, and whether it was probed.
    since: Duration,
    probed: bool,
    /// When that byte was sent, for the first time and not long after one that was lost.
    timed: Option<(u32, Duration)>,
    /// How long acknowledgements take.
    round_trip: Option<Duration>,
}

impl Recovery {
    /// It has begun: its first byte has that number.
    pub(super) fn begin(&mut self, first: u32) {
        (self.sent, self.acknowledged) = (first, first);
    }

    /// It was sent up to there by now.
    pub(super) fn sent(&mut self, now: Duration, end: u32) {
        if !is_later(end, self.sent) {
            return;
        }
        if self.sent == self.acknowledged {
            self.since = now;
            self.probed = false;
        }
        self.sent = end;
        self.timed = self.timed.or_else(|| self.recovers.is_none().then_some((end, now)));
    }

    /// An acknowledgement up to there was good; or has `repeated` the one before, and nothing else. Whether it is
    /// to be shown again.
    pub(super) fn acknowledged(&mut self, now: Duration, number: u32, repeats: bool) -> bool {
        if !is_later(number, self.acknowledged) {
            self.repeated = if repeats && self.sent != number { self.repeated + 1 } else { 0 };
            if self.repeated == REPEATED {
                self.lost();
            }
            return false;
        }
        self.acknowledged = number;
        (self.repeated, self.since, self.probed) = (0, now, false);
        if let Some((_, then)) = self.timed.filter(|&(end, _)| !is_later(end, number)) {
            let took = now.saturating_sub(then);
            // The weights of RFC 6298, section 2.3.
            self.round_trip = Some(self.round_trip.map_or(took, |before| (before * 7 + took) / 8));
            self.timed = None;
        }
        self.recovers = self.recovers.filter(|&end| is_later(end, number));
        self.recovers.is_some()
    }

    /// When it is to be [probed](Self::probe).
    pub(super) fn due_at(&self) -> Option<Duration> {
        let waits = is_later(self.sent, self.acknowledged) && !self.probed;
        let patience = self.round_trip.filter(|_| waits)? * 2;
        Some(self.since + patience.max(PATIENCE))
    }

    /// Whether it is time to show the newest acknowledgement again.
    pub(super) fn probe(&mut self, now: Duration) -> bool {
        let is_due = self.due_at().is_some_and(|due| due <= now);
        if is_due {
            self.probed = true;
            self.lost();
        }
        is_due
    }

    fn lost(&mut self) {
        self.recovers.get_or_insert(self.sent);
        self.timed = None;
    }
}

/// Less than half of all sequence numbers ahead.
fn is_later(number: u32, than: u32) -> bool {
    (number.wrapping_sub(than) as i32) > 0
}

/// How often an acknowledgement has to be repeated to say that something was lost (RFC 5681, section 3.2).
pub(super) const REPEATED: u32 = 3;
/// A peer may wait for so long before it acknowledges, and be slow for a moment.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that has sent 1000 bytes and had them acknowledged after `round_trip`; where it is then, and when.
    fn begun(first: u32, round_trip: Duration) -> (Recovery, u32, Duration) {
        let mut recovery = Recovery::default();
        recovery.begin(first);
        recovery.sent(ms(1000), first.wrapping_add(1000));
        let now = ms(1000) + round_trip;
        assert!(!recovery.acknowledged(now, first.wrapping_add(1000), false));
        assert_eq!(recovery.due_at(), None);
        (recovery, first.wrapping_add(1000), now)
    }

    #[test]
    fn partial_acknowledgements_are_shown_again_until_the_loss_is_made_good() {
        for first in [7, u32::MAX - 1500] {
            let (mut recovery, at, now) = begun(first, ms(1));
            let end = |bytes| at.wrapping_add(bytes);
            recovery.sent(now, end(500));
            assert!(!recovery.acknowledged(now, end(100), false), "nothing is lost");
            for _ in 0..REPEATED {
                assert!(!recovery.acknowledged(now, end(100), true), "smoltcp sees that itself");
            }
            // What is sent from now on may not be lost.
            recovery.sent(now, end(900));
            assert!(recovery.acknowledged(now, end(200), false));
            assert!(!recovery.acknowledged(now, end(200), true));
            assert!(!recovery.acknowledged(now, end(150), true), "an old one says nothing");
            assert!(recovery.acknowledged(now, end(499), false));
            assert!(!recovery.acknowledged(now, end(500), false));
            assert!(!recovery.acknowledged(now, end(600), false));
        }
    }

    #[test]
    fn only_repetitions_while_something_is_on_its_way_say_that_it_is_lost() {
        let (mut recovery, at, now) = begun(7, ms(1));
        for _ in 0..10 {
            assert!(!recovery.acknowledged(now, at, true));
        }
        recovery.sent(now, at + 500);
        for repeats in [true, true, false, true, true] {
            assert!(!recovery.acknowledged(now, at, repeats));
        }
        assert!(!recovery.acknowledged(now, at + 1, false));
    }

    #[test]
    fn silence_is_probed_once() {
        let (mut recovery, at, now) = begun(7, ms(1));
        recovery.sent(now, at + 500);
        recovery.sent(now + ms(100), at + 600);
        assert_eq!(recovery.due_at(), Some(now + PATIENCE));
        assert!(!recovery.probe(now + PATIENCE - ms(1)));
        assert!(recovery.probe(now + PATIENCE));
        assert_eq!((recovery.due_at(), recovery.probe(now + ms(900))), (None, false));
        // It was lost, as what is behind it may be, and the next silence is another.
        assert!(recovery.acknowledged(now + ms(900), at + 500, false));
        assert_eq!(recovery.due_at(), Some(now + ms(900) + PATIENCE));
        assert!(!recovery.acknowledged(now + ms(901), at + 600, false));
        assert_eq!(recovery.due_at(), None);
    }

    #[test]
    fn who_is_far_away_has_more_time_and_who_was_never_heard_has_all() {
        let (mut recovery, at, now) = begun(7, ms(300));
        recovery.sent(now, at + 1);
        assert_eq!(recovery.due_at(), Some(now + ms(600)));
        let mut recovery = Recovery::default();
        recovery.begin(7);
        recovery.sent(now, 500);
        assert_eq!((recovery.due_at(), recovery.probe(now + ms(10_000))), (None, false));
    }

    /// What was sent twice says nothing of the time (RFC 6298, section 3).
    #[test]
    fn time_is_not_taken_while_something_is_sent_again() {
        let (mut recovery, at, now) = begun(7, ms(10));
        recovery.sent(now, at + 500);
        assert!(recovery.probe(now + PATIENCE));
        recovery.sent(now + PATIENCE, at + 700);
        assert!(!recovery.acknowledged(now + ms(5000), at + 700, false));
        assert_eq!(recovery.round_trip, Some(ms(10)));
        // An acknowledgement of more than the end that was timed is one of that, too.
        recovery.sent(now + ms(5000), at + 800);
        recovery.sent(now + ms(5001), at + 900);
        assert!(!recovery.acknowledged(now + ms(5090), at + 900, false));
        assert_eq!(recovery.round_trip, Some(ms(20)));
    }
}
