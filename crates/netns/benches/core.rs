//! What the core costs, against what else could be used. `cargo xtask bench core`.
//!
//! Everything is measured in rounds that take turns, so that a disturbance hits all alike, and the
//! median round is reported.

#[path = "../tests/support/counting.rs"]
mod counting;

use holm_lifetime::{Deadline, Gate, Owner};
use holm_netns::{Held, InitError, Namespace, Registry, Subsystem, View};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let mut json = false;
    let mut gate_only = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            // In a process whose environment asks for real fences.
            "--gate-only" => gate_only = true,
            // What cargo adds.
            "--bench" => {}
            other => {
                eprintln!("unknown option {other}; there is --json");
                std::process::exit(2);
            }
        }
    }
    if gate_only {
        println!("{}", median(&mut gate_rounds(1)));
        return;
    }
    let mut report = Report::default();
    references(&mut report);
    lookups(&mut report);
    lives(&mut report);
    memory(&mut report);
    if json { report.print_json() } else { report.print_table() }
}

const ROUNDS: usize = 15;

// ---- references ----

fn references(report: &mut Report) {
    let arc = Arc::new(0u64);
    let weak = Arc::downgrade(&arc);
    let owner = Owner::new(0u64);
    let held = owner.get();
    let weak_ref = owner.downgrade();
    let gate = Gate::new(0u64);

    for threads in [1, 2] {
        let mut ns = [(); 7].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            ns[0].push(per_op(threads, || drop(black_box(Arc::clone(black_box(&arc))))));
            ns[1].push(per_op(threads, || drop(black_box(black_box(&owner).get()))));
            ns[2].push(per_op(threads, || drop(black_box(black_box(&held).again()))));
            ns[3].push(per_op(threads, || drop(black_box(black_box(&gate).enter()))));
            ns[4].push(per_op(threads, || drop(black_box(black_box(&weak).upgrade()))));
            ns[5].push(per_op(threads, || drop(black_box(black_box(&weak_ref).upgrade()))));
        }
        ns[6] = with_fences(threads).into_iter().collect();
        let [arc, get, again, enter, weak, upgrade, fenced] = ns.map(|mut ns| median(&mut ns));
        let on = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        let clone = format!("Arc clone+drop, {on}");
        if threads == 1 {
            owner.track(true);
            let mut tracked: Vec<_> =
                (0..3).map(|_| per_op(1, || drop(black_box(black_box(&owner).get())))).collect();
            owner.track(false);
            let name = format!("Owner::get+drop, tracked, {on}");
            report.add(name, median(&mut tracked), &clone, arc, None);
        }
        report.add(format!("Owner::get+drop, {on}"), get, &clone, arc, goal(threads, 1.3));
        report.add(format!("Ref::again+drop, {on}"), again, &clone, arc, goal(threads, 1.3));
        let gate_goal = if threads == 1 { Some(1.3) } else { Some(1.0 / 5.0) };
        report.add(format!("Gate enter+leave, {on}"), enter, &clone, arc, gate_goal);
        if threads == 1 {
            let name = format!("Gate enter+leave with real fences, {on}");
            report.add(name, fenced, &clone, arc, None);
        }
        let upgraded = format!("Weak::upgrade+drop, {on}");
        let name = format!("WeakRef::upgrade+drop, {on}");
        report.add(name, upgrade, &upgraded, weak, goal(threads, 1.3));
    }
}

fn goal(threads: usize, ratio: f64) -> Option<f64> {
    (threads == 1).then_some(ratio)
}

fn gate_rounds(threads: usize) -> Vec<f64> {
    let gate = Gate::new(0u64);
    let round = |_| per_op(threads, || drop(black_box(black_box(&gate).enter())));
    (0..ROUNDS).map(round).collect()
}

/// The same in a process that may not use `membarrier`.
fn with_fences(threads: usize) -> Option<f64> {
    if threads != 1 {
        return Some(f64::NAN);
    }
    let output = std::process::Command::new(std::env::current_exe().ok()?)
        .arg("--gate-only")
        .env("HOLM_BARRIER", "fence")
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Nanoseconds of wall time for one operation of all threads together: with two threads that do not
/// disturb each other it is half of what it is with one.
fn per_op(threads: usize, op: impl Fn() + Sync) -> f64 {
    const OPS: u32 = 400_000;
    let start = Barrier::new(threads + 1);
    let elapsed = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                op();
                start.wait();
                for _ in 0..OPS {
                    op();
                }
            });
        }
        start.wait();
        Instant::now()
    });
    elapsed.elapsed().as_nanos() as f64 / f64::from(OPS) / threads as f64
}

// ---- lookups ----

