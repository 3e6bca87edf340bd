//! What packet sockets need of the kernel, and many datagrams in one call (packet(7), recvmmsg(2)).

#![allow(unsafe_code)] // Nobody wraps the options of packet sockets, nor recvmmsg.

use super::scratch::{BATCH, SLOT};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A packet socket that is bound to one interface and never waits.
#[derive(Debug)]
pub(super) struct PacketSocket(OwnedFd);

/// What was received, and lies in its slot.
#[derive(Debug)]
pub(super) struct Message<'s> {
    /// As much of it as fits.
    pub(super) bytes: &'s mut [u8],
    /// How long it was.
    pub(super) length: usize,
    /// The VLAN tag that the kernel has taken out.
    pub(super) tag: Option<[u8; 4]>,
    /// How many the kernel has dropped before it since the socket is there; it wraps.
    pub(super) dropped: Option<u32>,
}

impl PacketSocket {
    /// Hears all that comes to the interface, whomever it is for, and nothing that is sent there.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Of no protocol: it hears nothing before it is bound.
        let this = Self(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?);
        let on: libc::c_int = 1;
        this.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, on)?;
        this.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, on)?;
        this.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, on)?;
        this.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, on)?;
        // More than the system's limit takes a capability, which whoever may do this has as a rule.
        if this.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER).is_err() {
            this.set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
        }
        let index = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        this.bind(index)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        this.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, promiscuous)?;
        Ok(this)
    }

    /// Whether the interface it is bound to was deleted.
    pub(super) fn is_orphan(&self) -> bool {
        let mut address = link_address(0);
        let mut length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: both live during the call, and the length is that of the address.
        let asked = unsafe {
            libc::getsockname(self.0.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
        };
        asked == 0 && address.sll_ifindex <= 0
    }

    fn bind(&self, index: i32) -> io::Result<()> {
        let address = link_address(index);
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address lives during the call, and is of that length.
        match unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value lives during the call, and is of that length.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), length)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Receives at most `most`, a batch at most, into the slots of `space`; each is shown to `take`.
    /// Returns how many there were.
    pub(super) fn receive(
        &self,
        space: &mut [u8],
        most: usize,
        mut take: impl FnMut(Message<'_>),
    ) -> rustix::io::Result<usize> {
        let mut slots: Vec<&mut [u8]> =
            space.chunks_exact_mut(SLOT).take(most.min(BATCH)).collect();
        let mut controls = [const { Control([0; CONTROL]) }; BATCH];
        // SAFETY: these are numbers and pointers, which may be null.
        let (mut parts, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let each = messages.iter_mut().zip(&mut parts).zip(slots.iter_mut().zip(&mut controls));
        for ((message, part), (slot, control)) in each {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = slot.len();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = (&raw mut control.0).cast();
            message.msg_hdr.msg_controllen = CONTROL as _;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: as many messages are set up as there are slots. What they point to, and with these
        // lengths, lives during the call, and nobody else uses it.
        let count = unsafe {
            libc::recvmmsg(
                self.0.as_raw_fd(),
                messages.as_mut_ptr(),
                slots.len() as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| last_error())?;
        for (message, slot) in messages.iter().zip(slots).take(count) {
            let length = message.msg_len as usize;
            // SAFETY: the kernel has filled its control messages, which are still there, and set their
            // length.
            let (tag, dropped) = unsafe { told(&message.msg_hdr) };
            let bytes = slot.get_mut(..length.min(SLOT)).unwrap_or_default();
            take(Message { bytes, length, tag, dropped });
        }
        Ok(count)
    }
}

/// Which of the kernel's network namespaces a socket is in: a number that none other has, or had.
pub(super) fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
    // SAFETY: the number lives during the call, and the length is its.
    let asked = unsafe {
        let socket = socket.as_fd().as_raw_fd();
        libc::getsockopt(socket, level, option, (&raw mut cookie).cast(), &raw mut length)
    };
    if asked == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn link_address(index: i32) -> libc::sockaddr_ll {
    // SAFETY: it is numbers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    address
}

/// The tag that was taken out of a frame, and how many were dropped before it.
///
/// # Safety
/// It points to control messages that the kernel has filled, and has their length.
unsafe fn told(message: &libc::msghdr) -> (Option<[u8; 4]>, Option<u32>) {
    let (mut tag, mut dropped) = (None, None);
    // SAFETY: as the caller says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it is null, or points to the header of a control message.
    while let Some(header) = unsafe { next.as_ref() } {
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: it is what comes with that.
                tag = unsafe { content::<libc::tpacket_auxdata>(next) }
                    .and_then(|told| tag_of(&told));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: it is what comes with that.
                dropped = unsafe { content(next) };
            }
            _ => {}
        }
        // SAFETY: both are as above.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    (tag, dropped)
}

fn tag_of(told: &libc::tpacket_auxdata) -> Option<[u8; 4]> {
    (told.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
        let kind = told.tp_status & libc::TP_STATUS_VLAN_TPID_VALID;
        let kind = if kind != 0 { told.tp_vlan_tpid } else { VLAN };
        let [a, b] = kind.to_be_bytes();
        let [c, d] = told.tp_vlan_tci.to_be_bytes();
        [a, b, c, d]
    })
}

/// What is in a control message, if it is long enough for it.
///
/// # Safety
/// It is a control message that the kernel has filled, and any bytes are a `T`.
unsafe fn content<T>(header: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: it only reckons.
    let least = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) } as usize;
    // SAFETY: the header is there, and behind it as many bytes as it says.
    unsafe {
        let length: usize = (*header).cmsg_len as _;
        (length >= least).then(|| libc::CMSG_DATA(header).cast::<T>().read_unaligned())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Room for what is told with one frame.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

const CONTROL: usize = 96;
/// IEEE 802.1Q, table 9-1.
const VLAN: u16 = 0x8100;
/// Bytes; the kernel doubles it for what it adds to each frame. They are used while frames wait.
const RECEIVE_BUFFER: libc::c_int = 512 * 1024;
