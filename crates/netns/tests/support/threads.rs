//! For tests that count bytes.

use holm_lifetime::grace;
use holm_lifetime::sync::{Condvar, Mutex};
use std::thread::ScopedJoinHandle;

/// Lanes, and the table of parked threads in parking_lot, are as large as there were threads at once
/// and are never freed: so there are more now than there will be.
pub fn many_at_once() {
    const MANY: usize = 128;
    let (waiting, all) = (Mutex::new(0), Condvar::new());
    let wait_for_all = || {
        drop(grace::section());
        let mut waiting = waiting.lock();
        *waiting += 1;
        all.notify_all();
        while *waiting < MANY {
            waiting = all.wait(waiting);
        }
    };
    std::thread::scope(|scope| join_all((0..MANY).map(|_| scope.spawn(wait_for_all))));
}

/// Joins each: the end of a scope alone does not wait until a thread has freed what is its own.
pub fn join_all<'a>(threads: impl Iterator<Item = ScopedJoinHandle<'a, ()>>) {
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("a thread panicked");
    }
}
