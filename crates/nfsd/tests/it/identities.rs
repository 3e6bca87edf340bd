//! Who operations run as.

use crate::world::*;
use holm_nfsd::Status;
use holm_nfsd::attributes::SetAttributes;
use holm_nfsd::identity::{Caller, Credentials, Privileges, Session, Squash, SquashWho};
use holm_nfsd::volume::{Access, Create, Rights, Special, Stability};
use proptest::prelude::*;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The kernel's word on who this thread is: real, effective, saved and file system ids, groups,
/// capabilities in effect.
fn this_thread() -> Vec<String> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let wanted = |line: &&str| {
        ["Uid:", "Gid:", "Groups:", "CapEff:"].iter().any(|field| line.starts_with(field))
    };
    status.lines().filter(wanted).map(str::to_owned).collect()
}

fn file_system_uid() -> u32 {
    let line = &this_thread()[0];
    line.split_whitespace().last().unwrap().parse().unwrap()
}

fn without_reserves() -> Privileges {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, sets).unwrap();
    Privileges::detect().unwrap()
}

#[test]
fn a_thread_is_the_caller_and_then_itself_and_no_other_thread_notices() {
    as_root(|| {
        let privileges = without_reserves();
        let before = this_thread();
        let mut session = Session::begin(&privileges).unwrap();
        session
            .run_as(&Credentials::new(1001, 1002, &[1003, 1004]), |_| {
                let now = this_thread();
                assert!(now[0].ends_with("\t1001"), "{now:?}");
                assert!(now[1].ends_with("\t1002"), "{now:?}");
                assert!(now[2].starts_with("Groups:\t1003 1004"), "{now:?}");
                let effective = capabilities(None).unwrap().effective;
                let over_files = CapabilitySet::DAC_OVERRIDE
                    | CapabilitySet::DAC_READ_SEARCH
                    | CapabilitySet::FOWNER
                    | CapabilitySet::CHOWN
                    | CapabilitySet::FSETID
                    | CapabilitySet::MKNOD;
                assert!(effective.intersection(over_files).is_empty(), "{effective:?}");
                // The thread that was there first.
                let first = format!("/proc/self/task/{}/status", std::process::id());
                let first = fs::read_to_string(first).unwrap();
                assert!(first.contains("Uid:\t0\t0\t0\t0"), "{first}");
            })
            .unwrap();
        session.run_as_server(|| assert_eq!(this_thread(), before)).unwrap();
        drop(session);
        assert_eq!(this_thread(), before);
    });
}

#[test]
fn a_panic_gives_the_thread_back() {
    as_root(|| {
        let privileges = without_reserves();
        let before = this_thread();
        let result = std::panic::catch_unwind(|| {
            let mut session = Session::begin(&privileges).unwrap();
            let _ = session.run_as(&Credentials::new(1001, 1001, &[]), |_| {
                std::panic::resume_unwind(Box::new("a bug in an operation"))
            });
        });
        assert!(result.is_err());
        assert_eq!(this_thread(), before);
        assert!(Session::begin(&privileges).is_ok(), "and it can be used again");
    });
}

#[test]
fn a_thread_has_one_session() {
    as_ordinary_user(|| {
        let privileges = Privileges::detect().unwrap();
        let first = Session::begin(&privileges).unwrap();
        assert!(Session::begin(&privileges).is_err());
        drop(first);
        assert!(Session::begin(&privileges).is_ok());
    });
}

#[test]
fn changing_between_callers_leaves_nothing_of_the_one_before() {
    as_root(|| {
        let privileges = without_reserves();
        let mut session = Session::begin(&privileges).unwrap();
        let callers = [
            Credentials::new(1001, 1001, &[5, 6, 7]),
            Credentials::new(0, 0, &[]),
            Credentials::new(1002, 1002, &[]),
            Credentials::new(0, 1, &[2]),
            Credentials::new(1001, 1001, &[5]),
        ];
        for _ in 0..3 {
            for caller in &callers {
                session
                    .run_as(caller, |_| {
                        assert_eq!(file_system_uid(), caller.uid());
                        let groups = this_thread()[2].split_whitespace().count() - 1;
                        assert_eq!(groups, caller.groups().len());
                        let overrides = capabilities(None)
                            .unwrap()
                            .effective
                            .contains(CapabilitySet::DAC_OVERRIDE);
                        assert_eq!(overrides, caller.uid() == 0);
                    })
                    .unwrap();
            }
        }
    });
}

#[test]
fn a_user_with_capabilities_gives_them_up_for_callers() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let export = disk.export();
        fs::write(export.join("private"), "x").unwrap();
        fs::set_permissions(export.join("private"), fs::Permissions::from_mode(0o600)).unwrap();

        on_another_thread(|| serve_with_capabilities(&export));
    });
}

