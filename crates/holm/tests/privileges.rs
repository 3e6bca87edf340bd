//! What `holm` may do when root has started it. As root.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, MKNOD; for the door SYS_ADMIN.
const NEEDED: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 27 | 1 << 21;

#[test]
fn every_thread_may_do_what_is_needed_and_no_more() {
    let folder = TempDir::new().unwrap();
    let holm = Holm::start(&folder, "127.0.0.1:0");
    let tasks = fs::read_dir(format!("/proc/{}/task", holm.child.id())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    assert!(tasks.len() > 2, "the workers are there");
    for task in tasks {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(value.trim_start_matches(':').trim(), 16).unwrap()
        };
        assert_eq!(field("CapPrm"), NEEDED, "{status}");
        assert_eq!(field("CapBnd"), NEEDED, "{status}");
        // Less while it acts as a caller.
        assert_eq!(field("CapEff") & !NEEDED, 0, "{status}");
        assert_eq!((field("CapInh"), field("CapAmb")), (0, 0), "{status}");
        assert_eq!(field("NoNewPrivs"), 1, "{status}");
    }
    assert!(!holm.end().contains("without need"));
}

#[test]
fn low_port_can_be_had() {
    let folder = TempDir::new().unwrap();
    // In a network of its own, where no other has it.
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_holm"));
    Holm::start_with(command, &folder, "127.0.0.1:111").end();
}

#[test]
fn root_is_told_when_it_takes_no_root() {
    let folder = TempDir::new().unwrap();
    chown(folder.path(), Some(1000), Some(1000)).unwrap();
    let said = Holm::start(&folder, "127.0.0.1:0").end();
    assert!(said.contains("running as root without need"), "{said}");
    assert!(said.contains("setpriv --reuid=1000"), "{said}");
}

struct Holm {
    child: Child,
    _state: TempDir,
}

impl Holm {
    fn start(served: &TempDir, listen: &str) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_holm")), served, listen)
    }

    fn start_with(mut command: Command, served: &TempDir, listen: &str) -> Self {
        let state = TempDir::new().unwrap();
        command.arg("serve").arg(served.path()).args(["--listen", listen]);
        command.arg("--state-dir").arg(state.path());
        command.arg("--admin").arg(state.path().join("admin.sock"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let serves = said.lines().any(|line| line.unwrap().starts_with("libnfs:"));
        let mut holm = Self { child, _state: state };
        if !serves {
            let mut why = String::new();
            holm.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            panic!("did not start: {why}");
        }
        holm
    }

    /// Ends in good order; what it has said.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Holm {
    fn drop(&mut self) {
        // Of a test that failed; one that has ended can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
