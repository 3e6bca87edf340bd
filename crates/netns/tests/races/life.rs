//! Namespaces and subsystems come and go, and somebody is always inside.

use crate::harness::{fails, passes};
use crate::sketch;
use holm_lifetime::Deadline;
use holm_netns::{Held, InitError, Inside, Namespace, NsState, Registry, Subsystem, View};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// What a subsystem was called with: which call, which subsystem, which namespace.
pub type Entry = (Call, &'static str, u64);

type Log = Arc<Mutex<Vec<Entry>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Init,
    PreExit,
    Exit,
}

/// Where subsystems and namespaces come and go.
pub trait Comings: Default + Send + Sync + 'static {
    fn register(&self, name: &'static str);
    /// The namespaces are numbered in the order of their creation.
    fn create(&self, id: u64);
    fn remove(&self, id: u64);
    /// Every call of a subsystem, in order.
    fn log(&self) -> Vec<Entry>;
}

fn create_against_register_against_remove<C: Comings>() {
    let comings = Arc::new(C::default());
    comings.register("first");
    comings.create(1);
    let creates = thread::spawn({
        let comings = comings.clone();
        move || comings.create(2)
    });
    let registers = thread::spawn({
        let comings = comings.clone();
        move || comings.register("second")
    });
    comings.remove(1);
    creates.join().unwrap();
    registers.join().unwrap();
    comings.remove(2);
    let log = comings.log();
    check(&log, 2, &["first", "second"]);
    // The first one may have been gone before the second subsystem came.
    let calls = log.iter().filter(|(.., ns)| *ns == 1).count();
    check(&log, 1, if calls == 3 { &["first"] } else { &["first", "second"] });
}

/// A namespace that somebody is inside of.
pub trait Stuck: Default + Send + Sync + 'static {
    type Inside: Send + 'static;

    fn enter(&self) -> Option<Self::Inside>;
    fn leave(&self, inside: Self::Inside);
    /// Removes the namespace and waits until it is gone.
    fn remove(&self);
    /// Creates and removes another namespace.
    fn another_comes_and_goes(&self);
}

fn stuck_beside_others<S: Stuck>() {
    let stuck = Arc::new(S::default());
    let inside = stuck.enter().unwrap();
    let removes = thread::spawn({
        let stuck = stuck.clone();
        move || stuck.remove()
    });
    let others = thread::spawn({
        let stuck = stuck.clone();
        move || stuck.another_comes_and_goes()
    });
    // Only then: if another waited for the stuck one, it would never be left.
    others.join().unwrap();
    stuck.leave(inside);
    removes.join().unwrap();
}

fn removed_while_entered<S: Stuck>() {
    let ns = Arc::new(S::default());
    let removed = Arc::new(AtomicBool::new(false));
    let users = [(); 2].map(|()| {
        let (ns, removed) = (ns.clone(), removed.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                let Some(inside) = ns.enter() else { return };
                assert!(!removed.load(Ordering::SeqCst), "{STILL_INSIDE}");
                thread::yield_now();
                assert!(!removed.load(Ordering::SeqCst), "{STILL_INSIDE}");
                ns.leave(inside);
            }
        })
    });
    ns.remove();
    removed.store(true, Ordering::SeqCst);
    for user in users {
        user.join().unwrap();
    }
}

#[test]
fn every_namespace_runs_every_init_and_exit_once_and_in_order() {
    let what = "create against register against remove";
    passes(what, create_against_register_against_remove::<RealComings>);
    let what = "create that looked at the subsystems before";
    fails(what, &[ORDER], create_against_register_against_remove::<sketch::Subsystems>);
}

#[test]
fn one_that_never_drains_delays_nobody() {
    passes("a stuck namespace beside others", stuck_beside_others::<RealStuck>);
    let what = "a removal that waits with the lock held";
    fails(what, &["deadlock"], stuck_beside_others::<sketch::WaitsLocked>);
}

#[test]
fn after_remove_nobody_is_inside() {
    passes("removal while threads keep entering", removed_while_entered::<RealStuck>);
    let what = "a gate that looks first and counts then";
    fails(what, &[STILL_INSIDE], removed_while_entered::<sketch::LooksThenCounts>);
}

/// Its name is free at once, and it is listed until it is gone.
#[test]
fn one_that_drains_is_listed_and_its_name_is_free() {
    passes("a namespace that drains beside one of its name", || {
        let registry = Registry::new().unwrap();
        let stuck = registry.create("stuck").unwrap();
        let inside = stuck.enter().unwrap();
        let draining = registry.remove([&stuck], Deadline::now()).unwrap_err();
        assert_eq!(draining[0].held.count, 1);
        let waits = thread::spawn({
            let stuck = stuck.clone();
            move || stuck.wait_gone(Deadline::Never).unwrap()
        });
        let again = registry.create("stuck").unwrap();
        assert_eq!(registry.find("stuck"), Some(again.clone()));
        assert_eq!(registry.resolve("stuck@1"), Some(stuck.clone()));
        let listed = registry.list().into_iter().map(|listed| (listed.ns, listed.state));
        let expected = [(stuck, NsState::Draining), (again.clone(), NsState::Live)];
        assert!(listed.eq(expected));
        drop(inside);
        waits.join().unwrap();
        assert_eq!(registry.resolve("stuck@1"), None);
        registry.remove([&again], Deadline::Never).unwrap();
        assert!(registry.list().is_empty());
    });
}

