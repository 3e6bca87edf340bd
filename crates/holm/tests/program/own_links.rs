//! Tenants that a Linux kernel reaches over interfaces of their own.

use crate::running::Running;
use holm_guest::{Guest, Network};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Two tenants with the same addresses and one machine each, with the same address: each sees its own
/// files, and needs nothing but the name of a directory to mount it.
#[test]
fn linux_mounts_from_a_tenant_by_its_own_network() {
    let running = Running::start(
        r#"
        [ns.blue]
        link = [{ name = "p0", type = "stream", path = "{}/blue.sock",
                  addr = ["10.0.0.1/24", "fd00::1/64"] }]
        export = [{ path = "/", dir = "{}/blue" }]

        [ns.green]
        link = [{ name = "p0", type = "stream", path = "{}/green.sock", addr = ["10.0.0.1/24"] }]
        export = [{ path = "/", dir = "{}/green" }]
        "#,
    );
    let tenants = ["blue", "green"].map(|name| running.folder().join(name));
    for directory in &tenants {
        // Root is squashed.
        fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
        fs::write(directory.join("whose"), directory.file_name().unwrap().as_encoded_bytes())
            .unwrap();
    }
    let script = "set -eu\n\
         ip link set eth0 up\n\
         ip addr add 10.0.0.2/24 dev eth0\n\
         ping -c 3 -w 60 10.0.0.1 > /dev/null\n\
         mount -t nfs -o nolock,vers=3 10.0.0.1:/ /mnt\n\
         cat /mnt/whose\n\
         cp -r /etc/init.d /mnt/copy\n\
         umount /mnt\n\
         mount -t nfs -o nolock,vers=3 10.0.0.1:/ /mnt\n\
         diff -r /etc/init.d /mnt/copy\n\
         cp -r /mnt/copy /tmp/back\n\
         diff -r /etc/init.d /tmp/back\n\
         dd if=/dev/urandom of=/tmp/large bs=1M count=2 2> /dev/null\n\
         cp /tmp/large /mnt/large\n\
         umount /mnt\n\
         mount -t nfs -o nolock,vers=3 10.0.0.1:/ /mnt\n\
         cmp /tmp/large /mnt/large\n\
         umount /mnt\n";
    let guests = tenants.each_ref().map(|directory| {
        let guest = Guest::builder()
            .script(script)
            .network(Network::stream(directory.with_extension("sock")))
            .timeout(PATIENCE);
        guest.spawn().unwrap()
    });
    for (directory, guest) in tenants.iter().zip(guests) {
        let outcome = guest.wait().unwrap().success().unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(outcome.text().ends_with(name), "{}", outcome.text());
        assert!(directory.join("copy").is_dir() && directory.join("large").is_file());
    }
    let shown = running.says(&["ns", "show", "blue"]);
    assert!(shown.contains("live"), "{shown}");
}

/// For guests without help by the processor, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3600);
