//! Against a real server, where it is installed and we are root.

use crate::plan;
use holm_nfsload::{Churn, Error, Integrity, Load, Peer, Workload};
use std::time::Duration;

#[test]
fn ganesha_runs_every_workload() {
    let directory = tempfile::tempdir().unwrap();
    let peer = match Peer::ganesha(directory.path()) {
        Ok(peer) => peer,
        Err(Error::Unavailable(why)) => {
            eprintln!("skipped: {why}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let target = peer.target();
    let patience = Duration::from_secs(20);
    for workload in Workload::ALL {
        let load = Load {
            files: (workload != Workload::WriteSync).then_some(10),
            size: Some(1 << 20),
            verify: true,
            ..Load::new(workload)
        };
        let plan = holm_nfsload::Plan { patience, server: Some(peer.process()), ..plan(2, 4) };
        let measurement = load.run(target, &plan).unwrap();
        assert!(measurement.operations > 0, "{workload:?}: {measurement:?}");
        assert!(measurement.errors.is_empty(), "{workload:?}: {measurement:?}");
    }
    let plan = holm_nfsload::Plan { patience, ..plan(2, 4) };
    let journal = directory.path().join("journal");
    let small = Integrity { files: 2, blocks: 16, block: 4096 };
    let verdict = small.run(target, &plan, Some(&journal)).unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    let churn = Churn { duration: Duration::from_millis(200), workers: 2, ..Churn::default() };
    assert!(churn.run(target).unwrap().errors.is_empty());
}
