//! What a guest can have besides a processor: networks, disks, shared directories.

use std::path::{Path, PathBuf};

use crate::{CachedDisk, Error};

/// A network interface of a guest: `eth0`, `eth1`, … in the order they are added. Each is a
/// virtio interface that claims 10 Gb/s and full duplex, so that bonding's 802.3ad mode takes it.
///
/// All but [`user`](Self::user) come up unconfigured and down.
#[derive(Debug, Clone)]
pub struct Network(pub(crate) Kind);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    User(Vec<Forward>),
    Tap(String),
    StreamConnect(PathBuf),
    StreamListen(PathBuf),
    Datagram { local: PathBuf, remote: PathBuf },
    Netdev(String),
}

/// A port here that reaches a port of the guest.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    protocol: &'static str,
    host: u16,
    guest: u16,
}

impl Network {
    /// QEMU's user-mode network, configured and up when the script starts: the guest is
    /// 10.0.2.15, this machine's loopback is 10.0.2.2 to it (10.0.3.15 and 10.0.3.2 on its second
    /// network of this kind, and so on). The guest has no route to anywhere else.
    pub fn user() -> Self {
        Self(Kind::User(Vec::new()))
    }

    /// Lets TCP connections to 127.0.0.1:`host` here reach port `guest` of the guest.
    ///
    /// # Panics
    ///
    /// This is no user network; others know no ports.
    #[must_use]
    pub fn forward(self, host: u16, guest: u16) -> Self {
        self.add(Forward { protocol: "tcp", host, guest })
    }

    /// The same for UDP.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    #[must_use]
    pub fn forward_udp(self, host: u16, guest: u16) -> Self {
        self.add(Forward { protocol: "udp", host, guest })
    }

    fn add(mut self, forward: Forward) -> Self {
        match &mut self.0 {
            Kind::User(forwards) => forwards.push(forward),
            other => panic!("a port forwarded on {other:?}"),
        }
        self
    }

    /// A tap interface that exists here.
    pub fn tap(name: impl Into<String>) -> Self {
        Self(Kind::Tap(name.into()))
    }

    /// A unix stream socket that somebody listens on: each frame comes after its length, four
    /// bytes, big-endian.
    pub fn stream(path: impl Into<PathBuf>) -> Self {
        Self(Kind::StreamConnect(path.into()))
    }

    /// The same, the guest listening.
    pub fn stream_listener(path: impl Into<PathBuf>) -> Self {
        Self(Kind::StreamListen(path.into()))
    }

    /// Unix datagram sockets, a frame in each datagram: the guest is bound to `local` and sends to
    /// `remote`.
    pub fn datagram(local: impl Into<PathBuf>, remote: impl Into<PathBuf>) -> Self {
        Self(Kind::Datagram { local: local.into(), remote: remote.into() })
    }

    /// Any other `-netdev` of QEMU, without its `id`.
    pub fn netdev(text: impl Into<String>) -> Self {
        Self(Kind::Netdev(text.into()))
    }

    /// Reads `user[,tcp=HOST:GUEST][,udp=HOST:GUEST]…`, `tap:NAME`, `stream:PATH`,
    /// `stream-listen:PATH`, `datagram:LOCAL,REMOTE` or `netdev:TEXT`.
    ///
    /// # Errors
    ///
    /// The text is none of these.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Invalid(format!(
                "network {text}: not one of user[,tcp=HOST:GUEST][,udp=HOST:GUEST], tap:NAME, \
                 stream:PATH, stream-listen:PATH, datagram:LOCAL,REMOTE, netdev:TEXT"
            ))
        };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "tap" if !rest.is_empty() => return Ok(Self::tap(rest)),
            "stream" if !rest.is_empty() => return Ok(Self::stream(rest)),
            "stream-listen" if !rest.is_empty() => return Ok(Self::stream_listener(rest)),
            "netdev" if !rest.is_empty() => return Ok(Self::netdev(rest)),
            "datagram" => {
                let (local, remote) = rest.split_once(',').ok_or_else(wrong)?;
                return Ok(Self::datagram(local, remote));
            }
            _ => {}
        }
        let mut words = text.split(',');
        if words.next() != Some("user") {
            return Err(wrong());
        }
        let mut network = Self::user();
        for word in words {
            let (protocol, ports) = word.split_once('=').ok_or_else(wrong)?;
            let (host, guest) = ports.split_once(':').ok_or_else(wrong)?;
            let port = |text: &str| text.parse().map_err(|_| wrong());
            network = match protocol {
                "tcp" => network.forward(port(host)?, port(guest)?),
                "udp" => network.forward_udp(port(host)?, port(guest)?),
                _ => return Err(wrong()),
            };
        }
        Ok(network)
    }

    /// QEMU's `-netdev`, and for a user network the first three octets of its addresses. `users`
    /// counts the user networks before this one.
    pub(crate) fn backend(&self, id: &str, users: usize) -> (String, Option<String>) {
        let (backend, subnet) = match &self.0 {
            Kind::User(forwards) => {
                let subnet = format!("10.0.{}", 2 + users);
                let mut backend =
                    format!("user,id={id},net={subnet}.0/24,host={subnet}.2,dns={subnet}.3");
                for Forward { protocol, host, guest } in forwards {
                    backend += &format!(",hostfwd={protocol}:127.0.0.1:{host}-{subnet}.15:{guest}");
                }
                return (backend, Some(subnet));
            }
            Kind::Tap(name) => {
                (format!("tap,id={id},ifname={},script=no,downscript=no", comma(name)), None)
            }
            Kind::StreamConnect(path) => (stream(id, "off", path), None),
            Kind::StreamListen(path) => (stream(id, "on", path), None),
            Kind::Datagram { local, remote } => {
                let local = comma(&local.to_string_lossy());
                let remote = comma(&remote.to_string_lossy());
                let sockets = format!(
                    "local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
                );
                (format!("dgram,id={id},{sockets}"), None)
            }
            Kind::Netdev(text) => {
                let (kind, options) = text.split_once(',').unwrap_or((text, ""));
                let comma = if options.is_empty() { "" } else { "," };
                (format!("{kind},id={id}{comma}{options}"), None)
            }
        };
        (backend, subnet)
    }
}

