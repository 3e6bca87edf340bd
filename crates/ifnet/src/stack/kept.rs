//! What a connection sends from where it lies.
//!
//! smoltcp copies what it is given into its buffer, and from there into each segment. A long reply is
//! neither: the buffer only counts its bytes, in pages that are never written and so are one page of zeros, and
//! they are kept here until they have been acknowledged. In a segment that smoltcp has made of the buffer they
//! take the place of what it has found there.

use super::segment::is_later;
use crate::frame::PARTS_MAX;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a connection has to send and keeps, and where in its stream that is.
#[derive(Default)]
pub(super) struct Kept {
    /// The sequence number of the first byte of the stream; none before a SYN was sent.
    begins: Option<u32>,
    /// Behind the last of the newest segment with data; and of the first since then that was made again.
    newest: u32,
    again: Option<u32>,
    /// Bytes of the stream that were ever put into the buffer, and that have left it.
    put: u64,
    gone: u64,
    /// In their order, without an overlap.
    pieces: VecDeque<Piece>,
}

struct Piece {
    /// Where in the stream it begins.
    at: u64,
    memory: Bytes,
    /// Which part of the memory.
    range: Range<usize>,
}

impl Kept {
    /// A SYN of that number was sent.
    pub(super) fn begin(&mut self, syn: u32) {
        let first = syn.wrapping_add(1);
        self.begins = Some(first);
        self.newest = first;
    }

    /// A segment with so many bytes from that number on was made.
    pub(super) fn made(&mut self, sequence: u32, length: u32) {
        let end = sequence.wrapping_add(length);
        if is_later(end, self.newest) {
            self.newest = end;
        } else if length > 0 {
            self.again.get_or_insert(end);
        }
    }

    /// The number of the first byte, and the one behind the newest segment.
    pub(super) fn numbers(&self) -> Option<(u32, u32)> {
        self.begins.map(|begins| (begins, self.newest))
    }

    /// Where the first of the segments ends that were made again since this was asked for the last time.
    pub(super) fn made_again(&mut self) -> Option<u32> {
        self.again.take()
    }

    /// Whether anything can be kept by now.
    pub(super) fn has_begun(&self) -> bool {
        self.begins.is_some()
    }

    /// So many bytes were copied into the buffer.
    pub(super) fn copied(&mut self, count: usize) {
        self.put += count as u64;
    }

    /// That part of the memory is counted by the buffer.
    pub(super) fn keep(&mut self, memory: &Bytes, range: Range<usize>) {
        let count = range.len() as u64;
        if count == 0 {
            return;
        }
        let goes_on = self.ends_with(memory, range.start);
        match self.pieces.back_mut().filter(|_| goes_on) {
            Some(last) => last.range.end = range.end,
            None => self.pieces.push_back(Piece { at: self.put, memory: memory.clone(), range }),
        }
        self.put += count;
    }

    /// Whether the last that is to be sent is what lies just before that in the memory.
    pub(super) fn ends_with(&self, memory: &Bytes, end: usize) -> bool {
        self.pieces.back().is_some_and(|last| {
            // Two that are there at the same time are the same if they are at the same place.
            last.end() == self.put
                && last.memory.as_ptr_range() == memory.as_ptr_range()
                && last.range.end == end
        })
    }

    /// So many bytes are in the buffer by now: the others were acknowledged.
    pub(super) fn release(&mut self, queued: usize) {
        self.gone = self.gone.max(self.put.saturating_sub(queued as u64));
        while self.pieces.front().is_some_and(|piece| piece.end() <= self.gone) {
            self.pieces.pop_front();
        }
    }

    /// What becomes of a segment whose data has that number: how much of it stays in the first part, and what
    /// comes behind. `None`: it is right as it is, or it would be in more parts than a frame may have.
    pub(super) fn behind(&self, sequence: u32, data: &[u8]) -> Option<(usize, Vec<Bytes>)> {
        let mut parts = Vec::new();
        let (mut front, mut at) = (None, 0);
        let copy = |range: Range<usize>| data.get(range).map(Bytes::copy_from_slice);
        for (place, piece, range) in self.within(sequence, data.len()) {
            match front {
                None => front = Some(place.start),
                Some(_) => parts.extend(copy(at..place.start).filter(|part| !part.is_empty())),
            }
            at = place.end;
            parts.push(piece.memory.slice(range));
            if parts.len() >= PARTS_MAX {
                return None;
            }
        }
        parts.extend(copy(at..data.len()).filter(|part| !part.is_empty()));
        front.filter(|_| parts.len() < PARTS_MAX).map(|front| (front, parts))
    }

