//! Tenants that are served over interfaces of their own.

use crate::neighbour::{Neighbour, nfs_at};
use crate::world::{World, stop};
use holm::model::{
    AddrSpec, AddrView, ErrorCode, ExportSpec, Happened, LaggProto, LimitsSpec, LinkKind, LinkMove,
    LinkPatch, LinkSpec, LinkView, MediaSpec, NamespaceSpec, PeerLinkSpec, PeerLinkView, RouteSpec,
};
use holm::server::{Alteration, Change, Server};
use holm_ifnet::IfnetSubsystem;
use holm_ifnet::stack::{Reason, StackSubsystem};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_nfs_proto::{mount, nfs3, portmap};
use std::fs;
use std::path::PathBuf;

/// A namespace without listeners, reached over a unix socket at 10.0.0.1.
pub fn spec(world: &World, name: &str) -> NamespaceSpec {
    NamespaceSpec {
        name: name.into(),
        export: vec![ExportSpec::new("/", world.directory(name))],
        link: vec![stream(world, name)],
        ..NamespaceSpec::default()
    }
}

fn stream(world: &World, name: &str) -> LinkSpec {
    LinkSpec {
        path: Some(socket(world, name)),
        addr: vec!["10.0.0.1/24".into()],
        ..LinkSpec::new("p0", LinkKind::Stream)
    }
}

pub fn socket(world: &World, name: &str) -> PathBuf {
    world.folder.path().join(format!("{name}.sock"))
}

pub fn link(server: &Server, ns: &str, name: &str) -> LinkView {
    let links = server.links(ns).unwrap();
    links.into_iter().find(|link| link.name == name).unwrap()
}

#[test]
fn a_tenant_is_served_over_its_own_interface() {
    let world = World::new();
    let server = world.server();
    let blue = server.add_namespace(spec(&world, "blue")).unwrap();
    assert_eq!(blue.links.len(), 2, "its own, and lo");
    fs::write(world.directory("blue").join("file"), "blue").unwrap();

    let neighbour = Neighbour::at(&socket(&world, "blue"), "10.0.0.2/24", None);
    let mut client = neighbour.nfs("10.0.0.1:2049");
    let root = client.mount("/").unwrap();
    let file = client.lookup(&root, "file").unwrap();
    assert_eq!(client.getattr(&file), Ok(4));
    client.create(&root, "made").unwrap();
    assert!(world.directory("blue").join("made").exists());
    // The port mapper is where it belongs, and says where the rest is, by streams and by datagrams.
    assert_eq!(neighbour.port_of_mount_by_stream("10.0.0.1:111"), 2049);
    assert_eq!(neighbour.port_of_mount_by_datagram("10.0.0.1:111"), 2049);
    let (tcp, udp) = (portmap::TCP, portmap::UDP);
    for asked_at in ["10.0.0.1:111", "10.0.0.1:2049"] {
        let listed = neighbour.programs(asked_at);
        let of = |program| listed.iter().filter(move |it| it.0 == program).copied();
        let own: Vec<_> = of(portmap::PROGRAM).collect();
        let expected = [2, 3, 4].map(|version| [tcp, udp].map(|by| (100_000, version, by, 111)));
        assert_eq!(own, expected.concat(), "the port mapper itself, asked at {asked_at}");
        assert_eq!(of(nfs3::PROGRAM).collect::<Vec<_>>(), [(100_003, 3, tcp, 2049)]);
        assert_eq!(of(mount::PROGRAM).count(), 2);
    }

    let view = link(&server, "blue", "p0");
    assert!(view.flags.iter().any(|flag| flag == "running"), "{view:?}");
    assert!(view.counters.received.frames > 0 && view.counters.sent.frames > 0, "{view:?}");
    drop(client);
    neighbour.end();
    server.del_namespace("blue", Deadline::Never).unwrap();
    assert!(!socket(&world, "blue").exists());
    stop(server);
}

/// Whom an export is for that says nothing.
#[test]
fn an_export_may_be_for_others_than_those_of_its_own_interfaces() {
    let world = World::new();
    let server = world.server();
    let mut blue = spec(&world, "blue");
    for export in &mut blue.export {
        export.clients = vec!["127.0.0.0/8".into()];
    }
    server.add_namespace(blue).unwrap();
    let neighbour = Neighbour::at(&socket(&world, "blue"), "10.0.0.2/24", None);
    assert!(neighbour.is_refused("10.0.0.1:2049"));
    server.del_export("blue", "/", Deadline::Never).unwrap();
    let mut export = ExportSpec::new("/", world.directory("blue"));
    export.clients = vec!["10.0.0.2".into()];
    server.add_export("blue", export).unwrap();
    neighbour.nfs("10.0.0.1:2049").mount("/").unwrap();
    neighbour.end();
    stop(server);
}

