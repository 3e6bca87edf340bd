//! Tenants come and go under load, in one server: `cargo xtask soak serve`.
//!
//! Each has a file system of its own, mounted for it alone, and 64 connections that read, write and
//! list in it when it is removed. As soon as that returns, unmounting must succeed. At the end the
//! server has the descriptors and threads that it had before the first of them, and no more memory
//! than after the first few.
//!
//! As root: it mounts, in a mount namespace of its own.

mod clients;
#[path = "../../../netns/tests/support/counting.rs"]
mod counting;

use holm::model::{ExportSpec, ListenSpec, NamespaceSpec, Squash};
use holm::server::{Options, Server};
use holm_lifetime::Deadline;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--clients", address] = words[..] {
        return clients::run(address.parse().expect("an address"));
    }
    if !rustix::process::geteuid().is_root() {
        println!("not run: mounting takes root\n0 passed, 0 failed");
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(own).args(&arguments);
        panic!("unshare: {}", command.env(INSIDE, "").exec());
    }
    let number = |text: &str| text.parse().expect("a number");
    // The last is whatever the test runner passes.
    let (tenants, rounds, time) = match words[..] {
        ["--rounds", rounds] => (1, number(rounds), None),
        ["--seconds", seconds] => (4, u64::MAX, Some(Duration::from_secs(number(seconds)))),
        _ => (1, 20, None),
    };
    soak(tenants, rounds, time);
    println!("1 passed, 0 failed");
}

/// Set in the mount namespace.
const INSIDE: &str = "HOLM_SOAK_INSIDE";

/// What is held by the process now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holds {
    descriptors: usize,
    threads: usize,
}

