//! LACP: two systems find out which links between them can be used as one (IEEE 802.1AX-2014,
//! section 6.4), as a state machine without clock, threads or sockets.
//!
//! A [`Lacp`] is one end: the ports of one lagg. It is told of links that come and go, of PDUs that
//! came ([`Lacp::receive`]), and that time has passed ([`Lacp::advance`], at [`Lacp::deadline`] or
//! whenever it suits); it answers with [`Action`]s. It reads no clock: `now` is passed in, and one
//! that lies before an earlier one counts as the earlier one.
//!
//! Each machine of the standard is a file: [`receive`](ReceiveState), [`periodic`](PeriodicState),
//! [`selection`](Selected), [`mux`](MuxState), [`churn`](ChurnState), transmit, marker.

mod churn;
mod information;
mod key;
mod marker;
mod mux;
mod pdu;
mod periodic;
mod port;
mod receive;
mod selection;
mod slow;
mod timer;
mod transmit;
mod variables;

pub use churn::ChurnState;
pub use information::{Information, PortId, State, System};
pub use key::Link;
pub use marker::Marker;
pub use mux::MuxState;
pub use pdu::Lacpdu;
pub use periodic::PeriodicState;
pub use port::{Counters, PortStatus};
pub use receive::ReceiveState;
pub use selection::Selected;
pub use slow::{ADDRESS, ETHER_TYPE, LENGTH, NoSlowPdu, SlowPdu};

use crate::ether::MacAddress;
use port::Port;
use selection::Group;
use std::time::Instant;

/// One end of an aggregation: its configuration, its ports and their machines.
pub struct Lacp {
    mac: MacAddress,
    options: Options,
    /// In the order of their numbers.
    ports: Vec<Port>,
    /// What the aggregator serves.
    used: Option<Group>,
    /// The latest time that was passed in.
    now: Instant,
}

/// What is configured for all ports of a lagg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Speak first; otherwise only to a partner that does.
    pub active: bool,
    /// Hear from the partner every second and give it up after 3; otherwise every 30 and after 90.
    pub fast: bool,
    /// Use no port whose partner doesn't speak LACP; otherwise use one such port if there is no other.
    pub strict: bool,
    /// The lower, the more this system has to say.
    pub system_priority: u16,
    /// Part of the ports' keys; ten bits count.
    pub key: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { active: true, fast: false, strict: true, system_priority: 0x8000, key: 0 }
    }
}

/// What is configured for one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortOptions {
    /// Lower comes first.
    pub priority: u16,
    /// It is never aggregated with others.
    pub individual: bool,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self { priority: 0x8000, individual: false }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this on that port, also if the port is not used for anything else.
    Send {
        /// The number of the port.
        port: u16,
        /// What is sent.
        pdu: SlowPdu,
    },
    /// From now on take frames from that port or not, and send frames on it or not. At first neither.
    Use {
        /// The number of the port.
        port: u16,
        /// Whether what comes there is taken.
        collecting: bool,
        /// Whether frames are sent there.
        distributing: bool,
    },
}

impl Lacp {
    /// A system that is known by `mac`, without ports.
    pub fn new(now: Instant, mac: MacAddress, options: Options) -> Self {
        Self { mac, options, ports: Vec::new(), used: None, now }
    }

    /// What is configured.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Configures all ports. Those that are others for their partners then are selected anew.
    pub fn set_options(&mut self, now: Instant, options: Options, actions: &mut Vec<Action>) {
        self.options = options;
        self.run(now, actions);
    }

    /// The system is known by another address, and its ports are selected anew.
    pub fn set_mac(&mut self, now: Instant, mac: MacAddress, actions: &mut Vec<Action>) {
        self.mac = mac;
        self.run(now, actions);
    }

    /// A port joins. One that has the same number leaves.
    pub fn add_port(
        &mut self,
        now: Instant,
        number: u16,
        options: PortOptions,
        link: Link,
        actions: &mut Vec<Action>,
    ) {
        self.ports.retain(|port| port.number() != number);
        let at = self.ports.partition_point(|port| port.number() < number);
        let port = Port::new(self.system(), &self.options, number, options, link);
        self.ports.insert(at, port);
        self.run(now, actions);
    }

