//! The pool with real threads and descriptors.
#![cfg(not(any(shuttle, loom)))]

mod support;

use holm_lifetime::Deadline;
use holm_netns::{Namespace, NsState};
use holm_pool::{Config, Next, PoolSubsystem, Report, SpawnError};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Does, World, add, connect, settles};

fn workers(workers: usize) -> Config {
    Config { workers, ..Config::default() }
}

/// Reports go to a channel.
fn reporting(config: Config) -> (Config, Receiver<String>) {
    let (sends, hears) = channel();
    let sends = Mutex::new(sends);
    let report = Arc::new(move |report: &Report| {
        let _ = sends.lock().unwrap().send(report.to_string());
    });
    (Config { report, ..config }, hears)
}

/// Waits for a report with this text.
fn hear(hears: &Receiver<String>, text: &str) {
    while !hears.recv().expect("the pool is there").contains(text) {}
}

fn echo(stream: &mut UnixStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

#[test]
fn many_connections_are_served() {
    let world = World::new(workers(3));
    let namespaces = ["blue", "green", "red"].map(|name| world.create(name));
    std::thread::scope(|scope| {
        for ns in &namespaces {
            scope.spawn(|| {
                let mut all: Vec<_> = (0..30).map(|_| connect(ns)).collect();
                for round in 0..50u8 {
                    for (n, stream) in all.iter_mut().enumerate() {
                        stream.write_all(&[round, n as u8 % 32, round]).unwrap();
                    }
                    for (n, stream) in all.iter_mut().enumerate() {
                        let mut answer = [0; 3];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, [round, n as u8 % 32, round]);
                    }
                }
            });
        }
    });
    // The connections were closed, and with them the sources end.
    for ns in &namespaces {
        world.remove(ns);
    }
}

/// While a flood of one namespace waits, what another namespace is woken for is run next but for
/// what runs already.
#[test]
fn quiet_namespace_is_served_within_a_turn_of_a_flood() {
    let world = World::new(workers(1));
    let quiet = world.create("quiet");
    let (flood, turns) = flood(&world);
    let (answers, asked) = channel();
    let asks = {
        let turns = turns.clone();
        Does(move |_: &holm_pool::Turn<'_>| {
            answers.send(turns.load(Ordering::SeqCst)).unwrap();
            Next::Idle
        })
    };
    let handle = add(&quiet, Arc::new(asks));
    let worst = worst_delay(&flood, &turns, move || handle.wake(), || asked.recv().unwrap());
    assert!(worst <= 1, "served after {worst} turns of the flood");
    world.remove(&flood);
    world.remove(&quiet);
}

/// The same when the kernel must be asked for the event: all workers are busy, and look now and then.
#[test]
fn quiet_connection_is_served_within_few_turns_of_a_flood() {
    struct Asks(UnixStream, Arc<AtomicUsize>, Sender<usize>);
    impl holm_pool::Source for Asks {
        fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
            Some(std::os::fd::AsFd::as_fd(&self.0))
        }
        fn run(&self, _: &holm_pool::Turn<'_>) -> Next {
            if (&self.0).read(&mut [0]).is_ok() {
                self.2.send(self.1.load(Ordering::SeqCst)).unwrap();
            }
            Next::Idle
        }
    }
    let world = World::new(workers(1));
    let quiet = world.create("quiet");
    let (flood, turns) = flood(&world);
    let (answers, asked) = channel();
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    add(&quiet, Arc::new(Asks(theirs, turns.clone(), answers)));
    let ours = Arc::new(ours);
    let asks = move || (&*ours).write_all(b"?").unwrap();
    let worst = worst_delay(&flood, &turns, asks, || asked.recv().unwrap());
    assert!(worst <= 6, "served after {worst} turns of the flood");
    world.remove(&flood);
    world.remove(&quiet);
}

/// A namespace with a hundred sources that always have more to do, and how many turns they had.
fn flood(world: &World) -> (Namespace, Arc<AtomicUsize>) {
    let flood = world.create("flood");
    let turns = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let turns = turns.clone();
        let source = Does(move |turn: &holm_pool::Turn<'_>| {
            turns.fetch_add(1, Ordering::SeqCst);
            turn.charge(turn.left());
            Next::More
        });
        add(&flood, Arc::new(source)).wake();
    }
    (flood, turns)
}

