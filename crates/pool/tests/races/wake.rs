//! A worker is woken when there is more than one can do.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does, does_on_event, in_pool};
use holm_pool::{Handle, Next, Source, Turn};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use std::os::fd::RawFd;

/// Two workers and two sources; the run of each ends only when the other has begun.
pub trait Pair: Default + Send + Sync + 'static {
    /// Both have an event, told at once.
    fn both_ready(&self);
    /// One of them has an event.
    fn ready(&self, which: usize);
    fn meeting(&self) -> &Meeting;
    fn end(&self);
}

/// Where the two meet.
#[derive(Default)]
pub struct Meeting {
    come: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    pub fn meet(&self) {
        let mut come = self.come.lock().unwrap();
        *come += 1;
        self.changed.notify_all();
        while *come < 2 {
            come = self.changed.wait(come).unwrap();
        }
    }

    pub fn wait(&self) {
        let mut come = self.come.lock().unwrap();
        while *come < 2 {
            come = self.changed.wait(come).unwrap();
        }
    }
}

fn told_at_once<P: Pair>() {
    let pair = P::default();
    pair.both_ready();
    // If nobody takes the second, the first waits for ever: a deadlock.
    pair.meeting().wait();
    pair.end();
}

fn told_by_two<P: Pair>() {
    let pair = Arc::new(P::default());
    let other = thread::spawn({
        let pair = pair.clone();
        move || pair.ready(1)
    });
    pair.ready(0);
    pair.meeting().wait();
    other.join().unwrap();
    pair.end();
}

#[test]
fn idle_worker_is_woken_for_the_second_event() {
    passes("two events in one hand, and an idle worker", told_at_once::<Real>);
    passes("two events, and two idle workers", told_by_two::<Woken>);
    let what = "a worker that looks and then is idle";
    fails(what, &["deadlock"], told_by_two::<sketch::LooksThenSleeps>);
}

/// The sources have descriptors.
struct Real {
    world: World,
    fds: [RawFd; 2],
    meeting: Arc<Meeting>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let meeting = Arc::new(Meeting::default());
        let fds = [(); 2].map(|()| {
            let (source, fd) = does_on_event(meets(&meeting));
            in_pool(&ns, |pool| pool.add(source).unwrap());
            fd
        });
        Self { world, fds, meeting }
    }
}

fn meets(meeting: &Arc<Meeting>) -> impl Fn(&Turn<'_>) -> Next + Send + Sync + use<> {
    let meeting = meeting.clone();
    move |_| {
        meeting.meet();
        Next::Idle
    }
}

impl Pair for Real {
    fn both_ready(&self) {
        self.world.stand.ready(&self.fds);
    }

    fn ready(&self, which: usize) {
        self.world.stand.ready(&self.fds[which..=which]);
    }

    fn meeting(&self) -> &Meeting {
        &self.meeting
    }

    fn end(&self) {
        self.world.end();
    }
}

/// They are woken by other threads, in two namespaces.
struct Woken {
    world: World,
    handles: [Handle; 2],
    meeting: Arc<Meeting>,
}

impl Default for Woken {
    fn default() -> Self {
        let world = World::new(2);
        let meeting = Arc::new(Meeting::default());
        let handles = ["blue", "green"].map(|name| {
            let ns = world.registry.create(name).unwrap();
            let source: Arc<dyn Source> = does(meets(&meeting));
            in_pool(&ns, |pool| pool.add(source).unwrap())
        });
        Self { world, handles, meeting }
    }
}

impl Pair for Woken {
    fn both_ready(&self) {
        self.handles.iter().for_each(Handle::wake);
    }

    fn ready(&self, which: usize) {
        self.handles[which].wake();
    }

    fn meeting(&self) -> &Meeting {
        &self.meeting
    }

    fn end(&self) {
        self.world.end();
    }
}
