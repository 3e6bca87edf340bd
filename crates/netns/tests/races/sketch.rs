//! What the real code does, in a few lines each and with one mistake.

use crate::control;
use crate::life;
use crate::list;
use crate::notifier;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use std::collections::{BTreeSet, VecDeque};

/// The mistakes of those that can make more than one.
#[derive(Clone, Copy, PartialEq)]
pub enum Flaw {
    LookBeforeUnlock,
    TakeWithoutLock,
    NoReference,
    PublishAfterUnlock,
    PublishFirst,
}

/// A list of namespaces with two locks, changed under one.
#[derive(Default)]
pub struct List {
    pernet: Mutex<()>,
    rtnl: Mutex<()>,
    members: Mutex<BTreeSet<u64>>,
}

impl List {
    fn walk_twice(&self) -> [BTreeSet<u64>; 2] {
        [(); 2].map(|()| {
            let ids = self.members.lock().unwrap().clone();
            thread::yield_now();
            ids
        })
    }
}

impl list::List for List {
    fn change(&self) {
        let _pernet = self.pernet.lock().unwrap();
        self.members.lock().unwrap().extend([1, 2]);
        self.members.lock().unwrap().remove(&1);
    }

    fn walk_twice_under_rtnl(&self) -> [BTreeSet<u64>; 2] {
        let _rtnl = self.rtnl.lock().unwrap();
        self.walk_twice()
    }

    fn walk_twice_under_pernet(&self) -> [BTreeSet<u64>; 2] {
        let _pernet = self.pernet.lock().unwrap();
        self.walk_twice()
    }
}

/// A control queue.
pub struct Queue {
    flaw: Flaw,
    lock: Mutex<()>,
    requests: Mutex<VecDeque<()>>,
    sent: AtomicUsize,
    answered: Mutex<usize>,
    wake: Condvar,
    runs: AtomicUsize,
    dead: AtomicBool,
    ran_when_dead: AtomicBool,
}

