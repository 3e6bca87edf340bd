//! `cargo xtask fuzz`: the targets of `fuzz/`, with the compiler that everything else is built with.
//!
//! Nothing is installed for it: the targets bring libFuzzer along as a crate, and what the compiler
//! has to add to them it adds when asked by options that are stable.

mod seeds;

use crate::cargo::{cargo, output, root, run as run_command};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

#[derive(clap::Args)]
pub struct Arguments {
    /// Which targets; all of them, if none is named
    targets: Vec<String>,
    /// For how long each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Watch memory, too, at less than half the speed
    #[arg(long)]
    address: bool,
    /// Choose inputs by this number, and start from nothing that was found before; otherwise by one
    /// that is said, and from all that was found
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seed: Option<u32>,
    /// Only run one target on this input, which it failed on
    #[arg(long, value_name = "FILE")]
    reproduce: Option<PathBuf>,
}

/// All of them, half a minute each and four at a time, and always the same inputs: what fails has been
/// changed.
pub fn run_all() -> Result<()> {
    run(&Arguments {
        targets: Vec::new(),
        seconds: 30,
        jobs: 4,
        address: false,
        seed: Some(1),
        reproduce: None,
    })
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let known = targets()?;
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    if let Some(wrong) = chosen.iter().find(|target| !known.contains(target)) {
        bail!("there is no target {wrong}; there are: {}", known.join(" "));
    }
    let builds = build(arguments.address)?;
    if let Some(input) = &arguments.reproduce {
        let [target] = &chosen[..] else { bail!("--reproduce takes one target") };
        return run_command(Run::new(target)?.command(&builds, [input.as_os_str()]));
    }
    let search = Search {
        seconds: arguments.seconds,
        seed: arguments.seed.unwrap_or_else(random),
        goes_on: arguments.seed.is_none(),
    };
    println!("seed {}", search.seed);
    let queue = Mutex::new(chosen.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let target = queue.lock().expect("nobody panics").next();
                    let Some(target) = target else { break };
                    match Run::new(target).and_then(|run| run.search(&builds, &search)) {
                        Ok(found) => println!("{target:16} {found}"),
                        Err(error) => {
                            println!("{target:16} {error:#}");
                            failed.lock().expect("nobody panics").push(target.as_str());
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics");
    if failed.is_empty() {
        println!("{} passed, 0 failed", chosen.len());
        return Ok(());
    }
    bail!("{} of {} targets failed: {}", failed.len(), chosen.len(), failed.join(" "))
}

/// The names of the targets: their files.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry.context("a target")?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Builds all targets; gives the folder they are in.
fn build(address: bool) -> Result<PathBuf> {
    let version = output(rustc(["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it compiles for")?;
    // What libFuzzer needs to see where a run goes and what it compares.
    let mut flags = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
        .to_owned();
    let mut folder = root().join("target/fuzz");
    let mut command = cargo(["build", "--quiet", "--release", "--locked", "--target", host]);
    if address {
        flags.push_str(" -Zsanitizer=address");
        folder.push("address");
        // The one thing here that the stable compiler only does when told that it may.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
        .arg("--manifest-path")
        .arg(root().join("fuzz/Cargo.toml"))
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", &folder);
    run_command(command)?;
    Ok(folder.join(host).join("release"))
}

fn rustc<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// In memory if possible: some targets make a few files for every input.
fn scratch() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("holm-fuzz-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

/// Not zero, which libFuzzer takes for a wish to choose itself.
fn random() -> u32 {
    (RandomState::new().hash_one(()) as u32).max(1)
}

/// Calls a program that has the same addresses each time, where that is allowed: what it compares
/// gets into what is tried, and addresses are among it.
fn at_fixed_addresses(program: &Path) -> Command {
    let fixed = |program: &Path| {
        let mut command = Command::new("setarch");
        command.arg("-R").arg(program);
        command
    };
    let tried = fixed(Path::new("true")).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) { fixed(program) } else { Command::new(program) }
}

/// How inputs are searched for: the same number makes the same inputs in the same order, as far as
/// the time goes. Those for `programs`, `datagrams` and `path_database` differ all the same, because
/// what these run does: it hashes with random numbers, and looks at clocks.
struct Search {
    seconds: u64,
    seed: u32,
    /// From what was found before, and keeps what it finds.
    goes_on: bool,
}

/// One target, and the folders that it works with.
struct Run<'a> {
    target: &'a str,
    seeds: PathBuf,
    /// The names of the files in there, with commas between them: libFuzzer would take those of a
    /// folder in the order of the file system.
    seed_names: String,
    corpus: PathBuf,
    artifacts: PathBuf,
    /// For the files that a target makes; goes with this.
    scratch: TempDir,
    log: PathBuf,
}

impl<'a> Run<'a> {
    fn new(target: &'a str) -> Result<Self> {
        let folder = |kind: &str| root().join("target/fuzz").join(kind).join(target);
        let mut run = Self {
            target,
            seeds: folder("seeds"),
            seed_names: String::new(),
            corpus: folder("corpus"),
            artifacts: folder("artifacts"),
            scratch: scratch().context("make a folder for what a target makes")?,
            log: folder("log").with_extension("txt"),
        };
        let logs = run.log.parent().unwrap_or(Path::new(".")).to_owned();
        for folder in [&run.seeds, &run.corpus, &run.artifacts, &logs] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let mut names = Vec::new();
        for (number, seed) in seeds::of(target).into_iter().enumerate() {
            let name = format!("{number:03}");
            let path = run.seeds.join(&name);
            fs::write(&path, seed).with_context(|| format!("write {}", path.display()))?;
            names.push(name);
        }
        run.seed_names = names.join(",");
        Ok(run)
    }

    fn command<A: AsRef<std::ffi::OsStr>>(
        &self,
        builds: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = at_fixed_addresses(&builds.join(self.target));
        command.env("HOLM_FUZZ_DIR", self.scratch.path()).args(arguments);
        command
    }

    /// Runs it for a while; says how far it came.
    fn search(&self, builds: &Path, search: &Search) -> Result<String> {
        let failed = || format!("write {}", self.log.display());
        let log = File::create(&self.log).with_context(failed)?;
        let mut command = self.command(
            builds,
            [
                format!("-seed={}", search.seed),
                format!("-max_total_time={}", search.seconds),
                // Nobody else finds anything for it meanwhile.
                "-reload=0".into(),
                "-max_len=8192".into(),
                "-timeout=60".into(),
                "-rss_limit_mb=2048".into(),
                "-print_final_stats=1".into(),
                format!("-artifact_prefix={}/", self.artifacts.display()),
            ],
        );
        if !self.seed_names.is_empty() {
            command.current_dir(&self.seeds).arg(format!("-seed_inputs={}", self.seed_names));
        }
        if search.goes_on {
            command.arg(&self.corpus);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().with_context(failed)?).stderr(log);
        let status = command.status().with_context(|| format!("could not start {command:?}"))?;
        let said = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            let input = said.lines().find_map(|line| line.split_once("Test unit written to "));
            let reason =
                said.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: "));
            match input {
                Some((_, path)) => bail!(
                    "{}\n  see {}\n  again: cargo xtask fuzz {} --reproduce {path}",
                    reason.unwrap_or("failed"),
                    self.log.display(),
                    self.target
                ),
                None => bail!("{status}; see {}", self.log.display()),
            }
        }
        let runs =
            said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let runs = runs.map_or("?", str::trim);
        let covered = said.lines().filter_map(|line| line.split_once("cov: ")).next_back();
        let covered = covered.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("?");
        Ok(format!("{runs:>12} runs, {covered:>6} edges covered"))
    }
}
