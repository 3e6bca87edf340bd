//! Files for clients of the same machine: the same as by NFS, without calls.

use crate::local_client::*;
use crate::wire::*;
use crate::world::{Disk, Kind, Scratch, alone, as_ordinary_user, as_root, key, memory, run};
use holm_lifetime::Deadline;
use holm_nfs_proto::localio::door::{Access, Message, NETID};
use holm_nfs_proto::nfs3::Error;
use holm_nfs_proto::{localio, rpcbind};
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::identity::SquashWho;
use holm_nfsd::localio::Rules;
use holm_nfsd::service::Transport;
use holm_xdr::Opaque;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const ALL: [Access; 3] = [Access::Read, Access::Write, Access::ReadWrite];
const USER: u32 = 1001;

fn client_of(options: ExportOptions) -> Client {
    let client = Client::new(&Thread::new(), &service(vec![options]));
    admit(&client, &[0, USER, 1002]);
    client
}

/// Opens again what is open, as whoever has a descriptor can.
fn open_again(file: &File, write: bool) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(!write).write(write).open(path)
}

fn errno(result: io::Result<File>) -> Errno {
    Errno::from_io_error(&result.unwrap_err()).unwrap()
}

#[test]
fn a_client_proves_where_it_is_and_has_files_like_those_of_nfs() {
    let way = |kind| {
        move || {
            let disk = Disk::new(kind);
            let client = client_of(trusting(&disk.export())).user(USER);
            let root = client.mount("/").unwrap();
            let handle = client.create(&root, b"file").unwrap();
            client.write(&handle, 0, b"by NFS").unwrap();
            client.thread.told();

            let local = Local::new(&client, user(USER));
            let (number, file) = local.open(&handle, Access::ReadWrite).unwrap();
            assert_eq!(client.thread.told().last(), Some(&("LOCALIO OPEN", handle.clone())));
            let mut buffer = [0; 6];
            file.read_exact_at(&mut buffer, 0).unwrap();
            assert_eq!(&buffer, b"by NFS");
            file.write_all_at(b"by ourselves", 0).unwrap();
            file.sync_all().unwrap();
            assert_eq!(client.read(&handle, 0, 100).unwrap().0, b"by ourselves");

            let other = local.open(&handle, Access::Read).unwrap().0;
            assert!(other > number);
            let [told] = &client.service.local().clients()[..] else { panic!("one client") };
            assert_eq!((told.pid, told.uid, told.files), (Some(4000), USER, 2));
            assert_eq!(told.address, Some(client.peer.address()));
            assert!(local.close(number, true) && local.close(other, true));
            assert_eq!(client.thread.told().last(), Some(&("LOCALIO CLOSE", handle.clone())));
            assert!(local.ear.messages().is_empty());
            local.session.ended();
            let counted = client.service.local().statistics();
            assert_eq!((counted.opened, counted.files, counted.sessions), (2, 0, 0));
            client.thread.tenant.as_ref().unwrap().remove();
        }
    };
    as_root(way(Kind::Ext4));
    as_root(way(Kind::Tmpfs));
    as_root(way(Kind::Overlay));
}

#[test]
fn an_ordinary_users_server_lends_to_that_user() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let uid = rustix::process::getuid().as_raw();
        let client = client_of(trusting(scratch.path()));
        admit(&client, &[uid, USER]);
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let own = Local::new(&client, user(uid));
        for access in ALL {
            own.open(&handle, access).unwrap();
        }
        // To others, who are that user by NFS, a descriptor would be more than that.
        let other = Local::new(&client, user(USER));
        for access in ALL {
            assert_eq!(other.open(&handle, access).unwrap_err(), Error::NotSupp);
        }
    });
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let uid = rustix::process::getuid().as_raw();
        fs::write(scratch.path().join("file"), "x").unwrap();
        let options = ExportOptions { read_only: true, ..trusting(scratch.path()) };
        let client = client_of(options);
        admit(&client, &[uid]);
        let root = client.mount("/").unwrap();
        let handle = client.lookup(&root, b"file").unwrap();
        // Without a mount to open it in, it could be opened again for writing.
        let refused = Local::new(&client, user(uid)).open(&handle, Access::Read).unwrap_err();
        assert_eq!(refused, Error::NotSupp);
    });
}

