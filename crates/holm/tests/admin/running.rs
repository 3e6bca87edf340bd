//! A server that runs, and ways to ask it.

#![allow(dead_code, reason = "each test program uses its part")]

use serde_json::Value;
use std::fs;
use std::io::{PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The program.
pub const HOLM: &str = env!("CARGO_BIN_EXE_holm");

/// `holm serve --config`, with a folder of its own for everything.
pub struct Running {
    folder: TempDir,
    child: Child,
}

impl Running {
    /// A server with this configuration, beside what says where its socket and its state are. `{}` in
    /// it is the folder.
    pub fn start(config: &str) -> Self {
        Self::start_as(config, |_| {})
    }

    /// The same whose output goes nowhere, as when it went to `head`.
    pub fn start_unread(config: &str) -> Self {
        Self::start_as(config, |command| {
            command.stdout(unread()).stderr(unread());
        })
    }

    fn start_as(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["blue", "green", "red"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let at = folder.path().display().to_string();
        let config = format!(
            "admin = \"{at}/run/admin.sock\"\nstate-dir = \"{at}/state\"\n{}",
            config.replace("{}", &at)
        );
        fs::write(folder.path().join("holm.toml"), config).expect("written");
        let mut command = serve(folder.path());
        change(&mut command);
        let child = command.spawn().expect("started");
        let mut running = Self { folder, child };
        running.wait_until_it_answers();
        running
    }

    /// Starts it again where it was killed.
    pub fn restart(&mut self) {
        self.child.wait().expect("ended");
        self.child = serve(self.folder.path()).spawn().expect("started");
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.child.try_wait().expect("asked") {
                panic!("the server ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/admin.sock")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Another server with the same configuration, at the same time.
    pub fn serve_again(&self) -> Output {
        serve(self.folder.path()).stderr(Stdio::piped()).output().expect("ran")
    }

    /// A command on this server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(HOLM);
        command.arg("--admin").arg(self.socket()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn holm(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ran")
    }

    /// What a command says that succeeds.
    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.holm(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same, of a command that says JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.says(arguments);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }

    /// What a command says that is refused with this code.
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.holm(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// What is answered to a request.
    pub fn ask(&self, method: &str, uri: &str, body: Option<&str>) -> Answer {
        let body = body.unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {uri} HTTP/1.1\r\nhost: holm\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        Answer::read(&mut stream)
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).expect("somebody listens")
    }

    /// Ends the server as a service manager does.
    pub fn end(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}");
        assert!(!self.socket().exists(), "the socket was left");
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().expect("ran");
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that nobody reads any more.
pub fn unread() -> PipeWriter {
    std::io::pipe().expect("made").1
}

fn serve(folder: &Path) -> Command {
    let mut command = Command::new(HOLM);
    command.arg("serve").arg("--config").arg(folder.join("holm.toml")).stdin(Stdio::null());
    command.stdout(Stdio::null());
    command
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads until the end of the connection.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("read");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).expect("text");
        let mut lines = head.trim_end().lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status: status.expect("a status"), headers: lines.map(header).collect(), body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
