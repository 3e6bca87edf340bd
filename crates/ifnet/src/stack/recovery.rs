//! When what was sent is to be sent again, before smoltcp would.
//!
//! smoltcp sends one segment again when three acknowledgements have said the same. If more was lost, or there is
//! nothing behind it that would be acknowledged, it waits for its timer, which is never less than a second. So
//! it is shown the newest acknowledgement three times more: when one has come that is for less than had been sent
//! when the loss was noticed (as RFC 6582 has it, section 3.2), and once when nothing was acknowledged for long (as
//! RFC 8985 probes for a loss at the end, section 7). Each time smoltcp takes it for a loss of its own, and sends
//! less at once from then on.
//!
//! The timer does not run when a peer has room again that had none: then nobody else would send again what he had
//! no room for.
//!
//! What takes as long as the timer is left to the timer: sending one segment for each acknowledgement is slow
//! where many were lost, and smoltcp goes back to the first of them.

use super::segment::is_later;
use std::time::Duration;

/// What is known of a connection's sending, in sequence numbers.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Up to where was sent, and acknowledged.
    sent: u32,
    acknowledged: u32,
    /// How often that was said again.
    repeated: u32,
    loss: Option<Loss>,
    /// The timer makes good what was sent up to there.
    left: Option<u32>,
    /// It does not run.
    unwatched: bool,
    /// Since when nothing was acknowledged of what was sent, and whether it was probed.
    since: Duration,
    probed: bool,
    /// How often was probed since the round trip was last taken.
    probes: u32,
    /// When that byte was sent, for the first time and not long after one that was lost.
    timed: Option<(u32, Duration)>,
    /// How long acknowledgements take.
    round_trip: Option<Duration>,
}

/// Something was lost, or seems to be.
#[derive(Debug)]
struct Loss {
    /// When that was noticed, and up to where had been sent then.
    noticed: Duration,
    sent: u32,
    /// It is only that nothing was acknowledged for long.
    suspected: bool,
    /// Where the segment ends that was sent again since the newest acknowledgement.
    again: Option<u32>,
}

impl Recovery {
    /// Of one whose first byte has that number.
    pub(super) fn new(first: u32) -> Self {
        Self {
            sent: first,
            acknowledged: first,
            repeated: 0,
            loss: None,
            left: None,
            unwatched: false,
            since: Duration::ZERO,
            probed: false,
            probes: 0,
            timed: None,
            round_trip: None,
        }
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
        self.unwatched = false;
        let may_be_timed = self.loss.is_none() && self.left.is_none();
        self.timed = self.timed.or_else(|| may_be_timed.then_some((end, now)));
    }

    /// A segment that ends there was sent again.
    pub(super) fn sent_again(&mut self, end: u32) {
        self.unwatched = false;
        if let Some(loss) = &mut self.loss {
            loss.again = Some(end);
        }
    }

    /// An acknowledgement up to there was good; or has `repeated` the one before, and nothing else. Whether it is
    /// to be shown again.
    pub(super) fn acknowledged(&mut self, now: Duration, number: u32, repeats: bool) -> bool {
        if !is_later(number, self.acknowledged) {
            self.repeated = if repeats && self.sent != number { self.repeated + 1 } else { 0 };
            if self.repeated == REPEATED {
                self.lost(now, false);
            }
            return false;
        }
        let silent = now.saturating_sub(self.since);
        self.acknowledged = number;
        (self.repeated, self.since, self.probed) = (0, now, false);
        if let Some((_, then)) = self.timed.filter(|&(end, _)| !is_later(end, number)) {
            let took = now.saturating_sub(then);
            // The weights of RFC 6298, section 2.3; but who has become slow is given time at once.
            let mean = self.round_trip.map_or(took, |before| (before * 7 + took) / 8);
            self.round_trip = Some(mean.max(took));
            self.probes = 0;
            self.timed = None;
        }
        self.left = self.left.filter(|&end| is_later(end, number));
        self.loss.take_if(|loss| !is_later(loss.sent, number));
        if silent >= TIMER {
            self.leave();
        }
        let Some(loss) = &mut self.loss else { return false };
        if loss.suspected && loss.again.is_some_and(|end| is_later(number, end)) {
            // What is behind it had come: he was only slow.
            self.loss = None;
            return false;
        }
        if now.saturating_sub(loss.noticed) >= TIMER {
            self.leave();
            return false;
        }
        loss.again = None;
        true
    }

