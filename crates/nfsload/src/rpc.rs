//! ONC RPC over TCP (RFC 5531): the header of a call, made once, and that of a reply.

use crate::xdr::{Decoder, Encode, Truncated};

/// Bit of a record mark that says that no fragment follows.
pub const LAST_FRAGMENT: u32 = 1 << 31;

/// The longest record that is believed.
pub const MAX_RECORD: usize = 16 << 20;

/// Record mark, RPC header, AUTH_SYS credential and empty verifier of every call to a program.
#[derive(Debug, Clone)]
pub struct Header {
    bytes: Vec<u8>,
}

const XID_AT: usize = 4;
const PROCEDURE_AT: usize = 24;

impl Header {
    /// Calls of a version of a program by a user.
    pub fn new(program: u32, version: u32, uid: u32, gid: u32) -> Self {
        let mut credential = Vec::new();
        credential.uint(0);
        credential.opaque(b"nfsload");
        credential.uint(uid);
        credential.uint(gid);
        credential.uint(0);

        let mut bytes = Vec::new();
        bytes.uint(0); // the record mark: finish()
        bytes.uint(0); // xid: begin()
        bytes.uint(0); // a call
        bytes.uint(2);
        bytes.uint(program);
        bytes.uint(version);
        bytes.uint(0); // procedure: finish()
        bytes.uint(1);
        bytes.opaque(&credential);
        bytes.uint(0);
        bytes.uint(0);
        Self { bytes }
    }

    /// Appends a header; the arguments follow, then [`finish`](Self::finish).
    pub fn begin(&self, out: &mut Vec<u8>, xid: u32) -> Begun {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        out[start + XID_AT..][..4].copy_from_slice(&xid.to_be_bytes());
        Begun { start }
    }

    /// States the procedure and the length, where `payload` bytes follow those in `out`.
    pub fn finish(out: &mut [u8], begun: &Begun, procedure: u32, payload: usize) {
        let call = &mut out[begun.start..];
        let mark = (call.len() - 4 + payload) as u32 | LAST_FRAGMENT;
        call[..4].copy_from_slice(&mark.to_be_bytes());
        call[PROCEDURE_AT..][..4].copy_from_slice(&procedure.to_be_bytes());
    }
}

/// Where a call started that is not finished.
#[derive(Debug)]
pub struct Begun {
    /// Offset of its record mark.
    pub start: usize,
}

/// Why a reply carries no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The reply ends inside its header.
    #[error("rpc: truncated reply")]
    Truncated,
    /// It is no reply at all.
    #[error("rpc: not a reply")]
    NotAReply,
    /// MSG_DENIED, with its reject_stat.
    #[error("rpc: denied ({0})")]
    Denied(u32),
    /// MSG_ACCEPTED with another accept_stat than SUCCESS.
    #[error("rpc: {}", accept_name(*.0))]
    NotExecuted(u32),
}

impl From<Truncated> for Refusal {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Takes what stands between the xid and the results.
pub fn reply_header(decoder: &mut Decoder<'_>) -> Result<(), Refusal> {
    if decoder.uint()? != 1 {
        return Err(Refusal::NotAReply);
    }
    if decoder.uint()? != 0 {
        return Err(Refusal::Denied(decoder.uint()?));
    }
    decoder.uint()?;
    decoder.opaque()?;
    match decoder.uint()? {
        0 => Ok(()),
        status => Err(Refusal::NotExecuted(status)),
    }
}

fn accept_name(status: u32) -> &'static str {
    match status {
        1 => "PROG_UNAVAIL",
        2 => "PROG_MISMATCH",
        3 => "PROC_UNAVAIL",
        4 => "GARBAGE_ARGS",
        5 => "SYSTEM_ERR",
        _ => "unknown accept_stat",
    }
}
