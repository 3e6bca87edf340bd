//! A Linux machine with two bonds of two network cards each, and a tenant's laggs at the other end: when a
//! port goes, nothing is lost that is on its way to a file or from there, and no connection breaks.

use crate::running::Running;
use holm_guest::{Error, Guest, Network};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Size of the file, in MiB.
const FILE: u64 = 200;
/// Bytes that each port carries before one of them is pulled, and that the other one carries after that.
const PART: u64 = 20 << 20;

#[test]
fn linux_bonds_and_laggs_lose_ports_and_nothing_else() {
    let running = Running::start(
        r#"
        [ns.red]
        link = [{ name = "p0", type = "stream", path = "{}/p0.sock" },
                { name = "p1", type = "stream", path = "{}/p1.sock" },
                { name = "lagg0", type = "lagg", proto = "lacp", lacp = { fast = true },
                  ports = ["p0", "p1"], addr = ["10.0.0.1/24"] },
                { name = "q0", type = "stream", path = "{}/q0.sock", connect = true, mtu = 9000 },
                { name = "q1", type = "stream", path = "{}/q1.sock", connect = true, mtu = 9000 },
                { name = "lagg1", type = "lagg", proto = "failover", ports = ["q0", "q1"],
                  addr = ["10.1.0.1/24"] }]
        export = [{ path = "/", dir = "{}/red" }]
        "#,
    );
    // Root is squashed.
    fs::set_permissions(running.folder().join("red"), PermissionsExt::from_mode(0o777)).unwrap();
    let mut bench = Bench::start(running);

    bench.wait_until_agreed();
    bench.does("connect bond0");
    // The machine sees that its cable is pulled. We see it when we miss what the machine says by LACP.
    bench.does_meanwhile("write bond0", "received", &["p0", "p1"], |bench| {
        bench.guest.set_link(0, false).unwrap();
        bench.wait_until_carried("received", &["p1"]);
        bench.wait_until_used("lagg0", &["p1"]);
        bench.guest.set_link(0, true).unwrap();
    });
    bench.wait_until_agreed();
    bench.does("again bond0");
    // The other way round.
    bench.does_meanwhile("read bond0", "sent", &["p0", "p1"], |bench| {
        bench.red(&["link", "set", "p1", "down"]);
        bench.wait_until_carried("sent", &["p0"]);
        bench.red(&["link", "set", "p1", "up"]);
    });
    bench.wait_until_agreed();

    bench.does("use eth2");
    bench.wait_until_used("lagg1", &["q0"]);
    bench.does("connect bond1");
    bench.does_meanwhile("write bond1", "received", &["q0"], |bench| {
        bench.red(&["link", "del", "q0"]);
        bench.guest.set_link(2, false).unwrap();
        bench.wait_until_carried("received", &["q1"]);
        let path = bench.running.folder().join("q0.sock");
        let path = path.to_str().unwrap();
        bench.red(&["link", "add", "q0", "type", "stream", "path", path, "connect"]);
        bench.red(&["link", "set", "q0", "master", "lagg1"]);
        bench.guest.set_link(2, true).unwrap();
    });
    bench.wait_until_used("lagg1", &["q1"]);
    bench.does("again bond1");
    bench.does_meanwhile("read bond1", "sent", &["q1"], |bench| {
        bench.guest.set_link(3, false).unwrap();
        bench.red(&["link", "set", "q1", "down"]);
        bench.wait_until_carried("sent", &["q0"]);
    });
    bench.does("use eth2");
    bench.wait_until_used("lagg1", &["q0"]);
    bench.end();
}

/// A server, and a machine that does one step after the other.
struct Bench {
    running: Running,
    guest: Guest,
    steps: usize,
}

impl Bench {
    fn start(running: Running) -> Self {
        let socket = |name: &str| running.folder().join(name);
        let lagg = running.json(&["-n", "red", "link", "show", "lagg0", "--json"]);
        let guest = Guest::builder()
            .module("bonding")
            .network(Network::stream(socket("p0.sock")))
            .network(Network::stream(socket("p1.sock")))
            .network(Network::stream_listener(socket("q0.sock")))
            .network(Network::stream_listener(socket("q1.sock")))
            .variable("LACP_PARTNER", lagg["mac"].as_str().unwrap())
            .variable("MIB", FILE.to_string())
            .stdin()
            .script(include_str!("bonds.sh"))
            .timeout(PATIENCE)
            .spawn()
            .unwrap();
        Self { running, guest, steps: 0 }
    }

