//! Memory to receive into: that of the thread that receives, not of each wire.

use super::FRAME_MAX;
use crate::frame::Frame;
use crate::offload::Unfinished;
use crate::spare;
use std::cell::RefCell;

/// Bytes that one call receives from a stream at most.
pub(super) const CHUNK: usize = 128 * 1024;
/// Frames that one call receives at most, where the kernel gives several.
pub(super) const BATCH: usize = 32;
/// Bytes of the frames that are received at once: so they are still in the cache when they are used.
pub(super) const BYTES: usize = 256 * 1024;
/// Bytes for each of them: a frame, what stands before it, and one more, by which a longer one is known.
pub(super) const SLOT: usize = FRAME_MAX + 64;

thread_local! {
    static CHUNKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SLOTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for what one call receives from a stream. `receive` does not come back here.
pub(super) fn chunk<T>(receive: impl FnOnce(&mut [u8]) -> T) -> T {
    CHUNKS.with_borrow_mut(|space| {
        space.resize(CHUNK, 0);
        receive(space)
    })
}

/// Room for a batch of frames, each in a slot. The kernel gives the memory when it is first written.
pub(super) fn slots<T>(receive: impl FnOnce(&mut [u8]) -> T) -> T {
    SLOTS.with_borrow_mut(|space| {
        if space.is_empty() {
            *space = vec![0; BATCH * SLOT];
        }
        receive(space)
    })
}

/// Room for one frame after the other: a byte more than a frame has, by which a longer one is known.
pub(super) struct Single(Vec<u8>);

impl Single {
    pub(super) fn new() -> Self {
        Self(spare::take())
    }

    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// What was received, so many bytes of it: if it is large, in the memory where it lies.
    pub(super) fn take(&mut self, count: usize, rest: Option<Unfinished>) -> Frame {
        let memory = if count < spare::LARGE {
            self.0.get(..count).unwrap_or_default().to_vec()
        } else {
            std::mem::replace(&mut self.0, spare::take())
        };
        Frame::front(memory, count, rest)
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.0));
    }
}
