//! The periodic transmission machine: how often the partner hears from us
//! (IEEE 802.1AX-2014, section 6.4.13).

use super::information::State;
use super::timer::{FAST_PERIODIC, SLOW_PERIODIC, Timer};
use super::variables::Variables;
use std::time::Instant;

/// Where the machine is. `PERIODIC_TX` is left as soon as it is entered and has no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeriodicState {
    /// Nothing is sent: the link is down or can't be aggregated, or both ends are passive.
    #[default]
    NoPeriodic,
    /// The partner wants to hear from us every second.
    FastPeriodic,
    /// Every 30 seconds are enough.
    SlowPeriodic,
}

#[derive(Debug, Default)]
pub(super) struct Periodic {
    state: PeriodicState,
    timer: Timer,
}

impl Periodic {
    pub(super) fn state(&self) -> PeriodicState {
        self.state
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timer.end()
    }

    pub(super) fn advance(&mut self, now: Instant, vars: &mut Variables) {
        use PeriodicState::*;
        let somebody_active =
            vars.actor.state.has(State::ACTIVITY) || vars.partner.state.has(State::ACTIVITY);
        if !vars.enabled || !vars.speaks || !somebody_active {
            self.state = NoPeriodic;
            self.timer.stop();
            return;
        }
        let wanted =
            if vars.partner.state.has(State::SHORT_TIMEOUT) { FastPeriodic } else { SlowPeriodic };
        let due = self.timer.is_over(now);
        match (self.state, wanted) {
            (NoPeriodic, _) => {}
            (FastPeriodic, SlowPeriodic) if !due => {}
            (FastPeriodic, FastPeriodic) | (SlowPeriodic, SlowPeriodic) if !due => return,
            _ => vars.need_to_transmit = true,
        }
        self.state = wanted;
        let time = if wanted == FastPeriodic { FAST_PERIODIC } else { SLOW_PERIODIC };
        self.timer.start(now, time);
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::tests::variables;
    use super::*;
    use std::time::Duration;

    struct Machine {
        vars: Variables,
        periodic: Periodic,
        now: Instant,
    }

    impl Machine {
        fn new() -> Self {
            Self { vars: variables(), periodic: Periodic::default(), now: Instant::now() }
        }

        /// Whether something is to be transmitted after that time.
        fn after(&mut self, milliseconds: u64) -> bool {
            self.now += Duration::from_millis(milliseconds);
            self.periodic.advance(self.now, &mut self.vars);
            std::mem::take(&mut self.vars.need_to_transmit)
        }
    }

    #[test]
    fn the_partner_decides_how_often_it_hears_from_us() {
        let mut machine = Machine::new();
        assert!(!machine.after(0));
        assert_eq!(machine.periodic.state(), PeriodicState::SlowPeriodic);
        assert!(!machine.after(29_999));
        assert!(machine.after(1));
        assert!(!machine.after(10_000));
        machine.vars.partner.state.set(State::SHORT_TIMEOUT, true);
        assert!(machine.after(0), "at once");
        assert_eq!(machine.periodic.state(), PeriodicState::FastPeriodic);
        assert!(!machine.after(999));
        assert!(machine.after(1));
        machine.vars.partner.state.set(State::SHORT_TIMEOUT, false);
        assert!(!machine.after(0));
        assert_eq!(machine.periodic.state(), PeriodicState::SlowPeriodic);
        assert!(!machine.after(29_999));
        assert!(machine.after(1));
    }

    #[test]
    fn nothing_is_sent_where_nobody_would_hear_it() {
        let changes: [fn(&mut Variables, bool); 3] = [
            |vars, on| vars.enabled = on,
            |vars, on| vars.speaks = on,
            |vars, on| {
                vars.actor.state.set(State::ACTIVITY, on);
                vars.partner.state.set(State::ACTIVITY, on);
            },
        ];
        for change in changes {
            let mut machine = Machine::new();
            change(&mut machine.vars, false);
            assert!(!machine.after(0));
            assert_eq!(machine.periodic.state(), PeriodicState::NoPeriodic);
            assert_eq!(machine.periodic.deadline(), None);
            change(&mut machine.vars, true);
            machine.after(0);
            assert!(machine.after(30_000));
            change(&mut machine.vars, false);
            assert!(!machine.after(30_000));
            assert_eq!(machine.periodic.state(), PeriodicState::NoPeriodic);
        }
    }

    #[test]
    fn one_active_end_is_enough() {
        for active in 0..2 {
            let mut machine = Machine::new();
            machine.vars.actor.state.set(State::ACTIVITY, active == 0);
            machine.vars.partner.state.set(State::ACTIVITY, active == 1);
            machine.after(0);
            assert_eq!(machine.periodic.state(), PeriodicState::SlowPeriodic);
        }
    }
}
