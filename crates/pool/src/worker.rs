//! A worker: waits for events, runs sources and jobs.
//!
//! One event and nothing in the lists: the worker that was told runs the source there and then.
//! Otherwise what is ready goes to the lists, the worker takes what is due, and wakes another only
//! if one is idle and there is more.

use crate::lists::{Item, Key, Second, Taken, Tell};
use crate::poller::Event;
use crate::pool::{Shared, TURN_COST};
use crate::report::{Report, contain};
use crate::slots::{Begun, Ended, Noted};
use crate::source::{Next, SourceId};
use crate::staff::{Desk, Role};
use crate::tenant::Job;
use crate::turn::{Shelf, Turn};
use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::Ordering;
use std::cell::Cell;
use std::time::Duration;

/// While every worker has work, events are looked for after so much of it, in requests: one turn of a
/// busy source, five of sources with one request each. Whoever was quiet waits that long to be seen.
const WORK_PER_POLL: i64 = 40;

pub(crate) struct Worker<'p> {
    shared: &'p Arc<Shared>,
    desk: Arc<Desk>,
    shelf: Shelf,
    work_since_poll: i64,
    /// What the turn before used, not charged yet.
    charge: Option<(Key, u32)>,
    /// Sources that events have given to this worker.
    noted: Vec<SourceId>,
}

/// Whether something runs because its turn has come, or because nothing else waits.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Turn(Key),
    Event,
}

