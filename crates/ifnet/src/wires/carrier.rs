//! Whether interfaces of the kernel have somebody at their other end: one netlink socket (rtnetlink(7))
//! for each of the kernel's network namespaces that wires are in, and one thread that reads them all.
//!
//! Not a socket for each wire: the kernel tells each of every interface that changes, and thousands of
//! machines have their taps in one namespace.

use super::kernel_link;
use super::raw::netns_cookie;
use crate::wire::Changed;
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Arc, Mutex, OnceLock, Weak};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

/// Watches one interface, until it is dropped.
#[derive(Debug)]
pub(super) struct Carrier {
    state: Arc<State>,
    monitor: Arc<Monitor>,
}

struct State {
    index: u32,
    /// The flags that it has while it is up.
    flags: u32,
    is_up: AtomicBool,
    /// It has changed since it was last [asked for](Carrier::has_changed).
    has_changed: AtomicBool,
    changed: OnceLock<Changed>,
}

/// The interfaces of one of the kernel's namespaces that are watched.
#[derive(Debug)]
struct Monitor {
    cookie: u64,
    socket: OwnedFd,
    states: Mutex<HashMap<u32, Vec<Arc<State>>>>,
}

/// What the thread has.
struct Shared {
    epoll: OwnedFd,
    /// By what epoll says of them.
    monitors: Mutex<HashMap<u64, Weak<Monitor>>>,
}

static SHARED: LazyLock<rustix::io::Result<Arc<Shared>>> = LazyLock::new(Shared::start);

/// Starts the thread, unless it runs. It is in the network namespace of the thread that starts it, and
/// keeps that one: so this is called before a thread goes to another to [watch](Carrier::watch) there.
pub(super) fn start() {
    LazyLock::force(&SHARED);
}

impl Carrier {
    /// Watches the interface of that number, in the calling thread's network namespace: whether it is up,
    /// and so is what it is connected to.
    pub(super) fn watch(index: u32) -> io::Result<Self> {
        Self::watch_flags(index, (libc::IFF_UP | libc::IFF_RUNNING) as u32)
    }

    /// The same of an interface that is connected to us: whether it is up.
    pub(super) fn watch_own(index: u32) -> io::Result<Self> {
        Self::watch_flags(index, libc::IFF_UP as u32)
    }

    fn watch_flags(index: u32, flags: u32) -> io::Result<Self> {
        let (is_up, has_changed) = (AtomicBool::new(false), AtomicBool::new(false));
        let state = State { index, flags, is_up, has_changed, changed: OnceLock::new() };
        let state = Arc::new(state);
        let monitor = Monitor::of_this_netns()?;
        {
            // What is told from now on is newer than what is asked for.
            let mut states = monitor.states.lock();
            states.entry(index).or_default().push(state.clone());
            let flags = kernel_link::flags(&monitor.socket, index)?;
            state.is_up.store(state.means_up(flags), Ordering::Relaxed);
        }
        Ok(Self { state, monitor })
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.is_up.load(Ordering::Relaxed)
    }

    /// Has `changed` called after each change, and once now: there may have been one. It may not wait.
    pub(super) fn on_change(&self, changed: Changed) {
        let now = changed.clone();
        // It is said once.
        let _ = self.state.changed.set(changed);
        now();
    }

    /// Whether there was a change since this was last asked.
    pub(super) fn has_changed(&self) -> bool {
        let has_changed = &self.state.has_changed;
        // It is asked often and changes seldom.
        has_changed.load(Ordering::Relaxed) && has_changed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let mut states = self.monitor.states.lock();
        if let Some(same) = states.get_mut(&self.state.index) {
            same.retain(|other| !Arc::ptr_eq(other, &self.state));
            if same.is_empty() {
                states.remove(&self.state.index);
            }
        }
    }
}

impl State {
    fn set(&self, is_up: bool) {
        if self.is_up.swap(is_up, Ordering::Relaxed) != is_up {
            self.has_changed.store(true, Ordering::Release);
            if let Some(changed) = self.changed.get() {
                changed();
            }
        }
    }

    fn means_up(&self, flags: u32) -> bool {
        flags & self.flags == self.flags
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("index", &self.index)
            .field("is_up", &self.is_up)
            .finish_non_exhaustive()
    }
}

