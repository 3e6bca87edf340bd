//! What listeners hear.

use crate::world::{Diary, Idle, Keeps, World, named, new};
use holm_ifnet::Request;
use holm_lifetime::Deadline;
use std::sync::Arc;

#[test]
fn life_is_told_from_birth_to_death() {
    let world = World::new();
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    let ns = world.create("blue");
    assert_eq!(
        diary.take(),
        [
            "blue lo: created",
            "blue lo: address 127.0.0.1/8 added",
            "blue lo: address ::1/128 added",
            "blue lo: up",
        ]
    );
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    ns.receive("wan", Some(Arc::<Keeps>::default()));
    ns.tell("wan", Request::Rename(named("uplink")));
    ns.tell("uplink", Request::SetUp(true));
    ns.tell("uplink", Request::SetUp(false));
    ns.destroy(named("uplink"), Deadline::Never).unwrap();
    assert_eq!(
        diary.take(),
        [
            "blue wan: created",
            "blue wan: receiver changed",
            "blue uplink: renamed from wan",
            "blue uplink: up",
            "blue uplink: down",
            "blue uplink: destroyed",
        ]
    );
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    world.remove(ns);
    // The loopback interface goes last.
    assert_eq!(diary.take(), ["blue wan: created", "blue wan: destroyed", "blue lo: destroyed"]);
}

#[test]
fn who_comes_later_hears_what_there_is_and_who_leaves_that_it_is_not() {
    let world = World::new();
    let ns = world.create("blue");
    drop(ns.create(new("wan"), Idle::default()).unwrap());
    ns.tell("wan", Request::SetUp(true));
    ns.tell("wan", Request::AddAddress("10.0.0.1/8".parse().unwrap()));
    let diary = Arc::<Diary>::default();
    let registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    assert_eq!(
        diary.take()[4..],
        ["blue wan: created", "blue wan: address 10.0.0.1/8 added", "blue wan: up",]
    );
    world.chain.unregister(&world.registry, registered);
    assert_eq!(
        diary.take()[..3],
        ["blue wan: down", "blue wan: address 10.0.0.1/8 removed", "blue wan: destroyed",]
    );
}
