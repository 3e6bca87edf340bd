//! Tear-down under load leaves no descriptor, no thread and no byte. One test, in a process of its
//! own, because it counts what the process has.
#![cfg(not(any(shuttle, loom)))]

#[path = "../../netns/tests/support/counting.rs"]
mod counting;
mod support;

use holm_pool::{Config, Next, PoolSubsystem};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Does, World, add, connect, descriptors, threads};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const CONNECTIONS: usize = 32;

fn main() {
    let world = World::new(Config { workers: 2, ..Config::default() });
    for _ in 0..20 {
        round(&world);
    }
    let before = (descriptors(), threads());
    let bytes = counting::allocated();
    const ROUNDS: usize = 200;
    for _ in 0..ROUNDS {
        round(&world);
        assert_eq!(descriptors(), before.0, "descriptors were left");
        assert_eq!(threads(), before.1, "threads were left");
    }
    let left = counting::allocated() - bytes;
    // What grows with use and is kept for the next: a table, a buffer. Not something each time.
    assert!(left.unsigned_abs() < 8 * ROUNDS, "{left} bytes were left by {ROUNDS} rounds");
    let threads_before = threads();
    drop(world);
    // Those of the registry and of the pool.
    assert!(threads() < threads_before, "threads were left");
    assert_eq!(threads(), 1, "threads were left");
    println!("tear-down under load: {ROUNDS} rounds, {left:+} bytes; 1 passed, 0 failed");
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
        for client in all {
            client.join().expect("no panic");
        }
    });
}
