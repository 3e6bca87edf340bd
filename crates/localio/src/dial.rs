//! Connecting, from a port that is for the privileged if we may have one.
//!
//! With AUTH_SYS a server believes the machine who its users are; so many take calls only from ports that
//! not every program there can have (RFC 1813 is silent about it; `secure` of exports(5)).

use crate::connection::random;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Connects to a server.
pub fn dial(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + patience;
    match from_privileged(address, until) {
        Some(outcome) => outcome,
        None => TcpStream::connect_timeout(&address, left(until)),
    }
}

/// Connects from a privileged port; `None` if we may have none, or none is free.
fn from_privileged(address: SocketAddr, until: Instant) -> Option<io::Result<TcpStream>> {
    let count = PRIVILEGED.end() - PRIVILEGED.start() + 1;
    let first = u16::from_ne_bytes(random()) % count;
    for nth in 0..count {
        let port = PRIVILEGED.start() + (first + nth) % count;
        match connect_from(port, address, left(until)) {
            Ok(stream) => return Some(Ok(stream)),
            // In use, or was a moment ago.
            Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => {}
            Err(Errno::ACCESS | Errno::PERM) => return None,
            // What a socket with a timeout says.
            Err(Errno::AGAIN | Errno::INPROGRESS | Errno::ALREADY) => {
                return Some(Err(io::ErrorKind::TimedOut.into()));
            }
            Err(error) => return Some(Err(error.into())),
        }
    }
    None
}

fn connect_from(port: u16, address: SocketAddr, patience: Duration) -> Result<TcpStream, Errno> {
    let (family, any) = match address {
        SocketAddr::V4(_) => (AddressFamily::INET, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (AddressFamily::INET6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Also one from which a connection to somewhere else was closed just now.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(any, port))?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    rustix::io::retry_on_intr(|| connect(&socket, &address)).or_else(|error| match error {
        // It was interrupted, and has gone on meanwhile.
        Errno::ISCONN => Ok(()),
        _ => Err(error),
    })?;
    Ok(socket.into())
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(SHORTEST)
}

/// Those that others do not look for either: below are the ports of well-known services.
const PRIVILEGED: RangeInclusive<u16> = 665..=1023;
/// A timeout of nothing is none.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Uid, geteuid};
    use std::fs;
    use std::net::TcpListener;

    fn source_of_dial(listener: &TcpListener) -> u16 {
        let address = listener.local_addr().unwrap();
        let stream = dial(address, Duration::from_secs(60)).unwrap();
        let (_accepted, from) = listener.accept().unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
        from.port()
    }

    #[test]
    fn root_comes_from_a_privileged_port_and_others_come() {
        let listeners = [TcpListener::bind("127.0.0.1:0").ok(), TcpListener::bind("[::1]:0").ok()];
        for listener in listeners.iter().flatten() {
            let ports: Vec<u16> = (0..3).map(|_| source_of_dial(listener)).collect();
            if geteuid().is_root() {
                assert!(ports.iter().all(|port| PRIVILEGED.contains(port)), "{ports:?}");
            }
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    if geteuid().is_root() {
                        let uid = Uid::from_raw(1000);
                        // Of this thread alone.
                        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
                    }
                    source_of_dial(listener)
                });
                let port = other.join().unwrap();
                let open = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
                if open.is_ok_and(|open| open.trim() == "1024") {
                    assert!(port >= 1024, "{port}");
                }
            });
        }
    }

    #[test]
    fn where_nobody_is_that_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = dial(address, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }
}
