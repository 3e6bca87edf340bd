//! Names of directory entries, as a client sends them.

use crate::{Result, Status};

/// The longest name of a directory entry on Linux, in bytes.
pub const NAME_MAX: usize = 255;

/// The name of one directory entry: not empty, no `/`, no NUL, neither `.` nor `..`, and not
/// longer than [`NAME_MAX`].
///
/// Names are bytes. What cannot be a `Name` never reaches the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// What a client may send where the protocol has a file name (RFC 1813, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component<'a> {
    /// `.`: the directory itself.
    Current,
    /// `..`: the directory above, or itself at the root of an export.
    Parent,
    /// An entry of the directory.
    Entry(Name<'a>),
}

impl<'a> Component<'a> {
    /// Parses what a client sent.
    ///
    /// # Errors
    ///
    /// [`Status::Acces`] for the empty name and for `/` and NUL in it, as RFC 1813 (section 3.2)
    /// asks; [`Status::NameTooLong`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        match bytes {
            b"" => Err(Status::Acces),
            b"." => Ok(Self::Current),
            b".." => Ok(Self::Parent),
            _ if bytes.len() > NAME_MAX => Err(Status::NameTooLong),
            _ if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(Status::Acces),
            _ => Ok(Self::Entry(Name(bytes))),
        }
    }

    /// The name of an entry that is to be made.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`] for `.` and `..`, which every directory has.
    pub fn to_create(self) -> Result<Name<'a>> {
        match self {
            Self::Entry(name) => Ok(name),
            Self::Current | Self::Parent => Err(Status::Exist),
        }
    }

    /// The name of an entry that is to be removed, or moved.
    ///
    /// # Errors
    ///
    /// [`Status::Inval`] for `.` and `..`.
    pub fn to_change(self) -> Result<Name<'a>> {
        match self {
            Self::Entry(name) => Ok(name),
            Self::Current | Self::Parent => Err(Status::Inval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_special_names_are_told_apart() {
        assert_eq!(Component::parse(b""), Err(Status::Acces));
        assert_eq!(Component::parse(b"."), Ok(Component::Current));
        assert_eq!(Component::parse(b".."), Ok(Component::Parent));
        assert!(matches!(Component::parse(b"..."), Ok(Component::Entry(_))));
        assert_eq!(Component::parse(b"../x"), Err(Status::Acces));
        assert_eq!(Component::parse(b"a\0b"), Err(Status::Acces));
        assert_eq!(Component::parse(&[b'a'; 256]), Err(Status::NameTooLong));
        assert!(Component::parse(&[0xff; 255]).is_ok());
    }

    proptest! {
        #[test]
        fn no_entry_name_ever_leads_elsewhere(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(Component::Entry(name)) = Component::parse(&bytes) {
                let name = name.as_bytes();
                prop_assert!(!name.is_empty() && name.len() <= NAME_MAX);
                prop_assert!(name != b"." && name != b"..");
                prop_assert!(!name.contains(&b'/') && !name.contains(&0));
            }
        }
    }
}
