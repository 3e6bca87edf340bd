//! How soon many namespaces are ready, and what each of them costs.
//!
//! `cargo bench -p holm --bench tenants -- [COUNT]`

#[path = "../../netns/tests/support/counting.rs"]
mod counting;

use counting::{Counting, allocated};
use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
use holm::server::{Change, Options, Server};
use holm_lifetime::Deadline;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::net::TcpStream;
use std::time::Instant;
use tempfile::TempDir;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let count: u32 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(10_000);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
    // A listener by TCP, and a directory if the system lets us have as many descriptors.
    let exported = limit.maximum.is_none_or(|most| most > 2 * u64::from(count) + 100);
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("files");
    fs::create_dir(&dir).expect("a directory");
    let spec = |n: u32| NamespaceSpec {
        name: format!("tenant-{n}"),
        export: exported.then(|| ExportSpec::new("/", &dir)).into_iter().collect(),
        listen: vec![ListenSpec {
            udp: false,
            ..ListenSpec::new("127.0.0.1:0".parse().expect("an address"))
        }],
        ..NamespaceSpec::default()
    };
    let server = Server::start(Options::new(folder.path().join("state"))).expect("a server");
    for (how, batch) in [("in one batch", count), ("one by one", 1)] {
        let (before, began) = (allocated(), Instant::now());
        for first in (0..count).step_by(batch as usize) {
            let batch = (first..first + batch).map(|n| Change::Add(spec(n))).collect();
            server.apply(batch).expect("added");
        }
        let took = began.elapsed();
        let each = (allocated() - before) / count as isize;
        let last = server.listeners(&format!("tenant-{}", count - 1)).expect("it is there");
        TcpStream::connect(last[0].local).expect("it is served");
        let began = Instant::now();
        let names = (0..count).map(|n| Change::Remove(format!("tenant-{n}")));
        server.apply(names.collect()).expect("removed");
        while !server.namespaces().is_empty() {
            std::thread::yield_now();
        }
        let with = if exported { "a listener and an export" } else { "a listener" };
        println!(
            "{count} namespaces with {with} each, {how}: ready in {:.3} s, {each} bytes each, gone in {:.3} s",
            took.as_secs_f64(),
            began.elapsed().as_secs_f64(),
        );
    }
    server.stop(Deadline::Never).expect("nothing is held");
}
