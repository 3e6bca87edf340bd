//! Files past the network, for programs on this machine.

use crate::door::AtDoor;
use crate::world::{Nfs, World, address, open_below, stop};
use holm::config::{Config, Configured};
use holm::model::{ErrorCode, Happened, LimitsSpec, LocalPatch, LocalSpec, NamespaceSpec, Squash};
use holm::server::{Options, Server};
use holm_lifetime::Deadline;
use holm_localio::{Access as LibraryAccess, Local, Mount, User};
use holm_nfs_proto::localio::door::{Access, Message};
use holm_nfs_proto::nfs3;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

const STRANGER: u32 = 4242;

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl World {
    fn doors(&self) -> PathBuf {
        self.folder.path().join("doors")
    }

    fn server_with_doors(&self) -> Arc<Server> {
        let doors = Some(self.doors());
        Server::start(Options { doors, ..Options::new(self.state()) }).unwrap()
    }

    /// A namespace with a door for whoever runs the test, who is himself there.
    fn local_spec(&self, name: &str) -> NamespaceSpec {
        let mut spec = self.spec(name);
        spec.export[0].squash = Squash::None;
        spec.local.users.insert(own_user());
        spec
    }

    /// A file of a namespace that everybody may write to.
    fn file(&self, ns: &str, name: &str, content: &str) -> PathBuf {
        let path = self.directory(ns).join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        path
    }
}

/// A client that is in, with the handle of a file.
fn come_in(server: &Server, ns: &str, file: &str) -> (AtDoor, Nfs, Vec<u8>) {
    let view = server.namespace(ns).unwrap();
    let mut nfs = Nfs::connect(address(&view));
    let root = nfs.mount("/").unwrap();
    let handle = nfs.lookup(&root, file).unwrap();
    let door = AtDoor::come_in(&view.local.door.unwrap(), &mut nfs);
    (door, nfs, handle)
}

/// Runs something as another user, on a thread of its own; nothing if we are not root.
fn as_user<R: Send>(user: u32, work: impl FnOnce() -> R + Send) -> Option<R> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let user = rustix::process::Uid::from_raw(user);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            work()
        });
        Some(thread.join().unwrap())
    })
}

