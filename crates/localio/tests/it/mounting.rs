//! From a URL to files.

use crate::proxy::{Fate, Message, receive, start, word};
use crate::world::{World, mount, options, url};
use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
use holm_localio::{Access, Mount, Url};
use holm_nfs_proto::mount::PROGRAM as MOUNT;
use holm_nfs_proto::{nfs3, portmap};
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn the_longest_export_is_mounted() {
    let world = World::new();
    let [outer, inner] = ["outer", "inner"].map(|name| world.directory(name));
    fs::create_dir(outer.join("in")).unwrap();
    fs::create_dir_all(inner.join("deep/er")).unwrap();
    fs::write(inner.join("deep/er/file"), "found").unwrap();
    let exports = [("/out", &*outer), ("/out/in", &inner)];
    let address = world.serve("blue", &exports, "127.0.0.1:0");

    for (path, export) in [
        ("/out", "/out"),
        ("/out/nothing/there", "/out"),
        ("/out/inner", "/out"),
        ("/out/in", "/out/in"),
        ("/out/in/deep", "/out/in"),
    ] {
        let mount = Mount::new(&url(address, path), &options()).unwrap();
        assert_eq!(mount.export(), Path::new(export), "{path}");
    }
    let deep = Mount::new(&url(address, "/out/in/deep"), &options()).unwrap();
    let mut content = [0; 5];
    assert_eq!(deep.open("er/file", Access::Read).unwrap().read_at(&mut content, 0).unwrap(), 5);
    assert_eq!(&content, b"found");
    // A URL may name a file, or what is to be one.
    let file = Mount::new(&url(address, "/out/in/deep/er/file"), &options()).unwrap();
    assert_eq!(file.stat("").unwrap().size, 5);
    let new = Mount::new(&url(address, "/out/in/deep/new"), &options()).unwrap();
    assert_eq!(new.stat("").unwrap_err().kind(), ErrorKind::NotFound);
    fs::set_permissions(inner.join("deep"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    new.create("", 0o600, true).unwrap();
    new.rename("", "").unwrap();
    assert!(inner.join("deep/new").exists());
    let root = Mount::new(&url(address, "/out"), &options()).unwrap();
    assert_eq!(root.remove("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let world = World::new();
    let directory = world.directory("d");
    let address = world.serve("blue", &[("/out", &directory)], "127.0.0.1:0");
    let error = Mount::new(&url(address, "/else"), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let said = error.to_string();
    assert!(said.contains(&format!("mount nfs://{address}/else: ")), "{said}");
    assert!(said.contains("the server exports /out"), "{said}");

    // Nobody is there; a moment ago somebody was.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let error = Mount::new(&url(nobody, "/"), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(error.to_string().contains("is the server running"), "{error}");

    let nowhere: Url = "nfs://no-such-host.invalid/".parse().unwrap();
    let error = Mount::new(&nowhere, &options()).unwrap_err().to_string();
    assert!(error.contains("mount nfs://no-such-host.invalid/"), "{error}");
}

#[test]
fn exports_for_privileged_ports_are_for_root() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let world = World::new();
    let mut export = ExportSpec::new("/", world.directory("d"));
    export.privileged_port = true;
    let spec = NamespaceSpec {
        name: "blue".into(),
        export: vec![export],
        listen: vec![ListenSpec::new("127.0.0.1:0".parse().unwrap())],
        ..NamespaceSpec::default()
    };
    let address = world.server.add_namespace(spec).unwrap().listeners[0].local;
    mount(address).create("a", 0o600, true).unwrap();

    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let uid = rustix::process::Uid::from_raw(1000);
            // Of this thread alone.
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            Mount::new(&url(address, "/"), &options()).unwrap_err()
        });
        let error = other.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.to_string().contains("this client's address, port or user"), "{error}");
    });
}

