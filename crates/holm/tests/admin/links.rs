//! Links, addresses and routes on the command line, and captures.

use crate::running::Running;
use serde_json::{Value, json};
use std::io::Read;
use std::process::{Child, Stdio};

/// The words of a line, for each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Two namespaces.
fn start() -> Running {
    let server = Running::start("");
    for name in ["blue", "green"] {
        server.says(&["ns", "add", name]);
    }
    server
}

/// A command on the namespace blue.
fn blue<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["-n", "blue"], arguments].concat()
}

/// All that is known of one interface.
fn shown(server: &Running, name: &str) -> Value {
    server.json(&blue(&["link", "show", name, "--json"]))
}

fn has_flag(link: &Value, flag: &str) -> bool {
    link["flags"].as_array().expect("an array").contains(&json!(flag))
}

#[test]
fn a_link_is_made_changed_shown_and_destroyed() {
    let server = start();
    let socket = server.folder().join("p0.sock");
    // A path is named as seen from here.
    let add = blue(&["link", "add", "p0", "type", "stream", "path", "p0.sock", "mtu", "2000"]);
    let said = server.command(&add).current_dir(server.folder()).output().expect("ran");
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "p0: made; no-link\n");
    assert!(socket.exists());
    let link = shown(&server, "p0");
    assert_eq!((&link["type"], &link["mtu"]), (&json!("stream"), &json!(2000)));
    assert_eq!(link["spec"]["path"], json!(socket));
    assert!(has_flag(&link, "up") && !has_flag(&link, "running"), "{link}");

    let mac = "02:00:00:00:00:07";
    server.says(&blue(&["link", "set", "p0", "down", "mtu", "9000", "mac", mac]));
    let link = shown(&server, "p0");
    assert_eq!((&link["mtu"], &link["mac"]), (&json!(9000), &json!(mac)));
    assert!(!has_flag(&link, "up"), "{link}");
    server.says(&blue(&["link", "set", "p0", "up"]));
    server.says(&blue(&["link", "set", "p0", "name", "q0", "mtu", "9000"]));
    server.refused(1, &blue(&["link", "show", "p0"]));
    let listed = server.says(&blue(&["link", "show"]));
    let rows = words(&listed);
    assert_eq!(rows[0][..5], ["NAME", "TYPE", "STATE", "MTU", "MAC"]);
    assert_eq!(rows[1][..3], ["lo", "lo", "up"]);
    assert_eq!(rows[2][..7], ["q0", "stream", "no-link", "9000", mac, "-", "-"]);
    let said = server.says(&blue(&["link", "show", "q0"]));
    assert!(said.starts_with("q0: stream, no-link\n"), "{said}");
    assert!(said.contains(&format!("who connects to {}", socket.display())), "{said}");

    assert_eq!(server.says(&blue(&["link", "del", "q0"])), "q0: gone\n");
    assert!(!socket.exists());
    assert_eq!(server.json(&blue(&["link", "show", "--json"])).as_array().map(Vec::len), Some(1));
    server.end();
}

#[test]
fn a_link_without_a_name_gets_the_next_unit_that_is_free() {
    let server = start();
    let add = || server.says(&blue(&["link", "add", "type", "lagg", "proto", "failover"]));
    let made = |said: String| said.split(':').next().map(str::to_owned);
    assert_eq!([made(add()), made(add())], ["lagg0", "lagg1"].map(|name| Some(name.to_owned())));
    server.says(&blue(&["link", "add", "lagg2", "type", "lagg"]));
    server.says(&blue(&["link", "del", "lagg0"]));
    let again = [made(add()), made(add())];
    assert_eq!(again, ["lagg0", "lagg3"].map(|name| Some(name.to_owned())));
    // A name that looks like the word is one where the word follows.
    let said = server.says(&blue(&["link", "add", "type", "type", "pair", "peer", "p1"]));
    assert_eq!(made(said).as_deref(), Some("type"));
    server.refused(1, &blue(&["link", "add", "type", "pair"]));
    server.end();
}

