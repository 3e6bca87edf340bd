//! What a tenant tries against a running server, to reach what is not its own.

use crate::calls::{self, fh, mode, place};
use crate::rpc::{Handle, Rpc};
use crate::world::{Server, World, is_root, skip_unless_root};
use holm_nfs_proto::nfs3::{self, Call, Error};
use holm_xdr::Opaque;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn no_handle_is_taken_that_was_not_given() {
    everywhere(|world, server| {
        let other = World::new();
        // Another tenant, which shows the same directory.
        let neighbour = Server::start(other.command(&world.served(), &[]));
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let handles =
            ["dir", "file", "link"].map(|name| rpc.lookup(&root, name.as_bytes()).unwrap());
        let before = tree(world.folder());
        for handle in handles.iter().chain([&root]) {
            for bit in 0..handle.len() * 8 {
                let mut forged = handle.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                refuses(&mut rpc, &forged, &root, &[Error::Stale, Error::BadHandle]);
            }
            for length in 0..handle.len() {
                refuses(&mut rpc, &handle[..length], &root, &[Error::Stale, Error::BadHandle]);
            }
            let mut longer = handle.clone();
            longer.resize(64, 0);
            refuses(&mut rpc, &longer, &root, &[Error::Stale, Error::BadHandle]);
            // What one handle begins with, and another ends with.
            for other in handles.iter().filter(|other| *other != handle) {
                let mixed = [&handle[..handle.len() / 2], &other[other.len() / 2..]].concat();
                refuses(&mut rpc, &mixed, &root, &[Error::Stale, Error::BadHandle]);
            }
            // As good as it is, it is of another tenant.
            let mut abroad = Rpc::connect(neighbour.port);
            let its_root = abroad.mount("/").unwrap();
            refuses(&mut abroad, handle, &its_root, &[Error::Stale]);
        }
        assert_eq!(tree(world.folder()), before);
        assert_eq!(rpc.read(&handles[1], 0, 100).unwrap(), b"content");
        neighbour.end();
    });
}

#[test]
fn no_name_leads_anywhere_but_into_its_directory() {
    everywhere(|world, server| {
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let dir = rpc.lookup(&root, b"dir").unwrap();
        let inside = rpc.lookup(&dir, b"inside").unwrap();
        let before = tree(world.folder());
        let long = [b'n'; 256];
        let names = [
            &b""[..],
            b"/",
            b"//",
            b"\0",
            b"..\0",
            b"inside\0",
            b"\0..",
            b"../file",
            b"../../outside",
            b"./inside",
            b"inside/",
            b"inside/..",
            b"/etc/passwd",
            b"../link/secret",
            b"a/b",
            &long,
            &[b'/'; 4096],
            &[b'.'; 300],
        ];
        for name in names {
            for call in calls::with_name(&dir, name, &inside, b"inside") {
                let status = rpc.status(&call);
                let refused = [Error::Acces, Error::NameTooLong].map(|error| error as u32);
                assert!(refused.contains(&status), "{status} {call:?}");
            }
        }
        for name in [&b"."[..], b".."] {
            for (dir, known) in [(&dir, &b"inside"[..]), (&root, b"file")] {
                for call in calls::with_name(dir, name, &inside, known).iter().skip(1) {
                    let status = rpc.status(call);
                    let refused = [Error::Exist, Error::Inval].map(|error| error as u32);
                    assert!(refused.contains(&status), "{status} {call:?}");
                }
            }
        }
        let own = rpc.getattr(&root).unwrap().fileid;
        for up in [&root, &dir] {
            let above = rpc.lookup(up, b"..").unwrap();
            assert_eq!(rpc.getattr(&above).unwrap().fileid, own);
            assert_eq!(rpc.lookup(&above, b"outside"), Err(Error::NoEnt));
        }
        for path in
            ["/..", "/../outside", "/dir/../..", "/link", "/link/", "/dir/../../outside", "/file"]
        {
            assert!(rpc.mount(path).is_err(), "{path}");
        }
        // A symbolic link is one, for every procedure.
        let link = rpc.lookup(&root, b"link").unwrap();
        for call in calls::with_name(&link, b"secret", &inside, b"inside") {
            assert_ne!(rpc.status(&call), 0, "{call:?}");
        }
        assert_eq!(rpc.read(&link, 0, 100), Err(Error::Inval));
        let cut = nfs3::SetAttributes { size: Some(0), mode: Some(0o777), ..Default::default() };
        let call = nfs3::SetAttrArgs { object: fh(&link), new_attributes: cut, guard: None };
        assert_eq!(rpc.status(&Call::SetAttr(call)), Error::Inval as u32);
        assert_eq!(tree(world.folder()), before);
    });
}

