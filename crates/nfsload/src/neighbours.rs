//! What a quiet client notices of one that floods.

use crate::client::Client;
use crate::driver::Done;
use crate::record::{Latency, Recorder};
use crate::{Error, Load, Measurement, Plan, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
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
    /// What the other one reached.
    pub flood: Measurement,
    /// What went wrong for the quiet one.
    pub errors: BTreeMap<String, u64>,
}

impl Neighbours {
    /// Measures the quiet one alone, then beside the other.
    pub fn run(&self) -> Result<NeighboursMeasurement, Error> {
        let root = Client::mount(&self.quiet)?;
        let mut client = Client::nfs(&self.quiet)?;
        let alone = self.calls(&mut client, &root);
        let stop = AtomicBool::new(false);
        // Set up first, so that its files are there when the flood begins.
        let short = Plan { warm_up: Duration::ZERO, duration: Duration::ZERO, ..self.plan.clone() };
        self.load.run(&self.flooded, &short)?;
        let (beside, flood) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let forever = Plan { duration: FOREVER, ..self.plan.clone() };
                self.load.run_until(&self.flooded, &forever, Some(&stop))
            });
            sleep(self.plan.warm_up + STARTING);
            let beside = self.calls(&mut client, &root);
            stop.store(true, Ordering::Relaxed);
            (beside, flood.join())
        });
        let flood = flood.map_err(|_| Error::Invalid("the flooding thread panicked".to_owned()))?;
        let mut errors = alone.errors.clone();
        errors.extend(beside.errors.clone());
        let (alone, beside) = (alone.latency(), beside.latency());
        let p99_ratio = beside.p99_us / alone.p99_us;
        Ok(NeighboursMeasurement { alone, beside, p99_ratio, flood: flood?, errors })
    }

    /// A reply that is late delays the next call; what the next one then waits counts as well.
    fn calls(&self, client: &mut Client, root: &[u8]) -> Recorder {
        let mut recorder = Recorder::new();
        recorder.measuring = true;
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
        recorder
    }
}

const FOREVER: Duration = Duration::from_secs(3600);
/// Connecting, and the first calls.
const STARTING: Duration = Duration::from_millis(200);
