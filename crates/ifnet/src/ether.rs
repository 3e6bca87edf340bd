//! Ethernet: addresses and the header of a frame (IEEE 802.3, clause 3).

use std::fmt;
use std::str::FromStr;

/// Bytes of the header: two addresses and a type.
pub const HEADER: usize = 14;
/// Bytes of the smallest MTU an interface takes: what every IPv4 host must accept (RFC 791, section 3.2).
pub const MTU_MIN: usize = 576;
/// Bytes of the largest MTU: with the header it makes a frame of 65,535.
pub const MTU_MAX: usize = 65_521;
/// Bytes of the MTU of what nothing else is said of.
pub const MTU: usize = 1500;
/// Bytes of a VLAN tag (IEEE 802.1Q, clause 9.3). It stands in a frame beside what the MTU counts.
pub const VLAN_TAG: usize = 4;
/// The type of a VLAN tag, of a customer's and of a service's (IEEE 802.1Q, table 9-1).
pub const VLAN: u16 = 0x8100;
/// See [`VLAN`].
pub const SERVICE_VLAN: u16 = 0x88a8;

/// The address of a station or a group of them (IEEE 802, clause 8): six bytes, in the order in which
/// they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group: its first bit on the wire is set.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station can have it: it names no group and is not all zeros.
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::default()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Not six bytes in hexadecimal with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address: six bytes in hexadecimal, as in 02:00:00:00:00:01")]
pub struct NoMacAddress(String);

impl FromStr for MacAddress {
    type Err = NoMacAddress;

    fn from_str(text: &str) -> Result<Self, NoMacAddress> {
        let refused = || NoMacAddress(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && is_hexadecimal(part));
            let part = part.ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The header of a frame, and what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet<'f> {
    /// To whom.
    pub destination: MacAddress,
    /// From whom.
    pub source: MacAddress,
    /// What it carries, or below 1536 how many bytes (clause 3.2.6).
    pub ether_type: u16,
    /// What it carries, padding included.
    pub payload: &'f [u8],
}

impl<'f> Ethernet<'f> {
    /// Takes a frame apart; `None` if it is shorter than the header.
    pub fn parse(frame: &'f [u8]) -> Option<Self> {
        let (destination, rest) = frame.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (ether_type, payload) = rest.split_first_chunk()?;
        Some(Self {
            destination: MacAddress(*destination),
            source: MacAddress(*source),
            ether_type: u16::from_be_bytes(*ether_type),
            payload,
        })
    }
}

/// Bytes of the longest frame like this one where packets have `mtu` bytes at most: with a tag, if it has
/// one.
pub fn longest_like(frame: &[u8], mtu: usize) -> usize {
    let ether_type = Ethernet::parse(frame).map(|ethernet| ethernet.ether_type);
    let tag = if let Some(VLAN | SERVICE_VLAN) = ether_type { VLAN_TAG } else { 0 };
    HEADER + tag + mtu
}

/// The header of a frame.
pub fn header(destination: MacAddress, source: MacAddress, ether_type: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let parts = destination.0.into_iter().chain(source.0).chain(ether_type.to_be_bytes());
    for (to, byte) in header.iter_mut().zip(parts) {
        *to = byte;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let address: MacAddress = "02:00:5e:10:FF:01".parse().unwrap();
        assert_eq!(address.to_string(), "02:00:5e:10:ff:01");
        for wrong in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "02:00:00:00:00:+1"]
        {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_frame_is_cut_where_its_header_ends() {
        let frame: Vec<u8> = (0..20).collect();
        let ethernet = Ethernet::parse(&frame).unwrap();
        assert_eq!(ethernet.destination, MacAddress([0, 1, 2, 3, 4, 5]));
        assert_eq!(ethernet.source, MacAddress([6, 7, 8, 9, 10, 11]));
        assert_eq!((ethernet.ether_type, ethernet.payload), (0x0c0d, &frame[14..]));
        for short in 0..HEADER {
            assert_eq!(Ethernet::parse(&frame[..short]), None);
        }
    }
}