impl Queue {
    pub fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            lock: Mutex::new(()),
            requests: Mutex::new(VecDeque::new()),
            sent: AtomicUsize::new(0),
            answered: Mutex::new(0),
            wake: Condvar::new(),
            runs: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            ran_when_dead: AtomicBool::new(false),
        }
    }

    fn is_empty(&self) -> bool {
        self.requests.lock().unwrap().is_empty()
    }

    fn after_unlock(&self) {
        while self.flaw != Flaw::LookBeforeUnlock && !self.is_empty() {
            let guard = match self.flaw {
                Flaw::TakeWithoutLock => None,
                _ => match self.lock.try_lock() {
                    Ok(guard) => Some(guard),
                    Err(_) => return,
                },
            };
            self.run_all();
            drop(guard);
        }
    }

    fn run_all(&self) {
        while !self.is_empty() {
            self.run_one();
            self.requests.lock().unwrap().pop_front();
        }
    }

    fn run_one(&self) {
        if !self.dead.load(Ordering::SeqCst) {
            thread::yield_now();
            self.runs.fetch_add(1, Ordering::SeqCst);
            self.ran_when_dead.fetch_or(self.dead.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        *self.answered.lock().unwrap() += 1;
        self.wake.notify_all();
    }
}

impl control::Queue for Queue {
    fn lock_and_unlock(&self) {
        let guard = self.lock.lock().unwrap();
        self.run_all();
        drop(guard);
        self.after_unlock();
    }

    fn request(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
        self.requests.lock().unwrap().push_back(());
        if let Ok(guard) = self.lock.try_lock() {
            self.run_all();
            drop(guard);
            self.after_unlock();
        }
    }

    fn wait(&self) {
        let mut answered = self.answered.lock().unwrap();
        while *answered < self.sent.load(Ordering::SeqCst) {
            answered = self.wake.wait(answered).unwrap();
        }
    }

    /// Waits for nobody: nobody holds a reference.
    fn remove(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    fn ran_when_dead(&self) -> bool {
        self.ran_when_dead.load(Ordering::SeqCst)
    }
}

/// Subsystems and namespaces, with a lock each and none for both.
#[derive(Default)]
pub struct Subsystems {
    subsystems: Mutex<Vec<&'static str>>,
    namespaces: Mutex<Vec<u64>>,
    log: Mutex<Vec<life::Entry>>,
}

impl life::Comings for Subsystems {
    fn register(&self, name: &'static str) {
        for id in self.namespaces.lock().unwrap().clone() {
            self.log.lock().unwrap().push((life::Call::Init, name, id));
        }
        self.subsystems.lock().unwrap().push(name);
    }

    fn create(&self, id: u64) {
        for name in self.subsystems.lock().unwrap().clone() {
            self.log.lock().unwrap().push((life::Call::Init, name, id));
        }
        self.namespaces.lock().unwrap().push(id);
    }

    fn remove(&self, id: u64) {
        self.namespaces.lock().unwrap().retain(|other| *other != id);
        let inits: Vec<_> =
            self.log.lock().unwrap().iter().filter(|(.., ns)| *ns == id).copied().collect();
        for call in [life::Call::PreExit, life::Call::Exit] {
            for (_, name, _) in inits.iter().rev() {
                self.log.lock().unwrap().push((call, name, id));
            }
        }
    }

    fn log(&self) -> Vec<life::Entry> {
        self.log.lock().unwrap().clone()
    }
}

/// A registry whose removal waits for those inside with its lock held.
#[derive(Default)]
pub struct WaitsLocked {
    lock: Mutex<()>,
    inside: Mutex<usize>,
    wake: Condvar,
}

impl life::Stuck for WaitsLocked {
    type Inside = ();

    fn enter(&self) -> Option<()> {
        *self.inside.lock().unwrap() += 1;
        Some(())
    }

    fn leave(&self, (): ()) {
        *self.inside.lock().unwrap() -= 1;
        self.wake.notify_all();
    }

    fn remove(&self) {
        let _lock = self.lock.lock().unwrap();
        let mut inside = self.inside.lock().unwrap();
        while *inside > 0 {
            inside = self.wake.wait(inside).unwrap();
        }
    }

    fn another_comes_and_goes(&self) {
        drop(self.lock.lock().unwrap());
    }
}

/// A namespace whose gate looks whether it is open, and then counts.
#[derive(Default)]
pub struct LooksThenCounts {
    closed: AtomicBool,
    inside: Mutex<usize>,
    wake: Condvar,
}

impl life::Stuck for LooksThenCounts {
    type Inside = ();

    fn enter(&self) -> Option<()> {
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        *self.inside.lock().unwrap() += 1;
        Some(())
    }

    fn leave(&self, (): ()) {
        *self.inside.lock().unwrap() -= 1;
        self.wake.notify_all();
    }

    fn remove(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let mut inside = self.inside.lock().unwrap();
        while *inside > 0 {
            inside = self.wake.wait(inside).unwrap();
        }
    }

    fn another_comes_and_goes(&self) {}
}

/// Things in one namespace and one who wants to know of them.
pub struct Notifiers {
    flaw: Flaw,
    lock: Mutex<Vec<u32>>,
    published: AtomicBool,
    heard: Mutex<Vec<u32>>,
}

impl Notifiers {
    pub fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            lock: Mutex::new(Vec::new()),
            published: AtomicBool::new(false),
            heard: Mutex::new(Vec::new()),
        }
    }
}

impl notifier::Things for Notifiers {
    fn add_thing(&self, thing: u32) {
        let mut things = self.lock.lock().unwrap();
        things.push(thing);
        if self.published.load(Ordering::SeqCst) {
            self.heard.lock().unwrap().push(thing);
        }
    }

    fn register(&self) {
        if self.flaw == Flaw::PublishFirst {
            self.published.store(true, Ordering::SeqCst);
        }
        let existing = self.lock.lock().unwrap().clone();
        self.heard.lock().unwrap().extend(existing);
        self.published.store(true, Ordering::SeqCst);
    }

    fn heard(&self) -> Vec<u32> {
        let mut heard = self.heard.lock().unwrap().clone();
        heard.sort();
        heard
    }
}
