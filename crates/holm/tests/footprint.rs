//! What a namespace costs that nobody uses. In a process of its own, which counts its memory.

#[path = "../../netns/tests/support/counting.rs"]
mod counting;

use counting::{Counting, allocated};
use holm::model::{ExportSpec, ListenSpec, LocalSpec, NamespaceSpec};
use holm::server::{Change, Options, Server};
use holm_lifetime::Deadline;
use std::fs;
use tempfile::TempDir;

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn idle_namespace_with_a_listener_is_small() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("files");
    fs::create_dir(&dir).unwrap();
    let server = Server::start(Options::new(folder.path().join("state"))).unwrap();
    let add = |name: String, users: &[u32]| {
        let socket = folder.path().join(format!("{name}.sock"));
        let users = users.iter().copied().collect();
        Change::Add(NamespaceSpec {
            local: LocalSpec { users, socket: Some(socket), ..LocalSpec::default() },
            name,
            export: vec![ExportSpec::new("/", &dir)],
            listen: vec![ListenSpec::new("127.0.0.1:0".parse().unwrap())],
            ..NamespaceSpec::default()
        })
    };
    // What is needed once, and what grows in steps.
    server.apply((0..100).map(|n| add(format!("first-{n}"), &[0])).collect()).unwrap();
    let count = 400;
    for (kind, users) in [("without", &[][..]), ("with", &[0])] {
        let before = allocated();
        let all = (0..count).map(|n| add(format!("{kind}-{n}"), users)).collect();
        server.apply(all).unwrap();
        let each = (allocated() - before) / count;
        println!("{each} bytes for each namespace {kind} a door");
        assert!(each <= 16 << 10, "{each} bytes for each namespace {kind} a door");
    }
    server.stop(Deadline::Never).unwrap();
}
