//! The figures that the project is held to: holm and its peers, in turns, each beside its goal.

use crate::compare::{Medians, rounded};
use crate::process::{Cpus, bind_thread};
use crate::{
    Alone, Case, CaseResult, Churn, ChurnMeasurement, Comparison, Disk, Entrant, Error, Load,
    Neighbours, NeighboursMeasurement, Peer, Plan, StartUp, Workload, compare,
};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is compared, and how long.
#[derive(Debug, Clone)]
pub struct Figures {
    /// holm's program.
    pub holm: PathBuf,
    /// This crate's program, which is the limit server too.
    pub own: PathBuf,
    /// Where cargo-nfs3-server is, or is to be installed.
    pub install_root: Option<PathBuf>,
    /// Where the servers get their directories.
    pub directory: PathBuf,
    /// Rounds of each case.
    pub rounds: usize,
    /// Connections, depth and time of most cases.
    pub plan: Plan,
    /// Parts of names: only such cases. All if there is none.
    pub only: Vec<String>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct FiguresMeasurement {
    /// Cases in rounds, in which the servers took turns.
    pub comparison: Comparison,
    /// Start and end, and clients that come and go.
    pub lives: Vec<Life>,
    /// Servers that could not be had, and why.
    pub missing: Vec<String>,
}

/// What a server costs beside the calls.
#[derive(Debug, Serialize)]
pub struct Life {
    /// Which server.
    pub entrant: String,
    /// From its start to its first answer, and its memory then.
    pub start_up: Option<StartUp>,
    /// Clients that connect, mount, call GETATTR ten times and disconnect.
    pub churn: Option<ChurnMeasurement>,
    /// A quiet client beside one that floods.
    pub neighbours: Option<NeighboursMeasurement>,
    /// What could not be measured.
    pub failures: Vec<String>,
}

type Servers = Vec<(&'static str, Peer)>;

/// What is asked of holm in a case.
enum Goal {
    /// So many times the operations of Ganesha.
    Times(f64),
    /// The same, for at most such a part of its CPU time.
    TimesFor(f64, f64),
    /// So many times the changes of threads without a server.
    TimesAlone(f64),
    /// At most so many microseconds for half of the calls.
    Median(f64),
}

/// Directories are flushed when the kernel sees fit, by all servers; on a [file system](Disk) with a
/// journal.
const LAZY: &str = "create-remove, flushed lazily";
const HOLM: &str = "holm";
const GANESHA: &str = "NFS-Ganesha";
const NFS3_SERVER: &str = "cargo-nfs3-server";
const LIMIT: &str = "limit";

impl Figures {
    /// Starts the servers and measures them.
    ///
    /// # Errors
    ///
    /// If holm can't be started, or nothing is left to measure.
    pub fn run(&self, mut progress: impl FnMut(&str)) -> Result<FiguresMeasurement, Error> {
        let holm = Peer::holm(&self.directory, &self.holm)?;
        let (mut servers, mut missing) = self.start(&self.directory, holm);
        let cases = Case::all(&self.plan).into_iter().filter(|case| self.wants(&case.name));
        let cases: Vec<_> = cases.collect();
        let alone = Alone::below(&self.directory)?;
        let mut comparison = if cases.is_empty() {
            Comparison { entrants: Vec::new(), cases: Vec::new() }
        } else {
            compare(&entrants(&servers), &cases, self.rounds, Some(&alone), &mut progress)?
        };
        if self.wants(LAZY) {
            match Disk::below(&self.directory) {
                Ok(disk) => comparison.cases.extend(self.lazily(&disk, &mut progress)?),
                Err(error) => missing.push(format!("{LAZY}: {error}")),
            }
        }
        let lives = servers.iter_mut().map(|(name, peer)| self.live(name, peer, &mut progress));
        Ok(FiguresMeasurement { comparison, lives: lives.collect(), missing })
    }

    fn lazily(
        &self,
        disk: &Disk,
        progress: &mut impl FnMut(&str),
    ) -> Result<Vec<CaseResult>, Error> {
        let holm = Peer::holm_lazy(disk.path(), &self.holm)?;
        let (servers, _) = self.start(disk.path(), holm);
        let (name, load) = (LAZY.to_owned(), Load::new(Workload::CreateRemove));
        let case = Case { name, load, plan: self.plan.clone() };
        Ok(compare(&entrants(&servers), &[case], self.rounds, None, progress)?.cases)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Starts the others, with directories below `at`. Ganesha first: ratios are to it.
    fn start(&self, at: &Path, holm: Peer) -> (Servers, Vec<String>) {
        let mut servers = Vec::new();
        let mut missing = Vec::new();
        let mut add = |name, peer: Result<Peer, Error>| match peer {
            Ok(peer) => servers.push((name, peer)),
            Err(error) => missing.push(format!("{name}: {error}")),
        };
        add(GANESHA, Peer::ganesha(at));
        add(HOLM, Ok(holm));
        add(NFS3_SERVER, Peer::nfs3_server(at, self.install_root.as_deref()));
        add(LIMIT, Peer::limit(at, &self.own));
        (servers, missing)
    }

    fn live(&self, name: &str, peer: &mut Peer, progress: &mut impl FnMut(&str)) -> Life {
        let mut life = Life {
            entrant: name.to_owned(),
            start_up: None,
            churn: None,
            neighbours: None,
            failures: Vec::new(),
        };
        if self.wants("churn") {
            progress(&format!("clients that come and go, {name}"));
            let duration = self.plan.duration;
            let churn = Churn { duration, server: Some(peer.process()), ..Churn::default() };
            life.churn = life.keep(churn.run(peer.target()));
        }
        if self.wants("neighbours") {
            progress(&format!("a quiet client beside a flood, {name}"));
            life.neighbours = life.keep(self.neighbours(name, peer));
        }
        if self.wants("start") {
            progress(&format!("starts, {name}"));
            life.start_up = life.keep(peer.start_up(STARTS));
        }
        life
    }

    /// holm serves the two as different tenants; the others have no such thing. The clients stand for
    /// other machines, so the server gets CPUs of its own, and is started there to know how many.
    fn neighbours(&self, name: &str, peer: &mut Peer) -> Result<NeighboursMeasurement, Error> {
        let cpus = Cpus::divide()?;
        let bound = bind_thread(&cpus.server)?;
        let tenants = match name {
            HOLM => Some(Peer::holm_with_two_tenants(&self.directory, &self.holm)?),
            _ => {
                peer.start_up(1)?;
                None
            }
        };
        drop(bound);
        let (quiet, flooded, server) = match &tenants {
            Some((peer, second)) => (peer.target(), second, peer.process()),
            None => (peer.target(), peer.target(), peer.process()),
        };
        let Plan { warm_up, duration, .. } = self.plan;
        let (connections, server) = (64, Some(server));
        Neighbours {
            quiet: quiet.clone(),
            flooded: flooded.clone(),
            load: Load::new(Workload::Getattr),
            plan: Plan { connections, warm_up, duration, server, ..Plan::default() },
            interval: Duration::from_millis(1),
            rounds: self.rounds,
            apart: Some(cpus.clients),
        }
        .run()
    }
}

const STARTS: usize = 15;

fn entrants(servers: &Servers) -> Vec<Entrant> {
    let entrant = |(name, peer): &(&str, Peer)| Entrant {
        name: (*name).to_owned(),
        target: peer.target().clone(),
        process: Some(peer.process()),
    };
    servers.iter().map(entrant).collect()
}

impl Life {
    fn has_anything(&self) -> bool {
        self.start_up.is_some() || self.churn.is_some() || self.neighbours.is_some()
    }

    fn keep<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        outcome.map_err(|error| self.failures.push(error.to_string())).ok()
    }
}

impl FiguresMeasurement {
    /// All of it as tables (Markdown).
    pub fn tables(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if !self.comparison.cases.is_empty() {
            self.write_cases(out)?;
        }
        if self.lives.iter().any(Life::has_anything) {
            writeln!(out)?;
            self.write_lives(out)?;
        }
        let failures = self.comparison.cases.iter().flat_map(|case| {
            case.results.iter().flat_map(|result| {
                let errors = result.rounds.iter().flat_map(|round| &round.errors);
                let errors = errors.map(|(error, count)| format!("{count} x {error}"));
                let all = errors.chain(result.failures.iter().cloned());
                all.map(|what| format!("{}, {}: {what}", case.name, result.entrant))
            })
        });
        let lives = self.lives.iter().flat_map(|life| {
            life.failures.iter().map(|failure| format!("{}: {failure}", life.entrant))
        });
        let missing = self.missing.iter().map(|missing| format!("without {missing}"));
        for note in failures.chain(lives).chain(missing) {
            writeln!(out, "\n{note}")?;
        }
        Ok(())
    }

    fn write_cases(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "| workload | {GANESHA} | {NFS3_SERVER} | {LIMIT} | no server | {HOLM} \
             | of Ganesha's rate | of its CPU | goal | |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"
        )?;
        for case in &self.comparison.cases {
            let of = |name: &str| {
                case.results.iter().find(|result| result.entrant == name)?.median.as_ref()
            };
            let cell = |name| of(name).map_or_else(|| "-".to_owned(), |it| figure(it, &case.name));
            let rate = ratio(of(HOLM), of(GANESHA), |it| Some(it.ops_per_s));
            let cpu = ratio(of(HOLM), of(GANESHA), |it| it.server_us_per_op);
            let (goal, met) = match goal(&case.name) {
                Some(goal) => (goal.to_string(), goal.judge(rate, cpu, of(HOLM), case.alone)),
                None => Default::default(),
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {goal} | {met} |",
                case.name,
                cell(GANESHA),
                cell(NFS3_SERVER),
                cell(LIMIT),
                case.alone.map_or_else(|| "-".to_owned(), per_second),
                cell(HOLM),
                optional(rate),
                optional(cpu),
            )?;
        }
        Ok(())
    }

    fn write_lives(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "| server | first answer, ms | idle memory, MiB | sessions/s | CPU of one, us \
             | p99 alone, us | beside a flood | ratio |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
        for life in &self.lives {
            let start = life.start_up.as_ref();
            let churn = life.churn.as_ref();
            let beside = life.neighbours.as_ref();
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                life.entrant,
                optional(start.map(|it| it.first_answer_ms)),
                optional(start.and_then(|it| Some(it.memory_kib? as f64 / 1024.0))),
                optional(churn.map(|it| it.sessions_per_s)),
                optional(churn.and_then(|it| it.server_us_per_session)),
                optional(beside.map(|it| it.alone.p99_us)),
                optional(beside.map(|it| it.beside.p99_us)),
                optional(beside.map(|it| it.p99_ratio)),
            )?;
        }
        Ok(())
    }
}

