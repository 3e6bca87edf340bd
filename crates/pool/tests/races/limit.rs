//! A namespace has no more turns at a time than its limit allows, and who waits for the end of one is
//! run.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does, does_on_event, in_pool};
use crate::stuck::Call;
use holm_netns::Namespace;
use holm_pool::{Handle, Next, Source};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use std::num::NonZero;
use std::os::fd::RawFd;

/// Two sources of a namespace that may have one turn at a time.
pub trait Limited: Default + Send + Sync + 'static {
    /// Something happens to one of them.
    fn wake(&self, which: usize);
    fn end(&self);
    fn turns(&self) -> &Turns;
}

/// The turns of the two.
#[derive(Default)]
pub struct Turns {
    now: AtomicUsize,
    most: AtomicUsize,
    had: Mutex<[usize; 2]>,
    changed: Condvar,
}

impl Turns {
    pub fn run(&self, which: usize) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        thread::yield_now();
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.had.lock().unwrap()[which] += 1;
        self.changed.notify_all();
    }

    fn wait_for_both(&self) {
        let mut had = self.had.lock().unwrap();
        while had.contains(&0) {
            had = self.changed.wait(had).unwrap();
        }
    }
}

fn both_come<L: Limited>() {
    let limited = Arc::new(L::default());
    let other = thread::spawn({
        let limited = limited.clone();
        move || limited.wake(1)
    });
    limited.wake(0);
    // If the end of one turn has missed that the other waits, nobody runs that: a deadlock.
    limited.turns().wait_for_both();
    other.join().unwrap();
    limited.end();
    assert!(limited.turns().most.load(Ordering::SeqCst) <= 1, "{TOO_MANY}");
}

#[test]
fn end_of_a_turn_makes_room_for_who_waits() {
    passes("one turn at a time, of sources that are woken", both_come::<Woken>);
    passes("one turn at a time, of sources with events", both_come::<Told>);
    let what = "an end that looks who waits and then gives its place back";
    fails(what, &["deadlock"], both_come::<sketch::LooksThenGivesBack>);
    let what = "an event that is not counted";
    fails(what, &[TOO_MANY], both_come::<sketch::EventsAreNotCounted>);
}

/// What the namespace may have changes while one runs and the other waits, or is about to.
#[test]
fn limit_that_is_lifted_lets_go_who_waits() {
    passes("a limit that is lifted and set against wake", || {
        let world = World::new(2);
        let (ns, call) = (limited(&world), Arc::new(Call::default()));
        let (own, turns) = (call.clone(), Arc::new(Turns::default()));
        let stays = does(move |_| {
            own.enter();
            Next::Idle
        });
        let stays = in_pool(&ns, |pool| pool.add(stays).unwrap());
        let waits = add(&ns, does_turn(&turns, 0));
        stays.wake();
        call.wait_entered();
        let wakes = thread::spawn(move || waits.wake());
        in_pool(&ns, |pool| pool.limit_turns(None));
        turns.had.lock().unwrap()[1] = 1;
        // The other stays in its turn until this one was run: else a deadlock.
        turns.wait_for_both();
        wakes.join().unwrap();
        in_pool(&ns, |pool| pool.limit_turns(NonZero::new(1)));
        call.let_go();
        world.end();
    });
}

/// The turn that ends is that of a worker which was stuck and replaced, so that who waits is for the
/// second group; a job does not wait.
#[test]
fn end_of_a_stuck_turn_makes_room_for_who_waits() {
    passes("one turn at a time, and it is stuck", || {
        let world = World::new(1);
        let (ns, call) = (limited(&world), Arc::new(Call::default()));
        let (own, turns) = (call.clone(), Arc::new(Turns::default()));
        let stuck = does(move |turn| {
            turn.may_block(|| own.enter());
            Next::Idle
        });
        let stuck = in_pool(&ns, |pool| pool.add(stuck).unwrap());
        let waits = add(&ns, does_turn(&turns, 0));
        stuck.wake();
        call.wait_entered();
        waits.wake();
        let done = Arc::new(Call::default());
        done.let_go();
        let job = done.clone();
        in_pool(&ns, |pool| pool.spawn(move |_| job.enter()).unwrap());
        world.pool.look();
        world.pool.look();
        // Though the only turn that it may have does not end.
        done.wait_entered();
        assert_eq!(turns.had.lock().unwrap()[0], 0, "{TOO_MANY}");
        call.let_go();
        // As the watchdog does, until it is served by one group or the other.
        while turns.had.lock().unwrap()[0] == 0 {
            world.pool.look();
            thread::yield_now();
        }
        world.end();
    });
}

const TOO_MANY: &str = "more turns at a time than the limit allows";

fn limited(world: &World) -> Namespace {
    let ns = world.registry.create("blue").unwrap();
    in_pool(&ns, |pool| pool.limit_turns(NonZero::new(1)));
    ns
}

fn add(ns: &Namespace, source: Arc<dyn Source>) -> Handle {
    in_pool(ns, |pool| pool.add(source).unwrap())
}

fn does_turn(turns: &Arc<Turns>, which: usize) -> Arc<dyn Source> {
    let turns = turns.clone();
    does(move |_| {
        turns.run(which);
        Next::Idle
    })
}

/// They are woken by other threads.
struct Woken {
    world: World,
    handles: [Handle; 2],
    turns: Arc<Turns>,
}

impl Default for Woken {
    fn default() -> Self {
        let world = World::new(2);
        let (ns, turns) = (limited(&world), Arc::new(Turns::default()));
        let handles = [0, 1].map(|which| add(&ns, does_turn(&turns, which)));
        Self { world, handles, turns }
    }
}

impl Limited for Woken {
    fn wake(&self, which: usize) {
        self.handles[which].wake();
    }

    fn end(&self) {
        self.world.end();
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }
}

/// They have descriptors, whose events would be served there and then.
struct Told {
    world: World,
    fds: [RawFd; 2],
    turns: Arc<Turns>,
}

impl Default for Told {
    fn default() -> Self {
        let world = World::new(2);
        let (ns, turns) = (limited(&world), Arc::new(Turns::default()));
        let fds = [0, 1].map(|which| {
            let turns = turns.clone();
            let (source, fd) = does_on_event(move |_| {
                turns.run(which);
                Next::Idle
            });
            add(&ns, source);
            fd
        });
        Self { world, fds, turns }
    }
}

impl Limited for Told {
    fn wake(&self, which: usize) {
        self.world.stand.ready(&self.fds[which..=which]);
    }

    fn end(&self) {
        self.world.end();
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }
}
