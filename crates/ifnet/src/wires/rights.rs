//! Rights to the files that unix sockets are found by.
//!
//! The kernel checks at each connect, and at each datagram to an address, whether the thread may write to the
//! socket's file, and when a file is removed, whether it may write to the folder. A thread that serves files
//! for a caller has that caller's rights, and keeps them until it serves another (it has given up
//! `CAP_DAC_OVERRIDE`, and may take it back). The sockets are not the caller's business but the server's.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Does what finds a socket by its path, or removes it; if the thread may not, with the rights of the process.
pub(super) fn as_server<T>(
    mut find: impl FnMut() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match find() {
        Err(refused @ (Errno::ACCESS | Errno::PERM)) => match Raised::begin()? {
            Some(_raised) => find(),
            // They are the process's own.
            None => Err(refused),
        },
        found => found,
    }
}

/// While it is there the thread has all rights to files that the process may have.
struct Raised {
    before: CapabilitySets,
}

impl Raised {
    fn begin() -> rustix::io::Result<Option<Self>> {
        let before = capabilities(None)?;
        let lacking = OVER_PATHS.intersection(before.permitted).difference(before.effective);
        if lacking.is_empty() {
            return Ok(None);
        }
        set_capabilities(None, CapabilitySets { effective: before.effective | lacking, ..before })?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if set_capabilities(None, self.before).is_err() {
            // The thread would go on for its caller with rights that the caller does not have.
            std::process::abort();
        }
    }
}

/// To write to any file, and to search any directory; and to remove from one that is sticky what is another's.
const OVER_PATHS: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

#[cfg(test)]
mod tests {
    use super::super::socket_file::{SocketFile, unix_socket};
    use super::*;
    use rustix::net::SocketType;
    use rustix::process::{Uid, geteuid};
    use rustix::thread::set_thread_res_uid;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    /// Has something done as a worker does that acts for a caller: the real user stays, the capabilities go
    /// from the effective ones alone.
    fn as_caller(act: impl FnOnce() + Send + 'static) {
        let acting = std::thread::spawn(move || {
            let (root, nobody) = (Uid::ROOT, Uid::from_raw(65534));
            set_thread_res_uid(root, nobody, root).unwrap();
            act();
        });
        acting.join().unwrap();
    }

    #[test]
    fn thread_that_acts_for_a_caller_removes_the_servers_socket() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // One that the caller can't search, and one in which everybody may remove what is his.
        for mode in [0o700, 0o1777] {
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
            let path = folder.path().join("socket");
            let socket = unix_socket(SocketType::STREAM).unwrap();
            let file = SocketFile::bind(&socket, SocketType::STREAM, &path).unwrap();
            let seen = path.clone();
            as_caller(move || {
                let refused = rustix::fs::unlink(&seen).unwrap_err();
                assert!(matches!(refused, Errno::ACCESS | Errno::PERM), "{refused}");
                drop(file);
            });
            assert!(!path.exists(), "in a folder of mode {mode:o}");
        }
    }

    #[test]
    fn thread_that_acts_for_a_caller_reaches_the_servers_peer_and_stays_who_it_is() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        let _peer = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        as_caller(move || {
            let before = capabilities(None).unwrap();
            assert!(!before.effective.intersects(OVER_PATHS));
            let socket = UnixDatagram::unbound().unwrap();
            let send = || {
                let sent = socket.send_to(b"frame", &path);
                sent.map_err(|error| Errno::from_io_error(&error).unwrap())
            };
            assert_eq!(send(), Err(Errno::ACCESS));
            assert_eq!(as_server(send), Ok(5));
            assert_eq!(capabilities(None).unwrap().effective, before.effective);
            assert_eq!(send(), Err(Errno::ACCESS));
            // Who has no such right at all is told so.
            let none = CapabilitySets { permitted: CapabilitySet::empty(), ..before };
            set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..none })
                .unwrap();
            assert_eq!(as_server(send), Err(Errno::ACCESS));
        });
    }
}
