//! Whatever a client sends, and whatever happens meanwhile, stays beneath the export's root.

use crate::world::*;
use holm_nfsd::Status;
use holm_nfsd::attributes::Kind as ObjectKind;
use holm_nfsd::attributes::SetAttributes;
use holm_nfsd::beneath::Mounts;
use holm_nfsd::name::Component;
use holm_nfsd::volume::{Access, Create, Rights};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn symbolic_links_are_never_followed() {
    as_ordinary_user(|| {
        let (export, outside) = (Scratch::new(), Scratch::new());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink(outside.path(), export.path().join("out")).unwrap();
        symlink("/etc/passwd", export.path().join("passwd")).unwrap();
        symlink("..", export.path().join("up")).unwrap();
        for volume in
            [volume(export.path()), volume_with_paths(export.path(), Mounts::Crossed, memory())]
        {
            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                for link in ["out", "passwd", "up"] {
                    let node = volume.find_node(caller, &root, link).unwrap();
                    assert_eq!(node.kind(), ObjectKind::Symlink);
                    let lookup = volume.find_node(caller, &node, "secret");
                    assert_eq!(lookup.unwrap_err(), Status::NotDir);
                    let open = volume.open_file(caller, &node, Access::Read);
                    assert_eq!(open.unwrap_err(), Status::Inval);
                    assert_eq!(volume.open_directory(caller, &node).unwrap_err(), Status::NotDir);
                    let cut = SetAttributes { size: Some(0), ..Default::default() };
                    let cut = volume.set_attributes(caller, &node, &cut, None);
                    assert_eq!(cut, Err(Status::Inval));
                    let made = volume.create(
                        caller,
                        &root,
                        name(link),
                        &Create::Unchecked(SetAttributes { size: Some(0), ..mode(0o600) }),
                    );
                    assert_eq!(made.unwrap_err(), Status::Exist);
                    let made = volume.new_file(caller, &node, "planted");
                    assert_eq!(made.unwrap_err(), Status::NotDir);
                    let moved = volume.rename(caller, (&root, name(link)), (&node, name("x")));
                    assert_eq!(moved, Err(Status::NotDir));
                }
            });
        }
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    });
}

#[test]
fn the_way_up_ends_at_the_root() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            let volume = volume(&disk.export());
            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                let above = volume.lookup(caller, &root, Component::Parent).unwrap().0;
                assert_eq!(above.id(), root.id());
                let dir = volume.new_directory(caller, &root, "dir").unwrap();
                let deep = volume.new_directory(caller, &dir, "deep").unwrap();
                assert_eq!(volume.find_node(caller, &deep, "..").unwrap().id(), dir.id());
                assert_eq!(volume.find_node(caller, &dir, "..").unwrap().id(), root.id());
                assert_eq!(volume.find_node(caller, &dir, ".").unwrap().id(), dir.id());
                let file = volume.new_file(caller, &dir, "file").unwrap().node;
                for up in [".", ".."] {
                    assert_eq!(volume.find_node(caller, &file, up).unwrap_err(), Status::NotDir);
                }
            });
        }
    });
}

