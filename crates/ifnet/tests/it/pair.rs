//! Pairs, and frames between namespaces.

use crate::world::{Diary, Keeps, Ns, World, frame, named, new};
use holm_ifnet::{
    CreateError, DropReason, Frame, Interface, LinkState, MoveError, NewInterface, Request, Tap,
    Way,
};
use holm_lifetime::Deadline;
use std::sync::{Arc, Mutex};

/// Both ends up, and what the second receives.
fn cable(blue: &Ns, green: &Ns) -> Arc<Keeps> {
    drop(blue.create_pair(new("a"), green, new("b")).unwrap());
    blue.tell("a", Request::SetUp(true));
    green.tell("b", Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    green.receive("b", Some(keeps.clone()));
    keeps
}

#[test]
fn what_is_sent_at_one_end_comes_in_at_the_other() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let keeps = cable(&blue, &green);
    let a = blue.find(named("a")).unwrap();
    let (mut sent, mut places): (Vec<Frame>, Vec<*const u8>) = Default::default();
    for n in 0..1000 {
        let frame = frame(n, 60 + n as usize % 1000);
        places.push(frame.as_ptr());
        sent.push(frame);
        if n % 100 == 99 {
            a.transmit(&mut sent);
            drop(keeps.wait_for(n as usize + 1));
        }
    }
    let came = keeps.wait_for(1000);
    let numbers = came.iter().map(|f| u32::from_be_bytes(f[14..18].try_into().unwrap()));
    assert!(numbers.eq(0..1000));
    // The very same, not copied.
    assert_eq!(came.iter().map(|frame| frame.as_ptr()).collect::<Vec<_>>(), places);
    let b = green.find(named("b")).unwrap();
    let (sent, received) = (a.counters().values().sent, b.counters().values().received);
    assert_eq!((sent.frames, sent.bytes), (1000, received.bytes));
    assert_eq!((received.frames, received.dropped_in_all()), (1000, 0));
}

#[test]
fn link_is_up_when_both_ends_are() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    drop(blue.create_pair(new("a"), &green, new("b")).unwrap());
    let ends = [blue.find(named("a")).unwrap(), green.find(named("b")).unwrap()];
    let links = || [ends[0].link(), ends[1].link()];
    blue.tell("a", Request::SetUp(true));
    assert_eq!(links(), [LinkState::Down; 2]);
    green.tell("b", Request::SetUp(true));
    assert_eq!(links(), [LinkState::Up; 2]);
    diary.wait_for("blue a: link up");
    diary.wait_for("green b: link up");
    blue.tell("a", Request::SetUp(false));
    assert_eq!(links(), [LinkState::Down; 2]);
    diary.wait_for("blue a: link down");
    diary.wait_for("green b: link down");
}

#[test]
fn end_that_is_destroyed_takes_the_other_along() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    for first in [&blue, &green] {
        cable(&blue, &green);
        let name = if std::ptr::eq(first, &blue) { "a" } else { "b" };
        first.destroy(named(name), Deadline::Never).unwrap();
        assert_eq!((blue.names(), green.names()), (vec!["lo".into()], vec!["lo".into()]));
    }
    // In one namespace too.
    drop(blue.create_pair(NewInterface::default(), &blue, NewInterface::default()).unwrap());
    assert_eq!(blue.names(), ["lo", "pair0", "pair1"]);
    blue.destroy(named("pair1"), Deadline::Never).unwrap();
    assert_eq!(blue.names(), ["lo"]);
    // And when the namespace of one goes.
    cable(&blue, &green);
    world.remove(green);
    assert_eq!(blue.names(), ["lo"]);
}

#[test]
fn second_end_that_is_refused_leaves_no_first() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let refused = blue.create_pair(new("a"), &green, new("lo")).unwrap_err();
    assert_eq!(refused, CreateError::Exists(named("lo")));
    assert_eq!((blue.names(), green.names()), (vec!["lo".into()], vec!["lo".into()]));
}

