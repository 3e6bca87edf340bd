//! A server that listens inside containers. As root.

use crate::container::{Container, Links, NULL_REPLY, Place};
use crate::world::{Nfs, World, address, anywhere, stop};
use holm::model::{ErrorCode, Happened, ListenSpec, NamespaceSpec, NetnsRef};
use holm::server::{Alteration, Change};
use std::time::Instant;

fn inside(container: &Container) -> ListenSpec {
    ListenSpec { netns: Some(NetnsRef::Pid(container.pid())), ..anywhere() }
}

/// With its listener and its connections; and then it may be listened in another, at the same place.
#[test]
fn container_that_is_killed_is_let_go_and_nobody_else() {
    let (world, outside) = (World::new(), Container::start());
    let mut links = Links::watch(&outside);
    let server = world.server();
    let ordinary = address(&server.add_namespace(world.spec("blue")).unwrap());
    let mut by_ordinary = Nfs::connect(ordinary);
    let root = by_ordinary.mount("/").unwrap();
    let (mut killed, mut other) = (Container::start(), Container::start());
    outside.cable(&killed, "cable0");

    let kept = server.add_listener("blue", inside(&other)).unwrap().local;
    let gone = server.add_listener("blue", inside(&killed)).unwrap();
    for (container, local) in [(&mut killed, gone.local), (&mut other, kept)] {
        assert_eq!(container.ask(local.port()), NULL_REPLY);
        // It is there, and here is not there.
        assert!(local == ordinary || Nfs::try_connect(local).is_err());
    }
    let mut events = server.events();
    let at = Instant::now();
    killed.kill();
    links.wait_until_deleted("cable0");
    println!("cable0 gone after {:?}", at.elapsed());

    let removed = loop {
        if let Some(event) = events.try_next() {
            break event.what;
        }
        std::thread::yield_now();
    };
    let why = format!("process {} has ended", killed.pid());
    let netns = gone.spec.netns.clone();
    assert_eq!(removed, Happened::ListenerRemoved { addr: gone.local, netns, why: Some(why) });
    assert_eq!(server.listeners("blue").unwrap().len(), 2);
    assert!(by_ordinary.getattr(&root).is_ok());
    assert_eq!(other.ask(kept.port()), NULL_REPLY);
    let error = server.add_listener("blue", gone.spec).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Failed);
    assert!(error.to_string().contains("there is no process"), "{error}");
    stop(server);
}

/// The next container of the same name is another.
#[test]
fn path_can_be_listened_at_again() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(world.spec("blue")).unwrap();
    let (first, mut second) = (Container::start(), Container::start());
    let place = Place::new(&first);
    let spec = ListenSpec { netns: Some(place.netns()), ..anywhere() };
    let mut events = server.events();
    server.add_listener("blue", spec.clone()).unwrap();
    place.mount(&second);
    loop {
        match events.try_next().map(|event| event.what) {
            Some(Happened::ListenerRemoved { why, .. }) => {
                let why = why.unwrap();
                assert!(why.contains("is another one now"), "{why}");
                break;
            }
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
    let local = server.add_listener("blue", spec).unwrap().local;
    assert_eq!(second.ask(local.port()), NULL_REPLY);
    stop(server);
}

/// Removing the listener or the namespace lets go of a container that lives on.
#[test]
fn listener_that_is_removed_lets_go_of_the_container() {
    let (world, outside) = (World::new(), Container::start());
    let mut links = Links::watch(&outside);
    let server = world.server();
    server.add_namespace(world.spec("blue")).unwrap();
    for round in ["listener", "namespace"] {
        let mut container = Container::start();
        outside.cable(&container, "cable0");
        let spec = inside(&container);
        let local = server.add_listener("blue", spec.clone()).unwrap().local;
        assert_eq!(container.ask(local.port()), NULL_REPLY);
        if round == "listener" {
            server.del_listener("blue", local, spec.netns).unwrap();
        } else {
            server.del_namespace("blue", holm_lifetime::Deadline::Never).unwrap();
        }
        container.kill();
        links.wait_until_deleted("cable0");
    }
    stop(server);
}

/// It changes its options and its namespace, and is let go of all the same.
#[test]
fn listener_in_a_container_goes_to_another_namespace() {
    let (world, outside) = (World::new(), Container::start());
    let mut links = Links::watch(&outside);
    let server = world.server();
    let mut container = Container::start();
    outside.cable(&container, "cable0");
    let mut teal = world.spec("teal");
    let spec = NamespaceSpec { listen: vec![inside(&container)], ..world.spec("blue") };
    let local = address(&server.add_namespace(spec.clone()).unwrap());
    let mut now = spec.listen[0].clone();
    for udp in [false, true] {
        let wanted = ListenSpec { addr: local, udp, ..now.clone() };
        let change = Alteration {
            name: "blue".into(),
            del_listen: vec![now],
            add_listen: vec![wanted.clone()],
            ..Alteration::default()
        };
        server.apply(vec![Change::Alter(change)]).unwrap();
        assert_eq!(container.ask(local.port()), NULL_REPLY);
        assert_eq!(server.listeners("blue").unwrap()[0].spec, wanted);
        now = wanted;
    }
    teal.listen = vec![now];
    server.apply(vec![Change::Remove("blue".into()), Change::Add(teal)]).unwrap();
    // A thread that was about to accept for the one before closes what it gets.
    while container.ask(local.port()) != NULL_REPLY {}
    assert_eq!(server.listeners("teal").unwrap()[0].local, local);
    container.kill();
    links.wait_until_deleted("cable0");
    stop(server);
}

#[test]
fn what_can_not_be_listened_in_is_refused_whole() {
    let world = World::new();
    let server = world.server();
    let mut spec = world.spec("blue");
    let netns = Some(NetnsRef::Path("/proc/self/ns/mnt".into()));
    spec.listen.push(ListenSpec { netns, ..anywhere() });
    let error = server.add_namespace(spec).unwrap_err();
    assert!(error.to_string().contains("is not a network namespace"), "{error}");
    assert!(server.namespaces().is_empty());
    stop(server);
}