impl Monitor {
    fn of_this_netns() -> io::Result<Arc<Self>> {
        let shared = SHARED.as_ref().map_err(|error| io::Error::from(*error))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
        let cookie = netns_cookie(&socket)?;
        let mut monitors = shared.monitors.lock();
        if let Some(monitor) = monitors.get(&cookie).and_then(Weak::upgrade) {
            return Ok(monitor);
        }
        epoll::add(&shared.epoll, &socket, EventData::new_u64(cookie), EventFlags::IN)?;
        let monitor = Arc::new(Self { cookie, socket, states: Mutex::default() });
        monitors.insert(cookie, Arc::downgrade(&monitor));
        Ok(monitor)
    }

    /// Reads what is told, until nothing more is.
    fn read(&self, space: &mut [u8]) {
        loop {
            match recv(&self.socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((_, count)) => self.take(space.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                // Some was lost.
                Err(Errno::NOBUFS) => self.ask_for_all(),
                Err(_) => return,
            }
        }
    }

    /// Takes note of messages that came in one datagram.
    fn take(&self, mut messages: &[u8]) {
        let states = self.states.lock();
        while let Some((message, rest)) = Message::next(messages) {
            messages = rest;
            if let Some(link) = message.link() {
                let same = states.get(&link.index).into_iter().flatten();
                same.for_each(|state| state.set(link.flags.is_some_and(|it| state.means_up(it))));
            }
        }
    }

    fn ask_for_all(&self) {
        let states = self.states.lock();
        for (index, same) in &*states {
            let flags = kernel_link::flags(&self.socket, *index);
            let is_up = |state: &State| flags.as_ref().is_ok_and(|flags| state.means_up(*flags));
            same.iter().for_each(|state| state.set(is_up(state)));
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Ok(shared) = SHARED.as_ref() {
            let mut monitors = shared.monitors.lock();
            // There may be another for the same by now.
            if monitors.get(&self.cookie).is_some_and(|other| other.strong_count() == 0) {
                monitors.remove(&self.cookie);
            }
        }
    }
}

impl Shared {
    fn start() -> rustix::io::Result<Arc<Self>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let shared = Arc::new(Self { epoll, monitors: Mutex::default() });
        let thread = std::thread::Builder::new().name("holm-links".into());
        let run = {
            let shared = shared.clone();
            move || shared.run()
        };
        match thread.spawn(run) {
            Ok(_) => Ok(shared),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
        }
    }

    fn run(&self) {
        let mut space = vec![0; DATAGRAM];
        loop {
            let mut events = [const { MaybeUninit::uninit() }; 16];
            // Only a signal ends it early.
            let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, None) else { continue };
            for event in events {
                let monitor = self.monitors.lock().get(&event.data.u64()).and_then(Weak::upgrade);
                if let Some(monitor) = monitor {
                    monitor.read(&mut space);
                }
            }
        }
    }
}

/// A message of netlink(7): its type, and what is behind its header.
struct Message<'m> {
    kind: u16,
    body: &'m [u8],
}

/// What is told of an interface.
struct Link {
    index: u32,
    /// None if it is there no longer.
    flags: Option<u32>,
}

impl<'m> Message<'m> {
    /// The first, and what follows it.
    fn next(messages: &'m [u8]) -> Option<(Self, &'m [u8])> {
        let length = u32::from_ne_bytes(*messages.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*messages.get(4..)?.first_chunk()?);
        let body = messages.get(HEADER..length)?;
        let rest = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((Self { kind, body }, rest))
    }

    fn link(&self) -> Option<Link> {
        // `struct ifinfomsg`: family, type, index, flags.
        let index = u32::from_ne_bytes(*self.body.get(4..)?.first_chunk()?);
        let flags = u32::from_ne_bytes(*self.body.get(8..)?.first_chunk()?);
        match self.kind {
            libc::RTM_NEWLINK => Some(Link { index, flags: Some(flags) }),
            libc::RTM_DELLINK => Some(Link { index, flags: None }),
            _ => None,
        }
    }
}

/// The group that is told of interfaces.
const LINKS: u32 = libc::RTMGRP_LINK as u32;
const HEADER: usize = 16;
/// What the kernel puts into one datagram at most.
const DATAGRAM: usize = 32 * 1024;
