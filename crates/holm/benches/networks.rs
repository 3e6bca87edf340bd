//! How soon many namespaces with networks of their own are there, what each of them costs, and whether
//! one is mounted as fast as if it were alone. `cargo bench -p holm --bench networks -- [COUNT] [--json]`

#[path = "../../netns/tests/support/counting.rs"]
mod counting;
#[path = "../tests/it/neighbour.rs"]
#[allow(dead_code)]
mod neighbour;
#[path = "../tests/it/world.rs"]
mod world;

use counting::{Counting, allocated};
use holm::model::{ExportSpec, LinkKind, LinkSpec, NamespaceSpec};
use holm::server::{Change, Server};
use holm_lifetime::Deadline;
use neighbour::Neighbour;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Instant;
use world::{World, stop};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count: u32 = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");

    let world = World::new();
    let server = world.server();
    let first = NamespaceSpec {
        link: vec![LinkSpec {
            path: Some(world.folder.path().join("first.sock")),
            addr: vec!["192.168.0.1/24".into()],
            ..LinkSpec::new("p0", LinkKind::Stream)
        }],
        ..served(&world, "first")
    };
    let hub = NamespaceSpec { name: "hub".into(), ..NamespaceSpec::default() };
    server.apply(vec![Change::Add(first), Change::Add(hub)]).expect("two namespaces");
    let alone = mount(&world);

    let specs: Vec<_> = (0..count).map(|n| Change::Add(spec(&world, n))).collect();
    let (before, began) = (allocated(), Instant::now());
    server.apply(specs).expect("added");
    let made = began.elapsed().as_secs_f64();
    let each = (allocated() - before) / count as isize;
    let beside = mount(&world);
    let began = Instant::now();
    remove(&server, count);
    let gone = began.elapsed().as_secs_f64();
    server.del_namespace("first", Deadline::Never).expect("nothing is held");
    server.del_namespace("hub", Deadline::Never).expect("nothing is held");
    stop(server);

    if words.iter().any(|word| word == "--json") {
        println!(
            "{{\"namespaces\":{count},\"made_s\":{made:.3},\"bytes_each\":{each},\
             \"gone_s\":{gone:.3},\"mount_alone_us\":{alone:.1},\"mount_beside_us\":{beside:.1}}}"
        );
    } else {
        println!(
            "{count} namespaces, each with lo, an end of a pair with an address, and NFS at it"
        );
        println!("  made in {made:.2} s, {each} bytes each, gone in {gone:.2} s");
        println!("  connecting to one and mounting: {beside:.0} us, and {alone:.0} us before them");
    }
}

/// A namespace that exports a directory which all share.
fn served(world: &World, name: &str) -> NamespaceSpec {
    let export = vec![ExportSpec::new("/", world.directory("files"))];
    NamespaceSpec { name: name.into(), export, ..NamespaceSpec::default() }
}

fn spec(world: &World, n: u32) -> NamespaceSpec {
    let link = LinkSpec {
        peer: Some(format!("t{n}")),
        peer_ns: Some("hub".into()),
        // The same for each: they don't see one another.
        addr: vec!["10.0.0.1/24".into()],
        ..LinkSpec::new("c0", LinkKind::Pair)
    };
    NamespaceSpec { link: vec![link], ..served(world, &name(n)) }
}

fn name(n: u32) -> String {
    format!("tenant-{n}")
}

/// Microseconds until a client has connected to the first namespace and mounted its export: the median.
fn mount(world: &World) -> f64 {
    let neighbour = Neighbour::at(&world.folder.path().join("first.sock"), "192.168.0.2/24", None);
    let mut times: Vec<f64> = (0..MOUNTS)
        .map(|_| {
            let began = Instant::now();
            neighbour.nfs("192.168.0.1:2049").mount("/").expect("an export");
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    neighbour.end();
    times.sort_by(f64::total_cmp);
    times[MOUNTS / 2]
}

fn remove(server: &Server, count: u32) {
    let names = (0..count).map(|n| Change::Remove(name(n)));
    server.apply(names.collect()).expect("removed");
    while server.namespaces().len() > 2 {
        std::thread::yield_now();
    }
}

const MOUNTS: usize = 101;
