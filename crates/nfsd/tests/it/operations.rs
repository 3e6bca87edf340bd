//! What each operation does, and answers.

use crate::world::*;
use holm_nfsd::Status;
use holm_nfsd::attributes::{Kind as ObjectKind, SetAttributes, SetTime, Time};
use holm_nfsd::name::Component;
use holm_nfsd::volume::{Access, Create, Durability, Options, Rights, Special, Stability, Volume};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs a test on a volume of each kind, as root, and as an ordinary user.
fn everywhere(test: impl Fn(&Volume, &std::path::Path) + Send + Sync) {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            test(&volume(&disk.export()), &disk.export());
        }
    });
    as_ordinary_user(|| {
        let export = Scratch::new();
        test(&volume(export.path()), export.path());
    });
}

/// What a file system would take for the time.
fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    time(now.tv_sec, now.tv_nsec as u32)
}

fn time(seconds: i64, nanoseconds: u32) -> Time {
    Time { seconds, nanoseconds }
}

#[test]
fn create_takes_refuses_or_recognises_what_is_there() {
    everywhere(|volume, export| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let create = |file: &str, how| volume.create(caller, &root, name(file), &how);
            let made = create("file", Create::Guarded(mode(0o644))).unwrap();
            let inode = made.attributes.inode;
            let refused = create("file", Create::Guarded(mode(0o600)));
            assert_eq!(refused.unwrap_err(), Status::Exist);

            fs::write(export.join("file"), "contents").unwrap();
            let taken = create("file", Create::Unchecked(mode(0o600))).unwrap();
            assert_eq!((taken.attributes.inode, taken.attributes.size), (inode, 8));
            assert_eq!(taken.attributes.mode, 0o644, "only the size of what is there changes");
            let cut = SetAttributes { size: Some(3), ..mode(0o600) };
            let taken = create("file", Create::Unchecked(cut)).unwrap();
            assert_eq!((taken.attributes.inode, taken.attributes.size), (inode, 3));
            assert_eq!(create("new", Create::Unchecked(cut)).unwrap().attributes.size, 3);

            let nothing = SetAttributes::default();
            let made = create("private", Create::Guarded(nothing)).unwrap();
            assert_eq!(made.attributes.mode, 0o600, "nobody else's if the client does not say");
            let made = volume.make_directory(caller, &root, name("own"), &nothing).unwrap();
            assert_eq!(made.attributes.mode, 0o700);
            volume.new_directory(caller, &root, "dir").unwrap();
            for how in [Create::Unchecked(cut), Create::Guarded(cut), Create::Exclusive([1; 8])] {
                assert_eq!(create("dir", how).unwrap_err(), Status::Exist);
            }
        });
    });
}

#[test]
fn an_exclusive_create_is_recognised_when_it_is_sent_again() {
    everywhere(|volume, export| {
        let verifiers = [[0; 8], [0xff; 8], *b"\x80\x00\x00\x01\x7f\xff\xff\xff", *b"verifier"];
        for (number, verifier) in verifiers.into_iter().enumerate() {
            let file = number.to_string();
            let create = |volume: &Volume, verifier| {
                acting_as(0, |caller| {
                    let root = volume.root().unwrap();
                    let how = Create::Exclusive(verifier);
                    let made = volume.create(caller, &root, name(&file), &how)?;
                    Ok((made.attributes.inode, made.attributes.mode))
                })
            };
            let made = create(volume, verifier).unwrap();
            assert_eq!(made.1, 0o600, "nobody else's until the client says");
            assert_eq!(create(volume, verifier), Ok(made));
            let restarted = serve(export, memory(), Options::default()).volume;
            assert_eq!(create(&restarted, verifier), Ok(made), "after a restart");
            let mut other = verifier;
            other[3] ^= 1;
            assert_eq!(create(volume, other), Err(Status::Exist), "another client's");

            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                let node = volume.find_node(caller, &root, &file).unwrap();
                let times = SetAttributes { modified: SetTime::Server, ..SetAttributes::default() };
                volume.set_attributes(caller, &node, &times, None).unwrap();
            });
            assert_eq!(create(volume, verifier), Err(Status::Exist), "in use");
        }
    });
}

