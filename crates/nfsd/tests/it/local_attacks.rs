//! What a local client may try, and does not get.

use crate::local_client::*;
use crate::wire::*;
use crate::world::{Disk, Kind, Scratch, as_ordinary_user, as_root, key, memory};
use holm_nfs_proto::localio::door::{self, Access, Message, Request};
use holm_nfs_proto::nfs3::Error;
use holm_nfsd::cache::{Clock, Watcher};
use holm_nfsd::export::{Export, ExportOptions};
use holm_nfsd::handle::{FileHandle, HandleKey};
use holm_nfsd::localio::{Rules, Turned};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

/// The user that an ordinary server lends to.
fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn with_client(test: impl FnOnce(&Client, &Scratch) + Send) {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        admit(&client, &[me()]);
        test(&client, &scratch);
    });
}

#[test]
fn a_uuid_is_good_once_and_where_it_was_registered() {
    with_client(|client, scratch| {
        client.name([7; 16]);
        client.name([0; 16]);
        let lender = client.service.local();
        assert_eq!(lender.statistics().proven, 0, "unknown");

        let first = Local::arrive(client, user(me())).unwrap();
        let uuid = first.register();
        // Another namespace knows nothing of it, nor does it know another's.
        let other = service(vec![trusting(scratch.path())]);
        let of_other = Client { service: other, ..client.clone() };
        of_other.name(uuid);
        assert!(first.ear.messages().is_empty());
        // Nor is it heard from where nothing is exported to.
        client.from("192.0.2.1:700").name(uuid);
        assert!(first.ear.messages().is_empty());
        assert_eq!(first.session.peer(), None);

        client.name(uuid);
        assert_eq!(first.ear.messages(), [Message::Proven]);
        client.name(uuid);
        client.from("127.0.0.2:700").name(uuid);
        assert!(first.ear.messages().is_empty(), "replayed");
        assert_eq!(first.session.peer(), Some(client.peer));

        let second = Local::arrive(client, user(me())).unwrap();
        let uuid = second.register();
        second.session.ended();
        client.name(uuid);
        assert_eq!(lender.statistics().proven, 1, "it went with its session");
    });
}

#[test]
fn a_uuid_belongs_to_one_session() {
    with_client(|client, _| {
        let [owner, thief] = [0; 2].map(|_| Local::arrive(client, user(me())).unwrap());
        let uuid = owner.register();
        assert!(!thief.say(&Request::Register(uuid)));
        assert!(thief.ear.has_ended() && thief.ear.messages().is_empty());
        client.name(uuid);
        assert_eq!(owner.ear.messages(), [Message::Proven]);
        // One at a time, and one proof.
        assert!(!owner.say(&Request::Register([3; 16])));
        let greedy = Local::arrive(client, user(me())).unwrap();
        greedy.register();
        assert!(!greedy.say(&Request::Register([4; 16])));
        assert!(greedy.ear.has_ended());
    });
}

#[test]
fn nothing_is_opened_before_it_is_known_where_the_client_is() {
    with_client(|client, _| {
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        for registered in [false, true] {
            let local = Local::arrive(client, user(me())).unwrap();
            if registered {
                local.register();
            }
            let open = door::Open { serial: 1, handle: fh(&handle), access: Access::Read };
            assert!(!local.say(&Request::Open(open)));
            assert!(local.ear.has_ended() && local.ear.messages().is_empty());
        }
    });
}

#[test]
fn who_is_not_named_does_not_come_in() {
    with_client(|client, _| {
        let turned = Local::arrive(client, user(me() + 1)).err().unwrap();
        assert!(matches!(turned, Turned::User(id) if id == me() + 1), "{turned}");
        client.service.local().set_rules(Rules::default());
        assert!(matches!(Local::arrive(client, user(me())), Err(Turned::User(_))));
        client.service.local().recall_all();
        assert!(matches!(Local::arrive(client, user(me())), Err(Turned::Shut)));
        assert_eq!(client.service.local().statistics().turned_away, 3);
    });
}

