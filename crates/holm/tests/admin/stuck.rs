//! A tenant whose file system does not answer: what is said of it, and that its end is waited for.

use crate::running::Running;
use crate::world::Nfs;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn what_a_removal_waits_for_is_said_until_it_is_gone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    // On a thread of its own, which starts the server where nobody else sees its mounts.
    let outcome = std::thread::spawn(|| {
        // SAFETY: the thread has opened nothing that others rely on; it only stops sharing its mounts
        // and its working directory.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.expect("unshared");
        run("mount", &["--make-rprivate", "/"]);
        removal_is_waited_for();
    });
    outcome.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn removal_is_waited_for() {
    let server = Running::start("");
    let blue = server.folder().join("blue");
    ext4(&server.folder().join("image"), &blue);
    server.says(&["ns", "add", "blue"]);
    let dir = blue.display().to_string();
    server.says(&["-n", "blue", "export", "add", "/", &dir, "--squash", "none"]);
    let said = server.says(&["-n", "blue", "listen", "add", "127.0.0.1:0"]);
    let address = said.trim_end().rsplit(' ').next().and_then(|local| local.parse().ok());
    let mut client = Nfs::connect(address.expect("an address"));
    let root = client.mount("/").expect("mounted");
    let id = server.json(&["ns", "show", "blue", "--json"])["id"].to_string();
    let blue_id = format!("blue@{id}");

    // Nothing is changed there until it thaws.
    let frozen = Frozen::freeze(blue);
    let stuck = std::thread::spawn(move || {
        // Answered, or cut off when the namespace goes.
        let _ = client.try_create(&root, "new");
    });
    while !server.says(&["ns", "show", "blue"]).contains("CREATE") {
        std::thread::yield_now();
    }
    let said = server.refused(1, &["ns", "del", "blue", "--wait", "1"]);
    for part in [&blue_id, "CREATE", "for 127.0.0.1", "since", ".rs:"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let shown = server.says(&["ns", "show", &blue_id]);
    assert!(shown.starts_with(&format!("{blue_id}: draining\n")), "{shown}");
    assert!(shown.contains("CREATE"), "{shown}");
    // Its name is free, and others go on.
    server.says(&["ns", "add", "blue"]);
    server.says(&["top", "--count", "1", "--interval", "0.1"]);
    let listed = server.says(&["ns", "list"]);
    let states: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("blue "))
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(states, ["draining", "live"], "{listed}");

    // A terminal is told what is waited for, while it is.
    let program = server.command(&["ns", "del", &blue_id, "--wait", "600"]);
    let mut words = vec![program.get_program()];
    words.extend(program.get_args());
    let line: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let mut terminal = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &format!("stty cols 300; {}", line.join(" ")),
            "/dev/null",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut screen = terminal.stdout.take().expect("piped");
    let mut said = String::new();
    while !(said.contains("draining for") && said.contains("CREATE")) {
        let mut some = [0; 256];
        let read = screen.read(&mut some).expect("read");
        assert!(read > 0, "it ended: {said}");
        said.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    drop(frozen);
    screen.read_to_string(&mut said).expect("read");
    assert!(said.trim_end().ends_with(&format!("{blue_id}: gone")), "{said}");
    assert!(terminal.wait().expect("ended").success());
    stuck.join().expect("no panic");
    server.refused(1, &["ns", "show", &blue_id]);
    server.end();
}

/// A file system of its own, which goes with the mounts of the thread.
fn ext4(image: &Path, at: &Path) {
    fs::File::create(image).and_then(|image| image.set_len(16 << 20)).expect("made");
    let (image, at) = (image.display().to_string(), at.display().to_string());
    run("mkfs.ext4", &["-q", &image]);
    run("mount", &["-o", "loop", &image, &at]);
}

/// A file system on which whoever changes something waits until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(at: PathBuf) -> Self {
        run("fsfreeze", &["--freeze", &at.display().to_string()]);
        Self(at)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.0.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("ran");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
