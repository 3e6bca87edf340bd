//! `holm monitor` shows what happens, while it happens.

use crate::running::Running;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

struct Monitor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Monitor {
    /// One that is known to listen.
    fn start(server: &Running, arguments: &[&str]) -> Self {
        let mut child = server.command(arguments).stdout(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, heard) = std::sync::mpsc::channel();
        // What happens before it listens is not shown; so something happens until it is.
        let reader = std::thread::spawn(move || {
            let mut lines = lines;
            let first = lines.next();
            let _ = sender.send(());
            first.expect("a line").expect("text");
            lines
        });
        while heard.try_recv().is_err() {
            server.says(&["ns", "add", "probe"]);
            server.says(&["ns", "del", "probe"]);
        }
        Self { child, lines: reader.join().expect("no panic") }
    }

    /// The next line that is about this.
    fn about(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.next().expect("it goes on").expect("text");
            if line.contains(what) {
                return line;
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_life_of_a_namespace_is_shown() {
    let server = Running::start("");
    let mut people = Monitor::start(&server, &["monitor"]);
    let mut machine = Monitor::start(&server, &["monitor", "--json"]);
    let red = server.folder().join("red").display().to_string();
    server.says(&["ns", "add", "seen"]);
    server.says(&["-n", "seen", "export", "add", "/data", &red]);
    server.says(&["-n", "seen", "listen", "add", "127.0.0.1:0"]);
    server.says(&["-n", "seen", "export", "del", "/data"]);
    server.says(&["ns", "del", "seen"]);

    for expected in [
        "created",
        "exports /data",
        "listens at 127.0.0.1:",
        "exports /data no more",
        "draining",
        "gone",
    ] {
        let line = people.about("seen@");
        assert!(line.contains(expected), "{expected}: {line}");
        assert!(line.starts_with("20") && line[10..11] == *"T", "it begins with the time: {line}");
    }
    for expected in
        ["created", "export-added", "listener-added", "export-removed", "draining", "gone"]
    {
        let event: Value = serde_json::from_str(&machine.about("seen@")).expect("JSON");
        assert_eq!(event["event"], expected, "{event}");
    }
}

#[test]
fn it_ends_with_the_server() {
    let server = Running::start("");
    let mut monitor = Monitor::start(&server, &["monitor"]);
    server.end();
    while monitor.lines.next().is_some() {}
    assert!(monitor.child.wait().expect("ended").success());
}

#[test]
fn the_end_of_the_server_is_shown_to_the_last() {
    let server = Running::start("");
    let mut monitor = Monitor::start(&server, &["monitor"]);
    server.says(&["ns", "add", "last"]);
    server.end();
    for expected in ["created", "draining", "gone"] {
        let line = monitor.about("last@");
        assert!(line.contains(expected), "{expected}: {line}");
    }
}
