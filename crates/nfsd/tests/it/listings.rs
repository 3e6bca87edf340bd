//! What is in a directory all the time is listed once.

use crate::world::*;
use holm_nfsd::Status;
use holm_nfsd::volume::{Listing, Volume};
use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn open(volume: &Volume) -> Arc<Listing> {
    let listing =
        acting_as(0, |caller| volume.open_directory(caller, &volume.root().unwrap()).unwrap());
    Arc::new(listing)
}

/// Lists everything, so many entries at a time.
fn list(mut listing: impl FnMut() -> Arc<Listing>, at_a_time: usize) -> HashMap<Vec<u8>, u32> {
    let mut seen = HashMap::new();
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let listing = listing();
        let mut left = at_a_time;
        let end = listing
            .read(cookie, verifier, |entry| {
                if left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                cookie = entry.cookie;
                *seen.entry(entry.name.to_vec()).or_default() += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        verifier = listing.verifier();
        if end {
            return seen;
        }
    }
}

#[test]
fn a_directory_is_listed_whole_with_dots_whatever_the_portions() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            for number in 0..300 {
                fs::write(disk.export().join(format!("file-{number}")), "").unwrap();
            }
            let volume = volume(&disk.export());
            for at_a_time in [1, 7, 299, 302, 1000] {
                let seen = list(|| open(&volume), at_a_time);
                assert_eq!(seen.len(), 302, "{kind:?}");
                assert!(seen.contains_key(&b"."[..]) && seen.contains_key(&b".."[..]));
                assert!(seen.values().all(|&times| times == 1), "{kind:?}");
            }
        }
    });
}

/// Makes files that stay, and then lists them while others come, go and are renamed.
fn list_while_it_changes(directory: &Path, volume: &Volume, stay: u32, reopen: bool) {
    let path = |prefix: &str, number: u32| directory.join(format!("{prefix}-{number}"));
    for number in 0..stay {
        fs::File::create(path("stays", number)).unwrap();
        if number % 20 == 0 {
            fs::File::create(path("comes", number)).unwrap();
        }
    }
    let (done, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for number in (0..stay).step_by(20) {
                    let (old, new) = (path("comes", number), path("and-goes", number));
                    match rounds.load(Ordering::Relaxed) % 3 {
                        0 => fs::rename(&old, &new).unwrap(),
                        1 => fs::remove_file(&new).unwrap(),
                        _ => drop(fs::File::create(&old).unwrap()),
                    }
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let kept = open(volume);
        let listing = || if reopen { open(volume) } else { kept.clone() };
        let listing = std::panic::AssertUnwindSafe(|| list(listing, 1500));
        let seen = std::panic::catch_unwind(listing);
        done.store(true, Ordering::Relaxed);
        let seen = seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for number in 0..stay {
            let times = seen.get(format!("stays-{number}").as_bytes());
            assert_eq!(times, Some(&1), "stays-{number}");
        }
    });
}

#[test]
fn a_large_directory_that_changes_is_listed_without_skips_or_repeats() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        list_while_it_changes(&disk.export(), &volume(&disk.export()), 101_000, false);
    });
}

#[test]
fn a_large_directory_without_lasting_positions_is_too() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        list_while_it_changes(&disk.export(), &volume(&disk.export()), 101_000, false);
    });
}

#[test]
fn it_is_over_restarts_of_the_server() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            list_while_it_changes(&disk.export(), &volume(&disk.export()), 20_000, true);
        }
    });
}

#[test]
fn a_cookie_of_another_kind_is_refused() {
    as_root(|| {
        let (ext4, tmpfs) = (Disk::new(Kind::Ext4), Disk::new(Kind::Tmpfs));
        let (kernel, hashes) = (open(&volume(&ext4.export())), open(&volume(&tmpfs.export())));
        let nothing = |_: holm_nfsd::volume::Entry<'_>| ControlFlow::Break(());
        let refused = kernel.read(5, hashes.verifier(), nothing);
        assert_eq!(refused, Err(Status::BadCookie));
        let refused = hashes.read(5, [0; 8], nothing);
        assert_eq!(refused, Err(Status::BadCookie));
        let refused = kernel.read(u64::MAX, kernel.verifier(), nothing);
        assert_eq!(refused, Err(Status::BadCookie));
        assert_eq!(hashes.read(u64::MAX, hashes.verifier(), nothing), Ok(true));
    });
}

#[test]
fn the_root_does_not_say_what_is_above_it() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let mut inodes = HashMap::new();
        open(&volume)
            .read(0, [0; 8], |entry| {
                inodes.insert(entry.name.to_vec(), entry.inode);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(inodes[&b".."[..]], inodes[&b"."[..]]);
    });
}

#[test]
fn a_directory_that_is_removed_while_it_is_listed_is_stale() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs] {
            let disk = Disk::new(kind);
            let volume = volume(&disk.export());
            let listing = open(&volume);
            fs::remove_dir(disk.export()).unwrap();
            let read = listing.read(0, [0; 8], |_| ControlFlow::Continue(()));
            assert_eq!(read, Err(Status::Stale), "{kind:?}");
        }
    });
}

#[test]
fn names_are_described_as_they_are_looked_up() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Overlay] {
            let disk = Disk::new(kind);
            let names: Vec<_> = (0..200).map(|number| format!("file-{number}")).collect();
            for number in (0..200).filter(|number| number % 3 != 0) {
                fs::write(disk.export().join(&names[number]), "").unwrap();
            }
            let volume = volume(&disk.export());
            acting_as(1001, |caller| {
                let root = volume.root().unwrap();
                let names: Vec<_> = names.iter().map(|file| name(file)).collect();
                let described = volume.describe(caller, &root, &names);
                assert_eq!(described.len(), names.len());
                for (number, (file, described)) in names.iter().zip(described).enumerate() {
                    let entry = holm_nfsd::name::Component::Entry(*file);
                    let found = volume.lookup(caller, &root, entry);
                    let found = found.map(|(node, attributes)| (*node.id(), attributes));
                    assert_eq!(described, found);
                    assert_eq!(described.is_ok(), number % 3 != 0);
                    if let Ok((id, attributes)) = described {
                        assert_eq!(volume.inode_of(caller, &id), Ok(attributes.inode));
                    }
                }
            });
        }
    });
}
