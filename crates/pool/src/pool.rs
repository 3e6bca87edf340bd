//! The pool: what all its parts share, and how it starts and ends.

use crate::lists::{Item, Key, Limits, Lists, Tell};
use crate::poller::{Epoll, Poller};
use crate::report::{Report, contain};
use crate::slots::{Contents, Noted, Slots};
use crate::source::SourceId;
use crate::staff::{Sizes, Staff, Workers};
use crate::tenant::{Gauge, PoolSubsystem};
use crate::timers::Timers;
use crate::watchdog::Watchdog;
use holm_lifetime::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, MutexGuard};
use holm_netns::Inside;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// A pool of workers, for all the namespaces of a program. Dropping it [stops](Self::stop) it.
pub struct Pool(Arc<Shared>);

/// How a pool is to be.
#[derive(Clone)]
pub struct Config {
    /// Workers that are free to serve at any time. By default one for each CPU.
    pub workers: usize,
    /// At most this many threads serve namespaces whose calls take long, beside those that were
    /// stuck there before it was noticed.
    pub slow_workers: usize,
    /// At most this many are in one such namespace, with those.
    pub slow_workers_per_namespace: usize,
    /// At most this many threads, whatever happens.
    pub most_threads: usize,
    /// How often the watchdog looks; a call is noticed when it was there twice. `None`: it has no
    /// thread, and somebody calls [`Pool::look`].
    pub tick: Option<Duration>,
    /// A namespace is fast again after this many looks at which nobody was stuck in it.
    pub calm_ticks: u64,
    /// Requests that one source may serve in one turn.
    pub requests_per_turn: u32,
    /// Hears what whoever runs the pool may want to know. On a worker or the watchdog: it must not
    /// block.
    pub report: std::sync::Arc<dyn Fn(&Report) + Send + Sync>,
}

/// How a pool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Who does what.
    pub workers: Workers,
    /// Turns since the pool started.
    pub turns: u64,
    /// Calls that took longer than they should.
    pub stuck_calls: u64,
    /// Sources and jobs that wait for a worker of the first group.
    pub queued: usize,
}

pub(crate) struct Shared {
    pub(crate) poller: Box<dyn Poller>,
    pub(crate) slots: Slots,
    pub(crate) lists: Lists,
    pub(crate) timers: Timers,
    pub(crate) staff: Staff,
    pub(crate) watchdog: Watchdog,
    /// A worker has been woken and has not looked at the lists yet.
    pub(crate) wake_pending: AtomicBool,
    pub(crate) stuck_calls: AtomicU64,
    pub(crate) calm_ticks: u64,
    pub(crate) requests_per_turn: u32,
    reporter: std::sync::Arc<dyn Fn(&Report) + Send + Sync>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            slow_workers: 16,
            slow_workers_per_namespace: 4,
            most_threads: 256,
            tick: Some(Duration::from_millis(4)),
            calm_ticks: 250,
            requests_per_turn: 32,
            report: std::sync::Arc::new(|_| {}),
        }
    }
}

impl Pool {
    /// Starts a pool over epoll.
    ///
    /// # Errors
    ///
    /// The system's, if there is no epoll or a thread can't be started.
    pub fn start(config: Config) -> io::Result<Self> {
        Self::start_over(config, Epoll::new()?)
    }

    /// Starts a pool over another source of events.
    ///
    /// # Errors
    ///
    /// The system's, if a thread can't be started.
    pub fn start_over(config: Config, poller: impl Poller) -> io::Result<Self> {
        let limits = Limits {
            quantum: i64::from(config.requests_per_turn.max(1)) + TURN_COST,
            turn_cost: TURN_COST,
            slow_workers: config.slow_workers_per_namespace.max(1),
        };
        let workers = config.workers.max(1);
        let sizes = Sizes {
            first: workers,
            second: config.slow_workers.max(1),
            spares: workers,
            all: config.most_threads.max(workers + 1),
        };
        let pool = Self(Arc::new(Shared {
            timers: Timers::new(poller.now()),
            poller: Box::new(poller),
            slots: Slots::new(),
            lists: Lists::new(limits),
            staff: Staff::new(sizes),
            watchdog: Watchdog::new(),
            wake_pending: AtomicBool::new(false),
            stuck_calls: AtomicU64::new(0),
            calm_ticks: config.calm_ticks,
            requests_per_turn: config.requests_per_turn.max(1),
            reporter: config.report,
        }));
        // If a thread can't be started, dropping the pool ends those that were.
        pool.0.fill(0)?;
        if let Some(tick) = config.tick {
            Watchdog::start(&pool.0, tick)?;
        }
        Ok(pool)
    }

