//! The transmit machine: three LACPDUs a second and no more (IEEE 802.1AX-2014, section 6.4.16).

use super::timer::FAST_PERIODIC;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Transmit {
    /// When the last were sent, the oldest first.
    sent: [Option<Instant>; LIMIT],
}

impl Transmit {
    /// From when on one may be sent; `None`: at once.
    pub(super) fn allowed_from(&self, now: Instant) -> Option<Instant> {
        let [oldest, ..] = self.sent;
        oldest.map(|oldest| oldest + FAST_PERIODIC).filter(|allowed| *allowed > now)
    }

    pub(super) fn sent(&mut self, now: Instant) {
        let [_, second, third] = self.sent;
        self.sent = [second, third, Some(now)];
    }
}

/// LACPDUs in any second.
const LIMIT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn three_at_once_then_one_when_the_first_is_a_second_ago() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut transmit = Transmit::default();
        for at in [0, 10, 20] {
            assert_eq!(transmit.allowed_from(after(at)), None);
            transmit.sent(after(at));
        }
        assert_eq!(transmit.allowed_from(after(20)), Some(after(1000)));
        assert_eq!(transmit.allowed_from(after(999)), Some(after(1000)));
        assert_eq!(transmit.allowed_from(after(1000)), None);
        transmit.sent(after(1000));
        assert_eq!(transmit.allowed_from(after(1000)), Some(after(1010)));
        assert_eq!(transmit.allowed_from(after(1020)), None);
    }
}
