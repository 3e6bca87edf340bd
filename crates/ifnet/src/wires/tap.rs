//! `tap`: an interface of the kernel whose other end is this process.

use super::carrier::Carrier;
use super::kernel_link::{self, KernelLink, make_tap};
use super::{OpenError, is_frame, scratch};
use crate::frame::{Frames, PARTS_MAX};
use crate::offload::{FINISHED, HEADER, Unfinished};
use crate::wire::{Changed, Received, Sent, Wire};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, IoSlice, IoSliceMut};
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a [`Tap`] is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapOptions {
    /// What the kernel calls it: at most 15 bytes. None: the next of `tap0`, `tap1`, … that is free.
    pub name: Option<String>,
}

/// A tap. The kernel's end is there for as long as this is.
///
/// A persistent tap that somebody else has made, for this user perhaps, is used as it is: its MTU stays,
/// and it is not brought up.
///
/// Neither end makes checksums for the other, or cuts long segments of TCP: what crosses a tap stays within
/// the machine's memory. So a segment of up to 64 KiB crosses it in one call whatever the MTU is.
#[derive(Debug)]
pub struct Tap {
    tun: OwnedFd,
    link: KernelLink,
    made: bool,
    carrier: Carrier,
    /// As the kernel has told, or a frame since: one that was moved to another of the kernel's namespaces
    /// is gone for the carrier.
    is_up: AtomicBool,
}

impl Tap {
    /// Makes one and brings it up, or takes one that is there and that nobody uses.
    ///
    /// # Errors
    ///
    /// We may not, the name is in use, or the system's.
    pub fn open(options: &TapOptions) -> Result<Self, OpenError> {
        let name = options.name.as_deref().unwrap_or("tap%d");
        let failed = |attempted, error: io::Error| {
            let advice = advice(&error);
            OpenError::new(attempted, name, error).advise(advice)
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tun = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(|error| failed("open /dev/net/tun for the tap", error.into()))?;
        let (made, called) = match make_tap(&tun, name, true) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                (false, make_tap(&tun, name, false))
            }
            called => (true, called),
        };
        let called = called.map_err(|error| failed("make the tap", error))?;
        let link = KernelLink::find(&called).map_err(|error| failed("find the tap", error))?;
        if made {
            link.bring_up().map_err(|error| failed("bring up the tap", error))?;
        }
        let carrier = Carrier::watch_own(link.index());
        let carrier = carrier.map_err(|error| failed("watch the link of the tap", error))?;
        let is_up = AtomicBool::new(carrier.is_up());
        Ok(Self { tun, link, made, carrier, is_up })
    }

    /// What the kernel calls it by now.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn name(&self) -> io::Result<String> {
        self.link.name()
    }

    /// Whether we have made it; otherwise it was there.
    pub fn is_ours(&self) -> bool {
        self.made
    }

    fn seen(&self, up: bool) {
        // It is read often and changes seldom.
        if self.is_up.load(Ordering::Relaxed) != up {
            self.is_up.store(up, Ordering::Relaxed);
        }
    }
}

impl Wire for Tap {
    fn fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }

    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received> {
        let mut received = Received::default();
        if self.carrier.has_changed() {
            self.seen(self.carrier.is_up());
        }
        let mut single = scratch::Single::new();
        let mut bytes = 0;
        for _ in 0..most {
            let mut header = FINISHED;
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(single.space())];
            match rustix::io::readv(&self.tun, &mut parts).map(|count| count.checked_sub(HEADER)) {
                Ok(Some(count)) if is_frame(count) => {
                    bytes += count;
                    frames.push(single.take(count, Unfinished::parse(header)));
                }
                Ok(_) => received.malformed += 1,
                Err(Errno::AGAIN) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.seen(true);
            if bytes >= scratch::BYTES {
                break;
            }
        }
        received.more = true;
        Ok(received)
    }

    fn send(&self, frames: &mut Frames) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut taken = 0;
        for frame in &*frames {
            let header = frame.rest().map_or(FINISHED, |rest| rest.header(frame));
            let mut parts = [IoSlice::new(&[]); 1 + PARTS_MAX];
            let all = iter::once(&header[..]).chain(frame.parts()).map(IoSlice::new);
            let count = parts.iter_mut().zip(all).map(|(to, part)| *to = part).count();
            match rustix::io::writev(&self.tun, parts.get(..count).unwrap_or_default()) {
                Ok(_) => {
                    sent.frames += 1;
                    sent.bytes += frame.len() as u64;
                    self.seen(true);
                }
                Err(Errno::AGAIN) => break,
                Err(error @ Errno::BADFD) => return Err(error.into()),
                Err(error) => {
                    sent.lost += 1;
                    // The kernel's end is down.
                    self.seen(error != Errno::IO);
                }
            }
            taken += 1;
        }
        frames.drain(..taken);
        Ok(sent)
    }

    fn offloads(&self) -> bool {
        true
    }

    fn gathers(&self) -> bool {
        true
    }

    fn has_peer(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    fn on_change(&self, changed: Changed) {
        self.carrier.on_change(changed);
    }

    fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        if self.made { self.link.set_mtu(mtu) } else { Ok(()) }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if !self.made {
            // Whoever opens it next may know nothing of the header.
            let _ = kernel_link::offload(&self.tun, false);
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            ": that takes CAP_NET_ADMIN, or a tap that was made for this user (ip tuntap add mode tap \
             user NAME)"
        }
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            ": the kernel has no taps here; load the module `tun`"
        }
        Some(Errno::BUSY) => ": another process uses it; choose another name",
        Some(Errno::INVAL) => ": what is there is no tap; choose another name of at most 15 bytes",
        _ => "",
    }
}