#[test]
fn attributes_are_set_as_told_and_guarded() {
    everywhere(|volume, _| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let node = volume.new_file(caller, &root, "file").unwrap().node;
            let before = node.attributes().unwrap();
            let change = SetAttributes {
                mode: Some(0o1751),
                size: Some(1 << 33),
                accessed: SetTime::Client(time(1_000_000_000, 5)),
                modified: SetTime::Client(time(-1, 999_999_999)),
                ..Default::default()
            };
            let guard = Some(before.changed);
            let after = volume.set_attributes(caller, &node, &change, guard).unwrap();
            assert_eq!((after.mode, after.size), (0o1751, 1 << 33));
            assert_eq!(after.accessed, time(1_000_000_000, 5));
            assert_eq!(after.modified, time(-1, 999_999_999));
            assert_eq!(after, node.attributes().unwrap());
            assert!(after.used < after.size, "sparse");

            let nothing = SetAttributes::default();
            let late = Some(time(before.changed.seconds - 1, 0));
            let refused = volume.set_attributes(caller, &node, &nothing, late);
            assert_eq!(refused, Err(Status::NotSync));
            let kept = volume.set_attributes(caller, &node, &nothing, Some(after.changed));
            assert_eq!(kept, Ok(after));

            let server = SetAttributes {
                accessed: SetTime::Server,
                modified: SetTime::Keep,
                ..Default::default()
            };
            let touched = volume.set_attributes(caller, &node, &server, None).unwrap();
            assert!(touched.accessed.seconds > 1_000_000_000);
            assert_eq!(touched.modified, after.modified);

            // Numbers that mean something else to the kernel.
            for nanoseconds in [1_000_000_000, (1 << 30) - 1, (1 << 30) - 2, u32::MAX] {
                let accessed = SetTime::Client(time(0, nanoseconds));
                let change = SetAttributes { accessed, ..Default::default() };
                let refused = volume.set_attributes(caller, &node, &change, None);
                assert_eq!(refused, Err(Status::Inval));
            }
            for change in [
                SetAttributes { uid: Some(u32::MAX), ..Default::default() },
                SetAttributes { gid: Some(u32::MAX), ..Default::default() },
            ] {
                let refused = volume.set_attributes(caller, &node, &change, None);
                assert_eq!(refused, Err(Status::Inval));
            }
            let large = SetAttributes { size: Some(u64::MAX), ..Default::default() };
            let refused = volume.set_attributes(caller, &node, &large, None);
            assert_eq!(refused, Err(Status::FBig));
            let cut = SetAttributes { size: Some(0), ..Default::default() };
            assert_eq!(volume.set_attributes(caller, &root, &cut, None), Err(Status::IsDir));
        });
    });
}

/// Two who have seen the same file both want to change what they saw.
#[test]
fn of_changes_with_the_same_guard_one_is_made() {
    const ROUNDS: usize = 300;
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let volume = volume(&disk.export());
        let node = acting_as(0, |caller| {
            volume.new_file(caller, &volume.root().unwrap(), "file").unwrap().node
        });
        let arrived = AtomicUsize::new(0);
        let together = |round: usize, step: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 * (2 * round + step) {
                std::thread::yield_now();
            }
        };
        let change_all = |bits: u32| {
            acting_as(0, |caller| {
                let change = |round| {
                    together(round, 1);
                    let seen = node.attributes().unwrap().changed;
                    // A change within one tick of the file system's clock would not show.
                    while now() <= seen {
                        std::thread::yield_now();
                    }
                    together(round, 2);
                    volume.set_attributes(caller, &node, &mode(bits), Some(seen)).map(drop)
                };
                (0..ROUNDS).map(change).collect::<Vec<_>>()
            })
        };
        let [one, other] = std::thread::scope(|scope| {
            let change_all = &change_all;
            let threads = [0o600, 0o640].map(|bits| scope.spawn(move || change_all(bits)));
            threads.map(|thread| thread.join().unwrap())
        });
        for (round, results) in one.iter().zip(&other).enumerate() {
            let right = [(&Ok(()), &Err(Status::NotSync)), (&Err(Status::NotSync), &Ok(()))];
            assert!(right.contains(&results), "round {round}: {results:?}");
        }
    });
}

