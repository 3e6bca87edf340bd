//! Real threads do everything at random for a while: `cargo xtask soak core --seconds N`.
//!
//! At the end nothing may be left: no namespace, no state of a subsystem, nobody inside, no byte.
//! The whole is done twice, so that what a program allocates once and for all is allocated in the
//! first, shorter round; what is allocated after the second must be what was after the first.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/threads.rs"]
mod threads;

use holm_lifetime::levels::Locked;
use holm_lifetime::{Deadline, Gate};
use holm_netns::{
    CreateError, Event, Heard, Held, InitError, Namespace, NsState, Registry, RequestError,
    Subsystem, UnregisterError, View,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use threads::join_all;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let seconds = seconds_from_arguments();
    threads::many_at_once();
    round(Duration::from_secs(1).min(seconds / 4), 1);
    let before = counting::allocated();
    let seed = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_nsec as u64;
    let done = round(seconds, seed);
    let left = counting::allocated() - before;
    println!(
        "soak core: {done} (seed {seed}); allocated afterwards, against before: {left:+} bytes"
    );
    assert_eq!(left, 0, "bytes were leaked");
    println!("1 passed, 0 failed");
}

fn seconds_from_arguments() -> Duration {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(error) => panic!("--seconds {seconds}: {error}"),
        },
        // Whatever the test runner passes.
        _ => Duration::from_secs(5),
    }
}

/// What was done.
#[derive(Default)]
struct Done {
    created: AtomicU64,
    removed: AtomicU64,
    entered: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    registered: AtomicU64,
    timed_out: AtomicU64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} created, {} removed, {} times inside, {} requests run and {} refused, \
             {} subsystems registered, {} removals timed out first",
            n(&self.created),
            n(&self.removed),
            n(&self.entered),
            n(&self.requests),
            n(&self.refused),
            n(&self.registered),
            n(&self.timed_out),
        )
    }
}

/// How many states there are, of all subsystems.
static STATES: AtomicI64 = AtomicI64::new(0);

fn round(duration: Duration, seed: u64) -> Done {
    const THREADS: u64 = 4;
    let registry = Registry::new().expect("a worker thread");
    registry.register(Kept).expect("it refuses nothing");
    let done = Done::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (registry, done, stop) = (&registry, &done, &stop);
        let steps = (0..THREADS).map(|thread| {
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(31).wrapping_add(thread) | 1);
                while !stop.load(Ordering::Relaxed) {
                    step(registry, &mut random, done);
                }
            })
        });
        let listens = std::iter::once(scope.spawn(move || {
            let mut events = registry.events();
            let end = Instant::now() + duration;
            while Instant::now() < end {
                // A listener that is sometimes slow.
                while let Some(heard) = events.try_next() {
                    if let Heard::Event(Event::Failed(failed)) = heard {
                        panic!("{failed}");
                    }
                }
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        }));
        join_all(steps.chain(listens));
    });
    registry.remove_all(Deadline::Never).expect("nobody is inside");
    assert!(registry.list().is_empty(), "a namespace was left behind");
    match registry.unregister::<Coming>(Deadline::Never) {
        Ok(()) | Err(UnregisterError::NotRegistered) => {}
        Err(error) => panic!("{error}"),
    }
    assert_eq!(STATES.load(Ordering::SeqCst), 0, "a state was left behind");
    done
}

