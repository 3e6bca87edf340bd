//! The receive machine: who the partner is, and whether it is still there
//! (IEEE 802.1AX-2014, section 6.4.12).

use super::information::State;
use super::pdu::Lacpdu;
use super::selection::Selected;
use super::timer::{LONG_TIMEOUT, SHORT_TIMEOUT, Timer};
use super::variables::Variables;
use std::time::Instant;

/// Where the machine is. `INITIALIZE` is left as soon as it is entered and has no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveState {
    /// The link is down.
    PortDisabled,
    /// The link is up and can't be aggregated.
    LacpDisabled,
    /// The partner was not heard for too long, or not yet: it gets a last chance.
    Expired,
    /// The partner is silent; it is taken for what it is by default.
    Defaulted,
    /// The partner is who it says it is.
    Current,
}

#[derive(Debug)]
pub(super) struct Receive {
    state: ReceiveState,
    current_while: Timer,
}

impl Receive {
    /// Begins: `INITIALIZE`, and on from there.
    pub(super) fn begin(vars: &mut Variables) -> Self {
        let mut machine =
            Self { state: ReceiveState::PortDisabled, current_while: Timer::default() };
        machine.initialize(vars);
        machine
    }

    pub(super) fn state(&self) -> ReceiveState {
        self.state
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current_while.end()
    }

    /// Follows the link and the clock.
    pub(super) fn advance(&mut self, now: Instant, vars: &mut Variables) {
        use ReceiveState::*;
        if !vars.enabled {
            return self.enter(PortDisabled, now, vars);
        }
        if !vars.speaks {
            return self.enter(LacpDisabled, now, vars);
        }
        match self.state {
            PortDisabled | LacpDisabled => self.enter(Expired, now, vars),
            Current if self.current_while.is_over(now) => self.enter(Expired, now, vars),
            Expired if self.current_while.is_over(now) => self.enter(Defaulted, now, vars),
            Expired | Defaulted | Current => {}
        }
    }

    /// A LACPDU has come. Where the link is down or can't be aggregated nothing follows from it.
    pub(super) fn receive(&mut self, now: Instant, vars: &mut Variables, pdu: &Lacpdu) {
        if matches!(self.state, ReceiveState::PortDisabled | ReceiveState::LacpDisabled) {
            return;
        }
        // update_Selected.
        if !pdu.actor.is_same_port(&vars.partner) {
            vars.selected = Selected::Unselected;
        }
        // update_NTT.
        if !pdu.partner.is_same_port(&vars.actor)
            || pdu.partner.state.0 & TOLD.0 != vars.actor.state.0 & TOLD.0
        {
            vars.need_to_transmit = true;
        }
        record_pdu(vars, pdu);
        let time =
            if vars.actor.state.has(State::SHORT_TIMEOUT) { SHORT_TIMEOUT } else { LONG_TIMEOUT };
        self.current_while.start(now, time);
        vars.set_actor(State::EXPIRED, false);
        self.state = ReceiveState::Current;
    }

    /// The partner of this port, whose link is down, was heard on another port (`port_moved`).
    pub(super) fn partner_moved(&mut self, vars: &mut Variables) {
        if self.state == ReceiveState::PortDisabled {
            self.initialize(vars);
        }
    }

    fn initialize(&mut self, vars: &mut Variables) {
        vars.selected = Selected::Unselected;
        vars.record_default();
        vars.partner.state.set(State::SYNCHRONIZATION, false);
        vars.set_actor(State::EXPIRED, false);
    }

    fn enter(&mut self, state: ReceiveState, now: Instant, vars: &mut Variables) {
        use ReceiveState::*;
        if state == self.state {
            return;
        }
        self.current_while.stop();
        match state {
            PortDisabled => vars.partner.state.set(State::SYNCHRONIZATION, false),
            LacpDisabled => {
                vars.selected = Selected::Unselected;
                vars.record_default();
                vars.partner.state.set(State::AGGREGATION, false);
                vars.set_actor(State::EXPIRED, false);
            }
            Expired => {
                vars.partner.state.set(State::SYNCHRONIZATION, false);
                vars.partner.state.set(State::SHORT_TIMEOUT, true);
                self.current_while.start(now, SHORT_TIMEOUT);
                vars.set_actor(State::EXPIRED, true);
            }
            Defaulted => {
                // update_Default_Selected.
                if !vars.partner.is_same_port(&vars.default_partner) {
                    vars.selected = Selected::Unselected;
                }
                vars.record_default();
                vars.set_actor(State::EXPIRED, false);
            }
            Current => {}
        }
        self.state = state;
    }
}

