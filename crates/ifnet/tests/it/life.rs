//! Interfaces come and go.

use crate::world::{Diary, Idle, Keeps, Ns, Seen, World, frame, named, new};
use holm_ifnet::aggregation::LaggRequest;
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::{
    Cloner, CreateError, DestroyError, Driver, DriverError, DropReason, Flags, Frames, Interface,
    LinkState, NewInterface, Reply, Request, RequestError,
};
use holm_lifetime::Deadline;
use holm_netns::{Event, Heard};
use std::sync::Arc;

#[test]
fn namespace_is_born_with_a_loopback_interface_that_stays() {
    let world = World::new();
    let ns = world.create("blue");
    let lo = ns.find(named("lo")).unwrap();
    assert_eq!((lo.kind(), lo.mtu(), lo.link()), ("lo", 65_521, LinkState::Up));
    assert_eq!(lo.flags(), Flags::UP | Flags::RUNNING);
    let addresses: Vec<_> = lo.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1/8", "::1/128"]);
    drop(lo);
    let refused = ns.destroy(named("lo"), Deadline::Never);
    assert!(matches!(refused, Err(DestroyError::Permanent(_))), "{refused:?}");
    world.remove(ns);
}

#[test]
fn unit_that_is_free_is_taken_and_comes_back() {
    let world = World::new();
    let ns = world.create("blue");
    let born = |new| ns.create(new, Idle::default()).unwrap().name().to_string();
    let next = NewInterface::default();
    assert_eq!(
        [born(next), born(next), born(new("idle3")), born(next)],
        ["idle0", "idle1", "idle3", "idle2"]
    );
    ns.destroy(named("idle1"), Deadline::Never).unwrap();
    assert_eq!(born(next), "idle1");

    // A unit goes with the interface, not with its name; and a name that somebody else has is not taken.
    ns.tell("idle0", Request::Rename(named("wan")));
    assert_eq!(ns.find(named("wan")).unwrap().unit(), 0);
    assert_eq!(born(next), "idle4");
    ns.tell("idle4", Request::Rename(named("idle7")));
    assert_eq!([born(next), born(new("idle0"))], ["idle5", "idle0"]);
    assert_eq!(ns.find(named("idle0")).unwrap().unit(), 6);
    assert_eq!([born(next), born(next)], ["idle8", "idle9"]);
}

#[test]
fn names_are_unique_in_a_namespace_only() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let wan = blue.create(new("wan"), Idle::default()).unwrap();
    let other = green.create(new("wan"), Idle::default()).unwrap();
    assert_ne!(wan.index(), other.index());
    assert_ne!(wan.mac(), other.mac(), "it follows from the names of both");
    let seen = Arc::<Seen>::default();
    let second = Idle { seen: seen.clone(), ..Idle::default() };
    let refused = blue.create(new("wan"), second).unwrap_err();
    assert_eq!(refused, CreateError::Exists(named("wan")));
    let exists = blue.ask("lo", Request::Rename(named("wan"))).unwrap_err();
    assert!(matches!(exists, RequestError::Exists { .. }), "{exists}");
    assert_eq!(blue.names(), ["lo", "wan"]);
}

#[test]
fn mac_address_is_the_same_after_a_restart() {
    let macs = [(); 2].map(|()| {
        let world = World::new();
        world.create("blue").create(new("wan"), Idle::default()).unwrap().mac()
    });
    assert_eq!(macs[0], macs[1]);
    // Also in the next version: partners know us by it.
    assert_eq!(macs[0].to_string(), "4a:18:e2:34:23:4d");
    assert!(macs[0].is_station());
    assert_eq!(macs[0].0[0] & 2, 2, "locally administered");
}