/// How many turns of the flood there are at most between asking and the answer. It is asked in a turn
/// of the flood itself, so that no clock and no scheduler is in the number.
fn worst_delay(
    flood: &Namespace,
    turns: &Arc<AtomicUsize>,
    ask: impl Fn() + Clone + Send + 'static,
    answer: impl Fn() -> usize,
) -> usize {
    let delays = (0..200).map(|_| {
        let (told, tells) = channel();
        let (ask, turns) = (ask.clone(), turns.clone());
        let job = move |_: &holm_pool::Turn<'_>| {
            told.send(turns.load(Ordering::SeqCst)).unwrap();
            ask();
        };
        let inside = flood.enter().unwrap();
        inside.get::<PoolSubsystem>().unwrap().spawn(job).unwrap();
        drop(inside);
        let before = tells.recv().unwrap();
        answer() - before
    });
    delays.max().unwrap()
}

/// Two floods of one kind get the same, though one has many more sources. They are counted where they
/// run, on the only worker, so that both numbers of a pair are of one moment.
#[test]
fn floods_share_evenly() {
    const ENOUGH: usize = 32 * 20_000;
    let world = World::new(workers(1));
    let served = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (pairs, counted) = channel();
    let floods = [("many", 64), ("one", 1)].map(|(name, sources)| {
        let ns = world.create(name);
        for _ in 0..sources {
            let (served, pairs) = (served.clone(), pairs.clone());
            let source = Does(move |turn: &holm_pool::Turn<'_>| {
                let own = &served[usize::from(sources == 1)];
                let before = own.fetch_add(turn.left() as usize, Ordering::SeqCst);
                let first_or_enough = before == 0 || (before..before + 32).contains(&ENOUGH);
                if sources == 1 && first_or_enough {
                    let [many, one] = &*served;
                    let pair = (many.load(Ordering::SeqCst), one.load(Ordering::SeqCst));
                    pairs.send(pair).unwrap();
                }
                turn.charge(turn.left());
                Next::More
            });
            add(&ns, Arc::new(source)).wake();
        }
        ns
    });
    // The one that came first had everything until the other came.
    let [before, after] = [(); 2].map(|()| counted.recv().unwrap());
    let (of_many, of_one) = (after.0 - before.0, after.1 - before.1);
    let ratio = of_many as f64 / of_one as f64;
    assert!((0.9..1.1).contains(&ratio), "{of_many} requests of one, {of_one} of the other");
    for ns in &floods {
        world.remove(ns);
    }
}

