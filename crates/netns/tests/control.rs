//! Control requests: each is carried out once, under the lock, or answered with the reason why not.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::{Call, Probe, World, three};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, NsState, Pending, REQUESTS_PER_UNLOCK, Registry, RequestError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

const WORKER: &str = "holm-netns";

fn one() -> (Registry, Namespace) {
    let registry = Registry::new().unwrap();
    let blue = registry.create("blue").unwrap();
    (registry, blue)
}

fn thread_name() -> String {
    thread::current().name().unwrap_or("").to_owned()
}

/// What must have been answered by now.
fn answer<R>(pending: Pending<R>) -> Result<R, RequestError> {
    pending.wait(Deadline::now()).ok().expect("not answered by now")
}

/// What is not answered yet; asked on a thread that holds nothing.
fn unanswered<R: Send>(pending: Pending<R>) -> Pending<R> {
    let ask = || pending.wait(Deadline::now()).err().expect("answered under the lock");
    thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

fn gone(ns: &Namespace) -> RequestError {
    RequestError::Gone(ns.id().to_string())
}

#[test]
fn request_runs_at_once_on_the_senders_thread_if_the_lock_is_free() {
    let world = World::default();
    let registry = three(&world);
    let blue = registry.create("blue").unwrap();
    let pending = blue.request(&mut Locked::nothing(), |in_ns| {
        let state = in_ns.contents.get::<Probe<1>>().expect("registered");
        (in_ns.ns.id().clone(), state.ns.id, thread::current().id())
    });
    let answer = pending.wait(Deadline::now()).ok().expect("answered by now");
    assert_eq!(answer, Ok((blue.id().clone(), 1, thread::current().id())));
}

#[test]
fn requests_that_meet_the_lock_taken_are_run_in_order_by_who_unlocks() {
    let (_registry, blue) = one();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut held = Locked::nothing();
    let guard = blue.lock(&mut held);
    let pending: Vec<_> = thread::scope(|scope| {
        let send = || {
            let send = |number| {
                let log = log.clone();
                blue.request(&mut Locked::nothing(), move |_| {
                    log.lock().unwrap().push((number, thread::current().id()));
                    number
                })
            };
            (0..5).map(send).collect()
        };
        scope.spawn(send).join().unwrap()
    });
    assert!(log.lock().unwrap().is_empty(), "run while somebody else holds the lock");
    let mut pending = pending.into_iter();
    let first = unanswered(pending.next().unwrap());
    drop(guard);
    let own = thread::current().id();
    assert_eq!(*log.lock().unwrap(), (0..5).map(|number| (number, own)).collect::<Vec<_>>());
    assert_eq!(first.wait(Deadline::now()).ok(), Some(Ok(0)));
    let rest: Vec<_> = pending.filter_map(|pending| pending.wait(Deadline::now()).ok()).collect();
    assert_eq!(rest, [Ok(1), Ok(2), Ok(3), Ok(4)]);
}

#[test]
fn no_foreign_request_runs_under_another_level() {
    let (registry, blue) = one();
    // Sent while another level is held.
    let mut held = Locked::nothing();
    let mut rtnl = registry.rtnl(&mut held);
    let sent = blue.request(rtnl.token(), |_| thread_name());
    // Left by an unlocker that still holds one.
    let guard = blue.lock(rtnl.token());
    let left = thread::scope(|scope| {
        let send = || blue.request(&mut Locked::nothing(), |_| thread_name());
        scope.spawn(send).join().unwrap()
    });
    drop(guard);
    drop(rtnl);
    for pending in [sent, left] {
        assert_eq!(pending.wait(Deadline::Never).ok(), Some(Ok(WORKER.to_owned())));
    }
}

#[test]
fn unlocker_of_two_leaves_the_requests_of_both_to_the_worker() {
    let (registry, blue) = one();
    let green = registry.create("green").unwrap();
    for (one, other) in [(&blue, &green), (&green, &blue), (&blue, &blue)] {
        let mut held = Locked::nothing();
        let mut rtnl = registry.rtnl(&mut held);
        let first = &blue;
        let both = one.lock_two(other, rtnl.token());
        let pending = thread::scope(|scope| {
            let send = |ns: &Namespace| ns.request(&mut Locked::nothing(), |_| thread_name());
            scope.spawn(move || [send(first), send(one), send(other)]).join().unwrap()
        });
        let [early, a, b] = pending;
        let early = unanswered(early);
        drop(both);
        drop(rtnl);
        for pending in [early, a, b] {
            assert_eq!(pending.wait(Deadline::Never).ok(), Some(Ok(WORKER.to_owned())));
        }
    }
}

#[test]
fn unlocker_runs_so_many_and_the_worker_the_rest() {
    let (_registry, blue) = one();
    let mut held = Locked::nothing();
    let guard = blue.lock(&mut held);
    let count = 3 * REQUESTS_PER_UNLOCK;
    let pending: Vec<_> = thread::scope(|scope| {
        let send = || {
            let send = |_| blue.request(&mut Locked::nothing(), |_| thread::current().id());
            (0..count).map(send).collect()
        };
        scope.spawn(send).join().unwrap()
    });
    drop(guard);
    let own = thread::current().id();
    let by: Vec<_> =
        pending.into_iter().map(|p| p.wait(Deadline::Never).ok().unwrap().unwrap()).collect();
    assert!(by[..REQUESTS_PER_UNLOCK].iter().all(|id| *id == own));
    assert_eq!(by.len(), count);
    assert!(by[REQUESTS_PER_UNLOCK..].iter().all(|id| *id != own));
}

#[test]
fn requests_of_a_namespace_that_goes_are_answered() {
    let (registry, blue) = one();
    let inside = blue.enter().unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let mut held = Locked::nothing();
    let guard = blue.lock(&mut held);
    let (waits, early) = thread::scope(|scope| {
        let both = || {
            let request = || {
                let ran = ran.clone();
                blue.request(&mut Locked::nothing(), move |_| ran.store(true, Ordering::SeqCst))
            };
            let waits = request();
            registry.remove([&blue], Deadline::now()).expect_err("somebody is inside");
            (waits, request())
        };
        scope.spawn(both).join().unwrap()
    });
    // While the lock is still held.
    let answers =
        thread::scope(|scope| scope.spawn(|| [answer(waits), answer(early)]).join().unwrap());
    assert_eq!(answers, [Err(gone(&blue)), Err(gone(&blue))]);
    drop(guard);
    drop(inside);
    blue.wait_gone(Deadline::Never).unwrap();
    drop(registry);
    let late = blue.request(&mut Locked::nothing(), |_| ());
    assert_eq!(answer(late), Err(gone(&blue)));
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn namespace_stays_for_as_long_as_a_request_runs() {
    let world = World::default();
    let registry = three(&world);
    let blue = registry.create("blue").unwrap();
    let (entered, running) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let requester = thread::spawn({
        let blue = blue.clone();
        move || {
            let pending = blue.request(&mut Locked::nothing(), move |in_ns| {
                entered.send(()).unwrap();
                goes.recv().unwrap();
                in_ns.contents.get::<Probe<3>>().map(|state| state.ns.id)
            });
            pending.wait(Deadline::Never).ok()
        }
    });
    running.recv().unwrap();
    let draining = registry.remove([&blue], Deadline::now()).expect_err("a request runs");
    assert_eq!((draining[0].held.count, world.alive()), (1, 3));
    go.send(()).unwrap();
    assert_eq!(requester.join().unwrap(), Some(Ok(Some(1))));
    blue.wait_gone(Deadline::Never).unwrap();
    assert_eq!(world.alive(), 0);
}

#[test]
fn panic_in_a_request_is_its_answer_and_nobody_elses() {
    let (_registry, blue) = one();
    let mut held = Locked::nothing();
    let pending: Pending<()> = blue.request(&mut held, |_| panic!("number {}", 7));
    let failed = RequestError::Failed { ns: "blue@1".into(), why: "panicked: number 7".into() };
    assert_eq!(failed.to_string(), "a request in namespace blue@1 panicked: number 7");
    assert_eq!(answer(pending), Err(failed));
    blue.request_then(&mut held, |_| (), |_| panic!("in the answer"));
    assert_eq!(answer(blue.request(&mut held, |_| 1)), Ok(1));
    // The lock is free.
    drop(blue.lock(&mut held));
}

#[test]
fn panic_while_the_lock_is_held_still_runs_what_waits() {
    let (_registry, blue) = one();
    let holder = thread::spawn({
        let blue = blue.clone();
        move || {
            let mut held = Locked::nothing();
            let _guard = blue.lock(&mut held);
            let other = blue.clone();
            let send = move || other.request(&mut Locked::nothing(), |_| 5);
            let pending = thread::spawn(send).join().unwrap();
            std::panic::panic_any(Mutex::new(Some(pending)));
        }
    });
    let panic = holder.join().expect_err("it panics");
    let pending = panic.downcast::<Mutex<Option<Pending<i32>>>>().expect("pending");
    let pending = pending.lock().unwrap().take().unwrap();
    assert_eq!(pending.wait(Deadline::now()).ok(), Some(Ok(5)));
}

#[test]
fn request_from_within_a_request_runs_after_it() {
    let (registry, blue) = one();
    let green = registry.create("green").unwrap();
    let running = Arc::new(AtomicBool::new(false));
    let pending = blue.request(&mut Locked::nothing(), {
        let running = running.clone();
        move |in_ns| {
            running.store(true, Ordering::SeqCst);
            let same = {
                let running = running.clone();
                in_ns.ns.request(&mut in_ns.held, move |_| {
                    assert!(!running.load(Ordering::SeqCst), "within the other");
                    thread_name()
                })
            };
            let other = green.request(&mut in_ns.held, |_| thread_name());
            running.store(false, Ordering::SeqCst);
            (same, other)
        }
    });
    let (same, other) = answer(pending).unwrap();
    // Under the lock of one namespace no request of another is run.
    assert_eq!(other.wait(Deadline::Never).ok(), Some(Ok(WORKER.to_owned())));
    same.wait(Deadline::Never).ok().expect("no deadline").expect("after the other");
}

#[test]
fn answer_is_given_under_the_lock() {
    let (_registry, blue) = one();
    let (sender, answers) = mpsc::channel();
    let other = blue.clone();
    blue.request_then(
        &mut Locked::nothing(),
        |_| 3,
        move |answer| {
            let free = thread::spawn(move || {
                let (sender, answered) = mpsc::channel();
                let request = move |_: &mut holm_netns::InNs<'_>| sender.send(()).unwrap();
                let _later = other.request(&mut Locked::nothing(), request);
                answered.try_recv().is_ok()
            });
            sender.send((answer, free.join().unwrap())).unwrap();
        },
    );
    assert_eq!(answers.try_recv(), Ok((Ok(3), false)));
}

/// A subsystem may ask for something to be done in the namespace as soon as there is one.
#[test]
fn request_made_while_the_namespace_is_being_made_is_carried_out_once_it_is_there() {
    let world = World::default();
    for refused in [false, true] {
        let registry = Registry::new().unwrap();
        let (sender, pending) = mpsc::channel();
        let (goes, go) = mpsc::channel::<()>();
        let go = Mutex::new(go);
        let asks = world.probe::<1>().at(Call::Init, move |ns| {
            let ns = ns.namespace().clone();
            let (sender, goes) = (sender.clone(), goes.clone());
            // From a thread that holds nothing, so that nothing but the namespace's state is in
            // the way; it has been here when this goes on.
            thread::spawn(move || {
                assert_eq!(ns.state(), NsState::Coming);
                let request = ns.request(&mut Locked::nothing(), |in_ns| {
                    in_ns.contents.get::<Probe<1>>().map(|state| state.ns.id)
                });
                sender.send(request).unwrap();
                goes.send(()).unwrap();
            })
            .join()
            .unwrap();
            go.lock().unwrap().recv().unwrap();
            Ok(())
        });
        registry.register(asks).unwrap();
        let refuses = move |_: &holm_netns::View<'_>| {
            if refused { Err(holm_netns::InitError("no".into())) } else { Ok(()) }
        };
        registry.register(world.probe::<2>().at(Call::Init, refuses)).unwrap();
        assert_eq!(registry.create("blue").is_err(), refused);
        let answer = pending.recv().unwrap().wait(Deadline::Never).ok().unwrap();
        let expected = if refused { Err(RequestError::Gone("blue@1".into())) } else { Ok(Some(1)) };
        assert_eq!(answer, expected);
    }
}

/// Many senders, holders of the lock and a removal: every request is answered once, and no two run
/// at a time.
#[test]
fn every_request_is_answered_once_and_alone_whatever_happens() {
    for round in 0..30 {
        let (registry, blue) = one();
        let inside = Arc::new(AtomicUsize::new(0));
        let ran = Arc::new(AtomicUsize::new(0));
        let start = Barrier::new(5);
        let answers: Vec<Result<(), RequestError>> = thread::scope(|scope| {
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let send = |_| {
                            let (inside, ran) = (inside.clone(), ran.clone());
                            blue.request(&mut Locked::nothing(), move |_| {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "not alone");
                                ran.fetch_add(1, Ordering::SeqCst);
                                thread::yield_now();
                                inside.fetch_sub(1, Ordering::SeqCst);
                            })
                        };
                        (0..100).map(send).collect::<Vec<_>>()
                    })
                })
                .collect();
            scope.spawn(|| {
                start.wait();
                for _ in 0..50 {
                    let mut held = Locked::nothing();
                    let mut rtnl = registry.rtnl(&mut held);
                    let _guard = blue.lock(rtnl.token());
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "not alone");
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
            start.wait();
            if round % 2 == 1 {
                registry.remove([&blue], Deadline::Never).expect("requests end");
            }
            let pending: Vec<_> = senders.into_iter().flat_map(|s| s.join().unwrap()).collect();
            pending.into_iter().map(|p| p.wait(Deadline::Never).ok().unwrap()).collect()
        });
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!((answers.len(), done), (300, ran.load(Ordering::SeqCst)));
        assert!(answers.iter().all(|a| a.is_ok() || *a == Err(gone(&blue))), "{answers:?}");
        assert!(round % 2 == 1 || done == 300);
    }
}
