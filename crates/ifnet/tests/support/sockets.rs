//! A wire that tests hold the other end of.

use holm_ifnet::wire::{Received, Sent};
use holm_ifnet::{Cloner, Driver, DriverError, Frames, Wire, WireDriver};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use std::io;

/// One end of a pair of sockets that keep the bounds of what is sent.
pub struct Sockets {
    /// Has an event whenever the socket has, for bytes or for room.
    events: OwnedFd,
    ours: OwnedFd,
}

impl Sockets {
    /// Both ends, ours as a wire.
    pub fn pair() -> (Self, OwnedFd) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::NONBLOCK);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let events = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let (data, both) = (EventData::new_u64(0), EventFlags::IN | EventFlags::OUT);
        epoll::add(&events, &ours, data, both).unwrap();
        (Self { events, ours }, theirs)
    }
}

impl Wire for Sockets {
    fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    fn receive(&self, frames: &mut Frames, most: usize) -> io::Result<Received> {
        let mut received = Received { more: true, ..Received::default() };
        for _ in 0..most {
            let mut buffer = [0; 2048];
            match rustix::net::recv(&self.ours, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((n, _)) if n < 14 => received.malformed += 1,
                Ok((n, _)) => frames.push(buffer[..n].into()),
                Err(Errno::AGAIN) => {
                    received.more = false;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received)
    }

    fn send(&self, frames: &mut Frames) -> io::Result<Sent> {
        let mut sent = Sent::default();
        while let Some(frame) = frames.first() {
            let whole = frame.parts().collect::<Vec<_>>().concat();
            match rustix::net::send(&self.ours, &whole, SendFlags::NOSIGNAL) {
                Ok(n) => {
                    sent.frames += 1;
                    sent.bytes += n as u64;
                }
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
            frames.remove(0);
        }
        Ok(sent)
    }

    fn gathers(&self) -> bool {
        true
    }

    fn has_peer(&self) -> bool {
        true
    }

    fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        if mtu > 2000 { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
    }
}

impl Cloner for Sockets {
    const KIND: &'static str = "sockets";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(WireDriver::new(self)))
    }
}
