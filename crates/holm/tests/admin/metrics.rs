//! The numbers: what they add up to, and that Prometheus can read them.

use holm::metrics::{
    Errors, Files, Latency, LinkStatistics, Local, NamespaceStatistics, Operations, PoolStatistics,
    Statistics, text,
};
use holm::model::{DirectionCounters, LinkCounters};
use prometheus_parse::{Sample, Scrape, Value};
use proptest::prelude::*;

fn latency(nanos: &[u64]) -> Latency {
    let mut latency = Latency { buckets: vec![0; Latency::BUCKETS], ..Latency::default() };
    for &nanos in nanos {
        let bucket = (0..Latency::BUCKETS).find(|at| (nanos as f64) < Latency::end(*at) * 1e9);
        latency.buckets[bucket.expect("the last has no end")] += 1;
        latency.count += 1;
        latency.sum += nanos as f64 * 1e-9;
    }
    latency
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A quantile lies in the bucket in which the exact one lies.
    #[test]
    fn quantiles_are_as_near_as_the_buckets(
        mut nanos in prop::collection::vec(0u64..1 << 34, 1..200),
        part in 0.01f64..1.0,
    ) {
        let found = latency(&nanos).quantile(part).expect("there are some") * 1e9;
        nanos.sort_unstable();
        let rank = ((nanos.len() as f64 * part).ceil() as usize).clamp(1, nanos.len());
        let exact = nanos[rank - 1];
        let begin = if exact < 256 { 0 } else { 1u64 << exact.ilog2() };
        let end = (2 * begin).max(256);
        prop_assert!((begin as f64 - 1e-3..=end as f64 + 1e-3).contains(&found), "{found} for {exact}");
    }

    /// What came after is what there is without what there was.
    #[test]
    fn what_came_since_is_the_difference(
        before in prop::collection::vec(0u64..1 << 30, 0..50),
        after in prop::collection::vec(0u64..1 << 30, 0..50),
    ) {
        let mut all = latency(&before);
        all.add(&latency(&after));
        let since = all.since(&latency(&before));
        prop_assert_eq!(since.count, after.len() as u64);
        prop_assert_eq!(since.buckets, latency(&after).buckets);
    }
}

#[test]
fn nothing_has_no_quantile() {
    assert_eq!(Latency::default().quantile(0.99), None);
    assert_eq!(latency(&[]).quantile(0.99), None);
}

#[test]
fn longer_than_all_buckets_is_at_least_where_the_last_begins() {
    assert_eq!(latency(&[1 << 60]).quantile(0.5), Some(Latency::end(Latency::BUCKETS - 2)));
}

#[test]
fn prometheus_reads_every_number() {
    let operations = Operations {
        procedure: "READ".into(),
        latency: latency(&[300, 300, 900_000]),
        bytes: 12,
        errors: vec![Errors { status: "NFS3ERR_STALE".into(), count: 11 }],
    };
    let drops = [("queue-full".to_owned(), 14)].into();
    let sent = DirectionCounters { frames: 12, bytes: 13, errors: 15, drops };
    let counters = LinkCounters { sent, ..LinkCounters::default() };
    let link = LinkStatistics { name: "p0".into(), running: true, counters };
    let ns = NamespaceStatistics {
        name: "blue".into(),
        id: 7,
        connections: 4,
        received: 1 << 40,
        sent: 5,
        queued: 6,
        held_back: 5,
        slow: true,
        files: Files { open: 9, ..Files::default() },
        local: Local { files: 16, cut_off: 17, ..Local::default() },
        operations: vec![operations],
        links: vec![link],
        ..NamespaceStatistics::default()
    };
    let pool = PoolStatistics { threads: 2, ..PoolStatistics::default() };
    let text = text(Statistics { clock: 1.0, pool, namespaces: vec![ns] });
    assert!(text.ends_with("# EOF\n"));
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).expect("a parser reads it");
    let value = |name: &str, labels: &[(&str, &str)]| {
        let fits = |sample: &&Sample| {
            sample.metric == name
                && labels.iter().all(|(key, value)| sample.labels.get(key) == Some(value))
        };
        match &scrape.samples.iter().find(fits).unwrap_or_else(|| panic!("{name} in\n{text}")).value
        {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
            other => panic!("{name}: {other:?}"),
        }
    };
    let blue = [("ns", "blue"), ("id", "7")];
    for (name, expected) in [
        ("holm_connections", 4.0),
        ("holm_received_bytes_total", (1u64 << 40) as f64),
        ("holm_sent_bytes_total", 5.0),
        ("holm_queued", 6.0),
        ("holm_held_back", 5.0),
        ("holm_slow", 1.0),
        ("holm_open_files", 9.0),
        ("holm_local_files", 16.0),
        ("holm_local_cut_off_total", 17.0),
    ] {
        assert_eq!(value(name, &blue), expected, "{name}");
    }
    assert_eq!(value("holm_threads", &[]), 2.0);
    let read = [("ns", "blue"), ("procedure", "READ")];
    let stale = [("ns", "blue"), ("procedure", "READ"), ("status", "NFS3ERR_STALE")];
    assert_eq!(value("holm_errors_total", &stale), 11.0);
    assert_eq!(value("holm_file_bytes_total", &read), 12.0);
    assert_eq!(value("holm_operation_seconds_count", &read), 3.0);
    let out = [("ns", "blue"), ("link", "p0"), ("direction", "out")];
    let full = [("link", "p0"), ("direction", "out"), ("reason", "queue-full")];
    assert_eq!(value("holm_link_running", &[("ns", "blue"), ("link", "p0")]), 1.0);
    for (name, labels, expected) in [
        ("holm_link_frames_total", &out, 12.0),
        ("holm_link_bytes_total", &out, 13.0),
        ("holm_link_errors_total", &out, 15.0),
        ("holm_link_drops_total", &full, 14.0),
    ] {
        assert_eq!(value(name, labels), expected, "{name}");
    }
    let histogram = scrape.samples.iter().find_map(|sample| match &sample.value {
        Value::Histogram(buckets) if sample.metric == "holm_operation_seconds" => Some(buckets),
        _ => None,
    });
    let buckets = histogram.expect("a histogram");
    assert_eq!(buckets.len(), Latency::BUCKETS);
    let within = |seconds: f64| {
        let fits = buckets.iter().filter(|bucket| bucket.less_than <= seconds);
        fits.map(|bucket| bucket.count).fold(0.0, f64::max)
    };
    let bounds = [256e-9, 512e-9, 5e-4, 2e-3, f64::INFINITY];
    assert_eq!(bounds.map(within), [0.0, 2.0, 2.0, 3.0, 3.0]);
}
