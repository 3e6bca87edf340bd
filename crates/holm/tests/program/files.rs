//! `holm ls`, `cat`, `cp` and `bench` as their users meet them, through a network that may be hostile.

use crate::proxy::{self, Fate, Message};
use crate::world::{HOLM, NOBODY, World, is_root, succeeds};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

fn holm(arguments: &[&str]) -> Command {
    let mut command = Command::new(HOLM);
    command.args(arguments);
    command
}

fn url(port: u16, path: &str) -> String {
    format!("nfs://127.0.0.1:{port}/{path}")
}

fn fails(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    said
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Some hundred files with all that a tree can have.
fn make_tree(root: &Path) {
    fs::create_dir(root).unwrap();
    let odd: [&[u8]; 7] =
        [b"a b", b"new\nline", b"\xff\xfe", b"-rf", b"\x1b[31m", "größe".as_bytes(), &[b'n'; 255]];
    let mut directories = vec![root.to_owned()];
    for number in 0..12 {
        let directory = directories[number / 2].join(format!("d{number}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..25_usize {
            let path = directory.join(format!("f{file}"));
            fs::write(&path, vec![file as u8; file * file * 37]).unwrap();
            let mode = [0o644, 0o600, 0o755, 0o444][file % 4];
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("../d0/f1", directory.join("link")).unwrap();
        symlink("no/where", directory.join("dangling")).unwrap();
        symlink(".", directory.join("circle")).unwrap();
        directories.push(directory);
    }
    for name in odd {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("empty"), "").unwrap();
    // The last ones first: what is in a directory changes its time.
    for (number, directory) in directories.iter().enumerate().rev() {
        let time =
            SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000 + number as u64, 123_456_789);
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_file() {
                fs::File::open(&path).unwrap().set_modified(time).unwrap();
            }
        }
        fs::set_permissions(
            directory,
            PermissionsExt::from_mode(0o755 - (number as u32 % 2) * 0o50),
        )
        .unwrap();
        fs::File::open(directory).unwrap().set_modified(time).unwrap();
    }
}

/// All that is to be the same in two trees.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let found = fs::symlink_metadata(root.join(&path)).unwrap();
        let content = if found.is_dir() {
            let entries = fs::read_dir(root.join(&path)).unwrap();
            waiting.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
            Vec::new()
        } else if found.is_symlink() {
            fs::read_link(root.join(&path)).unwrap().into_os_string().as_bytes().to_vec()
        } else {
            fs::read(root.join(&path)).unwrap()
        };
        all.insert(path, (found.mode(), found.mtime(), found.mtime_nsec(), content));
    }
    all
}

fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (tree(one), tree(other));
    for (path, is) in &one {
        assert!(other.get(path) == Some(is), "{path:?} differs");
    }
    assert_eq!(one.len(), other.len());
}

#[test]
fn trees_are_copied_in_out_and_between() {
    let world = World::new();
    let server = world.serve(&[]);
    let here = world.folder().join("tree");
    make_tree(&here);
    let there = url(server.port, "copy");
    succeeds(holm(&["cp", "-r"]).arg(&here).arg(&there));
    assert_same(&here, &world.served().join("copy"));
    let back = world.folder().join("back");
    succeeds(holm(&["cp", "-r", &there]).arg(&back));
    assert_same(&here, &back);
    succeeds(&mut holm(&["cp", "-r", &there, &url(server.port, "second")]));
    assert_same(&here, &world.served().join("second"));
    // Into a directory that is there; and once more, when nothing is left to be done.
    fs::create_dir(world.served().join("into")).unwrap();
    fs::set_permissions(world.served().join("into"), PermissionsExt::from_mode(0o777)).unwrap();
    for times in ["copied 344 files", "344 files there already"] {
        let into = url(server.port, "into/");
        let done = succeeds(holm(&["cp", "-rv"]).arg(&here).arg(into));
        assert!(text(&done).contains(times), "{}", text(&done));
        assert_same(&here, &world.served().join("into/tree"));
    }
    server.end();
}

