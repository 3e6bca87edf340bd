//! A handle means one object, or nothing.

use crate::world::*;
use holm_nfsd::Status;
use holm_nfsd::attributes::SetAttributes;
use holm_nfsd::beneath::{Mounts, Root};
use holm_nfsd::handle::{FileHandle, HandleKey, NodeId, StoreKind};
use holm_nfsd::name::Component;
use holm_nfsd::store::{Evidence, KernelStore, PathDatabase, PathStore, Syncing, Unsuitable};
use holm_nfsd::volume::{Special, Volume};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const ALL: [Kind; 3] = [Kind::Ext4, Kind::Tmpfs, Kind::Overlay];

#[test]
fn the_store_is_the_one_that_the_file_system_can_bear() {
    as_root(|| {
        let (ext4, tmpfs, overlay) =
            (Disk::new(Kind::Ext4), Disk::new(Kind::Tmpfs), Disk::new(Kind::Overlay));
        assert_eq!(volume(&ext4.mount_point()).uses(), StoreKind::Kernel, "whole");
        assert_eq!(volume(&ext4.export()).uses(), StoreKind::Kernel, "directory");
        assert_eq!(volume(&tmpfs.export()).uses(), StoreKind::Kernel);
        assert_eq!(volume(&overlay.export()).uses(), StoreKind::Path);

        let crossing = Arc::new(Root::open(&ext4.export(), Mounts::Crossed).unwrap());
        assert_eq!(KernelStore::probe(&crossing).unwrap_err(), Unsuitable::CrossesMounts);
        let root = Arc::new(Root::open(&overlay.export(), Mounts::Closed).unwrap());
        let store = PathStore::new(&root, 1, &key(), &memory()).unwrap();
        assert_eq!(store.evidence(), Evidence::Handle);
    });
}

#[test]
fn an_ordinary_user_has_paths() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let root = Arc::new(Root::open(scratch.path(), Mounts::Closed).unwrap());
        assert_eq!(KernelStore::probe(&root).unwrap_err(), Unsuitable::NotPermitted);
        assert_eq!(volume(scratch.path()).uses(), StoreKind::Path);
    });
}

#[test]
fn handles_of_everything_survive_a_restart() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            survive_a_restart(&disk.export(), disk.state());
        }
        let disk = Disk::new(Kind::Ext4);
        survive_a_restart(&disk.mount_point(), disk.state());
    });
}

#[test]
fn handles_of_everything_survive_a_restart_of_an_ordinary_user() {
    as_ordinary_user(|| {
        let (scratch, state) = (Scratch::new(), Scratch::new());
        survive_a_restart(scratch.path(), state.path());
    });
}

fn survive_a_restart(export: &Path, state: &Path) {
    let first = serve_from(export, state);
    let handles: Vec<_> = acting_as(0, |caller| {
        let volume = &first.volume;
        let root = volume.root().unwrap();
        let dir = volume.new_directory(caller, &root, "dir").unwrap();
        let deep = volume.new_directory(caller, &dir, "deep").unwrap();
        let file = volume.new_file(caller, &deep, "file").unwrap().node;
        let nothing = SetAttributes::default();
        let link = volume.make_symlink(caller, &dir, name("link"), b"/etc/passwd", &nothing);
        let fifo = volume.make_special(caller, &dir, name("fifo"), Special::Fifo, &nothing);
        let nodes = [root, dir, deep, file, link.unwrap().node, fifo.unwrap().node];
        nodes.iter().map(|node| seal(node.id(), node.attributes().unwrap().inode)).collect()
    });
    drop(first);

    let second = serve_from(export, state);
    acting_as(0, |caller| {
        for (handle, inode) in handles {
            let handle = FileHandle::verify(&second.key, handle.as_bytes()).unwrap();
            assert_eq!(second.volume.inode_of(caller, handle.node()), Ok(inode), "{export:?}");
        }
    });
}

fn seal(node: &NodeId, inode: u64) -> (FileHandle, u64) {
    (FileHandle::seal(&key(), 1, 0, *node), inode)
}

