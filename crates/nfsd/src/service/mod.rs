//! What one namespace serves, and what a thread needs to serve it.
//!
//! A [`Service`] is what the calls of one namespace share: exports, the key of its handles, the
//! write verifier, replies to remember, and who has mounted what. A [`Context`] belongs to one
//! thread, which [attends](Context::attend) one peer of one service at a time.
//!
//! There is one set of [`programs`](crate::programs) for all namespaces and threads:
//!
//! ```
//! use holm_nfsd::export::{Export, ExportOptions, ExportTable};
//! use holm_nfsd::handle::HandleKey;
//! use holm_nfsd::identity::Privileges;
//! use holm_nfsd::service::{Context, Inline, Listening, Peer, Service, Transport};
//! use holm_nfsd::store::PathDatabase;
//! use holm_sunrpc::{Connection, Limits, Step};
//! use std::sync::Arc;
//!
//! # let directory = std::env::temp_dir().join(format!("holm-service-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! // For the namespace:
//! let key = HandleKey::generate()?;
//! let options = ExportOptions::new("/".parse()?, &directory);
//! let export = Export::open(options, &key, || PathDatabase::in_memory().map(Arc::new))?;
//! let service = Service::new(key, Default::default())?;
//! service.set_exports(ExportTable::new(vec![Arc::new(export)])?);
//! service.set_listening(vec![Listening::new(Transport::Tcp, "127.0.0.1:2049".parse()?)]);
//!
//! // For the process:
//! let programs = holm_nfsd::programs::<Inline>();
//! let privileges: &'static Privileges = Box::leak(Box::new(Privileges::detect()?));
//!
//! // For the thread:
//! let mut context = Context::new(privileges, Inline)?;
//!
//! // For a connection, whenever something has arrived:
//! let peer = Peer::new(Transport::Tcp, "127.0.0.1:700".parse()?, "127.0.0.1:2049".parse()?);
//! let mut connection = Connection::new(Limits::default());
//! let arrived = [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 134, 163, 0, 0, 0, 3, 0, 0, 0, 0];
//! let arrived = [&[128, 0, 0, 40], &arrived[..], &[0; 16]].concat();
//! connection.space()[..44].copy_from_slice(&arrived);
//! connection.received(44);
//! let step = context.attend(&service, peer, |context| connection.serve(&programs, context, 64))?;
//! assert_eq!((step, connection.unsent().len()), (Step::Receive, 4 + 24));
//! # std::fs::remove_dir(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod context;
mod due;
mod peer;
mod remembered;

pub(crate) use context::{Attended, Scope};
pub use context::{Blocking, Context, Inline, Operation};
pub use due::Unflushed;
pub use peer::{Listening, Origin, Peer, Transport};
pub(crate) use remembered::Remembered;

use crate::cache::Object;
use crate::export::ExportTable;
use crate::handle::HandleKey;
use crate::localio::Lender;
use crate::mount::MountList;
use crate::statistics::Statistics;
use crate::{Result, Status};
use holm_sunrpc::duplicates::{self, DuplicateCache};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// What a service may remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Replies to calls that must not be done twice.
    pub duplicates: duplicates::Limits,
}

/// What the calls of one namespace share.
#[derive(Debug)]
pub struct Service {
    key: HandleKey,
    exports: RwLock<Arc<ExportTable>>,
    /// How often `exports` was replaced.
    replaced: AtomicU64,
    listening: RwLock<Arc<[Listening]>>,
    verifier: AtomicU64,
    duplicates: Mutex<DuplicateCache<IpAddr>>,
    mounted: Mutex<MountList>,
    statistics: Statistics,
    local: Lender<Object>,
}

impl Service {
    /// A service without exports, whose handles have this key. Its write verifier is one that none
    /// had before it.
    ///
    /// # Errors
    ///
    /// [`Status::ServerFault`] if the kernel gives no random numbers.
    pub fn new(key: HandleKey, limits: ServiceLimits) -> Result<Arc<Self>> {
        let mut verifier = [0; 8];
        match rustix::rand::getrandom(&mut verifier, rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => {}
            _ => return Err(Status::ServerFault),
        }
        Ok(Arc::new(Self {
            key,
            exports: RwLock::default(),
            replaced: AtomicU64::new(0),
            listening: RwLock::new(Arc::new([])),
            verifier: AtomicU64::new(u64::from_ne_bytes(verifier)),
            duplicates: Mutex::new(DuplicateCache::new(limits.duplicates)),
            mounted: Mutex::default(),
            statistics: Statistics::default(),
            local: Lender::new(),
        }))
    }

    /// The key of its handles.
    pub fn key(&self) -> &HandleKey {
        &self.key
    }

    /// What it exports now.
    pub fn exports(&self) -> Arc<ExportTable> {
        self.exports.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Exports this from now on, and gives what was exported before. Calls that have begun go on
    /// with that, and hold a reference each; those after them find handles of exports that are gone
    /// stale.
    pub fn set_exports(&self, exports: ExportTable) -> Arc<ExportTable> {
        let mut current = self.exports.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, Arc::new(exports));
        self.replaced.fetch_add(1, Ordering::Release);
        before
    }

    /// Where it is served, for clients that ask the port mapper.
    pub fn listening(&self) -> Arc<[Listening]> {
        self.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says where it is served from now on.
    pub fn set_listening(&self, listening: Vec<Listening>) {
        let mut current = self.listening.write().unwrap_or_else(PoisonError::into_inner);
        *current = listening.into();
    }

    /// What tells clients whether writes without a commit may have been lost since (RFC 1813:
    /// `writeverf3`), where there is no cache: a [cache](crate::cache::Cache) has its own.
    pub fn write_verifier(&self) -> [u8; 8] {
        self.verifier.load(Ordering::SeqCst).to_be_bytes()
    }

    /// Writes may have been lost: clients have to send again what they have not committed.
    pub fn change_write_verifier(&self) {
        self.verifier.fetch_add(1, Ordering::SeqCst);
    }

    /// How many mounts clients have told of, and not taken back.
    pub fn mounted(&self) -> usize {
        self.mount_list().len()
    }

    /// What its calls have come to.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What lends its files to clients of the same machine.
    pub fn local(&self) -> &Lender<Object> {
        &self.local
    }

    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    pub(crate) fn duplicates(&self) -> MutexGuard<'_, DuplicateCache<IpAddr>> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mount_list(&self) -> MutexGuard<'_, MountList> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
