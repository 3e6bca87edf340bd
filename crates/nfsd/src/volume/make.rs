//! Making objects: CREATE, MKDIR, SYMLINK, MKNOD (RFC 1813, sections 3.3.8 to 3.3.11).

use super::change::{change_group, change_owner, set_times};
use super::{Node, Volume};
use crate::attributes::{Attributes, Kind, SetAttributes, SetTime, Time};
use crate::identity::Caller;
use crate::name::Name;
use crate::{Result, Status};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// What CREATE does if the name exists (RFC 1813: `createmode3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// Takes the file that is there, cut to a size if one is given.
    Unchecked(SetAttributes),
    /// Fails.
    Guarded(SetAttributes),
    /// Fails, unless it was this same call that made the file: one with the same verifier.
    Exclusive([u8; 8]),
}

/// A special file (RFC 1813: `mknoddata3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A character device with its major and minor number.
    Character(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A socket.
    Socket,
    /// A named pipe.
    Fifo,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The object.
    pub node: Node,
    /// Its attributes.
    pub attributes: Attributes,
    /// Making it has opened it for reading and writing, as making a regular file does: whoever keeps
    /// the node keeps others from running the file as a program.
    pub is_open: bool,
}

impl Volume {
    /// Makes a regular file.
    ///
    /// The verifier of an exclusive create is kept in the new file's times of last access and last
    /// modification, 31 bits in each (the top bit of each half is not kept: not every file system
    /// stores years after 2038). So a call that is sent again finds it after a restart too, and the
    /// client sets the times when it has its answer. Until it sets the mode, the file is its
    /// owner's alone.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`] if the name exists: if it must not, or is no regular file.
    pub fn create(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        how: &Create,
    ) -> Result<Made> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        let new = match how {
            Create::Unchecked(new) | Create::Guarded(new) => *new,
            Create::Exclusive(verifier) => keep_verifier(verifier),
        };
        new.check()?;
        for _ in 0..MAX_TRIES {
            match self.create_new(dir, name, mode_of(&new, 0o600)) {
                Ok(file) => return self.finish_file(caller, dir, name, file, &new),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(in_directory(errno)),
            }
            let (node, attributes) = match self.find(caller, dir, name) {
                // Removed between the two calls.
                Err(Status::NoEnt) => continue,
                found => found?,
            };
            // Who made it may have ended, or failed to flush it, before it was answered: perhaps this
            // same call.
            return match how {
                _ if node.kind != Kind::Regular => Err(Status::Exist),
                Create::Guarded(_) => Err(Status::Exist),
                Create::Unchecked(SetAttributes { size: None, .. }) => {
                    self.flush_directory(caller, dir)?;
                    Ok(Made { node, attributes, is_open: false })
                }
                Create::Unchecked(SetAttributes { size, .. }) => {
                    let cut = SetAttributes { size: *size, ..Default::default() };
                    let attributes = self.set_attributes(caller, &node, &cut, None)?;
                    self.flush_directory(caller, dir)?;
                    Ok(Made { node, attributes, is_open: false })
                }
                Create::Exclusive(verifier) if has_verifier(&attributes, verifier) => {
                    self.flush_attributes(caller, &node)?;
                    self.flush_directory(caller, dir)?;
                    Ok(Made { node, attributes, is_open: false })
                }
                Create::Exclusive(_) => Err(Status::Exist),
            };
        }
        Err(Status::Jukebox)
    }

    /// Makes a directory. In a set-gid directory it has that group, and is set-gid too.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`].
    pub fn make_directory(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        new: &SetAttributes,
    ) -> Result<Made> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        new.check()?;
        let mode = mode_of(new, 0o700);
        rustix::fs::mkdirat(dir.fd(), name.as_bytes(), mode).map_err(in_directory)?;
        self.finish(caller, dir, name, Kind::Directory, new)
    }

    /// Makes a symbolic link to `target`, which may be anything but empty: it is the client that
    /// follows it.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`]; [`Status::Inval`] for an empty target or one with NUL.
    pub fn make_symlink(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        target: &[u8],
        new: &SetAttributes,
    ) -> Result<Made> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        new.check()?;
        if target.is_empty() || target.contains(&0) {
            return Err(Status::Inval);
        }
        rustix::fs::symlinkat(target, dir.fd(), name.as_bytes()).map_err(in_directory)?;
        // A symbolic link has no mode of its own.
        let new = SetAttributes { mode: None, ..*new };
        self.finish(caller, dir, name, Kind::Symlink, &new)
    }

    /// Makes a special file.
    ///
    /// # Errors
    ///
    /// [`Status::Exist`]; [`Status::Perm`] for a device, if the caller is not user 0.
    pub fn make_special(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        special: Special,
        new: &SetAttributes,
    ) -> Result<Made> {
        self.must_be_writable()?;
        dir.must_be_directory()?;
        new.check()?;
        let (file_type, kind, (major, minor)) = match special {
            Special::Character(major, minor) => {
                (FileType::CharacterDevice, Kind::Character, (major, minor))
            }
            Special::Block(major, minor) => (FileType::BlockDevice, Kind::Block, (major, minor)),
            Special::Socket => (FileType::Socket, Kind::Socket, (0, 0)),
            Special::Fifo => (FileType::Fifo, Kind::Fifo, (0, 0)),
        };
        let mode = mode_of(new, 0o600);
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(dir.fd(), name.as_bytes(), file_type, mode, device)
            .map_err(in_directory)?;
        self.finish(caller, dir, name, kind, new)
    }

    fn create_new(
        &self,
        dir: &Node,
        name: Name<'_>,
        mode: Mode,
    ) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(dir.fd(), name.as_bytes(), flags, mode, resolve)
    }

    fn finish_file(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        file: OwnedFd,
        new: &SetAttributes,
    ) -> Result<Made> {
        let id = self.name(caller, dir, name, file.as_fd(), Kind::Regular)?;
        let made = Attributes::of(file.as_fd())?;
        let node = self.node(id, file, Kind::Regular, made.inode);

        // It has none yet.
        let size = new.size.filter(|size| *size != 0);
        if let Some(size) = size {
            rustix::fs::ftruncate(node.fd(), size)?;
        }
        let mut attributes = made;
        if self.complete(caller, &node, &made, new)? || size.is_some() {
            self.flush_new(caller, &node)?;
            attributes = Attributes::of(node.fd())?;
        }
        self.flush_directory(caller, dir)?;
        Ok(Made { node, attributes, is_open: true })
    }

    fn finish(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        kind: Kind,
        new: &SetAttributes,
    ) -> Result<Made> {
        let (node, mut attributes) = self.find(caller, dir, name)?;
        if node.kind != kind {
            // Replaced since by somebody else.
            return Err(Status::Exist);
        }
        if self.complete(caller, &node, &attributes, new)? {
            self.flush_attributes(caller, &node)?;
            attributes = Attributes::of(node.fd())?;
        }
        self.flush_directory(caller, dir)?;
        Ok(Made { node, attributes, is_open: false })
    }

    /// Gives a new object what the client wants and what it was not `made` with, save the size. Says
    /// whether anything has changed.
    ///
    /// A user or group that cannot be set is passed over: there are clients that always send those
    /// which the object would have on a disk of their own, and the object is there.
    fn complete(
        &self,
        caller: &Caller<'_>,
        node: &Node,
        made: &Attributes,
        new: &SetAttributes,
    ) -> Result<bool> {
        let mut changed = false;
        if let Some(gid) = new.gid.filter(|gid| *gid != made.gid) {
            changed |= if_allowed(change_group(node, gid))?;
        }
        if let Some(uid) = new.uid.filter(|uid| *uid != made.uid) {
            changed |= if_allowed(change_owner(node, uid))?;
        }
        // Set-uid and set-gid, which directories are not made with, and a new owner costs.
        let has = if changed { 0 } else { made.mode };
        if let Some(mode) = new.mode.filter(|mode| mode & SET_ID & !has != 0) {
            self.change_mode(node, mode)?;
            changed = true;
        }
        let (accessed, modified) = (new.accessed, new.modified);
        set_times(caller, node, accessed, modified)?;
        Ok(changed || (accessed, modified) != (SetTime::Keep, SetTime::Keep))
    }
}

