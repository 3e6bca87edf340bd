//! `stream`: a unix stream socket, as QEMU's `-netdev stream` and passt speak it: frames
//! [after their lengths](super::framing).

use super::framing::{Cut, Decoder, PREFIX};
use super::readiness::{Events, Readiness};
use super::socket_file::{SocketFile, unix_socket};
use super::{OpenError, rights, scratch};
use crate::frame::{Frame, Frames};
use crate::wire::{Received, Sent, Wire};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// What a [`Stream`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Where the socket is: at most 107 bytes.
    pub path: PathBuf,
    /// Which end of it is ours.
    pub end: StreamEnd,
}

/// Which end of a stream is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// We listen, and have one peer at a time; the next is heard when it has gone.
    Listen,
    /// We connect, and try again for as long as nobody listens.
    Connect {
        /// How long after an attempt, or after the peer has gone.
        retry: Duration,
    },
}

impl StreamEnd {
    /// Connecting, with a second between attempts.
    pub const CONNECT: Self = Self::Connect { retry: RETRY };
}

/// A unix stream socket. Peers come and go; frames are lost while nobody is there.
///
/// Locks: `incoming` before `outgoing`. Who receives brings peers and lets them go; who sends only finds
/// that one has gone, and shuts the connection, which the other is told of.
#[derive(Debug)]
pub struct Stream {
    readiness: Readiness,
    end: End,
    /// How long after an attempt to find a peer has failed.
    retry: Duration,
    timer: OwnedFd,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    has_peer: AtomicBool,
}

#[derive(Debug)]
enum End {
    Listen { listener: OwnedFd, _file: SocketFile },
    Connect { address: SocketAddrUnix },
}

/// When there is an event for whoever wants to be the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    No,
    Now,
    /// When the timer says so.
    Later,
}

#[derive(Debug, Default)]
struct Incoming {
    connection: Option<Arc<OwnedFd>>,
    decoder: Decoder,
}

#[derive(Debug, Default)]
struct Outgoing {
    connection: Option<Arc<OwnedFd>>,
    begun: Option<Begun>,
    /// Room is waited for.
    waits: bool,
}

/// A frame of which a part was sent.
#[derive(Debug)]
struct Begun {
    frame: Frame,
    /// How much of it and the length before it.
    sent: usize,
}

impl Stream {
    /// Listens, or connects for the first time. That nobody listens is no error.
    ///
    /// # Errors
    ///
    /// The socket can't be made or bound: its path is too long, or not to be written, or somebody else's.
    pub fn open(options: &StreamOptions) -> Result<Self, OpenError> {
        let failed =
            |attempted, error: Errno| OpenError::new(attempted, options.path.display(), error);
        let readiness = Readiness::new().map_err(|error| failed("watch the socket", error))?;
        let timer = timer(&readiness).map_err(|error| failed("make a timer for", error))?;
        let (end, retry) = match options.end {
            StreamEnd::Listen => (End::listen(options, &readiness)?, RETRY),
            StreamEnd::Connect { retry } => {
                let address = SocketAddrUnix::new(&options.path)
                    .map_err(|error| failed("connect to", error).advise(PATH_ADVICE))?;
                (End::Connect { address }, retry)
            }
        };
        let (incoming, outgoing) = (Mutex::default(), Mutex::default());
        let has_peer = AtomicBool::new(false);
        let this = Self { readiness, end, retry, timer, incoming, outgoing, has_peer };
        if matches!(this.end, End::Connect { .. }) {
            this.find_peer(&mut this.incoming.lock());
        }
        Ok(this)
    }

