//! What happens to ports and laggs, heard by the notifier chain.

use super::driver::Lagg;
use crate::event::{LinkChange, LinkEvent};
use holm_netns::Namespace;
use holm_netns::notifier::{Notifier, NsHeld, Refusal};

/// Tells laggs of their ports, and of their own end: a port that goes leaves its lagg first, and a lagg
/// that goes releases its ports.
pub(crate) struct Watch;

impl Notifier<LinkEvent> for Watch {
    fn name(&self) -> &str {
        "lagg"
    }

    fn notify(
        &self,
        _: &Namespace,
        event: &LinkEvent,
        held: &mut NsHeld<'_>,
    ) -> Result<(), Refusal> {
        let goes = match event.change {
            LinkChange::Unregistered => true,
            LinkChange::Up | LinkChange::Down | LinkChange::Link(_) | LinkChange::Media(_) => false,
            _ => return Ok(()),
        };
        let Some(interface) = event.interface.upgrade() else { return Ok(()) };
        if goes && let Some(driver) = interface.driver::<Lagg>() {
            driver.release_all(&interface, held);
        }
        if let Some(lagg) = interface.master().and_then(|lagg| lagg.upgrade())
            && let Some(driver) = lagg.driver::<Lagg>()
        {
            if goes {
                driver.release(&lagg, interface.index(), held);
            } else {
                driver.port_changed(&lagg, &interface, held);
            }
        }
        Ok(())
    }
}
