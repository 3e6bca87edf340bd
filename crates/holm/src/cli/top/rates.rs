//! What happened between two readings of the counters.

use crate::metrics::{NamespaceStatistics, Statistics};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::HashMap;

/// What all tenants did in a time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rates {
    /// How long the time was, in seconds.
    pub seconds: f64,
    /// What each did.
    pub namespaces: Vec<Row>,
    /// Threads that serve.
    pub threads: usize,
}

/// What one tenant did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// Calls served each second.
    pub ops: f64,
    /// Bytes received each second.
    pub received: f64,
    /// Bytes sent each second.
    pub sent: f64,
    /// 99 of 100 operations took at most so many seconds; nothing if there was none.
    pub p99: Option<f64>,
    /// Operations that failed, each second.
    pub errors: f64,
    /// Files that are open.
    pub files: u64,
    /// Connections there are.
    pub connections: u64,
    /// Pieces of work that wait for a thread.
    pub queued: u64,
    /// Its calls take long just now.
    pub slow: bool,
}

/// The columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// Name
    Name,
    /// Calls a second
    Ops,
    /// Bytes received and sent a second
    Bytes,
    /// What 99 of 100 operations took at most
    P99,
    /// Failed operations a second
    Errors,
    /// Open files
    Files,
    /// Connections
    Connections,
    /// Pieces of work that wait for a thread
    Queue,
}

impl Column {
    /// All, from left to right.
    pub const ALL: [Column; 8] = [
        Column::Name,
        Column::Ops,
        Column::Bytes,
        Column::P99,
        Column::Errors,
        Column::Files,
        Column::Connections,
        Column::Queue,
    ];

    /// What stands over it.
    pub fn heading(self) -> &'static str {
        match self {
            Column::Name => "NAME",
            Column::Ops => "OPS/S",
            Column::Bytes => "MB/S",
            Column::P99 => "P99",
            Column::Errors => "ERR/S",
            Column::Files => "FILES",
            Column::Connections => "CONN",
            Column::Queue => "QUEUE",
        }
    }

    /// What stands in it.
    pub fn cell(self, row: &Row) -> String {
        match self {
            Column::Name if row.slow => format!("{} (slow)", row.name),
            Column::Name => row.name.clone(),
            Column::Ops => format!("{:.0}", row.ops),
            Column::Bytes => format!("{:.1}", row.bytes() / 1e6),
            Column::P99 => row.p99.map_or("-".into(), duration),
            Column::Errors => format!("{:.0}", row.errors),
            Column::Files => row.files.to_string(),
            Column::Connections => row.connections.to_string(),
            Column::Queue => row.queued.to_string(),
        }
    }

    /// Which of two comes first in a table that is sorted by this.
    fn order(self, a: &Row, b: &Row) -> Ordering {
        match self {
            Column::Name => a.name.cmp(&b.name),
            Column::Ops => b.ops.total_cmp(&a.ops),
            Column::Bytes => b.bytes().total_cmp(&a.bytes()),
            Column::P99 => b.p99.unwrap_or(-1.0).total_cmp(&a.p99.unwrap_or(-1.0)),
            Column::Errors => b.errors.total_cmp(&a.errors),
            Column::Files => b.files.cmp(&a.files),
            Column::Connections => b.connections.cmp(&a.connections),
            Column::Queue => b.queued.cmp(&a.queued),
        }
    }
}

impl Row {
    fn bytes(&self) -> f64 {
        self.received + self.sent
    }
}

impl Rates {
    /// What happened from `before` to `now`.
    pub fn between(before: &Statistics, now: &Statistics) -> Self {
        let seconds = (now.clock - before.clock).max(1e-3);
        // By number: a namespace may have gone and another of its name come.
        let known: HashMap<u64, &NamespaceStatistics> =
            before.namespaces.iter().map(|ns| (ns.id, ns)).collect();
        let nothing = NamespaceStatistics::default();
        let rows = now.namespaces.iter().map(|ns| {
            let before = known.get(&ns.id).copied().unwrap_or(&nothing);
            row(before, ns, seconds)
        });
        Self { seconds, namespaces: rows.collect(), threads: now.pool.threads }
    }

