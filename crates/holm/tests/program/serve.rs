//! `holm serve DIR` as its users meet it.

use crate::world::{HOLM, World, install, succeeds};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn libnfs_copies_in_and_out() {
    install("libnfs-utils", "/usr/bin/nfs-cp");
    let world = World::new();
    let server = world.serve(&[]);
    let here = world.folder().join("here");
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
fn read_only_is_read_only() {
    install("libnfs-utils", "/usr/bin/nfs-cp");
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
    let missing = world.folder().join("missing");
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

/// `holm serve --config`, from the first line to the second signal.
#[test]
fn configuration_is_served_read_again_and_ended() {
    let world = World::new();
    let file = world.folder().join("holm.toml");
    let dir = world.served();
    let table = |name: &str| {
        let dir = dir.display();
        format!("[ns.{name}]\nexport = [{{ path = \"/\", dir = \"{dir}\" }}]\n")
    };
    fs::write(&file, table("blue") + "wrong = 1\n").unwrap();
    let mut check = Command::new(HOLM);
    check.arg("check").arg(&file);
    let refused = check.output().unwrap();
    let known = "export, listen, link, addr, route, limits, local";
    let expected = format!("{}:3:1: unknown key wrong: known are {known}\n", file.display());
    assert_eq!(String::from_utf8_lossy(&refused.stderr), expected);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    let serve = || {
        let mut serve = Command::new(HOLM);
        serve.args(["serve", "--state-dir"]).arg(world.folder().join("state"));
        serve.arg("--config").arg(&file);
        serve.arg("--admin").arg(world.admin());
        serve
    };
    let refused = serve().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&refused.stderr), expected);
    assert_eq!(refused.status.code(), Some(1));

    fs::write(&file, table("blue")).unwrap();
    let right = succeeds(&mut check);
    let expected = format!("{}: 1 namespace, 1 export, 0 listeners\n", file.display());
    assert_eq!(String::from_utf8_lossy(&right.stdout), expected);
    let mut server = serve().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "serving 1 namespace, 1 export, 0 listeners\n");

    let mut second = serve();
    let refused = second.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains(&format!("another server uses it (process {})", server.id())), "{why}");

    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut wait_for = |what: &str| {
        let line = log.find(|line| line.as_ref().is_ok_and(|line| line.contains(what)));
        assert!(line.is_some(), "never said: {what}");
    };
    let signal =
        |signal: &str| succeeds(Command::new("kill").args([signal, &server.id().to_string()]));
    fs::write(&file, table("blue") + &table("green")).unwrap();
    signal("-HUP");
    wait_for("namespace green added");
    fs::write(&file, table("blue") + "wrong = 1\n").unwrap();
    signal("-HUP");
    wait_for("configuration refused: ");
    signal("-TERM");
    wait_for("ending");
    assert!(server.wait().unwrap().success());
}

#[test]
fn ordinary_user_serves_what_is_his() {
    install("libnfs-utils", "/usr/bin/nfs-cp");
    let world = World::new();
    let server = world.serve_as_ordinary_user();
    succeeds(Command::new("nfs-cp").arg("/etc/hostname").arg(server.url("/name")));
    assert_eq!(fs::read(world.served().join("name")).unwrap(), fs::read("/etc/hostname").unwrap());
    server.end();
}
