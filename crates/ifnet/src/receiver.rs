//! Who gets an interface's frames, and who looks at them.

use crate::frame::{Frame, Frames};
use crate::interface::Interface;
use crate::request::{Request, RequestError};
use holm_lifetime::WeakRef;
use holm_pool::Turn;

/// Gets the frames that come in by an interface: the stack of the namespace, or the lagg that the
/// interface is a port of. An interface has one at most
/// ([`Interface::set_receiver`]).
///
/// # How long
///
/// A receiver that was taken off may still be called by whoever had begun, or was about to begin, when
/// it was taken off. Nobody waits for them, because it is taken off under a lock. So a receiver checks by
/// itself whether it still cares. The interface gives up what it has of it soon, but later: so let a
/// receiver hold weakly what must go at a certain time.
pub trait Receiver: Send + Sync + 'static {
    /// Takes what has come; what is left in `frames` is dropped. The turn is in the namespace of the
    /// interface, and no lock level is held. Several threads may call it.
    fn receive(&self, turn: &Turn<'_>, interface: &Interface, frames: &mut Frames);

    /// The interface, which had [no room](Interface::room), has some again. Must neither block nor send:
    /// it wakes who will.
    fn has_room(&self, interface: &Interface) {
        let _ = interface;
    }

    /// Has a say in a change that somebody [requests](crate::NsInterfaces::request) of the interface, as
    /// a lagg does for its ports. The configuration lock is held. What is
    /// [changed](Interface::change) by the receiver itself is not asked for here.
    ///
    /// # Errors
    ///
    /// Why it may not be.
    fn allows(&self, interface: &Interface, request: &Request) -> Result<(), RequestError> {
        let _ = (interface, request);
        Ok(())
    }

    /// The lagg that the interface is a port of.
    fn master(&self) -> Option<WeakRef<Interface>> {
        None
    }
}

/// Looks at frames that pass, as a capture does. It may be called a little longer than it is set, as a
/// [`Receiver`] may.
pub trait Tap: Send + Sync + 'static {
    /// These frames pass. Must not block.
    fn saw(&self, interface: &Interface, way: Way, frames: &[Frame]);
}

/// Which way frames go, seen from the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// They come.
    In,
    /// They are sent.
    Out,
}
