//! What is cached, and what it is found by.

use crate::Result;
use crate::attributes::{Attributes, Time};
use crate::handle::FileHandle;
use crate::identity::Credentials;
use crate::volume::{Access, Listing, Node, OpenFile, Volume};
use std::os::fd::BorrowedFd;

/// An open file, as far as a cache is concerned. Dropping it closes it.
pub trait File: Send + Sync + 'static {
    /// Brings everything written so far to the disk.
    ///
    /// # Errors
    ///
    /// After one, data may be lost.
    fn flush(&self) -> Result<()>;

    /// What shows whether the file was changed in a way that matters to a cache.
    ///
    /// # Errors
    ///
    /// If the file system does not say.
    fn stamp(&self) -> Result<Stamp>;

    /// The descriptor, by which the file can be watched; without one it is asked for its stamp.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Who may do what with a file, and whether it is still there. A file with the same stamp as before
/// has the same permissions and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Hard links; none of a deleted file.
    pub links: u32,
    /// Permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When attributes or contents were last changed.
    pub changed: Time,
}

impl From<&Attributes> for Stamp {
    fn from(attributes: &Attributes) -> Self {
        let Attributes { links, mode, uid, gid, changed, .. } = *attributes;
        Self { links, mode, uid, gid, changed }
    }
}

/// What the cache of a server keeps open.
#[derive(Debug)]
pub enum Object {
    /// Any object, to be asked for its attributes or looked up in.
    Node(Node),
    /// A regular file, to be read or written.
    File(OpenFile),
    /// A directory, to be listed.
    Listing(Listing),
}

impl File for Object {
    fn flush(&self) -> Result<()> {
        match self {
            // Nothing is written to it.
            Self::Node(_) | Self::Listing(_) => Ok(()),
            Self::File(file) => file.commit(),
        }
    }

    fn stamp(&self) -> Result<Stamp> {
        let descriptor = match self {
            Self::Node(node) => node.fd(),
            Self::File(file) => file.fd(),
            Self::Listing(listing) => listing.fd(),
        };
        Ok(Stamp::from(&Attributes::of(descriptor)?))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            // Open to no purpose of its own, it cannot be watched.
            Self::Node(_) => None,
            Self::File(file) => Some(file.fd()),
            Self::Listing(listing) => Some(listing.fd()),
        }
    }
}

/// A file that was just opened.
#[derive(Debug)]
pub struct Opened<F> {
    /// The file.
    pub file: F,
    /// Its stamp, taken **before** the right to open it was checked: if the file has it still when
    /// the watcher watches it, nothing was missed in between.
    pub stamp: Stamp,
}

/// What an open file is found by: the same file, opened for the same, by the same caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    handle: FileHandle,
    volume: u64,
    purpose: Purpose,
}

/// What a file is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be there, for whoever asks: it gives nobody any right.
    Node,
    /// To be read or written, by whoever was found to have the right.
    Access(Access, Credentials),
    /// To be listed, by whoever was found to have the right.
    Listing(Credentials),
}

impl Key {
    /// The key of `handle`, opened for `access` by `who` (after squashing).
    pub fn new(handle: &FileHandle, access: Access, who: &Credentials) -> Self {
        Self { handle: *handle, volume: 0, purpose: Purpose::Access(access, *who) }
    }

    /// The key of `handle`, opened to be asked for its attributes or looked up in.
    pub fn node(handle: &FileHandle) -> Self {
        Self { handle: *handle, volume: 0, purpose: Purpose::Node }
    }

    /// The key of the directory `handle`, opened to be listed by `who` (after squashing).
    pub fn listing(handle: &FileHandle, who: &Credentials) -> Self {
        Self { handle: *handle, volume: 0, purpose: Purpose::Listing(*who) }
    }

    /// The same in a volume: an export that takes the place of another, with the same handles, finds
    /// nothing that was opened for that.
    #[must_use]
    pub(crate) fn of_volume(self, volume: &Volume) -> Self {
        Self { volume: volume.number(), ..self }
    }

    /// Whether the file is open for writing: so long nobody can run it as a program.
    pub(super) fn is_for_writing(&self) -> bool {
        matches!(self.purpose, Purpose::Access(Access::Write | Access::ReadWrite, _))
    }

    /// Whether what it is the key of can be watched.
    pub(super) fn can_be_watched(&self) -> bool {
        self.purpose != Purpose::Node
    }

    /// Whether what was written to the file can be flushed by what it is the key of.
    pub(super) fn can_be_flushed(&self) -> bool {
        matches!(self.purpose, Purpose::Access(..))
    }

    /// Which file.
    pub fn handle(&self) -> &FileHandle {
        &self.handle
    }
}

/// How long an entry stays when nobody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of operations that open and close nothing themselves: until it is old, or there is need.
    Cached,
    /// Of somebody who says when it is closed: not at all.
    Stateful,
}
