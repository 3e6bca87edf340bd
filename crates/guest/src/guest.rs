//! A guest that runs.

use std::{
    fmt,
    io::Write,
    os::unix::net::UnixStream,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Builder, Error, Remains, error::Text, monitor::Monitor, streams::Streams};

/// A script that has ended has this long to hand over its last output. A process that it left and
/// that can't be killed, because its server does not answer, would hold the stream open.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A running guest. Dropping it kills it, and so does the end of this process.
///
/// - To describe and start one: [`builder`](Self::builder).
/// - While it runs: [`wait_for_output`](Self::wait_for_output), [`stdout`](Self::stdout),
///   [`send`](Self::send), [`close_stdin`](Self::close_stdin), [`set_link`](Self::set_link),
///   [`pause`](Self::pause), [`resume`](Self::resume), [`monitor`](Self::monitor).
/// - To end it: [`wait`](Self::wait) for its script, or [`power_loss`](Self::power_loss).
#[derive(Debug)]
pub struct Guest {
    parts: Parts,
}

/// What a guest consists of here.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) child: Child,
    pub(crate) streams: Streams,
    pub(crate) stdin: Option<UnixStream>,
    pub(crate) monitor: Monitor,
    pub(crate) begin: Instant,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

/// How a script ended.
#[derive(Clone)]
pub struct Outcome {
    /// Its exit code, or 128 plus the number of the signal that ended it.
    pub code: i32,
    /// Its standard output, unless it was only streamed.
    pub stdout: Vec<u8>,
    /// Its standard error, unless it was only streamed.
    pub stderr: Vec<u8>,
    /// The end of the kernel's console.
    pub console: Vec<u8>,
    /// The time from power-on to the start of the script.
    pub boot: Duration,
    /// The time from power-on to its end.
    pub total: Duration,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("code", &self.code)
            .field("stdout", &Text(&self.stdout))
            .field("stderr", &Text(&self.stderr))
            .field("console", &Text(&self.console))
            .field("boot", &self.boot)
            .field("total", &self.total)
            .finish()
    }
}

impl Outcome {
    /// Insists on exit code 0.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], with the output.
    pub fn success(self) -> Result<Self, Error> {
        if self.code == 0 {
            return Ok(self);
        }
        let Self { code, stdout, stderr, console, .. } = self;
        let remains = Remains { stdout, stderr, console, qemu: Vec::new() };
        Err(Error::Failed { code, remains: Box::new(remains) })
    }

    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Guest {
    /// Describes a guest.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// QEMU's process: its processor time is the guest's.
    pub fn process(&self) -> u32 {
        self.parts.child.id()
    }

    /// The standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.parts.streams.state().remains.stdout.clone()
    }

    /// Waits until the standard output contains `text`.
    ///
    /// # Errors
    ///
    /// The time of this call or of the guest is over, or the script ended without having said it.
    ///
    /// # Panics
    ///
    /// The output is not [captured](crate::Output).
    pub fn wait_for_output(&mut self, text: &str, within: Duration) -> Result<(), Error> {
        assert!(self.parts.streams.captures(), "the output of {} is not captured", self.name());
        let begin = Instant::now();
        let own = begin + within;
        let deadline = self.parts.deadline.map_or(own, |deadline| deadline.min(own));
        let needle = text.as_bytes();
        let mut searched = 0;
        let mut found = |stdout: &[u8]| {
            let found = needle.is_empty()
                || stdout[searched..].windows(needle.len()).any(|window| window == needle);
            searched = (stdout.len() + 1).saturating_sub(needle.len().max(1)).max(searched);
            found
        };
        let mut said = false;
        let in_time = self.parts.streams.wait_until(Some(deadline), |state| {
            said = found(&state.remains.stdout);
            (said || state.ended || state.gone || state.broken, None)
        });
        if said {
            return Ok(());
        }
        if !in_time {
            let remains = Box::new(self.parts.streams.state().remains.clone());
            return Err(Error::Timeout { after: begin.elapsed(), remains });
        }
        // Its last words may still be on their way through our end of the stream.
        let gone = self.parts.streams.state().gone;
        self.parts.end(gone)?;
        let state = self.parts.streams.state();
        if found(&state.remains.stdout) {
            return Ok(());
        }
        Err(Error::Unsaid { text: text.into(), remains: Box::new(state.remains.clone()) })
    }

