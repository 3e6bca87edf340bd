//! The watchdog: notices who is stuck, and what is over.
//!
//! It looks at the workers' desks every few milliseconds, and sleeps while all of them are idle. So
//! a call that may block costs the caller no clock and no lock.

use crate::lists::Tell;
use crate::pool::Shared;
use crate::report::Report;
use crate::worker::Worker;
use holm_lifetime::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, Condvar, Deadline, Mutex, thread};
use std::io;
use std::time::Duration;

pub(crate) struct Watchdog {
    /// It sleeps until a worker [rouses](Self::rouse) it.
    asleep: AtomicBool,
    stopping: Mutex<bool>,
    changed: Condvar,
    ticks: AtomicU64,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// After so many looks at workers who are all idle it goes to sleep.
const QUIET_LOOKS: u32 = 25;

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self {
            asleep: AtomicBool::new(false),
            stopping: Mutex::new(false),
            changed: Condvar::new(),
            ticks: AtomicU64::new(0),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread that looks at every `tick`.
    pub(crate) fn start(shared: &Arc<Shared>, tick: Duration) -> io::Result<()> {
        let own = shared.clone();
        let thread = thread::Builder::new()
            .name("holm-watchdog".into())
            .spawn(move || own.watchdog.live(&own, tick))?;
        *shared.watchdog.thread.lock() = Some(thread);
        Ok(())
    }

    /// Called by a worker that has just ceased to be idle.
    #[inline]
    pub(crate) fn rouse(&self) {
        // After the worker has counted itself out. Either it sees that the watchdog is about to
        // sleep, or the watchdog sees that not everybody is idle.
        if self.asleep.load(Ordering::SeqCst) {
            self.rouse_now();
        }
    }

    #[cold]
    fn rouse_now(&self) {
        let stopping = self.stopping.lock();
        self.asleep.store(false, Ordering::SeqCst);
        drop(stopping);
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        *self.stopping.lock() = true;
        self.changed.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }

    fn live(&self, shared: &Arc<Shared>, tick: Duration) {
        let mut quiet = 0;
        loop {
            let mut stopping = self.stopping.lock();
            let next = Deadline::after(tick);
            while !*stopping && !next.passed() {
                stopping = self.changed.wait_until(stopping, next).0;
            }
            if *stopping {
                return;
            }
            drop(stopping);
            quiet = if shared.look() { quiet + 1 } else { 0 };
            if quiet >= QUIET_LOOKS {
                self.sleep(shared);
                quiet = 0;
            }
        }
    }

    fn sleep(&self, shared: &Shared) {
        self.asleep.store(true, Ordering::SeqCst);
        if shared.staff.all_idle() {
            let mut stopping = self.stopping.lock();
            while self.asleep.load(Ordering::SeqCst) && !*stopping {
                stopping = self.changed.wait(stopping);
            }
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    /// One look of the watchdog. Whether everybody is idle and every namespace fast.
    pub(crate) fn look(self: &Arc<Self>) -> bool {
        let tick = self.watchdog.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        let stuck = self.staff.look();
        for stuck in &stuck {
            let newly_slow = self.lists.mark_slow(stuck.key, tick, stuck.declared);
            if stuck.new_call {
                self.stuck_calls.fetch_add(1, Ordering::Relaxed);
                self.lists.count_stuck_call(stuck.key);
            }
            if let Some(gauge) = newly_slow {
                self.report(&Report::Slow { ns: gauge.ns.clone() });
            }
        }
        let (recovered, tell) = self.lists.recover(tick.saturating_sub(self.calm_ticks));
        for gauge in recovered {
            self.report(&Report::Fast { ns: gauge.ns.clone() });
        }
        if tell == Tell::First {
            self.wake_worker();
        }
        let (demand, slow) = self.lists.slow_demand();
        let filled = self.fill(demand);
        if let Err(error) = &filled {
            self.report(&Report::NoThread {
                error: io::Error::new(error.kind(), error.to_string()),
            });
        }
        self.staff.reap();
        // Nobody may be waiting for them.
        self.expire_deadlines();
        stuck.is_empty() && !slow && filled.is_ok() && self.staff.all_idle()
    }

    /// Brings the workers to the number there should be, with so many more in the second group.
    pub(crate) fn fill(self: &Arc<Self>, demand: usize) -> io::Result<()> {
        self.staff.fill(demand, |desk, role| {
            let shared = self.clone();
            let worker = thread::Builder::new().name("holm-worker".into());
            worker.spawn(move || Worker::live(&shared, desk, role))
        })
    }
}
