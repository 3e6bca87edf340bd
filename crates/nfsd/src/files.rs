//! Open objects for the procedures: out of the cache of the namespace, or opened for one operation.
//!
//! A thread that attends a service within a namespace that has a cache uses that; another one opens
//! and closes what each operation needs. Both give the same answers, save how soon they hear of what
//! happens behind our back.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use crate::attributes::Attributes;
use crate::cache::{Cache, CachedFile, CachedListing, CachedNode, Object};
use crate::handle::FileHandle;
use crate::identity::{Caller, Credentials};
use crate::service::Service;
use crate::volume::{Access, Listing, Node, OpenFile, Volume};
use crate::{Result, Status};
use std::ops::Deref;

/// Where operations get their objects from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'s> {
    service: &'s Service,
    cache: Option<&'s Cache<Object>>,
}

/// An object that is open for one operation.
pub(crate) enum Held<N, C> {
    /// By itself.
    Own(N),
    /// With others.
    Cached(C),
}

/// A node for one operation.
pub(crate) type HeldNode<'s> = Held<Node, CachedNode<'s>>;

/// A directory that is listed by one operation.
pub(crate) type HeldListing<'s> = Held<Listing, CachedListing<'s>>;

/// A file for one operation.
pub(crate) type HeldFile<'s> = Held<OpenFile, CachedFile<'s>>;

impl<'s> Files<'s> {
    pub(crate) fn new(service: &'s Service, cache: Option<&'s Cache<Object>>) -> Self {
        Self { service, cache }
    }

    /// The object that `handle` names in `volume`, and its attributes.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`].
    pub(crate) fn node(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Result<(HeldNode<'s>, Attributes)> {
        let Some(cache) = self.cache else {
            let (node, attributes) = volume.open(caller, handle.node())?;
            return Ok((Held::Own(node), attributes));
        };
        let node = cache.open_node(caller, volume, handle)?;
        let attributes = attributes(cache, handle, &node)?;
        Ok((Held::Cached(node), attributes))
    }

    /// The object alone. It may have been removed.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`].
    pub(crate) fn only_node(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Result<HeldNode<'s>> {
        match self.cache {
            Some(cache) => Ok(Held::Cached(cache.open_node(caller, volume, handle)?)),
            None => Ok(Held::Own(volume.open(caller, handle.node())?.0)),
        }
    }

    /// The same, if it is in the cache: by whoever the thread is.
    pub(crate) fn known_node(
        &self,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Option<Result<(HeldNode<'s>, Attributes)>> {
        let cache = self.cache?;
        let node = cache.find_node(volume, handle)?;
        let attributes = attributes(cache, handle, &node);
        Some(attributes.map(|attributes| (Held::Cached(node), attributes)))
    }

    /// The attributes of what was just seen in `dir` with this handle, if it is in the cache.
    pub(crate) fn known_entry(
        &self,
        dir: &HeldNode<'_>,
        volume: &Volume,
        handle: &FileHandle,
    ) -> Option<Attributes> {
        let (Some(cache), Held::Cached(dir)) = (self.cache, dir) else { return None };
        let node = cache.find_entry(dir, volume, handle)?;
        attributes(cache, handle, &node).ok()
    }

    /// Keeps a node that was found by name in `dir`.
    pub(crate) fn keep_entry(
        &self,
        dir: &HeldNode<'_>,
        volume: &Volume,
        handle: &FileHandle,
        node: Node,
        attributes: &Attributes,
    ) {
        if let (Some(cache), Held::Cached(dir)) = (self.cache, dir) {
            // If it cannot be kept, it is opened when it is needed.
            let _ = cache.keep_entry(dir, volume, handle, node, attributes);
        }
    }

    /// What `handle` names in `volume`, open for what the caller may do with it.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`] and [`Volume::open_file`].
    pub(crate) fn file(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
        access: Access,
    ) -> Result<HeldFile<'s>> {
        match self.cache {
            Some(cache) => Ok(Held::Cached(cache.open_file(caller, volume, handle, access)?)),
            None => {
                let (node, _) = volume.open(caller, handle.node())?;
                Ok(Held::Own(volume.open_file(caller, &node, access)?))
            }
        }
    }

    /// The same, if it is in the cache: by whoever the thread is, for `who`.
    pub(crate) fn known_file(
        &self,
        who: &Credentials,
        volume: &Volume,
        handle: &FileHandle,
        access: Access,
    ) -> Option<HeldFile<'s>> {
        self.cache?.find_file(who, volume, handle, access).map(Held::Cached)
    }

