//! What a cached file costs, against opening it and against one map behind one lock. Run with
//! `cargo bench -p holm-nfsd --bench cache`, as root: otherwise files are not opened by handle.
//!
//! Everything is measured in rounds that take turns, so that a disturbance hits all alike, and the
//! median round is reported: nanoseconds of wall time for one operation of all threads together.

use holm_lifetime::Deadline;
use holm_lifetime::sync::Mutex;
use holm_netns::{Namespace, Registry};
use holm_nfsd::beneath::{Mounts, Root};
use holm_nfsd::cache::{Caches, Clock, Job, Limits, Object, Watcher, Within, Worker};
use holm_nfsd::handle::{FileHandle, HandleKey};
use holm_nfsd::identity::{Caller, Privileges, Session};
use holm_nfsd::name::Component;
use holm_nfsd::store::{self, PathDatabase};
use holm_nfsd::volume::{Access, OpenFile, Options, Volume};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

const ROUNDS: usize = 11;
const FILES: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("holm-bench-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let result = measure(&directory);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    for file in 0..FILES {
        std::fs::write(directory.join(format!("{file}")), "data")?;
    }
    let key = HandleKey::generate()?;
    let root = Arc::new(Root::open(directory, Mounts::Closed)?);
    let chosen = store::choose(&root, 1, &key, || PathDatabase::in_memory().map(Arc::new))?;
    let volume = Volume::new(root, chosen.store, Options::default());
    let watched = tenant(Watcher::new()?)?;
    let asked = tenant(Watcher::refusing())?;
    let all = Bench { handles: handles(&volume, &key)?, volume, map: Mutex::default() };

    let columns = ["cached, watched", "cached, asked", "Mutex<HashMap>", "opened by handle"];
    println!("| | {} |", columns.join(" | "));
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (what, spread) in [("1000 files", FILES), ("one file", 1)] {
        for threads in [1, 2] {
            let mut ns = [(); 4].map(|()| Vec::new());
            for _ in 0..ROUNDS {
                ns[0].push(per_op(threads, 200_000, |at, caller| {
                    all.cached(&watched.1, at % spread, caller);
                }));
                ns[1].push(per_op(threads, 200_000, |at, caller| {
                    all.cached(&asked.1, at % spread, caller);
                }));
                ns[2].push(per_op(threads, 200_000, |at, caller| all.mapped(at % spread, caller)));
                ns[3].push(per_op(threads, 5_000, |at, caller| {
                    drop(black_box(all.opened(at % spread, caller)));
                }));
            }
            let medians = ns.map(|mut ns| format!("{:.0} ns", median(&mut ns)));
            let plural = if threads == 1 { "" } else { "s" };
            println!("| {what}, {threads} thread{plural} | {} |", medians.join(" | "));
        }
    }
    for (registry, ns) in [watched, asked] {
        registry.remove([&ns], Deadline::Never).expect("nobody is inside");
    }
    Ok(())
}

struct Bench {
    volume: Volume,
    handles: Vec<FileHandle>,
    map: Mutex<HashMap<MapKey, Arc<OpenFile>>>,
}

/// What a cache that is one map would be keyed by.
type MapKey = (FileHandle, Access, holm_nfsd::identity::Credentials);

impl Bench {
    /// As an operation does it: into the namespace, to the file, and out again.
    fn cached(&self, ns: &Namespace, at: usize, caller: &Caller<'_>) {
        let within = Within::enter(ns).expect("live");
        drop(black_box(
            within.open_file(caller, &self.volume, &self.handles[at], Access::Read).expect("there"),
        ));
    }

    fn mapped(&self, at: usize, caller: &Caller<'_>) {
        let key = (self.handles[at], Access::Read, *caller.credentials());
        let mut map = self.map.lock();
        let file = match map.get(&key) {
            Some(file) => file.clone(),
            None => {
                let file = Arc::new(self.opened(at, caller));
                map.insert(key, file.clone());
                file
            }
        };
        drop(map);
        drop(black_box(file));
    }

    fn opened(&self, at: usize, caller: &Caller<'_>) -> OpenFile {
        let (node, _) = self.volume.open(caller, self.handles[at].node()).expect("there");
        self.volume.open_file(caller, &node, Access::Read).expect("allowed")
    }
}

/// Runs each job on a thread of its own.
struct Threads;

impl Worker for Threads {
    fn spawn(&self, _: &Namespace, job: Job) {
        std::thread::spawn(job);
    }
}

fn tenant(watcher: Watcher) -> Result<(Registry, Namespace), Box<dyn std::error::Error>> {
    let limits = Limits::files(4 * FILES);
    let caches = Caches::<Object>::new(limits, watcher, Clock::monotonic(), Threads);
    let registry = Registry::new()?;
    registry.register(caches)?;
    let ns = registry.create("blue")?;
    Ok((registry, ns))
}

fn handles(volume: &Volume, key: &HandleKey) -> holm_nfsd::Result<Vec<FileHandle>> {
    as_caller(|caller| {
        let root = volume.root()?;
        let handle = |file: usize| {
            let name = format!("{file}");
            let (node, _) = volume.lookup(caller, &root, Component::parse(name.as_bytes())?)?;
            Ok(FileHandle::seal(key, 1, 0, *node.id()))
        };
        (0..FILES).map(handle).collect()
    })
}

fn as_caller<T>(work: impl FnOnce(&Caller<'_>) -> T) -> T {
    let privileges = Privileges::detect().expect("the kernel tells");
    let mut session = Session::begin(&privileges).expect("the first of this thread");
    let own = holm_nfsd::identity::Credentials::new(0, 0, &[]);
    session.run_as(&own, work).expect("root, or ourselves")
}

fn per_op(threads: usize, operations: usize, op: impl Fn(usize, &Caller<'_>) + Sync) -> f64 {
    let start = Barrier::new(threads + 1);
    let started = std::thread::scope(|scope| {
        for thread in 0..threads {
            let (start, op) = (&start, &op);
            scope.spawn(move || {
                as_caller(|caller| {
                    // An order that the processor cannot guess; the first pass opens the files.
                    let mut at = 12345usize + thread;
                    let mut next = || {
                        at = at.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        (at >> 33) % FILES
                    };
                    for file in 0..FILES {
                        op(file, caller);
                    }
                    start.wait();
                    for _ in 0..operations {
                        op(next(), caller);
                    }
                });
            });
        }
        start.wait();
        Instant::now()
    });
    started.elapsed().as_nanos() as f64 / operations as f64 / threads as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
