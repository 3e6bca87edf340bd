//! Listing directories (RFC 1813, sections 3.3.16 and 3.3.17).
//!
//! A client lists a directory in many calls, over restarts of the server and while others change
//! the directory; it gives back a cookie that says where it was. Whatever was in the directory all
//! the time must be listed once.
//!
//! - On file systems whose positions last (ext4, xfs, btrfs), the cookie is the kernel's.
//! - Elsewhere (a union's directories, FUSE, tmpfs of older kernels) positions may move when the
//!   directory changes or is opened again. There, the entries are given in the order of a hash of
//!   their names, which is the cookie: it depends on nothing else. The directory is read as a
//!   whole, and a window of the order is kept.

use super::kept::Kept;
use crate::attributes::{Attributes, Kind, Time};
use crate::{Result, Status, sys};
use rustix::fs::{RawDir, SeekFrom, StatxFlags};
use rustix::io::Errno;
use siphasher::sip::SipHasher24;
use std::collections::BinaryHeap;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A directory, open for listing. Several threads may use it; they take turns.
#[derive(Debug)]
pub struct Listing {
    directory: OwnedFd,
    order: Order,
    /// The inode that `..` has where the directory above is not to be seen.
    own_inode: Option<u64>,
    /// Held while the position of `directory` is in use.
    window: Mutex<Window>,
    kept: Kept,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name; `.` and `..` are among them.
    pub name: &'a [u8],
    /// Its inode number, which for a mount point is that of the directory beneath the mount.
    pub inode: u64,
    /// Where to go on after it.
    pub cookie: u64,
    /// What it is, if the file system says.
    pub kind: Option<Kind>,
}

/// How a listing went.
#[derive(Debug)]
pub(crate) struct Read {
    /// There are no more entries.
    pub(crate) ended: bool,
    /// Times of last change of the directory when it was read, if that was before the call.
    windows: Vec<Time>,
}

impl Read {
    /// Whether the entries are those of the directory with this time of last change, if it had that
    /// before the call.
    pub(crate) fn is_of(&self, changed: Time) -> bool {
        self.windows.iter().all(|window| *window == changed)
    }
}

/// What cookies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kernel,
    Hashes,
}

impl Listing {
    pub(super) fn new(directory: OwnedFd, hide_parent: bool) -> Result<Self> {
        let order = match sys::file_system(directory.as_fd())? {
            EXT4 | XFS | BTRFS => Order::Kernel,
            _ => Order::Hashes,
        };
        Self::with_order(directory, hide_parent, order)
    }

