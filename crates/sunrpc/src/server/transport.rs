//! What carries a stream.

use bytes::Bytes;
use holm_xdr::Encoder;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Tells the pool that something has happened.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A stream that never waits: the kernel's, or one of a network stack of our own.
pub trait Transport: Send + Sync + 'static {
    /// The descriptor whose events tell of it; none if its owner wakes the source.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Has `wake` called when there is something new to be received, or room after there was none, or it
    /// has ended; and at once. Asked for once, of one without a descriptor.
    fn wake_by(&self, wake: Wake) {
        let _ = wake;
    }

    /// From now on it need not be woken for fewer bytes than these to be received, if it has room for so
    /// many; that it has ended it is told in any case. It is woken at once if they are there.
    fn want(&self, bytes: usize) {
        let _ = bytes;
    }

    /// Who is at the other end.
    fn peer(&self) -> SocketAddr;

    /// At which of our addresses.
    fn local(&self) -> SocketAddr;

    /// Receives what is there, into the front of `space`. 0: the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; any other ends the stream.
    fn receive(&self, space: &mut [u8]) -> io::Result<usize>;

    /// Sends as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; any other ends the stream.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether it sends long replies from where they lie, and then better so than as copies.
    fn keeps(&self) -> bool {
        false
    }

    /// Takes a reply that is to be [sent from where it lies](Self::send_kept), and gives a buffer for another.
    fn keep(&self, reply: Encoder) -> (Bytes, Encoder) {
        (Bytes::from_owner(reply), Encoder::new())
    }

    /// As [`send`](Self::send), of a reply that it was given to [keep](Self::keep), from that byte on.
    ///
    /// # Errors
    /// As from [`send`](Self::send).
    fn send_kept(&self, reply: &Bytes, from: usize) -> io::Result<usize> {
        self.send(reply.get(from..).unwrap_or_default())
    }

    /// Ends both directions, at once.
    fn end(&self);

    /// Ends it at once and without a word: what is unsent is given up, and once it is dropped nothing
    /// of it stays behind.
    fn abort(&self);
}

/// A kernel socket, which does not block, and its two ends.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Transport for Tcp {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stream.as_fd())
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        // Straight to the kernel: the C library's are points where a thread could be cancelled, which
        // costs something each time.
        let (count, _) = recv(&self.stream, space, RecvFlags::empty())?;
        Ok(count)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.stream, bytes, SendFlags::NOSIGNAL)?)
    }

    fn end(&self) {
        // An error says that it had ended.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn abort(&self) {
        // Without time to linger, closing resets the connection. Otherwise the kernel goes on sending
        // to a peer that may never answer, and holds on to the network that the socket is in.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}