fn step(registry: &Registry, random: &mut Random, done: &Done) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let name = format!("ns-{}", random.below(12));
    match random.below(100) {
        0..20 => match registry.create(name.as_str()) {
            Ok(_) => drop(count(&done.created)),
            Err(CreateError::Exists(_)) => {}
            Err(error) => panic!("{error}"),
        },
        20..60 => {
            if let Some(inside) = registry.enter(&name) {
                look(inside.get::<Kept>().expect("registered all the time"));
                count(&done.entered);
                // Leaves on another thread, while this one may be removing it.
                if random.below(20) == 0 {
                    std::thread::scope(|scope| {
                        let leaves = scope.spawn(move || {
                            std::thread::yield_now();
                            look(inside.get::<Kept>().expect("still inside"));
                        });
                        step(registry, random, done);
                        join_all(std::iter::once(leaves));
                    });
                }
            }
        }
        60..75 => {
            if let Some(ns) = registry.find(&name) {
                let kept = |in_ns: &mut holm_netns::InNs<'_>| {
                    look(in_ns.contents.get::<Kept>().expect("registered all the time"));
                };
                let mut held = Locked::nothing();
                let pending = if random.below(2) == 0 {
                    ns.request(&mut held, kept)
                } else {
                    let mut rtnl = registry.rtnl(&mut held);
                    ns.request(rtnl.token(), kept)
                };
                match pending.wait(Deadline::Never) {
                    Ok(Ok(())) => drop(count(&done.requests)),
                    Ok(Err(RequestError::Gone(_))) => drop(count(&done.refused)),
                    Ok(Err(error)) => panic!("{error}"),
                    Err(_) => unreachable!("no deadline"),
                }
            }
        }
        75..80 => {
            if let Some(ns) = registry.find(&name) {
                ns.track(random.below(2) == 0);
                drop(ns.lock(&mut Locked::nothing()));
            }
        }
        80..82 => match registry.register(Coming) {
            Ok(()) => drop(count(&done.registered)),
            Err(holm_netns::RegisterError::Exists(_)) => {}
            Err(error) => panic!("{error}"),
        },
        82..84 => match registry.unregister::<Coming>(Deadline::Never) {
            Ok(()) | Err(UnregisterError::NotRegistered) => {}
            Err(error) => panic!("{error}"),
        },
        84..86 => {
            let listed = registry.list();
            assert!(listed.iter().all(|listed| listed.state != NsState::Coming));
        }
        86..98 => {
            if let Some(ns) = registry.find(&name) {
                remove(registry, &[ns], random, done);
            }
        }
        _ => {
            let batch: Vec<_> =
                (0..4).filter_map(|_| registry.find(&format!("ns-{}", random.below(12)))).collect();
            remove(registry, &batch, random, done);
        }
    }
}

fn remove(registry: &Registry, batch: &[Namespace], random: &mut Random, done: &Done) {
    if random.below(2) == 0 && registry.remove(batch, Deadline::now()).is_err() {
        done.timed_out.fetch_add(1, Ordering::Relaxed);
    }
    registry.remove(batch, Deadline::Never).expect("no deadline");
    for ns in batch {
        assert_eq!(ns.state(), NsState::Gone);
        assert!(ns.enter().is_none(), "removed, and it can be entered");
        done.removed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A state that knows whether it is alive, with a gate of its own.
struct Alive {
    alive: AtomicBool,
    gate: Gate<Vec<u8>>,
}

fn look(state: &Alive) {
    let pass = state.gate.enter();
    assert!(state.alive.load(Ordering::Relaxed), "its state was destroyed meanwhile");
    if let Some(pass) = pass {
        assert_eq!(pass.len(), 100);
    }
}

fn make() -> Alive {
    STATES.fetch_add(1, Ordering::SeqCst);
    Alive { alive: AtomicBool::new(true), gate: Gate::new(vec![0; 100]) }
}

fn destroy(state: Alive) {
    state.alive.store(false, Ordering::Relaxed);
    state.gate.drained(Deadline::Never).expect("no deadline");
    assert!(state.gate.take().is_some());
    STATES.fetch_sub(1, Ordering::SeqCst);
}

/// Registered all the time.
struct Kept;

impl Subsystem for Kept {
    type State = Alive;

    fn name(&self) -> &str {
        "kept"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<Alive, InitError> {
        Ok(make())
    }

    fn pre_exit(&self, _: &View<'_>, state: &Alive) {
        state.gate.shut();
    }

    fn exit(&self, _: &View<'_>, state: Alive) {
        destroy(state);
    }
}

/// Registered and unregistered all the time.
struct Coming;

impl Subsystem for Coming {
    type State = Arc<Alive>;

    // So that workers have something to do.
    const EXIT_MAY_BLOCK: bool = true;

    fn name(&self) -> &str {
        "coming"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<Arc<Alive>, InitError> {
        look(ns.get::<Kept>().expect("registered before"));
        Ok(Arc::new(make()))
    }

    fn pre_exit(&self, _: &View<'_>, state: &Arc<Alive>) {
        state.gate.close();
    }

    fn exit(&self, ns: &View<'_>, state: Arc<Alive>) {
        look(ns.get::<Kept>().expect("exits later"));
        destroy(Arc::into_inner(state).expect("by value, and nobody else has it"));
    }
}

/// xorshift64: enough to be unpredictable.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
