//! One descriptor for a wire whose sockets come and go.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An epoll descriptor, readable when a socket that belongs to it has an event. Nobody takes the events
/// out of it: whoever was woken asks the sockets. It passes on each event as it comes, so it can be
/// waited for edge-triggered.
///
/// Another socket under the same number, by `dup2`, would not do: epoll watches what a number stood for
/// when it was added. This also has room told of only where somebody waits for it; a unix socket tells
/// of it each time the peer reads.
#[derive(Debug)]
pub(super) struct Readiness(OwnedFd);

/// What of a socket is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Events {
    /// Only that it is of no use any more.
    None,
    /// Something to receive, or the end.
    Read,
    /// Room too.
    ReadWrite,
}

impl Readiness {
    pub(super) fn new() -> io::Result<Self> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    /// Adds a socket. It leaves when its last descriptor is closed.
    pub(super) fn add(&self, socket: impl AsFd, events: Events) -> io::Result<()> {
        epoll::add(&self.0, socket, EventData::new_u64(0), events.flags())
    }

    /// What is the case already is an event at once.
    pub(super) fn change(&self, socket: impl AsFd, events: Events) -> io::Result<()> {
        epoll::modify(&self.0, socket, EventData::new_u64(0), events.flags())
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Events {
    fn flags(self) -> EventFlags {
        match self {
            Self::None => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}
