//! Opaque data and strings of variable length.

use crate::{Decode, Decoder, Encode, Encoder, Error, TooLong};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// `opaque x<MAX>` or `string x<MAX>`: at most `MAX` bytes, borrowed.
///
/// The bytes of a string are bytes: a file name is no text to us. It dereferences to `[u8]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Opaque<'a, const MAX: u32 = { u32::MAX }>(&'a [u8]);

impl<'a, const MAX: u32> Opaque<'a, MAX> {
    /// How many bytes there may be.
    pub const MAX: u32 = MAX;
    /// No bytes.
    pub const EMPTY: Self = Self(&[]);

    /// `bytes`, if they are not too many.
    ///
    /// # Errors
    /// [`TooLong`] if there are more than `MAX`.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, TooLong> {
        if bytes.len() <= MAX as usize {
            Ok(Self(bytes))
        } else {
            Err(TooLong { len: bytes.len(), max: MAX })
        }
    }

    /// The bytes, for as long as what they were decoded from.
    #[inline]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<const MAX: u32> Deref for Opaque<'_, MAX> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl<const MAX: u32> AsRef<[u8]> for Opaque<'_, MAX> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl<const MAX: u32> Borrow<[u8]> for Opaque<'_, MAX> {
    fn borrow(&self) -> &[u8] {
        self.0
    }
}

impl<'a, const MAX: u32> TryFrom<&'a [u8]> for Opaque<'a, MAX> {
    type Error = TooLong;

    fn try_from(bytes: &'a [u8]) -> Result<Self, TooLong> {
        Self::new(bytes)
    }
}

/// As a byte string; what is long is cut.
impl<const MAX: u32> fmt::Debug for Opaque<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(SHOWN) {
            Some((shown, more)) if !more.is_empty() => {
                write!(f, "b\"{}\"… ({} bytes)", shown.escape_ascii(), self.0.len())
            }
            _ => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

impl<'a, const MAX: u32> Decode<'a> for Opaque<'a, MAX> {
    #[inline]
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
        input.opaque(MAX).map(Self)
    }
}

impl<const MAX: u32> Encode for Opaque<'_, MAX> {
    #[inline]
    fn encode(&self, out: &mut Encoder) {
        // No more than MAX, which is a u32.
        out.u32(self.0.len() as u32);
        out.opaque_fixed(self.0);
    }
}

/// Bytes that `Debug` shows.
const SHOWN: usize = 64;
