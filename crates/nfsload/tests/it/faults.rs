//! What is wrong is found, and named.

use crate::proxy::{Damage, Proxy};
use crate::{limit, plan, target};
use holm_nfsload::{
    Client, Content, Integrity, Load, Measurement, Plan, Target, Verdict, Workload,
};
use std::time::Duration;

const SMALL: Integrity = Integrity { files: 2, blocks: 32, block: 4096 };

fn verify_through(damage: Damage) -> Verdict {
    let server = limit(Content::Kept);
    let proxy = Proxy::start(server.address(), damage, 3, 1);
    proxy.arm();
    // The one reply that never comes is waited for.
    let patience = match damage {
        Damage::WrongXid => Duration::from_millis(500),
        _ => plan(2, 4).patience,
    };
    let plan = Plan { patience, ..plan(2, 4) };
    SMALL.run(&Target::new(proxy.address, "/"), &plan, None).unwrap()
}

fn errors(verdict: &Verdict) -> Vec<&str> {
    let run: &Measurement = verdict.run.as_ref().unwrap();
    run.errors.keys().map(String::as_str).collect()
}

#[test]
fn a_right_server_is_found_right() {
    let server = limit(Content::Kept);
    let verdict = SMALL.run(&target(&server), &plan(2, 4), None).unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!(verdict.blocks, 64);
    assert!(verdict.run.unwrap().operations > 0);
}

#[test]
fn a_wrong_byte_is_found() {
    let verdict = verify_through(Damage::FlippedBit);
    let errors = errors(&verdict);
    assert_eq!(errors.len(), 1, "{verdict:?}");
    assert!(errors[0].contains("8 bytes") && errors[0].contains("nobody wrote"), "{errors:?}");
}

#[test]
fn a_truncated_reply_is_found() {
    let verdict = verify_through(Damage::Truncated);
    assert_eq!(errors(&verdict), ["READ: not as long as it says"]);
}

#[test]
fn a_wrong_xid_is_found() {
    let verdict = verify_through(Damage::WrongXid);
    let expected = ["rpc: no reply in time", "rpc: reply to an unknown xid"];
    assert_eq!(errors(&verdict), expected);
}

#[test]
fn a_lost_write_is_found() {
    let server = limit(Content::Kept);
    // Often enough that a later write does not hide every one.
    let proxy = Proxy::start(server.address(), Damage::LostWrite, 65, u32::MAX);
    proxy.arm();
    let target = Target::new(proxy.address, "/");
    let verdict = SMALL.run(&target, &plan(2, 4), None).unwrap();
    assert!(!verdict.is_good());
    let errors = errors(&verdict);
    let stale = |text: &&str| text.contains("found generation") || text.contains("found zeros");
    assert!(errors.iter().all(stale) && !(errors.is_empty() && verdict.damaged == 0), "{errors:?}");
}

#[test]
fn a_lost_connection_is_an_error() {
    let verdict = verify_through(Damage::Cut);
    assert!(!verdict.is_good());
    let errors = errors(&verdict);
    assert!(errors.iter().any(|error| error.starts_with("connection: ")), "{errors:?}");
    assert!(errors.contains(&"rpc: connection lost"), "{errors:?}");
}

#[test]
fn a_workload_that_verifies_finds_a_wrong_byte() {
    let server = limit(Content::Kept);
    let load = Load {
        size: Some(1 << 20),
        files: Some(1),
        verify: true,
        ..Load::new(Workload::ReadRandom)
    };
    load.run(&target(&server), &plan(1, 1)).unwrap();
    // Again and again: what is wrong while it warms up does not count.
    let proxy = Proxy::start(server.address(), Damage::FlippedBit, 3, u32::MAX);
    proxy.arm();
    let measurement = load.run(&Target::new(proxy.address, "/"), &plan(1, 4)).unwrap();
    assert!(!measurement.errors.is_empty(), "{measurement:?}");
    let wrong_data = |error: &String| error.contains("wrong data");
    assert!(measurement.errors.keys().all(wrong_data), "{measurement:?}");
}

#[test]
fn the_waiting_client_wants_its_own_reply() {
    let server = limit(Content::Kept);
    let proxy = Proxy::start(server.address(), Damage::WrongXid, 1, 1);
    let target = Target::new(proxy.address, "/");
    let root = Client::mount(&target).unwrap();
    let mut client = Client::nfs(&target).unwrap();
    let (file, _) = client.file(&root, "file").unwrap();
    client.write(&file, 0, 2, &[7; 8192]).unwrap();
    assert_eq!(client.read(&file, 0, 8192).unwrap(), [7; 8192]);
    proxy.arm();
    let error = client.read(&file, 0, 8192).unwrap_err().to_string();
    assert!(error.contains("another xid"), "{error}");
}