/// `recordPDU`: the partner is who it says it is, and in agreement with us if it also says that it
/// takes us for who we are, or that it is on its own.
fn record_pdu(vars: &mut Variables, pdu: &Lacpdu) {
    let state = pdu.actor.state;
    let knows_us = pdu.partner.is_same_port(&vars.actor) || !state.has(State::AGGREGATION);
    let maintained = state.has(State::ACTIVITY)
        || vars.actor.state.has(State::ACTIVITY) && pdu.partner.state.has(State::ACTIVITY);
    let in_sync = state.has(State::SYNCHRONIZATION) && knows_us && maintained;
    vars.partner = pdu.actor;
    vars.partner.state.set(State::SYNCHRONIZATION, in_sync);
    vars.set_actor(State::DEFAULTED, false);
}

/// Of these bits the partner has to know.
const TOLD: State = State::ACTIVITY
    .with(State::SHORT_TIMEOUT)
    .with(State::AGGREGATION)
    .with(State::SYNCHRONIZATION);

#[cfg(test)]
mod tests {
    use super::super::variables::tests::{end, variables};
    use super::*;
    use std::time::Duration;

    const AGREED: State = State::ACTIVITY.with(State::AGGREGATION).with(State::SYNCHRONIZATION);

    struct Machine {
        vars: Variables,
        receive: Receive,
        now: Instant,
    }

    impl Machine {
        /// In `EXPIRED`.
        fn new() -> Self {
            let mut vars = variables();
            let receive = Receive::begin(&mut vars);
            let mut machine = Self { vars, receive, now: Instant::now() };
            assert_eq!(machine.after(0), ReceiveState::Expired);
            machine
        }

        /// In `CURRENT`, selected, with a partner that agrees.
        fn current() -> Self {
            let mut machine = Self::new();
            machine.hear(AGREED);
            machine.vars.selected = Selected::Selected;
            machine.vars.need_to_transmit = false;
            machine
        }

        fn after(&mut self, milliseconds: u64) -> ReceiveState {
            self.now += Duration::from_millis(milliseconds);
            self.receive.advance(self.now, &mut self.vars);
            self.receive.state()
        }

        fn hear(&mut self, state: State) {
            let pdu =
                Lacpdu { actor: end(2, state), partner: self.vars.actor, ..Lacpdu::default() };
            self.hear_pdu(pdu);
        }

        fn hear_pdu(&mut self, pdu: Lacpdu) {
            self.receive.receive(self.now, &mut self.vars, &pdu);
        }

        fn in_sync(&self) -> bool {
            self.vars.partner.state.has(State::SYNCHRONIZATION)
        }
    }

    #[test]
    fn it_begins_with_a_partner_by_default() {
        let mut vars = variables();
        vars.selected = Selected::Selected;
        let receive = Receive::begin(&mut vars);
        assert_eq!(receive.state(), ReceiveState::PortDisabled);
        assert_eq!(vars.partner, vars.default_partner);
        assert_eq!(vars.selected, Selected::Unselected);
        assert!(vars.actor.state.has(State::DEFAULTED) && !vars.actor.state.has(State::EXPIRED));
    }

    #[test]
    fn a_silent_partner_has_three_seconds() {
        let mut machine = Machine::new();
        assert!(machine.vars.actor.state.has(State::EXPIRED));
        assert!(machine.vars.partner.state.has(State::SHORT_TIMEOUT), "it is asked every second");
        assert_eq!(machine.after(2_999), ReceiveState::Expired);
        assert_eq!(machine.after(1), ReceiveState::Defaulted);
        assert!(!machine.vars.actor.state.has(State::EXPIRED));
        assert_eq!(machine.vars.partner, machine.vars.default_partner);
        assert_eq!(machine.after(1_000_000), ReceiveState::Defaulted);
        machine.hear(AGREED);
        assert_eq!(machine.after(0), ReceiveState::Current);
    }

    #[test]
    fn a_partner_that_falls_silent_is_given_up_after_its_timeout_and_three_seconds() {
        for (fast, timeout) in [(false, 90_000), (true, 3_000)] {
            let mut machine = Machine::new();
            machine.vars.set_actor(State::SHORT_TIMEOUT, fast);
            machine.hear(AGREED);
            machine.vars.selected = Selected::Selected;
            assert_eq!(machine.after(timeout - 1), ReceiveState::Current);
            assert!(machine.in_sync());
            assert_eq!(machine.after(1), ReceiveState::Expired);
            assert!(!machine.in_sync());
            assert_eq!(machine.vars.selected, Selected::Selected, "it may come back");
            assert_eq!(machine.after(2_999), ReceiveState::Expired);
            assert_eq!(machine.after(1), ReceiveState::Defaulted);
            assert_eq!(machine.vars.selected, Selected::Unselected);
            assert!(machine.vars.actor.state.has(State::DEFAULTED));
        }
    }

    #[test]
    fn each_pdu_starts_the_timeout_anew() {
        let mut machine = Machine::current();
        for _ in 0..3 {
            assert_eq!(machine.after(89_999), ReceiveState::Current);
            machine.hear(AGREED);
        }
        assert_eq!(machine.after(89_999), ReceiveState::Current);
        assert_eq!(machine.after(1), ReceiveState::Expired);
        machine.hear(AGREED);
        assert_eq!(machine.receive.state(), ReceiveState::Current);
        assert!(!machine.vars.actor.state.has(State::EXPIRED));
    }