#[test]
fn files_are_read_and_written_past_the_network() {
    let world = World::new();
    let path = world.file("blue", "file", "content");
    let server = world.server_with_doors();
    let mut events = server.events();
    let view = server.add_namespace(world.local_spec("blue")).unwrap();
    let socket = view.local.door.unwrap();
    assert_eq!(socket, world.doors().join("blue.sock"));
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);

    let (door, nfs, handle) = come_in(&server, "blue", "file");
    let (number, file) = door.open(&handle, Access::ReadWrite).unwrap();
    let mut content = [0; 7];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"content");
    file.write_all_at(b"CON", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"CONtent");

    let local = server.local("blue").unwrap();
    let [client] = &local.clients[..] else { panic!("{local:?}") };
    assert_eq!(client.pid, Some(i32::try_from(std::process::id()).unwrap()));
    assert_eq!((client.uid, client.files), (own_user(), 1));
    assert_eq!(client.address.as_deref(), Some("127.0.0.1"));
    assert!(client.oldest.is_some() && client.recalled.is_none());
    // What it holds is said before anybody asks for its end.
    let held = server.namespace("blue").unwrap().held;
    let holder = held.holders.iter().find(|it| {
        it.client.as_deref().is_some_and(|who| {
            who == format!("process {} of user {}", std::process::id(), own_user())
        })
    });
    assert!(holder.is_some(), "{held:?}");

    drop(file);
    door.close(number).unwrap();
    assert_eq!(door.open(b"forged", Access::Read).unwrap_err(), nfs3::Error::BadHandle);
    // That was after the close.
    assert_eq!(server.local("blue").unwrap().clients[0].files, 0);
    drop(door);
    while !server.local("blue").unwrap().clients.is_empty() {
        thread::yield_now();
    }
    let counters = server.namespace("blue").unwrap().counters.unwrap();
    assert_eq!((counters.local_clients, counters.local_opened), (1, 1));
    drop(nfs);
    server.del_namespace("blue", Deadline::Never).unwrap();
    assert!(!socket.exists(), "the door was left");
    let who = (Some(i32::try_from(std::process::id()).unwrap()), own_user());
    let said: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.what).collect();
    let came = Happened::LocalClientCame { pid: who.0, uid: who.1 };
    let went = Happened::LocalClientWent { pid: who.0, uid: who.1, files: 0 };
    let place = |what: &Happened| said.iter().position(|said| said == what);
    assert!(place(&came).is_some() && place(&came) < place(&went), "{said:?}");
    stop(server);
    assert_eq!(open_below(world.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn who_is_not_named_is_sent_away() {
    let world = World::new();
    world.file("blue", "file", "");
    let server = world.server_with_doors();
    // Nobody is named unless somebody is.
    let off = NamespaceSpec { local: LocalSpec::default(), ..world.local_spec("green") };
    let off = server.add_namespace(off).unwrap();
    assert_eq!(off.local.door, None);
    assert!(!world.doors().join("green.sock").exists());

    let view = server.add_namespace(world.local_spec("blue")).unwrap();
    let (socket, at) = (view.local.door.clone().unwrap(), address(&view));
    let knock = || {
        let mut nfs = Nfs::connect(at);
        AtDoor::connect(&socket).unwrap().prove(&mut nfs).is_some()
    };
    assert!(knock());
    let Some(let_in) = as_user(STRANGER, knock) else { return };
    assert!(!let_in);
    assert!(server.namespace("blue").unwrap().counters.unwrap().local_refused >= 1);

    // It is from the next who comes on.
    let patch = LocalPatch { add_users: [STRANGER].into(), ..LocalPatch::default() };
    let local = server.set_local("blue", patch).unwrap();
    assert_eq!(local.spec.users, BTreeSet::from([own_user(), STRANGER]));
    assert_eq!(as_user(STRANGER, knock), Some(true));
    let theirs = as_user(STRANGER, || {
        let mut nfs = Nfs::connect(at);
        (AtDoor::come_in(&socket, &mut nfs), nfs)
    });
    let (theirs, nfs) = theirs.unwrap();
    let (ours, _nfs, handle) = come_in(&server, "blue", "file");
    let patch = LocalPatch { del_users: [STRANGER].into(), ..LocalPatch::default() };
    server.set_local("blue", patch).unwrap();
    assert_eq!(theirs.hear().unwrap().0, Message::RecallAll);
    assert!(ours.open(&handle, Access::Read).is_ok(), "the others stay");
    assert_eq!(as_user(STRANGER, knock), Some(false));
    drop((theirs, nfs, ours));
    stop(server);
}

#[test]
fn users_go_with_their_files_and_the_door_with_the_last() {
    let world = World::new();
    world.file("blue", "file", "content");
    let server = world.server_with_doors();
    let mut spec = world.local_spec("blue");
    spec.local.recall_time = 1;
    let socket = server.add_namespace(spec).unwrap().local.door.unwrap();
    let (quick, _nfs, handle) = come_in(&server, "blue", "file");
    let (slow, _other, _) = come_in(&server, "blue", "file");
    let (number, file) = quick.open(&handle, Access::Read).unwrap();
    let (_, kept) = slow.open(&handle, Access::Read).unwrap();
    let mut events = server.events();

    let patch = LocalPatch { del_users: [own_user()].into(), ..LocalPatch::default() };
    let local = server.set_local("blue", patch).unwrap();
    assert_eq!((local.door, local.spec.users.len()), (None, 0));
    assert_eq!(AtDoor::connect(&socket).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(quick.hear().unwrap().0, Message::RecallAll);
    assert_eq!(quick.open(&handle, Access::Read).unwrap_err(), nfs3::Error::JukeBox);
    drop(file);
    quick.close(number).unwrap();
    drop(quick);

    // Who does not give back is cut off, and keeps what it was handed.
    assert_eq!(slow.hear().unwrap().0, Message::RecallAll);
    assert!(slow.hear().is_none());
    let mut content = [0; 7];
    kept.read_exact_at(&mut content, 0).unwrap();
    while !server.local("blue").unwrap().clients.is_empty() {
        thread::yield_now();
    }
    let cut_off = std::iter::from_fn(|| events.try_next()).find_map(|event| match event.what {
        Happened::LocalClientCutOff { pid, uid, files } => Some((pid, uid, files)),
        _ => None,
    });
    let pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(cut_off, Some((Some(pid), own_user(), 1)));
    assert_eq!(server.namespace("blue").unwrap().counters.unwrap().local_cut_off, 1);
    stop(server);
}

#[test]
fn configuration_says_who_may_and_where() {
    let world = World::new();
    world.file("blue", "file", "content");
    let config = world.folder.path().join("holm.toml");
    let other = world.folder.path().join("other/door.sock");
    let write = |local: &str| {
        let (dir, own) = (world.directory("blue").display().to_string(), own_user());
        let local = local.replace("OWN", &own.to_string());
        let text = format!(
            "[ns.blue]\nlisten = [{{ addr = \"127.0.0.1:0\" }}]\n\
             export = [{{ path = \"/\", dir = \"{dir}\", squash = \"none\" }}]\n{local}\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("local = { users = [OWN] }");
    let server = world.server_with_doors();
    let mut configured =
        Configured::begin(&config, Config::load(&config).unwrap(), &server).unwrap();
    let (door, _nfs, handle) = come_in(&server, "blue", "file");
    let (_, _file) = door.open(&handle, Access::Read).unwrap();
    assert_eq!(configured.reload(&server).unwrap(), [""; 0]);

    // Elsewhere: who is in stays.
    write(&format!("local = {{ users = [OWN, 7], socket = \"{}\" }}", other.display()));
    assert_eq!(configured.reload(&server).unwrap(), ["namespace blue: local users changed"]);
    let local = server.local("blue").unwrap();
    assert_eq!((local.door.as_deref(), local.clients.len()), (Some(&*other), 1));
    assert!(!world.doors().join("blue.sock").exists());
    assert!(door.open(&handle, Access::Read).is_ok());
    let (again, _again, _) = come_in(&server, "blue", "file");

    // One file at a time for all together, and then for nobody.
    write(&format!(
        "local = {{ users = [OWN], socket = \"{}\" }}\nlimits = {{ local-files = 1 }}",
        other.display()
    ));
    configured.reload(&server).unwrap();
    assert_eq!(again.open(&handle, Access::Read).unwrap_err(), nfs3::Error::JukeBox);
    write("");
    configured.reload(&server).unwrap();
    assert_eq!(again.hear().unwrap().0, Message::RecallAll);
    assert_eq!(door.hear().unwrap().0, Message::RecallAll);
    assert!(!other.exists());

    // A reload that is refused leaves no door.
    let wrong = world.folder.path().join("file");
    fs::write(&wrong, "").unwrap();
    write(&format!("local = {{ users = [OWN], socket = \"{}\" }}", wrong.display()));
    let refused = configured.reload(&server).unwrap_err();
    let expected =
        format!("could not make the door {}: what is there is not a socket", wrong.display());
    assert!(refused.len() == 1 && refused[0].contains(&expected), "{refused:?}");
    assert_eq!(fs::read(&wrong).unwrap(), b"");
    drop((door, again));
    stop(server);
}

#[test]
fn exports_that_change_or_go_want_their_files_back() {
    let world = World::new();
    world.file("blue", "file", "content");
    world.file("more", "file", "content");
    let server = world.server_with_doors();
    let mut spec = world.local_spec("blue");
    let mut more = holm::model::ExportSpec::new("/more", world.directory("more"));
    more.squash = Squash::None;
    spec.export.push(more);
    server.add_namespace(spec).unwrap();
    let (door, mut nfs, handle) = come_in(&server, "blue", "file");
    let root = nfs.mount("/more").unwrap();
    let theirs = nfs.lookup(&root, "file").unwrap();
    let (stays, file) = door.open(&handle, Access::Read).unwrap();
    let (goes, other) = door.open(&theirs, Access::ReadWrite).unwrap();
    let give_back = thread::spawn(move || {
        // One by one, and only those of the export.
        assert_eq!(door.hear().unwrap().0, Message::Recall(goes));
        drop(other);
        door.close(goes).unwrap();
        door
    });
    server.del_export("blue", "/more", Deadline::Never).unwrap();
    let door = give_back.join().unwrap();
    assert_eq!(open_below(&world.directory("more")), Vec::<PathBuf>::new());
    assert_eq!(door.open(&theirs, Access::Read).unwrap_err(), nfs3::Error::Stale);
    assert!(door.open(&handle, Access::Read).is_ok());
    drop(file);
    door.close(stays).unwrap();
    drop(door);
    stop(server);
}

#[test]
fn doors_of_others_are_not_taken() {
    let world = World::new();
    let server = world.server_with_doors();
    let blue = server.add_namespace(world.local_spec("blue")).unwrap();
    let socket = blue.local.door.unwrap();
    // By this server or another one.
    let mut spec = world.local_spec("green");
    spec.local.socket = Some(socket.clone());
    let refused = server.add_namespace(spec).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Exists);
    let expected = format!(
        "namespace green: could not make the door {}: a server answers there; stop it, or choose another \
         path",
        socket.display()
    );
    assert_eq!(refused.to_string(), expected);
    let mut nfs = Nfs::connect(blue.listeners[0].local);
    drop(AtDoor::come_in(&socket, &mut nfs));

    // What nobody listens at is what a server has left that was killed.
    let mut spec = world.local_spec("green");
    let left = world.folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    spec.local.socket = Some(left.clone());
    let green = server.add_namespace(spec).unwrap();
    drop(AtDoor::come_in(&left, &mut Nfs::connect(address(&green))));

    // Without a folder for them, each has to be named.
    drop(nfs);
    stop(server);
    assert!(!socket.exists() && !left.exists());
    let server = world.server();
    let refused = server.add_namespace(world.local_spec("blue")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    assert!(refused.to_string().contains("say where it is to be"), "{refused}");
    stop(server);
}

#[test]
fn name_is_free_for_another_door_at_once() {
    let world = World::new();
    world.file("blue", "file", "content");
    let server = world.server_with_doors();
    let mut spec = world.local_spec("blue");
    spec.local.recall_time = 3600;
    server.add_namespace(spec.clone()).unwrap();
    let (door, _nfs, handle) = come_in(&server, "blue", "file");
    let (number, file) = door.open(&handle, Access::Read).unwrap();
    let refused = server.del_namespace("blue", Deadline::now()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StillHeld);
    let named = format!("for process {} of user {}", std::process::id(), own_user());
    assert!(refused.to_string().contains(&named), "{refused}");

    server.add_namespace(spec).unwrap();
    let (other, _other_nfs, other_handle) = come_in(&server, "blue", "file");
    assert!(other.open(&other_handle, Access::Read).is_ok());
    assert_eq!(other.open(&handle, Access::Read).unwrap_err(), nfs3::Error::Stale);
    let draining = server.namespace("blue@1").unwrap();
    let [client] = &draining.local.clients[..] else { panic!("{draining:?}") };
    assert_eq!((client.files, client.recalled.is_some()), (1, true));

    assert_eq!(door.hear().unwrap().0, Message::RecallAll);
    assert_eq!(door.open(&handle, Access::Read).unwrap_err(), nfs3::Error::JukeBox);
    drop(file);
    door.close(number).unwrap();
    server.del_namespace("blue@1", Deadline::Never).unwrap();
    assert!(door.hear().is_none());
    drop(other);
    stop(server);
}

#[test]
fn who_talks_nonsense_or_nothing_is_sent_away() {
    let world = World::new();
    world.file("blue", "file", "content");
    let server = world.server_with_doors();
    let view = server.add_namespace(world.local_spec("blue")).unwrap();
    let socket = view.local.door.unwrap();
    // As long as it takes.
    let silent = AtDoor::connect(&socket).unwrap();
    assert!(matches!(silent.hear(), Some((Message::Welcome(_), None))));

    for nonsense in [&b""[..], b"x", &[0; 256], &[255; 257]] {
        let (door, _nfs, handle) = come_in(&server, "blue", "file");
        let (_, _file) = door.open(&handle, Access::Read).unwrap();
        door.say_bytes(nonsense).unwrap();
        assert!(door.hear().is_none(), "{nonsense:?}");
    }
    // Who does not listen.
    let (deaf, _nfs, handle) = come_in(&server, "blue", "file");
    let flood = std::iter::repeat_with(|| deaf.say(&open(&handle)));
    assert!(flood.take(1 << 20).any(|said| said.is_err()));

    // More than a quarter of all places are not for one user.
    let mut crowd = Vec::new();
    let full = loop {
        let one = AtDoor::connect(&socket).unwrap();
        match one.hear() {
            Some(_) => crowd.push(one),
            None => break crowd.len(),
        }
    };
    assert_eq!(full, 255, "and the silent one");
    drop(crowd);
    assert!(silent.hear().is_none());
    while !server.local("blue").unwrap().clients.is_empty() {
        thread::yield_now();
    }
    // Nothing of all of it is left.
    assert_eq!(open_below(&world.directory("blue").join("file")), Vec::<PathBuf>::new());
    let (door, _nfs, handle) = come_in(&server, "blue", "file");
    assert!(door.open(&handle, Access::Read).is_ok());
    drop(door);
    stop(server);
}

/// The client library, which finds the door by itself, and goes on without it.
#[test]
fn programs_that_use_the_library_come_by_the_door() {
    let world = World::new();
    let path = world.file("blue", "file", "content");
    let server = world.server_with_doors();
    let view = server.add_namespace(world.local_spec("blue")).unwrap();
    let mount = mount(address(&view), Local::Automatic);
    let file = mount.open("file", LibraryAccess::ReadWrite).unwrap();
    file.write_at(b"CON", 0).unwrap();
    file.commit().unwrap();
    assert!(file.is_local());
    assert_eq!(fs::read(&path).unwrap(), b"CONtent");
    assert_eq!(server.local("blue").unwrap().clients[0].files, 1);

    // Wanted back, it is given back, and the file is used by NFS.
    let patch = LocalPatch { del_users: [own_user()].into(), ..LocalPatch::default() };
    server.set_local("blue", patch).unwrap();
    while !server.local("blue").unwrap().clients.is_empty() {
        thread::yield_now();
    }
    file.write_at(b"TENT", 3).unwrap();
    file.commit().unwrap();
    assert!(!file.is_local());
    assert_eq!(fs::read(&path).unwrap(), b"CONTENT");
    assert_eq!(server.namespace("blue").unwrap().counters.unwrap().local_cut_off, 0);
    drop((file, mount));
    stop(server);
}

/// The same in the process of the server. Nothing of the namespace is held between two operations.
#[test]
fn program_that_has_the_server_within_itself_needs_no_socket() {
    let world = World::new();
    let path = world.file("blue", "file", "content");
    let server = world.server();
    let mut spec = world.local_spec("blue");
    spec.local = LocalSpec::default();
    let view = server.add_namespace(spec).unwrap();
    let door = server.door_within("blue", &User::of_process()).unwrap();
    let mount = mount(address(&view), Local::Given(door));
    let file = mount.open("file", LibraryAccess::ReadWrite).unwrap();
    let mut content = [0; 7];
    assert_eq!(file.read_at(&mut content, 0).unwrap(), 7);
    assert_eq!(&content, b"content");
    file.write_at(b"CONTENT", 0).unwrap();
    file.commit().unwrap();
    assert!(file.is_local());
    assert_eq!(fs::read(&path).unwrap(), b"CONTENT");
    // By this way, and by no call.
    let reads = |server: &Server| {
        let statistics = holm::metrics::Statistics::read(server);
        let all = statistics.namespaces[0].operations.iter();
        all.filter(|of| matches!(of.procedure.as_str(), "READ" | "WRITE" | "COMMIT")).count()
    };
    assert_eq!(reads(&server), 0);
    // This thread is itself again.
    assert_eq!(fs::metadata("/proc/thread-self").unwrap().uid(), own_user());

    server.del_namespace("blue", Deadline::Never).unwrap();
    assert_eq!(open_below(&world.directory("blue")), Vec::<PathBuf>::new());
    assert!(file.read_at(&mut content, 0).is_err(), "and there is no server");
    assert_eq!(
        server.door_within("blue", &User::of_process()).unwrap_err().code(),
        ErrorCode::NotFound
    );
    drop((file, mount));
    stop(server);
}

fn mount(at: std::net::SocketAddr, local: Local) -> Mount {
    let mut options = holm_localio::Options::default();
    options.local = local;
    options.patience = std::time::Duration::from_secs(5);
    Mount::new(&format!("nfs://{at}/").parse().unwrap(), &options).unwrap()
}

fn open(handle: &[u8]) -> holm_nfs_proto::localio::door::Request<'_> {
    use holm_nfs_proto::localio::door::{Open, Request};
    let handle = holm_xdr::Opaque::new(handle).unwrap();
    Request::Open(Open { serial: 1, handle, access: Access::Read })
}

/// Limits are checked like all others.
#[test]
fn limits_of_local_files_are_limits() {
    let world = World::new();
    let server = world.server_with_doors();
    server.add_namespace(world.local_spec("blue")).unwrap();
    let bad = LimitsSpec { local_files: Some(0), ..LimitsSpec::default() };
    assert_eq!(server.set_limits("blue", bad).unwrap_err().code(), ErrorCode::Invalid);
    let bad = LocalPatch { recall_time: Some(0), ..LocalPatch::default() };
    let refused = server.set_local("blue", bad).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    assert!(refused.to_string().contains("local.recall-time: 0 is out of range"), "{refused}");
    assert!(Path::new(&server.local("blue").unwrap().door.unwrap()).exists());
    stop(server);
}
