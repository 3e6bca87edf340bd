//! A stream listener as a source of the pool.

use super::accepted::{Accepted, ListenerHandle, Welcome};
use super::transport::Tcp;
use super::{Counted, ServerLimits, Service};
use holm_lifetime::sync::Arc;
use holm_pool::{AddError, Next, NsPool, Source, Turn};
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with, sockopt};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Has the pool accept and serve the connections of a listener. `counted` is one for all sockets of
/// the namespace.
///
/// # Errors
/// When the listener can't be made not to block, or the pool does not take it.
pub fn listen<S: Service>(
    pool: &NsPool,
    listener: impl Into<std::sync::Arc<TcpListener>>,
    service: Arc<S>,
    limits: ServerLimits,
    counted: Arc<Counted>,
) -> io::Result<ListenerHandle> {
    let listener = listener.into();
    prepare(&listener)?;
    let local = listener.local_addr()?;
    let accepted = Arc::new(Accepted::new(limits));
    let welcome = Welcome { service, counted, accepted: accepted.clone() };
    let source = Listener { listener, local, welcome };
    let handle = pool.add(Arc::new(source)).map_err(into_io)?;
    Ok(ListenerHandle::new(handle, accepted))
}

struct Listener<S> {
    listener: std::sync::Arc<TcpListener>,
    /// Where it listens: one address, or all.
    local: SocketAddr,
    welcome: Welcome<S>,
}

/// What is accepted inherits all but the first, without a call for each.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // Replies are small and awaited.
    sockopt::set_tcp_nodelay(listener, true)?;
    // A peer that was switched off says nothing of it: it is asked when nothing came for a while, and
    // given up when it has not answered, or not taken what was sent, for too long.
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, ASKED_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, ASKED_AGAIN)?;
    sockopt::set_tcp_user_timeout(listener, GIVEN_UP.as_millis() as u32)?;
    Ok(())
}

/// A silent peer is asked after so long whether it is there,
const ASKED_AFTER: Duration = Duration::from_secs(60);
/// and then so often.
const ASKED_AGAIN: Duration = Duration::from_secs(15);
/// A peer that has acknowledged nothing for so long is gone.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// After this long it is tried again where the machine had no descriptor or memory left.
const SHORTAGE: Duration = Duration::from_millis(100);

impl<S: Service> Source for Listener<S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.listener.as_fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        if self.welcome.accepted.limits().connections == 0 {
            // Whoever comes waits in the kernel: there is a wake-up when that changes.
            return Next::Idle;
        }
        while turn.left() > 0 {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&self.listener, flags) {
                Ok((stream, peer)) => {
                    turn.charge(1);
                    self.accept(turn, stream.into(), peer);
                }
                Err(error) => match io::Error::from(error).kind() {
                    ErrorKind::WouldBlock => return Next::Idle,
                    // What a connection died of that was never served: accept(2).
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::TimedOut => turn.charge(1),
                    // The connection waits in the kernel, and there is no event for it any more.
                    _ => {
                        turn.wake_at(Instant::now().checked_add(SHORTAGE));
                        return Next::Idle;
                    }
                },
            }
        }
        Next::More
    }
}

impl<S: Service> Listener<S> {
    /// Serves a connection from now on, or drops it.
    fn accept(&self, turn: &Turn<'_>, stream: TcpStream, peer: Option<SocketAddrAny>) {
        let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { return };
        let mut transport = Tcp { stream, peer, local: self.local };
        if !self.welcome.admits(turn, &transport) {
            return;
        }
        if self.local.ip().is_unspecified() {
            // An error says that the peer has gone.
            let Ok(local) = transport.stream.local_addr() else { return };
            transport.local = local;
        }
        self.welcome.take(turn, transport);
    }
}

pub(super) fn into_io(error: AddError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_notice_that_their_peer_is_gone() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        prepare(&listener)?;
        listener.set_nonblocking(false)?;
        let _peer = TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        assert!(sockopt::tcp_nodelay(&accepted)?);
        assert!(sockopt::socket_keepalive(&accepted)?);
        assert_eq!(sockopt::tcp_keepidle(&accepted)?, ASKED_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&accepted)?, ASKED_AGAIN);
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&accepted)?), GIVEN_UP.as_millis());
        Ok(())
    }
}
