//! holm by interfaces of its own, beside holm by the kernel's loopback.

use crate::{Case, Comparison, Entrant, Error, Load, Peer, Plan, Workload, compare};
use std::path::PathBuf;
use std::process::Command;

/// What is compared, and how long.
#[derive(Debug, Clone)]
pub struct Links {
    /// holm's program.
    pub holm: PathBuf,
    /// Where it gets its directories.
    pub directory: PathBuf,
    /// Rounds of each case.
    pub rounds: usize,
    /// Connections, depth and time of most cases.
    pub plan: Plan,
    /// Parts of names: only such cases. All if there is none.
    pub only: Vec<String>,
}

impl Links {
    /// Starts holm and measures it, with the kernel as its client: at the kernel's loopback, and over
    /// taps with the largest and with the usual MTU. It makes interfaces and gives them addresses, so it
    /// wants root and a network namespace of the kernel that nobody else is in.
    ///
    /// # Errors
    ///
    /// If holm or an interface can't be had.
    pub fn run(&self, progress: impl FnMut(&str)) -> Result<Comparison, Error> {
        ip("link set lo up")?;
        let (peer, [loopback, large, usual]) =
            Peer::holm_with_taps(&self.directory, &self.holm, TAPS)?;
        let entrants = [
            ("the kernel's loopback", loopback),
            ("a tap, MTU 65521", large),
            ("a tap, MTU 1500", usual),
        ]
        .map(|(name, target)| Entrant {
            name: name.to_owned(),
            target,
            process: Some(peer.process()),
        });
        for tap in TAPS {
            ip(&format!("addr add {}/24 dev {}", tap.theirs, tap.name))?;
        }
        compare(&entrants, &self.cases(), self.rounds, None, progress)
    }

    fn cases(&self) -> Vec<Case> {
        let lone = Plan { connections: 1, depth: 1, pin: Some(0), ..self.plan.clone() };
        let case = |name: &str, workload, plan: &Plan| Case {
            name: name.to_owned(),
            load: Load::new(workload),
            plan: plan.clone(),
        };
        let mut cases = vec![
            case("getattr", Workload::Getattr, &self.plan),
            case("read-sequential", Workload::ReadSequential, &self.plan),
            case("write-unstable", Workload::WriteUnstable, &self.plan),
            case("getattr, 1 x 1 on one CPU", Workload::Getattr, &lone),
        ];
        let wants = |case: &Case| self.only.iter().any(|part| case.name.contains(part.as_str()));
        cases.retain(|case| self.only.is_empty() || wants(case));
        cases
    }
}

/// A tap that holm makes, and the addresses of its two ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) name: &'static str,
    pub(crate) mtu: usize,
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
}

const TAPS: [Tap; 2] = [
    Tap { name: "holm-large", mtu: 65_521, ours: "10.0.1.1", theirs: "10.0.1.2" },
    Tap { name: "holm-usual", mtu: 1500, ours: "10.0.2.1", theirs: "10.0.2.2" },
];

fn ip(arguments: &str) -> Result<(), Error> {
    let attempt = || format!("ip {arguments}");
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(Error::io(attempt()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Unavailable(format!("{}: {}", attempt(), said.trim())))
}