/// At no port, not even the usual one: then the server's port mapper knows.
#[test]
fn without_a_port_the_port_mapper_is_asked() {
    // An address at which nobody else serves.
    const HOST: &str = "127.83.1.7";
    if TcpStream::connect((HOST, nfs3::PORT)).is_ok() {
        return eprintln!("skipped: somebody serves at every address");
    }
    let Ok(mapper) = TcpListener::bind((HOST, portmap::PORT)) else {
        return eprintln!("skipped: needs root, and no port mapper here");
    };
    let world = World::new();
    let directory = world.directory("d");
    let port = world.serve("blue", &[("/", &directory)], &format!("{HOST}:0")).port();
    let url = Url::new(HOST, None, "/").unwrap();
    let answer = |port| answer_once(&mapper, port);
    thread::scope(|scope| {
        let mapper = scope.spawn(|| answer(port));
        let mount = Mount::new(&url, &options()).unwrap();
        assert_eq!(mount.address().port(), port);
        mount.create("a", 0o600, true).unwrap();
        assert!(directory.join("a").exists());
        let get_port = [portmap::PROGRAM, 2, portmap::Procedure::GetPort.number()];
        let nfs_by_tcp = [nfs3::PROGRAM, nfs3::VERSION, portmap::TCP, 0];
        assert_eq!(mapper.join().unwrap(), (get_port, nfs_by_tcp));

        // It knows of none.
        let mapper = scope.spawn(|| answer(0));
        let error = Mount::new(&url, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        mapper.join().unwrap();
    });
}

/// Answers a call with a port, and gives its program, version and procedure, and its arguments.
fn answer_once(mapper: &TcpListener, port: u16) -> ([u32; 3], [u32; 4]) {
    let (mut stream, _) = mapper.accept().unwrap();
    let call = receive(&mut stream).unwrap();
    let word = |at| word(&call, at);
    // The transaction; a reply that is accepted, with nothing to verify it by, and has succeeded.
    let reply = [word(0), 1, 0, 0, 0, 0, port.into()];
    let record = [0x8000_0000 | (4 * reply.len() as u32)].into_iter().chain(reply);
    let bytes: Vec<u8> = record.flat_map(u32::to_be_bytes).collect();
    stream.write_all(&bytes).unwrap();
    let arguments = call.len() - 16;
    ([12, 16, 20].map(word), [0, 4, 8, 12].map(|at| word(arguments + at)))
}

/// A server with MOUNT at a port of its own, and nobody to ask for it.
#[test]
fn mount_is_where_the_url_says() {
    let world = World::new();
    let directory = world.directory("d");
    let server = world.serve("blue", &[("/", &directory)], "127.0.0.1:0");
    // As the proxy numbers its procedures.
    let is_mount = |message: &Message<'_>| message.procedure >= MOUNT;
    let nfs =
        start(server, move |message| if is_mount(message) { Fate::Cut } else { Fate::Passes });
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    let elsewhere = start(server, move |message| {
        assert!(is_mount(message));
        counts.fetch_add(1, Ordering::Relaxed);
        Fate::Passes
    });
    let at = |port| format!("nfs://{nfs}/new?mountport={port}").parse().unwrap();
    let mut options = options();
    let mount = Mount::new(&at(elsewhere.port()), &options).unwrap();
    mount.create("", 0o600, true).unwrap();
    assert!(directory.join("new").exists());
    assert!(asked.load(Ordering::Relaxed) > 0);
    options.patience = Duration::from_secs(1);
    let without = Mount::new(&format!("nfs://{nfs}/new").parse().unwrap(), &options);
    assert!(without.is_err());
    // Nobody is there.
    let error = Mount::new(&at(1), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

/// More than the clock can say.
#[test]
fn patience_has_an_end() {
    let world = World::new();
    let (address, _) = world.files();
    let mut options = options();
    options.patience = Duration::MAX;
    Mount::new(&url(address, "/"), &options).unwrap().create("a", 0o600, true).unwrap();
}

#[test]
fn ipv6_is_an_address() {
    let world = World::new();
    let directory = world.directory("d");
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return eprintln!("skipped: no IPv6 here");
    };
    drop(listener);
    let address = world.serve("blue", &[("/", &directory)], "[::1]:0");
    let text = format!("nfs://{address}/");
    let mount = Mount::new(&text.parse().unwrap(), &options()).unwrap();
    mount.create("a", 0o600, true).unwrap();
    assert!(directory.join("a").exists());
}

#[test]
fn paths_go_on_when_the_namespace_was_made_anew() {
    let world = World::new();
    let (address, directory) = world.files();
    fs::create_dir(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/a"), "a").unwrap();
    let mount = mount(address);
    let beneath = Mount::new(&url(address, "/sub"), &options()).unwrap();
    let old = mount.open("sub/a", Access::Read).unwrap();
    beneath.stat("a").unwrap();
    world.remove("blue");
    world.serve("blue", &[("/", &directory)], &address.to_string());
    // Another incarnation: no handle of the past means anything.
    let error = old.read_at(&mut [0], 0).unwrap_err();
    let stale = [ErrorKind::StaleNetworkFileHandle, ErrorKind::InvalidInput];
    assert!(stale.contains(&error.kind()), "{error}");
    for (mount, path) in [(&mount, "sub/a"), (&beneath, "a")] {
        let mut content = [0];
        mount.open(path, Access::Read).unwrap().read_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"a");
    }
}