    /// The peer has room again, after it had none.
    pub(super) fn has_room_again(&mut self) {
        self.unwatched = true;
    }

    /// When it is to be [probed](Self::probe).
    pub(super) fn due_at(&self) -> Option<Duration> {
        if !is_later(self.sent, self.acknowledged) || self.probed {
            return None;
        }
        let patience = self.patience().filter(|_| self.left.is_none());
        let patience = if self.unwatched { patience.or(Some(TIMER)) } else { patience };
        patience.map(|patience| self.since + patience)
    }

    /// Each time it is given twice the time, until it is known again how long acknowledgements take; and never
    /// more than the timer gives it.
    fn patience(&self) -> Option<Duration> {
        let once = self.round_trip? * 2 + PATIENCE;
        let patience = once.checked_mul(2_u32.checked_pow(self.probes)?)?;
        (patience < TIMER).then_some(patience)
    }

    /// Whether it is time to show the newest acknowledgement again.
    pub(super) fn probe(&mut self, now: Duration) -> bool {
        let is_due = self.due_at().is_some_and(|due| due <= now);
        if is_due {
            self.probed = true;
            self.probes += 1;
            self.lost(now, true);
        }
        is_due
    }

    fn lost(&mut self, now: Duration, suspected: bool) {
        if self.left.is_some() {
            return;
        }
        let new = || Loss { noticed: now, sent: self.sent, suspected, again: None };
        self.loss.get_or_insert_with(new).suspected &= suspected;
        self.timed = None;
    }

    /// Leaves what was sent to the timer.
    fn leave(&mut self) {
        self.loss = None;
        self.timed = None;
        self.left = Some(self.sent).filter(|&end| is_later(end, self.acknowledged));
    }
}

