//! One file system of an export, and the operations on it.
//!
//! Operations come in the modules of this one: [`Volume`]'s own here (open, look up, attributes,
//! access), making objects, changing and removing them, listing directories, and figures of the
//! file system. All take the [`Caller`] they run as, and [`Node`]s, which are open objects. What they
//! change is on the disk when they return, unless the caller says that it is flushed later.

mod change;
mod file;
mod flush;
mod kept;
mod lend;
mod listing;
mod make;
mod space;

pub use file::{OpenFile, Stability};
pub(crate) use flush::{Changed, Flusher};
pub(crate) use kept::{Page, View};
use lend::Lending;
pub use listing::{Entry, Listing};
pub use make::{Create, Made, Special};
pub use space::{Limits, Space};

use crate::attributes::{Attributes, Kind, Time};
use crate::beneath::Root;
use crate::handle::NodeId;
use crate::identity::Caller;
use crate::name::{Component, Name};
use crate::store::{Found, Store};
use crate::{Result, Status, sys};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How long-lived a change of a directory or of attributes is when it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk, as NFSv3 promises.
    #[default]
    Durable,
    /// In the server's memory: a crash of the machine may lose changes that clients saw succeed.
    LostOnPowerFailure,
}

/// What a volume allows and promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Nothing may be changed.
    pub read_only: bool,
    /// When a change is answered.
    pub durability: Durability,
}

/// One file system of an export.
#[derive(Debug)]
pub struct Volume {
    root: Arc<Root>,
    store: Box<dyn Store>,
    options: Options,
    /// Tells it from every other volume of the process.
    number: u64,
    /// Held while a guard is compared and what it guards is changed; before `modes`.
    guards: [Mutex<()>; GUARDS],
    /// Held while the mode of an object is changed.
    modes: Mutex<()>,
    /// No operation leaves its flush to others.
    at_once: AtomicBool,
    /// Where what is lent is opened.
    lending: Lending,
}

/// An object of a volume: open (`O_PATH`: neither for reading nor for writing, unless it was
/// [made just now](Made::is_open)), and named.
#[derive(Debug)]
pub struct Node {
    volume: u64,
    id: NodeId,
    object: OwnedFd,
    kind: Kind,
    inode: u64,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

/// Rights that a caller asks about, and has (RFC 1813: ACCESS3); bits as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(pub u32);

impl Rights {
    /// Read a file or list a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Change what is there.
    pub const MODIFY: u32 = 0x04;
    /// Add something.
    pub const EXTEND: u32 = 0x08;
    /// Delete an entry of a directory.
    pub const DELETE: u32 = 0x10;
    /// Run a file.
    pub const EXECUTE: u32 = 0x20;
}

impl Volume {
    /// A volume with this root, whose objects are named by `store`.
    pub fn new(root: Arc<Root>, store: Box<dyn Store>, options: Options) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (guards, modes, at_once, lending) = Default::default();
        Self { root, store, options, number, guards, modes, at_once, lending }
    }

    /// What it allows and promises.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The store that names its objects.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The root directory.
    ///
    /// # Errors
    ///
    /// [`Status::Jukebox`] if the process has no descriptor left.
    pub fn root(&self) -> Result<Node> {
        let object = self.root.directory().try_clone_to_owned().map_err(|_| Status::Jukebox)?;
        let inode = self.root.place().inode;
        Ok(self.node(self.store.root_node(), object, Kind::Directory, inode))
    }

    /// Opens the object that a handle names, and says what its attributes are.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if it is gone, or not beneath the root any more.
    pub fn open(&self, caller: &Caller<'_>, node: &NodeId) -> Result<(Node, Attributes)> {
        let object = caller.as_server(|| self.store.open(node))??;
        let attributes = Attributes::of(object.as_fd())?;
        if attributes.links == 0 {
            // Removed, and still open somewhere.
            return Err(Status::Stale);
        }
        Ok((self.node(*node, object, attributes.kind, attributes.inode), attributes))
    }

