//! The buffer that is sent.

use crate::{Encode, FixedSize, padding};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Encodes values one after the other to the end of a buffer that keeps its memory when it is
/// [cleared](Self::clear).
///
/// It dereferences to the bytes encoded so far. Besides values it takes
///
/// - [`space`](Self::space): bytes in place that are written by somebody else, as by `pread`. Memory
///   is zeroed once, when it is allocated, and not again when it is reused;
/// - a [`placeholder`](Self::placeholder) for a value of fixed size that is known only after what
///   follows it, to be [filled](Self::fill);
/// - [`truncate`](Self::truncate): take back what did not fit, or turned out wrong.
#[derive(Clone, Default)]
pub struct Encoder {
    /// All initialised; behind `len` lies what was there before.
    bytes: Vec<u8>,
    len: usize,
}

/// The place of a value that was left open.
#[derive(Debug)]
#[must_use = "a placeholder is to be filled"]
pub struct Placeholder<T> {
    at: usize,
    value: PhantomData<fn(T)>,
}

impl<T> Clone for Placeholder<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Placeholder<T> {}

impl Encoder {
    /// An empty buffer; allocates nothing yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), len: 0 }
    }

    /// An empty buffer with memory for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], len: 0 }
    }

    /// An empty buffer in that memory, all of it.
    pub const fn in_memory(memory: Vec<u8>) -> Self {
        Self { bytes: memory, len: 0 }
    }

    /// Its memory, and how many bytes at the front of it are encoded. Behind them lies what was there before.
    pub fn into_memory(self) -> (Vec<u8>, usize) {
        (self.bytes, self.len)
    }

    /// The bytes encoded so far.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Number of bytes encoded so far.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is encoded.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bytes it can hold without allocating.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it and keeps the memory.
    #[inline]
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes back all but the first `len` bytes. Does nothing if there are no more.
    #[inline]
    pub const fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
        }
    }

    /// Drops the first `count` bytes (all, if there are fewer) and moves the others to the
    /// front: a `send` took only a part.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// Gives back memory beyond `capacity` bytes, or beyond what is in use if that is more. What
    /// an idle connection holds is bounded so.
    pub fn shrink_to(&mut self, capacity: usize) {
        let capacity = capacity.max(self.len);
        if capacity < self.bytes.len() {
            self.bytes.truncate(capacity);
            self.bytes.shrink_to_fit();
        }
    }

    /// Appends a value.
    #[inline]
    pub fn put<T: Encode + ?Sized>(&mut self, value: &T) {
        value.encode(self);
    }

    /// Appends an `unsigned int`.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.chunk(value.to_be_bytes());
    }

    /// Appends an `int`.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.chunk(value.to_be_bytes());
    }

    /// Appends an `unsigned hyper`.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.chunk(value.to_be_bytes());
    }

    /// Appends a `hyper`.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.chunk(value.to_be_bytes());
    }

    /// Appends a `bool`.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// Appends bytes as they are, without count or padding: something that was encoded before.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `opaque x[N]`: the bytes and their padding.
    #[inline]
    pub fn opaque_fixed(&mut self, bytes: &[u8]) {
        self.raw(bytes);
        self.pad(bytes.len());
    }

    /// Appends the padding that follows `len` bytes of opaque data.
    #[inline]
    pub fn pad(&mut self, len: usize) {
        self.space(padding(len)).fill(0);
    }

    /// Appends `count` bytes for the caller to write. They hold what an earlier message left
    /// there: what is not written must be [taken back](Self::truncate).
    #[inline]
    pub fn space(&mut self, count: usize) -> &mut [u8] {
        let from = self.len;
        let to = from.saturating_add(count);
        if to > self.bytes.len() {
            self.grow(to);
        }
        self.len = to;
        self.bytes.get_mut(from..to).unwrap_or_default()
    }

    /// The bytes encoded so far from `at` on, to be changed in place; empty if there are none.
    #[inline]
    pub fn tail_mut(&mut self, at: usize) -> &mut [u8] {
        self.bytes.get_mut(at..self.len).unwrap_or_default()
    }

    /// Removes `count` bytes at `at` and closes the gap. Does nothing if they are not all there.
    pub fn remove(&mut self, at: usize, count: usize) {
        if let Some(end) = at.checked_add(count).filter(|end| *end <= self.len) {
            self.bytes.copy_within(end..self.len, at);
            self.len -= count;
        }
    }

    /// Appends zeros where a value will be [filled in](Self::fill).
    #[inline]
    pub fn placeholder<T: FixedSize>(&mut self) -> Placeholder<T> {
        let at = self.len;
        self.space(T::SIZE).fill(0);
        Placeholder { at, value: PhantomData }
    }

    /// Writes the value that a placeholder stands for. Does nothing if the placeholder has been
    /// taken back.
    #[inline]
    pub fn fill<T: FixedSize>(&mut self, place: Placeholder<T>, value: &T) {
        if place.at.checked_add(T::SIZE).is_some_and(|end| end <= self.len) {
            let len = std::mem::replace(&mut self.len, place.at);
            value.encode(self);
            self.len = len;
        }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self, chunk: [u8; N]) {
        if let Some(place) = self.space(N).first_chunk_mut() {
            *place = chunk;
        }
    }

    /// Makes room for `len` bytes in all, by doubling at least.
    #[cold]
    fn grow(&mut self, len: usize) {
        let len = len.max(self.bytes.len().saturating_mul(2)).max(SMALLEST);
        if self.len == 0 {
            // Nothing to keep: fresh pages from the system are zero already.
            self.bytes = vec![0; len];
        } else {
            self.bytes.resize(len, 0);
        }
    }
}

impl Deref for Encoder {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Encoder {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The first allocation: a reply without data fits.
const SMALLEST: usize = 256;
