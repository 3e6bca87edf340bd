//! The lock order at run time: what the types can't see, a debug build does.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::panic_message;
use holm_lifetime::levels::{
    DevBase, LevelMutex, Locked, NsRtnl, Pernet, Rtnl, assert_nothing_held,
};
use holm_lifetime::{Deadline, Gate, Owner};
use std::sync::{Arc, Barrier};
use std::thread;

#[test]
fn guards_give_access_to_what_the_lock_guards() {
    let mutex = LevelMutex::<Rtnl, _>::new(1);
    let mut held = Locked::nothing();
    *mutex.lock(&mut held) += 1;
    let mut guard = mutex.lock(&mut held);
    let (_token, value) = guard.split();
    *value += 1;
    assert_eq!(*guard, 3);
}

#[test]
fn try_lock_fails_only_while_somebody_holds_the_lock() {
    let mutex = Arc::new(LevelMutex::<Rtnl, _>::new(()));
    let mut held = Locked::nothing();
    let guard = mutex.lock(&mut held);
    let elsewhere = |mutex: &Arc<LevelMutex<Rtnl, ()>>| {
        let mutex = mutex.clone();
        thread::spawn(move || mutex.try_lock(&mut Locked::nothing()).is_some()).join().unwrap()
    };
    assert!(!elsewhere(&mutex));
    drop(guard);
    assert!(elsewhere(&mutex));
    assert!(mutex.try_lock(&mut held).is_some(), "given back there as well");
}

#[test]
fn lock_two_excludes_from_both_and_refuses_one_lock_twice() {
    let (one, two) = (LevelMutex::<NsRtnl, _>::new(1), LevelMutex::<NsRtnl, _>::new(2));
    let mut held = Locked::nothing();
    let mut both = LevelMutex::lock_two(&one, &two, &mut held);
    assert_eq!((*both, both.second().copied()), (1, Some(2)));
    thread::scope(|scope| {
        let free = scope.spawn(|| {
            let mut held = Locked::nothing();
            let one_is_free = one.try_lock(&mut held).is_some();
            (one_is_free, two.try_lock(&mut held).is_some())
        });
        assert_eq!(free.join().unwrap(), (false, false));
    });
    drop(both);
    let message = panic_message(|| drop(LevelMutex::lock_two(&one, &one, &mut held)));
    assert_eq!(message, "NsRtnl taken twice");
    assert!(one.try_lock(&mut held).is_some());
}

/// Threads that take all levels in the order never stop each other for good.
#[test]
fn whole_order_taken_by_many_threads_at_once_ends() {
    let locks = Arc::new((
        LevelMutex::<Pernet, _>::new(0_u32),
        LevelMutex::<Rtnl, _>::new(0_u32),
        LevelMutex::<NsRtnl, _>::new(0_u32),
        LevelMutex::<DevBase, _>::new(0_u32),
    ));
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4)
        .map(|which| {
            let (locks, start) = (locks.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                let mut held = Locked::nothing();
                for _ in 0..500 {
                    if which % 2 == 0 {
                        let mut pernet = locks.0.lock(&mut held);
                        *pernet += 1;
                        let mut rtnl = locks.1.lock(pernet.token());
                        *rtnl += 1;
                        let mut ns = locks.2.lock(rtnl.token());
                        *ns += 1;
                        *locks.3.lock(ns.token()) += 1;
                    } else {
                        let mut rtnl = locks.1.lock(&mut held);
                        *rtnl += 1;
                        *locks.3.lock(rtnl.token()) += 1;
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut held = Locked::nothing();
    assert_eq!(*locks.0.lock(&mut held), 1000);
    assert_eq!(*locks.1.lock(&mut held), 2000);
    assert_eq!(*locks.2.lock(&mut held), 1000);
    assert_eq!(*locks.3.lock(&mut held), 2000);
}

#[cfg(debug_assertions)]
mod debug_build {
    use super::*;

    #[test]
    fn second_token_is_refused_while_a_level_is_held_and_names_it() {
        let rtnl = LevelMutex::<Rtnl, _>::new(());
        let dev_base = LevelMutex::<DevBase, _>::new(());
        let mut held = Locked::nothing();
        let mut guard = rtnl.lock(&mut held);
        let inner = dev_base.lock(guard.token());
        let message = panic_message(|| _ = Locked::nothing());
        assert!(message.ends_with("the thread holds Rtnl, DevBase"), "{message}");
        drop(inner);
        let message = panic_message(|| _ = Locked::nothing());
        assert!(message.ends_with("the thread holds Rtnl"), "{message}");
        drop(guard);
        let _second = Locked::nothing();
    }

    #[test]
    fn inversion_by_a_second_token_made_in_advance_panics_and_leaves_the_lock_free() {
        let pernet = LevelMutex::<Pernet, _>::new(());
        let rtnl = LevelMutex::<Rtnl, _>::new(());
        let (mut held, mut second) = (Locked::nothing(), Locked::nothing());
        let guard = rtnl.lock(&mut held);
        let message = panic_message(|| drop(pernet.lock(&mut second)));
        assert_eq!(message, "lock order: Pernet taken while holding Rtnl");
        drop(guard);
        assert!(pernet.try_lock(&mut held).is_some(), "still locked after the panic");
    }

    #[test]
    fn one_level_twice_by_a_second_token_panics() {
        let (one, two) = (LevelMutex::<NsRtnl, _>::new(()), LevelMutex::<NsRtnl, _>::new(()));
        let (mut held, mut second) = (Locked::nothing(), Locked::nothing());
        let _guard = one.lock(&mut held);
        let message = panic_message(|| drop(two.lock(&mut second)));
        assert_eq!(message, "lock order: NsRtnl taken while holding NsRtnl");
    }

    #[test]
    fn one_lock_twice_by_a_second_token_panics_and_does_not_hang() {
        let mutex = LevelMutex::<NsRtnl, _>::new(());
        let (mut held, mut second) = (Locked::nothing(), Locked::nothing());
        let _guard = mutex.lock(&mut held);
        let message = panic_message(|| drop(mutex.lock(&mut second)));
        assert_eq!(message, "lock order: NsRtnl taken while holding NsRtnl");
    }

    #[test]
    fn nobody_waits_for_references_or_passes_while_holding_a_level() {
        let mutex = LevelMutex::<Rtnl, _>::new(());
        let mut held = Locked::nothing();
        let gate = Gate::bare();
        gate.close();
        let guard = mutex.lock(&mut held);
        for message in [
            panic_message(|| drop(Owner::new(1).retire().wait(Deadline::now()))),
            panic_message(|| drop(gate.drained(Deadline::now()))),
            panic_message(assert_nothing_held),
        ] {
            assert_eq!(message, "this call may wait, and the thread holds Rtnl");
        }
        drop(guard);
        assert!(gate.drained(Deadline::now()).is_ok());
    }

    #[test]
    fn what_one_thread_holds_does_not_concern_another() {
        let mutex = LevelMutex::<Rtnl, _>::new(());
        let mut held = Locked::nothing();
        let _guard = mutex.lock(&mut held);
        thread::spawn(|| _ = Locked::nothing()).join().unwrap();
    }

    #[test]
    fn level_is_given_back_by_a_panic() {
        let mutex = LevelMutex::<Rtnl, _>::new(());
        let message = panic_message(|| {
            let mut held = Locked::nothing();
            let _guard = mutex.lock(&mut held);
            panic!("under the lock");
        });
        assert_eq!(message, "under the lock");
        assert!(mutex.try_lock(&mut Locked::nothing()).is_some());
    }
}