#[test]
fn bytes_are_read_as_written_far_out_and_in_holes() {
    everywhere(|volume, _| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let node = volume.new_file(caller, &root, "file").unwrap().node;
            let file = volume.open_file(caller, &node, Access::ReadWrite).unwrap();
            let far = 5_000_000_000;
            for (offset, stability) in
                [(0, Stability::Unstable), (10, Stability::DataSync), (far, Stability::FileSync)]
            {
                assert_eq!(file.write_at(caller, b"abcd", offset, stability), Ok(4));
            }
            assert_eq!(file.write_at(caller, b"", 3, Stability::FileSync), Ok(0));
            file.commit().unwrap();
            let attributes = file.attributes().unwrap();
            assert_eq!(attributes.size, far + 4);
            assert!(attributes.used < 1 << 20);

            let mut buffer = [1; 14];
            assert_eq!(file.read_at(&mut buffer, 0), Ok(14));
            assert_eq!(&buffer, b"abcd\0\0\0\0\0\0abcd");
            assert!(!attributes.ends_at(0, 14));
            assert_eq!(file.read_at(&mut buffer, far + 2), Ok(2));
            assert!(attributes.ends_at(far + 2, 2));
            assert_eq!(file.read_at(&mut buffer, far + 4), Ok(0));
            assert_eq!(file.read_at(&mut buffer, u64::MAX), Ok(0));
            assert_eq!(file.read_at(&mut buffer, i64::MAX as u64), Ok(0));

            let write = |offset| file.write_at(caller, b"x", offset, Stability::Unstable);
            assert_eq!(write(u64::MAX), Err(Status::FBig));
            assert_eq!(write(i64::MAX as u64), Err(Status::FBig));
        });
    });
}

#[test]
fn what_is_written_in_pieces_is_whole() {
    everywhere(|volume, _| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let data: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
            for offset in [0, 1, 262_143, 5_000_000_000] {
                let node = volume.new_file(caller, &root, &format!("at {offset}")).unwrap().node;
                let file = volume.open_file(caller, &node, Access::ReadWrite).unwrap();
                let written = file.write_at(caller, &data, offset, Stability::Unstable);
                assert_eq!(written, Ok(data.len()));
                let mut read = vec![0; data.len() + 1];
                assert_eq!(file.read_at(&mut read, offset), Ok(data.len()));
                assert!(read[..data.len()] == data, "written at {offset}");
            }
        });
    });
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        acting_as(1001, |caller| {
            let root = volume.root().unwrap();
            let node = volume.new_file(caller, &root, "file").unwrap().node;
            let file = volume.open_file(caller, &node, Access::Write).unwrap();
            let chunk = vec![7; 3 << 20];
            let mut offset = 0;
            let status = loop {
                match file.write_at(caller, &chunk, offset, Stability::FileSync) {
                    Ok(written) => offset += written as u64,
                    Err(status) => break status,
                }
            };
            assert_eq!(status, Status::NoSpc);
            assert_eq!(file.attributes().unwrap().size, offset);
            let space = volume.space(&root).unwrap();
            assert!(space.available < chunk.len() as u64);
            let reserved = (96 << 20) / 50;
            assert!(space.free > reserved, "what is reserved for root is not for callers");
            assert!(space.total >= space.free && space.total_files > space.free_files);
        });
    });
}

#[test]
fn every_kind_of_object_is_made_and_told_apart() {
    everywhere(|volume, export| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let (nothing, modified) = (mode(0o640), SetTime::Client(time(5, 0)));
            let dir = volume
                .make_directory(
                    caller,
                    &root,
                    name("dir"),
                    &SetAttributes { modified, ..mode(0o1700) },
                )
                .unwrap();
            assert_eq!(dir.attributes.mode, 0o1700);
            assert_eq!(dir.attributes.modified, time(5, 0));
            let target: &[u8] = b"\xff anywhere/../\n";
            let link = volume
                .make_symlink(
                    caller,
                    &root,
                    name("link"),
                    target,
                    &SetAttributes { modified, ..nothing },
                )
                .unwrap();
            assert_eq!(link.attributes.kind, ObjectKind::Symlink);
            assert_eq!(link.attributes.modified, time(5, 0));
            assert_eq!(volume.read_link(caller, &link.node).unwrap(), target);
            assert_eq!(volume.read_link(caller, &dir.node), Err(Status::Inval));
            for bad in [&b""[..], b"a\0b"] {
                let made = volume.make_symlink(caller, &root, name("bad"), bad, &nothing);
                assert_eq!(made.unwrap_err(), Status::Inval);
            }
            let long = vec![b'x'; 5000];
            let made = volume.make_symlink(caller, &root, name("bad"), &long, &nothing);
            assert_eq!(made.unwrap_err(), Status::NameTooLong);
            for (file, special, kind) in [
                ("fifo", Special::Fifo, ObjectKind::Fifo),
                ("socket", Special::Socket, ObjectKind::Socket),
            ] {
                let made =
                    volume.make_special(caller, &root, name(file), special, &nothing).unwrap();
                assert_eq!((made.attributes.kind, made.attributes.mode), (kind, 0o640));
                let open = volume.open_file(caller, &made.node, Access::ReadWrite);
                assert_eq!(open.unwrap_err(), Status::Inval);
            }
            assert!(fs::metadata(export.join("fifo")).unwrap().file_type().is_fifo());
            for taken in ["dir", "link", "fifo"] {
                let again = [
                    volume.make_directory(caller, &root, name(taken), &nothing).map(drop),
                    volume.make_symlink(caller, &root, name(taken), b"x", &nothing).map(drop),
                    volume
                        .make_special(caller, &root, name(taken), Special::Fifo, &nothing)
                        .map(drop),
                ];
                assert_eq!(again, [Err(Status::Exist); 3]);
            }
        });
    });
}

