//! The driver of a lagg.

use super::plan::Plan;
use super::state::{Followed, State};
use crate::aggregation::{HashLayers, LacpOptions, LaggRequest, LaggStatus, PortStatus, Protocol};
use crate::counters::DropReason;
use crate::driver::{Cloner, Driver, DriverError};
use crate::ether::{Ethernet, HEADER, MTU};
use crate::event::LinkChange;
use crate::flags::Media;
use crate::frame::Frames;
use crate::interface::Interface;
use crate::lacp::{self, Action, Lacp};
use crate::request::{Reply, Request, RequestError};
use holm_lifetime::levels::Locked;
use holm_lifetime::sync::atomic::AtomicUsize;
use holm_lifetime::sync::{Arc, Mutex};
use holm_lifetime::{Ref, WeakRef};
use holm_netns::InNs;
use holm_netns::notifier::NsHeld;
use holm_pool::{Next, Source, Turn};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// The kind of laggs.
pub const KIND: &str = "lagg";

/// A new lagg, without ports.
#[derive(Debug, Clone, Copy)]
pub struct NewLagg {
    /// How it uses its ports; otherwise failover.
    pub protocol: Protocol,
    /// What it knows flows by.
    pub hash: HashLayers,
    /// How it takes part in LACP.
    pub lacp: LacpOptions,
    /// What flows are hashed with, so that strangers can't choose flows that all go to one port;
    /// otherwise a number made by chance.
    pub seed: u64,
}

impl Default for NewLagg {
    fn default() -> Self {
        Self {
            protocol: Protocol::Failover,
            hash: HashLayers::default(),
            lacp: LacpOptions::default(),
            seed: RandomState::new().hash_one(()),
        }
    }
}

impl Cloner for NewLagg {
    const KIND: &'static str = KIND;

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        let state = State {
            protocol: self.protocol,
            layers: self.hash,
            lacp_options: self.lacp,
            up: false,
            ports: Vec::new(),
            lacp: None,
            timer: None,
            seed: self.seed,
            mtu_is_set: false,
        };
        let plan = Mutex::new(state.plan());
        Ok(Box::new(Lagg { state: Mutex::new(state), plan, turns: AtomicUsize::new(0) }))
    }
}

/// The driver of a lagg.
pub(crate) struct Lagg {
    /// Not held when an interface is called, but to ask it something and to send.
    pub(super) state: Mutex<State>,
    /// What follows from the state. Replaced while that is locked, and read by who carries frames.
    plan: Mutex<Arc<Plan>>,
    /// For protocols in which ports take turns.
    turns: AtomicUsize,
}

impl Driver for Lagg {
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        let Some(interface) = interface.upgrade() else { return Ok(()) };
        let protocol = {
            let mut state = self.state.lock();
            state.mtu_is_set = interface.mtu() != MTU;
            state.protocol
        };
        if protocol == Protocol::Lacp {
            self.add_timer(&interface).map_err(DriverError)?;
            // It has no port that anything could follow for.
            let _ = self.state.lock().restart_lacp(interface.mac());
        }
        Ok(())
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.plan().send(frames, &self.turns)
    }

    fn room(&self, _: &Interface) -> usize {
        self.plan().room()
    }

    fn offloads(&self, _: &Interface) -> bool {
        self.plan().offloads()
    }

    /// A port that does not has them made one.
    fn gathers(&self) -> bool {
        true
    }

    fn ask(&self, _: &Interface, request: &Request) -> Option<Result<Reply, RequestError>> {
        match request {
            Request::Media => Some(Ok(Reply::Media(self.media()))),
            Request::Lagg(LaggRequest::Status) => Some(Ok(Reply::Lagg(Box::new(self.status())))),
            _ => None,
        }
    }

    fn change(
        &self,
        interface: &Interface,
        request: &Request,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        match request {
            Request::SetUp(up) => {
                self.update_ports(interface, held, |state| {
                    state.up = *up;
                    state.tell_links()
                });
                Ok(())
            }
            Request::SetMtu(mtu) => self.set_mtu(interface, *mtu, held),
            Request::SetMac(mac) => self.set_mac(interface, *mac, held),
            Request::SetMedia(_) => Err(interface.does_not_support()),
            Request::Lagg(request) => self.change_lagg(interface, request, held),
            _ => Ok(()),
        }
    }

    fn destroy(self: Box<Self>) {
        let timer = self.state.lock().timer.take();
        if let Some(timer) = timer {
            timer.remove();
        }
    }
}

