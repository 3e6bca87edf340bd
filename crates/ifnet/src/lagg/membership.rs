//! How ports join and leave, and what the MTU and the MAC address of a lagg have to do with it.

use super::distribution::MOST_PORTS;
use super::driver::Lagg;
use super::port::PortReceiver;
use super::state::{Followed, Port};
use crate::ether::MacAddress;
use crate::event::LinkChange;
use crate::interface::Interface;
use crate::lacp::{Link, PortOptions};
use crate::lo;
use crate::name::IfName;
use crate::request::{Request, RequestError};
use holm_lifetime::Ref;
use holm_lifetime::sync::Arc;
use holm_netns::notifier::NsHeld;

/// How many laggs may lie above one another.
const MOST_LEVELS: usize = 4;

impl Lagg {
    /// An interface of the namespace becomes a port.
    pub(super) fn add_port(
        &self,
        lagg: &Interface,
        name: IfName,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        let port = lagg.siblings().find(name).ok_or(RequestError::NoInterface(name))?;
        check(lagg, &port)?;
        let (number, adopts_mtu) = {
            let state = self.state.lock();
            let alone = state.ports.is_empty() && lagg.master().is_none();
            (state.free_number(), alone && !state.mtu_is_set)
        };
        let Some(number) = number else {
            let why = format!("it has {MOST_PORTS} ports, and can't have more");
            return Err(RequestError::Invalid { name: lagg.name(), why });
        };
        let (mtu, mac) = (port.mtu(), port.mac());
        if !adopts_mtu {
            set(&port, Request::SetMtu(lagg.mtu()), held)?;
        }
        if let Err(error) = set(&port, Request::SetMac(lagg.mac()), held) {
            // It had that before.
            let _ = set(&port, Request::SetMtu(mtu), held);
            return Err(error);
        }
        if adopts_mtu {
            // Without ports it does not refuse that.
            let _ = set(lagg, Request::SetMtu(mtu), held);
            self.state.lock().mtu_is_set = false;
        }
        let receiver = PortReceiver { lagg: lagg.downgrade(), number };
        drop(port.set_receiver(Some(Arc::new(receiver)), held));
        self.update_ports(lagg, held, |state| {
            let (index, interface) = (port.index(), port.downgrade());
            let link = Link::default();
            let mut joined =
                Port { number, index, interface, mtu, mac, link, agreed: (false, false) };
            joined.look(&port);
            state.ports.push(joined);
            let followed = state.lacp(|lacp, now, actions| {
                lacp.add_port(now, number, PortOptions::default(), Link::default(), actions);
            });
            debug_assert!(followed.pdus.is_empty(), "its link is down");
            state.tell_links()
        });
        port.tell(LinkChange::Joined(lagg.name()), held);
        Ok(())
    }

    /// A port becomes an ordinary interface.
    pub(super) fn remove_port(
        &self,
        lagg: &Interface,
        name: IfName,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        let port = lagg.siblings().find(name).ok_or(RequestError::NoInterface(name))?;
        if self.release(lagg, port.index(), held) {
            return Ok(());
        }
        Err(RequestError::NotFound { name: lagg.name(), what: format!("port {name}") })
    }

    /// A port leaves, and has back what it had. Whether there was such a port.
    pub(super) fn release(&self, lagg: &Interface, index: u64, held: &mut NsHeld<'_>) -> bool {
        let Some(port) = self.take_out(lagg, index, held) else { return false };
        self.give_back(lagg, &port, held);
        // Who waited for room at that port need not any more.
        lagg.has_room();
        true
    }

    /// The lagg goes.
    pub(super) fn release_all(&self, lagg: &Interface, held: &mut NsHeld<'_>) {
        loop {
            let last = self.state.lock().ports.last().map(|port| port.index);
            let Some(index) = last else { return };
            if let Some(port) = self.take_out(lagg, index, held) {
                self.give_back(lagg, &port, held);
            }
        }
    }

    /// Another MTU, for the lagg and all its ports, or for none.
    pub(super) fn set_mtu(
        &self,
        lagg: &Interface,
        mtu: usize,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        self.set_all(Request::SetMtu(mtu), &Request::SetMtu(lagg.mtu()), held)?;
        self.state.lock().mtu_is_set = true;
        Ok(())
    }

