//! `cargo xtask test`.

use crate::cargo::{cargo, cargo_checked, root, run as run_command};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs;
use std::process::Command;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    /// Which kinds
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

/// The kinds of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Unit, property, integration and documentation tests, with real threads
    Unit,
    /// Every interleaving and memory ordering of small protocols
    Loom,
    /// Thousands of schedules of large ones
    Shuttle,
    /// Crashes, and what is left after them
    Soak,
    /// Every decoder, and everything behind it, on input that is searched for
    Fuzz,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let all = Kind::value_variants();
    let kinds = if arguments.kinds.is_empty() { all } else { &arguments.kinds };
    let mut times = Vec::new();
    for kind in kinds {
        println!("\n==== {kind:?}");
        let start = Instant::now();
        match kind {
            Kind::Unit => run_command(cargo(["test", "--workspace", "--locked"]))?,
            Kind::Soak => crate::soak::run_some()?,
            Kind::Fuzz => crate::fuzz::run_all()?,
            Kind::Loom => checked("loom", "holm-lifetime", "loom")?,
            Kind::Shuttle => {
                checked("shuttle", "holm-netns", "races")?;
                checked("shuttle", "holm-pool", "races")?;
                checked("shuttle", "holm-ifnet", "races")?;
                checked("shuttle", "holm-sunrpc", "races")?;
                checked("shuttle", "holm-nfsd", "races")?;
                checked("shuttle", "holm-localio", "races")?;
            }
        }
        times.push((kind, start.elapsed()));
    }
    println!("\n==== all passed");
    for (kind, time) in times {
        println!("{kind:?}: {:.0} s", time.as_secs_f64());
    }
    Ok(())
}

/// Runs a test under a model checker and prints what it reports: how much it explored, and in how
/// much of it the deliberate mistakes were found.
fn checked(checker: &str, package: &str, test: &str) -> Result<()> {
    let report = root().join("target").join(format!("{checker}-report.txt"));
    fs::create_dir_all(root().join("target")).context("could not make the target folder")?;
    fs::write(&report, "").with_context(|| format!("could not write {}", report.display()))?;
    let mut command: Command = cargo_checked(
        checker,
        [
            "test",
            "--locked",
            "--profile",
            "checked",
            "-p",
            package,
            "--test",
            test,
            "--",
            // Each explores with one thread, and there is one counter for all.
            "--test-threads=1",
        ],
    );
    command.env("HOLM_REPORT", &report).env("SHUTTLE_SILENCE_WARNINGS", "1");
    let outcome = run_command(command);
    print!("{}", fs::read_to_string(&report).unwrap_or_default());
    outcome
}
