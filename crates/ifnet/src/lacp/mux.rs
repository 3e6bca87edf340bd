//! The mux machine: whether the port takes and sends frames for its aggregator
//! (IEEE 802.1AX-2014, section 6.4.15).
//!
//! It is the one of independent control: a port takes frames as soon as the partner is in agreement,
//! and sends as soon as the partner takes them. So none is lost when a port comes up, also with a
//! partner whose control is coupled.

use super::information::State;
use super::selection::Selected;
use super::timer::{AGGREGATE_WAIT, Timer};
use super::variables::Variables;
use std::time::Instant;

/// Where the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MuxState {
    /// In no aggregator.
    #[default]
    Detached,
    /// An aggregator is chosen; others may be about to join it, too.
    Waiting,
    /// In the aggregator; the partner has not agreed yet.
    Attached,
    /// Takes frames.
    Collecting,
    /// Takes and sends frames.
    Distributing,
}

#[derive(Debug, Default)]
pub(super) struct Mux {
    state: MuxState,
    wait_while: Timer,
}

impl Mux {
    pub(super) fn begin(vars: &mut Variables) -> Self {
        let mut machine = Self::default();
        machine.enter(MuxState::Detached, vars);
        machine
    }

    pub(super) fn state(&self) -> MuxState {
        self.state
    }

    /// Until when it waits for others, if it does and is to join the aggregator that is used.
    pub(super) fn waits_until(&self, vars: &Variables) -> Option<Instant> {
        let waits = self.state == MuxState::Waiting && vars.selected == Selected::Selected;
        self.wait_while.end().filter(|_| waits)
    }

    /// Goes as far as it can. `ready`: nobody with whom it would wait for others does any more.
    pub(super) fn advance(&mut self, now: Instant, vars: &mut Variables, ready: bool) {
        // Each step is away from where the variables don't let it be: none is ever undone here.
        while let Some(next) = self.next(vars, ready) {
            self.enter(next, vars);
            if next == MuxState::Waiting {
                self.wait_while.start(now, AGGREGATE_WAIT);
                return;
            }
        }
    }

    fn next(&self, vars: &Variables, ready: bool) -> Option<MuxState> {
        use MuxState::*;
        let selected = vars.selected == Selected::Selected;
        let agreed = selected && vars.partner.state.has(State::SYNCHRONIZATION);
        let taken = agreed && vars.partner.state.has(State::COLLECTING);
        match self.state {
            Detached if vars.selected != Selected::Unselected => Some(Waiting),
            Waiting if vars.selected == Selected::Unselected => Some(Detached),
            Waiting if selected && ready => Some(Attached),
            Attached if !selected => Some(Detached),
            Attached if agreed => Some(Collecting),
            Collecting if !agreed => Some(Attached),
            Collecting if taken => Some(Distributing),
            Distributing if !taken => Some(Collecting),
            _ => None,
        }
    }

    fn enter(&mut self, state: MuxState, vars: &mut Variables) {
        self.state = state;
        self.wait_while.stop();
        vars.set_actor(State::SYNCHRONIZATION, state >= MuxState::Attached);
        vars.set_actor(State::COLLECTING, state >= MuxState::Collecting);
        vars.set_actor(State::DISTRIBUTING, state >= MuxState::Distributing);
        vars.need_to_transmit |= state != MuxState::Waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::super::variables::tests::variables;
    use super::*;
    use MuxState::*;

    const AGREED: State = State::SYNCHRONIZATION;
    const TAKES: State = State::SYNCHRONIZATION.with(State::COLLECTING);

    /// A machine that has gone as far as it could, selected, with a partner in this state.
    fn machine(partner: State) -> (Mux, Variables) {
        let mut vars = variables();
        let mut mux = Mux::begin(&mut vars);
        vars.selected = Selected::Selected;
        vars.partner.state = partner;
        mux.advance(Instant::now(), &mut vars, true);
        assert_eq!(mux.state(), Waiting, "also if nobody else waits");
        mux.advance(Instant::now(), &mut vars, true);
        vars.need_to_transmit = false;
        (mux, vars)
    }

    #[test]
    fn it_goes_as_far_as_the_partner_has_come() {
        for (partner, state) in [
            (State::default(), Attached),
            (State::COLLECTING, Attached),
            (AGREED, Collecting),
            (TAKES, Distributing),
        ] {
            let (mux, vars) = machine(partner);
            assert_eq!(mux.state(), state);
            let told = [State::SYNCHRONIZATION, State::COLLECTING, State::DISTRIBUTING];
            let told = told.map(|bit| vars.actor.state.has(bit));
            assert_eq!(told, [true, state >= Collecting, state >= Distributing]);
        }
    }

    #[test]
    fn it_waits_until_it_is_selected_and_ready() {
        let mut vars = variables();
        let mut mux = Mux::begin(&mut vars);
        assert!(vars.need_to_transmit);
        let now = Instant::now();
        mux.advance(now, &mut vars, true);
        assert_eq!(mux.state(), Detached);
        vars.selected = Selected::Standby;
        mux.advance(now, &mut vars, true);
        mux.advance(now, &mut vars, true);
        assert_eq!((mux.state(), mux.waits_until(&vars)), (Waiting, None));
        vars.selected = Selected::Selected;
        mux.advance(now, &mut vars, false);
        assert_eq!(mux.waits_until(&vars), Some(now + AGGREGATE_WAIT));
        vars.selected = Selected::Unselected;
        mux.advance(now, &mut vars, true);
        assert_eq!((mux.state(), mux.waits_until(&vars)), (Detached, None));
    }

    #[test]
    fn from_each_state_it_leaves_when_it_must() {
        let cases = [
            (TAKES, Selected::Selected, AGREED, Collecting),
            (TAKES, Selected::Selected, State::COLLECTING, Attached),
            (TAKES, Selected::Selected, State::default(), Attached),
            (TAKES, Selected::Standby, TAKES, Waiting),
            (TAKES, Selected::Unselected, TAKES, Detached),
            (AGREED, Selected::Selected, TAKES, Distributing),
            (AGREED, Selected::Selected, State::default(), Attached),
            (AGREED, Selected::Standby, AGREED, Waiting),
            (AGREED, Selected::Unselected, AGREED, Detached),
            (State::default(), Selected::Selected, AGREED, Collecting),
            (State::default(), Selected::Standby, AGREED, Waiting),
            (State::default(), Selected::Unselected, AGREED, Detached),
        ];
        for (before, selected, partner, after) in cases {
            let (mut mux, mut vars) = machine(before);
            let from = mux.state();
            vars.selected = selected;
            vars.partner.state = partner;
            mux.advance(Instant::now(), &mut vars, false);
            assert_eq!(mux.state(), after, "from {from:?} by {selected:?}, {partner}");
            assert!(vars.need_to_transmit, "the partner is told");
            let bits = (vars.actor.state.0 >> 3) & 7;
            assert_eq!(bits, [0, 0, 1, 3, 7][after as usize], "{after:?}");
        }
    }
}
