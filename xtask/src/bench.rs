//! `cargo xtask bench`.

use crate::cargo::{cargo, output, root, run as run_command};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// References, gates, look-ups, the life of a namespace; against std and the kernel
    Core {
        /// Print JSON in place of a table
        #[arg(long)]
        json: bool,
        /// Put the table into docs/benchmarks.md
        #[arg(long, conflicts_with = "json")]
        write: bool,
    },
    /// holm, NFS-Ganesha, cargo-nfs3-server and the server that does the least, in turns
    Nfs(Nfs),
    /// Interfaces, laggs, many namespaces with networks of their own, and NFS over taps beside the
    /// kernel's loopback; as root
    Net(Net),
    /// What a client on the server's machine gets by LOCALIO, by the loopback, and by itself
    Local(Local),
}

#[derive(clap::Args)]
struct Local {
    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,
    /// Put the table into docs/benchmarks.md
    #[arg(long, conflicts_with = "json")]
    write: bool,
    /// Rounds, in which the ways take turns; what is shown are medians
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// How long each way is measured in each round
    #[arg(long, default_value_t = 0.2)]
    seconds: f64,
    /// On which file system; by default that of `target`
    #[arg(long)]
    directory: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Net {
    /// Print JSON in place of tables
    #[arg(long)]
    json: bool,
    /// Put the tables into docs/benchmarks.md
    #[arg(long, conflicts_with = "json")]
    write: bool,
    /// Rounds of NFS, in which the ways to the server take turns; what is shown are medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each way is measured in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many namespaces
    #[arg(long, default_value_t = 10_000)]
    namespaces: u32,
    /// NFS over taps alone, and of it these cases: a part of their names
    #[arg(long = "case", value_name = "NAME", conflicts_with = "write")]
    cases: Vec<String>,
}

#[derive(clap::Args)]
struct Nfs {
    /// Print JSON in place of tables
    #[arg(long)]
    json: bool,
    /// Put the tables into docs/benchmarks.md
    #[arg(long, conflicts_with = "json")]
    write: bool,
    /// These cases only: a part of their names, or `churn`, `neighbours`, `start`
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Rounds, in which the servers take turns; what is shown are medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each server is measured in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// On which file system the servers get their directories; by default that of `target`
    #[arg(long)]
    directory: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Core { json, write } => {
            let mut call =
                vec!["bench", "--quiet", "--locked", "-p", "holm-netns", "--bench", "core", "--"];
            if *json {
                call.push("--json");
            }
            show_or_write("core", cargo(call), *write)
        }
        What::Nfs(nfs) => {
            let packages = ["-p", "holm", "-p", "holm-nfsload"];
            run_command(cargo(
                ["build", "--quiet", "--release", "--locked"].iter().chain(&packages).copied(),
            ))?;
            show_or_write("nfs", nfs.figures(), nfs.write)
        }
        What::Net(net) => net.run(),
        What::Local(local) => show_or_write("local", local.figures(), local.write),
    }
}

impl Net {
    fn run(&self) -> Result<()> {
        let packages = ["-p", "holm", "-p", "holm-nfsload"];
        run_command(cargo(
            ["build", "--quiet", "--release", "--locked"].iter().chain(&packages).copied(),
        ))?;
        if !self.cases.is_empty() {
            return run_command(self.nfs());
        }
        let parts = [
            ("interfaces", output(self.bench("holm-ifnet", "interfaces", &[]))?),
            ("lagg", output(self.bench("holm-ifnet", "lagg", &[]))?),
            ("namespaces", output(self.bench("holm", "networks", &[self.namespaces]))?),
            ("nfs", output(self.nfs())?),
        ];
        if self.json {
            let parts = parts.map(|(name, json)| format!("\"{name}\": {}", json.trim_end()));
            println!("{{{}}}", parts.join(", "));
            return Ok(());
        }
        let [interfaces, lagg, namespaces, nfs] = parts.map(|(_, text)| text);
        let text = format!("```text\n{interfaces}{lagg}{namespaces}```\n\n{nfs}");
        print!("{text}");
        if self.write { write_section("net", &text) } else { Ok(()) }
    }

    fn bench(&self, package: &str, bench: &str, arguments: &[u32]) -> Command {
        let mut call = cargo(["bench", "--quiet", "--locked", "-p", package, "--bench", bench]);
        call.arg("--").args(arguments.iter().map(u32::to_string));
        if self.json {
            call.arg("--json");
        }
        call
    }

    /// In a network namespace of its own, where taps and their addresses are in nobody's way.
    fn nfs(&self) -> Command {
        let release = root().join("target/release");
        let mut call = Command::new("unshare");
        call.args(["--net", "--"]).arg(release.join("holm-nfsload"));
        call.arg("links").arg(release.join("holm"));
        call.args(["--rounds", &self.rounds.to_string()]);
        call.args(["--seconds", &self.seconds.to_string(), "--warm-up", "0.5"]);
        call.arg("--directory").arg(root().join("target"));
        for case in &self.cases {
            call.args(["--case", case]);
        }
        if self.json {
            call.arg("--json");
        }
        call
    }
}

impl Local {
    fn figures(&self) -> Command {
        let mut call =
            cargo(["bench", "--quiet", "--locked", "-p", "holm", "--bench", "local", "--"]);
        call.args(["--rounds", &self.rounds.to_string(), "--seconds", &self.seconds.to_string()]);
        call.arg("--directory")
            .arg(self.directory.clone().unwrap_or_else(|| root().join("target")));
        if self.json {
            call.arg("--json");
        }
        call
    }
}

impl Nfs {
    fn figures(&self) -> Command {
        let release = root().join("target/release");
        let mut call = Command::new(release.join("holm-nfsload"));
        call.arg("figures").arg(release.join("holm"));
        call.arg("--install-root").arg(root().join("target/peers"));
        call.args(["--rounds", &self.rounds.to_string()]);
        call.args(["--seconds", &self.seconds.to_string(), "--warm-up", "0.5"]);
        for case in &self.cases {
            call.args(["--case", case]);
        }
        if let Some(directory) = &self.directory {
            call.arg("--directory").arg(directory);
        } else {
            call.arg("--directory").arg(root().join("target"));
        }
        if self.json {
            call.arg("--json");
        }
        call
    }
}

/// Runs a benchmark, which prints its table; and puts it into the page if that is asked for.
fn show_or_write(section: &str, call: Command, write: bool) -> Result<()> {
    if !write {
        return run_command(call);
    }
    let table = output(call)?;
    print!("{table}");
    write_section(section, &table)
}

/// Puts `text` between the marks of `section` in docs/benchmarks.md.
fn write_section(section: &str, text: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let (begin, end) = (format!("<!-- {section} -->\n"), format!("<!-- /{section} -->"));
    let marks = page.find(&begin).zip(page.find(&end));
    let Some((from, to)) = marks.filter(|(from, to)| from < to) else {
        bail!("{} has no marks {} and {end}", path.display(), begin.trim_end());
    };
    let page = format!("{}{begin}{}\n{}", &page[..from], text.trim_end(), &page[to..]);
    fs::write(&path, page).with_context(|| format!("could not write {}", path.display()))
}
