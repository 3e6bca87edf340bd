//! Tenants of one server, and exports of one tenant, that try each other's handles.

use crate::attacks::refuses;
use crate::calls::{self, fh, mode, place};
use crate::rpc::{Handle, Rpc};
use crate::world::{World, in_mounts_of_its_own, skip_unless_root, succeeds};
use holm::model::{ExportSpec, ListenSpec, NamespaceSpec, NamespaceView, Squash};
use holm::server::{Options, Server};
use holm_lifetime::Deadline;
use holm_nfs_proto::nfs3::{self, Call, Error};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn tenants_of_one_server_are_strangers() {
    let world = World::new();
    let (one, two) = (directory(&world, "one"), directory(&world, "two"));
    let server = Server::start(Options::new(world.state())).unwrap();
    let both = || vec![ExportSpec::new("/one", &one), ExportSpec::new("/two", &two)];
    let blue = server.add_namespace(tenant("blue", both())).unwrap();
    // It shows the same, under the same names.
    let green = server.add_namespace(tenant("green", both())).unwrap();

    let mut mine = Rpc::connect(port(&blue));
    let (of_one, of_two) = (mine.mount("/one").unwrap(), mine.mount("/two").unwrap());
    let file = mine.create(&of_one, b"file").unwrap();
    let mut theirs = Rpc::connect(port(&green));
    let their_root = theirs.mount("/one").unwrap();
    for handle in [&of_one, &of_two, &file] {
        refuses(&mut theirs, handle, &their_root, &[Error::Stale]);
    }
    // Nor do two exports of one tenant mix.
    let from = place(&of_one, b"file");
    let across = [
        Call::Rename(nfs3::RenameArgs { from, to: place(&of_two, b"file") }),
        Call::Link(nfs3::LinkArgs { file: fh(&file), link: place(&of_two, b"file") }),
    ];
    for call in &across {
        assert_eq!(mine.status(call), Error::XDev as u32, "{call:?}");
    }
    assert_eq!(fs::read_dir(&two).unwrap().count(), 0);

    // One that goes takes its handles with it: another of the name, with the same exports at the
    // same place, does not know them.
    server.del_namespace("blue", Deadline::Never).unwrap();
    let again = server.add_namespace(tenant("blue", both())).unwrap();
    let mut mine = Rpc::connect(port(&again));
    let root = mine.mount("/one").unwrap();
    refuses(&mut mine, &file, &root, &[Error::Stale]);

    // A server that ends and comes back does.
    let file = mine.lookup(&root, b"file").unwrap();
    server.stop(Deadline::Never).unwrap();
    drop(server);
    let server = Server::start(Options::new(world.state())).unwrap();
    let back = server.add_namespace(tenant("blue", both())).unwrap();
    assert!(Rpc::connect(port(&back)).getattr(&file).is_ok());
    // Without the export, its handles are of nothing.
    server.del_export("blue", "/one", Deadline::Never).unwrap();
    let mut mine = Rpc::connect(port(&back));
    let root = mine.mount("/two").unwrap();
    refuses(&mut mine, &file, &root, &[Error::Stale]);
    server.stop(Deadline::Never).unwrap();
}

