//! What can be wrong with received bytes.

use thiserror::Error;

/// Received bytes are not what they should be: what, where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{} at byte {at}: {problem}", if what.is_empty() { "a value" } else { what })]
pub struct Error {
    what: &'static str,
    at: usize,
    problem: Problem,
}

/// Why bytes could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The input ends within the value.
    #[error("needs {needs} bytes, {left} are left")]
    Truncated {
        /// Bytes that the value takes from here on, as far as that is known.
        needs: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A count above what the protocol, or this server, admits.
    #[error("{count} is more than {max}")]
    TooMany {
        /// The count that was received, or for a linked list the length reached.
        count: u32,
        /// The bound.
        max: u32,
    },
    /// A value that the enumeration or union does not have, or a bool other than 0 and 1.
    #[error("{value} has no meaning")]
    Unknown {
        /// The value, as a signed integer.
        value: i32,
    },
    /// Padding that is not zero, of which only a [strict](crate::Decoder::strict) decoder complains.
    #[error("the padding is not zero")]
    Padding,
    /// Bytes behind the end.
    #[error("{left} bytes are left over")]
    LeftOver {
        /// How many.
        left: usize,
    },
}

impl Error {
    pub(crate) const fn new(at: usize, problem: Problem) -> Self {
        Self { what: "", at, problem }
    }

    /// The same error, which happened in `what`, unless it knows that already: the innermost name
    /// stays.
    #[must_use]
    pub const fn within(mut self, what: &'static str) -> Self {
        if self.what.is_empty() {
            self.what = what;
        }
        self
    }

    /// The field or type that was decoded, such as `ReadArgs.offset`; empty if it has no name.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Where the value began: an offset in bytes from the start of the decoder's input.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// What was wrong.
    pub const fn problem(&self) -> Problem {
        self.problem
    }
}

/// More than the type admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{len} is more than {max}")]
pub struct TooLong {
    /// How many bytes or elements there are.
    pub len: usize,
    /// How many there may be.
    pub max: u32,
}
