//! How frames go over a stream of bytes: each after its length, four bytes in network order, as QEMU's
//! `-netdev stream` and passt have them.

use super::is_frame;
use crate::frame::Frame;

/// Bytes of the length before a frame.
pub const PREFIX: usize = 4;

/// The greatest length that is taken for one: what QEMU's own buffer holds. What announces more is out
/// of step.
pub const LENGTH_MAX: usize = 4096 + 65_536;

/// Cuts frames out of bytes that come in pieces. It keeps what is not cut yet: its memory grows with what
/// has come, whatever was announced.
#[derive(Debug, Default)]
pub struct Decoder {
    kept: Vec<u8>,
    /// How much of what is kept was cut off already.
    cut: usize,
    /// How many bytes to come belong to what is no frame.
    skip: usize,
}

/// What was cut out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A frame.
    Frame(Frame),
    /// What is too short or too long for one. The stream goes on behind it.
    Malformed,
}

/// A length that nobody means: the two ends are out of step, and nothing that comes can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced: a stream has 1 to {LENGTH_MAX}")]
pub struct WrongLength(pub u32);

impl Decoder {
    /// The next of what is kept and, behind it, of `input`, from whose front it takes what it uses.
    /// None once all of it is used.
    ///
    /// # Errors
    ///
    /// [`WrongLength`]. It is not to be asked again.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Cut>, WrongLength> {
        if !self.skip_over(input) {
            return Ok(None);
        }
        let Some(prefix) = self.ahead(PREFIX, input) else { return Ok(None) };
        let announced = prefix.first_chunk().map_or(0, |prefix| u32::from_be_bytes(*prefix));
        let length = announced as usize;
        if length == 0 || length > LENGTH_MAX {
            return Err(WrongLength(announced));
        }
        if !is_frame(length) {
            self.skip = PREFIX + length;
            self.skip_over(input);
            return Ok(Some(Cut::Malformed));
        }
        let Some(whole) = self.ahead(PREFIX + length, input) else { return Ok(None) };
        let frame = whole.get(PREFIX..).unwrap_or_default().into();
        self.consume(PREFIX + length, input);
        Ok(Some(Cut::Frame(frame)))
    }

    /// Keeps `input` for the next time.
    pub fn keep(&mut self, input: &[u8]) {
        self.kept.drain(..self.cut);
        self.cut = 0;
        self.kept.extend_from_slice(input);
    }

    /// Whether it stands between two frames: nothing is kept, nothing is to be skipped.
    pub fn is_between(&self) -> bool {
        self.rest() == 0 && self.skip == 0
    }

    /// Bytes of memory that it has.
    pub fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// Bytes that are kept and not cut off yet.
    fn rest(&self) -> usize {
        self.kept.len() - self.cut
    }

    /// Whether what is no frame is behind us.
    fn skip_over(&mut self, input: &mut &[u8]) -> bool {
        let kept = self.skip.min(self.rest());
        if kept > 0 {
            self.consume(kept, input);
            self.skip -= kept;
        }
        let now = self.skip.min(input.len());
        *input = input.get(now..).unwrap_or_default();
        self.skip -= now;
        self.skip == 0
    }

    /// The next `count` bytes, still uncut. If there are not as many, all of them are kept.
    fn ahead<'a, 'i: 'a>(&'a mut self, count: usize, input: &mut &'i [u8]) -> Option<&'a [u8]> {
        if self.rest() == 0 && input.len() >= count {
            return input.get(..count);
        }
        let missing = count.saturating_sub(self.rest());
        if missing > 0 {
            let (now, later) = input.split_at(missing.min(input.len()));
            self.keep(now);
            *input = later;
        }
        self.kept.get(self.cut..self.cut + count)
    }

    /// Cuts off what was [seen ahead](Self::ahead).
    fn consume(&mut self, count: usize, input: &mut &[u8]) {
        if self.rest() == 0 {
            *input = input.get(count..).unwrap_or_default();
            return;
        }
        self.cut += count;
        if self.rest() == 0 {
            self.cut = 0;
            // Small memory is worth keeping.
            if self.kept.capacity() > SMALL { self.kept = Vec::new() } else { self.kept.clear() }
        }
    }
}

const SMALL: usize = 2048;