#[test]
fn the_far_end_of_a_pair_is_set_and_destroyed_where_it_is() {
    let server = cable();
    let green = |words: &[&'static str]| [&["-n", "green", "link"], words].concat();
    let set = green(&["set", "c1", "mtu", "9000", "half-duplex", "down", "name", "c2"]);
    assert_eq!(server.says(&set), "c2: changed; down\n");
    let far = server.json(&green(&["show", "c2", "--json"]));
    assert_eq!((&far["mtu"], &far["media"]["full-duplex"]), (&json!(9000), &json!(false)));
    let near = server.json(&blue(&["link", "show", "c0", "--json"]));
    let said = json!({ "up": false, "mtu": 9000, "media": { "full-duplex": false } });
    assert_eq!((&near["spec"]["peer"], &near["spec"]["peer-link"]), (&json!("c2"), &said));
    let said = server.refused(1, &green(&["set", "c2", "fast"]));
    assert!(said.contains("link c2: a pair has no lacp, only lagg"), "{said}");
    let words = ["link", "add", "d0", "type", "pair", "peer", "d1", "peer-link", "9"];
    let said = server.refused(2, &blue(&words));
    assert!(said.contains("peer-link means nothing here"), "{said}");
    assert_eq!(server.says(&green(&["del", "c2"])), "c2: gone\n");
    server.refused(1, &blue(&["link", "show", "c0"]));
    server.end();
}

#[test]
fn an_end_of_a_pair_is_moved_to_another_namespace() {
    let server = cable();
    server.says(&["ns", "add", "red"]);
    speak(&server);
    let moved = server.says(&blue(&["link", "move", "c0", "--to", "red", "--name", "c2"]));
    assert_eq!(moved, "c0: moved to red as c2; up\n");
    server.refused(1, &blue(&["link", "show", "c0"]));
    let there = server.json(&["-n", "red", "link", "show", "c2", "--json"]);
    assert_eq!((&there["addresses"], &there["spec"]["peer"]), (&json!([]), &json!("c1")));
    // The far end, of which nothing is said in its own namespace, moves as well.
    let moved = server.says(&["-n", "green", "link", "move", "c1", "--to", "blue"]);
    assert_eq!(moved, "c1: moved to blue as c1; up\n");
    let said = server.says(&["-n", "red", "link", "show", "c2"]);
    assert!(said.contains("to       c1 in blue"), "{said}");
    let said = server.refused(1, &blue(&["link", "move", "lo", "--to", "red"]));
    assert!(said.contains("only an end of a pair can be moved"), "{said}");
    let said = server.refused(1, &blue(&["link", "move", "c1", "--to", "rad"]));
    assert!(said.contains("did you mean red?"), "{said}");
    server.refused(2, &blue(&["link", "move", "c1"]));
    server.end();
}

#[test]
fn media_of_a_link_are_said_and_changed() {
    let server = start();
    let add = ["link", "add", "a", "type", "pair", "peer", "b", "speed", "1000"];
    server.says(&blue(&add));
    let media = |server: &Running| shown(server, "a")["media"].clone();
    assert_eq!(media(&server), json!({ "speed": 1000, "full-duplex": true }));
    server.says(&blue(&["link", "set", "a", "half-duplex"]));
    assert_eq!(media(&server), json!({ "speed": 1000, "full-duplex": false }));
    let said = server.says(&blue(&["link", "show", "a"]));
    assert!(said.contains("media    1000 Mbit/s, half duplex"), "{said}");
    server.refused(2, &blue(&["link", "set", "a", "speed", "fast"]));
    let said = server.refused(1, &blue(&["link", "add", "l", "type", "lagg", "speed", "1000"]));
    assert!(said.contains("a lagg has no media"), "{said}");
    server.end();
}

#[test]
fn addresses_and_routes_come_and_go() {
    let server = start();
    server.says(&blue(&[
        "link",
        "add",
        "p0",
        "type",
        "stream",
        "path",
        "/tmp/none/p0.sock",
        "connect",
    ]));
    server.says(&blue(&["addr", "add", "10.0.0.1/24", "dev", "p0"]));
    server.says(&blue(&["addr", "add", "fd00::1/64", "dev", "p0"]));
    let said =
        json!([{ "cidr": "10.0.0.1/24", "dev": "p0" }, { "cidr": "fd00::1/64", "dev": "p0" }]);
    let addresses = server.json(&blue(&["addr", "show", "--json"]));
    for address in said.as_array().expect("an array") {
        assert!(addresses.as_array().expect("an array").contains(address), "{addresses}");
    }
    assert!(shown(&server, "p0")["addresses"].to_string().contains("10.0.0.1/24"));
    let listed = server.says(&blue(&["addr", "show"]));
    assert!(words(&listed).contains(&vec!["10.0.0.1/24", "p0", "-"]), "{listed}");
    let own = shown(&server, "p0")["link-local"].as_str().expect("an address").to_owned();
    assert!(own.starts_with("fe80::"), "{own}");
    assert!(words(&listed).contains(&vec![own.as_str(), "p0", "automatic"]), "{listed}");
    let said = server.says(&blue(&["link", "show", "p0"]));
    assert!(said.contains(&format!("address  {own} (automatic)")), "{said}");
    server.refused(1, &blue(&["addr", "del", &own, "dev", "p0"]));
    // The same address in another namespace is another.
    server.says(&["-n", "green", "link", "add", "p0", "type", "pair", "peer", "p1"]);
    server.says(&["-n", "green", "addr", "add", "10.0.0.1/24", "dev", "p0"]);

    server.says(&blue(&["route", "add", "default", "via", "10.0.0.254"]));
    server.says(&blue(&["route", "add", "10.7.0.0/16", "via", "10.0.0.7"]));
    let listed = server.says(&blue(&["route", "show"]));
    assert_eq!(words(&listed)[0], ["TO", "VIA", "DEV"]);
    assert!(words(&listed).contains(&vec!["default", "10.0.0.254", "p0"]), "{listed}");
    server.says(&blue(&["route", "del", "default", "via", "10.0.0.254"]));
    let routes = server.json(&blue(&["route", "show", "--json"]));
    assert_eq!(routes, json!([{ "to": "10.7.0.0/16", "via": "10.0.0.7", "dev": "p0" }]));
    let said = server.says(&["ns", "show", "blue"]);
    assert!(said.contains("10.7.0.0/16 via 10.0.0.7, by p0"), "{said}");
    server.says(&blue(&["route", "del", "10.7.0.0/16", "via", "10.0.0.7"]));
    server.says(&blue(&["addr", "del", "10.0.0.1/24", "dev", "p0"]));
    assert!(!shown(&server, "p0")["addresses"].to_string().contains("10.0.0.1"));
}

#[test]
fn ports_join_a_lagg_and_leave_it() {
    let server = start();
    for name in ["a", "b"] {
        server
            .says(&blue(&["link", "add", name, "type", "pair", "peer", name, "peer-ns", "green"]));
    }
    let said = server.says(&blue(&[
        "link",
        "add",
        "l0",
        "type",
        "lagg",
        "proto",
        "lacp",
        "ports",
        "a",
        "fast",
        "addr",
        "10.0.0.1/24",
    ]));
    assert!(said.starts_with("l0: made"), "{said}");
    server.says(&blue(&["link", "set", "b", "master", "l0"]));
    let lagg = &shown(&server, "l0")["lagg"];
    assert_eq!((&lagg["proto"], &lagg["lacp"]["fast"]), (&json!("lacp"), &json!(true)));
    assert_eq!((&lagg["ports"][0]["name"], &lagg["ports"][1]["name"]), (&json!("a"), &json!("b")));
    assert_eq!(shown(&server, "b")["master"], "l0");
    let listed = server.says(&blue(&["link", "show"]));
    let rows = words(&listed);
    let row = rows.iter().find(|row| row[0] == "l0").expect("listed");
    assert_eq!((row[1], row[5], row[6]), ("lagg", "10.0.0.1/24", "lacp:a,b"));
    let said = server.says(&blue(&["link", "show", "l0"]));
    for part in
        ["lacp; flows by", "active, fast, strict", "port     a", "the partner has said nothing"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    server.says(&blue(&["link", "set", "b", "nomaster"]));
    server.says(&blue(&["link", "set", "l0", "proto", "failover"]));
    let lagg = &shown(&server, "l0")["lagg"];
    assert_eq!(
        (&lagg["proto"], lagg["ports"].as_array().map(Vec::len)),
        (&json!("failover"), Some(1))
    );
    // The other end goes with this one.
    server.says(&blue(&["link", "del", "b"]));
    server.refused(1, &["-n", "green", "link", "show", "b"]);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let server = start();
    server.says(&blue(&["link", "add", "uplink", "type", "pair", "peer", "u1"]));
    for (code, arguments, reason) in [
        (1, &["link", "show", "uplnk"][..], "did you mean uplink"),
        (1, &["link", "set", "nothing-like-it", "up"], "nothing-like-it"),
        (1, &["link", "del", "uplnk"], "uplnk"),
        (1, &["link", "del", "lo"], "lo"),
        (1, &["link", "capture", "uplnk", "/tmp/none/x.pcapng"], "did you mean uplink"),
        (1, &["link", "add", "uplink", "type", "lagg"], "uplink"),
        (1, &["link", "add", "s", "type", "stream"], "path"),
        (1, &["link", "add", "s", "type", "lagg", "mtu", "5"], "576"),
        (1, &["addr", "add", "10.0.0.1/24", "dev", "uplnk"], "uplnk"),
        (1, &["addr", "add", "10.0.0.1/99", "dev", "uplink"], "10.0.0.1/99"),
        (1, &["addr", "del", "10.0.0.1/24", "dev", "uplink"], "10.0.0.1/24"),
        (1, &["route", "add", "10.0.0.0/8", "via", "fd00::1"], "fd00::1"),
        (1, &["route", "del", "default", "via", "10.0.0.1"], "default"),
        (2, &["link", "add", "s"], "type"),
        (2, &["link", "add", "s", "type", "strem"], "did you mean stream"),
        (2, &["link", "add", "s", "type", "lagg", "port", "a"], "did you mean ports"),
        (2, &["link", "set", "uplink"], "WORD"),
        (2, &["link", "set", "uplink", "mtuu", "5"], "did you mean mtu"),
        (2, &["addr", "add", "10.0.0.1/24", "on", "uplink"], "dev"),
        (2, &["route", "add", "default", "via", "somewhere"], "somewhere"),
    ] {
        let said = server.refused(code, &blue(arguments));
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    for arguments in [&["link", "show"][..], &["addr", "show"], &["route", "show"]] {
        let said = server.refused(2, arguments);
        assert!(said.contains("-n NS"), "{arguments:?}: {said}");
    }
    assert_eq!(server.json(&blue(&["link", "show", "--json"])).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_capture_holds_what_passed_until_the_link_goes() {
    let server = cable();
    let file = server.folder().join("c0.pcapng").display().to_string();
    let capture = capture(&server, &file);
    speak(&server);
    server.says(&blue(&["link", "del", "c0"]));
    let ended = capture.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("the interface has gone"), "{ended:?}");
    let bytes = std::fs::read(file).expect("written");
    let frames = frames(&bytes).expect("whole blocks");
    assert!(
        said.starts_with(&format!("holm: {} frames captured, 0 are missing", frames.len())),
        "{said}"
    );
    assert!(frames.iter().any(|frame| is_arp(frame)), "{} frames", frames.len());
}

#[test]
fn a_capture_goes_into_a_pipe_until_it_is_interrupted() {
    let server = cable();
    let mut capture = capture(&server, "-");
    speak(&server);
    let mut out = capture.stdout.take().expect("piped");
    let mut bytes = Vec::new();
    // A part of a block may be on its way.
    while !frames(&bytes).is_some_and(|frames| frames.iter().any(|frame| is_arp(frame))) {
        let mut more = [0; 4096];
        let count = out.read(&mut more).expect("read");
        assert!(count > 0, "it ended");
        bytes.extend(&more[..count]);
    }
    let pid = capture.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .expect("ran")
            .success()
    );
    out.read_to_end(&mut bytes).expect("read");
    let ended = capture.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && said.contains("frames captured, 0 are missing\n"),
        "{ended:?}"
    );
    assert!(frames(&bytes).is_some(), "only whole blocks are written");
    // The interface is rid of it.
    while has_flag(&shown(&server, "c0"), "tapped") {}
}

#[test]
fn a_capture_ends_with_the_server() {
    let server = cable();
    let capture = capture(&server, "-");
    server.end();
    let ended = capture.wait_with_output().expect("ended");
    assert!(ended.status.success() && frames(&ended.stdout).is_some(), "{ended:?}");
}

/// A server with a cable between blue and green.
fn cable() -> Running {
    let server = start();
    server.says(&blue(&["link", "add", "c0", "type", "pair", "peer", "c1", "peer-ns", "green"]));
    server
}

/// A capture of one end of it that has begun.
fn capture(server: &Running, file: &str) -> Child {
    let mut command = server.command(&blue(&["link", "capture", "c0", file]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    while !has_flag(&shown(server, "c0"), "tapped") {
        assert_eq!(child.try_wait().expect("asked"), None, "it ended");
    }
    child
}

/// Has something pass: who gets an address tells all.
fn speak(server: &Running) {
    server.says(&blue(&["addr", "add", "10.0.0.1/24", "dev", "c0"]));
}

fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 6])
}

/// The frames in whole blocks of a file; none if it ends within one.
fn frames(mut file: &[u8]) -> Option<Vec<&[u8]>> {
    let word = |bytes: &[u8], at: usize| {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().expect("four")) as usize)
    };
    let mut frames = Vec::new();
    while !file.is_empty() {
        let (block, rest) = file.split_at_checked(word(file, 4)?)?;
        assert_eq!(word(block, block.len() - 4), Some(block.len()));
        if word(block, 0) == Some(6) {
            frames.push(&block[28..28 + word(block, 20)?]);
        }
        file = rest;
    }
    Some(frames)
}
