//! Echo, neighbour discovery and unreachable ports (RFC 792, RFC 4443, RFC 4861).

use super::address::{ALL_NODES, solicited_node};
use super::packet::{ICMPV4, ICMPV6, Outgoing, Packet, build, sum};
use crate::ether::MacAddress;
use std::net::{IpAddr, Ipv6Addr};

/// A message that the stack has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icmp<'f> {
    /// Send this back: identifier, number and data.
    Echo(&'f [u8]),
    /// Who is at that address? `sender`, if it is said, may be remembered.
    Solicitation { target: Ipv6Addr, sender: Option<MacAddress> },
    /// Somebody is at that address.
    Advertisement { target: Ipv6Addr, mac: MacAddress },
    /// Anything else.
    Other,
}

/// A checksum that is wrong, or a message that is cut off or not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Checksum,
    Malformed,
}

impl<'f> Icmp<'f> {
    /// Takes what a packet of ICMP or ICMPv6 carries apart.
    pub(super) fn parse(packet: &Packet<'f>) -> Result<Self, Wrong> {
        let sum = match packet.source {
            IpAddr::V4(_) => smoltcp::wire::checksum::data(packet.payload),
            IpAddr::V6(_) => sum(packet.source, packet.destination, ICMPV6, packet.payload),
        };
        let (&[kind, code, _, _], rest) =
            packet.payload.split_first_chunk().ok_or(Wrong::Malformed)?;
        if sum != !0 {
            return Err(Wrong::Checksum);
        }
        match (packet.protocol, kind, code) {
            (ICMPV4, 8, 0) | (ICMPV6, 128, 0) if rest.len() >= 4 => Ok(Icmp::Echo(rest)),
            (ICMPV6, 135 | 136, 0) => discovery(packet, kind, rest).ok_or(Wrong::Malformed),
            _ => Ok(Icmp::Other),
        }
    }
}

/// Neighbour solicitations and advertisements, with the checks that the RFC wants (sections 7.1.1
/// and 7.1.2): one that came through a router is not of a neighbour.
fn discovery<'f>(packet: &Packet<'f>, kind: u8, rest: &'f [u8]) -> Option<Icmp<'f>> {
    let (&[flags, ..], rest) = rest.split_first_chunk::<4>()?;
    let (&target, options) = rest.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(target);
    if packet.hop_limit != 255 || target.is_multicast() {
        return None;
    }
    let detects_duplicates = packet.source.is_unspecified();
    if kind == 135 {
        let sender = link_layer_address(options, 1)?;
        if detects_duplicates && sender.is_some() {
            return None;
        }
        return Some(Icmp::Solicitation { target, sender });
    }
    let solicited = flags & 0x40 != 0;
    if detects_duplicates || (solicited && packet.destination.is_multicast()) {
        return None;
    }
    Some(
        link_layer_address(options, 2)?
            .map_or(Icmp::Other, |mac| Icmp::Advertisement { target, mac }),
    )
}

