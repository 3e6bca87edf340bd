//! `holm top` and the metrics, while clients are at work.

use crate::running::{Answer, Running};
use crate::world::Nfs;
use prometheus_parse::{Sample, Scrape, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// A client that asks without end.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, called) = (stop.clone(), calls.clone());
        let thread = std::thread::spawn(move || {
            let mut client = Nfs::connect(address);
            let root = client.mount("/").expect("mounted");
            while !stopped.load(Ordering::Relaxed) {
                client.getattr(&root).expect("answered");
                assert!(client.lookup(&root, "missing").is_err());
                called.fetch_add(2, Ordering::Relaxed);
            }
        });
        let load = Self { stop, calls, thread: Some(thread) };
        load.goes_on();
        load
    }

    /// Returns when some more was answered.
    fn goes_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        while self.calls.load(Ordering::Relaxed) < before + 100 {
            assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "it has failed");
            std::thread::yield_now();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A namespace that is served; where.
fn served(server: &Running, name: &str) -> SocketAddr {
    let dir = server.folder().join(name).display().to_string();
    server.says(&["ns", "add", name]);
    server.says(&["-n", name, "export", "add", "/", &dir]);
    let said = server.says(&["-n", name, "listen", "add", "127.0.0.1:0"]);
    said.trim_end().rsplit(' ').next().and_then(|local| local.parse().ok()).expect("an address")
}

#[test]
fn top_shows_who_is_busy() {
    let server = Running::start("");
    let (green, red) = (served(&server, "green"), served(&server, "red"));
    let idle = Nfs::connect(red);
    let _load = Load::start(green);

    let text = server.says(&["top", "--count", "2", "--interval", "0.5"]);
    let tables: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{text}");
    for table in tables {
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NAME", "OPS/S", "MB/S", "P99", "ERR/S", "FILES", "CONN", "QUEUE"]);
        // The busiest is first.
        assert_eq!(rows[1][0], "green", "{table}");
        assert!(rows[1][1].parse::<f64>().expect("a number") > 0.0, "{table}");
    }

    let text =
        server.says(&["top", "--count", "1", "--interval", "0.5", "--json", "--sort", "name"]);
    let rates: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
    let of = |name: &str| {
        let all = rates["namespaces"].as_array().expect("an array").iter();
        all.clone().find(|ns| ns["name"] == name).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let (green, red) = (of("green"), of("red"));
    assert!(green["ops"].as_f64() > Some(0.0), "{text}");
    assert!(green["received"].as_f64() > Some(0.0), "{text}");
    // Every second call looks for what is missing.
    assert!(green["errors"].as_f64() > Some(0.0), "{text}");
    assert!(green["p99"].as_f64() > Some(0.0), "{text}");
    assert_eq!((&green["connections"], &red["connections"]), (&1.into(), &1.into()), "{text}");
    assert_eq!((&red["ops"], &red["p99"]), (&0.0.into(), &serde_json::Value::Null), "{text}");
    drop(idle);
}

/// What is counted, by name and labels.
fn counters(server: &Running) -> BTreeMap<String, f64> {
    let answer = server.ask("GET", "/metrics", None);
    let text = String::from_utf8(answer.body).expect("text");
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let key = |sample: &Sample| {
        let mut labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.retain(|label| !label.starts_with("id="));
        labels.sort();
        format!("{} {}", sample.metric, labels.join(","))
    };
    let mut counters = BTreeMap::new();
    for sample in Scrape::parse(lines).expect("a parser reads it").samples {
        let key = key(&sample);
        match sample.value {
            Value::Histogram(buckets) => {
                for bucket in buckets {
                    counters.insert(format!("{key} le={}", bucket.less_than), bucket.count);
                }
            }
            Value::Untyped(value) | Value::Counter(value)
                if sample.metric.ends_with("_total") || sample.metric.ends_with("_count") =>
            {
                counters.insert(key, value);
            }
            _ => {}
        }
    }
    counters
}

#[test]
fn what_is_counted_only_grows() {
    let server = Running::start("");
    let load = Load::start(served(&server, "green"));
    let mut before = counters(&server);
    let begin = before.clone();
    for _ in 0..10 {
        load.goes_on();
        let now = counters(&server);
        for (name, value) in &before {
            let now = now.get(name).unwrap_or_else(|| panic!("{name} is gone"));
            assert!(now >= value, "{name}: {value}, then {now}");
        }
        before = now;
    }
    let grown = |name: &str| {
        let all = |of: &BTreeMap<String, f64>| -> f64 {
            of.iter().filter(|(key, _)| key.contains(name)).map(|(_, value)| value).sum()
        };
        all(&before) > all(&begin)
    };
    for name in [
        "holm_calls_total",
        "holm_received_bytes_total",
        "holm_sent_bytes_total",
        "holm_operation_seconds ns=green,procedure=GETATTR le=inf",
        "holm_errors_total ns=green,procedure=LOOKUP,status=NFS3ERR_NOENT",
    ] {
        assert!(grown(name), "{name} in {before:#?}");
    }
}

/// By TCP there are the metrics, and nothing else.
#[test]
fn metrics_by_tcp() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = port.expect("a port");
    let server = Running::start(&format!("metrics = \"{address}\"\n"));
    let ask = |line: &str| {
        let mut stream = TcpStream::connect(address).expect("connected");
        write!(stream, "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
            .expect("sent");
        Answer::read(&mut stream)
    };
    served(&server, "green");
    let metrics = ask("GET /metrics");
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").expect("a content type");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(String::from_utf8_lossy(&metrics.body).contains("holm_connections{ns=\"green\""));
    for other in ["GET /namespaces", "GET /openapi.json", "GET /events", "DELETE /namespaces/green"]
    {
        assert_eq!(ask(other).status, 404, "{other}");
    }
    assert_eq!(ask("POST /metrics").status, 405);
    server.says(&["ns", "show", "green"]);
}
