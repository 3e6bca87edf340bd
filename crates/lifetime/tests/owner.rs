//! An owner's value: who gets it, when, how often, and who is in the way.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Counted, Drops, Fragile, panic_message};
use holm_lifetime::holders::Held;
use holm_lifetime::{Deadline, Owner, Ref, Retired, WeakRef};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn value_comes_back_by_value_and_is_dropped_by_whoever_got_it() {
    let drops = Drops::default();
    let owner = Owner::new(drops.value(7));
    let weak = owner.downgrade();
    drop(owner.get());
    let value = owner.retire().wait(Deadline::Never).expect("nobody holds it");
    drop(weak);
    assert_eq!((value.number, drops.count()), (7, 0));
    drop(value);
    assert_eq!(drops.count(), 1);
}

#[test]
fn wait_that_times_out_can_be_repeated_until_the_value_comes() {
    let drops = Drops::default();
    let owner = Owner::new(drops.value(1));
    let (one, two) = (owner.get(), owner.get());
    let still = owner.retire().wait(Deadline::now()).expect_err("held twice");
    assert_eq!(still.held.count, 2);
    drop(one);
    let still = still.retired.wait(Deadline::now()).expect_err("held once");
    assert_eq!((still.held.count, drops.count()), (1, 0));
    assert_eq!(still.to_string(), "held 1 time (1 taken with tracking off)");
    drop(two);
    drop(still.retired.wait(Deadline::now()).expect("nobody holds it"));
    assert_eq!(drops.count(), 1);
}

#[test]
fn wait_is_woken_by_a_last_reference_dropped_on_another_thread() {
    let owner = Owner::new(5);
    let held = owner.get();
    let (about_to_wait, go) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let retired = owner.retire();
        about_to_wait.send(()).unwrap();
        retired.wait(Deadline::Never).expect("no deadline")
    });
    go.recv().unwrap();
    assert_eq!(*held, 5, "retired, and there for those who have it");
    drop(held);
    assert_eq!(waiter.join().unwrap(), 5);
}

#[test]
fn value_goes_with_the_last_reference_when_nobody_waits() {
    type LetGo = fn(Owner<Counted>);
    let ways: [(&str, LetGo); 3] = [
        ("owner dropped", drop),
        ("retired dropped", |owner| drop(owner.retire())),
        ("still held dropped", |owner| drop(owner.retire().wait(Deadline::now()).err())),
    ];
    for (how, let_go) in ways {
        let drops = Drops::default();
        let owner = Owner::new(drops.value(1));
        let weak = owner.downgrade();
        let (one, two) = (owner.get(), owner.get());
        let_go(owner);
        assert!(weak.is_retired() && weak.upgrade().is_none(), "{how}");
        drop(one);
        assert_eq!((drops.count(), two.number), (0, 1), "{how}");
        drop(two);
        assert_eq!((drops.count(), weak.held().count), (1, 0), "{how}");
        drop(weak);
        assert_eq!(drops.count(), 1, "{how}");
    }
}

#[test]
fn value_goes_at_once_when_nobody_holds_it() {
    let drops = Drops::default();
    drop(Owner::new(drops.value(1)));
    assert_eq!(drops.count(), 1);
    let retired = Owner::new(drops.value(2)).retire();
    assert_eq!(drops.count(), 1, "it waits for whoever waits");
    drop(retired);
    assert_eq!(drops.count(), 2);
}

