//! Requests and what they change.

use crate::world::{Diary, Idle, World, named, new};
use holm_ifnet::aggregation::LaggRequest;
use holm_ifnet::{Flags, Media, Reply, Request, RequestError};
use rustix::io::Errno;
use std::sync::Arc;

#[test]
fn what_is_set_is_what_is_asked() {
    let world = World::new();
    let ns = world.create("blue");
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    let mac = "02:00:00:00:00:07".parse().unwrap();
    let media = Media { speed: 1000, full_duplex: false };
    ns.tell("wan", Request::SetUp(true));
    ns.tell("wan", Request::SetMtu(9000));
    ns.tell("wan", Request::SetMac(mac));
    ns.tell("wan", Request::SetMedia(media));
    ns.tell("wan", Request::AddAddress("10.0.0.1/24".parse().unwrap()));
    ns.tell("wan", Request::AddAddress("fd00::1/64".parse().unwrap()));
    ns.tell("wan", Request::RemoveAddress("10.0.0.1/24".parse().unwrap()));
    let ask = |request| ns.ask("wan", request).unwrap();
    assert_eq!(ask(Request::Flags), Reply::Flags(Flags::UP));
    assert_eq!(ask(Request::Mtu), Reply::Mtu(9000));
    assert_eq!(ask(Request::Mac), Reply::Mac(mac));
    assert_eq!(ns.find(named("wan")).unwrap().media(), media);
    assert_eq!(ask(Request::Addresses), Reply::Addresses(vec!["fd00::1/64".parse().unwrap()]));
}

#[test]
fn what_is_refused_changes_nothing() {
    let world = World::new();
    let ns = world.create("blue");
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    let address = "10.0.0.1/24".parse().unwrap();
    ns.tell("wan", Request::AddAddress(address));
    for (request, errno) in [
        (Request::SetMtu(575), Errno::INVAL),
        (Request::SetMtu(usize::MAX), Errno::INVAL),
        (Request::SetMac("ff:ff:ff:ff:ff:ff".parse().unwrap()), Errno::INVAL),
        (Request::AddAddress(address), Errno::EXIST),
        (Request::AddAddress("10.0.0.1/8".parse().unwrap()), Errno::EXIST),
        (Request::RemoveAddress("10.0.0.2/24".parse().unwrap()), Errno::NOENT),
        (Request::Rename(named("lo")), Errno::EXIST),
        (Request::Lagg(LaggRequest::Status), Errno::OPNOTSUPP),
        (Request::Lagg(LaggRequest::AddPort(named("lo"))), Errno::OPNOTSUPP),
    ] {
        let refused = ns.ask("wan", request.clone()).unwrap_err();
        assert_eq!(refused.errno(), errno, "{request:?}: {refused}");
    }
    let wan = ns.find(named("wan")).unwrap();
    assert_eq!((wan.mtu(), wan.addresses()), (1500, vec![address]));
    let none = ns.ask("none", Request::SetUp(true)).unwrap_err();
    assert_eq!(none, RequestError::NoInterface(named("none")));
}

#[test]
fn interface_is_found_by_its_new_name_only() {
    let world = World::new();
    let ns = world.create("blue");
    let index = ns.create(new("wan"), Idle::default()).unwrap().index();
    ns.tell("wan", Request::Rename(named("uplink")));
    assert!(ns.find(named("wan")).is_none());
    assert_eq!(ns.find(named("uplink")).unwrap().index(), index);
    assert_eq!(ns.names(), ["lo", "uplink"]);
}

#[test]
fn change_is_told_once_and_only_if_it_is_one() {
    let world = World::new();
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    let ns = world.create("blue");
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    diary.take();
    for _ in 0..2 {
        ns.tell("wan", Request::SetUp(true));
        ns.tell("wan", Request::SetMtu(1500));
        ns.tell("wan", Request::SetMtu(1400));
    }
    ns.ask("wan", Request::SetMtu(1)).unwrap_err();
    assert_eq!(
        diary.take(),
        ["blue wan: up", "blue wan: mtu 1400", "blue wan: mtu 1500", "blue wan: mtu 1400"]
    );
}
