//! What the pool costs, against a bare epoll loop. `cargo bench -p holm-pool`.
//!
//! Both serve echoes on unix sockets, edge-triggered, one read and one write a request, with as many
//! threads. Rounds take turns, so that a disturbance hits both alike, and the median round is reported.

#[path = "../tests/support/mod.rs"]
mod support;

use holm_netns::Namespace;
use holm_pool::{Config, Epoll, Interest, Poller, Source};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Echo, World};

const ROUNDS: usize = 15;
const BUSY: usize = 64;

fn main() {
    println!("| what | bare epoll | pool | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    let all = sched_getaffinity(None).expect("possible");
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap_or(0));
    for workers in [1, 2] {
        // Where a thread wakes up would else be most of what is measured.
        sched_setaffinity(None, &first).expect("possible");
        let contest = Contest::begin(workers);
        let (mut bare, mut pool) = (contest.bare.connect(), support::connect(&contest.ns));
        let row = compare(|| ping_pong(&mut bare), || ping_pong(&mut pool));
        print(&format!("one connection, {workers} workers, one CPU: ns/round trip"), row);
        drop((bare, pool));
        contest.end();

        sched_setaffinity(None, &all).expect("possible");
        let contest = Contest::begin(workers);
        let mut bare: Vec<_> = (0..BUSY).map(|_| contest.bare.connect()).collect();
        let mut pool: Vec<_> = (0..BUSY).map(|_| support::connect(&contest.ns)).collect();
        let row = compare(|| busy(&mut bare), || busy(&mut pool));
        print(&format!("{BUSY} busy connections, {workers} workers: ns/request"), row);
        drop((bare, pool));
        contest.end();
    }
}

/// Both sides, each with as many threads.
struct Contest {
    bare: Bare,
    world: World,
    ns: Namespace,
}

impl Contest {
    fn begin(workers: usize) -> Self {
        let world = World::new(Config { workers, ..Config::default() });
        Self { bare: Bare::start(workers), ns: world.create("blue"), world }
    }

    fn end(self) {
        self.bare.stop();
        self.world.remove(&self.ns);
    }
}

fn compare(mut bare: impl FnMut() -> f64, mut pool: impl FnMut() -> f64) -> [f64; 2] {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rounds[0].push(bare());
        rounds[1].push(pool());
    }
    rounds.map(|mut rounds| {
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    })
}

fn print(what: &str, [bare, pool]: [f64; 2]) {
    println!("| {what} | {bare:.0} | {pool:.0} | {:.3} |", pool / bare);
}

fn ping_pong(stream: &mut UnixStream) -> f64 {
    const TRIPS: u32 = 4000;
    let mut answer = [0; 16];
    let start = Instant::now();
    for _ in 0..TRIPS {
        stream.write_all(black_box(b"0123456789abcdef")).expect("served");
        stream.read_exact(&mut answer).expect("served");
    }
    start.elapsed().as_nanos() as f64 / f64::from(TRIPS)
}

fn busy(streams: &mut [UnixStream]) -> f64 {
    const TRIPS: usize = 60;
    let mut answer = [0; 16];
    let start = Instant::now();
    for _ in 0..TRIPS {
        for stream in streams.iter_mut() {
            stream.write_all(black_box(b"0123456789abcdef")).expect("served");
        }
        for stream in streams.iter_mut() {
            stream.read_exact(&mut answer).expect("served");
        }
    }
    start.elapsed().as_nanos() as f64 / (TRIPS * streams.len()) as f64
}

/// Threads on one epoll that serve what they are told of, and nothing else.
struct Bare {
    inner: Arc<Inner>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Inner {
    epoll: Epoll,
    streams: Mutex<BTreeMap<u64, Arc<Echo>>>,
    stop: AtomicBool,
}

impl Bare {
    fn start(threads: usize) -> Self {
        let inner = Arc::new(Inner {
            epoll: Epoll::new().expect("epoll"),
            streams: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let threads = (0..threads).map(|_| {
            let inner = inner.clone();
            std::thread::spawn(move || inner.serve())
        });
        Self { threads: threads.collect(), inner }
    }

    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        theirs.set_nonblocking(true).expect("possible");
        let echo = Arc::new(Echo(theirs));
        let mut streams = self.inner.streams.lock().expect("no panic");
        let token = streams.len() as u64;
        streams.insert(token, echo.clone());
        drop(streams);
        self.inner.epoll.add(echo.0.as_fd(), Interest::Read, token).expect("possible");
        assert_eq!(echo.interest(), Interest::Read);
        ours
    }

    fn stop(self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            while !thread.is_finished() {
                self.inner.epoll.wake();
                std::thread::yield_now();
            }
            thread.join().expect("no panic");
        }
    }
}

impl Inner {
    fn serve(&self) {
        let mut known: BTreeMap<u64, Arc<Echo>> = BTreeMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let waited = self.epoll.wait(Some(Duration::from_secs(1)), &mut |event| {
                if event == holm_pool::Event::WOKEN {
                    return;
                }
                let echo = known.entry(event.token).or_insert_with(|| {
                    self.streams.lock().expect("no panic")[&event.token].clone()
                });
                let mut buffer = [0; 64];
                if let Ok(n @ 1..) = (&echo.0).read(&mut buffer) {
                    (&echo.0).write_all(&buffer[..n]).expect("room");
                }
            });
            waited.expect("events");
        }
    }
}
