//! Makes an interface of a wire.

use crate::counters::DropReason;
use crate::driver::{Driver, DriverError};
use crate::flags::LinkState;
use crate::frame::Frames;
use crate::inbox::Batch;
use crate::interface::Interface;
use crate::request::{Request, RequestError};
use crate::wire::{Sent, Wire};
use holm_lifetime::WeakRef;
use holm_lifetime::levels::Locked;
use holm_lifetime::sync::{Arc, Mutex, OnceLock};
use holm_netns::notifier::NsHeld;
use holm_pool::{Handle, Interest, Next, Source, Turn};
use std::io;
use std::os::fd::BorrowedFd;

/// Drives an interface by a [`Wire`]: receives in batches when the descriptor says so, sends at once, and
/// keeps a bounded number of frames while the wire is full.
///
/// The descriptor is closed with the driver, or by a worker that has just run its source and is about to
/// leave it.
pub struct WireDriver {
    line: Arc<Line>,
    handle: OnceLock<Handle>,
}

/// What the driver and its source share.
struct Line {
    wire: Box<dyn Wire>,
    queue: Mutex<Queue>,
    interface: OnceLock<WeakRef<Interface>>,
}

/// What waits for room.
#[derive(Default)]
struct Queue {
    frames: Frames,
    /// Who sends was told that there is no room.
    sender_waits: bool,
    /// The wire is of no use any more.
    broken: bool,
}

/// How many frames wait for room at most.
const CAPACITY: usize = 256;
/// How many are received at once.
const BATCH: usize = 64;

impl WireDriver {
    /// A driver for this wire.
    pub fn new(wire: impl Wire) -> Self {
        let (queue, interface) = (Mutex::default(), OnceLock::new());
        let line = Line { wire: Box::new(wire), queue, interface };
        Self { line: Arc::new(line), handle: OnceLock::new() }
    }
}

impl Driver for WireDriver {
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        // It is attached once.
        let _ = self.line.interface.set(interface.clone());
        let Some(interface) = interface.upgrade() else { return Ok(()) };
        let handle = interface.add_source(self.line.clone());
        let handle = handle.map_err(|error| DriverError(error.to_string()))?;
        let _ = self.handle.set(handle);
        Ok(())
    }

    fn link(&self) -> LinkState {
        self.line.link()
    }

    fn transmit(&self, interface: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        let mut queue = self.line.queue.lock();
        if queue.broken {
            return Err(DropReason::NoPeer);
        }
        if queue.frames.is_empty() {
            let sent = self.line.wire.send(frames);
            self.line.note_sent(&sent, interface);
            if sent.is_err() {
                queue.broken = true;
                return Err(DropReason::NoPeer);
            }
        }
        let room = CAPACITY.saturating_sub(queue.frames.len()).min(frames.len());
        queue.frames.extend(frames.drain(..room));
        queue.sender_waits |= !frames.is_empty();
        if frames.is_empty() { Ok(()) } else { Err(DropReason::QueueFull) }
    }

    fn room(&self, _: &Interface) -> usize {
        let mut queue = self.line.queue.lock();
        let room = CAPACITY.saturating_sub(queue.frames.len());
        queue.sender_waits |= room == 0;
        room
    }

    fn change(
        &self,
        interface: &Interface,
        request: &Request,
        _: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        match request {
            Request::SetMtu(mtu) => self.line.wire.set_mtu(*mtu).map_err(|error| {
                let name = interface.name();
                RequestError::Failed { name, why: format!("an MTU of {mtu} bytes: {error}") }
            }),
            Request::Lagg(_) => Err(interface.does_not_support()),
            _ => Ok(()),
        }
    }

    fn destroy(self: Box<Self>) {
        if let Some(handle) = self.handle.get() {
            handle.remove();
        }
    }
}

impl Line {
    fn link(&self) -> LinkState {
        if self.wire.has_peer() { LinkState::Up } else { LinkState::Down }
    }

    fn note_sent(&self, sent: &io::Result<Sent>, interface: &Interface) {
        match sent {
            Ok(sent) => interface.counters().sent.dropped(DropReason::NoPeer, sent.lost),
            Err(_) => interface.counters().sent.failed(),
        }
    }

    /// Sends what waits. Whether who sends is to be told that there is room.
    fn flush(&self, interface: &Interface) -> bool {
        let mut queue = self.queue.lock();
        if !queue.frames.is_empty() && !queue.broken {
            let sent = self.wire.send(&mut queue.frames);
            self.note_sent(&sent, interface);
            if sent.is_err() {
                queue.broken = true;
                let lost = std::mem::take(&mut queue.frames);
                interface.counters().sent.dropped(DropReason::NoPeer, lost.len() as u64);
            } else if queue.frames.is_empty() {
                queue.frames = Frames::new();
            }
        }
        queue.frames.len() <= CAPACITY / 2 && std::mem::take(&mut queue.sender_waits)
    }
}

impl Source for Line {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wire.fd())
    }

    fn interest(&self) -> Interest {
        Interest::ReadWrite
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let interface = self.interface.get().and_then(WeakRef::upgrade);
        let Some(interface) = interface else { return Next::Done };
        if self.flush(&interface) {
            interface.has_room();
        }
        let mut batch = turn.scratch::<Batch>();
        let next = loop {
            if turn.left() == 0 {
                break Next::More;
            }
            match self.wire.receive(&mut batch.0, BATCH) {
                Ok(received) => {
                    let counters = &interface.counters().received;
                    counters.dropped(DropReason::Malformed, received.malformed);
                    counters.dropped(DropReason::Missed, received.missed);
                }
                Err(_) => {
                    interface.counters().received.failed();
                    self.queue.lock().broken = true;
                    interface.set_link(LinkState::Down, &mut Locked::nothing());
                    return Next::Done;
                }
            }
            let full = batch.0.len() >= BATCH;
            turn.charge(1);
            interface.receive(turn, &mut batch.0);
            if !full {
                break Next::Idle;
            }
        };
        interface.set_link(self.link(), &mut Locked::nothing());
        next
    }
}
