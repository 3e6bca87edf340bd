//! Where files are: `nfs://host[:port][/path][?mountport=port]`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;

/// A server and a path on it: `nfs://host[:port][/path][?mountport=port]` (after RFC 2224, section 2; the last as
/// in libnfs).
///
/// The host is a name, an IPv4 address, or an IPv6 address in brackets. The path begins at the server's
/// root, whether or not it is written with an export's path; what is not to be taken literally is
/// written as `%` and two hexadecimal digits. Empty components and `.` mean nothing; `..` is refused,
/// since no two servers agree where it leads.
///
/// ```
/// use holm_localio::Url;
///
/// let url: Url = "nfs://[::1]:20490/home/a%20b".parse()?;
/// assert_eq!((url.host(), url.port()), ("::1", Some(20490)));
/// assert_eq!(url.path(), std::path::Path::new("/home/a b"));
/// assert_eq!(url.to_string(), "nfs://[::1]:20490/home/a%20b");
/// # Ok::<(), holm_localio::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    host: String,
    port: Option<u16>,
    path: PathBuf,
    mount_port: Option<u16>,
}

/// Why a text is no [`Url`]: what is wrong with it, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "could not read {text:?} as a URL: {why}; it is written nfs://HOST[:PORT][/PATH][?mountport=PORT]"
)]
pub struct UrlError {
    text: String,
    why: &'static str,
}

impl Url {
    /// A URL of these parts. The path is taken as it is, with nothing to be unescaped.
    ///
    /// # Errors
    /// If the host is empty, or the path has `..` or a NUL in it.
    pub fn new(
        host: &str,
        port: Option<u16>,
        path: impl AsRef<Path>,
    ) -> std::result::Result<Self, UrlError> {
        let path = path.as_ref();
        let wrong = |why| UrlError { text: format!("{host}:{}", path.display()), why };
        if host.is_empty() {
            return Err(wrong(NO_HOST));
        }
        let path = normal(path.as_os_str().as_bytes()).map_err(wrong)?;
        Ok(Self { host: host.to_owned(), port, path, mount_port: None })
    }

    /// Whether a text looks like one: to tell it from a path of this machine.
    pub fn is_one(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }

    /// The server: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of NFS, if it is said.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port of MOUNT, if it is said.
    pub const fn mount_port(&self) -> Option<u16> {
        self.mount_port
    }

    /// The path: absolute, without empty components, `.` or `..`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same server, with `path` at the end of the path.
    ///
    /// # Errors
    /// If `path` has `..` or a NUL in it.
    pub fn join(&self, path: impl AsRef<Path>) -> std::result::Result<Self, UrlError> {
        let mut joined = self.path.clone().into_os_string();
        joined.push("/");
        joined.push(path.as_ref());
        self.at(joined)
    }

    /// The same server, with that path, taken as it is.
    ///
    /// # Errors
    /// If it has `..` or a NUL in it.
    pub fn at(&self, path: impl AsRef<Path>) -> std::result::Result<Self, UrlError> {
        let url = Self::new(&self.host, self.port, path)?;
        Ok(Self { mount_port: self.mount_port, ..url })
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> std::result::Result<Self, UrlError> {
        parse(text).map_err(|why| UrlError { text: text.to_owned(), why })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host.replace('%', "%25"))?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for &byte in self.path.as_os_str().as_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => write!(f, "{}", char::from(byte))?,
                _ if PLAIN.contains(&byte) => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        if let Some(port) = self.mount_port {
            write!(f, "{MOUNT_PORT}{port}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> std::result::Result<Url, &'static str> {
    if !Url::is_one(text) {
        return Err("it does not begin with nfs://");
    }
    let rest = text.get(SCHEME.len()..).unwrap_or_default();
    let (rest, query) = rest.find('?').map_or((rest, ""), |at| rest.split_at(at));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return Err("users have no place in it; who calls is said otherwise");
    }
    if path.contains('#') || query.contains('#') {
        return Err("'#' in a path is written %23");
    }
    let mount_port = match query {
        "" => None,
        query => {
            let port = query.strip_prefix(MOUNT_PORT);
            Some(number(port.ok_or("behind a '?' comes mountport=PORT; in a path it is %3F")?)?)
        }
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("a '[' without its ']'")?;
            if !host.contains(':') {
                return Err("brackets are for IPv6 addresses");
            }
            (host, port)
        }
        None => {
            let (host, port) =
                authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
            if port.matches(':').count() > 1 {
                return Err("an IPv6 address is written in brackets");
            }
            (host, port)
        }
    };
    let port = match port {
        "" => None,
        port => Some(number(port.strip_prefix(':').ok_or("behind the ']' comes a ':' or a '/'")?)?),
    };
    let host = String::from_utf8(decoded(host)?).map_err(|_| "the host is not text")?;
    if host.is_empty() {
        return Err(NO_HOST);
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the host has spaces in it");
    }
    Ok(Url { host, port, path: normal(&decoded(path)?)?, mount_port })
}

/// A port.
fn number(text: &str) -> std::result::Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0);
    port.ok_or("a port is a number from 1 to 65535")
}

