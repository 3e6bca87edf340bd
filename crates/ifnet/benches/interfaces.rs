//! What interfaces cost: requests while others come and go, their life, and frames over a pair. `--json`
//! for programs.

use holm_ifnet::{
    Frames, IfName, IfnetSubsystem, Interface, NewInterface, NsInterfaces, Receiver, Request,
};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::Registry;
use holm_pool::{Config, Pool, Turn};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn main() {
    let mut json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            // What cargo adds.
            "--bench" => {}
            other => {
                eprintln!("unknown option {other}; there is --json");
                std::process::exit(2);
            }
        }
    }
    let pool = Pool::start(Config { workers: 1, ..Config::default() }).expect("a pool");
    let registry = Registry::new().expect("a registry");
    registry.register(pool.subsystem()).expect("new");
    IfnetSubsystem::register(&registry).expect("new");
    let ns = registry.create("blue").expect("new");
    let inside = ns.enter().expect("live");
    let interfaces = inside.get::<IfnetSubsystem>().expect("registered");

    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(interfaces)).collect();
    let median = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let quiet = median(|round| round.quiet);
    let busy = median(|round| round.busy);
    let alone = median(|round| round.alone);
    let meanwhile = median(|round| round.meanwhile);
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| frames(interfaces)).collect();
    all.sort_by(f64::total_cmp);
    let frames = all[all.len() / 2];
    if json {
        println!(
            "{{\"pair_frames_per_s\":{frames:.0},\"requests_per_s\":{quiet:.0},\"requests_per_s_during_churn\":{busy:.0},\
             \"pair_life_us\":{alone:.2},\"pair_life_during_requests_us\":{meanwhile:.2}}}"
        );
    } else {
        println!("frames of 1500 bytes over a pair              {:>8.2} million/s", frames / 1e6);
        println!("requests of 2 threads to one interface        {:>8.2} million/s", quiet / 1e6);
        println!("... while another thread makes and ends pairs {:>8.2} million/s", busy / 1e6);
        println!("a pair's life, both ends                      {alone:>8.2} us");
        println!("... while two threads send requests           {meanwhile:>8.2} us");
    }
    drop(inside);
    registry.remove([&ns], Deadline::Never).expect("nobody is inside");
    pool.stop();
}

const ROUNDS: usize = 9;
const TIME: Duration = Duration::from_millis(200);

struct Round {
    quiet: f64,
    busy: f64,
    alone: f64,
    meanwhile: f64,
}

fn round(interfaces: &NsInterfaces) -> Round {
    let (quiet, _) = run(interfaces, 2, false);
    let (_, alone) = run(interfaces, 0, true);
    let (busy, meanwhile) = run(interfaces, 2, true);
    Round { quiet, busy, alone, meanwhile }
}

/// Requests a second, and microseconds that one pair takes.
fn run(interfaces: &NsInterfaces, requesters: usize, churn: bool) -> (f64, f64) {
    let lo: IfName = "lo".parse().expect("a name");
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Barrier::new(requesters + 1);
    let (time, lives) = std::thread::scope(|scope| {
        for _ in 0..requesters {
            scope.spawn(|| {
                begin.wait();
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..64 {
                        black_box(interfaces.request(lo, black_box(&Request::Mtu))).expect("lo");
                    }
                    own += 64;
                }
                count.fetch_add(own, Ordering::Relaxed);
            });
        }
        begin.wait();
        let start = Instant::now();
        let mut lives = 0_u32;
        while start.elapsed() < TIME {
            if churn {
                life(interfaces);
                lives += 1;
            } else {
                std::thread::park_timeout(TIME.saturating_sub(start.elapsed()));
            }
        }
        let time = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        (time, lives)
    });
    let requests = count.load(Ordering::Relaxed) as f64 / time.as_secs_f64();
    (requests, time.as_secs_f64() * 1e6 / f64::from(lives.max(1)))
}

/// Frames a second over a pair: one thread sends, the pool's one worker receives and drops them.
fn frames(interfaces: &NsInterfaces) -> f64 {
    let new = NewInterface::default();
    let (one, two) = interfaces.create_pair(new, interfaces, new).expect("a pair");
    for interface in [&one, &two] {
        interfaces.request(interface.name(), &Request::SetUp(true)).expect("it can be up");
    }
    let receiver = Arc::new(Drops::default());
    {
        let mut held = Locked::nothing();
        let mut guard = interfaces.namespace().lock(&mut held);
        drop(two.set_receiver(Some(receiver.clone()), guard.token()));
    }
    let start = Instant::now();
    let mut batch = Vec::new();
    while start.elapsed() < TIME {
        let room = one.room().min(64);
        if room == 0 {
            std::thread::yield_now();
            continue;
        }
        batch.extend((0..room).map(|_| vec![0; 1514].into()));
        one.transmit(&mut batch);
    }
    let count = receiver.0.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let name = one.name();
    drop((one, two));
    interfaces.destroy(name, Deadline::Never).expect("nobody has it");
    count
}

#[derive(Default)]
struct Drops(AtomicU64);

impl Receiver for Drops {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        self.0.fetch_add(frames.len() as u64, Ordering::Relaxed);
        frames.clear();
    }
}

fn life(interfaces: &NsInterfaces) {
    let new = NewInterface::default();
    let (one, two) = interfaces.create_pair(new, interfaces, new).expect("a pair");
    let name = one.name();
    drop((one, two));
    interfaces.destroy(name, Deadline::Never).expect("nobody has it");
}
