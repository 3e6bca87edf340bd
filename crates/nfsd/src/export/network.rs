//! Whom an export is for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that have a prefix in common: `10.0.0.0/8`, `fd00::/8`, or one: `10.0.0.1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address.
    #[error(
        "{0:?} is no network: write an address, as 10.0.0.1 or fd00::1, and perhaps the length of \
         a prefix, as 10.0.0.0/8"
    )]
    Address(String),
    /// The length of the prefix is none.
    #[error("{text:?} is no network: the length of the prefix is a number from 0 to {max}")]
    Prefix {
        /// What was to be read.
        text: String,
        /// The longest prefix of such an address.
        max: u8,
    },
    /// Bits behind the prefix are not zero.
    #[error("{text:?} has bits behind its prefix: write {meant}, or {address} for one address")]
    HostBits {
        /// What was to be read.
        text: String,
        /// The network that it lies in.
        meant: Network,
        /// The address.
        address: IpAddr,
    },
}

impl Network {
    /// All addresses of IPv4.
    pub const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// All addresses of IPv6.
    pub const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };
    /// The machine itself, by IPv4 and IPv6.
    pub const LOOPBACK: [Self; 2] = [
        Self { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
        Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    ];

    /// Whether an address lies in it. An IPv4 address that is written as IPv6
    /// (`::ffff:10.0.0.1`) is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                (bits(self.address) ^ bits(address)) & mask(self.prefix) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let no_address = || NetworkError::Address(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| no_address())?;
        let max = length(address);
        let prefix = match prefix {
            None => max,
            Some(digits) => Some(digits)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|prefix| *prefix <= max)
                .ok_or_else(|| NetworkError::Prefix { text: text.to_owned(), max })?,
        };
        if address != address.to_canonical() {
            // It would never match, since addresses of clients are made canonical.
            return Err(no_address());
        }
        let first = bits(address) & mask(prefix);
        if first == bits(address) {
            return Ok(Self { address, prefix });
        }
        let meant = match address {
            // The address is in the upper bits.
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((first >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        let meant = Self { address: meant, prefix };
        Err(NetworkError::HostBits { text: text.to_owned(), meant, address })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == length(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The bits of an address, from the highest on.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn contains(network_: &str, address: &str) -> bool {
        network(network_).contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix_and_no_others() {
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "fd00::1") && !contains("::/0", "10.0.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
        assert!(contains("10.1.2.2/31", "10.1.2.3") && !contains("10.1.2.2/31", "10.1.2.4"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::"));
        assert!(contains("127.0.0.0/8", "::ffff:127.0.0.1"), "the same by IPv6");
        assert!(!contains("::/96", "::ffff:127.0.0.1"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["10.0.0.0/8", "10.1.2.3", "::/0", "fd00::/8", "::1", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("10.1.2.3/32").to_string(), "10.1.2.3");
    }

    #[test]
    fn what_is_no_network_says_why() {
        let error = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        for text in ["", "*", "host", "10.0.0.0.0", "10.0.0.0:80", "/8", "::ffff:1.2.3.4"] {
            assert!(error(text).contains("write an address"), "{text}: {}", error(text));
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(error(text).contains("0 to 32"), "{text}: {}", error(text));
        }
        assert!(error("::/129").contains("0 to 128"));
        assert!(error("10.1.2.3/8").contains("write 10.0.0.0/8, or 10.1.2.3"));
        assert!(error("fd00::1/8").contains("write fd00::/8, or fd00::1"));
    }
}
