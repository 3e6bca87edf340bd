//! What an interface is driven by, and what the author of a driver may assume.
//!
//! # The life of a driver
//!
//! 1. A [`Cloner`] holds the parameters of a new interface, checked. Its [`make`](Cloner::make) opens
//!    what is to be opened and returns the driver. Nothing is held, and it may block.
//! 2. [`attach`](Driver::attach) is called once, before anybody else can find the interface: with a way
//!    to it, and under the configuration lock of its namespace. If it fails, the driver is destroyed and
//!    the interface never was.
//! 3. All other methods are called by any number of threads at the same time. Each caller has a `Ref`, so
//!    the driver is there until the call returns.
//! 4. The interface is destroyed: it is taken out of its namespace, the listeners are told, and from
//!    then on nobody gets a new `Ref`. Then, with nothing held, [`wake`](Driver::wake) is called. Whoever
//!    sleeps in the driver returns, and whoever would sleep from then on does not.
//! 5. When the last `Ref` is gone the driver is handed its own state by value:
//!    [`destroy`](Driver::destroy). No other method is running or will be called. What it owns is closed
//!    here. It may block.
//!
//! # What is held when
//!
//! | | the namespace's configuration lock | may sleep |
//! |---|---|---|
//! | [`attach`](Driver::attach), [`change`](Driver::change), [`moved`](Driver::moved) | yes | no |
//! | [`ask`](Driver::ask) | no | yes, until `wake` |
//! | [`transmit`](Driver::transmit), [`room`](Driver::room), [`offloads`](Driver::offloads), [`gathers`](Driver::gathers) | perhaps | no |
//! | [`wake`](Driver::wake) | no | no |
//! | [`destroy`](Driver::destroy) | no | yes |
//!
//! Changes of one interface come one after the other. The lock order is the configuration lock, then the
//! driver's own locks. So a driver holds none of its locks when it calls
//! [`Interface::receive`], [`Interface::has_room`] or [`Interface::set_link`], which call others.
//!
//! # Frames
//!
//! They belong to who has them, and move. Frames that come are handed to [`Interface::receive`], in
//! batches, by a source of the pool that was added with [`Interface::add_source`]: its turn is in the
//! interface's namespace. They are checked and counted there, and also dropped if the interface is not
//! up or nobody receives. Frames to be sent arrive in [`transmit`](Driver::transmit) checked and no longer
//! than the MTU; who sends may have been a thread of another namespace.
//!
//! A driver that had no [room](Driver::room) calls [`Interface::has_room`] when it has some again.
//!
//! # What it keeps
//!
//! It may keep the [`WeakRef`] that it was attached with, and a `Ref` only while it does something: who
//! keeps one, a source of the pool too, keeps the interface from being destroyed.

use crate::counters::DropReason;
use crate::ether::MTU;
use crate::flags::LinkState;
use crate::frame::Frames;
use crate::interface::Interface;
use crate::request::{Reply, Request, RequestError};
use holm_lifetime::WeakRef;
use holm_netns::notifier::NsHeld;
use std::any::Any;
use std::io;

/// Makes the driver of one new interface: its parameters, read and checked.
pub trait Cloner {
    /// The kind, which is also what its units are called after.
    const KIND: &'static str;

    /// The MTU of the interface if nothing else is said of it, in bytes.
    fn mtu(&self) -> usize {
        MTU
    }

    /// Opens what there is to open. Nothing is held.
    ///
    /// # Errors
    ///
    /// What could not be opened, and why.
    fn make(self) -> Result<Box<dyn Driver>, DriverError>;
}

/// What carries an interface's frames and answers what only its kind knows.
pub trait Driver: Any + Send + Sync {
    /// The interface is about to be registered. It is in no list yet, and it is not up.
    ///
    /// # Errors
    ///
    /// It can't be; then [`destroy`](Self::destroy) comes next.
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        let _ = interface;
        Ok(())
    }

    /// Whether frames can go by the link of a new interface. Later it says so with
    /// [`Interface::set_link`].
    fn link(&self) -> LinkState {
        LinkState::Down
    }

    /// Takes frames off `frames` to send them, or to keep them until there is room.
    ///
    /// # Errors
    ///
    /// Why it has not taken all: what is left in `frames` is dropped and counted for that reason.
    fn transmit(&self, interface: &Interface, frames: &mut Frames) -> Result<(), DropReason>;

    /// How many more frames it would take now. Who is told 0 is told when there is room
    /// ([`Receiver::has_room`](crate::Receiver::has_room)).
    fn room(&self, interface: &Interface) -> usize {
        let _ = interface;
        usize::MAX
    }

    /// Whether it takes [unfinished](crate::Frame::rest) frames. If not, none reach it. May be called with a
    /// lock held, as [`room`](Self::room).
    fn offloads(&self, interface: &Interface) -> bool {
        let _ = interface;
        false
    }

    /// Whether it takes frames in [several parts](crate::Frame::parts). If not, none reach it. May be called
    /// with a lock held, as [`room`](Self::room).
    fn gathers(&self) -> bool {
        false
    }

    /// Answers a question that takes more than the interface itself knows; `None`: that answers.
    fn ask(&self, interface: &Interface, request: &Request) -> Option<Result<Reply, RequestError>> {
        let _ = (interface, request);
        None
    }

    /// Does its part of a change. What it agrees to, the interface notes and tells afterwards.
    ///
    /// # Errors
    ///
    /// It refuses, and nothing has changed.
    fn change(
        &self,
        interface: &Interface,
        request: &Request,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        let _ = held;
        match request {
            Request::Lagg(_) => Err(interface.does_not_support()),
            _ => Ok(()),
        }
    }

    /// The interface that goes when this one goes, as the other end of a pair does.
    fn partner(&self) -> Option<WeakRef<Interface>> {
        None
    }

    /// Whether the interface may be moved to another namespace.
    fn is_movable(&self) -> bool {
        false
    }

    /// The interface is in another namespace now. What its sources were in is not where they belong.
    fn moved(&self, interface: &Interface) {
        let _ = interface;
    }

    /// The interface is being destroyed: whoever sleeps in the driver returns. May be called more than
    /// once.
    fn wake(&self) {}

    /// The end. Nobody else has it.
    fn destroy(self: Box<Self>);
}

/// What a driver could not do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DriverError(pub String);

impl DriverError {
    /// `what` was attempted and the system said no.
    pub fn of(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self(format!("{what}: {error}"))
    }
}
