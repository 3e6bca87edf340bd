//! Files of this machine, by descriptors.

use super::side::{Content, Directory, Entries, Entry, Facts, Identity, Kind, Time};
use crate::files::outcome::{Result, Trouble};
use crate::files::quote::Quoted;
use rustix::fs::{
    self, AtFlags, Gid, Mode, OFlags, SeekFrom, Stat, StatxFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of this machine.
pub struct LocalDirectory {
    fd: Arc<OwnedFd>,
    /// For messages.
    path: PathBuf,
}

/// A regular file of this machine.
struct LocalFile {
    file: File,
    path: PathBuf,
}

impl LocalDirectory {
    /// Opens a directory by a path that the user gave: links in it are meant.
    pub fn open(path: &Path) -> Result<Arc<dyn Directory>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = fs::open(path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())
            .map_err(|error| Trouble::local("open", path.as_os_str(), error))?;
        Ok(Arc::new(Self { fd: Arc::new(fd), path: path.to_owned() }))
    }

    fn beneath(&self, name: &OsStr, fd: OwnedFd) -> Arc<dyn Directory> {
        Arc::new(Self { fd: Arc::new(fd), path: self.path.join(name) })
    }

    fn failed(&self, attempt: &str, name: &OsStr) -> impl Fn(Errno) -> Trouble {
        let path = self.path.join(name);
        move |error| Trouble::local(attempt, path.as_os_str(), error)
    }

    /// One that is there, and is our own for certain.
    fn own_that_is_there(&self, name: &OsStr) -> std::result::Result<Option<OwnedFd>, Errno> {
        let found = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_own(&found) {
            return Ok(None);
        }
        match fs::openat(&self.fd, name, OWN, Mode::empty()) {
            Ok(fd) => Ok(is_own(&fs::fstat(&fd)?).then_some(fd)),
            // It has the mode of its source already, and only its rename was missing. If it can't be had
            // again it is made anew.
            Err(Errno::ACCESS) => Ok(self.own_that_is_read_only(name).ok().flatten()),
            Err(error) => Err(error),
        }
    }

    fn own_that_is_read_only(&self, name: &OsStr) -> std::result::Result<Option<OwnedFd>, Errno> {
        let found = fs::openat(&self.fd, name, FOUND, Mode::empty())?;
        if !is_own(&fs::fstat(&found)?) {
            return Ok(None);
        }
        // What was found, whatever has the name by now.
        let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
        fs::chmod(&itself, Mode::RUSR | Mode::WUSR)?;
        fs::open(&itself, OWN.difference(OFlags::NOFOLLOW), Mode::empty()).map(Some)
    }
}

impl Directory for LocalDirectory {
    fn place(&self, name: Option<&OsStr>) -> String {
        match name {
            Some(name) => Quoted(self.path.join(name).as_os_str()).to_string(),
            None => Quoted(self.path.as_os_str()).to_string(),
        }
    }

    fn facts(&self) -> Result<Facts> {
        let found = fs::fstat(&*self.fd).map_err(self.failed("look at", OsStr::new("")))?;
        Ok(facts(&found))
    }

