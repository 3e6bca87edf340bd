//! Grace periods, what is published, and deadlines.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Drops, panic_message};
use holm_lifetime::grace::{self, Section, Unlinked};
use holm_lifetime::{Deadline, Published};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn synchronize_waits_for_a_section_that_began_before() {
    for _ in 0..50 {
        let over = Arc::new(AtomicBool::new(false));
        let section = grace::section();
        let (about_to, go) = mpsc::channel();
        let writer = thread::spawn({
            let over = over.clone();
            move || {
                about_to.send(()).unwrap();
                grace::synchronize();
                over.store(true, Ordering::SeqCst);
            }
        });
        go.recv().unwrap();
        for _ in 0..50 {
            thread::yield_now();
        }
        assert!(!over.load(Ordering::SeqCst), "the section is still there");
        drop(section);
        writer.join().unwrap();
    }
}

#[test]
fn only_the_end_of_the_outermost_section_counts() {
    let over = Arc::new(AtomicBool::new(false));
    let outer = grace::section();
    let inner = grace::section();
    let writer = thread::spawn({
        let over = over.clone();
        move || {
            grace::synchronize();
            over.store(true, Ordering::SeqCst);
        }
    });
    // Ended in either order.
    drop(outer);
    drop(grace::section());
    for _ in 0..200 {
        thread::yield_now();
    }
    assert!(!over.load(Ordering::SeqCst), "one section is still there");
    drop(inner);
    writer.join().unwrap();
}

