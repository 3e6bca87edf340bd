//! The Linux kernel's client, in guests. What takes minutes is for `cargo xtask soak clients`.

use crate::world::{NOBODY, Server, World, is_root, succeeds};
use holm_guest::{Builder, Guest, Network};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[test]
fn linux_mounts_by_the_printed_line_and_goes_on_after_a_restart() {
    let world = World::new();
    let server = world.serve(&[]);
    let script = "cp -r /etc/init.d /mnt/copy\ndiff -r /etc/init.d /mnt/copy\n\
         exec 3> /mnt/open\necho before >&3\nsync /mnt/open\necho ready\nread go\n\
         echo after >&3\nexec 3>&-\ncat /mnt/open\ndiff -r /etc/init.d /mnt/copy\n\
         rm -r /mnt/copy\numount /mnt\n";
    let mut guest = client(&server, script).stdin().spawn().unwrap();
    guest.wait_for_output("ready\n", PATIENCE).unwrap();
    // The same port again, the same state: the guest's handles are good still.
    let port = server.port;
    server.end();
    let server = world.serve_again(port);
    guest.send(b"go\n").unwrap();
    let outcome = guest.wait().unwrap().success().unwrap();
    assert!(outcome.text().ends_with("before\nafter\n"), "{}", outcome.text());
    assert_eq!(fs::read_to_string(world.served().join("open")).unwrap(), "before\nafter\n");
    assert!(!world.served().join("copy").exists());
    server.end();
}

#[test]
fn linux_works_in_what_it_mounted() {
    works(&Work { fio: "2m", files: 300, dbench: 4, modules: 4 }, |world| world.serve(&[]));
}

/// Who has no way around the modes that a client gives its files.
#[test]
fn linux_works_in_what_an_ordinary_user_serves() {
    let work = Work { fio: "1m", files: 100, dbench: 2, modules: 2 };
    works(&work, World::serve_as_ordinary_user);
}

#[test]
#[ignore = "takes minutes: cargo xtask soak clients"]
fn linux_works_in_what_it_mounted_for_long() {
    let work = Work { fio: "48m", files: 20_000, dbench: 60, modules: 60 };
    works(&work, |world| world.serve(&[]));
}

#[test]
fn linux_goes_on_where_it_was_when_the_server_is_killed() {
    outlives(3);
}

#[test]
#[ignore = "takes minutes: cargo xtask soak clients"]
fn linux_goes_on_where_it_was_however_often_the_server_is_killed() {
    outlives(25);
}

/// How much of it.
struct Work {
    /// Size of each of fio's files.
    fio: &'static str,
    /// Files of fs_mark.
    files: u32,
    /// Seconds of dbench.
    dbench: u32,
    /// Source files of a program.
    modules: u32,
}

/// Programs that people run, and those that look for mistakes.
fn works(work: &Work, serve: impl FnOnce(&World) -> Server) {
    let world = World::new();
    let heads = make_repository(&world.served().join("origin.git"));
    let server = serve(&world);
    let Work { fio, files, dbench, modules } = work;
    let outcome = client(&server, include_str!("work.sh"))
        .variable("FIO_SIZE", *fio)
        .variable("FILES", files.to_string())
        .variable("DBENCH_SECONDS", dbench.to_string())
        .variable("MODULES", modules.to_string())
        .memory(1024)
        .run()
        .unwrap()
        .success()
        .unwrap();
    println!("{}", outcome.text());
    server.end();

    // What the guest believes to have done is what happened here.
    let served = world.served();
    let repository = |name: &str| git(&served.join(name), &["log", "--format=%H", "master"]);
    let pushed = repository("origin.git");
    assert!(pushed.ends_with(&heads), "the history from before is in the new one");
    assert_eq!(pushed.lines().count(), heads.lines().count() + 1);
    for name in ["origin.git", "clone/.git"] {
        git(&served.join(name), &["fsck", "--full", "--strict"]);
    }
    let marked = succeeds(Command::new("find").arg(served.join("mark")).args(["-type", "f"]));
    assert_eq!(marked.stdout.iter().filter(|byte| **byte == b'\n').count(), *files as usize);
}

/// A client that writes and verifies while its server is killed, so many times.
fn outlives(rounds: usize) {
    let world = World::new();
    let mut server = world.serve(&[]);
    let port = server.port;
    let mut guest = client(&server, include_str!("outlive.sh"))
        .variable("ROUNDS", rounds.to_string())
        .memory(1024)
        .spawn()
        .unwrap();
    for round in 1..=rounds {
        guest.wait_for_output(&format!("round {round}\n"), PATIENCE).unwrap();
        server.kill();
        server = world.serve_again(port);
    }
    let outcome = guest.wait().unwrap().success().unwrap();
    let sums = outcome.text();
    let (_, sums) = sums.split_once("SUMS\n").expect("sums at the end");
    assert!(sums.lines().count() > rounds, "{sums}");
    let list = world.folder().join("sums");
    fs::write(&list, sums).unwrap();
    let check = ["--check", "--strict", "--quiet"];
    succeeds(Command::new("sha256sum").args(check).arg(&list).current_dir(world.served()));
    println!("killed {rounds} times; {} files are as they were written", sums.lines().count());
    server.end();
}

/// A guest that has mounted, and then runs the script.
fn client(server: &Server, script: &str) -> Builder {
    Guest::builder()
        .variable("MOUNT", server.line_for_guest())
        .script(format!("set -eu\n$MOUNT\n{script}"))
        .network(Network::user())
        .timeout(PATIENCE)
}

/// A repository with our own sources in it; gives its commits.
fn make_repository(to: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    succeeds(Command::new("git").args(["init", "-q", "--bare", "-b", "master"]).arg(to));
    let mut parts: Vec<PathBuf> =
        ["docs", "xtask", "fuzz", "Cargo.toml", "Cargo.lock"].map(PathBuf::from).into();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        parts.push(Path::new("crates").join(entry.unwrap().file_name()));
    }
    for part in parts.iter().filter(|part| root.join(part).exists()) {
        let part = part.to_str().unwrap();
        let tree = ["-C", root.to_str().unwrap(), "--work-tree", "."];
        git(to, &[&tree[..], &["add", part]].concat());
        git(to, &[&tree[..], &["commit", "-q", "-m", part]].concat());
    }
    if is_root() {
        // Whom the guest's root is taken for.
        let owner = format!("{NOBODY}:{NOBODY}");
        succeeds(Command::new("chown").args(["-R", &owner]).arg(to));
    }
    git(to, &["log", "--format=%H", "master"])
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "-c", "core.bare=false", "--git-dir"]).arg(repository);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "test")
            .env(format!("GIT_{role}_EMAIL"), "test@localhost");
    }
    String::from_utf8(succeeds(command.args(arguments)).stdout).unwrap()
}

/// For guests without help by the processor, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3600);
