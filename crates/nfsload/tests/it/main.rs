//! The load generator against servers that are right, and servers that are wrong.

mod crashes;
mod faults;
mod ganesha;
mod proxy;
mod workloads;

use holm_nfsload::{Content, LimitOptions, LimitServer, Plan, Target};
use std::time::Duration;

/// A small limit server.
fn limit(content: Content) -> LimitServer {
    let options = LimitOptions { size: 1 << 20, entries: 100, content, ..LimitOptions::default() };
    LimitServer::start(&options).unwrap()
}

fn target(server: &LimitServer) -> Target {
    Target::new(server.address(), "/")
}

fn plan(connections: usize, depth: usize) -> Plan {
    Plan {
        connections,
        depth,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(150),
        // A reply that takes so long is lost, on the slowest of machines.
        patience: Duration::from_secs(120),
        ..Plan::default()
    }
}
