//! Tear-down under load leaves no descriptor, no thread and no byte. One test, in a process of its
//! own, because it counts what the process has.
#![cfg(not(any(shuttle, loom)))]

#[path = "../../netns/tests/support/counting.rs"]
mod counting;
mod support;
#[path = "../../netns/tests/support/threads.rs"]
mod threads;

use holm_pool::{Config, Next, PoolSubsystem};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Does, World, add, connect, descriptors, threads_settle};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const CONNECTIONS: usize = 32;
const WORKERS: usize = 2;
const ROUNDS: usize = 200;

/// This one, the watchdog, and what a registry keeps for jobs to come.
const OTHER_THREADS: usize = 1 + 1 + 2;

fn main() {
    threads::many_at_once();

    // Who looks so seldom finds nobody stuck, so no worker is replaced, and what is allocated for
    // each of the rounds is freed in it.
    let bytes = many_rounds(Duration::from_secs(3600), WORKERS + OTHER_THREADS);
    // What grows with use and is kept for the next: a table, a buffer. Not something each time.
    assert!(bytes.unsigned_abs() < 8 * ROUNDS, "{bytes} bytes were left by {ROUNDS} rounds");

    // Here workers are found stuck and are replaced all the time; as many as there should be may be
    // kept as spares.
    many_rounds(Duration::from_micros(200), 2 * WORKERS + OTHER_THREADS);
    println!("tear-down under load: 2 x {ROUNDS} rounds, {bytes:+} bytes; 1 passed, 0 failed");
}

/// How many bytes the rounds left.
fn many_rounds(tick: Duration, most_threads: usize) -> isize {
    let world = World::new(Config { workers: WORKERS, tick: Some(tick), ..Config::default() });
    for _ in 0..20 {
        round(&world);
    }
    let open = descriptors();
    let bytes = counting::allocated();
    for _ in 0..ROUNDS {
        round(&world);
        assert_eq!(descriptors(), open, "descriptors were left");
        threads_settle(most_threads);
    }
    let bytes = counting::allocated() - bytes;
    drop(world);
    threads_settle(1);
    bytes
}

/// A namespace with connections that are busy all the time, deadlines and jobs is removed.
fn round(world: &World) {
    let ns = world.create("blue");
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(&ns)).collect();
    let soon = Instant::now() + Duration::from_micros(300);
    let again = |turn: &holm_pool::Turn<'_>| {
        turn.wake_at(Some(Instant::now() + Duration::from_millis(1)));
        Next::Idle
    };
    add(&ns, Arc::new(Does(again))).wake_at(Some(soon));
    std::thread::scope(|scope| {
        let clients = streams.into_iter().collect::<Vec<_>>();
        let mut halves = clients;
        let second = halves.split_off(CONNECTIONS / 2);
        let all = [halves, second].map(|mut half| {
            scope.spawn(move || {
                let mut buffer = [0; 64];
                // Until the other ends are closed.
                loop {
                    for stream in &mut half {
                        if stream.write_all(b"0123456789abcdef").is_err()
                            || !matches!(stream.read(&mut buffer), Ok(1..))
                        {
                            return;
                        }
                    }
                }
            })
        });
        for _ in 0..20 {
            let inside = ns.enter().expect("live");
            let pool = inside.get::<PoolSubsystem>().expect("registered");
            pool.spawn(|turn| turn.may_block(|| drop(std::fs::metadata("/")))).expect("live");
        }
        world.remove(&ns);
        threads::join_all(all.into_iter());
    });
}
