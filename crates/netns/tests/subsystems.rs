//! Subsystems come and go: in every namespace or in none, in order, and by themselves.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Call, Probe, World, heard, three, torn_down, wait_for_gone};
use holm_lifetime::Deadline;
use holm_netns::{
    Callback, CreateError, Event, Failed, Heard, Held, InitError, RegisterError, Registry,
    Subsystem, UnregisterError, View,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

fn refuse(panics: bool) -> Result<(), InitError> {
    if panics {
        panic!("no {}", "more");
    }
    Err(InitError("no room".into()))
}

fn said(panics: bool) -> &'static str {
    if panics { "panicked: no more" } else { "no room" }
}

/// A registry with three subsystems, of which the one at `position` refuses while the flag is up.
fn one_of_three_refuses(
    world: &World,
    position: usize,
    panics: bool,
) -> (Registry, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(false));
    let hook = |at| {
        let refuses = refuses.clone();
        move |_: &View<'_>| {
            if at == position && refuses.load(Ordering::SeqCst) { refuse(panics) } else { Ok(()) }
        }
    };
    let registry = Registry::new().unwrap();
    registry.register(world.probe::<1>().at(Call::Init, hook(1))).unwrap();
    registry.register(world.probe::<2>().at(Call::Init, hook(2))).unwrap();
    registry.register(world.probe::<3>().at(Call::Init, hook(3))).unwrap();
    (registry, refuses)
}

#[test]
fn refused_creation_is_undone_in_reverse_from_any_position() {
    for (position, panics) in (1..=3).flat_map(|at| [(at, false), (at, true)]) {
        let world = World::default();
        let (registry, refuses) = one_of_three_refuses(&world, position, panics);
        let mut events = registry.events();
        refuses.store(true, Ordering::SeqCst);
        let error = registry.create("blue").unwrap_err();
        let subsystem = format!("s{position}");
        let expected = CreateError::Refused {
            name: "blue".parse().unwrap(),
            subsystem: subsystem.clone(),
            why: said(panics).into(),
        };
        assert_eq!(error, expected);

        let all = ["s1", "s2", "s3"];
        let mut log: Vec<_> = all[..position].iter().map(|s| format!("init {s} blue@1")).collect();
        log.extend(torn_down(&all[..position - 1], "blue@1"));
        assert_eq!(world.log(), log);
        assert_eq!(world.alive(), 0);
        assert!(registry.find("blue").is_none() && registry.list().is_empty());
        let failed = format!("blue@1: init of {subsystem}: {}", said(panics));
        assert_eq!(heard(&mut events), [failed]);

        refuses.store(false, Ordering::SeqCst);
        let blue = registry.create("blue").expect("the name is free");
        assert_eq!((blue.id().id > 1, world.alive()), (true, 3));
        registry.remove([&blue], Deadline::Never).expect("nobody is inside");
    }
}

#[test]
fn refused_registration_leaves_nothing_in_any_namespace() {
    for (position, panics) in (1..=3_u64).flat_map(|at| [(at, false), (at, true)]) {
        let world = World::default();
        let registry = Registry::new().unwrap();
        registry.register(world.probe::<1>()).unwrap();
        let all: Vec<_> = ["a", "b", "c"].map(|name| registry.create(name).unwrap()).into();
        world.log();
        let mut events = registry.events();
        let late = world.probe::<2>().at(Call::Init, move |ns| {
            if ns.namespace().id().id == position { refuse(panics) } else { Ok(()) }
        });
        let expected = RegisterError::Refused {
            subsystem: "s2".into(),
            ns: all[position as usize - 1].id().clone(),
            why: said(panics).into(),
        };
        assert_eq!(registry.register(late).unwrap_err(), expected);

        let ids: Vec<_> = all[..position as usize].iter().map(|ns| ns.id().to_string()).collect();
        let mut log: Vec<_> = ids.iter().map(|id| format!("init s2 {id}")).collect();
        // With one grace period between the two rounds.
        for call in ["pre_exit", "exit"] {
            log.extend(ids.iter().rev().skip(1).map(|id| format!("{call} s2 {id}")));
        }
        assert_eq!(world.log(), log);
        let failed = format!("{}: init of s2: {}", ids[ids.len() - 1], said(panics));
        assert_eq!(heard(&mut events), [failed]);
        for ns in &all {
            let inside = ns.enter().expect("live");
            assert!(inside.get::<Probe<2>>().is_none() && inside.get::<Probe<1>>().is_some());
            assert_eq!(ns.held().count, 1, "a pass was left behind");
        }
        assert_eq!(world.alive(), 3);

        registry.register(world.probe::<2>()).expect("nothing is left of it");
        assert_eq!(world.alive(), 6);
        registry.remove_all(Deadline::Never).expect("nobody is inside");
        assert_eq!(world.alive(), 0);
    }
}

