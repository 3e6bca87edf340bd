//! `packet`: an interface of the kernel that somebody else has made: a virtual machine's tap, the end of
//! a veth pair, a network card.

use super::carrier::Carrier;
use super::kernel_link::KernelLink;
use super::raw::{Message, PacketSocket};
use super::readiness::{Events, Readiness};
use super::{OpenError, VLAN_TAG, is_frame, scratch, together};
use crate::frame::{Frame, Frames};
use crate::offload::{self, FINISHED, Unfinished};
use crate::wire::{Changed, Received, Sent, Wire};
use holm_lifetime::sync::Mutex;
use holm_lifetime::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What a [`Packet`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketOptions {
    /// What the kernel calls the interface.
    pub interface: String,
}

/// A packet socket at an interface of the kernel, which hears all that comes there. The interface is
/// neither brought up nor otherwise changed, except that it hears what is for other addresses too. The
/// kernel goes on hearing what it heard before.
///
/// Checksums and the cutting of long segments are left to whoever takes a frame, as the kernel leaves them to
/// the hardware, and the kernel does both where the interface can't. VLAN tags are put in, and what has one is
/// finished.
///
/// They are received with recvmmsg(2). A ring takes memory for good, and lets a frame that comes alone
/// wait for the block to be full or for a millisecond.
#[derive(Debug)]
pub struct Packet {
    link: KernelLink,
    socket: PacketSocket,
    readiness: Readiness,
    /// Room is waited for.
    waits: Mutex<bool>,
    carrier: Carrier,
    dropped: AtomicU32,
}

impl Packet {
    /// Opens a packet socket there.
    ///
    /// # Errors
    ///
    /// We may not, there is no such interface, or the system's.
    pub fn open(options: &PacketOptions) -> Result<Self, OpenError> {
        let failed = |attempted, error: io::Error| {
            let advice = match Errno::from_io_error(&error) {
                Some(Errno::PERM | Errno::ACCESS) => ": that takes CAP_NET_RAW; start holm as root",
                Some(Errno::NODEV) => ": the kernel has none of that name here",
                _ => "",
            };
            OpenError::new(attempted, &options.interface, error).advise(advice)
        };
        let link = KernelLink::find(&options.interface)
            .map_err(|error| failed("find the interface", error))?;
        let socket = PacketSocket::open(link.index())
            .map_err(|error| failed("open a packet socket at", error))?;
        let readiness = Readiness::new()
            .and_then(|readiness| readiness.add(&socket, Events::Read).map(|()| readiness))
            .map_err(|error| failed("watch the packet socket at", error.into()))?;
        let carrier =
            Carrier::watch(link.index()).map_err(|error| failed("watch the link of", error))?;
        let (waits, dropped) = (Mutex::new(false), AtomicU32::new(0));
        Ok(Self { link, socket, readiness, waits, carrier, dropped })
    }

    /// What it means that the interface is not there or not up.
    fn down(&self) -> io::Result<()> {
        if self.socket.is_orphan() { Err(Errno::NXIO.into()) } else { Ok(()) }
    }

    fn wait_for_room(&self, wait: bool) {
        let mut waits = self.waits.lock();
        if *waits || wait {
            let events = if wait { Events::ReadWrite } else { Events::Read };
            // It is watched for as long as it is open. Once more, so that room since then is an event.
            if self.readiness.change(&self.socket, events).is_ok() {
                *waits = wait;
            }
        }
    }
}

impl Wire for Packet {
    fn fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received> {
        let mut received = Received::default();
        let mut left = most;
        scratch::slots(|space| {
            while left > 0 {
                let before = frames.len();
                let taken = self.socket.receive(space, left, |message| {
                    if let Some(dropped) = message.dropped {
                        let before = self.dropped.swap(dropped, Ordering::Relaxed);
                        received.missed += u64::from(dropped.wrapping_sub(before));
                    }
                    if take(message, frames).is_none() {
                        received.malformed += 1;
                    }
                });
                match taken {
                    Ok(count) => {
                        // Fewer than there was room for may mean that one was refused, not that no
                        // more are there.
                        left = left.saturating_sub(count.max(frames.len() - before));
                    }
                    Err(Errno::AGAIN) => return Ok(received),
                    Err(Errno::INTR) => {}
                    // The kernel could not put in words what it has left to the hardware.
                    Err(Errno::INVAL) => {
                        received.malformed += 1;
                        left -= 1;
                    }
                    Err(Errno::NETDOWN) => self.down()?,
                    Err(error) => return Err(error.into()),
                }
            }
            received.more = true;
            Ok(received)
        })
    }

    fn send(&self, frames: &mut Frames) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut taken = 0;
        let header = |frame: &Frame| frame.rest().map_or(FINISHED, |rest| rest.header(frame));
        let waits = loop {
            let rest = frames.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break false;
            }
            match together::send(&self.socket, rest, header, None) {
                Ok(count) => {
                    for frame in rest.iter().take(count) {
                        sent.frames += 1;
                        sent.bytes += frame.len() as u64;
                    }
                    taken += count;
                }
                Err(Errno::AGAIN) => break true,
                Err(Errno::INTR) => {}
                Err(error) => {
                    if matches!(error, Errno::NETDOWN | Errno::NXIO) {
                        self.down()?;
                    }
                    sent.lost += 1;
                    taken += 1;
                }
            }
        };
        frames.drain(..taken);
        self.wait_for_room(waits);
        Ok(sent)
    }

    fn offloads(&self) -> bool {
        true
    }

    fn gathers(&self) -> bool {
        true
    }

    fn has_peer(&self) -> bool {
        self.carrier.is_up()
    }

    fn on_change(&self, changed: Changed) {
        self.carrier.on_change(changed);
    }

    fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        let carries = self.link.mtu()?;
        if mtu <= carries {
            return Ok(());
        }
        let name = self.link.name()?;
        let why = format!("{name} carries {carries}: give it a greater MTU, or this a smaller one");
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

/// Appends what a message has brought.
fn take(message: Message<'_>, frames: &mut Frames) -> Option<()> {
    let Message { bytes, length, tag, .. } = message;
    let whole = length == bytes.len();
    let (header, bytes) = bytes.split_first_chunk_mut()?;
    let tagged = bytes.len() + if tag.is_some() { VLAN_TAG } else { 0 };
    (whole && is_frame(tagged)).then_some(())?;
    match (Unfinished::parse(*header), tag) {
        (None, None) => frames.push((&*bytes).into()),
        (Some(rest), None) => frames.push(Frame::unfinished(bytes.to_vec(), rest)),
        (None, Some(_)) => frames.push(offload::joined(bytes, tag, &[])?),
        (Some(rest), Some(_)) => rest.finish(bytes, tag, frames)?,
    }
    Some(())
}