    /// Writes to the script's standard input, which the [builder](Builder::stdin) must have
    /// connected.
    ///
    /// # Errors
    ///
    /// It is not connected or not open any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        let stdin = self.parts.stdin.as_mut().ok_or_else(|| {
            Error::Invalid(format!("the standard input of {} is not connected", self.parts.name))
        })?;
        stdin
            .write_all(bytes.as_ref())
            .map_err(Error::io(format!("write to the standard input of {}", self.parts.name)))
    }

    /// Ends the script's standard input.
    pub fn close_stdin(&mut self) {
        self.parts.stdin = None;
    }

    /// Plugs or unplugs the cable of the interface `eth{index}`.
    ///
    /// # Errors
    ///
    /// There is none, or QEMU is gone.
    pub fn set_link(&mut self, index: usize, up: bool) -> Result<(), Error> {
        let arguments = json!({ "name": format!("eth{index}"), "up": up });
        self.monitor("set_link", arguments).map(drop)
    }

    /// Stops its processors: a client that does not answer, with all its connections open.
    ///
    /// # Errors
    ///
    /// QEMU is gone.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.monitor("stop", json!({})).map(drop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// QEMU is gone.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.monitor("cont", json!({})).map(drop)
    }

    /// Runs a command of QEMU's monitor (QMP); returns its result.
    ///
    /// # Errors
    ///
    /// QEMU refuses it or is gone.
    pub fn monitor(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        self.parts.monitor.run(command, arguments)
    }

    /// Waits for the end of the script, then ends the guest: its kept disks are unmounted by then.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], or [`Error::Died`] when the guest ended first.
    pub fn wait(mut self) -> Result<Outcome, Error> {
        let parts = &mut self.parts;
        let in_time = parts.streams.wait_until(parts.deadline, |state| {
            let patience = state.unmounted.map(|time| time + LAST_WORDS);
            let patient = patience.is_none_or(|until| Instant::now() < until);
            (state.ended || state.gone || state.broken || !patient, patience)
        });
        // QEMU may have gone by itself; its status tells why.
        let gone = parts.streams.state().gone;
        let status = parts.end(gone)?;
        let (total, mut state) = (parts.begin.elapsed(), parts.streams.state());
        let remains = std::mem::take(&mut state.remains);
        match state.exited {
            Some((code, ended)) if in_time && state.unmounted.is_some() => Ok(Outcome {
                code,
                stdout: remains.stdout,
                stderr: remains.stderr,
                console: remains.console,
                boot: state.started.map_or(total, |time| time - parts.begin),
                total: ended - parts.begin,
            }),
            _ if in_time => {
                Err(Error::Died { status: status.to_string(), remains: Box::new(remains) })
            }
            _ => {
                let after = parts.timeout.unwrap_or(total);
                Err(Error::Timeout { after, remains: Box::new(remains) })
            }
        }
    }

    /// Ends the guest as a power loss would: at once, between two instructions. What its
    /// [kept disks](crate::Disk::kept) were given is there for the next guest.
    ///
    /// # Errors
    ///
    /// QEMU can't be killed or waited for.
    pub fn power_loss(mut self) -> Result<Remains, Error> {
        self.parts.end(false)?;
        Ok(std::mem::take(&mut self.parts.streams.state().remains))
    }
}

impl Parts {
    /// Ends QEMU, unless it does so itself, and reads all that is left of its streams.
    fn end(&mut self, gone: bool) -> Result<ExitStatus, Error> {
        if !gone {
            self.child.kill().map_err(Error::io("kill QEMU"))?;
        }
        let status = self.child.wait().map_err(Error::io("wait for QEMU"))?;
        self.streams.join();
        Ok(status)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Both fail only if it was done before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.streams.join();
    }
}
