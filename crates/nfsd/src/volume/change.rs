//! Changing what is there: SETATTR, REMOVE, RMDIR, RENAME, LINK (RFC 1813, sections 3.3.2 and
//! 3.3.12 to 3.3.15).

use super::make::in_directory;
use super::{Access, Node, OpenFile, Volume};
use crate::attributes::{Attributes, EMPTY_PATH, Kind, SetAttributes, SetTime, Time};
use crate::identity::Caller;
use crate::name::Name;
use crate::store::Found;
use crate::{Result, Status, stripes, sys};
use rustix::fs::{AtFlags, Gid, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::PoisonError;

impl Volume {
    /// Changes attributes and says what they are then; with `guard`, only if the object's time of
    /// last change is still that.
    ///
    /// A new owner or a new size takes set-uid and set-gid away, as the kernel does it. If one of
    /// several changes fails, those before it stay: owner, group, size, mode, times, in this order.
    /// Who may not change mode and times changes no size beside them. Who may write may set either
    /// time to the server's clock.
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
        {
            // Of two with the same guard, the second sees what the first has done.
            let lock = guard.map(|_| stripes::of(&self.guards, node.inode));
            let _alone = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
            let before = node.attributes()?;
            if guard.is_some_and(|guard| guard != before.changed) {
                return Err(Status::NotSync);
            }
            if change.is_empty() {
                return Ok(before);
            }
            self.apply(caller, node, change)?;
        }
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

    /// Makes the changes, as the caller. What may be refused comes before the size: bytes that are cut
    /// off do not come back.
    fn apply(&self, caller: &Caller<'_>, node: &Node, change: &SetAttributes) -> Result<()> {
        let file = match change.size {
            Some(_) => Some(self.open_file(caller, node, Access::Write)?),
            None => None,
        };
        if let Some(file) = &file
            && change.is_for_the_owner()
        {
            must_be_owner(file)?;
        }
        if let Some(uid) = change.uid {
            own_if_refused(uid, caller.own_user(uid), |uid| change_owner(node, uid))?;
        }
        if let Some(gid) = change.gid {
            own_if_refused(gid, caller.own_group(gid), |gid| change_group(node, gid))?;
        }
        let mut modified = change.modified;
        if let (Some(file), Some(size)) = (&file, change.size) {
            rustix::fs::ftruncate(file.fd(), size)?;
            if modified == SetTime::Server {
                // It is: by this.
                modified = SetTime::Keep;
            }
        }
        if let Some(mode) = change.mode {
            self.change_mode(node, mode)?;
        }
        set_times(caller, node, change.accessed, modified)
    }

    /// Changes the mode.
    pub(super) fn change_mode(&self, node: &Node, mode: u32) -> Result<()> {
        let _alone = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sys::change_mode(node.fd(), mode & 0o7777)?)
    }

    /// Refuses an object of another volume, which may be on the same file system.
    fn must_own(&self, node: &Node) -> Result<()> {
        if node.volume == self.number { Ok(()) } else { Err(Status::XDev) }
    }
}

impl SetAttributes {
    /// Whether others may not do it, though they may write.
    fn is_for_the_owner(&self) -> bool {
        self.mode.is_some() || self.accessed.is_given() || self.modified.is_given()
    }

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

impl SetTime {
    /// Whether the client says which time.
    fn is_given(self) -> bool {
        matches!(self, Self::Client(_))
    }
}

/// Sets an owner. If the caller may not, but means itself by that number, who it is here: what it has
/// already stays its own.
fn own_if_refused(
    wanted: u32,
    own: Option<u32>,
    set: impl Fn(u32) -> rustix::io::Result<()>,
) -> Result<()> {
    match (set(wanted), own) {
        (Err(Errno::PERM | Errno::INVAL), Some(own)) => Ok(set(own)?),
        (done, _) => Ok(done?),
    }
}

/// Changes the owner.
pub(super) fn change_owner(node: &Node, uid: u32) -> rustix::io::Result<()> {
    rustix::fs::chownat(node.fd(), c"", Some(Uid::from_raw(uid)), None, EMPTY_PATH)
}

/// Changes the group.
pub(super) fn change_group(node: &Node, gid: u32) -> rustix::io::Result<()> {
    rustix::fs::chownat(node.fd(), c"", None, Some(Gid::from_raw(gid)), EMPTY_PATH)
}

/// Sets times.
pub(super) fn set_times(
    caller: &Caller<'_>,
    node: &Node,
    accessed: SetTime,
    modified: SetTime,
) -> Result<()> {
    if (accessed, modified) == (SetTime::Keep, SetTime::Keep) {
        return Ok(());
    }
    let (last_access, last_modification) = (timespec(accessed), timespec(modified));
    let times = Timestamps { last_access, last_modification };
    let set = || rustix::fs::utimensat(node.fd(), c"", &times, EMPTY_PATH);
    let by_our_clock = !accessed.is_given() && !modified.is_given();
    match set() {
        // The kernel lets who may write set both times to its clock, but not one of them.
        Err(Errno::PERM) if by_our_clock && may_write(node) => Ok(caller.as_server(set)??),
        set => Ok(set?),
    }
}

fn may_write(node: &Node) -> bool {
    sys::check_access(node.fd(), rustix::fs::Access::WRITE_OK).is_ok()
}

/// Refuses who may not change mode and times. The kernel lets nobody else set this flag, which does
/// nothing here: the file is read by nobody.
fn must_be_owner(file: &OpenFile) -> Result<()> {
    Ok(rustix::fs::fcntl_setfl(file.fd(), OFlags::NOATIME)?)
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