    /// Copies what is kept to where it belongs in the data of a segment.
    pub(super) fn fill(&self, sequence: u32, data: &mut [u8]) {
        for (place, piece, range) in self.within(sequence, data.len()) {
            if let (Some(to), Some(from)) = (data.get_mut(place), piece.memory.get(range)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// What is kept of so many bytes from that number on: where it is in them, and in its memory.
    fn within(
        &self,
        sequence: u32,
        length: usize,
    ) -> impl Iterator<Item = (Range<usize>, &Piece, Range<usize>)> {
        // What begins before this was acknowledged, and only asks whether the peer is there.
        let behind = self.begins.unwrap_or(0).wrapping_add(self.gone as u32);
        let behind = sequence.wrapping_sub(behind) as i32;
        let start = u64::try_from(behind).ok().map(|behind| self.gone + behind);
        let is_data = |start: &u64| length > 0 && start + length as u64 <= self.put;
        let start = start.filter(is_data).unwrap_or(self.put);
        let end = start + length as u64;
        let first = self.pieces.partition_point(|piece| piece.end() <= start);
        self.pieces.range(first..).take_while(move |piece| piece.at < end).map(move |piece| {
            let (from, to) = (piece.at.max(start), piece.end().min(end));
            let place = (from - start) as usize..(to - start) as usize;
            let skipped = piece.range.start + (from - piece.at) as usize;
            (place.clone(), piece, skipped..skipped + place.len())
        })
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.range.len() as u64
    }
}

/// The memory of what was kept, for what is to be kept: getting it from the system each time would cost as much
/// as copying.
pub(super) struct Spares {
    memory: Mutex<Vec<Vec<u8>>>,
    /// Bytes that it holds at most.
    most: usize,
}

impl Spares {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { memory: Mutex::default(), most })
    }

    /// The first bytes of some memory, so many of them, and other memory for it, if there is some.
    pub(super) fn exchange(self: &Arc<Self>, memory: Vec<u8>, length: usize) -> (Bytes, Vec<u8>) {
        let length = length.min(memory.len());
        let lent = Lent { memory, length, home: Arc::downgrade(self) };
        let mut spares = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        (Bytes::from_owner(lent), spares.pop().unwrap_or_default())
    }

    /// Gives it all back to the system.
    pub(super) fn release(&self) {
        let spares = {
            let mut spares = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *spares)
        };
        drop(spares);
    }

    fn give(&self, memory: Vec<u8>) {
        let mut spares = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let more = spares.iter().map(Vec::len).sum::<usize>() + memory.len();
        if !memory.is_empty() && more <= self.most {
            spares.push(memory);
        }
    }
}

