//! Gates: who gets in, who is counted, and what becomes of the value.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Counted, Drops, Fragile, panic_message};
use holm_lifetime::{Deadline, Gate, Pass, grace};
use proptest::prelude::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

#[test]
fn nobody_enters_a_closed_gate_and_who_is_inside_stays() {
    let gate = Gate::new(5);
    let inside = gate.enter().expect("open");
    assert!(!gate.is_closed());
    gate.close();
    assert!(gate.is_closed() && gate.enter().is_none());
    assert_eq!(*inside, 5);
    assert_eq!(gate.drained(Deadline::now()).expect_err("somebody is inside").count, 1);
    assert!(gate.take().is_none());
    drop(inside);
    gate.drained(Deadline::now()).expect("nobody is inside");
    gate.close();
    assert!(gate.enter().is_none(), "closing twice opened it");
}

#[test]
fn value_is_taken_once() {
    let drops = Drops::default();
    let gate = Gate::new(drops.value(1));
    assert!(gate.take().is_none(), "open");
    gate.close();
    let value = gate.take().expect("drained");
    assert!(gate.take().is_none());
    gate.drained(Deadline::now()).expect("drained, though the value has left");
    drop(gate);
    assert_eq!(drops.count(), 0);
    drop(value);
    assert_eq!(drops.count(), 1);
}

#[test]
fn open_gate_does_not_drain() {
    let gate = Gate::bare();
    assert_eq!(gate.drained(Deadline::now()).expect_err("open").count, 0);
    assert!(gate.enter().is_some());
}

#[test]
fn wait_is_woken_by_a_last_pass_dropped_on_another_thread() {
    let gate = Arc::new(Gate::new(9));
    let inside = gate.enter().expect("open");
    let (about_to_wait, go) = mpsc::channel();
    let waiter = thread::spawn({
        let gate = gate.clone();
        move || {
            gate.close();
            about_to_wait.send(()).unwrap();
            gate.drained(Deadline::Never).expect("no deadline");
            gate.take().expect("only this thread takes it")
        }
    });
    go.recv().unwrap();
    thread::spawn(move || drop(inside)).join().unwrap();
    assert_eq!(waiter.join().unwrap(), 9);
}

#[test]
fn shut_gate_lets_nobody_in_and_is_settled_by_whoever_waits() {
    let gate = Gate::new(1);
    let inside = gate.enter().expect("open");
    gate.shut();
    assert!(gate.is_closed() && gate.enter().is_none());
    drop(inside);
    assert!(gate.take().is_none(), "not added up yet, and already drained");
    gate.drained(Deadline::now()).expect("nobody is inside");
    assert_eq!(gate.take(), Some(1));
}

#[test]
fn shut_gates_settle_with_one_grace_period_of_somebody_else() {
    let gates: Vec<_> = (0..40).map(Gate::new).collect();
    let passes: Vec<_> = gates.iter().filter_map(Gate::enter).collect();
    gates.iter().for_each(Gate::shut);
    grace::synchronize();
    gates.iter().for_each(Gate::settle);
    gates.iter().for_each(Gate::settle);
    assert!(gates.iter().all(|gate| gate.held().count == 1));
    drop(passes);
    for (number, gate) in gates.iter().enumerate() {
        assert_eq!(gate.take(), Some(number));
    }
}

#[test]
fn settling_an_open_gate_changes_nothing() {
    let gate = Gate::new(1);
    gate.settle();
    let inside = gate.enter().expect("open");
    gate.close();
    assert_eq!(gate.held().count, 1);
    drop(inside);
    assert_eq!(gate.take(), Some(1));
}

