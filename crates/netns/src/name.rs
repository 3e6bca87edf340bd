//! Names of namespaces.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The name of a namespace: 1 to 63 of `a-z`, `0-9` and `-`.
///
/// It is kept in place, in the size of a cache line, because names are compared on every look-up.
#[derive(Clone, Copy)]
pub struct NsName {
    len: u8,
    // The rest is zero.
    bytes: [u8; NAME_MAX],
}

/// The longest name, in bytes.
pub const NAME_MAX: usize = 63;

/// Why something is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a namespace needs a name: 1 to {NAME_MAX} of a-z, 0-9 and '-'")]
    Empty,
    /// It has too many.
    #[error("namespace name of {0} bytes is too long: at most {NAME_MAX}")]
    TooLong(usize),
    /// It has another character.
    #[error(
        "namespace name {name:?}: {found:?} at position {position} is not one of a-z, 0-9 and '-'"
    )]
    BadCharacter {
        /// The whole of it.
        name: String,
        /// The first such character.
        found: char,
        /// Which one it is, counted from 1.
        position: usize,
    },
}

impl NsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Parsed from a `str` and all ASCII.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The name as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl FromStr for NsName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(NameError::TooLong(name.len()));
        }
        match name.chars().enumerate().find(|(_, c)| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            None => {
                let mut bytes = [0; NAME_MAX];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                Ok(Self { len: name.len() as u8, bytes })
            }
            Some((at, found)) => {
                Err(NameError::BadCharacter { name: name.to_owned(), found, position: at + 1 })
            }
        }
    }
}

impl TryFrom<&str> for NsName {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        name.parse()
    }
}

impl PartialEq for NsName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NsName {}

impl Hash for NsName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for NsName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NsName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Which namespace, of all there ever were in a registry. A name can be used again, an id is not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NsId {
    /// Its name.
    pub name: NsName,
    /// Its number, from 1.
    pub id: u64,
}

/// `NAME@ID`, which also finds a namespace that is draining and whose name is taken again.
impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "a".repeat(NAME_MAX);
        for good in ["a", "0", "-", "blue", "vm-17", longest.as_str()] {
            assert_eq!(good.parse::<NsName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("".parse::<NsName>(), Err(NameError::Empty));
        assert_eq!("a".repeat(64).parse::<NsName>(), Err(NameError::TooLong(64)));
        for (bad, found, position) in
            [("Blue", 'B', 1), ("a b", ' ', 2), ("ab/", '/', 3), ("grün", 'ü', 3), ("a@1", '@', 2)]
        {
            let error = bad.parse::<NsName>().unwrap_err();
            assert_eq!(error, NameError::BadCharacter { name: bad.into(), found, position });
            assert!(error.to_string().contains(&format!("position {position}")), "{error}");
        }
    }
}