    fn with_order(directory: OwnedFd, hide_parent: bool, order: Order) -> Result<Self> {
        let own_inode = match hide_parent {
            true => Some(sys::statx(directory.as_fd(), StatxFlags::INO)?.stx_ino),
            false => None,
        };
        Ok(Self { directory, order, own_inode, window: Mutex::default(), kept: Kept::default() })
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// What a client gives back with its cookie (RFC 1813: `cookieverf3`): which kind of cookie it
    /// is.
    pub fn verifier(&self) -> [u8; 8] {
        match self.order {
            Order::Kernel => *b"holm:pos",
            Order::Hashes => *b"holm:sip",
        }
    }

    /// Gives `visit` the entries after `cookie`, 0 for all of them, until it breaks off or there
    /// are no more; then it says `true`. Where `visit` broke off, the entry was not taken.
    ///
    /// # Errors
    ///
    /// [`Status::BadCookie`] if the cookie is not of this kind; [`Status::Stale`] if the directory
    /// was removed.
    pub fn read(
        &self,
        cookie: u64,
        verifier: [u8; 8],
        visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        self.must_know(cookie, verifier)?;
        Ok(self.read_next(cookie, visit)?.ended)
    }

    /// Refuses a cookie that is not of this kind.
    pub(crate) fn must_know(&self, cookie: u64, verifier: [u8; 8]) -> Result<()> {
        let known = cookie == 0 || verifier == self.verifier();
        if known { Ok(()) } else { Err(Status::BadCookie) }
    }

    /// As [`read`](Self::read), with a cookie that is of this kind.
    pub(crate) fn read_next(
        &self,
        cookie: u64,
        visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Read> {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match self.order {
            Order::Kernel => self.read_kernel(cookie, visit),
            Order::Hashes => self.read_hashes(window, cookie, visit),
        }
    }

    /// What was said of its entries.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    fn read_kernel(
        &self,
        cookie: u64,
        visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Read> {
        let ended = self.scan(cookie, PAGE, visit)?.is_continue();
        Ok(Read { ended, windows: Vec::new() })
    }

    fn read_hashes(
        &self,
        mut window: MutexGuard<'_, Window>,
        cookie: u64,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Read> {
        let mut windows = Vec::new();
        let mut after = cookie;
        // A client that begins wants to see the directory as it is now.
        let mut fresh = after != 0;
        loop {
            if !(fresh && window.covers(after)) {
                *window = self.fill(after)?;
                fresh = true;
            }
            windows.push(window.changed);
            let start = window.entries.partition_point(|entry| entry.cookie <= after);
            for entry in &window.entries[start..] {
                let Hashed { cookie, name, inode, kind } = entry;
                let entry = Entry { name, inode: *inode, cookie: *cookie, kind: *kind };
                if visit(entry).is_break() {
                    if Charge::is_too_much() {
                        *window = Window::default();
                    }
                    return Ok(Read { ended: false, windows });
                }
                after = *cookie;
            }
            if window.complete {
                // Kept by nobody: whoever keeps the directory open keeps only a descriptor.
                *window = Window::default();
                return Ok(Read { ended: true, windows });
            }
        }
    }

    /// The first entries after a cookie, in the order of hashes.
    fn fill(&self, after: u64) -> Result<Window> {
        let changed = Attributes::of(self.fd())?.changed;
        let mut first = BinaryHeap::new();
        let mut complete = true;
        let everything = |entry: Entry<'_>| {
            let cookie = hash(entry.name);
            if cookie > after {
                let Entry { inode, kind, .. } = entry;
                first.push(Hashed { cookie, name: entry.name.into(), inode, kind });
                if first.len() > WINDOW {
                    first.pop();
                    complete = false;
                }
            }
            ControlFlow::Continue(())
        };
        let _never_broken_off = self.scan(0, WHOLE, everything)?;
        let entries = first.into_sorted_vec();
        let _charge = Charge::take(entries.iter().map(Hashed::bytes).sum());
        Ok(Window { after, changed, complete, entries, _charge })
    }

    /// Reads the directory from a position of the kernel's.
    fn scan(
        &self,
        position: u64,
        buffer: usize,
        mut visit: impl FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        match rustix::fs::seek(&self.directory, SeekFrom::Start(position)) {
            Err(Errno::INVAL) => return Err(Status::BadCookie),
            result => result?,
        };
        let mut buffer = vec![MaybeUninit::uninit(); buffer];
        let mut entries = RawDir::new(&self.directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                // Removed while it was open.
                Err(Errno::NOENT) => return Err(Status::Stale),
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            let inode = match self.own_inode {
                Some(own) if name == b".." => own,
                _ => entry.ino(),
            };
            let kind = Kind::from_file_type(entry.file_type());
            let cookie = entry.next_entry_cookie();
            if visit(Entry { name, inode, cookie, kind }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A part of the directory in the order of hashes: what comes after `after`, as much as fits.
#[derive(Debug, Default)]
struct Window {
    after: u64,
    /// The directory's time of last change, before it was read.
    changed: Time,
    /// Nothing comes after the last one.
    complete: bool,
    entries: Vec<Hashed>,
    _charge: Charge,
}

/// Bytes that are kept of a directory, counted with those of all others.
#[derive(Debug, Default)]
pub(super) struct Charge(usize);

static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Charge {
    pub(super) fn take(bytes: usize) -> Self {
        KEPT.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes)
    }

    pub(super) fn is_too_much() -> bool {
        KEPT.load(Ordering::Relaxed) > KEPT_MAX
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.0 > 0 {
            KEPT.fetch_sub(self.0, Ordering::Relaxed);
        }
    }
}

impl Window {
    fn covers(&self, cookie: u64) -> bool {
        let last = self.entries.last().map_or(0, |entry| entry.cookie);
        cookie >= self.after && (self.complete || cookie < last)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hashed {
    cookie: u64,
    name: Box<[u8]>,
    inode: u64,
    kind: Option<Kind>,
}

impl Hashed {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

/// The place of a name in the order: the same for as long as there are clients with cookies.
fn hash(name: &[u8]) -> u64 {
    match name {
        b"." => 1,
        b".." => 2,
        // Some clients keep cookies in signed numbers.
        _ => (SipHasher24::new_with_key(b"holm: cookie key").hash(name) >> 1).max(3),
    }
}

const BTRFS: u32 = 0x9123_683e;
const EXT4: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
/// Bytes of entries that are asked for at a time: as many as a reply takes, about, since those beyond
/// are read again for the next; and where all are read.
const PAGE: usize = 8 << 10;
const WHOLE: usize = 32 << 10;
/// Bytes of all directories together above which nothing is kept: they are read anew instead.
const KEPT_MAX: usize = 64 << 20;
/// Entries that are kept of a directory of any size.
const WINDOW: usize = 8192;
