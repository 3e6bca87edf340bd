//! What a lagg is: its configuration, its ports, and LACP.

use super::distribution::{Distribution, MOST_PORTS, Member};
use super::hash::FlowHash;
use super::plan::{Plan, PlannedPort};
use crate::aggregation::{HashLayers, LacpEnd, LacpOptions, LacpPort, Protocol};
use crate::ether::MacAddress;
use crate::flags::{Flags, LinkState};
use crate::interface::Interface;
use crate::lacp::{Action, ChurnState, Information, Lacp, Link, Options, PortOptions, SlowPdu};
use crate::lacp::{Selected, State as PortState};
use holm_lifetime::WeakRef;
use holm_lifetime::sync::Arc;
use holm_pool::Handle;
use std::time::Instant;

/// Changed under the driver's lock; all but what LACP changes also under the configuration lock.
pub(super) struct State {
    pub(super) protocol: Protocol,
    pub(super) layers: HashLayers,
    pub(super) lacp_options: LacpOptions,
    /// The lagg is up.
    pub(super) up: bool,
    /// In the order in which they joined.
    pub(super) ports: Vec<Port>,
    /// If that is the protocol.
    pub(super) lacp: Option<Lacp>,
    /// Of the source that lets LACP know of the time.
    pub(super) timer: Option<Handle>,
    /// What flows are hashed with.
    pub(super) seed: u64,
    /// Its MTU was set, and is not a port's.
    pub(super) mtu_is_set: bool,
}

pub(super) struct Port {
    /// Its own while it is a port.
    pub(super) number: u16,
    pub(super) index: u64,
    pub(super) interface: WeakRef<Interface>,
    /// What it had before it joined.
    pub(super) mtu: usize,
    pub(super) mac: MacAddress,
    pub(super) link: Link,
    /// What LACP says that it is used for: to take frames, to send frames.
    pub(super) agreed: (bool, bool),
}

/// What is to be done when the driver's lock is not held any more.
#[derive(Default)]
pub(super) struct Followed {
    pub(super) pdus: Vec<(WeakRef<Interface>, SlowPdu)>,
}

impl Port {
    /// Takes over how the interface's link is now.
    pub(super) fn look(&mut self, interface: &Interface) {
        let media = interface.media();
        let up = interface.flags().has(Flags::UP | Flags::RUNNING);
        self.link = Link { up, speed: media.speed, full_duplex: media.full_duplex };
    }
}

impl State {
    /// A number that no port has.
    pub(super) fn free_number(&self) -> Option<u16> {
        let most = u16::try_from(MOST_PORTS).unwrap_or(u16::MAX);
        (1..=most).find(|number| self.ports.iter().all(|port| port.number != *number))
    }

    /// Does `step` to LACP, if that is the protocol, and says what follows from it.
    pub(super) fn lacp(
        &mut self,
        step: impl FnOnce(&mut Lacp, Instant, &mut Vec<Action>),
    ) -> Followed {
        let mut followed = Followed::default();
        let Some(lacp) = &mut self.lacp else { return followed };
        let mut actions = Vec::new();
        step(lacp, Instant::now(), &mut actions);
        if let Some(timer) = &self.timer {
            timer.wake_at(lacp.deadline());
        }
        for action in actions {
            let (Action::Send { port: number, .. } | Action::Use { port: number, .. }) = action;
            let port = self.ports.iter_mut().find(|port| port.number == number);
            match (action, port) {
                (Action::Send { pdu, .. }, Some(port)) => {
                    followed.pdus.push((port.interface.clone(), pdu));
                }
                (Action::Use { collecting, distributing, .. }, Some(port)) => {
                    port.agreed = (collecting, distributing);
                }
                (_, None) => {}
            }
        }
        followed
    }

    /// Begins LACP with the ports that there are, or ends it.
    pub(super) fn restart_lacp(&mut self, mac: MacAddress) -> Followed {
        self.ports.iter_mut().for_each(|port| port.agreed = (false, false));
        if self.protocol != Protocol::Lacp {
            self.lacp = None;
            return Followed::default();
        }
        self.lacp = Some(Lacp::new(Instant::now(), mac, self.options()));
        let up = self.up;
        let ports: Vec<_> =
            self.ports.iter().map(|port| (port.number, seen(up, port.link))).collect();
        self.lacp(|lacp, now, actions| {
            for (number, link) in ports {
                lacp.add_port(now, number, PortOptions::default(), link, actions);
            }
        })
    }

    /// Tells LACP of the links as they are.
    pub(super) fn tell_links(&mut self) -> Followed {
        let up = self.up;
        let ports: Vec<_> =
            self.ports.iter().map(|port| (port.number, seen(up, port.link))).collect();
        self.lacp(|lacp, now, actions| {
            for (number, link) in ports {
                lacp.set_link(now, number, link, actions);
            }
        })
    }

    pub(super) fn options(&self) -> Options {
        let LacpOptions { active, fast, system_priority, strict } = self.lacp_options;
        Options { active, fast, strict, system_priority, ..Options::default() }
    }

    /// What carrying frames takes, as things are.
    pub(super) fn plan(&self) -> Arc<Plan> {
        let members: Vec<_> = self.ports.iter().map(|port| self.member(port)).collect();
        let hash = FlowHash::new(self.layers, self.seed);
        let ports = self.ports.iter();
        Arc::new(Plan {
            distribution: Distribution::new(self.protocol, hash, &members),
            ports: ports
                .map(|port| PlannedPort { number: port.number, interface: port.interface.clone() })
                .collect(),
            speaks_lacp: self.protocol == Protocol::Lacp,
        })
    }

    fn member(&self, port: &Port) -> Member {
        let up = self.up && port.link.up;
        let (collecting, distributing) = match self.protocol {
            Protocol::Lacp => port.agreed,
            _ => (true, true),
        };
        Member {
            number: port.number,
            collecting: up && collecting,
            distributing: up && distributing,
        }
    }

    /// What LACP knows of a port.
    pub(super) fn lacp_port(&self, number: u16) -> Option<LacpPort> {
        let status = self.lacp.as_ref()?.status(number)?;
        let known = !status.actor.state.has(PortState::DEFAULTED);
        Some(LacpPort {
            actor: end(&status.actor),
            partner: known.then(|| end(&status.partner)),
            selected: status.selected == Selected::Selected,
            actor_churn: status.actor_churn == ChurnState::Churn,
            partner_churn: status.partner_churn == ChurnState::Churn,
            received: status.counters.received,
            sent: status.counters.sent,
            malformed: status.counters.malformed,
        })
    }
}

impl Plan {
    /// Whether frames can go by the lagg.
    pub(super) fn link(&self) -> LinkState {
        match self.distribution.senders().next() {
            Some(_) => LinkState::Up,
            None => LinkState::Down,
        }
    }
}

/// A link as LACP sees it: while the lagg is down there is none.
fn seen(up: bool, link: Link) -> Link {
    Link { up: up && link.up, ..link }
}

fn end(end: &Information) -> LacpEnd {
    LacpEnd {
        system: (end.system.priority, end.system.mac),
        key: end.key,
        port: (end.port.priority, end.port.number),
        state: end.state.0,
    }
}
