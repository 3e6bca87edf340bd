//! Fifty namespaces, and what happens in them.

use crate::cables::{self, Cable, Kind, VETHS};
use crate::echo::{Echo, exchange};
use crate::threads;
use holm_ifnet::stack::{Limits, NsStacks, StackSubsystem};
use holm_ifnet::wires::{StreamEnd, StreamOptions};
use holm_ifnet::{IfName, IfnetSubsystem, LinkEvent, NewInterface, NsInterfaces, Request};
use holm_lifetime::Deadline;
use holm_netns::notifier::Chain;
use holm_netns::{Inside, Namespace, Registry};
use holm_pool::{Config, Pool};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAMESPACES: usize = 50;
/// Most of them wait for TCP.
const THREADS: u64 = 24;
/// So many are mostly there.
const CABLES: usize = 80;

pub struct World {
    registry: Registry,
    pool: Pool,
    _chain: Chain<LinkEvent>,
    folder: TempDir,
    with_kernel: bool,
    number: AtomicU32,
    pub done: Done,
}

/// A namespace that was entered.
pub struct Site {
    pub interfaces: NsInterfaces,
    pub stacks: NsStacks,
    _inside: Inside,
}

/// What happens in one round.
struct Round<'w> {
    world: &'w World,
    /// With who answers there.
    namespaces: Vec<Mutex<Option<(Namespace, Echo)>>>,
    cables: Mutex<Vec<Cable>>,
    end: Instant,
}

impl World {
    pub fn start(with_kernel: bool) -> Self {
        if with_kernel {
            for n in 0..VETHS {
                ip(&format!("link add va{n} type veth peer name vb{n}"));
                ip(&format!("link set va{n} up"));
                ip(&format!("link set vb{n} up"));
            }
        }
        // Who looks so seldom finds nobody stuck, so no worker is replaced.
        let tick = Some(Duration::from_secs(3600));
        let pool = Pool::start(Config { workers: 2, tick, ..Config::default() }).expect("a pool");
        let registry = Registry::new().expect("a registry");
        registry.register(pool.subsystem()).expect("new");
        let chain = IfnetSubsystem::register(&registry).expect("new");
        StackSubsystem::register(&registry, &chain).expect("new");
        let folder = TempDir::new().expect("a folder");
        let (number, done) = (AtomicU32::new(0), Done::default());
        Self { registry, pool, _chain: chain, folder, with_kernel, number, done }
    }

    /// Namespaces come, much happens in them for that time, and they go.
    pub fn round(&self, time: Duration, seed: u64) {
        let namespaces = (0..NAMESPACES).map(|n| Mutex::new(Some(self.create(n)))).collect();
        let cables = Mutex::default();
        let round = Round { world: self, namespaces, cables, end: Instant::now() + time };
        std::thread::scope(|scope| {
            let churn = |thread| {
                let mut random =
                    Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul((seed | 1) + 2 * thread));
                while Instant::now() < round.end {
                    round.step(&mut random);
                }
            };
            threads::join_all((0..THREADS).map(|thread| scope.spawn(move || churn(thread))));
        });
        round.finish();
    }

    fn create(&self, n: usize) -> (Namespace, Echo) {
        let ns = self.registry.create(&*format!("n{n}")).expect("its name is free");
        let site = Site::enter(&ns).expect("it was made just now");
        // A peer that has gone without a word is given up soon.
        let (keep_alive, silence) = (Duration::from_millis(300), Duration::from_secs(1));
        site.stacks.set_limits(Limits { keep_alive, silence, ..Limits::default() });
        let echo = Echo::offer(&site.stacks).expect("nobody else offers there");
        (ns, echo)
    }

    /// What is there that should go again.
    pub fn left(&self) -> Left {
        let count = |path: &Path| std::fs::read_dir(path).expect("it is there").count();
        let table = std::fs::read_to_string("/proc/self/net/dev").expect("it is there");
        Left {
            descriptors: count(Path::new("/proc/self/fd")),
            threads: count(Path::new("/proc/self/task")),
            files: count(self.folder.path()),
            // Below two lines of headings. Without root others' come and go.
            interfaces: if self.with_kernel { table.lines().skip(2).count() } else { 0 },
        }
    }

    pub fn stop(self) {
        self.pool.stop();
    }
}

