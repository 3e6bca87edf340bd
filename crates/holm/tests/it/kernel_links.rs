//! Taps and packet sockets inside containers, and what becomes of them when the containers die. As root.

use crate::container::{Container, Links};
use holm::kernel_netns::{Left, Owner, Watcher, open};
use holm::model::NetnsRef;
use holm_ifnet::wires::{Enter, Inside, PacketOptions, TapOptions};
use holm_ifnet::{DriverError, IfnetSubsystem, NewInterface};
use holm_lifetime::Deadline;
use holm_netns::Registry;
use holm_pool::{Config, Pool};
use std::sync::mpsc;

/// How to get into a container, whose owner is told of.
fn enter(container: &Container) -> (Enter, mpsc::Receiver<Owner>) {
    let netns = NetnsRef::Pid(container.pid());
    let (told, owner) = mpsc::channel();
    let enter = move |work: &mut (dyn FnMut() + Send)| {
        let ((), owner) = open(&netns, work).map_err(|error| DriverError(error.to_string()))?;
        told.send(owner).map_err(|_| DriverError("nobody watches its owner".into()))
    };
    (Box::new(enter), owner)
}

/// The other end of its cable, outside, goes with it; it would not while one of ours is there.
#[test]
fn killed_container_gets_back_what_was_opened_in_it() {
    let pool = Pool::start(Config { workers: 2, ..Config::default() }).unwrap();
    let registry = Registry::new().unwrap();
    registry.register(pool.subsystem()).unwrap();
    IfnetSubsystem::register(&registry).unwrap();
    let ns = registry.create("blue").unwrap();
    let inside = ns.enter().unwrap();
    let interfaces = inside.get::<IfnetSubsystem>().unwrap();
    let watcher = Watcher::start().unwrap();
    let outside = Container::start();
    let mut links = Links::watch(&outside);

    for packet in [true, false] {
        let mut container = Container::start();
        outside.cable(&container, "cable0");
        let (enter, owner) = enter(&container);
        let created = if packet {
            let options = PacketOptions { interface: "eth0".into() };
            interfaces.create(NewInterface::default(), Inside { options, enter })
        } else {
            let options = TapOptions { name: Some("blue0".into()) };
            interfaces.create(NewInterface::default(), Inside { options, enter })
        };
        let name = created.unwrap().name();
        assert!(packet || container.has_link("blue0"));

        let (said, left) = mpsc::channel();
        let all = interfaces.clone();
        let destroy = move |left| {
            // Who still refers to it is waited for elsewhere.
            let _ = all.destroy(name, Deadline::now());
            said.send(left).unwrap();
        };
        let _watch = watcher.watch(owner.recv().unwrap(), destroy).unwrap();
        container.kill();
        links.wait_until_deleted("cable0");
        assert!(matches!(left.recv().unwrap(), Left::Ended(_)));
        assert!(interfaces.find(name).is_none());
    }
    drop(inside);
    registry.remove_all(Deadline::Never).unwrap();
    pool.stop();
}