fn serve_with_capabilities(export: &Path) {
    // A service's own user, with the capabilities that a file server needs.
    let kept = CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID;
    rustix::thread::set_keep_capabilities(true).unwrap();
    become_user(600);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).unwrap();

    let privileges = Privileges::detect().unwrap();
    assert!(!privileges.is_ordinary());
    let before = this_thread();
    let volume = volume(export);
    assert_eq!(volume.uses(), holm_nfsd::handle::StoreKind::Kernel);
    let mut session = Session::begin(&privileges).unwrap();
    for uid in [1001, 0, 1001] {
        let opened = session.run_as(&Credentials::new(uid, uid, &[]), |caller| {
            assert_eq!(file_system_uid(), uid);
            let root = volume.root().unwrap();
            let node = volume.find_node(caller, &root, "private").unwrap();
            let node = volume.open(caller, node.id()).unwrap().0;
            volume.open_file(caller, &node, Access::Read).map(drop)
        });
        let expected = if uid == 0 { Ok(()) } else { Err(Status::Acces) };
        assert_eq!(opened.unwrap(), expected, "user {uid}");
    }
    session.run_as_server(|| assert_eq!(this_thread(), before)).unwrap();
}

#[test]
fn an_ordinary_user_is_everybody() {
    as_ordinary_user(|| {
        let export = Scratch::new();
        let volume = volume(export.path());
        let privileges = Privileges::detect().unwrap();
        assert!(privileges.is_ordinary());
        let me = file_system_uid();
        let mut session = Session::begin(&privileges).unwrap();
        for uid in [0, 1001, me] {
            session
                .run_as(&Credentials::new(uid, uid, &[0]), |caller| {
                    assert_eq!(caller.credentials().uid(), me);
                    let root = volume.root().unwrap();
                    let made = volume.new_file(caller, &root, &uid.to_string()).unwrap();
                    assert_eq!(made.attributes.uid, me);
                })
                .unwrap();
        }
    });
}

#[test]
fn what_is_made_belongs_to_the_caller_and_is_kept_from_others() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let id = acting_as(1001, |caller| {
            let root = volume.root().unwrap();
            let how = Create::Guarded(mode(0o640));
            let made = volume.create(caller, &root, name("file"), &how).unwrap();
            assert_eq!((made.attributes.uid, made.attributes.gid), (1001, 1001));
            assert_eq!(made.attributes.mode, 0o640);
            *made.node.id()
        });
        let open = |credentials: &Credentials, access| {
            acting_with(credentials, |caller| {
                let node = volume.open(caller, &id).unwrap().0;
                volume.open_file(caller, &node, access).map(drop)
            })
        };
        let (member, other) =
            (Credentials::new(1002, 1002, &[7, 1001]), Credentials::new(1003, 1003, &[]));
        assert_eq!(open(&member, Access::Read), Ok(()));
        assert_eq!(open(&member, Access::Write), Err(Status::Acces));
        assert_eq!(open(&other, Access::Read), Err(Status::Acces));
        assert_eq!(open(&Credentials::new(0, 0, &[]), Access::ReadWrite), Ok(()));

        acting_with(&other, |caller| {
            let node = volume.open(caller, &id).unwrap().0;
            let set = |change| volume.set_attributes(caller, &node, &change, None).map(drop);
            assert_eq!(set(mode(0o666)), Err(Status::Perm));
            let uid = Some(1003);
            assert_eq!(set(SetAttributes { uid, ..Default::default() }), Err(Status::Perm));
            let size = Some(0);
            assert_eq!(set(SetAttributes { size, ..Default::default() }), Err(Status::Acces));
            let rights = volume.access(caller, &node, Rights(0x3f)).unwrap();
            assert_eq!(rights, Rights(0));
        });
        acting_with(&member, |caller| {
            let node = volume.open(caller, &id).unwrap().0;
            let rights = volume.access(caller, &node, Rights(0x3f)).unwrap();
            assert_eq!(rights, Rights(Rights::READ));
        });
    });
}

#[test]
fn the_owner_writes_what_it_made_read_only() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let id = acting_as(1001, |caller| {
            let root = volume.root().unwrap();
            let how = Create::Guarded(mode(0o444));
            let made = volume.create(caller, &root, name("object"), &how).unwrap();
            *made.node.id()
        });
        acting_as(1001, |caller| {
            let node = volume.open(caller, &id).unwrap().0;
            let file = volume.open_file(caller, &node, Access::ReadWrite).unwrap();
            file.write_at(caller, b"one two", 0, Stability::FileSync).unwrap();
            let cut = SetAttributes { size: Some(6), ..Default::default() };
            let after = volume.set_attributes(caller, &node, &cut, None).unwrap();
            assert_eq!((after.size, after.mode), (6, 0o444));
        });
        acting_as(1002, |caller| {
            let node = volume.open(caller, &id).unwrap().0;
            assert!(volume.open_file(caller, &node, Access::Read).is_ok());
            let write = volume.open_file(caller, &node, Access::Write);
            assert_eq!(write.unwrap_err(), Status::Acces);
        });
        assert_eq!(fs::read(disk.export().join("object")).unwrap(), b"one tw");
    });
}

