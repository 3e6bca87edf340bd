//! Files past the network, of a real server: namespaces come and go, and nothing is lost.

use crate::world::{World, own_options, pattern, url};
use holm::model::{ExportSpec, ListenSpec, LocalSpec, NamespaceSpec, Squash};
use holm::server::Options as ServerOptions;
use holm_localio::{Access, File, Mount};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Serves a directory with a door for whoever runs the test.
fn serve(world: &World, directory: &Path, at: &str) -> SocketAddr {
    let mut export = ExportSpec::new("/", directory);
    export.squash = Squash::None;
    let users = [rustix::process::geteuid().as_raw()].into();
    let socket = Some(directory.with_extension("sock"));
    let spec = NamespaceSpec {
        name: "blue".into(),
        export: vec![export],
        listen: vec![ListenSpec::new(at.parse().unwrap())],
        local: LocalSpec { users, socket, ..LocalSpec::default() },
        ..NamespaceSpec::default()
    };
    world.server.add_namespace(spec).unwrap().listeners[0].local
}

fn mount(address: SocketAddr) -> Mount {
    Mount::new(&url(address, "/"), &own_options()).unwrap()
}

/// What this process, which is the server and its clients, has open in a directory.
fn open_in(directory: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(directory)).collect()
}

#[test]
fn files_of_a_door_are_the_files() {
    let world = World::new();
    let directory = world.directory("files");
    let address = serve(&world, &directory, "127.0.0.1:0");
    let mount = mount(address);
    let file = mount.create("a", 0o600, true).unwrap();
    let content = pattern(3_000_000, 1);
    file.write_at(&content, 0).unwrap();
    let reader = mount.open("a", Access::Read).unwrap();
    // Where no mounts can be made, writing is another matter.
    if rustix::process::geteuid().is_root() {
        assert!(file.is_local());
    }
    let mut read = vec![0; content.len() + 1];
    assert_eq!(reader.read_at(&mut read, 0).unwrap(), content.len());
    assert!(read[..content.len()] == content);
    assert!(reader.is_local());
    file.set_len(10).unwrap();
    assert_eq!(reader.read_at(&mut read, 0).unwrap(), 10);
    file.commit().unwrap();

    // By the handle: another file of that name is another.
    mount.remove("a").unwrap();
    mount.create("a", 0o600, true).unwrap().write_at(b"other", 0).unwrap();
    assert_eq!(reader.read_at(&mut read, 0).unwrap(), 10);
}

