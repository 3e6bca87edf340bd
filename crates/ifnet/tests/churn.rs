//! Interfaces of all kinds are created, configured, used, moved and destroyed at random in fifty
//! namespaces by several threads at once; and then there is not one descriptor, name, unit or byte more
//! than before. One test, in a process of its own, because it counts what the process has.
#![cfg(not(any(shuttle, loom)))]

#[path = "../../netns/tests/support/counting.rs"]
mod counting;
#[path = "support/sockets.rs"]
mod sockets;
#[path = "../../netns/tests/support/threads.rs"]
mod threads;

use holm_ifnet::aggregation::{LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::{
    Frames, IfName, IfnetSubsystem, Interface, NewInterface, NsInterfaces, Receiver, Request,
};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, Registry};
use holm_pool::{Config, Pool, Turn};
use sockets::Sockets;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const NAMESPACES: usize = 50;
const THREADS: u64 = 4;
const STEPS: usize = 2000;
const WARM_UP: u64 = 3;
const ROUNDS: u64 = 10;

fn main() {
    threads::many_at_once();
    // Who looks so seldom finds nobody stuck, so no worker is replaced.
    let tick = Some(Duration::from_secs(3600));
    let pool = Pool::start(Config { workers: 2, tick, ..Config::default() }).unwrap();
    let registry = Registry::new().unwrap();
    registry.register(pool.subsystem()).unwrap();
    IfnetSubsystem::register(&registry).unwrap();

    let received = Arc::new(Counts::default());
    for seed in 0..WARM_UP {
        round(&registry, &received, seed);
    }
    let (open, bytes) = (descriptors(), counting::allocated());
    for seed in WARM_UP..WARM_UP + ROUNDS {
        round(&registry, &received, seed);
        assert_eq!(descriptors(), open, "descriptors were left by round {seed}");
    }
    let left = counting::allocated() - bytes;
    // What grows with use and is kept for the next: a table, a buffer. Not something for each
    // interface, of which there were thousands.
    assert!(left.unsigned_abs() < 2 * NAMESPACES * STEPS, "{left} bytes were left");
    let received = received.0.load(Ordering::Relaxed);
    assert!(received > 0, "no frame has come");
    println!("{ROUNDS} rounds, {left:+} bytes, {received} frames received; 1 passed, 0 failed");
    pool.stop();
}

/// Namespaces come, much happens in them, and they go.
fn round(registry: &Registry, received: &Arc<Counts>, seed: u64) {
    let all: Vec<Namespace> =
        (0..NAMESPACES).map(|n| registry.create(&*format!("n{n}")).unwrap()).collect();
    std::thread::scope(|scope| {
        let churn = |thread| {
            let mut random =
                Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed * THREADS + thread + 1));
            for _ in 0..STEPS {
                step(&all, received, &mut random);
            }
        };
        threads::join_all((0..THREADS).map(|thread| scope.spawn(move || churn(thread))));
    });
    // Half of them give up all they have, and then all names and units are free.
    for ns in all.iter().step_by(2) {
        let inside = ns.enter().unwrap();
        let interfaces = inside.get::<IfnetSubsystem>().unwrap();
        while let Some(name) = some(interfaces, 0) {
            // It is in the list still, or went with its other end.
            let _ = interfaces.destroy(name, Deadline::Never);
        }
        // What nobody waited for is destroyed by workers.
        while !interfaces.leaving().is_empty() {
            std::thread::yield_now();
        }
        let (wire, _peer) = Sockets::pair();
        let first = interfaces.create(NewInterface::default(), wire).unwrap();
        assert_eq!((first.name().as_str(), first.unit()), ("sockets0", 0));
    }
    registry.remove(&all, Deadline::Never).unwrap();
}

/// One thing happens, if it can: others may have been faster.
fn step(all: &[Namespace], received: &Arc<Counts>, random: &mut Random) {
    let mut pick = || all[random.below(all.len())].enter().unwrap();
    let (inside, there) = (pick(), pick());
    let [here, other] = [&inside, &there].map(|ns| ns.get::<IfnetSubsystem>().unwrap());
    let new = NewInterface {
        name: IfName::of_unit("x", random.below(20) as u32).ok().filter(|_| random.below(2) == 0),
        ..NewInterface::default()
    };
    let Some(name) = some(here, random.below(1000)) else {
        drop(here.create_pair(new, other, NewInterface::default()));
        return;
    };
    match random.below(16) {
        0 => {
            if let Ok(ends) = here.create_pair(new, other, NewInterface::default()) {
                let names = [ends.0.name(), ends.1.name()];
                drop(ends);
                for (ns, name) in [here, other].into_iter().zip(names) {
                    let _ = ns.request(name, &Request::SetUp(true));
                }
            }
        }
        1 => drop(here.create(new, Sockets::pair().0)),
        2 => drop(here.destroy(name, Deadline::Never)),
        // Nobody waits for this one.
        3 => drop(here.destroy(name, Deadline::now())),
        4 => drop(here.move_to(name, other, new.name)),
        5 => {
            let to = IfName::of_unit("y", random.below(20) as u32).unwrap();
            let _ = here.request(name, &Request::Rename(to));
        }
        6 => {
            let address = format!("10.0.0.{}/24", random.below(250) + 1).parse().unwrap();
            let _ = here.request(name, &Request::AddAddress(address));
        }
        7 => drop(here.create(new, NewLagg::default())),
        8 | 9 => {
            let laggs = ["lagg0", "lagg1"].map(|name| name.parse::<IfName>().unwrap());
            let request = match random.below(6) {
                0 => LaggRequest::RemovePort(name),
                1 => LaggRequest::SetProtocol(Protocol::Broadcast),
                2 => LaggRequest::SetProtocol(Protocol::Lacp),
                _ => LaggRequest::AddPort(name),
            };
            let _ = here.request(laggs[random.below(2)], &Request::Lagg(request));
        }
        10 | 11 => {
            let counts = received.clone();
            let receives = move |in_ns: &mut holm_netns::InNs<'_>| {
                let interfaces = in_ns.contents.get::<IfnetSubsystem>();
                if let Some(interface) = interfaces.and_then(|all| all.find(name)) {
                    drop(interface.set_receiver(Some(counts), &mut in_ns.held));
                    let _ = interface.change(&Request::SetUp(true), &mut in_ns.held);
                }
            };
            here.namespace().request_then(&mut Locked::nothing(), receives, |_| {});
        }
        _ => {
            if let Some(interface) = here.find(name) {
                let frame = || vec![0; 60 + random.0 as usize % 1400].into();
                interface.transmit(&mut (0..10).map(|_| frame()).collect());
            }
        }
    }
}

/// The name of one of the interfaces, not of the loopback interface.
fn some(interfaces: &NsInterfaces, which: usize) -> Option<IfName> {
    let mut names: Vec<_> = interfaces.list().iter().map(|interface| interface.name()).collect();
    names.retain(|name| name.as_str() != "lo");
    names.get(which % names.len().max(1)).copied()
}

#[derive(Default)]
struct Counts(AtomicU64);

impl Receiver for Counts {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        self.0.fetch_add(frames.len() as u64, Ordering::Relaxed);
    }
}

/// Numbers that look as if by chance (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
