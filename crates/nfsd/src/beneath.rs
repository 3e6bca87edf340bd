//! The directory that an export shows, and the way from there to everything beneath it.
//!
//! Nothing here follows a symbolic link or a magic link of `/proc`, nothing goes above the root,
//! and nothing crosses into another mounted file system unless the export says so: the kernel
//! resolves every name with `openat2`.

use crate::name::Name;
use crate::{Result, Status, sys};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Whether file systems that are mounted below the root belong to the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// They don't: looking one up is refused.
    Closed,
    /// They do.
    Crossed,
}

/// Why a directory cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("cannot export {}: {source}", path.display())]
pub struct RootError {
    path: PathBuf,
    source: io::Error,
}

/// The directory that an export shows.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
    place: Place,
    mounts: Mounts,
    is_mount_root: bool,
}

/// Where a directory is: two that are equal at the same time are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) mount: u64,
}

impl Root {
    /// Opens the directory that is to be exported, with the thread's own identity. Symbolic links
    /// in `path` are followed: it comes from the administrator.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or is no directory.
    pub fn open(path: &Path, mounts: Mounts) -> std::result::Result<Self, RootError> {
        let failed = |errno: Errno| RootError { path: path.to_owned(), source: errno.into() };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, path, flags | OFlags::RDONLY, Mode::empty());
        let directory = match opened {
            // May be passed through, not listed: good enough to export it.
            Err(Errno::ACCESS) => {
                rustix::fs::openat(CWD, path, flags | OFlags::PATH, Mode::empty())
            }
            opened => opened,
        };
        let directory = directory.map_err(failed)?;
        let statx = sys::statx(directory.as_fd(), PLACE).map_err(failed)?;
        let place = Place::from_statx(&statx);
        let is_mount_root = statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        Ok(Self { path: path.to_owned(), directory, place, mounts, is_mount_root })
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether file systems mounted below belong to the export.
    pub fn mounts(&self) -> Mounts {
        self.mounts
    }

    /// Opens an entry of a directory, `O_PATH`; of a symbolic link, the link.
    pub(crate) fn entry(&self, dir: BorrowedFd<'_>, name: Name<'_>) -> Result<OwnedFd> {
        self.resolve(dir, name.as_bytes()).map_err(|errno| match errno {
            // Where a file system is mounted that does not belong to the export.
            Errno::XDEV => Status::Acces,
            errno => errno.into(),
        })
    }

    /// Opens what a relative path leads to from `dir`, `O_PATH`.
    pub(crate) fn resolve(
        &self,
        dir: BorrowedFd<'_>,
        path: &[u8],
    ) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        if self.mounts == Mounts::Closed {
            resolve |= ResolveFlags::NO_XDEV;
        }
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
                // A rename elsewhere made the kernel unsure; it says to try again.
                Err(Errno::AGAIN) if tries < MAX_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Opens the directory above, `O_PATH`; of the root, the root. Never anything outside.
    pub(crate) fn parent(
        &self,
        dir: BorrowedFd<'_>,
        contains: impl FnOnce(BorrowedFd<'_>) -> Result<bool>,
    ) -> Result<OwnedFd> {
        if Place::of(dir)? == self.place {
            return self.directory.try_clone().map_err(|_| Status::Jukebox);
        }
        let above = up(dir)?;
        if !contains(above.as_fd())? {
            return Err(Status::Stale);
        }
        Ok(above)
    }

    /// Whether a directory lies beneath the root, or is it: by going up until it is met.
    pub(crate) fn contains(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        let mut place = Place::of(dir)?;
        let mut reached: Option<OwnedFd> = None;
        for _ in 0..MAX_DEPTH {
            if place == self.place {
                return Ok(true);
            }
            if self.mounts == Mounts::Closed && place.mount != self.place.mount {
                return Ok(false);
            }
            let above = up(reached.as_ref().map_or(dir, AsFd::as_fd))?;
            let next = Place::of(above.as_fd())?;
            if next == place {
                return Ok(false);
            }
            place = next;
            reached = Some(above);
        }
        Ok(false)
    }

    pub(crate) fn failed(&self, errno: Errno) -> RootError {
        RootError { path: self.path.clone(), source: errno.into() }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Whether the root is where its file system is mounted.
    pub(crate) fn is_mount_root(&self) -> bool {
        self.is_mount_root
    }
}

impl Place {
    pub(crate) fn of(object: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self::from_statx(&sys::statx(object, PLACE)?))
    }

    fn from_statx(statx: &rustix::fs::Statx) -> Self {
        Self {
            device: (statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            mount: statx.stx_mnt_id,
        }
    }
}

fn up(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, c"..", flags, Mode::empty())?)
}

const PLACE: StatxFlags = StatxFlags::INO.union(StatxFlags::MNT_ID);
const MAX_TRIES: usize = 64;
/// Deeper trees exist only to wear out whoever walks them.
const MAX_DEPTH: usize = 8192;
