//! The numbers, as nouns. Those that count what has happened only grow while the namespace lives.

use crate::model::LinkCounters;
use holm_nfsd::statistics::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All tenants, read one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// When they were read, in seconds on a clock of the machine that only goes forward.
    pub clock: f64,
    /// The threads that serve.
    pub pool: PoolStatistics,
    /// Each live namespace, the oldest first.
    pub namespaces: Vec<NamespaceStatistics>,
}

/// The threads that serve all namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PoolStatistics {
    /// Threads there are.
    pub threads: usize,
    /// Threads that wait for something to do.
    pub idle: usize,
    /// Threads that serve namespaces whose calls take long.
    pub second: usize,
    /// Threads that sit in a call that takes longer than it should.
    pub stuck: usize,
    /// Threads that are kept for when others get stuck.
    pub spare: usize,
    /// Pieces of work that wait for a thread, of namespaces whose calls do not take long.
    pub queued: usize,
    /// Times that a thread served a namespace.
    pub turns: u64,
    /// Calls that took longer than they should.
    pub stuck_calls: u64,
}

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NamespaceStatistics {
    /// Its name.
    pub name: String,
    /// Its number, which no other namespace of this server has or had.
    pub id: u64,
    /// Connections there are.
    pub connections: u64,
    /// Connections that were accepted and served.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub refused: u64,
    /// Connections that were closed at once, because nothing is exported to who came.
    pub strangers: u64,
    /// Connections that were closed because what came on them was not RPC.
    pub broken: u64,
    /// Connections that were closed because no call came, or not the rest of one while memory was used up.
    pub idle: u64,
    /// Calls that were served, of all programs.
    pub calls: u64,
    /// Bytes that were received.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Pieces of work that wait for a thread.
    pub queued: u64,
    /// Those of them that wait because of the limit `requests-in-flight`.
    pub held_back: u64,
    /// Calls that took longer than they should.
    pub stuck_calls: u64,
    /// Its calls take long just now, so that it is served by threads of its own.
    pub slow: bool,
    /// Errors of the server itself that ended a piece of work.
    pub panics: u64,
    /// Files that are kept open between calls.
    pub files: Files,
    /// Files that programs on this machine have past the network.
    #[serde(default)]
    pub local: Local,
    /// NFS, by procedure; those that were never called are left out.
    pub operations: Vec<Operations>,
    /// Its own interfaces; not `lo`.
    #[serde(default)]
    pub links: Vec<LinkStatistics>,
}

/// An interface of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LinkStatistics {
    /// Its name.
    pub name: String,
    /// Frames can go by it.
    pub running: bool,
    /// What it has counted.
    pub counters: LinkCounters,
}

/// The file cache of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Files {
    /// Files that are open, in use or not.
    pub open: u64,
    /// Calls that found their file open.
    pub hits: u64,
    /// Files that were opened.
    pub opened: u64,
    /// Files that were closed so that others could be opened.
    pub evicted: u64,
    /// Files that were closed because they were deleted, moved or changed.
    pub changed: u64,
    /// Times that what was written was brought to the disk.
    pub flushes: u64,
    /// Those of them that failed.
    pub failed_flushes: u64,
}

/// The door of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Local {
    /// Programs that have come by it and not gone.
    pub clients: u64,
    /// Files that they have.
    pub files: u64,
    /// Programs that were let in.
    pub came: u64,
    /// Programs that were sent away.
    pub refused: u64,
    /// Files that were handed out.
    pub opened: u64,
    /// Files that were asked for.
    pub recalled: u64,
    /// Programs that were cut off because they did not give back files in time.
    pub cut_off: u64,
}

/// One procedure of NFS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Operations {
    /// Its name, in the words of the RFC.
    pub procedure: String,
    /// How long its calls took, without waiting for a thread or the network.
    pub latency: Latency,
    /// Bytes of files that it read or wrote.
    pub bytes: u64,
    /// How many were answered by an error; errors that never were are left out.
    pub errors: Vec<Errors>,
}

/// One status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Errors {
    /// Its name, in the words of the RFC.
    pub status: String,
    /// How many were answered by it.
    pub count: u64,
}

/// How long operations took: how many took how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// How long all of them took together, in seconds.
    pub sum: f64,
    /// How many took less than 256 ns; then, how many took less than 512 ns but not less than that; and
    /// so on, twice as long each time. The last has no end.
    pub buckets: Vec<u64>,
}

impl Latency {
    /// Buckets there are: the last begins at 17 s.
    pub const BUCKETS: usize = Histogram::BUCKETS;

    /// Where a bucket ends, in seconds.
    pub fn end(bucket: usize) -> f64 {
        Histogram::bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64())
    }

    /// Where a bucket begins, in seconds.
    fn begin(bucket: usize) -> f64 {
        bucket.checked_sub(1).map_or(0.0, Self::end)
    }

    /// Adds others.
    pub fn add(&mut self, others: &Latency) {
        self.count += others.count;
        self.sum += others.sum;
        self.buckets.resize(self.buckets.len().max(others.buckets.len()), 0);
        for (bucket, more) in self.buckets.iter_mut().zip(&others.buckets) {
            *bucket += more;
        }
    }

    /// Those that came after these.
    pub fn since(&self, before: &Latency) -> Latency {
        let buckets = self
            .buckets
            .iter()
            .enumerate()
            .map(|(at, now)| now.saturating_sub(before.buckets.get(at).copied().unwrap_or(0)));
        Latency {
            count: self.count.saturating_sub(before.count),
            sum: self.sum - before.sum,
            buckets: buckets.collect(),
        }
    }

    /// What this part of them took at most, in seconds, as near as the buckets say; nothing if there
    /// were none.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (all as f64 * part).max(1.0);
        let mut below = 0.0;
        for (bucket, &count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = count as f64;
            if below + count >= wanted {
                let (begin, end) = (Self::begin(bucket), Self::end(bucket));
                // Of the last it is only known where it begins.
                let width = if end.is_finite() { end - begin } else { 0.0 };
                return Some(begin + width * (wanted - below) / count);
            }
            below += count;
        }
        None
    }
}

impl NamespaceStatistics {
    /// Operations that were answered by an error.
    pub fn failed(&self) -> u64 {
        self.operations.iter().flat_map(|of| &of.errors).map(|errors| errors.count).sum()
    }

    /// How long all operations took.
    pub fn latency(&self) -> Latency {
        let mut all = Latency::default();
        for operations in &self.operations {
            all.add(&operations.latency);
        }
        all
    }
}
