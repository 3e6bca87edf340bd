//! Several servers in one run, in rounds that take turns, so that a disturbance hits all alike.

use crate::{Alone, Error, Load, Measurement, Plan, Process, Target, Workload};
use serde::Serialize;
use std::fmt::Write;

/// A server that takes part.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// What it is called in the report.
    pub name: String,
    /// What is measured.
    pub target: Target,
    /// Its process, to know what it costs.
    pub process: Option<Process>,
}

/// A line of the report: a workload on so many connections.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// What is called.
    pub load: Load,
    /// Connections and depth; whether everything is bound to one CPU.
    pub plan: Plan,
}

impl Case {
    /// The cases that the project's goals are about.
    pub fn all(plan: &Plan) -> Vec<Self> {
        let many = |workload: Workload| Self {
            name: workload.name(),
            load: Load::new(workload),
            plan: plan.clone(),
        };
        let lone = Plan { connections: 1, depth: 1, pin: Some(0), ..plan.clone() };
        let pinned = |workload: Workload| Self {
            name: format!("{}, 1 x 1 on one CPU", workload.name()),
            load: Load::new(workload),
            plan: lone.clone(),
        };
        let mut cases: Vec<_> = Workload::ALL.into_iter().map(many).collect();
        cases.push(Self {
            name: "getattr, 1000 x 1".to_owned(),
            load: Load::new(Workload::Getattr),
            plan: Plan { connections: 1000, depth: 1, ..plan.clone() },
        });
        cases.extend([Workload::Getattr, Workload::ReadRandom].map(pinned));
        cases
    }
}

/// What was measured: for each case, for each entrant, the rounds.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Names of the entrants; ratios are to the first.
    pub entrants: Vec<String>,
    /// One per case.
    pub cases: Vec<CaseResult>,
}

/// The results of one case.
#[derive(Debug, Serialize)]
pub struct CaseResult {
    /// What it is called.
    pub name: String,
    /// One per entrant.
    pub results: Vec<EntrantResult>,
    /// Changes per second without a server, where that says something.
    pub alone: Option<f64>,
}

/// The results of one entrant in one case.
#[derive(Debug, Serialize)]
pub struct EntrantResult {
    /// Its name.
    pub entrant: String,
    /// Medians of the rounds that could be run.
    pub median: Option<Medians>,
    /// Every round.
    pub rounds: Vec<Measurement>,
    /// Why rounds could not be run.
    pub failures: Vec<String>,
}

/// The median of each figure.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Medians {
    /// Operations per second.
    pub ops_per_s: f64,
    /// The same, divided by that of the first entrant.
    pub ratio: Option<f64>,
    /// 10⁶ bytes per second.
    pub mb_per_s: f64,
    /// Latencies in microseconds.
    pub p50_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
    /// All but one in a thousand.
    pub p999_us: f64,
    /// CPU time of the server for one operation.
    pub server_us_per_op: Option<f64>,
    /// CPU time of the server for 10⁹ bytes.
    pub server_s_per_gb: Option<f64>,
    /// CPU time of the client for one operation.
    pub client_us_per_op: f64,
    /// Errors of all rounds.
    pub errors: u64,
}

/// Runs all cases, each in `rounds` rounds in which the entrants take turns, and `alone` before them.
/// `progress` hears what is about to be measured.
pub fn compare(
    entrants: &[Entrant],
    cases: &[Case],
    rounds: usize,
    alone: Option<&Alone>,
    mut progress: impl FnMut(&str),
) -> Result<Comparison, Error> {
    if entrants.is_empty() || cases.is_empty() || rounds == 0 {
        return Err(Error::Invalid("nothing to compare".to_owned()));
    }
    let cases = cases.iter().map(|case| compare_case(entrants, case, rounds, alone, &mut progress));
    let cases = cases.collect::<Result<_, _>>()?;
    let entrants = entrants.iter().map(|entrant| entrant.name.clone()).collect();
    Ok(Comparison { entrants, cases })
}

