//! Laggs over pairs, whose other ends are ports of another lagg or receive by themselves.

use crate::world::{Diary, Idle, Keeps, Ns, World, frame, named, new};
use holm_ifnet::aggregation::{HashLayers, LacpOptions, LaggRequest, LaggStatus, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::{
    DropReason, LinkState, MacAddress, Media, NewInterface, Reply, Request, RequestError,
};
use holm_lifetime::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cables from `p0`, `p1`, … here to `q0`, `q1`, … there, with all ends up.
fn cables(near: &Ns, far: &Ns, count: usize) {
    for number in 0..count {
        let (one, other) = (format!("p{number}"), format!("q{number}"));
        drop(near.create_pair(new(&one), far, new(&other)).unwrap());
        near.tell(&one, Request::SetUp(true));
        far.tell(&other, Request::SetUp(true));
    }
}

/// A lagg that is up, with these ports.
pub fn lagg(ns: &Ns, name: &str, protocol: Protocol, ports: &[&str]) {
    let lagg = NewLagg { protocol, ..NewLagg::default() };
    drop(ns.create(new(name), lagg).unwrap());
    ns.tell(name, Request::SetUp(true));
    for port in ports {
        join(ns, name, port);
    }
}

pub fn join(ns: &Ns, lagg: &str, port: &str) {
    ns.tell(lagg, Request::Lagg(LaggRequest::AddPort(named(port))));
}

pub fn leave(ns: &Ns, lagg: &str, port: &str) {
    ns.tell(lagg, Request::Lagg(LaggRequest::RemovePort(named(port))));
}

fn refused(ns: &Ns, lagg: &str, port: &str) -> RequestError {
    ns.ask(lagg, Request::Lagg(LaggRequest::AddPort(named(port)))).unwrap_err()
}

pub fn status(ns: &Ns, lagg: &str) -> LaggStatus {
    match ns.ask(lagg, Request::Lagg(LaggRequest::Status)) {
        Ok(Reply::Lagg(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// The names of the ports on which frames are sent, and of those from which they are taken.
pub fn used(ns: &Ns, lagg: &str) -> (String, String) {
    let ports = status(ns, lagg).ports;
    let names = |of: fn(&holm_ifnet::aggregation::PortStatus) -> bool| {
        let names = ports.iter().filter(|port| of(port)).map(|port| port.name.to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    (names(|port| port.sends), names(|port| port.receives))
}

fn mtu(ns: &Ns, name: &str) -> usize {
    ns.find(named(name)).unwrap().mtu()
}

fn mac(ns: &Ns, name: &str) -> MacAddress {
    ns.find(named(name)).unwrap().mac()
}

fn send(ns: &Ns, name: &str, numbers: std::ops::Range<u32>) {
    let mut frames = numbers.map(flow).collect();
    ns.find(named(name)).unwrap().transmit(&mut frames);
    assert!(frames.is_empty());
}

/// A frame of a flow of its own.
fn flow(number: u32) -> holm_ifnet::Frame {
    let mut frame = frame(number, 60);
    frame[..12].copy_from_slice(&[2, 9, 9, 9, 9, 9, 2, 8, 0, 0, 0, 0]);
    frame[8..12].copy_from_slice(&number.to_be_bytes());
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// How many frames have come in.
fn received(ns: &Ns, name: &str) -> u64 {
    ns.find(named(name)).unwrap().counters().values().received.frames
}

#[test]
fn first_port_gives_the_lagg_its_mtu_and_all_have_theirs_back() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 3);
    let (own, macs) = {
        lagg(&blue, "lagg0", Protocol::LoadBalance, &[]);
        (mac(&blue, "lagg0"), ["p0", "p1", "p2"].map(|port| mac(&blue, port)))
    };
    blue.tell("p0", Request::SetMtu(9000));
    blue.tell("p1", Request::SetMtu(1400));
    for port in ["p0", "p1", "p2"] {
        join(&blue, "lagg0", port);
    }
    for name in ["lagg0", "p0", "p1", "p2"] {
        assert_eq!((mtu(&blue, name), mac(&blue, name)), (9000, own), "{name}");
    }
    blue.tell("lagg0", Request::SetMtu(2000));
    assert_eq!(["p0", "p1", "p2"].map(|port| mtu(&blue, port)), [2000; 3]);
    // Whoever sends to the lagg's address is not told of what goes on among its ports.
    leave(&blue, "lagg0", "p0");
    assert_eq!((mtu(&blue, "p0"), mac(&blue, "p0")), (9000, macs[0]));
    for name in ["lagg0", "p1", "p2"] {
        assert_eq!((mtu(&blue, name), mac(&blue, name)), (2000, own), "{name}");
    }
    leave(&blue, "lagg0", "p2");
    assert_eq!((mtu(&blue, "p2"), mac(&blue, "p2")), (1500, macs[2]));
    leave(&blue, "lagg0", "p1");
    assert_eq!((mtu(&blue, "p1"), mac(&blue, "p1")), (1400, macs[1]));
    assert_eq!((mtu(&blue, "lagg0"), mac(&blue, "lagg0")), (2000, own));
    // What was set stays.
    let set = MacAddress([2, 1, 2, 3, 4, 5]);
    blue.tell("lagg0", Request::SetMac(set));
    join(&blue, "lagg0", "p1");
    join(&blue, "lagg0", "p0");
    for name in ["lagg0", "p0", "p1"] {
        assert_eq!((mtu(&blue, name), mac(&blue, name)), (2000, set), "{name}");
    }
    leave(&blue, "lagg0", "p1");
    assert_eq!(mac(&blue, "lagg0"), set);
    world.remove(blue);
}

#[test]
fn what_was_said_of_a_new_lagg_stays() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 1);
    let set = MacAddress([2, 1, 2, 3, 4, 5]);
    let said = NewInterface { mtu: Some(4000), mac: Some(set), ..new("lagg0") };
    drop(blue.create(said, NewLagg::default()).unwrap());
    join(&blue, "lagg0", "p0");
    for name in ["lagg0", "p0"] {
        assert_eq!((mtu(&blue, name), mac(&blue, name)), (4000, set), "{name}");
    }
}

#[test]
fn what_cant_be_a_port_is_refused_and_nothing_has_changed() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 2);
    lagg(&blue, "lagg0", Protocol::Failover, &["p0"]);
    lagg(&blue, "lagg1", Protocol::Failover, &["lagg0"]);
    let busy = |error: RequestError| matches!(error, RequestError::Busy { .. });
    let invalid = |error: RequestError| matches!(error, RequestError::Invalid { .. });
    assert!(invalid(refused(&blue, "lagg0", "lagg0")), "itself");
    assert!(invalid(refused(&blue, "lagg0", "lagg1")), "by way of another");
    assert!(invalid(refused(&blue, "lagg0", "lo")));
    assert!(busy(refused(&blue, "lagg0", "p0")), "twice");
    assert!(busy(refused(&blue, "lagg1", "p0")), "of another");
    assert!(matches!(refused(&blue, "lagg0", "nothing"), RequestError::NoInterface(_)));
    blue.tell("p1", Request::AddAddress("10.0.0.1/24".parse().unwrap()));
    assert!(busy(refused(&blue, "lagg0", "p1")), "with an address");
    let not_a_port = LaggRequest::RemovePort(named("p1"));
    let error = blue.ask("lagg0", Request::Lagg(not_a_port)).unwrap_err();
    assert!(matches!(error, RequestError::NotFound { .. }));
    let none = HashLayers { l2: false, l3: false, l4: false };
    assert!(invalid(blue.ask("lagg0", Request::Lagg(LaggRequest::SetHash(none))).unwrap_err()));
    assert_eq!(status(&blue, "lagg0").ports.len(), 1);
    let error = blue.ask("p0", Request::Lagg(LaggRequest::Status)).unwrap_err();
    assert!(matches!(error, RequestError::NotSupported { .. }));
    // Four of them may lie above one another, and one more may not.
    for (above, below) in [("lagg2", "lagg1"), ("lagg3", "lagg2")] {
        lagg(&blue, above, Protocol::Failover, &[below]);
    }
    lagg(&blue, "lagg4", Protocol::Failover, &[]);
    assert!(invalid(refused(&blue, "lagg4", "lagg3")));
    assert!(blue.find(named("lagg3")).unwrap().master().is_none());
}

#[test]
fn a_port_is_configured_by_way_of_its_lagg() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 1);
    lagg(&blue, "lagg0", Protocol::Failover, &["p0"]);
    let address = "10.0.0.1/24".parse().unwrap();
    let changes = [
        Request::SetMtu(1400),
        Request::SetMac(MacAddress([2, 0, 0, 0, 0, 9])),
        Request::AddAddress(address),
    ];
    for change in changes.clone() {
        let error = blue.ask("p0", change).unwrap_err();
        assert!(matches!(error, RequestError::Busy { .. }), "{error}");
    }
    blue.tell("p0", Request::SetUp(false));
    blue.tell("p0", Request::Rename(named("port")));
    assert_eq!(status(&blue, "lagg0").ports[0].name, named("port"));
    blue.destroy(named("lagg0"), Deadline::Never).unwrap();
    for change in changes {
        blue.tell("port", change);
    }
}

