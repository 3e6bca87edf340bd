//! The end of a namespace and of an export, while everything is in use.
//!
//! In a process of its own, one test at a time: whoever starts a program has its child hold all
//! descriptors for a moment, and then nothing can be unmounted.

#[path = "it/door.rs"]
mod door;
#[path = "it/world.rs"]
mod world;

use door::AtDoor;
use holm::model::{ErrorCode, ExportSpec, Happened, NamespaceSpec, NamespaceState, Squash};
use holm::server::{Error, Options, Server};
use holm_lifetime::Deadline;
use holm_localio::{Access as LibraryAccess, Local, Mount, User};
use holm_nfs_proto::localio::door::{Access, Message};
use holm_nfs_proto::nfs3;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use world::{Nfs, World, address, open_below, stop};

/// C1: when `ns del` returns, the file system can be unmounted at once.
#[test]
fn file_system_is_free_when_a_namespace_under_load_is_gone() {
    with_own_mounts(|| {
        let world = World::new();
        let server = world.server();
        for round in 0..20 {
            let disk = Tmpfs::mount(&world, "blue");
            let at = address(&server.add_namespace(world.spec("blue")).unwrap());
            let served = AtomicU64::new(0);
            thread::scope(|scope| {
                for client in 0..8 {
                    let served = &served;
                    scope.spawn(move || load(at, client, served));
                }
                // Until all are at it, and some of them for a while.
                while served.load(Ordering::Relaxed) < 100 + round * 20 {
                    thread::yield_now();
                }
                server.del_namespace("blue", Deadline::Never).unwrap();
                disk.unmount();
                assert_eq!(open_below(&world.folder.path().join("blue")), Vec::<PathBuf>::new());
            });
        }
        assert_eq!(server.namespaces(), []);
        stop(server);
    });
}

/// The same for an export of a namespace that goes on.
#[test]
fn file_system_is_free_when_an_export_under_load_is_removed() {
    with_own_mounts(|| {
        let world = World::new();
        let server = world.server();
        let at = address(&server.add_namespace(world.spec("blue")).unwrap());
        let mut client = Nfs::connect(at);
        let stays = client.mount("/").unwrap();
        for round in 0..20 {
            let disk = Tmpfs::mount(&world, "more");
            let more = world.directory("more");
            server.add_export("blue", ExportSpec::new("/more", &more)).unwrap();
            let served = AtomicU64::new(0);
            thread::scope(|scope| {
                for client in 0..4 {
                    let served = &served;
                    scope.spawn(move || load_until_stale(at, client, served));
                }
                while served.load(Ordering::Relaxed) < 100 + round * 20 {
                    thread::yield_now();
                }
                server.del_export("blue", "/more", Deadline::Never).unwrap();
                disk.unmount();
                assert_eq!(open_below(&more), Vec::<PathBuf>::new());
            });
            assert!(client.getattr(&stays).is_ok());
        }
        stop(server);
    });
}