    fn red(&self, arguments: &[&str]) {
        self.running.says(&[&["-n", "red"], arguments].concat());
    }

    fn tell(&mut self, step: &str) {
        self.steps += 1;
        self.guest.send(format!("{} {step}\n", self.steps)).unwrap();
    }

    /// Whether the guest has done the step that it was told last.
    fn has_done(&mut self, within: Duration) -> bool {
        match self.guest.wait_for_output(&format!("done: {}\n", self.steps), within) {
            Ok(()) => true,
            Err(Error::Timeout { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The guest does a step.
    fn does(&mut self, step: &str) {
        self.tell(step);
        assert!(self.has_done(PATIENCE), "{step}");
    }

    /// The guest does a step, for which each of these ports carries a part. Then something happens, and no
    /// connection breaks.
    fn does_meanwhile(
        &mut self,
        step: &str,
        way: &str,
        ports: &[&str],
        meanwhile: impl FnOnce(&mut Self),
    ) {
        self.tell(step);
        self.wait_until_carried(way, ports);
        let before = self.accepted();
        meanwhile(self);
        assert!(self.has_done(PATIENCE), "{step}");
        assert_eq!(self.accepted(), before, "{step}: connections came anew");
    }

    /// How many connections have come.
    fn accepted(&self) -> u64 {
        let shown = self.running.json(&["ns", "show", "red", "--json"]);
        shown["counters"]["accepted"].as_u64().expect("a number")
    }

    fn link(&self, name: &str) -> Value {
        let links = self.running.ask("GET", "/namespaces/red/links", None).json();
        let link = links.as_array().unwrap().iter().find(|link| link["name"] == name);
        link.unwrap_or_else(|| panic!("no {name}: {links}")).clone()
    }

    /// Waits, while the guest is at its step, until each of these ports has carried a part more.
    fn wait_until_carried(&mut self, way: &str, ports: &[&str]) {
        let carried = |bench: &Self, port: &str| {
            bench.link(port)["counters"][way]["bytes"].as_u64().expect("a number")
        };
        let before: Vec<u64> = ports.iter().map(|port| carried(self, port)).collect();
        while ports.iter().zip(&before).any(|(port, before)| carried(self, port) < before + PART) {
            let done = self.has_done(MOMENT);
            assert!(!done, "it was done before {ports:?} had carried so much");
        }
    }

    /// Waits until frames are sent by these ports and taken from them, and from no others.
    fn wait_until_used(&mut self, lagg: &str, ports: &[&str]) {
        loop {
            let lagg = self.link(lagg);
            let is_used = |way: &str| {
                let all = lagg["lagg"]["ports"].as_array().unwrap().iter();
                all.filter(|port| port[way] == true).map(|port| &port["name"]).eq(ports)
            };
            if is_used("sends") && is_used("receives") {
                return;
            }
            self.has_done(MOMENT);
        }
    }

    /// Waits until both ends use both ports of the lagg with LACP, for the same partner, and are content.
    fn wait_until_agreed(&mut self) {
        self.does("agree bond0");
        loop {
            let lagg = self.link("lagg0");
            let ports = lagg["lagg"]["ports"].as_array().unwrap();
            assert_eq!(ports.len(), 2);
            let partner = &ports[0]["lacp"]["partner"]["system"];
            let agrees = |port: &Value| {
                let lacp = &port["lacp"];
                assert_eq!(lacp["actor"]["system"], lagg["mac"]);
                assert_eq!(lacp["malformed"], 0);
                port["sends"] == true
                    && port["receives"] == true
                    && lacp["selected"] == true
                    && lacp["partner"]["system"] == *partner
                    && [&lacp["actor-churn"], &lacp["partner-churn"]] == [false, false]
            };
            if partner.is_string() && ports.iter().all(agrees) {
                return;
            }
            self.has_done(MOMENT);
        }
    }

    fn end(mut self) {
        self.tell("end");
        let outcome = self.guest.wait().unwrap().success().unwrap();
        println!("{}", outcome.text());
        self.running.end();
    }
}

/// How long the guest is waited for between two looks at the server.
const MOMENT: Duration = Duration::from_millis(10);
/// For guests without help by the processor, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3600);