    /// Sorts by `column`, then by name.
    pub fn sort(&mut self, column: Column, reverse: bool) {
        self.namespaces.sort_by(|a, b| {
            let order = column.order(a, b);
            let order = if reverse { order.reverse() } else { order };
            order.then_with(|| Column::Name.order(a, b)).then(a.id.cmp(&b.id))
        });
    }

    /// All tenants together.
    pub fn total(&self) -> Row {
        let sum = |what: fn(&Row) -> f64| self.namespaces.iter().map(what).sum();
        let count = |what: fn(&Row) -> u64| self.namespaces.iter().map(what).sum();
        Row {
            name: format!("{} namespaces", self.namespaces.len()),
            id: 0,
            ops: sum(|row| row.ops),
            received: sum(|row| row.received),
            sent: sum(|row| row.sent),
            p99: None,
            errors: sum(|row| row.errors),
            files: count(|row| row.files),
            connections: count(|row| row.connections),
            queued: count(|row| row.queued),
            slow: false,
        }
    }
}

fn row(before: &NamespaceStatistics, now: &NamespaceStatistics, seconds: f64) -> Row {
    let rate = |of: &dyn Fn(&NamespaceStatistics) -> u64| {
        of(now).saturating_sub(of(before)) as f64 / seconds
    };
    Row {
        name: now.name.clone(),
        id: now.id,
        ops: rate(&|ns| ns.calls),
        received: rate(&|ns| ns.received),
        sent: rate(&|ns| ns.sent),
        p99: now.latency().since(&before.latency()).quantile(0.99),
        errors: rate(&|ns| ns.failed()),
        files: now.files.open,
        connections: now.connections,
        queued: now.queued,
        slow: now.slow,
    }
}

/// Seconds, as short as it goes.
fn duration(seconds: f64) -> String {
    match seconds * 1e6 {
        micros if micros < 999.5 => format!("{micros:.0} us"),
        micros if micros < 9_995.0 => format!("{:.1} ms", micros / 1e3),
        micros if micros < 999_500.0 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Latency, Operations};

    fn statistics(clock: f64, id: u64, calls: u64, micros: u64) -> Statistics {
        let bucket = (0..Latency::BUCKETS).find(|at| Latency::end(*at) > micros as f64 * 1e-6);
        let mut buckets = vec![0; Latency::BUCKETS];
        buckets[bucket.expect("the last has no end")] = calls;
        let latency = Latency { count: calls, buckets, ..Latency::default() };
        let operations = vec![Operations { latency, ..Operations::default() }];
        let ns = NamespaceStatistics {
            name: "blue".into(),
            id,
            calls,
            operations,
            ..Default::default()
        };
        Statistics { clock, namespaces: vec![ns], ..Statistics::default() }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let rates = Rates::between(&statistics(10.0, 1, 100, 5), &statistics(12.0, 1, 500, 5));
        assert_eq!((rates.seconds, rates.namespaces[0].ops), (2.0, 200.0));
    }

    #[test]
    fn a_namespace_of_the_same_name_begins_at_nothing() {
        let before = statistics(7.0, 1, 1_000_000, 5);
        let rates = Rates::between(&before, &statistics(8.0, 2, 10, 5));
        assert_eq!(rates.namespaces[0].ops, 10.0);
    }

    #[test]
    fn what_was_slow_before_is_not_slow_now() {
        let before = statistics(1.0, 1, 1000, 500_000);
        let mut now = statistics(2.0, 1, 1000, 500_000);
        now.namespaces[0].operations[0]
            .latency
            .add(&statistics(0.0, 1, 10, 5).namespaces[0].latency());
        let p99 = Rates::between(&before, &now).namespaces[0].p99.expect("there were some");
        assert!(p99 < 10e-6, "{p99}");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (12e-6, "12 us"),
            (999.4e-6, "999 us"),
            (999.6e-6, "1.0 ms"),
            (1.26e-3, "1.3 ms"),
            (45.2e-3, "45 ms"),
            (0.9996, "1.0 s"),
            (12.0, "12.0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
