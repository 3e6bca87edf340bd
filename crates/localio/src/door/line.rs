//! Packets on the unix socket of a door, and the descriptors that come with them.

use super::Wire;
use crate::file::Access;
use holm_nfs_proto::localio::door::{MESSAGE_MAX, Message, Request};
use holm_xdr::{Encode, Encoder};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, send, shutdown,
    socket_with,
};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;
use thiserror::Error;

/// A connection to a door.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
}

/// There is no door for us here, or it is none.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NotLocal(pub &'static str);

impl Line {
    /// Connects. Nothing is sent before the other side has said who it is.
    pub fn connect(path: &[u8]) -> Result<Self, NotLocal> {
        let failed = |_: Errno| NotLocal("no connection to the door");
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
        // For connecting, too.
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, timeout, Some(PATIENCE)).map_err(failed)?;
        }
        connect(&socket, &address).map_err(failed)?;
        Ok(Self { socket })
    }

    /// From now on a message may take as long as it takes.
    pub fn wait_for_ever(&self) -> Result<(), NotLocal> {
        let set = set_socket_timeout(&self.socket, Timeout::Recv, None);
        set.map_err(|_| NotLocal("no connection to the door"))
    }

    /// Waits for just this message.
    pub fn expect(&self, expected: &Message) -> Result<(), NotLocal> {
        self.expect_with(expected, RecvFlags::empty())
    }

    /// The same, of what has come.
    pub fn expect_now(&self, expected: &Message) -> Result<(), NotLocal> {
        self.expect_with(expected, RecvFlags::DONTWAIT)
    }

    fn expect_with(&self, expected: &Message, flags: RecvFlags) -> Result<(), NotLocal> {
        let packet = self.receive_with(flags)?;
        if packet.descriptor.is_none() && packet.message()? == *expected {
            Ok(())
        } else {
            Err(NotLocal("something else than a door"))
        }
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<Packet, NotLocal> {
        let mut bytes = [0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC)
            {
                Err(Errno::INTR) => {}
                received => break received.map_err(|_| NotLocal("the door says nothing"))?,
            }
        };
        // Those that nobody asked for are closed with the list.
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(come) = message {
                descriptors.extend(come);
            }
        }
        let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        if received.bytes == 0 || cut || descriptors.len() > 1 {
            return Err(NotLocal("the door says what it should not, or has closed"));
        }
        Ok(Packet { bytes, len: received.bytes, descriptor: descriptors.pop() })
    }
}

impl Wire for Line {
    fn send(&self, request: &Request<'_>) -> Result<(), NotLocal> {
        let mut out = Encoder::new();
        request.encode(&mut out);
        loop {
            match send(&self.socket, &out, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                // A packet goes whole or not at all.
                sent => return sent.map(drop).map_err(|_| NotLocal("the door does not listen")),
            }
        }
    }

    fn receive(&self) -> Result<Packet, NotLocal> {
        self.receive_with(RecvFlags::empty())
    }

    fn end(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

/// What has come.
#[derive(Debug)]
pub struct Packet {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
    /// With the message.
    pub descriptor: Option<OwnedFd>,
}

impl Packet {
    /// With this message.
    #[cfg(shuttle)]
    pub fn new(message: &Message, descriptor: Option<OwnedFd>) -> Self {
        let mut out = Encoder::new();
        message.encode(&mut out);
        let mut bytes = [0; MESSAGE_MAX];
        bytes.iter_mut().zip(out.iter()).for_each(|(to, from)| *to = *from);
        Self { bytes, len: out.len(), descriptor }
    }

    /// The message.
    pub fn message(&self) -> Result<Message, NotLocal> {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        Message::from_packet(bytes).map_err(|_| NotLocal("the door says what makes no sense"))
    }
}

/// Whether a descriptor is what was asked for: a regular file, open for that, and with nothing else
/// about it that would change what reads and writes mean.
pub fn is_open_for(file: &File, access: Access) -> bool {
    let Ok(flags) = fcntl_getfl(file) else { return false };
    let is_for = match flags & OFlags::ACCMODE {
        OFlags::RDWR => true,
        OFlags::WRONLY => !access.reads(),
        _ => !access.writes(),
    };
    let is_regular =
        || fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    is_for && !flags.intersects(OFlags::APPEND | OFlags::PATH) && is_regular()
}

/// For a packet on the same machine, and for a connection.
const PATIENCE: Duration = Duration::from_secs(2);