fn compare_case(
    entrants: &[Entrant],
    case: &Case,
    rounds: usize,
    alone: Option<&Alone>,
    progress: &mut impl FnMut(&str),
) -> Result<CaseResult, Error> {
    let mut results: Vec<_> = entrants
        .iter()
        .map(|entrant| EntrantResult {
            entrant: entrant.name.clone(),
            median: None,
            rounds: Vec::new(),
            failures: Vec::new(),
        })
        .collect();
    let mut changes = Vec::new();
    for round in 1..=rounds {
        if let Some(alone) = alone {
            rustix::fs::sync();
            changes.extend(alone.run(case.load.workload, &case.plan)?);
        }
        for (entrant, result) in entrants.iter().zip(&mut results) {
            progress(&format!("{}: round {round} of {rounds}, {}", case.name, entrant.name));
            // Nobody's dirty pages are written in another's time.
            rustix::fs::sync();
            let plan = Plan { server: entrant.process, ..case.plan.clone() };
            match case.load.run(&entrant.target, &plan) {
                Ok(measurement) => result.rounds.push(measurement),
                Err(error) => result.failures.push(error.to_string()),
            }
        }
    }
    let first = median(&results[0].rounds, |round| Some(round.ops_per_s));
    for result in &mut results {
        result.median = medians(&result.rounds, first);
    }
    Ok(CaseResult { name: case.name.clone(), results, alone: middle(changes) })
}

fn medians(rounds: &[Measurement], first: Option<f64>) -> Option<Medians> {
    let of = |figure: fn(&Measurement) -> Option<f64>| median(rounds, figure);
    let ops_per_s = of(|round| Some(round.ops_per_s))?;
    Some(Medians {
        ops_per_s,
        ratio: first.filter(|first| *first > 0.0).map(|first| ops_per_s / first),
        mb_per_s: of(|round| Some(round.mb_per_s))?,
        p50_us: of(|round| Some(round.latency.p50_us))?,
        p99_us: of(|round| Some(round.latency.p99_us))?,
        p999_us: of(|round| Some(round.latency.p999_us))?,
        server_us_per_op: of(|round| Some(round.server?.us_per_op)),
        server_s_per_gb: of(|round| round.server?.s_per_gb),
        client_us_per_op: of(|round| Some(round.client.us_per_op))?,
        errors: rounds.iter().flat_map(|round| round.errors.values()).sum(),
    })
}

fn median(rounds: &[Measurement], figure: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
    middle(rounds.iter().filter_map(figure).collect())
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Comparison {
    /// The report as a table (Markdown), with what went wrong under it.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| workload | server | ops/s | ratio | MB/s | p50 us | p99 us | p99.9 us \
             | server us/op | server s/GB | client us/op | errors |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mut notes = String::new();
        for case in &self.cases {
            for result in &case.results {
                let row = result.median.map_or_else(|| " - |".repeat(10), row);
                // Writing to a string does not fail.
                let _ = writeln!(out, "| {} | {} |{row}", case.name, result.entrant);
                let errors = result.rounds.iter().flat_map(|round| &round.errors);
                let errors = errors.map(|(error, count)| format!("{count} x {error}"));
                for note in errors.chain(result.failures.iter().cloned()) {
                    let _ = write!(notes, "\n{}, {}: {note}", case.name, result.entrant);
                }
            }
        }
        if !notes.is_empty() {
            let _ = writeln!(out, "{notes}");
        }
        out
    }
}

fn row(median: Medians) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), rounded);
    let cells = [
        rounded(median.ops_per_s),
        number(median.ratio),
        if median.mb_per_s > 0.0 { rounded(median.mb_per_s) } else { "-".to_owned() },
        rounded(median.p50_us),
        rounded(median.p99_us),
        rounded(median.p999_us),
        number(median.server_us_per_op),
        number(median.server_s_per_gb),
        rounded(median.client_us_per_op),
        median.errors.to_string(),
    ];
    cells.iter().fold(String::new(), |row, cell| row + " " + cell + " |")
}

pub(crate) fn rounded(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