    /// The pool as a part of every namespace, to be registered before those that use it.
    pub fn subsystem(&self) -> PoolSubsystem {
        PoolSubsystem(self.0.clone())
    }

    /// How it does.
    pub fn metrics(&self) -> Metrics {
        let (workers, turns) = self.0.staff.metrics();
        Metrics {
            workers,
            turns,
            stuck_calls: self.0.stuck_calls.load(Ordering::Relaxed),
            queued: self.0.lists.ready(),
        }
    }

    /// Looks for workers that are stuck, as the watchdog does at every tick.
    pub fn look(&self) {
        self.0.look();
    }

    /// Ends all threads and waits for them. Jobs that have not begun are dropped, and their
    /// namespaces with them left; sources stay until their namespaces go. To be called when the
    /// namespaces are gone.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn stop(&self) {
        holm_lifetime::levels::assert_nothing_held();
        let shared = &self.0;
        shared.watchdog.stop();
        shared.staff.stop();
        shared.lists.stop();
        shared.poller.wake();
        shared.staff.join_all();
        drop(shared.lists.clear());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Something happened to a source.
    pub(crate) fn happened(&self, id: SourceId, hung_up: bool) {
        if let Some(slot) = self.slots.get(id.index)
            && slot.note(id, hung_up) == Noted::Mine
        {
            self.push(Key::from_raw(slot.queue()), Item::Source(id));
        }
    }

    /// Puts a piece of work into its list and wakes a worker.
    pub(crate) fn push(&self, key: Key, item: Item) {
        if self.lists.push(key, item) == Tell::First {
            self.wake_worker();
        }
    }

    /// Wakes a worker of the first group if one is idle, and none has been woken just before: that
    /// one looks at the lists, and wakes another if need be.
    pub(crate) fn wake_worker(&self) {
        if self.staff.idle.load(Ordering::SeqCst) > 0
            && !self.wake_pending.swap(true, Ordering::SeqCst)
        {
            self.poller.wake();
        }
    }

    pub(crate) fn set_deadline(&self, id: SourceId, deadline: Option<Instant>) {
        let Some(slot) = self.slots.get(id.index) else { return };
        if self.timers.set(id, deadline, || slot.is_current(id)) {
            self.wake_worker();
        }
    }

    /// Runs the sources whose deadlines have come.
    pub(crate) fn expire_deadlines(&self) {
        for id in self.timers.expire(self.poller.now()) {
            self.happened(id, false);
        }
    }

    /// Ends a source, if that is not done yet. Whoever has it calls this; or whoever knows that
    /// nobody runs it.
    pub(crate) fn finish(
        &self,
        id: SourceId,
        contents: MutexGuard<'_, Option<Contents>>,
        polled: bool,
    ) {
        let Some(slot) = self.slots.get(id.index) else { return };
        let Some(Contents { source, tenant, .. }) = slot.take(id, contents) else { return };
        self.timers.set(id, None, || false);
        tenant.forget(id);
        let ended = contain(|| {
            if polled && let Some(fd) = source.fd() {
                // Refused, it is closed already or was never added.
                let _ = self.poller.remove(fd);
            }
            drop(source);
        });
        self.slots.give_back(id.index);
        if let Err(why) = ended {
            self.panicked(&tenant.gauge, why);
        }
    }

    pub(crate) fn panicked(&self, gauge: &Gauge, why: String) {
        gauge.panics.fetch_add(1, Ordering::Relaxed);
        self.report(&Report::Panicked { ns: gauge.ns.clone(), why });
    }

    pub(crate) fn job_panicked(&self, inside: &Inside, why: String) {
        if let Some(pool) = inside.get::<PoolSubsystem>() {
            self.panicked(pool.gauge(), why);
        }
    }

    pub(crate) fn report(&self, report: &Report) {
        // One that panics has nobody to be reported to.
        let _ = contain(|| (self.reporter)(report));
    }
}

/// What a turn costs beside the requests in it, in requests: two system calls or so.
pub(crate) const TURN_COST: i64 = 8;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("metrics", &self.metrics()).finish()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("workers", &self.workers).finish_non_exhaustive()
    }
}
