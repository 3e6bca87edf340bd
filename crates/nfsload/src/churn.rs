//! Clients that come and go, and a server that has just been started.

use crate::client::Client;
use crate::driver::Done;
use crate::record::{Latency, Recorder};
use crate::{Error, Process, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connect, mount, call GETATTR a few times, disconnect; again and again.
#[derive(Debug, Clone)]
pub struct Churn {
    /// Sessions at the same time.
    pub workers: usize,
    /// GETATTR calls of each session.
    pub calls: usize,
    /// For how long.
    pub duration: Duration,
    /// The server, to know what it costs.
    pub server: Option<Process>,
}

impl Default for Churn {
    fn default() -> Self {
        Self { workers: 4, calls: 10, duration: Duration::from_secs(5), server: None }
    }
}

/// What a run of sessions measured. Each is two connections: one to MOUNT, one to NFS.
#[derive(Debug, Serialize)]
pub struct ChurnMeasurement {
    /// Sessions per second.
    pub sessions_per_s: f64,
    /// How long a session took.
    pub latency: Latency,
    /// CPU time of the server for one session.
    pub server_us_per_session: Option<f64>,
    /// Descriptors that the server has more than before.
    pub descriptors_left: Option<i64>,
    /// How often what went wrong.
    pub errors: BTreeMap<String, u64>,
}

impl Churn {
    /// Measures it.
    pub fn run(&self, target: &Target) -> Result<ChurnMeasurement, Error> {
        let descriptors = || self.server.and_then(Process::descriptors);
        let cpu = || self.server.and_then(Process::cpu_time);
        let (descriptors_before, cpu_before) = (descriptors(), cpu());
        let start = Instant::now();
        let recorders: Vec<Recorder> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.workers).map(|_| scope.spawn(|| self.sessions(target, start))).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        let mut all = Recorder::new();
        for recorder in &recorders {
            all.add(recorder);
        }
        let used = cpu_before.zip(cpu()).map(|(before, after)| after.saturating_sub(before));
        // The server may still be closing the last ones.
        let settled = Instant::now() + Duration::from_secs(2);
        let left = loop {
            let left = descriptors_before.zip(descriptors()).map(|(b, a)| a as i64 - b as i64);
            if left.is_none_or(|left| left <= 0) || Instant::now() > settled {
                break left;
            }
            sleep(Duration::from_millis(5));
        };
        Ok(ChurnMeasurement {
            sessions_per_s: all.operations as f64 / seconds,
            latency: all.latency(),
            server_us_per_session: used
                .map(|used| used.as_secs_f64() * 1e6 / all.operations.max(1) as f64),
            descriptors_left: left,
            errors: all.errors,
        })
    }

    fn sessions(&self, target: &Target, start: Instant) -> Recorder {
        let mut recorder = Recorder::new();
        recorder.measuring = true;
        while start.elapsed() < self.duration {
            let began = Instant::now();
            match self.session(target) {
                Ok(()) => recorder.done(began.elapsed(), Done::default()),
                Err(error) => recorder.error(&error.to_string()),
            }
        }
        recorder
    }

    fn session(&self, target: &Target) -> Result<(), Error> {
        let root = Client::mount(target)?;
        let mut client = Client::nfs(target)?;
        for _ in 0..self.calls {
            client.getattr(&root)?;
        }
        Ok(())
    }
}

/// How long a server takes from its start to its first answer, and what it needs when idle.
#[derive(Debug, Serialize)]
pub struct StartUp {
    /// The median of the runs, in milliseconds.
    pub first_answer_ms: f64,
    /// The fastest.
    pub fastest_ms: f64,
    /// The slowest.
    pub slowest_ms: f64,
    /// Resident memory of the last run after its first answer and a second of idleness, in KiB.
    pub memory_kib: Option<u64>,
}

impl StartUp {
    pub(crate) fn new(mut times: Vec<Duration>, last: Process) -> Self {
        times.sort();
        sleep(IDLE);
        let at = |place: usize| times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        Self {
            first_answer_ms: at(times.len() / 2),
            fastest_ms: at(0),
            slowest_ms: at(times.len().saturating_sub(1)),
            memory_kib: last.memory_kib(),
        }
    }
}

/// Starts `program` with `arguments` `runs` times, each time until it answers NULL on the target.
pub fn start_up(
    target: &Target,
    program: &str,
    arguments: &[String],
    runs: usize,
) -> Result<StartUp, Error> {
    let mut times = Vec::new();
    loop {
        let (child, time) = first_answer(target, program, Command::new(program).args(arguments))?;
        times.push(time);
        if times.len() >= runs {
            return Ok(StartUp::new(times, child.process()));
        }
    }
}

/// After this long a server that has just started is idle.
const IDLE: Duration = Duration::from_secs(1);

/// Starts a server, and how long it took until it answered.
pub(crate) fn first_answer(
    target: &Target,
    name: &str,
    command: &mut Command,
) -> Result<(Ended, Duration), Error> {
    let start = Instant::now();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(Error::io(format!("start {name}")))?;
    let mut child = Ended(child);
    wait_for_answer(target, name, &mut child.0, Duration::from_micros(200))?;
    Ok((child, start.elapsed()))
}

/// Until the server answers NULL; an error if it ended, or after a while.
fn wait_for_answer(
    target: &Target,
    program: &str,
    child: &mut Child,
    interval: Duration,
) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let start = Instant::now();
    loop {
        let error = match Client::nfs(target).and_then(|mut client| client.null()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let ended = child.try_wait().map_err(Error::io(format!("wait for {program}")))?;
        let program = || program.to_owned();
        if let Some(status) = ended {
            let reason = format!("it ended: {status}");
            return Err(Error::NotAnswering { program: program(), reason });
        }
        if start.elapsed() > PATIENCE {
            let reason = format!("not for {PATIENCE:?}; last: {error}");
            return Err(Error::NotAnswering { program: program(), reason });
        }
        sleep(interval);
    }
}

/// A child that ends when this is dropped: asked to at first, killed if it does not.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Child);

impl Ended {
    pub(crate) fn process(&self) -> Process {
        Process::new(self.0.id())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&mut self) {
        // Once it was waited for, its number may be another's.
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = rustix::process::Pid::from_child(&self.0);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while asked.is_ok() && Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(2));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}
