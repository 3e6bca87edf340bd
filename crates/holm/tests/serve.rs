//! `holm serve DIR` as its users meet it.

use holm_guest::{Guest, Network};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

#[test]
fn libnfs_copies_in_and_out() {
    install("libnfs-utils", "nfs-cp");
    let world = World::new();
    let server = world.serve(&[]);
    let here = world.folder.path().join("here");
    let content: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2654435761) >> 24) as u8).collect();
    fs::write(&here, &content).unwrap();
    succeeds(Command::new("nfs-cp").arg(&here).arg(server.url("/there")));
    assert!(
        fs::read(world.served().join("there")).unwrap() == content,
        "what was copied in differs"
    );
    let back = succeeds(Command::new("nfs-cat").arg(server.url("/there")));
    assert!(back.stdout == content, "what was read back differs");
    let listed = succeeds(Command::new("nfs-ls").arg(server.url("/")));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("there"));
    server.end();
}

#[test]
fn linux_mounts_by_the_printed_line_and_goes_on_after_a_restart() {
    let world = World::new();
    let server = world.serve(&[]);
    let line = server.line("Linux:").replace("127.0.0.1:/", "10.0.2.2:/");
    let script = format!(
        "set -e\n{line}\ncp -r /etc/init.d /mnt/copy\ndiff -r /etc/init.d /mnt/copy\n\
         exec 3> /mnt/open\necho before >&3\nsync /mnt/open\necho ready\nread go\n\
         echo after >&3\nexec 3>&-\ncat /mnt/open\ndiff -r /etc/init.d /mnt/copy\n\
         rm -r /mnt/copy\numount /mnt\n"
    );
    let mut guest =
        Guest::builder().script(&script).network(Network::user()).stdin().spawn().unwrap();
    guest.wait_for_output("ready\n", std::time::Duration::from_secs(240)).unwrap();
    // The same port again, the same state: the guest's handles are good still.
    let port = server.port;
    server.end();
    let server = world.serve(&["--listen", &format!("127.0.0.1:{port}")]);
    guest.send(b"go\n").unwrap();
    let outcome = guest.wait().unwrap().success().unwrap();
    assert!(outcome.text().ends_with("before\nafter\n"), "{}", outcome.text());
    assert_eq!(fs::read_to_string(world.served().join("open")).unwrap(), "before\nafter\n");
    assert!(!world.served().join("copy").exists());
    server.end();
}

#[test]
fn read_only_is_read_only() {
    install("libnfs-utils", "nfs-cp");
    let world = World::new();
    fs::write(world.served().join("file"), "content").unwrap();
    let server = world.serve(&["--read-only"]);
    let read = succeeds(Command::new("nfs-cat").arg(server.url("/file")));
    assert_eq!(read.stdout, b"content");
    let copied =
        Command::new("nfs-cp").arg("/etc/hostname").arg(server.url("/new")).output().unwrap();
    assert!(!copied.status.success());
    assert!(!world.served().join("new").exists());
    server.end();
}

#[test]
fn what_can_not_be_served_is_refused_with_a_reason() {
    let world = World::new();
    let missing = world.folder.path().join("missing");
    let refused = world.command(&missing, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("missing") && said.contains("no such directory"), "{said}");

    let server = world.serve(&[]);
    let taken = format!("127.0.0.1:{}", server.port);
    for (listen, says) in [(taken.as_str(), "another server"), ("0.0.0.0:0", "only this machine")] {
        let refused = world.command(&world.served(), &["--listen", listen]).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }
    let wrong = Command::new(HOLM).args(["serve", "--no-such-option"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    server.end();
}

/// As somebody who is no administrator, if this test may become one.
#[test]
fn ordinary_user_serves_what_is_his() {
    install("libnfs-utils", "nfs-cp");
    let world = World::new();
    if rustix_is_root() {
        for path in [world.folder.path(), &world.served(), &world.folder.path().join("state")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(world.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let server = world.serve_as_ordinary_user();
    succeeds(Command::new("nfs-cp").arg("/etc/hostname").arg(server.url("/name")));
    assert_eq!(fs::read(world.served().join("name")).unwrap(), fs::read("/etc/hostname").unwrap());
    server.end();
}

const HOLM: &str = env!("CARGO_BIN_EXE_holm");
const NOBODY: u32 = 65534;

/// A folder with one to serve in it, and the state.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["served", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let world = Self { folder };
        // Root is squashed.
        fs::set_permissions(world.served(), PermissionsExt::from_mode(0o777)).unwrap();
        world
    }

    fn served(&self) -> std::path::PathBuf {
        self.folder.path().join("served")
    }

    fn arguments(&self, directory: &Path, more: &[&str]) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["serve".into(), directory.into(), "--state-dir".into()];
        arguments.push(self.folder.path().join("state").into());
        if !more.contains(&"--listen") {
            arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
        }
        arguments.extend(more.iter().map(Into::into));
        arguments
    }

    fn command(&self, directory: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(HOLM);
        command.args(self.arguments(directory, more));
        command
    }

    fn serve(&self, more: &[&str]) -> Server {
        Server::start(self.command(&self.served(), more))
    }

    fn serve_as_ordinary_user(&self) -> Server {
        if !rustix_is_root() {
            return self.serve(&[]);
        }
        // The program itself may lie where others can't go.
        let program = self.folder.path().join("holm");
        fs::copy(HOLM, &program).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command.args(self.arguments(&self.served(), &[]));
        Server::start(command)
    }
}

/// A server that has said where it is.
struct Server {
    child: Child,
    said: Vec<String>,
    port: u16,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let last = line.starts_with("libnfs:");
            said.push(line);
            if last {
                break;
            }
        }
        let Some(port) = said.first().and_then(|line| line.rsplit(':').next()?.parse().ok()) else {
            let mut why = String::new();
            child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            panic!("did not start: {said:?} {why}");
        };
        Self { child, said, port }
    }

    /// What follows `label` in what it said.
    fn line(&self, label: &str) -> &str {
        let line = self.said.iter().find_map(|line| line.strip_prefix(label));
        line.expect("it says so").trim()
    }

    fn url(&self, path: &str) -> String {
        self.line("libnfs:").replace("//?", &format!("/{path}?"))
    }

    /// A signal, and it ends in good order.
    fn end(mut self) {
        let pid = self.child.id().to_string();
        succeeds(Command::new("kill").args(["-TERM", &pid]));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed; one that has ended can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output
}

/// Sees to it that a Debian package is there.
fn install(package: &str, program: &str) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let there = || Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    if there().is_ok_and(|found| found.status.success()) {
        return;
    }
    assert!(rustix_is_root(), "{program} is missing: apt-get install {package}");
    for step in [vec!["update"], vec!["install", "-y", "--no-install-recommends", package]] {
        succeeds(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(step));
    }
}
