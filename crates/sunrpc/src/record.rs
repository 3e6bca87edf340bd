//! Record marking (RFC 5531, section 11): messages in a stream of bytes.
//!
//! A record is sent as one or more fragments, each behind four bytes: the highest bit says that
//! it is the last, the others are its length.

use holm_xdr::{Encoder, Placeholder};
use std::fmt;
use std::ops::{Deref, Range};
use thiserror::Error;

/// Cuts a stream into records.
///
/// In order: [`space`](Self::space) lends the place to receive into, [`received`](Self::received)
/// says how much came, [`next_record`](Self::next_record) gives one record after the other until
/// it has no whole one. Records are slices of that same place; only what comes in several
/// fragments is moved together.
///
/// # Memory
///
/// None before the first [`space`](Self::space). It grows with what has arrived: to less than
/// three times as much, and to the longest record that is allowed and a little more at most.
/// [`reclaim`](Self::reclaim) takes the buffer away when a connection is idle, and
/// [`lend`](Self::lend) gives it one: many connections can take turns with one buffer.
pub struct Receiver {
    /// All initialised.
    bytes: Vec<u8>,
    /// Of the record that is being put together: `start..filled`.
    start: usize,
    filled: usize,
    /// Received and not looked at: `next..end`.
    next: usize,
    end: usize,
    state: State,
    /// Fragments of this record that have begun.
    fragments: u32,
    max_record: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The mark of a fragment comes next.
    Mark,
    /// The rest of a fragment comes next.
    Fragment { left: usize, last: bool },
    /// The stream makes no sense any more.
    Failed(RecordError),
}

/// Why a stream cannot go on: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A record longer than allowed.
    #[error("a record of at least {len} bytes; {max} are allowed")]
    TooLong {
        /// Bytes of the record, as far as it was announced.
        len: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// A record in more fragments than any client makes.
    #[error("a record in more than {FRAGMENTS_MAX} fragments")]
    TooManyFragments,
}

impl Receiver {
    /// Takes records of up to `max_record` bytes, without their marks.
    pub const fn new(max_record: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            filled: 0,
            next: 0,
            end: 0,
            state: State::Mark,
            fragments: 0,
            max_record,
        }
    }

    /// Where to receive into. It is empty only if whole records wait in as much as it may hold:
    /// take them first.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were received into the front of [`space`](Self::space).
    pub fn received(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }

    /// The next record, if it has arrived whole.
    ///
    /// # Errors
    /// If the stream cannot go on; then for good.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        let range = self.next_range()?;
        Ok(range.map(|range| Record { receiver: self, range }))
    }

    /// Whether it is between two records and has nothing of the next.
    pub const fn is_idle(&self) -> bool {
        self.fragments == 0 && self.next == self.end
    }

    /// Whether [`next_record`](Self::next_record) would do anything: a whole record has arrived, or a
    /// fragment of one, or what makes no sense.
    pub fn is_ready(&self) -> bool {
        let arrived = self.end - self.next;
        let (missing, arrived) = match self.state {
            State::Fragment { left, .. } => (left, arrived),
            State::Failed(_) => return true,
            State::Mark => {
                let mark = self.bytes.get(self.next..self.end).and_then(<[u8]>::first_chunk);
                let Some(mark) = mark else { return false };
                let (_, len) = parse_mark(*mark);
                if len > self.max_record {
                    return true;
                }
                (len, arrived - MARK)
            }
        };
        missing <= arrived
    }

    /// Bytes that are missing of the fragment that has begun, or of the next one's mark; 0 where
    /// [`next_record`](Self::next_record) would do anything.
    pub fn missing(&self) -> usize {
        if self.is_ready() {
            return 0;
        }
        let arrived = self.end - self.next;
        let left = match self.state {
            State::Fragment { left, .. } => left,
            State::Mark | State::Failed(_) => {
                let mark = self.bytes.get(self.next..self.end).and_then(<[u8]>::first_chunk);
                mark.map_or(MARK, |mark| MARK + parse_mark(*mark).1)
            }
        };
        left.saturating_sub(arrived)
    }

    /// Bytes of memory that it may have at most.
    pub const fn largest(&self) -> usize {
        self.max_record.saturating_add(FIRST)
    }

    /// Bytes that it holds, of records that have not been taken.
    pub const fn buffered(&self) -> usize {
        let assembled = if self.fragments == 0 { 0 } else { self.filled - self.start };
        assembled + (self.end - self.next)
    }

    /// Bytes of memory that it has.
    pub const fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Gives up the buffer. What has arrived of records not taken yet is kept, in memory of just
    /// that size. The whole of the vector is the buffer; its content is of no interest, but was
    /// received from a client: do not show it to another.
    pub fn reclaim(&mut self) -> Vec<u8> {
        self.compact();
        let kept = self.bytes.get(..self.end).unwrap_or_default().to_vec();
        std::mem::replace(&mut self.bytes, kept)
    }

    /// Receives into `buffer` from now on, all of it, if that is larger than the buffer that it
    /// has; otherwise gives it back.
    pub fn lend(&mut self, mut buffer: Vec<u8>) -> Option<Vec<u8>> {
        if buffer.len() <= self.bytes.len() {
            return Some(buffer);
        }
        self.compact();
        let kept = 0..self.end;
        if let (Some(to), Some(from)) = (buffer.get_mut(kept.clone()), self.bytes.get(kept)) {
            to.copy_from_slice(from);
        }
        self.bytes = buffer;
        None
    }

    pub(crate) fn next_range(&mut self) -> Result<Option<Range<usize>>, RecordError> {
        loop {
            self.state = match self.state {
                State::Failed(error) => return Err(error),
                State::Mark => match self.mark() {
                    Some(Ok(state)) => state,
                    Some(Err(error)) => State::Failed(error),
                    None => return Ok(None),
                },
                State::Fragment { left, last } => match left - self.assemble(left) {
                    0 if last => {
                        self.fragments = 0;
                        self.state = State::Mark;
                        return Ok(Some(self.start..self.filled));
                    }
                    0 => State::Mark,
                    left => {
                        self.state = State::Fragment { left, last };
                        return Ok(None);
                    }
                },
            }
        }
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Reads the mark of a fragment, if it is there.
    fn mark(&mut self) -> Option<Result<State, RecordError>> {
        let mark = *self.bytes.get(self.next..self.end)?.first_chunk()?;
        self.next += MARK;
        let (last, left) = parse_mark(mark);
        if self.fragments == 0 {
            self.start = self.next;
            self.filled = self.next;
        }
        self.fragments += 1;
        let len = (self.filled - self.start).saturating_add(left);
        Some(if len > self.max_record {
            Err(RecordError::TooLong { len, max: self.max_record })
        } else if self.fragments > FRAGMENTS_MAX {
            Err(RecordError::TooManyFragments)
        } else {
            Ok(State::Fragment { left, last })
        })
    }

    /// Adds what has arrived of a fragment, of which `left` bytes are missing, to the record. Gives
    /// how much that was. In the first fragment it is there already.
    fn assemble(&mut self, left: usize) -> usize {
        let count = left.min(self.end - self.next);
        if self.filled != self.next {
            self.bytes.copy_within(self.next..self.next + count, self.filled);
        }
        self.filled += count;
        self.next += count;
        count
    }

    fn make_room(&mut self) {
        if self.is_idle() {
            self.compact();
        }
        let missing = match self.state {
            State::Fragment { left, .. } => left - left.min(self.end - self.next),
            State::Mark | State::Failed(_) => MARK,
        };
        if self.bytes.len() - self.end < missing.max(self.bytes.len() / 4) {
            self.compact();
        }
        // Nearly full of what has arrived: that justifies more.
        if self.bytes.len() - self.end < (self.bytes.len() / 4).max(1) {
            let len = self.bytes.len().saturating_mul(2).max(FIRST).min(self.largest());
            if len > self.bytes.len() {
                self.bytes.resize(len, 0);
            }
        }
    }

    /// Moves everything to the front.
    fn compact(&mut self) {
        if self.fragments == 0 {
            // The last record has been taken.
            self.start = self.next;
            self.filled = self.next;
        }
        if self.start == 0 && self.filled == self.next {
            return;
        }
        self.bytes.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        self.bytes.copy_within(self.next..self.end, self.filled);
        self.end = self.filled + (self.end - self.next);
        self.next = self.filled;
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("buffered", &self.buffered())
            .field("capacity", &self.capacity())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Records that have arrived whole behind another one, in their order: to begin what they will need.
/// They are not taken, and those behind one in several fragments are not seen.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead<'r>(&'r [u8]);

impl Ahead<'_> {
    /// Whether nothing has arrived behind the record.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'r> Iterator for Ahead<'r> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        let (mark, rest) = self.0.split_first_chunk()?;
        let (last, len) = parse_mark(*mark);
        let (record, rest) = rest.split_at_checked(len).filter(|_| last)?;
        self.0 = rest;
        Some(record)
    }
}

