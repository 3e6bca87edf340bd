//! What clients may not, they don't get, whatever they send.

use crate::calls;
use crate::wire::*;
use crate::world::{Scratch, as_ordinary_user, as_root, memory, open_to_all};
use holm_nfs_proto::nfs3::{self, Error};
use holm_nfs_proto::{mount, portmap, rpcbind};
use holm_nfsd::export::{Export, ExportOptions, ExportTable, Network};
use holm_nfsd::handle::HandleKey;
use holm_nfsd::identity::SquashWho;
use holm_nfsd::service::Service;
use holm_nfsd::store::PathDatabase;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// Does everything that takes a handle with this one, and gives every status.
fn everything_with(client: &Client, handle: &[u8], good: &[u8]) -> Vec<(&'static str, u32)> {
    let calls = calls::with_handle(handle, good);
    calls.iter().map(|call| (call.procedure().name(), client.status(call))).collect()
}

fn all_fail(client: &Client, handle: &[u8], good: &[u8], errors: &[Error]) {
    for (procedure, status) in everything_with(client, handle, good) {
        let known = errors.iter().any(|error| *error as u32 == status);
        assert!(known, "{procedure}: {status}, not {errors:?}");
    }
}

fn contents(directory: &Path) -> Vec<(String, u64, i64)> {
    let mut all: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.path().symlink_metadata().unwrap();
            (entry.file_name().into_string().unwrap(), metadata.size(), metadata.ctime_nsec())
        })
        .collect();
    all.sort();
    all
}

fn with_service(key: &HandleKey, exports: Vec<ExportOptions>) -> Arc<Service> {
    let service = Service::new(key.clone(), Default::default()).unwrap();
    service.set_exports(table(key, exports));
    service
}

fn table(key: &HandleKey, exports: Vec<ExportOptions>) -> ExportTable {
    thread_local! {
        static DATABASE: Arc<PathDatabase> = memory();
    }
    let database = || Ok(DATABASE.with(Arc::clone));
    let open = |options| Arc::new(Export::open(options, key, database).unwrap());
    ExportTable::new(exports.into_iter().map(open).collect()).unwrap()
}

fn everywhere(test: fn()) {
    as_root(test);
    as_ordinary_user(test);
}

#[test]
fn no_handle_with_a_changed_bit_or_length_reaches_anything() {
    everywhere(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        let file = client.create(&root, b"file").unwrap();
        let before = contents(scratch.path());
        let refused = [Error::Stale, Error::BadHandle];
        for handle in [&file, &root] {
            for bit in 0..handle.len() * 8 {
                let mut forged = handle.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                all_fail(&client, &forged, &root, &refused);
            }
        }
        all_fail(&client, &file[..file.len() - 1], &root, &refused);
        all_fail(&client, &[], &root, &refused);
        all_fail(&client, &[1; 64], &root, &refused);
        let longer = [&root[..], &[0]].concat();
        all_fail(&client, &longer, &root, &refused);
        assert_eq!(contents(scratch.path()), before);
    });
}

#[test]
fn another_tenants_handles_are_stale_though_it_shows_the_same_directory() {
    everywhere(|| {
        let scratch = Scratch::new();
        let key = |byte| HandleKey::from_bytes([byte; 16]);
        let thread = Thread::new();
        let blue = Client::new(&thread, &with_service(&key(1), vec![trusting(scratch.path())]));
        let green = Client::new(&thread, &with_service(&key(2), vec![trusting(scratch.path())]));
        let file = blue.create(&blue.mount("/").unwrap(), b"file").unwrap();
        let before = contents(scratch.path());
        all_fail(&green, &file, &green.mount("/").unwrap(), &[Error::Stale]);
        assert_eq!(contents(scratch.path()), before);
        // A namespace that is made again with the key it had, as after a restart, knows it.
        let again = Client::new(&thread, &with_service(&key(2), vec![trusting(scratch.path())]));
        let root = green.mount("/").unwrap();
        assert_eq!(again.getattr(&root), green.getattr(&root));
    });
}

