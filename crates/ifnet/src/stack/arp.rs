//! Who has which IPv4 address (RFC 826).

use crate::ether::{self, MacAddress};
use crate::frame::Frame;
use std::net::Ipv4Addr;

/// What is on the wire behind the Ethernet header.
pub(super) const TYPE: u16 = 0x0806;

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arp {
    pub(super) operation: Operation,
    pub(super) sender: (MacAddress, Ipv4Addr),
    pub(super) target: (MacAddress, Ipv4Addr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Request,
    Reply,
}

impl Arp {
    /// Takes a message apart; `None` if it is none about Ethernet and IPv4.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let (&message, _) = payload.split_first_chunk::<{ PREFIX.len() + 22 }>()?;
        let (&prefix, rest) = message.split_first_chunk()?;
        let (&operation, rest) = rest.split_first_chunk()?;
        let (&sender_mac, rest) = rest.split_first_chunk()?;
        let (&sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (&target_mac, rest) = rest.split_first_chunk()?;
        let (&target_ip, _) = rest.split_first_chunk::<4>()?;
        let operation = match u16::from_be_bytes(operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        (prefix == PREFIX).then_some(Self {
            operation,
            sender: (MacAddress(sender_mac), sender_ip.into()),
            target: (MacAddress(target_mac), target_ip.into()),
        })
    }

    /// The frame that takes it to `destination`.
    pub(super) fn frame(&self, destination: MacAddress) -> Frame {
        let mut frame = ether::header(destination, self.sender.0, TYPE).to_vec();
        frame.extend(PREFIX);
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        frame.extend(operation.to_be_bytes());
        for (mac, ip) in [self.sender, self.target] {
            frame.extend(mac.0);
            frame.extend(ip.octets());
        }
        frame.into()
    }
}

/// Who is at that address?
pub(super) fn request(own: (MacAddress, Ipv4Addr), wanted: Ipv4Addr) -> Frame {
    let target = (MacAddress::default(), wanted);
    Arp { operation: Operation::Request, sender: own, target }.frame(MacAddress::BROADCAST)
}

/// We are at that address, whoever may want to know (RFC 5227, section 2.3).
pub(super) fn announcement(own: (MacAddress, Ipv4Addr)) -> Frame {
    request(own, own.1)
}

/// Ethernet, IPv4, addresses of 6 bytes and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_is_written() {
        let own = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
        let frame = request(own, Ipv4Addr::new(10, 0, 0, 2));
        let ethernet = ether::Ethernet::parse(&frame).unwrap();
        assert_eq!((ethernet.destination, ethernet.ether_type), (MacAddress::BROADCAST, TYPE));
        let target = (MacAddress::default(), Ipv4Addr::new(10, 0, 0, 2));
        let expected = Arp { operation: Operation::Request, sender: own, target };
        assert_eq!(Arp::parse(ethernet.payload), Some(expected));
        for short in 0..28 {
            assert_eq!(Arp::parse(&ethernet.payload[..short]), None);
        }
        for wrong in 0..8 {
            let mut payload = ethernet.payload.to_vec();
            payload[wrong] ^= 0x40;
            assert_eq!(Arp::parse(&payload), None, "byte {wrong}");
        }
    }
}
