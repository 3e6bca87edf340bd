//! One port: its machines, and what has happened to it.

use super::churn::{Churn, ChurnState};
use super::information::{Information, PortId, State, System};
use super::key::{Link, key};
use super::marker::Responder;
use super::mux::{Mux, MuxState};
use super::pdu::Lacpdu;
use super::periodic::{Periodic, PeriodicState};
use super::receive::{Receive, ReceiveState};
use super::selection::Selected;
use super::slow::{NoSlowPdu, SlowPdu};
use super::transmit::Transmit;
use super::variables::Variables;
use super::{Action, Options, PortOptions};
use std::time::Instant;

/// How a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortStatus {
    /// What we say of our end.
    pub actor: Information,
    /// What the partner says of its end, or what we take it for.
    pub partner: Information,
    /// Whether it is aggregated.
    pub selected: Selected,
    /// Where the receive machine is.
    pub receive: ReceiveState,
    /// Where the periodic transmission machine is.
    pub periodic: PeriodicState,
    /// Where the mux machine is.
    pub mux: MuxState,
    /// Where the churn detection machine of our end is.
    pub actor_churn: ChurnState,
    /// Where the churn detection machine of the partner's end is.
    pub partner_churn: ChurnState,
    /// The partner is ourselves: the port is connected to another port of the same lagg, or to itself.
    pub looped: bool,
    /// What has happened.
    pub counters: Counters,
}

/// What has happened to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// LACPDUs that came.
    pub received: u64,
    /// LACPDUs that were sent.
    pub sent: u64,
    /// PDUs of ours that came and were malformed.
    pub malformed: u64,
    /// PDUs of other slow protocols that came.
    pub unknown: u64,
    /// LACPDUs of this system that came back.
    pub looped: u64,
    /// Markers that came.
    pub markers: u64,
    /// Answers to markers that were sent.
    pub marker_responses: u64,
    /// How often our end was in churn.
    pub actor_churns: u64,
    /// How often the partner's end was in churn.
    pub partner_churns: u64,
}

pub(super) struct Port {
    pub(super) vars: Variables,
    pub(super) link: Link,
    pub(super) receive: Receive,
    pub(super) mux: Mux,
    options: PortOptions,
    periodic: Periodic,
    actor_churn: Churn,
    partner_churn: Churn,
    transmit: Transmit,
    responder: Responder,
    counters: Counters,
}

impl Port {
    pub(super) fn new(
        system: System,
        options: &Options,
        number: u16,
        port_options: PortOptions,
        link: Link,
    ) -> Self {
        let port = PortId { priority: port_options.priority, number };
        let actor = Information { system, port, ..Default::default() };
        let mut vars = Variables {
            actor,
            partner: Information::default(),
            default_partner: Information::default(),
            selected: Selected::Unselected,
            enabled: false,
            speaks: false,
            need_to_transmit: false,
        };
        vars.default_partner.state = default_partner_state(options);
        let mut port = Self {
            receive: Receive::begin(&mut vars),
            mux: Mux::begin(&mut vars),
            vars,
            link,
            options: port_options,
            periodic: Periodic::default(),
            actor_churn: Churn::default(),
            partner_churn: Churn::default(),
            transmit: Transmit::default(),
            responder: Responder::default(),
            counters: Counters::default(),
        };
        port.configure(system, options);
        port
    }

    pub(super) fn number(&self) -> u16 {
        self.vars.actor.port.number
    }

    /// Takes over what is configured, and what follows from it and the link. If the port is another one
    /// for its partner then, it is selected anew.
    pub(super) fn configure(&mut self, system: System, options: &Options) {
        let before = self.vars.actor;
        let vars = &mut self.vars;
        vars.enabled = self.link.up;
        vars.speaks = self.link.full_duplex;
        vars.actor.system = system;
        vars.actor.key = key(options.key, self.link);
        vars.actor.port.priority = self.options.priority;
        vars.set_actor(State::ACTIVITY, options.active);
        vars.set_actor(State::SHORT_TIMEOUT, options.fast);
        vars.set_actor(State::AGGREGATION, vars.speaks && !self.options.individual);
        vars.need_to_transmit |= vars.actor != before;
        if !vars.actor.is_same_port(&before) {
            vars.selected = Selected::Unselected;
            // It has agreed to something else.
            vars.partner.state.set(State::SYNCHRONIZATION, false);
        }
        vars.default_partner.state = default_partner_state(options);
        if [ReceiveState::Defaulted, ReceiveState::LacpDisabled].contains(&self.receive.state()) {
            vars.record_default();
        }
    }