/// The address in the option of that type, if there is one; `None` if the options are malformed.
fn link_layer_address(mut options: &[u8], wanted: u8) -> Option<Option<MacAddress>> {
    let mut found = None;
    while let Some((&[kind, eights], _)) = options.split_first_chunk() {
        let (option, rest) = options.split_at_checked(usize::from(eights) * 8)?;
        let (_, value) = option.split_at_checked(2)?;
        if kind == wanted {
            let (&mac, _) = value.split_first_chunk()?;
            found = Some(MacAddress(mac)).filter(|mac| mac.is_station());
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// The answer to an echo request.
pub(super) fn echo_reply(from: IpAddr, to: IpAddr, data: &[u8]) -> Option<Outgoing> {
    let kind = if from.is_ipv4() { 0 } else { 129 };
    message(from, to, 64, [kind, 0], &[data])
}

/// Nobody receives what that packet carries (RFC 1122, section 4.1.3.1). It is quoted as far as an
/// answer may be long everywhere.
pub(super) fn port_unreachable(packet: &Packet<'_>) -> Option<Outgoing> {
    let (kind, most) = match packet.source {
        IpAddr::V4(_) => ([3, 3], 576 - 28),
        IpAddr::V6(_) => ([1, 4], 1280 - 48),
    };
    let quoted = packet.whole.get(..most).unwrap_or(packet.whole);
    message(packet.destination, packet.source, 64, kind, &[&[0; 4], quoted])
}

/// Who is at that address?
pub(super) fn solicitation(own: (MacAddress, Ipv6Addr), wanted: Ipv6Addr) -> Option<Outgoing> {
    let option = option(1, own.0);
    let parts: [&[u8]; 3] = [&[0; 4], &wanted.octets(), &option];
    message(own.1.into(), solicited_node(wanted).into(), 255, [135, 0], &parts)
}

/// We are at that address: to one who asked, or else to all who may want to know (RFC 4861,
/// section 7.2.6). Either way it replaces what they thought.
pub(super) fn advertisement(
    own: (MacAddress, Ipv6Addr),
    asked_by: Option<Ipv6Addr>,
) -> Option<Outgoing> {
    let flags = if asked_by.is_some() { 0x60 } else { 0x20 };
    let option = option(2, own.0);
    let parts: [&[u8]; 3] = [&[flags, 0, 0, 0], &own.1.octets(), &option];
    message(own.1.into(), asked_by.unwrap_or(ALL_NODES).into(), 255, [136, 0], &parts)
}

fn option(kind: u8, mac: MacAddress) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [kind, 1, a, b, c, d, e, f]
}

/// A packet with a message of that type and code, and a checksum.
fn message(
    from: IpAddr,
    to: IpAddr,
    hop_limit: u8,
    [kind, code]: [u8; 2],
    parts: &[&[u8]],
) -> Option<Outgoing> {
    let protocol = if from.is_ipv4() { ICMPV4 } else { ICMPV6 };
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    build(from, to, protocol, hop_limit, length, |payload| {
        let mut rest = &mut payload[..];
        for part in [&[kind, code, 0, 0][..]].iter().chain(parts) {
            if let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                to.copy_from_slice(part);
                rest = after;
            }
        }
        let sum = match from {
            IpAddr::V4(_) => smoltcp::wire::checksum::data(payload),
            IpAddr::V6(_) => sum(from, to, ICMPV6, payload),
        };
        if let Some(checksum) = payload.get_mut(2..4) {
            checksum.copy_from_slice(&(!sum).to_be_bytes());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ether::HEADER;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn messages_of_discovery_are_read_as_they_are_written() {
        let (own, wanted) = (v6("fe80::1"), v6("fe80::2:3"));
        let made = solicitation((MAC, own), wanted).unwrap();
        let packet = Packet::parse_v6(&made[HEADER..]).unwrap();
        assert_eq!(packet.destination, IpAddr::V6(v6("ff02::1:ff02:3")));
        let expected = Icmp::Solicitation { target: wanted, sender: Some(MAC) };
        assert_eq!(Icmp::parse(&packet), Ok(expected));

        for asked_by in [None, Some(wanted)] {
            let made = advertisement((MAC, own), asked_by).unwrap();
            let packet = Packet::parse_v6(&made[HEADER..]).unwrap();
            let expected = Icmp::Advertisement { target: own, mac: MAC };
            assert_eq!(Icmp::parse(&packet), Ok(expected));
            let routed = Packet { hop_limit: 254, ..packet };
            assert_eq!(Icmp::parse(&routed), Err(Wrong::Malformed));
            for short in 0..packet.payload.len() {
                let cut = Packet { payload: &packet.payload[..short], ..packet };
                assert!(Icmp::parse(&cut).is_err());
            }
        }
    }

    #[test]
    fn an_echo_carries_what_came() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let kind: u8 = if IpAddr::is_ipv4(&from) { 8 } else { 128 };
            let made = message(from, to, 64, [kind, 0], &[b"idno", b"data"]).unwrap();
            let parse = if from.is_ipv4() { Packet::parse_v4 } else { Packet::parse_v6 };
            let packet = parse(&made[HEADER..]).unwrap();
            assert_eq!(Icmp::parse(&packet), Ok(Icmp::Echo(b"idnodata")));
            let reply = echo_reply(to, from, b"idnodata").unwrap();
            let packet = parse(&reply[HEADER..]).unwrap();
            assert_eq!(packet.payload.first(), Some(if from.is_ipv4() { &0 } else { &129 }));
            assert_eq!(Icmp::parse(&packet), Ok(Icmp::Other));
        }
    }
}
