//! When a namespace is gone, nothing of it runs, and nothing of it is left.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does, in_pool};
use holm_lifetime::Deadline;
use holm_netns::Namespace;
use holm_pool::{Handle, Next, PoolSubsystem};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;
use std::time::Duration;

/// A namespace with a source, a deadline and jobs.
pub trait Ending: Default + Send + Sync + 'static {
    fn wake(&self);
    /// Sets a deadline, which comes.
    fn time_passes(&self);
    /// Gives a job.
    fn spawn(&self);
    /// Removes the namespace.
    fn remove(&self);
    fn end(&self);
    fn seen(&self) -> &Seen;
}

/// What the source and the jobs have seen.
#[derive(Default)]
pub struct Seen {
    gone: AtomicBool,
    ran_when_gone: AtomicBool,
    /// The source and the jobs that exist.
    alive: AtomicUsize,
    accepted: AtomicUsize,
    done: AtomicUsize,
}

impl Seen {
    /// What the source and the jobs do.
    pub fn run(&self) {
        self.look();
        thread::yield_now();
        self.look();
    }

    fn look(&self) {
        self.ran_when_gone.fetch_or(self.gone.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Something that the pool keeps.
pub struct Alive(Arc<Seen>);

impl Alive {
    pub fn new(seen: &Arc<Seen>) -> Self {
        seen.alive.fetch_add(1, Ordering::SeqCst);
        Self(seen.clone())
    }

    pub fn run(&self) {
        self.0.run();
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn removed_against<E: Ending>(what: fn(&E)) {
    let ending = Arc::new(E::default());
    let others = [(); 2].map(|()| {
        let ending = ending.clone();
        thread::spawn(move || what(&ending))
    });
    ending.remove();
    let seen = ending.seen();
    seen.gone.store(true, Ordering::SeqCst);
    assert_eq!(seen.alive.load(Ordering::SeqCst), 0, "{LEFT}");
    for other in others {
        other.join().unwrap();
    }
    ending.end();
    assert!(!seen.ran_when_gone.load(Ordering::SeqCst), "{RAN}");
    assert_eq!(seen.alive.load(Ordering::SeqCst), 0, "{LEFT}");
    let (accepted, done) = (&seen.accepted, &seen.done);
    assert_eq!(accepted.load(Ordering::SeqCst), done.load(Ordering::SeqCst), "a job was lost");
}

#[test]
fn after_remove_nothing_runs_and_nothing_is_left() {
    passes("removal against wake", || removed_against(Real::wake));
    passes("removal against deadlines", || removed_against(Real::time_passes));
    passes("removal against jobs", || removed_against(Real::spawn));
    let what = "a removal that does not wait for who has taken the source";
    fails(what, &[RAN, LEFT], || removed_against(sketch::NoPass::wake));
}

/// The source goes out of the pool on its own while the namespace goes.
#[test]
fn source_that_ends_itself_while_the_namespace_goes() {
    passes("removal against a source that is done, and one that is removed", || {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let seen = Arc::new(Seen::default());
        let handles = [(); 2].map(|()| {
            let alive = Alive::new(&seen);
            let source = does(move |_| {
                alive.run();
                Next::Done
            });
            in_pool(&ns, |pool| pool.add(source).unwrap())
        });
        let [first, second] = handles;
        let others = [
            thread::spawn(move || first.wake()),
            thread::spawn(move || {
                second.wake();
                second.remove();
            }),
        ];
        world.registry.remove([&ns], Deadline::Never).unwrap();
        assert_eq!(seen.alive.load(Ordering::SeqCst), 0, "{LEFT}");
        for other in others {
            other.join().unwrap();
        }
        world.end();
    });
}

/// A source comes while the namespace goes: refused, or taken and ended.
#[test]
fn source_that_comes_while_the_namespace_goes() {
    passes("removal against add", || {
        let world = World::new(1);
        let ns = world.registry.create("blue").unwrap();
        let seen = Arc::new(Seen::default());
        let adds = thread::spawn({
            let (ns, alive) = (ns.clone(), Alive::new(&seen));
            move || {
                let inside = ns.enter()?;
                let (source, _) = crate::stand::does_on_event(move |_| {
                    alive.run();
                    Next::Idle
                });
                inside.get::<PoolSubsystem>()?.add(source).ok()
            }
        });
        world.registry.remove([&ns], Deadline::Never).unwrap();
        let refused = adds.join().unwrap().is_none();
        assert_eq!(seen.alive.load(Ordering::SeqCst), 0, "{LEFT} (refused: {refused})");
        world.end();
    });
}

/// The pool leaves a namespace that lives on: whoever enters it then is not who the pool waits for.
#[test]
fn pool_leaves_a_live_namespace() {
    passes("unregistering the pool against wake", || {
        let real = Arc::new(Real::default());
        let wakes = thread::spawn({
            let real = real.clone();
            move || real.wake()
        });
        real.world.registry.unregister::<PoolSubsystem>(Deadline::Never).unwrap();
        real.seen.gone.store(true, Ordering::SeqCst);
        assert_eq!(real.seen.alive.load(Ordering::SeqCst), 0, "{LEFT}");
        wakes.join().unwrap();
        assert!(real.ns.enter().is_some());
        real.end();
        assert!(!real.seen.ran_when_gone.load(Ordering::SeqCst), "{RAN}");
    });
}

const RAN: &str = "something of a namespace ran when it was gone";
const LEFT: &str = "something of a namespace was left when it was gone";

struct Real {
    world: World,
    ns: Namespace,
    handle: Handle,
    seen: Arc<Seen>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let seen = Arc::new(Seen::default());
        let alive = Alive::new(&seen);
        let source = does(move |_| {
            alive.run();
            Next::Idle
        });
        let handle = in_pool(&ns, |pool| pool.add(source).unwrap());
        Self { world, ns, handle, seen }
    }
}

impl Ending for Real {
    fn wake(&self) {
        self.handle.wake();
    }

    fn time_passes(&self) {
        use holm_pool::Poller;
        let second = Duration::from_secs(1);
        self.handle.wake_at(Some(self.world.stand.now() + second));
        self.world.stand.advance(second);
    }

    fn spawn(&self) {
        let Some(inside) = self.ns.enter() else { return };
        let (alive, seen) = (Alive::new(&self.seen), self.seen.clone());
        let job = move |_: &holm_pool::Turn<'_>| {
            alive.run();
            drop(alive);
            seen.done.fetch_add(1, Ordering::SeqCst);
        };
        if inside.get::<PoolSubsystem>().unwrap().spawn(job).is_ok() {
            self.seen.accepted.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn remove(&self) {
        self.world.registry.remove([&self.ns], Deadline::Never).unwrap();
    }

    fn end(&self) {
        self.world.end();
    }

    fn seen(&self) -> &Seen {
        &self.seen
    }
}
