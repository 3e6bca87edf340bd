//! The buffers of a connection: as much address space as it may ever need, and memory only where it
//! has put something.
//!
//! The buffers of a smoltcp socket have one size for as long as it lives, and the window that is
//! offered follows from it. So they are mapped rather than allocated: a page costs nothing before it
//! is written to, and can be given back while the socket stays.
#![allow(unsafe_code)]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

/// A socket, alone in a set, whose buffers are in memory that can be given back.
pub(super) struct Buffered {
    // Dropped before what its buffers are in.
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    pages: Pages,
    receiving: usize,
}

impl Buffered {
    /// A socket that can receive so many bytes that nobody has taken yet, and send so many that
    /// nobody has acknowledged: at least, as both are rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// There is no address space, or there are too many mappings.
    pub(super) fn new(receiving: usize, sending: usize) -> io::Result<Self> {
        let receiving = receiving.next_multiple_of(PAGE_MAX);
        let sending = sending.next_multiple_of(PAGE_MAX);
        let pages = Pages::new(receiving + sending)?;
        // SAFETY: they are within the mapping, do not overlap, and zeros are valid bytes. Nobody gets
        // at the socket but through the closures below, which can't keep it or exchange it for
        // another since they have to accept any lifetime: it is dropped with the set, and that before
        // the pages.
        let (receive, send) = unsafe {
            let start = pages.start.as_ptr();
            (
                std::slice::from_raw_parts_mut(start, receiving),
                std::slice::from_raw_parts_mut(start.add(receiving), sending),
            )
        };
        let socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(send));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        Ok(Self { sockets, socket, pages, receiving })
    }

    /// Has something done with the socket.
    pub(super) fn socket<R>(&mut self, f: impl for<'a> FnOnce(&mut Socket<'a>) -> R) -> R {
        f(self.sockets.get_mut(self.socket))
    }

    /// Has something done with the set that holds the socket and nothing else.
    pub(super) fn sockets<R>(&mut self, f: impl for<'a> FnOnce(&mut SocketSet<'a>) -> R) -> R {
        f(&mut self.sockets)
    }

    /// Gives the memory of the buffer for receiving back.
    ///
    /// What is in it is lost: there must be nothing to be taken, and nothing that came out of order.
    pub(super) fn release_receiving(&mut self) {
        self.pages.release(0, self.receiving);
    }

    /// Gives the memory of the buffer for sending back, if there is nothing in it.
    pub(super) fn release_sending(&mut self) -> bool {
        let empty = self.socket(|socket| socket.send_queue()) == 0;
        if empty {
            self.pages.release(self.receiving, self.pages.length - self.receiving);
        }
        empty
    }

    /// Bytes of memory that are in use.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        let mut pages = vec![0_u8; self.pages.length.div_ceil(PAGE)];
        // SAFETY: the mapping is there and there is one byte for each of its pages.
        let outcome = unsafe {
            libc::mincore(self.pages.start.as_ptr().cast(), self.pages.length, pages.as_mut_ptr())
        };
        assert_eq!(outcome, 0);
        pages.iter().filter(|page| *page & 1 != 0).count() * PAGE
    }
}

/// A mapping of its own, without a file.
struct Pages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: nobody else knows of the memory.
unsafe impl Send for Pages {}
// SAFETY: as above; what changes it takes `&mut`.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so nothing else is there.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, protection, flags) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pages = Self { start, length };
        // A huge page would be two megabytes for the first byte.
        // SAFETY: the range is the mapping, and what is in it does not change.
        unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxNoHugepage) }
            .or_else(|error| if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) })?;
        Ok(pages)
    }

    fn release(&mut self, from: usize, length: usize) {
        assert!(from + length <= self.length);
        // SAFETY: it is within the mapping, and reads as zeros from now on. Nothing in it is in use.
        let start = unsafe { self.start.as_ptr().add(from) };
        // Refused (as for locked memory), it costs memory and no more.
        // SAFETY: as above.
        let _ = unsafe { madvise(start.cast::<c_void>(), length, Advice::LinuxDontNeed) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it was mapped with that length, and its user is gone.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Bytes of the largest page that a kernel may have.
const PAGE_MAX: usize = 64 << 10;

#[cfg(test)]
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_where_something_was_put_and_can_be_given_back() {
        let mut buffered = Buffered::new(1 << 20, 1 << 20).unwrap();
        assert_eq!(buffered.resident(), 0);
        buffered.socket(|socket| assert_eq!(socket.recv_capacity(), 1 << 20));
        // SAFETY: within the mapping, which nobody reads.
        unsafe { buffered.pages.start.as_ptr().add(5000).write_bytes(1, 10_000) };
        assert_eq!(buffered.resident(), 3 * PAGE);
        assert!(buffered.release_sending());
        assert_eq!(buffered.resident(), 3 * PAGE);
        buffered.release_receiving();
        assert_eq!(buffered.resident(), 0);
    }
}