impl Site {
    fn enter(ns: &Namespace) -> Option<Self> {
        let inside = ns.enter()?;
        let interfaces = inside.get::<IfnetSubsystem>()?.clone();
        let stacks = inside.get::<StackSubsystem>()?.clone();
        Some(Self { interfaces, stacks, _inside: inside })
    }
}

impl Round<'_> {
    /// One thing happens, if it can: others may have been faster.
    fn step(&self, random: &mut Random) {
        match random.below(100) {
            0..2 => self.replace(random.below(NAMESPACES)),
            2..45 => self.exchange(random),
            45..75 => self.create(random),
            75..85 => self.destroy(random),
            _ => self.request(random),
        }
    }

    /// A namespace goes with all that it has, and another of its name comes.
    fn replace(&self, n: usize) {
        let Some((ns, echo)) = lock(&self.namespaces[n]).take() else { return };
        self.world.registry.remove([&ns], Deadline::Never).expect("without a deadline");
        drop((ns, echo));
        *lock(&self.namespaces[n]) = Some(self.world.create(n));
        lock(&self.cables).retain(|cable| !cable.ends.contains(&n));
        count(&self.world.done.replaced);
    }

    fn create(&self, random: &mut Random) {
        if lock(&self.cables).len() >= CABLES {
            return;
        }
        let kind = Kind::ALL[random.below(Kind::ALL.len())];
        let ends = [random.below(NAMESPACES), random.below(NAMESPACES)];
        let which = [random.below(1000), random.below(1000)];
        if (kind.needs_kernel() && !self.world.with_kernel) || ends[0] == ends[1] {
            return;
        }
        let (Some(near), Some(far)) = (self.site(ends[0]), self.site(ends[1])) else { return };
        let number = self.world.number.fetch_add(1, Ordering::Relaxed) % 32_768;
        let folder = self.world.folder.path();
        if let Some(names) = cables::make(kind, [&near, &far], number, folder, which) {
            lock(&self.cables).push(Cable { kind, ends, names, number });
            count(&self.world.done.made[kind as usize]);
        }
    }

    fn destroy(&self, random: &mut Random) {
        let cable = {
            let mut cables = lock(&self.cables);
            let which = random.below(cables.len().max(1));
            // LACP takes a while.
            let stays = |cable: &Cable| cable.kind.is_lagg() && !random.0.is_multiple_of(8);
            if cables.get(which).is_none_or(stays) {
                return;
            }
            cables.swap_remove(which)
        };
        if let (Some(near), Some(far)) = (self.site(cable.ends[0]), self.site(cable.ends[1])) {
            cables::destroy([&near, &far], &cable.names);
            count(&self.world.done.destroyed);
        }
    }

    /// Over TCP, while others do what they do.
    fn exchange(&self, random: &mut Random) {
        let Some(cable) = self.some(random) else { return };
        let from = random.below(2);
        let stack = self.site(cable.ends[from]).and_then(|site| {
            let index = site.interfaces.find(cable.names[from][0])?.index();
            site.stacks.stack(index)
        });
        let Some(stack) = stack else { return };
        let length = [1, 4 << 10, 300 << 10][random.below(3)];
        let done = &self.world.done;
        match exchange(&stack, cable.address(1 - from).into(), length, random.0 as u8) {
            Ok(()) => {
                count(&done.exchanged[cable.kind as usize]);
                done.bytes.fetch_add(2 * length as u64, Ordering::Relaxed);
            }
            Err(_) => count(&done.broken),
        }
    }

    /// Asks and tells an interface something.
    fn request(&self, random: &mut Random) {
        let Some(cable) = self.some(random) else { return };
        let end = random.below(2);
        let Some(site) = self.site(cable.ends[end]) else { return };
        let names = &cable.names[end];
        let name = names[random.below(names.len())];
        let address = format!("172.16.{}.1/24", random.below(200)).parse().expect("an address");
        let request = match random.below(9) {
            0 => Request::SetMtu([1500, 1400, 9000][random.below(3)]),
            1 => Request::SetMac(
                format!("02:00:00:00:01:{:02x}", random.below(200)).parse().expect("a MAC"),
            ),
            2 => Request::AddAddress(address),
            3 => Request::RemoveAddress(address),
            4 => Request::Counters,
            5 => Request::Media,
            6 => {
                // There and back: others know it by its name.
                let other = IfName::of_unit("x", random.below(1000) as u32).expect("short");
                if site.interfaces.request(name, &Request::Rename(other)).is_ok() {
                    let _ = site.interfaces.request(other, &Request::Rename(name));
                }
                Request::Flags
            }
            7 => {
                let _ = site.interfaces.request(name, &Request::SetUp(false));
                Request::SetUp(true)
            }
            _ => {
                // Nobody waits for this one.
                let _ = site.interfaces.destroy(name, Deadline::now());
                Request::Flags
            }
        };
        let _ = site.interfaces.request(name, &request);
        count(&self.world.done.requests);
    }

    /// One of the cables.
    fn some(&self, random: &mut Random) -> Option<Cable> {
        let cables = lock(&self.cables);
        cables.get(random.below(cables.len().max(1))).cloned()
    }

    fn site(&self, n: usize) -> Option<Site> {
        let ns = lock(&self.namespaces[n]).as_ref().map(|(ns, _)| ns.clone())?;
        Site::enter(&ns)
    }

    /// Half of the namespaces give up all they have, and then all names and units are free; all are removed.
    fn finish(self) {
        let path = self.world.folder.path().join("last.s");
        let all = self.namespaces.into_iter().filter_map(|ns| ns.into_inner().expect("sound"));
        let (all, echos): (Vec<_>, Vec<_>) = all.unzip();
        for ns in all.iter().step_by(2) {
            let site = Site::enter(ns).expect("nobody removes it");
            let interfaces = &site.interfaces;
            let names = || interfaces.list().into_iter().map(|interface| interface.name());
            while let Some(name) = names().find(|name| name.as_str() != "lo") {
                let _ = interfaces.destroy(name, Deadline::Never);
            }
            // What nobody waited for is destroyed by workers.
            while !interfaces.leaving().is_empty() {
                std::thread::yield_now();
            }
            let options = StreamOptions { path: path.clone(), end: StreamEnd::Listen };
            let first = interfaces.create(NewInterface::default(), options).expect("all is free");
            assert_eq!((first.name().as_str(), first.unit()), ("stream0", 0));
            drop(first);
            let name = "stream0".parse().expect("a name");
            interfaces.destroy(name, Deadline::Never).expect("nobody uses it");
        }
        drop(echos);
        self.world.registry.remove(&all, Deadline::Never).expect("without a deadline");
    }
}

