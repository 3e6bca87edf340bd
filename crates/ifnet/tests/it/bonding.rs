//! A lagg against the bonding driver of a real Linux kernel, in a guest with two network cards.

use crate::lagg::{lagg, status, used};
use crate::world::{Ns, World, frame, named, new};
use holm_guest::{Error, Guest, Network};
use holm_ifnet::aggregation::{LacpOptions, LaggRequest, Protocol};
use holm_ifnet::wires::{Stream, StreamEnd, StreamOptions};
use holm_ifnet::{Cloner, Driver, DriverError, Frame, Interface, Request, Tap, Way, WireDriver};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A machine that has other things to do, and no hardware support, needs minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Brings up the bond, waits until the driver says that it is as it should be, and sends datagrams of 64
/// flows whenever it reads a line: the card that has to be used by then where one is, or how many links
/// have to be up.
const SCRIPT: &str = r#"
set -e
ip link add bond0 type bond mode $MODE miimon 100 $OPTIONS
for card in eth0 eth1; do ip link set $card down; ip link set $card master bond0; done
ip addr add 10.0.0.2/24 dev bond0
ip link set bond0 up
ip neigh add 10.0.0.1 lladdr $PARTNER dev bond0
agreed() {
    python3 - <<'END'
import os, sys
text = open("/proc/net/bonding/bond0").read()
if os.environ["MODE"] == "active-backup":
    sys.exit("Currently Active Slave: eth" not in text)
ports = text.split("Slave Interface: ")[1:]
def fields(port):
    return dict(line.strip().split(": ", 1) for line in port.splitlines() if ": " in line)
actor = [fields(port.split("details actor lacp pdu:")[0]) for port in ports]
partner = [fields(port.split("details partner lacp pdu:")[1]) for port in ports]
good = len(ports) == 2 and len({port["Aggregator ID"] for port in actor}) == 1 and all(
    "churned" not in (port["Actor Churn State"], port["Partner Churn State"]) for port in actor
) and all(
    port["system mac address"] == os.environ["PARTNER"] and int(port["port state"]) & 0x3c == 0x3c
    for port in partner
)
sys.exit(not good)
END
}
until agreed; do sleep 0.2; done
cat /proc/net/bonding/bond0
echo agreed
while read line; do
    if test $MODE = active-backup; then
        until grep -q "Currently Active Slave: $line" /proc/net/bonding/bond0; do sleep 0.2; done
    else
        # The bond's own, and those of its cards.
        until test $(grep -c "MII Status: up" /proc/net/bonding/bond0) = $line; do sleep 0.2; done
    fi
    python3 - <<'END'
import socket
for port in range(64):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(("10.0.0.2", 2000 + port))
    out.sendto(b"datagram", ("10.0.0.1", 3000 + port))
END
    echo sent $line
done
"#;

#[test]
fn linux_bonding_and_a_lagg_agree_by_lacp_and_both_leave_a_port_that_is_pulled() -> Result<(), Error>
{
    let bench = Bench::new(Protocol::Lacp);
    // Nobody is given up because a busy machine has stood still for some seconds.
    let mut guest = bench.guest("802.3ad", "lacp_rate slow xmit_hash_policy layer3+4")?;
    guest.wait_for_output("agreed", PATIENCE)?;
    bench.wait_until_used("p0 p1");
    for port in status(&bench.ns, "lagg0").ports {
        let lacp = port.lacp.expect("it speaks LACP");
        assert!(lacp.selected && !lacp.actor_churn && !lacp.partner_churn, "{lacp:?}");
        assert_eq!(lacp.malformed, 0);
    }
    // Both ways, by both ports.
    guest.send("3\n")?;
    guest.wait_for_output("sent 3", PATIENCE)?;
    let [first, second] = bench.wait_for(64);
    assert!(first > 10 && second > 10, "{first} {second}");
    let before = bench.sent();
    bench.send(64);
    let after = bench.sent();
    assert!(after[0] > before[0] + 10 && after[1] > before[1] + 10, "{before:?} {after:?}");
    // The guest sees at once that the cable of the first is pulled, and we hear no more from it there.
    // Once the guest knows that we want to hear from it often, that takes three seconds, and not ninety.
    let heard = || {
        let ports = status(&bench.ns, "lagg0").ports.into_iter();
        ports.map(|port| port.lacp.map_or(0, |lacp| lacp.received)).collect::<Vec<_>>()
    };
    let before = heard();
    let fast = LacpOptions { fast: true, ..LacpOptions::default() };
    bench.ns.tell("lagg0", Request::Lagg(LaggRequest::SetLacp(fast)));
    while heard().iter().zip(&before).any(|(now, before)| *now < before + 2) {
        std::thread::yield_now();
    }
    guest.set_link(0, false)?;
    bench.wait_until_used("p1");
    guest.send("2\n")?;
    guest.wait_for_output("sent 2", PATIENCE)?;
    assert_eq!(bench.wait_for(128), [first, 128 - first]);
    guest.set_link(0, true)?;
    bench.wait_until_used("p0 p1");
    guest.close_stdin();
    guest.wait()?.success()?;
    Ok(())
}

