//! An interface of the kernel, asked and changed through a socket in its network namespace
//! (netdevice(7)).

#![allow(unsafe_code)] // Nobody wraps these requests, nor those of a tap.

use crate::offload;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater};
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// An interface, whatever it is called by now.
#[derive(Debug)]
pub(super) struct KernelLink {
    control: OwnedFd,
    index: u32,
}

impl KernelLink {
    /// The interface of that name, in the calling thread's network namespace.
    pub(super) fn find(name: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let control = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let index = rustix::net::netdevice::name_to_index(&control, name)?;
        Ok(Self { control, index })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn name(&self) -> io::Result<String> {
        Ok(index_to_name(&self.control, self.index)?)
    }

    /// Bytes of the longest packet that the kernel sends there.
    pub(super) fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        let mut request = request(&self.name()?)?;
        let mtu = i32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidInput)?;
        request.ifr_ifru.ifru_mtu = mtu;
        ask::<SIOCSIFMTU>(&self.control, &mut request)
    }

    pub(super) fn mtu(&self) -> io::Result<usize> {
        let mut request = request(&self.name()?)?;
        ask::<SIOCGIFMTU>(&self.control, &mut request)?;
        // SAFETY: the kernel has filled in the MTU.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(usize::try_from(mtu).unwrap_or(0))
    }

    pub(super) fn bring_up(&self) -> io::Result<()> {
        let mut request = request(&self.name()?)?;
        ask::<SIOCGIFFLAGS>(&self.control, &mut request)?;
        // SAFETY: the kernel has filled in the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        ask::<SIOCSIFFLAGS>(&self.control, &mut request)
    }
}

/// The lower half of the flags of an interface, by a socket in its network namespace.
pub(super) fn flags(control: impl AsFd, index: u32) -> io::Result<u32> {
    let mut request = request(&index_to_name(&control, index)?)?;
    ask::<SIOCGIFFLAGS>(control, &mut request)?;
    // SAFETY: the kernel has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    // They are the bits of an unsigned number.
    Ok(u32::from(flags as u16))
}

/// Makes a descriptor of /dev/net/tun that of a tap, with the header before its frames that tells what is
/// left to be done of them. The kernel chooses a number for `%d`; what it is called in the end is returned.
pub(super) fn make_tap(tun: impl AsFd, name: &str, exclusive: bool) -> io::Result<String> {
    let mut request = request(name)?;
    let exclusive = if exclusive { libc::IFF_TUN_EXCL } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | exclusive;
    // The flags of a tap are the bits of an unsigned number.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ask::<TUNSETIFF>(&tun, &mut request)?;
    let length = offload::HEADER as libc::c_int;
    // SAFETY: it takes a pointer to a number, which lives during the call.
    unsafe { rustix::ioctl::ioctl(&tun, Setter::<TUNSETVNETHDRSZ, _>::new(length))? };
    offload(&tun, true)?;
    let name = request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0);
    Ok(String::from_utf8_lossy(&name.collect::<Vec<_>>()).into_owned())
}

/// Whether the kernel leaves checksums and the cutting of long segments of TCP to whoever has that tap.
pub(super) fn offload(tun: impl AsFd, on: bool) -> io::Result<()> {
    let all = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let flags = if on { all as usize } else { 0 };
    // SAFETY: it takes a set of flags.
    unsafe { rustix::ioctl::ioctl(tun, IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags))? };
    Ok(())
}

/// A request about the interface of that name.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: it is numbers, in each of its forms.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // A zero has to follow.
    if name.len() >= request.ifr_name.len() || name.contains(['\0', '/']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no interface is called that"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ask<const REQUEST: Opcode>(fd: impl AsFd, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all these requests take a pointer to an `ifreq`, which lives during the call.
    unsafe { rustix::ioctl::ioctl(fd, Updater::<REQUEST, _>::new(request))? };
    Ok(())
}

const SIOCGIFFLAGS: Opcode = libc::SIOCGIFFLAGS as Opcode;
const SIOCGIFMTU: Opcode = libc::SIOCGIFMTU as Opcode;
const SIOCSIFFLAGS: Opcode = libc::SIOCSIFFLAGS as Opcode;
const SIOCSIFMTU: Opcode = libc::SIOCSIFMTU as Opcode;
const TUNSETIFF: Opcode = libc::TUNSETIFF as Opcode;
const TUNSETOFFLOAD: Opcode = libc::TUNSETOFFLOAD as Opcode;
const TUNSETVNETHDRSZ: Opcode = libc::TUNSETVNETHDRSZ as Opcode;
