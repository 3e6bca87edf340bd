//! What a lagg costs: to choose a port for a frame, to send it and have it received by another lagg, and
//! its life. `cargo bench -p holm-ifnet --bench lagg`; `--json` for programs.

use holm_ifnet::Request;
use holm_ifnet::aggregation::LaggRequest;
use holm_ifnet::aggregation::{HashLayers, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::lagg::{Distribution, FlowHash, Member};
use holm_ifnet::{Frames, IfName, IfnetSubsystem, Interface, NewInterface, NsInterfaces, Receiver};
use holm_lifetime::Deadline;
use holm_netns::Registry;
use holm_pool::{Config, Pool, Turn};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    on_one_cpu();
    if !json {
        choices();
    }
    let pool = Pool::start(Config { workers: 1, ..Config::default() }).expect("a pool");
    let registry = Registry::new().expect("a registry");
    registry.register(pool.subsystem()).expect("new");
    IfnetSubsystem::register(&registry).expect("new");
    let (blue, green) =
        (registry.create("blue").expect("new"), registry.create("green").expect("new"));
    {
        let insides = [&blue, &green].map(|ns| ns.enter().expect("live"));
        let [blue, green] =
            [0, 1].map(|n: usize| insides[n].get::<IfnetSubsystem>().expect("registered"));
        for number in 0..2 {
            let (near, far) = (new(&format!("p{number}")), new(&format!("q{number}")));
            let (near, far) = blue.create_pair(near, green, far).expect("a pair");
            tell(blue, near.name(), Request::SetUp(true));
            tell(green, far.name(), Request::SetUp(true));
        }
        let protocols = [Protocol::Failover, Protocol::LoadBalance, Protocol::RoundRobin];
        let rates = protocols.map(|protocol| forward(blue, green, protocol));
        let mut lives: Vec<f64> = (0..RUNS).map(|_| lives(blue)).collect();
        lives.sort_by(f64::total_cmp);
        let life = lives[RUNS / 2];
        if json {
            let rates = protocols.iter().zip(rates);
            let rates: Vec<_> =
                rates.map(|(protocol, rate)| format!("\"{protocol}\":{rate:.0}")).collect();
            let rates = rates.join(",");
            println!("{{\"frames_per_s\":{{{rates}}},\"lagg_life_us\":{life:.2}}}");
        } else {
            println!("frames of 1500 bytes, from a lagg through two pairs to another, on one CPU");
            for (protocol, rate) in protocols.iter().zip(rates) {
                println!("  {:12} {:6.2} million/s", protocol.to_string(), rate / 1e6);
            }
            println!("the life of a lagg with two ports: {life:.2} us");
        }
    }
    registry.remove([&blue, &green], Deadline::Never).expect("nobody is inside");
    pool.stop();
}

/// So that whoever sends and who receives share one.
fn on_one_cpu() {
    let all = sched_getaffinity(None).expect("possible");
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap_or(0));
    sched_setaffinity(None, &first).expect("possible");
}

fn new(name: &str) -> NewInterface {
    NewInterface { name: Some(name.parse().expect("a name")), ..NewInterface::default() }
}

fn tell(ns: &NsInterfaces, name: IfName, request: Request) {
    ns.request(name, &request).expect("it does it");
}

fn lagg(ns: &NsInterfaces, protocol: Protocol, ports: [&str; 2]) -> IfName {
    let lagg = NewLagg { protocol, ..NewLagg::default() };
    let name = ns.create(NewInterface::default(), lagg).expect("a lagg").name();
    tell(ns, name, Request::SetUp(true));
    for port in ports {
        tell(ns, name, Request::Lagg(LaggRequest::AddPort(port.parse().expect("a name"))));
    }
    name
}

