//! Frames on their way.

use crate::offload::Unfinished;
use crate::spare;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// One Ethernet frame: header and payload, without the check sequence. It is owned by whoever has it,
/// and moved from one to the next without being copied.
///
/// It may be [unfinished](Self::rest): then its checksum is still to be made, and it may be a long segment that
/// is yet to be cut into frames. Whoever can't leave that to others [finishes](Self::finish) it.
#[derive(Default)]
pub struct Frame {
    /// Those of the frame, and perhaps more behind them.
    memory: Vec<u8>,
    length: usize,
    rest: Option<Unfinished>,
}

/// Frames that go together: what one wake-up has brought, or one turn has made.
pub type Frames = Vec<Frame>;

impl Frame {
    /// One of which that is left to be done.
    pub fn unfinished(bytes: Vec<u8>, rest: Unfinished) -> Self {
        let length = bytes.len();
        Self::front(bytes, length, Some(rest))
    }

    /// The first bytes of some memory, so many of them.
    pub(crate) fn front(memory: Vec<u8>, length: usize, rest: Option<Unfinished>) -> Self {
        let length = length.min(memory.len());
        Self { memory, length, rest }
    }

    /// What is left to be done.
    pub fn rest(&self) -> Option<&Unfinished> {
        self.rest.as_ref()
    }

    /// Bytes of the longest frame that it is, or is to be cut into. `None`: it can't be cut so.
    pub fn longest(&self) -> Option<usize> {
        self.rest.map_or(Some(self.len()), |rest| rest.longest(self))
    }

    /// Does what is left to be done, and appends it, or what it is cut into, to `frames`. `None` if it can't be
    /// done; then it is lost.
    pub fn finish(mut self, frames: &mut Frames) -> Option<()> {
        match self.rest {
            None => {
                frames.push(self);
                Some(())
            }
            Some(rest) if rest.is_one() => {
                rest.put_checksum(&mut self)?;
                self.rest = None;
                frames.push(self);
                Some(())
            }
            Some(rest) => rest.finish(&mut self, None, frames),
        }
    }
}

/// Finishes all that are unfinished. Returns how many of them were lost, since they can't be.
pub fn finish_all(frames: &mut Frames) -> u64 {
    if frames.iter().all(|frame| frame.rest.is_none()) {
        return 0;
    }
    let unfinished = std::mem::take(frames);
    unfinished.into_iter().filter_map(|frame| frame.finish(frames).is_none().then_some(1)).sum()
}

impl Drop for Frame {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.memory));
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.length).unwrap_or_default()
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        Self::front(self.to_vec(), self.length, self.rest)
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        **self == **other && self.rest == other.rest
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:02x?}", &**self)?;
        self.rest.iter().try_for_each(|rest| write!(f, ", {rest:?}"))?;
        f.write_str(")")
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self::front(bytes, length, None)
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}
