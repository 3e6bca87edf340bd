//! Wires of all kinds come, carry frames and go at random in fifty namespaces, by several threads at
//! once; and then there is not one descriptor, file, kernel interface or byte more than before. One test,
//! in a process of its own, because it counts what the process has. Taps and packet sockets as root.
#![cfg(not(any(shuttle, loom)))]

#[path = "../../netns/tests/support/counting.rs"]
mod counting;
#[path = "../../netns/tests/support/threads.rs"]
mod threads;

use holm_ifnet::wires::{DgramOptions, PacketOptions, StreamEnd, StreamOptions, TapOptions};
use holm_ifnet::{
    Cloner, Frames, IfName, IfnetSubsystem, Interface, NewInterface, NsInterfaces, Receiver,
    Request,
};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{Namespace, Registry};
use holm_pool::{Config, Pool, Turn};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const NAMESPACES: usize = 50;
const THREADS: u64 = 4;
const STEPS: usize = 300;
const WARM_UP: u64 = 2;
const ROUNDS: u64 = 3;
/// So few that who comes finds the other end of somebody else's, or the place taken.
const PLACES: usize = 20;
const KINDS: [&str; 4] = ["stream", "dgram", "tap", "packet"];

fn main() {
    threads::many_at_once();
    let with_kernel = rustix::process::geteuid().is_root();
    if with_kernel {
        // SAFETY: there are no other threads yet, and those that come are in there too.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap();
        }
    } else {
        println!("without taps and packet sockets: they need root");
    }
    // Who looks so seldom finds nobody stuck, so no worker is replaced.
    let tick = Some(Duration::from_secs(3600));
    let pool = Pool::start(Config { workers: 2, tick, ..Config::default() }).unwrap();
    let registry = Registry::new().unwrap();
    registry.register(pool.subsystem()).unwrap();
    IfnetSubsystem::register(&registry).unwrap();
    let folder = TempDir::new().unwrap();
    let world = World { folder: folder.path(), with_kernel, received: Arc::default() };

    for seed in 0..WARM_UP {
        world.round(&registry, seed);
    }
    let (open, bytes) = (descriptors(), counting::allocated());
    for seed in WARM_UP..WARM_UP + ROUNDS {
        world.round(&registry, seed);
        // The thread that reads of the kernel's links may be just about to let them go.
        while descriptors() != open {
            std::thread::yield_now();
        }
        assert_eq!(files(folder.path()), 0, "files were left by round {seed}");
        assert_eq!(kernel_interfaces(), 1, "kernel interfaces were left by round {seed}");
    }
    let left = counting::allocated() - bytes;
    // What grows with use and is kept for the next: a table, a buffer of a thread's.
    assert!(left.unsigned_abs() < 4 << 20, "{left} bytes were left");
    let received = world.received.each();
    let kinds = if with_kernel { 4 } else { 2 };
    for (kind, received) in KINDS.iter().zip(received).take(kinds) {
        assert!(received > 0, "no frame has come by {kind}");
    }
    println!("{ROUNDS} rounds, {left:+} bytes, {received:?} frames received; 1 passed, 0 failed");
    pool.stop();
}

struct World<'a> {
    folder: &'a Path,
    with_kernel: bool,
    received: Arc<Counts>,
}

