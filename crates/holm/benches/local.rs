//! What a client on the server's machine gets: by LOCALIO, by the loopback to the same server, and what the
//! file system gives a program that opens the files itself. The ways take turns in many short rounds, forwards
//! and backwards. What is shown are medians: of rates, and of what one way was to another in the same round,
//! with the middle half of the rounds. `cargo bench -p holm --bench local -- [--json] [--rounds N] [--seconds S] [--directory DIR]`

use clap::Parser;
use holm_localio::{Access, Local, Mount, Options, Url};
use holm_nfs_proto::nfs3::{self, Outcome, ReadArgs, ReadRes};
use holm_sunrpc::Client;
use holm_sunrpc::auth::{AuthSys, Groups};
use holm_sunrpc::client::Procedure;
use holm_xdr::Opaque;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[derive(Parser)]
struct Arguments {
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
    /// Rounds, in which the ways take turns
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// How long each way is measured in each round
    #[arg(long, default_value_t = 0.2)]
    seconds: f64,
    /// On which file system; by default that of the temporary files
    #[arg(long)]
    directory: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is done over and over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Read(usize),
    Write(usize),
    OpenReadClose,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The program opens the file itself.
    Plain,
    Local,
    /// One call at a time.
    Loopback,
    /// So many calls at a time on the connection of each thread.
    Deep,
}

/// What was measured: operations a second of all threads together.
#[derive(Serialize)]
struct Row {
    work: String,
    threads: usize,
    plain: f64,
    local: f64,
    loopback: f64,
    /// Only of reads.
    loopback_depth_16: Option<f64>,
    local_to_plain: Ratio,
    local_to_loopback: Ratio,
    local_to_loopback_depth_16: Option<Ratio>,
}

/// Of rates in the same round.
#[derive(Serialize)]
struct Ratio {
    median: f64,
    lower_quartile: f64,
    upper_quartile: f64,
}

fn main() {
    let arguments = Arguments::parse();
    let world = World::new(arguments.directory.as_deref());
    let mut rows = Vec::new();
    for work in [
        Work::Read(4 << 10),
        Work::Read(128 << 10),
        Work::Write(4 << 10),
        Work::Write(128 << 10),
        Work::OpenReadClose,
    ] {
        for threads in [1, 4] {
            rows.push(row(&world, &arguments, work, threads));
        }
    }
    drop(world);
    if arguments.json {
        println!("{}", serde_json::to_string(&rows).expect("numbers"));
    } else {
        print!("{}", table(&rows));
    }
}

fn row(world: &World, arguments: &Arguments, work: Work, threads: usize) -> Row {
    let ways: &[Way] = match work {
        Work::Read(_) => &[Way::Plain, Way::Local, Way::Loopback, Way::Deep],
        _ => &[Way::Plain, Way::Local, Way::Loopback],
    };
    let time = Duration::from_secs_f64(arguments.seconds);
    let mut rates = vec![Vec::new(); ways.len()];
    for round in 0..arguments.rounds.max(1) {
        let mut turns: Vec<_> = ways.iter().zip(&mut rates).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (way, rates) in turns {
            rates.push(world.rate(*way, work, threads, time));
        }
    }
    let [plain, local, loopback, deep @ ..] = &rates[..] else {
        unreachable!("three ways or four")
    };
    let deep = deep.first();
    Row {
        work: match work {
            Work::Read(size) => format!("{} KiB random reads", size >> 10),
            Work::Write(size) => format!("{} KiB random writes", size >> 10),
            Work::OpenReadClose => "open, read 4 KiB, close".into(),
        },
        threads,
        plain: median(plain.clone()),
        local: median(local.clone()),
        loopback: median(loopback.clone()),
        loopback_depth_16: deep.cloned().map(median),
        local_to_plain: Ratio::of(local, plain),
        local_to_loopback: Ratio::of(local, loopback),
        local_to_loopback_depth_16: deep.map(|deep| Ratio::of(local, deep)),
    }
}

impl Ratio {
    fn of(rates: &[f64], others: &[f64]) -> Self {
        let ratios: Vec<_> = rates.iter().zip(others).map(|(rate, other)| rate / other).collect();
        Self {
            median: median(ratios.clone()),
            lower_quartile: quantile(ratios.clone(), 1, 4),
            upper_quartile: quantile(ratios, 3, 4),
        }
    }
}

impl Display for Ratio {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { median, lower_quartile, upper_quartile } = self;
        write!(f, "{median:.2} ({lower_quartile:.2}-{upper_quartile:.2})")
    }
}