#[test]
fn driver_that_refuses_is_destroyed_and_leaves_nothing() {
    let world = World::new();
    let ns = world.create("blue");
    let seen = Arc::<Seen>::default();
    let refuses = Idle { seen: seen.clone(), refuses: true, ..Idle::default() };
    let why = ns.create(NewInterface::default(), refuses).unwrap_err();
    assert!(why.to_string().contains("it does not want to"), "{why}");
    seen.wait_destroyed();
    assert_eq!(ns.names(), ["lo"]);
    assert_eq!(ns.create(NewInterface::default(), Idle::default()).unwrap().unit(), 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let world = World::new();
    let ns = world.create("blue");
    for wrong in [
        NewInterface { mtu: Some(575), ..NewInterface::default() },
        NewInterface { mtu: Some(65_522), ..NewInterface::default() },
        NewInterface { mac: Some("01:00:5e:00:00:01".parse().unwrap()), ..NewInterface::default() },
        NewInterface { mac: Some("00:00:00:00:00:00".parse().unwrap()), ..NewInterface::default() },
    ] {
        let refused = ns.create(wrong, Idle::default()).unwrap_err();
        assert!(matches!(refused, CreateError::Invalid { .. }), "{refused}");
    }
}

#[test]
fn destroying_wakes_who_sleeps_in_the_driver() {
    let world = World::new();
    let ns = world.create("blue");
    let seen = Arc::<Seen>::default();
    drop(ns.create(new("wan"), Idle { seen: seen.clone(), ..Idle::default() }).unwrap());
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| Ns::enter(ns.namespace()).ask("wan", Request::Media));
        seen.wait_asleep();
        ns.destroy(named("wan"), Deadline::Never).unwrap();
        assert_eq!(seen.destroyed(), 1);
        // It had begun, so it is answered.
        assert!(matches!(sleeper.join().unwrap(), Ok(Reply::Media(_))));
    });
    let gone = ns.ask("wan", Request::Media).unwrap_err();
    assert_eq!(gone.errno(), rustix::io::Errno::NXIO);
}

/// Also where it takes the global lock, as pairs and moves do.
#[test]
fn driver_that_sleeps_on_holds_up_no_change_of_another_namespace() {
    let world = World::new();
    let [blue, green, red] = ["blue", "green", "red"].map(|name| world.create(name));
    let seen = Arc::<Seen>::default();
    let deaf = Idle { seen: seen.clone(), deaf: true, ..Idle::default() };
    drop(blue.create(new("wan"), deaf).unwrap());
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| Ns::enter(blue.namespace()).ask("wan", Request::Media));
        seen.wait_asleep();
        let destroys = scope.spawn(|| blue.destroy(named("wan"), Deadline::Never));
        while blue.leaving().is_empty() {
            std::thread::yield_now();
        }
        // It is waited for, and goes on sleeping until all this is done.
        drop(green.create(new("wan"), Idle::default()).unwrap());
        green.tell("wan", Request::SetMtu(9000));
        green.tell("wan", Request::Rename(named("lan")));
        green.destroy(named("lan"), Deadline::Never).unwrap();
        drop(green.create_pair(new("p0"), &red, new("p1")).unwrap());
        red.move_to(named("p1"), &green, None).unwrap();
        green.move_to(named("p1"), &red, Some(named("p2"))).unwrap();
        drop(green.create(new("lagg0"), NewLagg::default()).unwrap());
        green.tell("lagg0", Request::Lagg(LaggRequest::AddPort(named("p0"))));
        green.destroy(named("p0"), Deadline::Never).unwrap();
        assert_eq!(red.names(), ["lo"], "the other end has gone with it");
        let diary = Arc::<Diary>::default();
        let registered = world.chain.register(&world.registry, diary.clone()).unwrap();
        assert!(diary.take().contains(&"green lagg0: created".to_owned()));
        drop(registered);
        world.remove(world.create("violet"));
        world.remove(red);
        // Also in its own namespace.
        drop(blue.create(new("wan"), Idle::default()).unwrap());
        blue.destroy(named("wan"), Deadline::Never).unwrap();
        assert!(!destroys.is_finished() && seen.destroyed() == 0);
        seen.wake();
        destroys.join().unwrap().unwrap();
        assert!(matches!(sleeper.join().unwrap(), Ok(Reply::Media(_))));
    });
}

#[test]
fn who_holds_on_is_named_and_waited_for() {
    let world = World::new();
    let ns = world.create("blue");
    let seen = Arc::<Seen>::default();
    drop(ns.create(new("wan"), Idle { seen: seen.clone(), ..Idle::default() }).unwrap());
    let held = ns.find(named("wan")).unwrap();
    let Err(DestroyError::StillHeld(leaving)) = ns.destroy(named("wan"), Deadline::now()) else {
        panic!("it is held")
    };
    assert!(leaving.to_string().contains("life.rs"), "{leaving}");
    assert_eq!(ns.leaving()[0].0, named("wan"));
    assert!(held.flags().has(Flags::DYING));
    assert_eq!((ns.names(), seen.destroyed()), (vec!["lo".to_owned()], 0));
    // Its name is free.
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    let leaving = leaving.wait(Deadline::now()).unwrap_err();
    drop(held);
    leaving.wait(Deadline::Never).unwrap();
    assert_eq!((seen.destroyed(), ns.leaving().len()), (1, 0));
}