/// What a case is about: latency where there is one call at a time, bytes where they are many,
/// otherwise calls.
fn figure(median: &Medians, case: &str) -> String {
    if case.contains(PINNED) {
        return format!("p50 {} us", rounded(median.p50_us));
    }
    if let Some(cost) = median.server_s_per_gb
        && let Some(Goal::TimesFor(..)) = goal(case)
    {
        return format!("{} GB/s, {} s/GB", rounded(median.mb_per_s / 1e3), rounded(cost));
    }
    let rate = per_second(median.ops_per_s);
    median.server_us_per_op.map_or(rate.clone(), |cost| format!("{rate}, {} us", rounded(cost)))
}

fn per_second(ops: f64) -> String {
    match ops {
        10_000.0.. => format!("{}k/s", rounded(ops / 1e3)),
        _ => format!("{}/s", rounded(ops)),
    }
}

const PINNED: &str = "1 x 1";

fn goal(case: &str) -> Option<Goal> {
    Some(match case {
        "null" => Goal::Times(15.0),
        "getattr" => Goal::Times(10.0),
        "lookup" => Goal::Times(8.0),
        "read-random" => Goal::Times(6.0),
        "read-sequential" | "write-unstable" => Goal::TimesFor(1.6, 0.6),
        "write-sync" => Goal::Times(1.2),
        "create-remove" => Goal::TimesAlone(0.8),
        LAZY => Goal::Times(4.0),
        "readdirplus" | "mixed" => Goal::Times(5.0),
        "getattr, 1000 x 1" => Goal::Times(2.5),
        "getattr, 1 x 1 on one CPU" => Goal::Median(18.0),
        "read-random, 1 x 1 on one CPU" => Goal::Median(19.0),
        _ => return None,
    })
}