#[test]
fn removing_and_renaming_refuse_what_cannot_be() {
    everywhere(|volume, _| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let dir = volume.new_directory(caller, &root, "dir").unwrap();
            let full = volume.new_directory(caller, &root, "full").unwrap();
            let file = volume.new_file(caller, &root, "file").unwrap().node;
            volume.new_file(caller, &full, "inner").unwrap();

            assert_eq!(volume.remove(caller, &root, name("none")), Err(Status::NoEnt));
            assert_eq!(volume.remove(caller, &root, name("dir")), Err(Status::IsDir));
            assert_eq!(volume.remove(caller, &file, name("x")), Err(Status::NotDir));
            let remove = |dir: &str| volume.remove_directory(caller, &root, name(dir));
            assert_eq!(remove("none"), Err(Status::NoEnt));
            assert_eq!(remove("file"), Err(Status::NotDir));
            assert_eq!(remove("full"), Err(Status::NotEmpty));

            let rename = |from: &str, to: &str| {
                volume.rename(caller, (&root, name(from)), (&root, name(to)))
            };
            assert_eq!(rename("none", "x"), Err(Status::NoEnt));
            assert_eq!(rename("file", "dir"), Err(Status::IsDir));
            assert_eq!(rename("dir", "file"), Err(Status::NotDir));
            assert_eq!(rename("dir", "full"), Err(Status::NotEmpty));
            let inside = volume.rename(caller, (&root, name("dir")), (&dir, name("x")));
            assert_eq!(inside, Err(Status::Inval));
            assert_eq!(rename("file", "file"), Ok(()));
            assert!(volume.inode_of(caller, file.id()).is_ok(), "renamed to itself");
            assert_eq!(rename("full", "dir"), Ok(()));

            let linked = volume.link(caller, &file, &dir, name("file")).err();
            assert_eq!(linked, Some(Status::Stale), "into what was replaced");
            let dir = volume.find_node(caller, &root, "dir").unwrap();
            let linked = volume.link(caller, &file, &dir, name("file")).unwrap();
            assert_eq!(linked.links, 2);
            let again = volume.link(caller, &file, &dir, name("file"));
            assert_eq!(again, Err(Status::Exist));
            let directory = volume.link(caller, &dir, &root, name("x"));
            assert_eq!(directory, Err(Status::IsDir));
            for gone in [(&dir, "file"), (&root, "file")] {
                volume.remove(caller, gone.0, name(gone.1)).unwrap();
            }
            assert_eq!(file.attributes(), Err(Status::Stale));
            assert_eq!(volume.link(caller, &file, &dir, name("back")), Err(Status::Stale));
            let made = volume.new_file(caller, &full, "new").map(drop);
            assert!(made.is_ok(), "it is open under its new name");
        });
    });
}

#[test]
fn a_directory_that_is_gone_takes_nothing() {
    everywhere(|volume, export| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let dir = volume.new_directory(caller, &root, "dir").unwrap();
            fs::remove_dir(export.join("dir")).unwrap();
            let nothing = SetAttributes::default();
            assert_eq!(volume.new_file(caller, &dir, "x").unwrap_err(), Status::Stale);
            let made = volume.make_directory(caller, &dir, name("x"), &nothing);
            assert_eq!(made.unwrap_err(), Status::Stale);
            assert_eq!(dir.attributes(), Err(Status::Stale));
            assert!(is_stale(&volume.open(caller, dir.id())));
        });
    });
}