    /// Accepts or connects, if it can be done now.
    fn find_peer(&self, incoming: &mut Incoming) {
        let found = match &self.end {
            End::Listen { listener, .. } => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                rustix::net::accept_with(listener, flags)
            }
            End::Connect { address } => unix_socket(SocketType::STREAM).and_then(|socket| {
                rights::as_server(|| rustix::net::connect(&socket, address)).map(|()| socket)
            }),
        };
        match found.and_then(|socket| self.readiness.add(&socket, Events::Read).map(|()| socket)) {
            Ok(socket) => {
                let socket = Arc::new(socket);
                *self.outgoing.lock() =
                    Outgoing { connection: Some(socket.clone()), ..Outgoing::default() };
                *incoming = Incoming { connection: Some(socket), decoder: Decoder::default() };
                self.has_peer.store(true, Ordering::Relaxed);
                self.look_for_peers(Look::No);
            }
            Err(Errno::AGAIN) if matches!(self.end, End::Listen { .. }) => {
                self.look_for_peers(Look::Now);
            }
            // Nobody listens, or there are no descriptors.
            Err(_) => self.look_for_peers(Look::Later),
        }
    }

    /// Lets the peer go. If the next one waits already there is an event.
    fn lose_peer(&self, incoming: &mut Incoming) {
        *incoming = Incoming::default();
        *self.outgoing.lock() = Outgoing::default();
        self.has_peer.store(false, Ordering::Relaxed);
        self.look_for_peers(match self.end {
            End::Listen { .. } => Look::Now,
            End::Connect { .. } => Look::Later,
        });
    }

    /// When there is an event for whoever wants to be the peer.
    fn look_for_peers(&self, look: Look) {
        let later = if look == Look::Later { self.retry } else { Duration::ZERO };
        let mut done = set(&self.timer, later);
        if let End::Listen { listener, .. } = &self.end {
            let events = if look == Look::Now { Events::Read } else { Events::None };
            done = done.and(self.readiness.change(listener, events));
        }
        debug_assert!(done.is_ok(), "both belong to us: {done:?}");
    }

    /// Whether it is time to look for a peer.
    fn may_find_peer(&self) -> bool {
        let timed = rustix::io::read(&self.timer, &mut [0; 8]).is_ok();
        timed || matches!(self.end, End::Listen { .. })
    }

    /// Cuts frames out of what has come, no more than are `left`. Whether it went on to the end of it.
    fn cut(
        decoder: &mut Decoder,
        mut input: &[u8],
        left: &mut usize,
        frames: &mut Frames,
        received: &mut Received,
    ) -> Result<bool, super::framing::WrongLength> {
        while *left > 0 {
            match decoder.next(&mut input)? {
                Some(Cut::Frame(frame)) => frames.push(frame),
                Some(Cut::Malformed) => received.malformed += 1,
                None => return Ok(true),
            }
            *left -= 1;
        }
        decoder.keep(input);
        Ok(false)
    }
}

impl Wire for Stream {
    fn fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received> {
        let mut incoming = self.incoming.lock();
        let mut received = Received::default();
        if incoming.connection.is_none() && self.may_find_peer() {
            self.find_peer(&mut incoming);
        }
        let Incoming { connection: Some(connection), decoder } = &mut *incoming else {
            return Ok(received);
        };
        let mut left = most;
        let gone = scratch::chunk(|space| {
            // What was left the last time comes first.
            let mut count = 0;
            loop {
                let input = space.get(..count).unwrap_or_default();
                match Self::cut(decoder, input, &mut left, frames, &mut received) {
                    // Up to where nothing is there: less than there was room for may be all that will ever
                    // come, and of an end that was there before this there is no event any more.
                    Ok(true) => {}
                    Ok(false) => {
                        received.more = true;
                        return false;
                    }
                    Err(_) => {
                        received.malformed += 1;
                        return true;
                    }
                }
                match rustix::net::recv(&*connection, &mut *space, RecvFlags::DONTWAIT) {
                    Ok((_, 0)) => break,
                    Ok((_, bytes)) => count = bytes,
                    Err(Errno::AGAIN) => return false,
                    Err(Errno::INTR) => count = 0,
                    Err(_) => break,
                }
            }
            // It ended; what was begun is no frame.
            received.malformed += u64::from(!decoder.is_between());
            true
        });
        if gone {
            self.lose_peer(&mut incoming);
        }
        Ok(received)
    }

    fn send(&self, frames: &mut Frames) -> io::Result<Sent> {
        let mut outgoing = self.outgoing.lock();
        Ok(outgoing.send(&self.readiness, frames))
    }

    fn has_peer(&self) -> bool {
        self.has_peer.load(Ordering::Relaxed)
    }
}

impl End {
    fn listen(options: &StreamOptions, readiness: &Readiness) -> Result<Self, OpenError> {
        let path = &options.path;
        let listen = || {
            let listener = unix_socket(SocketType::STREAM)?;
            let file = SocketFile::bind(&listener, SocketType::STREAM, path)?;
            rustix::net::listen(&listener, BACKLOG)?;
            readiness.add(&listener, Events::Read)?;
            Ok(Self::Listen { listener, _file: file })
        };
        listen().map_err(|error: Errno| {
            OpenError::new("listen at", path.display(), error).advise(match error {
                Errno::ADDRINUSE => IN_USE_ADVICE,
                Errno::NAMETOOLONG => PATH_ADVICE,
                _ => "",
            })
        })
    }
}