#[test]
fn a_directory_that_keeps_becoming_a_link_is_never_left() {
    everywhere(|world, server| {
        let (dir, link) = (world.served().join("dir"), world.served().join("link"));
        let outside = world.folder().join("outside");
        let before = tree(&outside);
        let reached = AtomicU64::new(0);
        while_swapping(&dir, &link, || {
            std::thread::scope(|scope| {
                for number in 0..3 {
                    let reached = &reached;
                    scope.spawn(move || {
                        let mut rpc = Rpc::connect(server.port);
                        let root = rpc.mount("/").unwrap();
                        let own = format!("own {number}");
                        for _ in 0..60 {
                            reached.fetch_add(
                                race(&mut rpc, &root, own.as_bytes()),
                                Ordering::Relaxed,
                            );
                        }
                    });
                }
            });
        });
        assert_eq!(tree(&outside), before);
        // Otherwise nothing was tried.
        assert!(reached.load(Ordering::Relaxed) > 100, "{reached:?}");
    });
}

/// Does everything by the names of what changes; says how much of it was done.
fn race(rpc: &mut Rpc, root: &[u8], own: &[u8]) -> u64 {
    let mut done = 0;
    let Ok(handle) = rpc.lookup(root, b"dir") else { return 0 };
    if let Ok(file) = rpc.lookup(&handle, b"inside") {
        let read = rpc.read(&file, 0, 100);
        assert!(!read.is_ok_and(|read| read == b"secret"), "what is outside was read");
    }
    assert!(rpc.lookup(&handle, b"secret").is_err());
    if let Ok(listed) = rpc.list(&handle, 0, [0; 8]) {
        assert!(listed.entries.iter().all(|(name, _)| name != b"secret"));
    }
    // It exists on both sides, and is there to be damaged.
    let victim = rpc.create(&handle, b"victim");
    for call in calls::with_name(&handle, own, victim.as_deref().unwrap_or(root), b"victim") {
        done += u64::from(rpc.status(&call) == 0);
    }
    for name in [own, b"victim"] {
        let object = place(&handle, name);
        for call in
            [Call::Remove(nfs3::RemoveArgs { object }), Call::RmDir(nfs3::RemoveArgs { object })]
        {
            done += u64::from(rpc.status(&call) == 0);
        }
    }
    let times = nfs3::SetAttributes { mtime: nfs3::SetTime::ServerTime, ..mode(0o777) };
    let call = nfs3::SetAttrArgs { object: fh(&handle), new_attributes: times, guard: None };
    done += u64::from(rpc.status(&Call::SetAttr(call)) == 0);
    if let Ok(mounted) = rpc.mount("/dir") {
        assert!(rpc.lookup(&mounted, b"secret").is_err());
    }
    done
}

