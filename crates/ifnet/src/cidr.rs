//! Addresses of interfaces, and the network that each is in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address and how many of its bits name the network (RFC 4632, RFC 4291): `10.0.0.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why something is no address for an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address for an interface: {why}")]
pub struct NoCidr {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Cidr {
    /// An address and the length of its network's prefix, in bits.
    ///
    /// # Errors
    ///
    /// The prefix is longer than the address, or no interface can have the address: it names a group
    /// or nobody.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NoCidr> {
        let refused = |why| Err(NoCidr { text: format!("{address}/{prefix}"), why });
        let (bits, broadcast) = match address {
            IpAddr::V4(v4) => (32, v4.is_broadcast()),
            IpAddr::V6(_) => (128, false),
        };
        if prefix > bits {
            return refused("its prefix has more bits than the address");
        }
        if address.is_unspecified() || address.is_multicast() || broadcast {
            return refused("it names a group or nobody");
        }
        Ok(Self { address, prefix })
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of it name the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let refused = |why| NoCidr { text: text.chars().take(64).collect(), why };
        let (address, prefix) =
            text.split_once('/').ok_or(refused("write it as in 10.0.0.1/24 or fd00::1/64"))?;
        let address = address.parse().map_err(|_| refused("no IP address stands before the /"))?;
        // Without a sign, which the number's own parser takes.
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits);
        let prefix = prefix.ok_or(refused("no number of bits stands behind the /"))?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_as_it_is_written() {
        for right in ["10.0.0.1/24", "10.0.0.1/32", "0.1.0.0/0", "fd00::1/64", "fe80::1/128"] {
            assert_eq!(right.parse::<Cidr>().unwrap().to_string(), right);
        }
        let wrong = [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "10.0.0.1/",
            "0.0.0.0/8",
            "ff02::1/64",
            "::/0",
            "224.0.0.1/4",
            "255.255.255.255/32",
            "fd00::1/129",
            "10.0.0/24",
            "1/1/1",
        ];
        for wrong in wrong {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