#[test]
fn handles_are_of_their_export_and_go_with_it() {
    everywhere(|| {
        let (one, two) = (Scratch::new(), Scratch::new());
        let at = |path: &str, directory: &Path| {
            let mut options = trusting(directory);
            options.path = path.parse().unwrap();
            options
        };
        let exports = vec![at("/one", one.path()), at("/two", two.path())];
        let key = HandleKey::from_bytes([3; 16]);
        let service = with_service(&key, exports.clone());
        let client = Client::new(&Thread::new(), &service);
        let (of_one, of_two) = (client.mount("/one").unwrap(), client.mount("/two").unwrap());
        let file = client.create(&of_one, b"file").unwrap();
        client.create(&of_two, b"other").unwrap();

        let moved = client.rename((&of_one, b"file"), (&of_two, b"file"));
        let (error, wcc) = failure(moved);
        assert_eq!((error, wcc.from_dir_wcc.after.is_some()), (Error::XDev, true));
        let (error, wcc) = failure(client.link(&file, &of_two, b"file"));
        assert_eq!((error, wcc.file_attributes.unwrap().nlink), (Error::XDev, 1));
        assert_ne!(client.getattr(&of_one).unwrap().fsid, client.getattr(&of_two).unwrap().fsid);

        service.set_exports(table(&key, vec![exports[1].clone()]));
        all_fail(&client, &file, &of_two, &[Error::Stale]);
        assert_eq!(client.mount("/one"), Err(mount::Error::NoEnt));
        // Another directory in its place is not what the handle was of.
        service.set_exports(table(&key, vec![at("/one", two.path())]));
        all_fail(&client, &file, &file, &[Error::Stale]);
        service.set_exports(table(&key, exports));
        assert!(client.getattr(&file).is_ok(), "back again");
    });
}

