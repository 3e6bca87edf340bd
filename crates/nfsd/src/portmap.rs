//! The embedded port mapper (RFC 1833): version 2, and versions 3 and 4 as far as clients ask.
//!
//! It knows the programs of this crate, where the service is listening, and on the network "local"
//! the door at which local files are opened. Nobody can register
//! anything else, it calls nothing on behalf of others, and clients to whom nothing is exported
//! hear of nothing.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use crate::service::{Attended, Blocking, Context, Transport};
use holm_nfs_proto::localio::{self, door};
use holm_nfs_proto::{mount, nfs3, portmap, rpcbind};
use holm_sunrpc::{Answer, Call, Program, Refusal};
use holm_xdr::{Encode, Encoder, Opaque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

/// The program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portmap;

impl<B: Blocking> Program<Context<B>> for Portmap {
    fn number(&self) -> u32 {
        portmap::PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        portmap::VERSION..=rpcbind::VERSION_4
    }

    fn call(
        &self,
        context: &mut Context<B>,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        let attended = context.attended()?;
        if call.version == portmap::VERSION {
            version_2(attended, call, results)
        } else {
            versions_3_and_4(attended, call, results)
        }
    }
}

fn version_2(attended: &Attended, call: &Call<'_>, out: &mut Encoder) -> Result<Answer, Refusal> {
    use portmap::{Call, Procedure};
    let procedure = Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
    match Call::decode(procedure, &mut call.arguments())? {
        Call::Null => {}
        Call::Set(_) | Call::Unset(_) => out.bool(false),
        Call::GetPort(asked) => {
            let transport = match asked.protocol {
                portmap::TCP => Some(Transport::Tcp),
                portmap::UDP => Some(Transport::Udp),
                _ => None,
            };
            let place = transport
                .filter(|on| is_served(asked.program, Some(asked.version), *on))
                .and_then(|on| place(attended, asked.program, on, None));
            out.u32(place.map_or(0, |place| place.port().into()));
        }
        Call::Dump => {
            for (program, version, transport) in SERVED {
                if let Some(place) = place(attended, program, transport, None) {
                    let protocol = match transport {
                        Transport::Tcp => portmap::TCP,
                        Transport::Udp => portmap::UDP,
                    };
                    out.bool(true);
                    let port = place.port().into();
                    portmap::Mapping { program, version, protocol, port }.encode(out);
                }
            }
            out.bool(false);
        }
        // A failure has no reply.
        Call::CallIt(_) => return Ok(Answer::Never),
    }
    Ok(Answer::Now)
}

fn versions_3_and_4(
    attended: &Attended,
    call: &Call<'_>,
    out: &mut Encoder,
) -> Result<Answer, Refusal> {
    use rpcbind::{Call, Procedure};
    let procedure = Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
    if procedure == Procedure::GetVersAddr && call.version != rpcbind::VERSION_4 {
        return Err(Refusal::ProcedureUnavailable);
    }
    match Call::decode(procedure, &mut call.arguments())? {
        Call::Null => {}
        Call::Set(_) | Call::Unset(_) => out.bool(false),
        // At the door, which has no versions of its own.
        Call::GetAddr(asked) | Call::GetVersAddr(asked) if asked.netid.bytes() == door::NETID => {
            let door = door_of(attended, &asked);
            text(door.unwrap_or_default().as_bytes()).encode(out);
        }
        // Of whatever version: the program itself says which there are.
        Call::GetAddr(asked) => address(attended, &asked, None, out),
        Call::GetVersAddr(asked) => address(attended, &asked, Some(asked.version), out),
        Call::Dump => {
            for (program, version, transport) in SERVED {
                if let Some(place) = place(attended, program, transport, None) {
                    let address = rpcbind::universal_address(place);
                    out.bool(true);
                    rpcbind::Binding {
                        program,
                        version,
                        netid: text(netid(transport, place.ip())),
                        address: text(address.as_bytes()),
                        owner: text(b"superuser"),
                    }
                    .encode(out);
                }
            }
            out.bool(false);
        }
        Call::GetTime => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // In 2106 it begins again.
            out.u32(since.as_secs() as u32);
        }
    }
    Ok(Answer::Now)
}