/// What there is of what should go again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub descriptors: usize,
    pub threads: usize,
    pub files: usize,
    pub interfaces: usize,
}

impl Left {
    /// Waits until nothing more is there than this: a thread that ends, or lets go of the kernel's links, is
    /// seen for a moment longer.
    pub fn wait(self, world: &World) {
        let begin = Instant::now();
        let mut now = world.left();
        while now != self {
            assert!(begin.elapsed() < PATIENCE, "left: {now:?}, before: {self:?}");
            std::thread::yield_now();
            now = world.left();
        }
    }
}

/// Longer than a machine under any load takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was done.
#[derive(Default)]
pub struct Done {
    made: [AtomicU64; Kind::ALL.len()],
    exchanged: [AtomicU64; Kind::ALL.len()],
    destroyed: AtomicU64,
    replaced: AtomicU64,
    requests: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
}

impl Done {
    /// Whether there was some of everything, but for LACP: partners take seconds to agree, which in a short
    /// run perhaps none of them has.
    pub fn is_all(&self, with_kernel: bool) -> bool {
        let used = |kind: Kind| read(&self.exchanged[kind as usize]) > 0;
        let mut kinds = Kind::ALL.into_iter().filter(|kind| with_kernel || !kind.needs_kernel());
        kinds.all(|kind| kind == Kind::Lacp || used(kind)) && read(&self.replaced) > 0
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            let [made, used] = [&self.made, &self.exchanged].map(|all| read(&all[kind as usize]));
            write!(f, "{kind:?}: {made} made, {used} exchanges; ")?;
        }
        let [destroyed, replaced, requests, broken, bytes] =
            [&self.destroyed, &self.replaced, &self.requests, &self.broken, &self.bytes].map(read);
        write!(
            f,
            "{destroyed} destroyed, {replaced} namespaces replaced, {requests} requests, {broken} connections \
             broken, {} MiB compared",
            bytes >> 20
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status();
    assert!(status.expect("install iproute2").success(), "ip {arguments}");
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