/// One worker, and calls of one namespace that block until they are let go: others are served, the
/// namespace's own further calls wait within its cap, and all is as before afterwards.
#[test]
fn calls_that_block_stop_nobody_else_and_pass() {
    let config = Config {
        workers: 1,
        slow_workers_per_namespace: 2,
        calm_ticks: 5,
        tick: Some(Duration::from_millis(2)),
        ..Config::default()
    };
    let (config, hears) = reporting(config);
    let world = World::new(config);
    let (stuck, other) = (world.create("stuck"), world.create("other"));
    let mut stream = connect(&other);
    echo(&mut stream, b"before");

    let (inside_now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut pipes = Vec::new();
    let (done, finished) = channel();
    let (enter, entered) = channel();
    for _ in 0..6 {
        let (reads, writes) = rustix::pipe::pipe().unwrap();
        let (inside_now, most) = (inside_now.clone(), most.clone());
        let (enter, done) = (enter.clone(), done.clone());
        let source = Does(move |turn: &holm_pool::Turn<'_>| {
            most.fetch_max(inside_now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            enter.send(()).unwrap();
            let n = turn.may_block(|| rustix::io::read(&reads, &mut [0u8; 1]).unwrap());
            inside_now.fetch_sub(1, Ordering::SeqCst);
            done.send(n).unwrap();
            Next::Done
        });
        add(&stuck, Arc::new(source)).wake();
        pipes.push(writes);
    }
    hear(&hears, "take long");
    // The one that was stuck before it was noticed, and one of the second group.
    for _ in 0..2 {
        entered.recv().unwrap();
    }
    for _ in 0..20 {
        echo(&mut stream, b"meanwhile");
    }
    let metrics = stuck.enter().unwrap().get::<PoolSubsystem>().unwrap().metrics();
    assert!(metrics.slow && metrics.stuck_calls >= 1 && metrics.queued == 4, "{metrics:?}");
    for writes in &pipes {
        rustix::io::write(writes, b"x").unwrap();
    }
    for _ in 0..6 {
        assert_eq!(finished.recv().unwrap(), 1);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    hear(&hears, "no longer");
    echo(&mut stream, b"after");
    // A source has said what it had to say before its turn is over, and a worker has left a call
    // before it is back at its place.
    settles(|| {
        let ns = stuck.enter().unwrap().get::<PoolSubsystem>().unwrap().metrics();
        let workers = world.pool.metrics().workers;
        let passed = !ns.slow && ns.queued == 0 && ns.sources == 0;
        let at_their_places = (workers.first, workers.second, workers.stuck) == (1, 0, 0);
        if passed && at_their_places { Ok(()) } else { Err(format!("{ns:?} {workers:?}")) }
    });
    world.remove(&stuck);
    world.remove(&other);
}

/// Calls of a namespace that block occupy as many workers as its limit says, also when that changes;
/// neither others nor the namespace's own jobs wait for them.
#[test]
fn limit_of_turns_holds_while_calls_block() {
    let world = World::new(workers(1));
    let (limited, other) = (world.create("limited"), world.create("other"));
    let limit = |most| {
        let inside = limited.enter().unwrap();
        inside.get::<PoolSubsystem>().unwrap().limit_turns(NonZero::new(most));
    };
    let metrics = || limited.enter().unwrap().get::<PoolSubsystem>().unwrap().metrics();
    limit(1);

    let (inside_now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (enter, entered) = channel();
    let pipes: Vec<_> = (0..4)
        .map(|_| {
            let (reads, writes) = rustix::pipe::pipe().unwrap();
            let (inside_now, most, enter) = (inside_now.clone(), most.clone(), enter.clone());
            let source = Does(move |turn: &holm_pool::Turn<'_>| {
                most.fetch_max(inside_now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                enter.send(()).unwrap();
                turn.may_block(|| rustix::io::read(&reads, &mut [0u8; 1]).unwrap());
                inside_now.fetch_sub(1, Ordering::SeqCst);
                Next::Done
            });
            add(&limited, Arc::new(source)).wake();
            writes
        })
        .collect();
    entered.recv().unwrap();
    assert_eq!((metrics().held_back, metrics().queued), (3, 3));
    let mut stream = connect(&other);
    echo(&mut stream, b"meanwhile");
    let (done, finished) = channel();
    let job = move |_: &holm_pool::Turn<'_>| done.send(()).unwrap();
    limited.enter().unwrap().get::<PoolSubsystem>().unwrap().spawn(job).unwrap();
    finished.recv().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);

    limit(2);
    entered.recv().unwrap();
    assert_eq!(metrics().held_back, 2);
    for writes in &pipes {
        rustix::io::write(writes, b"x").unwrap();
    }
    for _ in 0..2 {
        entered.recv().unwrap();
    }
    settles(|| {
        let metrics = metrics();
        let all_done = metrics.sources == 0 && metrics.queued == 0;
        if all_done { Ok(()) } else { Err(format!("{metrics:?}")) }
    });
    assert_eq!(most.load(Ordering::SeqCst), 2);
    let mut stream = connect(&limited);
    echo(&mut stream, b"after");
    world.remove(&limited);
    world.remove(&other);
}

/// A namespace goes while some of it waits for its limit: nobody waits for those.
#[test]
fn removal_does_not_wait_for_what_the_limit_holds_back() {
    let world = World::new(workers(1));
    let ns = world.create("blue");
    ns.enter().unwrap().get::<PoolSubsystem>().unwrap().limit_turns(NonZero::new(1));
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    let (begun, begins) = channel();
    let stuck = Does(move |turn: &holm_pool::Turn<'_>| {
        begun.send(()).unwrap();
        turn.may_block(|| rustix::io::read(&reads, &mut [0u8; 1]).unwrap());
        Next::Idle
    });
    add(&ns, Arc::new(stuck)).wake();
    begins.recv().unwrap();
    let held_back = Arc::new(());
    let own = held_back.clone();
    let source = Does(move |_: &holm_pool::Turn<'_>| {
        let _ = &own;
        unreachable!("the namespace goes before its turn comes")
    });
    add(&ns, Arc::new(source)).wake();
    world.registry.remove([&ns], Deadline::now()).unwrap_err();
    rustix::io::write(&writes, b"x").unwrap();
    ns.wait_gone(Deadline::Never).unwrap();
    assert_eq!(Arc::strong_count(&held_back), 1, "it is gone with the namespace");
}

