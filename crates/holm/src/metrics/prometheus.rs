//! The numbers in the OpenMetrics text format, which Prometheus reads.

use super::statistics::{
    Errors, Latency, LinkStatistics, NamespaceStatistics, Operations, Statistics,
};
use crate::model::DirectionCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::Error;

/// Its media type.
pub const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers as text.
pub fn text(statistics: Statistics) -> String {
    let mut registry = Registry::with_prefix("holm");
    registry.register_collector(Box::new(Numbers(statistics)));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Numbers(Statistics);

/// A number that each namespace has.
struct Number {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    of: fn(&NamespaceStatistics) -> u64,
}

/// A number that each direction of a link has: its name, what it is, its unit, and where it is found.
type LinkNumber = (&'static str, &'static str, Option<Unit>, fn(&DirectionCounters) -> u64);

const fn number(
    name: &'static str,
    help: &'static str,
    of: fn(&NamespaceStatistics) -> u64,
) -> Number {
    Number { name, help, unit: None, of }
}

const fn bytes(
    name: &'static str,
    help: &'static str,
    of: fn(&NamespaceStatistics) -> u64,
) -> Number {
    Number { name, help, unit: Some(Unit::Bytes), of }
}

/// What there is now.
const GAUGES: &[Number] = &[
    number("connections", "Connections there are", |ns| ns.connections),
    number("queued", "Pieces of work that wait for a thread", |ns| ns.queued),
    number("held_back", "Those of them that wait for requests-in-flight", |ns| ns.held_back),
    number("slow", "1 if its calls take long just now", |ns| ns.slow.into()),
    number("open_files", "Files kept open between calls", |ns| ns.files.open),
    number("local_clients", "Programs that have come by the door", |ns| ns.local.clients),
    number("local_files", "Files that they have past the network", |ns| ns.local.files),
];

/// What has happened.
const COUNTERS: &[Number] = &[
    bytes("received", "What clients have sent", |ns| ns.received),
    bytes("sent", "What clients were sent", |ns| ns.sent),
    number("calls", "Calls that were served, of all programs", |ns| ns.calls),
    number("connections_accepted", "Connections that were served", |ns| ns.accepted),
    number("connections_refused", "Connections closed for there were too many", |ns| ns.refused),
    number("connections_strangers", "Connections closed for nothing is exported", |ns| {
        ns.strangers
    }),
    number("connections_broken", "Connections closed for what came was not RPC", |ns| ns.broken),
    number("connections_idle", "Connections closed for nothing came", |ns| ns.idle),
    number("stuck_calls", "Calls that took longer than they should", |ns| ns.stuck_calls),
    number("panics", "Errors of the server that ended a piece of work", |ns| ns.panics),
    number("file_hits", "Calls that found their file open", |ns| ns.files.hits),
    number("files_opened", "Files that were opened", |ns| ns.files.opened),
    number("files_evicted", "Files closed so that others could be opened", |ns| ns.files.evicted),
    number("files_changed", "Files closed for they were deleted or changed", |ns| ns.files.changed),
    number("flushes", "Times that writes were brought to the disk", |ns| ns.files.flushes),
    number("failed_flushes", "Times that this failed", |ns| ns.files.failed_flushes),
    number("local_came", "Programs that were let in by the door", |ns| ns.local.came),
    number("local_refused", "Programs that were not", |ns| ns.local.refused),
    number("local_opened", "Files that were handed out", |ns| ns.local.opened),
    number("local_recalled", "Files that were asked for", |ns| ns.local.recalled),
    number("local_cut_off", "Programs cut off with files not given back", |ns| ns.local.cut_off),
];

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        self.pool(encoder)?;
        for (numbers, kind) in [(GAUGES, MetricType::Gauge), (COUNTERS, MetricType::Counter)] {
            for number in numbers {
                let unit = number.unit.as_ref();
                let mut metric = encoder.encode_descriptor(number.name, number.help, unit, kind)?;
                for ns in &self.0.namespaces {
                    let labels = of_namespace(ns);
                    value(&mut metric.encode_family(&labels)?, kind, (number.of)(ns))?;
                }
            }
        }
        self.errors(encoder)?;
        self.bytes(encoder)?;
        self.latency(encoder)?;
        self.links(encoder)
    }
}

