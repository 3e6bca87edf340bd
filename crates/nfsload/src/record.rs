//! What happened in a run.

use crate::driver::Done;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts replies.
#[derive(Debug)]
pub struct Recorder {
    /// Operations count; errors always do.
    pub measuring: bool,
    pub operations: u64,
    pub bytes: u64,
    pub entries: u64,
    pub errors: BTreeMap<String, u64>,
    latencies: Histogram<u64>,
}

impl Recorder {
    pub fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, 600_000_000_000, 3);
        Self {
            measuring: false,
            operations: 0,
            bytes: 0,
            entries: 0,
            errors: BTreeMap::new(),
            latencies: latencies.expect("bounds that a histogram can have"),
        }
    }

    pub fn done(&mut self, latency: Duration, done: Done) {
        if self.measuring {
            self.operations += 1;
            self.bytes += done.bytes;
            self.entries += done.entries;
            self.latencies.saturating_record(latency.as_nanos() as u64);
        }
    }

    pub fn error(&mut self, error: &str) {
        self.errors(error, 1);
    }

    pub fn errors(&mut self, error: &str, count: u64) {
        match self.errors.get_mut(error) {
            Some(so_far) => *so_far += count,
            None => drop(self.errors.insert(error.to_owned(), count)),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.entries += other.entries;
        self.latencies.add(&other.latencies).expect("the same bounds");
        for (error, count) in &other.errors {
            self.errors(error, *count);
        }
    }

    pub fn latency(&self) -> Latency {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.latencies.max() as f64 / 1e3,
        }
    }
}

/// How long replies took, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Half of them took at most this.
    pub p50_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
    /// All but one in a thousand.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}