#[test]
fn tenants_with_the_same_addresses_see_their_own_files_only() {
    let world = World::new();
    let server = world.server();
    let mac = Some("02:00:5e:10:00:01");
    for name in ["blue", "green"] {
        let mut spec = spec(&world, name);
        spec.link[0].mac = Some("02:00:5e:10:00:99".into());
        server.add_namespace(spec).unwrap();
        fs::write(world.directory(name).join(name), "").unwrap();
    }
    let [blue, green] =
        ["blue", "green"].map(|name| Neighbour::at(&socket(&world, name), "10.0.0.2/24", mac));
    let [mut of_blue, mut of_green] = [&blue, &green].map(|it| it.nfs("10.0.0.1:2049"));
    let [root_of_blue, root_of_green] =
        [&mut of_blue, &mut of_green].map(|client| client.mount("/").unwrap());
    of_blue.lookup(&root_of_blue, "blue").unwrap();
    of_blue.lookup(&root_of_blue, "green").unwrap_err();
    of_green.lookup(&root_of_green, "green").unwrap();
    of_green.lookup(&root_of_green, "blue").unwrap_err();
    // A handle of another tenant's is none.
    of_green.getattr(&root_of_blue).unwrap_err();
    drop((of_blue, of_green));
    blue.end();
    green.end();
    stop(server);
}

#[test]
fn a_tenant_goes_while_its_interface_is_busy() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(spec(&world, "blue")).unwrap();
    let neighbour = Neighbour::at(&socket(&world, "blue"), "10.0.0.2/24", None);
    let mut client = neighbour.nfs("10.0.0.1:2049");
    let root = client.mount("/").unwrap();
    let (served, begun) = std::sync::mpsc::channel();
    let calls = std::thread::spawn(move || {
        // Until the connection is reset.
        while client.try_getattr(&root).is_ok() {
            let _ = served.send(());
        }
    });
    begun.recv().unwrap();
    server.del_namespace("blue", Deadline::Never).unwrap();
    calls.join().unwrap();
    // The same again has nothing of the first.
    server.add_namespace(spec(&world, "blue")).unwrap();
    neighbour.nfs("10.0.0.1:2049").mount("/").unwrap();
    neighbour.end();
    stop(server);
}

#[test]
fn links_addresses_and_routes_come_and_go() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(NamespaceSpec { link: Vec::new(), ..spec(&world, "blue") }).unwrap();
    server.add_link("blue", stream(&world, "blue")).unwrap();
    let again = server.add_link("blue", stream(&world, "blue")).unwrap_err().to_string();
    assert!(again.contains("has a link p0"), "{again}");

    let address = AddrSpec { cidr: "10.1.0.1/16".into(), dev: "p0".into() };
    server.add_address("blue", address.clone()).unwrap();
    let has = |address: &AddrSpec, automatic| {
        let view = AddrView { spec: address.clone(), automatic };
        server.addresses("blue").unwrap().contains(&view)
    };
    assert!(has(&address, false));
    // What the interface has by itself is shown, and is nobody's to take away.
    let own = link(&server, "blue", "p0").link_local.unwrap();
    let own = AddrSpec { cidr: own, dev: "p0".into() };
    assert!(own.cidr.starts_with("fe80::") && has(&own, true), "{own}");
    let automatic = server.del_address("blue", own).unwrap_err().to_string();
    assert!(automatic.contains("is automatic"), "{automatic}");
    assert_eq!(link(&server, "blue", "lo").link_local, None);
    let route = RouteSpec { to: "default".into(), via: "10.1.0.254".parse().unwrap() };
    let made = server.add_route("blue", route.clone()).unwrap();
    assert_eq!(made.dev.as_deref(), Some("p0"));
    let nowhere = RouteSpec { to: "10.9.0.0/16".into(), via: "10.8.0.1".parse().unwrap() };
    let nowhere = server.add_route("blue", nowhere).unwrap_err().to_string();
    assert!(nowhere.contains("in no network"), "{nowhere}");
    let missing = server.del_address("blue", address.clone()).unwrap_err().to_string();
    assert!(missing.contains("in no network"), "the route needs it: {missing}");
    server.del_route("blue", route).unwrap();
    server.del_address("blue", address).unwrap();

    let patch = LinkPatch { mtu: Some(9000), up: Some(false), ..LinkPatch::default() };
    let set = server.set_link("blue", "p0", patch).unwrap();
    assert_eq!((set.mtu, set.flags.iter().any(|flag| flag == "up")), (9000, false));
    let index = set.index;
    let lagg = LinkSpec { ports: vec!["p0".into()], ..LinkSpec::new("lagg0", LinkKind::Lagg) };
    let addressed = server.add_link("blue", lagg.clone()).unwrap_err().to_string();
    assert!(addressed.contains("the addresses belong to lagg0"), "{addressed}");
    let own = AddrSpec { cidr: "10.0.0.1/24".into(), dev: "p0".into() };
    server.del_address("blue", own).unwrap();
    server.add_link("blue", lagg).unwrap();
    let port = link(&server, "blue", "p0");
    assert_eq!((port.master.as_deref(), port.index), (Some("lagg0"), index), "it is the same one");
    let alone = LinkPatch { nomaster: true, ..LinkPatch::default() };
    assert_eq!(server.set_link("blue", "p0", alone).unwrap().master, None);
    let named = LinkPatch { name: Some("p7".into()), ..LinkPatch::default() };
    assert_eq!(server.set_link("blue", "p0", named).unwrap().index, index);
    server.del_link("blue", "p7", Deadline::Never).unwrap();
    assert!(!socket(&world, "blue").exists());
    stop(server);
}