#[test]
fn the_port_mapper_says_where_the_door_is() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = client_of(trusting(scratch.path()));
        let lender = client.service.local();
        let ask = |client: &Client, program, netid| {
            let text = |text: &'static [u8]| Opaque::new(text).unwrap();
            let (address, owner) = (Opaque::EMPTY, Opaque::EMPTY);
            let (version, netid) = (1, text(netid));
            let binding = rpcbind::Binding { program, version, netid, address, owner };
            [(3, rpcbind::Call::GetAddr(binding)), (4, rpcbind::Call::GetVersAddr(binding))].map(
                |(version, call)| {
                    let told = client.rpcbind_call::<rpcbind::Text<'_>>(version, &call).unwrap();
                    String::from_utf8(told.to_vec()).unwrap()
                },
            )
        };
        let nowhere = ["", ""];
        assert_eq!(ask(&client, localio::PROGRAM, NETID), nowhere, "none was opened");
        lender.set_address(Some("/run/door".into()));
        assert_eq!(ask(&client, localio::PROGRAM, NETID), ["/run/door", "/run/door"]);
        assert_eq!(ask(&client, 100_003, NETID), nowhere, "another program");
        assert_eq!(ask(&client.from("10.0.0.1:700"), localio::PROGRAM, NETID), nowhere);
        let by_datagram = holm_nfsd::service::Peer::new(
            Transport::Udp,
            "127.0.0.1:700".parse().unwrap(),
            LOCAL.parse().unwrap(),
        );
        let by_datagram = Client { peer: by_datagram, ..client.clone() };
        assert_eq!(ask(&by_datagram, localio::PROGRAM, NETID), nowhere);
        lender.set_rules(Rules::default());
        assert_eq!(ask(&client, localio::PROGRAM, NETID), nowhere, "for nobody");
        admit(&client, &[1]);
        assert_eq!(ask(&client, localio::PROGRAM, NETID), ["/run/door", "/run/door"]);
        lender.recall_all();
        assert_eq!(ask(&client, localio::PROGRAM, NETID), nowhere, "it is shut");
    });
}

/// What NFS says of an operation that needs this.
fn by_nfs(client: &Client, handle: &[u8], access: Access) -> Result<(), Error> {
    let read = || client.read(handle, 0, 1).map(drop);
    let write = || client.write(handle, 0, b"x").map(drop);
    match access {
        Access::Read => read(),
        Access::Write => write(),
        Access::ReadWrite => read().and_then(|()| write()),
    }
}

/// Of which some give the owner less than others.
const MODES: [u32; 10] = [0o600, 0o640, 0o604, 0o666, 0o060, 0o006, 0o020, 0o001, 0o755, 0];

#[test]
fn a_file_is_opened_for_whom_nfs_would_read_and_write_it() {
    as_root(|| {
        for who in [SquashWho::Nobody, SquashWho::Root, SquashWho::Everybody] {
            let disk = Disk::new(Kind::Tmpfs);
            let mut options = trusting(&disk.export());
            options.squash.who = who;
            let all = || {
                [0, USER, 1002, 65534].into_iter().flat_map(|owner| MODES.map(|mode| (owner, mode)))
            };
            let name = |owner, mode| format!("{owner}-{mode:o}");
            for (owner, mode) in all() {
                let path = disk.export().join(name(owner, mode));
                fs::write(&path, "content").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            }
            let client = client_of(options);
            let root = client.mount("/").unwrap();
            let mut compared = 0;
            for (owner, mode) in all() {
                let name = name(owner, mode);
                let handle = client.lookup(&root, name.as_bytes()).unwrap();
                for uid in [0, USER] {
                    let local = Local::new(&client, user(uid));
                    let unchanged =
                        who == SquashWho::Nobody || (who == SquashWho::Root && uid != 0);
                    for access in ALL {
                        let opened = local.open(&handle, access).map(drop);
                        let expected = match access {
                            _ if unchanged || access == Access::Read => {
                                by_nfs(&client.user(uid), &handle, access)
                            }
                            // It would act as itself on what it has open for writing.
                            _ => Err(Error::NotSupp),
                        };
                        assert_eq!(opened, expected, "{who:?} {name} {uid} {access:?}");
                        compared += 1;
                    }
                    local.session.ended();
                }
            }
            assert_eq!(compared, 240);
        }
    });
}

