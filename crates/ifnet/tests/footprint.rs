//! What a namespace takes that has interfaces and does nothing. A process of its own, because it counts
//! all that is allocated.
#![cfg(not(any(shuttle, loom)))]

#[path = "../../netns/tests/support/counting.rs"]
mod counting;

use holm_ifnet::aggregation::{LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::stack::StackSubsystem;
use holm_ifnet::{IfnetSubsystem, NewInterface, Request};
use holm_lifetime::Deadline;
use holm_netns::Registry;
use holm_pool::{Config, Pool};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const NAMESPACES: usize = 1000;
/// Of the 64 KiB that an idle namespace may take with all it has.
const MOST: usize = 16 << 10;
const MOST_WITH_STACKS: usize = 32 << 10;

fn main() {
    let pool = Pool::start(Config { workers: 1, ..Config::default() }).unwrap();
    let registry = Registry::new().unwrap();
    registry.register(pool.subsystem()).unwrap();
    let chain = IfnetSubsystem::register(&registry).unwrap();
    let hub = registry.create("hub").unwrap();
    let inside = hub.enter().unwrap();
    let ports = inside.get::<IfnetSubsystem>().unwrap();

    let before = counting::allocated();
    let all: Vec<_> =
        (0..NAMESPACES).map(|n| registry.create(&*format!("n{n}")).unwrap()).collect();
    let bare = each(before);
    for ns in &all {
        let inside = ns.enter().unwrap();
        let interfaces = inside.get::<IfnetSubsystem>().unwrap();
        let (end, _) = interfaces
            .create_pair(NewInterface::default(), ports, NewInterface::default())
            .unwrap();
        for request in [
            Request::SetUp(true),
            Request::AddAddress("10.0.0.1/24".parse().unwrap()),
            Request::AddAddress("fd00::1/64".parse().unwrap()),
        ] {
            interfaces.request(end.name(), &request).unwrap();
        }
    }
    let with_pair = each(before);
    for ns in &all {
        let inside = ns.enter().unwrap();
        let interfaces = inside.get::<IfnetSubsystem>().unwrap();
        let new = NewInterface::default();
        let lagg = interfaces.create(new, NewLagg::default()).unwrap().name();
        let ports = interfaces.create_pair(new, interfaces, new).unwrap();
        for port in [&ports.0, &ports.1] {
            let add = Request::Lagg(LaggRequest::AddPort(port.name()));
            interfaces.request(lagg, &add).unwrap();
        }
        let lacp = Request::Lagg(LaggRequest::SetProtocol(Protocol::Lacp));
        interfaces.request(lagg, &lacp).unwrap();
    }
    let with_lagg = each(before);
    println!(
        "a namespace takes {bare} bytes with lo, {with_pair} with both ends of a pair as well, and \
         {with_lagg} with a lagg of two ports besides"
    );
    assert!(with_lagg <= MOST, "more than {MOST}");
    StackSubsystem::register(&registry, &chain).unwrap();
    let services: Vec<_> = all
        .iter()
        .map(|ns| {
            let inside = ns.enter().unwrap();
            let stacks = inside.get::<StackSubsystem>().unwrap();
            [111, 2049].map(|port| stacks.listen(port, drop).unwrap())
        })
        .collect();
    let with_stacks = each(before);
    println!("and {with_stacks} with a stack for lo and one for the pair");
    assert!(with_stacks <= MOST_WITH_STACKS, "more than {MOST_WITH_STACKS}");
    drop(services);
    drop(inside);
    registry.remove_all(Deadline::Never).unwrap();
    pool.stop();
}

fn each(before: isize) -> usize {
    (counting::allocated() - before).unsigned_abs() / NAMESPACES
}
