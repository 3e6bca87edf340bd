//! The names under which a copy is written until it is complete.

use super::side::{Facts, Identity};
use siphasher::sip::SipHasher24;
use std::ffi::{OsStr, OsString};
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;

/// The names that belong to the copy of one state of one source.
pub struct Names {
    /// What is written.
    pub part: OsString,
    /// How far it is.
    pub record: OsString,
}

impl Names {
    /// For a source that is copied to `target`.
    pub fn new(facts: &Facts, target: &OsStr) -> Self {
        let mut hasher = SipHasher24::new();
        target.as_bytes().hash(&mut hasher);
        for time in [facts.modified, facts.changed] {
            (time.seconds, time.nanoseconds).hash(&mut hasher);
        }
        (facts.size, facts.identity.server, facts.identity.number).hash(&mut hasher);
        let id = hasher.finish();
        Self { part: name(target, id, "holm-part"), record: name(target, id, "holm-record") }
    }
}

/// The marker in the root of a tree that is being copied from a directory.
pub fn marker(source: &Identity) -> OsString {
    let mut hasher = SipHasher24::new();
    source.hash(&mut hasher);
    format!(".{:016x}.holm-part", hasher.finish()).into()
}

/// Whether a name is one of these: what is not complete is not copied any further.
pub fn is_own(name: &OsStr) -> bool {
    let parts = |name: &[u8]| {
        let rest = name.strip_suffix(b".holm-part").or(name.strip_suffix(b".holm-record"))?;
        let (before, id) = rest.split_at_checked(rest.len().checked_sub(17)?)?;
        let is_id = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let id = id.strip_prefix(b".")?;
        Some(id.iter().all(is_id) && (before.is_empty() || before.starts_with(b".")))
    };
    parts(name.as_bytes()) == Some(true)
}

fn name(of: &OsStr, id: u64, kind: &str) -> OsString {
    let mut name = OsString::from(".");
    // A name that has no room beside ours is in the number.
    if of.len() + kind.len() + 19 <= NAME_MAX {
        name.push(of);
        name.push(".");
    }
    name.push(format!("{id:016x}.{kind}"));
    name
}

/// Bytes of a name, on all file systems that matter.
const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_known() {
        for id in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            for kind in ["holm-part", "holm-record"] {
                assert!(is_own(&name(OsStr::new("a.b"), id, kind)));
                assert!(is_own(&name(&OsString::from("x".repeat(255)), id, kind)));
            }
        }
        assert!(is_own(&marker(&Identity { server: None, device: 1, number: 2 })));
        for other in
            ["", ".holm-part", "a.holm-part", ".a.1.holm-part", "a.0123456789abcdef.holm-part"]
        {
            assert!(!is_own(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn names_fit_and_differ() {
        let long = OsString::from("x".repeat(255));
        assert_eq!(name(OsStr::new("a"), 1, "holm-part"), ".a.0000000000000001.holm-part");
        assert_eq!(name(&long, 1, "holm-part"), ".0000000000000001.holm-part");
        for length in 1..=255 {
            assert!(name(&OsString::from("x".repeat(length)), 1, "holm-record").len() <= NAME_MAX);
        }
        let directory = |number| Identity { server: None, device: 1, number };
        assert_ne!(marker(&directory(1)), marker(&directory(2)));
    }
}
