//! The workers as people: who serves in which group, who is stuck, who is spare.
//!
//! As many workers as configured are in the first group and not stuck: when the watchdog finds one
//! stuck it takes it off the count and another takes its place. A worker learns that from a flag on its own
//! desk, which it looks at after every turn and before it waits, and then it settles under the lock
//! where it belongs now. So each time a worker is taken off the count it is put somewhere exactly
//! once, whether it comes back in the same moment or in a year.

use crate::lists::Key;
use crate::running::{is_runnable, own_thread};
use holm_lifetime::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use holm_lifetime::sync::{Arc, Condvar, Mutex, thread};
use std::collections::BTreeMap;
use std::io;

pub(crate) struct Staff {
    state: Mutex<State>,
    /// There is a place for a spare worker.
    hired: Condvar,
    /// How many of the first group wait for events. Counted up before a worker looks at the lists for
    /// the last time and then waits; read after work was put there: one of the two sees the other.
    pub(crate) idle: AtomicUsize,
    stopping: AtomicBool,
    sizes: Sizes,
}

/// How many threads there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// In the first group.
    pub(crate) first: usize,
    /// In the second.
    pub(crate) second: usize,
    /// Spares that are kept.
    pub(crate) spares: usize,
    /// Altogether.
    pub(crate) all: usize,
}

struct State {
    count: Count,
    /// Places that were given to spares who have not taken them yet.
    places: Vec<Role>,
    next_number: u64,
    desks: Vec<Arc<Desk>>,
    threads: BTreeMap<u64, thread::JoinHandle<()>>,
    /// Those who have ended, or are about to.
    left: Vec<u64>,
    /// Turns of those.
    turns: u64,
}

/// How many workers there are, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workers {
    /// In the first group, and free to serve: as many as configured, unless the limit is reached.
    pub first: usize,
    /// Of those, how many wait for events.
    pub idle: usize,
    /// In the second group.
    pub second: usize,
    /// Stuck in a call, and replaced in the first group.
    pub stuck: usize,
    /// Waiting to be needed.
    pub spare: usize,
}

type Count = Workers;

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    First,
    Second,
    Spare,
    Leave,
}

/// What a worker tells the watchdog. Written by the worker, in its own cache lines.
#[repr(align(128))]
pub(crate) struct Desk {
    pub(crate) worker: u64,
    /// Odd while in a call that may block; another one each time.
    pub(crate) number: AtomicU64,
    /// In which namespace: a [`Key`].
    pub(crate) key: AtomicU64,
    pub(crate) turns: AtomicU64,
    pub(crate) in_second: AtomicBool,
    /// Taken off the count of the first group. Written under the lock.
    declared: AtomicBool,
    /// Which thread it is.
    thread: AtomicU32,
    /// The number the watchdog saw last; only it touches this.
    seen: AtomicU64,
    /// At how many looks it was in that call and did not wait for anything but a CPU.
    seen_runnable: AtomicU32,
    /// The number of the last call it counted as stuck.
    counted: AtomicU64,
}

/// A worker that sits in a call.
pub(crate) struct Stuck {
    pub(crate) key: Key,
    /// It was taken off the count of the first group just now.
    pub(crate) declared: bool,
    /// It was not seen stuck in this call before.
    pub(crate) new_call: bool,
}

