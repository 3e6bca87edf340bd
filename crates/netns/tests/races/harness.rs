//! Runs something under many schedules and counts.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How many schedules of each kind. `HOLM_SCHEDULES` in the environment asks for more.
fn schedules() -> usize {
    std::env::var("HOLM_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500)
}

/// Every schedule passes.
pub fn passes(what: &str, run: impl Fn() + Send + Sync + 'static) {
    let run = Arc::new(run);
    let random = {
        let run = run.clone();
        Runner::new(RandomScheduler::new(schedules()), config()).run(move || run())
    };
    // Few changes of thread, at random places: finds what random schedules seldom reach.
    let pct = Runner::new(PctScheduler::new(3, schedules()), config()).run(move || run());
    report(&format!("{what}: {} schedules, all passed", random + pct));
}

/// Some schedules fail, each for one of the reasons given.
pub fn fails(what: &str, reasons: &[&str], run: impl Fn() + Send + Sync + 'static) {
    let run = Arc::new(run);
    let total = schedules().min(1000);
    let mut failed = 0;
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut unexpected = None;
    for seed in 0..total as u64 {
        if let Err(why) = one(RandomScheduler::new_from_seed(seed, 1), run.clone()) {
            failed += 1;
            if !reasons.iter().any(|reason| why.contains(reason)) {
                unexpected.get_or_insert(why);
            }
        }
    }
    std::panic::set_hook(quiet);
    report(&format!("{what}: the mistake showed in {failed} of {total} schedules"));
    assert_eq!(unexpected, None, "{what}: failed, but not by the mistake");
    assert!(failed > 0, "{what}: no schedule showed the mistake");
}

/// Says what was run, also to the file that the environment names: what a test prints is kept with
/// what shuttle prints about the failures that are wanted.
fn report(line: &str) {
    println!("shuttle: {line}");
    if let Some(path) = std::env::var_os("HOLM_REPORT") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "shuttle: {line}").unwrap();
    }
}

/// One schedule, on a thread of its own: a failed one leaves shuttle's thread locals in disarray.
fn one(
    scheduler: impl Scheduler + Send + 'static,
    run: Arc<dyn Fn() + Send + Sync>,
) -> Result<(), String> {
    let thread = std::thread::spawn(move || {
        catch_unwind(AssertUnwindSafe(|| {
            Runner::new(scheduler, config()).run(move || run());
        }))
        .map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
        })
    });
    thread.join().unwrap_or_else(|_| Err("the checker itself panicked".into()))
}

fn config() -> Config {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.stack_size = 0x20000;
    config
}