#[test]
fn what_can_not_be_copied_is_named_and_the_rest_is_copied() {
    let world = World::new();
    let server = world.serve(&[]);
    let here = world.folder().join("here");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "content").unwrap();
    succeeds(Command::new("mkfifo").arg(here.join("pi\x1bpe")));
    let there = url(server.port, "there");
    let said = fails(holm(&["cp", "-r"]).arg(&here).arg(&there), 1);
    assert!(said.contains("pi\\x1bpe'") && said.contains("no content"), "{said}");
    assert_eq!(fs::read(world.served().join("there/file")).unwrap(), b"content");
    // Once it is gone the same command completes the same copy.
    fs::remove_file(here.join("pi\x1bpe")).unwrap();
    succeeds(holm(&["cp", "-r"]).arg(&here).arg(&there));
    assert_eq!(fs::read_dir(world.served().join("there")).unwrap().count(), 1);

    let said = fails(holm(&["cp"]).arg(&here).arg(&there), 1);
    assert!(said.contains("-r"), "{said}");
    let said = fails(&mut holm(&["cp", "-r", &there, &url(server.port, "there/within")]), 1);
    assert!(said.contains("into itself"), "{said}");
    // The same by another way: the directory that is served.
    let said =
        fails(holm(&["cp", "-r"]).arg(world.served()).arg(url(server.port, "there/within")), 1);
    assert!(said.contains("the target itself"), "{said}");
    let said = fails(&mut holm(&["cp", &url(server.port, "none"), "/tmp/none"]), 1);
    assert!(said.contains("no such file"), "{said}");
    let said = fails(&mut holm(&["cp", "a", "b", &url(server.port, "none")]), 2);
    assert!(said.contains("no directory"), "{said}");
    let said = fails(&mut holm(&["cp", "nfs://", "b"]), 2);
    assert!(said.contains("no host"), "{said}");
    for command in [["ls", &there], ["cat", &there], ["bench", &there]] {
        let said = fails(holm(&["-n", "blue"]).args(command), 2);
        assert!(said.contains("do not go with"), "{said}");
    }
    server.end();
    for command in [["ls", &there], ["cat", &there], ["bench", &there]] {
        fails(&mut holm(&command), 3);
    }
}

/// What lies between the program and the server, and lets through so much of the data.
struct Throttle {
    address: SocketAddr,
    /// Bytes of data that have come through.
    passed: Arc<AtomicU64>,
    /// Nothing more comes through beyond so many.
    limit: Arc<AtomicU64>,
    /// Told when that is reached.
    reached: Receiver<()>,
}

impl Throttle {
    /// Counts what is written, or what is read.
    fn new(port: u16, procedure: u32, limit: u64) -> Self {
        let passed = Arc::new(AtomicU64::new(0));
        let limit = Arc::new(AtomicU64::new(limit));
        let (send, reached) = channel();
        let send = Mutex::new(send);
        let (count, most) = (passed.clone(), limit.clone());
        let rule = move |message: &mut Message<'_>| {
            if message.procedure == procedure && message.is_reply == (procedure == READ) {
                count.fetch_add(message.bytes.len() as u64, Ordering::Relaxed);
            }
            if count.load(Ordering::Relaxed) <= most.load(Ordering::Relaxed) {
                return Fate::Passes;
            }
            // Nobody listens any more after the first time.
            let _ = send.lock().unwrap().send(());
            Fate::Lost
        };
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address: proxy::start(server, rule), passed, limit, reached }
    }

    fn url(&self, path: &str) -> String {
        url(self.address.port(), path)
    }

    /// Lets all through from here on, and counts from zero.
    fn open(&self) {
        self.limit.store(u64::MAX, Ordering::Relaxed);
        self.passed.store(0, Ordering::Relaxed);
    }
}

const READ: u32 = 6;
const WRITE: u32 = 7;
const READDIRPLUS: u32 = 17;

/// A file of 2 GiB with `DATA` bytes in it, here and there.
fn make_sparse(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(2 << 30).unwrap();
    let mut piece = vec![0; 1 << 20];
    for number in 0..DATA >> 20 {
        for (at, byte) in piece.iter_mut().enumerate() {
            *byte = (at as u64 * 31 + number + at as u64 / 256) as u8;
        }
        file.write_all_at(&piece, number * (16 << 20) + 4096 * number).unwrap();
    }
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890)).unwrap();
}

const DATA: u64 = 120 << 20;

fn assert_same_file(one: &Path, other: &Path) {
    let (of_one, of_other) = (fs::metadata(one).unwrap(), fs::metadata(other).unwrap());
    assert_eq!((of_one.len(), of_one.mtime()), (of_other.len(), of_other.mtime()));
    assert!(of_other.blocks() * 512 <= DATA + (8 << 20), "{} blocks", of_other.blocks());
    let files = (fs::File::open(one).unwrap(), fs::File::open(other).unwrap());
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for offset in (0..of_one.len()).step_by(1 << 20) {
        files.0.read_exact_at(&mut here, offset).unwrap();
        files.1.read_exact_at(&mut there, offset).unwrap();
        assert!(here == there, "differs in the MiB at {offset}");
    }
}

fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Killed when most of it is there, a copy goes on, and does not do again what was durable.
fn interrupted(world: &World, throttle: &Throttle, from: &OsStr, to: &OsStr, target: &Path) {
    let command = || {
        let mut command = holm(&["cp", "-v", "--no-local"]);
        command.arg(from).arg(to);
        command
    };
    let mut first = command().stdout(Stdio::null()).spawn().unwrap();
    throttle.reached.recv().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!target.exists());
    let left = names(target.parent().unwrap());
    let is_record = |name: &OsString| name.as_bytes().ends_with(b".holm-record");
    assert!(left.iter().any(is_record), "{left:?}");
    throttle.open();
    let second = succeeds(&mut command());
    assert!(text(&second).contains("went on in the middle of 1 file"), "{}", text(&second));
    assert_same_file(&world.folder().join("large"), target);
    assert!(names(target.parent().unwrap()) == [target.file_name().unwrap()]);
}

#[test]
fn a_copy_to_a_server_that_is_killed_goes_on() {
    let world = World::new();
    let server = world.serve(&[]);
    let large = world.folder().join("large");
    make_sparse(&large);
    let throttle = Throttle::new(server.port, WRITE, 100 << 20);
    let to = throttle.url("large");
    let target = world.served().join("large");
    interrupted(&world, &throttle, large.as_os_str(), OsStr::new(&to), &target);
    let again = throttle.passed.load(Ordering::Relaxed);
    assert!(again < 80 << 20, "{again} bytes were written again");
    server.end();
}

#[test]
fn a_copy_from_a_server_that_is_killed_goes_on() {
    let world = World::new();
    let server = world.serve(&[]);
    make_sparse(&world.folder().join("large"));
    fs::rename(world.folder().join("large"), world.served().join("large")).unwrap();
    symlink(world.served().join("large"), world.folder().join("large")).unwrap();
    let throttle = Throttle::new(server.port, READ, 1500 << 20);
    let from = throttle.url("large");
    fs::create_dir(world.folder().join("here")).unwrap();
    let target = world.folder().join("here/large");
    interrupted(&world, &throttle, OsStr::new(&from), target.as_os_str(), &target);
    let again = throttle.passed.load(Ordering::Relaxed);
    assert!(again < 1500 << 20, "{again} bytes were read again");
    server.end();
}

/// The server is killed in the middle and comes back: nobody notices.
#[test]
fn a_copy_outlives_the_server() {
    let world = World::new();
    let server = world.serve(&[]);
    let large = world.folder().join("large");
    make_sparse(&large);
    let throttle = Throttle::new(server.port, WRITE, 60 << 20);
    let copy = holm(&["cp", "--no-local"]).arg(&large).arg(throttle.url("large")).spawn();
    throttle.reached.recv().unwrap();
    let port = server.port;
    server.kill();
    let server = world.serve_again(port);
    throttle.open();
    assert!(copy.unwrap().wait().unwrap().success());
    assert_same_file(&large, &world.served().join("large"));
    server.end();
}