#[test]
fn dropped_gate_leaves_the_value_to_the_last_pass() {
    let drops = Drops::default();
    let gate = Gate::new(drops.value(1));
    let (one, two) = (gate.enter().expect("open"), gate.enter().expect("open"));
    drop(gate);
    drop(one);
    assert_eq!((drops.count(), two.number), (0, 1));
    thread::spawn(move || drop(two)).join().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn dropped_gate_drops_the_value_at_once_when_nobody_is_inside() {
    let drops = Drops::default();
    drop(Gate::new(drops.value(1)));
    assert_eq!(drops.count(), 1, "never closed");
    let gate = Gate::new(drops.value(2));
    gate.close();
    drop(gate);
    assert_eq!(drops.count(), 2, "closed");
    let gate = Gate::new(drops.value(3));
    gate.shut();
    drop(gate);
    assert_eq!(drops.count(), 3, "shut and not settled");
}

#[test]
fn taker_gets_the_value_from_whoever_leaves_last_even_without_the_gate() {
    let drops = Drops::default();
    let gate = Gate::new(drops.value(6));
    let inside = gate.enter().expect("open");
    let (taken, takes) = mpsc::channel();
    gate.on_drained(move |value| taken.send((value, thread::current().id())).unwrap());
    drop(gate);
    assert!(takes.try_recv().is_err());
    let other = thread::spawn(move || {
        drop(inside);
        thread::current().id()
    });
    let (value, on) = takes.recv().unwrap();
    assert_eq!((value.number, on), (6, other.join().unwrap()));
    assert_eq!(drops.count(), 0);
}

#[test]
fn taker_gets_a_drained_value_at_once_and_nothing_once_it_has_left() {
    let gate = Gate::new(1);
    gate.close();
    let (taken, takes) = mpsc::channel();
    let again = taken.clone();
    gate.on_drained(move |value| taken.send(value).unwrap());
    assert_eq!(takes.try_recv(), Ok(1));
    gate.on_drained(move |value| again.send(value).unwrap());
    assert_eq!(takes.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the second was kept");
    assert!(gate.take().is_none());
}

#[test]
fn later_taker_replaces_the_earlier_one_which_is_dropped_uncalled() {
    let earlier_drops = Drops::default();
    let gate = Gate::new(1);
    let earlier = earlier_drops.value(0);
    gate.on_drained(move |_| panic!("{earlier:?} was called"));
    let (taken, takes) = mpsc::channel();
    gate.on_drained(move |value| taken.send(value).unwrap());
    assert_eq!(earlier_drops.count(), 1);
    gate.close();
    assert_eq!(takes.try_recv(), Ok(1));
    assert!(gate.take().is_none());
}

#[test]
fn panic_in_a_taker_or_destructor_ends_where_the_last_pass_is_dropped() {
    let drops = Drops::default();
    let gate = Gate::new(drops.value(1));
    let inside = gate.enter().expect("open");
    gate.on_drained(|value| panic!("taker of {}", value.number));
    gate.close();
    assert_eq!(panic_message(|| drop(inside)), "taker of 1");
    assert_eq!(drops.count(), 1);
    gate.drained(Deadline::now()).expect("nobody is inside");
    drop(gate);

    let gate = Gate::new(Fragile(drops.value(2)));
    let inside = gate.enter().expect("open");
    drop(gate);
    assert_eq!(panic_message(|| drop(inside)), "fragile 2");
    assert_eq!(drops.count(), 2);
    // The thread is in no section that the panic left behind.
    grace::synchronize();
}

#[test]
fn those_inside_are_named_if_they_came_while_tracked() {
    let gate = Gate::bare();
    let _before = gate.enter();
    gate.track(true);
    let (_inside, line) = (gate.enter(), line!());
    gate.track(false);
    let _between = gate.enter();
    gate.track(true);
    let (late, late_line) = thread::Builder::new()
        .name("late".into())
        .spawn(move || {
            let entered = (gate.enter(), line!());
            gate.close();
            (gate.drained(Deadline::now()).expect_err("held"), entered)
        })
        .unwrap()
        .join()
        .map(|(held, (pass, line))| ((held, pass), line))
        .unwrap();
    let (held, pass) = late;
    assert_eq!(held.count, 4);
    let named: Vec<_> =
        held.holders.iter().map(|h| (h.location.line(), h.thread.as_deref())).collect();
    assert_eq!(named.len(), 2);
    assert!(named.contains(&(line, thread::current().name())), "{named:?}");
    // Whoever has its place by now has another name.
    let late = [Some("late"), None].map(|name| (late_line, name));
    assert!(late.iter().any(|late| named.contains(late)), "{named:?}");
    assert!(held.holders.iter().all(|holder| holder.location.file() == file!()));
    drop(pass);
}

#[test]
fn count_is_exact_when_passes_leave_on_other_threads_than_they_came() {
    let gate = Gate::bare();
    let (sender, passes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..8 {
            let (sender, gate) = (sender.clone(), &gate);
            scope.spawn(move || (0..10).for_each(|_| sender.send(gate.enter()).unwrap()));
        }
    });
    let mut passes: Vec<_> = passes.try_iter().collect();
    assert_eq!((passes.len(), gate.held().count), (80, 80));
    passes.drain(..40);
    assert_eq!(gate.held().count, 40, "cells of this thread below zero");
    gate.close();
    assert_eq!(gate.held().count, 40);
    passes.drain(..39);
    assert_eq!(gate.drained(Deadline::now()).expect_err("one is left").count, 1);
    passes.clear();
    gate.drained(Deadline::now()).expect("nobody is inside");
}

/// More threads at once than a gate has cells of their own for: the further ones share.
#[test]
fn more_threads_than_cells_are_counted_exactly() {
    const THREADS: usize = 600;
    let gates = Arc::new([Gate::new(1), Gate::new(2)]);
    let all = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (gates, all) = (gates.clone(), all.clone());
            let body = move || {
                all.wait();
                for _ in 0..20 {
                    drop(gates[0].enter().expect("open"));
                }
                let kept = gates[0].enter().expect("open");
                let moved = gates[1].enter().expect("open");
                all.wait();
                // The main thread closes the gates here.
                all.wait();
                drop(kept);
                moved
            };
            thread::Builder::new().stack_size(64 * 1024).spawn(body).unwrap()
        })
        .collect();
    all.wait();
    all.wait();
    assert_eq!(gates[0].held().count, THREADS);
    gates.iter().for_each(Gate::close);
    assert_eq!(gates[0].held().count, THREADS);
    all.wait();
    let moved: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    gates[0].drained(Deadline::Never).expect("no deadline");
    assert_eq!(gates[1].drained(Deadline::now()).expect_err("held").count, THREADS);
    drop(moved);
    assert_eq!((gates[0].take(), gates[1].take()), (Some(1), Some(2)));
}