#[test]
fn a_port_that_cant_take_the_mtu_does_not_join() {
    let world = World::new();
    let blue = world.create("blue");
    lagg(&blue, "lagg0", Protocol::Failover, &[]);
    drop(blue.create(new("i0"), Idle::default()).unwrap());
    drop(blue.create(new("i1"), Stubborn).unwrap());
    join(&blue, "lagg0", "i0");
    blue.tell("lagg0", Request::SetMtu(3000));
    let before = (mtu(&blue, "i1"), mac(&blue, "i1"));
    assert!(matches!(refused(&blue, "lagg0", "i1"), RequestError::Failed { .. }));
    assert_eq!((mtu(&blue, "i1"), mac(&blue, "i1")), before);
    blue.tell("lagg0", Request::SetMtu(1500));
    join(&blue, "lagg0", "i1");
    // All or none.
    assert!(blue.ask("lagg0", Request::SetMtu(3000)).is_err());
    assert_eq!(["lagg0", "i0", "i1"].map(|name| mtu(&blue, name)), [1500; 3]);
}

#[test]
fn failover_uses_the_first_port_that_is_up_and_tells_when_that_is_another() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let diary = Arc::<Diary>::default();
    cables(&blue, &green, 2);
    let keeps = [Arc::<Keeps>::default(), Arc::default()];
    green.receive("q0", Some(keeps[0].clone()));
    green.receive("q1", Some(keeps[1].clone()));
    lagg(&blue, "lagg0", Protocol::Failover, &["p0", "p1"]);
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    assert_eq!(used(&blue, "lagg0"), ("p0".into(), "p0".into()));
    send(&blue, "lagg0", 0..10);
    drop(keeps[0].wait_for(10));
    // The other end goes down.
    green.tell("q0", Request::SetUp(false));
    diary.wait_for("blue lagg0: active port p1");
    assert_eq!(used(&blue, "lagg0"), ("p1".into(), "p1".into()));
    send(&blue, "lagg0", 10..20);
    drop(keeps[1].wait_for(10));
    blue.tell("p1", Request::SetUp(false));
    diary.wait_for("blue lagg0: no active port");
    diary.wait_for("blue lagg0: link down");
    send(&blue, "lagg0", 20..30);
    let sent = blue.find(named("lagg0")).unwrap().counters().values().sent;
    assert_eq!((sent.frames, sent.dropped(DropReason::NoPort)), (20, 10));
    green.tell("q0", Request::SetUp(true));
    diary.wait_for("blue lagg0: active port p0");
    diary.wait_for("blue lagg0: link up");
    send(&blue, "lagg0", 30..40);
    drop(keeps[0].wait_for(20));
    // Nothing is taken from the port that is not used.
    blue.tell("p1", Request::SetUp(true));
    let taken = Arc::<Keeps>::default();
    blue.receive("lagg0", Some(taken.clone()));
    send(&green, "q1", 0..10);
    send(&green, "q0", 0..5);
    drop(taken.wait_for(5));
    let lagg0 = blue.find(named("lagg0")).unwrap();
    while lagg0.counters().values().received.dropped(DropReason::NoPort) < 10 {
        std::thread::yield_now();
    }
    assert_eq!(lagg0.counters().values().received.frames, 5);
}

