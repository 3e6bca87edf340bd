//! Addresses of a link and ways that lead on from it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its bits are those of the network it is in, as in `10.0.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `None` if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// The address of a station on its link alone, made from its MAC address (RFC 4291, appendix A).
    pub fn link_local(mac: crate::MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        Self { address: IpAddr::V6(address.into()), prefix: 64 }
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The bits of the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether that address is in this network.
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other)) & self.mask_v4() == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let hosts = 128 - u32::from(self.prefix);
                let mask = u128::MAX.checked_shl(hosts).unwrap_or(0);
                (u128::from(own) ^ u128::from(other)) & mask == 0
            }
            _ => false,
        }
    }

    /// All stations of an IPv4 network; those of two addresses or one have none (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(own) if self.prefix < 31 => Some((u32::from(own) | !self.mask_v4()).into()),
            _ => None,
        }
    }

    /// The network itself, which in IPv4 is the address of no station (RFC 1122, section 3.2.1.3).
    pub fn base(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(own) if self.prefix < 31 => Some((u32::from(own) & self.mask_v4()).into()),
            _ => None,
        }
    }

    /// Whether a station can have the address.
    pub fn is_station(self) -> bool {
        is_station(self.address)
            && Some(self.address) != self.broadcast().map(IpAddr::V4)
            && Some(self.address) != self.base().map(IpAddr::V4)
    }

    fn mask_v4(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl From<crate::Cidr> for Network {
    fn from(cidr: crate::Cidr) -> Self {
        Self { address: cidr.address(), prefix: cidr.prefix() }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Not an address with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address with a prefix, as in 10.0.0.1/24 or fd00::1/64")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let prefix = prefix.bytes().all(|b| b.is_ascii_digit()).then_some(prefix)?;
            Network::new(address.parse().ok()?, prefix.parse().ok()?)
        });
        parts.ok_or_else(|| NoNetwork(text.to_owned()))
    }
}

/// Which neighbour leads to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; all there is, if the prefix is 0.
    pub network: Network,
    /// Who forwards, of the same family and on the link.
    pub via: IpAddr,
}

/// Whether one station can have the address, wherever: it is no group, not "none" and not "all".
pub(super) fn is_station(address: IpAddr) -> bool {
    !address.is_multicast()
        && !address.is_unspecified()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST)
        && !matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// The group in which everybody is who has an address with these last bits (RFC 4291, section 2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c].into()
}

/// All stations of a link (RFC 4291, section 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_has_its_prefix() {
        let network: Network = "10.1.2.3/23".parse().unwrap();
        assert!(network.contains("10.1.3.255".parse().unwrap()));
        assert!(!network.contains("10.1.4.0".parse().unwrap()));
        assert!(!network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert_eq!(network.broadcast(), Some(Ipv4Addr::new(10, 1, 3, 255)));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        let v6: Network = "fd00::1/65".parse().unwrap();
        assert!(v6.contains("fd00::7fff:0:0:1".parse().unwrap()));
        assert!(!v6.contains("fd00::8000:0:0:1".parse().unwrap()));
        assert!("::/0".parse::<Network>().unwrap().contains(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }

    #[test]
    fn what_no_station_can_have_is_known() {
        for wrong in ["10.0.0.0/24", "10.0.0.255/24", "224.0.0.1/4", "0.0.0.0/0", "ff02::1/64"] {
            assert!(!wrong.parse::<Network>().unwrap().is_station(), "{wrong}");
        }
        for right in ["10.0.0.0/31", "10.0.0.1/32", "fe80::1/64", "127.0.0.1/8"] {
            assert!(right.parse::<Network>().unwrap().is_station(), "{right}");
        }
        for wrong in ["10.0.0.1", "10.0.0.1/33", "fd00::/129", "10.0.0.1/+8", "/8", ""] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_link_local_address_comes_from_the_mac_address() {
        let mac = "02:00:5e:10:00:01".parse().unwrap();
        assert_eq!(Network::link_local(mac).to_string(), "fe80::5eff:fe10:1/64");
    }
}
