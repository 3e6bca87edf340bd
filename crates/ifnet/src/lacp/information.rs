//! What a system says of one of its ports (IEEE 802.1AX-2014, section 6.4.2.3).

use crate::ether::MacAddress;
use std::fmt;

/// One end of a link, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Information {
    /// Whose port it is.
    pub system: System,
    /// Ports of a system that have the same key can be aggregated.
    pub key: u16,
    /// Which of the system's ports.
    pub port: PortId,
    /// How it is.
    pub state: State,
}

impl Information {
    /// Whether both name the same port, which can be aggregated with the same others.
    pub(super) fn is_same_port(&self, other: &Self) -> bool {
        (self.system, self.key, self.port) == (other.system, other.key, other.port)
            && self.state.has(State::AGGREGATION) == other.state.has(State::AGGREGATION)
    }
}

/// A system: the lower the priority, the more it has to say; then the lower address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct System {
    /// Lower comes first.
    pub priority: u16,
    /// One of its addresses.
    pub mac: MacAddress,
}

/// A port of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PortId {
    /// Lower comes first.
    pub priority: u16,
    /// Unique in the system; 0 is nobody's.
    pub number: u16,
}

/// The eight bits that say how a port is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct State(pub u8);

impl State {
    /// It sends without being sent to.
    pub const ACTIVITY: Self = Self(1);
    /// It gives its partner up after the short timeout, so it wants to hear from it every second.
    pub const SHORT_TIMEOUT: Self = Self(1 << 1);
    /// It can be aggregated with others.
    pub const AGGREGATION: Self = Self(1 << 2);
    /// It is where it belongs: in the right group, and ready for use.
    pub const SYNCHRONIZATION: Self = Self(1 << 3);
    /// It takes frames.
    pub const COLLECTING: Self = Self(1 << 4);
    /// It sends frames.
    pub const DISTRIBUTING: Self = Self(1 << 5);
    /// What it knows of its partner is by default: it has not heard from it.
    pub const DEFAULTED: Self = Self(1 << 6);
    /// It has not heard from its partner for too long.
    pub const EXPIRED: Self = Self(1 << 7);

    /// Whether all bits of `bits` are set.
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// With the bits of `bits`, too.
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    pub(super) fn set(&mut self, bits: Self, on: bool) {
        if on { self.0 |= bits.0 } else { self.0 &= !bits.0 }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names of the bits that are set.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

const NAMES: [(State, &str); 8] = [
    (State::ACTIVITY, "activity"),
    (State::SHORT_TIMEOUT, "short-timeout"),
    (State::AGGREGATION, "aggregation"),
    (State::SYNCHRONIZATION, "synchronization"),
    (State::COLLECTING, "collecting"),
    (State::DISTRIBUTING, "distributing"),
    (State::DEFAULTED, "defaulted"),
    (State::EXPIRED, "expired"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_by_the_names_of_its_bits() {
        let mut state = State::ACTIVITY.with(State::EXPIRED);
        assert_eq!((state.0, state.to_string().as_str()), (0x81, "activity expired"));
        state.set(State::SYNCHRONIZATION, true);
        state.set(State::EXPIRED, false);
        assert_eq!((state.0, state.to_string().as_str()), (0x09, "activity synchronization"));
        assert!(state.has(State::ACTIVITY) && !state.has(State::ACTIVITY.with(State::EXPIRED)));
    }
}