#[test]
fn an_ordinary_user_opens_its_own_whatever_the_mode() {
    as_ordinary_user(|| {
        let export = Scratch::new();
        let volume = volume(export.path());
        acting_as(0, |caller| {
            let root = volume.root().unwrap();
            for (file, its_mode) in [("object", 0o444), ("shut", 0), ("sticky", 0o1070)] {
                let how = Create::Guarded(mode(its_mode));
                let made = volume.create(caller, &root, name(file), &how).unwrap();
                for access in [Access::Write, Access::Read, Access::ReadWrite] {
                    let open = volume.open_file(caller, &made.node, access).unwrap();
                    assert_eq!(open.attributes().unwrap().mode, its_mode, "{file}");
                }
            }
        });
    });
}

#[test]
fn who_may_run_a_file_may_read_it_and_not_write_it() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let id = acting_as(1001, |caller| {
            let root = volume.root().unwrap();
            let how = Create::Guarded(mode(0o711));
            *volume.create(caller, &root, name("program"), &how).unwrap().node.id()
        });
        acting_as(1002, |caller| {
            let node = volume.open(caller, &id).unwrap().0;
            assert!(volume.open_file(caller, &node, Access::Read).is_ok());
            let write = volume.open_file(caller, &node, Access::ReadWrite);
            assert_eq!(write.unwrap_err(), Status::Acces);
            let rights = volume.access(caller, &node, Rights(0x3f)).unwrap();
            assert_eq!(rights, Rights(Rights::EXECUTE));
        });
    });
}

#[test]
fn set_uid_and_set_gid_go_when_somebody_writes_cuts_or_gives_away() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let made = |file: &str, bits| {
            acting_as(1001, |caller| {
                let root = volume.root().unwrap();
                let made = volume.create(caller, &root, name(file), &Create::Guarded(mode(bits)));
                let made = made.unwrap();
                assert_eq!(made.attributes.mode, bits);
                *made.node.id()
            })
        };
        let (written, cut, given) = (made("w", 0o6777), made("c", 0o6777), made("g", 0o6755));
        acting_as(1002, |caller| {
            let node = volume.open(caller, &written).unwrap().0;
            let file = volume.open_file(caller, &node, Access::Write).unwrap();
            file.write_at(caller, b"x", 0, Stability::Unstable).unwrap();
            assert_eq!(node.attributes().unwrap().mode, 0o777, "written");
            let node = volume.open(caller, &cut).unwrap().0;
            let change = SetAttributes { size: Some(0), ..Default::default() };
            let after = volume.set_attributes(caller, &node, &change, None).unwrap();
            assert_eq!(after.mode, 0o777, "cut");
        });
        acting_as(0, |caller| {
            let node = volume.open(caller, &given).unwrap().0;
            let change = SetAttributes { uid: Some(1003), ..Default::default() };
            let after = volume.set_attributes(caller, &node, &change, None).unwrap();
            assert_eq!((after.mode, after.uid), (0o755, 1003), "given away");
        });
    });
}

#[test]
fn a_set_gid_directory_gives_its_group() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let shared = disk.export().join("shared");
        fs::create_dir(&shared).unwrap();
        std::os::unix::fs::chown(&shared, None, Some(500)).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2777)).unwrap();
        let volume = volume(&disk.export());
        acting_with(&Credentials::new(1001, 1001, &[500]), |caller| {
            let root = volume.root().unwrap();
            let shared = volume.find_node(caller, &root, "shared").unwrap();
            let file = volume.new_file(caller, &shared, "file").unwrap();
            assert_eq!((file.attributes.uid, file.attributes.gid), (1001, 500));
            let made = volume.make_directory(caller, &shared, name("dir"), &mode(0o755)).unwrap();
            assert_eq!((made.attributes.gid, made.attributes.mode), (500, 0o2755));
        });
        acting_as(1002, |caller| {
            // Who is not of the group does not get to make set-gid programs of it.
            let root = volume.root().unwrap();
            let shared = volume.find_node(caller, &root, "shared").unwrap();
            let how = Create::Guarded(mode(0o2775));
            let file = volume.create(caller, &shared, name("program"), &how).unwrap();
            assert_eq!((file.attributes.gid, file.attributes.mode), (500, 0o775));
        });
    });
}