#[test]
fn synchronize_is_not_held_up_by_sections_that_begin_later() {
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                // Never out of a section for longer than it takes to begin the next.
                while !stop.load(Ordering::Relaxed) {
                    drop(grace::section());
                }
            })
        })
        .collect();
    for _ in 0..200 {
        grace::synchronize();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn synchronize_within_a_section_panics_and_after_it_does_not() {
    let outer = grace::section();
    let inner = grace::section();
    assert_eq!(panic_message(|| _ = grace::synchronize()), "synchronize() within a section");
    drop(inner);
    assert_eq!(panic_message(|| _ = grace::synchronize()), "synchronize() within a section");
    drop(outer);
    grace::synchronize();
}

#[test]
fn grace_period_covers_what_was_unlinked_before_it_and_not_after() {
    let before = Unlinked::now();
    let elapsed = grace::synchronize();
    assert!(elapsed.covers(before));
    assert!(!elapsed.covers(Unlinked::now()));
    assert!(grace::synchronize_since(before).covers(before));
    let after = Unlinked::now();
    assert!(grace::synchronize_since(after).covers(after));
}

#[test]
fn synchronize_since_does_not_wait_for_what_is_covered_already() {
    let unlinked = Unlinked::now();
    grace::synchronize();
    // A new grace period would panic here.
    let _section = grace::section();
    assert!(grace::synchronize_since(unlinked).covers(unlinked));
    assert!(!panic_message(|| _ = grace::synchronize_since(Unlinked::now())).is_empty());
}

#[test]
fn many_writers_at_once_each_get_a_grace_period() {
    let start = Arc::new(Barrier::new(8));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                for _ in 0..50 {
                    let unlinked = Unlinked::now();
                    assert!(grace::synchronize().covers(unlinked));
                    drop(grace::section());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn published_value_is_seen_until_the_section_ends_and_reclaimed_after() {
    let drops = Drops::default();
    let published = Published::new(Some(Box::new(drops.value(1))));
    let section = grace::section();
    let seen = published.get(&section).expect("published");
    let old = published.replace(Some(Box::new(drops.value(2)))).expect("there was one");
    assert_eq!((seen.number, old.number), (1, 1));
    assert_eq!(published.get(&section).map(|value| value.number), Some(2));
    drop(section);
    let elapsed = grace::synchronize();
    assert!(old.is_covered_by(&elapsed));
    let old = old.reclaim(&elapsed);
    assert_eq!((old.number, drops.count()), (1, 0));
    drop(old);
    assert_eq!(drops.count(), 1);
    drop(published);
    assert_eq!(drops.count(), 2);
}

#[test]
fn published_nothing_is_nothing() {
    let published = Published::<u32>::new(None);
    assert!(published.get(&grace::section()).is_none());
    assert!(published.replace(None).is_none());
    assert!(published.replace(Some(Box::new(1))).is_none());
    let old = published.replace(None).expect("there was one");
    assert!(published.get(&grace::section()).is_none());
    assert_eq!(*old.reclaim(&grace::synchronize()), 1);
}

#[test]
fn too_old_a_grace_period_frees_nothing() {
    let drops = Drops::default();
    let published = Published::new(Some(Box::new(drops.value(1))));
    let too_old = grace::synchronize();
    let old = published.replace(None).expect("there was one");
    assert!(!old.is_covered_by(&too_old));
    let message = panic_message(|| drop(old.reclaim(&too_old)));
    assert_eq!(message, "the grace period is older than what it should free");
    assert_eq!(drops.count(), 1, "unwinding waited for its own grace period and freed it once");
}

#[test]
fn outgoing_value_that_is_dropped_waits_for_its_readers() {
    let drops = Drops::default();
    let published = Published::new(Some(Box::new(drops.value(1))));
    let (replaced, go) = mpsc::channel();
    thread::scope(|scope| {
        let section = grace::section();
        let seen = published.get(&section).expect("published");
        scope.spawn(|| {
            let old = published.replace(None);
            replaced.send(()).unwrap();
            drop(old);
        });
        go.recv().unwrap();
        for _ in 0..50 {
            thread::yield_now();
        }
        assert_eq!((drops.count(), seen.number), (0, 1));
        drop(section);
    });
    assert_eq!(drops.count(), 1);
}

#[test]
fn readers_never_see_what_was_freed() {
    struct Canary(AtomicUsize);
    const ALIVE: usize = 0xA11E;
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.store(0, Ordering::Relaxed);
        }
    }
    let fresh = || Some(Box::new(Canary(AtomicUsize::new(ALIVE))));
    let published = Published::new(fresh());
    let stop = AtomicBool::new(false);
    let looks = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let section = grace::section();
                    let canary = published.get(&section).expect("published");
                    for _ in 0..20 {
                        assert_eq!(canary.0.load(Ordering::Relaxed), ALIVE);
                    }
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..300 {
            // Now and then nothing is replaced for so long that sections cease to pay for fences.
            let enough = looks.load(Ordering::Relaxed) + 3 * 5000;
            while round % 20 == 0 && looks.load(Ordering::Relaxed) < enough {
                thread::yield_now();
            }
            let old = published.replace(fresh()).expect("there was one");
            drop(old.reclaim(&grace::synchronize()));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// A section that lives as long as its thread's thread-locals.
struct Kept {
    _section: Section,
    at_the_end: Box<dyn FnMut()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.at_the_end)();
    }
}

/// A section in a thread-local ends after everything this crate keeps for the thread. Until then
/// nobody else gets what the section stands on.
#[test]
fn section_that_outlives_its_threads_lane_keeps_the_lane() {
    let (others, started) = mpsc::channel();
    let dying = thread::spawn(move || {
        // The thread-local comes first, so it goes last.
        KEPT.with(|_| ());
        let at_the_end = Box::new(move || {
            // One of these would get the lane of this thread.
            let ready = Arc::new(Barrier::new(65));
            for _ in 0..64 {
                let ready = ready.clone();
                let other = thread::spawn(move || {
                    drop(grace::section());
                    ready.wait();
                    grace::synchronize()
                });
                others.send(other).unwrap();
            }
            ready.wait();
        });
        KEPT.with(|kept| {
            *kept.borrow_mut() = Some(Kept { _section: grace::section(), at_the_end });
        });
    });
    dying.join().unwrap();
    for other in started {
        other.join().expect("no section of its own");
    }
    // The lane is free again, and whoever has it is in no section.
    let ready = Arc::new(Barrier::new(65));
    let later: Vec<_> = (0..65)
        .map(|_| {
            let ready = ready.clone();
            thread::spawn(move || {
                drop(grace::section());
                ready.wait();
                grace::synchronize()
            })
        })
        .collect();
    for later in later {
        later.join().expect("no section of its own");
    }
}

#[test]
fn deadlines_at_the_edges() {
    assert!(Deadline::now().passed());
    assert!(Deadline::after(Duration::ZERO).passed());
    assert!(Deadline::At(Instant::now()).passed());
    assert!(!Deadline::Never.passed());
    assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
    assert!(!Deadline::after(Duration::from_secs(3600)).passed());
    assert_ne!(Deadline::after(Duration::from_secs(3600)), Deadline::Never);
}
