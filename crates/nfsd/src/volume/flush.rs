//! Bringing what was changed to the disk: before the operation returns, or later, once for several.

use super::{Durability, Node, Volume};
use crate::attributes::Kind;
use crate::handle::NodeId;
use crate::identity::Caller;
use crate::{Result, Status, sys};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// Sees to it that what operations have changed is [flushed](Volume::flush) before any of them is
/// answered.
pub(crate) trait Flusher {
    /// Whether it has this object already.
    fn has(&self, volume: &Volume, object: &NodeId) -> bool;

    /// Takes an object; gives it back if the operation is to flush it.
    fn take(&self, changed: Changed) -> Option<Changed>;

    /// A flush by an operation has failed. Writes of others may have been lost with it, and whoever
    /// flushes next is not told.
    fn failed(&self);
}

/// An object that was changed and is not on the disk yet.
#[derive(Debug)]
pub(crate) struct Changed {
    volume: u64,
    id: NodeId,
    inode: u64,
    kind: Kind,
    /// Open for being flushed; none: it cannot be, alone.
    object: Option<OwnedFd>,
}

impl Changed {
    /// Whether it is that object.
    pub(crate) fn is(&self, volume: &Volume, object: &NodeId) -> bool {
        self.volume == volume.number && self.id == *object
    }

    /// What names it in handles.
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    /// Its number in its file system.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Directories come last: what is new in them is on the disk by then, or comes with them.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

impl Volume {
    /// Brings something that was changed to the disk. By whoever the thread is.
    pub(crate) fn flush(&self, changed: &Changed) -> Result<()> {
        match changed.object.as_ref().map(rustix::fs::fsync) {
            // A file system that flushes no directories.
            None | Some(Err(Errno::INVAL | Errno::OPNOTSUPP)) => self.flush_everything(),
            Some(result) => Ok(result?),
        }
    }

    /// Whether operations are to flush what they have changed themselves.
    pub(crate) fn flushes_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }

    /// A flush has failed that nobody could be told of, because it was for several. From now on, and
    /// for as long as there is this volume, every operation hears of its own.
    pub(crate) fn flush_at_once(&self) {
        self.at_once.store(true, Ordering::Relaxed);
    }

    /// Brings a changed directory, and what was made in it, to the disk.
    pub(super) fn flush_directory(&self, caller: &Caller<'_>, dir: &Node) -> Result<()> {
        // The caller may be allowed to change the directory, but not to list it.
        self.flush_opened(caller, dir, || {
            caller.as_server(|| reopen(dir, OFlags::RDONLY | OFlags::DIRECTORY))?
        })
    }

    /// Brings changed attributes to the disk.
    pub(super) fn flush_attributes(&self, caller: &Caller<'_>, node: &Node) -> Result<()> {
        self.flush_opened(caller, node, || match node.kind {
            Kind::Regular | Kind::Directory => caller.as_server(|| reopen(node, OFlags::RDONLY))?,
            // Opening a device or a pipe does something.
            _ => Ok(None),
        })
    }

    /// Brings the attributes of a new file to the disk, which making it has opened.
    pub(super) fn flush_new(&self, caller: &Caller<'_>, node: &Node) -> Result<()> {
        self.flush_opened(caller, node, || match node.fd().try_clone_to_owned() {
            Ok(file) => Ok(Some(file)),
            Err(_) => Err(Status::Jukebox),
        })
    }

    fn flush_opened(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        open: impl FnOnce() -> Result<Option<OwnedFd>>,
    ) -> Result<()> {
        if self.options.durability == Durability::LostOnPowerFailure {
            return Ok(());
        }
        let flusher = caller.flusher();
        let later = flusher.filter(|_| !self.flushes_at_once());
        if later.is_some_and(|later| later.has(self, &node.id)) {
            return Ok(());
        }
        let Node { volume, id, kind, inode, .. } = *node;
        let changed = Changed { volume, id, inode, kind, object: open()? };
        let left = match later {
            Some(later) => later.take(changed),
            None => Some(changed),
        };
        let Some(changed) = left else { return Ok(()) };
        self.flush(&changed).inspect_err(|_| {
            if let Some(flusher) = flusher {
                flusher.failed();
            }
        })
    }

    /// Slow, and rarely needed.
    fn flush_everything(&self) -> Result<()> {
        match rustix::fs::syncfs(self.root.directory()) {
            // The root could not be opened for reading.
            Err(Errno::BADF) => rustix::fs::sync(),
            result => result?,
        }
        Ok(())
    }
}

fn reopen(node: &Node, flags: OFlags) -> Result<Option<OwnedFd>> {
    match sys::reopen(node.fd(), flags) {
        // An ordinary user's own, with a mode that forbids reading; a strange file system.
        Err(Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}
