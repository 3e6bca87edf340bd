//! Names of interfaces.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes: as long as the kernel takes for its own.
pub const NAME_MAX: usize = 15;

/// The name of an interface: 1 to 15 of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`, beginning with a letter
/// or a digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName {
    // The rest is zero, so that names are ordered as text is.
    bytes: [u8; NAME_MAX],
    len: u8,
}

/// Why something is no name of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name for an interface: 1 to {NAME_MAX} of a-z, A-Z, 0-9, '.', '_' and '-', \
     beginning with a letter or a digit"
)]
pub struct NoIfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        // Parsed from a `str` and all ASCII.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The name of a kind's unit, as `lagg0`.
    ///
    /// # Errors
    ///
    /// The kind is no name, or too long with the unit.
    pub fn of_unit(kind: &str, unit: u32) -> Result<Self, NoIfName> {
        format!("{kind}{unit}").parse()
    }

    /// Which unit of the kind it names, if it is such a name.
    pub fn unit_of(&self, kind: &str) -> Option<u32> {
        let digits = self.as_str().strip_prefix(kind)?;
        let unit: u32 = digits.parse().ok()?;
        // Not `lagg00` nor `lagg+1`.
        (digits == unit.to_string()).then_some(unit)
    }
}

impl FromStr for IfName {
    type Err = NoIfName;

    fn from_str(name: &str) -> Result<Self, NoIfName> {
        let refused = || NoIfName(name.chars().take(64).collect());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !name.bytes().all(allowed) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(refused());
        }
        let mut bytes = [0; NAME_MAX];
        bytes.get_mut(..name.len()).ok_or_else(refused)?.copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len: name.len() as u8 })
    }
}

impl TryFrom<&str> for IfName {
    type Error = NoIfName;

    fn try_from(name: &str) -> Result<Self, NoIfName> {
        name.parse()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for right in ["lo", "lagg0", "p-1", "eth0.100", "A_b", "123456789012345"] {
            assert_eq!(right.parse::<IfName>().unwrap().as_str(), right);
        }
        for wrong in ["", "1234567890123456", "a b", "-a", ".", "..", "a/b", "é", "a\0"] {
            assert!(wrong.parse::<IfName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn unit_is_read_from_the_name_it_made() {
        let name = IfName::of_unit("lagg", 17).unwrap();
        assert_eq!((name.as_str(), name.unit_of("lagg")), ("lagg17", Some(17)));
        for other in ["lagg", "lagg017", "lag1", "lagg1x", "tap1", "lagg4294967296"] {
            assert_eq!(other.parse::<IfName>().unwrap().unit_of("lagg"), None, "{other}");
        }
        assert!(IfName::of_unit("longest_of_all", 10).is_err());
    }
}