#[test]
fn subsystem_is_registered_once() {
    let world = World::default();
    let registry = three(&world);
    registry.create("blue").unwrap();
    world.log();
    let again = registry.register(world.probe::<2>()).unwrap_err();
    assert_eq!(again, RegisterError::Exists("s2".into()));
    assert!(world.log().is_empty());
}

#[test]
fn callbacks_see_the_states_of_those_before_and_of_no_others() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let look = || {
        let seen = seen.clone();
        move |ns: &View<'_>| {
            assert!(ns.get::<Probe<1>>().is_some_and(|state| state.ns == *ns.namespace().id()));
            assert!(ns.get::<Probe<2>>().is_none() && ns.get::<Probe<3>>().is_none());
            seen.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let middle = world.probe::<2>();
    let middle = middle.at(Call::Init, look()).at(Call::PreExit, look()).at(Call::Exit, look());
    registry.register(world.probe::<1>()).unwrap();
    registry.register(middle).unwrap();
    registry.register(world.probe::<3>()).unwrap();
    let mut events = registry.events();
    registry.create("blue").unwrap();
    registry.create("green").unwrap();
    registry.remove_named("blue", Deadline::Never).unwrap();
    registry.unregister::<Probe<2>>(Deadline::Never).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 6);
    assert!(!heard(&mut events).iter().any(|event| event.contains("panicked")));
}

#[test]
fn late_subsystem_is_initialised_in_every_namespace_and_torn_down_first() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    registry.register(world.probe::<1>()).unwrap();
    let blue = registry.create("blue").unwrap();
    let green = registry.create("green").unwrap();
    world.log();
    registry.register(world.probe::<2>()).unwrap();
    assert_eq!(world.log(), ["init s2 blue@1", "init s2 green@2"]);
    for ns in [&blue, &green] {
        assert!(ns.enter().unwrap().get::<Probe<2>>().is_some_and(|state| state.ns == *ns.id()));
    }
    registry.create("red").unwrap();
    assert_eq!(world.log(), ["init s1 red@3", "init s2 red@3"]);
    registry.remove([&blue], Deadline::Never).unwrap();
    assert_eq!(world.log(), torn_down(&["s1", "s2"], "blue@1"));
}

#[test]
fn who_is_inside_keeps_what_was_there_and_who_comes_finds_what_is_there_now() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    registry.register(world.probe::<1>()).unwrap();
    let blue = registry.create("blue").unwrap();
    let before = blue.enter().unwrap();
    registry.register(world.probe::<2>()).expect("nobody is waited for");
    let between = blue.enter().unwrap();
    assert!(before.get::<Probe<2>>().is_none() && between.get::<Probe<2>>().is_some());
    assert_eq!(blue.held().count, 2);
    let pending = registry.unregister::<Probe<1>>(Deadline::now());
    assert!(matches!(pending, Err(UnregisterError::Pending(pending)) if pending.len() == 1));
    let after = blue.enter().unwrap();
    assert!(after.get::<Probe<1>>().is_none() && after.get::<Probe<2>>().is_some());
    assert!(before.get::<Probe<1>>().is_some() && between.get::<Probe<1>>().is_some());
    // Those who came last leave first: the state stays for the first.
    drop(between);
    assert_eq!((world.alive(), before.get::<Probe<1>>().map(|state| state.ns.id)), (2, Some(1)));
    world.log();
    drop(before);
    registry.remove([&blue], Deadline::now()).expect_err("somebody is inside");
    drop(after);
    blue.wait_gone(Deadline::Never).unwrap();
    let exits: Vec<_> = world.log().into_iter().filter(|entry| entry.starts_with("exit")).collect();
    assert_eq!(exits, ["exit s1 blue@1", "exit s2 blue@1"]);
    assert_eq!(world.alive(), 0);
}