fn lookups(report: &mut Report) {
    const NAMES: usize = 1000;
    let registry = Registry::new().expect("a worker thread");
    let names: Vec<String> = (0..NAMES).map(|n| format!("tenant-{n}")).collect();
    for name in &names {
        registry.create(name.as_str()).expect("a new name");
    }
    // The mutex is for comparison: nobody else ever locks it. What that costs the look-ups is what the
    // two CPUs cost each other, such as two threads of one core do. A removal has one grace period,
    // whatever the size of the batch.
    for (what, beside) in [
        ("alone", Beside::Nothing),
        ("beside a thread that locks a mutex of its own", Beside::Mutex),
        ("beside create+remove one by one", Beside::Lives(1)),
        ("beside create+remove in batches of 10", Beside::Lives(10)),
    ] {
        let stop = AtomicBool::new(false);
        let done = AtomicU64::new(0);
        let start = Instant::now();
        let (enter, find) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mutex = Mutex::new(0u64);
                while !stop.load(Ordering::Relaxed) {
                    done.fetch_add(beside.do_once(&registry, &mutex), Ordering::Relaxed);
                }
            });
            let mut enter = Vec::new();
            let mut find = Vec::new();
            for _ in 0..ROUNDS {
                enter.push(per_lookup(&names, |name| registry.enter(name).is_some()));
                find.push(per_lookup(&names, |name| registry.find(name).is_some()));
            }
            stop.store(true, Ordering::Relaxed);
            (median(&mut enter), median(&mut find))
        });
        let goal = "at 20 million/s";
        report.add(format!("enter by name, {what}"), enter, goal, 50.0, Some(1.0));
        report.add(format!("find by name, {what}"), find, goal, 50.0, Some(1.0));
        if let Beside::Lives(_) = beside {
            let rate = done.into_inner() as f64 / start.elapsed().as_secs_f64();
            report.note(&format!("{what}: {rate:.0} namespaces/s came and went meanwhile"));
        }
    }
    registry.remove_all(Deadline::Never).expect("nobody is inside");
}

/// What the other CPU does during look-ups.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Mutex,
    /// Creates so many namespaces and removes them with one call.
    Lives(u64),
}

impl Beside {
    /// Does it once; how many namespaces came and went.
    fn do_once(self, registry: &Registry, mutex: &Mutex<u64>) -> u64 {
        match self {
            Beside::Nothing => std::thread::park_timeout(Duration::from_millis(1)),
            Beside::Mutex => {
                for _ in 0..1000 {
                    *black_box(mutex).lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
            }
            Beside::Lives(batch) => {
                let all: Vec<_> = (0..batch)
                    .map(|n| registry.create(&*format!("comes-and-goes-{n}")).unwrap())
                    .collect();
                registry.remove(&all, Deadline::Never).expect("nobody is inside");
                return batch;
            }
        }
        0
    }
}

/// Nanoseconds of CPU time for one look-up in an order that a cache can't guess. The CPU time,
/// because on a machine with two cores the churning threads are three with the kernel's.
fn per_lookup(names: &[String], lookup: impl Fn(&str) -> bool) -> f64 {
    const OPS: usize = 200_000;
    let mut at = 12345usize;
    let start = thread_time();
    for _ in 0..OPS {
        at = at.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        assert!(lookup(&names[(at >> 33) % names.len()]));
    }
    (thread_time() - start).as_nanos() as f64 / OPS as f64
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

// ---- lives ----

fn lives(report: &mut Report) {
    const BATCH: usize = 1000;
    let registry = with_eight_subsystems();
    let batch_names: Vec<String> = (0..BATCH).map(|n| format!("ns-{n}")).collect();
    let (mut one, mut by_worker) = (Vec::new(), Vec::new());
    let (mut batch, mut kernel) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (times, seconds) in [(&mut one, None), (&mut by_worker, Some(Duration::from_secs(60)))]
        {
            let start = Instant::now();
            for _ in 0..200 {
                let ns = registry.create("one").expect("a new name");
                let deadline = seconds.map_or(Deadline::Never, Deadline::after);
                registry.remove([&ns], deadline).expect("nobody is inside");
            }
            times.push(start.elapsed().as_nanos() as f64 / 200.0);
        }

        let start = Instant::now();
        let all: Vec<Namespace> =
            batch_names.iter().map(|name| registry.create(name.as_str()).unwrap()).collect();
        registry.remove(&all, Deadline::Never).expect("nobody is inside");
        batch.push(start.elapsed().as_nanos() as f64 / BATCH as f64);

        kernel.extend(kernel_namespaces(20));
    }
    let (than, there, goal) = if kernel.is_empty() {
        report.note("unshare(CLONE_NEWNET) is refused here: run as root to compare with it");
        ("20 us", 20_000.0, 1.0)
    } else {
        ("unshare(CLONE_NEWNET)+close", median(&mut kernel), 1.0 / 25.0)
    };
    for (what, mut times, goal) in [
        ("create+remove, 8 subsystems", one, Some(goal)),
        ("create+remove in batches of 1000", batch, Some(goal)),
        ("create+remove with a deadline", by_worker, None),
    ] {
        report.add(what, median(&mut times), than, there, goal);
    }
}

/// Nanoseconds for the kernel to make a network namespace and let it go, on a thread of its own.
fn kernel_namespaces(count: u32) -> Option<f64> {
    std::thread::spawn(move || {
        let own = std::fs::File::open("/proc/thread-self/ns/net").ok()?;
        let start = Instant::now();
        for _ in 0..count {
            // SAFETY: changes this thread's network namespace only, and it opens no sockets.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
            let back = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&own), back).ok()?;
        }
        Some(start.elapsed().as_nanos() as f64 / f64::from(count))
    })
    .join()
    .ok()?
}