/// Resolves the escapes.
fn decoded(text: &str) -> std::result::Result<Vec<u8>, &'static str> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err("behind a '%' come two hexadecimal digits; the sign itself is %25");
        };
        // Two digits make a byte.
        out.push((high << 4 | low) as u8);
    }
    Ok(out)
}

/// Absolute, and without what means nothing.
fn normal(path: &[u8]) -> std::result::Result<PathBuf, &'static str> {
    if path.contains(&0) {
        return Err("a path has no NUL in it");
    }
    let mut out = PathBuf::from("/");
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => return Err("'..' in a path leads nowhere"),
            _ => {}
        }
    }
    Ok(out)
}

const SCHEME: &str = "nfs://";
const MOUNT_PORT: &str = "?mountport=";
const NO_HOST: &str = "there is no host";
/// What stands for itself in a path, besides letters and digits (RFC 3986, section 3.3).
const PLAIN: &[u8] = b"/-._~!$&'()*+,;=:@";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, host, port, path) in [
            ("nfs://host", "host", None, "/"),
            ("NFS://host/", "host", None, "/"),
            ("nfs://127.0.0.1:2049/a//b/./c/", "127.0.0.1", Some(2049), "/a/b/c"),
            ("nfs://[::1]/a", "::1", None, "/a"),
            ("nfs://[fe80::1%25lo]:1/", "fe80::1%lo", Some(1), "/"),
            ("nfs://host/100%25/%61", "host", None, "/100%/a"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, Path::new(path)));
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("/srv", "does not begin with nfs://"),
            ("nfs:///a", "no host"),
            ("nfs://", "no host"),
            ("nfs://me@host/", "users have no place"),
            ("nfs://host/a?version=3", "%3F"),
            ("nfs://host/a?mountport=1&b=2", "from 1 to 65535"),
            ("nfs://host/a?mountport=", "from 1 to 65535"),
            ("nfs://host/a#b", "%23"),
            ("nfs://::1/a", "in brackets"),
            ("nfs://[::1/a", "without its ']'"),
            ("nfs://[::1]2049/a", "behind the ']'"),
            ("nfs://[host]/a", "for IPv6"),
            ("nfs://host:/a", "from 1 to 65535"),
            ("nfs://host:0/a", "from 1 to 65535"),
            ("nfs://host:+1/a", "from 1 to 65535"),
            ("nfs://host:65536/a", "from 1 to 65535"),
            ("nfs://host/a%2", "two hexadecimal digits"),
            ("nfs://host/%00", "no NUL"),
            ("nfs://host/a/../b", "leads nowhere"),
            ("nfs://host/%2e%2e/b", "leads nowhere"),
            ("nfs://ho st/b", "spaces"),
        ] {
            let said = text.parse::<Url>().unwrap_err().to_string();
            assert!(said.contains(why) && said.contains(&format!("{text:?}")), "{said}");
        }
    }

    #[test]
    fn has_a_port_of_mount() {
        let url: Url = "nfs://host:1/a%3F?mountport=20048".parse().unwrap();
        let parts = (url.port(), url.mount_port(), url.path());
        assert_eq!(parts, (Some(1), Some(20048), Path::new("/a?")));
        assert_eq!(url.to_string(), "nfs://host:1/a%3F?mountport=20048");
        assert_eq!(url.join("b").unwrap().to_string(), "nfs://host:1/a%3F/b?mountport=20048");
        let url: Url = "nfs://[::1]?mountport=1".parse().unwrap();
        assert_eq!((url.host(), url.mount_port()), ("::1", Some(1)));
    }

    #[test]
    fn joins() {
        let url: Url = "nfs://host/a".parse().unwrap();
        assert_eq!(url.join("b c/d").unwrap().to_string(), "nfs://host/a/b%20c/d");
        assert_eq!(url.join("/b").unwrap().to_string(), "nfs://host/a/b");
        assert!(url.join("../b").is_err());
    }
}