/// Has the threads of a test end, also if it fails.
struct SetAtEnd<'o>(&'o AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Opens a file of whichever incarnation of the namespace there is.
fn open(mount: &Mount, name: &str) -> File {
    loop {
        match mount.open(name, Access::ReadWrite) {
            Ok(file) => return file,
            // In between the server may be none, or know nothing of what it said before.
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
    }
}

fn is_passing(error: &holm_localio::Error) -> bool {
    let passing = [ErrorKind::StaleNetworkFileHandle, ErrorKind::InvalidInput];
    passing.contains(&error.kind()) && error.status().is_some()
}

#[test]
fn no_byte_is_wrong_while_the_namespace_comes_and_goes() {
    const BLOCK: usize = 4096;
    const ROUNDS: usize = 12;
    let world = World::new();
    let directory = world.directory("files");
    let address = serve(&world, &directory, "127.0.0.1:0");
    let mount = mount(address);
    for worker in 0..2 {
        mount.create(format!("file-{worker}"), 0o666, true).unwrap();
    }
    let over = AtomicBool::new(false);
    let (mount, over) = (&mount, &over);
    let written: Vec<u64> = std::thread::scope(|scope| {
        let end = SetAtEnd(over);
        let workers: Vec<_> = (0..2u64)
            .map(|worker| {
                scope.spawn(move || {
                    let name = format!("file-{worker}");
                    let mut file = open(mount, &name);
                    let (mut generation, mut committed) = (0, 0);
                    while !over.load(Ordering::SeqCst) || committed == 0 {
                        let data = pattern(BLOCK, worker << 32 | generation);
                        let done = file.write_at(&data, 0).and_then(|()| {
                            let mut read = vec![0; BLOCK];
                            assert_eq!(file.read_at(&mut read, 0)?, BLOCK);
                            assert!(read == data, "{name}: generation {generation}");
                            if generation % 16 == 0 { file.commit() } else { Ok(()) }
                        });
                        match done {
                            Ok(()) if generation % 16 == 0 => committed = generation,
                            Ok(()) => {}
                            Err(error) => {
                                assert!(is_passing(&error), "{error}");
                                file = open(mount, &name);
                                continue;
                            }
                        }
                        generation += 1;
                    }
                    generation - 1
                })
            })
            .collect();
        for _ in 0..ROUNDS {
            world.remove("blue");
            // The server is done with it, and so is the client.
            assert_eq!(open_in(&directory), Vec::<PathBuf>::new());
            serve(&world, &directory, &address.to_string());
            // Everybody gets in again.
            let reader = mount.open("file-0", Access::Read).unwrap();
            while !reader.is_local() {
                reader.read_at(&mut [0], 0).unwrap();
            }
        }
        drop(end);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for (worker, generation) in written.into_iter().enumerate() {
        let content = fs::read(directory.join(format!("file-{worker}"))).unwrap();
        assert!(content == pattern(BLOCK, (worker as u64) << 32 | generation), "{worker}");
    }
}

/// A server in a process of its own, which can be killed.
struct Process {
    child: Child,
    address: SocketAddr,
}

const SERVED: &str = "HOLM_TEST_SERVED";
const AT: &str = "HOLM_TEST_AT";

impl Process {
    /// Serves `files` in this folder, with its state there.
    fn start(folder: &Path, at: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "server_door::a_server_in_a_process_of_its_own", "--nocapture"]);
        command.env(SERVED, folder).env(AT, at).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            lines.map(Result::unwrap).find_map(|line| Some(line.split_once("at=")?.1.to_owned()));
        Self { child, address: said.expect("it says where it is").parse().unwrap() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of a test that failed; one that has ended can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does nothing unless [`Process`] starts it.
#[test]
fn a_server_in_a_process_of_its_own() {
    let (Some(folder), Ok(at)) = (std::env::var_os(SERVED), std::env::var(AT)) else { return };
    let folder = PathBuf::from(folder);
    let state = folder.join("state");
    let world = World::with(ServerOptions::new(state));
    let address = serve(&world, &folder.join("files"), &at);
    println!("at={address}");
    // Until whoever has started it is gone.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn no_byte_is_wrong_while_the_server_is_killed() {
    const BLOCK: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    // The door is in it. Another test's server may have cleared the umask.
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let directory = folder.path().join("files");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    let mut server = Process::start(folder.path(), "127.0.0.1:0");
    let at = server.address;
    let mount = mount(at);
    let over = AtomicBool::new(false);
    let (mount, over) = (&mount, &over);
    let written: Vec<u64> = std::thread::scope(|scope| {
        let end = SetAtEnd(over);
        let workers: Vec<_> = (0..2u64)
            .map(|worker| {
                scope.spawn(move || {
                    let file = mount.create(format!("file-{worker}"), 0o666, true).unwrap();
                    let mut generation = 0;
                    while !over.load(Ordering::SeqCst) {
                        let data = pattern(BLOCK, worker << 32 | generation);
                        file.write_at(&data, 0).unwrap();
                        let mut read = vec![0; BLOCK];
                        assert_eq!(file.read_at(&mut read, 0).unwrap(), BLOCK);
                        assert!(read == data, "{worker}: generation {generation}");
                        if generation % 16 == 0 {
                            file.commit().unwrap();
                        }
                        generation += 1;
                    }
                    file.commit().unwrap();
                    generation - 1
                })
            })
            .collect();
        let reader = mount.create("other", 0o666, true).unwrap();
        drop(reader);
        let reader = mount.open("other", Access::Read).unwrap();
        for _ in 0..4 {
            while !reader.is_local() {
                reader.read_at(&mut [0], 0).unwrap();
            }
            server.kill();
            server = Process::start(folder.path(), &at.to_string());
        }
        drop(end);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    server.kill();
    for (worker, generation) in written.into_iter().enumerate() {
        let content = fs::read(directory.join(format!("file-{worker}"))).unwrap();
        assert!(content == pattern(BLOCK, (worker as u64) << 32 | generation), "{worker}");
    }
}