/// A removal waits for a call that blocks, says who it is, and ends by itself.
#[test]
fn removal_names_the_call_that_holds_it() {
    let world = World::new(workers(1));
    let ns = world.create("blue");
    ns.track(true);
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    let (begun, begins) = channel();
    let job = move |turn: &holm_pool::Turn<'_>| {
        begun.send(()).unwrap();
        turn.may_block(|| rustix::io::read(&reads, &mut [0u8; 1]).unwrap());
    };
    let spawned_at = line!() + 1;
    ns.enter().unwrap().get::<PoolSubsystem>().unwrap().spawn(job).unwrap();
    begins.recv().unwrap();
    let draining = world.registry.remove([&ns], Deadline::now()).unwrap_err();
    let held = draining[0].to_string();
    assert!(held.contains(&format!("tests/pool.rs:{spawned_at}")), "{held}");
    rustix::io::write(&writes, b"x").unwrap();
    ns.wait_gone(Deadline::Never).unwrap();
    assert_eq!(ns.state(), NsState::Gone);
}

#[test]
fn deadlines_come_and_those_taken_back_do_not() {
    let world = World::new(workers(2));
    let ns = world.create("blue");
    let mut unit = Duration::from_millis(5);
    // Until none passed before it was taken back.
    while !deadlines_come(&ns, unit) {
        unit *= 2;
    }
    world.remove(&ns);
}

/// Four deadlines, one of which is taken back. Whether that was in time.
fn deadlines_come(ns: &Namespace, unit: Duration) -> bool {
    let (come, comes) = channel();
    let start = Instant::now();
    let deadlines = [6, 2, 4, 3].map(|units| start + units * unit);
    let handles: Vec<_> = (0..4)
        .map(|number| {
            let come: Sender<usize> = come.clone();
            let source = Does(move |_: &holm_pool::Turn<'_>| {
                // After the round that was late there is nobody to hear it.
                let _ = come.send(number);
                Next::Idle
            });
            let handle = add(ns, Arc::new(source));
            handle.wake_at(Some(deadlines[number]));
            handle
        })
        .collect();
    handles[3].wake_at(None);
    let in_time = Instant::now() < deadlines[3];
    let mut missing = vec![0, 1, 2];
    while !missing.is_empty() {
        let number = comes.recv().unwrap();
        assert!(deadlines[number] <= Instant::now(), "{number} came too early");
        missing.retain(|other| *other != number);
        assert!(number != 3 || !in_time, "it was taken back");
    }
    assert!(comes.try_recv().is_err() || !in_time, "one came twice");
    // One that is far away does not hold the removal up.
    handles[0].wake_at(Some(start + Duration::from_secs(3600)));
    in_time
}

#[test]
fn panic_ends_one_source_and_is_reported() {
    let (config, hears) = reporting(workers(1));
    let world = World::new(config);
    let ns = world.create("blue");
    let (mut dies, mut lives) = (connect(&ns), connect(&ns));
    dies.write_all(&[0xff]).unwrap();
    hear(&hears, "the one that it dies of");
    assert_eq!(dies.read(&mut [0]).unwrap_or(0), 0, "closed");
    echo(&mut lives, b"still here");
    let inside = ns.enter().unwrap();
    let pool = inside.get::<PoolSubsystem>().unwrap();
    pool.spawn(|_| panic!("a job dies")).unwrap();
    hear(&hears, "a job dies");
    assert_eq!((pool.metrics().sources, pool.metrics().panics), (1, 2));
    drop(inside);
    world.remove(&ns);
}

#[test]
fn source_is_told_and_job_refused_when_the_namespace_goes() {
    struct Told(AtomicBool, Sender<bool>);
    impl holm_pool::Source for Told {
        fn run(&self, _: &holm_pool::Turn<'_>) -> Next {
            Next::Idle
        }
        fn closing(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    impl Drop for Told {
        fn drop(&mut self) {
            self.1.send(self.0.load(Ordering::SeqCst)).unwrap();
        }
    }
    let world = World::new(workers(1));
    let ns = world.create("blue");
    let (drops, dropped) = channel();
    let handle = add(&ns, Arc::new(Told(AtomicBool::new(false), drops)));
    let inside = ns.enter().unwrap();
    world.registry.remove([&ns], Deadline::now()).unwrap_err();
    let refused = inside.get::<PoolSubsystem>().unwrap().spawn(|_| unreachable!("refused"));
    assert_eq!(refused, Err(SpawnError(ns.id().clone())));
    drop(inside);
    ns.wait_gone(Deadline::Never).unwrap();
    assert_eq!(dropped.try_recv(), Ok(true), "told, and dropped before the namespace was gone");
    handle.wake();
    handle.remove();
}
