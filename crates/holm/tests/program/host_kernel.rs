//! Tenants that this machine's kernel reaches over interfaces of their own, from containers: by a tap, by
//! one end of a veth pair, and by two such ends that are one. The clients are libnfs and rpcinfo, because few
//! kernels of machines that run tests can mount. As root.

use crate::container::{Container, is_there};
use crate::running::Running;
use crate::world::{install, skip_unless_root, succeeds};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

#[test]
fn container_reaches_a_tenant_by_a_tap_that_holm_makes_in_it() {
    let Some(bench) = Bench::start() else { return };
    let container = Container::start();
    let pid = container.pid().to_string();
    bench.blue(&[
        "link",
        "add",
        "t0",
        "type",
        "tap",
        "netns",
        &pid,
        "interface",
        "eth1",
        "addr",
        ADDRESSES,
    ]);
    container.run("ip", &["addr", "add", "10.0.0.2/24", "dev", "eth1"]);
    container.run("ip", &["addr", "add", "fd00::2/64", "dev", "eth1", "nodad"]);
    bench.asks_the_port_mapper(&container);
    bench.copies(&container, 8 << 20, || {});
    bench.end();
}

#[test]
fn container_reaches_a_tenant_by_a_veth_pair() {
    let Some(bench) = Bench::start() else { return };
    let (outside, container) = (Container::start(), Container::start());
    cable(&outside, &container, 0);
    container.run("ip", &["addr", "add", "10.0.0.2/24", "dev", "eth0"]);
    container.run("ip", &["addr", "add", "fd00::2/64", "dev", "eth0", "nodad"]);
    bench.packet("p0", &outside, "veth0");
    for address in ADDRESSES.split(',') {
        bench.blue(&["addr", "add", address, "dev", "p0"]);
    }
    bench.asks_the_port_mapper(&container);
    bench.copies(&container, 8 << 20, || {});
    bench.end();
}

#[test]
fn container_goes_on_by_another_veth_pair_when_one_is_pulled() {
    let Some(bench) = Bench::start() else { return };
    let (outside, container) = (Container::start(), Container::start());
    container.run("ip", &["link", "add", "switch", "type", "bridge"]);
    for number in 0..2 {
        cable(&outside, &container, number);
        container.run("ip", &["link", "set", &format!("eth{number}"), "master", "switch"]);
        bench.packet(&format!("p{number}"), &outside, &format!("veth{number}"));
    }
    container.run("ip", &["addr", "add", "10.0.0.2/24", "dev", "switch"]);
    container.run("ip", &["link", "set", "switch", "up"]);
    bench.blue(&["link", "add", "lagg0", "type", "lagg", "ports", "p0,p1", "addr", "10.0.0.1/24"]);
    // The kernel's cable, and then ours.
    bench.copies(&container, 100 << 20, || {
        bench.wait_until_carried("p0");
        container.run("ip", &["link", "set", "eth0", "down"]);
        bench.wait_until_carried("p1");
        container.run("ip", &["link", "set", "eth0", "up"]);
        bench.wait_until_carried("p0");
        bench.blue(&["link", "set", "p0", "down"]);
        bench.wait_until_carried("p1");
    });
    bench.end();
}

/// A veth pair: `veth0` outside, which has no address, and `eth0` in the container.
fn cable(outside: &Container, container: &Container, number: usize) {
    let (near, far) = (format!("veth{number}"), format!("eth{number}"));
    let pid = container.pid().to_string();
    outside.run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &pid]);
    outside.run("ip", &["link", "set", &near, "up"]);
    container.run("ip", &["link", "set", &far, "up"]);
}

/// A tenant, `blue`, that has no interface yet.
struct Bench(Running);

