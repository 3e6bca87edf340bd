//! Where files are: at a server, or here.

use super::quote::Quoted;
use clap::builder::{TypedValueParser, ValueParserFactory};
use holm_localio::Url;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `nfs://host[:port][/path]`, or a path of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a server.
    Remote {
        /// Where.
        url: Url,
        /// It was written with a `/` at its end: it has to be a directory.
        slash: bool,
    },
    /// Of this machine.
    Local(PathBuf),
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// If it begins as a URL and is none, or is empty.
    pub fn new(text: &OsStr) -> Result<Self, String> {
        match text.to_str() {
            Some("") => Err("an empty path names nothing".into()),
            Some(text) if Url::is_one(text) => {
                let url = text.parse::<Url>().map_err(|error| error.to_string())?;
                Ok(Self::Remote { url, slash: text.ends_with('/') })
            }
            None if text
                .as_bytes()
                .get(..6)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"nfs://")) =>
            {
                Err("a URL has no bytes in it that are no UTF-8; they are written as %XX".into())
            }
            _ => Ok(Self::Local(text.into())),
        }
    }

    /// Whether it has to be a directory, by how it is written.
    pub fn is_directory(&self) -> bool {
        match self {
            Self::Remote { slash, .. } => *slash,
            Self::Local(path) => {
                let text = path.as_os_str().as_bytes();
                text.ends_with(b"/") || ends_nameless(path)
            }
        }
    }

    /// What the last part of it is called: `None` for `/`, `.`, `..`, and what ends in such.
    pub fn name(&self) -> Option<&OsStr> {
        match self {
            Self::Remote { url, .. } => url.path().file_name(),
            Self::Local(path) if ends_nameless(path) => None,
            Self::Local(path) => path.file_name(),
        }
    }
}

/// Whether a path ends in `.` or `..`, which are no names. `Path` leaves a last `.` out.
fn ends_nameless(path: &Path) -> bool {
    let last =
        path.as_os_str().as_bytes().rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
    matches!(last, None | Some(b"." | b".."))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { url, .. } => url.fmt(f),
            Self::Local(path) => Quoted(path.as_os_str()).fmt(f),
        }
    }
}

/// Reads a [`Place`] from the command line.
#[derive(Debug, Clone)]
pub struct PlaceParser;

impl TypedValueParser for PlaceParser {
    type Value = Place;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Place, clap::Error> {
        Place::new(value).map_err(|why| {
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, why + "\n").with_cmd(command)
        })
    }
}

impl ValueParserFactory for Place {
    type Parser = PlaceParser;

    fn value_parser() -> PlaceParser {
        PlaceParser
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        let place = |text: &str| Place::new(OsStr::new(text)).unwrap();
        assert!(matches!(place("nfs://host/a"), Place::Remote { slash: false, .. }));
        assert!(matches!(place("NFS://host/a/"), Place::Remote { slash: true, .. }));
        for text in ["a", "./nfs:", "/nfs://host/a", "nfs:/host/a", "nfsx"] {
            assert_eq!(place(text), Place::Local(text.into()));
        }
        assert!(Place::new(OsStr::from_bytes(b"nfs://host/\xff")).is_err());
        assert!(Place::new(OsStr::new("nfs://")).is_err());
        assert!(Place::new(OsStr::new("")).is_err());
        assert_eq!(
            Place::new(OsStr::from_bytes(b"\xff")).unwrap().name().unwrap(),
            OsStr::from_bytes(b"\xff")
        );
    }

    #[test]
    fn what_a_place_is_called() {
        for (text, name, is_directory) in [
            ("a/b", Some("b"), false),
            ("a/b/", Some("b"), true),
            ("a/b/.", None, true),
            ("a/..", None, true),
            (".", None, true),
            ("/", None, true),
            ("nfs://host", None, false),
            ("nfs://host/", None, true),
            ("nfs://host/a/b", Some("b"), false),
        ] {
            let place = Place::new(OsStr::new(text)).unwrap();
            assert_eq!(place.name(), name.map(OsStr::new), "{text}");
            assert_eq!(place.is_directory(), is_directory, "{text}");
        }
    }
}
