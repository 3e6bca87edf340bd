//! The selection logic: which ports are aggregated (IEEE 802.1AX-2014, section 6.4.14).
//!
//! Ports can be aggregated if both ends say the same of all of them: they are then of one group. A lagg
//! has one aggregator, which serves one group: the one with the most bandwidth. A port of another
//! group, because it leads to the wrong partner, stands by: its partner is not told that it may use it.

use super::information::{State, System};
use super::port::Port;
use super::receive::ReceiveState;
use std::cmp::Reverse;

/// What became of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selected {
    /// It is of no group: its link is down, nothing is known of its partner, or that is ourselves.
    #[default]
    Unselected,
    /// It is of another group than the one that is used.
    Standby,
    /// It is of the group that is used.
    Selected,
}

/// What ports that can be aggregated have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    key: u16,
    partner: System,
    partner_key: u16,
    /// The number of a port that can't be aggregated with any other.
    individual: Option<u16>,
}

/// Chooses the group that is used, and says to each port what has become of it.
pub(super) fn select(ports: &mut [Port], used: &mut Option<Group>, strict: bool) {
    *used = best(ports, *used, strict);
    for port in ports {
        port.vars.selected = match group_of(port, strict) {
            None => Selected::Unselected,
            group if group == *used => Selected::Selected,
            Some(_) => Selected::Standby,
        };
    }
}

/// A group whose partner was heard comes before one with a partner by default. Where two have the same
/// bandwidth, the one that is used stays; then the first port decides.
fn best(ports: &[Port], used: Option<Group>, strict: bool) -> Option<Group> {
    let groups = ports.iter().filter_map(|port| Some((group_of(port, strict)?, port)));
    let best = groups.max_by_key(|(group, port)| {
        let bandwidth: u64 = ports
            .iter()
            .filter(|other| group_of(other, strict).as_ref() == Some(group) && counts(other))
            .map(|other| u64::from(other.link.speed.max(1)))
            .sum();
        let heard = !port.vars.actor.state.has(State::DEFAULTED);
        (heard, bandwidth, used.as_ref() == Some(group), Reverse(port.vars.actor.port))
    });
    best.map(|(group, _)| group)
}

/// The group of a port, if it has one.
fn group_of(port: &Port, strict: bool) -> Option<Group> {
    let (actor, partner) = (&port.vars.actor, &port.vars.partner);
    let known = if actor.state.has(State::DEFAULTED) {
        let silent = [ReceiveState::Defaulted, ReceiveState::LacpDisabled];
        !strict && silent.contains(&port.receive.state())
    } else {
        true
    };
    if !port.vars.enabled || !known || port.is_looped() {
        return None;
    }
    let individual = !actor.state.has(State::AGGREGATION) || !partner.state.has(State::AGGREGATION);
    Some(Group {
        key: actor.key,
        partner: partner.system,
        partner_key: partner.key,
        individual: individual.then_some(actor.port.number),
    })
}

/// Whether a port is worth something to its group: its partner was not lost.
fn counts(port: &Port) -> bool {
    port.receive.state() != ReceiveState::Expired
}