#[test]
fn every_protocol_uses_the_ports_in_its_way() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 3);
    let keeps: [Arc<Keeps>; 3] = Default::default();
    for (number, keeps) in keeps.iter().enumerate() {
        green.receive(&format!("q{number}"), Some(keeps.clone()));
    }
    lagg(&blue, "lagg0", Protocol::None, &["p0", "p1", "p2"]);
    let lagg0 = blue.find(named("lagg0")).unwrap();
    assert_eq!(lagg0.link(), LinkState::Down);
    send(&blue, "lagg0", 0..30);
    assert_eq!(lagg0.counters().values().sent.dropped(DropReason::NoPort), 30);
    // What each port has sent since it was last asked.
    let before = std::cell::Cell::new([0; 3]);
    let shares = || {
        let now = [0, 1, 2].map(|number| {
            let port = blue.find(named(&format!("p{number}"))).unwrap();
            let sent = port.counters().values().sent.frames;
            // So that there is always room.
            while received(&green, &format!("q{number}")) < sent {
                std::thread::yield_now();
            }
            sent
        });
        let last = before.replace(now);
        [0, 1, 2].map(|number| now[number] - last[number])
    };
    assert_eq!(shares(), [0; 3]);
    let protocol = |protocol| {
        blue.tell("lagg0", Request::Lagg(LaggRequest::SetProtocol(protocol)));
        assert_eq!(lagg0.link(), LinkState::Up, "{protocol}");
    };
    protocol(Protocol::RoundRobin);
    send(&blue, "lagg0", 0..30);
    assert_eq!(shares(), [10; 3]);
    protocol(Protocol::Broadcast);
    send(&blue, "lagg0", 0..30);
    assert_eq!(shares(), [30; 3]);
    protocol(Protocol::Failover);
    send(&blue, "lagg0", 0..30);
    assert_eq!(shares(), [30, 0, 0]);
    protocol(Protocol::LoadBalance);
    send(&blue, "lagg0", 0..300);
    let first = shares();
    assert!(first.iter().all(|share| *share > 30) && first.iter().sum::<u64>() == 300, "{first:?}");
    // Alone or together, each flow by the port it had.
    (0..300).for_each(|number| send(&blue, "lagg0", number..number + 1));
    assert_eq!(shares(), first);
    // They are all known by the same layer.
    blue.tell(
        "lagg0",
        Request::Lagg(LaggRequest::SetHash(HashLayers { l2: false, l3: true, l4: true })),
    );
    send(&blue, "lagg0", 0..300);
    let mut last = shares();
    last.sort_unstable();
    assert_eq!(last, [0, 0, 300]);
    assert_eq!(
        blue.ask("lagg0", Request::Media),
        Ok(Reply::Media(Media { speed: 30_000, full_duplex: true }))
    );
}