#[test]
fn a_link_is_called_otherwise_and_changed_at_once() {
    let world = World::new();
    let server = world.server();
    let mut blue = spec(&world, "blue");
    blue.link[0].addr.clear();
    blue.link.push(LinkSpec {
        addr: vec!["10.0.0.1/24".into()],
        ..LinkSpec::new("lagg0", LinkKind::Lagg)
    });
    server.add_namespace(blue).unwrap();
    let index = link(&server, "blue", "p0").index;
    let patch = LinkPatch {
        name: Some("p7".into()),
        mtu: Some(9000),
        up: Some(false),
        master: Some("lagg0".into()),
        ..LinkPatch::default()
    };
    let set = server.set_link("blue", "p0", patch).unwrap();
    assert_eq!((set.name.as_str(), set.index, set.mtu), ("p7", index, 9000));
    assert_eq!(set.master.as_deref(), Some("lagg0"));
    assert!(!set.flags.iter().any(|flag| flag == "up"), "{set:?}");
    // That of a lagg is a port of it then, too.
    let bond = LinkPatch { name: Some("bond".into()), ..LinkPatch::default() };
    let bond = server.set_link("blue", "lagg0", bond).unwrap();
    assert_eq!(bond.addresses, ["10.0.0.1/24"]);
    assert_eq!(link(&server, "blue", "p7").master.as_deref(), Some("bond"));
    let spec = bond.spec.unwrap();
    assert_eq!((spec.name.as_str(), &spec.ports[..]), ("bond", &["p7".to_owned()][..]));

    // What fails with it takes it back; and there is only one of a name.
    let renamed =
        |to: &str| LinkPatch { name: Some(to.into()), mtu: Some(1400), ..LinkPatch::default() };
    let change = holm::server::Alteration {
        name: "blue".into(),
        set_link: vec![("p7".into(), renamed("p8"))],
        add_link: vec![LinkSpec {
            path: Some(world.folder.path().join("none/x.sock")),
            ..LinkSpec::new("p9", LinkKind::Stream)
        }],
        ..Default::default()
    };
    server.apply(vec![holm::server::Change::Alter(change)]).unwrap_err();
    let same = link(&server, "blue", "p7");
    assert_eq!((same.index, same.mtu, same.master.as_deref()), (index, 9000, Some("bond")));
    for (from, to, why) in [
        ("p7", "bond", "has a link bond"),
        ("p7", "lo", "is the loopback interface"),
        ("lo", "p1", "no link lo"),
        ("p7", "much-too-long-a-name", "no name for an interface"),
        ("p6", "p5", "no link p6"),
    ] {
        let refused = server.set_link("blue", from, renamed(to)).unwrap_err().to_string();
        assert!(refused.contains(why), "{from} {to}: {refused}");
    }
    assert_eq!(link(&server, "blue", "p7").mtu, 9000);
    stop(server);
}

#[test]
fn an_interface_has_no_more_addresses_and_a_namespace_no_more_routes_than_the_limits_say() {
    let world = World::new();
    let server = world.server();
    let limits = LimitsSpec { addresses: Some(2), routes: Some(1), ..LimitsSpec::default() };
    server.add_namespace(NamespaceSpec { limits, ..spec(&world, "blue") }).unwrap();
    let address = |n: u8| AddrSpec { cidr: format!("10.0.{n}.1/24"), dev: "p0".into() };
    let route =
        |n: u8| RouteSpec { to: format!("10.{n}.0.0/16"), via: "10.0.0.254".parse().unwrap() };
    server.add_address("blue", address(1)).unwrap();
    let refused = server.add_address("blue", address(2)).unwrap_err().to_string();
    assert!(refused.contains("p0 has more than 2 addresses"), "{refused}");
    server.add_route("blue", route(1)).unwrap();
    let refused = server.add_route("blue", route(2)).unwrap_err().to_string();
    assert!(refused.contains("more than 1 routes"), "{refused}");
    // What there is stays within them.
    let fewer = LimitsSpec { addresses: Some(1), ..LimitsSpec::default() };
    let refused = server.set_limits("blue", fewer).unwrap_err().to_string();
    assert!(refused.contains("p0 has more than 1 addresses"), "{refused}");
    server.set_limits("blue", LimitsSpec::default()).unwrap();
    server.add_address("blue", address(2)).unwrap();
    server.add_route("blue", route(2)).unwrap();
    stop(server);
}

