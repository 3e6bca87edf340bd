//! What the machines of one port share (IEEE 802.1AX-2014, section 6.4.7).

use super::information::{Information, State};
use super::selection::Selected;

#[derive(Debug, Clone)]
pub(super) struct Variables {
    /// What we say of the port.
    pub(super) actor: Information,
    /// What the other end said of itself, or what we take it for.
    pub(super) partner: Information,
    /// What we take the other end for when it says nothing.
    pub(super) default_partner: Information,
    /// What the selection logic has made of it.
    pub(super) selected: Selected,
    /// The link is up (`port_enabled`).
    pub(super) enabled: bool,
    /// The link is one that can be aggregated: full duplex (`LACP_Enabled`).
    pub(super) speaks: bool,
    /// There is something to tell the other end (`NTT`).
    pub(super) need_to_transmit: bool,
}

impl Variables {
    pub(super) fn set_actor(&mut self, bits: State, on: bool) {
        self.actor.state.set(bits, on);
    }

    /// `recordDefault`.
    pub(super) fn record_default(&mut self) {
        self.partner = self.default_partner;
        self.set_actor(State::DEFAULTED, true);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::information::{PortId, System};
    use super::*;
    use crate::ether::MacAddress;

    pub fn end(seed: u8, state: State) -> Information {
        Information {
            system: System { priority: 1, mac: MacAddress([2, 0, 0, 0, 0, seed]) },
            key: 17,
            port: PortId { priority: 1, number: 1 },
            state,
        }
    }

    /// Of a port whose link is up, that is active and can be aggregated.
    pub fn variables() -> Variables {
        Variables {
            actor: end(1, State::ACTIVITY.with(State::AGGREGATION)),
            partner: end(2, State::ACTIVITY.with(State::AGGREGATION)),
            default_partner: end(9, State::default()),
            selected: Selected::Unselected,
            enabled: true,
            speaks: true,
            need_to_transmit: false,
        }
    }
}