#[test]
fn end_moves_and_the_cable_with_it() {
    let world = World::new();
    let [blue, green, red] = ["blue", "green", "red"].map(|name| world.create(name));
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    cable(&blue, &green);
    diary.wait_for("blue a: link up");
    diary.wait_for("green b: link up");
    let a = blue.find(named("a")).unwrap();
    a.transmit(&mut vec![frame(1, 100)]);
    green.tell("b", Request::AddAddress("10.0.0.1/24".parse().unwrap()));
    diary.take();
    green.move_to(named("b"), &red, Some(named("c"))).unwrap();
    assert_eq!(diary.take(), ["green b: destroyed", "red c: created", "red c: up"]);
    assert_eq!((green.names(), red.names().len()), (vec!["lo".into()], 2));
    let c = red.find(named("c")).unwrap();
    assert_eq!((c.addresses().len(), c.namespace() == *red.namespace()), (0, true));
    drop(c);
    let keeps = Arc::<Keeps>::default();
    red.receive("c", Some(keeps.clone()));
    a.transmit(&mut vec![frame(2, 100)]);
    let came = keeps.wait_for(1).last().unwrap().clone();
    assert_eq!(came, frame(2, 100));
    drop(a);

    let there = red.move_to(named("lo"), &blue, None).unwrap_err();
    assert!(matches!(there, MoveError::Stays { .. }), "{there}");
    let there = red.move_to(named("c"), &blue, Some(named("a"))).unwrap_err();
    assert_eq!(there, MoveError::Exists(named("a")));
    // It may be in the same namespace as the other end, and goes with that all the same.
    red.move_to(named("c"), &blue, None).unwrap();
    blue.destroy(named("a"), Deadline::Never).unwrap();
    assert_eq!(blue.names(), ["lo"]);
}

#[test]
fn frames_that_nobody_fetches_are_bounded_and_room_is_told_of() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    /// Lets nothing through until it may.
    #[derive(Default)]
    struct Stops(Mutex<()>, Keeps);
    impl holm_ifnet::Receiver for Stops {
        fn receive(
            &self,
            turn: &holm_pool::Turn<'_>,
            interface: &Interface,
            frames: &mut holm_ifnet::Frames,
        ) {
            drop(self.0.lock().unwrap());
            self.1.receive(turn, interface, frames);
        }
    }
    cable(&blue, &green);
    let stops = Arc::<Stops>::default();
    green.receive("b", Some(stops.clone()));
    let sender = Arc::<Keeps>::default();
    blue.receive("a", Some(sender.clone()));
    let a = blue.find(named("a")).unwrap();
    let stopped = stops.0.lock().unwrap();
    for n in 0..10_000 {
        a.transmit(&mut vec![frame(n, 100)]);
    }
    // At least one was lost, so who sends waits for room.
    let sent = a.counters().values().sent;
    assert!(sent.dropped(DropReason::QueueFull) > 0);
    assert_eq!(sent.frames + sent.dropped(DropReason::QueueFull), 10_000);
    assert!(sent.frames < 1000, "{} frames are kept", sent.frames);
    drop(stopped);
    sender.wait_for_room();
    drop(stops.1.wait_for(sent.frames as usize));
}

#[test]
fn tap_sees_what_passes_both_ways() {
    #[derive(Default)]
    struct Sees(Mutex<Vec<(Way, usize)>>);
    impl Tap for Sees {
        fn saw(&self, _: &Interface, way: Way, frames: &[Frame]) {
            self.0.lock().unwrap().extend(frames.iter().map(|frame| (way, frame.len())));
        }
    }
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let keeps = cable(&blue, &green);
    let (a, b) = (blue.find(named("a")).unwrap(), green.find(named("b")).unwrap());
    let sees = Arc::<Sees>::default();
    let tap: Arc<dyn Tap> = sees.clone();
    a.add_tap(tap.clone());
    b.add_tap(tap.clone());
    a.transmit(&mut vec![frame(0, 100), vec![0; 5].into()]);
    drop(keeps.wait_for(1));
    assert_eq!(*sees.0.lock().unwrap(), [(Way::Out, 100), (Way::In, 100)]);
    a.remove_tap(&tap);
    b.remove_tap(&tap);
    a.transmit(&mut vec![frame(0, 100)]);
    drop(keeps.wait_for(2));
    assert_eq!(sees.0.lock().unwrap().len(), 2);
    assert!(!a.flags().has(holm_ifnet::Flags::TAPPED));
}

#[test]
fn what_is_sent_over_the_loopback_interface_comes_back() {
    let world = World::new();
    let ns = world.create("blue");
    let keeps = Arc::<Keeps>::default();
    ns.receive("lo", Some(keeps.clone()));
    ns.find(named("lo")).unwrap().transmit(&mut vec![frame(7, 65_535)]);
    assert_eq!(*keeps.wait_for(1), [frame(7, 65_535)]);
}