#[test]
fn unregistered_subsystem_leaves_every_namespace_and_no_new_one_has_it() {
    let world = World::default();
    let registry = three(&world);
    let all = ["a", "b"].map(|name| registry.create(name).unwrap());
    world.log();
    registry.unregister::<Probe<2>>(Deadline::Never).expect("nobody is inside");
    let mut log = world.log();
    log.sort();
    assert_eq!(log, ["exit s2 a@1", "exit s2 b@2", "pre_exit s2 a@1", "pre_exit s2 b@2"]);
    for ns in &all {
        let inside = ns.enter().unwrap();
        assert!(inside.get::<Probe<2>>().is_none());
        assert_eq!(inside.get::<Probe<1>>().map(|state| &state.ns), Some(ns.id()));
        assert_eq!(inside.get::<Probe<3>>().map(|state| &state.ns), Some(ns.id()));
    }
    registry.create("c").unwrap();
    assert_eq!(world.log(), ["init s1 c@3", "init s3 c@3"]);
    assert!(matches!(
        registry.unregister::<Probe<2>>(Deadline::Never),
        Err(UnregisterError::NotRegistered)
    ));
    registry.register(world.probe::<2>()).expect("it may come again");
    assert_eq!(world.log(), ["init s2 a@1", "init s2 b@2", "init s2 c@3"]);
    registry.remove([&all[0]], Deadline::Never).unwrap();
    assert_eq!(world.log(), torn_down(&["s1", "s3", "s2"], "a@1"));
}

#[test]
fn unregistering_is_pending_where_somebody_is_inside_and_ends_when_they_leave() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    let (exited, exits) = mpsc::channel();
    let told = world.probe::<1>().at(Call::Exit, move |ns| {
        exited.send(ns.namespace().id().to_string()).unwrap();
        Ok(())
    });
    registry.register(told).unwrap();
    let (a, b) = (registry.create("a").unwrap(), registry.create("b").unwrap());
    let draining = registry.create("draining").unwrap();
    let (inside_b, inside_draining) = (b.enter().unwrap(), draining.enter().unwrap());
    registry.remove([&draining], Deadline::now()).expect_err("somebody is inside");
    let pending = registry.unregister::<Probe<1>>(Deadline::now());
    let Err(UnregisterError::Pending(pending)) = pending else { panic!("{pending:?}") };
    let names: Vec<_> = pending.iter().map(|p| (p.ns.id().to_string(), p.held.count)).collect();
    assert_eq!(names, [("b@2".into(), 1), ("draining@3".into(), 1)]);
    assert_eq!(exits.try_iter().collect::<Vec<_>>(), ["a@1"]);
    assert!(a.enter().is_some());
    let of_b = pending.iter().find(|p| p.ns == b).unwrap();
    assert!(of_b.to_string().starts_with("what was replaced in namespace b@2 is still"), "{of_b}");
    assert_eq!(of_b.wait(Deadline::now()).unwrap_err().held.count, 1);
    // Nobody waits any more: a worker ends both.
    drop(inside_b);
    assert_eq!(exits.recv().unwrap(), "b@2");
    of_b.wait(Deadline::Never).unwrap();
    drop(inside_draining);
    assert_eq!(exits.recv().unwrap(), "draining@3");
    draining.wait_gone(Deadline::Never).unwrap();
    assert!(exits.recv().is_err(), "the subsystem is still there");
    assert_eq!(world.alive(), 0);
    assert!(b.enter().is_some());
}

/// Somebody stays in the first namespace; the second is left while the thread waits for the first.
#[test]
fn unregistering_is_held_up_by_one_namespace_only_there() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    let (exited, exits) = mpsc::channel();
    let (going, goes) = mpsc::channel();
    let told = world.probe::<1>().at(Call::Exit, move |ns| {
        exited.send(ns.namespace().id().to_string()).unwrap();
        Ok(())
    });
    registry
        .register(told.at(Call::PreExit, move |ns| {
            going.send(ns.namespace().id().id).unwrap();
            Ok(())
        }))
        .unwrap();
    let (a, b) = (registry.create("a").unwrap(), registry.create("b").unwrap());
    let (inside_a, inside_b) = (a.enter().unwrap(), b.enter().unwrap());
    let unregister = thread::spawn({
        let registry = registry.clone();
        move || registry.unregister::<Probe<1>>(Deadline::Never).is_ok()
    });
    assert_eq!((goes.recv(), goes.recv()), (Ok(1), Ok(2)));
    drop(inside_b);
    assert_eq!(exits.recv().unwrap(), "b@2");
    drop(inside_a);
    assert_eq!(exits.recv().unwrap(), "a@1");
    assert!(unregister.join().unwrap());
}