#[test]
fn a_limit_of_links_is_in_force_at_once() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(spec(&world, "blue")).unwrap();
    let neighbour = Neighbour::at(&socket(&world, "blue"), "10.0.0.2/24", None);
    let mut first = neighbour.nfs("10.0.0.1:2049");
    let root = first.mount("/").unwrap();
    let one = LimitsSpec { link_connections: Some(1), ..LimitsSpec::default() };
    server.set_limits("blue", one).unwrap();
    let index = link(&server, "blue", "p0").index;
    let stack = {
        let inside = server.registry().find("blue").unwrap().enter().unwrap();
        inside.get::<StackSubsystem>().unwrap().stack(index).unwrap()
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| neighbour.nfs("10.0.0.1:2049").mount("/"));
        while stack.usage().dropped.get(Reason::NoRoom) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(stack.usage().connections, 1);
        first.getattr(&root).unwrap();
        // The client tries again until there is room.
        server.set_limits("blue", LimitsSpec::default()).unwrap();
        second.join().unwrap().unwrap();
    });
    drop((first, stack));
    neighbour.end();
    stop(server);
}

/// Here the configuration of the one can't be locked, for as long as the test wants.
#[test]
fn a_change_of_one_tenant_that_waits_holds_up_none_of_another() {
    let world = World::new();
    let server = world.server();
    for name in ["blue", "green"] {
        server.add_namespace(spec(&world, name)).unwrap();
    }
    let blue = server.registry().find("blue").unwrap();
    std::thread::scope(|scope| {
        let mut held = Locked::nothing();
        let guard = blue.lock(&mut held);
        let waits = scope.spawn(|| {
            // Red has come, which others can see, when blue is waited for.
            let red = NamespaceSpec { link: Vec::new(), ..spec(&world, "red") };
            let mtu = LinkPatch { mtu: Some(9000), ..LinkPatch::default() };
            server.apply(vec![
                Change::Add(red),
                Change::Alter(Alteration {
                    name: "blue".into(),
                    set_link: vec![("p0".into(), mtu)],
                    ..Alteration::default()
                }),
            ])
        });
        while server.registry().find("red").is_none() {
            std::thread::yield_now();
        }
        let others = scope.spawn(|| {
            let more = AddrSpec { cidr: "10.0.1.1/24".into(), dev: "p0".into() };
            server.add_address("green", more).unwrap();
            let mtu = LinkPatch { mtu: Some(1400), ..LinkPatch::default() };
            server.set_link("green", "p0", mtu).unwrap();
            server.del_link("green", "p0", Deadline::Never).unwrap();
            server.add_namespace(spec(&world, "violet")).unwrap();
            server.del_namespace("violet", Deadline::Never).unwrap();
            server.namespaces().len()
        });
        assert_eq!(others.join().unwrap(), 2, "red is not there before all is done");
        assert!(!waits.is_finished());
        // Who changes the same waits, and finds what was made of it.
        let same = scope.spawn(|| {
            server.set_link("blue", "p0", LinkPatch { up: Some(false), ..LinkPatch::default() })
        });
        drop(guard);
        waits.join().unwrap().unwrap();
        same.join().unwrap().unwrap();
    });
    let p0 = link(&server, "blue", "p0");
    assert_eq!((p0.mtu, p0.flags.iter().any(|flag| flag == "up")), (9000, false));
    server.namespace("red").unwrap();
    stop(server);
}

#[test]
fn who_holds_an_interface_that_goes_is_named() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(spec(&world, "blue")).unwrap();
    let take = |name: &str| {
        let inside = server.registry().find("blue").unwrap().enter().unwrap();
        inside.get::<IfnetSubsystem>().unwrap().find(name.parse().unwrap()).unwrap()
    };
    let more = LinkSpec { peer: Some("q1".into()), ..LinkSpec::new("q0", LinkKind::Pair) };
    server.add_link("blue", more).unwrap();
    let names_it = |error: &str, link: &str| {
        let what = format!("using an interface of link {link} since");
        assert!(error.contains(&what) && error.contains("it/links.rs:"), "{error}");
    };
    let (held, p0) = (take("q0"), take("p0"));
    let refused = server.del_link("blue", "q0", Deadline::now()).unwrap_err().to_string();
    assert!(refused.contains("q0") && refused.contains("it/links.rs:"), "{refused}");
    let shown = server.namespace("blue").unwrap().held;
    let of = |link: &str| shown.holders.iter().find(|it| it.object.as_deref() == Some(link));
    assert!(of("link q0").unwrap().at.contains("it/links.rs:"), "{shown:?}");
    assert!(of("link p0").is_none(), "it stays");

    let blue = server.namespace("blue").unwrap();
    let refused = server.del_namespace("blue", Deadline::now()).unwrap_err().to_string();
    names_it(&refused, "p0");
    names_it(&refused, "q0");
    let draining = server.namespace(&format!("blue@{}", blue.id)).unwrap();
    assert_eq!(draining.held.holders.len(), 2, "{:?}", draining.held);
    drop((held, p0));
    // Also who has waited before.
    while server.namespace(&format!("blue@{}", blue.id)).is_ok() {
        std::thread::yield_now();
    }
    stop(server);
}

