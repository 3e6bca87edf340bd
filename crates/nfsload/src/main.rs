//! `holm-nfsload`: measures NFSv3 servers and holds them to what they acknowledged.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use holm_nfsload::{
    Case, Churn, Content, Cpus, Entrant, Figures, Integrity, LimitOptions, LimitServer, Links,
    Load, Neighbours, Peer, Plan, Process, Promise, Target, Verdict, Workload, check, compare,
    start_up,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "holm-nfsload", about = "Measure NFSv3 servers, and verify every byte", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A target is ADDRESS:PORT[,MOUNTPORT][/EXPORT]; its process is looked for on this machine.
#[derive(Subcommand)]
enum Command {
    /// Run one workload
    Run {
        target: Target,
        workload: Workload,
        #[command(flatten)]
        load: LoadOptions,
        #[command(flatten)]
        plan: PlanOptions,
    },
    /// Let several servers take turns; a table on stdout
    Compare(CompareOptions),
    /// holm and all that there is to compare with, beside the goals; a table on stdout
    Figures(FiguresOptions),
    /// holm by taps of its own beside the kernel's loopback; a table on stdout. To be run as root in a
    /// network namespace of its own (unshare --net)
    Links(FiguresOptions),
    /// Write, read and verify
    Verify {
        target: Target,
        /// Write down what is acknowledged; an existing journal is gone on with
        #[arg(long)]
        journal: Option<PathBuf>,
        #[arg(long, default_value_t = 8)]
        files: usize,
        /// Blocks of each file
        #[arg(long, default_value_t = 256)]
        blocks: usize,
        /// Bytes of a block
        #[arg(long, default_value = "4k", value_parser = small_size)]
        block: u32,
        #[command(flatten)]
        plan: PlanOptions,
    },
    /// Read back what a journal says, after a crash for example
    Check {
        target: Target,
        journal: PathBuf,
        #[arg(long, default_value = "durable")]
        promise: Promise,
    },
    /// Connect, mount, call GETATTR, disconnect, again and again
    Churn {
        target: Target,
        #[arg(long, default_value_t = 4)]
        workers: usize,
        #[arg(long, default_value_t = 10)]
        calls: usize,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Time a server command from its start to its first answer
    StartUp {
        target: Target,
        #[arg(long, default_value_t = 5)]
        runs: usize,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// What a quiet client notices of a flooding one
    Neighbours {
        quiet: Target,
        flooded: Target,
        #[arg(long, default_value = "getattr")]
        workload: Workload,
        #[command(flatten)]
        load: LoadOptions,
        #[command(flatten)]
        plan: PlanOptions,
        /// Microseconds between the calls of the quiet one
        #[arg(long, default_value_t = 1000)]
        interval: u64,
        /// How often it is measured alone and then beside the other
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// The clients get the second half of the CPUs, and the quiet one goes first there; where the
        /// server is, is up to whoever starts it (taskset)
        #[arg(long)]
        apart: bool,
    },
    /// Be the server that does the least, on 127.0.0.1
    Limit {
        #[arg(long, default_value_t = 0)]
        port: u16,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Bytes of every file
        #[arg(long, default_value = "256m", value_parser = size)]
        size: u64,
        /// Entries of every directory
        #[arg(long, default_value_t = 1000)]
        entries: usize,
        #[arg(long, default_value = "canned")]
        content: Content,
    },
}

#[derive(Args)]
struct CompareOptions {
    /// NAME=TARGET of a server that runs already; ratios are to the first entrant
    #[arg(long = "target", value_parser = named_target)]
    targets: Vec<(String, Target)>,
    /// Start NFS-Ganesha
    #[arg(long)]
    ganesha: bool,
    /// Start cargo-nfs3-server
    #[arg(long)]
    nfs3_server: bool,
    /// Start the limit server
    #[arg(long)]
    limit: bool,
    #[command(flatten)]
    how: ComparisonOptions,
}

#[derive(Args)]
struct FiguresOptions {
    /// holm's program
    holm: PathBuf,
    #[command(flatten)]
    how: ComparisonOptions,
}

#[derive(Args)]
struct ComparisonOptions {
    /// Install cargo-nfs3-server here if it is not there
    #[arg(long)]
    install_root: Option<PathBuf>,
    /// Where the servers that are started get their directories
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// These cases only: a part of their names; of the figures also `churn`, `neighbours`, `start`
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    plan: PlanOptions,
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct LoadOptions {
    /// Bytes of a READ or WRITE (1m when in order, otherwise 4k)
    #[arg(long, value_parser = small_size)]
    block: Option<u32>,
    #[arg(long)]
    files: Option<usize>,
    /// Bytes of each file (256m to read, 64m to write)
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// dircount and maxcount of a READDIRPLUS
    #[arg(long, default_value = "32k", value_parser = small_size)]
    listing: u32,
    /// Look at every byte that is read
    #[arg(long)]
    verify: bool,
}

impl LoadOptions {
    fn load(self, workload: Workload) -> Load {
        let Self { block, files, size, listing, verify } = self;
        Load { workload, block, files, size, listing, verify }
    }
}

#[derive(Args)]
struct PlanOptions {
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Calls outstanding on each
    #[arg(long, default_value_t = 16)]
    depth: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Bind client and server to this CPU
    #[arg(long)]
    pin: Option<usize>,
}

impl PlanOptions {
    fn plan(&self, server: Option<Process>) -> anyhow::Result<Plan> {
        Ok(Plan {
            connections: self.connections,
            depth: self.depth,
            warm_up: seconds(self.warm_up)?,
            duration: seconds(self.seconds)?,
            pin: self.pin,
            server,
            ..Plan::default()
        })
    }
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run { target, workload, load, plan } => {
            let plan = plan.plan(process(&target))?;
            let measurement = load.load(workload).run(&target, &plan)?;
            print(&measurement)?;
            Ok(good(measurement.errors.is_empty()))
        }
        Command::Compare(options) => run_compare(options),
        Command::Figures(options) => run_figures(options),
        Command::Links(options) => run_links(options),
        Command::Verify { target, journal, files, blocks, block, plan } => {
            let plan = plan.plan(process(&target))?;
            let integrity = Integrity { files, blocks, block };
            verdict(&integrity.run(&target, &plan, journal.as_deref())?)
        }
        Command::Check { target, journal, promise } => verdict(&check(&target, &journal, promise)?),
        Command::Churn { target, workers, calls, seconds: time } => {
            let (duration, server) = (seconds(time)?, process(&target));
            let measurement = Churn { workers, calls, duration, server }.run(&target)?;
            print(&measurement)?;
            Ok(good(measurement.errors.is_empty()))
        }
        Command::StartUp { target, runs, command } => {
            print(&start_up(&target, &command[0], &command[1..], runs)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Neighbours { quiet, flooded, workload, load, plan, interval, rounds, apart } => {
            let plan = plan.plan(process(&flooded))?;
            let (load, interval) = (load.load(workload), Duration::from_micros(interval.max(1)));
            let apart = apart.then(Cpus::divide).transpose()?.map(|cpus| cpus.clients);
            let neighbours = Neighbours { quiet, flooded, load, plan, interval, rounds, apart };
            let measurement = neighbours.run()?;
            print(&measurement)?;
            Ok(good(measurement.errors.is_empty()))
        }
        Command::Limit { port, threads, size, entries, content } => {
            let options = LimitOptions { port, threads, size, entries, content };
            let server = LimitServer::start(&options)?;
            println!("{}", server.address());
            server.wait();
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_compare(options: CompareOptions) -> anyhow::Result<ExitCode> {
    let mut entrants: Vec<_> = options
        .targets
        .iter()
        .map(|(name, target)| Entrant {
            name: name.clone(),
            target: target.clone(),
            process: process(target),
        })
        .collect();
    let peers = start_peers(&options)?;
    entrants.extend(peers.iter().map(|(name, peer)| Entrant {
        name: (*name).to_owned(),
        target: peer.target().clone(),
        process: Some(peer.process()),
    }));
    let mut cases = Case::all(&options.how.plan.plan(None)?);
    if !options.how.cases.is_empty() {
        cases.retain(|case| options.how.cases.iter().any(|part| case.name.contains(part)));
    }
    let rounds = options.how.rounds;
    let report = compare(&entrants, &cases, rounds, None, |what| eprintln!("{what}"))?;
    if options.how.json {
        print(&report)?
    } else {
        print!("{}", report.table())
    }
    Ok(ExitCode::SUCCESS)
}

fn run_figures(options: FiguresOptions) -> anyhow::Result<ExitCode> {
    let figures = Figures {
        holm: options.holm.canonicalize().context("the program of holm")?,
        own: std::env::current_exe().context("the path of this program")?,
        install_root: options.how.install_root.map(std::path::absolute).transpose()?,
        directory: options.how.directory.canonicalize().context("the directory for servers")?,
        rounds: options.how.rounds,
        plan: options.how.plan.plan(None)?,
        only: options.how.cases,
    };
    let measurement = figures.run(|what| eprintln!("{what}"))?;
    if options.how.json {
        print(&measurement)?
    } else {
        print!("{}", measurement.tables())
    }
    Ok(ExitCode::SUCCESS)
}

fn run_links(options: FiguresOptions) -> anyhow::Result<ExitCode> {
    let links = Links {
        holm: options.holm.canonicalize().context("the program of holm")?,
        directory: options.how.directory.canonicalize().context("the directory for servers")?,
        rounds: options.how.rounds,
        plan: options.how.plan.plan(None)?,
        only: options.how.cases,
    };
    let report = links.run(|what| eprintln!("{what}"))?;
    if options.how.json {
        print(&report)?
    } else {
        print!("{}", report.table())
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that are asked for and can be had; what can't is said, and left out.
fn start_peers(options: &CompareOptions) -> anyhow::Result<Vec<(&'static str, Peer)>> {
    let directory = options.how.directory.canonicalize().context("the directory for servers")?;
    let mut peers = Vec::new();
    let mut add = |name, asked, start: &dyn Fn(&Path) -> Result<Peer, holm_nfsload::Error>| {
        if asked {
            match start(&directory) {
                Ok(peer) => peers.push((name, peer)),
                Err(error) => eprintln!("without {name}: {error}"),
            }
        }
    };
    let own = std::env::current_exe().context("the path of this program")?;
    add("NFS-Ganesha", options.ganesha, &|at| Peer::ganesha(at));
    add("cargo-nfs3-server", options.nfs3_server, &|at| {
        Peer::nfs3_server(at, options.how.install_root.as_deref())
    });
    add("limit", options.limit, &|at| Peer::limit(at, &own));
    Ok(peers)
}

fn verdict(verdict: &Verdict) -> anyhow::Result<ExitCode> {
    print(verdict)?;
    Ok(good(verdict.is_good()))
}

fn good(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A server elsewhere has no process here.
fn process(target: &Target) -> Option<Process> {
    Process::listening_on(target.address).ok()
}

fn seconds(seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{seconds} seconds"))
}

fn named_target(text: &str) -> Result<(String, Target), String> {
    let (name, target) = text.split_once('=').ok_or("it is not NAME=TARGET")?;
    Ok((name.to_owned(), target.parse().map_err(|error| format!("{error}"))?))
}

fn small_size(text: &str) -> Result<u32, String> {
    size(text)?.try_into().map_err(|_| format!("{text} is too large"))
}

fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit; there are k, m and g")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too large"))
}