impl Staff {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let state = State {
            count: Count::default(),
            places: Vec::new(),
            next_number: 1,
            desks: Vec::new(),
            threads: BTreeMap::new(),
            left: Vec::new(),
            turns: 0,
        };
        Self {
            state: Mutex::new(state),
            hired: Condvar::new(),
            idle: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            sizes,
        }
    }

    /// Whether the pool is being shut down.
    #[inline]
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether every worker of the first group waits for events.
    pub(crate) fn all_idle(&self) -> bool {
        let first = self.state.lock().count.first;
        self.idle.load(Ordering::SeqCst) >= first
    }

    /// Brings both groups to size: the first to what is configured, the second to `demand` more if
    /// there may be so many. `start` starts a thread.
    pub(crate) fn fill(
        &self,
        demand: usize,
        mut start: impl FnMut(Arc<Desk>, Role) -> io::Result<thread::JoinHandle<()>>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        if self.stopping() {
            return Ok(());
        }
        let mut second = demand.min(self.sizes.second.saturating_sub(state.count.second));
        loop {
            let role = if state.count.first < self.sizes.first {
                Role::First
            } else if second > 0 {
                second -= 1;
                Role::Second
            } else {
                return Ok(());
            };
            if state.count.spare > 0 {
                state.count.spare -= 1;
                state.places.push(role);
                self.hired.notify_one();
            } else if state.desks.len() >= self.sizes.all {
                return Ok(());
            } else {
                let worker = state.next_number;
                let desk = Arc::new(Desk::new(worker, role));
                let thread = start(desk.clone(), role)?;
                state.next_number += 1;
                state.desks.push(desk);
                state.threads.insert(worker, thread);
            }
            match role {
                Role::First => state.count.first += 1,
                _ => state.count.second += 1,
            }
        }
    }

    /// Looks at every desk. A worker of the first group that sits in the same call as when it was
    /// looked at before is taken off the count.
    pub(crate) fn look(&self) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        let mut state = self.state.lock();
        let State { desks, count, .. } = &mut *state;
        for desk in desks {
            let number = desk.number.load(Ordering::Acquire);
            let before = desk.seen.swap(number, Ordering::Relaxed);
            if number % 2 == 0 || number != before {
                desk.seen_runnable.store(0, Ordering::Relaxed);
                continue;
            }
            if desk.may_be_left_alone() {
                continue;
            }
            let key = Key::from_raw(desk.key.load(Ordering::Relaxed));
            let first = !desk.in_second.load(Ordering::Relaxed);
            let declares = first && !desk.declared.load(Ordering::Relaxed);
            if declares {
                desk.declared.store(true, Ordering::SeqCst);
            }
            // Pairs with the one in `is_declared`: either the worker sees the flag before it waits,
            // or this sees that it has come back.
            fence(Ordering::SeqCst);
            if desk.number.load(Ordering::SeqCst) != number {
                if declares {
                    desk.declared.store(false, Ordering::SeqCst);
                }
                continue;
            }
            if declares {
                count.first -= 1;
                count.stuck += 1;
            }
            let new_call = desk.counted.swap(number, Ordering::Relaxed) != number;
            stuck.push(Stuck { key, declared: declares, new_call });
        }
        stuck
    }

    /// A worker that was taken off the count has come back. Where it belongs now; the flag says
    /// whether it was in fact taken off.
    pub(crate) fn comes_back(&self, desk: &Desk, second_needed: bool) -> (Role, bool) {
        let mut state = self.state.lock();
        if !desk.declared.swap(false, Ordering::SeqCst) {
            return (Role::First, false);
        }
        state.count.stuck -= 1;
        let role = if self.stopping() {
            Role::Leave
        } else if state.count.first < self.sizes.first {
            state.count.first += 1;
            Role::First
        } else if second_needed && state.count.second < self.sizes.second {
            state.count.second += 1;
            Role::Second
        } else {
            state.spare_or_leave(self.sizes)
        };
        desk.in_second.store(role == Role::Second, Ordering::Relaxed);
        (role, true)
    }

    /// A worker of the first group ends, because the pool stops.
    pub(crate) fn leaves_first(&self, desk: &Desk) -> Role {
        let count = &mut self.state.lock().count;
        // It may have been taken off just now.
        let place = if desk.declared.swap(false, Ordering::SeqCst) {
            &mut count.stuck
        } else {
            &mut count.first
        };
        *place -= 1;
        Role::Leave
    }

    /// A worker of the second group has nothing to do there.
    pub(crate) fn leaves_second(&self) -> Role {
        let mut state = self.state.lock();
        state.count.second -= 1;
        if self.stopping() { Role::Leave } else { state.spare_or_leave(self.sizes) }
    }

    /// Waits until a spare worker is needed.
    pub(crate) fn wait_as_spare(&self, desk: &Desk) -> Role {
        let mut state = self.state.lock();
        loop {
            if let Some(role) = state.places.pop() {
                desk.in_second.store(role == Role::Second, Ordering::Relaxed);
                return role;
            }
            if self.stopping() {
                state.count.spare -= 1;
                return Role::Leave;
            }
            state = self.hired.wait(state);
        }
    }

    /// A worker ends.
    pub(crate) fn leaves(&self, desk: &Arc<Desk>) {
        let mut state = self.state.lock();
        state.desks.retain(|other| !Arc::ptr_eq(other, desk));
        state.turns += desk.turns.load(Ordering::Relaxed);
        state.left.push(desk.worker);
    }

    /// Joins those who have ended.
    pub(crate) fn reap(&self) {
        let mut state = self.state.lock();
        let left = std::mem::take(&mut state.left);
        let threads: Vec<_> =
            left.iter().filter_map(|worker| state.threads.remove(worker)).collect();
        drop(state);
        join(threads);
    }

    /// No worker starts any more, and all of them end.
    pub(crate) fn stop(&self) {
        // Under the lock, so that who looks at it there and then waits is woken.
        let state = self.state.lock();
        self.stopping.store(true, Ordering::SeqCst);
        drop(state);
        self.hired.notify_all();
    }

    /// Waits until all have ended.
    pub(crate) fn join_all(&self) {
        let threads = std::mem::take(&mut self.state.lock().threads);
        join(threads.into_values());
    }

    /// Who does what, and how many turns there were.
    pub(crate) fn metrics(&self) -> (Workers, u64) {
        let state = self.state.lock();
        let idle = self.idle.load(Ordering::Relaxed).min(state.count.first);
        let turns = state.desks.iter().map(|desk| desk.turns.load(Ordering::Relaxed)).sum::<u64>();
        (Workers { idle, ..state.count }, turns + state.turns)
    }
}

