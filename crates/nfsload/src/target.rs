//! Which server, and as whom.

use crate::Error;
use std::net::SocketAddr;
use std::str::FromStr;

/// An export of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where NFS is answered.
    pub address: SocketAddr,
    /// Where MOUNT is answered, on the same address.
    pub mount_port: u16,
    /// The path to mount.
    pub export: String,
    /// User of the calls.
    pub uid: u32,
    /// Group of the calls.
    pub gid: u32,
}

impl Target {
    /// An export of a server that answers MOUNT on the port of NFS, as root.
    pub fn new(address: SocketAddr, export: impl Into<String>) -> Self {
        Self { address, mount_port: address.port(), export: export.into(), uid: 0, gid: 0 }
    }
}

impl FromStr for Target {
    type Err = Error;

    /// `ADDRESS:PORT[,MOUNTPORT][/EXPORT]`; the export is `/` unless it is given.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid =
            || Error::Invalid(format!("{text:?} is not ADDRESS:PORT[,MOUNTPORT][/EXPORT]"));
        let (server, export) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, "/"),
        };
        let (address, mount_port) = match server.split_once(',') {
            Some((address, port)) => (address, Some(port.parse().map_err(|_| invalid())?)),
            None => (server, None),
        };
        let target = Self::new(address.parse().map_err(|_| invalid())?, export);
        Ok(Self { mount_port: mount_port.unwrap_or(target.mount_port), ..target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let target: Target = "127.0.0.1:2049".parse().unwrap();
        assert_eq!(target, Target::new("127.0.0.1:2049".parse().unwrap(), "/"));
        let target: Target = "[::1]:2049,20048/srv/a".parse().unwrap();
        assert_eq!((target.mount_port, &*target.export), (20048, "/srv/a"));
        for wrong in ["", "localhost:2049", "127.0.0.1", "127.0.0.1:1,x/"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
