//! Namespaces come, are found, and go.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Call, World, heard, three, torn_down, wait_for_gone};
use holm_lifetime::Deadline;
use holm_netns::{
    CreateError, Event, Heard, InitError, NameError, Namespace, NsName, NsState, Registry,
    RemoveError, UnregisterError,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;

fn states(registry: &Registry) -> Vec<(String, NsState)> {
    registry.list().iter().map(|listed| (listed.ns.id().to_string(), listed.state)).collect()
}

#[test]
fn created_namespace_is_found_entered_listed_and_told_of() {
    let world = World::default();
    let registry = three(&world);
    let mut events = registry.events();
    let blue = registry.create("blue").expect("new");
    let green = registry.create("green").expect("new");
    assert_eq!(registry.find("blue"), Some(blue.clone()));
    assert_eq!(registry.resolve("green@2"), Some(green.clone()));
    assert_eq!((registry.find("red"), registry.resolve("green@1")), (None, None));
    assert_eq!((registry.resolve("blue@"), registry.resolve("@1")), (None, None));
    let inside = registry.enter("blue").expect("live");
    assert_eq!(inside.get::<common::Probe<2>>().expect("registered").ns, *blue.id());
    assert!(registry.enter("red").is_none());
    assert_eq!((blue.state(), blue.held().count, green.held().count), (NsState::Live, 1, 0));
    assert_eq!(
        states(&registry),
        [("blue@1".into(), NsState::Live), ("green@2".into(), NsState::Live)]
    );
    assert_eq!(heard(&mut events), ["blue@1: created", "green@2: created"]);
}

#[test]
fn second_of_a_name_is_refused_and_changes_nothing() {
    let world = World::default();
    let registry = three(&world);
    let blue = registry.create("blue").expect("new");
    world.log();
    assert_eq!(registry.create("blue").unwrap_err(), CreateError::Exists(blue.id().clone()));
    assert!(world.log().is_empty(), "a subsystem was asked");
    assert_eq!((registry.find("blue"), registry.list().len()), (Some(blue), 1));
}

#[test]
fn what_is_not_a_name_is_refused() {
    let registry = Registry::new().unwrap();
    assert_eq!(registry.create("").unwrap_err(), CreateError::Name(NameError::Empty));
    assert!(matches!(
        registry.create("a@1").unwrap_err(),
        CreateError::Name(NameError::BadCharacter { found: '@', position: 2, .. })
    ));
    assert!(registry.list().is_empty());
}

#[test]
fn name_that_was_parsed_before_is_taken_as_it_is() {
    let registry = Registry::new().unwrap();
    let name: NsName = "blue".parse().unwrap();
    assert_eq!(registry.create(name).expect("new").id().name, name);
}

#[test]
fn removed_namespace_is_torn_down_in_reverse_and_leaves_nothing() {
    let world = World::default();
    let registry = three(&world);
    let mut events = registry.events();
    let blue = registry.create("blue").expect("new");
    assert_eq!(world.log(), ["init s1 blue@1", "init s2 blue@1", "init s3 blue@1"]);
    assert_eq!(world.alive(), 3);
    registry.remove([&blue], Deadline::Never).expect("nobody is inside");
    assert_eq!(world.log(), torn_down(&["s1", "s2", "s3"], "blue@1"));
    assert_eq!((world.alive(), blue.state()), (0, NsState::Gone));
    assert!(blue.enter().is_none() && registry.find("blue").is_none());
    assert!(registry.list().is_empty() && registry.resolve("blue@1").is_none());
    assert_eq!(heard(&mut events), ["blue@1: created", "blue@1: draining", "blue@1: gone"]);
    // Again, and once more.
    registry.remove([&blue, &blue], Deadline::now()).expect("gone");
    assert!(matches!(
        registry.remove_named("blue", Deadline::now()),
        Err(RemoveError::NotFound(name)) if name == "blue"
    ));
    assert!(world.log().is_empty() && heard(&mut events).is_empty());
}

#[test]
fn namespaces_are_removed_by_name_by_number_and_all_at_once() {
    let world = World::default();
    let registry = three(&world);
    for name in ["a", "b", "c", "d", "e"] {
        registry.create(name).expect("new");
    }
    registry.remove_named("b", Deadline::Never).expect("nobody is inside");
    registry.remove_named("d@4", Deadline::Never).expect("nobody is inside");
    assert!(registry.remove_named("c@4", Deadline::Never).is_err(), "another number");
    let left: Vec<_> = registry.list().iter().map(|l| l.ns.id().to_string()).collect();
    assert_eq!(left, ["a@1", "c@3", "e@5"]);
    registry.remove_all(Deadline::Never).expect("nobody is inside");
    assert!(registry.list().is_empty());
    assert_eq!(world.alive(), 0);
}

#[test]
fn what_is_still_held_is_named_listed_and_waited_for_again() {
    let world = World::default();
    let registry = three(&world);
    let blue = registry.create("blue").expect("new");
    blue.track(true);
    let (one, line) = (registry.enter("blue").expect("live"), line!());
    let two = blue.enter().expect("live");
    blue.track(false);
    let three = blue.enter().expect("live");
    world.log();

    let draining = registry.remove([&blue], Deadline::now()).expect_err("three are inside");
    let [draining] = &draining[..] else { panic!("{draining:?}") };
    assert_eq!((draining.ns == blue, draining.held.count, &draining.exiting), (true, 3, &None));
    let lines: Vec<_> =
        draining.held.holders.iter().map(|h| (h.location.file(), h.location.line())).collect();
    assert_eq!(lines, [(file!(), line), (file!(), line + 1)]);
    let said = draining.to_string();
    assert!(said.starts_with("namespace blue@1 is still draining: held 3 times: from"), "{said}");
    assert_eq!(world.log(), ["pre_exit s3 blue@1", "pre_exit s2 blue@1", "pre_exit s1 blue@1"]);
    assert_eq!((blue.state(), blue.held().count), (NsState::Draining, 3));
    assert!(blue.enter().is_none(), "entered while draining");

    // The name is free, and the second one shares nothing with the first.
    let second = registry.create("blue").expect("the name is free");
    assert_eq!(registry.find("blue"), Some(second.clone()));
    assert_eq!(registry.resolve("blue@1"), Some(blue.clone()));
    assert_eq!(registry.resolve("blue@2"), Some(second.clone()));
    assert_eq!(
        states(&registry),
        [("blue@1".into(), NsState::Draining), ("blue@2".into(), NsState::Live)]
    );
    assert_eq!(one.get::<common::Probe<1>>().map(|state| state.ns.id), Some(1));
    assert_eq!(second.held().count, 0);

    drop((one, two));
    assert!(matches!(
        registry.remove_named("blue@1", Deadline::now()),
        Err(RemoveError::Draining(draining)) if draining.held.count == 1
    ));
    assert_eq!(blue.wait_gone(Deadline::now()).expect_err("one is inside").held.count, 1);
    drop(three);
    blue.wait_gone(Deadline::Never).expect("nobody is inside");
    assert_eq!(registry.resolve("blue@1"), None);
    assert_eq!(states(&registry), [("blue@2".into(), NsState::Live)]);
    assert_eq!(world.alive(), 3);
}

#[test]
fn last_to_leave_where_nobody_waits_has_the_worker_finish() {
    let world = World::default();
    let registry = three(&world);
    let blue = registry.create("blue").expect("new");
    let inside = blue.enter().expect("live");
    let mut events = registry.events();
    registry.remove([&blue], Deadline::now()).expect_err("somebody is inside");
    thread::spawn(move || drop(inside)).join().unwrap();
    wait_for_gone(&mut events, blue.id());
    assert_eq!(world.alive(), 0);
    assert_eq!(blue.wait_gone(Deadline::Never).map_err(|d| d.to_string()), Ok(()));
    assert!(registry.list().is_empty());
}

/// One namespace that never drains, first in the batch of a thread that waits for good.
#[test]
fn stuck_namespace_delays_no_other_of_its_batch() {
    let world = World::default();
    let registry = three(&world);
    let stuck = registry.create("stuck").expect("new");
    let other = registry.create("other").expect("new");
    let (held, inside) = (stuck.enter().expect("live"), other.enter().expect("live"));
    let mut events = registry.events();
    let remover = thread::spawn({
        let (registry, batch) = (registry.clone(), [stuck.clone(), other.clone()]);
        move || registry.remove(&batch, Deadline::Never).map_err(|d| d.len())
    });
    // Both are unlinked now; the thread will wait for the first.
    while events.try_next() != Some(Heard::Event(Event::Draining(other.id().clone()))) {
        thread::yield_now();
    }
    let barrier_of_the_batch = registry.create("later").expect("another is no hindrance");
    registry.remove([&barrier_of_the_batch], Deadline::Never).expect("nor here");
    drop(inside);
    wait_for_gone(&mut events, other.id());
    assert_eq!(stuck.state(), NsState::Draining);
    drop(held);
    assert_eq!(remover.join().unwrap(), Ok(()));
    assert_eq!(world.alive(), 0);
}

#[test]
fn removal_by_two_threads_is_one_removal_that_both_wait_for() {
    for _ in 0..50 {
        let world = World::default();
        let registry = three(&world);
        let blue = registry.create("blue").expect("new");
        let inside = blue.enter().expect("live");
        world.log();
        let start = Barrier::new(3);
        thread::scope(|scope| {
            let removers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        registry.remove([&blue], Deadline::Never).expect("no deadline");
                        (world.alive(), blue.state())
                    })
                })
                .collect();
            start.wait();
            drop(inside);
            for remover in removers {
                assert_eq!(remover.join().unwrap(), (0, NsState::Gone));
            }
        });
        assert_eq!(world.log(), torn_down(&["s1", "s2", "s3"], "blue@1"));
    }
}