/// C2: an export on a file system that does not answer. What is held is said, by whom and where, the
/// name is free, others are served, and when it answers the namespace ends by itself.
#[test]
fn what_is_held_is_said_and_ends_by_itself() {
    with_own_mounts(|| {
        let world = World::new();
        let server = world.server();
        let disk = Ext4::mount(&world, "blue");
        fs::write(world.directory("blue").join("file"), "content").unwrap();
        let mut spec = world.spec("blue");
        spec.export.push(ExportSpec::new("/more", world.directory("more")));
        let view = server.add_namespace(spec).unwrap();
        let at = address(&view);
        let green = address(&server.add_namespace(world.spec("green")).unwrap());
        let mut client = Nfs::connect(at);
        let root = client.mount("/").unwrap();
        let mut other = world.spec("blue");
        other.export[0].dir = world.directory("more");
        let mut events = server.events();

        // Nothing is changed on it until it thaws.
        let frozen = disk.freeze();
        let stuck = thread::spawn(move || client.try_create(&root, "new"));
        let is_at_it = || {
            let held = server.namespace("blue").unwrap().held;
            held.holders.into_iter().find(|it| it.operation.as_deref() == Some("CREATE"))
        };
        while is_at_it().is_none() {
            thread::yield_now();
        }
        // As somebody sees it who asks while all is well.
        let shown = is_at_it().unwrap();
        assert_eq!(shown.export.as_deref(), Some("/"));
        assert_eq!(shown.client.as_deref(), Some("127.0.0.1"));
        assert!(shown.object.is_some_and(|object| object.starts_with("handle ")));
        assert!(shown.at.contains(".rs:"), "{}", shown.at);

        let deadline = Deadline::after(std::time::Duration::from_millis(50));
        let refused = server.del_namespace("blue", deadline).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::StillHeld);
        let text = refused.to_string();
        assert!(text.starts_with("namespace blue@1 is still held: CREATE of handle "), "{text}");
        assert!(text.contains(" in export / for 127.0.0.1 since "), "{text}");
        let Error::StillHeld { held, .. } = refused else { panic!("{refused:?}") };
        assert!(held.count >= 1 && held.holders.len() == 1, "{held:?}");

        // It is listed, its name is free, and others are served.
        let draining = server.namespace("blue@1").unwrap();
        assert_eq!(draining.state, NamespaceState::Draining);
        assert_eq!(draining.exports.len(), 2);
        let missing = server.namespace("blue").unwrap_err();
        assert_eq!(missing.to_string(), "there is no namespace blue any more; blue@1 is draining");
        assert!(Nfs::connect(green).mount("/").is_ok());
        server.add_namespace(other).unwrap();
        assert_eq!(server.namespaces().len(), 3);

        drop(frozen);
        server.del_namespace("blue@1", Deadline::Never).unwrap();
        disk.unmount();
        // It was answered, or its connection closed.
        let _ = stuck.join().unwrap();
        let gone = server.namespace("blue@1").unwrap_err();
        assert_eq!(gone.code(), ErrorCode::NotFound);
        let said: Vec<_> = std::iter::from_fn(|| events.try_next())
            .filter(|event| event.ns.as_deref() == Some("blue@1"))
            .map(|event| event.what)
            .filter(|what| !matches!(what, Happened::Stuck { .. }))
            .collect();
        assert_eq!(said, [Happened::Draining, Happened::Gone]);
        stop(server);
    });
}

/// C2 for a program that has the server within itself: what it is at is said as of any client.
#[test]
fn what_a_program_within_holds_is_said() {
    with_own_mounts(|| {
        let world = World::new();
        let server = world.server();
        let disk = Ext4::mount(&world, "blue");
        fs::write(world.directory("blue").join("file"), "content").unwrap();
        let mut spec = world.spec("blue");
        spec.export[0].squash = Squash::None;
        let view = server.add_namespace(spec).unwrap();
        let door = server.door_within("blue", &User::of_process()).unwrap();
        let mut options = holm_localio::Options::default();
        options.local = Local::Given(door);
        let url = format!("nfs://{}/", address(&view)).parse().unwrap();
        let mount = Mount::new(&url, &options).unwrap();
        let file = mount.open("file", LibraryAccess::ReadWrite).unwrap();
        assert!(file.is_local());

        let frozen = disk.freeze();
        let stuck = thread::spawn(move || file.write_at(b"CONTENT", 0));
        let is_at_it = |ns: &str| {
            let held = server.namespace(ns).unwrap().held;
            held.holders.into_iter().find(|it| it.operation.as_deref() == Some("LOCALIO WRITE"))
        };
        while is_at_it("blue").is_none() {
            thread::yield_now();
        }
        let deadline = Deadline::after(std::time::Duration::from_millis(50));
        let refused = server.del_namespace("blue", deadline).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("namespace blue@1 is still held: LOCALIO WRITE of handle "),
            "{text}"
        );
        let shown = is_at_it("blue@1").unwrap();
        assert_eq!(shown.export.as_deref(), Some("/"));
        assert_eq!(shown.client.as_deref(), Some("127.0.0.1"));

        drop(frozen);
        server.del_namespace("blue@1", Deadline::Never).unwrap();
        stuck.join().unwrap().unwrap();
        drop(mount);
        disk.unmount();
        stop(server);
    });
}