/// What fails is as if it had not been begun.
#[test]
fn networks_change_as_a_whole_or_not_at_all() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(spec(&world, "blue")).unwrap();
    let before = link(&server, "blue", "p0");
    let taken = world.folder.path().join("file-in-the-way");
    fs::write(&taken, "").unwrap();
    // The first comes, the second can't.
    let mut red = spec(&world, "red");
    red.link.push(LinkSpec { path: Some(taken.clone()), ..LinkSpec::new("p1", LinkKind::Stream) });
    server.add_namespace(red).unwrap_err();
    assert!(server.namespace("red").is_err());
    let one = holm::server::Alteration {
        name: "blue".into(),
        add_link: vec![
            LinkSpec { path: Some(socket(&world, "x")), ..LinkSpec::new("p1", LinkKind::Stream) },
            LinkSpec { path: Some(taken), ..LinkSpec::new("p2", LinkKind::Stream) },
        ],
        add_addr: vec![AddrSpec { cidr: "10.2.0.1/24".into(), dev: "p0".into() }],
        ..Default::default()
    };
    server.apply(vec![holm::server::Change::Alter(one)]).unwrap_err();
    let after = link(&server, "blue", "p0");
    assert_eq!((after.index, &after.addresses), (before.index, &before.addresses));
    assert_eq!(server.links("blue").unwrap().len(), 2);
    assert!(!socket(&world, "x").exists());
    stop(server);
}

#[test]
fn a_pair_leads_from_one_tenant_to_another() {
    let world = World::new();
    let server = world.server();
    server.add_namespace(NamespaceSpec { link: Vec::new(), ..spec(&world, "green") }).unwrap();
    let pair = LinkSpec {
        peer: Some("to-blue".into()),
        peer_ns: Some("green".into()),
        addr: vec!["10.0.0.1/24".into()],
        ..LinkSpec::new("to-green", LinkKind::Pair)
    };
    server.add_namespace(NamespaceSpec { link: vec![pair], ..spec(&world, "blue") }).unwrap();
    assert_eq!(link(&server, "green", "to-blue").kind, LinkKind::Pair);
    let far = AddrSpec { cidr: "10.0.0.2/24".into(), dev: "to-blue".into() };
    server.add_address("green", far).unwrap();
    let running = |ns, name| link(&server, ns, name).flags.iter().any(|flag| flag == "running");
    assert!(running("blue", "to-green") && running("green", "to-blue"));
    server.del_namespace("blue", Deadline::Never).unwrap();
    assert_eq!(server.links("green").unwrap().len(), 1, "its lo");
    stop(server);
}

/// A cable from blue to green: `c0` there and here, and what is needed to be a client of the one at the
/// other.
fn cable(world: &World, server: &Server) {
    for name in ["green", "red", "violet"] {
        let bare = NamespaceSpec { link: Vec::new(), ..spec(world, name) };
        server.add_namespace(bare).unwrap();
        fs::write(world.directory(name).join(name), "").unwrap();
    }
    let pair = LinkSpec {
        peer: Some("c0".into()),
        peer_ns: Some("green".into()),
        addr: vec!["10.9.0.1/30".into()],
        ..LinkSpec::new("c0", LinkKind::Pair)
    };
    server.add_namespace(NamespaceSpec { link: vec![pair], ..spec(world, "blue") }).unwrap();
}

fn far_address(dev: &str) -> AddrSpec {
    AddrSpec { cidr: "10.9.0.2/30".into(), dev: dev.into() }
}

fn lead_to_each_other(server: &Server, ends: [(&str, &str); 2]) {
    let [one, other] = ends;
    for ((ns, name), (other_ns, other)) in [(one, other), (other, one)] {
        let peer = PeerLinkView { name: other.into(), ns: other_ns.into() };
        assert_eq!(link(server, ns, name).peer, Some(peer), "{name} of {ns}");
    }
}

fn place(to: &str, name: Option<&str>) -> LinkMove {
    LinkMove { to: to.into(), name: name.map(str::to_owned) }
}

/// The stack of an interface.
pub fn stack(server: &Server, ns: &str, name: &str) -> std::sync::Arc<holm_ifnet::stack::Stack> {
    let index = link(server, ns, name).index;
    let inside = server.registry().find(ns).unwrap().enter().unwrap();
    inside.get::<StackSubsystem>().unwrap().stack(index).unwrap()
}

