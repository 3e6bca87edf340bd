//! C4: no control request is lost, none is run twice, none in a namespace that is gone.

use crate::harness::{fails, passes};
use crate::sketch::{self, Flaw};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{Held, InitError, Namespace, Pending, Registry, RequestError, Subsystem, View};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// A namespace with a configuration lock and requests that wait for it.
pub trait Queue: Send + Sync + 'static {
    /// What somebody else does who configures the namespace.
    fn lock_and_unlock(&self);
    /// Sends a request, which is not waited for.
    fn request(&self);
    /// Waits until every request that was sent has been run or refused.
    fn wait(&self);
    /// Removes the namespace.
    fn remove(&self);
    /// How many requests have been run.
    fn runs(&self) -> usize;
    /// Whether one ran, even in part, when the contents of the namespace were destroyed.
    fn ran_when_dead(&self) -> bool;
}

fn request_against_unlock<Q: Queue>(queue: Q) {
    let queue = Arc::new(queue);
    let unlocker = thread::spawn({
        let queue = queue.clone();
        move || queue.lock_and_unlock()
    });
    queue.request();
    // A lost request would be waited for for ever, which shuttle reports as a deadlock.
    queue.wait();
    assert_eq!(queue.runs(), 1, "{ONCE}");
    unlocker.join().unwrap();
}

fn two_unlockers<Q: Queue>(queue: Q) {
    let queue = Arc::new(queue);
    let unlockers = [(); 2].map(|()| {
        let queue = queue.clone();
        thread::spawn(move || queue.lock_and_unlock())
    });
    queue.request();
    queue.request();
    queue.wait();
    for unlocker in unlockers {
        unlocker.join().unwrap();
    }
    assert_eq!(queue.runs(), 2, "{ONCE}");
}

fn removed_while_run<Q: Queue>(queue: Q) {
    let queue = Arc::new(queue);
    let unlocker = thread::spawn({
        let queue = queue.clone();
        move || queue.lock_and_unlock()
    });
    let remover = thread::spawn({
        let queue = queue.clone();
        move || queue.remove()
    });
    queue.request();
    queue.request();
    queue.wait();
    remover.join().unwrap();
    unlocker.join().unwrap();
    // Refused at once, and not left to wait for ever.
    queue.request();
    queue.wait();
    assert!(!queue.ran_when_dead(), "{DEAD}");
}

#[test]
fn request_between_the_check_and_the_unlock_is_run() {
    passes("request against unlock", || request_against_unlock(Real::new()));
    fails("request against an unlock that looked before", &["deadlock"], || {
        request_against_unlock(sketch::Queue::new(Flaw::LookBeforeUnlock));
    });
}

#[test]
fn two_unlockers_run_each_request_once() {
    passes("two unlockers and two requests", || two_unlockers(Real::new()));
    fails("two unlockers that look and take in two steps", &[ONCE], || {
        two_unlockers(sketch::Queue::new(Flaw::TakeWithoutLock));
    });
}

#[test]
fn request_in_a_namespace_that_goes_is_run_or_refused() {
    passes("removal while the queue is run", || removed_while_run(Real::new()));
    fails("removal while a queue is run without a reference", &[DEAD], || {
        removed_while_run(sketch::Queue::new(Flaw::NoReference));
    });
}

/// The unlocker holds `Rtnl` still: the worker runs the request, or the sender after it.
#[test]
fn request_is_not_run_under_a_global_lock() {
    passes("request while the namespace's lock is held under Rtnl", || {
        let real = Real::new();
        let (registry, ns) = (real.registry.clone(), real.ns.clone());
        let unlocker = thread::spawn(move || {
            let mut held = Locked::nothing();
            let mut rtnl = registry.rtnl(&mut held);
            drop(ns.lock(rtnl.token()));
            thread::current().id()
        });
        let pending = real.ns.request(&mut Locked::nothing(), |_| thread::current().id());
        assert_ne!(answer(pending), Ok(unlocker.join().unwrap()), "run by whoever held Rtnl");
    });
}

const ONCE: &str = "each request is run once";
const DEAD: &str = "a request ran in a namespace whose contents were destroyed";

struct Real {
    registry: Registry,
    ns: Namespace,
    pending: Mutex<Vec<Pending<bool>>>,
    runs: Arc<AtomicUsize>,
    ran_when_dead: AtomicBool,
}

impl Real {
    fn new() -> Self {
        let registry = Registry::new().unwrap();
        registry.register(Alive).unwrap();
        let ns = registry.create("blue").unwrap();
        Self {
            registry,
            ns,
            pending: Mutex::new(Vec::new()),
            runs: Arc::new(AtomicUsize::new(0)),
            ran_when_dead: AtomicBool::new(false),
        }
    }
}

impl Queue for Real {
    fn lock_and_unlock(&self) {
        drop(self.ns.lock(&mut Locked::nothing()));
    }

    fn request(&self) {
        let runs = self.runs.clone();
        let pending = self.ns.request(&mut Locked::nothing(), move |in_ns| {
            let alive = in_ns.contents.get::<Alive>().expect("registered");
            let before = alive.0.load(Ordering::SeqCst);
            thread::yield_now();
            runs.fetch_add(1, Ordering::SeqCst);
            before && alive.0.load(Ordering::SeqCst)
        });
        self.pending.lock().unwrap().push(pending);
    }

    fn wait(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap());
        for pending in pending {
            match answer(pending) {
                Ok(alive) => {
                    self.ran_when_dead.fetch_or(!alive, Ordering::SeqCst);
                }
                Err(error) => assert_eq!(error, RequestError::Gone("blue@1".into())),
            }
        }
    }

    fn remove(&self) {
        self.registry.remove([&self.ns], Deadline::Never).unwrap();
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    fn ran_when_dead(&self) -> bool {
        self.ran_when_dead.load(Ordering::SeqCst)
    }
}

fn answer<R>(pending: Pending<R>) -> Result<R, RequestError> {
    match pending.wait(Deadline::Never) {
        Ok(answer) => answer,
        Err(_) => unreachable!("no deadline"),
    }
}

/// Keeps a flag that is lowered when the state is destroyed.
struct Alive;

struct Flag(Arc<AtomicBool>);

impl Subsystem for Alive {
    type State = Flag;

    fn name(&self) -> &str {
        "alive"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<Flag, InitError> {
        Ok(Flag(Arc::new(AtomicBool::new(true))))
    }

    fn exit(&self, _: &View<'_>, flag: Flag) {
        flag.0.store(false, Ordering::SeqCst);
    }
}
