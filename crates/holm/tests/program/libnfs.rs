//! A program on libnfs copies trees in and out, and compares them.

use crate::world::{NOBODY, Server, World, install, is_root, skip_unless_root, succeeds};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn tree_goes_in_and_out_by_kernel_handles() {
    let world = World::new();
    let server = world.serve(&[]);
    round_trip(&world, &server, &world.served(), Client::Root);
    server.end();
}

#[test]
fn tree_goes_in_and_out_by_remembered_paths() {
    if skip_unless_root() {
        return;
    }
    let world = World::new();
    let merged = world.folder().join("merged");
    for directory in ["lower", "upper", "work", "merged"] {
        fs::create_dir(world.folder().join(directory)).unwrap();
    }
    fs::set_permissions(world.folder().join("upper"), PermissionsExt::from_mode(0o777)).unwrap();
    // A union without an index of its own has no handles.
    let mount = "mount -t overlay none merged \
                 -o lowerdir=lower,upperdir=upper,workdir=work,nfs_export=off,index=off";
    let server = world.serve_with_mounts(mount, &merged);
    round_trip(&world, &server, &server.sees(&merged), Client::Root);
    server.end();
}

#[test]
fn tree_goes_in_and_out_for_a_user_of_a_client() {
    if skip_unless_root() {
        return;
    }
    let world = World::new();
    let server = world.serve(&[]);
    round_trip(&world, &server, &world.served(), Client::User);
    server.end();
}

#[test]
fn tree_goes_in_and_out_of_an_ordinary_users_server() {
    let world = World::new();
    let server = world.serve_as_ordinary_user();
    round_trip(&world, &server, &world.served(), Client::OfOrdinaryUser);
    server.end();
}

/// Who copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Root, who is squashed.
    Root,
    User,
    /// Anybody, to a server that is an ordinary user's.
    OfOrdinaryUser,
}

fn round_trip(world: &World, server: &Server, served: &Path, client: Client) {
    let program = build(world);
    let (source, back) = (world.folder().join("source"), world.folder().join("back"));
    for directory in [&source, &back] {
        fs::create_dir(directory).unwrap();
    }
    make_tree(&source);
    let user = if client == Client::User { "&uid=1001&gid=1001" } else { "" };
    let run = |what: &str, directory: &Path| {
        let url = format!("{}{user}", server.url(""));
        succeeds(Command::new(&program).arg(what).arg(url).arg(directory));
    };
    run("put", &source);
    run("same", &source);
    run("get", &back);
    run("same", &back);
    same_trees(&source, served);
    same_trees(&source, &back);
    if is_root() {
        let owner = if client == Client::User { 1001 } else { NOBODY };
        assert_eq!(fs::metadata(served.join("1000000")).unwrap().uid(), owner);
    }
}

fn build(world: &World) -> PathBuf {
    install("libnfs-dev", "/usr/include/nfsc/libnfs.h");
    install("gcc", "/usr/bin/gcc");
    let program = world.folder().join("tree");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/tree.c");
    succeeds(Command::new("gcc").arg("-o").arg(&program).arg(source).arg("-lnfs"));
    program
}

/// Everything that a tree can have without being an administrator's.
fn make_tree(directory: &Path) {
    let mut state = 1u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(next).collect()
    };
    for size in [0, 1, 3, 4096, 4097, 1_000_000, 1 << 20, (5 << 20) + 3] {
        fs::write(directory.join(size.to_string()), noise(size)).unwrap();
    }
    let modes = [("private", 0o600), ("readonly", 0o444), ("set", 0o6755), ("shut", 0o400)];
    for (name, mode) in modes {
        fs::write(directory.join(name), name).unwrap();
        fs::set_permissions(directory.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let holes = fs::File::create(directory.join("holes")).unwrap();
    holes.set_len(30 << 20).unwrap();
    drop(holes);

    let names = directory.join("names");
    fs::create_dir(&names).unwrap();
    for name in
        [&b"with space"[..], b"line\nbreak", b"\xff\xfe\x80", b"...", b"%2e%2e", &[b'n'; 255]]
    {
        fs::write(names.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let links = directory.join("links");
    fs::create_dir(&links).unwrap();
    fs::hard_link(directory.join("4097"), links.join("hard")).unwrap();
    for (index, target) in ["../4096", "/etc/passwd", "nowhere", ".."].iter().enumerate() {
        symlink(target, links.join(index.to_string())).unwrap();
    }
    symlink(OsStr::from_bytes(&[b'x'; 700]), links.join("long")).unwrap();
    succeeds(Command::new("mkfifo").arg(directory.join("pipe")));
    drop(UnixListener::bind(directory.join("socket")).unwrap());

    let many = directory.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..300 {
        fs::write(many.join(format!("file number {number}")), number.to_string()).unwrap();
    }
    let deep = directory.join(vec!["deep"; 40].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("down"), "here").unwrap();
    let closed = directory.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), "x").unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
}

/// Compares them with other tools than the program under test uses.
fn same_trees(one: &Path, other: &Path) {
    let listed = |tree: &Path| {
        let form = "%P\\0%y %#m %n %l\\0";
        let listed =
            succeeds(Command::new("find").arg(".").args(["-printf", form]).current_dir(tree));
        let mut entries: Vec<Vec<u8>> = Vec::new();
        let mut fields = listed.stdout.split(|byte| *byte == 0);
        while let (Some(name), Some(rest)) = (fields.next(), fields.next()) {
            // Names of directories differ between file systems; the root's mode is its owner's.
            if !name.is_empty() && !rest.starts_with(b"d") {
                entries.push([name, b" ", rest].concat());
            }
        }
        entries.sort();
        entries
    };
    let (here, there) = (listed(one), listed(other));
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(String::from_utf8_lossy(here), String::from_utf8_lossy(there));
    }
    assert_eq!(here.len(), there.len());
    assert!(here.len() > 300);
    // Pipes and sockets have no content.
    let diff = ["-r", "--no-dereference", "--exclude=pipe", "--exclude=socket"];
    succeeds(Command::new("diff").args(diff).arg(one).arg(other));
}
