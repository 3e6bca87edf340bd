//! Files of a server, by handles.

use super::side::{Content, Directory, Entries, Entry, Facts, Identity, Kind, Time};
use crate::files::outcome::{Result, Trouble};
use crate::files::quote::Quoted;
use holm_localio::wire::{Attributes, FileType, SetAttributes, SetTime, Status};
use holm_localio::{Access, Error, File, Handle, Mount, Node};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A directory of a server.
pub struct RemoteDirectory {
    mount: Mount,
    handle: Handle,
    /// Beneath the URL of the mount; for messages.
    path: PathBuf,
}

/// A regular file of a server.
struct RemoteFile {
    directory: RemoteDirectory,
    name: OsString,
    file: File,
}

impl RemoteDirectory {
    /// The directory that is mounted.
    pub fn mounted(mount: Mount) -> Result<Arc<dyn Directory>> {
        let Node { handle, attributes } = mount.lookup("")?;
        if attributes.file_type != FileType::Directory {
            return Err(Trouble::new(format!("{} is no directory", mount.url())));
        }
        Ok(Arc::new(Self { mount, handle, path: PathBuf::new() }))
    }

    fn beneath(&self, name: &OsStr, handle: Handle) -> Arc<dyn Directory> {
        Arc::new(Self { mount: self.mount.clone(), handle, path: self.path.join(name) })
    }

    fn named(&self, name: &OsStr) -> impl Fn(Error) -> Trouble {
        let place = self.place(Some(name));
        move |error| named(&place, error)
    }

    fn node(&self, name: &OsStr) -> Result<Option<Node>> {
        match self.mount.nfs().lookup(&self.handle, name) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.status() == Some(Status::NoEnt) => Ok(None),
            Err(error) => Err(self.named(name)(error)),
        }
    }

    fn content(&self, name: &OsStr, handle: &Handle, access: Access) -> Box<dyn Content> {
        let directory =
            Self { mount: self.mount.clone(), handle: self.handle, path: self.path.clone() };
        let file = self.mount.open_handle(handle, access);
        Box::new(RemoteFile { directory, name: name.to_owned(), file })
    }

    fn facts_of(&self, node: &Node) -> Facts {
        facts(&self.mount, &node.attributes, node.handle)
    }
}

impl Directory for RemoteDirectory {
    fn place(&self, name: Option<&OsStr>) -> String {
        let path = match name {
            Some(name) => self.path.join(name),
            None => self.path.clone(),
        };
        match self.mount.url().join(&path) {
            Ok(url) => url.to_string(),
            Err(_) => format!("{}: {}", self.mount.url(), Quoted(path.as_os_str())),
        }
    }

    fn facts(&self) -> Result<Facts> {
        let attributes = self.mount.nfs().stat(&self.handle).map_err(self.named(OsStr::new("")))?;
        Ok(facts(&self.mount, &attributes, self.handle))
    }

    fn list(&self) -> Result<Entries> {
        let listing = self.mount.list_handle(&self.handle);
        let mount = self.mount.clone();
        let place = self.place(None);
        Ok(Box::new(listing.map(move |entry| {
            let entry = entry.map_err(|error| named(&place, error))?;
            let facts = facts(&mount, &entry.attributes, entry.handle);
            Ok(Entry { name: entry.name, facts })
        })))
    }

    fn look(&self, name: &OsStr) -> Result<Option<Facts>> {
        Ok(self.node(name)?.map(|node| self.facts_of(&node)))
    }

    fn enter(&self, name: &OsStr, facts: &Facts) -> Result<Arc<dyn Directory>> {
        let handle = match facts.handle {
            Some(handle) => handle,
            None => self.mount.nfs().lookup(&self.handle, name).map_err(self.named(name))?.handle,
        };
        Ok(self.beneath(name, handle))
    }

    fn make(&self, name: &OsStr) -> Result<Arc<dyn Directory>> {
        let private = SetAttributes { mode: Some(0o700), ..SetAttributes::default() };
        match self.mount.nfs().make_directory(&self.handle, name, &private) {
            Ok(node) => return Ok(self.beneath(name, node.handle)),
            Err(error) if error.status() == Some(Status::Exist) => {}
            Err(error) => return Err(self.named(name)(error)),
        }
        match self.node(name)? {
            Some(node) if node.attributes.file_type == FileType::Directory => {
                Ok(self.beneath(name, node.handle))
            }
            _ => Err(Trouble::new(format!(
                "could not fill the directory {}: there is something that is no directory",
                self.place(Some(name))
            ))),
        }
    }

    fn read_link(&self, name: &OsStr, facts: &Facts) -> Result<OsString> {
        let handle = match facts.handle {
            Some(handle) => handle,
            None => self.mount.nfs().lookup(&self.handle, name).map_err(self.named(name))?.handle,
        };
        self.mount.nfs().read_link(&handle).map_err(self.named(name))
    }

    fn make_link(&self, name: &OsStr, target: &OsStr, like: &Facts, owner: bool) -> Result<()> {
        let nfs = self.mount.nfs();
        let node = nfs.symlink(&self.handle, name, target).map_err(self.named(name))?;
        // A link has no mode of its own.
        let attributes = SetAttributes { mode: None, size: None, ..attributes(like, owner) };
        match nfs.set(&node.handle, &attributes, None) {
            // Not every server can.
            Err(error)
                if matches!(
                    error.status(),
                    Some(Status::NotSupp | Status::Inval | Status::Perm | Status::Acces)
                ) =>
            {
                Ok(())
            }
            set => set.map_err(self.named(name)),
        }
    }