    fn list(&self) -> Result<Entries> {
        let directory =
            fs::Dir::read_from(&*self.fd).map_err(self.failed("list", OsStr::new("")))?;
        let (fd, path) = (self.fd.clone(), self.path.clone());
        Ok(Box::new(directory.filter_map(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(Trouble::local("list", path.as_os_str(), error))),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                return None;
            }
            let name = OsStr::from_bytes(name).to_owned();
            match fs::statat(&*fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => Some(Ok(Entry { name, facts: facts(&found) })),
                // Removed meanwhile.
                Err(Errno::NOENT) => None,
                Err(error) => {
                    Some(Err(Trouble::local("look at", path.join(name).as_os_str(), error)))
                }
            }
        })))
    }

    fn look(&self, name: &OsStr) -> Result<Option<Facts>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(facts(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", name)(error)),
        }
    }

    fn enter(&self, name: &OsStr, _: &Facts) -> Result<Arc<dyn Directory>> {
        let fd = fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
        Ok(self.beneath(name, fd.map_err(self.failed("open", name))?))
    }

    fn make(&self, name: &OsStr) -> Result<Arc<dyn Directory>> {
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed("make the directory", name)(error)),
        }
        let fd = fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
        Ok(self.beneath(name, fd.map_err(self.failed("fill the directory", name))?))
    }

    fn read_link(&self, name: &OsStr, _: &Facts) -> Result<OsString> {
        let target = fs::readlinkat(&self.fd, name, Vec::new());
        let target = target.map_err(self.failed("read the link", name))?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    fn make_link(&self, name: &OsStr, target: &OsStr, like: &Facts, owner: bool) -> Result<()> {
        let failed = self.failed("make the symbolic link", name);
        fs::symlinkat(target, &self.fd, name).map_err(&failed)?;
        if owner {
            let (uid, gid) = (Some(Uid::from_raw(like.uid)), Some(Gid::from_raw(like.gid)));
            refused_is_fine(fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
                .map_err(&failed)?;
        }
        fs::utimensat(&self.fd, name, &times(like), AtFlags::SYMLINK_NOFOLLOW).map_err(&failed)
    }

    fn open(&self, name: &OsStr, _: &Facts) -> Result<Box<dyn Content>> {
        let failed = self.failed("open", name);
        // A pipe that has taken the file's place must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty()).map_err(&failed)?;
        if facts(&fs::fstat(&fd).map_err(&failed)?).kind != Kind::Regular {
            return Err(Trouble::new(format!(
                "{} is no regular file any more",
                self.place(Some(name))
            )));
        }
        Ok(Box::new(LocalFile { file: fd.into(), path: self.path.join(name) }))
    }

    fn own(&self, name: &OsStr) -> Result<Box<dyn Content>> {
        let failed = self.failed("create", name);
        let create = OWN | OFlags::CREATE | OFlags::EXCL;
        let mut made = fs::openat(&self.fd, name, create, Mode::RUSR | Mode::WUSR);
        if matches!(made, Err(Errno::EXIST)) {
            made = match self.own_that_is_there(name).map_err(&failed)? {
                Some(fd) => Ok(fd),
                None => {
                    fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(&failed)?;
                    fs::openat(&self.fd, name, create, Mode::RUSR | Mode::WUSR)
                }
            };
        }
        let fd = made.map_err(&failed)?;
        Ok(Box::new(LocalFile { file: fd.into(), path: self.path.join(name) }))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        fs::renameat(&self.fd, from, &self.fd, to).map_err(self.failed("put into place", to))
    }

    fn remove(&self, name: &OsStr) -> Result<()> {
        fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(self.failed("remove", name))
    }

    fn finish(&self, like: &Facts, owner: bool) -> Result<()> {
        change(&*self.fd, like, owner).map_err(self.failed(ATTRIBUTES, OsStr::new("")))?;
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        fs::fsync(&*self.fd).map_err(self.failed("commit", OsStr::new("")))
    }
}

impl LocalFile {
    fn failed<E: Into<io::Error>>(&self, attempt: &str) -> impl Fn(E) -> Trouble {
        move |error| Trouble::local(attempt, self.path.as_os_str(), error)
    }
}

impl Content for LocalFile {
    fn facts(&self) -> Result<Facts> {
        Ok(facts(&fs::fstat(&self.file).map_err(self.failed("look at"))?))
    }

    fn token(&self) -> Result<String> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let found = fs::statx(&self.file, "", AtFlags::EMPTY_PATH, wanted);
        let found = found.map_err(self.failed("look at"))?;
        // Where files have no time of birth it is zero, and the number has to do.
        let born = found.stx_btime;
        Ok(format!("{:x}.{:x}.{:x}", found.stx_ino, born.tv_sec, born.tv_nsec))
    }

    fn next_data(&self, offset: u64, size: u64) -> Result<Range<u64>> {
        match fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => {
                let end = match fs::seek(&self.file, SeekFrom::Hole(start)) {
                    Ok(end) => end,
                    Err(_) => size,
                };
                Ok(start.min(size)..end.min(size))
            }
            // Nothing but a hole, or the end.
            Err(Errno::NXIO) => Ok(size..size),
            // It can't be told.
            Err(_) => Ok(offset..size),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read")(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(data, offset).map_err(self.failed("write to"))
    }

    fn commit(&self) -> Result<()> {
        fs::fdatasync(&self.file).map_err(self.failed("commit"))
    }

    fn finish(&self, like: &Facts, owner: bool) -> Result<()> {
        fs::ftruncate(&self.file, like.size).map_err(self.failed("set the size of"))?;
        change(&self.file, like, owner).map_err(self.failed(ATTRIBUTES))?;
        fs::fsync(&self.file).map_err(self.failed("commit"))
    }
}

/// The owner first: a change of that takes set-uid away.
fn change(fd: impl std::os::fd::AsFd, like: &Facts, owner: bool) -> std::result::Result<(), Errno> {
    if owner {
        let (uid, gid) = (Some(Uid::from_raw(like.uid)), Some(Gid::from_raw(like.gid)));
        refused_is_fine(fs::fchown(&fd, uid, gid))?;
    }
    let owned = || fs::fstat(&fd).is_ok_and(|now| (now.st_uid, now.st_gid) == (like.uid, like.gid));
    fs::fchmod(&fd, Mode::from_raw_mode(like.mode_of_copy(owner && owned())))?;
    fs::futimens(&fd, &times(like))
}

/// Only root gives files away; others keep what they copy.
fn refused_is_fine(result: std::result::Result<(), Errno>) -> std::result::Result<(), Errno> {
    if result == Err(Errno::PERM) { Ok(()) } else { result }
}

/// Whether it can only have been made by us, and has no other name.
fn is_own(found: &Stat) -> bool {
    facts(found).kind == Kind::Regular
        && found.st_nlink == 1
        && found.st_uid == rustix::process::geteuid().as_raw()
}

fn times(of: &Facts) -> Timestamps {
    let time = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time(of.accessed), last_modification: time(of.modified) }
}

fn facts(found: &Stat) -> Facts {
    let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
    Facts {
        kind: match fs::FileType::from_raw_mode(found.st_mode) {
            fs::FileType::RegularFile => Kind::Regular,
            fs::FileType::Directory => Kind::Directory,
            fs::FileType::Symlink => Kind::SymLink,
            _ => Kind::Other,
        },
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        size: u64::try_from(found.st_size).unwrap_or(0),
        accessed: time(found.st_atime, found.st_atime_nsec as u32),
        modified: time(found.st_mtime, found.st_mtime_nsec as u32),
        changed: time(found.st_ctime, found.st_ctime_nsec as u32),
        identity: Identity { server: None, device: found.st_dev, number: found.st_ino },
        handle: None,
    }
}

const ATTRIBUTES: &str = "change the attributes of";
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOUND: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OWN: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