#[test]
fn a_port_that_is_destroyed_leaves_first_and_a_lagg_that_is_destroyed_releases_its_ports() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 3);
    let before = ["p0", "p1", "p2"].map(|port| (mtu(&blue, port), mac(&blue, port)));
    lagg(&blue, "lagg0", Protocol::RoundRobin, &["p0", "p1", "p2"]);
    let own = mac(&blue, "lagg0");
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    diary.take();
    // By way of its other end.
    green.destroy(named("q0"), Deadline::Never).unwrap();
    let lines = diary.take();
    let place = |line: &str| lines.iter().position(|l| l == line).expect(line);
    assert!(place("blue p0: left lagg0") < place("blue p0: destroyed"));
    assert_eq!(used(&blue, "lagg0"), ("p1 p2".into(), "p1 p2".into()));
    assert_eq!(mac(&blue, "lagg0"), own);
    blue.destroy(named("lagg0"), Deadline::Never).unwrap();
    let lines = diary.take();
    let place = |line: &str| lines.iter().position(|l| l == line).expect(line);
    for port in ["p1", "p2"] {
        assert!(place(&format!("blue {port}: left lagg0")) < place("blue lagg0: destroyed"));
        let interface = blue.find(named(port)).unwrap();
        assert!(interface.receiver().is_none());
    }
    let after = ["p1", "p2"].map(|port| (mtu(&blue, port), mac(&blue, port)));
    assert_eq!(after, before[1..]);
    lagg(&blue, "lagg0", Protocol::Failover, &["p2", "p1"]);
    // A port that moves elsewhere leaves, too.
    blue.move_to(named("p2"), &green, None).unwrap();
    assert_eq!(used(&blue, "lagg0").0, "p1");
    assert_eq!((mtu(&green, "p2"), mac(&green, "p2")), before[2]);
    world.remove(blue);
}