/// Answers with the address of a program; empty, if it is not served.
fn address(
    attended: &Attended,
    asked: &rpcbind::Binding<'_>,
    version: Option<u32>,
    out: &mut Encoder,
) {
    let (transport, is_v4) = match asked.netid.bytes() {
        rpcbind::TCP => (Transport::Tcp, Some(true)),
        rpcbind::TCP6 => (Transport::Tcp, Some(false)),
        rpcbind::UDP => (Transport::Udp, Some(true)),
        rpcbind::UDP6 => (Transport::Udp, Some(false)),
        // That by which it was asked.
        _ => (attended.peer.transport(), None),
    };
    let place = if is_served(asked.program, version, transport) {
        place(attended, asked.program, transport, is_v4)
    } else {
        None
    };
    let address = place.map(rpcbind::universal_address).unwrap_or_default();
    text(address.as_bytes()).encode(out);
}

/// Where local files are opened, if a peer asks for that who has a connection on which it can prove
/// that it is local.
fn door_of(attended: &Attended, asked: &rpcbind::Binding<'_>) -> Option<String> {
    let may = attended.peer.transport() == Transport::Tcp && attended.admits_peer();
    let is_known = (asked.program, asked.version) == (localio::PROGRAM, localio::VERSION);
    if may && is_known { attended.service.local().address() } else { None }
}

/// Where the peer reaches a program by a transport: on the port that it has reached us on, if we are
/// listening there by that transport too. At the namespace's own interfaces the port mapper has its own.
fn place(
    attended: &Attended,
    program: u32,
    transport: Transport,
    is_v4: Option<bool>,
) -> Option<SocketAddr> {
    if !attended.admits_peer() {
        return None;
    }
    let (local, own_link) = (attended.peer.local(), attended.peer.origin().own_link);
    let listening = attended.service.listening();
    let reachable = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        // "All addresses" of IPv6 are those of IPv4 too, as Linux has it by default.
        let reaches = match ip {
            IpAddr::V6(ip) if ip.is_unspecified() => true,
            ip if ip.is_unspecified() => local.is_ipv4(),
            ip => ip == local.ip(),
        };
        reaches && is_v4.is_none_or(|is_v4| is_v4 == local.is_ipv4())
    };
    let mut places = listening
        .iter()
        .filter(|known| known.transport == transport && known.own_link == own_link)
        .filter(|known| reachable(&known.address))
        .map(|known| known.address.port());
    let first = places.next()?;
    let port = if own_link && program == portmap::PROGRAM {
        portmap::PORT
    } else if places.any(|port| port == local.port()) {
        local.port()
    } else {
        first
    };
    Some(SocketAddr::new(local.ip(), port))
}

fn is_served(program: u32, version: Option<u32>, transport: Transport) -> bool {
    SERVED.iter().any(|known| {
        (known.0, known.2) == (program, transport) && version.is_none_or(|asked| asked == known.1)
    })
}

fn netid(transport: Transport, address: IpAddr) -> &'static [u8] {
    match (transport, address.is_ipv4()) {
        (Transport::Tcp, true) => rpcbind::TCP,
        (Transport::Tcp, false) => rpcbind::TCP6,
        (Transport::Udp, true) => rpcbind::UDP,
        (Transport::Udp, false) => rpcbind::UDP6,
    }
}

fn text(bytes: &[u8]) -> rpcbind::Text<'_> {
    // An address has less than 100 bytes.
    Opaque::new(bytes).unwrap_or_default()
}

/// Programs, versions, and how they are served.
const SERVED: [(u32, u32, Transport); 10] = [
    (portmap::PROGRAM, portmap::VERSION, Transport::Tcp),
    (portmap::PROGRAM, portmap::VERSION, Transport::Udp),
    (portmap::PROGRAM, rpcbind::VERSION_3, Transport::Tcp),
    (portmap::PROGRAM, rpcbind::VERSION_3, Transport::Udp),
    (portmap::PROGRAM, rpcbind::VERSION_4, Transport::Tcp),
    (portmap::PROGRAM, rpcbind::VERSION_4, Transport::Udp),
    (mount::PROGRAM, mount::VERSION, Transport::Tcp),
    (mount::PROGRAM, mount::VERSION, Transport::Udp),
    (nfs3::PROGRAM, nfs3::VERSION, Transport::Tcp),
    (localio::PROGRAM, localio::VERSION, Transport::Tcp),
];
