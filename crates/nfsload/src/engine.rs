//! One thread drives all connections of a run.

use crate::connection::{Connection, Context};
use crate::driver::Driver;
use crate::record::{Latency, Recorder};
use crate::rpc::Header;
use crate::{Error, Process, Target, nfs};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many calls, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Connections.
    pub connections: usize,
    /// Calls outstanding on each.
    pub depth: usize,
    /// Not measured, before.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// How long replies are waited for after that.
    pub patience: Duration,
    /// Binds client and server to this CPU.
    pub pin: Option<usize>,
    /// The server, to know what it costs.
    pub server: Option<Process>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            connections: 4,
            depth: 16,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            pin: None,
            server: None,
        }
    }
}

/// What a run measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Measurement {
    /// How long it was measured.
    pub seconds: f64,
    /// Good replies in that time.
    pub operations: u64,
    /// The same, per second.
    pub ops_per_s: f64,
    /// Payload read or written, in 10⁶ bytes per second.
    pub mb_per_s: f64,
    /// Directory entries listed per second.
    pub entries_per_s: f64,
    /// From queueing a call to handling its reply.
    pub latency: Latency,
    /// What the server used, if it was watched.
    pub server: Option<Cost>,
    /// What the client used.
    pub client: Cost,
    /// How long the calls at the end took: the COMMITs of an unstable WRITE workload.
    pub finish_ms: f64,
    /// Resident memory of the server afterwards, in KiB.
    pub server_memory_kib: Option<u64>,
    /// How often what went wrong, at any time of the run.
    pub errors: BTreeMap<String, u64>,
}

/// CPU time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// Microseconds for one operation.
    pub us_per_op: f64,
    /// Seconds for 10⁹ bytes of payload, if there was any.
    pub s_per_gb: Option<f64>,
    /// Of one CPU.
    pub percent: f64,
}

impl Cost {
    fn new(used: Duration, recorder: &Recorder, seconds: f64) -> Self {
        let used = used.as_secs_f64();
        let gigabytes = recorder.bytes as f64 / 1e9;
        Self {
            us_per_op: used * 1e6 / recorder.operations.max(1) as f64,
            s_per_gb: (recorder.bytes > 0).then_some(used / gigabytes),
            percent: used / seconds * 100.0,
        }
    }
}

/// Runs a driver until the plan's time is over, `stop` is set, or the driver has nothing to do.
pub fn run<D: Driver>(
    target: &Target,
    plan: &Plan,
    driver: D,
    drop_payload: bool,
    stop: Option<&AtomicBool>,
) -> Result<(Measurement, D), Error> {
    if plan.connections == 0 || plan.depth == 0 {
        return Err(Error::Invalid("no connections or no calls on them".to_owned()));
    }
    let _pinned = pin(plan)?;
    let mut engine = Engine::connect(target, plan, driver, drop_payload)?;
    let measurement = engine.run(plan, stop)?;
    Ok((measurement, engine.context.driver))
}

fn pin(plan: &Plan) -> Result<Vec<crate::process::Pinned>, Error> {
    let Some(cpu) = plan.pin else { return Ok(Vec::new()) };
    [Some(Process::current()), plan.server].into_iter().flatten().map(|p| p.pin(cpu)).collect()
}