#[test]
fn an_export_is_for_its_networks_and_ports_only() {
    everywhere(|| {
        let (open, closed) = (Scratch::new(), Scratch::new());
        let mut options = vec![trusting(open.path()), trusting(closed.path())];
        options[0].path = "/open".parse().unwrap();
        options[0].clients = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        options[1].path = "/closed".parse().unwrap();
        options[1].privileged_port = true;
        let local = Client::new(&Thread::new(), &service(options));
        let handle = local.mount("/closed").unwrap();
        let inside = local.from("10.1.2.3:5000");
        let open_handle = inside.mount("/open").unwrap();
        assert!(local.from("[fd00::5]:5000").getattr(&open_handle).is_ok());
        assert!(local.from("[::ffff:10.1.9.9]:5000").getattr(&open_handle).is_ok());

        // Out of its networks, with a handle that somebody gave away.
        assert_eq!(local.mount("/open"), Err(mount::Error::Acces));
        all_fail(&local, &open_handle, &handle, &[Error::Acces]);
        assert_eq!(inside.mount("/closed"), Err(mount::Error::Acces));
        all_fail(&inside, &handle, &open_handle, &[Error::Acces]);
        // From a port that any program can have.
        let anybody = local.from("127.0.0.1:1024");
        assert_eq!(anybody.mount("/closed"), Err(mount::Error::Acces));
        all_fail(&anybody, &handle, &handle, &[Error::Acces]);
        assert!(local.from("127.0.0.1:1023").getattr(&handle).is_ok());

        // To a stranger it says nothing at all.
        let stranger = local.from("192.168.0.1:700");
        assert_eq!(stranger.mount("/open"), Err(mount::Error::Acces));
        assert_eq!(stranger.mount("/absent"), Err(mount::Error::Acces));
        assert!(stranger.mount_call::<mount::ExportRes<'_>>(&mount::Call::Export).is_empty());
        assert!(stranger.mount_call::<mount::DumpRes<'_>>(&mount::Call::Dump).is_empty());
        assert!(stranger.portmap_call::<portmap::DumpRes>(&portmap::Call::Dump).is_empty());
        let asked = rpcbind::Call::Dump;
        assert!(stranger.rpcbind_call::<rpcbind::DumpRes<'_>>(4, &asked).unwrap().is_empty());
        assert_eq!(inside.mount_call::<mount::ExportRes<'_>>(&mount::Call::Export).len(), 2);
    });
}

#[test]
fn nobody_but_this_machine_is_served_unless_said_so() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let options = ExportOptions::new("/".parse().unwrap(), scratch.path());
        assert_eq!(options.clients, Network::LOOPBACK);
        let client = Client::new(&Thread::new(), &service(vec![options]));
        assert!(client.from("127.9.9.9:5000").mount("/").is_ok());
        assert!(client.from("[::1]:5000").mount("/").is_ok());
        for stranger in ["10.0.0.1:700", "192.168.1.1:700", "[fe80::1]:700", "[::2]:700"] {
            assert_eq!(client.from(stranger).mount("/"), Err(mount::Error::Acces));
        }
    });
}

#[test]
fn who_lies_about_its_identity_is_squashed_all_the_same() {
    as_root(|| {
        let scratch = Scratch::new();
        open_to_all(scratch.path());
        fs::write(scratch.path().join("roots"), "secret").unwrap();
        use std::os::unix::fs::PermissionsExt;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(scratch.path().join("roots"), private).unwrap();
        let mut options = trusting(scratch.path());
        options.squash.who = SquashWho::Everybody;
        (options.squash.uid, options.squash.gid) = (3001, 3002);
        let client = Client::new(&Thread::new(), &service(vec![options]));
        let root = client.mount("/").unwrap();
        let secret = client.lookup(&root, b"roots").unwrap();
        for (index, user) in [Some((0, 0)), Some((1001, 0)), Some((u32::MAX, u32::MAX)), None]
            .into_iter()
            .enumerate()
        {
            let liar = Client { user, ..client.clone() };
            let name = format!("file{index}");
            let file = liar.create(&root, name.as_bytes()).unwrap();
            let told = liar.getattr(&file).unwrap();
            assert_eq!((told.uid, told.gid), (3001, 3002), "{user:?}");
            assert_eq!(liar.read(&secret, 0, 9), Err(Error::Acces));
            assert_eq!(liar.access(&secret, 0x3f), Ok(0));
            // Root by its own word: that is who it is here, and whose the file is.
            let give = nfs3::SetAttributes { uid: Some(0), ..Default::default() };
            let given = liar.setattr(&file, give, None).into_result().map(drop);
            let expected = if user == Some((0, 0)) { Ok(()) } else { Err(Error::Perm) };
            assert_eq!(given, expected, "{user:?}");
            assert_eq!(liar.getattr(&file).unwrap().uid, 3001, "{user:?}");
        }
    });
}

#[test]
fn root_is_nobody_unless_the_export_says_otherwise() {
    as_root(|| {
        let scratch = Scratch::new();
        open_to_all(scratch.path());
        let options = ExportOptions::new("/".parse().unwrap(), scratch.path());
        let client = Client::new(&Thread::new(), &service(vec![options]));
        let root = client.mount("/").unwrap();
        let owner = |client: &Client, name: &[u8]| {
            let told = client.getattr(&client.create(&root, name).unwrap()).unwrap();
            (told.uid, told.gid)
        };
        assert_eq!(owner(&client, b"a"), (65534, 65534));
        assert_eq!(owner(&client.user(1001), b"b"), (1001, 1001));
        assert_eq!(owner(&Client { user: None, ..client.clone() }, b"c"), (65534, 65534));
    });
}

#[test]
fn no_name_in_any_field_leads_out_of_the_directory() {
    everywhere(|| {
        let scratch = Scratch::new();
        let export = scratch.path().join("export");
        fs::create_dir(&export).unwrap();
        fs::write(scratch.path().join("secret"), "secret").unwrap();
        symlink("..", export.join("up")).unwrap();
        let client = Client::new(&Thread::new(), &service(vec![trusting(&export)]));
        let root = client.mount("/").unwrap();
        let file = client.create(&root, b"file").unwrap();
        let before = contents(scratch.path());
        let names: [(&[u8], Error); 17] = [
            (b"../secret", Error::Acces),
            (b"../new", Error::Acces),
            (b"./../secret", Error::Acces),
            (b"./file", Error::Acces),
            (b"file/", Error::Acces),
            (b"file/..", Error::Acces),
            (b"/etc/passwd", Error::Acces),
            (b"up/secret", Error::Acces),
            (b"up/new", Error::Acces),
            (b"..\0", Error::Acces),
            (b"\0", Error::Acces),
            (b"/", Error::Acces),
            (b"", Error::Acces),
            (b"../export/../secret", Error::Acces),
            (b"//secret", Error::Acces),
            (&[b'n'; 256], Error::NameTooLong),
            (&[b'/'; 65_536], Error::NameTooLong),
        ];
        for (name, error) in names {
            for call in calls::with_name(&root, name, &file, b"file") {
                let what = String::from_utf8_lossy(name);
                assert_eq!(client.status(&call), error as u32, "{what:?} {call:?}");
            }
        }
        // Names that every directory has, and that are nobody's to change.
        for name in [&b"."[..], b".."] {
            for call in calls::with_name(&root, name, &file, b"file").iter().skip(1) {
                let status = client.status(call);
                let refused = [Error::Exist, Error::Inval].map(|error| error as u32);
                assert!(refused.contains(&status), "{status} {call:?}");
            }
            let found = client.lookup(&root, name).unwrap();
            let fileid = |handle: &[u8]| client.getattr(handle).unwrap().fileid;
            assert_eq!(fileid(&found), fileid(&root));
        }
        // The link itself is one, and leads nowhere here.
        let up = client.lookup(&root, b"up").unwrap();
        assert_eq!(client.lookup(&up, b"secret"), Err(Error::NotDir));
        let above = client.lookup(&root, b"..").unwrap();
        assert_eq!(client.lookup(&above, b"secret"), Err(Error::NoEnt));
        for path in ["/../secret", "/..", "/up", "/up/export", "/file", "/./../.."] {
            assert!(client.mount(path).is_err(), "{path}");
        }
        assert_eq!(contents(scratch.path()), before);
    });
}

#[test]
fn whatever_arguments_are_sent_there_is_a_reply_and_nothing_outside_changes() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let export = scratch.path().join("export");
        fs::create_dir(&export).unwrap();
        fs::write(scratch.path().join("secret"), "secret").unwrap();
        let client = Client::new(&Thread::new(), &service(vec![trusting(&export)]));
        let root = client.mount("/").unwrap();
        let programs = [(nfs3::PROGRAM, 3), (mount::PROGRAM, 3)];
        let binders = [2, 3, 4].map(|version| (portmap::PROGRAM, version));
        let programs = proptest::sample::select([&programs[..], &binders[..]].concat());
        // Half of them begin with a good handle.
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        let input = (programs, 0..24u32, any::<bool>(), bytes);
        let mut runner = TestRunner::new(Config { cases: 3000, ..Config::default() });
        let send = |((program, version), procedure, good, bytes): (_, _, bool, Vec<u8>)| {
            let mut arguments = holm_xdr::Encoder::new();
            if good {
                arguments.put(&fh(&root));
            }
            arguments.raw(&bytes);
            let reply = client.send(client.xid(), (program, version, procedure), &arguments);
            let is_call_it = (program, version, procedure) == (portmap::PROGRAM, 2, 5);
            prop_assert!(reply.is_some_and(|reply| reply.len() >= 24) || is_call_it);
            Ok(())
        };
        runner.run(&input, send).unwrap();
        assert_eq!(fs::read(scratch.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    });
}