impl Worker<'_> {
    /// The life of a worker, which begins in `role`.
    pub(crate) fn live(shared: &Arc<Shared>, desk: Arc<Desk>, mut role: Role) {
        desk.sit_down();
        let shelf = Shelf::default();
        let noted = Vec::new();
        let mut worker = Worker { shared, desk, shelf, work_since_poll: 0, charge: None, noted };
        loop {
            role = match role {
                Role::First => worker.serve_first(),
                Role::Second => worker.serve_second(),
                Role::Spare => {
                    worker.shelf.clear();
                    worker.shared.staff.wait_as_spare(&worker.desk)
                }
                Role::Leave => break,
            };
        }
        worker.shared.staff.leaves(&worker.desk);
        // If the pool stops, the next that waits.
        worker.shared.poller.wake();
    }

    fn serve_first(&mut self) -> Role {
        loop {
            if self.desk.seems_declared()
                && let Some(role) = self.come_back()
            {
                return role;
            }
            if self.shared.staff.stopping() {
                return self.shared.staff.leaves_first(&self.desk);
            }
            if self.shared.lists.ready() == 0 {
                self.wait();
                continue;
            }
            if self.work_since_poll >= WORK_PER_POLL
                && self.shared.staff.idle.load(Ordering::Relaxed) == 0
            {
                self.poll(Some(Duration::ZERO));
                self.queue_noted();
            }
            if let Some(taken) = self.shared.lists.take(self.charge.take()) {
                if self.shared.lists.ready() > 0 {
                    self.shared.wake_worker();
                }
                self.run(taken);
            }
        }
    }

    fn serve_second(&mut self) -> Role {
        loop {
            match self.shared.lists.take_slow() {
                Second::Run(taken) => {
                    let key = taken.key;
                    self.run(taken);
                    self.shared.lists.done_slow(key);
                }
                Second::Leave => return self.shared.staff.leaves_second(),
            }
        }
    }

    /// Settles where this worker belongs, which was taken for stuck; `None` if it was not.
    #[cold]
    fn come_back(&mut self) -> Option<Role> {
        let key = Key::from_raw(self.desk.key.load(Ordering::Relaxed));
        let needed = self.shared.lists.slow_demand().0 > 0;
        let (role, declared) = self.shared.staff.comes_back(&self.desk, needed);
        if declared {
            self.shared.lists.came_back(key);
        }
        if role != Role::First && self.shared.lists.ready() > 0 {
            // What this worker has queued and meant to take itself.
            self.shared.wake_worker();
        }
        (role != Role::First).then_some(role)
    }

    /// Waits for events. With a single one it goes on at once.
    fn wait(&mut self) {
        let shared = self.shared;
        let staff = &shared.staff;
        // In this order: see `Staff::idle`.
        staff.idle.fetch_add(1, Ordering::SeqCst);
        if shared.lists.ready() > 0 || staff.stopping() || self.desk.is_declared() {
            staff.idle.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let armed = shared.timers.arm();
        let timeout = armed.map(|armed| shared.timers.until(armed, shared.poller.now()));
        self.poll(timeout);
        staff.idle.fetch_sub(1, Ordering::SeqCst);
        shared.watchdog.rouse();
        if let Some(armed) = armed {
            shared.timers.disarm(armed);
            if self.noted.is_empty() || timeout == Some(Duration::ZERO) {
                shared.expire_deadlines();
            }
        }
        match self.noted[..] {
            [id] if shared.lists.ready() == 0 => self.run_source(id, By::Event),
            _ => self.queue_noted(),
        }
    }

    fn poll(&mut self, timeout: Option<Duration>) {
        self.work_since_poll = 0;
        self.noted.clear();
        let (shared, noted) = (self.shared, &mut self.noted);
        let outcome = shared.poller.wait(timeout, &mut |event| {
            if event.token == Event::WOKEN.token {
                // Before the lists are looked at: who puts something there from now on wakes again.
                shared.wake_pending.store(false, Ordering::SeqCst);
                return;
            }
            let id = SourceId::from_token(event.token);
            if let Some(slot) = shared.slots.get(id.index)
                && slot.note(id, event.hung_up) == Noted::Mine
            {
                noted.push(id);
            }
        });
        if let Err(error) = outcome {
            shared.report(&Report::NoEvents { error });
        }
    }

    fn queue_noted(&mut self) {
        if !self.noted.is_empty() {
            let slots = &self.shared.slots;
            let items = self.noted.drain(..).filter_map(|id| {
                let slot = slots.get(id.index)?;
                Some((Key::from_raw(slot.queue()), Item::Source(id)))
            });
            // This worker goes on to take one itself, and then wakes another if there are more.
            self.shared.lists.push_all(items);
        }
    }

    fn run(&mut self, taken: Taken) {
        let Taken { key, item, counted } = taken;
        match item {
            Item::Source(id) => self.run_source(id, By::Turn(key)),
            Item::Job(job) => self.run_job(job, key),
        }
        // Whatever became of it.
        if counted {
            self.goes_on(self.shared.lists.ended(key));
        }
    }

    /// Runs a source that this worker has.
    fn run_source(&mut self, id: SourceId, by: By) {
        let shared = self.shared;
        let Some(slot) = shared.slots.get(id.index) else { return };
        let contents = slot.contents();
        let Some(source) = contents.as_ref().filter(|source| source.generation == id.generation)
        else {
            return;
        };
        let key = source.tenant.key;
        if by == By::Event && source.tenant.gauge.in_turn.load(Ordering::Relaxed) {
            drop(contents);
            return self.queue_again(key, id);
        }
        let Some(inside) = source.tenant.enter() else {
            // The namespace goes, and whoever carries that out sweeps.
            return slot.let_go(id);
        };
        let hung_up = match slot.begin(id) {
            Begun::Run { hung_up } => hung_up,
            Begun::Gone => return shared.finish(id, contents, true),
            Begun::Stale => return,
        };
        self.takes_a_seat(key);
        let turn = Turn {
            shared,
            inside: &inside,
            desk: &self.desk,
            shelf: &self.shelf,
            of: Some((id, &source.tenant)),
            hung_up,
            budget: shared.requests_per_turn,
            used: Cell::new(0),
        };
        let next = contain(|| source.source.run(&turn));
        self.work_since_poll += TURN_COST + i64::from(turn.used.get());
        if let By::Turn(key) = by {
            self.charge = Some((key, turn.used.get()));
        }
        let next = next.unwrap_or_else(|why| {
            shared.panicked(&source.tenant.gauge, why);
            Next::Done
        });
        // All of it before the namespace is left.
        if next == Next::Done {
            slot.remove(id);
            shared.finish(id, contents, true);
        } else {
            match slot.end(id, next == Next::More) {
                Ended::Idle => {}
                Ended::Queued => {
                    drop(contents);
                    self.queue_again(key, id);
                }
                Ended::Gone => shared.finish(id, contents, true),
            }
        }
        drop(inside);
    }

    fn run_job(&mut self, job: Job, key: Key) {
        let shared = self.shared;
        let (run, inside) = job.into_parts();
        self.takes_a_seat(key);
        let turn = Turn {
            shared,
            inside: &inside,
            desk: &self.desk,
            shelf: &self.shelf,
            of: None,
            hung_up: false,
            budget: shared.requests_per_turn,
            used: Cell::new(0),
        };
        if let Err(why) = contain(|| run(&turn)) {
            shared.job_panicked(&inside, why);
        }
        self.work_since_poll += TURN_COST + i64::from(turn.used.get());
        self.charge = Some((key, turn.used.get()));
    }

    /// There is more to do, or something happened meanwhile.
    fn queue_again(&self, key: Key, id: SourceId) {
        self.goes_on(self.shared.lists.push(key, Item::Source(id)));
    }

    /// This worker has put work into the lists, and one of the first group goes on to take it itself.
    fn goes_on(&self, tell: Tell) {
        if tell == Tell::First && self.desk.in_second.load(Ordering::Relaxed) {
            self.shared.wake_worker();
        }
    }

    /// Says in which namespace it is, and that there is one turn more.
    #[inline]
    fn takes_a_seat(&self, key: Key) {
        self.desk.key.store(key.into_raw(), Ordering::Relaxed);
        let turns = self.desk.turns.load(Ordering::Relaxed);
        self.desk.turns.store(turns + 1, Ordering::Relaxed);
    }
}