#[test]
fn handles_survive_a_reboot() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        for export in [disk.export(), disk.mount_point()] {
            let ids: Vec<_> = acting_as(0, |caller| {
                let volume = volume(&export);
                let root = volume.root().unwrap();
                let dir = volume.new_directory(caller, &root, "survivors").unwrap();
                let file = volume.new_file(caller, &dir, "file").unwrap().node;
                [dir, file].iter().map(|node| *node.id()).collect()
            });
            disk.remount();
            acting_as(0, |caller| {
                let volume = volume(&export);
                for (id, path) in ids.iter().zip(["survivors", "survivors/file"]) {
                    let inode = fs::symlink_metadata(export.join(path)).unwrap().ino();
                    assert_eq!(volume.inode_of(caller, id), Ok(inode), "{path}");
                }
            });
        }
    });
}

#[test]
fn an_inode_number_that_is_used_again_is_another_file() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        for volume in [volume(&disk.export()), paths(&disk)] {
            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                let old = volume.new_file(caller, &root, "file").unwrap();
                let inode = old.attributes.inode;
                let id = *old.node.id();
                drop(old);
                volume.remove(caller, &root, name("file")).unwrap();
                // The lowest free inode is taken, which it is as soon as the kernel is done with
                // it.
                let mut tries = 0..10_000;
                let new = loop {
                    let other = tries.next().expect("the same inode number").to_string();
                    let new = volume.new_file(caller, &root, &other).unwrap();
                    if new.attributes.inode == inode {
                        let (from, to) = ((&root, name(&other)), (&root, name("file")));
                        volume.rename(caller, from, to).unwrap();
                        break new;
                    }
                    volume.remove(caller, &root, name(&other)).unwrap();
                };
                assert!(is_stale(&volume.open(caller, &id)));
                assert_ne!(*new.node.id(), id);
                volume.remove(caller, &root, name("file")).unwrap();
            });
        }
    });
}

fn paths(disk: &Disk) -> Volume {
    volume_with_paths(&disk.export(), Mounts::Closed, memory())
}

#[test]
fn a_rename_through_the_server_keeps_all_handles() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            for volume in [volume(&disk.export()), paths(&disk)] {
                rename_keeps_handles(&volume);
            }
        }
    });
}

fn rename_keeps_handles(volume: &Volume) {
    acting_as(0, |caller| {
        let root = volume.root().unwrap();
        let a = volume.new_directory(caller, &root, "a").unwrap();
        let b = volume.new_directory(caller, &root, "b").unwrap();
        let file = volume.new_file(caller, &a, "file").unwrap();
        let inode = file.attributes.inode;

        volume.rename(caller, (&a, name("file")), (&a, name("renamed"))).unwrap();
        assert_eq!(volume.inode_of(caller, file.node.id()), Ok(inode));
        volume.rename(caller, (&a, name("renamed")), (&b, name("moved"))).unwrap();
        assert_eq!(volume.inode_of(caller, file.node.id()), Ok(inode));
        volume.rename(caller, (&root, name("b")), (&a, name("b"))).unwrap();
        assert_eq!(volume.inode_of(caller, file.node.id()), Ok(inode));
        assert_eq!(volume.inode_of(caller, b.id()), Ok(b.attributes().unwrap().inode));
        // A rename that fails changes nothing.
        let into_itself = volume.rename(caller, (&root, name("a")), (&b, name("a")));
        assert_eq!(into_itself, Err(Status::Inval));
        assert_eq!(volume.inode_of(caller, a.id()), Ok(a.attributes().unwrap().inode));
        assert_eq!(volume.inode_of(caller, file.node.id()), Ok(inode));

        volume.remove(caller, &b, name("moved")).unwrap();
        let id = *file.node.id();
        drop(file);
        assert!(is_stale(&volume.open(caller, &id)));
        volume.remove_directory(caller, &a, name("b")).unwrap();
        volume.remove_directory(caller, &root, name("a")).unwrap();
    });
}