#[test]
fn panic_on_the_way_out_is_reported_and_stops_nothing() {
    for call in [Call::PreExit, Call::Exit] {
        let world = World::default();
        let registry = Registry::new().unwrap();
        registry.register(world.probe::<1>()).unwrap();
        registry.register(world.probe::<2>().at(call, |_| panic!("at the end"))).unwrap();
        registry.register(world.probe::<3>()).unwrap();
        let mut events = registry.events();
        let blue = registry.create("blue").unwrap();
        world.log();
        registry.remove([&blue], Deadline::Never).expect("it is gone all the same");
        assert_eq!(world.log(), torn_down(&["s1", "s2", "s3"], "blue@1"));
        assert_eq!(world.alive(), 0);
        let callback = if call == Call::Exit { Callback::Exit } else { Callback::PreExit };
        let failed = Failed {
            ns: blue.id().clone(),
            subsystem: "s2".into(),
            callback,
            why: "panicked: at the end".into(),
        };
        let all: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(all[2], Heard::Event(Event::Failed(failed)), "{all:?}");
        assert_eq!((all.len(), &all[3]), (4, &Heard::Event(Event::Gone(blue.id().clone()))));

        // When it is unregistered, and when the worker does it.
        let green = registry.create("green").unwrap();
        let inside = green.enter().unwrap();
        registry.remove([&green], Deadline::now()).expect_err("somebody is inside");
        drop(inside);
        wait_for_gone(&mut events, green.id());
        registry.create("red").unwrap();
        registry.unregister::<Probe<2>>(Deadline::Never).expect("it has left");
        assert_eq!(world.alive(), 2);
    }
}

/// Its state can't be dropped without a panic, and it has no `exit` of its own.
struct Brittle;
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("brittle");
    }
}

impl Subsystem for Brittle {
    type State = PanicsOnDrop;

    fn name(&self) -> &str {
        "brittle"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<PanicsOnDrop, InitError> {
        Ok(PanicsOnDrop)
    }
}

#[test]
fn panic_in_the_destructor_of_a_state_is_a_failure_of_its_exit() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    registry.register(world.probe::<1>()).unwrap();
    registry.register(Brittle).unwrap();
    let mut events = registry.events();
    let blue = registry.create("blue").unwrap();
    registry.remove([&blue], Deadline::Never).unwrap();
    assert_eq!(
        heard(&mut events)[2..],
        ["blue@1: exit of brittle: panicked: brittle", "blue@1: gone"]
    );
    assert_eq!(world.alive(), 0);
}

/// Says its name once; the second time it panics.
struct Nameless(AtomicUsize);

impl Subsystem for Nameless {
    type State = ();

    fn name(&self) -> &str {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "what was it?");
        "once"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<(), InitError> {
        Ok(())
    }

    fn pre_exit(&self, _: &View<'_>, (): &()) {
        panic!("before");
    }

    fn exit(&self, _: &View<'_>, (): ()) {
        panic!("at the end");
    }
}

#[test]
fn name_is_asked_for_once() {
    let registry = Registry::new().unwrap();
    registry.register(Nameless(AtomicUsize::new(0))).unwrap();
    let mut events = registry.events();
    let blue = registry.create("blue").unwrap();
    registry.remove([&blue], Deadline::Never).unwrap();
    assert_eq!(
        heard(&mut events)[2..],
        [
            "blue@1: pre_exit of once: panicked: before",
            "blue@1: exit of once: panicked: at the end",
            "blue@1: gone"
        ]
    );
}

