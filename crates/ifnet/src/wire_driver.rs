//! Makes an interface of a wire.

use crate::counters::DropReason;
use crate::driver::{Driver, DriverError};
use crate::flags::LinkState;
use crate::frame::Frames;
use crate::inbox::Batch;
use crate::interface::Interface;
use crate::request::{Request, RequestError};
use crate::wire::Wire;
use holm_lifetime::WeakRef;
use holm_lifetime::levels::Locked;
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Arc, Mutex, OnceLock};
use holm_netns::notifier::NsHeld;
use holm_pool::{Handle, Next, Source, Turn};
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
    /// The wire is of no use any more: nothing is queued from then on.
    broken: AtomicBool,
}

/// What waits for room.
#[derive(Default)]
struct Queue {
    frames: Frames,
    /// Who sends was told that there is no room.
    sender_waits: bool,
}

impl Queue {
    fn room(&self) -> usize {
        let bytes: usize = self.frames.iter().map(|frame| frame.len()).sum();
        if bytes < BYTES { CAPACITY.saturating_sub(self.frames.len()) } else { 0 }
    }
}

/// How many frames wait for room at most, and with how many bytes there is no room for more.
const CAPACITY: usize = 256;
const BYTES: usize = 1 << 20;
/// How many are received at once.
const BATCH: usize = 64;

impl WireDriver {
    /// A driver for this wire.
    pub fn new(wire: impl Wire) -> Self {
        let (queue, interface) = (Mutex::default(), OnceLock::new());
        let line = Line { wire: Box::new(wire), queue, interface, broken: AtomicBool::new(false) };
        Self { line: Arc::new(line), handle: OnceLock::new() }
    }
}

impl Driver for WireDriver {
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        // It is attached once.
        let _ = self.line.interface.set(interface.clone());
        let Some(interface) = interface.upgrade() else { return Ok(()) };
        let mtu = interface.mtu();
        let carries = self.line.wire.set_mtu(mtu);
        carries.map_err(|error| DriverError::of(format_args!("an MTU of {mtu} bytes"), &error))?;
        let handle = interface.add_source(self.line.clone());
        let handle = handle.map_err(|error| DriverError(error.to_string()))?;
        let source = handle.clone();
        let _ = self.handle.set(handle);
        self.line.wire.on_change(std::sync::Arc::new(move || source.wake()));
        Ok(())
    }

    fn link(&self) -> LinkState {
        self.line.link()
    }

    fn transmit(&self, interface: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        let mut queue = self.line.queue.lock();
        if queue.frames.is_empty() && !self.line.is_broken() {
            self.line.send(frames, interface);
            if self.line.link() != interface.link()
                && let Some(handle) = self.handle.get()
            {
                // The source says so: here a lock may be held.
                handle.wake();
            }
        }
        if self.line.is_broken() {
            return Err(DropReason::NoPeer);
        }
        let room = CAPACITY.saturating_sub(queue.frames.len()).min(frames.len());
        let waiting = frames.drain(..room).map(|mut frame| {
            // Until there is room it holds nothing but itself: others have given it up by then, perhaps.
            frame.gather();
            frame
        });
        queue.frames.extend(waiting);
        queue.sender_waits |= !frames.is_empty();
        if frames.is_empty() { Ok(()) } else { Err(DropReason::QueueFull) }
    }

    fn room(&self, _: &Interface) -> usize {
        let mut queue = self.line.queue.lock();
        let room = queue.room();
        queue.sender_waits |= room == 0;
        room
    }

    fn offloads(&self, _: &Interface) -> bool {
        self.line.wire.offloads()
    }

    fn gathers(&self) -> bool {
        self.line.wire.gathers()
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
        let up = self.wire.has_peer() && !self.is_broken();
        if up { LinkState::Up } else { LinkState::Down }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Takes frames off `frames` for as long as there is room. The queue is locked, so that they stay in
    /// their order.
    fn send(&self, frames: &mut Frames, interface: &Interface) {
        let counters = &interface.counters().sent;
        match self.wire.send(frames) {
            Ok(sent) => counters.dropped(DropReason::NoPeer, sent.lost),
            Err(_) => {
                counters.failed();
                self.broken.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Sends what waits. Whether who sends is to be told that there is room.
    fn flush(&self, interface: &Interface) -> bool {
        let mut queue = self.queue.lock();
        if !queue.frames.is_empty() && !self.is_broken() {
            self.send(&mut queue.frames, interface);
        }
        if self.is_broken() {
            let lost = queue.frames.len() as u64;
            interface.counters().sent.dropped(DropReason::NoPeer, lost);
            queue.frames.clear();
        }
        if queue.frames.is_empty() {
            queue.frames = Frames::new();
        }
        queue.frames.len() <= CAPACITY / 2
            && queue.room() > 0
            && std::mem::take(&mut queue.sender_waits)
    }

    /// Hands over what has come, as far as the turn goes.
    fn receive(&self, turn: &Turn<'_>, interface: &Interface) -> Next {
        let counters = &interface.counters().received;
        let mut batch = turn.scratch::<Batch>();
        while turn.left() > 0 {
            let Ok(received) = self.wire.receive(&mut batch.0, BATCH) else {
                counters.failed();
                self.broken.store(true, Ordering::SeqCst);
                return Next::Idle;
            };
            counters.dropped(DropReason::Malformed, received.malformed);
            counters.dropped(DropReason::Missed, received.missed);
            turn.charge(1);
            interface.receive(turn, &mut batch.0);
            if !received.more {
                return Next::Idle;
            }
        }
        Next::More
    }
}

impl Source for Line {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wire.fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let interface = self.interface.get().and_then(WeakRef::upgrade);
        let Some(interface) = interface else { return Next::Done };
        let next = if self.is_broken() { Next::Idle } else { self.receive(turn, &interface) };
        if self.flush(&interface) {
            interface.has_room();
        }
        interface.set_link(self.link(), &mut Locked::nothing());
        if self.is_broken() { Next::Done } else { next }
    }
}
