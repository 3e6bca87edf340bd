//! What comes out of a guest, read by a thread for each stream.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Remains, error::tail};

/// How much is kept of the console and of QEMU's own messages.
const LOG: usize = 64 << 10;

/// Where a script's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// It is kept for the caller.
    #[default]
    Capture,
    /// It is passed on to this process's own, as it comes.
    Stream,
    /// Both.
    Both,
}

/// A stream out of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Control,
    Console,
    Qemu,
}

/// What is known of a guest.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) remains: Remains,
    control: Vec<u8>,
    /// When the script started.
    pub(crate) started: Option<Instant>,
    /// The script's exit code, and when it came.
    pub(crate) exited: Option<(i32, Instant)>,
    /// When its kept disks were unmounted.
    pub(crate) unmounted: Option<Instant>,
    /// All its output is delivered, too.
    pub(crate) ended: bool,
    /// QEMU is gone.
    pub(crate) gone: bool,
    /// QEMU is there, and the guest will not go on.
    pub(crate) broken: bool,
}

/// The state and its readers.
#[derive(Debug)]
pub(crate) struct Streams {
    shared: Arc<(Mutex<State>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
    output: Output,
}

impl Streams {
    pub(crate) fn new(output: Output) -> Self {
        Self { shared: Arc::default(), readers: Vec::new(), output }
    }

    /// Whether the script's output is kept.
    pub(crate) fn captures(&self) -> bool {
        self.output != Output::Stream
    }

    /// Reads `from` to its end on a thread of its own.
    pub(crate) fn read(&mut self, stream: Stream, mut from: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let output = self.output;
        self.readers.push(thread::spawn(move || {
            let (state, changed) = &*shared;
            let mut buffer = vec![0; 64 << 10];
            loop {
                let bytes = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => &buffer[..count],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                if output != Output::Capture {
                    pass_on(stream, bytes);
                }
                lock(state).take(stream, bytes, output != Output::Stream);
                changed.notify_all();
            }
            if stream == Stream::Control {
                lock(state).gone = true;
                changed.notify_all();
            }
        }));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.0)
    }

    /// Waits until `done` holds; false when the time is over first. `done` also says how long it
    /// can go without being asked again.
    pub(crate) fn wait_until(
        &self,
        deadline: Option<Instant>,
        mut done: impl FnMut(&State) -> (bool, Option<Instant>),
    ) -> bool {
        let (state, changed) = &*self.shared;
        let mut guard = lock(state);
        loop {
            let (holds, again) = done(&guard);
            if holds {
                return true;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return false;
            }
            let left = [deadline, again]
                .into_iter()
                .flatten()
                .min()
                .map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(now));
            guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of all streams, which comes when QEMU is gone.
    pub(crate) fn join(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl State {
    fn take(&mut self, stream: Stream, bytes: &[u8], capture: bool) {
        match stream {
            Stream::Stdout if capture => self.remains.stdout.extend_from_slice(bytes),
            Stream::Stderr if capture => self.remains.stderr.extend_from_slice(bytes),
            Stream::Stdout | Stream::Stderr => {}
            Stream::Console => append(&mut self.remains.console, bytes),
            Stream::Qemu => {
                append(&mut self.remains.qemu, bytes);
                let mut lines = self.remains.qemu.split(|&byte| byte == b'\n');
                self.broken |= lines.any(|line| line.starts_with(b"KVM internal error"));
            }
            Stream::Control => {
                self.control.extend_from_slice(bytes);
                while let Some(end) = self.control.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = self.control.drain(..=end).collect();
                    self.report(&String::from_utf8_lossy(&line));
                }
            }
        }
    }

    /// Takes a line of the control port.
    fn report(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("start"), None) => self.started = Some(Instant::now()),
            (Some("exit"), Some(code)) => {
                self.exited = code.parse().ok().map(|code| (code, Instant::now()));
            }
            (Some("unmounted"), None) => self.unmounted = Some(Instant::now()),
            (Some("end"), None) => self.ended = true,
            _ => append(&mut self.remains.qemu, format!("control port: {line}").as_bytes()),
        }
    }
}

/// A reader that panicked has left nothing half-done in the state.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends to a log of limited length.
fn append(log: &mut Vec<u8>, bytes: &[u8]) {
    log.extend_from_slice(bytes);
    if log.len() > 2 * LOG {
        *log = tail(log, LOG).to_vec();
    }
}

/// Writes to our own output. Whoever reads that may be gone; the guest goes on.
fn pass_on(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
        _ => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_lines_may_come_in_pieces() {
        let mut state = State::default();
        for piece in ["sta", "rt\nex", "it 3", "\nunmounted\nend\n"] {
            state.take(Stream::Control, piece.as_bytes(), true);
        }
        assert!(state.started.is_some());
        assert_eq!(state.exited.map(|(code, _)| code), Some(3));
        assert!(state.unmounted.is_some());
        assert!(state.ended);
    }

    #[test]
    fn logs_keep_their_end() {
        let mut state = State::default();
        for number in 0..100_000 {
            state.take(Stream::Console, format!("{number}\n").as_bytes(), false);
        }
        assert!(state.remains.console.len() <= 2 * LOG);
        assert!(state.remains.console.ends_with(b"99999\n"));
    }
}
