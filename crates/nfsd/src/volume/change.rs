//! Changing what is there: SETATTR, REMOVE, RMDIR, RENAME, LINK (RFC 1813, sections 3.3.2 and
//! 3.3.12 to 3.3.15).

use super::make::in_directory;
use super::{Access, Node, OpenFile, Volume};
use crate::attributes::{Attributes, EMPTY_PATH, Kind, SetAttributes, SetTime, Time};
use crate::identity::Caller;
use crate::name::Name;
use crate::store::Found;
use crate::{Result, Status, sys};
use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::PoisonError;

impl Volume {
    /// Changes attributes and says what they are then; with `guard`, only if the object's time of
    /// last change is still that.
    ///
    /// A new owner or a new size takes set-uid and set-gid away, as the kernel does it. If one of
    /// several changes fails, those before it stay: size, owner, mode, times, in this order.
    ///
    /// # Errors
    ///
    /// [`Status::NotSync`] if the guard does not match; [`Status::Perm`], [`Status::Acces`];
    /// [`Status::Inval`] for the size of what has none.
    pub fn set_attributes(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        change: &SetAttributes,
        guard: Option<Time>,
    ) -> Result<Attributes> {
        self.must_be_writable()?;
        change.check()?;
        let before = node.attributes()?;
        if guard.is_some_and(|guard| guard != before.changed) {
            return Err(Status::NotSync);
        }
        if change.is_empty() {
            return Ok(before);
        }
        self.apply(caller, node, change, None)?;
        self.flush_attributes(caller, node)?;
        node.attributes()
    }