    /// Looks a name up (RFC 1813, section 3.3.3). Of a symbolic link, it gives the link.
    ///
    /// # Errors
    ///
    /// [`Status::NoEnt`], [`Status::NotDir`], [`Status::Acces`]: the last also where another file
    /// system is mounted that is not part of the export.
    pub fn lookup(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Component<'_>,
    ) -> Result<(Node, Attributes)> {
        dir.must_be_directory()?;
        match name {
            Component::Entry(name) => self.find(caller, dir, name),
            Component::Current => {
                // What is asked of a directory by name needs the right to look names up in it.
                check_access(dir, rustix::fs::Access::EXEC_OK)?;
                let object = dir.object.try_clone().map_err(|_| Status::Jukebox)?;
                let attributes = Attributes::of(object.as_fd())?;
                Ok((self.node(dir.id, object, Kind::Directory, attributes.inode), attributes))
            }
            Component::Parent => self.above(caller, dir),
        }
    }

    /// Looks many names of a directory up at once, for a listing with attributes: what names them
    /// in handles, and their attributes.
    ///
    /// # Errors
    ///
    /// For each name its own, as [`lookup`](Self::lookup) gives them.
    pub fn describe(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        names: &[Name<'_>],
    ) -> Vec<Result<(NodeId, Attributes)>> {
        let since = a_moment_ago();
        let some = |names| self.describe_some(caller, dir, names, since);
        names.chunks(MAX_OPEN).flat_map(some).collect()
    }

    /// What the caller may do (RFC 1813, section 3.3.4): those of `asked` that it may.
    ///
    /// # Errors
    ///
    /// If the file system does not say.
    pub fn access(&self, _: &Caller<'_>, node: &Node, asked: Rights) -> Result<Rights> {
        use rustix::fs::Access as Check;
        let execute = match node.kind {
            Kind::Directory => Rights::LOOKUP,
            Kind::Regular => Rights::EXECUTE,
            _ => 0,
        };
        let write = match node.kind {
            _ if self.options.read_only => 0,
            Kind::Directory => Rights::MODIFY | Rights::EXTEND | Rights::DELETE,
            _ => Rights::MODIFY | Rights::EXTEND,
        };
        // Names in a directory are changed only by who may look them up.
        let to_write = match node.kind {
            Kind::Directory => Check::WRITE_OK | Check::EXEC_OK,
            _ => Check::WRITE_OK,
        };
        let groups = [(Rights::READ, Check::READ_OK), (execute, Check::EXEC_OK), (write, to_write)];

        let wanted = |rights: u32| asked.0 & rights != 0;
        let mut everything = Check::empty();
        for (_, check) in groups.iter().filter(|(rights, _)| wanted(*rights)) {
            everything |= *check;
        }
        if everything.is_empty() {
            return Ok(Rights(0));
        }
        let possible = asked.0 & (Rights::READ | execute | write);
        match check_access(node, everything) {
            Ok(()) => return Ok(Rights(possible)),
            Err(Status::Acces | Status::Perm | Status::RoFs) => {}
            Err(other) => return Err(other),
        }
        let mut granted = 0;
        for (rights, check) in groups.into_iter().filter(|(rights, _)| wanted(*rights)) {
            if check_access(node, check).is_ok() {
                granted |= asked.0 & rights;
            }
        }
        Ok(Rights(granted))
    }

    /// Where a symbolic link points to, as it was written (RFC 1813, section 3.3.5).
    ///
    /// # Errors
    ///
    /// [`Status::Inval`] if it is none.
    pub fn read_link(&self, _: &Caller<'_>, node: &Node) -> Result<Vec<u8>> {
        if node.kind != Kind::Symlink {
            return Err(Status::Inval);
        }
        Ok(rustix::fs::readlinkat(node.fd(), c"", Vec::new())?.into_bytes())
    }

    /// Opens a regular file, for what the caller may do with it.
    ///
    /// The owner of a file may read and write it whatever its mode says: a client checks the mode
    /// when a program opens the file, and then writes what a program with an open file may write,
    /// though the mode forbids it by now (RFC 1813, section 4.4). Who may execute a file may read
    /// it: the client needs it to run it.
    ///
    /// # Errors
    ///
    /// [`Status::IsDir`] and [`Status::Inval`] for what is no regular file; [`Status::Acces`];
    /// [`Status::RoFs`].
    pub fn open_file(&self, caller: &Caller<'_>, node: &Node, access: Access) -> Result<OpenFile> {
        match node.kind {
            Kind::Regular => {}
            Kind::Directory => return Err(Status::IsDir),
            _ => return Err(Status::Inval),
        }
        self.must_allow(access)?;
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let opened = match sys::reopen(node.fd(), flags) {
            Err(Errno::ACCESS) if self.is_entitled(caller, node, access)? => {
                caller.as_server(|| match sys::reopen(node.fd(), flags) {
                    // We are no more than its owner.
                    Err(Errno::ACCESS) => self.open_against_mode(node, flags),
                    opened => opened,
                })?
            }
            opened => opened,
        };
        Ok(OpenFile::new(opened?, node.inode))
    }

    /// Opens a file of ours that its mode keeps from us: for that moment it has another mode. Who is
    /// killed in it leaves a file that its owner may read and write.
    fn open_against_mode(&self, node: &Node, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let _alone = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = rustix::fs::fstat(node.fd())?.st_mode & 0o7777;
        // Of somebody else's, we can't change it.
        sys::change_mode(node.fd(), mode | OWNER).map_err(|_| Errno::ACCESS)?;
        let opened = sys::reopen(node.fd(), flags);
        sys::change_mode(node.fd(), mode)?;
        opened
    }

    /// Opens a directory for listing.
    ///
    /// # Errors
    ///
    /// [`Status::NotDir`], [`Status::Acces`].
    pub fn open_directory(&self, _: &Caller<'_>, node: &Node) -> Result<Listing> {
        node.must_be_directory()?;
        let hide_parent = node.id == self.store.root_node();
        Listing::new(sys::reopen(node.fd(), OFlags::RDONLY | OFlags::DIRECTORY)?, hide_parent)
    }

    /// The directory above; of the root, the root.
    fn above(&self, caller: &Caller<'_>, dir: &Node) -> Result<(Node, Attributes)> {
        check_access(dir, rustix::fs::Access::EXEC_OK)?;
        let object = self
            .root
            .parent(dir.fd(), |above| caller.as_server(|| self.root.contains(above))?)?;
        let attributes = Attributes::of(object.as_fd())?;
        let id = caller.as_server(|| self.node_of_directory(object.as_fd()))??;
        Ok((self.node(id, object, Kind::Directory, attributes.inode), attributes))
    }

    /// The node of a directory that was not found by name, but above another.
    fn node_of_directory(&self, dir: BorrowedFd<'_>) -> Result<NodeId> {
        if crate::beneath::Place::of(dir)? == self.root.place() {
            return Ok(self.store.root_node());
        }
        self.store.encode_above(dir)
    }

    fn find(&self, caller: &Caller<'_>, dir: &Node, name: Name<'_>) -> Result<(Node, Attributes)> {
        let object = self.root.entry(dir.fd(), name)?;
        let attributes = Attributes::of(object.as_fd())?;
        let id = self.name(caller, dir, name, object.as_fd(), attributes.kind)?;
        Ok((self.node(id, object, attributes.kind, attributes.inode), attributes))
    }

    fn describe_some(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        names: &[Name<'_>],
        since: Time,
    ) -> Vec<Result<(NodeId, Attributes)>> {
        enum Seen {
            Described(Result<(NodeId, Attributes)>),
            Opened(OwnedFd, Attributes),
        }
        let see = |name: &Name<'_>| {
            if let Some(described) = self.describe_unopened(caller, dir, *name, since) {
                return Seen::Described(described);
            }
            let open = || {
                let object = self.root.entry(dir.fd(), *name)?;
                let attributes = Attributes::of(object.as_fd())?;
                Ok(Seen::Opened(object, attributes))
            };
            open().unwrap_or_else(|status| Seen::Described(Err(status)))
        };
        let seen: Vec<_> = names.iter().map(see).collect();
        let mut found = Vec::new();
        for (name, seen) in names.iter().zip(&seen) {
            if let Seen::Opened(object, attributes) = seen {
                let (object, kind) = (object.as_fd(), attributes.kind);
                found.push(Found { parent: &dir.id, name: *name, object, kind });
            }
        }
        let nodes = match self.store.follows_names() {
            true => caller.as_server(|| self.store.encode_all(&found)).unwrap_or_default(),
            false => self.store.encode_all(&found),
        };
        let mut nodes = nodes.into_iter();
        let describe = |seen: Seen| match seen {
            Seen::Described(described) => described,
            Seen::Opened(_, attributes) => {
                Ok((nodes.next().unwrap_or(Err(Status::ServerFault))?, attributes))
            }
        };
        seen.into_iter().map(describe).collect()
    }

    /// Describes an entry by two questions that go by its name; `None` if that is not conclusive.
    ///
    /// The name could mean one object when the handle is asked for, and another one afterwards. But
    /// where every rename and every link changes the object's time of last change, an object that
    /// was not changed since before the first question had the name all the time: getting it back
    /// would be a change.
    fn describe_unopened(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        since: Time,
    ) -> Option<Result<(NodeId, Attributes)>> {
        if !self.store.tells_of_renames() {
            return None;
        }
        let id = match self.identify(caller, dir, name) {
            Ok(id) => id?,
            Err(status) => return Some(Err(status)),
        };
        let statx = sys::statx_entry(dir.fd(), name.as_bytes()).ok()?;
        if statx.stx_mnt_id != self.root.place().mount {
            return None;
        }
        let attributes = Attributes::from_statx(&statx).ok()?;
        (attributes.changed < since).then_some(Ok((id, attributes)))
    }

    fn name(
        &self,
        caller: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
        object: BorrowedFd<'_>,
        kind: Kind,
    ) -> Result<NodeId> {
        let found = Found { parent: &dir.id, name, object, kind };
        // Kernel handles are given to anybody; the database is ours.
        let encode = || self.store.encode(&found);
        if self.store.follows_names() { caller.as_server(encode)? } else { encode() }
    }

    /// Whether the caller may open a file against its mode.
    fn is_entitled(&self, caller: &Caller<'_>, node: &Node, access: Access) -> Result<bool> {
        let attributes = Attributes::of(node.fd())?;
        let by_execution =
            access == Access::Read && check_access(node, rustix::fs::Access::EXEC_OK).is_ok();
        Ok(attributes.uid == caller.credentials().uid() || by_execution)
    }

    /// Tells it from every other volume of the process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether every change of what has a name in a directory changes the directory's time of last
    /// change, and every rename and link the object's.
    pub(crate) fn tells_of_renames(&self) -> bool {
        self.store.tells_of_renames()
    }

    /// Whether the caller may look names up in a directory.
    pub(crate) fn may_look_up(&self, _: &Caller<'_>, dir: &Node) -> bool {
        check_access(dir, rustix::fs::Access::EXEC_OK).is_ok()
    }

    /// Whether an object that was found can be moved to where it is not to be found any more.
    pub(crate) fn may_lose_objects(&self) -> bool {
        self.store.may_lose_objects()
    }

    /// Refuses to open a file for what the export does not allow.
    pub(crate) fn must_allow(&self, access: Access) -> Result<()> {
        if access == Access::Read { Ok(()) } else { self.must_be_writable() }
    }

    /// What names an entry of a directory, without opening it: of what has the name at this moment.
    /// `None` if it has to be [looked up](Self::lookup) to know that.
    ///
    /// # Errors
    ///
    /// As those of [`lookup`](Self::lookup).
    pub(crate) fn identify(
        &self,
        _: &Caller<'_>,
        dir: &Node,
        name: Name<'_>,
    ) -> Result<Option<NodeId>> {
        dir.must_be_directory()?;
        self.store.encode_entry(dir.fd(), name)
    }

    fn node(&self, id: NodeId, object: OwnedFd, kind: Kind, inode: u64) -> Node {
        Node { volume: self.number, id, object, kind, inode }
    }

    fn must_be_writable(&self) -> Result<()> {
        if self.options.read_only { Err(Status::RoFs) } else { Ok(()) }
    }
}

impl Node {
    /// What names it in handles.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the object in its file system.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The descriptor, `O_PATH`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.object.as_fd()
    }

    /// Its attributes now (RFC 1813, section 3.3.1).
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if it was removed meanwhile.
    pub fn attributes(&self) -> Result<Attributes> {
        let attributes = Attributes::of(self.fd())?;
        if attributes.links == 0 { Err(Status::Stale) } else { Ok(attributes) }
    }

    fn must_be_directory(&self) -> Result<()> {
        if self.kind == Kind::Directory { Ok(()) } else { Err(Status::NotDir) }
    }
}

/// A time before now by more than the clocks of file systems are late.
pub(crate) fn a_moment_ago() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Time { seconds: now.tv_sec.saturating_sub(1), nanoseconds: now.tv_nsec as u32 }
}

/// Objects that share one wait for each other only where guards are compared.
const GUARDS: usize = 16;
/// The owner's rights to read and write.
const OWNER: u32 = 0o600;
/// Objects that are held open at once while many are looked up.
const MAX_OPEN: usize = 64;

/// Whether the thread's identity may access an object so.
fn check_access(node: &Node, access: rustix::fs::Access) -> Result<()> {
    Ok(sys::check_access(node.fd(), access)?)
}