#[test]
fn groups_count_as_they_do_by_nfs() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        fs::write(disk.export().join("file"), "x").unwrap();
        let path = disk.export().join("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o060)).unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(3016)).unwrap();
        let handle = client.lookup(&root, b"file").unwrap();
        let with = |groups: Vec<u32>| {
            let who = holm_nfsd::localio::PeerCredentials { groups, ..user(USER) };
            let local = Local::new(&client, who);
            ALL.map(|access| local.open(&handle, access).map(drop))
        };
        assert_eq!(with(vec![]), [Err(Error::Acces); 3]);
        assert_eq!(with((3001..=3016).collect()), [Ok(()); 3]);
        // More than a call of NFS has: the others are not known there, and who is in them is more than
        // it is by NFS.
        let refused = [Err(Error::Acces), Err(Error::NotSupp), Err(Error::NotSupp)];
        assert_eq!(with((3000..=3016).collect()), refused);
    });
}

#[test]
fn what_is_open_for_reading_cannot_be_opened_for_writing() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            for read_only in [false, true] {
                let disk = Disk::new(kind);
                let path = disk.export().join("file");
                fs::write(&path, "content").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
                let client = client_of(ExportOptions { read_only, ..trusting(&disk.export()) });
                let root = client.mount("/").unwrap();
                let handle = client.lookup(&root, b"file").unwrap();
                // As root, which may anything, and squashed or not.
                let local = Local::new(&client, user(0));
                let (_, file) = local.open(&handle, Access::Read).unwrap();
                assert!(open_again(&file, false).is_ok());
                assert_eq!(errno(open_again(&file, true)), Errno::ROFS, "{kind:?} {read_only}");
                let mode = rustix::fs::Mode::from_raw_mode(0o777);
                assert_eq!(rustix::fs::fchmod(&file, mode), Err(Errno::ROFS));
                assert_eq!(rustix::fs::futimens(&file, &NOW), Err(Errno::ROFS));
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
                let refused = local.open(&handle, Access::ReadWrite);
                assert_eq!(refused.is_err_and(|error| error == Error::RoFs), read_only);
            }
        }
    });
}

const NOW: rustix::fs::Timestamps = {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
};

#[test]
fn nothing_that_is_lent_gives_the_rights_of_its_owner() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let path = disk.export().join("program");
        fs::write(&path, "x").unwrap();
        for mode in [0o6777, 0o4777, 0o2777] {
            change_mode(&path, mode);
            let handle = client.lookup(&root, b"program").unwrap();
            let local = Local::new(&client, user(USER));
            // NFS takes the bits away from what is written. Here nobody would.
            for access in [Access::Write, Access::ReadWrite] {
                assert_eq!(local.open(&handle, access).unwrap_err(), Error::NotSupp);
            }
            let (_, file) = local.open(&handle, Access::Read).unwrap();
            is_without_set_uid(&file);
            change_mode(&path, 0o777);
            // It may get them later.
            let (_, file) = local.open(&handle, Access::ReadWrite).unwrap();
            is_without_set_uid(&file);
            local.session.ended();
        }
    });
}

/// Done by another process: this thread is who it served last.
fn change_mode(path: &Path, mode: u32) {
    run("chmod", &[&format!("{mode:o}"), path.to_str().unwrap()]);
}

