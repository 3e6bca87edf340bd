//! Memory to receive into: one for each thread that receives, not for each wire.

use super::FRAME_MAX;
use crate::frame::Frame;
use std::cell::RefCell;

/// Bytes that one call receives from a stream at most.
pub(super) const CHUNK: usize = 128 * 1024;
/// Frames that one call receives at most, where the kernel gives several.
pub(super) const BATCH: usize = 32;
/// Bytes for each of them: a frame, what stands before it, and one more, by which a longer one is known.
pub(super) const SLOT: usize = FRAME_MAX + 64;

thread_local! {
    static CHUNKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SLOTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SINGLE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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

/// Room for one frame after the other.
pub(super) fn single<T>(receive: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    SINGLE.with_borrow_mut(receive)
}

/// Empties it, with room for one frame and a byte more.
pub(super) fn clear(space: &mut Vec<u8>) {
    space.clear();
    space.reserve_exact(FRAME_MAX + 1);
}

/// The frame that was received: a large one in the memory where it lies, a small one in its own.
pub(super) fn take(space: &mut Vec<u8>) -> Frame {
    if space.len() > LARGE { std::mem::take(space).into() } else { space.as_slice().into() }
}

/// What is cheaper left where it is than copied.
const LARGE: usize = FRAME_MAX / 2;