    /// The directory `node`, which `handle` names, open for listing by the caller.
    ///
    /// # Errors
    ///
    /// As [`Volume::open_directory`].
    pub(crate) fn listing(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
        node: &Node,
    ) -> Result<HeldListing<'s>> {
        match self.cache {
            Some(cache) => Ok(Held::Cached(cache.open_listing(caller, volume, handle)?)),
            None => Ok(Held::Own(volume.open_directory(caller, node)?)),
        }
    }

    /// An object lost a name, or has another one: it is looked for when it is needed next, and if it
    /// is gone its space comes back as soon as nobody uses it.
    pub(crate) fn changed(&self, handle: &FileHandle) {
        if let Some(cache) = self.cache {
            cache.changed(handle);
        }
    }

    /// The time, in milliseconds since some moment, for what is kept; none if nothing is.
    pub(crate) fn now(&self) -> Option<u64> {
        self.cache.map(Cache::now)
    }

    /// Whether anything is kept.
    pub(crate) fn are_kept(&self) -> bool {
        self.cache.is_some()
    }

    /// Brings everything that was written to a file to the disk, and gives the write verifier. What
    /// `begin` gives is held during the flush, and until a failure has changed the verifier.
    ///
    /// # Errors
    ///
    /// If the flush failed; the verifier is another by then.
    pub(crate) fn commit<G>(
        &self,
        file: &HeldFile<'_>,
        begin: impl FnOnce() -> G,
    ) -> Result<[u8; 8]> {
        match file {
            Held::Cached(file) => Ok(file.commit_in(begin)?.0),
            Held::Own(file) => {
                let _held = begin();
                file.commit().inspect_err(|_| self.change_write_verifier())?;
                Ok(self.write_verifier())
            }
        }
    }

    /// The write verifier of the namespace.
    pub(crate) fn write_verifier(&self) -> [u8; 8] {
        match self.cache {
            Some(cache) => cache.write_verifier().0,
            None => self.service.write_verifier(),
        }
    }

    /// Writes may have been lost.
    pub(crate) fn change_write_verifier(&self) {
        match self.cache {
            Some(cache) => cache.change_write_verifier(),
            None => self.service.change_write_verifier(),
        }
    }
}

fn attributes(
    cache: &Cache<Object>,
    handle: &FileHandle,
    node: &CachedNode<'_>,
) -> Result<Attributes> {
    let attributes = node.attributes();
    if attributes == Err(Status::Stale) {
        // Removed. We keep it from being gone.
        cache.changed(handle);
    }
    attributes
}

impl HeldFile<'_> {
    /// A write that was to flush what it wrote has failed: writes of others may have been lost with
    /// it.
    pub(crate) fn write_failed(&self, files: Files<'_>) {
        match self {
            Self::Own(_) => files.change_write_verifier(),
            Self::Cached(file) => file.write_failed(),
        }
    }

    /// Runs something that may leave data in memory that is to be brought to the disk by a commit.
    pub(crate) fn write<R>(&self, write: impl FnOnce(&OpenFile) -> R) -> R {
        match self {
            Self::Own(file) => write(file),
            Self::Cached(file) => file.write(write).0,
        }
    }
}

impl<N, C: Deref<Target = N>> Deref for Held<N, C> {
    type Target = N;

    fn deref(&self) -> &N {
        match self {
            Self::Own(own) => own,
            Self::Cached(cached) => cached,
        }
    }
}