#[test]
fn subsystem_leaves_a_live_namespace_in_order() {
    passes("unregister against remove against those inside", || {
        let log = Log::default();
        let registry = Registry::new().unwrap();
        registry.register(First(log.clone())).unwrap();
        registry.register(Second(log.clone())).unwrap();
        let ns = registry.create("blue").unwrap();
        let user = thread::spawn({
            let (ns, log) = (ns.clone(), log.clone());
            move || {
                if let Some(inside) = ns.enter() {
                    let id = ns.id().id;
                    thread::yield_now();
                    if inside.get::<First>().is_some() {
                        assert!(!exited(&log, "first", id), "its state was destroyed meanwhile");
                    }
                    if inside.get::<Second>().is_some() {
                        assert!(!exited(&log, "second", id), "its state was destroyed meanwhile");
                    }
                }
            }
        });
        let remover = thread::spawn({
            let (registry, ns) = (registry.clone(), ns.clone());
            move || registry.remove([&ns], Deadline::Never).unwrap()
        });
        registry.unregister::<First>(Deadline::Never).unwrap();
        assert!(exited(&log, "first", ns.id().id), "unregistered, and its state is still there");
        user.join().unwrap();
        remover.join().unwrap();
        let log = log.lock().unwrap();
        for subsystem in ["first", "second"] {
            for call in [Call::Init, Call::PreExit, Call::Exit] {
                let times = log.iter().filter(|(c, s, _)| *c == call && *s == subsystem).count();
                assert_eq!(times, 1, "{call:?} of {subsystem}: {log:?}");
            }
        }
    });
}

/// The last who leaves may be anybody, and nobody need wait: the worker ends it.
#[test]
fn last_pass_dropped_where_nobody_waits() {
    passes("last pass against a removal that gave up", || {
        let log = Log::default();
        let registry = Registry::new().unwrap();
        registry.register(First(log.clone())).unwrap();
        let ns = registry.create("blue").unwrap();
        let inside = ns.enter().unwrap();
        let user = thread::spawn(move || drop(inside));
        let _ = registry.remove([&ns], Deadline::now());
        user.join().unwrap();
        // The worker ends when nothing is left, and shuttle when every thread has ended.
        drop(registry);
        ns.wait_gone(Deadline::Never).unwrap();
        assert!(exited(&log, "first", 1));
    });
}

const STILL_INSIDE: &str = "removed, and somebody is inside";
const ORDER: &str = "inits and exits";

#[derive(Default)]
struct RealComings {
    real: RealStuck,
    log: Log,
}

impl Comings for RealComings {
    fn register(&self, name: &'static str) {
        match name {
            "first" => self.real.registry.register(First(self.log.clone())).unwrap(),
            _ => self.real.registry.register(Second(self.log.clone())).unwrap(),
        }
    }

    fn create(&self, id: u64) {
        // The one that `RealStuck` made was the first.
        let ns = self.real.registry.create(&*format!("ns-{id}")).unwrap();
        assert_eq!(ns.id().id, id + 1);
    }

    fn remove(&self, id: u64) {
        self.real.registry.remove_named(&format!("ns-{id}"), Deadline::Never).unwrap();
    }

    fn log(&self) -> Vec<Entry> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(.., ns)| *ns > 1).map(|(call, s, ns)| (*call, *s, ns - 1)).collect()
    }
}

struct RealStuck {
    registry: Registry,
    ns: Namespace,
}

impl Default for RealStuck {
    fn default() -> Self {
        let registry = Registry::new().unwrap();
        Self { ns: registry.create("stuck").unwrap(), registry }
    }
}

impl Stuck for RealStuck {
    type Inside = Inside;

    fn enter(&self) -> Option<Inside> {
        self.ns.enter()
    }

    fn leave(&self, inside: Inside) {
        drop(inside);
    }

    fn remove(&self) {
        self.registry.remove([&self.ns], Deadline::Never).unwrap();
    }

    fn another_comes_and_goes(&self) {
        let another = self.registry.create("another").unwrap();
        self.registry.remove([&another], Deadline::Never).unwrap();
    }
}

fn exited(log: &Log, subsystem: &str, ns: u64) -> bool {
    log.lock().unwrap().iter().any(|(call, s, n)| (*call, *s, *n) == (Call::Exit, subsystem, ns))
}

/// In this namespace each of the subsystems was made once, in this order, and destroyed once, in
/// reverse, and told before.
fn check(log: &[(Call, &'static str, u64)], ns: u64, subsystems: &[&str]) {
    let calls = |call| -> Vec<&str> {
        log.iter().filter(|(c, _, n)| (*c, *n) == (call, ns)).map(|(_, s, _)| *s).collect()
    };
    let mut reverse = subsystems.to_vec();
    reverse.reverse();
    assert_eq!(calls(Call::Init), subsystems, "{ORDER} of {ns}: {log:?}");
    assert_eq!(calls(Call::PreExit), reverse, "{ORDER} of {ns}: {log:?}");
    assert_eq!(calls(Call::Exit), reverse, "{ORDER} of {ns}: {log:?}");
}

macro_rules! logging_subsystem {
    ($type:ident, $name:literal) => {
        struct $type(Log);

        impl Subsystem for $type {
            type State = ();

            fn name(&self) -> &str {
                $name
            }

            fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<(), InitError> {
                self.0.lock().unwrap().push((Call::Init, $name, ns.namespace().id().id));
                Ok(())
            }

            fn pre_exit(&self, ns: &View<'_>, (): &()) {
                self.0.lock().unwrap().push((Call::PreExit, $name, ns.namespace().id().id));
            }

            fn exit(&self, ns: &View<'_>, (): ()) {
                self.0.lock().unwrap().push((Call::Exit, $name, ns.namespace().id().id));
            }
        }
    };
}
logging_subsystem!(First, "first");
logging_subsystem!(Second, "second");