fn stream(id: &str, server: &str, path: &Path) -> String {
    let path = comma(&path.to_string_lossy());
    format!("stream,id={id},server={server},addr.type=unix,addr.path={path}")
}

/// A text inside one of QEMU's comma-separated options.
pub(crate) fn comma(text: &str) -> String {
    text.replace(',', ",,")
}

/// A disk of a guest, mounted when the script starts.
///
/// A disk without a file system gets one. What the guest's kernel has written to the disk is in
/// the host's page cache at once and stays there when the guest is killed: a kill is a power loss
/// for the guest's memory, with a disk that loses nothing it was given. [`Disk::cached`] is one that
/// does.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) file: Option<PathBuf>,
    pub(crate) cached: Option<CachedDisk>,
    pub(crate) mebibytes: u64,
    pub(crate) directory: String,
    pub(crate) format: String,
}

impl Disk {
    /// An ext4 disk of this size on `/scratch` that goes with the guest.
    pub fn temporary(mebibytes: u64) -> Self {
        let (directory, format) = ("/scratch".into(), "ext4".into());
        Self { file: None, cached: None, mebibytes, directory, format }
    }

    /// An ext4 disk on `/scratch` that is kept in a file, made with this size when it does not
    /// exist. One guest at a time can use it.
    pub fn kept(file: impl Into<PathBuf>, mebibytes: u64) -> Self {
        Self { file: Some(file.into()), ..Self::temporary(mebibytes) }
    }

    /// An ext4 disk on `/scratch` that has a write cache, and forgets what is in there when the power
    /// fails. It is kept for as long as there is a [`CachedDisk`].
    pub fn cached(disk: &CachedDisk) -> Self {
        Self { cached: Some(disk.clone()), ..Self::temporary(0) }
    }

    /// Mounts it there instead.
    #[must_use]
    pub fn at(self, directory: impl Into<String>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Another file system: `ext4`, `xfs`, `btrfs`, or `raw` for none; a raw disk is not mounted.
    /// The guest finds the nth disk by its serial number: `disk0`, `disk1`, ….
    #[must_use]
    pub fn format(self, format: impl Into<String>) -> Self {
        Self { format: format.into(), ..self }
    }

    /// Whether it outlives the guest.
    pub(crate) fn is_kept(&self) -> bool {
        self.file.is_some() || self.cached.is_some()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !["ext4", "xfs", "btrfs", "raw"].contains(&self.format.as_str()) {
            return Err(Error::Invalid(format!("disk: no format {}", self.format)));
        }
        check_directory(&self.directory)
    }
}

/// A directory of this machine that the guest sees as well (9p).
#[derive(Debug, Clone)]
pub struct Share {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

impl Share {
    /// `host` here is `guest` there.
    pub fn new(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self { host: host.into(), guest: guest.into(), read_only: false }
    }

    /// The guest can't write.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.host.is_dir() {
            let what = format!("share: {} is no directory", self.host.display());
            return Err(Error::Invalid(what));
        }
        check_directory(&self.guest)
    }
}

fn check_directory(directory: &str) -> Result<(), Error> {
    if directory.starts_with('/') && !directory.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{directory:?}: a mount point is an absolute path without blanks")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_they_are_written() {
        let backend = |text: &str| Network::parse(text).expect(text).backend("n0", 1).0;
        assert_eq!(
            backend("user,tcp=2049:2050,udp=111:112"),
            "user,id=n0,net=10.0.3.0/24,host=10.0.3.2,dns=10.0.3.3,\
             hostfwd=tcp:127.0.0.1:2049-10.0.3.15:2050,hostfwd=udp:127.0.0.1:111-10.0.3.15:112"
        );
        assert_eq!(backend("tap:t,0"), "tap,id=n0,ifname=t,,0,script=no,downscript=no");
        assert_eq!(backend("stream:/a"), "stream,id=n0,server=off,addr.type=unix,addr.path=/a");
        assert_eq!(
            backend("stream-listen:/a"),
            "stream,id=n0,server=on,addr.type=unix,addr.path=/a"
        );
        assert_eq!(
            backend("datagram:/a,/b"),
            "dgram,id=n0,local.type=unix,local.path=/a,remote.type=unix,remote.path=/b"
        );
        assert_eq!(backend("netdev:hubport,hubid=1"), "hubport,id=n0,hubid=1");
        for text in ["", "tap", "tap:", "datagram:/a", "user,tcp=1", "user,sctp=1:2", "user:x"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
