//! Namespaces come and go.

use crate::world::{Nfs, World, address, open_below, stop};
use holm::model::{ErrorCode, ExportSpec, Happened, NamespaceSpec, NamespaceState};
use holm_lifetime::Deadline;
use holm_nfs_proto::{mount, nfs3};
use std::fs;

#[test]
fn two_tenants_share_nothing() {
    let world = World::new();
    let server = world.server();
    let [blue, green] = ["blue", "green"].map(|name| {
        let view = server.add_namespace(world.spec(name)).unwrap();
        assert_eq!((view.name.as_str(), view.state), (name, NamespaceState::Live));
        Nfs::connect(address(&view))
    });
    let ([mut blue, mut green], mut handles) = ([blue, green], Vec::new());
    for client in [&mut blue, &mut green] {
        let root = client.mount("/").unwrap();
        handles.push(client.create(&root, "file").unwrap());
    }
    assert!(world.folder.path().join("blue/file").exists());
    assert!(world.folder.path().join("green/file").exists());
    assert_eq!(green.getattr(&handles[0]), Err(nfs3::Error::Stale), "another tenant's handle");
    assert_eq!(blue.getattr(&handles[0]), Ok(0));
    let counters = server.namespace("blue").unwrap().counters.unwrap();
    assert_eq!((counters.connections, counters.mounted), (1, 1));
    drop((blue, green));
    stop(server);
    assert_eq!(open_below(world.folder.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_refused_leaves_nothing() {
    let world = World::new();
    let server = world.server();
    let blue = server.add_namespace(world.spec("blue")).unwrap();
    let taken = address(&blue);
    let mut events = server.events();

    let refused = |spec| server.add_namespace(spec).unwrap_err();
    let error = refused(world.spec("blue"));
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (ErrorCode::Exists, "namespace blue@1 exists already")
    );

    let mut spec = world.spec("green");
    spec.export.push(ExportSpec::new("/more", world.folder.path().join("missing")));
    let error = refused(spec);
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.to_string().contains("missing"), "{error}");

    let mut spec = world.spec("green");
    spec.listen[0].addr = taken;
    let error = refused(spec);
    assert_eq!(error.code(), ErrorCode::Exists);
    let expected = format!(
        "namespace green cannot listen at {taken}: namespace blue listens at {taken}: \
         listen at another address or port, or remove that one"
    );
    assert_eq!(error.to_string(), expected);

    // By its path, whichever it is of all.
    let clients = vec!["10.0.0.1/8".into()];
    let more = ExportSpec { clients, ..ExportSpec::new("/more", world.directory("more")) };
    let error = server.add_export("blue", more).unwrap_err();
    let expected = "namespace blue: export /more: clients: \"10.0.0.1/8\" has bits behind";
    assert!(error.to_string().starts_with(expected), "{error}");

    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spec = world.spec("green");
    spec.listen.push(holm::model::ListenSpec::new(other.local_addr().unwrap()));
    let error = refused(spec);
    assert_eq!(error.code(), ErrorCode::Failed);
    assert!(error.to_string().contains("another program listens there"), "{error}");

    let error = refused(world.spec("Green"));
    assert_eq!(error.code(), ErrorCode::Invalid);

    assert_eq!(server.namespaces().len(), 1);
    assert_eq!(events.try_next(), None);
    assert_eq!(open_below(&world.folder.path().join("green")), Vec::<std::path::PathBuf>::new());
    let keys = fs::read_to_string(world.state().join("namespaces")).unwrap();
    assert!(!keys.contains("green"), "a key of a namespace that never was");
    server.add_namespace(world.spec("green")).unwrap();
    stop(server);
}

#[test]
fn key_is_kept_by_a_restart_and_destroyed_with_the_namespace() {
    let world = World::new();
    let server = world.server();
    let mut client = Nfs::connect(address(&server.add_namespace(world.spec("blue")).unwrap()));
    let root = client.mount("/").unwrap();
    let file = client.create(&root, "file").unwrap();
    stop(server);

    let server = world.server();
    let mut client = Nfs::connect(address(&server.add_namespace(world.spec("blue")).unwrap()));
    assert_eq!(client.getattr(&file), Ok(0), "after a restart");

    let mut events = server.events();
    server.del_namespace("blue", Deadline::Never).unwrap();
    assert_eq!(events.try_next().unwrap().what, Happened::Draining);
    assert_eq!(events.try_next().unwrap().what, Happened::Gone);
    assert_eq!(events.try_next(), None);
    assert!(client.is_over());
    let mut client = Nfs::connect(address(&server.add_namespace(world.spec("blue")).unwrap()));
    for handle in [&root, &file] {
        assert_eq!(client.getattr(handle), Err(nfs3::Error::Stale), "of the namespace before");
    }
    let root = client.mount("/").unwrap();
    let file = client.lookup(&root, "file").unwrap();
    assert_eq!(client.getattr(&file), Ok(0));
    stop(server);

    let server = world.server();
    let mut client = Nfs::connect(address(&server.add_namespace(world.spec("blue")).unwrap()));
    assert_eq!(client.getattr(&file), Ok(0), "of the second namespace, after a restart");
    stop(server);
}

/// Also for who has not listened for a while, and whoever says it: the server or its registry.
#[test]
fn events_come_in_the_order_in_which_they_happened() {
    let world = World::new();
    let server = world.server();
    let mut events = server.events();
    let mut expected = Vec::new();
    for id in 1..=3 {
        let ns = server.add_namespace(NamespaceSpec { name: "blue".into(), ..Default::default() });
        assert_eq!(ns.unwrap().id, id);
        server.del_namespace("blue", Deadline::Never).unwrap();
        let all = [Happened::Created, Happened::Draining, Happened::Gone];
        expected.extend(all.map(|what| (Some(format!("blue@{id}")), what)));
    }
    let said = std::iter::from_fn(|| events.try_next()).map(|event| (event.ns, event.what));
    assert_eq!(said.collect::<Vec<_>>(), expected);
    stop(server);
}

#[test]
fn exports_come_and_go_while_it_is_served() {
    let world = World::new();
    let server = world.server();
    let mut client = Nfs::connect(address(&server.add_namespace(world.spec("blue")).unwrap()));
    assert_eq!(client.mount("/more").unwrap_err(), mount::Error::NoEnt);
    let more = world.directory("more");
    fs::write(more.join("file"), "four").unwrap();
    let view = server.add_export("blue", ExportSpec::new("/more", &more)).unwrap();
    assert_eq!(view.spec.path, "/more");
    let error = server.add_export("blue", ExportSpec::new("/more", &more)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Exists, "{error}");

    let root = client.mount("/more").unwrap();
    let file = client.lookup(&root, "file").unwrap();
    assert_eq!(client.getattr(&file), Ok(4));
    assert!(!open_below(&more).is_empty());
    server.del_export("blue", "/more", Deadline::Never).unwrap();
    assert_eq!(open_below(&more), Vec::<std::path::PathBuf>::new());
    assert_eq!(client.getattr(&file), Err(nfs3::Error::Stale));
    assert!(client.mount("/").is_ok(), "the other export");
    let error = server.del_export("blue", "/more", Deadline::Never).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
    let paths: Vec<_> =
        server.exports("blue").unwrap().into_iter().map(|it| it.spec.path).collect();
    assert_eq!(paths, ["/"]);

    // The same again: its handles are good again.
    server.add_export("blue", ExportSpec::new("/more", &more)).unwrap();
    assert_eq!(client.getattr(&file), Ok(4));
    stop(server);
}