#[test]
fn an_export_for_others_is_for_others_here_too() {
    as_root(|| {
        let (one, other) = (Disk::new(Kind::Tmpfs), Disk::new(Kind::Tmpfs));
        fs::write(other.export().join("file"), "secret").unwrap();
        let mut elsewhere = trusting(&other.export());
        elsewhere.path = "/elsewhere".parse().unwrap();
        elsewhere.clients = vec!["10.0.0.0/8".parse().unwrap()];
        let mut privileged = trusting(&other.export());
        privileged.path = "/privileged".parse().unwrap();
        privileged.privileged_port = true;
        let exports = vec![trusting(&one.export()), elsewhere, privileged];
        let client = Client::new(&Thread::new(), &service(exports));
        admit(&client, &[0]);
        let there = client.from("10.0.0.1:700");
        let handle = there.lookup(&there.mount("/elsewhere").unwrap(), b"file").unwrap();
        let guarded = client.lookup(&client.mount("/privileged").unwrap(), b"file").unwrap();

        let local = Local::new(&client, user(0));
        assert_eq!(local.open(&handle, Access::Read).unwrap_err(), Error::Acces);
        assert!(local.open(&guarded, Access::Read).is_ok());
        // It is where its NFS connection comes from, and from the port that has.
        assert!(Local::new(&there, user(0)).open(&handle, Access::Read).is_ok());
        let unprivileged = Local::new(&client.from("127.0.0.1:4000"), user(0));
        assert_eq!(unprivileged.open(&guarded, Access::Read).unwrap_err(), Error::Acces);
    });
}

#[test]
fn forged_handles_open_nothing() {
    with_client(|client, scratch| {
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let local = Local::new(client, user(me()));
        assert!(local.open(&handle, Access::ReadWrite).is_ok());
        let mut refused = 0;
        for bit in 0..handle.len() * 8 {
            let mut forged = handle.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            for access in [Access::Read, Access::ReadWrite] {
                let status = local.open(&forged, access).unwrap_err();
                assert!(matches!(status, Error::BadHandle | Error::Stale), "{status:?}");
                refused += 1;
            }
        }
        for length in 0..handle.len() {
            assert!(local.open(&handle[..length], Access::Read).is_err());
        }
        // One of a namespace with another key, of an export of the same directory.
        let other = HandleKey::from_bytes([9; 16]);
        let known = FileHandle::verify(&key(), &handle).unwrap();
        let foreign = FileHandle::seal(&other, known.export(), 0, *known.node());
        assert_eq!(local.open(foreign.as_bytes(), Access::Read).unwrap_err(), Error::Stale);
        // One with our key of an export that is not there.
        let mut options = trusting(scratch.path());
        options.path = "/gone".parse().unwrap();
        let gone = Export::open(options, &key(), || Ok(memory())).unwrap();
        let gone = gone.seal(&key(), known.node());
        assert_eq!(local.open(gone.as_bytes(), Access::Read).unwrap_err(), Error::Stale);
        assert_eq!(client.service.local().clients()[0].files, 1);
        assert!(refused > 500);
    });
}

#[test]
fn only_regular_files_are_lent() {
    let test = |uid: u32, client: &Client, directory: &std::path::Path| {
        let root = client.mount("/").unwrap();
        fs::create_dir(directory.join("directory")).unwrap();
        symlink("/etc/passwd", directory.join("link")).unwrap();
        crate::world::run("mkfifo", &[directory.join("fifo").to_str().unwrap()]);
        drop(std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap());
        let local = Local::new(client, user(uid));
        for name in ["directory", "link", "fifo", "socket", "device"] {
            let Ok(handle) = client.lookup(&root, name.as_bytes()) else { continue };
            for access in [Access::Read, Access::Write, Access::ReadWrite] {
                let refused = local.open(&handle, access).unwrap_err();
                assert!(matches!(refused, Error::IsDir | Error::Inval), "{name}: {refused:?}");
            }
        }
        assert_eq!(local.open(&root, Access::Read).unwrap_err(), Error::IsDir);
        assert_eq!(client.service.local().statistics().files, 0);
    };
    with_client(|client, scratch| test(me(), client, scratch.path()));
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let device = disk.export().join("device");
        crate::world::run("mknod", &[device.to_str().unwrap(), "c", "1", "3"]);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        admit(&client, &[0]);
        test(0, &client, &disk.export());
    });
}

#[test]
fn a_file_that_was_moved_out_of_the_export_is_not_lent() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            let clock = Clock::manual();
            let thread = Thread::within(Some(Tenant::new(Watcher::refusing(), clock.clone())));
            let client = Client::new(&thread, &service(vec![trusting(&disk.export())]));
            admit(&client, &[0]);
            let root = client.mount("/").unwrap();
            let handle = client.create(&root, b"file").unwrap();
            let local = Local::new(&client, user(0));
            let (file, _) = local.open(&handle, Access::Read).unwrap();
            fs::rename(disk.export().join("file"), disk.outside().join("file")).unwrap();
            // What is known of its place may be a second old.
            clock.advance(Duration::from_secs(1));
            assert_eq!(local.open(&handle, Access::Read).unwrap_err(), Error::Stale, "{kind:?}");
            assert!(local.close(file, true));
        }
    });
}

