//! Tenants that are served over interfaces of their own.

use crate::neighbour::Neighbour;
use crate::world::{World, stop};
use holm::model::{
    AddrSpec, ExportSpec, LinkKind, LinkPatch, LinkSpec, LinkView, NamespaceSpec, RouteSpec,
};
use holm::server::Server;
use holm_lifetime::Deadline;
use std::fs;
use std::path::PathBuf;

/// A namespace without listeners, reached over a unix socket at 10.0.0.1.
fn spec(world: &World, name: &str) -> NamespaceSpec {
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

fn socket(world: &World, name: &str) -> PathBuf {
    world.folder.path().join(format!("{name}.sock"))
}

fn link(server: &Server, ns: &str, name: &str) -> LinkView {
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
    assert!(server.addresses("blue").unwrap().contains(&address));
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