#[test]
fn an_end_of_a_pair_moves_and_serves_where_it_is() {
    let world = World::new();
    let server = world.server();
    cable(&world, &server);
    server.add_address("green", far_address("c0")).unwrap();
    let at_blue = stack(&server, "blue", "c0");
    let mut client = nfs_at(&at_blue, "10.9.0.2:2049");
    let root = client.mount("/").unwrap();
    client.lookup(&root, "green").unwrap();
    let before = link(&server, "green", "c0");
    let mut events = server.events();

    let moved = server.move_link("green", "c0", &place("red", Some("c1"))).unwrap();
    assert_eq!((moved.index, &moved.mac, &moved.flags), (before.index, &before.mac, &before.flags));
    // The addresses stay behind, and connections to them are reset.
    assert!(moved.addresses.is_empty() && moved.link_local.is_none(), "{moved:?}");
    client.try_getattr(&root).unwrap_err();
    assert_eq!(server.links("green").unwrap().len(), 1, "its lo");
    assert!(!server.addresses("green").unwrap().iter().any(|it| it.spec.dev == "c0"));
    let peer = link(&server, "blue", "c0").spec.unwrap();
    assert_eq!((peer.peer.as_deref(), peer.peer_ns.as_deref()), (Some("c1"), Some("red")));
    lead_to_each_other(&server, [("blue", "c0"), ("red", "c1")]);
    let mut heard = Vec::new();
    while let Some(event) = events.try_next() {
        heard.push((event.ns.unwrap().split('@').next().unwrap().to_owned(), event.what));
    }
    let went = heard.iter().find_map(|(ns, what)| match what {
        Happened::LinkRemoved { name, why } if ns == "green" && name == "c0" => why.clone(),
        _ => None,
    });
    assert!(went.unwrap().starts_with("moved to namespace red@"), "{heard:?}");
    let came = Happened::LinkAdded { name: "c1".into(), kind: LinkKind::Pair };
    assert!(heard.contains(&("red".into(), came)), "{heard:?}");

    server.add_address("red", far_address("c1")).unwrap();
    let mut client = nfs_at(&at_blue, "10.9.0.2:2049");
    let root = client.mount("/").unwrap();
    client.lookup(&root, "red").unwrap();
    client.lookup(&root, "green").unwrap_err();
    drop((client, at_blue));

    // The end that the pair is said of by takes that along.
    let own = server.move_link("blue", "c0", &place("violet", None)).unwrap().spec.unwrap();
    assert_eq!(
        (own.peer.as_deref(), own.peer_ns.as_deref(), own.addr.len()),
        (Some("c1"), Some("red"), 0)
    );
    let patch = LinkPatch { mtu: Some(9000), ..LinkPatch::default() };
    assert_eq!(server.set_link("violet", "c0", patch).unwrap().mtu, 9000);
    // Both may be in one namespace, and go together all the same.
    let own = server.move_link("violet", "c0", &place("red", None)).unwrap().spec.unwrap();
    assert_eq!((own.peer.as_deref(), own.peer_ns), (Some("c1"), None));
    server.del_address("red", far_address("c1")).unwrap();
    let own = server.move_link("red", "c1", &place("green", Some("c2"))).unwrap();
    assert_eq!(own.index, before.index);
    lead_to_each_other(&server, [("red", "c0"), ("green", "c2")]);
    assert_eq!(link(&server, "red", "c0").spec.unwrap().peer_ns.as_deref(), Some("green"));
    server.del_link("red", "c0", Deadline::Never).unwrap();
    for ns in ["blue", "green", "red", "violet"] {
        assert_eq!(server.links(ns).unwrap().len(), 1, "{ns} has its lo");
    }
    stop(server);
}