#[test]
fn panic_in_name_leaves_the_registry_as_it_was() {
    let registry = Registry::new().unwrap();
    let blue = registry.create("blue").unwrap();
    let nameless = Nameless(AtomicUsize::new(1));
    assert!(catch_unwind(AssertUnwindSafe(|| registry.register(nameless))).is_err());
    registry.register(Nameless(AtomicUsize::new(0))).expect("it is not there");
    registry.remove([&blue], Deadline::Never).unwrap();
}

/// Takes the global lock, and the namespace's, in `init`, as one may.
struct Locks;

impl Subsystem for Locks {
    type State = ();

    fn name(&self) -> &str {
        "locks"
    }

    fn init(&self, ns: &View<'_>, held: &mut Held<'_>) -> Result<(), InitError> {
        let mut rtnl = ns.namespace().rtnl(held);
        let mut lock = ns.namespace().lock(rtnl.token());
        let _ = lock.token();
        panic!("with locks held");
    }
}

#[test]
fn panic_in_init_gives_the_locks_back() {
    let registry = Registry::new().unwrap();
    registry.register(Locks).unwrap();
    for _ in 0..2 {
        assert!(matches!(registry.create("blue"), Err(CreateError::Refused { .. })));
    }
    registry.unregister::<Locks>(Deadline::Never).unwrap();
    registry.create("blue").expect("nothing is locked");
}

#[test]
fn subsystem_that_goes_while_namespaces_come_and_go_exits_as_often_as_it_was_initialised() {
    let world = World::default();
    let registry = Registry::new().unwrap();
    registry.register(world.probe::<1>()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::SeqCst) || rounds < 20 {
                let ns = registry.create("churn").unwrap();
                assert!(ns.enter().unwrap().get::<Probe<1>>().is_some());
                registry.remove([&ns], Deadline::Never).unwrap();
                rounds += 1;
            }
        });
        for _ in 0..60 {
            registry.register(world.probe::<2>()).unwrap();
            registry.unregister::<Probe<2>>(Deadline::Never).unwrap();
            let log = world.log();
            let of = |what: &str| {
                let mut of: Vec<_> =
                    log.iter().filter_map(|e| e.strip_prefix(what)?.strip_prefix(" s2 ")).collect();
                of.sort();
                of
            };
            assert_eq!(of("init"), of("pre_exit"));
            assert_eq!(of("init"), of("exit"));
        }
        done.store(true, Ordering::SeqCst);
        churn.join().unwrap();
    });
    assert_eq!(world.alive(), 0);
}

/// A subsystem whose `exit` blocks, in some namespaces, until it is told to go on.
struct Blocks {
    entered: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Subsystem for Blocks {
    type State = ();

    const EXIT_MAY_BLOCK: bool = true;

    fn name(&self) -> &str {
        "blocks"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<(), InitError> {
        Ok(())
    }

    fn exit(&self, ns: &View<'_>, (): ()) {
        if ns.namespace().id().name.as_str().starts_with("stuck") {
            self.entered.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }
}

/// Whoever removes a namespace whose `exit` blocks hears so when the deadline passes, and the workers
/// go on with the others.
#[test]
fn blocking_exit_meets_the_deadline_and_delays_nobody() {
    let registry = Registry::new().unwrap();
    let ((entered, enters), (go_on, waits)) = (mpsc::channel(), mpsc::channel());
    registry.register(Blocks { entered, go_on: Mutex::new(waits) }).unwrap();
    let stuck = ["stuck-1", "stuck-2", "stuck-3"].map(|name| registry.create(name).unwrap());
    let draining = registry.remove(&stuck, Deadline::now()).expect_err("each `exit` blocks");
    assert_eq!(draining.len(), 3);
    for _ in &stuck {
        enters.recv().unwrap();
    }
    let busy = stuck[0].wait_gone(Deadline::now()).unwrap_err();
    assert!(busy.to_string().ends_with("exit of blocks is running"), "{busy}");

    let other = registry.create("other").unwrap();
    let inside = other.enter().unwrap();
    registry.remove([&other], Deadline::now()).expect_err("somebody is inside");
    let mut events = registry.events();
    drop(inside);
    while !matches!(events.wait(), Some(Heard::Event(Event::Gone(id))) if id == *other.id()) {}

    for _ in &stuck {
        go_on.send(()).unwrap();
    }
    registry.remove(&stuck, Deadline::Never).unwrap();
}