impl Outgoing {
    fn send(&mut self, readiness: &Readiness, frames: &mut Frames) -> Sent {
        let mut sent = Sent::default();
        let Some(connection) = self.connection.clone() else {
            sent.lost = frames.drain(..).count() as u64;
            return sent;
        };
        while self.begun.is_some() || !frames.is_empty() {
            match self.send_some(&connection, frames, &mut sent) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.wait_for_room(readiness, &connection, true);
                    return sent;
                }
                Err(_) => {
                    // Whoever receives lets it go.
                    let _ = rustix::net::shutdown(&*connection, Shutdown::Both);
                    *self = Self::default();
                    sent.lost += frames.drain(..).count() as u64;
                    return sent;
                }
            }
        }
        self.wait_for_room(readiness, &connection, false);
        sent
    }

    /// One call: the rest of what was begun, and as many frames as are sent in one go.
    fn send_some(
        &mut self,
        connection: &OwnedFd,
        frames: &mut Frames,
        sent: &mut Sent,
    ) -> rustix::io::Result<()> {
        let prefixes: Vec<[u8; PREFIX]> = self
            .begun
            .iter()
            .map(|begun| &begun.frame)
            .chain(&*frames)
            .take(TOGETHER)
            .map(prefix)
            .collect();
        let whole = self.begun.iter().map(|begun| &begun.frame).chain(&*frames);
        let mut parts = Vec::with_capacity(2 * TOGETHER);
        for (prefix, frame) in prefixes.iter().zip(whole) {
            parts.push(IoSlice::new(prefix));
            parts.push(IoSlice::new(frame));
        }
        let mut rest = parts.as_mut_slice();
        IoSlice::advance_slices(&mut rest, self.begun.as_ref().map_or(0, |begun| begun.sent));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut count =
            rustix::net::sendmsg(connection, rest, &mut SendAncillaryBuffer::default(), flags)?;

        if let Some(begun) = &mut self.begun {
            let missing = PREFIX + begun.frame.len() - begun.sent;
            if count < missing {
                begun.sent += count;
                return Ok(());
            }
            count -= missing;
            self.begun = None;
        }
        let mut whole = 0;
        for frame in &*frames {
            let Some(rest) = count.checked_sub(PREFIX + frame.len()) else { break };
            count = rest;
            whole += 1;
            sent.frames += 1;
            sent.bytes += frame.len() as u64;
        }
        frames.drain(..whole);
        if count > 0 {
            let frame = frames.remove(0);
            sent.frames += 1;
            sent.bytes += frame.len() as u64;
            self.begun = Some(Begun { frame, sent: count });
        }
        Ok(())
    }

    fn wait_for_room(&mut self, readiness: &Readiness, connection: &OwnedFd, wait: bool) {
        if self.waits != wait {
            let events = if wait { Events::ReadWrite } else { Events::Read };
            // It is watched for as long as it is open.
            if readiness.change(connection, events).is_ok() {
                self.waits = wait;
            }
        }
    }
}

fn prefix(frame: &Frame) -> [u8; PREFIX] {
    // No frame is longer than 65,539 bytes.
    (frame.len() as u32).to_be_bytes()
}

fn timer(readiness: &Readiness) -> rustix::io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    readiness.add(&timer, Events::Read)?;
    Ok(timer)
}

/// No time at all switches it off.
fn set(timer: &OwnedFd, after: Duration) -> rustix::io::Result<()> {
    let nothing = Timespec::default();
    let it_value = Timespec {
        tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: after.subsec_nanos().into(),
    };
    let once = Itimerspec { it_interval: nothing, it_value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).map(drop)
}

/// Also what a listening end waits when it could not accept.
const RETRY: Duration = Duration::from_secs(1);
/// Peers that wait for the one to go.
const BACKLOG: i32 = 8;
/// Frames that one call sends at most. The kernel takes 1024 parts.
const TOGETHER: usize = 64;

const IN_USE_ADVICE: &str =
    ": another program listens there, or it is no socket; choose another path";
const PATH_ADVICE: &str = ": the path of a socket has at most 107 bytes; choose a shorter one";
