//! The end of a namespace and of an export, while everything is in use.
//!
//! In a process of its own, one test at a time: whoever starts a program has its child hold all
//! descriptors for a moment, and then nothing can be unmounted.

#[path = "it/world.rs"]
mod world;

use holm::model::{ErrorCode, ExportSpec, Happened, NamespaceState};
use holm::server::Error;
use holm_lifetime::Deadline;
use holm_nfs_proto::nfs3;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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
