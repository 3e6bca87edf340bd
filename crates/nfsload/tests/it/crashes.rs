//! A journal tells what a server must still have.

use crate::{limit, plan, target};
use holm_nfsload::{Client, Content, Integrity, LimitServer, Promise, Target, check};
use std::path::PathBuf;
use tempfile::TempDir;

const SMALL: Integrity = Integrity { files: 2, blocks: 16, block: 4096 };

struct Written {
    server: LimitServer,
    journal: PathBuf,
    _directory: TempDir,
}

fn written() -> Written {
    let server = limit(Content::Kept);
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let verdict = SMALL.run(&target(&server), &plan(2, 4), Some(&journal)).unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    Written { server, journal, _directory: directory }
}

/// The first file of a journal.
fn file(target: &Target, journal: &PathBuf) -> (Client, Vec<u8>) {
    let text = std::fs::read_to_string(journal).unwrap();
    let key: u64 = text.split(' ').nth(2).unwrap().parse().unwrap();
    let root = Client::mount(target).unwrap();
    let mut client = Client::nfs(target).unwrap();
    let name = format!("integrity-{key:016x}");
    let (directory, _) = client.lookup(&root, &name).unwrap().unwrap();
    let (file, _) = client.lookup(&directory, "file-000000").unwrap().unwrap();
    (client, file)
}

#[test]
fn a_server_that_kept_everything_is_right() {
    let Written { server, journal, .. } = &written();
    for promise in [Promise::Durable, Promise::Acknowledged] {
        let verdict = check(&target(server), journal, promise).unwrap();
        assert!(verdict.is_good() && verdict.blocks == 32, "{verdict:?}");
    }
    // And it goes on from there.
    let verdict = SMALL.run(&target(server), &plan(2, 4), Some(journal)).unwrap();
    assert!(verdict.is_good(), "{verdict:?}");
    assert!(check(&target(server), journal, Promise::Durable).unwrap().is_good());
}

#[test]
fn what_was_acknowledged_and_is_gone_is_named_exactly() {
    let Written { server, journal, .. } = &written();
    let target = target(server);
    let (mut client, file) = file(&target, journal);
    client.write(&file, 3 * 4096 + 512, 2, &[0; 1024]).unwrap();
    let verdict = check(&target, journal, Promise::Durable).unwrap();
    assert_eq!(verdict.damaged, 1, "{verdict:?}");
    let damage = &verdict.damage[0];
    assert!(damage.starts_with("file 0, offset 12800, 1024 bytes"), "{damage}");
    assert!(damage.ends_with("found zeros"), "{damage}");
}

#[test]
fn an_earlier_generation_is_a_lost_write() {
    let server = limit(Content::Kept);
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    SMALL.run(&target(&server), &plan(2, 4), Some(&journal)).unwrap();
    let target = target(&server);
    let (mut client, file) = file(&target, &journal);
    let before = client.read(&file, 0, 4096).unwrap().to_vec();
    // Until the block was written again.
    let mut rounds = 0;
    while client.read(&file, 0, 4096).unwrap() == before {
        SMALL.run(&target, &plan(2, 4), Some(&journal)).unwrap();
        rounds += 1;
        assert!(rounds < 20);
    }
    client.write(&file, 0, 2, &before).unwrap();
    let verdict = check(&target, &journal, Promise::Durable).unwrap();
    assert_eq!(verdict.damaged, 1, "{verdict:?}");
    assert!(verdict.damage[0].contains("found generation"), "{verdict:?}");
}

#[test]
fn an_empty_server_lost_everything() {
    let Written { journal, .. } = &written();
    let other = limit(Content::Kept);
    let verdict = check(&target(&other), journal, Promise::Durable).unwrap();
    assert_eq!(verdict.damaged, 32);
    assert_eq!(verdict.damage, ["file 0 is missing", "file 1 is missing"]);
}
