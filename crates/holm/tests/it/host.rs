//! What systemd and rpcbind are told, and what systemd is told to do. As root.

use crate::container::{Container, NULL_REPLY, Place, install};
use crate::rpcbind::Rpcbind;
use crate::world::World;
use holm::privileges::Needs;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The command line of the unit is run, with other paths, as systemd would.
#[test]
fn unit_starts_reloads_and_ends_holm() {
    let world = World::new();
    let config = configuration(&world, "127.0.0.1:0", "");
    let folder = world.folder.path();
    let socket = folder.join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let told = || {
        let mut buffer = [0; 1024];
        let count = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    assert_eq!(setting("Type"), ["notify"]);
    let line = setting("ExecStart").remove(0);
    let line = line.replace("${STATE_DIRECTORY}", folder.join("state").to_str().unwrap());
    let line = line.replace("/etc/holm/holm.toml", config.to_str().unwrap());
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/holm"));
    let mut command = Command::new(HOLM);
    let mut holm = Running(command.args(words).env("NOTIFY_SOCKET", &socket).spawn().unwrap());

    assert!(told().contains("READY=1"));
    let reload = setting("ExecReload").remove(0).replace("$MAINPID", &holm.0.id().to_string());
    let mut words = reload.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success());
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert!(told().contains("READY=1"));
    holm.signal("-TERM");
    assert!(told().contains("STOPPING=1"));
    assert!(holm.0.wait().unwrap().success());
}

/// All that holm may need, and what it takes to give it up.
#[test]
fn unit_lets_holm_have_what_it_needs() {
    let allowed = setting("CapabilityBoundingSet").join(" ");
    let allowed: Vec<_> = allowed.split_whitespace().collect();
    let needs = Needs::of_exports().and(Needs::of_containers()).to_string();
    for needed in needs.split(", ").chain(["CAP_SETPCAP"]) {
        assert!(allowed.contains(&needed), "{needed}");
    }
    assert_eq!(allowed.len(), needs.split(", ").count() + 1, "more than is needed");
}

#[test]
fn systemd_takes_the_unit() {
    install("systemd", "systemd-analyze");
    let world = World::new();
    let copy = world.folder.path().join("holm.service");
    fs::write(&copy, unit().replace("/usr/bin/holm", HOLM)).unwrap();
    // A server in this process has set the mask for new files to nothing.
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o644)).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It also speaks of others' units.
    assert!(!said.contains("holm.service"), "{said}");
}

/// It gives up what it does not need, and what is left lets it into containers of others, found by
/// their processes and by paths.
#[test]
fn what_holm_keeps_lets_it_into_containers() {
    let world = World::new();
    let (mut by_process, mut by_path) = (Container::start(), Container::start());
    let place = Place::new(&by_path);
    let config = configuration(&world, "127.0.0.1:0", "");
    let text = fs::read_to_string(&config).unwrap();
    let more = format!(
        "listen = [{{ addr = \"127.0.0.1:111\", netns = {} }}, {{ addr = \"127.0.0.1:111\", netns = {:?} }}, ",
        by_process.pid(),
        place.path()
    );
    fs::write(&config, text.replace("listen = [", &more)).unwrap();
    let mut command = Command::new(HOLM);
    command.args(["serve", "--config"]).arg(config).arg("--state-dir").arg(world.state());
    let mut holm = Running::ready(command, &world);
    assert_eq!(by_process.ask(111), NULL_REPLY);
    assert_eq!(by_path.ask(111), NULL_REPLY);
    let status = fs::read_to_string(format!("/proc/{}/status", holm.0.id())).unwrap();
    let all = fs::read_to_string("/proc/self/status").unwrap();
    let permitted = |status: &str| {
        let field = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
        u64::from_str_radix(field.trim(), 16).unwrap()
    };
    // CAP_SYS_ADMIN; and not CAP_SYS_MODULE, which we have.
    assert_eq!((permitted(&status) >> 21 & 1, permitted(&status) >> 16 & 1), (1, 0), "{status}");
    assert_eq!(permitted(&all) >> 16 & 1, 1);
    holm.signal("-TERM");
    assert!(holm.0.wait().unwrap().success());
}