impl Goal {
    fn judge(
        &self,
        rate: Option<f64>,
        cpu: Option<f64>,
        holm: Option<&Medians>,
        alone: Option<f64>,
    ) -> &'static str {
        let met = match *self {
            Self::Times(times) => rate.map(|rate| rate >= times),
            Self::TimesFor(times, part) => {
                rate.zip(cpu).map(|(rate, cpu)| rate >= times && cpu <= part)
            }
            Self::TimesAlone(times) => {
                holm.zip(alone).map(|(holm, alone)| holm.ops_per_s >= times * alone)
            }
            Self::Median(most) => holm.map(|holm| holm.p50_us <= most),
        };
        match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::TimesFor(times, part) => write!(f, "{times}x for {part}x CPU"),
            Self::TimesAlone(times) => write!(f, "{times}x no server"),
            Self::Median(most) => write!(f, "at most {most} us"),
        }
    }
}

fn ratio(
    of: Option<&Medians>,
    to: Option<&Medians>,
    figure: impl Fn(&Medians) -> Option<f64>,
) -> Option<f64> {
    let (of, to) = (figure(of?)?, figure(to?)?);
    (to > 0.0).then_some(of / to)
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_can_be_missed() {
        let holm = Medians {
            ops_per_s: 1e5,
            ratio: None,
            mb_per_s: 0.0,
            p50_us: 18.5,
            p99_us: 30.0,
            p999_us: 40.0,
            server_us_per_op: None,
            server_s_per_gb: None,
            client_us_per_op: 1.0,
            errors: 0,
        };
        let plan = Plan::default();
        let goals: Vec<Goal> = Case::all(&plan).iter().filter_map(|c| goal(&c.name)).collect();
        assert_eq!(goals.len(), Case::all(&plan).len());
        for goal in goals {
            assert_eq!(
                goal.judge(Some(1.1), Some(0.7), Some(&holm), Some(2e5)),
                match goal {
                    Goal::Median(most) if most > 18.5 => "met",
                    _ => "MISSED",
                }
            );
            let fast = Medians { p50_us: 1.0, ..holm };
            assert_eq!(goal.judge(Some(20.0), Some(0.1), Some(&fast), Some(1e5)), "met");
            assert_eq!(goal.judge(None, None, None, None), "");
        }
    }
}
