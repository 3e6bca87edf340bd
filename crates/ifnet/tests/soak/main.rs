//! Interfaces of every kind are created, configured, used by TCP and destroyed at random in fifty
//! namespaces, which are removed under it: `cargo xtask soak links --seconds N`.
//!
//! After each round nothing may be left: no descriptor, thread, file, kernel interface, name or unit, and
//! no more memory than after the first. Taps and packet sockets as root, in a network namespace of its own.
#![cfg(not(any(shuttle, loom)))]

mod cables;
#[path = "../../../netns/tests/support/counting.rs"]
mod counting;
mod echo;
#[path = "../../../netns/tests/support/threads.rs"]
mod threads;
mod world;

use std::time::{Duration, Instant};
use world::{Left, World};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// One round takes so long, and the first of them is not counted.
const ROUND: Duration = Duration::from_secs(10);
/// Bytes that may be left: what grows with use and is kept for the next, a table or a buffer of a thread's.
/// Not something for each interface or connection, of which there were thousands.
const KEPT: isize = 4 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let time = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seconds", seconds] => Duration::from_secs(seconds.parse().expect("a number")),
        // Whatever the test runner passes.
        _ => Duration::from_secs(6),
    };
    threads::many_at_once();
    let with_kernel = rustix::process::geteuid().is_root();
    if with_kernel {
        // SAFETY: there are no other threads, and those that come are in there too.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).expect("unshared");
        }
    } else {
        println!("without taps and packet sockets: they need root");
    }
    let seed = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_nsec as u64;
    let world = World::start(with_kernel);
    world.round(ROUND.min(time / 3), seed);
    let (before, bytes) = (world.left(), counting::allocated());
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < time || !world.done.is_all(with_kernel) {
        rounds += 1;
        world.round(ROUND.min(time), seed.wrapping_add(rounds));
        before.wait(&world);
        let more = counting::allocated() - bytes;
        assert!(more < KEPT, "{more} bytes were left by round {rounds} (seed {seed})");
    }
    let left = counting::allocated() - bytes;
    let Left { descriptors, threads, files, interfaces } = world.left();
    println!("soak links: {rounds} rounds in {:.0} s (seed {seed})", begin.elapsed().as_secs_f64());
    println!("{}", world.done);
    println!(
        "afterwards, as after the first round: {descriptors} descriptors, {threads} threads, {files} files, \
         {interfaces} kernel interfaces; {left:+} bytes"
    );
    world.stop();
    println!("1 passed, 0 failed");
}