    #[test]
    fn a_link_that_goes_down_leaves_the_partner_known_but_not_in_agreement() {
        let mut machine = Machine::current();
        machine.vars.enabled = false;
        assert_eq!(machine.after(0), ReceiveState::PortDisabled);
        assert!(!machine.in_sync());
        assert_eq!(machine.vars.partner.system, end(2, AGREED).system);
        machine.hear(AGREED);
        assert_eq!(machine.after(1_000_000), ReceiveState::PortDisabled, "nothing is heard");
        machine.vars.enabled = true;
        assert_eq!(machine.after(0), ReceiveState::Expired);
        machine.vars.enabled = false;
        machine.after(0);
        machine.receive.partner_moved(&mut machine.vars);
        assert_eq!(machine.vars.partner.system, machine.vars.default_partner.system);
        assert!(!machine.in_sync());
    }

    #[test]
    fn a_partner_that_moves_is_only_forgotten_where_the_link_is_down() {
        let mut machine = Machine::current();
        machine.receive.partner_moved(&mut machine.vars);
        assert_eq!(machine.receive.state(), ReceiveState::Current);
        assert!(machine.in_sync());
    }

    #[test]
    fn a_half_duplex_link_has_a_partner_by_default_that_cant_be_aggregated() {
        let mut machine = Machine::current();
        machine.vars.default_partner.state = AGREED;
        machine.vars.speaks = false;
        assert_eq!(machine.after(0), ReceiveState::LacpDisabled);
        assert_eq!(machine.vars.selected, Selected::Unselected);
        assert!(!machine.vars.partner.state.has(State::AGGREGATION));
        machine.hear(AGREED);
        assert_eq!(machine.after(0), ReceiveState::LacpDisabled);
        machine.vars.speaks = true;
        assert_eq!(machine.after(0), ReceiveState::Expired);
    }

    #[test]
    fn another_partner_unselects_the_port() {
        let same = Lacpdu { actor: end(2, AGREED), ..Lacpdu::default() };
        let mut others = [same; 6];
        others[0].actor.system.mac.0[5] = 3;
        others[1].actor.system.priority = 3;
        others[2].actor.key = 3;
        others[3].actor.port.number = 3;
        others[4].actor.port.priority = 3;
        others[5].actor.state.set(State::AGGREGATION, false);
        for other in others {
            let mut machine = Machine::current();
            machine.hear_pdu(same);
            assert_eq!(machine.vars.selected, Selected::Selected);
            machine.hear_pdu(other);
            assert_eq!(machine.vars.selected, Selected::Unselected, "{other:?}");
        }
    }

    #[test]
    fn a_partner_that_takes_us_for_another_is_told_and_not_in_agreement() {
        let mut machine = Machine::current();
        machine.hear(AGREED);
        assert!(machine.in_sync() && !machine.vars.need_to_transmit);
        let same =
            Lacpdu { actor: end(2, AGREED), partner: machine.vars.actor, ..Lacpdu::default() };
        let mut others = [same; 6];
        others[0].partner.system.mac.0[5] = 3;
        others[1].partner.system.priority = 3;
        others[2].partner.key = 3;
        others[3].partner.port.number = 3;
        others[4].partner.port.priority = 3;
        others[5].partner.state.set(State::AGGREGATION, false);
        for other in others {
            let mut machine = Machine::current();
            machine.hear_pdu(other);
            assert!(!machine.in_sync() && machine.vars.need_to_transmit, "{other:?}");
            // One that is on its own need not know who we are.
            let mut alone = other;
            alone.actor.state.set(State::AGGREGATION, false);
            machine.hear_pdu(alone);
            assert!(machine.in_sync(), "{alone:?}");
        }
        for bit in [State::ACTIVITY, State::SHORT_TIMEOUT, State::SYNCHRONIZATION] {
            let mut machine = Machine::current();
            let mut other = same;
            other.partner.state.set(bit, !same.partner.state.has(bit));
            machine.hear_pdu(other);
            assert!(machine.in_sync() && machine.vars.need_to_transmit, "{bit}");
        }
    }

    #[test]
    fn agreement_takes_somebody_who_maintains_it() {
        let passive = State::AGGREGATION.with(State::SYNCHRONIZATION);
        let mut machine = Machine::current();
        machine.hear(State::ACTIVITY.with(State::AGGREGATION));
        assert!(!machine.in_sync(), "the partner is not");
        machine.hear(passive);
        assert!(machine.in_sync(), "we are active, and it knows");
        machine.vars.set_actor(State::ACTIVITY, false);
        machine.hear(passive);
        assert!(!machine.in_sync(), "both are passive");
        machine.hear(AGREED);
        assert!(machine.in_sync(), "the partner is active");
    }
}