/// Microseconds that a lagg lives that is only made, given two ports, and destroyed.
fn lives(ns: &NsInterfaces) -> f64 {
    let start = Instant::now();
    for _ in 0..LIVES {
        let name = lagg(ns, Protocol::LoadBalance, ["p0", "p1"]);
        ns.destroy(name, Deadline::Never).expect("nobody has it");
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(LIVES)
}

/// Frames a second, the median of some runs. They are sent in batches, and used again when they have
/// come.
fn forward(blue: &NsInterfaces, green: &NsInterfaces, protocol: Protocol) -> f64 {
    let (near, far) =
        (lagg(blue, protocol, ["p0", "p1"]), lagg(green, Protocol::LoadBalance, ["q0", "q1"]));
    let counts = Arc::<Counts>::default();
    counts
        .frames
        .lock()
        .expect("nobody panics")
        .extend(frames(ipv4).into_iter().map(holm_ifnet::Frame::from));
    {
        let receiver: Arc<dyn Receiver> = counts.clone();
        let ns = green.namespace().clone();
        let set = ns.request(&mut holm_lifetime::levels::Locked::nothing(), move |in_ns| {
            let interfaces = in_ns.contents.get::<IfnetSubsystem>().expect("registered");
            let lagg = interfaces.find(far).expect("it is there");
            drop(lagg.set_receiver(Some(receiver), &mut in_ns.held));
        });
        assert!(set.wait(Deadline::Never).is_ok_and(|set| set.is_ok()));
    }
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let sender = blue.find(near).expect("it is there");
            let before = counts.count.load(Ordering::Relaxed);
            let start = Instant::now();
            let mut batch = Frames::new();
            while start.elapsed() < TIME {
                {
                    let mut free = counts.frames.lock().expect("nobody panics");
                    let most = free.len().min(BATCH);
                    batch.extend(free.drain(..most));
                }
                if batch.is_empty() || sender.room() < BATCH {
                    std::thread::yield_now();
                    counts.frames.lock().expect("nobody panics").append(&mut batch);
                    continue;
                }
                sender.transmit(&mut batch);
            }
            let count = counts.count.load(Ordering::Relaxed) - before;
            count as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    for (ns, name) in [(blue, near), (green, far)] {
        ns.destroy(name, Deadline::Never).expect("nobody has it");
    }
    rates[RUNS / 2]
}

/// Counts frames, and keeps them for who sends.
#[derive(Default)]
struct Counts {
    count: AtomicU64,
    frames: Mutex<Frames>,
}

impl Receiver for Counts {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        self.count.fetch_add(frames.len() as u64, Ordering::Relaxed);
        self.frames.lock().expect("nobody panics").append(frames);
    }
}

fn choices() {
    let members = [1, 2].map(|number| Member { number, collecting: true, distributing: true });
    println!("choosing one of two ports for frames of 1500 bytes of 1000 flows");
    for layers in ["l2", "l2,l3", "l3,l4", "l2,l3,l4"] {
        let Ok(layers) = layers.parse::<HashLayers>() else { continue };
        for (name, frames) in [("IPv4", frames(ipv4)), ("IPv6", frames(ipv6))] {
            let hash = FlowHash::new(layers, 0x0123_4567_89ab_cdef);
            let choice = Distribution::new(Protocol::Lacp, hash, &members);
            let cost = measure(&frames, |frame| {
                black_box(choice.choose(black_box(frame), || 0));
            });
            println!("  {:10} {name}  {cost:6.2} ns a frame", layers.to_string());
        }
    }
    let hash = FlowHash::new(HashLayers::default(), 1);
    let start = Instant::now();
    for _ in 0..TIMES {
        black_box(Distribution::new(Protocol::Lacp, hash, black_box(&members)));
    }
    println!("making the choice: {:.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES));
}

/// The best of some runs, in nanoseconds.
fn measure(frames: &[Vec<u8>], mut choose: impl FnMut(&[u8])) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            frames.iter().for_each(|frame| choose(frame));
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / (ROUNDS * frames.len()) as f64
}

fn frames(header: fn(u16) -> Vec<u8>) -> Vec<Vec<u8>> {
    let frame = |flow| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(header(flow));
        frame.resize(1514, 0);
        frame
    };
    (0..1000).map(frame).collect()
}

fn ipv4(flow: u16) -> Vec<u8> {
    let mut header = vec![8, 0, 0x45, 0, 5, 220, 7, 7, 0x40, 0, 64, 6, 9, 9];
    header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    header.extend(flow.to_be_bytes());
    header.extend([8, 1]);
    header
}

fn ipv6(flow: u16) -> Vec<u8> {
    let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0, 5, 180, 6, 64];
    header.extend([0xfe; 32]);
    header.extend(flow.to_be_bytes());
    header.extend([8, 1]);
    header
}

const BATCH: usize = 64;
const TIME: Duration = Duration::from_millis(100);
const LIVES: u32 = 1000;
const TIMES: u32 = 10_000;
const RUNS: usize = 20;
const ROUNDS: usize = 200;