impl fmt::Debug for Ahead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ahead").field(&self.0.len()).finish()
    }
}

/// A whole record, where it was received; without marks. Dereferences to its bytes.
pub struct Record<'r> {
    receiver: &'r mut Receiver,
    range: Range<usize>,
}

impl Record<'_> {
    /// What has arrived behind it.
    pub fn ahead(&self) -> Ahead<'_> {
        Ahead(self.receiver.slice(self.receiver.next..self.receiver.end))
    }
}

impl Deref for Record<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.receiver.slice(self.range.clone())
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.range.len()).finish()
    }
}

/// A record being written, as one fragment.
#[derive(Debug)]
#[must_use = "the mark is written at the end"]
pub struct Frame {
    mark: Placeholder<u32>,
    start: usize,
}

impl Frame {
    /// Leaves room for the mark. What is encoded then is the record.
    #[inline]
    pub fn begin(out: &mut Encoder) -> Self {
        let mark = out.placeholder();
        Self { mark, start: out.len() }
    }

    /// Ends the record.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] if it does not fit into a fragment: 2 GiB. The mark is then not
    /// written.
    #[inline]
    pub fn end(self, out: &mut Encoder) -> Result<(), RecordError> {
        let len = out.len().saturating_sub(self.start);
        match u32::try_from(len) {
            Ok(mark) if mark < LAST => {
                out.fill(self.mark, &(mark | LAST));
                Ok(())
            }
            _ => Err(RecordError::TooLong { len, max: (LAST - 1) as usize }),
        }
    }
}

/// Most fragments of a record: 256 bytes each in 1 MiB. Without a bound, empty ones would make a
/// record that never ends.
pub const FRAGMENTS_MAX: u32 = 4096;

const fn parse_mark(mark: [u8; MARK]) -> (bool, usize) {
    let mark = u32::from_be_bytes(mark);
    (mark & LAST != 0, (mark & !LAST) as usize)
}

/// Bytes of a mark.
const MARK: usize = 4;
/// The bit that marks the last fragment.
const LAST: u32 = 1 << 31;
/// The first allocation, and how much a buffer may have beyond the longest record.
const FIRST: usize = 8192;