#[test]
fn mounts_below_the_root_belong_to_the_export_only_if_it_says_so() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let below = disk.export().join("below");
        fs::create_dir(&below).unwrap();
        run("mount", &["-t", "tmpfs", "none", below.to_str().unwrap()]);
        fs::write(below.join("file"), "x").unwrap();

        for closed in
            [volume(&disk.export()), volume_with_paths(&disk.export(), Mounts::Closed, memory())]
        {
            acting_as(0, |caller| {
                let root = closed.root().unwrap();
                let refused = closed.find_node(caller, &root, "below");
                assert_eq!(refused.unwrap_err(), Status::Acces);
                let gone = closed.remove_directory(caller, &root, name("below"));
                assert_eq!(gone, Err(Status::Acces));
                let file = closed.new_file(caller, &root, "file").unwrap().node;
                closed.remove(caller, &root, name("file")).unwrap();
                drop(file);
            });
        }
        let crossed = volume_with_paths(&disk.export(), Mounts::Crossed, memory());
        let id = acting_as(0, |caller| {
            let root = crossed.root().unwrap();
            let below_node = crossed.find_node(caller, &root, "below").unwrap();
            let file = crossed.find_node(caller, &below_node, "file").unwrap();
            let inode = fs::metadata(below.join("file")).unwrap().ino();
            assert_eq!(crossed.inode_of(caller, file.id()), Ok(inode));
            assert_eq!(crossed.find_node(caller, &below_node, "..").unwrap().id(), root.id());
            let apart = crossed.rename(caller, (&below_node, name("file")), (&root, name("x")));
            assert_eq!(apart, Err(Status::XDev));
            assert_eq!(crossed.inode_of(caller, file.id()), Ok(inode), "it stayed");
            *file.id()
        });
        run("umount", &[below.to_str().unwrap()]);
        fs::write(below.join("file"), "another").unwrap();
        acting_as(0, |caller| assert!(is_stale(&crossed.open(caller, &id))));
    });
}

#[test]
fn objects_of_two_volumes_are_neither_linked_nor_renamed() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let (mine, theirs) = (volume(&disk.export()), volume(&disk.outside()));
        acting_as(0, |caller| {
            let (my_root, their_root) = (mine.root().unwrap(), theirs.root().unwrap());
            let file = theirs.new_file(caller, &their_root, "file").unwrap().node;
            let linked = mine.link(caller, &file, &my_root, name("stolen"));
            assert_eq!(linked, Err(Status::XDev));
            let moved =
                mine.rename(caller, (&their_root, name("file")), (&my_root, name("stolen")));
            assert_eq!(moved, Err(Status::XDev));
        });
    });
}

/// Runs `work` while another thread makes two things change places, again and again.
fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_directory_that_keeps_becoming_a_link_to_the_outside_leads_nowhere_else() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        for volume in
            [volume(&disk.export()), volume_with_paths(&disk.export(), Mounts::Closed, memory())]
        {
            let (inside, outside) = (disk.export().join("dir"), disk.outside().join("dir"));
            for place in [&inside, &outside] {
                fs::create_dir(place).unwrap();
                fs::write(place.join("file"), "x").unwrap();
            }
            let secret = fs::metadata(outside.join("file")).unwrap().ino();
            let link = disk.export().join("link");
            symlink(&outside, &link).unwrap();
            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                let dir = volume.find_node(caller, &root, "dir").unwrap();
                let file = volume.find_node(caller, &dir, "file").unwrap();
                let right = file.attributes().unwrap().inode;
                let mut found = 0;
                while_swapping(&inside, &link, || {
                    for _ in 0..3000 {
                        match volume.inode_of(caller, file.id()) {
                            Ok(inode) => {
                                assert_eq!(inode, right);
                                found += 1;
                            }
                            Err(Status::Stale) => {}
                            Err(other) => panic!("{other:?}"),
                        }
                        if let Ok(dir) = volume.find_node(caller, &root, "dir")
                            && let Ok(file) = volume.find_node(caller, &dir, "file")
                        {
                            assert_ne!(file.attributes().unwrap().inode, secret);
                        }
                        let planted = volume.find_node(caller, &root, "dir").and_then(|dir| {
                            volume.create(caller, &dir, name("new"), &Create::Unchecked(mode(0)))
                        });
                        drop(planted);
                    }
                });
                assert!(found > 0, "it was never found: nothing was tested");
            });
            assert!(!outside.join("new").exists());
            fs::remove_dir_all(&outside).unwrap();
            for left in ["dir", "link"] {
                let left = disk.export().join(left);
                fs::remove_dir_all(&left).or_else(|_| fs::remove_file(&left)).unwrap();
            }
        }
    });
}