fn is_without_set_uid(file: &File) {
    use rustix::fs::StatVfsMountFlags as Flags;
    let flags = rustix::fs::fstatvfs(file).unwrap().f_flag;
    // Devices are no regular files; rustix has no name for what forbids them.
    assert!(flags.contains(Flags::NOSUID | Flags::NODEV), "{flags:?}");
}

#[test]
fn descriptors_are_the_clients_own() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let (one, other) = (Local::new(&client, user(0)), Local::new(&client, user(0)));
        let (_, first) = one.open(&handle, Access::ReadWrite).unwrap();
        let (_, second) = other.open(&handle, Access::ReadWrite).unwrap();
        // Flags and locks belong to an open file, not to its descriptors.
        rustix::fs::fcntl_setfl(&first, rustix::fs::OFlags::APPEND).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&second).unwrap().contains(rustix::fs::OFlags::APPEND));
        rustix::fs::flock(&first, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        let locked = rustix::fs::flock(&second, rustix::fs::FlockOperation::NonBlockingLockShared);
        assert_eq!(locked, Err(Errno::WOULDBLOCK));
        // Here both have one.
        assert_eq!(client.within().statistics().open, 1 + NODES);
    });
}

/// What mounting and opening leave open for everybody: the root, and the file.
const NODES: u64 = 2;

#[test]
fn what_others_see_around_their_changes_is_not_theirs_while_a_file_is_lent_for_writing() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let before = || client.write(&handle, 0, b"x").unwrap().file_wcc.before;
        let local = Local::new(&client, user(0));
        let (reads, _) = local.open(&handle, Access::Read).unwrap();
        assert!(before().is_some());
        let (writes, _) = local.open(&handle, Access::Write).unwrap();
        assert!(before().is_none() && before().is_none());
        assert!(local.close(writes, true));
        assert!(before().is_some());
        assert!(local.close(reads, true));
    });
}

#[test]
fn what_was_not_flushed_is_when_it_comes_back() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let flushes = || client.within().statistics().flushes;
        let before = flushes();
        let local = Local::new(&client, user(0));
        let open = |access| local.open(&handle, access).unwrap().0;
        assert!(local.close(open(Access::Read), false));
        assert!(local.close(open(Access::ReadWrite), true));
        assert_eq!(flushes(), before, "nothing was written, or it says that it is on the disk");
        assert!(local.close(open(Access::Write), false));
        assert_eq!(flushes(), before + 1);
        open(Access::ReadWrite);
        assert_eq!((local.session.ended(), local.session.ended()), (1, 0));
        assert_eq!(flushes(), before + 2, "the client is gone");
        let late = Local::new(&client, user(0));
        late.open(&handle, Access::ReadWrite).unwrap();
        client.service.local().recall_all();
        assert_eq!(client.service.local().end_overdue(Instant::now()).len(), 1);
        assert_eq!(flushes(), before + 3, "it was cut off");
    });
}

#[test]
fn what_is_lost_when_it_comes_back_changes_the_verifier() {
    as_root(|| {
        for flushed in [false, true] {
            let disk = Disk::new(Kind::Ext4);
            let client = client_of(trusting(&disk.export()));
            let root = client.mount("/").unwrap();
            let handle = client.create(&root, b"file").unwrap();
            let local = Local::new(&client, user(0));
            let (number, file) = local.open(&handle, Access::ReadWrite).unwrap();
            file.write_all_at(b"by ourselves", 0).unwrap();
            let verifier = client.write(&handle, 100, b"by NFS").unwrap().verifier;
            crate::durability::stop(&disk);
            // Whoever asks first is told; NFS has to hear of it too.
            assert!(file.sync_all().is_err());
            assert!(local.close(number, flushed));
            assert_ne!(client.write_verifier(), verifier);
        }
    });
}