#[test]
fn floods_of_sessions_and_opens_end_at_their_limits() {
    with_client(|client, _| {
        let lender = client.service.local();
        let users = [me(), me() + 1].into();
        lender.set_rules(Rules { users, sessions: 40, files: 7 });
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let sessions: Vec<_> = (0..10).map(|_| Local::new(client, user(me()))).collect();
        for _ in 0..100 {
            assert!(matches!(Local::arrive(client, user(me())), Err(Turned::Full(_))));
        }
        assert!(Local::arrive(client, user(me() + 1)).is_ok(), "others have their own");

        let mut open = Vec::new();
        for local in &sessions {
            match local.open(&handle, Access::Read) {
                Ok((file, _)) => open.push((local, file)),
                Err(status) => assert_eq!(status, Error::JukeBox),
            }
        }
        assert_eq!((open.len(), lender.statistics().files), (7, 7));
        // One stateful file is open for all of them.
        let (local, file) = open.pop().unwrap();
        assert!(local.close(file, true));
        assert!(sessions[9].open(&handle, Access::Read).is_ok());
        assert_eq!(sessions[9].open(&handle, Access::Read).unwrap_err(), Error::JukeBox);
        for local in &sessions {
            local.session.ended();
            local.session.ended();
        }
        assert_eq!((lender.statistics().files, lender.statistics().sessions), (0, 1));
        assert!(Local::new(client, user(me())).open(&handle, Access::Read).is_ok());
    });
}

#[test]
fn who_does_not_listen_is_cut_off() {
    with_client(|client, _| {
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let deaf = Local::arrive_with_room(client, user(me()), 3).unwrap();
        client.name(deaf.register());
        deaf.ear.messages();
        let open = door::Open { serial: 1, handle: fh(&handle), access: Access::Read };
        for _ in 0..3 {
            assert!(deaf.say(&Request::Open(open)));
        }
        assert!(!deaf.say(&Request::Open(open)), "no room");
        assert!(deaf.ear.has_ended());
        assert!(!deaf.say(&Request::Open(open)));
        deaf.session.ended();
        assert_eq!(client.service.local().statistics().files, 0);

        let deaf = Local::arrive_with_room(client, user(me()), 1).unwrap();
        client.name(deaf.register());
        deaf.ear.messages();
        deaf.open(&handle, Access::Read).unwrap();
        assert!(deaf.say(&Request::Open(open)));
        client.service.local().recall_all();
        assert!(deaf.ear.has_ended(), "it cannot be told that all is recalled");
        assert_eq!(client.service.local().end_overdue(std::time::Instant::now()).len(), 1);
    });
}

#[test]
fn closing_what_is_not_open_ends_a_session() {
    with_client(|client, _| {
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let owner = Local::new(client, user(me()));
        let (file, _) = owner.open(&handle, Access::Read).unwrap();
        let other = Local::new(client, user(me()));
        assert!(!other.close(file, true), "another's");
        assert!(owner.close(file, true));
        assert!(!owner.close(file, true), "twice");
        assert!(owner.ear.has_ended());
    });
}

#[test]
fn what_is_no_message_ends_a_session_and_nothing_else() {
    with_client(|client, _| {
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let witness = Local::new(client, user(me()));
        let mut runner = proptest::test_runner::TestRunner::default();
        let packets = proptest::collection::vec(any::<u8>(), 0..300);
        runner
            .run(&packets, |packet| {
                let local = Local::new(client, user(me()));
                let goes_on = client.at_the_door(&local.session, &packet);
                prop_assert_eq!(goes_on, !local.ear.has_ended());
                prop_assert_eq!(goes_on, Request::from_packet(&packet).is_ok());
                local.session.ended();
                Ok(())
            })
            .unwrap();
        assert!(witness.open(&handle, Access::Read).is_ok());
    });
}

#[test]
fn read_only_is_read_only() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        fs::write(disk.export().join("file"), "content").unwrap();
        let options = ExportOptions { read_only: true, ..trusting(&disk.export()) };
        let client = Client::new(&Thread::new(), &service(vec![options]));
        admit(&client, &[0]);
        let handle = client.lookup(&client.mount("/").unwrap(), b"file").unwrap();
        let local = Local::new(&client, user(0));
        for access in [Access::Write, Access::ReadWrite] {
            assert_eq!(local.open(&handle, access).unwrap_err(), Error::RoFs);
        }
    });
}
