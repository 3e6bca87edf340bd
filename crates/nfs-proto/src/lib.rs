//! Wire types of the protocols around NFSv3, as their RFCs give them.
//!
//! | module | program | from |
//! |---|---|---|
//! | [`nfs3`] | 100003 version 3 | RFC 1813 |
//! | [`mount`] | 100005 version 3 | RFC 1813, appendix I |
//! | [`portmap`] | 100000 version 2 | RFC 1833, section 3 |
//! | [`rpcbind`] | 100000 versions 3 and 4 | RFC 1833, section 2 |
//! | [`localio`] | 400122 version 1 | Linux, `Documentation/filesystems/nfs/localio.rst` |
//!
//! Each has `PROGRAM` and `VERSION`, an enum of its procedures, and `Call`: a procedure together
//! with its arguments, decoded in place. Results are types of their own, or are written piece by
//! piece where that matters: [`nfs3::ReadReply`] lends the place into which a file is read,
//! [`nfs3::DirReply`] takes entries until the client's budget is used up.
//!
//! ```
//! use holm_nfs_proto::nfs3::{Call, Procedure};
//! use holm_xdr::Decoder;
//!
//! // GETATTR of a handle of four bytes.
//! let arguments = [0, 0, 0, 4, 1, 2, 3, 4];
//! let procedure = Procedure::from_number(1).expect("GETATTR");
//! let call = Call::decode(procedure, &mut Decoder::new(&arguments)).expect("a handle");
//! let Call::GetAttr(args) = call else { panic!("{call:?}") };
//! assert_eq!(*args.object, [1, 2, 3, 4]);
//! ```
//!
//! # How strict
//!
//! Bounds are those of the RFCs. Where an RFC has none, names and paths have 65,536 bytes here:
//! more than any file system admits, so that a name that is merely too long still gets
//! `NFS3ERR_NAMETOOLONG`. Bytes behind the arguments are ignored, since clients exist that
//! send the arm of a union that they did not choose. Names are bytes; whether one is empty, `.`,
//! `..` or has a `/` in it is for the server to see to.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

#[macro_use]
mod program;

pub mod localio;
pub mod mount;
pub mod nfs3;
pub mod portmap;
pub mod rpcbind;
