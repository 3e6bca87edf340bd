//! Listeners come and go while a namespace is served.

use crate::world::{Nfs, World, address, anywhere, stop};
use holm::model::{ErrorCode, ExportSpec, Happened, LimitsSpec, ListenSpec};
use holm_lifetime::Deadline;
use holm_nfs_proto::{nfs3, portmap, rpcbind};
use holm_nfsd::cache::{Caches, Object};
use holm_sunrpc::Credential;
use holm_sunrpc::message::{Reply, encode_call};
use holm_xdr::{Encoder, Opaque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

#[test]
fn listeners_come_and_go_with_their_connections() {
    let world = World::new();
    let server = world.server();
    let first = address(&server.add_namespace(world.spec("blue")).unwrap());
    let mut events = server.events();
    let second = server.add_listener("blue", anywhere()).unwrap().local;
    assert_ne!(first, second);
    let [mut by_first, mut by_second] = [first, second].map(Nfs::connect);
    let root = by_first.mount("/").unwrap();
    assert!(by_second.getattr(&root).is_ok());

    let error = server.add_listener("blue", ListenSpec::new(second)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Exists);
    let text = error.to_string();
    assert!(text.contains(&format!(": it listens at {second}: ")), "{text}");

    server.del_listener("blue", second, None).unwrap();
    assert!(by_second.is_over());
    assert!(Nfs::try_connect(second).is_err());
    assert!(by_first.getattr(&root).is_ok());
    let error = server.del_listener("blue", second, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
    // The port is free at once.
    assert_eq!(server.add_listener("blue", ListenSpec::new(second)).unwrap().local, second);
    assert!(Nfs::connect(second).getattr(&root).is_ok());
    let said: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.what).collect();
    let added = Happened::ListenerAdded { addr: second, netns: None };
    let removed = Happened::ListenerRemoved { addr: second, netns: None, why: None };
    assert_eq!(said, [added.clone(), removed, added]);
    stop(server);
}

#[test]
fn limits_are_changed_while_it_is_served() {
    let world = World::new();
    let server = world.server();
    let at = address(&server.add_namespace(world.spec("blue")).unwrap());
    let [mut first, mut second] = [at, at].map(Nfs::connect);
    let root = first.mount("/").unwrap();
    assert!(second.getattr(&root).is_ok());
    server
        .set_limits("blue", LimitsSpec { connections: Some(2), ..LimitsSpec::default() })
        .unwrap();
    assert!(Nfs::connect(at).is_over(), "a third");
    assert!(first.getattr(&root).is_ok() && second.getattr(&root).is_ok());
    let view = server.namespace("blue").unwrap();
    assert_eq!(view.limits.connections, Some(2));
    assert_eq!(view.listeners[0].connections, 2);
    assert_eq!(view.counters.unwrap().refused, 1);
    let bad = LimitsSpec { connections: Some(0), ..LimitsSpec::default() };
    let error = server.set_limits("blue", bad).unwrap_err();
    assert_eq!(
        error.to_string(),
        "namespace blue: limits.connections: 0 is out of range: write a number from 1 to 1048576"
    );
    server.set_limits("blue", LimitsSpec::default()).unwrap();
    assert!(Nfs::connect(at).getattr(&root).is_ok());
    stop(server);
}

/// They take no place and hear nothing, and it is what is exported now that counts.
#[test]
fn whom_nothing_is_exported_to_is_not_connected() {
    let world = World::new();
    let server = world.server();
    let mut spec = world.spec("blue");
    spec.limits.connections = Some(1);
    let whole = spec.export.remove(0);
    let elsewhere = vec!["10.0.0.0/8".into()];
    spec.export.push(ExportSpec { clients: elsewhere, ..whole.clone() });
    let at = address(&server.add_namespace(spec).unwrap());
    for _ in 0..3 {
        assert!(is_turned_away(at));
    }
    let ours = ExportSpec { path: "/ours".into(), clients: vec!["127.0.0.0/8".into()], ..whole };
    server.add_export("blue", ours).unwrap();
    let mut client = Nfs::connect(at);
    let root = client.mount("/ours").unwrap();
    assert!(client.getattr(&root).is_ok());
    drop(client);
    for path in ["/ours", "/"] {
        server.del_export("blue", path, Deadline::Never).unwrap();
        assert!(is_turned_away(at), "without {path}");
    }
    let counters = server.namespace("blue").unwrap().counters.unwrap();
    assert_eq!((counters.accepted, counters.refused, counters.strangers), (1, 0, 5));
    stop(server);
}

/// A listener at all addresses: an answer comes from where the question went, and names that.
#[test]
fn who_asks_by_a_datagram_is_answered_from_there() {
    let world = World::new();
    let server = world.server();
    let mut spec = world.spec("blue");
    spec.listen = vec![ListenSpec::new("0.0.0.0:0".parse().unwrap())];
    let port = address(&server.add_namespace(spec).unwrap()).port();
    let mut call = Encoder::new();
    let getaddr = (portmap::PROGRAM, rpcbind::VERSION_3, rpcbind::Procedure::GetAddr.number());
    encode_call(&mut call, 7, getaddr, &Credential::None);
    let text = |text| Opaque::new(text).unwrap();
    call.put(&rpcbind::Binding {
        program: nfs3::PROGRAM,
        version: nfs3::VERSION,
        netid: text(rpcbind::TCP),
        address: text(b""),
        owner: text(b""),
    });
    for asked in ["127.0.0.1", "127.0.0.5"] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect((asked, port)).unwrap();
        socket.send(&call).unwrap();
        let mut reply = [0; 512];
        let count = socket.recv(&mut reply).unwrap();
        let mut results = Reply::decode(&reply[..count]).unwrap().outcome.unwrap();
        let named: rpcbind::Text<'_> = results.get().unwrap();
        let there = SocketAddr::new(asked.parse().unwrap(), port);
        assert_eq!(named.bytes(), rpcbind::universal_address(there).as_bytes());
    }
    stop(server);
}

#[test]
fn files_are_kept_open_up_to_the_limit() {
    let world = World::new();
    let server = world.server();
    let mut spec = world.spec("blue");
    spec.limits.open_files = Some(16);
    let mut client = Nfs::connect(address(&server.add_namespace(spec).unwrap()));
    let root = client.mount("/").unwrap();
    let ns = server.registry().find("blue").unwrap();
    let most_open = |client: &mut Nfs| {
        let mut most = 0;
        for n in 0..100 {
            let file = client.create(&root, &format!("{n}")).unwrap();
            client.getattr(&file).unwrap();
            let inside = ns.enter().unwrap();
            let cache = inside.get::<Caches<Object>>().unwrap();
            most = most.max(cache.statistics().open);
        }
        most
    };
    let most = most_open(&mut client);
    assert!((4..=16).contains(&most), "{most}");
    server.set_limits("blue", LimitsSpec::default()).unwrap();
    let most = most_open(&mut client);
    assert!(most > 16, "{most}");
    stop(server);
}

/// Whether the server ends a connection by itself, perhaps while we are still about to learn that it
/// is there.
fn is_turned_away(at: SocketAddr) -> bool {
    match Nfs::try_connect(at) {
        Ok(client) => client.is_over(),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
