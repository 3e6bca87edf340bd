//! QEMU's monitor (QMP): a line of JSON each way for a command.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::Error;

/// QEMU answers between two instructions of the guest; not to answer for this long is a fault.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection to the monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    greeted: bool,
}

impl Monitor {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), greeted: false })
    }

    /// Runs a command; returns its result.
    pub(crate) fn run(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        if !self.greeted {
            self.exchange("qmp_capabilities", json!({}))?;
            self.greeted = true;
        }
        self.exchange(command, arguments)
    }

    fn exchange(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let attempt = || Error::io(format!("ask QEMU for {command}"));
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(attempt())?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).map_err(attempt())? == 0 {
                return Err(attempt()(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut answer: Value = serde_json::from_str(&line)
                .map_err(|error| attempt()(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                let answer = error["desc"].as_str().unwrap_or(&line).to_owned();
                return Err(Error::Monitor { command: command.into(), answer });
            }
            // The greeting, or an event.
        }
    }
}
