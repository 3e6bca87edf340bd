//! Stacks at both ends of cables between namespaces.

use crate::world::{Bell, NFS, Ns, Waiting, World, bytes, named, new};
use holm_ifnet::Request;
use holm_ifnet::aggregation::{LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::stack::Limits;
use holm_lifetime::Deadline;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// A cable between two namespaces, both ends up.
fn cable(near: &Ns, far: &Ns, name: &str) {
    let ends = near.interfaces.create_pair(new(name), &far.interfaces, new(name));
    drop(ends.unwrap());
    near.tell(name, Request::SetUp(true));
    far.tell(name, Request::SetUp(true));
}

/// Two namespaces with a cable and addresses.
fn two(world: &World) -> [Ns; 2] {
    let [server, client] = ["server", "client"].map(|name| world.create(name));
    cable(&server, &client, "p0");
    for (ns, last) in [(&server, 1), (&client, 2)] {
        ns.address("p0", &format!("10.0.0.{last}/24"));
        ns.address("p0", &format!("fd00::{last}/64"));
    }
    [server, client]
}

fn connect(client: &Ns, interface: &str, to: &str) -> Waiting {
    let to = SocketAddr::new(to.parse().unwrap(), NFS);
    Waiting::new(client.stack(interface).unwrap().connect(to).unwrap())
}

fn ended(stream: &Waiting) -> ErrorKind {
    loop {
        match stream.receive(&mut [0; 1000]) {
            Ok(count) => assert!(count > 0, "it has ended in order"),
            Err(error) => return error.kind(),
        }
    }
}

#[test]
fn limits_hold_for_who_comes_from_then_on_and_for_new_interfaces() {
    let world = World::new();
    let [server, client] = two(&world);
    let _offered = server.serve_echo();
    let first = connect(&client, "p0", "10.0.0.1");
    let second = connect(&client, "p0", "10.0.0.1");
    for stream in [&first, &second] {
        stream.exchange(b"made before");
    }
    client.stacks.set_limits(Limits { connections: 1, ..Limits::default() });
    let refused = |interface: &str, to: &str| {
        let to = SocketAddr::new(to.parse().unwrap(), NFS);
        client.stack(interface).unwrap().connect(to).err().map(|error| error.kind())
    };
    assert_eq!(refused("p0", "10.0.0.1"), Some(ErrorKind::QuotaExceeded));
    for stream in [&first, &second] {
        stream.exchange(&bytes(1, 100_000));
    }
    cable(&server, &client, "p1");
    server.address("p1", "10.1.0.1/24");
    client.address("p1", "10.1.0.2/24");
    let only = connect(&client, "p1", "10.1.0.1");
    only.exchange(b"one");
    assert_eq!(refused("p1", "10.1.0.1"), Some(ErrorKind::QuotaExceeded));
    client.stacks.set_limits(Limits::default());
    connect(&client, "p1", "10.1.0.1").exchange(b"two");
}

#[test]
fn what_a_namespace_offers_is_reached_at_all_its_addresses_at_any_time() {
    let world = World::new();
    let [server, client] = two(&world);
    let offered = server.serve_echo();
    let first = connect(&client, "p0", "10.0.0.1");
    first.exchange(&bytes(1, 1_000_000));
    connect(&client, "p0", "fd00::1").exchange(&bytes(2, 1_000_000));
    connect(&server, "lo", "127.0.0.1").exchange(&bytes(3, 100_000));
    connect(&server, "lo", "::1").exchange(&bytes(4, 100_000));
    server.address("p0", "10.0.0.3/24");
    connect(&client, "p0", "10.0.0.3").exchange(b"another address");
    cable(&server, &client, "p1");
    server.address("p1", "10.1.0.1/24");
    client.address("p1", "10.1.0.2/24");
    connect(&client, "p1", "10.1.0.1").exchange(b"another interface");
    drop(offered);
    let refused = connect(&client, "p1", "10.1.0.1");
    assert_eq!(ended(&refused), ErrorKind::ConnectionReset);
    first.exchange(b"what was made goes on");
}

#[test]
fn datagrams_are_received_on_each_interface() {
    let world = World::new();
    let [server, client] = two(&world);
    let (sender, sockets) = channel();
    let sender = Mutex::new(sender);
    let bound = server.stacks.bind(111, move |socket| sender.lock().unwrap().send(socket).unwrap());
    let bound = bound.unwrap();
    // One of lo, and one of the cable.
    let sockets = [sockets.recv().unwrap(), sockets.recv().unwrap()];
    let bell = Arc::<Bell>::default();
    sockets.iter().for_each(|socket| socket.set_wake(bell.wake()));
    let ours = client.stack("p0").unwrap().bind(None, 700).unwrap();
    let answered = Arc::<Bell>::default();
    ours.set_wake(answered.wake());
    for (from, to) in [("10.0.0.2:700", "10.0.0.1:111"), ("[fd00::2]:700", "[fd00::1]:111")] {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        ours.send(from, to, b"call").unwrap();
        let mut space = [0; 100];
        let (socket, received) = loop {
            let found =
                sockets.iter().find_map(|socket| Some((socket, socket.receive(&mut space).ok()?)));
            match found {
                Some(found) => break found,
                None => bell.wait(),
            }
        };
        assert_eq!(
            (received.from, received.to, &space[..received.count]),
            (from, to, &b"call"[..])
        );
        socket.send(received.to, received.from, b"reply").unwrap();
        let answer = loop {
            match ours.receive(&mut space) {
                Ok(answer) => break answer,
                Err(_) => answered.wait(),
            }
        };
        assert_eq!((answer.from, &space[..answer.count]), (to, &b"reply"[..]));
    }
    drop(bound);
}

#[test]
fn connections_end_with_their_address_their_interface_and_their_namespace() {
    let world = World::new();
    let [server, client] = two(&world);
    let (_offered, streams) = server.accept();
    let connected = |to| {
        let ours = connect(&client, "p0", to);
        (ours, Waiting::new(streams.recv().unwrap()))
    };
    let of_address = connected("10.0.0.1");
    let stays = connected("fd00::1");
    server.tell("p0", Request::RemoveAddress("10.0.0.1/24".parse().unwrap()));
    assert_eq!(ended(&of_address.1), ErrorKind::ConnectionReset);
    assert_eq!(ended(&of_address.0), ErrorKind::ConnectionReset);
    stays.0.send(b"still").unwrap();
    assert_eq!(stays.1.receive(&mut [0; 9]).unwrap(), 5);

    let namespace = server.ns.clone();
    drop(server);
    world.registry.remove([&namespace], Deadline::Never).unwrap();
    assert_eq!(ended(&stays.1), ErrorKind::ConnectionReset);
    // The other end of the cable has gone, too.
    assert_eq!(ended(&stays.0), ErrorKind::ConnectionReset);
    assert!(client.interfaces.find(named("p0")).is_none());
}

#[test]
fn interface_has_a_stack_for_as_long_as_it_has_an_address() {
    let world = World::new();
    let [server, client] = two(&world);
    let _offered = server.serve_echo();
    connect(&client, "p0", "10.0.0.1").exchange(b"before");
    for cidr in ["10.0.0.1/24", "fd00::1/64"] {
        assert!(server.stack("p0").is_some());
        server.tell("p0", Request::RemoveAddress(cidr.parse().unwrap()));
    }
    assert!(server.stack("p0").is_none());
    // So it can be a port, and what it was is the lagg now.
    drop(server.interfaces.create(new("lagg0"), NewLagg::default()).unwrap());
    server.tell("lagg0", Request::SetUp(true));
    server.tell("lagg0", Request::Lagg(LaggRequest::AddPort(named("p0"))));
    server.address("lagg0", "10.0.0.1/24");
    connect(&client, "p0", "10.0.0.1").exchange(b"between");
    server.tell("lagg0", Request::Lagg(LaggRequest::RemovePort(named("p0"))));
    server.address("p0", "10.0.0.3/24");
    connect(&client, "p0", "10.0.0.3").exchange(b"after");
}

#[test]
fn transfer_survives_the_loss_of_a_port() {
    let world = World::new();
    let [server, client] = ["server", "client"].map(|name| world.create(name));
    for name in ["p0", "p1"] {
        cable(&server, &client, name);
    }
    for (ns, last) in [(&server, 1), (&client, 2)] {
        let lagg = NewLagg { protocol: Protocol::Failover, ..NewLagg::default() };
        drop(ns.interfaces.create(new("lagg0"), lagg).unwrap());
        ns.tell("lagg0", Request::SetUp(true));
        for port in ["p0", "p1"] {
            ns.tell("lagg0", Request::Lagg(LaggRequest::AddPort(named(port))));
        }
        ns.address("lagg0", &format!("10.0.0.{last}/24"));
    }
    let _offered = server.serve_echo();
    let ours = connect(&client, "lagg0", "10.0.0.1");
    ours.exchange(b"one port");
    std::thread::scope(|scope| {
        let transfer = scope.spawn(|| {
            for number in 0..5 {
                ours.exchange(&bytes(number, 500_000));
            }
        });
        server.interfaces.destroy(named("p0"), Deadline::Never).unwrap();
        transfer.join().unwrap();
    });
    ours.exchange(b"the other port");
}

#[test]
fn addresses_that_make_no_sense_are_refused_with_a_reason() {
    let world = World::new();
    let [server, _client] = two(&world);
    let refused =
        |request| server.interfaces.request(named("p0"), &request).unwrap_err().to_string();
    let add = |cidr: &str| Request::AddAddress(cidr.parse().unwrap());
    assert!(refused(add("10.0.0.255/24")).contains("no address that a station"));
    assert!(refused(add("10.0.0.1/8")).contains("already"));
    assert!(refused(Request::SetMtu(1000)).contains("remove fd00::1/64"));
}
