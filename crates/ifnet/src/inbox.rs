//! Frames on their way from one interface of the process to another.

use crate::counters::DropReason;
use crate::frame::{Frame, Frames};
use crate::interface::Interface;
use holm_lifetime::WeakRef;
use holm_lifetime::sync::{Arc, Mutex, OnceLock};
use holm_pool::{Handle, Next, Source, Turn};
use std::collections::VecDeque;

/// Frames that wait for an interface to receive them: whoever sends leaves them here and goes, and a
/// source of the pool, in the namespace of the interface, hands them over. So two namespaces never meet
/// in a lock. It is bounded, and the source is made when there is something to hand over.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    handle: Mutex<Option<Handle>>,
    /// Who receives.
    interface: OnceLock<WeakRef<Interface>>,
    /// Who sends.
    sender: OnceLock<WeakRef<Interface>>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    /// The sender was told that there is no room.
    sender_waits: bool,
    closed: bool,
    /// How often the interface was moved: an outlet of before takes nothing any more.
    moves: u64,
}

/// How many frames may wait. A model checker explores what happens when there is no room.
const CAPACITY: usize = if cfg!(shuttle) { 2 } else { 512 };
/// How many are handed over at once.
const BATCH: usize = if cfg!(shuttle) { 1 } else { 64 };

impl Inbox {
    /// Says who receives, before anybody sends.
    pub(crate) fn set_receiver(&self, interface: &WeakRef<Interface>) {
        // It is set once.
        let _ = self.interface.set(interface.clone());
    }

    /// Says who sends.
    pub(crate) fn set_sender(&self, interface: &WeakRef<Interface>) {
        let _ = self.sender.set(interface.clone());
    }

    /// Who receives.
    pub(crate) fn receiver(&self) -> Option<&WeakRef<Interface>> {
        self.interface.get()
    }

    /// Takes frames off `frames` for as long as there is room.
    pub(crate) fn push(self: &Arc<Self>, frames: &mut Frames) -> Result<(), DropReason> {
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(DropReason::NoPeer);
            }
            let room = CAPACITY.saturating_sub(state.frames.len()).min(frames.len());
            state.frames.extend(frames.drain(..room));
            state.sender_waits |= !frames.is_empty();
        }
        self.wake();
        if frames.is_empty() { Ok(()) } else { Err(DropReason::QueueFull) }
    }

    pub(crate) fn room(&self) -> usize {
        let mut state = self.state.lock();
        let room = CAPACITY.saturating_sub(state.frames.len());
        state.sender_waits |= room == 0;
        room
    }

    /// Has the source run, which is made if there is none.
    fn wake(self: &Arc<Self>) {
        let mut handle = self.handle.lock();
        if let Some(handle) = &*handle {
            return handle.wake();
        }
        let interface = self.interface.get().and_then(WeakRef::upgrade);
        let added = interface.map(|interface| {
            let moves = self.state.lock().moves;
            interface.add_source(Arc::new(Outlet { inbox: self.clone(), moves }))
        });
        match added {
            Some(Ok(added)) => {
                added.wake();
                *handle = Some(added);
            }
            // Nobody will ever fetch them: the interface goes, or its namespace.
            Some(Err(_)) | None => self.state.lock().frames = VecDeque::new(),
        }
    }

    /// The interface is in another namespace: its source has to be there.
    pub(crate) fn moved(self: &Arc<Self>) {
        self.state.lock().moves += 1;
        self.remove_source();
        if !self.state.lock().frames.is_empty() {
            self.wake();
        }
    }

    /// Nothing is taken or handed over any more.
    pub(crate) fn close(&self) {
        let frames = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.frames)
        };
        drop(frames);
        self.remove_source();
    }

    fn remove_source(&self) {
        let handle = self.handle.lock().take();
        if let Some(handle) = handle {
            handle.remove();
        }
    }

    /// Moves frames to `batch`. Whether the sender is to be told that there is room.
    fn take(&self, moves: u64, batch: &mut Frames) -> bool {
        let mut state = self.state.lock();
        if state.moves != moves {
            return false;
        }
        let most = state.frames.len().min(BATCH);
        batch.extend(state.frames.drain(..most));
        if state.frames.is_empty() && state.frames.capacity() > BATCH {
            state.frames = VecDeque::new();
        }
        state.frames.len() <= CAPACITY / 2 && std::mem::take(&mut state.sender_waits)
    }
}

/// Hands over what is in an inbox.
struct Outlet {
    inbox: Arc<Inbox>,
    moves: u64,
}

impl Source for Outlet {
    fn run(&self, turn: &Turn<'_>) -> Next {
        let interface = self.inbox.interface.get().and_then(WeakRef::upgrade);
        let Some(interface) = interface else { return Next::Done };
        let mut batch = turn.scratch::<Batch>();
        while turn.left() > 0 {
            let tell_sender = self.inbox.take(self.moves, &mut batch.0);
            if tell_sender && let Some(sender) = self.inbox.sender.get().and_then(WeakRef::upgrade)
            {
                sender.has_room();
            }
            if batch.0.is_empty() {
                return Next::Idle;
            }
            turn.charge(1);
            interface.receive(turn, &mut batch.0);
        }
        Next::More
    }
}

/// What a worker keeps for batches of frames.
#[derive(Default)]
pub(crate) struct Batch(pub(crate) Frames);