#[test]
fn a_rename_by_others_is_found_or_stale_never_another_file() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            for volume in [volume(&disk.export()), paths(&disk)] {
                rename_by_others(&volume, &disk.export());
            }
        }
    });
}

fn rename_by_others(volume: &Volume, export: &Path) {
    acting_as(0, |caller| {
        let root = volume.root().unwrap();
        let one = volume.new_file(caller, &root, "one").unwrap();
        let two = volume.new_file(caller, &root, "two").unwrap();
        let (one_id, two_id) = (*one.node.id(), *two.node.id());
        let (one, two) = (one.attributes.inode, two.attributes.inode);

        // They change places.
        fs::rename(export.join("one"), export.join("three")).unwrap();
        fs::rename(export.join("two"), export.join("one")).unwrap();
        fs::rename(export.join("three"), export.join("two")).unwrap();
        for (id, inode) in [(&one_id, one), (&two_id, two)] {
            let found = volume.inode_of(caller, id);
            assert!(found == Ok(inode) || found == Err(Status::Stale), "{found:?}");
        }
        // Once they were seen, both are found.
        volume.find_node(caller, &root, "one").unwrap();
        volume.find_node(caller, &root, "two").unwrap();
        assert_eq!(volume.inode_of(caller, &one_id), Ok(one));
        assert_eq!(volume.inode_of(caller, &two_id), Ok(two));
        fs::remove_file(export.join("one")).unwrap();
        fs::remove_file(export.join("two")).unwrap();
    });
}

#[test]
fn what_is_moved_out_of_the_export_is_stale() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            for volume in [volume(&disk.export()), paths(&disk)] {
                moved_out_is_stale(&disk, &volume);
            }
        }
    });
}

fn moved_out_is_stale(disk: &Disk, volume: &Volume) {
    let (inside, outside) = (disk.export(), disk.outside());
    acting_as(0, |caller| {
        let root = volume.root().unwrap();
        let dir = volume.new_directory(caller, &root, "dir").unwrap();
        let file = volume.new_file(caller, &dir, "file").unwrap();
        let alone = volume.new_file(caller, &root, "alone").unwrap();
        let ids = [*dir.id(), *file.node.id(), *alone.node.id()];
        let inodes =
            [dir.attributes().unwrap().inode, file.attributes.inode, alone.attributes.inode];

        // With the objects still open, so that the kernel knows everything about them.
        for moved in ["dir", "alone"] {
            fs::rename(inside.join(moved), outside.join(moved)).unwrap();
        }
        for id in &ids {
            assert!(is_stale(&volume.open(caller, id)), "{id:?}");
        }
        assert!(is_stale(&volume.find_node(caller, &dir, "..")), "the way up leads outside");

        // Back again: found, by the directories above at least once they were seen.
        for moved in ["dir", "alone"] {
            fs::rename(outside.join(moved), inside.join(moved)).unwrap();
        }
        for (id, inode) in ids.iter().zip(inodes) {
            assert_eq!(volume.inode_of(caller, id), Ok(inode));
        }
        fs::remove_dir_all(inside.join("dir")).unwrap();
        fs::remove_file(inside.join("alone")).unwrap();
    });
}

#[test]
fn what_was_moved_out_is_stale_when_the_kernel_remembers_nothing() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let (inside, outside) = (disk.export(), disk.outside());
        let ids: Vec<_> = acting_as(0, |caller| {
            let volume = volume(&inside);
            let root = volume.root().unwrap();
            let dir = volume.new_directory(caller, &root, "dir").unwrap();
            let file = volume.new_file(caller, &dir, "file").unwrap().node;
            let alone = volume.new_file(caller, &root, "alone").unwrap().node;
            [dir, file, alone].iter().map(|node| *node.id()).collect()
        });
        for moved in ["dir", "alone"] {
            fs::rename(inside.join(moved), outside.join(moved)).unwrap();
        }
        disk.remount();
        acting_as(0, |caller| {
            let volume = volume(&inside);
            for id in &ids {
                assert!(is_stale(&volume.open(caller, id)), "{id:?}");
            }
        });
    });
}

