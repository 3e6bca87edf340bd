//! How soon many namespaces are ready, and what each of them costs: made in a process, and by the
//! program from a configuration.
//!
//! `cargo bench -p holm --bench tenants -- [COUNT] [udp]`

#[path = "../../netns/tests/support/counting.rs"]
mod counting;

use counting::{Counting, allocated};
use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
use holm::server::{Change, Options, Server};
use holm_lifetime::Deadline;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let folder = TempDir::new().expect("a folder");
    let tenants = Tenants::new(count, words.iter().any(|word| word == "udp"), folder.path());
    println!("{}", tenants.summary());
    tenants.in_process();
    tenants.by_the_program();
}

/// Namespaces that each have an address, and most of them an export.
struct Tenants {
    count: u32,
    udp: bool,
    /// So many have an export: as many as the system gives us descriptors for.
    exports: u32,
    port: u16,
    folder: PathBuf,
}

impl Tenants {
    fn new(count: u32, udp: bool, folder: &Path) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
        let sockets = u64::from(count) * if udp { 2 } else { 1 };
        let left = limit.maximum.map(|most| most.saturating_sub(sockets + SPARE));
        let exports = left.map_or(count, |left| left.min(u64::from(count)) as u32);
        // Nobody has it at any address.
        let free = TcpListener::bind("0.0.0.0:0").and_then(|it| it.local_addr());
        let port = free.expect("a free port").port();
        fs::create_dir(folder.join("files")).expect("a directory");
        Self { count, udp, exports, port, folder: folder.to_owned() }
    }

    fn summary(&self) -> String {
        let Self { count, exports, .. } = self;
        let listener = if self.udp { "a TCP and a UDP listener" } else { "a TCP listener" };
        format!("{count} namespaces with {listener} each, {exports} of them with an export")
    }

    fn name(n: u32) -> String {
        format!("tenant-{n}")
    }

    fn address(&self, n: u32) -> SocketAddr {
        (Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + n), self.port).into()
    }

    fn exported(&self, n: u32) -> Option<PathBuf> {
        (n < self.exports).then(|| self.folder.join("files"))
    }

    fn spec(&self, n: u32) -> NamespaceSpec {
        NamespaceSpec {
            name: Self::name(n),
            export: self.exported(n).iter().map(|dir| ExportSpec::new("/", dir)).collect(),
            listen: vec![ListenSpec { udp: self.udp, ..ListenSpec::new(self.address(n)) }],
            ..NamespaceSpec::default()
        }
    }

    fn in_process(&self) {
        let server = Server::start(Options::new(self.folder.join("state"))).expect("a server");
        for (how, batch) in [("in one batch", self.count), ("one by one", 1)] {
            let (before, began) = (allocated(), Instant::now());
            for first in (0..self.count).step_by(batch as usize) {
                let batch = (first..first + batch).map(|n| Change::Add(self.spec(n))).collect();
                server.apply(batch).expect("added");
            }
            let ready = began.elapsed();
            let each = (allocated() - before) / self.count as isize;
            self.all_answer();
            let answered = began.elapsed();
            let began = Instant::now();
            let names = (0..self.count).map(|n| Change::Remove(Self::name(n)));
            server.apply(names.collect()).expect("removed");
            while !server.namespaces().is_empty() {
                std::thread::yield_now();
            }
            println!(
                "{how}: ready in {}, all have answered after {}, {each} bytes each, gone in {}",
                seconds(ready),
                seconds(answered),
                seconds(began.elapsed()),
            );
        }
        server.stop(Deadline::Never).expect("nothing is held");
    }

    fn by_the_program(&self) {
        let few = Self { count: 1, exports: 1, folder: self.folder.clone(), ..*self };
        let alone = few.served_by_the_program();
        let Served { ready, answered, resident_kib, gone } = self.served_by_the_program();
        let each = resident_kib.saturating_sub(alone.resident_kib) * 1024 / u64::from(self.count);
        println!(
            "holm serve --config: ready in {}, all have answered after {}, {each} bytes each are \
             resident, ended in {}",
            seconds(ready),
            seconds(answered),
            seconds(gone),
        );
    }

    fn served_by_the_program(&self) -> Served {
        let at = self.folder.display();
        let mut text = format!("admin = '{at}/admin.sock'\nstate-dir = '{at}/of-program'\n");
        for n in 0..self.count {
            let (name, address, udp) = (Self::name(n), self.address(n), self.udp);
            text += &format!("[ns.{name}]\nlisten = [{{ addr = '{address}', udp = {udp} }}]\n");
            if let Some(dir) = self.exported(n) {
                text += &format!("export = [{{ path = '/', dir = '{}' }}]\n", dir.display());
            }
        }
        let file = self.folder.join("holm.toml");
        fs::write(&file, text).expect("a configuration");
        let began = Instant::now();
        let mut program = Command::new(env!("CARGO_BIN_EXE_holm"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        while TcpStream::connect(self.address(self.count - 1)).is_err() {
            assert!(program.try_wait().expect("a child").is_none(), "the program has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        let ready = began.elapsed();
        self.all_answer();
        let answered = began.elapsed();
        let resident_kib = resident_kib(&program);
        let began = Instant::now();
        kill_process(Pid::from_child(&program), Signal::TERM).expect("it is there");
        assert!(program.wait().expect("a child").success());
        Served { ready, answered, resident_kib, gone: began.elapsed() }
    }

    /// Each answers a call, or has nothing to export and turns who calls away.
    fn all_answer(&self) {
        for n in 0..self.count {
            let mut reply = [0; 28];
            let called = TcpStream::connect(self.address(n)).and_then(|mut stream| {
                stream.write_all(&null_call())?;
                stream.read_exact(&mut reply)
            });
            match called {
                Ok(()) => assert_eq!(reply[4..8], XID.to_be_bytes(), "to this call"),
                Err(error) if n >= self.exports => {
                    let turned_away = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(turned_away.contains(&error.kind()), "{error}");
                }
                Err(error) => panic!("{}: {error}", Self::name(n)),
            }
        }
    }
}

/// What the program took.
struct Served {
    /// Until the last listener accepted.
    ready: Duration,
    /// Until all had answered.
    answered: Duration,
    resident_kib: u64,
    /// From the signal to its end.
    gone: Duration,
}

/// NULL of NFSv3, as one record.
fn null_call() -> Vec<u8> {
    const LAST_FRAGMENT: u32 = 1 << 31;
    let words = [XID, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    let mark = LAST_FRAGMENT | (4 * words.len() as u32);
    std::iter::once(mark).chain(words).flat_map(u32::to_be_bytes).collect()
}

fn resident_kib(program: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.and_then(|line| line.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number of KiB")
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

const XID: u32 = 0x686f_6c6d;
/// Descriptors for everything else, such as connections that are about to end.
const SPARE: u64 = 500;
