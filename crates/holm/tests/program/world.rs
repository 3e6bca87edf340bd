//! A server as its users start it, and what tests need around it.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

pub const HOLM: &str = env!("CARGO_BIN_EXE_holm");
pub const NOBODY: u32 = 65534;

/// A folder with a directory to serve in it, and one for what the server keeps.
pub struct World {
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let world = Self { folder: TempDir::new().unwrap() };
        for directory in [world.served(), world.state()] {
            fs::create_dir(directory).unwrap();
        }
        // Root is squashed.
        fs::set_permissions(world.served(), PermissionsExt::from_mode(0o777)).unwrap();
        // A server in this process has cleared the umask by now, or not.
        fs::set_permissions(world.state(), PermissionsExt::from_mode(0o700)).unwrap();
        world
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn served(&self) -> PathBuf {
        self.folder().join("served")
    }

    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// A socket for one server more.
    pub fn admin(&self) -> PathBuf {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let server = SERVERS.fetch_add(1, Ordering::Relaxed);
        self.state().join(format!("admin-{server}.sock"))
    }

    pub fn arguments(&self, directory: &Path, more: &[&str]) -> Vec<OsString> {
        let mut arguments = vec!["serve".into(), directory.into(), "--state-dir".into()];
        arguments.push(self.state().into());
        arguments.extend(["--admin".into(), self.admin().into()]);
        if !more.contains(&"--listen") {
            arguments.extend(["--listen".into(), "127.0.0.1:0".into()]);
        }
        arguments.extend(more.iter().map(Into::into));
        arguments
    }

    pub fn command(&self, directory: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(HOLM);
        command.args(self.arguments(directory, more));
        command
    }

    pub fn serve(&self, more: &[&str]) -> Server {
        Server::start(self.command(&self.served(), more))
    }

    /// The same as before, at the port that it had.
    pub fn serve_again(&self, port: u16) -> Server {
        self.serve(&["--listen", &format!("127.0.0.1:{port}")])
    }

    /// As somebody who is no administrator, if this test may become one.
    pub fn serve_as_ordinary_user(&self) -> Server {
        if !is_root() {
            return self.serve(&[]);
        }
        for path in [self.folder(), &self.served(), &self.state()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(self.folder(), PermissionsExt::from_mode(0o755)).unwrap();
        // The program itself may lie where others can't go.
        let program = self.folder().join("holm");
        fs::copy(HOLM, &program).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command.args(self.arguments(&self.served(), &[]));
        Server::start(command)
    }

    /// With mounts of its own, made by `script` before it starts: they go with it.
    pub fn serve_with_mounts(&self, script: &str, directory: &Path) -> Server {
        let mut command = Command::new("unshare");
        let script = format!("set -e; cd \"$1\"; shift; {script}; exec \"$@\"");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(self.folder());
        command.arg(HOLM).args(self.arguments(directory, &[]));
        Server::start(command)
    }
}

/// A server that has said where it is.
pub struct Server {
    child: Child,
    said: Vec<String>,
    pub port: u16,
}

impl Server {
    pub fn start(mut command: Command) -> Self {
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
    pub fn line(&self, label: &str) -> &str {
        let line = self.said.iter().find_map(|line| line.strip_prefix(label));
        line.expect("it says so").trim()
    }

    pub fn url(&self, path: &str) -> String {
        self.line("libnfs:").replace("//?", &format!("/{path}?"))
    }

    /// What a guest on this machine mounts it with.
    pub fn line_for_guest(&self) -> String {
        self.line("Linux:").replace("127.0.0.1:/", "10.0.2.2:/")
    }

    /// A file as the server sees it, with its mounts.
    pub fn sees(&self, path: &Path) -> PathBuf {
        let own = format!("/proc/{}/root", self.child.id());
        Path::new(&own).join(path.strip_prefix("/").unwrap())
    }

    /// A signal, and it ends in good order.
    pub fn end(mut self) {
        let pid = self.child.id().to_string();
        succeeds(Command::new("kill").args(["-TERM", &pid]));
        let status = self.child.wait().unwrap();
        let mut why = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        assert!(status.success(), "{status}: {why}");
    }

    /// SIGKILL: it does nothing more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed; one that has ended can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Skips the rest of a test that has to be root.
pub fn skip_unless_root() -> bool {
    if !is_root() {
        eprintln!("skipped: needs root");
    }
    !is_root()
}

/// Runs a test in a process of its own, whose mounts nobody else sees and which end with it.
pub fn in_mounts_of_its_own(test: &str, work: impl FnOnce()) {
    const OWN: &str = "HOLM_MOUNTS_OF_ITS_OWN";
    if std::env::var_os(OWN).is_some() {
        return work();
    }
    if skip_unless_root() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(OWN, "1");
    let status = command.status().unwrap();
    assert!(status.success(), "{test}: {status}");
}

pub fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output
}

/// Sees to it that a Debian package is there, by a file of it.
pub fn install(package: &str, file: &str) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if Path::new(file).exists() {
        return;
    }
    assert!(is_root(), "{file} is missing: apt-get install {package}");
    for step in [vec!["update"], vec!["install", "-y", "--no-install-recommends", package]] {
        // Others may be installing something at the same time.
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
        succeeds(command.args(step));
    }
}