/// Memory that is kept, for as long as somebody has a part of it.
struct Lent {
    memory: Vec<u8>,
    length: usize,
    home: Weak<Spares>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a connection does with what it has to send.
    #[derive(Debug, Clone)]
    enum Step {
        Copy(usize),
        /// So many bytes, in so many steps.
        Keep(usize, usize),
        /// Of what is there, so many of a hundred were acknowledged.
        Acknowledge(usize),
        /// A segment is made of that part of what is there, in hundredths.
        Send(usize, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_usize..300).prop_map(Step::Copy),
            (1_usize..2000, 1_usize..5).prop_map(|(bytes, steps)| Step::Keep(bytes, steps)),
            (0_usize..=100).prop_map(Step::Acknowledge),
            (0_usize..=100, 0_usize..=100).prop_map(|(from, to)| Step::Send(from, to)),
        ];
        proptest::collection::vec(step, 1..40)
    }

    /// What was ever put in, and what smoltcp's buffer has of it.
    #[derive(Default)]
    struct Stream {
        kept: Kept,
        bytes: Vec<u8>,
        buffer: Vec<u8>,
        acknowledged: usize,
        /// What stands before all of that.
        before: u64,
    }

    impl Stream {
        /// In the middle of a stream, so that its numbers wrap.
        fn new(syn: u32, before: u64) -> Self {
            let mut kept = Kept::default();
            kept.begin(syn);
            (kept.put, kept.gone) = (before, before);
            Self { kept, before, ..Self::default() }
        }

        fn more(&mut self, count: usize, in_buffer: bool) -> &[u8] {
            let from = self.bytes.len();
            self.bytes.extend((from..from + count).map(|n| (n % 253) as u8 + 1));
            self.buffer.extend(
                (from..from + count).map(|n| if in_buffer { (n % 253) as u8 + 1 } else { 0 }),
            );
            &self.bytes[from..]
        }

        fn keep(&mut self, bytes: usize, steps: usize) {
            let memory = Bytes::copy_from_slice(self.more(bytes, false));
            let mut from = 0;
            for step in 1..=steps {
                let to = bytes * step / steps;
                self.kept.keep(&memory, from..to);
                from = to;
            }
        }

        fn number(&self, at: usize) -> u32 {
            self.kept.begins.unwrap().wrapping_add((self.before + at as u64) as u32)
        }

        /// The data of a segment, by both ways to it.
        fn segment(&self, range: Range<usize>) -> (Vec<u8>, Option<Vec<u8>>) {
            let number = self.number(range.start);
            let data = &self.buffer[range];
            let mut filled = data.to_vec();
            self.kept.fill(number, &mut filled);
            let behind = self.kept.behind(number, data);
            let scattered = behind.map(|(front, parts)| {
                assert!((1..PARTS_MAX).contains(&parts.len()));
                assert!(parts.iter().all(|part| !part.is_empty()));
                [&data[..front], &parts.concat()].concat()
            });
            (filled, scattered)
        }
    }

    proptest! {
        #[test]
        fn segments_have_what_was_put_in(syn: u32, before in 0_u64..1 << 40, steps in steps()) {
            let mut stream = Stream::new(syn, before);
            for step in steps {
                let there = stream.bytes.len() - stream.acknowledged;
                match step {
                    Step::Copy(count) => {
                        stream.more(count, true);
                        stream.kept.copied(count);
                    }
                    Step::Keep(bytes, steps) => stream.keep(bytes, steps),
                    Step::Acknowledge(part) => {
                        stream.acknowledged += there * part / 100;
                        stream.kept.release(stream.bytes.len() - stream.acknowledged);
                    }
                    Step::Send(from, to) => {
                        let (from, to) = (there * from.min(to) / 100, there * from.max(to) / 100);
                        let range = stream.acknowledged + from..stream.acknowledged + to;
                        let (filled, scattered) = stream.segment(range.clone());
                        prop_assert!(filled == stream.bytes[range.clone()]);
                        prop_assert!(scattered.is_none_or(|data| data == stream.bytes[range]));
                    }
                }
            }
            stream.kept.release(0);
            prop_assert!(stream.kept.pieces.is_empty());
        }
    }

    #[test]
    fn what_is_kept_step_by_step_is_one_part() {
        let mut stream = Stream::new(u32::MAX - 5000, 0);
        stream.more(10, true);
        stream.kept.copied(10);
        stream.keep(10_000, 1000);
        assert_eq!(stream.kept.pieces.len(), 1);
        let (front, parts) = stream.kept.behind(stream.number(3), &stream.buffer[3..9000]).unwrap();
        assert_eq!((front, parts.len()), (7, 1));
        // Another that is as long, and was received at the same place of its memory, is another.
        stream.keep(10_000, 1);
        assert_eq!(stream.kept.pieces.len(), 2);
    }

    #[test]
    fn what_is_in_too_many_parts_is_put_together() {
        let mut stream = Stream::new(9, 0);
        for _ in 0..PARTS_MAX {
            stream.keep(100, 1);
            stream.more(1, true);
            stream.kept.copied(1);
        }
        let (filled, scattered) = stream.segment(0..stream.bytes.len());
        assert!(filled == stream.bytes && scattered.is_none());
        // All of these are there for one of two.
        assert!(stream.segment(0..201).1.is_some());
    }

    /// One byte before what was acknowledged (RFC 9293, section 3.8.4) is whatever it is, as is what has no
    /// data at all.
    #[test]
    fn keep_alive_stays_as_it_is() {
        let mut stream = Stream::new(77, 1 << 33);
        stream.keep(1000, 1);
        stream.kept.release(400);
        let mut byte = [9];
        for number in [stream.number(599), stream.number(0), stream.number(1000)] {
            stream.kept.fill(number, &mut byte);
            assert_eq!((byte, stream.kept.behind(number, &byte)), ([9], None));
        }
        assert_eq!(stream.kept.behind(stream.number(600), &[]), None);
        stream.kept.fill(stream.number(600), &mut byte);
        assert_eq!(byte, [stream.bytes[600]]);
    }

    #[test]
    fn memory_is_used_again_up_to_a_bound_and_given_back() {
        let spares = Spares::new(3000);
        let (first, other) = spares.exchange(vec![7; 1000], 10);
        assert_eq!((&first[..], other.len()), (&[7; 10][..], 0));
        let part = first.slice(5..);
        drop(first);
        assert_eq!(spares.exchange(Vec::new(), 9).1.len(), 0, "a part of it is in use");
        drop(part);
        let (second, other) = spares.exchange(vec![8; 1000], 2000);
        assert_eq!((second.len(), other), (1000, vec![7; 1000]));
        drop(second);
        for _ in 0..10 {
            drop(Lent { memory: vec![1; 1000], length: 1, home: Arc::downgrade(&spares) });
        }
        assert_eq!(spares.memory.lock().unwrap().len(), 3);
        spares.release();
        assert_eq!(spares.memory.lock().unwrap().capacity(), 0);
        let (last, _) = spares.exchange(vec![5; 100], 100);
        drop(spares);
        assert_eq!(last[..], [5; 100]);
    }
}
