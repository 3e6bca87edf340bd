//! What the real code does, in a few lines each and with one mistake.

use crate::commit::{self, Disk};
use crate::disposal;
use crate::opening;
use crate::world::{Ledger, Open};
use holm_nfsd::Status;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

#[derive(Clone, Copy, PartialEq)]
pub enum Flaw {
    ReferenceAtDisposal,
    NoReference,
    NamespaceFirst,
    JoinsRunning,
    KeepsVerifier,
    ForgetsAtClose,
    AnswersFirst,
    TrustsNextFlush,
}

/// Two namespaces with a gate, a table and a dispose list each.
pub struct Tenants {
    flaw: Flaw,
    ledger: Arc<Ledger>,
    namespaces: [Namespace; 2],
}

#[derive(Default)]
struct Namespace {
    gate: Mutex<Gate>,
    left: Condvar,
    table: Mutex<Vec<Open>>,
    disposing: Mutex<Vec<Open>>,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    inside: usize,
}

impl Namespace {
    fn enter(&self) -> bool {
        let mut gate = self.gate.lock().unwrap();
        gate.inside += usize::from(!gate.closed);
        !gate.closed
    }

    fn leave(&self) {
        self.gate.lock().unwrap().inside -= 1;
        self.left.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.gate.lock().unwrap().closed
    }
}

impl Tenants {
    pub fn new(flaw: Flaw) -> Self {
        Self { flaw, ledger: Arc::default(), namespaces: Default::default() }
    }
}

impl disposal::Tenants for Tenants {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn use_file(&self, ns: usize, _: u8) {
        let tenant = &self.namespaces[ns];
        if self.flaw == Flaw::NoReference {
            if !tenant.is_closed() {
                let file = Open::new(&self.ledger, ns);
                tenant.table.lock().unwrap().push(file);
            }
            return;
        }
        if tenant.enter() {
            let found = tenant.table.lock().unwrap().pop();
            let file = found.unwrap_or_else(|| Open::new(&self.ledger, ns));
            if self.flaw == Flaw::NamespaceFirst {
                tenant.leave();
                thread::yield_now();
                tenant.table.lock().unwrap().push(file);
            } else {
                tenant.table.lock().unwrap().push(file);
                tenant.leave();
            }
        }
    }

    fn keep_file(&self, _: usize, _: u8) {}

    fn grow_old(&self) {}

    fn collect(&self) {
        for tenant in &self.namespaces {
            let mut inside = self.flaw == Flaw::NamespaceFirst && tenant.enter();
            if self.flaw == Flaw::NamespaceFirst && !inside {
                continue;
            }
            let isolated = std::mem::take(&mut *tenant.table.lock().unwrap());
            thread::yield_now();
            if self.flaw == Flaw::ReferenceAtDisposal {
                inside = tenant.enter();
            }
            if self.flaw == Flaw::NamespaceFirst {
                tenant.leave();
                inside = false;
                thread::yield_now();
                thread::yield_now();
            }
            tenant.disposing.lock().unwrap().extend(isolated);
            if inside {
                tenant.leave();
            }
        }
    }

    fn shrink(&self) {}

    fn change_everything(&self) {}

    fn remove(&self, ns: usize) {
        let tenant = &self.namespaces[ns];
        let mut gate = tenant.gate.lock().unwrap();
        gate.closed = true;
        while gate.inside > 0 {
            gate = tenant.left.wait(gate).unwrap();
        }
        drop(gate);
        let table = std::mem::take(&mut *tenant.table.lock().unwrap());
        let disposing = std::mem::take(&mut *tenant.disposing.lock().unwrap());
        drop((table, disposing));
    }
}

/// Looks whether the file is open, opens it, puts it in.
#[derive(Default)]
pub struct CheckThenInsert {
    ledger: Arc<Ledger>,
    table: Mutex<Vec<(u32, Open)>>,
}

impl opening::Opens for CheckThenInsert {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn use_it(&self, who: u32) {
        if !self.table.lock().unwrap().iter().any(|(by, _)| *by == who) {
            let file = Open::new(&self.ledger, 1);
            self.table.lock().unwrap().push((who, file));
        }
    }
}

/// A cache of one file, which is put in without a look at what happened since it was opened.
pub struct KeepsWhatChanged(Mutex<Option<usize>>);

impl KeepsWhatChanged {
    pub fn new(_: Flaw) -> Self {
        Self(Mutex::new(None))
    }
}

impl opening::Changes for KeepsWhatChanged {
    fn open(&self, permissions: &AtomicUsize) -> usize {
        if let Some(cached) = *self.0.lock().unwrap() {
            return cached;
        }
        let checked = permissions.load(Ordering::SeqCst);
        thread::yield_now();
        *self.0.lock().unwrap().get_or_insert(checked)
    }

    fn changed(&self) {
        *self.0.lock().unwrap() = None;
    }
}

/// A file with shared flushes.
pub struct Commits {
    flaw: Flaw,
    disk: Arc<Disk>,
    dirty: AtomicBool,
    verifier: AtomicU64,
    flushing: Mutex<Flushing>,
    ended: Condvar,
}

#[derive(Default)]
struct Flushing {
    running: bool,
    ended: u64,
}

impl Commits {
    pub fn new(flaw: Flaw, disk: Arc<Disk>) -> Self {
        Self {
            flaw,
            disk,
            dirty: AtomicBool::new(false),
            verifier: AtomicU64::new(1),
            flushing: Mutex::default(),
            ended: Condvar::new(),
        }
    }
}

impl commit::Commits for Commits {
    fn write(&self, data: usize) -> u64 {
        let verifier = self.verifier.load(Ordering::SeqCst);
        self.disk.write(data);
        self.dirty.store(true, Ordering::SeqCst);
        verifier
    }

    fn commit(&self) -> Result<u64, Status> {
        let mut flushing = self.flushing.lock().unwrap();
        if flushing.running {
            let ended = flushing.ended;
            while flushing.ended == ended {
                flushing = self.ended.wait(flushing).unwrap();
            }
            if self.flaw == Flaw::JoinsRunning {
                return Ok(self.verifier.load(Ordering::SeqCst));
            }
        }
        while flushing.running {
            flushing = self.ended.wait(flushing).unwrap();
        }
        if !self.dirty.swap(false, Ordering::SeqCst) {
            return Ok(self.verifier.load(Ordering::SeqCst));
        }
        flushing.running = true;
        drop(flushing);
        let outcome = self.disk.flush();
        if outcome.is_err() && self.flaw != Flaw::KeepsVerifier {
            self.verifier.fetch_add(1, Ordering::SeqCst);
        }
        let mut flushing = self.flushing.lock().unwrap();
        flushing.running = false;
        flushing.ended += 1;
        drop(flushing);
        self.ended.notify_all();
        outcome.map(|()| self.verifier.load(Ordering::SeqCst))
    }

    fn write_stable(&self, data: usize) -> Result<(), Status> {
        self.write(data);
        if self.flaw == Flaw::AnswersFirst {
            return Ok(());
        }
        // Whatever became of the flushes between the write and this one.
        self.commit().map(drop)
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }

    fn end_of_use(&self) {
        if self.flaw == Flaw::ForgetsAtClose {
            self.dirty.store(false, Ordering::SeqCst);
        }
    }
}