impl Bench {
    /// Nothing without root.
    fn start() -> Option<Self> {
        if skip_unless_root() {
            return None;
        }
        install("libnfs-utils", "/usr/bin/nfs-cp");
        if !is_there("rpcinfo") {
            // Installing it would have systemd start rpcbind, for everybody who reaches this machine.
            let systemd = PathBuf::from("/run/systemd/system").exists();
            assert!(!systemd, "mask rpcbind's units, and apt-get install rpcbind");
            install("rpcbind", "/usr/sbin/rpcinfo");
        }
        let running = Running::start(
            "containers = true\n[ns.blue]\nexport = [{ path = \"/\", dir = \"{}/blue\" }]\n",
        );
        // Root is squashed.
        let mode = PermissionsExt::from_mode(0o777);
        fs::set_permissions(running.folder().join("blue"), mode).unwrap();
        Some(Self(running))
    }

    fn blue(&self, arguments: &[&str]) {
        self.0.says(&[&["-n", "blue"], arguments].concat());
    }

    /// An interface over one of the kernel's in that container.
    fn packet(&self, name: &str, container: &Container, interface: &str) {
        let pid = container.pid().to_string();
        let add = ["link", "add", name, "type", "packet", "interface", interface, "netns", &pid];
        self.blue(&add);
    }

    /// Who asks is told, at the usual port, by UDP and by TCP; and what answers is where it was said to be.
    fn asks_the_port_mapper(&self, container: &Container) {
        for (transport, address) in
            [("udp", "10.0.0.1"), ("tcp", "10.0.0.1"), ("udp6", "fd00::1"), ("tcp6", "fd00::1")]
        {
            container.run("rpcinfo", &["-T", transport, address, "100005", "3"]);
            if transport.starts_with("tcp") {
                container.run("rpcinfo", &["-T", transport, address, "100003", "3"]);
            }
        }
        container.run("rpcinfo", &["-p", "10.0.0.1"]);
    }

    /// Copies a file of that size in, while something happens, and out, with no port said; on one connection
    /// each for NFS.
    fn copies(&self, container: &Container, size: usize, meanwhile: impl FnOnce()) {
        let path = |name: &str| self.0.folder().join(name).to_str().unwrap().to_owned();
        let noise: Vec<u8> =
            (0..size / 4).flat_map(|n| (n as u32 ^ 0x5eed).to_le_bytes()).collect();
        fs::write(path("source"), &noise).unwrap();
        let (source, back, url) = (path("source"), path("back"), "nfs://10.0.0.1//file");
        let before = self.accepted();
        thread::scope(|scope| {
            let copying = scope.spawn(|| container.run("nfs-cp", &[&source, url]));
            meanwhile();
            copying.join().unwrap();
        });
        let first = self.accepted() - before;
        assert!(fs::read(path("blue/file")).unwrap() == noise);
        container.run("nfs-cp", &[url, &back]);
        assert!(fs::read(&back).unwrap() == noise);
        // What was in the way has made nobody come again.
        assert_eq!(self.accepted() - before, 2 * first);
        let listed = succeeds(
            Command::new("nsenter")
                .args(["--net", "--target", &container.pid().to_string()])
                .args(["nfs-ls", "nfs://10.0.0.1/"]),
        );
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.trim_end().ends_with(" file"), "{listed}");
    }

    fn accepted(&self) -> u64 {
        let shown = self.0.json(&["ns", "show", "blue", "--json"]);
        shown["counters"]["accepted"].as_u64().expect("a number")
    }

    /// Waits until so much more has come by this port.
    fn wait_until_carried(&self, port: &str) {
        const PART: u64 = 5 << 20;
        let received = || {
            let links = self.0.ask("GET", "/namespaces/blue/links", None).json();
            let of_port = |link: &&Value| link["name"] == port;
            let link = links.as_array().unwrap().iter().find(of_port).expect("it is there");
            link["counters"]["received"]["bytes"].as_u64().expect("a number")
        };
        let before = received();
        while received() < before + PART {
            // Who asks without a pause takes the processor from the copy.
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(self) {
        self.0.end();
    }
}

/// Of the tenant.
const ADDRESSES: &str = "10.0.0.1/24,fd00::1/64";
