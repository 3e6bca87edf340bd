//! Directories, names and links.

use crate::world::{World, mount};
use holm_localio::wire::{FileType, access};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[test]
fn names_come_and_go() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    let made = mount.make_directory("d", 0o755).unwrap();
    assert_eq!(made.attributes.file_type, FileType::Directory);
    mount.create("d/a", 0o600, true).unwrap().write_at(b"a", 0).unwrap();
    mount.link("d/a", "/d/b").unwrap();
    assert_eq!(mount.stat("d/b").unwrap().nlink, 2);
    mount.rename("d/b", "c").unwrap();
    assert_eq!(fs::read(directory.join("c")).unwrap(), b"a");
    mount.symlink("../else where", "d/l").unwrap();
    assert_eq!(mount.read_link("d/l").unwrap(), "../else where");
    assert_eq!(mount.stat("d/l").unwrap().file_type, FileType::SymLink);
    assert_eq!(mount.lookup("d").unwrap(), mount.lookup("./d/").unwrap());

    let names =
        |path| -> BTreeSet<_> { mount.list(path).unwrap().map(|e| e.unwrap().name).collect() };
    assert_eq!(names("d"), BTreeSet::from(["a".into(), "l".into()]));
    assert_eq!(mount.remove_directory("d").unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    mount.remove("d/a").unwrap();
    mount.remove("d/l").unwrap();
    mount.remove_directory("d").unwrap();
    assert_eq!(names(""), BTreeSet::from(["c".into()]));
    assert_eq!(mount.remove("d").unwrap_err().kind(), ErrorKind::NotFound);

    let rights = access::READ | access::MODIFY | access::EXECUTE;
    assert_eq!(mount.access("c", rights).unwrap(), access::READ | access::MODIFY);
    assert!(mount.fs_stat("").unwrap().total_bytes > 0);
    assert_eq!(mount.path_conf("").unwrap().name_max, 255);
}

#[test]
fn odd_names_are_names() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    let names = [
        OsStr::new("a b"),
        OsStr::new("100%"),
        OsStr::from_bytes(b"\xff\n\x01"),
        OsStr::new("..."),
    ];
    for name in names {
        mount.create(name, 0o600, true).unwrap();
        assert!(directory.join(name).exists());
    }
    let listed: BTreeSet<_> = mount.list("").unwrap().map(|entry| entry.unwrap().name).collect();
    assert_eq!(listed, names.iter().map(|name| name.to_os_string()).collect());
    for bad in ["..", "a/../b", "x\0"] {
        assert_eq!(mount.stat(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    let long = "x".repeat(300);
    assert_eq!(mount.stat(&long).unwrap_err().kind(), ErrorKind::InvalidFilename);
}

#[test]
fn links_are_not_followed() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    fs::create_dir(directory.join("d")).unwrap();
    fs::write(directory.join("d/a"), "a").unwrap();
    for (target, link) in [("d", "l"), ("loop", "loop"), ("/etc/passwd", "out")] {
        mount.symlink(target, link).unwrap();
    }
    for path in ["l/a", "loop/a", "loop"] {
        let error = mount.open(path, holm_localio::Access::Read).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    let error = mount.create("out", 0o600, false).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[test]
fn a_big_directory_is_listed_whole() {
    const FILES: usize = 4000;
    let world = World::new();
    let (address, directory) = world.files();
    for file in 0..FILES {
        fs::write(directory.join(format!("a file with a rather long name {file}")), "x").unwrap();
    }
    let mount = mount(address);
    let mut listed = BTreeSet::new();
    for entry in mount.list(Path::new("/")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!((entry.attributes.file_type, entry.attributes.size), (FileType::Regular, 1));
        assert!(listed.insert(entry.name));
    }
    assert_eq!(listed.len(), FILES);
    // While it goes away under us.
    let mut seen = 0;
    for entry in mount.list("").unwrap() {
        mount.remove(entry.unwrap().name).unwrap();
        seen += 1;
    }
    assert_eq!(seen, FILES);
    assert_eq!(mount.list("").unwrap().count(), 0);
}
