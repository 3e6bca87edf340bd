//! Frames on their way.

use crate::offload::Unfinished;
use crate::spare;
use bytes::Bytes;
use std::fmt;
use std::iter;
use std::ops::{Deref, DerefMut};

/// One Ethernet frame: header and payload, without the check sequence. It is owned by whoever has it,
/// and moved from one to the next without being copied.
///
/// It may be [unfinished](Self::rest): then its checksum is still to be made, and it may be a long segment that
/// is yet to be cut into frames. Whoever can't leave that to others [finishes](Self::finish) it.
///
/// It may be in [several parts](Self::parts), of which the first has all headers: then it dereferences to
/// that. Only drivers that [say so](crate::Driver::gathers) get those; to everybody else it is one.
#[derive(Default)]
pub struct Frame {
    /// Those of the first part, and perhaps more behind them.
    memory: Vec<u8>,
    length: usize,
    /// The other parts.
    tail: Option<Box<Tail>>,
    rest: Option<Unfinished>,
}

/// Parts in memory that others have, too.
#[derive(Clone)]
struct Tail {
    parts: Vec<Bytes>,
    length: usize,
}

/// A frame has so many parts at most.
pub const PARTS_MAX: usize = 5;

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
        Self { memory, length, tail: None, rest }
    }

    /// One of several parts: the first has all headers. Of more than [`PARTS_MAX`] it makes one.
    pub fn of_parts(first: Vec<u8>, others: Vec<Bytes>, rest: Option<Unfinished>) -> Self {
        let length = others.iter().map(Bytes::len).sum();
        let is_many = others.len() >= PARTS_MAX;
        let tail = (length > 0).then(|| Box::new(Tail { parts: others, length }));
        let mut frame = Self { length: first.len(), memory: first, tail, rest };
        if is_many {
            frame.gather();
        }
        frame
    }

    /// Bytes of all its parts.
    #[expect(clippy::len_without_is_empty, reason = "what it dereferences to tells that")]
    pub fn len(&self) -> usize {
        self.length + self.tail.as_ref().map_or(0, |tail| tail.length)
    }

    /// Its parts, one after the other.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.tail.iter().flat_map(|tail| &tail.parts).map(|part| &**part);
        iter::once(&**self).chain(others)
    }

    /// Copies its parts into one.
    pub fn gather(&mut self) {
        let Some(tail) = self.tail.take() else { return };
        let length = self.length + tail.length;
        let mut memory = if (spare::LARGE..=spare::ROOM).contains(&length) {
            spare::take()
        } else {
            vec![0; length]
        };
        let mut space = &mut memory[..];
        for part in iter::once(&**self).chain(tail.parts.iter().map(|part| &**part)) {
            let Some((to, rest)) = space.split_at_mut_checked(part.len()) else { break };
            to.copy_from_slice(part);
            space = rest;
        }
        spare::give(std::mem::replace(&mut self.memory, memory));
        self.length = length;
    }

    /// What is left to be done.
    pub fn rest(&self) -> Option<&Unfinished> {
        self.rest.as_ref()
    }

    /// Bytes of the longest frame that it is, or is to be cut into. `None`: it can't be cut so.
    pub fn longest(&self) -> Option<usize> {
        self.rest.map_or(Some(self.len()), |rest| rest.longest(self, self.len()))
    }

    /// Does what is left to be done, and appends it, or what it is cut into, to `frames`. `None` if it can't be
    /// done; then it is lost.
    pub fn finish(mut self, frames: &mut Frames) -> Option<()> {
        self.gather();
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
        let (memory, tail) = (self.to_vec(), self.tail.clone());
        Self { memory, length: self.length, tail, rest: self.rest }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.parts().flatten().eq(other.parts().flatten()) && self.rest == other.rest
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frame(")?;
        f.debug_list().entries(self.parts()).finish()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with as many bytes of data, in one part or with the data from `first` on in others.
    fn segment(data: usize, first: usize, others: usize) -> (Frame, Frame) {
        let mut whole = vec![2, 9, 9, 9, 9, 9, 2, 8, 0, 0, 0, 7, 8, 0, 0x45, 0];
        whole.extend((40 + data as u16).to_be_bytes());
        whole.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2]);
        whole.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
        let headers = whole.len();
        whole.extend((0..data).map(|n| (n % 251) as u8));
        let rest = Some(Unfinished::segment(34, true, Some(1460)));
        let (front, tail) = whole.split_at(headers + first);
        let parts = tail.chunks(tail.len().div_ceil(others).max(1)).map(Bytes::copy_from_slice);
        let scattered = Frame::of_parts(front.to_vec(), parts.collect(), rest);
        (Frame::unfinished(whole, Unfinished::segment(34, true, Some(1460))), scattered)
    }

    #[test]
    fn several_parts_are_the_same_frame_as_one() {
        for (data, first, others) in [(10_000, 0, 1), (60_000, 7, 3), (3000, 2999, 1), (9000, 0, 4)]
        {
            let (whole, scattered) = segment(data, first, others);
            assert_eq!(scattered.parts().count(), 1 + others);
            assert_eq!((scattered.len(), scattered.longest()), (whole.len(), whole.longest()));
            assert!(scattered == whole && scattered.clone() == whole);
            let [mut of_whole, mut of_parts] = [Frames::new(), Frames::new()];
            whole.clone().finish(&mut of_whole).unwrap();
            scattered.clone().finish(&mut of_parts).unwrap();
            assert!(of_parts == of_whole);
            let mut gathered = scattered;
            gathered.gather();
            assert_eq!(gathered.parts().count(), 1);
            assert!(*gathered == *whole && gathered == whole);
        }
    }

    #[test]
    fn more_parts_than_one_may_have_are_made_one() {
        let (whole, scattered) = segment(9000, 0, PARTS_MAX);
        assert_eq!(scattered.parts().count(), 1);
        assert!(scattered == whole);
        let (whole, scattered) = segment(100, 100, 1);
        assert_eq!(scattered.parts().count(), 1);
        assert!(scattered == whole);
    }
}
