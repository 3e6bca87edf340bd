//! What copying needs of a server and of this machine alike: directories and files that are held, not
//! named, so that no name on the way to them can be exchanged for a link meanwhile.

use crate::files::outcome::Result;
use holm_localio::Handle;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::sync::Arc;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Which kind of file.
    pub kind: Kind,
    /// The permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// When it was last read.
    pub accessed: Time,
    /// When it was last written.
    pub modified: Time,
    /// When its attributes last changed.
    pub changed: Time,
    /// Which file it is.
    pub identity: Identity,
    /// What the server calls it, if it is at a server.
    pub handle: Option<Handle>,
}

/// Which kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    SymLink,
    /// A device, a socket or a pipe.
    Other,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Since 1970.
    pub seconds: i64,
    /// Of the second.
    pub nanoseconds: u32,
}

/// Equal only for the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The server, if it is at one.
    pub server: Option<std::net::SocketAddr>,
    /// The file system.
    pub device: u64,
    /// The file's number in it.
    pub number: u64,
}

/// What is in a directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Never empty, `.` or `..`, and without a `/`.
    pub name: OsString,
    /// What it is.
    pub facts: Facts,
}

/// The entries of a directory.
pub type Entries = Box<dyn Iterator<Item = Result<Entry>> + Send>;

/// A directory that is held. No name in it is followed if it is a symbolic link.
pub trait Directory: Send + Sync {
    /// What it, or a name in it, is called in messages: harmless on a terminal.
    fn place(&self, name: Option<&OsStr>) -> String;

    /// What it is itself.
    fn facts(&self) -> Result<Facts>;

    /// What is in it.
    fn list(&self) -> Result<Entries>;

    /// What has a name; `None` for nothing.
    fn look(&self, name: &OsStr) -> Result<Option<Facts>>;

    /// A directory in it.
    fn enter(&self, name: &OsStr, facts: &Facts) -> Result<Arc<dyn Directory>>;

    /// The same, made if it is not there, for nobody else at first.
    fn make(&self, name: &OsStr) -> Result<Arc<dyn Directory>>;

    /// Where a symbolic link points to.
    fn read_link(&self, name: &OsStr, facts: &Facts) -> Result<OsString>;

    /// Makes a symbolic link under a name that is free.
    fn make_link(&self, name: &OsStr, target: &OsStr, like: &Facts, owner: bool) -> Result<()>;

    /// A regular file, to read.
    fn open(&self, name: &OsStr, facts: &Facts) -> Result<Box<dyn Content>>;

    /// A regular file of our own, to write and read: made if it is not there, for nobody else at first, else
    /// as it is. What has the name and is nothing that we could have made is removed.
    fn own(&self, name: &OsStr) -> Result<Box<dyn Content>>;

    /// Gives a name in it another name, over whatever file has that.
    fn rename(&self, from: &OsStr, to: &OsStr) -> Result<()>;

    /// Removes a name that is no directory.
    fn remove(&self, name: &OsStr) -> Result<()>;

    /// Gives it the mode and times of another, and with `owner` its owner; it is on stable storage then, as
    /// are the names in it.
    fn finish(&self, like: &Facts, owner: bool) -> Result<()>;

    /// Has the names in it on stable storage.
    fn sync(&self) -> Result<()>;
}

/// A regular file that is open, for several threads.
pub trait Content: Send + Sync {
    /// What it is now.
    fn facts(&self) -> Result<Facts>;

    /// A word that means this file, and no other that has its name or number later.
    fn token(&self) -> Result<String>;

    /// The next part from `offset` on that may be anything but zeros; empty at `size`.
    fn next_data(&self, offset: u64, size: u64) -> Result<Range<u64>> {
        Ok(offset..size)
    }

    /// Reads until the buffer is full or the file ends; says how much that was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of the data.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()>;

    /// Has all that was written on stable storage.
    fn commit(&self) -> Result<()>;

    /// Gives it the size, mode and times of another, and with `owner` its owner; it is on stable storage
    /// then, and so is what was written.
    fn finish(&self, like: &Facts, owner: bool) -> Result<()>;
}

impl Facts {
    /// Whether a copy of this would be what the other is already.
    pub fn is_copied_by(&self, copy: &Facts) -> bool {
        self.kind == copy.kind
            && self.size == copy.size
            && self.modified.on_the_wire() == copy.modified.on_the_wire()
    }

    /// Which permission bits a copy gets: set-uid and set-gid only together with their owner.
    pub fn mode_of_copy(&self, owner: bool) -> u32 {
        if owner { self.mode & 0o7777 } else { self.mode & 0o1777 }
    }
}

impl Time {
    /// As far as NFSv3 can say it: from 1970 to 2106.
    pub fn on_the_wire(self) -> (u32, u32) {
        match u32::try_from(self.seconds) {
            Ok(seconds) => (seconds, self.nanoseconds),
            Err(_) if self.seconds < 0 => (0, 0),
            Err(_) => (u32::MAX, 0),
        }
    }
}