/// As Markdown.
fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| work | threads | plain, ops/s | LOCALIO | of plain | loopback | LOCALIO to it | loopback, depth 16 | \
         LOCALIO to it |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let deep = row.loopback_depth_16.map_or("-".into(), |rate| format!("{rate:.0}"));
        let to_deep = row.local_to_loopback_depth_16.as_ref();
        let to_deep = to_deep.map_or("-".into(), Ratio::to_string);
        let Row {
            work, threads, plain, local, loopback, local_to_plain, local_to_loopback, ..
        } = row;
        table += &format!(
            "| {work} | {threads} | {plain:.0} | {local:.0} | {local_to_plain} | {loopback:.0} | \
             {local_to_loopback} | {deep} | {to_deep} |\n"
        );
    }
    table
}

/// A server, and the files that it serves.
struct World {
    folder: TempDir,
    server: Child,
    address: String,
}

impl World {
    fn new(directory: Option<&Path>) -> Self {
        let place = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = TempDir::with_prefix_in("holm-local-", place).expect("a folder");
        // Root is squashed, and others come by.
        open_to_all(folder.path(), 0o755);
        let served = folder.path().join("served");
        for directory in [&served, &served.join("small")] {
            fs::create_dir(directory).expect("a directory");
            open_to_all(directory, 0o777);
        }
        let block: Vec<u8> = (0..1 << 20).map(|n: u32| ((n * 7) >> 3) as u8).collect();
        for thread in 0..MOST_THREADS {
            let path = served.join(large(thread));
            let file = File::create(&path).expect("a file");
            for at in 0..SIZE >> 20 {
                file.write_all_at(&block, at << 20).expect("room");
            }
            file.sync_all().expect("a disk");
            open_to_all(&path, 0o666);
        }
        for number in 0..SMALL {
            let path = served.join(small(number));
            fs::write(&path, &block[..4096]).expect("room");
            open_to_all(&path, 0o666);
        }
        let address = free_address();
        let configuration = folder.path().join("holm.toml");
        let user = rustix::process::geteuid().as_raw();
        // Who is squashed gets nothing to write to by the door.
        let text = format!(
            "[ns.bench]\nlisten = [{{ addr = \"{address}\" }}]\nlocal = {{ users = [{user}] }}\n\
             export = [{{ path = \"/\", dir = \"{}\", squash = \"none\" }}]\n",
            served.display()
        );
        fs::write(&configuration, text).expect("room");
        let mut server = Command::new(env!("CARGO_BIN_EXE_holm"))
            .args(["serve", "--config"])
            .arg(&configuration)
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .arg("--admin")
            .arg(folder.path().join("admin.sock"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut said = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert!(line.starts_with("serving"), "{line}");
        Self { folder, server, address: address.to_string() }
    }

    fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn mount(&self, local: Local) -> Mount {
        let url: Url = format!("nfs://{}/", self.address).parse().expect("an address");
        let mut options = Options::default();
        options.local = local;
        Mount::new(&url, &options).expect("it is served")
    }

    /// Operations a second.
    fn rate(&self, way: Way, work: Work, threads: usize, time: Duration) -> f64 {
        let mount = match way {
            Way::Plain | Way::Deep => None,
            Way::Local => Some(self.mount(Local::Automatic)),
            Way::Loopback => Some(self.mount(Local::Never)),
        };
        let (begin, enough) = (Barrier::new(threads + 1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let run = |thread| {
                let mut operation = self.operation(mount.as_ref(), way, work, thread);
                let (begin, enough) = (&begin, &enough);
                scope.spawn(move || {
                    let mut random = 0x9e37_79b9_7f4a_7c15 ^ (thread as u64 + 1);
                    for _ in 0..WARM_UP {
                        operation(next(&mut random));
                    }
                    begin.wait();
                    let mut count = 0u64;
                    while !enough.load(Ordering::Relaxed) {
                        operation(next(&mut random));
                        count += 1;
                    }
                    count
                })
            };
            let workers: Vec<_> = (0..threads).map(run).collect();
            begin.wait();
            let began = Instant::now();
            std::thread::sleep(time);
            enough.store(true, Ordering::Relaxed);
            let took = began.elapsed();
            let counts = workers.into_iter().map(|worker| worker.join().expect("it went well"));
            counts.sum::<u64>() as f64 / took.as_secs_f64()
        })
    }

    /// One operation, at a place that a random number chooses.
    fn operation<'w>(
        &'w self,
        mount: Option<&'w Mount>,
        way: Way,
        work: Work,
        thread: usize,
    ) -> Box<dyn FnMut(u64) + Send + 'w> {
        let path = self.served().join(large(thread));
        match (work, mount) {
            (Work::Read(size), None) if way == Way::Deep => self.deep(size, thread),
            (Work::Read(size), None) => {
                let (file, mut buffer) = (File::open(path).expect("a file"), vec![0; size]);
                Box::new(move |random| {
                    file.read_exact_at(&mut buffer, place(random, size)).expect("read");
                    black_box(&buffer);
                })
            }
            (Work::Read(size), Some(mount)) => {
                let file = mount.open(large(thread), Access::Read).expect("a file");
                let mut buffer = vec![0; size];
                is_as_asked(&file, way, |file| file.read_at(&mut buffer, 0).map(drop));
                Box::new(move |random| {
                    let count = file.read_at(&mut buffer, place(random, size)).expect("read");
                    assert_eq!(count, size);
                    black_box(&buffer);
                })
            }
            (Work::Write(size), None) => {
                let file = OpenOptions::new().write(true).open(path).expect("a file");
                let data = vec![7; size];
                Box::new(move |random| {
                    file.write_all_at(&data, place(random, size)).expect("written");
                })
            }
            (Work::Write(size), Some(mount)) => {
                let file = mount.open(large(thread), Access::Write).expect("a file");
                let data = vec![7; size];
                is_as_asked(&file, way, |file| file.write_at(&data, 0));
                Box::new(move |random| {
                    file.write_at(&data, place(random, size)).expect("written");
                })
            }
            (Work::OpenReadClose, None) => {
                let (served, mut buffer) = (self.served(), vec![0; 4096]);
                Box::new(move |random| {
                    let file = File::open(served.join(small(random % SMALL))).expect("a file");
                    file.read_exact_at(&mut buffer, 0).expect("read");
                })
            }
            (Work::OpenReadClose, Some(mount)) => {
                let mut buffer = vec![0; 4096];
                Box::new(move |random| {
                    let file = mount.open(small(random % SMALL), Access::Read).expect("a file");
                    assert_eq!(file.read_at(&mut buffer, 0).expect("read"), 4096);
                })
            }
        }
    }