#[test]
fn a_second_name_for_a_link_is_none_for_what_it_leads_to() {
    everywhere(|world, server| {
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let before = tree(&world.folder().join("outside"));
        for (name, target) in
            [(&b"one"[..], "outside/secret"), (b"two", "outside"), (b"three", "absent")]
        {
            let target = world.folder().join(target);
            let symlink = Call::SymLink(nfs3::SymLinkArgs {
                place: place(&root, name),
                symlink_attributes: mode(0o777),
                symlink_data: Opaque::new(target.as_os_str().as_encoded_bytes()).unwrap(),
            });
            assert_eq!(rpc.status(&symlink), 0);
            let link = rpc.lookup(&root, name).unwrap();
            let second = [name, b" again"].concat();
            let args = nfs3::LinkArgs { file: fh(&link), link: place(&root, &second) };
            assert_eq!(rpc.status(&Call::Link(args)), 0);
            let found = rpc.lookup(&root, &second).unwrap();
            let told = rpc.getattr(&found).unwrap();
            assert_eq!(told.file_type, nfs3::FileType::SymLink);
            assert_eq!((told.fileid, told.nlink), (rpc.getattr(&link).unwrap().fileid, 2));
        }
        assert_eq!(tree(&world.folder().join("outside")), before);
    });
}

#[test]
fn what_was_moved_out_is_gone_until_it_comes_back() {
    everywhere(|world, server| {
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let dir = rpc.lookup(&root, b"dir").unwrap();
        let (deep, inside) =
            (rpc.lookup(&dir, b"deep").unwrap(), rpc.lookup(&dir, b"inside").unwrap());
        let (here, there) = (world.served().join("dir"), world.folder().join("moved"));
        fs::rename(&here, &there).unwrap();
        let before = tree(&there);
        // What is kept open is looked for again within a second.
        for handle in [&dir, &deep, &inside] {
            while rpc.getattr(handle) != Err(Error::Stale) {}
            while rpc.read(handle, 0, 1) != Err(Error::Stale) {}
            while rpc.list(handle, 0, [0; 8]).err() != Some(Error::Stale) {}
        }
        for handle in [&dir, &deep, &inside] {
            refuses(&mut rpc, handle, &root, &[Error::Stale]);
        }
        // A link in its place shows it to nobody.
        symlink(&there, &here).unwrap();
        for handle in [&dir, &deep, &inside] {
            refuses(&mut rpc, handle, &root, &[Error::Stale]);
        }
        fs::remove_file(&here).unwrap();
        assert_eq!(tree(&there), before);
        fs::rename(&there, &here).unwrap();
        assert_eq!(rpc.lookup(&deep, b"..").map(|dir| rpc.getattr(&dir)), Ok(rpc.getattr(&dir)));
        assert_eq!(rpc.read(&inside, 0, 100).unwrap(), b"inside");
    });
}

#[test]
fn a_way_up_that_keeps_leaving_the_export_shows_nothing_beyond() {
    everywhere(|world, server| {
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let dir = rpc.lookup(&root, b"dir").unwrap();
        let deep = rpc.lookup(&dir, b"deep").unwrap();
        let elsewhere = world.folder().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let inside = [&root, &dir].map(|handle| rpc.getattr(handle).unwrap().fileid);
        let mut found = 0;
        while_swapping(&world.served().join("dir"), &elsewhere, || {
            for round in 0..8000 {
                // By way of what moves, or lies in it, as far up as it goes.
                let mut reached: Handle = [&dir, &deep][round % 2].clone();
                for _ in 0..3 {
                    match rpc.lookup_what(&reached, b"..") {
                        Ok((above, attributes)) => {
                            assert!(inside.contains(&attributes.unwrap().fileid));
                            reached = above;
                            found += 1;
                        }
                        Err(Error::Stale) => break,
                        Err(other) => panic!("{other}"),
                    }
                    assert!(rpc.lookup(&reached, b"outside").is_err());
                }
            }
        });
        assert!(found > 0, "it was never inside: nothing was tried");
    });
}

