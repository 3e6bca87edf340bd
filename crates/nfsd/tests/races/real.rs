//! The real cache, with files that are not there.

use crate::world::{Ledger, Open};
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfsd::cache::{
    Caches, Clock, File, Job, Key, Limits, Opened, Stamp, Watcher, Within, Worker,
};
use holm_nfsd::handle::{FileHandle, HandleKey, NodeId, StoreKind};
use holm_nfsd::identity::Credentials;
use holm_nfsd::volume::Access;
use shuttle::sync::Arc;
use shuttle::thread;

/// Two namespaces with a cache each.
pub struct Real<F: File> {
    pub caches: Caches<F>,
    pub registry: Registry,
    pub namespaces: [Namespace; 2],
}

/// Runs each job on a thread of its own.
struct Threads;

impl Worker for Threads {
    fn spawn(&self, _: &Namespace, job: Job) {
        thread::spawn(job);
    }
}

impl<F: File> Real<F> {
    pub fn new(limit: usize) -> Self {
        let clock = Clock::manual();
        let caches = Caches::new(Limits::files(limit), Watcher::refusing(), clock, Threads);
        let registry = Registry::new().unwrap();
        registry.register(caches.clone()).unwrap();
        let namespaces = ["blue", "green"].map(|name| registry.create(name).unwrap());
        Self { caches, registry, namespaces }
    }

    pub fn within(&self, ns: usize) -> Option<Within<F>> {
        Within::enter(&self.namespaces[ns])
    }

    pub fn remove(&self, ns: usize) {
        self.registry.remove([&self.namespaces[ns]], Deadline::Never).unwrap();
    }
}

pub fn handle(file: u8) -> FileHandle {
    let node = NodeId::new(StoreKind::Kernel, &[&[file]]).unwrap();
    FileHandle::seal(&HandleKey::from_bytes([1; 16]), 1, 0, node)
}

pub fn key(file: u8, who: u32) -> Key {
    Key::new(&handle(file), Access::ReadWrite, &Credentials::new(who, who, &[]))
}

pub fn stamp() -> Stamp {
    Stamp { links: 1, mode: 0o644, uid: 0, gid: 0, changed: Default::default() }
}

pub fn opened<F>(file: F) -> holm_nfsd::Result<Opened<F>> {
    Ok(Opened { file, stamp: stamp() })
}

impl File for Open {
    fn flush(&self) -> holm_nfsd::Result<()> {
        Ok(())
    }

    fn stamp(&self) -> holm_nfsd::Result<Stamp> {
        Ok(stamp())
    }
}

/// What `disposal` needs.
pub struct Tenants {
    pub real: Real<Open>,
    ledger: Arc<Ledger>,
}

impl Default for Tenants {
    fn default() -> Self {
        // One fewer than there will be: the shrinker has something to do.
        Self { real: Real::new(3), ledger: Arc::default() }
    }
}

impl crate::disposal::Tenants for Tenants {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn use_file(&self, ns: usize, file: u8) {
        if let Some(within) = self.real.within(ns) {
            let open = || opened(Open::new(&self.ledger, ns));
            let mut kept = None;
            if let Ok(file) = within.open(&key(file, 0), open) {
                thread::yield_now();
                // For a flush, which comes when the operation is over.
                kept = file.keep();
            }
            drop(within);
            thread::yield_now();
            drop(kept);
        }
    }

    fn keep_file(&self, ns: usize, file: u8) {
        let open = || opened(Open::new(&self.ledger, ns));
        let within = self.real.within(ns);
        let file = within.map(|within| within.open_stateful(&key(file, 0), open));
        thread::yield_now();
        drop(file);
    }

    fn grow_old(&self) {
        for _ in 1..holm_nfsd::cache::IDLE_ROUNDS / 2 {
            self.real.caches.collect();
        }
    }

    fn collect(&self) {
        self.real.caches.collect();
    }

    fn shrink(&self) {
        self.real.caches.shrink();
    }

    fn change_everything(&self) {
        self.real.caches.forget_everything();
    }

    fn remove(&self, ns: usize) {
        self.real.remove(ns);
    }
}
