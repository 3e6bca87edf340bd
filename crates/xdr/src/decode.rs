//! Walking over received bytes.

use crate::{Decode, Discriminant, Error, Problem, padding};
use std::marker::PhantomData;

/// Decodes values one after the other from `&'a [u8]`; what is opaque is borrowed from there.
///
/// Cloning it is remembering a position: decoding from the clone leaves the original where it is.
/// After an error its position is unspecified (but within the input).
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    /// Length of the whole input; the position is the difference.
    len: usize,
    strict: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder at the beginning of `input` that does not look at padding.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input, len: input.len(), strict: false }
    }

    /// A decoder at the beginning of `input` to which padding other than zero is an error.
    pub const fn strict(input: &'a [u8]) -> Self {
        Self { rest: input, len: input.len(), strict: true }
    }

    /// Offset of the next byte from the start of the input.
    #[inline]
    pub const fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// What has not been decoded yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The end of the input.
    ///
    /// # Errors
    /// [`Problem::LeftOver`] if it is not the end.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.error(Problem::LeftOver { left })),
        }
    }

    /// A whole value of type `T`.
    ///
    /// # Errors
    /// What [`Decode::decode`] of `T` finds.
    #[inline]
    pub fn get<T: Decode<'a>>(&mut self) -> Result<T, Error> {
        T::decode(self)
    }

    /// An `unsigned int`.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// An `int`.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Error> {
        self.chunk().map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// An `unsigned hyper`.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A `hyper`.
    ///
    /// # Errors
    /// [`Problem::Truncated`].
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Error> {
        self.chunk().map(|bytes| i64::from_be_bytes(*bytes))
    }

    /// A `bool`: 0 or 1.
    ///
    /// # Errors
    /// [`Problem::Truncated`]; [`Problem::Unknown`] for any other value.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, Error> {
        self.discriminant()
    }

    /// An enumeration.
    ///
    /// # Errors
    /// [`Problem::Truncated`]; [`Problem::Unknown`] for a value that `T` does not have.
    #[inline]
    pub fn discriminant<T: Discriminant>(&mut self) -> Result<T, Error> {
        let before = self.clone();
        let value = self.i32()?;
        T::from_wire(value).ok_or_else(|| before.unknown(value))
    }

    /// `opaque x[N]`: `N` bytes and their padding.
    ///
    /// # Errors
    /// [`Problem::Truncated`]; [`Problem::Padding`] if strict.
    #[inline]
    pub fn opaque_fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let bytes = self.chunk::<N>()?;
        self.skip_padding(N)?;
        Ok(bytes)
    }

    /// `opaque x<max>`, and a string too: a count, that many bytes, their padding.
    ///
    /// # Errors
    /// [`Problem::TooMany`] for a count above `max`; [`Problem::Truncated`];
    /// [`Problem::Padding`] if strict.
    #[inline]
    pub fn opaque(&mut self, max: u32) -> Result<&'a [u8], Error> {
        let len = self.count(max)? as usize;
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.truncated(len));
        };
        self.rest = rest;
        self.skip_padding(len)?;
        Ok(bytes)
    }

    /// The count in front of a variable-length array: at most `max`. The elements need not be
    /// there; allocate nothing for them before they are.
    ///
    /// # Errors
    /// [`Problem::Truncated`]; [`Problem::TooMany`].
    #[inline]
    pub fn count(&mut self, max: u32) -> Result<u32, Error> {
        let before = self.clone();
        let count = self.u32()?;
        if count > max {
            return Err(before.error(Problem::TooMany { count, max }));
        }
        Ok(count)
    }

    /// The elements of a linked list (RFC 4506, section 4.19: optional data whose last field is the
    /// next), decoded as they are asked for; at most `max` of them. The decoder is behind the
    /// list when the iterator has given `None`. It ends after an error.
    pub fn list<T: Decode<'a>>(&mut self, max: u32) -> ListItems<'_, 'a, T> {
        ListItems { decoder: self, left: Some(max), max, element: PhantomData }
    }

    /// An error at this position.
    pub fn error(&self, problem: Problem) -> Error {
        Error::new(self.position(), problem)
    }

    /// The error that the value `value`, which is at this position, means nothing.
    pub fn unknown(&self, value: i32) -> Error {
        self.error(Problem::Unknown { value })
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[inline]
    fn skip_padding(&mut self, len: usize) -> Result<(), Error> {
        let padding = padding(len);
        let Some((bytes, rest)) = self.rest.split_at_checked(padding) else {
            return Err(self.truncated(padding));
        };
        if self.strict && bytes.iter().any(|byte| *byte != 0) {
            return Err(self.error(Problem::Padding));
        }
        self.rest = rest;
        Ok(())
    }

    #[cold]
    fn truncated(&self, needs: usize) -> Error {
        self.error(Problem::Truncated { needs, left: self.rest.len() })
    }
}

/// The elements of a linked list; made by [`Decoder::list`].
#[derive(Debug)]
#[must_use = "nothing is decoded before it is asked for"]
pub struct ListItems<'d, 'a, T> {
    decoder: &'d mut Decoder<'a>,
    /// How many more there may be; `None` once the list has ended.
    left: Option<u32>,
    max: u32,
    element: PhantomData<fn() -> T>,
}

impl<'a, T: Decode<'a>> Iterator for ListItems<'_, 'a, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.left.take()?;
        let before = self.decoder.clone();
        let item =
            match self.decoder.bool() {
                Ok(false) => return None,
                Ok(true) if left == 0 => Err(before
                    .error(Problem::TooMany { count: self.max.saturating_add(1), max: self.max })),
                Ok(true) => T::decode(self.decoder),
                Err(error) => Err(error.within("whether a list goes on")),
            };
        if item.is_ok() {
            self.left = left.checked_sub(1);
        }
        Some(item)
    }
}