#[test]
fn an_export_is_not_closed_before_its_files_came_back() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let local = Local::new(&client, user(0));
        let (number, file) = local.open(&handle, Access::ReadWrite).unwrap();

        let before = client.service.set_exports(ExportTable::default());
        let export = before.exports()[0].clone();
        let (closed, id) = (export.closed(), export.id());
        drop((before, export));
        assert!(local.ear.messages().is_empty());
        client.service.local().recall_export(id);
        client.service.local().recall_export(id + 1);
        assert_eq!(local.ear.messages(), [Message::Recall(number)]);
        client.service.local().recall_export(id);
        assert!(local.ear.messages().is_empty(), "once is enough");
        client.within().forget_export(id);
        assert!(!closed.wait(Deadline::now()));
        assert!(client.service.local().clients()[0].recalled.is_some());
        // What is in flight is finished.
        file.write_all_at(b"the last", 0).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(local.close(number, true));
        assert!(closed.wait(Deadline::now()));
        // Nothing of it is open, in copies of the mount neither; the client may stay.
        assert_eq!(local.open(&handle, Access::Read).unwrap_err(), Error::Stale);

        let again = Export::open(trusting(&disk.export()), &key(), || Ok(memory())).unwrap();
        client.service.set_exports(ExportTable::new(vec![Arc::new(again)]).unwrap());
        assert!(local.open(&handle, Access::Read).is_ok());
        assert_eq!(fs::read(disk.export().join("file")).unwrap(), b"the last");
    });
}

#[test]
fn an_export_that_becomes_read_only_has_its_files_back_and_lends_others() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let local = Local::new(&client, user(0));
        let (number, _) = local.open(&handle, Access::ReadWrite).unwrap();
        let options = ExportOptions { read_only: true, ..trusting(&disk.export()) };
        let export = Export::open(options, &key(), || Ok(memory())).unwrap();
        let id = export.id();
        client.service.set_exports(ExportTable::new(vec![Arc::new(export)]).unwrap());
        client.service.local().recall_export(id);
        assert_eq!(local.ear.messages(), [Message::Recall(number)]);
        assert_eq!(local.open(&handle, Access::ReadWrite).unwrap_err(), Error::RoFs);
        let (_, file) = local.open(&handle, Access::Read).unwrap();
        assert_eq!(errno(open_again(&file, true)), Errno::ROFS);
        // The number of a file is never that of another, and one that was recalled is known still.
        assert!(local.close(number, true));
        // Not given back in time, one of many is enough.
        client.service.local().recall_export(id);
        let ended = client.service.local().end_overdue(Instant::now());
        assert_eq!((ended.len(), ended[0].files), (1, 1));
        assert!(local.ear.has_ended());
    });
}

#[test]
fn many_files_of_an_export_are_wanted_back_with_everything() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let id = client.service.exports().exports()[0].id();
        let few = Local::new(&client, user(0));
        let many = Local::new(&client, user(USER));
        few.open(&handle, Access::Read).unwrap();
        for _ in 0..65 {
            many.open(&handle, Access::Read).unwrap();
        }
        client.service.local().recall_export(id);
        assert_eq!(few.ear.messages(), [Message::Recall(1)]);
        assert_eq!(many.ear.messages(), [Message::RecallAll]);
        assert!(few.open(&handle, Access::Read).is_ok());
        assert_eq!(many.open(&handle, Access::Read).unwrap_err(), Error::JukeBox);
        assert_eq!(client.service.local().statistics().recalled, 66);
    });
}