#[test]
fn a_file_moved_within_the_export_is_found_once_it_was_seen_there() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let inside = disk.export();
        let id = acting_as(0, |caller| {
            let volume = volume(&inside);
            let root = volume.root().unwrap();
            volume.new_directory(caller, &root, "dir").unwrap();
            *volume.new_file(caller, &root, "file").unwrap().node.id()
        });
        fs::rename(inside.join("file"), inside.join("dir/file")).unwrap();
        disk.remount();
        acting_as(0, |caller| {
            let volume = volume(&inside);
            let before = volume.inode_of(caller, &id);
            assert_eq!(before, Err(Status::Stale), "as documented: not known where it is");
            let dir = volume.find_node(caller, &volume.root().unwrap(), "dir").unwrap();
            let seen = volume.find_node(caller, &dir, "file").unwrap();
            assert_eq!(volume.inode_of(caller, &id), Ok(seen.attributes().unwrap().inode));
        });
    });
}

#[test]
fn a_hard_link_outside_does_not_keep_a_handle_alive() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            for volume in [volume(&disk.export()), paths(&disk)] {
                let (inside, outside) = (disk.export(), disk.outside());
                acting_as(0, |caller| {
                    let root = volume.root().unwrap();
                    let file = volume.new_file(caller, &root, "file").unwrap();
                    let id = *file.node.id();
                    drop(file);
                    fs::hard_link(inside.join("file"), outside.join("file")).unwrap();
                    assert!(volume.open(caller, &id).is_ok(), "it is inside, too");
                    fs::remove_file(inside.join("file")).unwrap();
                    assert!(is_stale(&volume.open(caller, &id)), "{kind:?}");
                    fs::remove_file(outside.join("file")).unwrap();
                });
            }
        }
    });
}

#[test]
fn one_of_several_names_is_enough() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            for volume in [volume(&disk.export()), paths(&disk)] {
                acting_as(0, |caller| {
                    let root = volume.root().unwrap();
                    let file = volume.new_file(caller, &root, "one").unwrap();
                    let inode = file.attributes.inode;
                    volume.link(caller, &file.node, &root, name("two")).unwrap();
                    volume.remove(caller, &root, name("one")).unwrap();
                    assert_eq!(volume.inode_of(caller, file.node.id()), Ok(inode), "{kind:?}");
                    volume.remove(caller, &root, name("two")).unwrap();
                });
            }
        }
    });
}

#[test]
fn a_node_of_another_export_is_stale() {
    as_root(|| {
        for kind in ALL {
            let disk = Disk::new(kind);
            let theirs = disk.outside();
            let database = memory();
            let make = |directory: &Path, export: u32| {
                let root = Arc::new(Root::open(directory, Mounts::Closed).unwrap());
                holm_nfsd::store::choose(&root, export, &key(), || Ok(database.clone()))
                    .map(|chosen| Volume::new(root, chosen.store, Default::default()))
            };
            let (mine, theirs) = (make(&disk.export(), 1).unwrap(), make(&theirs, 2).unwrap());
            acting_as(0, |caller| {
                let root = theirs.root().unwrap();
                let dir = theirs.new_directory(caller, &root, "dir").unwrap();
                let file = theirs.new_file(caller, &dir, "file").unwrap().node;
                // Even if a server forgot to look at the export's number.
                for node in [&root, &dir, &file] {
                    assert!(is_stale(&mine.open(caller, node.id())), "{kind:?} {node:?}");
                }
            });
        }
    });
}

#[test]
fn a_key_that_is_new_makes_all_handles_stale() {
    let node = NodeId::new(StoreKind::Path, &[&[7; 16]]).unwrap();
    let old = FileHandle::seal(&HandleKey::generate().unwrap(), 1, 0, node);
    let new = HandleKey::generate().unwrap();
    assert_eq!(FileHandle::verify(&new, old.as_bytes()), Err(Status::Stale));
}

