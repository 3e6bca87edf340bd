//! Every workload runs, without an error, in every shape.

use crate::{limit, plan, target};
use holm_nfsload::{
    Alone, Case, Churn, Content, Entrant, Load, Neighbours, Plan, Process, Workload, compare,
};
use std::time::Duration;

fn small(workload: Workload) -> Load {
    let needs_all = matches!(workload, Workload::Readdirplus);
    Load {
        files: Some(if needs_all { 100 } else { 4 }),
        size: Some(1 << 20),
        block: None,
        listing: 4096,
        ..Load::new(workload)
    }
}

#[test]
fn every_workload_runs() {
    let server = limit(Content::Canned);
    for workload in Workload::ALL {
        for (connections, depth) in [(1, 1), (3, 5), (20, 1)] {
            let measurement =
                small(workload).run(&target(&server), &plan(connections, depth)).unwrap();
            let what = format!("{workload:?}, {connections} x {depth}: {measurement:?}");
            assert!(measurement.operations > 0, "{what}");
            assert!(measurement.errors.is_empty(), "{what}");
            assert!(measurement.latency.p50_us <= measurement.latency.p999_us, "{what}");
        }
    }
}

#[test]
fn what_is_read_is_verified() {
    let server = limit(Content::Kept);
    for workload in [Workload::ReadRandom, Workload::ReadSequential, Workload::Mixed] {
        let load = Load { verify: true, ..small(workload) };
        let measurement = load.run(&target(&server), &plan(2, 4)).unwrap();
        assert!(measurement.operations > 0 && measurement.bytes_moved(), "{measurement:?}");
        assert!(measurement.errors.is_empty(), "{measurement:?}");
    }
    // The canned bytes are those of nobody.
    let server = limit(Content::Canned);
    let load = Load { verify: true, ..small(Workload::ReadRandom) };
    let measurement = load.run(&target(&server), &plan(1, 1)).unwrap();
    assert_eq!(measurement.operations, 0);
    assert!(measurement.errors.keys().any(|error| error.contains("wrong data")));
}

trait BytesMoved {
    fn bytes_moved(&self) -> bool;
}

impl BytesMoved for holm_nfsload::Measurement {
    fn bytes_moved(&self) -> bool {
        self.mb_per_s > 0.0
    }
}

#[test]
fn servers_take_turns() {
    let servers = [limit(Content::Canned), limit(Content::Canned)];
    let entrants: Vec<_> = servers
        .iter()
        .zip(["one", "two"])
        .map(|(server, name)| Entrant {
            name: name.to_owned(),
            target: target(server),
            process: Some(Process::current()),
        })
        .collect();
    let plan = plan(2, 4);
    let load = small(Workload::Getattr);
    let cases = [Case { name: "getattr".to_owned(), load, plan }];
    let mut turns = Vec::new();
    let report = compare(&entrants, &cases, 3, None, |what| turns.push(what.to_owned())).unwrap();
    assert_eq!(turns.len(), 6);
    assert!(turns[0].ends_with("one") && turns[1].ends_with("two"), "{turns:?}");
    let [one, two] = &report.cases[0].results[..] else { panic!("two entrants") };
    assert_eq!(one.median.unwrap().ratio, Some(1.0));
    assert!(two.median.unwrap().ops_per_s > 0.0);
    let table = report.table();
    assert_eq!(table.lines().filter(|line| line.starts_with("| getattr |")).count(), 2, "{table}");
}

#[test]
fn a_file_system_without_a_server_is_measured_where_changes_have_to_be_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let alone = Alone::below(directory.path()).unwrap();
    let plan = plan(1, 2);
    // The second time it finds what the first has left.
    for _ in 0..2 {
        for workload in [Workload::CreateRemove, Workload::WriteSync] {
            assert!(alone.run(workload, &plan).unwrap().is_some(), "{workload:?}");
        }
    }
    assert_eq!(alone.run(Workload::Getattr, &plan).unwrap(), None);
    drop(alone);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn clients_come_and_go() {
    let server = limit(Content::Canned);
    let duration = Duration::from_millis(200);
    let churn = Churn { duration, workers: 2, server: Some(Process::current()), calls: 10 };
    let measurement = churn.run(&target(&server)).unwrap();
    assert!(measurement.sessions_per_s > 0.0);
    assert!(measurement.errors.is_empty(), "{measurement:?}");
}

#[test]
fn a_quiet_client_beside_a_flooding_one() {
    let server = limit(Content::Canned);
    let neighbours = Neighbours {
        quiet: target(&server),
        flooded: target(&server),
        load: small(Workload::Getattr),
        plan: Plan { pin: None, ..plan(8, 4) },
        interval: Duration::from_millis(1),
        rounds: 2,
        apart: None,
    };
    let measurement = neighbours.run().unwrap();
    assert!(measurement.alone.p99_us > 0.0 && measurement.beside.p99_us > 0.0);
    assert!(measurement.flood.operations > 0);
    assert!(measurement.errors.is_empty(), "{measurement:?}");
}
