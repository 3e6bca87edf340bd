//! Datagrams, each with the address of ours that it came to and is answered from.
//!
//! A socket that is bound to "all addresses" does not say by itself where a datagram came, and answers
//! from the address that the kernel finds the way back by. A client that has several ways to us drops
//! an answer that is not from where it has asked.

#![allow(unsafe_code)] // Nobody wraps the messages of IP_PKTINFO (ip(7)) and IPV6_PKTINFO (RFC 3542).

use super::datagrams::{Datagrams, Received};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// A datagram socket that tells of each datagram at which of our addresses it came.
#[derive(Debug)]
pub(super) struct Addressed {
    socket: Arc<UdpSocket>,
    /// Where it is bound.
    bound: SocketAddr,
}

impl Addressed {
    /// Has a socket tell from now on.
    pub(super) fn new(socket: impl Into<Arc<UdpSocket>>) -> io::Result<Self> {
        let socket = socket.into();
        let bound = socket.local_addr()?;
        let (level, option) = match bound {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        let on: libc::c_int = 1;
        let len = size_of_val(&on) as libc::socklen_t;
        // SAFETY: the value is an int, which lives during the call, and of that length.
        let set = unsafe {
            libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len)
        };
        if set == 0 { Ok(Self { socket, bound }) } else { Err(io::Error::last_os_error()) }
    }
}

impl Datagrams for Addressed {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn receive(&self, space: &mut [u8]) -> io::Result<Received> {
        let mut from = Address::none();
        let mut control = Control::none();
        let mut part = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
        let mut message = message(&mut from, &mut part);
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: what `message` points to, and with these lengths, lives during the call, and nobody
        // else uses it.
        let count = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has filled the control messages and set their length.
        let to = unsafe { destination(&message, self.bound.port()) }.unwrap_or(self.bound);
        let from = from.get().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Received { count, from, to })
    }

    fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<usize> {
        let mut to = Address::of(to);
        // Nothing is written there.
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control::none();
        let mut message = message(&mut to, &mut part);
        if !from.ip().is_unspecified() {
            control.put_source(&mut message, from);
        }
        // SAFETY: what `message` points to, and with these lengths, lives during the call.
        let count = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

/// A message of one part, without control messages.
fn message(name: &mut Address, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: it is numbers and pointers, which may be null.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut name.storage).cast();
    message.msg_namelen = name.len;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// Where a message that was received had been sent to, if that was told.
///
/// # Safety
/// It points to control messages that the kernel has filled, and has their length.
unsafe fn destination(message: &libc::msghdr, port: u16) -> Option<SocketAddr> {
    // SAFETY: as the caller says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it is null, or points to the header of a control message.
    while let Some(header) = unsafe { next.as_ref() } {
        let kind = (header.cmsg_level, header.cmsg_type);
        if kind == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: it is what comes with that.
            let info = unsafe { content::<libc::in_pktinfo>(next) }?;
            let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
            return Some(SocketAddrV4::new(ip, port).into());
        }
        if kind == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: it is what comes with that.
            let info = unsafe { content::<libc::in6_pktinfo>(next) }?;
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            // Addresses of a link mean nothing without it; others leave by whatever way there is.
            let scope = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            return Some(SocketAddrV6::new(ip, port, 0, scope).into());
        }
        // SAFETY: both are as above.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    None
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
        let len: usize = (*header).cmsg_len as _;
        (len >= least).then(|| libc::CMSG_DATA(header).cast::<T>().read_unaligned())
    }
}

/// Room for one control message.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Control {
    const fn none() -> Self {
        Self([0; 64])
    }

    /// Has a message leave from that address.
    fn put_source(&mut self, message: &mut libc::msghdr, from: SocketAddr) {
        match from {
            SocketAddr::V4(from) => {
                let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(from.ip().octets()) };
                let ipi_addr = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr };
                self.put(message, (libc::IPPROTO_IP, libc::IP_PKTINFO), info);
            }
            SocketAddr::V6(from) => {
                let ipi6_addr = libc::in6_addr { s6_addr: from.ip().octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: from.scope_id() };
                self.put(message, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info);
            }
        }
    }

    fn put<T>(
        &mut self,
        message: &mut libc::msghdr,
        (level, kind): (libc::c_int, libc::c_int),
        content: T,
    ) {
        const { assert!(size_of::<T>() <= 32) };
        // SAFETY: both only reckon.
        let (len, space) = unsafe {
            let size = size_of::<T>() as libc::c_uint;
            (libc::CMSG_LEN(size), libc::CMSG_SPACE(size))
        };
        message.msg_control = (&raw mut self.0).cast();
        message.msg_controllen = space as _;
        // SAFETY: the control messages are ours, aligned as a header is, and have room for a header and
        // a content of 32 bytes.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(content);
        }
    }
}

/// An address as the kernel has it.
struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    /// Room for any.
    fn none() -> Self {
        // SAFETY: it is numbers.
        let storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self { storage, len: size_of_val(&storage) as libc::socklen_t }
    }

    fn of(address: SocketAddr) -> Self {
        let mut new = Self::none();
        let to = &raw mut new.storage;
        match address {
            SocketAddr::V4(address) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                new.len = size_of_val(&name) as libc::socklen_t;
                // SAFETY: there is room for any address, aligned for any.
                unsafe { to.cast::<libc::sockaddr_in>().write(name) };
            }
            SocketAddr::V6(address) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                new.len = size_of_val(&name) as libc::socklen_t;
                // SAFETY: as above.
                unsafe { to.cast::<libc::sockaddr_in6>().write(name) };
            }
        }
        new
    }

    fn get(&self) -> Option<SocketAddr> {
        let from = &raw const self.storage;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: so much was there all along, and it is numbers.
                let name = unsafe { from.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe { from.cast::<libc::sockaddr_in6>().read() };
                let (ip, port) = (name.sin6_addr.s6_addr.into(), u16::from_be(name.sin6_port));
                let (flow, scope) = (name.sin6_flowinfo, name.sin6_scope_id);
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bound to all addresses, it is asked at `at` by a socket that hears nobody else.
    fn answers_from_where_it_was_asked(all: &str, at: &str) -> io::Result<()> {
        let server = Addressed::new(UdpSocket::bind(all)?)?;
        let at = SocketAddr::new(at.parse().unwrap(), server.bound.port());
        let client = UdpSocket::bind((at.ip(), 0))?;
        client.connect(at)?;
        client.send(b"call")?;
        let mut space = [0; 100];
        let received = server.receive(&mut space)?;
        let asked = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        assert_eq!(asked(received.to), asked(at));
        assert_eq!(asked(received.from), asked(client.local_addr()?));
        assert_eq!(space[..received.count], *b"call");
        assert_eq!(server.send(b"reply", received.to, received.from)?, 5);
        let count = client.recv(&mut space)?;
        assert_eq!(space[..count], *b"reply");
        Ok(())
    }

    #[test]
    fn datagrams_are_answered_from_where_they_came_to() {
        answers_from_where_it_was_asked("0.0.0.0:0", "127.0.0.1").unwrap();
        answers_from_where_it_was_asked("0.0.0.0:0", "127.0.0.5").unwrap();
        answers_from_where_it_was_asked("127.0.0.6:0", "127.0.0.6").unwrap();
        if UdpSocket::bind("[::1]:0").is_ok() {
            answers_from_where_it_was_asked("[::]:0", "::1").unwrap();
            answers_from_where_it_was_asked("[::]:0", "127.0.0.5").unwrap();
        }
    }

    #[test]
    fn socket_without_datagrams_says_so() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let error = Addressed::new(socket).unwrap().receive(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