/// The cells of a gate that is gone are used again, from zero.
#[test]
fn gates_do_not_inherit_counts() {
    for round in 0..100 {
        let gates: Vec<_> = (0..33).map(|_| Gate::bare()).collect();
        let passes: Vec<_> = gates.iter().map(|gate| gate.enter().expect("open")).collect();
        // These leave on a thread with another lane: the cells end as +1 and -1.
        thread::spawn(move || drop(passes)).join().unwrap();
        for gate in &gates {
            assert_eq!(gate.held().count, 0, "round {round}");
        }
        gates.iter().for_each(Gate::shut);
        grace::synchronize();
        assert!(gates.iter().all(|gate| gate.drained(Deadline::now()).is_ok()));
    }
}

/// What a thread still does when its thread-locals are being destroyed.
struct Late(Box<dyn FnMut()>);

impl Drop for Late {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// Runs `f` in the destructor of a thread-local that outlives those of this crate (it was there
/// first, and they go in reverse), or in one that they outlive.
fn in_a_dying_thread(outlives: bool, gate: &Arc<Gate<Counted>>, f: impl FnMut() + Send + 'static) {
    let gate = gate.clone();
    thread::spawn(move || {
        if !outlives {
            drop(gate.enter());
        }
        LATE.set(Some(Late(Box::new(f))));
        drop(gate.enter());
        drop(gate);
    })
    .join()
    .unwrap();
}

#[test]
fn dying_thread_enters_leaves_and_closes_gates() {
    for outlives in [false, true] {
        let drops = Drops::default();
        let gate = Arc::new(Gate::new(drops.value(1)));
        gate.track(true);
        let before = gate.enter().expect("open");
        let (sender, received) = mpsc::channel();
        let mut before = Some(before);
        in_a_dying_thread(outlives, &gate, {
            let gate = gate.clone();
            move || {
                let _section = grace::section();
                let (one, two) = (gate.enter(), gate.enter());
                drop(before.take());
                drop(one);
                sender.send(two.expect("open")).unwrap();
            }
        });
        let kept = received.recv().unwrap();
        assert_eq!((gate.held().count, gate.held().holders.len()), (1, 1));
        in_a_dying_thread(outlives, &gate, {
            let gate = gate.clone();
            move || gate.close()
        });
        assert_eq!(gate.drained(Deadline::now()).expect_err("one is inside").count, 1);
        let mut kept = Some(kept);
        in_a_dying_thread(outlives, &gate, move || drop(kept.take()));
        drop(gate.take().expect("drained"));
        assert_eq!(drops.count(), 1);
    }
}

/// Enter against close, over and over: who is inside finds the value alive, and it leaves after
/// the last.
fn enter_against_close(rounds: usize) {
    struct Life {
        ended: AtomicBool,
        using: AtomicUsize,
    }
    for round in 0..rounds {
        let gate =
            Arc::new(Gate::new(Life { ended: AtomicBool::new(false), using: AtomicUsize::new(0) }));
        let start = Arc::new(Barrier::new(4));
        let users: Vec<_> = (0..3)
            .map(|_| {
                let (gate, start) = (gate.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    while let Some(inside) = gate.enter() {
                        inside.using.fetch_add(1, Ordering::Relaxed);
                        assert!(!inside.ended.load(Ordering::Relaxed), "inside after it drained");
                        inside.using.fetch_sub(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        start.wait();
        for _ in 0..round % 8 {
            thread::yield_now();
        }
        if round % 2 == 0 {
            gate.close();
        } else {
            gate.shut();
        }
        gate.drained(Deadline::Never).expect("no deadline");
        let life = gate.take().expect("only this thread takes it");
        life.ended.store(true, Ordering::Relaxed);
        assert_eq!(life.using.load(Ordering::Relaxed), 0, "drained before the last had left");
        for user in users {
            user.join().unwrap();
        }
    }
}

#[test]
fn nobody_is_inside_once_drained() {
    enter_against_close(150);
}

/// The same where both sides of the barrier are real fences.
#[test]
fn nobody_is_inside_once_drained_with_fences() {
    if std::env::var_os("HOLM_BARRIER").is_some() {
        return enter_against_close(150);
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nobody_is_inside_once_drained_with_fences"])
        .env("HOLM_BARRIER", "fence")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[derive(Debug, Clone)]
enum Op {
    Enter,
    Leave(prop::sample::Index),
    LeaveElsewhere(prop::sample::Index),
    Track(bool),
    Shut,
    Settle,
    Close,
    DrainedNow,
    Take,
    OnDrained(u32),
    DropGate,
}

fn op() -> impl Strategy<Value = Op> {
    use prop::sample::Index;
    prop_oneof![
        8 => Just(Op::Enter),
        8 => any::<Index>().prop_map(Op::Leave),
        2 => any::<Index>().prop_map(Op::LeaveElsewhere),
        2 => any::<bool>().prop_map(Op::Track),
        1 => Just(Op::Shut),
        1 => Just(Op::Settle),
        1 => Just(Op::Close),
        2 => Just(Op::DrainedNow),
        2 => Just(Op::Take),
        1 => any::<u32>().prop_map(Op::OnDrained),
        1 => Just(Op::DropGate),
    ]
}

/// Where the value is.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Place {
    Inside,
    /// Inside, and this taker gets it; `None`: it is dropped.
    Promised(Option<u32>),
    /// Handed to this taker.
    Handed(u32),
    Taken,
    Dropped,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sequence of calls: who gets in, counts, and the one way the value leaves are as in a
    /// model with a list of passes.
    #[test]
    fn gate_behaves_as_its_model(ops in prop::collection::vec(op(), 1..60)) {
        let drops = Drops::default();
        let handed: Arc<Mutex<Vec<(u32, Counted)>>> = Arc::default();
        let mut back = Vec::new();
        let mut gate = Some(Gate::new(drops.value(1)));
        let (mut closed, mut settled, mut tracking) = (false, false, false);
        let mut place = Place::Inside;
        let mut passes: Vec<(Pass<Counted>, bool)> = Vec::new();

        for op in ops {
            match (op, &gate) {
                (Op::Enter, Some(gate)) => {
                    let pass = gate.enter();
                    prop_assert_eq!(pass.is_some(), !closed);
                    passes.extend(pass.map(|pass| (pass, tracking)));
                }
                (Op::Leave(at), _) if !passes.is_empty() => {
                    drop(passes.swap_remove(at.index(passes.len())));
                }
                (Op::LeaveElsewhere(at), _) if !passes.is_empty() => {
                    let pass = passes.swap_remove(at.index(passes.len()));
                    thread::spawn(move || drop(pass)).join().unwrap();
                }
                (Op::Track(on), Some(gate)) => {
                    gate.track(on);
                    tracking = on;
                }
                (Op::Shut, Some(gate)) => {
                    gate.shut();
                    closed = true;
                }
                (Op::Settle, Some(gate)) => {
                    gate.settle();
                    settled |= closed;
                }
                (Op::Close, Some(gate)) => {
                    gate.close();
                    (closed, settled) = (true, true);
                }
                (Op::DrainedNow, Some(gate)) => {
                    let drained = gate.drained(Deadline::now());
                    settled |= closed;
                    prop_assert_eq!(drained.is_ok(), closed && passes.is_empty());
                    if let Err(held) = drained {
                        prop_assert_eq!(held.count, passes.len());
                    }
                }
                (Op::Take, Some(gate)) => {
                    let value = gate.take();
                    let there = place == Place::Inside && settled && passes.is_empty();
                    prop_assert_eq!(value.is_some(), there);
                    if let Some(value) = value {
                        back.push(value);
                        place = Place::Taken;
                    }
                }
                (Op::OnDrained(who), Some(gate)) => {
                    let handed = handed.clone();
                    gate.on_drained(move |value| handed.lock().unwrap().push((who, value)));
                    if matches!(place, Place::Inside | Place::Promised(_)) {
                        place = Place::Promised(Some(who));
                    }
                }
                (Op::DropGate, Some(_)) => {
                    gate = None;
                    (closed, settled) = (true, true);
                    if place == Place::Inside {
                        place = Place::Promised(None);
                    }
                }
                _ => {}
            }
            if let Place::Promised(taker) = place && settled && passes.is_empty() {
                place = taker.map_or(Place::Dropped, Place::Handed);
            }
            let handed: Vec<u32> = handed.lock().unwrap().iter().map(|(who, _)| *who).collect();
            prop_assert_eq!(handed, match place { Place::Handed(who) => vec![who], _ => vec![] });
            prop_assert_eq!(drops.count(), usize::from(place == Place::Dropped));
            prop_assert!(passes.iter().all(|(pass, _)| pass.number == 1));
            if let Some(gate) = &gate {
                let held = gate.held();
                prop_assert_eq!(held.count, passes.len());
                let tracked = passes.iter().filter(|(_, tracked)| *tracked).count();
                prop_assert_eq!(held.holders.len(), tracked);
                prop_assert_eq!(gate.is_closed(), closed);
            }
        }
        drop(gate);
        drop(passes);
        drop(back);
        handed.lock().unwrap().clear();
        prop_assert_eq!(drops.count(), 1);
    }
}
