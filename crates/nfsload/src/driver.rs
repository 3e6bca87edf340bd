//! What is called, and what replies have to be: the part that differs between workloads.

use crate::nfs;
use crate::xdr::{Decoder, Truncated};
use std::ops::Range;
use std::sync::Arc;

/// Decides on every call and judges every reply of a run.
pub trait Driver {
    /// What it remembers of a call until the reply.
    type Operation: Copy;

    /// Appends the arguments of the next call; `None` leaves the slot idle until another reply on
    /// the same connection has come. When `finishing`, only what tidies up.
    fn next(
        &mut self,
        at: At,
        finishing: bool,
        arguments: &mut Vec<u8>,
    ) -> Option<Next<Self::Operation>>;

    /// The error is a short description; equal ones are counted together.
    fn reply(
        &mut self,
        at: At,
        operation: Self::Operation,
        reply: Reply<'_>,
    ) -> Result<Done, String>;

    /// Before every round of sends.
    fn before_sending(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One of the calls that can be outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub connection: usize,
    pub slot: usize,
}

/// A call.
#[derive(Debug)]
pub struct Next<O> {
    pub procedure: u32,
    pub operation: O,
    /// Bytes behind the arguments, a multiple of four.
    pub payload: Option<(Arc<Vec<u8>>, Range<usize>)>,
}

impl<O> Next<O> {
    pub fn new(procedure: u32, operation: O) -> Self {
        Self { procedure, operation, payload: None }
    }
}

/// The results of a call.
#[derive(Debug)]
pub struct Reply<'a> {
    /// From the status on.
    pub results: Decoder<'a>,
    /// Bytes behind them that the kernel drops.
    pub dropped: usize,
}

impl<'a> Reply<'a> {
    /// Judges what follows an OK.
    pub fn ok<T>(
        self,
        procedure: u32,
        judge: impl FnOnce(&mut Decoder<'a>, usize) -> Result<Result<T, String>, Truncated>,
    ) -> Result<T, String> {
        let Self { mut results, dropped } = self;
        let name = nfs::procedure_name(procedure);
        let judged = results.uint().and_then(|status| match status {
            nfs::OK => judge(&mut results, dropped),
            status => Ok(Err(format!("{name}: {}", nfs::status_name(status)))),
        });
        judged.unwrap_or_else(|Truncated| Err(format!("{name}: truncated reply")))
    }
}

/// What a good reply brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub bytes: u64,
    pub entries: u64,
}

/// Numbers that need only look random.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}