    /// Removes a name that is no directory's.
    ///
    /// # Errors
    ///
    /// [`Status::NoEnt`]; [`Status::IsDir`].
    pub fn remove(&self, caller: &Caller<'_>, dir: &Node, name: Name<'_>) -> Result<()> {
        self.unlink(caller, dir, name, AtFlags::empty())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Status::NoEnt`], [`Status::NotDir`], [`Status::NotEmpty`].
    pub fn remove_directory(&self, caller: &Caller<'_>, dir: &Node, name: Name<'_>) -> Result<()> {
        self.unlink(caller, dir, name, AtFlags::REMOVEDIR)
    }

    /// Renames an object; what had the new name is gone, without a moment in between.
    ///
    /// # Errors
    ///
    /// [`Status::XDev`] between file systems; [`Status::NotEmpty`], [`Status::IsDir`],
    /// [`Status::NotDir`] for what cannot be replaced; [`Status::Inval`] for a directory into
    /// itself.
    pub fn rename(
        &self,
        caller: &Caller<'_>,
        from: (&Node, Name<'_>),
        to: (&Node, Name<'_>),
    ) -> Result<()> {
        self.must_be_writable()?;
        let ((from_dir, from_name), (to_dir, to_name)) = (from, to);
        from_dir.must_be_directory()?;
        to_dir.must_be_directory()?;
        self.must_own(from_dir)?;
        self.must_own(to_dir)?;

        let stays = (from_dir.id(), from_name) == (to_dir.id(), to_name);
        let moved = if self.store.follows_names() && !stays {
            let object = self.root.entry(from_dir.fd(), from_name)?;
            let kind = Attributes::of(object.as_fd())?.kind;
            Some((object, kind))
        } else {
            None
        };
        if let Some((object, kind)) = &moved {
            let (parent, object) = (to_dir.id(), object.as_fd());
            let found = Found { parent, name: to_name, object, kind: *kind };
            caller.as_server(|| self.store.will_move(&found))??;
        }
        let (old, new) = (from_name.as_bytes(), to_name.as_bytes());
        if let Err(errno) = rustix::fs::renameat(from_dir.fd(), old, to_dir.fd(), new) {
            if let Some((object, kind)) = &moved {
                let (parent, object) = (to_dir.id(), object.as_fd());
                let found = Found { parent, name: to_name, object, kind: *kind };
                caller.as_server(|| self.store.removed(&found))?;
            }
            return Err(if errno == Errno::EXIST { Status::NotEmpty } else { errno.into() });
        }
        if let Some((object, kind)) = &moved {
            let (parent, object) = (from_dir.id(), object.as_fd());
            let found = Found { parent, name: from_name, object, kind: *kind };
            caller.as_server(|| self.store.removed(&found))?;
        }
        self.flush_directory(caller, to_dir)?;
        if from_dir.id() != to_dir.id() {
            self.flush_directory(caller, from_dir)?;
        }
        Ok(())
    }

    /// Gives an object that is no directory another name.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`]; [`Status::IsDir`]; [`Status::XDev`] between file systems or exports;
    /// [`Status::MLink`]; [`Status::Perm`] where the host protects others' files from links.
    pub fn link(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        dir: &Node,
        name: Name<'_>,
    ) -> Result<Attributes> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        self.must_own(node)?;
        self.must_own(dir)?;
        if node.kind() == Kind::Directory {
            return Err(Status::IsDir);
        }
        node.attributes()?;
        sys::link(node.fd(), dir.fd(), name.as_bytes()).map_err(in_directory)?;
        if self.store.follows_names() {
            let (parent, object) = (dir.id(), node.fd());
            let found = Found { parent, name, object, kind: node.kind() };
            caller.as_server(|| self.store.will_move(&found))??;
        }
        self.flush_directory(caller, dir)?;
        node.attributes()
    }

    fn unlink(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        flags: AtFlags,
    ) -> Result<()> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        let known =
            if self.store.follows_names() { self.root.entry(dir.fd(), name).ok() } else { None };
        match rustix::fs::unlinkat(dir.fd(), name.as_bytes(), flags) {
            Err(Errno::EXIST) => return Err(Status::NotEmpty),
            result => result?,
        }
        if let Some(object) = known {
            let kind = Attributes::of(object.as_fd())?.kind;
            let found = Found { parent: dir.id(), name, object: object.as_fd(), kind };
            caller.as_server(|| self.store.removed(&found))?;
        }
        self.flush_directory(caller, dir)
    }

    /// Makes the changes, as the caller; `file` is the object open for writing, if it is already.
    pub(super) fn apply(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        change: &SetAttributes,
        file: Option<&OpenFile>,
    ) -> Result<()> {
        if let Some(size) = change.size {
            let opened = match file {
                Some(_) => None,
                None => Some(self.open_file(caller, node, Access::Write)?),
            };
            if let Some(file) = file.or(opened.as_ref()) {
                rustix::fs::ftruncate(file.fd(), size)?;
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            let owner = change.uid.map(Uid::from_raw);
            let group = change.gid.map(Gid::from_raw);
            rustix::fs::chownat(node.fd(), c"", owner, group, EMPTY_PATH)?;
        }
        if let Some(mode) = change.mode {
            let _alone = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
            sys::change_mode(node.fd(), mode & 0o7777)?;
        }
        if change.accessed != SetTime::Keep || change.modified != SetTime::Keep {
            let times = Timestamps {
                last_access: timespec(change.accessed),
                last_modification: timespec(change.modified),
            };
            rustix::fs::utimensat(node.fd(), c"", &times, EMPTY_PATH)?;
        }
        Ok(())
    }

    /// Refuses an object of another volume, which may be on the same file system.
    fn must_own(&self, node: &Node) -> Result<()> {
        if node.volume == self.number { Ok(()) } else { Err(Status::XDev) }
    }
}

impl SetAttributes {
    /// Refuses values that mean something else to the kernel.
    pub(super) fn check(&self) -> Result<()> {
        if self.size.is_some_and(|size| size > i64::MAX as u64) {
            return Err(Status::FBig);
        }
        // That number means "leave it".
        if self.uid == Some(u32::MAX) || self.gid == Some(u32::MAX) {
            return Err(Status::Inval);
        }
        for time in [self.accessed, self.modified] {
            if let SetTime::Client(time) = time
                && time.nanoseconds >= 1_000_000_000
            {
                return Err(Status::Inval);
            }
        }
        Ok(())
    }
}

fn timespec(time: SetTime) -> Timespec {
    match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        SetTime::Server => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        SetTime::Client(time) => {
            Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
        }
    }
}