/// Requests that only a lagg understands.
impl Lagg {
    fn change_lagg(
        &self,
        interface: &Interface,
        request: &LaggRequest,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        match request {
            LaggRequest::Status => {}
            LaggRequest::AddPort(name) => self.add_port(interface, *name, held)?,
            LaggRequest::RemovePort(name) => self.remove_port(interface, *name, held)?,
            LaggRequest::SetProtocol(protocol) => self.set_protocol(interface, *protocol, held)?,
            LaggRequest::SetHash(layers) => {
                if ![layers.l2, layers.l3, layers.l4].contains(&true) {
                    let why = "a hash needs one or more of l2, l3 and l4".into();
                    return Err(RequestError::Invalid { name: interface.name(), why });
                }
                self.update_ports(interface, held, |state| {
                    state.layers = *layers;
                    Followed::default()
                });
            }
            LaggRequest::SetLacp(options) => self.update_ports(interface, held, |state| {
                state.lacp_options = *options;
                let options = state.options();
                state.lacp(|lacp, now, actions| lacp.set_options(now, options, actions))
            }),
        }
        Ok(())
    }

    fn set_protocol(
        &self,
        interface: &Interface,
        protocol: Protocol,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        let before = self.state.lock().protocol;
        if before == protocol {
            return Ok(());
        }
        if protocol == Protocol::Lacp {
            self.add_timer(interface)
                .map_err(|why| RequestError::Failed { name: interface.name(), why })?;
        } else if let Some(timer) = { self.state.lock().timer.take() } {
            timer.remove();
        }
        self.update_ports(interface, held, |state| {
            state.protocol = protocol;
            state.restart_lacp(interface.mac())
        });
        Ok(())
    }

    fn status(&self) -> LaggStatus {
        let (mut status, ports) = {
            let (state, plan) = (self.state.lock(), self.plan());
            let senders: Vec<_> = plan.distribution.senders().collect();
            let ports = state.ports.iter().enumerate().map(|(place, port)| {
                let sends = senders.contains(&place);
                let receives = plan.distribution.takes_from(place);
                (port.interface.clone(), sends, receives, state.lacp_port(port.number))
            });
            let status = LaggStatus {
                protocol: state.protocol,
                hash: state.layers,
                lacp: state.lacp_options,
                ports: Vec::new(),
            };
            (status, ports.collect::<Vec<_>>())
        };
        let ports = ports.into_iter().filter_map(|(port, sends, receives, lacp)| {
            Some(PortStatus { name: port.upgrade()?.name(), sends, receives, lacp })
        });
        status.ports = ports.collect();
        status
    }

    /// What all ports that are used are together.
    fn media(&self) -> Media {
        let plan = self.plan();
        let ports = plan.distribution.senders().filter_map(|place| plan.ports.get(place));
        let media = ports.filter_map(|port| Some(port.interface.upgrade()?.media()));
        let together = |all: Media, one: Media| Media {
            speed: all.speed.saturating_add(one.speed),
            full_duplex: all.full_duplex && one.full_duplex,
        };
        media.fold(Media { speed: 0, full_duplex: true }, together)
    }
}

/// Frames, and time.
impl Lagg {
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.lock().clone()
    }

    /// Frames have come in at a port.
    pub(super) fn receive(
        &self,
        turn: &Turn<'_>,
        lagg: &Interface,
        number: u16,
        frames: &mut Frames,
    ) {
        let plan = self.plan();
        if plan.speaks_lacp && frames.iter().any(|frame| is_slow(frame)) {
            self.hear(lagg, number, frames);
        }
        let (own, received) = (lagg.mac(), &lagg.counters().received);
        let is_own = |frame: &[u8]| frame.get(6..12) == Some(&own.0[..]);
        if frames.iter().any(|frame| is_own(frame)) {
            let before = frames.len();
            frames.retain(|frame| !is_own(frame));
            received.dropped(DropReason::Looped, (before - frames.len()) as u64);
        }
        if frames.is_empty() {
            return;
        }
        if plan.takes_from(number) {
            lagg.receive(turn, frames);
        } else {
            received.dropped(DropReason::NoPort, frames.len() as u64);
            frames.clear();
        }
    }

    /// Takes the PDUs of slow protocols out of `frames`.
    fn hear(&self, lagg: &Interface, number: u16, frames: &mut Frames) {
        self.update_lacp(lagg, |lacp, now, actions| {
            frames.retain(|frame| {
                if is_slow(frame) {
                    lacp.receive(now, number, frame.get(HEADER..).unwrap_or(&[]), actions);
                }
                !is_slow(frame)
            });
        });
    }

    /// Time has passed.
    fn tick(&self, lagg: &Interface) {
        self.update_lacp(lagg, |lacp, now, actions| lacp.advance(now, actions));
    }

    fn add_timer(&self, interface: &Interface) -> Result<(), String> {
        let timer = Arc::new(Timer { lagg: interface.downgrade() });
        let handle = interface.add_source(timer).map_err(|error| error.to_string())?;
        self.state.lock().timer = Some(handle);
        Ok(())
    }
}

