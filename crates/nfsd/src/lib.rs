//! Files for the clients of a network file system.
//!
//! Two layers, without threads or sockets. The upper one is made of RPC programs:
//!
//! - [`service`]: what one namespace serves, and what a thread needs to serve it. Start there.
//! - [`export`]: which directories, for which clients, and what they may do there.
//! - [`nfs3`], [`mount`], [`portmap`]: the [`programs`].
//! - [`localio`]: files for clients of the same machine, without calls.
//!
//! The lower one touches the host's file systems. It knows of exports only their root directories,
//! and nothing of RPC or XDR; of network namespaces only what the [`cache`] needs:
//!
//! - [`handle`]: what a client keeps. A [`FileHandle`] that exists has passed its MAC.
//! - [`store`]: from objects to handles and back, by the kernel's handles or by remembered paths.
//! - [`beneath`]: the root of an export; nothing outside is ever reached.
//! - [`identity`]: running as the caller, after squashing.
//! - [`cache`]: files that stay open between operations, in every namespace.
//! - [`volume`]: the operations of NFSv3 on one file system of an export, in terms of
//!   [`attributes`], [`name`] and [`status`].
//!
//! ```
//! use holm_nfsd::attributes::SetAttributes;
//! use holm_nfsd::beneath::{Mounts, Root};
//! use holm_nfsd::handle::{FileHandle, HandleKey};
//! use holm_nfsd::identity::{Credentials, Privileges, Session};
//! use holm_nfsd::name::Component;
//! use holm_nfsd::store::{self, PathDatabase};
//! use holm_nfsd::volume::{Access, Create, Options, Stability, Volume};
//! use std::sync::Arc;
//!
//! # let directory = std::env::temp_dir().join(format!("holm-doc-{}", std::process::id()));
//! # std::fs::create_dir(&directory)?;
//! let key = HandleKey::generate()?;
//! let root = Arc::new(Root::open(&directory, Mounts::Closed)?);
//! let chosen = store::choose(&root, 1, &key, || PathDatabase::in_memory().map(Arc::new))?;
//! let volume = Volume::new(root, chosen.store, Options::default());
//!
//! let privileges = Privileges::detect()?;
//! let mut session = Session::begin(&privileges)?;
//! # let owner = { use std::os::unix::fs::MetadataExt; std::fs::metadata(&directory)?.uid() };
//! # let me = Credentials::new(owner, owner, &[]);
//! let handle = session.run_as(&me, |caller| -> holm_nfsd::Result<FileHandle> {
//!     let root = volume.root()?;
//!     let name = Component::parse(b"hello")?.to_create()?;
//!     let new = SetAttributes { mode: Some(0o644), ..Default::default() };
//!     let made = volume.create(caller, &root, name, &Create::Guarded(new))?;
//!     let file = volume.open_file(caller, &made.node, Access::Write)?;
//!     file.write_at(caller, b"hello", 0, Stability::FileSync)?;
//!     Ok(FileHandle::seal(&key, 1, 0, *made.node.id()))
//! })??;
//!
//! // Later, from a client:
//! let handle = FileHandle::verify(&key, handle.as_bytes())?;
//! let read = session.run_as(&me, |caller| -> holm_nfsd::Result<Vec<u8>> {
//!     let (node, _) = volume.open(caller, handle.node())?;
//!     let mut buffer = [0; 100];
//!     let file = volume.open_file(caller, &node, Access::Read)?;
//!     let count = file.read_at(&mut buffer, 0)?;
//!     Ok(buffer[..count].to_vec())
//! })??;
//! assert_eq!(read, b"hello");
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod attributes;
pub mod beneath;
pub mod cache;
pub mod export;
mod files;
mod flushing;
pub mod handle;
pub mod identity;
pub mod localio;
pub mod mount;
pub mod name;
pub mod nfs3;
pub mod portmap;
pub mod service;
pub mod statistics;
pub mod status;
pub mod store;
mod stripes;
mod sys;
pub mod volume;

pub use handle::FileHandle;
pub use status::Status;

use holm_sunrpc::Programs;

/// What an operation gives.
pub type Result<T> = std::result::Result<T, Status>;

/// The programs of an NFS server: NFS and MOUNT version 3, the port mapper, and LOCALIO.
///
/// One set of them is enough for all namespaces and threads. As datagrams, [`programs_by_datagram`]
/// has what is served.
pub fn programs<B: service::Blocking + 'static>() -> Programs<service::Context<B>> {
    Programs::new()
        .with(nfs3::Nfs3)
        .with(mount::Mount)
        .with(portmap::Portmap)
        .with(localio::Localio)
}

/// The programs that are served by datagrams, too, because clients ask by them: MOUNT and the port
/// mapper.
pub fn programs_by_datagram<B: service::Blocking + 'static>() -> Programs<service::Context<B>> {
    Programs::new().with(mount::Mount).with(portmap::Portmap)
}