#[test]
fn exit_that_is_running_is_named() {
    let world = World::default();
    let registry = three(&world);
    let (entered, running) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let goes = Mutex::new(goes);
    let slow = world.probe::<4>().at(Call::Exit, move |_| {
        entered.send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        Ok(())
    });
    registry.register(slow).expect("no namespaces");
    let blue = registry.create("blue").expect("new");
    let remover = thread::spawn({
        let (registry, blue) = (registry.clone(), blue.clone());
        move || registry.remove([&blue], Deadline::Never).is_ok()
    });
    running.recv().unwrap();
    let draining = registry.remove([&blue], Deadline::now()).expect_err("exit is running");
    assert_eq!(draining[0].exiting.as_deref(), Some("s4"));
    assert_eq!(
        draining[0].to_string(),
        "namespace blue@1 is still draining: exit of s4 is running"
    );
    registry.create("blue").expect("the name is free while exit runs");
    go.send(()).unwrap();
    assert!(remover.join().unwrap());
    // Let the exit of the second one, when the registry is dropped, go on as well.
    go.send(()).unwrap();
}

#[test]
fn batch_with_a_foreign_namespace_panics_and_touches_none() {
    let (mine, theirs) = (Registry::new().unwrap(), Registry::new().unwrap());
    let own = mine.create("own").expect("new");
    let foreign = theirs.create("foreign").expect("new");
    let panic = catch_unwind(AssertUnwindSafe(|| mine.remove([&own, &foreign], Deadline::now())));
    let message = panic.expect_err("one is foreign").downcast::<String>().expect("a message");
    assert!(message.contains("foreign@1") && message.contains("another registry"), "{message}");
    assert_eq!((own.state(), foreign.state()), (NsState::Live, NsState::Live));
    assert_eq!((mine.list().len(), theirs.list().len()), (1, 1));
    mine.remove([&own], Deadline::Never).expect("it is as it was");
    assert!(theirs.enter("foreign").is_some());
}