#[test]
fn a_directory_that_keeps_leaving_the_export_is_found_inside_or_not_at_all() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs] {
            let disk = Disk::new(kind);
            for volume in [
                volume(&disk.export()),
                volume_with_paths(&disk.export(), Mounts::Closed, memory()),
            ] {
                let (mine, theirs) = (disk.export().join("dir"), disk.outside().join("dir"));
                fs::create_dir_all(mine.join("deep")).unwrap();
                fs::create_dir(&theirs).unwrap();
                acting_as(0, |caller| {
                    let root = volume.root().unwrap();
                    let dir = volume.find_node(caller, &root, "dir").unwrap();
                    let deep = volume.find_node(caller, &dir, "deep").unwrap();
                    let (right, above) =
                        (deep.attributes().unwrap().inode, dir.attributes().unwrap().inode);
                    let top = root.attributes().unwrap().inode;
                    while_swapping(&mine, &theirs, || {
                        for _ in 0..3000 {
                            match volume.inode_of(caller, deep.id()) {
                                Ok(inode) => assert_eq!(inode, right),
                                Err(Status::Stale) => {}
                                Err(other) => panic!("{other:?}"),
                            }
                            for (from, to) in [(&deep, above), (&dir, top)] {
                                match volume.find_node(caller, from, "..") {
                                    Ok(up) => assert_eq!(up.attributes().unwrap().inode, to),
                                    Err(Status::Stale) => {}
                                    Err(other) => panic!("{other:?}"),
                                }
                            }
                        }
                    });
                    // Where it is now decides.
                    let is_inside = mine.join("deep").exists();
                    assert_eq!(volume.open(caller, deep.id()).is_ok(), is_inside, "{kind:?}");
                });
                fs::remove_dir_all(&mine).unwrap();
                fs::remove_dir_all(&theirs).unwrap();
            }
        }
    });
}

#[test]
fn a_read_only_export_changes_nothing() {
    as_ordinary_user(|| {
        let export = Scratch::new();
        fs::write(export.path().join("file"), "x").unwrap();
        let options = holm_nfsd::volume::Options { read_only: true, ..Default::default() };
        let volume = serve(export.path(), memory(), options).volume;
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let file = volume.find_node(caller, &root, "file").unwrap();
            let nothing = SetAttributes::default();
            let (old, new) = (name("file"), name("new"));
            let refused = [
                volume.new_file(caller, &root, "new").map(drop),
                volume.make_directory(caller, &root, new, &nothing).map(drop),
                volume.make_symlink(caller, &root, new, b"x", &nothing).map(drop),
                volume.remove(caller, &root, old),
                volume.remove_directory(caller, &root, old),
                volume.rename(caller, (&root, old), (&root, new)),
                volume.link(caller, &file, &root, new).map(drop),
                volume.set_attributes(caller, &file, &mode(0), None).map(drop),
                volume.open_file(caller, &file, Access::Write).map(drop),
                volume.open_file(caller, &file, Access::ReadWrite).map(drop),
            ];
            for (number, refused) in refused.into_iter().enumerate() {
                assert_eq!(refused, Err(Status::RoFs), "{number}");
            }
            assert!(volume.open_file(caller, &file, Access::Read).is_ok());
            let rights = volume.access(caller, &file, Rights(0x3f)).unwrap();
            assert_eq!(rights, Rights(Rights::READ));
        });
    });
}

#[test]
fn a_link_in_place_of_a_directory_does_not_lead_to_what_was_moved_out() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            for volume in [
                volume(&disk.export()),
                volume_with_paths(&disk.export(), Mounts::Crossed, memory()),
            ] {
                let (inside, outside) = (disk.export().join("dir"), disk.outside().join("dir"));
                acting_as(0, |caller| {
                    let root = volume.root().unwrap();
                    let dir = volume.new_directory(caller, &root, "dir").unwrap();
                    let file = *volume.new_file(caller, &dir, "file").unwrap().node.id();
                    fs::rename(&inside, &outside).unwrap();
                    symlink(&outside, &inside).unwrap();
                    assert!(inside.join("file").exists(), "for whoever follows links");
                    assert!(is_stale(&volume.open(caller, &file)), "{kind:?}");
                    assert!(is_stale(&volume.open(caller, dir.id())), "{kind:?}");
                });
                fs::remove_file(&inside).unwrap();
                fs::remove_dir_all(&outside).unwrap();
            }
        }
    });
}