/// A server whose listings lead elsewhere.
#[test]
fn hostile_listings_lead_nowhere() {
    let world = World::new();
    let served = world.served();
    for (name, is) in [("up", "qx"), ("slash", "qxyz"), ("nul", "qxyz")] {
        fs::create_dir(served.join(name)).unwrap();
        fs::create_dir(served.join(name).join(is)).unwrap();
        fs::write(served.join(name).join(is).join("planted"), "evil").unwrap();
    }
    fs::create_dir(served.join("link")).unwrap();
    symlink(world.folder().join("outside"), served.join("link/xa")).unwrap();
    fs::create_dir(served.join("link/xb")).unwrap();
    fs::write(served.join("link/xb/planted"), "evil").unwrap();
    fs::create_dir(world.folder().join("outside")).unwrap();
    fs::create_dir(world.folder().join("targets")).unwrap();
    let server = world.serve(&[]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    for (name, is, becomes) in [
        ("up", &b"qx\0\0"[..], &b"..\0\0"[..]),
        ("slash", b"qxyz", b"x/yz"),
        ("nul", b"qxyz", b"x\0yz"),
        ("link", b"xb\0\0", b"xa\0\0"),
    ] {
        let changed = Arc::new(AtomicBool::new(false));
        let seen = changed.clone();
        let proxy = proxy::start(address, move |message| {
            if message.procedure == READDIRPLUS && message.is_reply {
                let found = message.bytes.windows(is.len()).position(|bytes| bytes == is);
                if let Some(at) = found {
                    message.bytes[at..at + is.len()].copy_from_slice(becomes);
                    seen.store(true, Ordering::Relaxed);
                }
            }
            Fate::Passes
        });
        let target = world.folder().join("targets").join(name);
        let mut copy = holm(&["cp", "-r", &url(proxy.port(), name)]);
        copy.arg(&target);
        if name == "up" {
            // Every directory has that one; it is passed over.
            succeeds(&mut copy);
        } else {
            let said = fails(&mut copy, 1);
            assert!(said.contains("could not") && !said.contains('\0'), "{name}: {said}");
        }
        assert!(changed.load(Ordering::Relaxed), "{name}: the test has changed nothing");
        if name != "link" {
            assert!(!tree(&target).keys().any(|path| path.ends_with("planted")), "{name}");
        }
    }
    // A link and a directory of the same name: whichever came first, nothing went through it.
    assert!(names(&world.folder().join("outside")).is_empty());
    let mut targets = names(&world.folder().join("targets"));
    targets.sort();
    assert_eq!(targets, ["link", "nul", "slash", "up"]);
    server.end();
}

#[test]
fn listings_for_people_for_programs_and_for_terminals() {
    let world = World::new();
    let served = world.served();
    fs::write(served.join("file"), "12345").unwrap();
    fs::set_permissions(served.join("file"), PermissionsExt::from_mode(0o4640)).unwrap();
    fs::File::open(served.join("file"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    fs::write(served.join(".hidden"), "").unwrap();
    fs::write(served.join(OsStr::from_bytes(b"e\x1b]0;evil\x07\xff")), "").unwrap();
    fs::create_dir(served.join("sub")).unwrap();
    fs::write(served.join("sub/within"), "").unwrap();
    symlink("file", served.join("to")).unwrap();
    let server = world.serve(&[]);
    let there = url(server.port, "");
    let said = succeeds(&mut holm(&["ls", &there]));
    assert_eq!(said.stdout, b"e\x1b]0;evil\x07\xff\nfile\nsub\nto\n");
    let said = text(&succeeds(&mut holm(&["ls", "-l", &there])));
    let line = said.lines().find(|line| line.ends_with(" file")).unwrap();
    assert!(line.starts_with("-rwS") || line.starts_with("-rw-r-----"), "{line}");
    assert!(line.contains(" 5 2001-09-09T01:46:40Z "), "{line}");
    assert!(
        said.lines().any(|line| line.starts_with('l') && line.ends_with(" to -> file")),
        "{said}"
    );
    let said = text(&succeeds(&mut holm(&["ls", "-a", "-R", &there])));
    assert!(said.contains(".hidden\n") && said.contains("/sub:\nwithin\n"), "{said}");
    let said = text(&succeeds(&mut holm(&["ls", "-l", &url(server.port, "file")])));
    assert!(said.lines().count() == 1 && said.ends_with(" file\n"), "{said}");

    let said = succeeds(&mut holm(&["ls", "-R", "--json", &there]));
    let all: Value = serde_json::from_slice(&said.stdout).unwrap();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 5);
    let find = |name: &str| all.iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(find("file")["size"], 5);
    assert_eq!(find("file")["modified"], "2001-09-09T01:46:40.000000000Z");
    assert_eq!(find("to")["target"], "file");
    assert_eq!(find("sub/within")["type"], "file");
    // Its URL has all bytes of a name, and is one that can be used.
    let odd = all.iter().find(|entry| entry["name"].as_str().unwrap().contains("evil")).unwrap();
    let odd = odd["url"].as_str().unwrap();
    assert!(odd.ends_with("/e%1B%5D0;evil%07%FF"), "{odd}");
    assert!(succeeds(&mut holm(&["cat", odd])).stdout.is_empty());
    let nothing = succeeds(&mut holm(&["ls", "--json", &url(server.port, "file")]));
    assert_eq!(
        serde_json::from_slice::<Value>(&nothing.stdout).unwrap().as_array().unwrap().len(),
        1
    );

    // On a terminal nothing of it reaches that.
    let shown = succeeds(Command::new("script").args([
        "-qec",
        &format!("'{HOLM}' ls '{there}'"),
        "/dev/null",
    ]));
    assert!(text(&shown).contains("$'e\\x1b]0;evil\\x07\\xff'"), "{}", text(&shown));
    assert!(!shown.stdout.contains(&0x1b));
    server.end();
}

#[test]
fn files_are_shown_in_order_and_a_reader_may_go() {
    let world = World::new();
    let large: Vec<u8> =
        (0..9_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(world.served().join("large"), &large).unwrap();
    fs::write(world.served().join("small"), "small").unwrap();
    let server = world.serve(&[]);
    let (first, second) = (url(server.port, "large"), url(server.port, "small"));
    let shown = succeeds(&mut holm(&["cat", &first, &second, &first]));
    assert!(shown.stdout == [&large[..], b"small", &large[..]].concat());
    let mut command = holm(&["cat", &first, &first]);
    let mut cat = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    cat.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let ended = cat.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(some, large[..100]);
    let output = holm(&["cat", &url(server.port, "none"), &second]).output().unwrap();
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(1), "small"));
    server.end();
}

#[test]
fn what_an_export_can_do_is_measured_and_nothing_stays() {
    let world = World::new();
    let server = world.serve(&[]);
    let there = url(server.port, "");
    let arguments = ["bench", "--seconds", "1", "--threads", "2", "--no-local", &there];
    let shown = text(&succeeds(&mut holm(&arguments)));
    for word in
        ["getattr", "lookup", "read-4K-random", "read-1M", "write-1M", "create+remove", "P99.9"]
    {
        assert!(shown.contains(word), "{shown}");
    }
    assert!(shown.contains("not local: "), "{shown}");
    let shown = succeeds(holm(&arguments).arg("--json"));
    let report: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&report["local"], &report["threads"]), (&Value::Bool(false), &2.into()));
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        assert!(result["operations"].as_u64().unwrap() > 0, "{result}");
        let latency = &result["latency_microseconds"];
        assert!(latency["p50"].as_f64().unwrap() > 0.0, "{result}");
        assert!(latency["p50"].as_f64() <= latency["p99.9"].as_f64(), "{result}");
    }
    assert!(names(&world.served()).is_empty());

    // Ctrl-C in the middle of it.
    let (send, begun) = channel();
    let send = Mutex::new(send);
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    let measured = AtomicU64::new(0);
    let proxy = proxy::start(address, move |message| {
        if message.procedure == 1 && measured.fetch_add(1, Ordering::Relaxed) == 100 {
            send.lock().unwrap().send(()).unwrap();
        }
        Fate::Passes
    });
    let bench = holm(&["bench", "--no-local", "--seconds", "3600", &url(proxy.port(), "")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    begun.recv().unwrap();
    assert_eq!(names(&world.served()).len(), 1);
    succeeds(Command::new("kill").args(["-INT", &bench.id().to_string()]));
    let ended = bench.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ended.stderr).contains("what was made is removed"),
        "{ended:?}"
    );
    assert!(names(&world.served()).is_empty());
    server.end();

    let server = world.serve(&["--read-only"]);
    let said = fails(&mut holm(&["bench", &url(server.port, "")]), 1);
    assert!(said.contains("takes no changes"), "{said}");
    server.end();
}

