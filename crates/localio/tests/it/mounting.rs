//! From a URL to files.

use crate::world::{World, mount, options, url};
use holm_localio::{Access, Mount, Url};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

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
