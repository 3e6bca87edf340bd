//! What the pool runs: event sources.

use crate::turn::Turn;
use std::fmt;
use std::os::fd::BorrowedFd;

/// Something that has work now and then: a connection, a listener, an interface, a timer.
///
/// It is run after an event: its descriptor became ready, somebody [woke](crate::Handle::wake) it,
/// its time [came](crate::Handle::wake_at). It is run by one worker at a time, to completion; what
/// happens meanwhile makes it run again. So its own state needs a lock only against others that
/// touch it, which the lock then never meets in `run`.
pub trait Source: Send + Sync + 'static {
    /// Does what there is to do, until there is nothing left or the turn's
    /// [budget](Turn::left) is used up. The namespace has been entered for the turn.
    ///
    /// Readiness is told once, as it changes: whoever returns [`Next::Idle`] has read until the
    /// descriptor had nothing more.
    fn run(&self, turn: &Turn<'_>) -> Next;

    /// The descriptor whose events are its own, if it has one. The source owns it and always answers
    /// the same; it is closed when the source is dropped.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Which events of the descriptor.
    fn interest(&self) -> Interest {
        Interest::Read
    }

    /// The namespace goes and the source with it: wakes whoever sleeps in it or waits for it
    /// elsewhere. May be called while it runs. It does not wait for anybody.
    fn closing(&self) {}
}

/// What shall become of a source after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing to do until the next event.
    Idle,
    /// There is more to do: it is run again when its namespace's turn comes.
    More,
    /// It has ended. The pool lets go of it here and now, still inside the namespace.
    Done,
}

/// Which events of a descriptor a source wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// It can be read, or the peer is gone.
    Read,
    /// Also when it can be written again. With a TCP socket that is told only after a write was cut
    /// short; with a unix socket whenever the peer has read.
    ReadWrite,
}

/// Which source: its slot, and how often the slot was used before. It fits the word that epoll keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceId {
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl SourceId {
    pub(crate) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_token(token: u64) -> Self {
        Self { generation: (token >> 32) as u32, index: token as u32 }
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}