#[test]
fn the_end_of_a_namespace_wants_everything_back_and_waits_for_it() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let lender = client.service.local();
        let [good, bad, idle, new] = [0; 4].map(|id| Local::arrive(&client, user(id)).unwrap());
        for local in [&good, &bad, &idle] {
            client.name(local.register());
            assert_eq!(local.ear.messages(), [Message::Proven]);
        }
        let uuid = new.register();
        let (number, file) = good.open(&handle, Access::ReadWrite).unwrap();
        bad.open(&handle, Access::ReadWrite).unwrap();
        assert!(lender.end_overdue(Instant::now()).is_empty(), "nothing was recalled");

        lender.recall_all();
        for local in [&good, &bad, &idle, &new] {
            assert_eq!(local.ear.messages(), [Message::RecallAll]);
        }
        client.name(uuid);
        assert!(new.ear.messages().is_empty(), "too late");
        assert_eq!(good.open(&handle, Access::Read).unwrap_err(), Error::JukeBox);
        assert!(Local::arrive(&client, user(0)).is_err());
        lender.recall_all();
        assert!(good.ear.messages().is_empty(), "once is enough");

        let tenant = client.thread.tenant.as_ref().unwrap();
        assert!(!tenant.begin_removal(), "two files are out");
        // The namespace cannot be entered any more; the files come back all the same.
        file.write_all_at(b"the last", 0).unwrap();
        drop(file);
        assert!(good.close(number, false));
        good.session.ended();
        let overdue = lender.end_overdue(Instant::now());
        assert_eq!(overdue.len(), 1);
        assert_eq!((overdue[0].session, overdue[0].pid), (bad.session.id(), Some(4000)));
        assert!(bad.ear.has_ended() && idle.ear.has_ended());
        tenant.ns.wait_gone(Deadline::Never).unwrap();
        assert_eq!(tenant.caches.open_files(), 0);
        assert_eq!(lender.statistics().sessions, 0);
    });
}

/// The file system is in use as long as the descriptor is; nobody finds it by that.
#[test]
fn what_is_not_given_back_keeps_no_mount_busy() {
    alone("local::what_is_not_given_back_keeps_no_mount_busy", || {
        as_root(|| {
            let disk = Disk::new(Kind::Ext4);
            let client = client_of(trusting(&disk.export()));
            let root = client.mount("/").unwrap();
            let handle = client.create(&root, b"file").unwrap();
            client.write(&handle, 0, b"content").unwrap();
            let local = Local::new(&client, user(0));
            let files = ALL.map(|access| local.open(&handle, access).unwrap().1);
            client.service.local().recall_all();
            let tenant = client.thread.tenant.as_ref().unwrap();
            assert!(!tenant.begin_removal());
            assert_eq!(client.service.local().end_overdue(Instant::now())[0].files, 3);
            tenant.ns.wait_gone(Deadline::Never).unwrap();
            drop(client.service.set_exports(ExportTable::default()));
            run("umount", &[disk.mount_point().to_str().unwrap()]);
            let mut buffer = [0; 7];
            files[0].read_exact_at(&mut buffer, 0).unwrap();
            assert_eq!(&buffer, b"content");
            assert_eq!(errno(open_again(&files[0], true)), Errno::ROFS);
        });
    });
}

#[test]
fn users_that_may_no_more_give_everything_back() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let (one, other) = (Local::new(&client, user(USER)), Local::new(&client, user(1002)));
        one.open(&handle, Access::Read).unwrap();
        other.open(&handle, Access::Read).unwrap();
        admit(&client, &[1002]);
        assert_eq!(one.ear.messages(), [Message::RecallAll]);
        assert!(other.ear.messages().is_empty());
        assert_eq!(one.open(&handle, Access::Read).unwrap_err(), Error::JukeBox);
        assert!(other.open(&handle, Access::Read).is_ok());
        assert!(Local::arrive(&client, user(USER)).is_err());
        one.session.ended();
        // It was another time.
        admit(&client, &[USER, 1002]);
        assert!(Local::new(&client, user(USER)).open(&handle, Access::Read).is_ok());
    });
}

#[test]
fn a_deleted_file_stays_with_who_has_it_and_leaves_nothing() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = client_of(trusting(&disk.export()));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        client.write(&handle, 0, b"content").unwrap();
        let local = Local::new(&client, user(0));
        let (number, file) = local.open(&handle, Access::Read).unwrap();
        client.remove(&root, b"file").into_result().unwrap();
        let mut buffer = [0; 7];
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(local.open(&handle, Access::Read).unwrap_err(), Error::Stale);
        drop(file);
        assert!(local.close(number, true));
        client.thread.tenant.as_ref().unwrap().remove();
    });
}