    /// Another MAC address, for the lagg and all its ports, or for none.
    pub(super) fn set_mac(
        &self,
        lagg: &Interface,
        mac: MacAddress,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        self.set_all(Request::SetMac(mac), &Request::SetMac(lagg.mac()), held)?;
        self.update_ports(lagg, held, |state| {
            state.lacp(|lacp, now, actions| lacp.set_mac(now, mac, actions))
        });
        Ok(())
    }

    /// Has all ports make a change; if one refuses, those that have made it undo it.
    fn set_all(
        &self,
        request: Request,
        undo: &Request,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        let ports: Vec<_> = {
            let state = self.state.lock();
            state.ports.iter().filter_map(|port| port.interface.upgrade()).collect()
        };
        for (done, port) in ports.iter().enumerate() {
            if let Err(error) = set(port, request.clone(), held) {
                for port in ports.iter().take(done) {
                    // It had that before.
                    let _ = set(port, undo.clone(), held);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a port out of the list. From here on no frame goes by it.
    fn take_out(&self, lagg: &Interface, index: u64, held: &mut NsHeld<'_>) -> Option<Port> {
        let mut taken = None;
        self.update_ports(lagg, held, |state| {
            let place = state.ports.iter().position(|port| port.index == index);
            let Some(place) = place else { return Followed::default() };
            let port = state.ports.remove(place);
            let number = port.number;
            taken = Some(port);
            state.lacp(|lacp, now, actions| lacp.remove_port(now, number, actions))
        });
        taken
    }

    /// Gives an interface that was a port back what it had.
    fn give_back(&self, lagg: &Interface, port: &Port, held: &mut NsHeld<'_>) {
        let Some(interface) = port.interface.upgrade() else { return };
        drop(interface.set_receiver(None, held));
        // It had both before.
        let _ = set(&interface, Request::SetMtu(port.mtu), held);
        let _ = set(&interface, Request::SetMac(port.mac), held);
        interface.tell(LinkChange::Left(lagg.name()), held);
    }
}

/// Whether an interface can become a port.
fn check(lagg: &Interface, port: &Ref<Interface>) -> Result<(), RequestError> {
    let name = port.name();
    let invalid = |why: String| Err(RequestError::Invalid { name: lagg.name(), why });
    if port.kind() == lo::KIND {
        return invalid(format!("{name} is the loopback interface, which can't be a port"));
    }
    let mut above = 0;
    let mut top = Some(lagg.index());
    let mut next = lagg.master().and_then(|master| master.upgrade());
    while let Some(index) = top {
        if index == port.index() {
            return invalid(format!("{name} would be a port of itself"));
        }
        above += 1;
        top = next.as_ref().map(|master| master.index());
        next = next.and_then(|master| master.master()).and_then(|master| master.upgrade());
    }
    if let Some(master) = port.master().and_then(|master| master.upgrade()) {
        let why = format!("it is a port of {} already; remove it there first", master.name());
        return Err(RequestError::Busy { name, why });
    }
    if let Some(cidr) = port.addresses().first() {
        let why = format!("it has address {cidr}; remove that first, and give it to the lagg");
        return Err(RequestError::Busy { name, why });
    }
    if above + height(port) > MOST_LEVELS {
        return invalid(format!(
            "with {name} more than {MOST_LEVELS} laggs would lie above one another"
        ));
    }
    Ok(())
}

/// How many laggs lie above one another, this one the highest; 0 for what is none.
fn height(interface: &Interface) -> usize {
    let Some(driver) = interface.driver::<Lagg>() else { return 0 };
    let ports: Vec<_> = {
        let state = driver.state.lock();
        state.ports.iter().filter_map(|port| port.interface.upgrade()).collect()
    };
    1 + ports.iter().map(|port| height(port)).max().unwrap_or(0)
}

/// Makes a change unless that is how it is.
fn set(interface: &Interface, request: Request, held: &mut NsHeld<'_>) -> Result<(), RequestError> {
    match request {
        Request::SetMtu(mtu) if interface.mtu() == mtu => Ok(()),
        Request::SetMac(mac) if interface.mac() == mac => Ok(()),
        request => interface.change(&request, held).map(|_| ()),
    }
}
