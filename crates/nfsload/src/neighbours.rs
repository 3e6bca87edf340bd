//! What a quiet client notices of one that floods.

use crate::client::Client;
use crate::driver::Done;
use crate::process::{bind_thread, thread_goes_first, thread_waited};
use crate::record::{Latency, Recorder};
use crate::{Error, Load, Measurement, Plan, Target};
use rustix::thread::CpuSet;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

/// A client that calls GETATTR now and then, and one that floods meanwhile.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// Where the quiet one is.
    pub quiet: Target,
    /// Where the other one is: the same server, usually another tenant.
    pub flooded: Target,
    /// With what it floods.
    pub load: Load,
    /// On how many connections, how deep; for how long each part is measured.
    pub plan: Plan,
    /// Time between the calls of the quiet one.
    pub interval: Duration,
    /// How often the quiet one is measured alone and then beside the other.
    pub rounds: usize,
    /// The clients stand for other machines: they are on these CPUs, where the server should not be,
    /// and there the quiet one goes first. Without, the kernel lets all wait for each other.
    pub apart: Option<CpuSet>,
}

/// What the quiet one noticed.
#[derive(Debug, Serialize)]
pub struct NeighboursMeasurement {
    /// Its latency alone.
    pub alone: Latency,
    /// Its latency beside the other.
    pub beside: Latency,
    /// How many times longer its p99 is beside the other.
    pub p99_ratio: f64,
    /// How long its own thread waited for a CPU, in microseconds for each call: alone, and beside.
    pub own_waits_us: [f64; 2],
    /// What the other one reached, in the last round.
    pub flood: Measurement,
    /// What went wrong for the quiet one.
    pub errors: BTreeMap<String, u64>,
}

/// The calls of the quiet one in one of the two situations.
struct Calls {
    recorder: Recorder,
    waited: Duration,
}

impl Neighbours {
    /// Measures the quiet one alone and beside the other, by turns.
    pub fn run(&self) -> Result<NeighboursMeasurement, Error> {
        let root = Client::mount(&self.quiet)?;
        let mut client = Client::nfs(&self.quiet)?;
        // Set up first, so that its files are there when the flood begins.
        let short = Plan { warm_up: Duration::ZERO, duration: Duration::ZERO, ..self.plan.clone() };
        self.load.run(&self.flooded, &short)?;
        let (mut alone, mut beside) = (Calls::new(), Calls::new());
        let mut flood = Measurement::default();
        for _ in 0..self.rounds.max(1) {
            self.call(&mut client, &root, &mut alone)?;
            flood = self.beside_the_other(|| self.call(&mut client, &root, &mut beside))?;
        }
        let own_waits_us = [alone.wait_us(), beside.wait_us()];
        let mut errors = alone.recorder.errors.clone();
        for (error, count) in &beside.recorder.errors {
            *errors.entry(error.clone()).or_default() += count;
        }
        let (alone, beside) = (alone.recorder.latency(), beside.recorder.latency());
        let p99_ratio = beside.p99_us / alone.p99_us;
        Ok(NeighboursMeasurement { alone, beside, p99_ratio, own_waits_us, flood, errors })
    }

    fn beside_the_other(
        &self,
        quiet: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Measurement, Error> {
        let stop = AtomicBool::new(false);
        scope(|scope| {
            let flood = scope.spawn(|| {
                let _bound = self.apart.as_ref().map(bind_thread).transpose()?;
                let forever = Plan { duration: FOREVER, ..self.plan.clone() };
                self.load.run_until(&self.flooded, &forever, Some(&stop))
            });
            sleep(self.plan.warm_up + STARTING);
            let called = quiet();
            stop.store(true, Ordering::Relaxed);
            let flood = join(flood);
            called.and(flood)
        })
    }

    /// Calls on a thread of its own, with which ends where and how it runs.
    fn call(&self, client: &mut Client, root: &[u8], calls: &mut Calls) -> Result<(), Error> {
        scope(|scope| {
            join(scope.spawn(|| {
                let _bound = self.apart.as_ref().map(bind_thread).transpose()?;
                if self.apart.is_some() {
                    thread_goes_first()?;
                }
                let before = thread_waited();
                self.call_now_and_then(client, root, &mut calls.recorder);
                calls.waited += thread_waited().saturating_sub(before);
                Ok(())
            }))
        })
    }

    /// A reply that is late delays the next call; what the next one then waits counts as well.
    fn call_now_and_then(&self, client: &mut Client, root: &[u8], recorder: &mut Recorder) {
        let end = Instant::now() + self.plan.duration;
        let mut due = Instant::now();
        while due < end {
            let early = due.saturating_duration_since(Instant::now());
            sleep(early);
            let start = if early.is_zero() { due } else { Instant::now() };
            match client.getattr(root) {
                Ok(_) => recorder.done(start.elapsed(), Done::default()),
                Err(error) => {
                    recorder.error(&error.to_string());
                    break;
                }
            }
            due += self.interval;
        }
    }
}

impl Calls {
    fn new() -> Self {
        let mut recorder = Recorder::new();
        recorder.measuring = true;
        Self { recorder, waited: Duration::ZERO }
    }

    fn wait_us(&self) -> f64 {
        self.waited.as_secs_f64() * 1e6 / self.recorder.operations.max(1) as f64
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    let panicked = |_| Error::Invalid("a client's thread panicked".to_owned());
    thread.join().map_err(panicked).flatten()
}

const FOREVER: Duration = Duration::from_secs(3600);
/// Connecting, and the first calls.
const STARTING: Duration = Duration::from_millis(200);
