//! Wires out of the process, a file for each kind: [`tap`] and [`packet`] meet an interface of the
//! kernel, [`stream`] and [`dgram`] another process at a unix socket.
//!
//! Each is opened from its typed options, by a call that may wait. A kernel interface is looked for, or
//! made, in the network namespace of the thread that opens: whoever wants it in another has a thread
//! go there for the call ([`Inside`]). What was opened keeps that namespace, until the wire is dropped.
//!
//! The options are the [cloners](crate::Cloner) of their kinds.

mod carrier;
mod cloners;
pub mod dgram;
pub mod framing;
mod kernel_link;
pub mod packet;
mod raw;
mod readiness;
mod rights;
mod scratch;
mod socket_file;
pub mod stream;
pub mod tap;
mod together;

pub use cloners::{Enter, Inside};
pub use dgram::{Dgram, DgramOptions};
pub use packet::{Packet, PacketOptions};
pub use stream::{Stream, StreamEnd, StreamOptions};
pub use tap::{Tap, TapOptions};

use crate::ether::{HEADER, MTU_MAX, VLAN_TAG};
use std::fmt;
use std::io;

/// Bytes of the longest frame: of the largest MTU, with a VLAN tag.
pub const FRAME_MAX: usize = HEADER + VLAN_TAG + MTU_MAX;

/// Why a wire could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempted} {subject}: {error}{advice}")]
pub struct OpenError {
    attempted: &'static str,
    subject: String,
    advice: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl OpenError {
    fn new(
        attempted: &'static str,
        subject: impl fmt::Display,
        error: impl Into<io::Error>,
    ) -> Self {
        Self { attempted, subject: subject.to_string(), advice: "", error: error.into() }
    }

    /// With what can be done about it, said after a `: `.
    fn advise(mut self, advice: &'static str) -> Self {
        self.advice = advice;
        self
    }
}

/// Whether a frame of so many bytes can be one at all.
fn is_frame(bytes: usize) -> bool {
    (HEADER..=FRAME_MAX).contains(&bytes)
}