#[test]
fn devices_are_for_user_0() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let make = |caller: &Caller<'_>, file: &str, special| {
            let root = volume.root().unwrap();
            volume.make_special(caller, &root, name(file), special, &mode(0o640))
        };
        acting_as(1001, |caller| {
            let refused = make(caller, "null", Special::Character(1, 3));
            assert_eq!(refused.unwrap_err(), Status::Perm);
            make(caller, "fifo", Special::Fifo).unwrap();
            make(caller, "socket", Special::Socket).unwrap();
        });
        acting_as(0, |caller| {
            let null = make(caller, "null", Special::Character(1, 3)).unwrap();
            assert_eq!((null.attributes.device, null.attributes.mode), ((1, 3), 0o640));
            let block = make(caller, "disk", Special::Block(7, 300)).unwrap();
            assert_eq!(block.attributes.device, (7, 300));
            // None is ever opened: that would do something on the server.
            let open = volume.open_file(caller, &null.node, Access::Read);
            assert_eq!(open.unwrap_err(), Status::Inval);
            // Their attributes can be changed all the same.
            let after = volume.set_attributes(caller, &block.node, &mode(0o600), None).unwrap();
            assert_eq!(after.mode, 0o600);
        });
        assert_eq!(fs::metadata(disk.export().join("null")).unwrap().rdev(), 0x103);
    });
}

proptest! {
    #[test]
    fn squashing_leaves_nobody_it_should_not(
        uid in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()],
        gid in prop_oneof![Just(0), Just(u32::MAX), any::<u32>()],
        groups in proptest::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 0..20),
    ) {
        let caller = Credentials::new(uid, gid, &groups);
        let squash = |who| Squash { who, uid: 65534, gid: 65533 }.apply(&caller);
        let all = squash(SquashWho::Everybody);
        prop_assert_eq!((all.uid(), all.gid(), all.groups()), (65534, 65533, &[][..]));
        let root = squash(SquashWho::Root);
        prop_assert!(root.uid() != 0 && root.gid() != 0 && !root.groups().contains(&0));
        let nobody = squash(SquashWho::Nobody);
        for squashed in [root, nobody] {
            prop_assert!(squashed.uid() != u32::MAX && squashed.gid() != u32::MAX);
            prop_assert!(!squashed.groups().contains(&u32::MAX));
        }
        if uid != u32::MAX {
            prop_assert_eq!(nobody.uid(), uid);
        }
        prop_assert_eq!(nobody.groups().len(), groups.len().min(16));
    }
}

#[test]
fn a_caller_without_a_user_does_not_become_the_server() {
    as_root(|| {
        let privileges = Privileges::detect().unwrap();
        let mut session = Session::begin(&privileges).unwrap();
        for nobody in [Credentials::new(u32::MAX, 5, &[]), Credentials::new(5, u32::MAX, &[])] {
            let ran = session.run_as(&nobody, |_| ());
            assert_eq!(ran, Err(Status::ServerFault));
            // And the next one is who he should be.
            session
                .run_as(&Credentials::new(1001, 1001, &[]), |_| assert_eq!(file_system_uid(), 1001))
                .unwrap();
        }
    });
}

#[test]
fn threads_that_act_for_many_callers_never_mix_them_up() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Overlay] {
            let disk = Disk::new(kind);
            let volume = volume(&disk.export());
            let privileges = Privileges::detect().unwrap();
            let work = |thread: u32| {
                let mut session = Session::begin(&privileges).unwrap();
                for round in 0..60 {
                    let uid = 2000 + thread * 10 + round % 3;
                    let credentials = Credentials::new(uid, uid + 1, &[uid + 2]);
                    let file = format!("{thread}-{round}");
                    session
                        .run_as(&credentials, |caller| {
                            let root = volume.root().unwrap();
                            let how = Create::Guarded(mode(0o400));
                            let made = volume.create(caller, &root, name(&file), &how).unwrap();
                            let owner = (made.attributes.uid, made.attributes.gid);
                            assert_eq!(owner, (uid, uid + 1));
                            let (node, _) = volume.open(caller, made.node.id()).unwrap();
                            // Against the mode, with our capabilities for a moment.
                            volume.open_file(caller, &node, Access::Write).unwrap();
                            assert_eq!(file_system_uid(), uid);
                            let stolen = SetAttributes { uid: Some(uid + 1), ..mode(0o777) };
                            let stolen = volume.set_attributes(caller, &node, &stolen, None);
                            assert_eq!(stolen, Err(Status::Perm));
                        })
                        .unwrap();
                }
            };
            std::thread::scope(|scope| {
                for thread in 0..6 {
                    let work = &work;
                    scope.spawn(move || work(thread));
                }
            });
            let files = fs::read_dir(disk.export()).unwrap();
            let owned = files.map(|file| file.unwrap().metadata().unwrap().uid());
            assert_eq!(owned.filter(|uid| *uid >= 2000).count(), 360);
        }
    });
}