impl World<'_> {
    /// Namespaces come, much happens in them, and they go.
    fn round(&self, registry: &Registry, seed: u64) {
        let all: Vec<Namespace> =
            (0..NAMESPACES).map(|n| registry.create(&*format!("n{n}")).unwrap()).collect();
        std::thread::scope(|scope| {
            let all = &all;
            let churn = move |thread| {
                let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed * THREADS + thread + 1);
                let mut random = Random(seed);
                for _ in 0..STEPS {
                    self.step(all, &mut random);
                }
            };
            threads::join_all((0..THREADS).map(|thread| scope.spawn(move || churn(thread))));
        });
        registry.remove(&all, Deadline::Never).unwrap();
    }

    /// One thing happens, if it can: others may have been faster.
    fn step(&self, all: &[Namespace], random: &mut Random) {
        let inside = all[random.below(all.len())].enter().unwrap();
        let here = inside.get::<IfnetSubsystem>().unwrap();
        let which = random.below(1000);
        let name = some(here, which).filter(|_| random.below(3) > 0);
        match (name, random.below(6)) {
            (None, _) => self.create(here, random),
            (Some(name), 0) => drop(here.destroy(name, Deadline::Never)),
            // Nobody waits for this one.
            (Some(name), 1) => drop(here.destroy(name, Deadline::now())),
            (Some(name), 2) => {
                let mtu = [576, 1500, 9000, 65_521][random.below(4)];
                let _ = here.request(name, &Request::SetMtu(mtu));
            }
            (Some(name), _) => {
                if let Some(interface) = here.find(name) {
                    let frame = || vec![2; 60 + which].into();
                    interface.transmit(&mut (0..30).map(|_| frame()).collect());
                }
            }
        }
    }

    /// Makes an interface that receives, of whatever kind, at one of the places.
    fn create(&self, here: &NsInterfaces, random: &mut Random) {
        let place = random.below(PLACES);
        let path = |side| self.folder.join(format!("{place}.{side}"));
        let tap = format!("blue{place}");
        match random.below(if self.with_kernel { 8 } else { 4 }) {
            0 => self.add(here, StreamOptions { path: path('s'), end: StreamEnd::Listen }),
            1 => {
                let end = StreamEnd::Connect { retry: Duration::from_millis(1) };
                self.add(here, StreamOptions { path: path('s'), end });
            }
            2 => self.add(here, DgramOptions { path: path('d'), peer: None }),
            3 => self.add(here, DgramOptions { path: path('e'), peer: Some(path('d')) }),
            4 | 5 => self.add(here, TapOptions { name: Some(tap) }),
            _ => self.add(here, PacketOptions { interface: tap }),
        }
    }

    fn add<C: Cloner>(&self, here: &NsInterfaces, cloner: C) {
        let Ok(interface) =
            here.create(NewInterface { mtu: Some(1500), ..NewInterface::default() }, cloner)
        else {
            return;
        };
        let name = interface.name();
        drop(interface);
        let counts = self.received.clone();
        let receives = move |in_ns: &mut holm_netns::InNs<'_>| {
            let interfaces = in_ns.contents.get::<IfnetSubsystem>();
            if let Some(interface) = interfaces.and_then(|all| all.find(name)) {
                drop(interface.set_receiver(Some(counts), &mut in_ns.held));
                let _ = interface.change(&Request::SetUp(true), &mut in_ns.held);
            }
        };
        here.namespace().request_then(&mut Locked::nothing(), receives, |_| {});
    }
}

/// The name of one of the interfaces, not of the loopback interface.
fn some(interfaces: &NsInterfaces, which: usize) -> Option<IfName> {
    let mut names: Vec<_> = interfaces.list().iter().map(|interface| interface.name()).collect();
    names.retain(|name| name.as_str() != "lo");
    names.get(which % names.len().max(1)).copied()
}

/// How many frames came by interfaces of each kind.
#[derive(Default)]
struct Counts([AtomicU64; KINDS.len()]);

impl Counts {
    fn each(&self) -> [u64; KINDS.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Receiver for Counts {
    fn receive(&self, _: &Turn<'_>, interface: &Interface, frames: &mut Frames) {
        if let Some(kind) = KINDS.iter().position(|kind| *kind == interface.kind()) {
            self.0[kind].fetch_add(frames.len() as u64, Ordering::Relaxed);
        }
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
    files(Path::new("/proc/self/fd"))
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// The loopback interface is one, with us or without.
fn kernel_interfaces() -> usize {
    if !rustix::process::geteuid().is_root() {
        return 1;
    }
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    // Below two lines of headings.
    table.lines().skip(2).count()
}