#[test]
fn linux_bonding_with_a_backup_and_a_lagg_with_failover_use_the_same_port() -> Result<(), Error> {
    let bench = Bench::new(Protocol::Failover);
    let mut guest = bench.guest("active-backup", "primary eth0")?;
    guest.wait_for_output("agreed", PATIENCE)?;
    for (pulled, port, came) in
        [(None, "p0", [64, 0]), (Some(false), "p1", [64, 64]), (Some(true), "p0", [128, 64])]
    {
        if let Some(up) = pulled {
            guest.set_link(0, up)?;
            bench.ns.tell("p0", Request::SetUp(up));
        }
        bench.wait_until_used(port);
        guest.send(format!("{}\n", if port == "p0" { "eth0" } else { "eth1" }))?;
        assert_eq!(bench.wait_for(came.iter().sum()), came);
    }
    guest.close_stdin();
    guest.wait()?.success()?;
    Ok(())
}

/// A lagg over two unix sockets on which a guest's cards are to be, and what came of the guest's datagrams.
struct Bench {
    ns: Ns,
    came: [Arc<Came>; 2],
    folder: tempfile::TempDir,
    // Last, because it waits for all that is in its namespaces.
    _world: World,
}

impl Bench {
    fn new(protocol: Protocol) -> Self {
        let world = World::new();
        let ns = world.create("blue");
        let folder = tempfile::tempdir().unwrap();
        let came: [Arc<Came>; 2] = Default::default();
        for (name, came) in ["p0", "p1"].into_iter().zip(&came) {
            let path = folder.path().join(name);
            let wire = Stream::open(&StreamOptions { path, end: StreamEnd::Listen }).unwrap();
            drop(ns.create(new(name), Wired(wire)).unwrap());
            ns.tell(name, Request::SetUp(true));
            ns.find(named(name)).unwrap().add_tap(came.clone());
        }
        lagg(&ns, "lagg0", protocol, &["p0", "p1"]);
        Self { ns, came, folder, _world: world }
    }

    fn guest(&self, mode: &str, options: &str) -> Result<Guest, Error> {
        let socket = |name: &str| Network::stream(Path::new(self.folder.path()).join(name));
        Guest::builder()
            .module("bonding")
            .network(socket("p0"))
            .network(socket("p1"))
            .variable("MODE", mode)
            .variable("OPTIONS", options)
            .variable("PARTNER", self.ns.find(named("lagg0")).unwrap().mac().to_string())
            .stdin()
            .script(SCRIPT)
            .timeout(PATIENCE)
            .spawn()
    }

    /// Waits until frames are sent on these ports and taken from them, and from no others.
    fn wait_until_used(&self, ports: &str) {
        while used(&self.ns, "lagg0") != (ports.to_owned(), ports.to_owned()) {
            std::thread::yield_now();
        }
    }

    /// Waits until so many datagrams have come; how many by each port.
    fn wait_for(&self, count: u64) -> [u64; 2] {
        loop {
            let came = [0, 1].map(|port: usize| self.came[port].0.load(Ordering::SeqCst));
            if came.iter().sum::<u64>() >= count {
                return came;
            }
            std::thread::yield_now();
        }
    }

    /// Sends frames of so many flows.
    fn send(&self, flows: u32) {
        let mut frames: Vec<Frame> = (0..flows)
            .map(|flow| {
                let mut frame = frame(flow, 60);
                frame[..12].copy_from_slice(&[2, 9, 9, 9, 9, 9, 2, 8, 0, 0, 0, flow as u8]);
                frame[12..14].copy_from_slice(&[0x88, 0xb5]);
                frame
            })
            .collect();
        self.ns.find(named("lagg0")).unwrap().transmit(&mut frames);
    }

    /// How many frames each port has sent.
    fn sent(&self) -> [u64; 2] {
        ["p0", "p1"].map(|name| self.ns.find(named(name)).unwrap().counters().values().sent.frames)
    }
}

/// Counts the guest's datagrams to port 3000 and above.
#[derive(Default)]
struct Came(AtomicU64);

impl Tap for Came {
    fn saw(&self, _: &Interface, way: Way, frames: &[Frame]) {
        let is_one = |frame: &&Frame| {
            frame.get(12..14) == Some(&[8, 0]) && frame.get(36).is_some_and(|port| *port == 11)
        };
        if way == Way::In {
            self.0.fetch_add(frames.iter().filter(is_one).count() as u64, Ordering::SeqCst);
        }
    }
}

struct Wired(Stream);

impl Cloner for Wired {
    const KIND: &'static str = "stream";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(WireDriver::new(self.0)))
    }
}