    pub(super) fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    pub(super) fn set_options(&mut self, options: PortOptions) {
        self.options = options;
    }

    /// A PDU has come. A LACPDU is given back.
    pub(super) fn take(
        &mut self,
        now: Instant,
        pdu: Result<SlowPdu, NoSlowPdu>,
        actions: &mut Vec<Action>,
    ) -> Option<Lacpdu> {
        let counters = &mut self.counters;
        match pdu {
            Ok(SlowPdu::Lacp(pdu)) => {
                counters.received += 1;
                counters.looped += u64::from(pdu.actor.system.mac == self.vars.actor.system.mac);
                self.receive.receive(now, &mut self.vars, &pdu);
                return Some(pdu);
            }
            Ok(SlowPdu::Marker(marker)) => {
                counters.markers += 1;
                if self.responder.may_answer(now) {
                    counters.marker_responses += 1;
                    let pdu = SlowPdu::MarkerResponse(marker);
                    actions.push(Action::Send { port: self.number(), pdu });
                }
            }
            // We never ask.
            Ok(SlowPdu::MarkerResponse(_)) | Err(NoSlowPdu::Other(_)) => counters.unknown += 1,
            Err(NoSlowPdu::Malformed) => counters.malformed += 1,
        }
        None
    }

    /// Whether the partner is this system.
    pub(super) fn is_looped(&self) -> bool {
        !self.vars.actor.state.has(State::DEFAULTED)
            && self.vars.partner.system.mac == self.vars.actor.system.mac
    }

    /// What comes after the mux machine: to notice that both don't agree, and to tell the partner.
    pub(super) fn speak(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let vars = &mut self.vars;
        let watched = vars.enabled && vars.speaks;
        self.actor_churn.advance(now, watched, vars.actor.state.has(State::SYNCHRONIZATION));
        self.partner_churn.advance(now, watched, vars.partner.state.has(State::SYNCHRONIZATION));
        self.periodic.advance(now, vars);
        if self.periodic.state() == PeriodicState::NoPeriodic {
            vars.need_to_transmit = false;
        }
        if vars.need_to_transmit && self.transmit.allowed_from(now).is_none() {
            vars.need_to_transmit = false;
            self.transmit.sent(now);
            self.counters.sent += 1;
            let pdu = Lacpdu { actor: vars.actor, partner: vars.partner, collector_max_delay: 0 };
            actions.push(Action::Send { port: vars.actor.port.number, pdu: SlowPdu::Lacp(pdu) });
        }
    }

    /// When something changes by itself, the next time after `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let transmit = self.transmit.allowed_from(now).filter(|_| self.vars.need_to_transmit);
        let deadlines = [
            self.receive.deadline(),
            self.mux.waits_until(&self.vars),
            self.periodic.deadline(),
            self.actor_churn.deadline(),
            self.partner_churn.deadline(),
            transmit,
        ];
        // Whoever waits for others when its own time is over goes on with their deadline.
        deadlines.into_iter().flatten().filter(|deadline| *deadline > now).min()
    }

    pub(super) fn status(&self) -> PortStatus {
        let counters = Counters {
            actor_churns: self.actor_churn.count(),
            partner_churns: self.partner_churn.count(),
            ..self.counters
        };
        PortStatus {
            actor: self.vars.actor,
            partner: self.vars.partner,
            selected: self.vars.selected,
            receive: self.receive.state(),
            periodic: self.periodic.state(),
            mux: self.mux.state(),
            actor_churn: self.actor_churn.state(),
            partner_churn: self.partner_churn.state(),
            looped: self.is_looped(),
            counters,
        }
    }
}

/// Who says nothing is taken for one that is content, if that is allowed, and can't be aggregated.
fn default_partner_state(options: &Options) -> State {
    if options.strict {
        State::default()
    } else {
        State::SYNCHRONIZATION.with(State::COLLECTING).with(State::DISTRIBUTING)
    }
}
