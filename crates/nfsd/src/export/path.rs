//! What clients call an export.

use std::fmt;
use std::str::FromStr;

/// The longest path that MOUNT carries, in bytes (RFC 1813: `MNTPATHLEN`).
pub const PATH_MAX: usize = 1024;

/// The path of an export: `/`, or `/` and names with `/` between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportPath(Box<str>);

/// Why a text is no path of an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} cannot be the path of an export: {why}")]
pub struct PathError {
    path: String,
    why: &'static str,
}

impl ExportPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What remains of `path` behind this one, name by name, if it begins with this one. Empty
    /// names, as in `//`, are passed over: clients write them.
    pub fn within<'a>(&self, path: &'a [u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let mut names = names(path.strip_prefix(b"/")?);
        for own in names_of(&self.0) {
            if names.next() != Some(own) {
                return None;
            }
        }
        Some(names)
    }

    /// How many names it has.
    pub(crate) fn depth(&self) -> usize {
        names_of(&self.0).count()
    }
}

impl FromStr for ExportPath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let refuse = |why| Err(PathError { path: path.to_owned(), why });
        let Some(names) = path.strip_prefix('/') else {
            return refuse("it has to begin with /");
        };
        if path.len() > PATH_MAX {
            return refuse("it has more than 1024 bytes");
        }
        if path.bytes().any(|byte| byte.is_ascii_control()) {
            return refuse("it has a control character in it");
        }
        for name in names.split('/') {
            match name {
                "" if names.is_empty() => {}
                "" => return refuse("it has a / too many"),
                "." | ".." => return refuse("it has . or .. in it"),
                _ if name.len() > crate::name::NAME_MAX => {
                    return refuse("it has a name of more than 255 bytes in it");
                }
                _ => {}
            }
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for ExportPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ExportPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

fn names_of(path: &str) -> impl Iterator<Item = &[u8]> {
    names(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ExportPath {
        text.parse().unwrap()
    }

    fn rest(export: &str, asked: &str) -> Option<Vec<String>> {
        let names = path(export).within(asked.as_bytes())?;
        Some(names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_path_lies_within_another_by_whole_names() {
        assert_eq!(rest("/", "/"), Some(vec![]));
        assert_eq!(rest("/", "/a//b/"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(rest("/a", "/a"), Some(vec![]));
        assert_eq!(rest("/a", "//a/b"), Some(vec!["b".into()]));
        assert_eq!(rest("/a", "/ab"), None);
        assert_eq!(rest("/a/b", "/a"), None);
        assert_eq!(rest("/a", "a"), None);
        assert_eq!(rest("/a", ""), None);
        assert_eq!(rest("/a", "/a/../b"), Some(vec!["..".into(), "b".into()]));
    }

    #[test]
    fn what_is_no_path_says_why() {
        for good in ["/", "/a", "/a/b c", "/ü/...", "/..a"] {
            assert_eq!(path(good).as_str(), good);
        }
        let error = |text: &str| text.parse::<ExportPath>().unwrap_err().to_string();
        assert!(error("").contains("begin with /") && error("a").contains("begin with /"));
        assert!(error("/a/").contains("a / too many") && error("//a").contains("a / too many"));
        assert!(error("/a/../b").contains(". or ..") && error("/.").contains(". or .."));
        assert!(error("/a\n").contains("control character"));
        assert!(error(&format!("/{}", "a".repeat(256))).contains("255 bytes"));
        assert!(error(&"/a".repeat(600)).contains("1024 bytes"));
    }
}