#[test]
fn a_copy_to_the_upper_layer_keeps_the_handle() {
    as_root(|| {
        let disk = Disk::new(Kind::Overlay);
        let volume = volume(&disk.mount_point());
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let below = volume.find_node(caller, &root, "below").unwrap();
            let inode = below.attributes().unwrap().inode;
            fs::write(disk.mount_point().join("below"), "written").unwrap();
            assert_eq!(volume.inode_of(caller, below.id()), Ok(inode));
        });
    });
}

#[test]
fn a_tree_deeper_than_any_path_is_reached() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let volume = volume_with_paths(scratch.path(), Mounts::Closed, memory());
        let long = "x".repeat(250);
        acting_as(0, |caller| {
            let mut dir = volume.root().unwrap();
            for _ in 0..20 {
                dir = volume.new_directory(caller, &dir, &long).unwrap();
            }
            let file = volume.new_file(caller, &dir, "file").unwrap();
            let found = volume.inode_of(caller, file.node.id());
            assert_eq!(found, Ok(file.attributes.inode));
            let above = volume.lookup(caller, &dir, Component::Parent).unwrap().0;
            let found = volume.inode_of(caller, above.id());
            assert_eq!(found, Ok(above.attributes().unwrap().inode));
        });
    });
}

#[test]
fn a_damaged_database_makes_handles_stale_and_nothing_worse() {
    as_ordinary_user(|| {
        let (export, state) = (Scratch::new(), Scratch::new());
        let file = state.path().join("paths");
        let first = serve_from(export.path(), state.path());
        let id = acting_as(0, |caller| {
            let root = first.volume.root().unwrap();
            *first.volume.new_file(caller, &root, "file").unwrap().node.id()
        });
        drop(first);
        let intact = fs::read(&file).unwrap();

        let damages: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes[64..320].fill(0xff),
            |bytes| {
                let half = bytes.len() / 2;
                bytes.truncate(half);
            },
            |bytes| bytes[4096..].fill(0),
            |bytes| bytes[4096..].fill(0xa5),
        ];
        for (number, damage) in damages.iter().enumerate() {
            let mut bytes = intact.clone();
            damage(&mut bytes);
            fs::write(&file, bytes).unwrap();
            let second = serve_from(export.path(), state.path());
            acting_as(0, |caller| {
                let found = second.volume.open(caller, &id);
                assert!(found.is_ok() || is_stale(&found), "damage {number}: {found:?}");
                let root = second.volume.root().unwrap();
                second.volume.find_node(caller, &root, "file").unwrap();
                assert!(second.volume.open(caller, &id).is_ok(), "damage {number}: seen again");
            });
        }
    });
}

#[test]
fn entries_reach_the_operating_system_before_they_are_used() {
    as_ordinary_user(|| {
        let (export, state) = (Scratch::new(), Scratch::new());
        let file = state.path().join("paths");
        let first = serve_from(export.path(), state.path());
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(acting_as(0, |caller| {
                let root = first.volume.root().unwrap();
                *first.volume.new_file(caller, &root, &number.to_string()).unwrap().node.id()
            }));
            // What a process that is killed now leaves behind.
            let left = state.path().join("left");
            fs::copy(&file, &left).unwrap();
            let database = PathDatabase::open(&left, Syncing::Always).unwrap();
            let second = volume_with_paths(export.path(), Mounts::Closed, Arc::new(database));
            acting_as(0, |caller| {
                for id in &ids {
                    assert!(second.open(caller, id).is_ok());
                }
            });
            drop(second);
            fs::remove_file(&left).unwrap();
        }
    });
}

#[test]
fn a_database_is_open_once() {
    let state = Scratch::new();
    let path = state.path().join("paths");
    let first = PathDatabase::open(&path, Syncing::WhenAsked).unwrap();
    assert!(PathDatabase::open(&path, Syncing::WhenAsked).is_err());
    drop(first);
    assert!(PathDatabase::open(&path, Syncing::WhenAsked).is_ok());
}