struct Engine<D: Driver> {
    context: Context<D>,
    connections: Vec<Option<Connection<D::Operation>>>,
    epoll: OwnedFd,
    /// Connections whose readiness to send is waited for.
    sending: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Costs {
    at: Instant,
    client: Duration,
    server: Option<Duration>,
}

/// How long one wait may last: then time and `stop` are looked at.
const TICK: Duration = Duration::from_millis(20);

impl<D: Driver> Engine<D> {
    fn connect(target: &Target, plan: &Plan, driver: D, drop_payload: bool) -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(Error::system("make an epoll instance"))?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let attempt = || Error::io(format!("connection {index} to {}", target.address));
            let stream =
                TcpStream::connect_timeout(&target.address, plan.patience).map_err(attempt())?;
            stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(Some(TICK)))
                .map_err(attempt())?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)
                .map_err(Error::system("watch a connection"))?;
            connections.push(Some(Connection::new(stream, index, plan.depth)));
        }
        let context = Context {
            driver,
            recorder: Recorder::new(),
            header: Header::new(nfs::NFS_PROGRAM, nfs::VERSION, target.uid, target.gid),
            finishing: false,
            drop_payload,
            sink: vec![0; if drop_payload { 4 << 20 } else { 0 }],
        };
        Ok(Self { context, connections, epoll, sending: vec![false; plan.connections] })
    }

    fn run(&mut self, plan: &Plan, stop: Option<&AtomicBool>) -> Result<Measurement, Error> {
        let costs = || Costs {
            at: Instant::now(),
            client: Process::current().cpu_time().unwrap_or_default(),
            server: plan.server.and_then(Process::cpu_time),
        };
        for index in 0..self.connections.len() {
            self.serve(index, None)?;
        }
        let warm = Instant::now() + plan.warm_up;
        self.run_until(|| Instant::now() >= warm)?;
        let before = costs();
        self.context.recorder.measuring = true;
        let end = before.at + plan.duration;
        let stopped = || stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        self.run_until(|| stopped() || Instant::now() >= end)?;
        self.context.recorder.measuring = false;
        let after = costs();
        self.finish(after.at + plan.patience)?;
        Ok(self.measurement(plan, before, after))
    }

    /// Until `over`, or until nothing is outstanding.
    fn run_until(&mut self, over: impl Fn() -> bool) -> Result<(), Error> {
        while !over() && self.outstanding() > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// No new work; what is outstanding gets its reply, or is an error.
    fn finish(&mut self, deadline: Instant) -> Result<(), Error> {
        self.context.finishing = true;
        for index in 0..self.connections.len() {
            self.serve(index, None)?;
        }
        self.run_until(|| Instant::now() >= deadline)?;
        let unanswered = self.outstanding() as u64;
        if unanswered > 0 {
            self.context.recorder.errors("rpc: no reply in time", unanswered);
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.connections.iter().flatten().map(Connection::outstanding).sum()
    }

    /// Waits for something to happen, and handles it.
    fn turn(&mut self) -> Result<(), Error> {
        // A lone connection saves the system call that says which one is ready.
        if let [Some(only)] = &self.connections[..] {
            let idle = !only.wants_to_send();
            if !idle {
                let flags = PollFlags::IN | PollFlags::OUT;
                let timeout = timespec(TICK);
                let mut descriptors = [PollFd::new(&only.stream, flags)];
                match poll(&mut descriptors, Some(&timeout)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(Error::system("wait for a connection")(error)),
                }
            }
            return self.serve(0, Some(idle));
        }
        let mut events = Vec::with_capacity(self.connections.len().min(256));
        let timeout = timespec(TICK);
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for connections")(error)),
        }
        for event in events {
            let epoll::Event { flags, data } = event;
            let readable = flags.difference(epoll::EventFlags::OUT);
            self.serve(data.u64() as usize, (!readable.is_empty()).then_some(false))?;
        }
        Ok(())
    }

    /// Receives, if `receive` says whether to wait; then fills idle slots and sends.
    fn serve(&mut self, index: usize, receive: Option<bool>) -> Result<(), Error> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let received = match receive {
            Some(wait) => connection.receive(&mut self.context, wait),
            None => Ok(()),
        };
        connection.fill(&mut self.context, Instant::now());
        self.context.driver.before_sending().map_err(Error::io("write the journal"))?;
        if let Err(error) = received.and_then(|()| connection.flush()) {
            self.context.recorder.error(&format!("connection: {error}"));
            self.context.recorder.errors("rpc: connection lost", connection.outstanding() as u64);
            // Closing it takes it out of the epoll instance.
            self.connections[index] = None;
            return Ok(());
        }
        let sending = connection.wants_to_send();
        if sending != self.sending[index] {
            let out = if sending { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.stream, data, epoll::EventFlags::IN | out)
                .map_err(Error::system("watch a connection"))?;
            self.sending[index] = sending;
        }
        Ok(())
    }

    fn measurement(&self, plan: &Plan, before: Costs, after: Costs) -> Measurement {
        let recorder = &self.context.recorder;
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let cost = |used| Cost::new(used, recorder, seconds);
        let server = before.server.zip(after.server);
        Measurement {
            seconds,
            operations: recorder.operations,
            ops_per_s: recorder.operations as f64 / seconds,
            mb_per_s: recorder.bytes as f64 / seconds / 1e6,
            entries_per_s: recorder.entries as f64 / seconds,
            latency: recorder.latency(),
            server: server.map(|(before, after)| cost(after.saturating_sub(before))),
            client: cost(after.client.saturating_sub(before.client)),
            finish_ms: after.at.elapsed().as_secs_f64() * 1e3,
            server_memory_kib: plan.server.and_then(Process::memory_kib),
            errors: recorder.errors.clone(),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
