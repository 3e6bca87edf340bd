//! The traits, and the types of the language itself.

use crate::{Decoder, Encoder, Error};

/// Can be decoded, borrowing from `'a`.
///
/// A type that takes memory takes at least four bytes of input: that bounds what a collection of
/// it can allocate.
pub trait Decode<'a>: Sized {
    /// Decodes a value and moves `input` behind it.
    ///
    /// # Errors
    /// What is wrong with the bytes; `input` is then somewhere within the value.
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error>;
}

/// Can be encoded. That cannot fail: what has bounds is checked when it is made.
pub trait Encode {
    /// Appends the value to `out`.
    fn encode(&self, out: &mut Encoder);
}

/// Always takes the same number of bytes, so that a [`Placeholder`](crate::Placeholder) can stand
/// for it.
pub trait FixedSize: Encode {
    /// That number; what `encode` appends.
    const SIZE: usize;
}

/// An enumeration (RFC 4506, section 4.3), or another type that can tell the arms of a union. The
/// `Encode` derive implements it.
pub trait Discriminant: Copy {
    /// What `value` means, if anything.
    fn from_wire(value: i32) -> Option<Self>;
    /// The value on the wire.
    fn to_wire(self) -> i32;
}

macro_rules! integer {
    ($($type:ident),*) => {$(
        impl<'a> Decode<'a> for $type {
            #[inline]
            fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
                input.$type()
            }
        }

        impl Encode for $type {
            #[inline]
            fn encode(&self, out: &mut Encoder) {
                out.$type(*self);
            }
        }
    )*};
}

integer!(u32, i32, u64, i64, bool);

impl FixedSize for u32 {
    const SIZE: usize = 4;
}

impl FixedSize for i32 {
    const SIZE: usize = 4;
}

impl FixedSize for u64 {
    const SIZE: usize = 8;
}

impl FixedSize for i64 {
    const SIZE: usize = 8;
}

impl FixedSize for bool {
    const SIZE: usize = 4;
}

impl Discriminant for u32 {
    #[inline]
    fn from_wire(value: i32) -> Option<Self> {
        Some(value.cast_unsigned())
    }

    #[inline]
    fn to_wire(self) -> i32 {
        self.cast_signed()
    }
}

impl Discriminant for i32 {
    #[inline]
    fn from_wire(value: i32) -> Option<Self> {
        Some(value)
    }

    #[inline]
    fn to_wire(self) -> i32 {
        self
    }
}

impl Discriminant for bool {
    #[inline]
    fn from_wire(value: i32) -> Option<Self> {
        match value {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    #[inline]
    fn to_wire(self) -> i32 {
        self.into()
    }
}

impl Decode<'_> for () {
    #[inline]
    fn decode(_: &mut Decoder<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

impl Encode for () {
    #[inline]
    fn encode(&self, _: &mut Encoder) {}
}

impl<'a, const N: usize> Decode<'a> for [u8; N] {
    #[inline]
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
        input.opaque_fixed().copied()
    }
}

impl<const N: usize> Encode for [u8; N] {
    #[inline]
    fn encode(&self, out: &mut Encoder) {
        out.opaque_fixed(self);
    }
}

impl<const N: usize> FixedSize for [u8; N] {
    const SIZE: usize = crate::padded(N);
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    #[inline]
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
        if input.bool()? { T::decode(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn encode(&self, out: &mut Encoder) {
        out.bool(self.is_some());
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    #[inline]
    fn encode(&self, out: &mut Encoder) {
        (**self).encode(out);
    }
}