    fn open(&self, name: &OsStr, facts: &Facts) -> Result<Box<dyn Content>> {
        let handle = match facts.handle {
            Some(handle) => handle,
            None => self.mount.nfs().lookup(&self.handle, name).map_err(self.named(name))?.handle,
        };
        Ok(self.content(name, &handle, Access::Read))
    }

    fn own(&self, name: &OsStr) -> Result<Box<dyn Content>> {
        let nfs = self.mount.nfs();
        let private = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
        let create = || nfs.create(&self.handle, name, &private, false);
        let is_own = |node: &Node| {
            node.attributes.file_type == FileType::Regular && node.attributes.nlink == 1
        };
        let node = match create() {
            Ok(node) if is_own(&node) => node,
            Err(error) if error.status() != Some(Status::Exist) => {
                return Err(self.named(name)(error));
            }
            _ => {
                nfs.remove(&self.handle, name).map_err(self.named(name))?;
                let node = nfs.create(&self.handle, name, &private, true);
                node.map_err(self.named(name))?
            }
        };
        Ok(self.content(name, &node.handle, Access::ReadWrite))
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> Result<()> {
        let (from, to) = ((&self.handle, from), (&self.handle, to));
        self.mount.nfs().rename(from, to).map_err(self.named(to.1))
    }

    fn remove(&self, name: &OsStr) -> Result<()> {
        self.mount.nfs().remove(&self.handle, name).map_err(self.named(name))
    }

    fn finish(&self, like: &Facts, owner: bool) -> Result<()> {
        let attributes = SetAttributes { size: None, ..attributes(like, owner) };
        let set = |attributes: &SetAttributes| self.mount.nfs().set(&self.handle, attributes, None);
        with_or_without_owner(attributes, like, set).map_err(self.named(OsStr::new("")))
    }

    /// A server answers only when it is so (RFC 1813, section 4.8).
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl RemoteFile {
    fn named(&self, error: Error) -> Trouble {
        self.directory.named(&self.name)(error)
    }
}

impl Content for RemoteFile {
    fn facts(&self) -> Result<Facts> {
        let attributes = self.file.stat().map_err(|error| self.named(error))?;
        Ok(facts(&self.directory.mount, &attributes, *self.file.handle()))
    }

    fn token(&self) -> Result<String> {
        let mut token = String::new();
        for byte in self.file.handle().as_bytes() {
            // A String takes all.
            let _ = write!(token, "{byte:02x}");
        }
        Ok(token)
    }

    fn next_data(&self, offset: u64, size: u64) -> Result<Range<u64>> {
        let data = self.file.next_data(offset);
        Ok(data.start.min(size)..data.end.min(size))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset).map_err(|error| self.named(error))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(data, offset).map_err(|error| self.named(error))
    }

    fn commit(&self) -> Result<()> {
        self.file.commit().map_err(|error| self.named(error))
    }

    fn finish(&self, like: &Facts, owner: bool) -> Result<()> {
        self.commit()?;
        with_or_without_owner(attributes(like, owner), like, |attributes| self.file.set(attributes))
            .map_err(|error| self.named(error))
    }
}

/// Only root gives files away; others keep what they copy, without set-uid and set-gid.
fn with_or_without_owner(
    attributes: SetAttributes,
    like: &Facts,
    set: impl Fn(&SetAttributes) -> holm_localio::Result<()>,
) -> holm_localio::Result<()> {
    let refused = match set(&attributes) {
        Err(error) if attributes.uid.is_some() => error,
        done => return done,
    };
    if !matches!(refused.status(), Some(Status::Perm | Status::Acces | Status::Inval)) {
        return Err(refused);
    }
    let mode = Some(like.mode_of_copy(false));
    set(&SetAttributes { uid: None, gid: None, mode, ..attributes })
}

fn attributes(like: &Facts, owner: bool) -> SetAttributes {
    let time = |time: Time| {
        let (seconds, nanoseconds) = time.on_the_wire();
        SetTime::ClientTime(holm_localio::wire::Time { seconds, nanoseconds })
    };
    SetAttributes {
        mode: Some(like.mode_of_copy(owner)),
        uid: owner.then_some(like.uid),
        gid: owner.then_some(like.gid),
        size: Some(like.size),
        atime: time(like.accessed),
        mtime: time(like.modified),
    }
}

fn facts(mount: &Mount, attributes: &Attributes, handle: Handle) -> Facts {
    let time = |time: holm_localio::wire::Time| Time {
        seconds: time.seconds.into(),
        nanoseconds: time.nanoseconds.min(999_999_999),
    };
    Facts {
        kind: match attributes.file_type {
            FileType::Regular => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::SymLink => Kind::SymLink,
            _ => Kind::Other,
        },
        mode: attributes.mode & 0o7777,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        accessed: time(attributes.atime),
        modified: time(attributes.mtime),
        changed: time(attributes.ctime),
        identity: Identity {
            server: Some(mount.address()),
            device: attributes.fsid,
            number: attributes.fileid,
        },
        handle: Some(handle),
    }
}

/// An error of the library says what was attempted, but knows a handle only: the name is ours.
fn named(place: &str, error: Error) -> Trouble {
    Trouble::from(error.on(|| place.to_owned()))
}