#[test]
fn reference_may_be_the_last_on_any_thread() {
    struct TellsWhere(mpsc::Sender<thread::ThreadId>);
    impl Drop for TellsWhere {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let (sender, dropped_on) = mpsc::channel();
    let owner = Owner::new(TellsWhere(sender));
    let last = owner.get();
    drop(owner);
    let other = thread::spawn(move || {
        drop(last);
        thread::current().id()
    });
    assert_eq!(dropped_on.recv().unwrap(), other.join().unwrap());
}

#[test]
fn taker_is_called_by_the_thread_that_lets_go_last() {
    let drops = Drops::default();
    let owner = Owner::new(drops.value(3));
    let last = owner.get();
    let (taken, takes) = mpsc::channel();
    owner.retire().on_drained(move |value| taken.send((value, thread::current().id())).unwrap());
    assert!(takes.try_recv().is_err(), "somebody holds it");
    let other = thread::spawn(move || {
        drop(last);
        thread::current().id()
    });
    let (value, on) = takes.recv().unwrap();
    assert_eq!((value.number, on, drops.count()), (3, other.join().unwrap(), 0));
    assert!(takes.recv().is_err(), "the taker is gone after its one call");
}

#[test]
fn taker_is_called_at_once_when_nobody_holds_on() {
    let drops = Drops::default();
    let taken = Arc::new(Mutex::new(None));
    let into = taken.clone();
    Owner::new(drops.value(4))
        .retire()
        .on_drained(move |value| *into.lock().unwrap() = Some(value));
    assert_eq!(taken.lock().unwrap().as_ref().map(|value| value.number), Some(4));
    assert_eq!(drops.count(), 0);
}

#[test]
fn nothing_makes_a_reference_once_retired() {
    let owner = Owner::new(1);
    let weak = owner.downgrade();
    let held = weak.upgrade().expect("live");
    let again = held.again().expect("live");
    assert!(!weak.is_retired());
    let retired = owner.retire();
    assert!(held.again().is_none() && again.again().is_none());
    assert!(weak.upgrade().is_none() && weak.clone().upgrade().is_none());
    assert!(weak.is_retired());
    assert_eq!((weak.held().count, retired.held().count), (2, 2), "a refusal leaves no count");
    drop((held, again));
    assert_eq!(retired.wait(Deadline::now()).expect("nobody holds it"), 1);
    assert!(weak.upgrade().is_none());
}

/// Where in the code they were taken, from the top.
fn lines(held: &Held) -> Vec<u32> {
    let mut lines: Vec<u32> = held.holders.iter().map(|holder| holder.location.line()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn more_than_a_thread_has_notes_for_are_named_too() {
    let owner = Owner::new(());
    let other = Owner::new(());
    owner.track(true);
    other.track(true);
    let all: Vec<_> = (0..100).map(|_| owner.get()).collect();
    let of_other = other.get();
    let held = owner.held();
    assert_eq!((held.count, held.holders.len()), (100, 100));
    assert_eq!(other.held().holders.len(), 1);
    drop(all);
    assert_eq!((owner.held().holders.len(), other.held().holders.len()), (0, 1));
    // What one thread has noted, another gives back.
    let again = owner.get();
    thread::scope(|scope| scope.spawn(move || drop((again, of_other))).join().unwrap());
    assert_eq!((owner.held().holders.len(), other.held().holders.len()), (0, 0));
}

#[test]
fn holders_taken_while_tracked_are_named_with_line_thread_and_age() {
    let owner = Owner::new(());
    let _before = owner.get();
    owner.track(true);
    let start = Instant::now();
    let (first, first_line) = (owner.get(), line!());
    let weak = owner.downgrade();
    let (second, second_line) = thread::Builder::new()
        .name("second".into())
        .spawn(move || (weak.upgrade().expect("live"), line!()))
        .unwrap()
        .join()
        .unwrap();
    owner.track(false);
    let _between = owner.get();
    owner.track(true);
    let (third, third_line) = (second.again().expect("live"), line!());

    let held = owner.held();
    assert_eq!(held.count, 5);
    assert_eq!(lines(&held), [first_line, second_line, third_line]);
    assert!(held.holders.iter().all(|holder| holder.location.file() == file!()));
    assert!(held.holders.is_sorted_by_key(|holder| holder.since), "oldest first");
    // The clock goes on every few milliseconds.
    let longest = start.elapsed() + Duration::from_millis(20);
    assert!(held.holders.iter().all(|holder| holder.age() <= longest));
    for holder in &held.holders {
        let is_second = holder.location.line() == second_line;
        let name = holder.thread.as_deref();
        // Another may have its place by now, and then it is not said.
        assert!(if is_second {
            [Some("second"), None].contains(&name)
        } else {
            name == thread::current().name()
        });
    }
    assert!(held.to_string().ends_with("(2 taken with tracking off)"), "{held}");

    // Marks are given back in any order, and used again for the right holder.
    drop(first);
    let (fourth, fourth_line) = (owner.get(), line!());
    drop(third);
    let still = owner.retire().wait(Deadline::now()).expect_err("held");
    assert_eq!((still.held.count, lines(&still.held)), (4, vec![second_line, fourth_line]));
    drop((second, fourth));
    assert!(still.retired.held().holders.is_empty());
    assert_eq!(still.retired.held().count, 2);
}

#[test]
fn tracked_reference_is_forgotten_though_tracking_was_switched_off_meanwhile() {
    let owner = Owner::new(());
    owner.track(true);
    let held = owner.get();
    owner.track(false);
    assert_eq!(owner.held().holders.len(), 1);
    drop(held);
    assert_eq!((owner.held().count, owner.held().holders.len()), (0, 0));
}

#[test]
fn panic_in_the_values_destructor_leaves_the_last_drop_and_nothing_else() {
    let drops = Drops::default();
    let owner = Owner::new(Fragile(drops.value(8)));
    let weak = owner.downgrade();
    let last = owner.get();
    drop(owner);
    assert_eq!(panic_message(|| drop(last)), "fragile 8");
    assert_eq!((drops.count(), weak.held().count), (1, 0));
    assert!(weak.upgrade().is_none());
}

#[test]
fn panic_in_a_taker_drops_the_value_once() {
    let drops = Drops::default();
    let owner = Owner::new(drops.value(1));
    let last = owner.get();
    owner.retire().on_drained(|value| panic!("taker of {}", value.number));
    assert_eq!(panic_message(|| drop(last)), "taker of 1");
    assert_eq!(drops.count(), 1);
}

/// Many threads take references by every means while the owner retires; each sees a live value.
#[test]
fn value_is_alive_for_every_reference_and_leaves_after_the_last() {
    struct Life {
        ended: AtomicBool,
        using: AtomicUsize,
    }
    for round in 0..100 {
        let owner = Owner::new(Life { ended: AtomicBool::new(false), using: AtomicUsize::new(0) });
        owner.track(round % 2 == 0);
        let start = Arc::new(Barrier::new(5));
        let users: Vec<_> = (0..4)
            .map(|_| {
                let (weak, start) = (owner.downgrade(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let mut uses = 0;
                    while let Some(held) = weak.upgrade() {
                        held.using.fetch_add(1, Ordering::Relaxed);
                        let again = held.again();
                        drop(again);
                        assert!(!held.ended.load(Ordering::Relaxed), "used after it left");
                        held.using.fetch_sub(1, Ordering::Relaxed);
                        uses += 1;
                    }
                    uses
                })
            })
            .collect();
        start.wait();
        for _ in 0..round % 8 {
            thread::yield_now();
        }
        let life = owner.retire().wait(Deadline::Never).expect("no deadline");
        life.ended.store(true, Ordering::Relaxed);
        assert_eq!(life.using.load(Ordering::Relaxed), 0, "left before its last user");
        for user in users {
            user.join().unwrap();
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Get,
    Again(prop::sample::Index),
    Upgrade,
    Drop(prop::sample::Index),
    Track(bool),
    Retire,
    WaitNow,
    OnDrained,
    DropOwnerOrRetired,
    DropOnAnotherThread(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    use prop::sample::Index;
    prop_oneof![
        4 => Just(Op::Get),
        2 => any::<Index>().prop_map(Op::Again),
        3 => Just(Op::Upgrade),
        6 => any::<Index>().prop_map(Op::Drop),
        2 => any::<bool>().prop_map(Op::Track),
        1 => Just(Op::Retire),
        2 => Just(Op::WaitNow),
        1 => Just(Op::OnDrained),
        1 => Just(Op::DropOwnerOrRetired),
        1 => any::<Index>().prop_map(Op::DropOnAnotherThread),
    ]
}

/// Where the right to the value is.
enum Right {
    Owner(Owner<Counted>),
    Retired(Retired<Counted>),
    /// With the last reference, which hands it to a taker or drops it.
    Last {
        taker: bool,
    },
    /// It came back to the test.
    Back,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sequence of calls: counts, liveness, and the one way the value leaves are as in a model
    /// with a list of references.
    #[test]
    fn owner_behaves_as_its_model(ops in prop::collection::vec(op(), 1..60)) {
        let drops = Drops::default();
        let taken: Arc<Mutex<Vec<Counted>>> = Arc::default();
        let mut back = Vec::new();
        let owner = Owner::new(drops.value(1));
        let weak: WeakRef<Counted> = owner.downgrade();
        let mut right = Right::Owner(owner);
        let mut tracking = false;
        let mut refs: Vec<(Ref<Counted>, bool)> = Vec::new();

        for op in ops {
            let live = matches!(right, Right::Owner(_));
            match op {
                Op::Get => if let Right::Owner(owner) = &right {
                    refs.push((owner.get(), tracking));
                },
                Op::Again(at) if !refs.is_empty() => {
                    let again = at.get(&refs).0.again();
                    prop_assert_eq!(again.is_some(), live);
                    refs.extend(again.map(|again| (again, tracking)));
                }
                Op::Upgrade => {
                    let upgraded = weak.upgrade();
                    prop_assert_eq!(upgraded.is_some(), live);
                    refs.extend(upgraded.map(|upgraded| (upgraded, tracking)));
                }
                Op::Drop(at) if !refs.is_empty() => {
                    refs.swap_remove(at.index(refs.len()));
                }
                Op::DropOnAnotherThread(at) if !refs.is_empty() => {
                    let gone = refs.swap_remove(at.index(refs.len()));
                    thread::spawn(move || drop(gone)).join().unwrap();
                }
                Op::Track(on) => if let Right::Owner(owner) = &right {
                    owner.track(on);
                    tracking = on;
                },
                Op::Retire => right = match right {
                    Right::Owner(owner) => Right::Retired(owner.retire()),
                    other => other,
                },
                Op::WaitNow => right = match right {
                    Right::Retired(retired) => match retired.wait(Deadline::now()) {
                        Ok(value) => {
                            prop_assert!(refs.is_empty(), "came back while held");
                            back.push(value);
                            Right::Back
                        }
                        Err(still) => {
                            prop_assert_eq!(still.held.count, refs.len());
                            prop_assert!(!refs.is_empty(), "nobody holds it");
                            Right::Retired(still.retired)
                        }
                    },
                    other => other,
                },
                Op::OnDrained => right = match right {
                    Right::Retired(retired) => {
                        let taken = taken.clone();
                        retired.on_drained(move |value| taken.lock().unwrap().push(value));
                        Right::Last { taker: true }
                    }
                    other => other,
                },
                Op::DropOwnerOrRetired => right = match right {
                    Right::Owner(_) | Right::Retired(_) => Right::Last { taker: false },
                    other => other,
                },
                _ => {}
            }
            let gone = matches!(right, Right::Last { .. }) && refs.is_empty();
            let handed = gone && matches!(right, Right::Last { taker: true });
            prop_assert_eq!(taken.lock().unwrap().len(), usize::from(handed));
            prop_assert_eq!(drops.count(), usize::from(gone && !handed));
            let held = weak.held();
            prop_assert_eq!(held.count, refs.len());
            prop_assert_eq!(held.holders.len(), refs.iter().filter(|(_, tracked)| *tracked).count());
            prop_assert!(refs.iter().all(|(held, _)| held.number == 1));
            prop_assert_eq!(weak.is_retired(), !matches!(right, Right::Owner(_)));
        }
        drop((right, refs, weak, back));
        taken.lock().unwrap().clear();
        prop_assert_eq!(drops.count(), 1);
    }
}
