//! XDR (RFC 4506): decoded in place, encoded into a buffer that is reused.
//!
//! A [`Decoder`] walks over received bytes; strings and opaques come out as slices of them. An
//! [`Encoder`] appends to a buffer that keeps its memory from one message to the next. A type is
//! described once, and `#[derive(Encode, Decode)]` does the rest:
//!
//! ```
//! use holm_xdr::{Array, Decode, Decoder, Encode, Encoder, Opaque};
//!
//! #[derive(Debug, PartialEq, Clone, Copy, Encode, Decode)]
//! enum Kind {
//!     Text = 0,
//!     Data = 1,
//! }
//!
//! #[derive(Debug, PartialEq, Encode, Decode)]
//! enum Content<'a> {
//!     #[xdr(case = Kind::Text)]
//!     Text { author: Opaque<'a, 32> },
//!     #[xdr(default)]
//!     Other(Kind),
//! }
//!
//! #[derive(Debug, PartialEq, Encode, Decode)]
//! struct File<'a> {
//!     name: Opaque<'a, 255>,
//!     content: Content<'a>,
//!     numbers: Array<u32, 16>,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = File {
//!     name: Opaque::new(b"notes")?,
//!     content: Content::Text { author: Opaque::new(b"me")? },
//!     numbers: Array::new(vec![1, 2])?,
//! };
//! let mut out = Encoder::new();
//! file.encode(&mut out);
//! assert_eq!(out.len(), 12 + 4 + 8 + 12);
//!
//! assert_eq!(File::decode(&mut Decoder::new(&out))?, file);
//!
//! let cut = File::decode(&mut Decoder::new(&out[..14])).unwrap_err();
//! assert_eq!(cut.to_string(), "Content (discriminant) at byte 12: needs 4 bytes, 2 are left");
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of what
//!
//! | XDR | here |
//! |---|---|
//! | `int`, `unsigned int`, `hyper`, `unsigned hyper`, `bool` | `i32`, `u32`, `i64`, `u64`, `bool` |
//! | `opaque x[N]` | `[u8; N]` |
//! | `opaque x<N>`, `string x<N>` | [`Opaque<'_, N>`](Opaque), a slice of the input |
//! | `T x<N>` | [`Array<T, N>`](Array) |
//! | `T *x` | `Option<T>` |
//! | a linked list of optional data | [`List<T, N>`](List), or [`Decoder::list`] one by one |
//! | `enum`, `struct`, `union` | the derives |
//! | `void` | `()` |
//!
//! Floating point and quadruple hyper are not here: no protocol of ours has them.
//!
//! # What a peer can do
//!
//! - Every length is checked against its bound *and* against the bytes that are there. Nothing is
//!   allocated for a count before its elements have been decoded.
//! - A value that cannot be is an [`Error`] that says what, where and why. Nothing panics.
//! - The bytes that fill up an opaque to a multiple of four are zero when we send them, and
//!   ignored when we receive them, although RFC 4506 (section 3) wants zeros: releases of a
//!   widespread client library send there what happened to lie in its buffer. [`Decoder::strict`]
//!   insists.
//! - Bytes after the end of a value are the caller's business: [`Decoder::finish`] refuses them.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

extern crate self as holm_xdr;

mod collections;
mod decode;
mod encode;
mod error;
mod opaque;
mod traits;

pub use collections::{Array, List};
pub use decode::{Decoder, ListItems};
pub use encode::{Encoder, Placeholder};
pub use error::{Error, Problem, TooLong};
pub use holm_xdr_derive::{Decode, Encode};
pub use opaque::Opaque;
pub use traits::{Decode, Discriminant, Encode, FixedSize};

/// How many bytes `len` bytes of opaque data take with the padding behind them, without the count
/// in front of them: the next multiple of four.
#[inline]
pub const fn padded(len: usize) -> usize {
    len.saturating_add(padding(len))
}

/// How many bytes of padding follow `len` bytes of opaque data: 0 to 3.
#[inline]
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() % 4
}
