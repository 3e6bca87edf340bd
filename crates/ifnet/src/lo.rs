//! The loopback interface: what is sent comes back in.

use crate::cidr::Cidr;
use crate::counters::DropReason;
use crate::driver::{Driver, DriverError};
use crate::ether::MTU_MAX;
use crate::flags::LinkState;
use crate::frame::Frames;
use crate::inbox::Inbox;
use crate::interface::Interface;
use crate::life::{NewInterface, Stillborn};
use crate::request::Request;
use crate::tenant::Tenant;
use holm_lifetime::WeakRef;
use holm_lifetime::levels::{HeldLevels, Holding, Locked, NsRtnl};
use holm_lifetime::sync::Arc;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Its kind, and its name.
pub const KIND: &str = "lo";

/// The driver of the loopback interface, which each namespace is born with.
#[derive(Default)]
pub(crate) struct Lo {
    inbox: Arc<Inbox>,
}

impl Lo {
    /// Gives a namespace its own, up and with the addresses of the host itself.
    pub(crate) fn bear<H: HeldLevels>(
        tenant: &Arc<Tenant>,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Result<(), Stillborn> {
        let new = NewInterface { name: KIND.parse().ok(), mtu: Some(MTU_MAX), mac: None };
        let lo = tenant.bear(KIND, new, Box::new(Lo::default()), held)?;
        let v4 = Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
        let v6 = Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
        let addresses = [v4, v6].into_iter().flatten().map(Request::AddAddress);
        for request in addresses.chain([Request::SetUp(true)]) {
            // What it refuses is nothing of this.
            let _ = lo.change(&request, &mut held.innermost());
        }
        Ok(())
    }
}

impl Driver for Lo {
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        self.inbox.set_receiver(interface);
        self.inbox.set_sender(interface);
        Ok(())
    }

    fn link(&self) -> LinkState {
        LinkState::Up
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.inbox.push(frames)
    }

    fn room(&self, _: &Interface) -> usize {
        self.inbox.room()
    }

    fn destroy(self: Box<Self>) {
        self.inbox.close();
    }
}
