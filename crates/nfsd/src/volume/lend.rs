//! Descriptors for others.
//!
//! Whoever has a descriptor can open the file again by it (`/proc/self/fd`), change its mode, or run
//! it, as itself, whoever it was opened as. What keeps it from that is the mount that it was opened in:
//! a copy of the export's, which nobody can reach but by what was opened there, without set-user-ID
//! and devices, and read-only for what is lent to be read.

use super::{Access, Node, Volume};
use crate::attributes::{Attributes, Kind};
use crate::beneath::Place;
use crate::identity::Caller;
use crate::{Result, Status, sys};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// Copies of the mount of an export, each made when the first is needed, and gone with it.
#[derive(Debug, Default)]
pub(super) struct Lending {
    to_read: OnceLock<OwnedFd>,
    to_write: OnceLock<OwnedFd>,
}

impl Volume {
    /// Opens a regular file for what the caller may do with it, to be given to whoever the caller is
    /// for. `is_itself` says that this has for the kernel the rights of the caller, neither more nor
    /// others.
    ///
    /// # Errors
    ///
    /// As [`open_file`](Self::open_file); [`Status::NotSupp`] if it would be able to do more with the
    /// file than the caller.
    pub(crate) fn lend(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        access: Access,
        is_itself: bool,
    ) -> Result<OwnedFd> {
        match node.kind {
            Kind::Regular => {}
            Kind::Directory => return Err(Status::IsDir),
            _ => return Err(Status::Inval),
        }
        self.must_allow(access)?;
        let writes = access != Access::Read;
        // Of what it has open for writing it can change mode and owner, and it can read it.
        if writes && !is_itself {
            return Err(Status::NotSupp);
        }
        if writes && Attributes::of(node.fd())?.mode & SET_ID != 0 {
            // Whoever writes by NFS takes that away.
            return Err(Status::NotSupp);
        }
        let opened = match self.apart(caller, node, writes)? {
            Some(apart) => self.open_file(caller, &apart, access)?,
            None if is_itself && self.is_harmless(caller, node)? => {
                self.open_file(caller, node, access)?
            }
            None => return Err(Status::NotSupp),
        };
        Ok(opened.into_fd())
    }

    /// The same object in a mount that only we have; none if we may not make one.
    fn apart(&self, caller: &Caller<'_>, node: &Node, writes: bool) -> Result<Option<Node>> {
        let found = caller.as_server(|| -> Result<Option<OwnedFd>> {
            let kept = if writes { &self.lending.to_write } else { &self.lending.to_read };
            let root = match kept.get() {
                Some(root) => root,
                None => match clone_mount(self.root.directory(), !writes)? {
                    Some(clone) => {
                        // What handles are looked for with has to be open for something. It keeps the mount.
                        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                        let root = sys::reopen(clone.as_fd(), flags)?;
                        // Of two that were made at once, one is dropped.
                        kept.get_or_init(|| root)
                    }
                    None => return Ok(None),
                },
            };
            match self.store.open_in(root.as_fd(), &node.id) {
                Some(found) => found.map(Some),
                // Of the object alone, which takes longer: the kernel waits for all that look at mounts.
                None => clone_mount(node.fd(), !writes),
            }
        })??;
        let Some(object) = found else { return Ok(None) };
        let (here, there) = (Place::of(node.fd())?, Place::of(object.as_fd())?);
        if (here.device, here.inode) != (there.device, there.inode) {
            return Err(Status::Stale);
        }
        Ok(Some(self.node(node.id, object, node.kind, node.inode)))
    }

    /// Whether a descriptor in the mount that all see lets its owner do only what the caller may do by
    /// NFS, or what it can do without us.
    fn is_harmless(&self, caller: &Caller<'_>, node: &Node) -> Result<bool> {
        Ok(!self.options.read_only && (caller.is_ourselves() || sys::has_no_set_uid(node.fd())?))
    }
}

/// A copy of the mount that an object is in; none where that is not permitted or not known.
fn clone_mount(object: BorrowedFd<'_>, read_only: bool) -> Result<Option<OwnedFd>> {
    match sys::clone_mount(object, read_only) {
        Ok(clone) => Ok(Some(clone)),
        // The third: it is not in our mount namespace (any more).
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;