/// A namespace that somebody holds is listed and found by number at every moment of its removal.
#[test]
fn namespace_that_goes_is_never_out_of_sight() {
    let registry = Registry::new().unwrap();
    let (sender, removed) = mpsc::sync_channel::<Namespace>(0);
    let remover = thread::spawn({
        let registry = registry.clone();
        move || {
            for ns in removed {
                // Gone or not: the other thread may let go in time.
                let _ = registry.remove([&ns], Deadline::now());
            }
        }
    });
    for _ in 0..1000 {
        let ns = registry.create("ns").expect("the name is free");
        let inside = ns.enter().expect("live");
        let spec = ns.id().to_string();
        sender.send(ns.clone()).unwrap();
        while ns.state() == NsState::Live {
            assert!(registry.resolve(&spec).is_some(), "not found");
            assert!(registry.list().iter().any(|listed| listed.ns == ns), "not listed");
            thread::yield_now();
        }
        drop(inside);
        ns.wait_gone(Deadline::Never).expect("nobody is inside");
    }
    drop(sender);
    remover.join().unwrap();
}

#[test]
fn dropping_the_registry_removes_what_is_left_even_what_is_held() {
    let world = World::default();
    let registry = three(&world);
    let mut events = registry.events();
    let (live, stuck) = (registry.create("live").unwrap(), registry.create("stuck").unwrap());
    let draining = registry.create("draining").unwrap();
    let (held, inside) = (stuck.enter().unwrap(), draining.enter().unwrap());
    registry.remove([&draining], Deadline::now()).expect_err("somebody is inside");
    drop(registry);
    wait_for_gone(&mut events, live.id());
    assert_eq!((stuck.state(), draining.state()), (NsState::Draining, NsState::Draining));
    assert!(stuck.enter().is_none());
    drop(inside);
    wait_for_gone(&mut events, draining.id());
    assert_eq!(held.get::<common::Probe<1>>().map(|state| &state.ns), Some(stuck.id()));
    drop(held);
    wait_for_gone(&mut events, stuck.id());
    assert_eq!(world.alive(), 0);
    // The last of the handles, and of the worker, close the channel.
    drop((live, stuck, draining));
    assert_eq!(events.wait(), None);
}

