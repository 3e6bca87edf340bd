//! IP packets: what is taken in, and the headers of what is sent (RFC 791, RFC 8200).

use super::counters::Reason;
use crate::ether;
use crate::frame::Frame;
use smoltcp::wire::{IpProtocol, checksum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A packet that came, whole and for one station or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'f> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    /// What it carries, without padding.
    pub(super) payload: &'f [u8],
    /// All of it, from the header on and without padding.
    pub(super) whole: &'f [u8],
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV4: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

impl<'f> Packet<'f> {
    /// Takes one of IPv4 apart.
    pub(super) fn parse_v4(bytes: &'f [u8]) -> Result<Self, Reason> {
        let (&header, _) = bytes.split_first_chunk::<20>().ok_or(Reason::Truncated)?;
        let [first, _, l0, l1, _, _, fragment, offset, hop_limit, protocol, _, _, rest @ ..] =
            header;
        let [s0, s1, s2, s3, d0, d1, d2, d3] = rest;
        let header_length = usize::from(first & 0xf) * 4;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if first >> 4 != 4 || header_length < 20 || length < header_length {
            return Err(Reason::Malformed);
        }
        let whole = bytes.get(..length).ok_or(Reason::Truncated)?;
        let (header, payload) = whole.split_at_checked(header_length).ok_or(Reason::Truncated)?;
        if checksum::data(header) != !0 {
            return Err(Reason::Checksum);
        }
        // All but "may not be fragmented": one of several.
        if fragment & 0xbf != 0 || offset != 0 {
            return Err(Reason::Fragment);
        }
        Ok(Self {
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            protocol,
            hop_limit,
            payload,
            whole,
        })
    }

    /// Takes one of IPv6 apart. What begins with extension headers has a protocol that nobody takes.
    pub(super) fn parse_v6(bytes: &'f [u8]) -> Result<Self, Reason> {
        let (&header, rest) = bytes.split_first_chunk::<40>().ok_or(Reason::Truncated)?;
        let [first, _, _, _, l0, l1, protocol, hop_limit, addresses @ ..] = header;
        if first >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let payload = rest.get(..length).ok_or(Reason::Truncated)?;
        let whole = bytes.get(..header.len() + length).ok_or(Reason::Truncated)?;
        let mut source = [0; 16];
        let mut destination = [0; 16];
        let (from, to) = addresses.split_at(16);
        source.copy_from_slice(from);
        destination.copy_from_slice(to);
        let (source, destination) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            protocol,
            hop_limit,
            payload,
            whole,
        })
    }
}

/// A packet that goes: room for the Ethernet header, then the packet.
pub(super) type Outgoing = Frame;

/// Makes a packet that carries what `fill` writes into `length` zeros. `None`: the addresses are not
/// of one family, or it is longer than a packet can be.
pub(super) fn build(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    hop_limit: u8,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Option<Outgoing> {
    let mut header = Vec::with_capacity(40);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + length).ok()?;
            header.extend([0x45, 0]);
            header.extend(total.to_be_bytes());
            // It may not be fragmented, so it needs no identification (RFC 6864, section 4.1).
            header.extend([0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = !checksum::data(&header);
            header.splice(10..12, sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(length).ok()?;
            header.extend([0x60, 0, 0, 0]);
            header.extend(length.to_be_bytes());
            header.extend([protocol, hop_limit]);
            header.extend(source.octets());
            header.extend(destination.octets());
        }
        _ => return None,
    }
    let mut packet = vec![0; ether::HEADER + header.len() + length];
    let (_, rest) = packet.split_at_mut_checked(ether::HEADER)?;
    let (to, payload) = rest.split_at_mut_checked(header.len())?;
    to.copy_from_slice(&header);
    fill(payload);
    Some(packet.into())
}

/// The sum over a payload and what is known of its header: of a payload whose checksum is right it
/// is all ones, and of one whose checksum is zero the checksum is its complement (RFC 1071).
pub(super) fn sum(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let protocol = IpProtocol::from(protocol);
    let pseudo = checksum::pseudo_header(&source.into(), &destination.into(), protocol, length);
    checksum::combine(&[pseudo, checksum::data(payload)])
}

/// The sum over what is known of the header of a payload of that length: what stands in place of the checksum
/// where that is left to others.
pub(super) fn pseudo_sum(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    checksum::pseudo_header(&source.into(), &destination.into(), protocol.into(), length)
}

/// Whom an outgoing packet is for.
pub(super) fn destination_of(packet: &[u8]) -> Option<IpAddr> {
    let packet = packet.get(ether::HEADER..)?;
    match packet.first()? >> 4 {
        4 => {
            let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some(IpAddr::from(address))
        }
        6 => {
            let address: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some(IpAddr::from(address))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_taken_apart_again() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let fill = |payload: &mut [u8]| payload.copy_from_slice(b"hello");
            let packet = build(source, destination, UDP, 64, 5, fill).unwrap();
            assert_eq!(destination_of(&packet), Some(destination));
            let parse = if source.is_ipv4() { Packet::parse_v4 } else { Packet::parse_v6 };
            let mut padded = packet.get(ether::HEADER..).unwrap().to_vec();
            padded.extend([0; 13]);
            let taken = parse(&padded).unwrap();
            assert_eq!((taken.source, taken.destination), (source, destination));
            assert_eq!((taken.protocol, taken.hop_limit, taken.payload), (UDP, 64, &b"hello"[..]));
            for short in 0..padded.len() - 13 {
                assert_eq!(parse(&padded[..short]), Err(Reason::Truncated));
            }
        }
    }

    #[test]
    fn fragments_and_wrong_headers_are_refused() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let made = build(source.into(), destination.into(), UDP, 64, 8, |_| {}).unwrap();
        let packet = &made[ether::HEADER..];
        let changed = |at: usize, to: u8| {
            let mut packet = packet.to_vec();
            packet[at] = to;
            packet[10..12].fill(0);
            let sum = !checksum::data(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            Packet::parse_v4(&packet).map(|_| ()).unwrap_err()
        };
        assert_eq!(changed(6, 0x20), Reason::Fragment);
        assert_eq!(changed(7, 1), Reason::Fragment);
        assert_eq!(changed(0, 0x55), Reason::Malformed);
        assert_eq!(changed(0, 0x44), Reason::Malformed);
        assert_eq!(changed(3, 19), Reason::Malformed);
        let mut wrong = packet.to_vec();
        wrong[8] = 3;
        assert_eq!(Packet::parse_v4(&wrong), Err(Reason::Checksum));
    }
}
