//! Registering with Debian's rpcbind, in a network where nobody else is. As root.

use crate::container::{install, is_there};
use holm::kernel_netns::open;
use holm::model::{ListenSpec, ListenerView, NetnsRef};
use holm::rpcbind::{Binder, RegisterError, Registrar};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

#[test]
fn listeners_are_registered_and_taken_back() {
    let rpcbind = Rpcbind::start();
    let folder = TempDir::new().unwrap();
    let note = folder.path().join("rpcbind");
    let listeners = [listener("0.0.0.0:2049"), listener("0.0.0.0:2050"), listener("[::1]:2049")];
    let mut registrar = Registrar::open(rpcbind.binder(), &note).unwrap();
    registrar.set(&listeners).unwrap();
    let all = [
        "100003 3 tcp 0.0.0.0.8.1",
        "100003 3 tcp6 ::1.8.1",
        "100005 3 tcp 0.0.0.0.8.1",
        "100005 3 tcp6 ::1.8.1",
        "100005 3 udp 0.0.0.0.8.1",
        "100005 3 udp6 ::1.8.1",
    ];
    assert_eq!(rpcbind.registered(), all);
    registrar.set(&listeners).unwrap();
    assert_eq!(rpcbind.registered(), all);
    registrar.set(&listeners[1..2]).unwrap();
    assert_eq!(
        rpcbind.registered(),
        ["100003 3 tcp 0.0.0.0.8.2", "100005 3 tcp 0.0.0.0.8.2", "100005 3 udp 0.0.0.0.8.2"]
    );
    registrar.set(&[]).unwrap();
    assert!(rpcbind.registered().is_empty());
    assert!(!note.exists());
}

#[test]
fn what_an_earlier_run_has_left_is_taken_back_and_nothing_else() {
    let rpcbind = Rpcbind::start();
    let folder = TempDir::new().unwrap();
    let [note, others] = ["rpcbind", "others"].map(|name| folder.path().join(name));
    let mut killed = Registrar::open(rpcbind.binder(), &note).unwrap();
    killed.set(&[listener("127.0.0.1:1000")]).unwrap();
    drop(killed);

    // At another address now; and the old one is registered no more.
    let mut restarted = Registrar::open(rpcbind.binder(), &note).unwrap();
    restarted.set(&[listener("127.0.0.1:1001")]).unwrap();
    let ours = [
        "100003 3 tcp 127.0.0.1.3.233",
        "100005 3 tcp 127.0.0.1.3.233",
        "100005 3 udp 127.0.0.1.3.233",
    ];
    assert_eq!(rpcbind.registered(), ours);

    // To another server this is somebody else.
    let mut other = Registrar::open(rpcbind.binder(), &others).unwrap();
    let refused = other.set(&[listener("127.0.0.1:1002")]).unwrap_err();
    assert!(matches!(refused, RegisterError::Taken(_)), "{refused}");
    assert!(refused.to_string().contains("rpcbind = false"), "{refused}");
    other.set(&[]).unwrap();
    assert_eq!(rpcbind.registered(), ours);
    restarted.set(&[]).unwrap();
    assert!(rpcbind.registered().is_empty());
}

#[test]
fn listeners_in_containers_are_not_the_hosts() {
    let folder = TempDir::new().unwrap();
    let mut registrar = Registrar::open(nobody(&folder), &folder.path().join("rpcbind")).unwrap();
    let mut inside = listener("127.0.0.1:2049");
    inside.spec.netns = Some(NetnsRef::Pid(1));
    registrar.set(&[inside]).unwrap();
}

#[test]
fn who_is_not_there_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let mut registrar = Registrar::open(nobody(&folder), &folder.path().join("rpcbind")).unwrap();
    let said = registrar.set(&[listener("127.0.0.1:2049")]).unwrap_err().to_string();
    for part in ["nobody answers at", "sock", "start rpcbind", "rpcbind = false"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn without_the_socket_the_address_is_tried() {
    let rpcbind = Rpcbind::start();
    let folder = TempDir::new().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 111));
    let binder = Binder { socket: folder.path().join("sock"), address };
    let mut registrar = Registrar::open(binder, &folder.path().join("rpcbind")).unwrap();
    let mut set = |listeners: &[ListenerView]| {
        open(&rpcbind.netns(), || registrar.set(listeners)).unwrap().0.unwrap();
        rpcbind.registered().len()
    };
    assert_eq!(set(&[listener("127.0.0.1:2049")]), 3);
    assert_eq!(set(&[]), 0);
}

fn listener(addr: &str) -> ListenerView {
    let spec = ListenSpec::new(addr.parse().unwrap());
    ListenerView { local: spec.addr, spec, connections: 0 }
}

/// A binder that is not there.
fn nobody(folder: &TempDir) -> Binder {
    // Of a port that was free a moment ago, and is below those that are given out.
    Binder { socket: folder.path().join("sock"), address: "127.0.0.1:1".parse().unwrap() }
}

/// Debian's, with a network and a `/run` of its own.
pub struct Rpcbind(Child);

impl Rpcbind {
    pub fn start() -> Self {
        // Installing it would have systemd start it, for everybody who reaches this machine.
        let systemd = Path::new("/run/systemd/system").exists();
        assert!(
            !systemd || is_there("rpcbind"),
            "mask rpcbind's units, and apt-get install rpcbind"
        );
        install("rpcbind", "rpcbind");
        let script =
            "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec rpcbind -f";
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        let rpcbind = Self(child);
        // It answers as soon as its sockets are there.
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, 111));
        while UnixStream::connect(rpcbind.socket()).is_err()
            || open(&rpcbind.netns(), connect).unwrap().0.is_err()
        {
            std::thread::yield_now();
        }
        rpcbind
    }

    fn socket(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/root/run/rpcbind.sock", self.0.id())).into()
    }

    fn netns(&self) -> NetnsRef {
        NetnsRef::Pid(self.0.id())
    }

    fn binder(&self) -> Binder {
        // Not that of the host, which is another's.
        Binder { socket: self.socket(), address: "127.0.0.1:1".parse().unwrap() }
    }

    /// A program in the same network, with the same `/run`.
    pub fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.0.id().to_string(), program]);
        command
    }

    /// Programs, versions, networks and addresses, without rpcbind itself.
    pub fn registered(&self) -> Vec<String> {
        let output = self.beside("rpcinfo").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.lines().skip(1).map(|line| line.split_whitespace().take(4));
        let lines = words.map(|words| words.collect::<Vec<_>>().join(" "));
        let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("100000 ")).collect();
        lines.sort();
        lines
    }
}

impl Drop for Rpcbind {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