/// C1 with clients on this machine that have the files themselves: they are asked, and give them back.
#[test]
fn file_system_is_free_when_a_namespace_with_local_clients_is_gone() {
    with_own_mounts(|| {
        let world = World::new();
        let server = server_with_doors(&world);
        for round in 0..20u64 {
            let disk = Tmpfs::mount(&world, "blue");
            let view = server.add_namespace(local_spec(&world, 5)).unwrap();
            let (at, socket) = (address(&view), view.local.door.clone().unwrap());
            let served = AtomicU64::new(0);
            thread::scope(|scope| {
                for client in 0..4 {
                    let (served, socket) = (&served, &socket);
                    scope.spawn(move || local_load(at, socket, client, served));
                }
                while served.load(Ordering::Relaxed) < 50 + round * 10 {
                    thread::yield_now();
                }
                server.del_namespace("blue", Deadline::Never).unwrap();
                assert_eq!(open_below(&world.folder.path().join("blue")), Vec::<PathBuf>::new());
                disk.unmount();
            });
            assert!(!socket.exists());
        }
        stop(server);
    });
}

/// What can't be taken back: a client that keeps what it was handed is named, cut off when its time is
/// over, and keeps the file system in use, but not the namespace.
#[test]
fn local_client_that_keeps_its_files_is_named_and_cut_off() {
    with_own_mounts(|| {
        let world = World::new();
        let server = server_with_doors(&world);
        let disk = Ext4::mount(&world, "blue");
        fs::write(world.directory("blue").join("file"), "content").unwrap();
        let view = server.add_namespace(local_spec(&world, 1)).unwrap();
        let mut client = Keeper::start(&view.local.door.clone().unwrap(), address(&view));
        let pid = client.0.id();
        let mut events = server.events();

        let refused = server.del_namespace("blue", Deadline::now()).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::StillHeld);
        let expected =
            format!("local use of 1 files, which were asked for for process {pid} of user 0");
        assert!(refused.to_string().contains(&expected), "{refused}");
        let draining = server.namespace("blue@1").unwrap();
        let [shown] = &draining.local.clients[..] else { panic!("{draining:?}") };
        assert_eq!((shown.pid, shown.uid, shown.files), (Some(pid as i32), 0, 1));
        assert!(shown.recalled.is_some());

        server.del_namespace("blue@1", Deadline::Never).unwrap();
        assert_eq!(open_below(&world.folder.path().join("blue")), Vec::<PathBuf>::new());
        let said: Vec<_> =
            std::iter::from_fn(|| events.try_next()).map(|event| event.what).collect();
        let pid = Some(pid as i32);
        let cut_off = Happened::LocalClientCutOff { pid, uid: 0, files: 1 };
        // Nothing more was taken back when its connection ended.
        let went = Happened::LocalClientWent { pid, uid: 0, files: 0 };
        assert_eq!(said, [Happened::Draining, cut_off, went, Happened::Gone]);
        // What it was handed lies in a mount of its own, so that this one can go. The file system does
        // when that process does.
        disk.unmount();
        let image = world.folder.path().join("image");
        let in_use = || {
            let loops = Command::new("losetup").arg("-j").arg(&image).output().unwrap();
            !loops.stdout.is_empty()
        };
        assert!(in_use(), "the client still has its file");
        client.kill();
        while in_use() {
            thread::yield_now();
        }
        stop(server);
    });
}

