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
