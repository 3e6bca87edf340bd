//! ONC RPC version 2 (RFC 5531) as a state machine without I/O.
//!
//! Bytes that arrived go in, replies come out, and whoever owns the socket, the threads and the
//! clock is the caller. From the outside in:
//!
//! - [`Connection`]: one stream. Lends the space to receive into, serves what is complete, up to
//!   a number of calls, and holds the replies until they are sent. One receive and one send are
//!   enough for all that is ready.
//! - [`Buffers`]: memory that connections take turns with, where one thread serves many.
//! - [`Programs`]: what is served. Takes a call apart, refuses it as the RFC says, or hands it to
//!   its [`Program`]. For a datagram it is all that is needed.
//! - [`record`]: record marking (section 11): the stream cut into messages, without a copy unless
//!   a message comes in several fragments.
//! - [`message`] and [`auth`]: the headers (section 9), AUTH_NONE and AUTH_SYS (appendix A).
//! - [`duplicates`]: replies to remember, for calls that must not be done twice.
//! - `client` (a feature): calls over a stream, blocking.
//! - `server` (a feature): programs on sockets, run by the service pool.
//!
//! ```
//! use holm_sunrpc::{Answer, Call, Framing, Program, Programs, Refusal, Served};
//! use holm_xdr::Encoder;
//! use std::ops::RangeInclusive;
//!
//! /// Adds numbers to a total, which belongs to whoever calls.
//! struct Sum;
//!
//! impl Program<u32> for Sum {
//!     fn number(&self) -> u32 {
//!         0x2000_0001
//!     }
//!     fn versions(&self) -> RangeInclusive<u32> {
//!         1..=1
//!     }
//!     fn call(
//!         &self,
//!         total: &mut u32,
//!         call: &Call<'_>,
//!         results: &mut Encoder,
//!     ) -> Result<Answer, Refusal> {
//!         match call.procedure {
//!             0 => {}
//!             1 => {
//!                 *total += call.arguments().u32()?; // an error is GARBAGE_ARGS
//!                 results.u32(*total);
//!             }
//!             _ => return Err(Refusal::ProcedureUnavailable),
//!         }
//!         Ok(Answer::Now)
//!     }
//! }
//!
//! let programs: Programs<u32> = Programs::new().with(Sum);
//! let call = [7, 0, 2, 0x2000_0001, 1, 1, 0, 0, 0, 0, 40].map(u32::to_be_bytes).concat();
//!
//! let (mut total, mut out) = (2, Encoder::new());
//! let served = programs.serve(&mut total, &call, Framing::Datagram, &mut out);
//! assert_eq!(served.expect("a call"), Served::Now);
//! assert_eq!(*out, *[7, 1, 0, 0, 0, 0, 42].map(u32::to_be_bytes).concat());
//! ```
//!
//! # What a peer can do
//!
//! The worst is to have its connection closed: for a record that is too long or is in too many
//! fragments, and for a message that is no call. Memory grows with bytes that have arrived, never
//! with a length that was announced.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod auth;
mod buffers;
#[cfg(feature = "client")]
pub mod client;
mod connection;
pub mod duplicates;
pub mod message;
mod program;
pub mod record;
#[cfg(feature = "server")]
pub mod server;

pub use auth::{AuthStatus, AuthSys, Credential};
pub use buffers::Buffers;
#[cfg(feature = "client")]
pub use client::Client;
pub use connection::{Broken, Connection, Limits, Step};
pub use duplicates::DuplicateCache;
pub use message::{Call, Refusal};
pub use program::{Answer, Framing, Program, Programs, Served};
