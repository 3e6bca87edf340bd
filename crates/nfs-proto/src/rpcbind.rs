//! rpcbind: versions 3 and 4 of program 100000 (RFC 1833, section 2), as far as clients ask and
//! servers register: NULL, SET, UNSET, GETADDR, DUMP, GETTIME and (version 4) GETVERSADDR.
//!
//! Calls through the binder (CALLIT, BCAST, INDIRECT), GETADDRLIST, GETSTAT and the conversions of
//! addresses are not here; a server answers them with `PROC_UNAVAIL`.

use holm_xdr::{Decode, Encode, List, Opaque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The program's number; the same as that of [`portmap`](crate::portmap).
pub const PROGRAM: u32 = crate::portmap::PROGRAM;
/// The first version that is described here.
pub const VERSION_3: u32 = 3;
/// The second, which has the same procedures and GETVERSADDR.
pub const VERSION_4: u32 = 4;

/// [`Binding::netid`] of TCP over IPv4 (RFC 5665, section 4.2.2).
pub const TCP: &[u8] = b"tcp";
/// [`Binding::netid`] of TCP over IPv6.
pub const TCP6: &[u8] = b"tcp6";
/// [`Binding::netid`] of UDP over IPv4.
pub const UDP: &[u8] = b"udp";
/// [`Binding::netid`] of UDP over IPv6.
pub const UDP6: &[u8] = b"udp6";

/// Most bytes of a string; the RFC has no bound.
pub const STRING_MAX: u32 = 1024;
/// Most entries of a list that a client takes.
pub const LIST_MAX: u32 = 65_536;

/// A string that is printed in ASCII: the name of a network, an address, an owner.
pub type Text<'a> = Opaque<'a, STRING_MAX>;

program! {
    /// The procedures.
    Procedure,
    /// A procedure and its arguments.
    Call<'a> {
        /// Do nothing.
        Null = 0 "NULL",
        /// Register an address. The result is a `bool`: whether that was done.
        Set(Binding<'a>) = 1 "SET",
        /// Remove a registration. The result is a `bool`.
        Unset(Binding<'a>) = 2 "UNSET",
        /// On which address a program is served. The result is a [`Text`], empty if it is not.
        GetAddr(Binding<'a>) = 3 "GETADDR",
        /// All registrations: [`DumpRes`].
        Dump = 4 "DUMP",
        /// The server's time in seconds since the beginning of 1970, a `u32`.
        GetTime = 6 "GETTIME",
        /// As GETADDR, but for exactly this version of the program. Version 4 only.
        GetVersAddr(Binding<'a>) = 9 "GETVERSADDR",
    }
}

/// A registration (`rpcb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Binding<'a> {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The network, such as [`TCP`].
    pub netid: Text<'a>,
    /// The [universal address](universal_address).
    pub address: Text<'a>,
    /// Who registered it.
    pub owner: Text<'a>,
}

/// The result of DUMP (`rpcblist`).
pub type DumpRes<'a> = List<Binding<'a>, LIST_MAX>;

/// An address as the binder writes it (RFC 5665, section 5.2.3.3): `127.0.0.1.8.1` is port
/// 8 * 256 + 1 there.
pub fn universal_address(address: SocketAddr) -> String {
    let mut text = address.ip().to_string();
    let [high, low] = address.port().to_be_bytes();
    // Writing to a String does not fail.
    let _ = write!(text, ".{high}.{low}");
    text
}

/// Reads what [`universal_address`] writes; `None` if it is something else.
pub fn parse_universal_address(text: &[u8]) -> Option<SocketAddr> {
    let (rest, low) = std::str::from_utf8(text).ok()?.rsplit_once('.')?;
    let (ip, high) = rest.rsplit_once('.')?;
    let ip: IpAddr = ip.parse().ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes([octet(high)?, octet(low)?])))
}

/// A decimal number from 0 to 255; no sign.
fn octet(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