/// Whether it was done; no failure if it may not be, or means nothing here.
fn if_allowed(done: rustix::io::Result<()>) -> Result<bool> {
    match done {
        Err(Errno::PERM | Errno::INVAL) => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

/// In a directory that was removed while it was open, nothing can be made.
pub(super) fn in_directory(errno: Errno) -> Status {
    if errno == Errno::NOENT { Status::Stale } else { errno.into() }
}

/// A client that says nothing gets what is its owner's alone: there is no `umask` to help.
fn mode_of(new: &SetAttributes, default: u32) -> Mode {
    Mode::from_raw_mode(new.mode.unwrap_or(default) & 0o7777)
}

fn keep_verifier(verifier: &[u8; 8]) -> SetAttributes {
    let [accessed, modified] = times_of(verifier).map(SetTime::Client);
    SetAttributes { mode: Some(0o600), accessed, modified, ..Default::default() }
}

fn has_verifier(attributes: &Attributes, verifier: &[u8; 8]) -> bool {
    [attributes.accessed, attributes.modified] == times_of(verifier)
}

fn times_of(verifier: &[u8; 8]) -> [Time; 2] {
    let bits = u64::from_be_bytes(*verifier);
    [bits >> 32, bits].map(|half| Time { seconds: (half & 0x7fff_ffff) as i64, nanoseconds: 0 })
}

const SET_ID: u32 = 0o6000;
const MAX_TRIES: usize = 16;
