//! What the interface that is a port has of its lagg.

use super::driver::Lagg;
use crate::frame::Frames;
use crate::interface::Interface;
use crate::receiver::Receiver;
use crate::request::{Request, RequestError};
use holm_lifetime::WeakRef;
use holm_pool::Turn;

/// Receives what comes in at a port, for its lagg.
pub(super) struct PortReceiver {
    pub(super) lagg: WeakRef<Interface>,
    /// The port's number.
    pub(super) number: u16,
}

impl Receiver for PortReceiver {
    fn receive(&self, turn: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        if let Some(lagg) = self.lagg.upgrade()
            && let Some(driver) = lagg.driver::<Lagg>()
        {
            driver.receive(turn, &lagg, self.number, frames);
        }
    }

    fn has_room(&self, _: &Interface) {
        if let Some(lagg) = self.lagg.upgrade() {
            lagg.has_room();
        }
    }

    fn allows(&self, port: &Interface, request: &Request) -> Result<(), RequestError> {
        let Some(lagg) = self.lagg.upgrade() else { return Ok(()) };
        let what = match request {
            Request::SetMtu(_) => "its MTU",
            Request::SetMac(_) => "its MAC address",
            Request::AddAddress(_) => "its addresses",
            _ => return Ok(()),
        };
        let (name, lagg) = (port.name(), lagg.name());
        let why = format!("it is a port of {lagg}, which has {what} set instead");
        Err(RequestError::Busy { name, why })
    }

    fn master(&self) -> Option<WeakRef<Interface>> {
        Some(self.lagg.clone())
    }
}
