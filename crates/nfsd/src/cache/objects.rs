//! The cache of a server: nodes, and files that are open for reading or writing.
//!
//! A node gives nobody a right, so all callers share one: it is found by its handle alone. What may
//! change behind our back is where it is. On a volume that is not a whole file system, a node or a
//! file that was not seen beneath the root within the last second is looked for again by its handle,
//! before it is used; one that was moved out of the export is stale from then on.

use super::file::{Key, Object, Opened};
use super::in_use::{Cached, Kept};
use super::namespace::Cache;
use crate::Result;
use crate::attributes::Attributes;
use crate::handle::FileHandle;
use crate::identity::{Caller, Credentials};
use crate::volume::{Access, Listing, Node, OpenFile, Volume};

impl Cache<Object> {
    /// The file that a handle names, open for what `caller` may do with it.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`] and [`Volume::open_file`], and as [`open`](Self::open).
    pub fn open_file(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
        access: Access,
    ) -> Result<CachedFile<'_>> {
        volume.must_allow(access)?;
        let key = Key::new(handle, access, caller.credentials()).of_volume(volume);
        let open = || {
            let (node, attributes) = volume.open(caller, handle.node())?;
            let file = volume.open_file(caller, &node, access)?;
            Ok(Opened { file: Object::File(file), stamp: (&attributes).into() })
        };
        self.open_placed(&key, place(caller, volume, handle), open).map(CachedFile)
    }

    /// The same, if it is open already and nothing has to be asked about it.
    pub fn find_file(
        &self,
        who: &Credentials,
        volume: &Volume,
        handle: &FileHandle,
        access: Access,
    ) -> Option<CachedFile<'_>> {
        volume.must_allow(access).ok()?;
        let key = Key::new(handle, access, who).of_volume(volume);
        self.find_open(&key, volume.may_lose_objects()).map(CachedFile)
    }

    /// The directory that a handle names, open for listing by `caller`.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`] and [`Volume::open_directory`], and as [`open`](Self::open).
    pub fn open_listing(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Result<CachedListing<'_>> {
        let key = Key::listing(handle, caller.credentials()).of_volume(volume);
        let open = || {
            let (node, attributes) = volume.open(caller, handle.node())?;
            let listing = volume.open_directory(caller, &node)?;
            Ok(Opened { file: Object::Listing(listing), stamp: (&attributes).into() })
        };
        self.open_placed(&key, place(caller, volume, handle), open).map(CachedListing)
    }

    /// The object that a handle names.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`], and as [`open`](Self::open).
    pub fn open_node(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Result<CachedNode<'_>> {
        let key = Key::node(handle).of_volume(volume);
        let open = || {
            let (node, attributes) = volume.open(caller, handle.node())?;
            Ok(Opened { file: Object::Node(node), stamp: (&attributes).into() })
        };
        self.open_placed(&key, place(caller, volume, handle), open).map(CachedNode)
    }

    /// The same, if it is open already and nothing has to be asked about it.
    pub fn find_node(&self, volume: &Volume, handle: &FileHandle) -> Option<CachedNode<'_>> {
        let key = Key::node(handle).of_volume(volume);
        self.find_open(&key, volume.may_lose_objects()).map(CachedNode)
    }

    /// The object of a name that was just seen in `dir`, if it is open already. It is where `dir` is.
    pub fn find_entry(
        &self,
        dir: &CachedNode<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Option<CachedNode<'_>> {
        let node = self.find_open(&Key::node(handle).of_volume(volume), false)?;
        node.was_placed(dir.0.placed());
        Some(CachedNode(node))
    }

    /// Keeps a node that was just found by name in `dir`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); then it was not kept.
    pub fn keep_entry(
        &self,
        dir: &CachedNode<'_>,
        volume: &Volume,
        handle: &FileHandle,
        node: Node,
        attributes: &Attributes,
    ) -> Result<()> {
        let key = Key::node(handle).of_volume(volume);
        let opened = Opened { file: Object::Node(node), stamp: attributes.into() };
        self.keep(&key, opened, dir.0.placed())
    }

    /// Closes everything of an export. Call it when the export is gone and nobody uses it any more:
    /// when whoever replaced the exports has the only reference to the old ones.
    pub fn forget_export(&self, export: u32) {
        self.forget(|handle| handle.export() == export);
    }
}

/// Finds out whether an object is beneath the root still, if that can change.
fn place<'p>(
    caller: &'p Caller<'_>,
    volume: &'p Volume,
    handle: &'p FileHandle,
) -> Option<impl Fn() -> Result<()> + 'p> {
    let is_there = || volume.open(caller, handle.node()).map(drop);
    volume.may_lose_objects().then_some(is_there)
}

/// A node in use by an operation. Dropping it leaves it in the cache.
#[must_use]
pub struct CachedNode<'c>(Cached<'c, Object>);

/// A file in use by an operation. Dropping it leaves it in the cache.
#[must_use]
pub struct CachedFile<'c>(Cached<'c, Object>);

/// A directory that is being listed. Dropping it leaves it in the cache.
#[must_use]
pub struct CachedListing<'c>(Cached<'c, Object>);

impl std::ops::Deref for CachedNode<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        match &*self.0 {
            Object::Node(node) => node,
            _ => unreachable!("the key of a node is of nothing else"),
        }
    }
}

impl std::ops::Deref for CachedFile<'_> {
    type Target = OpenFile;

    fn deref(&self) -> &OpenFile {
        file_of(&self.0)
    }
}

fn file_of(object: &Object) -> &OpenFile {
    match object {
        Object::File(file) => file,
        _ => unreachable!("the key of a file is of nothing else"),
    }
}

impl std::ops::Deref for CachedListing<'_> {
    type Target = Listing;

    fn deref(&self) -> &Listing {
        match &*self.0 {
            Object::Listing(listing) => listing,
            _ => unreachable!("the key of a listing is of nothing else"),
        }
    }
}

impl Kept<Object> {
    /// The file.
    pub fn file(&self) -> &OpenFile {
        file_of(self)
    }
}

impl CachedFile<'_> {
    /// As [`Cached::write`].
    pub fn write<R>(&self, write: impl FnOnce(&OpenFile) -> R) -> (R, super::WriteVerifier) {
        self.0.write(|_| write(self))
    }

    /// As [`Cached::keep`].
    pub fn keep(&self) -> Option<Kept<Object>> {
        self.0.keep()
    }

    /// Whether `kept` is this one.
    pub fn is_kept_as(&self, kept: &Kept<Object>) -> bool {
        kept.is(&self.0)
    }

    /// As [`Cached::write_kept`].
    pub fn write_kept<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.write_kept(|_| write())
    }

    /// As [`Cached::write_failed`].
    pub fn write_failed(&self) {
        self.0.write_failed();
    }

    /// As [`Cached::commit`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit(&self) -> Result<super::WriteVerifier> {
        self.0.commit()
    }

    /// As [`Cached::commit_in`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit_in<G>(&self, begin: impl FnOnce() -> G) -> Result<super::WriteVerifier> {
        self.0.commit_in(begin)
    }
}
