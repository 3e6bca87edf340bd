//! Tenants that a Linux kernel reaches over interfaces of their own.

use crate::running::Running;
use holm_guest::{Guest, Network};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Two tenants with the same addresses and one machine each, with the same address and the same card, at the
/// same time: each sees its own files, by IPv4 and IPv6, and needs nothing but an address to mount them.
#[test]
fn linux_mounts_from_a_tenant_by_its_own_network() {
    let running = Running::start(
        r#"
        [ns.blue]
        link = [{ name = "p0", type = "stream", path = "{}/blue.sock",
                  addr = ["10.0.0.1/24", "fd00::1/64"] }]
        export = [{ path = "/", dir = "{}/blue" }]

        [ns.green]
        link = [{ name = "p0", type = "dgram", path = "{}/green.sock", peer-path = "{}/machine.sock",
                  addr = ["10.0.0.1/24", "fd00::1/64"] }]
        export = [{ path = "/", dir = "{}/green" }]
        "#,
    );
    let path = |name: &str| running.folder().join(name);
    let tenants = [
        ("blue", Network::stream(path("blue.sock"))),
        ("green", Network::datagram(path("machine.sock"), path("green.sock"))),
    ];
    let mut guests = tenants.map(|(name, network)| {
        // Root is squashed.
        fs::set_permissions(path(name), PermissionsExt::from_mode(0o777)).unwrap();
        fs::write(path(name).join("whose"), name).unwrap();
        let guest = Guest::builder()
            .name("machine")
            .network(network)
            .variable("OWNER", name)
            .variable("FILES", FILES.to_string())
            .stdin()
            .script(include_str!("own_links.sh"))
            .timeout(PATIENCE);
        (name, guest.spawn().unwrap())
    });
    for (_, guest) in &mut guests {
        guest.wait_for_output("mounted by 52:54:", PATIENCE).unwrap();
    }
    let cards = guests.each_ref().map(|(_, guest)| {
        let said = String::from_utf8(guest.stdout()).unwrap();
        said.split("mounted by ").nth(1).and_then(|rest| rest.get(..17)).map(str::to_owned)
    });
    assert_eq!(cards[0], cards[1]);
    for (_, guest) in &mut guests {
        guest.send("go\n").unwrap();
    }
    for (name, guest) in guests {
        let outcome = guest.wait().unwrap().success().unwrap();
        println!("{name}: {}", outcome.text());
        assert!(path(name).join("tree").is_dir() && path(name).join("large").is_file());
    }
    running.end();
}

/// Files that each machine copies.
const FILES: usize = 500;
/// For guests without help by the processor, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3600);
