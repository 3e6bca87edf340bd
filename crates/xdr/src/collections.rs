//! Arrays and lists of variable length.

use crate::{Decode, Decoder, Encode, Encoder, Error, TooLong};
use std::ops::Deref;

/// `T x<MAX>`: a count, then the elements; at most `MAX`. Dereferences to `[T]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Array<T, const MAX: u32>(Vec<T>);

/// A linked list of optional data: each element behind a `true`, a `false` at the end; at most
/// `MAX`. Dereferences to `[T]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List<T, const MAX: u32>(Vec<T>);

impl<'a, T: Decode<'a>, const MAX: u32> Decode<'a> for Array<T, MAX> {
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
        const { assert!(size_of::<T>() > 0, "the elements of an array take bytes") };
        let count = input.count(MAX)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(T::decode(input)?);
        }
        Ok(Self(elements))
    }
}

impl<T: Encode, const MAX: u32> Encode for Array<T, MAX> {
    fn encode(&self, out: &mut Encoder) {
        // No more than MAX, which is a u32.
        out.u32(self.0.len() as u32);
        for element in &self.0 {
            element.encode(out);
        }
    }
}

impl<'a, T: Decode<'a>, const MAX: u32> Decode<'a> for List<T, MAX> {
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Error> {
        input.list(MAX).collect::<Result<_, _>>().map(Self)
    }
}

impl<T: Encode, const MAX: u32> Encode for List<T, MAX> {
    fn encode(&self, out: &mut Encoder) {
        for element in &self.0 {
            out.bool(true);
            element.encode(out);
        }
        out.bool(false);
    }
}

macro_rules! bounded {
    ($name:ident) => {
        impl<T, const MAX: u32> $name<T, MAX> {
            /// How many elements there may be.
            pub const MAX: u32 = MAX;

            /// `elements`, if they are not too many.
            ///
            /// # Errors
            /// [`TooLong`] if there are more than `MAX`.
            pub fn new(elements: Vec<T>) -> Result<Self, TooLong> {
                if elements.len() <= MAX as usize {
                    Ok(Self(elements))
                } else {
                    Err(TooLong { len: elements.len(), max: MAX })
                }
            }

            /// The elements.
            pub fn into_vec(self) -> Vec<T> {
                self.0
            }
        }

        impl<T, const MAX: u32> Default for $name<T, MAX> {
            fn default() -> Self {
                Self(Vec::new())
            }
        }

        impl<T, const MAX: u32> Deref for $name<T, MAX> {
            type Target = [T];

            fn deref(&self) -> &[T] {
                &self.0
            }
        }

        impl<T, const MAX: u32> TryFrom<Vec<T>> for $name<T, MAX> {
            type Error = TooLong;

            fn try_from(elements: Vec<T>) -> Result<Self, TooLong> {
                Self::new(elements)
            }
        }

        impl<T, const MAX: u32> IntoIterator for $name<T, MAX> {
            type Item = T;
            type IntoIter = std::vec::IntoIter<T>;

            fn into_iter(self) -> Self::IntoIter {
                self.0.into_iter()
            }
        }
    };
}

bounded!(Array);
bounded!(List);
