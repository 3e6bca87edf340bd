//! Every command, what it says, and the code with which it ends.

use crate::running::{HOLM, Running, unread};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The words of a line, for each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_tenant_is_made_shown_and_removed() {
    let server = Running::start("");
    let dir = |name: &str| server.folder().join(name).display().to_string();

    let said = server.says(&["ns", "add", "blue"]);
    assert!(said.starts_with("blue@") && said.ends_with(": created\n"), "{said}");
    let blue = said.split(':').next().expect("a name").to_owned();

    let said = server.says(&[
        "-n",
        "blue",
        "export",
        "add",
        "/",
        &dir("blue"),
        "--read-only",
        "--squash",
        "all",
        "--client",
        "10.0.0.0/8",
        "--client",
        "::1",
        "--anon-uid",
        "77",
    ]);
    assert!(said.starts_with(&format!("/: exported from {}", dir("blue"))), "{said}");
    let exports = server.json(&["-n", "blue", "export", "list", "--json"]);
    assert_eq!(exports[0]["clients"], json!(["10.0.0.0/8", "::1"]));
    assert_eq!(exports[0]["read-only"], true);
    assert_eq!((&exports[0]["squash"], &exports[0]["anon-uid"]), (&json!("all"), &json!(77)));
    let listed = server.says(&["-n", "blue", "export", "list"]);
    let [head, row] = &words(&listed)[..] else { panic!("{listed}") };
    assert_eq!(head[..5], ["PATH", "DIR", "ACCESS", "SQUASH", "CLIENTS"]);
    assert_eq!(row[..5], ["/", dir("blue").as_str(), "ro", "all", "10.0.0.0/8,::1"]);

    // A directory is named as seen from here.
    let relative = ["-n", "blue", "export", "add", "/here", "green"];
    let said = server.command(&relative).current_dir(server.folder()).output().expect("ran");
    assert!(said.status.success(), "{said:?}");
    let exports = server.json(&["-n", "blue", "export", "list", "--json"]);
    assert_eq!(exports[1]["dir"], json!(dir("green")));

    let said = server.says(&["-n", "blue", "listen", "add", "127.0.0.1:0"]);
    let local = said.trim_end().strip_prefix("listening at ").expect("an address").to_owned();
    let listeners = server.json(&["-n", "blue", "listen", "list", "--json"]);
    assert_eq!(listeners[0]["local"], json!(local));
    let listed = server.says(&["-n", "blue", "listen", "list"]);
    assert_eq!(words(&listed)[1], [local.as_str(), "-", "yes", "0"]);

    let listed = server.says(&["ns", "list"]);
    let row = words(&listed).into_iter().find(|row| row[0] == "blue").expect("listed");
    assert_eq!(row[2..5], ["live", "/,/here", local.as_str()]);
    let all = server.json(&["ns", "list", "--json"]);
    let ns = all.as_array().expect("an array").iter().find(|ns| ns["name"] == "blue");
    assert_eq!(ns.expect("listed")["listeners"][0]["local"], json!(local));
    let shown = server.says(&["ns", "show", "blue"]);
    assert!(shown.starts_with(&format!("{blue}: live\n")), "{shown}");
    for part in [&local, "/here from", "ro for 10.0.0.0/8,::1"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(server.json(&["ns", "show", &blue, "--json"])["name"], "blue");

    server.says(&["-n", "blue", "listen", "del", &local]);
    assert_eq!(server.json(&["-n", "blue", "listen", "list", "--json"]), json!([]));
    server.says(&["-n", "blue", "export", "del", "/here"]);
    assert_eq!(server.says(&["ns", "del", "blue", "--wait", "60"]), format!("{blue}: gone\n"));
    server.refused(1, &["ns", "show", &blue]);
    server.end();
}

#[test]
fn limits_are_set_one_by_one_and_shown() {
    let server = Running::start("");
    server.says(&["ns", "add", "blue"]);
    assert_eq!(server.json(&["-n", "blue", "limit", "show", "--json"]), json!({}));
    server.says(&["-n", "blue", "limit", "set", "connections", "64", "idle-time", "300"]);
    server.says(&["-n", "blue", "limit", "set", "open-files", "9", "idle-time", "default"]);
    let limits = json!({ "connections": 64, "open-files": 9 });
    assert_eq!(server.json(&["-n", "blue", "limit", "show", "--json"]), limits);
    assert_eq!(server.json(&["ns", "show", "blue", "--json"])["limits"], limits);
    let listed = server.says(&["-n", "blue", "limit", "show"]);
    let rows = words(&listed);
    assert_eq!(rows[..3], [["LIMIT", "VALUE"], ["connections", "64"], ["record-size", "default"]]);
    // One that can't be changes nothing.
    let said = server.refused(1, &["-n", "blue", "limit", "set", "open-files", "0"]);
    assert!(said.contains("write a number from 1"), "{said}");
    assert_eq!(server.json(&["-n", "blue", "limit", "show", "--json"]), limits);
}

#[test]
fn the_code_says_how_it_went() {
    let server = Running::start("");
    server.says(&["ns", "add", "blue"]);
    for (code, arguments, reason) in [
        (1, &["ns", "add", "blue"][..], "blue"),
        (1, &["ns", "del", "none"], "none"),
        (1, &["ns", "show", "blue@99"], "blue@99"),
        (1, &["-n", "blue", "export", "add", "/", "/missing/directory"], "/missing/directory"),
        (1, &["-n", "blue", "export", "del", "/missing"], "/missing"),
        (1, &["-n", "blue", "listen", "del", "127.0.0.1:1"], "127.0.0.1:1"),
        (1, &["-n", "none", "listen", "list"], "none"),
        (1, &["-n", "none", "limit", "show"], "none"),
        (2, &[], "Usage"),
        (2, &["ns"], "Usage"),
        (2, &["nss", "list"], "ns"),
        (2, &["ns", "add"], "NAME"),
        (2, &["ns", "add", "Not-A-Name"], "'N'"),
        (2, &["ns", "del", "blue", "--wait", "long"], "long"),
        (2, &["export", "list"], "-n NS"),
        (2, &["-n", "blue", "ns", "list"], "-n"),
        (2, &["-n", "blue", "listen", "add", "here"], "here"),
        (2, &["limit", "show"], "-n NS"),
        (2, &["-n", "blue", "limit", "set"], "KEY"),
        (2, &["-n", "blue", "limit", "set", "open-file", "1"], "did you mean open-files"),
        (2, &["-n", "blue", "limit", "set", "open-files", "1", "idle-time"], "idle-time needs"),
        (2, &["-n", "blue", "limit", "set", "open-files", "many"], "write a number"),
        (2, &["-n", "blue", "export", "add", "/", "/", "--squash", "some"], "some"),
        (2, &["top", "--interval", "0"], "0.1"),
    ] {
        let said = server.refused(code, arguments);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    let nowhere = server.folder().join("nowhere.sock");
    for arguments in [&["ns", "list"][..], &["monitor"], &["top", "--count", "1"]] {
        let output = Command::new(HOLM).arg("--admin").arg(&nowhere).args(arguments).output();
        let output = output.expect("ran");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("holm serve"), "{output:?}");
    }
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let server = Running::start("");
    server.says(&["ns", "add", "customer-blue"]);
    let said = server.refused(1, &["ns", "show", "custmer-blue"]);
    assert!(said.contains("did you mean customer-blue"), "{said}");
    let said = server.refused(1, &["ns", "show", "something-else"]);
    assert!(!said.contains("did you mean"), "{said}");
}

#[test]
fn who_stops_reading_is_no_error() {
    let server = Running::start("");
    server.says(&["ns", "add", "blue"]);
    let config = server.folder().join("holm.toml").display().to_string();
    for arguments in [
        &["ns", "list"][..],
        &["ns", "list", "--json"],
        &["ns", "show", "blue"],
        &["-n", "blue", "link", "show"],
        &["-n", "blue", "link", "show", "lo"],
        &["-n", "blue", "addr", "add", "127.0.0.7/8", "dev", "lo"],
        &["top", "--count", "1"],
        &["check", &config],
        &["--help"],
    ] {
        let mut command = server.command(arguments);
        let said = command.stdout(unread()).output().expect("ran");
        assert!(said.status.success() && said.stderr.is_empty(), "{arguments:?}: {said:?}");
    }
    // What is refused is so also where nobody hears why.
    let mut refused = server.command(&["ns", "show", "none"]);
    assert_eq!(refused.stderr(unread()).status().expect("ran").code(), Some(1));
    let mut missing = server.command(&["check", "/none/holm.toml"]);
    assert_eq!(missing.stderr(unread()).status().expect("ran").code(), Some(1));
}

#[test]
fn a_server_that_nobody_reads_goes_on() {
    let server = Running::start_unread("[ns.blue]\n");
    let file = server.folder().join("holm.toml");
    let config = fs::read_to_string(&file).expect("read");
    fs::write(&file, config + "[ns.green]\n").expect("written");
    // What comes of it is logged.
    server.signal("HUP");
    while server.json(&["ns", "list", "--json"]).as_array().map(Vec::len) != Some(2) {}
    server.end();
}

#[test]
fn another_user_is_refused_by_the_socket_and_by_the_server() {
    let server = Running::start("");
    // Where another user can run it.
    let program = server.folder().join("holm");
    fs::copy(HOLM, &program).expect("copied");
    fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o755)).expect("set");
    let as_other = || {
        let mut command = Command::new(&program);
        command.arg("--admin").arg(server.socket()).args(["ns", "list"]).current_dir("/");
        command.uid(54321).gid(54321).output().expect("ran")
    };
    let said = as_other();
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("may not connect"), "{said:?}");

    // Even if somebody opens the socket to all, the server looks who it is.
    let run = server.socket().parent().expect("a folder").to_owned();
    fs::set_permissions(run, fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(server.socket(), fs::Permissions::from_mode(0o666)).expect("set");
    let said = as_other();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("you may not"), "{said:?}");
    assert!(said.stdout.is_empty());
    chown(server.socket(), Some(54321), None).expect("set");
    assert_eq!(as_other().status.code(), Some(1), "owning the file changes nothing");
    server.says(&["ns", "list"]);
}

#[test]
fn a_second_server_does_not_take_the_socket() {
    let server = Running::start("");
    let second = server.serve_again();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("admin.sock") && said.contains("a server answers there"), "{said}");
    server.says(&["ns", "list"]);
    server.end();
}
