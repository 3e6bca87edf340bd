//! Events: in order, and what a slow listener loses is counted.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::heard;
use holm_lifetime::Deadline;
use holm_netns::{Event, Heard, Registry};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

/// How many events a listener may be behind.
const REMEMBERED: u64 = 256;

#[test]
fn slow_listener_loses_the_oldest_and_is_told_exactly_how_many() {
    for lost in [0, 1, 44, 2 * REMEMBERED + 3] {
        let registry = Registry::new().unwrap();
        let mut events = registry.events();
        for number in 1..=REMEMBERED + lost {
            registry.create(format!("ns-{number}").as_str()).unwrap();
        }
        let all = heard(&mut events);
        let expected: Vec<_> = (lost > 0)
            .then(|| format!("missed {lost}"))
            .into_iter()
            .chain((lost + 1..=REMEMBERED + lost).map(|n| format!("ns-{n}@{n}: created")))
            .collect();
        assert_eq!(all, expected);
        // From there on it is up to date.
        registry.remove_named("ns-1", Deadline::Never).unwrap();
        assert_eq!(heard(&mut events), ["ns-1@1: draining", "ns-1@1: gone"]);
    }
}

#[test]
fn slow_listener_takes_nothing_from_another() {
    let registry = Registry::new().unwrap();
    let (mut slow, mut quick) = (registry.events(), registry.events());
    for number in 1..=REMEMBERED + 10 {
        let ns = registry.create(format!("ns-{number}").as_str()).unwrap();
        assert_eq!(quick.try_next(), Some(Heard::Event(Event::Created(ns.id().clone()))));
    }
    assert_eq!(slow.try_next(), Some(Heard::Missed(10)));
    assert_eq!(quick.try_next(), None);
}

#[test]
fn listener_hears_only_what_happens_after_it_began() {
    let registry = Registry::new().unwrap();
    registry.create("before").unwrap();
    let mut events = registry.events();
    registry.create("after").unwrap();
    assert_eq!(heard(&mut events), ["after@2: created"]);
}

#[test]
fn waiting_listener_is_woken_by_an_event_and_by_the_end() {
    let registry = Registry::new().unwrap();
    let mut events = registry.events();
    let listener = thread::spawn(move || std::iter::from_fn(|| events.wait()).collect::<Vec<_>>());
    let blue = registry.create("blue").unwrap().id().clone();
    registry.remove_all(Deadline::Never).unwrap();
    drop(registry);
    let all = [Event::Created(blue.clone()), Event::Draining(blue.clone()), Event::Gone(blue)];
    assert_eq!(listener.join().unwrap(), all.map(Heard::Event));
}

#[test]
fn asynchronous_listener_is_pending_until_there_is_an_event() {
    let registry = Registry::new().unwrap();
    let mut events = registry.events();
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut next = pin!(events.next());
        assert_eq!(next.as_mut().poll(&mut context), Poll::Pending);
        let blue = registry.create("blue").unwrap();
        let event = Heard::Event(Event::Created(blue.id().clone()));
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(Some(event)));
    }
    for number in 1..=REMEMBERED + 5 {
        registry.create(format!("ns-{number}").as_str()).unwrap();
    }
    let mut next = pin!(events.next());
    assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(Some(Heard::Missed(5))));
}