// ---- memory ----

fn memory(report: &mut Report) {
    const COUNT: usize = 10_000;
    let registry = with_eight_subsystems();
    let names: Vec<String> = (0..COUNT).map(|n| format!("ns-{n}")).collect();
    let before = counting::allocated();
    for name in &names {
        registry.create(name.as_str()).expect("a new name");
    }
    let bytes = (counting::allocated() - before) as f64 / COUNT as f64;
    registry.remove_all(Deadline::Never).expect("nobody is inside");
    let left = counting::allocated() - before;
    report.add_in("bytes", "an idle namespace, 8 subsystems", bytes, "8 KiB", 8192.0, Some(1.0));
    report
        .note(&format!("allocated after all {COUNT} are removed, against before: {left:+} bytes"));
}

fn with_eight_subsystems() -> Registry {
    let registry = Registry::new().expect("a worker thread");
    registry.register(Nothing::<0>).expect("it refuses nothing");
    registry.register(Nothing::<1>).expect("it refuses nothing");
    registry.register(Nothing::<2>).expect("it refuses nothing");
    registry.register(Nothing::<3>).expect("it refuses nothing");
    registry.register(Nothing::<4>).expect("it refuses nothing");
    registry.register(Nothing::<5>).expect("it refuses nothing");
    registry.register(Nothing::<6>).expect("it refuses nothing");
    registry.register(Nothing::<7>).expect("it refuses nothing");
    registry
}

/// A subsystem that does nothing.
struct Nothing<const N: usize>;

impl<const N: usize> Subsystem for Nothing<N> {
    type State = ();

    fn name(&self) -> &str {
        "nothing"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<(), InitError> {
        Ok(())
    }
}

// ---- report ----

#[derive(Default)]
struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    unit: &'static str,
    what: String,
    value: f64,
    than: String,
    other: f64,
    /// At most this ratio.
    goal: Option<f64>,
}

impl Report {
    fn add(
        &mut self,
        what: impl Into<String>,
        value: f64,
        than: &str,
        other: f64,
        goal: Option<f64>,
    ) {
        self.add_in("ns", what, value, than, other, goal);
    }

    fn add_in(
        &mut self,
        unit: &'static str,
        what: impl Into<String>,
        value: f64,
        than: &str,
        other: f64,
        goal: Option<f64>,
    ) {
        let (what, than) = (what.into(), than.to_owned());
        self.rows.push(Row { unit, what, value, than, other, goal });
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    fn print_table(&self) {
        println!("| what | here | compared with | there | ratio | goal | |");
        println!("| --- | ---: | --- | ---: | ---: | ---: | --- |");
        for row in &self.rows {
            let ratio = row.value / row.other;
            let verdict = match row.goal {
                None => "",
                Some(goal) if ratio <= goal => "met",
                Some(_) => "MISSED",
            };
            let goal = row.goal.map_or_else(String::new, |goal| format!("at most {goal:.2}"));
            println!(
                "| {} | {} {} | {} | {} {} | {ratio:.3} | {goal} | {verdict} |",
                row.what,
                rounded(row.value),
                row.unit,
                row.than,
                rounded(row.other),
                row.unit,
            );
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }

    fn print_json(&self) {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "what": row.what,
                    "unit": row.unit,
                    "here": row.value,
                    "compared_with": row.than,
                    "there": row.other,
                    "ratio": row.value / row.other,
                    "goal": row.goal,
                })
            })
            .collect();
        println!("{:#}", serde_json::json!({ "rows": rows, "notes": self.notes }));
    }
}

fn rounded(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
