//! `holm bench`.

mod measure;
mod operations;
mod scratch;

use super::connect::Connect;
use super::outcome::{Failure, Trouble};
use crate::cli::columns::Columns;
use holm_localio::{Access, Mount, Url};
use indicatif::{ProgressBar, ProgressStyle};
use measure::{Measured, Plan};
use operations::Operation;
use scratch::Scratch;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Measure what an export can do from here
///
/// Makes a directory at the URL and removes it at the end, also after Ctrl-C. Where the server is on this
/// machine and lends its files, data is read and written both by RPC and past the network; all else goes by
/// RPC in any case. What is read was written just before: it comes from the server's memory.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A directory where we may write: nfs://HOST[:PORT]/PATH
    url: Url,
    #[command(flatten)]
    connect: Connect,
    /// Measure only what goes past the network
    #[arg(long, conflicts_with = "no_local")]
    local_only: bool,
    /// For how long each operation is measured
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Threads, each with one operation at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let stop = stop_at_signals().map_err(|error| {
        Trouble::new(format!("could not prepare for Ctrl-C, and so leaves nothing behind: {error}"))
    })?;
    let plan = Plan {
        threads: arguments.threads.into(),
        time: Duration::from_secs(arguments.seconds.into()),
        stop: &stop,
    };
    let report = measure_all(arguments, &plan)?;
    if stop.load(Ordering::Relaxed) {
        return Err(Trouble::new("interrupted; what was made is removed").into());
    }
    if arguments.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    report.show()?;
    Ok(())
}

fn measure_all(arguments: &Arguments, plan: &Plan<'_>) -> Result<Report, Failure> {
    let mount = |connect: Connect| connect.mount(&arguments.url, plan.threads);
    let by_rpc = mount(Connect { no_local: true })?;
    let scratch = Scratch::new(&by_rpc)?;
    let local = if arguments.connect.no_local {
        Err("by --no-local".to_owned())
    } else {
        find_local(&scratch, mount(Connect { no_local: false })?)?
    };
    if arguments.local_only
        && let Err(why) = &local
    {
        return Err(Trouble::new(format!("not local: {why}")).into());
    }
    let mut report = Report {
        url: arguments.url.to_string(),
        server: by_rpc.address().to_string(),
        threads: plan.threads,
        seconds: arguments.seconds,
        local: local.is_ok(),
        why_not_local: local.as_ref().err().cloned(),
        results: Vec::new(),
    };
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(100));
    for operation in Operation::ALL {
        let ways = [
            (!arguments.local_only).then_some((&by_rpc, Way::Rpc)),
            local.as_ref().ok().filter(|_| operation.moves_data()).map(|mount| (mount, Way::Local)),
        ];
        for (mount, way) in ways.into_iter().flatten() {
            if stopped(plan) {
                return Ok(report);
            }
            progress.set_message(format!("{} by {}", operation.name(), way.name()));
            let measured = operation.measure(plan, mount, &scratch)?;
            report.results.push(Line::new(*operation, way, &measured));
        }
    }
    progress.finish_and_clear();
    scratch.remove()?;
    Ok(report)
}

/// The mount that reads and writes past the network; or why there is none.
fn find_local(scratch: &Scratch, mount: Mount) -> Result<Result<Mount, String>, Trouble> {
    let file = mount.open(scratch.data(), Access::ReadWrite)?;
    // It is asked for a file when that is used.
    file.read_at(&mut [0; 1], 0)?;
    if file.is_local() {
        drop(file);
        return Ok(Ok(mount));
    }
    Ok(Err(NOT_LOCAL.into()))
}

fn stopped(plan: &Plan<'_>) -> bool {
    plan.stop.load(Ordering::Relaxed)
}

/// A server that does not lend its files does not say why.
const NOT_LOCAL: &str =
    "the server is on another machine, or lends its files to nobody, or not to this user";

/// The first signal has everything removed; a second one ends at once.
fn stop_at_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// How data goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Rpc,
    Local,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Local => "local",
        }
    }
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    server: String,
    threads: usize,
    seconds: u32,
    local: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not_local: Option<String>,
    results: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    operation: &'static str,
    by: &'static str,
    operations: u64,
    seconds: f64,
    operations_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<f64>,
    latency_microseconds: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Line {
    fn new(operation: Operation, way: Way, measured: &Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let operations = measured.latencies.len();
        let rate = operations as f64 / seconds.max(f64::MIN_POSITIVE);
        let at = |quantile| measured.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            operation: operation.name(),
            by: way.name(),
            operations,
            seconds,
            operations_per_second: rate,
            bytes_per_second: operation.bytes().map(|bytes| rate * bytes as f64),
            latency_microseconds: Latency {
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                max: measured.latencies.max() as f64 / 1000.0,
            },
        }
    }
}

impl Report {
    fn show(&self) -> io::Result<()> {
        let mut table =
            Columns::new(["OPERATION", "BY", ">OPS/S", ">MB/S", ">P50 µs", ">P99 µs", ">P99.9 µs"]);
        for line in &self.results {
            let latency = &line.latency_microseconds;
            table.row([
                line.operation.replace(' ', "-"),
                line.by.into(),
                format!("{:.0}", line.operations_per_second),
                line.bytes_per_second.map(|rate| format!("{:.1}", rate / 1e6)).unwrap_or_default(),
                format!("{:.1}", latency.p50),
                format!("{:.1}", latency.p99),
                format!("{:.1}", latency.p999),
            ]);
        }
        table.show()?;
        let mut out = io::stdout().lock();
        match &self.why_not_local {
            None => writeln!(out, "local: files are read and written past the network"),
            Some(why) => writeln!(out, "not local: {why}"),
        }
    }
}