impl State {
    fn spare_or_leave(&mut self, sizes: Sizes) -> Role {
        if self.count.spare < sizes.spares {
            self.count.spare += 1;
            Role::Spare
        } else {
            Role::Leave
        }
    }
}

impl Desk {
    fn new(worker: u64, role: Role) -> Self {
        Self {
            worker,
            number: AtomicU64::new(0),
            key: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            in_second: AtomicBool::new(role == Role::Second),
            declared: AtomicBool::new(false),
            thread: AtomicU32::new(0),
            seen: AtomicU64::new(0),
            seen_runnable: AtomicU32::new(0),
            counted: AtomicU64::new(0),
        }
    }

    /// Called by the worker itself, first.
    pub(crate) fn sit_down(&self) {
        self.thread.store(own_thread(), Ordering::Relaxed);
    }

    /// Whether it sits in a call but only for want of a CPU: another worker would want one, too. A
    /// call that keeps a CPU busy for long is another matter.
    fn may_be_left_alone(&self) -> bool {
        let looks = self.seen_runnable.load(Ordering::Relaxed);
        let alone = looks < PATIENCE && is_runnable(self.thread.load(Ordering::Relaxed));
        if alone {
            self.seen_runnable.store(looks + 1, Ordering::Relaxed);
        }
        alone
    }

    /// Whether the worker was taken off the count: looked at after a turn. It may be seen late.
    #[inline]
    pub(crate) fn seems_declared(&self) -> bool {
        self.declared.load(Ordering::Relaxed)
    }

    /// The same, before it waits: then it is not seen late.
    #[inline]
    pub(crate) fn is_declared(&self) -> bool {
        fence(Ordering::SeqCst);
        self.declared.load(Ordering::SeqCst)
    }
}

/// So many looks more are granted to a call that does not wait for anything but a CPU.
const PATIENCE: u32 = 10;

/// Joins threads, save the one that calls.
fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        if thread.thread().id() != thread::current().id() {
            // A worker contains what panics in it.
            let _ = thread.join();
        }
    }
}