/// Also by the next run when it was killed.
#[test]
fn rpcbind_is_told_and_told_of_the_end() {
    let (world, rpcbind) = (World::new(), Rpcbind::start());
    let start = |address| {
        let config = configuration(&world, address, "rpcbind = true\n");
        let mut command = rpcbind.beside(HOLM);
        command.args(["serve", "--config"]).arg(config).arg("--state-dir").arg(world.state());
        Running::ready(command, &world)
    };
    let at = |port: &str| {
        ["100003 3 tcp", "100005 3 tcp", "100005 3 udp"]
            .map(|it| format!("{it} 127.0.0.1.8.{port}"))
    };
    let mut holm = start("127.0.0.1:2049");
    assert_eq!(rpcbind.registered(), at("1"));
    holm.signal("-KILL");
    holm.0.wait().unwrap();
    assert_eq!(rpcbind.registered(), at("1"));
    let mut holm = start("127.0.0.1:2050");
    assert_eq!(rpcbind.registered(), at("2"));
    holm.signal("-TERM");
    assert!(holm.0.wait().unwrap().success());
    assert!(rpcbind.registered().is_empty());
}

/// What comes and goes by the admin API is told at once.
#[test]
fn rpcbind_hears_of_listeners_of_the_admin_api() {
    let (world, rpcbind) = (World::new(), Rpcbind::start());
    let config = configuration(&world, "127.0.0.1:2049", "rpcbind = true\n");
    let mut command = rpcbind.beside(HOLM);
    command.args(["serve", "--config"]).arg(config).arg("--state-dir").arg(world.state());
    let mut holm = Running::ready(command, &world);
    let change = |arguments: &str| {
        let admin = world.folder.path().join("admin.sock");
        let mut command = Command::new(HOLM);
        command.arg("--admin").arg(admin).args(arguments.split(' '));
        assert!(command.status().unwrap().success(), "{arguments}");
    };
    let nfs = |port: &str| format!("100003 3 tcp 127.0.0.1.8.{port}");
    let until_nfs_is = |expected: Option<String>| {
        let found = || rpcbind.registered().into_iter().find(|it| it.starts_with("100003"));
        while found() != expected {
            std::thread::yield_now();
        }
    };
    assert!(rpcbind.registered().contains(&nfs("1")));
    change("-n blue listen add 127.0.0.1:2050");
    change("-n blue listen del 127.0.0.1:2049");
    until_nfs_is(Some(nfs("2")));
    change("ns del blue");
    until_nfs_is(None);
    change("ns add red");
    change("-n red listen add 127.0.0.1:2051");
    until_nfs_is(Some(nfs("3")));
    holm.signal("-TERM");
    assert!(holm.0.wait().unwrap().success());
    assert!(rpcbind.registered().is_empty());
}

/// What the container image serves.
#[test]
fn configuration_of_the_image_is_right() {
    let world = World::new();
    let text = fs::read_to_string(packaging().join("container.toml")).unwrap();
    let directory = world.directory("export");
    let file = world.folder.path().join("holm.toml");
    fs::write(&file, text.replace("\"/export\"", &format!("{directory:?}"))).unwrap();
    let output = Command::new(HOLM).arg("check").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const HOLM: &str = env!("CARGO_BIN_EXE_holm");

/// Ends with the test.
struct Running(Child);

impl Running {
    /// Once it serves.
    fn ready(mut command: Command, world: &World) -> Self {
        let socket = world.folder.path().join("notify");
        let _ = fs::remove_file(&socket);
        let systemd = UnixDatagram::bind(&socket).unwrap();
        // If it fails, nobody has the other end.
        systemd.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let mut holm = Self(command.env("NOTIFY_SOCKET", &socket).spawn().unwrap());
        while systemd.recv(&mut [0; 64]).is_err() {
            assert!(holm.0.try_wait().unwrap().is_none(), "did not start");
        }
        holm
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn configuration(world: &World, address: &str, more: &str) -> PathBuf {
    let directory = world.directory("blue");
    let file = world.folder.path().join("holm.toml");
    let listen = format!("listen = [{{ addr = \"{address}\" }}]");
    let export = format!("export = [{{ path = \"/\", dir = {directory:?} }}]");
    let admin = world.folder.path().join("admin.sock");
    fs::write(&file, format!("admin = {admin:?}\n{more}[ns.blue]\n{listen}\n{export}\n")).unwrap();
    file
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn unit() -> String {
    fs::read_to_string(packaging().join("holm.service")).unwrap()
}

/// The values of a setting of the unit.
fn setting(name: &str) -> Vec<String> {
    let unit = unit();
    let values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}