#[test]
fn what_nobody_waits_for_is_destroyed_by_a_worker() {
    let world = World::new();
    let ns = world.create("blue");
    let seen = Arc::<Seen>::default();
    drop(ns.create(new("wan"), Idle { seen: seen.clone(), ..Idle::default() }).unwrap());
    let held = ns.find(named("wan")).unwrap();
    drop(ns.destroy(named("wan"), Deadline::now()).unwrap_err());
    assert_eq!(seen.destroyed(), 0);
    drop(held);
    seen.wait_destroyed();
    world.remove(ns);
}

#[test]
fn namespace_takes_its_interfaces_along() {
    let world = World::new();
    let ns = world.create("blue");
    let seen = Arc::<Seen>::default();
    for _ in 0..3 {
        drop(ns.create(NewInterface::default(), Idle { seen: seen.clone(), ..Idle::default() }));
    }
    // Also what was destroyed before, is held, and is waited for by nobody though somebody could.
    let held = ns.find(named("idle1")).unwrap();
    let leaving = ns.destroy(named("idle1"), Deadline::now()).unwrap_err();
    drop(held);
    world.remove(ns);
    assert_eq!(seen.destroyed(), 3);
    drop(leaving);
}

#[test]
fn interface_takes_no_frames_of_a_wrong_length_or_while_it_is_down() {
    let world = World::new();
    let ns = world.create("blue");
    let wan = ns.create(new("wan"), Idle::default()).unwrap();
    wan.transmit(&mut vec![frame(0, 100)]);
    ns.tell("wan", Request::SetUp(true));
    wan.transmit(&mut vec![
        vec![0; 13].into(),
        vec![0; 14].into(),
        vec![0; 1514].into(),
        vec![0; 1515].into(),
        Vec::new().into(),
    ]);
    let sent = wan.counters().values().sent;
    assert_eq!((sent.frames, sent.bytes), (2, 1528));
    let reasons = [DropReason::NotUp, DropReason::TooShort, DropReason::TooLong];
    assert_eq!(reasons.map(|reason| sent.dropped(reason)), [1, 2, 1]);
    assert_eq!(sent.dropped_in_all(), 4);
}

#[test]
fn vlan_tag_stands_beside_what_the_mtu_counts() {
    let world = World::new();
    let ns = world.create("blue");
    let (wan, far) = ns.create_pair(new("wan"), &ns, new("far")).unwrap();
    for name in ["wan", "far"] {
        ns.tell(name, Request::SetUp(true));
    }
    let keeps = Arc::<Keeps>::default();
    ns.receive("far", Some(keeps.clone()));
    let typed = |ether_type: [u8; 2], len: usize| {
        let mut frame = frame(7, len);
        frame[12..14].copy_from_slice(&ether_type);
        frame
    };
    let (vlan, service, ipv4) = ([0x81, 0], [0x88, 0xa8], [8, 0]);
    wan.transmit(&mut vec![
        typed(vlan, 1519),
        typed(ipv4, 1518),
        typed(ipv4, 1514),
        typed(vlan, 1518),
        typed(service, 1518),
    ]);
    let came = keeps.wait_for(3);
    assert_eq!(came.iter().map(|frame| frame.len()).collect::<Vec<_>>(), [1514, 1518, 1518]);
    assert_eq!(wan.counters().values().sent.dropped(DropReason::TooLong), 2);
    assert_eq!(far.counters().values().received.frames, 3);
}

#[test]
fn driver_that_panics_at_its_end_holds_up_nobody() {
    struct Panics;
    impl Cloner for Panics {
        const KIND: &'static str = "panics";

        fn make(self) -> Result<Box<dyn Driver>, DriverError> {
            Ok(Box::new(self))
        }
    }
    impl Driver for Panics {
        fn transmit(&self, _: &Interface, _: &mut Frames) -> Result<(), DropReason> {
            Ok(())
        }

        fn destroy(self: Box<Self>) {
            panic!("not today");
        }
    }
    let world = World::new();
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    let ns = world.create("blue");
    for _ in 0..3 {
        drop(ns.create(NewInterface::default(), Panics).unwrap());
    }
    let destroy = || ns.destroy(named("panics0"), Deadline::Never);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(destroy)).unwrap_err();
    assert_eq!(ns.leaving().len(), 0);
    let mut events = world.registry.events();
    world.remove(ns);
    assert!(diary.take().contains(&"blue lo: destroyed".to_owned()));
    let told = std::iter::from_fn(|| events.try_next());
    let failed = |heard: Heard| matches!(heard, Heard::Event(Event::Failed(_)));
    assert_eq!(told.filter(|heard| failed(heard.clone())).count(), 1);
}