/// How often an acknowledgement has to be repeated to say that something was lost (RFC 5681, section 3.2).
pub(super) const REPEATED: u32 = 3;
/// A peer may wait for so long before it acknowledges, and be slow for a moment.
const PATIENCE: Duration = Duration::from_millis(200);
/// smoltcp's timer, if it is short.
const TIMER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that has sent 1000 bytes and had them acknowledged after `round_trip`; where it is then, and when.
    fn begun(first: u32, round_trip: Duration) -> (Recovery, u32, Duration) {
        let mut recovery = Recovery::new(first);
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
            recovery.sent_again(end(200));
            recovery.sent(now, end(900));
            assert!(recovery.acknowledged(now, end(300), false));
            assert!(!recovery.acknowledged(now, end(300), true));
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
        let due = now + ms(2) + PATIENCE;
        assert_eq!(recovery.due_at(), Some(due));
        assert!(!recovery.probe(due - ms(1)));
        assert!(recovery.probe(due));
        recovery.sent_again(at + 500);
        assert_eq!((recovery.due_at(), recovery.probe(now + ms(900))), (None, false));
        // It was lost, as what is behind it may be, and the next silence is another.
        assert!(recovery.acknowledged(now + ms(900), at + 500, false));
        assert_eq!(recovery.due_at(), Some(now + ms(900) + (ms(2) + PATIENCE) * 2));
        assert!(!recovery.acknowledged(now + ms(901), at + 600, false));
        assert_eq!(recovery.due_at(), None);
    }

    #[test]
    fn who_was_silent_and_had_more_than_was_sent_again_has_lost_nothing() {
        let (mut recovery, at, now) = begun(7, ms(1));
        recovery.sent(now, at + 900);
        assert!(recovery.probe(now + ms(300)));
        recovery.sent_again(at + 100);
        assert!(!recovery.acknowledged(now + ms(301), at + 101, false));
        assert!(!recovery.acknowledged(now + ms(302), at + 200, false));
        // Unless he says that he has; also when he is silent at first.
        assert!(recovery.probe(now + ms(900)));
        recovery.sent_again(at + 300);
        for _ in 0..REPEATED {
            assert!(!recovery.acknowledged(now + ms(901), at + 200, true));
        }
        assert!(recovery.acknowledged(now + ms(902), at + 500, false));
    }

    #[test]
    fn who_is_far_away_has_more_time_and_who_was_never_heard_has_all() {
        let (mut recovery, at, now) = begun(7, ms(300));
        recovery.sent(now, at + 1);
        assert_eq!(recovery.due_at(), Some(now + ms(600) + PATIENCE));
        // With more the timer would be sooner.
        let (mut recovery, at, now) = begun(7, ms(400));
        recovery.sent(now, at + 1);
        assert_eq!((recovery.due_at(), recovery.probe(now + ms(10_000))), (None, false));
        let mut recovery = Recovery::new(7);
        recovery.sent(now, 500);
        assert_eq!((recovery.due_at(), recovery.probe(now + ms(10_000))), (None, false));
    }

    #[test]
    fn who_becomes_slower_is_given_more_time_each_time() {
        let (mut recovery, mut at, mut now) = begun(7, ms(10));
        for patience in [220, 440, 880] {
            recovery.sent(now, at + 100);
            assert_eq!(recovery.due_at(), Some(now + ms(patience)));
            assert!(recovery.probe(now + ms(patience)));
            recovery.sent_again(at + 100);
            now += ms(900);
            at += 100;
            assert!(!recovery.acknowledged(now, at, false));
        }
        recovery.sent(now, at + 100);
        assert_eq!(recovery.due_at(), None);
        now += ms(350);
        at += 100;
        assert!(!recovery.acknowledged(now, at, false));
        assert_eq!(recovery.round_trip, Some(ms(350)), "he is believed at once");
        recovery.sent(now, at + 100);
        assert_eq!(recovery.due_at(), Some(now + ms(900)));
    }

    #[test]
    fn what_takes_too_long_is_left_to_the_timer_until_it_is_made_good() {
        let (mut recovery, at, now) = begun(7, ms(1));
        recovery.sent(now, at + 500);
        for _ in 0..REPEATED {
            assert!(!recovery.acknowledged(now, at, true));
        }
        assert!(recovery.acknowledged(now + TIMER - ms(1), at + 100, false));
        assert!(!recovery.acknowledged(now + TIMER, at + 200, false));
        recovery.sent(now + TIMER, at + 600);
        for _ in 0..REPEATED {
            assert!(!recovery.acknowledged(now + TIMER, at + 200, true));
        }
        assert!(!recovery.acknowledged(now + TIMER, at + 300, false));
        assert_eq!(recovery.due_at(), None);
        // Up to there it was left.
        assert!(!recovery.acknowledged(now + TIMER, at + 500, false));
        assert!(recovery.due_at().is_some());
        for _ in 0..REPEATED {
            assert!(!recovery.acknowledged(now + TIMER, at + 500, true));
        }
        assert!(recovery.acknowledged(now + TIMER, at + 501, false));
        // It went off: nothing was acknowledged for as long.
        assert!(!recovery.acknowledged(now + TIMER * 2, at + 550, false));
        assert_eq!(recovery.due_at(), None);
    }

    /// What was sent twice says nothing of the time (RFC 6298, section 3).
    #[test]
    fn time_is_not_taken_while_something_is_sent_again() {
        let (mut recovery, at, now) = begun(7, ms(10));
        recovery.sent(now, at + 500);
        let due = now + ms(20) + PATIENCE;
        assert!(recovery.probe(due));
        recovery.sent_again(at + 500);
        recovery.sent(due, at + 700);
        assert!(!recovery.acknowledged(due + ms(50), at + 700, false));
        assert_eq!(recovery.round_trip, Some(ms(10)));
        // An acknowledgement of more than the end that was timed is one of that, too.
        recovery.sent(now + ms(5000), at + 800);
        recovery.sent(now + ms(5001), at + 900);
        assert!(!recovery.acknowledged(now + ms(5002), at + 900, false));
        assert_eq!(recovery.round_trip, Some(ms(9)));
    }
}
