//! The door of a namespace, as commands and the API show it.

use crate::door::AtDoor;
use crate::running::{HOLM, Running};
use crate::world::Nfs;
use holm_nfs_proto::localio::door::Access;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

#[test]
fn users_come_and_go_and_their_programs_are_shown() {
    let own = rustix::process::geteuid().as_raw();
    let server = Running::start(
        "containers = true\n[ns.blue]\nlisten = [{ addr = \"127.0.0.1:0\" }]\nexport = [{ path = \"/\", dir = \"{}/blue\", \
         squash = \"none\" }]\n",
    );
    fs::write(server.folder().join("blue/file"), "content").expect("written");
    fn local<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["-n", "blue", "local"], words].concat()
    }
    assert_eq!(server.says(&local(&["show"])), "nobody may open files past the network\n");

    let socket = server.folder().join("run/local/blue.sock");
    let may =
        |who: &str| format!("{who} may open files past the network by {}\n", socket.display());
    let text = own.to_string();
    assert_eq!(server.says(&local(&["add", &text])), may(&format!("user {own}")));
    assert!(fs::symlink_metadata(&socket).expect("made").file_type().is_socket());
    let folder = fs::metadata(socket.parent().expect("a folder")).expect("made");
    assert_eq!(folder.permissions().mode() & 0o777, 0o711);
    let shown = server.json(&local(&["show", "--json"]));
    let expected = json!({
        "users": [own], "recall-time": 5, "door": socket.display().to_string(), "clients": [],
    });
    assert_eq!(shown, expected);
    assert_eq!(server.json(&["ns", "show", "blue", "--json"])["local"], expected);

    let said = server.says(&local(&["add", "4243", "4242", "--recall-time", "60"]));
    assert!(said.starts_with("users ") && said.contains("4242, 4243 may open"), "{said}");
    server.says(&local(&["del", "4242", "4243", "4244"]));
    assert_eq!(server.says(&local(&["show"])), may(&format!("user {own}")));

    let listener = &server.json(&["ns", "show", "blue", "--json"])["listeners"][0]["local"];
    let mut nfs = Nfs::connect(listener.as_str().expect("an address").parse().expect("one"));
    let root = nfs.mount("/").expect("mounted");
    let handle = nfs.lookup(&root, "file").expect("there");
    let door = AtDoor::come_in(&socket, &mut nfs);
    let (_, _file) = door.open(&handle, Access::Read).expect("opened");
    let pid = std::process::id();
    let shown = server.says(&local(&["show"]));
    let row: Vec<&str> = shown.lines().nth(2).expect("a client").split_whitespace().collect();
    assert_eq!(row[..4], [&*pid.to_string(), &*text, "127.0.0.1", "1"], "{shown}");
    let shown = server.says(&["ns", "show", "blue"]);
    let expected =
        format!("process {pid} of user {own} at 127.0.0.1: 1 files open, the oldest since ");
    assert!(shown.contains(&expected), "{shown}");
    assert!(shown.contains("local use of 1 files for process "), "{shown}");
    let statistics = server.ask("GET", "/statistics", None).json();
    assert_eq!(statistics["namespaces"][0]["local"]["files"], 1);

    // It takes a minute; who asks for less is told what is in the way.
    let said = server.refused(1, &["ns", "del", "blue", "--wait", "0"]);
    let expected =
        format!("local use of 1 files, which were asked for for process {pid} of user {own}");
    assert!(said.contains(&expected), "{said}");
    assert!(!socket.exists());
    let shown = server.says(&["ns", "show", "blue@1"]);
    assert!(shown.contains(", asked to give them back "), "{shown}");
    drop(door);
    while server.json(&["ns", "list", "--json"]) != json!([]) {
        std::thread::yield_now();
    }
    server.end();
}

#[test]
fn door_of_a_server_that_was_killed_is_replaced() {
    let own = rustix::process::geteuid().as_raw();
    let mut server = Running::start(&format!("[ns.blue]\nlocal = {{ users = [{own}] }}\n"));
    let socket = server.folder().join("run/local/blue.sock");
    // It answers when all is served.
    server.says(&["ns", "list"]);
    assert!(AtDoor::connect(&socket).is_ok());
    server.signal("KILL");
    while AtDoor::connect(&socket).is_ok() {
        std::thread::yield_now();
    }
    assert!(socket.exists(), "it was killed");
    server.restart();
    server.says(&["ns", "list"]);
    assert!(AtDoor::connect(&socket).expect("somebody listens").hear().is_some());
    server.end();
}

#[test]
fn what_was_given_up_is_said() {
    let server = Running::start("[ns.blue]\n");
    let added = server.holm(&["-n", "blue", "local", "add", "4242"]);
    assert!(added.status.success());
    let said = String::from_utf8_lossy(&added.stderr);
    // An ordinary user never had it.
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(said.starts_with("holm: CAP_SYS_ADMIN, without which few files"), is_root, "{said}");
    server.end();
}

/// Without a word of configuration, and also where another server has the door.
#[test]
fn a_directory_that_is_served_has_a_door_for_whoever_serves_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let served = folder.path().join("served");
    fs::create_dir(&served).expect("made");
    fs::write(served.join("file"), "content").expect("written");
    let serve = |state: &str, admin: &str| {
        let mut command = Command::new(HOLM);
        command.arg("serve").arg(&served).args(["--listen", "127.0.0.1:0", "--state-dir"]);
        command.arg(folder.path().join(state)).arg("--admin").arg(folder.path().join(admin));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut said = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut said).expect("it says where it is");
        let at = said.trim().rsplit(' ').next().and_then(|at| at.parse().ok());
        (Ended(child), at.unwrap_or_else(|| panic!("{said}")))
    };
    let (_first, at) = serve("state", "first.sock");
    let mut nfs = Nfs::connect(at);
    let root = nfs.mount("/").expect("mounted");
    let handle = nfs.lookup(&root, "file").expect("there");
    let socket = folder.path().join("local/default.sock");
    let door = AtDoor::come_in(&socket, &mut nfs);
    let (_, file) = door.open(&handle, Access::Read).expect("opened");
    let mut content = [0; 7];
    file.read_exact_at(&mut content, 0).expect("read");
    assert_eq!(&content, b"content");

    let (_second, at) = serve("other-state", "second.sock");
    assert!(Nfs::connect(at).mount("/").is_ok());
    drop(AtDoor::come_in(&socket, &mut nfs));
}

/// Ends a server with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