    /// A port leaves; it is used no more, and there is no action that says so.
    pub fn remove_port(&mut self, now: Instant, number: u16, actions: &mut Vec<Action>) {
        self.ports.retain(|port| port.number() != number);
        self.run(now, actions);
    }

    /// Configures a port.
    pub fn set_port_options(
        &mut self,
        now: Instant,
        number: u16,
        options: PortOptions,
        actions: &mut Vec<Action>,
    ) {
        if let Some(port) = self.port_mut(number) {
            port.set_options(options);
        }
        self.run(now, actions);
    }

    /// The link of a port is another one.
    pub fn set_link(&mut self, now: Instant, number: u16, link: Link, actions: &mut Vec<Action>) {
        if let Some(port) = self.port_mut(number) {
            port.set_link(link);
        }
        self.run(now, actions);
    }

    /// A frame of the [type](ETHER_TYPE) of slow protocols has come at a port. `payload` is what comes
    /// after its header.
    pub fn receive(
        &mut self,
        now: Instant,
        number: u16,
        payload: &[u8],
        actions: &mut Vec<Action>,
    ) {
        // What follows from time comes first.
        self.run(now, actions);
        let now = self.now;
        let Some(port) = self.port_mut(number) else { return };
        let Some(pdu) = port.take(now, SlowPdu::decode(payload), actions) else { return };
        let partner = (pdu.actor.system, pdu.actor.port.number);
        for port in self.ports.iter_mut().filter(|port| port.number() != number) {
            if partner == (port.vars.partner.system, port.vars.partner.port.number) {
                port.receive.partner_moved(&mut port.vars);
            }
        }
        self.run(now, actions);
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.run(now, actions);
    }

    /// When something happens by itself; always later than the latest `now`.
    pub fn deadline(&self) -> Option<Instant> {
        self.ports.iter().filter_map(|port| port.deadline(self.now)).min()
    }

    /// How a port is.
    pub fn status(&self, number: u16) -> Option<PortStatus> {
        self.ports.iter().find(|port| port.number() == number).map(Port::status)
    }

    fn system(&self) -> System {
        System { priority: self.options.system_priority, mac: self.mac }
    }

    fn port_mut(&mut self, number: u16) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.number() == number)
    }

    /// Runs all machines as far as they go.
    fn run(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        let now = self.now;
        let system = self.system();
        let used: Vec<_> = self.ports.iter().map(usage).collect();
        for port in &mut self.ports {
            port.configure(system, &self.options);
            port.receive.advance(now, &mut port.vars);
            // Whoever is unselected leaves its aggregator before it is selected anew.
            port.mux.advance(now, &mut port.vars, false);
        }
        selection::select(&mut self.ports, &mut self.used, self.options.strict);
        let waiting: Vec<_> =
            self.ports.iter().filter_map(|port| port.mux.waits_until(&port.vars)).collect();
        for port in &mut self.ports {
            let until = port.mux.waits_until(&port.vars);
            let ready = until.is_some_and(|until| is_ready(now, until, &waiting));
            port.mux.advance(now, &mut port.vars, ready);
        }
        for (port, before) in self.ports.iter_mut().zip(used) {
            let (collecting, distributing) = usage(port);
            if (collecting, distributing) != before {
                actions.push(Action::Use { port: port.number(), collecting, distributing });
            }
            port.speak(now, actions);
        }
    }
}

/// Whether a port that waits until `until` attaches now: its time is over, and so is that of those who
/// began to wait before that. (Those who begin later would be waited for without end if they came and
/// went.)
fn is_ready(now: Instant, until: Instant, waiting: &[Instant]) -> bool {
    let began_before = |other: &Instant| *other < until + timer::AGGREGATE_WAIT;
    until <= now && waiting.iter().filter(|other| began_before(other)).all(|other| *other <= now)
}

fn usage(port: &Port) -> (bool, bool) {
    let state = port.vars.actor.state;
    (state.has(State::COLLECTING), state.has(State::DISTRIBUTING))
}
