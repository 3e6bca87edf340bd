//! Wires: what carries frames between this process and somebody else.

use crate::frame::Frames;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Something that carries frames and never waits: a tap, a packet socket, a unix socket. One driver
/// makes an interface of any of them.
///
/// Several threads may send while another receives.
pub trait Wire: Send + Sync + 'static {
    /// The descriptor that becomes readable when there is something to receive, and when there is room
    /// to send again after some was missing. It stays the same for as long as the wire is there, also
    /// when the peer goes and another comes.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Appends at most `most` frames that have come, and fewer if they are long, to `frames`, [unfinished](crate::Frame::rest) ones among
    /// them, or a few more where what came is several
    /// in one. What is no frame (shorter than its
    /// header, longer than a frame can be) is left out, and counted in what is returned and as one of
    /// `most`. Unless there is [more](Received::more), it has received until nothing more was there.
    ///
    /// # Errors
    ///
    /// The wire is of no use any more, as when its kernel interface was deleted. That a peer is not
    /// there is no error: nothing comes.
    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received>;

    /// Takes frames off the front of `frames` for as long as there is room; those that it takes are
    /// sent or, if nobody is at the other end, lost. What is left is to be sent when the descriptor's
    /// next event tells of room.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    fn send(&self, frames: &mut Frames) -> io::Result<Sent>;

    /// Whether [`send`](Self::send) takes [unfinished](crate::Frame::rest) frames. It does not change.
    fn offloads(&self) -> bool {
        false
    }

    /// Whether [`send`](Self::send) takes frames in [several parts](crate::Frame::parts). It does not change.
    fn gathers(&self) -> bool {
        false
    }

    /// Whether somebody is at the other end, as far as can be known without asking the kernel. It
    /// changes in [`receive`](Self::receive) and [`send`](Self::send); if otherwise, it is told as
    /// [`on_change`](Self::on_change) says.
    fn has_peer(&self) -> bool;

    /// Has `changed` called when the kernel has told that somebody is there now or is no longer, which
    /// [`receive`](Self::receive) takes note of; and perhaps once at once. To be called once.
    fn on_change(&self, changed: Changed) {
        let _ = changed;
    }

    /// The MTU is this from now on. A kernel interface at the other end is told where that is ours to do.
    ///
    /// # Errors
    ///
    /// It can't carry that much.
    fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        let _ = mtu;
        Ok(())
    }
}

/// Told that something has changed, by any thread and with locks held: it may neither wait nor ask.
pub type Changed = Arc<dyn Fn() + Send + Sync>;

/// What became of a [`Wire::receive`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// It has stopped for being asked no more: there may be more, of which no event tells.
    pub more: bool,
    /// What came and was no frame.
    pub malformed: u64,
    /// Frames that the kernel says it has dropped since it was last asked, where it says so.
    pub missed: u64,
}

/// What became of a [`Wire::send`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that are on their way.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames that were lost, because nobody is at the other end or it refused them.
    pub lost: u64,
}
