//! Where events come from: epoll, or what stands in for it in a test.

use crate::source::Interest;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Tells the readiness of descriptors to the threads that wait, each change to one of them.
pub trait Poller: Send + Sync + 'static {
    /// Events of `fd` are told with `token` from now on, beginning with those that have happened.
    ///
    /// # Errors
    ///
    /// The system's: the descriptor can't be waited for, or there are too many.
    fn add(&self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()>;

    /// Events of `fd` are not told any more, save to who has been told and not looked yet.
    ///
    /// # Errors
    ///
    /// The system's: it was not added.
    fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Waits for events and hands them to `each`, until there are some or the timeout is over;
    /// `None` is no timeout. A [wake-up](Self::wake) is handed over as [`Event::WOKEN`].
    ///
    /// # Errors
    ///
    /// The system's, save that it was interrupted.
    fn wait(&self, timeout: Option<Duration>, each: &mut dyn FnMut(Event)) -> io::Result<()>;

    /// Wakes one thread that waits, or else the next that will.
    fn wake(&self);

    /// What time it is.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A change of a descriptor's readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What it was added with.
    pub token: u64,
    /// The peer will send nothing more, or it has failed.
    pub hung_up: bool,
}

impl Event {
    /// Somebody called [`Poller::wake`].
    pub const WOKEN: Event = Event { token: u64::MAX, hung_up: false };
}

/// epoll, edge-triggered.
pub struct Epoll {
    epoll: OwnedFd,
    woken: OwnedFd,
}

impl Epoll {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let woken = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each write is told to one thread, and the number is never read.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &woken, EventData::new_u64(Event::WOKEN.token), flags)?;
        Ok(Self { epoll, woken })
    }
}

impl Poller for Epoll {
    fn add(&self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        if interest == Interest::ReadWrite {
            flags |= EventFlags::OUT;
        }
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    #[inline]
    fn wait(&self, timeout: Option<Duration>, each: &mut dyn FnMut(Event)) -> io::Result<()> {
        let timeout = timeout.map(|timeout| {
            // Whole milliseconds, upwards: waking up before the time is waking up twice.
            let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(MOST_MILLISECONDS);
            let milliseconds = milliseconds as i64;
            Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 }
        });
        if timeout.is_none_or(|timeout| timeout.tv_sec > 0 || timeout.tv_nsec > 0) {
            // Who waits for a CPU may have something for us: then there is more to do at once, and
            // nobody has to wake us for it.
            rustix::thread::sched_yield();
        }
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let flags = event.flags;
            let over = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            each(Event { token: event.data.u64(), hung_up: flags.intersects(over) });
        }
        Ok(())
    }

    fn wake(&self) {
        // It fails only when the number is at its greatest, after 2^64 wake-ups.
        let _ = rustix::io::write(&self.woken, &1u64.to_ne_bytes());
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// How many events are taken at once.
const EVENTS: usize = 64;
const MOST_MILLISECONDS: u128 = 86_400_000;