#[test]
fn handle_of_a_registry_keeps_it_whole() {
    let registry = Registry::new().unwrap();
    let other = registry.clone();
    registry.create("blue").expect("new");
    drop(registry);
    assert!(other.enter("blue").is_some());
    assert!(other.create("green").is_ok());
}

#[test]
fn refused_namespace_is_gone_for_whoever_waits_for_it() {
    for _ in 0..100 {
        let world = World::default();
        let registry = Registry::new().unwrap();
        let (handle, handles) = mpsc::channel::<Namespace>();
        let (waits, waiting) = mpsc::channel();
        let waiter = thread::spawn(move || {
            let ns = handles.recv().unwrap();
            waits.send(()).unwrap();
            ns.wait_gone(Deadline::Never).map_err(|draining| draining.to_string())
        });
        let waiting = Mutex::new(waiting);
        let lends = world.probe::<1>().at(Call::Init, move |ns| {
            handle.send(ns.namespace().clone()).unwrap();
            waiting.lock().unwrap().recv().unwrap();
            (0..20).for_each(|_| thread::yield_now());
            Err(InitError("no".into()))
        });
        registry.register(lends).expect("no namespaces");
        registry.create("blue").expect_err("refused");
        assert_eq!(waiter.join().unwrap(), Ok(()));
    }
}

/// What is made in vain is a subsystem's state like any other: it is not gone before it has exited.
#[test]
fn unregistering_waits_for_the_undoing_of_a_refused_creation() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    let (entered, running) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let slow = world.probe::<1>().at(Call::Exit, move |_| {
        entered.send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        Ok(())
    });
    registry.register(slow).expect("no namespaces");
    let refuses = world.probe::<2>().at(Call::Init, |_| Err(InitError("no".into())));
    registry.register(refuses).expect("no namespaces");
    let creator = thread::spawn({
        let registry = registry.clone();
        move || registry.create("blue").is_err()
    });
    running.recv().unwrap();
    assert!(registry.list().is_empty(), "nobody ever saw it");
    let pending = registry.unregister::<common::Probe<1>>(Deadline::now());
    let Err(UnregisterError::Pending(pending)) = pending else { panic!("{pending:?}") };
    assert_eq!(pending[0].ns.id().to_string(), "blue@1");
    go.send(()).unwrap();
    assert!(creator.join().unwrap());
    pending[0].ns.wait_gone(Deadline::Never).expect("undone");
}

/// Threads that create, enter and remove a few names at random leave nothing.
#[test]
fn many_threads_at_once_leave_nothing_and_meet_nobody_in_what_is_gone() {
    let world = World::default();
    let registry = three(&world);
    let stop = AtomicBool::new(false);
    let entered = AtomicUsize::new(0);
    let start = Barrier::new(4);
    thread::scope(|scope| {
        let makers: Vec<_> = (0..2_usize)
            .map(|thread| {
                let (registry, start, entered) = (&registry, &start, &entered);
                scope.spawn(move || {
                    start.wait();
                    // For some time, and until somebody got in.
                    for round in 0_usize.. {
                        if round >= 200 && entered.load(Ordering::Relaxed) > 0 {
                            return;
                        }
                        let name = ["a", "b", "c"][(round * 7 + thread) % 3];
                        match registry.create(name) {
                            Ok(ns) => assert!(ns.id().id > 0),
                            Err(CreateError::Exists(_)) => {
                                // Somebody else may be quicker.
                                let _ = registry.remove_named(name, Deadline::Never);
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    if let Some(inside) = registry.enter("b") {
                        let state = inside.get::<common::Probe<3>>().expect("registered");
                        assert_eq!(state.ns.name.as_str(), "b");
                        entered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for maker in makers {
            maker.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    registry.remove_all(Deadline::Never).expect("nobody is inside");
    assert_eq!(world.alive(), 0);
    assert!(registry.list().is_empty());
    let log = world.log();
    for what in ["pre_exit", "exit"] {
        let count = |what: &str| log.iter().filter(|entry| entry.starts_with(what)).count();
        assert_eq!(count("init"), count(what), "{what}");
    }
}
