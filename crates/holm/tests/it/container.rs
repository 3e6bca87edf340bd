//! Containers to listen in, and what the kernel says of their links.

use holm::model::NetnsRef;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A process in a network namespace of its own, which calls NFS when it is asked to.
pub struct Container {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Container {
    pub fn start() -> Self {
        install("iproute2", "ip");
        let call: String = null_message().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let script = format!(
            "ip link set lo up; echo up; while read host port; do exec 3<>/dev/tcp/$host/$port; \
             printf '{call}' >&3; head -c {} <&3 | od -An -v -tx1 | tr -d ' \\n'; echo; done",
            NULL_REPLY.len() / 2
        );
        let mut child = Command::new("unshare")
            .args(["--net", "bash", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asked, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut this = Self { child, asked, answers: BufReader::new(answers) };
        assert_eq!(this.line(), "up");
        this
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its process calls there, keeps the connection, and says what came.
    pub fn ask(&mut self, port: u16) -> String {
        self.ask_at("127.0.0.1", port)
    }

    pub fn ask_at(&mut self, host: &str, port: u16) -> String {
        writeln!(self.asked, "{host} {port}").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string(), program]).args(arguments);
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) {
        succeeds(&mut self.command(program, arguments));
    }

    /// A virtual cable to another container, whose end there is `eth0` with the address [`THERE`].
    pub fn cable(&self, to: &Container, name: &str) {
        let pid = to.pid().to_string();
        let end = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pid];
        self.run("ip", &end);
        self.run("ip", &["link", "set", name, "up"]);
        self.run("ip", &["addr", "add", "10.9.0.1/24", "dev", name]);
        to.run("ip", &["addr", "add", &format!("{THERE}/24"), "dev", "eth0"]);
        to.run("ip", &["link", "set", "eth0", "up"]);
    }

    pub fn has_link(&self, name: &str) -> bool {
        self.command("ip", &["link", "show", name]).output().unwrap().status.success()
    }

    /// How the kernel calls its network namespace.
    pub fn netns(&self) -> String {
        link(Path::new(&format!("/proc/{}/ns/net", self.pid()))).unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path at which a container's network namespace is mounted.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new(container: &Container) -> Self {
        let place = Self { folder: TempDir::new().unwrap() };
        fs::write(place.path(), "").unwrap();
        place.mount(container);
        place
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("netns")
    }

    pub fn netns(&self) -> NetnsRef {
        NetnsRef::Path(self.path().to_str().unwrap().into())
    }

    pub fn mount(&self, container: &Container) {
        let from = format!("/proc/{}/ns/net", container.pid());
        run("mount", &["--bind", &from, self.path().to_str().unwrap()]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let unmount =
            || Command::new("umount").arg("--lazy").arg(self.path()).stderr(Stdio::null()).status();
        while unmount().is_ok_and(|status| status.success()) {}
        let _ = fs::remove_file(self.path());
    }
}

/// What the kernel says of the links that come and go.
pub struct Links {
    monitor: Child,
    lines: BufReader<ChildStdout>,
}

impl Links {
    pub fn watch(outside: &Container) -> Self {
        let mut monitor = outside.command("ip", &["-oneline", "monitor", "link"]);
        let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(monitor.stdout.take().unwrap());
        let mut this = Self { monitor, lines };
        // It listens once it tells of something that happens now.
        for round in 0.. {
            let name = format!("try{round}");
            outside.run("ip", &["link", "add", &name, "type", "veth"]);
            outside.run("ip", &["link", "del", &name]);
            let fd = rustix::event::PollFd::new(this.lines.get_ref(), rustix::event::PollFlags::IN);
            let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            if rustix::event::poll(&mut [fd], Some(&moment)).unwrap() > 0 {
                this.wait_until_deleted(&name);
                break;
            }
        }
        this
    }

    pub fn wait_until_deleted(&mut self, name: &str) {
        let mut line = String::new();
        while !(line.starts_with("Deleted ") && line.contains(&format!(": {name}"))) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "nothing more is told");
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// A container's address at its end of a cable.
pub const THERE: &str = "10.9.0.2";

/// NFS, version 3, procedure 0.
pub fn null_message() -> Vec<u8> {
    let words = [0x8000_0028_u32, 7, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    words.map(u32::to_be_bytes).concat()
}

/// Accepted, success, and no result.
pub const NULL_REPLY: &str = "80000018000000070000000100000000000000000000000000000000";

pub fn link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_str()?.into())
}

pub fn run(program: &str, arguments: &[&str]) {
    succeeds(Command::new(program).args(arguments));
}

pub fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// Sees to it that a Debian package is there.
pub fn install(package: &str, program: &str) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if is_there(program) {
        return;
    }
    for step in [vec!["update"], vec!["install", "-y", "--no-install-recommends", package]] {
        succeeds(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(step));
    }
}

pub fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|found| found.status.success())
}