#[test]
fn what_is_mounted_below_is_not_of_the_export() {
    if skip_unless_root() {
        return;
    }
    let world = prepared(World::new());
    for point in ["bound", "tmpfs"] {
        fs::create_dir(world.served().join(point)).unwrap();
        fs::write(world.served().join(point).join("beneath"), "").unwrap();
    }
    // One of the same file system, and another.
    let script = "mount --bind outside served/bound; mount -t tmpfs none served/tmpfs; \
                  echo secret > served/tmpfs/secret";
    let server = world.serve_with_mounts(script, &world.served());
    let mut rpc = Rpc::connect(server.port);
    let root = rpc.mount("/").unwrap();
    let dir = rpc.lookup(&root, b"dir").unwrap();
    let inside = rpc.lookup(&dir, b"inside").unwrap();
    let before = tree(&server.sees(&world.served()));
    for point in [&b"bound"[..], b"tmpfs"] {
        assert_eq!(rpc.lookup(&root, point), Err(Error::Acces));
        let path = format!("/{}", String::from_utf8_lossy(point));
        assert!(rpc.mount(&path).is_err());
        for call in calls::with_name(&root, point, &inside, b"dir") {
            assert_ne!(rpc.status(&call), 0, "{call:?}");
        }
        let from = place(&root, point);
        let moved = Call::Rename(nfs3::RenameArgs { from, to: place(&dir, b"moved") });
        assert_ne!(rpc.status(&moved), 0);
    }
    let listed = rpc.list(&root, 0, [0; 8]).unwrap();
    for (name, handle) in &listed.entries {
        let is_mounted = name == b"bound" || name == b"tmpfs";
        assert_eq!(handle.is_none(), is_mounted, "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(tree(&server.sees(&world.served())), before);
    assert_eq!(fs::read(world.folder().join("outside/secret")).unwrap(), b"secret");
    server.end();
}

#[test]
fn cookies_that_nobody_gave_list_nothing_that_is_not_there() {
    everywhere(|world, server| {
        for number in 0..300 {
            fs::write(world.served().join(format!("dir/{number}")), "").unwrap();
        }
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let dir = rpc.lookup(&root, b"dir").unwrap();
        let first = rpc.list(&dir, 0, [0; 8]).unwrap();
        let names: Vec<Vec<u8>> = fs::read_dir(world.served().join("dir"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_encoded_bytes())
            .chain([b".".to_vec(), b"..".to_vec()])
            .collect();
        let edges = [
            1,
            2,
            3,
            u64::from(u32::MAX),
            1 << 62,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ];
        let mut any = 1u64;
        let random = std::iter::repeat_with(|| {
            any = any.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            any.rotate_left(23)
        });
        for cookie in edges.into_iter().chain(random.take(500)) {
            match rpc.list(&dir, cookie, first.verifier) {
                Ok(listed) => {
                    for (name, _) in listed.entries {
                        assert!(names.contains(&name), "{}", String::from_utf8_lossy(&name));
                    }
                }
                Err(error) => assert!([Error::BadCookie, Error::Inval].contains(&error), "{error}"),
            }
            assert_eq!(rpc.list(&dir, cookie, [0x55; 8]).err(), Some(Error::BadCookie));
        }
    });
}

#[test]
fn nobody_is_root_by_saying_so() {
    if skip_unless_root() {
        return;
    }
    let world = prepared(World::new());
    let secret = world.served().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    let server = world.serve(&[]);
    let before = tree(world.folder());
    let all = [0; 16];
    for (uid, gid, groups) in [
        (0, 0, &[][..]),
        (0, 0, &all),
        (1001, 0, &[]),
        (1001, 1001, &all),
        (u32::MAX, u32::MAX, &[u32::MAX]),
        (u32::MAX, 0, &[0]),
    ] {
        let mut liar = Rpc::connect_as(server.port, uid, gid, groups);
        let root = liar.mount("/").unwrap();
        let file = liar.lookup(&root, b"secret").unwrap();
        assert_eq!(liar.read(&file, 0, 100), Err(Error::Acces), "{uid} {gid}");
        for new_attributes in [
            mode(0o666),
            nfs3::SetAttributes { uid: Some(1001), ..Default::default() },
            nfs3::SetAttributes { gid: Some(1001), ..Default::default() },
            nfs3::SetAttributes { size: Some(0), ..Default::default() },
        ] {
            let object = fh(&file);
            let call = Call::SetAttr(nfs3::SetAttrArgs { object, new_attributes, guard: None });
            assert_ne!(liar.status(&call), 0, "{uid} {gid} {new_attributes:?}");
        }
        let device = calls::with_name(&root, b"device", &file, b"file").into_iter().filter(
            |call| match call {
                Call::MkNod(args) => {
                    !matches!(args.what, nfs3::MkNodData::Fifo(_) | nfs3::MkNodData::Socket(_))
                }
                _ => false,
            },
        );
        for call in device {
            assert_eq!(liar.status(&call), Error::Perm as u32, "{uid} {gid}");
        }
    }
    assert_eq!(tree(world.folder()), before);
    server.end();
}

#[test]
fn what_is_no_call_ends_its_connection_and_disturbs_nobody() {
    everywhere(|world, server| {
        let mut rpc = Rpc::connect(server.port);
        let root = rpc.mount("/").unwrap();
        let before = tree(world.folder());
        let mut any = 7u32;
        for round in 0..200 {
            let mut bytes = vec![0; 4 + round * 7];
            for byte in &mut bytes {
                any = any.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (any >> 24) as u8;
            }
            if round % 2 == 0 {
                // A record of that length, so that it is looked into.
                let length = (bytes.len() as u32 - 4) | 1 << 31;
                bytes[..4].copy_from_slice(&length.to_be_bytes());
            }
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            // It may have had enough before the end.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.len() <= 64, "{} bytes for nothing", answer.len());
            assert!(rpc.getattr(&root).is_ok());
        }
        assert_eq!(tree(world.folder()), before);
    });
}

/// With a server that is root, and with one of an ordinary user.
fn everywhere(attack: impl Fn(&World, &Server)) {
    let world = prepared(World::new());
    let server = world.serve(&[]);
    attack(&world, &server);
    server.end();
    if is_root() {
        let world = prepared(World::new());
        let server = world.serve_as_ordinary_user();
        attack(&world, &server);
        server.end();
    }
}

/// Something to reach inside, and something outside that is out of reach.
fn prepared(world: World) -> World {
    let (served, outside) = (world.served(), world.folder().join("outside"));
    let dir = served.join("dir");
    fs::create_dir_all(dir.join("deep")).unwrap();
    fs::create_dir(&outside).unwrap();
    for (file, content) in [
        (served.join("file"), "content"),
        (dir.join("inside"), "inside"),
        (dir.join("victim"), "inside"),
        (outside.join("inside"), "secret"),
        (outside.join("secret"), "secret"),
        (outside.join("victim"), "secret"),
    ] {
        fs::write(&file, content).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o666)).unwrap();
    }
    symlink(&outside, served.join("link")).unwrap();
    for directory in [&dir, &outside] {
        fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
        if is_root() {
            // It would be allowed to change all of it.
            chown(directory, Some(crate::world::NOBODY), Some(crate::world::NOBODY)).unwrap();
        }
    }
    world
}

/// None of the procedures does anything with the handle.
pub fn refuses(rpc: &mut Rpc, handle: &[u8], good: &[u8], errors: &[Error]) {
    for call in calls::with_handle(handle, good) {
        let status = rpc.status(&call);
        let known = errors.iter().any(|error| *error as u32 == status);
        assert!(known, "{}: {status}, not {errors:?}", call.procedure().name());
    }
}

/// Runs `work` while another thread makes two things change places, again and again.
fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                // The other processes have two processors at most.
                std::thread::yield_now();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Everything there is to be changed of a tree, without what the server keeps.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let own = path.symlink_metadata().unwrap();
        let content = if own.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            left.extend(
                entries.filter(|entry| !entry.ends_with("state") && !entry.ends_with("holm")),
            );
            String::new()
        } else if own.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            String::from_utf8(fs::read(&path).unwrap()).unwrap()
        };
        let (inode, mode, owner) = (own.ino(), own.mode(), own.uid());
        let changed = (own.mtime(), own.mtime_nsec());
        found.insert(path, format!("{inode} {mode:o} {owner} {changed:?} {content}"));
    }
    found
}