    /// Reads on a connection of its own, with [`DEPTH`] of them under way. One operation is one reply.
    fn deep(&self, size: usize, thread: usize) -> Box<dyn FnMut(u64) + Send> {
        let mount = self.mount(Local::Never);
        let handle = mount.lookup(large(thread)).expect("a file").handle;
        let handle = handle.as_bytes().to_vec();
        let user = AuthSys {
            stamp: 0,
            machine_name: Opaque::default(),
            uid: 0,
            gid: 0,
            gids: Groups::default(),
        };
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut client = Client::new(stream).with_user(&user).with_xid(1 << (8 + thread));
        let mut under_way = 0;
        Box::new(move |random| {
            let file = Opaque::new(&handle).unwrap_or_default();
            while under_way < DEPTH {
                let offset = place(random.rotate_left(under_way), size);
                let args = ReadArgs { file, offset, count: size as u32 };
                client.send(READ, &args).expect("sent");
                under_way += 1;
            }
            let reply = client.receive().expect("a reply");
            let mut results = reply.outcome.expect("served");
            let Ok(Outcome::Ok(read)) = results.get::<ReadRes<'_>>() else { panic!("no data") };
            assert_eq!(read.data.len(), size);
            black_box(read.data);
            under_way -= 1;
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Uses a file a few times, and looks whether it goes the way that is to be measured.
fn is_as_asked(
    file: &holm_localio::File,
    way: Way,
    mut work: impl FnMut(&holm_localio::File) -> holm_localio::Result<()>,
) {
    for _ in 0..2 {
        work(file).expect("it works");
    }
    assert_eq!(file.is_local(), way == Way::Local, "the file does not go that way");
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port")
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn large(thread: usize) -> String {
    format!("large-{thread}")
}

fn small(number: u64) -> String {
    format!("small/{number}")
}

fn place(random: u64, size: usize) -> u64 {
    random % (SIZE / size as u64) * size as u64
}

/// xorshift.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

fn median(rates: Vec<f64>) -> f64 {
    quantile(rates, 2, 4)
}

fn quantile(mut rates: Vec<f64>, part: usize, of: usize) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[(rates.len() - 1) * part / of]
}

const READ: Procedure = Procedure {
    program: nfs3::PROGRAM,
    version: nfs3::VERSION,
    number: nfs3::Procedure::Read.number(),
};
/// Bytes of each large file.
const SIZE: u64 = 64 << 20;
/// Small files.
const SMALL: u64 = 1024;
const MOST_THREADS: usize = 4;
const DEPTH: u32 = 16;
/// Operations before the time begins.
const WARM_UP: usize = 64;