#[test]
fn who_is_squashed_is_nobody_else_whatever_it_says() {
    if skip_unless_root() {
        return;
    }
    let world = World::new();
    let shown = directory(&world, "shown");
    fs::write(shown.join("roots"), "secret").unwrap();
    fs::set_permissions(shown.join("roots"), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(Options::new(world.state())).unwrap();
    let export = ExportSpec {
        squash: Squash::All,
        anon_uid: 3001,
        anon_gid: 3002,
        ..ExportSpec::new("/", &shown)
    };
    let blue = server.add_namespace(tenant("blue", vec![export])).unwrap();
    let liars =
        [(0, 0, &[0][..]), (1001, 0, &[]), (u32::MAX, u32::MAX, &[u32::MAX]), (3001, 0, &[0, 1])];
    for (number, (uid, gid, groups)) in liars.into_iter().enumerate() {
        let mut liar = Rpc::connect_as(port(&blue), uid, gid, groups);
        let root = liar.mount("/").unwrap();
        let secret = liar.lookup(&root, b"roots").unwrap();
        assert_eq!(liar.read(&secret, 0, 9), Err(Error::Acces));
        let own = liar.create(&root, format!("own {number}").as_bytes()).unwrap();
        let told = liar.getattr(&own).unwrap();
        assert_eq!((told.uid, told.gid), (3001, 3002));
        let take = nfs3::SetAttributes { uid: Some(0), gid: Some(0), ..Default::default() };
        let mut take = |object| {
            let call = nfs3::SetAttrArgs { object: fh(object), new_attributes: take, guard: None };
            liar.status(&Call::SetAttr(call))
        };
        assert_eq!(take(&secret), Error::Perm as u32, "{uid} {gid}");
        // Who says that it is root has it already, as whom it is here.
        let expected = if (uid, gid) == (0, 0) { 0 } else { Error::Perm as u32 };
        assert_eq!(take(&own), expected, "{uid} {gid}");
        let told = liar.getattr(&own).unwrap();
        assert_eq!((told.uid, told.gid), (3001, 3002));
        for call in calls::with_name(&root, b"device", &own, b"roots") {
            if let Call::MkNod(args) = &call
                && matches!(args.what, nfs3::MkNodData::Character(_) | nfs3::MkNodData::Block(_))
            {
                assert_eq!(liar.status(&call), Error::Perm as u32);
            }
        }
    }
    assert_eq!(fs::metadata(shown.join("roots")).unwrap().uid(), 0);
    assert_eq!(fs::read(shown.join("roots")).unwrap(), b"secret");
    server.stop(Deadline::Never).unwrap();
}

#[test]
fn what_is_mounted_below_is_of_the_export_if_it_says_so() {
    in_mounts_of_its_own("strangers::what_is_mounted_below_is_of_the_export_if_it_says_so", || {
        let world = World::new();
        let (shown, outside) = (directory(&world, "shown"), directory(&world, "outside"));
        fs::write(outside.join("bound file"), "bound").unwrap();
        let (bound, other) = (shown.join("bound"), shown.join("other"));
        for point in [&bound, &other] {
            fs::create_dir(point).unwrap();
        }
        succeeds(Command::new("mount").arg("--bind").args([&outside, &bound]));
        succeeds(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&other));
        fs::write(other.join("file"), "mounted").unwrap();
        let server = Server::start(Options::new(world.state())).unwrap();
        let crossed = ExportSpec { cross_mounts: true, ..ExportSpec::new("/crossed", &shown) };
        let exports = vec![crossed, ExportSpec::new("/closed", &shown)];
        let blue = server.add_namespace(tenant("blue", exports)).unwrap();
        let mut rpc = Rpc::connect(port(&blue));

        let closed = rpc.mount("/closed").unwrap();
        for point in [&b"bound"[..], b"other"] {
            assert_eq!(rpc.lookup(&closed, point), Err(Error::Acces));
        }
        let root = rpc.mount("/crossed").unwrap();
        let read = |rpc: &mut Rpc, point: &[u8], name: &[u8]| -> (Handle, Handle, Vec<u8>) {
            let dir = rpc.lookup(&root, point).unwrap();
            let file = rpc.lookup(&dir, name).unwrap();
            let content = rpc.read(&file, 0, 100).unwrap();
            (dir, file, content)
        };
        let (there, file, content) = read(&mut rpc, b"other", b"file");
        assert_eq!(content, b"mounted");
        assert_eq!(read(&mut rpc, b"bound", b"bound file").2, b"bound");
        // Its handles are of this export only, and the way up is that of the export.
        let abroad = Call::Rename(nfs3::RenameArgs {
            from: place(&there, b"file"),
            to: place(&closed, b"stolen"),
        });
        assert_eq!(rpc.status(&abroad), Error::XDev as u32);
        let bound_dir = rpc.lookup(&root, b"bound").unwrap();
        for dir in [&there, &bound_dir] {
            let above = rpc.lookup(dir, b"..").unwrap();
            assert_eq!(rpc.getattr(&above).unwrap().fileid, rpc.getattr(&root).unwrap().fileid);
            assert_eq!(rpc.lookup(&above, b"outside"), Err(Error::NoEnt));
        }
        // Another file system is another one: nothing is moved or linked there.
        let made = rpc.create(&root, b"made").unwrap();
        let link = Call::Link(nfs3::LinkArgs { file: fh(&made), link: place(&there, b"link") });
        assert_eq!(rpc.status(&link), Error::XDev as u32);
        // Gone with its mount, within a second: what is beneath is another directory.
        succeeds(Command::new("umount").arg("--lazy").arg(&other));
        fs::write(other.join("file"), "beneath").unwrap();
        while rpc.getattr(&file) != Err(Error::Stale) {}
        while rpc.read(&file, 0, 9) != Err(Error::Stale) {}
        let call = nfs3::SetAttrArgs { object: fh(&file), new_attributes: mode(0), guard: None };
        assert_eq!(rpc.status(&Call::SetAttr(call)), Error::Stale as u32);
        assert_eq!(fs::read(other.join("file")).unwrap(), b"beneath");
        server.stop(Deadline::Never).unwrap();
    });
}

fn directory(world: &World, name: &str) -> PathBuf {
    let directory = world.folder().join(name);
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    directory
}

/// A tenant that listens somewhere on this machine.
pub fn tenant(name: &str, export: Vec<ExportSpec>) -> NamespaceSpec {
    let listen = vec![ListenSpec::new("127.0.0.1:0".parse().unwrap())];
    NamespaceSpec { name: name.into(), export, listen, ..NamespaceSpec::default() }
}

pub fn port(ns: &NamespaceView) -> u16 {
    ns.listeners[0].local.port()
}