/// A server that lends files to who runs it: the same commands, past the network.
#[test]
fn a_server_of_the_same_user_is_local() {
    let world = World::new();
    let server = world.serve_as_ordinary_user();
    let there = url(server.port, "");
    let as_user = |arguments: &[&str]| {
        if !is_root() {
            return holm(arguments);
        }
        let mut command = Command::new("setpriv");
        let ids =
            [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()];
        command.args(ids).arg(world.folder().join("holm")).args(arguments);
        command
    };
    let shown = succeeds(&mut as_user(&["bench", "--json", "--seconds", "1", &there]));
    let report: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(report["local"], true, "{report}");
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.iter().filter(|result| result["by"] == "local").count(), 3);
    let shown = text(&succeeds(&mut as_user(&["bench", "--local-only", "--seconds", "1", &there])));
    assert!(!shown.contains(" rpc ") && shown.contains(" local "), "{shown}");
    assert!(names(&world.served()).is_empty());

    let here = world.folder().join("tree");
    make_tree(&here);
    if is_root() {
        succeeds(Command::new("chown").args(["-hR", &NOBODY.to_string()]).arg(&here));
    }
    let back = world.served().join("back");
    let (from, to) = (here.to_str().unwrap(), url(server.port, "copy"));
    succeeds(&mut as_user(&["cp", "-r", from, &to]));
    assert_same(&here, &world.served().join("copy"));
    succeeds(&mut as_user(&["cp", "-r", &to, back.to_str().unwrap()]));
    assert_same(&here, &back);
    server.end();
}