/// A client that is killed has closed everything by the kernel's word; nothing is waited for.
#[test]
fn killed_local_client_leaves_nothing() {
    with_own_mounts(|| {
        let world = World::new();
        let server = server_with_doors(&world);
        let disk = Tmpfs::mount(&world, "blue");
        fs::write(world.directory("blue").join("file"), "content").unwrap();
        let view = server.add_namespace(local_spec(&world, 3600)).unwrap();
        let socket = view.local.door.clone().unwrap();
        let mut client = Keeper::start(&socket, address(&view));
        assert_eq!(server.local("blue").unwrap().clients[0].files, 1);
        client.kill();
        while !server.local("blue").unwrap().clients.is_empty() {
            thread::yield_now();
        }
        // And while it is waited for.
        let mut client = Keeper::start(&socket, address(&view));
        server.del_namespace("blue", Deadline::now()).unwrap_err();
        client.kill();
        server.del_namespace("blue@1", Deadline::Never).unwrap();
        disk.unmount();
        stop(server);
    });
}

/// The same for an export of a namespace that goes on.
#[test]
fn file_system_is_free_when_an_export_with_local_clients_is_removed() {
    with_own_mounts(|| {
        let world = World::new();
        let server = server_with_doors(&world);
        let view = server.add_namespace(local_spec(&world, 1)).unwrap();
        let (at, socket) = (address(&view), view.local.door.clone().unwrap());
        for gives_back in [true, false] {
            let disk = Tmpfs::mount(&world, "more");
            fs::write(world.directory("more").join("file"), "content").unwrap();
            let more = ExportSpec::new("/more", world.directory("more"));
            server.add_export("blue", ExportSpec { squash: Squash::None, ..more }).unwrap();
            let mut nfs = Nfs::connect(at);
            let root = nfs.mount("/more").unwrap();
            let handle = nfs.lookup(&root, "file").unwrap();
            let door = AtDoor::come_in(&socket, &mut nfs);
            let (number, file) = door.open(&handle, Access::ReadWrite).unwrap();
            let mut file = Some(file);
            thread::scope(|scope| {
                scope.spawn(|| {
                    assert_eq!(door.hear().unwrap().0, Message::Recall(number));
                    if gives_back {
                        file = None;
                        door.close(number).unwrap();
                    } else {
                        assert!(door.hear().is_none());
                    }
                });
                server.del_export("blue", "/more", Deadline::Never).unwrap();
            });
            // Without waiting for the client any more.
            assert_eq!(file.is_none(), gives_back);
            file = None;
            assert!(file.is_none());
            disk.unmount();
        }
        stop(server);
    });
}

/// Not a test: a client that opens a file and keeps it, whatever is asked of it.
#[test]
fn keeper() {
    let Ok(socket) = std::env::var(KEEPER) else { return };
    let at = std::env::var(KEEPER_AT).unwrap().parse().unwrap();
    let mut nfs = Nfs::connect(at);
    let root = nfs.mount("/").unwrap();
    let handle = nfs.lookup(&root, "file").unwrap();
    let door = AtDoor::come_in(Path::new(&socket), &mut nfs);
    let (_, _file) = door.open(&handle, Access::Read).unwrap();
    println!("{KEEPER}");
    loop {
        thread::park();
    }
}

/// A process that has a file of the namespace.
struct Keeper(Child);