#[test]
fn frames_of_its_own_that_come_back_are_dropped() {
    let world = World::new();
    let blue = world.create("blue");
    cables(&blue, &blue, 1);
    lagg(&blue, "lagg0", Protocol::Broadcast, &["p0", "q0"]);
    let lagg0 = blue.find(named("lagg0")).unwrap();
    let keeps = Arc::<Keeps>::default();
    blue.receive("lagg0", Some(keeps.clone()));
    let own = lagg0.mac();
    let mut frames: Vec<_> = (0..10).map(flow).collect();
    for frame in &mut frames[..9] {
        frame[6..12].copy_from_slice(&own.0);
    }
    lagg0.transmit(&mut frames);
    drop(keeps.wait_for(2));
    let looped = || lagg0.counters().values().received.dropped(DropReason::Looped);
    while looped() < 18 {
        std::thread::yield_now();
    }
    assert_eq!((looped(), received(&blue, "lagg0")), (18, 2));
}

#[test]
fn laggs_lie_above_one_another() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 2);
    let keeps: [Arc<Keeps>; 2] = Default::default();
    green.receive("q0", Some(keeps[0].clone()));
    green.receive("q1", Some(keeps[1].clone()));
    lagg(&blue, "lagg0", Protocol::Failover, &["p0"]);
    lagg(&blue, "lagg1", Protocol::Failover, &["p1"]);
    lagg(&blue, "lagg2", Protocol::RoundRobin, &["lagg0", "lagg1"]);
    send(&blue, "lagg2", 0..20);
    drop((keeps[0].wait_for(10), keeps[1].wait_for(10)));
    let taken = Arc::<Keeps>::default();
    blue.receive("lagg2", Some(taken.clone()));
    send(&green, "q0", 0..10);
    send(&green, "q1", 10..20);
    drop(taken.wait_for(20));
    blue.tell("lagg2", Request::SetMtu(1400));
    assert_eq!(["p0", "p1", "lagg0", "lagg1"].map(|name| mtu(&blue, name)), [1400; 4]);
    blue.tell("p0", Request::SetUp(false));
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary).unwrap();
    assert_eq!(used(&blue, "lagg2").0, "lagg1");
    blue.destroy(named("lagg1"), Deadline::Never).unwrap();
    assert_eq!(used(&blue, "lagg2").0, "");
}

