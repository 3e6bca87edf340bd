//! Captures: what passes by an interface, as a file that Wireshark opens.
//!
//! Whoever sends or receives a frame writes it into a bounded buffer, or counts that it did not fit, and
//! goes on. Who reads takes the buffer as it is. So a slow reader costs frames of the file and nothing else.

mod pcapng;

use crate::frame::Frame;
use crate::interface::Interface;
use crate::receiver::{Tap, Way};
use holm_lifetime::WeakRef;
use holm_lifetime::sync::{Arc, Mutex, Weak};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A capture that goes on until it is dropped, or the interface is destroyed or moved. It does not keep
/// the interface.
pub struct Capture {
    film: Arc<Film>,
    /// The interface has it, and when that lets go of it the film ends.
    lens: Weak<Lens>,
    interface: WeakRef<Interface>,
}

impl Interface {
    /// Captures the frames that pass from now on, both ways: the first `snap` bytes of each. Waits for a
    /// moment; no lock level is held.
    pub fn capture(&self, snap: u32) -> Capture {
        let begin = pcapng::header(self.name().as_str(), snap);
        let film = Film { snap, state: Mutex::new(State { blocks: begin, ..State::default() }) };
        let film = Arc::new(film);
        let lens = Arc::new(Lens(film.clone()));
        let capture = Capture { film, lens: Arc::downgrade(&lens), interface: self.downgrade() };
        self.add_tap(lens);
        // What earlier captures have left may hold much.
        self.tidy();
        capture
    }
}

impl Capture {
    /// The next part of the file, which holds whole blocks of it; `None` at its end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let mut state = self.film.state.lock();
        if !state.blocks.is_empty() {
            return Poll::Ready(Some(state.take()));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// The same, waited for.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        poll_fn(|context| self.poll_next(context)).await
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // The lens may last a little longer, and keeps nothing from now on.
        let unread = {
            let mut state = self.film.state.lock();
            state.ended = true;
            std::mem::take(&mut state.blocks)
        };
        drop(unread);
        if let Some(interface) = self.interface.upgrade()
            && let Some(lens) = self.lens.upgrade()
        {
            let tap: Arc<dyn Tap> = lens;
            interface.remove_tap(&tap);
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capture({:?})", self.interface.upgrade())
    }
}

/// What was seen and not read yet.
struct Film {
    snap: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whole blocks of the file.
    blocks: Vec<u8>,
    seen: u64,
    dropped: u64,
    /// How many of those the file tells of.
    dropped_told: u64,
    /// Nothing comes any more.
    ended: bool,
    /// Who waits for blocks.
    reader: Option<Waker>,
}

/// What an interface has of a capture.
struct Lens(Arc<Film>);

impl Tap for Lens {
    fn saw(&self, _: &Interface, way: Way, frames: &[Frame]) {
        let reader = {
            let mut state = self.0.state.lock();
            if state.ended {
                return;
            }
            let time = now();
            for frame in frames {
                state.keep(time, way, frame, self.0.snap);
            }
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Lens {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.0.state.lock();
            if !state.ended {
                state.ended = true;
                state.tell_of_drops();
            }
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl State {
    fn keep(&mut self, time: Duration, way: Way, frame: &Frame, snap: u32) {
        self.seen += 1;
        if self.blocks.len() + pcapng::packet_len(frame, snap) > ROOM {
            self.dropped += 1;
        } else {
            pcapng::packet(&mut self.blocks, time, way, frame, snap);
        }
    }

    fn take(&mut self) -> Vec<u8> {
        if self.dropped > self.dropped_told {
            self.tell_of_drops();
        }
        std::mem::take(&mut self.blocks)
    }

    fn tell_of_drops(&mut self) {
        self.dropped_told = self.dropped;
        pcapng::statistics(&mut self.blocks, now(), self.seen, self.dropped);
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How many bytes may wait for the reader. A model checker explores what happens when there is no room.
const ROOM: usize = if cfg!(shuttle) { 256 } else { 1 << 20 };
