//! The port mapper: version 2 of program 100000 (RFC 1833, section 3).

use holm_xdr::{Decode, Encode, List, Opaque};

/// The program's number.
pub const PROGRAM: u32 = 100_000;
/// The version that is described here; [`rpcbind`](crate::rpcbind) has the later ones.
pub const VERSION: u32 = 2;
/// The port that it is served on, TCP and UDP.
pub const PORT: u16 = 111;

/// [`Mapping::protocol`] of TCP.
pub const TCP: u32 = 6;
/// [`Mapping::protocol`] of UDP.
pub const UDP: u32 = 17;

/// Most entries of a list that a client takes.
pub const LIST_MAX: u32 = 65_536;

program! {
    /// The procedures.
    Procedure,
    /// A procedure and its arguments.
    Call<'a> {
        /// Do nothing.
        Null = 0 "NULL",
        /// Register a port. The result is a `bool`: whether that was done.
        Set(Mapping) = 1 "SET",
        /// Remove a registration; protocol and port are ignored. The result is a `bool`.
        Unset(Mapping) = 2 "UNSET",
        /// On which port a program is served. The port in the question is ignored; the result is a
        /// `u32`, 0 if it is not served.
        GetPort(Mapping) = 3 "GETPORT",
        /// All registrations: [`DumpRes`].
        Dump = 4 "DUMP",
        /// Call a procedure through the port mapper: [`CallItRes`], or no reply if it fails.
        CallIt(CallItArgs<'a>) = 5 "CALLIT",
    }
}

/// A registration (`mapping`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Mapping {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// [`TCP`] or [`UDP`].
    pub protocol: u32,
    /// The port. A number above 65,535 means nothing.
    pub port: u32,
}

/// The result of DUMP (`pmaplist`).
pub type DumpRes = List<Mapping, LIST_MAX>;

/// What CALLIT shall call (`call_args`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CallItArgs<'a> {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure.
    pub procedure: u32,
    /// Its arguments, encoded.
    pub args: Opaque<'a>,
}

/// What CALLIT gives (`call_result`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CallItRes<'a> {
    /// Where the program is served.
    pub port: u32,
    /// The results, encoded.
    pub results: Opaque<'a>,
}
