//! Handle stores: from an object to the bytes that name it, and back.
//!
//! Two of them, behind [`Store`]:
//!
//! | | [`KernelStore`] | [`PathStore`] |
//! |---|---|---|
//! | a node is | the file system's own handle | a digest of what identifies the object |
//! | found by | `open_by_handle_at` | the path where it was last seen, remembered in a database |
//! | needs | `CAP_DAC_READ_SEARCH`, a file system with handles | nothing |
//! | survives a rename by others | yes; see there for files that change directories | when seen at the new name |
//!
//! [`choose`] tries what the file system at an export's root can do, and takes the first that
//! keeps the promise: **the object that was meant, if it is beneath the root, or
//! [`Status::Stale`](crate::Status::Stale); never another one.**

mod database;
mod kernel;
mod paths;

pub use database::{DatabaseError, PathDatabase, Syncing};
pub use kernel::{KernelStore, Unsuitable};
pub use paths::{Evidence, PathStore};

use crate::Result;
use crate::attributes::Kind;
use crate::beneath::{Root, RootError};
use crate::handle::{HandleKey, NodeId, StoreKind};
use crate::name::Name;
use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// An object, and where it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The directory.
    pub parent: &'a NodeId,
    /// Its name there.
    pub name: Name<'a>,
    /// The object, open; `O_PATH` will do.
    pub object: BorrowedFd<'a>,
    /// What it is.
    pub kind: Kind,
}

/// Gives objects beneath a root their nodes, and opens nodes.
///
/// All calls are made as the server, not as a caller.
pub trait Store: Debug + Send + Sync {
    /// Which kind of nodes it gives.
    fn kind(&self) -> StoreKind;

    /// The node of the root.
    fn root_node(&self) -> NodeId;

    /// The node of an object. When it returns, what the store must remember has reached the
    /// operating system: a crash of the server does not lose it.
    ///
    /// # Errors
    ///
    /// [`Stale`](crate::Status::Stale) if the object is gone.
    fn encode(&self, found: &Found<'_>) -> Result<NodeId>;

    /// The nodes of many objects, as [`encode`](Self::encode) gives them, for less.
    fn encode_all(&self, found: &[Found<'_>]) -> Vec<Result<NodeId>> {
        found.iter().map(|found| self.encode(found)).collect()
    }

    /// The node of an entry of a directory, without opening it: of what has the name at this moment.
    /// Made as the caller. `None` if that has to be [found out otherwise](Self::encode).
    ///
    /// # Errors
    ///
    /// [`NoEnt`](crate::Status::NoEnt), [`Acces`](crate::Status::Acces): what looking it up gives.
    fn encode_entry(&self, _dir: BorrowedFd<'_>, _name: Name<'_>) -> Result<Option<NodeId>> {
        Ok(None)
    }

    /// The node of a directory that was not found by name, but above one that was.
    ///
    /// # Errors
    ///
    /// [`Stale`](crate::Status::Stale) if it has never been found by name.
    fn encode_above(&self, dir: BorrowedFd<'_>) -> Result<NodeId>;

    /// Opens what a node names, `O_PATH`.
    ///
    /// # Errors
    ///
    /// [`Stale`](crate::Status::Stale) if it is gone, or not beneath the root;
    /// [`BadHandle`](crate::Status::BadHandle) if no such store ever gave the node.
    fn open(&self, node: &NodeId) -> Result<OwnedFd>;

    /// The same in a copy of the root's mount, of which `root` is the root; `None` if the store finds
    /// nothing there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    fn open_in(&self, _root: BorrowedFd<'_>, _node: &NodeId) -> Option<Result<OwnedFd>> {
        None
    }

    /// Whether each change of an object's names changes its time of last change too.
    fn tells_of_renames(&self) -> bool {
        false
    }

    /// Whether an object that was opened may later not be found any more though it exists, because it
    /// was moved, by itself or with a directory above it.
    fn may_lose_objects(&self) -> bool {
        true
    }

    /// Where an object was last seen, below the root, for people to read; nothing if the store
    /// remembers no paths. Touches none of the export's files.
    fn last_seen(&self, _node: &NodeId) -> Option<PathBuf> {
        None
    }

    /// Whether [`will_move`](Self::will_move) and [`removed`](Self::removed) do anything.
    fn follows_names(&self) -> bool {
        false
    }

    /// Says that an object is about to get the place `found`, by rename or link, before it has it:
    /// a crash right after the rename must not make its handles stale.
    ///
    /// # Errors
    ///
    /// If that cannot be remembered.
    fn will_move(&self, _found: &Found<'_>) -> Result<()> {
        Ok(())
    }

    /// Says that an object was removed from a place; the object itself may have others.
    fn removed(&self, _found: &Found<'_>) {}
}

/// Where the store that was chosen for an export comes from.
#[derive(Debug)]
pub struct Chosen {
    /// The store.
    pub store: Box<dyn Store>,
    /// Why it is not the kernel's handles, if it is not.
    pub why_paths: Option<Unsuitable>,
}

/// Why an export has no store.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The root cannot be examined.
    #[error(transparent)]
    Root(#[from] RootError),
    /// It needs the database, and that cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Chooses the store for an export's root: kernel handles if they can be used here, else paths in
/// what `database` opens, which is not asked otherwise: most namespaces never need one.
///
/// Call it as the server. Asked again after a restart it may choose otherwise, when capabilities
/// or kernel are others; nodes of the other store are stale then.
///
/// # Errors
///
/// If the root cannot be examined, or the database is needed and cannot be used.
pub fn choose(
    root: &Arc<Root>,
    export: u32,
    key: &HandleKey,
    database: impl FnOnce() -> std::result::Result<Arc<PathDatabase>, DatabaseError>,
) -> std::result::Result<Chosen, ChooseError> {
    match KernelStore::probe(root) {
        Ok(store) => Ok(Chosen { store: Box::new(store), why_paths: None }),
        Err(why) => {
            let store = PathStore::new(root, export, key, &database()?)?;
            Ok(Chosen { store: Box::new(store), why_paths: Some(why) })
        }
    }
}
