//! Files of clients of the same machine, while their server is taken away under them: `cargo xtask soak
//! local`.
//!
//! In one half the namespace is removed, its file system unmounted at once, and both come again; the
//! server holds no descriptor and no thread more than before. In the other the server is killed and
//! started again, and no error may reach the program. In both, what the program reads is what it wrote,
//! and what it had committed stays.
//!
//! As root: it mounts, in a mount namespace of its own.

mod workload;

use holm::model::{ExportSpec, ListenSpec, LocalSpec, NamespaceSpec, Squash};
use holm::server::{Options, Server};
use holm_lifetime::Deadline;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use workload::Errors;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--work", url] => return workload::run(url, Errors::None),
        ["--work-stale", url] => return workload::run(url, Errors::Stale),
        _ => {}
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
    // The last is whatever the test runner passes.
    let time = match words[..] {
        ["--seconds", seconds] => Duration::from_secs(seconds.parse().expect("a number")),
        _ => Duration::from_secs(20),
    };
    remove_again_and_again(time / 2);
    kill_again_and_again(time / 2);
    println!("2 passed, 0 failed");
}

/// Set in the mount namespace.
const INSIDE: &str = "HOLM_SOAK_INSIDE";

fn remove_again_and_again(time: Duration) {
    let folder = TempDir::new().expect("a temporary folder");
    let image = Image::new(folder.path());
    let server = Server::start(Options::new(folder.path().join("state"))).expect("a server");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let spec = || NamespaceSpec {
        name: "blue".into(),
        export: vec![ExportSpec { squash: Squash::None, ..ExportSpec::new("/", &image.directory) }],
        listen: vec![ListenSpec::new(address)],
        local: LocalSpec {
            users: [0].into(),
            socket: Some(folder.path().join("blue.sock")),
            ..LocalSpec::default()
        },
        ..NamespaceSpec::default()
    };
    image.mount();
    server.add_namespace(spec()).expect("a namespace");
    let work = Work::start("--work-stale", address);
    let (begin, mut rounds, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    // What is made once and for all is made in the first round.
    let mut holds = None;
    while begin.elapsed() < time {
        wait_until(|| {
            let view = server.namespace("blue").expect("it is there");
            view.local.clients.iter().any(|client| client.files > 0)
        });
        let removal = Instant::now();
        server.del_namespace("blue", Deadline::after(PATIENCE)).expect("nothing is held");
        slowest = slowest.max(removal.elapsed());
        image.unmount();
        holds.get_or_insert_with(Holds::now).wait();
        image.mount();
        server.add_namespace(spec()).expect("a namespace");
        rounds += 1;
    }
    let (all, local) = work.end();
    server.del_namespace("blue", Deadline::after(PATIENCE)).expect("nothing is held");
    image.unmount();
    if let Some(holds) = holds {
        holds.wait();
    }
    println!(
        "soak local: the namespace was removed {rounds} times under {all} reads and writes, of which {local} \
         went past the server; the slowest removal took {:.0} ms; its file system was unmounted at once \
         each time",
        slowest.as_secs_f64() * 1e3,
    );
    assert!(local > 0, "nothing went past the server");
    server.stop(Deadline::Never).expect("nobody is in");
}

fn kill_again_and_again(time: Duration) {
    let folder = TempDir::new().expect("a temporary folder");
    let served = folder.path().join("served");
    fs::create_dir(&served).expect("a directory");
    // A server in this process has cleared the umask.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let start = || Served::start(folder.path(), address);
    let mut server = start();
    let work = Work::start("--work", address);
    let (begin, mut rounds) = (Instant::now(), 0);
    while begin.elapsed() < time {
        server.wait_for_local_files();
        drop(server);
        server = start();
        rounds += 1;
    }
    server.wait_for_local_files();
    let (all, local) = work.end();
    drop(server);
    println!(
        "soak local: the server was killed {rounds} times under {all} reads and writes, of which {local} \
         went past it"
    );
    assert!(local > 0, "nothing went past the server");
}

/// The program that works with the files.
struct Work {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Work {
    /// Starts it, and returns when all of it is at work.
    fn start(how: &str, address: SocketAddr) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args([how, &format!("nfs://{address}/")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the workload");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert_eq!(line, "working\n");
        Self { child, said }
    }

    /// Has it look at everything once more and end; how many reads and writes there were, and how many of
    /// them went past the server.
    fn end(mut self) -> (u64, u64) {
        let mut input = self.child.stdin.take().expect("piped");
        input.write_all(b"enough\n").expect("it listens");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        assert!(
            self.child.wait().expect("the workload").success(),
            "the workload saw something amiss"
        );
        let (all, local) = line.trim().split_once(' ').expect("two numbers");
        (all.parse().expect("a number"), local.parse().expect("a number"))
    }
}

/// A server that can be killed.
struct Served {
    child: Child,
    admin: PathBuf,
}

impl Served {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let admin = folder.join("admin.sock");
        let text = format!(
            "[ns.blue]\nlisten = [{{ addr = \"{address}\" }}]\nlocal = {{ users = [0] }}\n\
             export = [{{ path = \"/\", dir = \"{}\", squash = \"none\" }}]\n",
            folder.join("served").display()
        );
        fs::write(folder.join("holm.toml"), text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holm"));
        command.args(["serve", "--config"]).arg(folder.join("holm.toml"));
        command
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--admin")
            .arg(&admin)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert!(line.starts_with("serving"), "{line}");
        // What else it has to say does not hold it up.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, admin }
    }

    /// Waits until somebody has files open past it.
    fn wait_for_local_files(&self) {
        wait_until(|| {
            let mut ask = Command::new(env!("CARGO_BIN_EXE_holm"));
            ask.arg("--admin").arg(&self.admin).args(["-n", "blue", "local", "show", "--json"]);
            let said = ask.output().expect("the program").stdout;
            let Ok(view) = serde_json::from_slice::<serde_json::Value>(&said) else { return false };
            let clients = view["clients"].as_array().into_iter().flatten();
            clients.filter_map(|client| client["files"].as_u64()).any(|files| files > 0)
        });
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file system in a file.
struct Image {
    file: PathBuf,
    directory: PathBuf,
}

impl Image {
    fn new(folder: &Path) -> Self {
        let (file, directory) = (folder.join("blue.ext4"), folder.join("blue"));
        fs::create_dir(&directory).expect("a directory");
        fs::File::create(&file).and_then(|file| file.set_len(64 << 20)).expect("a file");
        command("mkfs.ext4", &["-q", "-F"], &file);
        Self { file, directory }
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
    let output = Command::new(program).args(arguments).arg(path).output().expect(program);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {why}", path.display());
}

/// What is held by the process now.
#[derive(Clone, Copy, Debug)]
struct Holds {
    descriptors: usize,
    threads: usize,
}

impl Holds {
    fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).expect("/proc").count();
        Self { descriptors: count("/proc/self/fd"), threads: count("/proc/self/task") }
    }

    /// Waits until nothing more is held than this, but for the pool's spare workers.
    fn wait(self) {
        let spare = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().max(2));
        wait_until(|| {
            let now = Self::now();
            now.descriptors <= self.descriptors && now.threads <= self.threads + spare
        });
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "it does not come about: {:?}", Holds::now());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

/// What anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