#[test]
fn two_laggs_agree_by_lacp_and_a_port_that_is_pulled_is_left() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    cables(&blue, &green, 2);
    lagg(&blue, "lagg0", Protocol::Lacp, &["p0", "p1"]);
    // The other one changes to it, and is passive.
    lagg(&green, "lagg0", Protocol::None, &["q0", "q1"]);
    let passive = LacpOptions { active: false, ..LacpOptions::default() };
    green.tell("lagg0", Request::Lagg(LaggRequest::SetLacp(passive)));
    green.tell("lagg0", Request::Lagg(LaggRequest::SetProtocol(Protocol::Lacp)));
    let keeps = Arc::<Keeps>::default();
    green.receive("lagg0", Some(keeps.clone()));
    diary.wait_for("blue lagg0: link up");
    diary.wait_for("green lagg0: link up");
    let both_used = || {
        let all = |ports: (String, String), all: &str| ports == (all.into(), all.into());
        all(used(&blue, "lagg0"), "p0 p1") && all(used(&green, "lagg0"), "q0 q1")
    };
    while !both_used() {
        std::thread::yield_now();
    }
    for (ns, partner) in [(&blue, &green), (&green, &blue)] {
        for port in status(ns, "lagg0").ports {
            let lacp = port.lacp.unwrap();
            assert_eq!(lacp.partner.unwrap().system.1, mac(partner, "lagg0"));
            assert!(lacp.selected && !lacp.actor_churn && !lacp.partner_churn);
            assert!(lacp.received > 0 && lacp.sent > 0 && lacp.malformed == 0);
        }
    }
    send(&blue, "lagg0", 0..200);
    drop(keeps.wait_for(200));
    assert!(received(&green, "q0") > 60 && received(&green, "q1") > 60);
    // LACPDUs are not for those who receive from the lagg.
    assert_eq!(received(&green, "lagg0"), 200);
    diary.take();
    blue.tell("p0", Request::SetUp(false));
    assert_eq!(used(&blue, "lagg0").0, "p1");
    // The other end hears of it when its link is told.
    while used(&green, "lagg0").0 != "q1" {
        std::thread::yield_now();
    }
    send(&blue, "lagg0", 200..400);
    drop(keeps.wait_for(400));
    assert!(!diary.take().iter().any(|line| line.contains("lagg0: link")));
    blue.tell("lagg0", Request::Lagg(LaggRequest::SetProtocol(Protocol::RoundRobin)));
    assert!(status(&blue, "lagg0").ports.iter().all(|port| port.lacp.is_none()));
    world.remove(blue);
    world.remove(green);
}

#[test]
fn ports_come_and_go_while_frames_do() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    cables(&blue, &green, 3);
    lagg(&blue, "lagg0", Protocol::LoadBalance, &["p0"]);
    lagg(&green, "lagg0", Protocol::Broadcast, &["q0", "q1", "q2"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let lagg0 = blue.find(named("lagg0")).unwrap();
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    lagg0.transmit(&mut (number..number + 20).map(flow).collect());
                    number += 20;
                    std::thread::yield_now();
                }
            });
        }
        for round in 0..200 {
            let protocols = [Protocol::LoadBalance, Protocol::RoundRobin, Protocol::Failover];
            let protocol = protocols[round % 3];
            blue.tell("lagg0", Request::Lagg(LaggRequest::SetProtocol(protocol)));
            join(&blue, "lagg0", "p1");
            join(&blue, "lagg0", "p2");
            blue.tell("p1", Request::SetUp(round % 2 == 0));
            leave(&blue, "lagg0", "p1");
            leave(&blue, "lagg0", "p2");
        }
        // Some have come all the way.
        while received(&green, "q0") == 0 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    let lagg0 = blue.find(named("lagg0")).unwrap();
    assert_eq!(
        lagg0.counters().values().sent.dropped(DropReason::NoPort),
        0,
        "p0 was always there"
    );
    drop(lagg0);
    world.remove(blue);
}

/// A driver that can't carry more than 1500 bytes.
struct Stubborn;

impl holm_ifnet::Cloner for Stubborn {
    const KIND: &'static str = "stubborn";

    fn make(self) -> Result<Box<dyn holm_ifnet::Driver>, holm_ifnet::DriverError> {
        Ok(Box::new(self))
    }
}

impl holm_ifnet::Driver for Stubborn {
    fn transmit(
        &self,
        _: &holm_ifnet::Interface,
        frames: &mut holm_ifnet::Frames,
    ) -> Result<(), DropReason> {
        frames.clear();
        Ok(())
    }

    fn change(
        &self,
        interface: &holm_ifnet::Interface,
        request: &Request,
        _: &mut holm_netns::notifier::NsHeld<'_>,
    ) -> Result<(), RequestError> {
        match request {
            Request::SetMtu(mtu) if *mtu > 1500 => {
                let why = "it can't carry more than 1500 bytes".into();
                Err(RequestError::Failed { name: interface.name(), why })
            }
            _ => Ok(()),
        }
    }

    fn destroy(self: Box<Self>) {}
}
