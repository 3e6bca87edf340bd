//! Rights to the files that unix sockets are found by.
//!
//! The kernel checks at each connect, and at each datagram to an address, whether the thread may write to the
//! socket's file. A thread that serves files for a caller has that caller's rights, and keeps them until it
//! serves another (it has given up `CAP_DAC_OVERRIDE`, and may take it back). The peer's socket is not the
//! caller's business but the server's.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Does what finds a socket by its path; if the thread may not, with the rights of the process.
pub(super) fn as_server<T>(
    mut find: impl FnMut() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match find() {
        Err(Errno::ACCESS) => match Raised::begin()? {
            Some(_raised) => find(),
            // They are the process's own.
            None => Err(Errno::ACCESS),
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

/// To write to any file, and to search any directory.
const OVER_PATHS: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Uid, geteuid};
    use rustix::thread::set_thread_res_uid;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

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
        let acting = std::thread::spawn(move || {
            // As a worker is: the real user stays, the capabilities go from the effective ones alone.
            let (root, nobody) = (Uid::ROOT, Uid::from_raw(65534));
            set_thread_res_uid(root, nobody, root).unwrap();
            let before = capabilities(None).unwrap();
            assert!(!before.effective.contains(OVER_PATHS));
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
        acting.join().unwrap();
    }
}