impl Keeper {
    /// Returns when it has it.
    fn start(socket: &Path, at: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "keeper", "--nocapture"]);
        command.env(KEEPER, socket).env(KEEPER_AT, at.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let has_it = said.lines().any(|line| line.unwrap().contains(KEEPER));
        assert!(has_it, "it has ended");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Of a test that failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const KEEPER: &str = "HOLM_TEST_KEEPER";
const KEEPER_AT: &str = "HOLM_TEST_KEEPER_AT";

fn server_with_doors(world: &World) -> Arc<Server> {
    let doors = Some(world.folder.path().join("doors"));
    Server::start(Options { doors, ..Options::new(world.state()) }).unwrap()
}

/// A namespace with a door for root, who is himself there.
fn local_spec(world: &World, recall_time: u32) -> NamespaceSpec {
    let mut spec = world.spec("blue");
    spec.export[0].squash = Squash::None;
    spec.local.users.insert(0);
    spec.local.recall_time = recall_time;
    spec
}

/// Opens, writes, reads and closes past the network for as long as there is a server, and gives everything
/// back when it is asked to.
fn local_load(at: SocketAddr, socket: &Path, client: u8, served: &AtomicU64) {
    let Ok(mut nfs) = Nfs::try_connect(at) else { return };
    let Ok(Ok(root)) = nfs.try_mount("/") else { return };
    let Ok(Ok(handle)) = nfs.try_create(&root, &format!("local-{client}")) else { return };
    let Ok(door) = AtDoor::connect(socket) else { return };
    if door.try_prove(&mut nfs).is_none() {
        return;
    }
    loop {
        // The first answer may be that everything is wanted back.
        let Some(Ok((number, file))) = door.try_open(&handle, Access::ReadWrite) else { return };
        file.write_all_at(&[client; 4096], 0).unwrap();
        let mut read = [0; 4096];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, [client; 4096]);
        file.sync_all().unwrap();
        drop(file);
        if door.close(number).is_err() {
            return;
        }
        served.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates, looks up and asks for as long as there is a server.
fn load(at: SocketAddr, client: usize, served: &AtomicU64) {
    let Ok(mut nfs) = Nfs::try_connect(at) else { return };
    let Ok(root) = nfs.try_mount("/") else { return };
    let root = root.unwrap();
    for round in 0.. {
        let name = format!("{client}-{}", round % 10);
        // The namespace goes: the stream ends, in whatever way streams do.
        // Or, in the middle of a call, it says that this is not the time.
        let made = match nfs.try_create(&root, &name) {
            Err(_) | Ok(Err(nfs3::Error::JukeBox)) => return,
            Ok(made) => made.unwrap(),
        };
        match nfs.try_getattr(&made) {
            Err(_) | Ok(Err(nfs3::Error::JukeBox)) => return,
            Ok(size) => assert_eq!(size, Ok(0)),
        }
        served.fetch_add(2, Ordering::Relaxed);
    }
}

/// The same for as long as the export is there, whose handles are stale after it.
fn load_until_stale(at: SocketAddr, client: usize, served: &AtomicU64) {
    let mut nfs = Nfs::connect(at);
    let Ok(root) = nfs.mount("/more") else { return };
    for round in 0.. {
        let name = format!("{client}-{}", round % 10);
        match nfs.try_create(&root, &name).unwrap() {
            Ok(_) => {}
            Err(error) => return assert_eq!(error, nfs3::Error::Stale),
        }
        served.fetch_add(1, Ordering::Relaxed);
    }
}

/// A file system in memory, at the directory of a namespace.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(world: &World, name: &str) -> Self {
        let at = world.directory(name);
        run("mount", &["-t", "tmpfs", "-o", "mode=777", "none", &at.display().to_string()]);
        Self(at)
    }

    /// Fails if anything of it is in use.
    fn unmount(self) {
        run("umount", &[&self.0.display().to_string()]);
    }
}

/// A file system in a file.
struct Ext4(PathBuf);

impl Ext4 {
    fn mount(world: &World, name: &str) -> Self {
        let (at, image) = (world.directory(name), world.folder.path().join("image"));
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let (path, image) = (at.display().to_string(), image.display().to_string());
        run("mkfs.ext4", &["-q", &image]);
        run("mount", &["-o", "loop", &image, &path]);
        fs::set_permissions(&at, PermissionsExt::from_mode(0o777)).unwrap();
        Self(at)
    }

    fn freeze(&self) -> Frozen {
        run("fsfreeze", &["--freeze", &self.0.display().to_string()]);
        Frozen(self.0.clone())
    }

    fn unmount(self) {
        run("umount", &[&self.0.display().to_string()]);
    }
}

/// Whoever changes something waits until this is dropped.
struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.0.display().to_string()]);
    }
}

/// Runs a test as root on a thread, and threads that it starts, whose mounts nobody else sees. As
/// another user, it is skipped.
fn with_own_mounts(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let run_test = || {
        let flags = rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS;
        // SAFETY: the thread has opened nothing that others rely on; it only stops sharing its
        // mounts and its working directory.
        unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
        run("mount", &["--make-rprivate", "/"]);
        test();
    };
    thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run_test).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