#[test]
fn what_cannot_be_moved_stays_and_it_is_said_why() {
    let world = World::new();
    let server = world.server();
    cable(&world, &server);
    let pair = LinkSpec { peer: Some("taken".into()), ..LinkSpec::new("other", LinkKind::Pair) };
    server.add_link("red", pair).unwrap();
    let lagg = LinkSpec { ports: vec!["c0".into()], ..LinkSpec::new("l0", LinkKind::Lagg) };
    server.add_link("green", lagg).unwrap();
    server
        .add_route("blue", RouteSpec { to: "default".into(), via: "10.9.0.2".parse().unwrap() })
        .unwrap();
    let before = link(&server, "green", "c0");
    for (ns, name, to, new, code, why) in [
        ("green", "c0", "red", None, ErrorCode::Invalid, "c0 of namespace green is a port of l0"),
        ("green", "l0", "red", None, ErrorCode::Invalid, "is of type lagg, which stays"),
        ("green", "lo", "red", Some("lo1"), ErrorCode::Invalid, "is of type lo, which stays"),
        ("green", "c9", "red", None, ErrorCode::NotFound, "has no link c9"),
        ("green", "c0", "rad", None, ErrorCode::NotFound, "did you mean red?"),
        ("grey", "c0", "red", None, ErrorCode::NotFound, "there is no namespace grey"),
        ("blue", "c0", "red", Some("taken"), ErrorCode::Exists, "has a link taken"),
        ("blue", "c0", "red", Some("a/b"), ErrorCode::Invalid, "is no name for an interface"),
        ("blue", "c0", "blue", Some("c1"), ErrorCode::Invalid, "in namespace blue already"),
        ("blue", "c0", "red", None, ErrorCode::Invalid, "10.9.0.2 is in no network of an address"),
    ] {
        let refused = server.move_link(ns, name, &place(to, new)).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let after = link(&server, "green", "c0");
    assert_eq!((after.index, after.master.as_deref()), (before.index, Some("l0")));
    assert_eq!(link(&server, "blue", "c0").addresses, ["10.9.0.1/30"]);

    // Somebody is still inside red when it is removed.
    let red = server.registry().find("red").unwrap();
    let inside = red.enter().unwrap();
    server.del_namespace("red", Deadline::now()).unwrap_err();
    for to in ["red".into(), red.id().to_string()] {
        let refused = server.move_link("blue", "c0", &place(&to, None)).unwrap_err().to_string();
        assert!(refused.contains("draining"), "{refused}");
    }
    drop(inside);
    stop(server);
}

#[test]
fn both_ends_of_a_pair_are_set_and_destroyed_alike() {
    let world = World::new();
    let server = world.server();
    cable(&world, &server);
    server.add_address("green", far_address("c0")).unwrap();
    let (near, far) = (link(&server, "blue", "c0"), link(&server, "green", "c0"));
    let patch = |patch: LinkPatch| server.set_link("green", "c0", patch);
    let said = || link(&server, "blue", "c0").spec.unwrap().peer_link;

    // The MTU is that of both, unless said of the other.
    let mtu = LinkPatch { mtu: Some(9000), ..LinkPatch::default() };
    server.set_link("blue", "c0", mtu).unwrap();
    assert_eq!(link(&server, "green", "c0").mtu, 9000);
    let set = patch(LinkPatch {
        mtu: Some(2000),
        mac: Some("02:00:00:00:00:07".into()),
        media: Some(MediaSpec { speed: Some(100), full_duplex: None }),
        ..LinkPatch::default()
    });
    let set = set.unwrap();
    assert_eq!((set.index, set.mtu, &*set.mac), (far.index, 2000, "02:00:00:00:00:07"));
    assert_eq!((set.media.speed, set.addresses.len()), (100, 1));
    let now = link(&server, "blue", "c0");
    assert_eq!((now.index, now.mtu, &now.mac), (near.index, 9000, &near.mac));
    patch(LinkPatch { up: Some(false), ..LinkPatch::default() }).unwrap();
    let is_up = |ns| link(&server, ns, "c0").flags.iter().any(|flag| flag == "up");
    assert!(is_up("blue") && !is_up("green"));
    let media = Some(MediaSpec { speed: None, full_duplex: Some(false) });
    patch(LinkPatch { up: Some(true), media, ..LinkPatch::default() }).unwrap();
    let expected = PeerLinkSpec {
        up: true,
        mtu: Some(2000),
        mac: Some("02:00:00:00:00:07".into()),
        media: Some(MediaSpec { speed: Some(100), full_duplex: Some(false) }),
    };
    assert_eq!((is_up("green"), said()), (true, Some(expected)));

    // What is refused changes nothing.
    for (bad, why) in [
        (LinkPatch { mtu: Some(7), ..LinkPatch::default() }, "7 is out of range"),
        (LinkPatch { mtu: Some(1000), name: Some("lo".into()), ..LinkPatch::default() }, "lo"),
        (LinkPatch { proto: Some(LaggProto::Lacp), ..LinkPatch::default() }, "a pair has no proto"),
        (LinkPatch { master: Some("l9".into()), ..LinkPatch::default() }, "has no link l9"),
    ] {
        let refused = patch(bad).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!((link(&server, "green", "c0").mtu, is_up("green")), (2000, true));
    }

    // Another name, with its address; and then a lagg's port without one.
    let name = LinkPatch { name: Some("c7".into()), mtu: Some(3000), ..LinkPatch::default() };
    let renamed = patch(name).unwrap();
    assert_eq!((renamed.index, renamed.mtu, renamed.addresses.len()), (far.index, 3000, 1));
    assert_eq!(link(&server, "blue", "c0").spec.unwrap().peer.as_deref(), Some("c7"));
    server.del_address("green", far_address("c7")).unwrap();
    server.add_link("green", LinkSpec::new("l0", LinkKind::Lagg)).unwrap();
    let master = LinkPatch { master: Some("l0".into()), ..LinkPatch::default() };
    let port = server.set_link("green", "c7", master).unwrap();
    assert_eq!(port.master.as_deref(), Some("l0"));
    let nomaster = LinkPatch { nomaster: true, ..LinkPatch::default() };
    assert_eq!(server.set_link("green", "c7", nomaster).unwrap().master, None);

    server.del_link("green", "c7", Deadline::Never).unwrap();
    assert_eq!(server.links("blue").unwrap().len(), 1, "its lo");
    let again = server.del_link("green", "c7", Deadline::Never).unwrap_err().to_string();
    assert!(again.contains("namespace green has no link c7"), "{again}");

    // In one namespace, and made with it.
    let pair = LinkSpec {
        peer: Some("e1".into()),
        peer_link: Some(PeerLinkSpec { up: false, mtu: Some(600), ..PeerLinkSpec::default() }),
        ..LinkSpec::new("e0", LinkKind::Pair)
    };
    server.add_link("red", pair).unwrap();
    let far = link(&server, "red", "e1");
    assert_eq!((far.mtu, far.flags.iter().any(|flag| flag == "up")), (600, false));
    assert_eq!(link(&server, "red", "e0").mtu, 1500);
    let name = LinkPatch { name: Some("e2".into()), up: Some(true), ..LinkPatch::default() };
    assert_eq!(server.set_link("red", "e1", name).unwrap().index, far.index);
    assert_eq!(link(&server, "red", "e0").spec.unwrap().peer.as_deref(), Some("e2"));
    server.del_link("red", "e2", Deadline::Never).unwrap();
    assert_eq!(server.links("red").unwrap().len(), 1, "its lo");
    stop(server);
}

/// Whoever else changes or removes the namespaces meanwhile.
#[test]
fn a_pair_that_moves_while_its_namespaces_go_is_somewhere_or_gone() {
    let world = World::new();
    let server = world.server();
    for _ in 0..20 {
        cable(&world, &server);
        std::thread::scope(|scope| {
            let far = scope.spawn(|| server.move_link("green", "c0", &place("red", None)).is_ok());
            let near =
                scope.spawn(|| server.move_link("blue", "c0", &place("violet", None)).is_ok());
            let gone = scope.spawn(|| server.del_namespace("green", Deadline::Never).unwrap());
            far.join().unwrap();
            near.join().unwrap();
            gone.join().unwrap();
        });
        // There are both ends or neither, and what is said of them is so.
        let ends: Vec<LinkView> = ["blue", "red", "violet"]
            .into_iter()
            .flat_map(|ns| server.links(ns).unwrap())
            .filter(|link| link.kind == LinkKind::Pair)
            .collect();
        assert!(matches!(ends.len(), 0 | 2), "{ends:?}");
        let speaks = ends.iter().filter_map(|end| end.spec.as_ref());
        assert!(speaks.clone().all(|spec| spec.peer_ns.as_deref() == Some("red")), "{ends:?}");
        assert_eq!(speaks.count(), ends.len() / 2);
        for ns in ["blue", "red", "violet"] {
            server.del_namespace(ns, Deadline::Never).unwrap();
        }
    }
    stop(server);
}

/// An end goes with the namespace of the other, and what was said of it with it.
#[test]
fn a_pair_that_went_with_the_other_namespace_is_in_nobodys_way() {
    let world = World::new();
    let server = world.server();
    cable(&world, &server);
    let route = RouteSpec { to: "default".into(), via: "10.9.0.1".parse().unwrap() };
    server.add_address("green", far_address("c0")).unwrap();
    server.add_route("green", route).unwrap();
    server.del_namespace("blue", Deadline::Never).unwrap();
    let green = server.namespace("green").unwrap();
    assert_eq!((green.links.len(), green.addr.len(), green.routes.len()), (1, 0, 0));
    let again = |from: &str, to: &str| {
        let pair = LinkSpec { peer: Some("c0".into()), ..LinkSpec::new("c0", LinkKind::Pair) };
        server.add_link(from, LinkSpec { peer_ns: Some(to.into()), ..pair })
    };
    again("green", "red").unwrap();
    server.del_namespace("red", Deadline::Never).unwrap();
    again("green", "violet").unwrap();
    assert_eq!(link(&server, "violet", "c0").kind, LinkKind::Pair);
    stop(server);
}

#[test]
fn media_of_a_link_are_what_is_said_and_of_a_lagg_what_its_ports_have() {
    let world = World::new();
    let server = world.server();
    let mut blue = spec(&world, "blue");
    blue.link[0] = LinkSpec {
        peer: Some("p1".into()),
        media: Some(MediaSpec { speed: Some(1000), full_duplex: None }),
        ..LinkSpec::new("p0", LinkKind::Pair)
    };
    let lagg = LinkSpec { ports: vec!["p0".into()], ..LinkSpec::new("l0", LinkKind::Lagg) };
    blue.link.push(lagg);
    server.add_namespace(blue).unwrap();
    let media = |name: &str| {
        let media = link(&server, "blue", name).media;
        (media.speed, media.full_duplex)
    };
    assert_eq!((media("p0"), media("p1")), ((1000, true), (10_000, true)));
    // As soon as it knows that the port has a link.
    while media("l0") != (1000, true) {}
    let half = MediaSpec { speed: None, full_duplex: Some(false) };
    let half = LinkPatch { media: Some(half), ..LinkPatch::default() };
    let mut events = server.events();
    let set = server.set_link("blue", "p0", half.clone()).unwrap();
    assert_eq!((set.media.speed, set.media.full_duplex), (1000, false));
    assert_eq!(media("l0"), (1000, false), "a lagg is as its ports are");
    let change = "media 1000 Mbit/s, half duplex".to_owned();
    let told = Happened::LinkChanged { name: "p0".into(), change };
    assert!(std::iter::from_fn(|| events.try_next()).any(|event| event.what == told));
    let refused = server.set_link("blue", "l0", half).unwrap_err().to_string();
    assert!(refused.contains("a lagg has no media"), "{refused}");
    stop(server);
}