#[test]
fn rights_are_those_that_operations_then_have() {
    everywhere(|volume, _| {
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let all = Rights(0x3f);
            let dir = Rights::READ | Rights::LOOKUP | Rights::MODIFY | Rights::EXTEND;
            assert_eq!(volume.access(caller, &root, all), Ok(Rights(dir | Rights::DELETE)));
            let file = volume.new_file(caller, &root, "file").unwrap().node;
            let rights = Rights(Rights::READ | Rights::MODIFY | Rights::EXTEND);
            assert_eq!(volume.access(caller, &file, all), Ok(rights));
            let asked = Rights(Rights::READ | Rights::DELETE);
            assert_eq!(volume.access(caller, &file, asked), Ok(Rights(Rights::READ)));
            assert_eq!(volume.access(caller, &file, Rights(0)), Ok(Rights(0)));
            assert_eq!(volume.access(caller, &file, Rights(!0x3f)), Ok(Rights(0)));
        });
    });
}

#[test]
fn figures_of_the_file_system_make_sense() {
    everywhere(|volume, _| {
        let root = volume.root().unwrap();
        let limits = volume.limits(&root).unwrap();
        assert!(limits.links >= 127 && limits.name == 255, "{limits:?}");
        assert!(limits.case_preserving && !limits.case_insensitive);
        let space = volume.space(&root).unwrap();
        assert!(space.total >= space.free && space.free >= space.available && space.total > 0);
    });
}

#[test]
fn names_are_bytes() {
    everywhere(|volume, export| {
        use std::os::unix::ffi::OsStrExt;
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let longest = [0xe9; 255];
            for bytes in [&b"\xff\xfe"[..], b"\n", b" ", b"...", b"\\", &longest] {
                let name = Component::parse(bytes).unwrap().to_create().unwrap();
                let made = volume.create(caller, &root, name, &Create::Guarded(mode(0o600)));
                let inode = made.unwrap().attributes.inode;
                let path = export.join(std::ffi::OsStr::from_bytes(bytes));
                assert_eq!(fs::metadata(path).unwrap().ino(), inode);
                volume.remove(caller, &root, name).unwrap();
            }
        });
    });
}

#[test]
fn lazily_durable_volumes_do_the_same() {
    as_ordinary_user(|| {
        let export = Scratch::new();
        let durability = Durability::LostOnPowerFailure;
        let options = Options { durability, ..Default::default() };
        let volume = serve(export.path(), memory(), options).volume;
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            let made = volume.new_file(caller, &root, "a").unwrap();
            volume.rename(caller, (&root, name("a")), (&root, name("b"))).unwrap();
            let found = volume.inode_of(caller, made.node.id());
            assert_eq!(found, Ok(made.attributes.inode));
        });
    });
}

#[derive(Clone, Debug)]
enum Step {
    Write(u16, Vec<u8>, Stability),
    Cut(u16),
    Read(u16, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let stability = prop_oneof![
        Just(Stability::Unstable),
        Just(Stability::DataSync),
        Just(Stability::FileSync)
    ];
    prop_oneof![
        (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..3000), stability)
            .prop_map(|(offset, bytes, stability)| Step::Write(offset, bytes, stability)),
        any::<u16>().prop_map(Step::Cut),
        (any::<u16>(), any::<u16>()).prop_map(|(offset, count)| Step::Read(offset, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_file_is_what_a_vector_would_be(steps in proptest::collection::vec(step(), 1..30)) {
        as_ordinary_user(|| {
            let export = Scratch::new();
            let volume = volume(export.path());
            acting_as(0, |caller| {
                let root = volume.root().unwrap();
                let node = volume.new_file(caller, &root, "file").unwrap().node;
                let file = volume.open_file(caller, &node, Access::ReadWrite).unwrap();
                let mut model: Vec<u8> = Vec::new();
                for step in steps {
                    match step {
                        Step::Write(offset, bytes, stability) => {
                                            let written =
                                file.write_at(caller, &bytes, offset.into(), stability);
                            assert_eq!(written, Ok(bytes.len()));
                            let end = usize::from(offset) + bytes.len();
                            if !bytes.is_empty() {
                                model.resize(model.len().max(end), 0);
                                model[usize::from(offset)..end].copy_from_slice(&bytes);
                            }
                        }
                        Step::Cut(size) => {
                            let change = SetAttributes {
                                size: Some(size.into()),
                                ..Default::default()
                            };
                            volume.set_attributes(caller, &node, &change, None).unwrap();
                            model.resize(size.into(), 0);
                        }
                        Step::Read(offset, count) => {
                            let mut buffer = vec![0; count.into()];
                            let read = file.read_at(&mut buffer, offset.into()).unwrap();
                            let start = model.len().min(offset.into());
                            let end = model.len().min(start + usize::from(count));
                            assert_eq!(buffer[..read], model[start..end]);
                        }
                    }
                }
                assert_eq!(file.attributes().unwrap().size, model.len() as u64);
            });
        });
    }
}
