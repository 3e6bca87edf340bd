//! `dgram`: a unix datagram socket, a frame in each datagram, as QEMU's `-netdev dgram` and vfkit have
//! it.

use super::readiness::{Events, Readiness};
use super::socket_file::{SocketFile, unix_socket};
use super::{FRAME_MAX, OpenError, is_frame, rights, scratch, together};
use crate::frame::Frames;
use crate::wire::{Received, Sent, Wire};
use holm_lifetime::sync::Mutex;
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};
use rustix::net::{RecvFlags, SocketAddrAny, SocketAddrUnix, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What a [`Dgram`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DgramOptions {
    /// Where our socket is: at most 107 bytes.
    pub path: PathBuf,
    /// Where the peer's is. None: the first to send is the peer, until it has gone, or another begins
    /// with the four bytes that vfkit has once begun with.
    pub peer: Option<PathBuf>,
}

/// A unix datagram socket. Peers come and go; frames are lost while nobody is there.
#[derive(Debug)]
pub struct Dgram {
    socket: OwnedFd,
    readiness: Readiness,
    learns: bool,
    outgoing: Mutex<Outgoing>,
    has_peer: AtomicBool,
    _file: SocketFile,
}

#[derive(Debug)]
struct Outgoing {
    peer: Option<SocketAddrUnix>,
    /// Connected to the peer when it has no room, to be told when it has: a socket that is not connected
    /// is not told. Ours stays unconnected, or nobody else could send to it, and the peer's successor is
    /// somebody else.
    feeler: Option<OwnedFd>,
    waits: Waits,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    /// That the peer takes what was sent.
    Socket,
    /// That the peer takes what others have sent too.
    Feeler,
}

impl Dgram {
    /// Binds the socket.
    ///
    /// # Errors
    ///
    /// It can't be made or bound: the path is too long, or not to be written, or somebody else's.
    pub fn open(options: &DgramOptions) -> Result<Self, OpenError> {
        let path = options.path.display();
        let open = || -> rustix::io::Result<Self> {
            let peer = options.peer.as_ref().map(SocketAddrUnix::new).transpose()?;
            let socket = unix_socket(SocketType::DGRAM)?;
            set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
            if socket_send_buffer_size(&socket)? < FRAME_MAX + OVERHEAD {
                return Err(Errno::NOBUFS);
            }
            let readiness = Readiness::new()?;
            readiness.add(&socket, Events::Read)?;
            let has_peer = AtomicBool::new(peer.is_some());
            let file = SocketFile::bind(&socket, SocketType::DGRAM, &options.path)?;
            let outgoing = Mutex::new(Outgoing { peer, feeler: None, waits: Waits::No });
            let learns = options.peer.is_none();
            Ok(Self { socket, readiness, learns, outgoing, has_peer, _file: file })
        };
        open().map_err(|error| {
            OpenError::new("bind a socket to", path, error).advise(match error {
                Errno::ADDRINUSE => {
                    ": another program has it, or it is no socket; choose another path"
                }
                Errno::NAMETOOLONG => {
                    ": the path of a socket has at most 107 bytes; choose a shorter one"
                }
                Errno::NOBUFS => {
                    ": the system's limit net.core.wmem_max is below the longest frame"
                }
                _ => "",
            })
        })
    }

    /// Whether what came from there is the peer's. Somebody is who sends while there is no peer, or who
    /// begins. `looked`: whether the peer is there was looked at lately.
    fn is_from_peer(&self, from: Option<SocketAddrAny>, begins: bool, looked: &mut bool) -> bool {
        if !self.learns {
            return true;
        }
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        // Who has no name can't be sent to.
        let Some(from) = from.filter(|from| from.path_bytes().is_some()) else { return false };
        let mut outgoing = self.outgoing.lock();
        match &outgoing.peer {
            Some(peer) if *peer == from => return true,
            // Nobody tells when a peer goes: who comes after it would wait for us to send first.
            Some(peer) if !begins && (std::mem::replace(looked, true) || is_there(peer)) => {
                return false;
            }
            _ => {}
        }
        outgoing.peer = Some(from);
        true
    }

    fn seen(&self, peer: bool) {
        // It is read often and changes seldom.
        if self.has_peer.load(Ordering::Relaxed) != peer {
            self.has_peer.store(peer, Ordering::Relaxed);
        }
    }
}

impl Wire for Dgram {
    fn fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received> {
        let mut received = Received::default();
        let mut looked = false;
        let mut single = scratch::Single::new();
        for _ in 0..most {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recvfrom(&self.socket, single.space(), flags) {
                Ok((count, length, from)) => {
                    let begins = single.space().get(..count) == Some(BEGINNING);
                    if !self.is_from_peer(from, begins, &mut looked) {
                        received.malformed += 1;
                        continue;
                    }
                    self.seen(true);
                    if is_frame(length) {
                        frames.push(single.take(count, None));
                    } else if !begins {
                        received.malformed += 1;
                    }
                }
                Err(Errno::AGAIN) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        received.more = true;
        Ok(received)
    }

    fn send(&self, frames: &mut Frames) -> io::Result<Sent> {
        let mut outgoing = self.outgoing.lock();
        let mut sent = Sent::default();
        let mut taken = 0;
        let address = outgoing.peer.as_ref().map(SocketAddrArg::as_any);
        let waits = loop {
            let rest = frames.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Waits::No;
            }
            let result = match &address {
                Some(address) => {
                    rights::as_server(|| together::send(&self.socket, rest, |_| [], Some(address)))
                }
                None => Err(Errno::NOENT),
            };
            match result {
                Ok(count) => {
                    for frame in rest.iter().take(count) {
                        sent.frames += 1;
                        sent.bytes += frame.len() as u64;
                    }
                    taken += count;
                    self.seen(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match outgoing.wait_for_room(&self.socket, &self.readiness) {
                    Ok(waits) => break waits,
                    Err(_) => {
                        // The peer has gone just now, or room can't be waited for.
                        sent.lost += 1;
                        taken += 1;
                    }
                },
                Err(Errno::NOENT | Errno::CONNREFUSED) => {
                    self.seen(false);
                    if self.learns {
                        outgoing.peer = None;
                    }
                    sent.lost += rest.len() as u64;
                    taken += rest.len();
                }
                Err(_) => {
                    sent.lost += 1;
                    taken += 1;
                }
            }
        };
        frames.drain(..taken);
        if waits == Waits::No {
            outgoing.wait_no_more(&self.socket, &self.readiness);
        }
        Ok(sent)
    }

    fn has_peer(&self) -> bool {
        self.has_peer.load(Ordering::Relaxed)
    }
}

impl Outgoing {
    /// Room was missing. Either too much of ours lies with the peer: then the socket tells when less
    /// does. Or its queue is full, and the feeler tells. Who asked the wrong one would be told at once,
    /// again and again.
    fn wait_for_room(
        &mut self,
        socket: &OwnedFd,
        readiness: &Readiness,
    ) -> rustix::io::Result<Waits> {
        let mut ours = [PollFd::new(socket, PollFlags::OUT)];
        let writable = poll(&mut ours, Some(&Timespec::default()))? > 0;
        self.wait_no_more(socket, readiness);
        self.waits = if writable {
            let peer = self.peer.as_ref().ok_or(Errno::NOENT)?;
            let feeler = unix_socket(SocketType::DGRAM)?;
            rights::as_server(|| rustix::net::connect(&feeler, peer))?;
            readiness.add(&feeler, Events::ReadWrite)?;
            self.feeler = Some(feeler);
            Waits::Feeler
        } else {
            readiness.change(socket, Events::ReadWrite)?;
            Waits::Socket
        };
        Ok(self.waits)
    }

    fn wait_no_more(&mut self, socket: &OwnedFd, readiness: &Readiness) {
        self.feeler = None;
        if self.waits == Waits::Socket {
            // It is watched for as long as it is open.
            let _ = readiness.change(socket, Events::Read);
        }
        self.waits = Waits::No;
    }
}

/// Whether somebody has a socket there.
fn is_there(address: &SocketAddrUnix) -> bool {
    let connected = unix_socket(SocketType::DGRAM)
        .and_then(|socket| rights::as_server(|| rustix::net::connect(&socket, address)));
    !matches!(connected, Err(Errno::NOENT | Errno::CONNREFUSED))
}

/// What vfkit began with in its first versions.
const BEGINNING: &[u8] = b"VFKT";
/// Bytes on their way to the peer; the kernel doubles it, and has a limit of its own.
const SEND_BUFFER: usize = 512 * 1024;
/// What the kernel sets aside of it in each datagram.
const OVERHEAD: usize = 32;