/// Changes.
impl Lagg {
    /// Changes the state, and does what follows from it but for the ends of it that are told under the
    /// configuration lock. Whether the lagg's link is another now.
    fn update(&self, change: impl FnOnce(&mut State) -> Followed) -> bool {
        let mut state = self.state.lock();
        let followed = change(&mut state);
        let after = state.plan();
        let link_changed = {
            let mut plan = self.plan.lock();
            let link_changed = plan.link() != after.link();
            *plan = after;
            link_changed
        };
        // Under the lock, so that a partner is told last what is so last.
        for (port, pdu) in followed.pdus {
            if let Some(port) = port.upgrade() {
                port.transmit(&mut vec![pdu.frame(port.mac())]);
            }
        }
        link_changed
    }

    /// [`update`](Self::update) by who carries frames or looks at the clock.
    fn update_lacp(
        &self,
        lagg: &Interface,
        step: impl FnOnce(&mut Lacp, Instant, &mut Vec<Action>),
    ) {
        if !self.update(|state| state.lacp(step)) {
            return;
        }
        let own = lagg.downgrade();
        let tell = move |in_ns: &mut InNs<'_>| {
            if let Some(lagg) = own.upgrade()
                && let Some(driver) = lagg.driver::<Self>()
            {
                driver.tell_link(&lagg, &mut in_ns.held.innermost());
            }
        };
        lagg.namespace().request_then(&mut Locked::nothing(), tell, |_| {});
    }

    /// [`update`](Self::update) by who holds the configuration lock.
    pub(super) fn update_ports(
        &self,
        lagg: &Interface,
        held: &mut NsHeld<'_>,
        change: impl FnOnce(&mut State) -> Followed,
    ) {
        let before = self.active_port();
        if self.update(change) {
            self.tell_link(lagg, held);
        }
        let after = self.active_port();
        if before.as_ref().map(|(number, _)| number) != after.as_ref().map(|(number, _)| number) {
            let name = after.map(|(_, port)| port.name());
            lagg.tell(LinkChange::ActivePort(name), held);
        }
    }

    /// Whoever has changed the link has it told. All do that under the configuration lock, so what is
    /// told last is how it is.
    fn tell_link(&self, lagg: &Interface, held: &mut NsHeld<'_>) {
        lagg.note_link(self.plan().link());
        lagg.tell_link(held);
    }

    /// The index of the interface that failover uses, and that.
    fn active_port(&self) -> Option<(u64, Ref<Interface>)> {
        if self.state.lock().protocol != Protocol::Failover {
            return None;
        }
        let plan = self.plan();
        let port = plan.ports.get(plan.distribution.senders().next()?)?.interface.upgrade()?;
        Some((port.index(), port))
    }

    /// A port is up or down, or its link is otherwise.
    pub(super) fn port_changed(&self, lagg: &Interface, port: &Interface, held: &mut NsHeld<'_>) {
        self.update_ports(lagg, held, |state| {
            if let Some(own) = state.ports.iter_mut().find(|own| own.index == port.index()) {
                own.look(port);
            }
            state.tell_links()
        });
        // Who waited for room at a port may not have to wait for that one any more.
        lagg.has_room();
    }
}

/// Lets LACP know of the time.
struct Timer {
    lagg: WeakRef<Interface>,
}

impl Source for Timer {
    fn run(&self, _: &Turn<'_>) -> Next {
        let Some(lagg) = self.lagg.upgrade() else { return Next::Done };
        if let Some(driver) = lagg.driver::<Lagg>() {
            driver.tick(&lagg);
        }
        Next::Idle
    }
}

fn is_slow(frame: &[u8]) -> bool {
    Ethernet::parse(frame).is_some_and(|ethernet| ethernet.ether_type == lacp::ETHER_TYPE)
}