impl Holds {
    fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).expect("/proc").count();
        // One of the descriptors is that of the listing itself.
        Self { descriptors: count("/proc/self/fd"), threads: count("/proc/self/task") }
    }

    /// Waits until nothing more is held than this: threads that end are seen for a moment longer. The
    /// pool keeps as many spare workers as it has places, once it has needed them.
    fn wait(self) {
        let begin = Instant::now();
        let spare = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().max(2));
        loop {
            let now = Self::now();
            if now.descriptors <= self.descriptors && now.threads <= self.threads + spare {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "left: {now:?}, before: {self:?}\n{}",
                open_files()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn open_files() -> String {
    let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let names = links.filter_map(|link| fs::read_link(link.path()).ok());
    names.map(|name| name.display().to_string()).collect::<Vec<_>>().join("\n")
}

fn soak(tenants: usize, rounds: u64, time: Option<Duration>) {
    let folder = TempDir::new().expect("a temporary folder");
    let images: Vec<_> = (0..tenants).map(|tenant| Image::new(folder.path(), tenant)).collect();
    let server = Server::start(Options::new(folder.path().join("state"))).expect("a server");
    // What is made once and for all is made in the first rounds. The buffers that threads keep come and
    // go: with the most of some rounds before is compared the least of as many after.
    let looked_at = LOOKED_AT.min(rounds / 4);
    let before = look(&server, &images[0], looked_at).max();
    let holds = Holds::now();
    let begin = Instant::now();
    let (done, slowest) = run(&server, &images, rounds - 2 * looked_at, time, Some(holds));
    let after = look(&server, &images[0], looked_at).min();
    holds.wait();
    let grown = after.unwrap_or(0) - before.unwrap_or(0);
    println!(
        "soak serve: {} tenants came and went under {} connections each, {tenants} at a time, in {:.0} \
         s; the slowest removal took {:.0} ms; every file system was unmounted at once; left: {} \
         descriptors, {} threads; bytes allocated, against before: {grown:+}",
        2 * looked_at + done,
        clients::CONNECTIONS,
        begin.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        Holds::now().descriptors - holds.descriptors,
        Holds::now().threads - holds.threads,
    );
    assert!(grown <= ONCE_AND_FOR_ALL, "{grown} bytes more than in the first {looked_at} rounds");
    server.stop(Deadline::Never).expect("nobody is in");
}

/// One tenant comes and goes so often: how many bytes are allocated after each round.
fn look(server: &Server, image: &Image, rounds: u64) -> impl Iterator<Item = isize> {
    let allocated = |_| {
        round(server, image);
        counting::allocated()
    };
    (0..rounds).map(allocated).collect::<Vec<_>>().into_iter()
}

/// Every tenant comes and goes so often, or for so long. After each round, when there is one tenant
/// only, the process must hold no more than `holds`.
fn run(
    server: &Server,
    images: &[Image],
    rounds: u64,
    time: Option<Duration>,
    holds: Option<Holds>,
) -> (u64, Duration) {
    let (done, slowest, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let tenants: Vec<_> = images
            .iter()
            .map(|image| {
                let (done, slowest, over) = (&done, &slowest, &over);
                scope.spawn(move || {
                    let _failed = Failed(over);
                    for _ in 0..rounds {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let removal = round(server, image);
                        slowest.fetch_max(removal.as_micros() as u64, Ordering::Relaxed);
                        done.fetch_add(1, Ordering::Relaxed);
                        if let ([_], Some(holds)) = (images, holds) {
                            // This thread is one more.
                            Holds { threads: holds.threads + 1, ..holds }.wait();
                        }
                        if time.is_some_and(|time| begin.elapsed() > time) {
                            over.store(true, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        tenants.into_iter().for_each(|tenant| tenant.join().expect("a round failed"));
    });
    (done.into_inner(), Duration::from_micros(slowest.into_inner()))
}

/// Where one tenant fails, the others end.
struct Failed<'a>(&'a AtomicBool);

impl Drop for Failed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// One life of a tenant; how long its removal took.
fn round(server: &Server, image: &Image) -> Duration {
    image.mount();
    let spec = NamespaceSpec {
        name: image.name.clone(),
        export: vec![ExportSpec { squash: Squash::None, ..ExportSpec::new("/", &image.directory) }],
        listen: vec![ListenSpec::new(SocketAddr::from(([127, 0, 0, 1], 0)))],
        ..NamespaceSpec::default()
    };
    let view = server.add_namespace(spec).expect("a namespace");
    let clients = clients::Clients::start(view.listeners[0].local);
    let begin = Instant::now();
    server.del_namespace(&image.name, Deadline::after(PATIENCE)).expect("nothing is held");
    let removal = begin.elapsed();
    image.unmount();
    clients.join();
    removal
}

/// A file system in a file.
struct Image {
    name: String,
    file: PathBuf,
    directory: PathBuf,
}

impl Image {
    fn new(folder: &Path, number: usize) -> Self {
        let name = format!("tenant-{number}");
        let (file, directory) = (folder.join(format!("{name}.ext4")), folder.join(&name));
        fs::create_dir(&directory).expect("a directory");
        fs::File::create(&file).and_then(|file| file.set_len(64 << 20)).expect("a file");
        let image = Self { name, file, directory };
        command("mkfs.ext4", &["-q", "-F"], &image.file);
        image.mount();
        fs::write(image.directory.join("file"), vec![7; 4 << 20]).expect("a large file");
        (0..300).for_each(|number| {
            fs::write(image.directory.join(format!("entry-{number}")), "").expect("a file");
        });
        image.unmount();
        image
    }

    fn mount(&self) {
        let arguments = ["-o", "loop", self.file.to_str().expect("a path in ASCII")];
        command("mount", &arguments, &self.directory);
    }

    /// At once, or not at all.
    fn unmount(&self) {
        command("umount", &[], &self.directory);
    }
}

fn command(program: &str, arguments: &[&str], path: &Path) {
    let mut command = Command::new(program);
    command.args(arguments).arg(path);
    let starting = starting();
    let output = command.output().expect(program);
    drop(starting);
    if !output.status.success() {
        panic!("{command:?}: {}\n{}", String::from_utf8_lossy(&output.stderr), open_files());
    }
}

/// Held while a process starts, until it surely executes its program: before that it has all our
/// descriptors, those of a tenant that is about to be removed, too. (That `spawn` has returned is no
/// sign: the kernel lets us go on before it closes them.)
fn starting() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rounds at the beginning, and at the end, after each of which it is seen how much is allocated.
const LOOKED_AT: u64 = 10;
/// What may still be made after the first of them, in bytes: the tables and free lists of threads that
/// met the load for the first time.
const ONCE_AND_FOR_ALL: isize = 256 << 10;
/// What a removal may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
