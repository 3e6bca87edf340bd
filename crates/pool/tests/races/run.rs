//! No event is lost, and no two workers run one source.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does, in_pool};
use holm_pool::{Handle, Next};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

/// A source that takes work which others bring.
pub trait Work: Default + Send + Sync + 'static {
    /// Brings a piece of work and tells the source.
    fn bring(&self);
    /// Waits until that many pieces have been taken.
    fn wait(&self, pieces: usize);
    fn end(&self);
    /// What the source does each time: takes all that is there.
    fn taken(&self) -> &Taken;
}

/// What was brought and taken.
#[derive(Default)]
pub struct Taken {
    brought: AtomicUsize,
    taken: Mutex<usize>,
    changed: Condvar,
    busy: AtomicBool,
    overlapped: AtomicBool,
}

impl Taken {
    pub fn bring(&self) {
        self.brought.fetch_add(1, Ordering::SeqCst);
    }

    pub fn is_empty(&self) -> bool {
        self.brought.load(Ordering::SeqCst) == 0
    }

    pub fn take(&self) {
        let overlaps = self.busy.swap(true, Ordering::SeqCst);
        self.overlapped.fetch_or(overlaps, Ordering::SeqCst);
        let pieces = self.brought.swap(0, Ordering::SeqCst);
        thread::yield_now();
        self.busy.store(false, Ordering::SeqCst);
        *self.taken.lock().unwrap() += pieces;
        self.changed.notify_all();
    }

    pub fn wait(&self, pieces: usize) {
        let mut taken = self.taken.lock().unwrap();
        while *taken < pieces {
            taken = self.changed.wait(taken).unwrap();
        }
    }
}

fn events_against_the_end_of_runs<W: Work>() {
    let work = Arc::new(W::default());
    let brings = thread::spawn({
        let work = work.clone();
        move || {
            work.bring();
            work.bring();
        }
    });
    work.bring();
    // From here on a run is about to end.
    work.wait(1);
    work.bring();
    // Work whose event was lost is waited for for ever, which shuttle reports as a deadlock.
    work.wait(4);
    brings.join().unwrap();
    work.end();
    assert!(!work.taken().overlapped.load(Ordering::SeqCst), "{OVERLAPPED}");
}

#[test]
fn event_at_the_end_of_a_run_is_not_lost() {
    passes("events against the end of runs", events_against_the_end_of_runs::<Real>);
    let what = "a run that looks and then is idle";
    fails(what, &["deadlock"], events_against_the_end_of_runs::<sketch::LooksThenIdles>);
    let what = "two workers told of one source";
    fails(what, &[OVERLAPPED], events_against_the_end_of_runs::<sketch::NobodyHasIt>);
}

pub const OVERLAPPED: &str = "two workers ran one source at once";

struct Real {
    world: World,
    handle: Handle,
    taken: Arc<Taken>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let taken = Arc::new(Taken::default());
        let own = taken.clone();
        let source = does(move |_| {
            own.take();
            Next::Idle
        });
        let handle = in_pool(&ns, |pool| pool.add(source).unwrap());
        Self { world, handle, taken }
    }
}

impl Work for Real {
    fn bring(&self) {
        self.taken.bring();
        self.handle.wake();
    }

    fn wait(&self, pieces: usize) {
        self.taken.wait(pieces);
    }

    fn end(&self) {
        self.world.end();
    }

    fn taken(&self) -> &Taken {
        &self.taken
    }
}