impl Numbers {
    fn pool(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let pool = &self.0.pool;
        for (name, help, kind, count) in [
            ("namespaces", "Live namespaces", MetricType::Gauge, self.0.namespaces.len() as u64),
            ("threads", "Threads that serve", MetricType::Gauge, pool.threads as u64),
            ("threads_idle", "Those that have nothing to do", MetricType::Gauge, pool.idle as u64),
            ("threads_stuck", "Those in a long call", MetricType::Gauge, pool.stuck as u64),
            ("threads_slow", "Those for slow namespaces", MetricType::Gauge, pool.second as u64),
            ("threads_spare", "Those that wait to be needed", MetricType::Gauge, pool.spare as u64),
            ("turns", "Times that a thread served a namespace", MetricType::Counter, pool.turns),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            value(&mut metric, kind, count)?;
        }
        Ok(())
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "NFS operations that were answered by an error";
        let mut metric = encoder.encode_descriptor("errors", help, None, MetricType::Counter)?;
        for (ns, id, of) in self.operations() {
            for Errors { status, count } in &of.errors {
                let labels =
                    [("ns", ns), ("id", &id), ("procedure", &of.procedure), ("status", status)];
                value(&mut metric.encode_family(&labels)?, MetricType::Counter, *count)?;
            }
        }
        Ok(())
    }

    fn bytes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Bytes of files that were read or written";
        let (unit, kind) = (Unit::Bytes, MetricType::Counter);
        let mut metric = encoder.encode_descriptor("file", help, Some(&unit), kind)?;
        for (ns, id, of) in self.operations().filter(|(_, _, of)| of.bytes > 0) {
            let labels = [("ns", ns), ("id", &id), ("procedure", &of.procedure)];
            value(&mut metric.encode_family(&labels)?, kind, of.bytes)?;
        }
        Ok(())
    }

    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "How long NFS operations took, and how many there were";
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let mut metric = encoder.encode_descriptor("operation", help, Some(&unit), kind)?;
        for (ns, id, of) in self.operations() {
            let labels = [("ns", ns), ("id", &id), ("procedure", &of.procedure)];
            let Latency { count, sum, buckets } = &of.latency;
            let buckets = buckets.iter().enumerate().map(|(at, count)| (Latency::end(at), *count));
            let buckets: Vec<_> = buckets.collect();
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(*sum, *count, &buckets, None)?;
        }
        Ok(())
    }

    fn links(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let help = "1 if frames can go by an interface";
        let mut metric = encoder.encode_descriptor("link_running", help, None, gauge)?;
        for (ns, link) in self.all_links() {
            let [name, id, link_name, _] = of_link(ns, link, "");
            let labels = [name, id, link_name];
            value(&mut metric.encode_family(&labels)?, gauge, link.running.into())?;
        }
        let numbers: [LinkNumber; 3] = [
            ("link_frames", "Frames that passed an interface", None, |of| of.frames),
            ("link", "Bytes of frames that passed an interface", Some(Unit::Bytes), |of| of.bytes),
            ("link_errors", "Calls of the system that failed for an interface", None, |of| {
                of.errors
            }),
        ];
        for (name, help, unit, of) in numbers {
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), counter)?;
            for (ns, link) in self.all_links() {
                for (direction, counted) in directions(link) {
                    let labels = of_link(ns, link, direction);
                    value(&mut metric.encode_family(&labels)?, counter, of(counted))?;
                }
            }
        }
        let help = "Frames that an interface has dropped";
        let mut metric = encoder.encode_descriptor("link_drops", help, None, counter)?;
        for (ns, link) in self.all_links() {
            for (direction, counted) in directions(link) {
                for (reason, count) in &counted.drops {
                    let [a, b, c, d] = of_link(ns, link, direction);
                    let labels = [a, b, c, d, ("reason", reason.clone())];
                    value(&mut metric.encode_family(&labels)?, counter, *count)?;
                }
            }
        }
        Ok(())
    }

    fn all_links(&self) -> impl Iterator<Item = (&NamespaceStatistics, &LinkStatistics)> {
        self.0.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| (ns, link)))
    }

    /// The operations of all namespaces, with their names and numbers.
    fn operations(&self) -> impl Iterator<Item = (&str, String, &Operations)> {
        self.0
            .namespaces
            .iter()
            .flat_map(|ns| ns.operations.iter().map(|of| (ns.name.as_str(), ns.id.to_string(), of)))
    }
}

fn of_namespace(ns: &NamespaceStatistics) -> [(&'static str, String); 2] {
    // A name can be used again, and then counts from the beginning.
    [("ns", ns.name.clone()), ("id", ns.id.to_string())]
}

fn of_link(
    ns: &NamespaceStatistics,
    link: &LinkStatistics,
    direction: &str,
) -> [(&'static str, String); 4] {
    let [name, id] = of_namespace(ns);
    [name, id, ("link", link.name.clone()), ("direction", direction.to_owned())]
}

/// Seen from the namespace.
fn directions(link: &LinkStatistics) -> [(&'static str, &DirectionCounters); 2] {
    [("in", &link.counters.received), ("out", &link.counters.sent)]
}

fn value(metric: &mut MetricEncoder<'_>, kind: MetricType, count: u64) -> Result<(), Error> {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&count, None),
        _ => metric.encode_gauge(&count),
    }
}
