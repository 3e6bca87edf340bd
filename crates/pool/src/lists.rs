//! What waits to be run, by namespace, and whose turn it is.
//!
//! The first group of workers serves namespaces by deficit round-robin with a head start for those
//! that have been quiet (Shreedhar and Varghese, 1995; the two lists are those of FQ-CoDel, RFC 8290).
//! A namespace whose work comes one piece at a time is served as soon as a worker is free; one that
//! always has more is served in turn with the others like it, each the same amount of work.
//!
//! Namespaces whose file calls are stuck are served by the second group, in turn, each by a bounded
//! number of workers.
//!
//! A namespace may have a [limit](TurnLimit) of its own, which holds for its turns in both groups.

use crate::limit::TurnLimit;
use crate::source::SourceId;
use crate::tenant::{Gauge, Job};
use holm_lifetime::sync::atomic::{AtomicUsize, Ordering};
use holm_lifetime::sync::{Arc, Condvar, Mutex, MutexGuard};
use slab::Slab;
use std::collections::VecDeque;
use std::num::NonZero;

pub(crate) struct Lists {
    inner: Mutex<Inner>,
    /// How many pieces of work wait for the first group.
    ready: AtomicUsize,
    /// There is work for the second group, or there will be none.
    second: Condvar,
    limits: Limits,
}

/// How much one namespace gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Work in one round of the namespaces.
    pub(crate) quantum: i64,
    /// What a turn costs beside the requests in it.
    pub(crate) turn_cost: i64,
    /// Workers of the second group at a time.
    pub(crate) slow_workers: usize,
}

/// Something to run.
pub(crate) enum Item {
    Source(SourceId),
    Job(Job),
}

/// Which lists: their place, and a number that the next in that place does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Key {
    place: u32,
    serial: u32,
}

struct Inner {
    queues: Slab<Queue>,
    serial: u32,
    /// Those that have been quiet, and have not had a quantum since.
    new: VecDeque<usize>,
    /// The others that have work, in turn.
    old: VecDeque<usize>,
    /// Those of the second group that have work.
    slow: VecDeque<usize>,
    /// How many namespaces the second group serves.
    slow_queues: usize,
    /// How many workers of the second group wait for work.
    slow_idle: usize,
    stopping: bool,
}

struct Queue {
    serial: u32,
    items: VecDeque<Item>,
    /// Of its turns at a time. What waits because of it is not among the items.
    limit: TurnLimit,
    /// What is left of its quantum; what it owes, if negative.
    deficit: i64,
    listed: bool,
    slow: bool,
    /// How many workers of the second group are in it.
    running: usize,
    /// How many of the first group are stuck in it. It can be below zero for a moment: a worker may
    /// come back before its being stuck is written down here.
    stuck: isize,
    /// When, in ticks of the watchdog, somebody was last seen stuck in it.
    last_stuck: u64,
    gauge: Arc<Gauge>,
}

/// A piece of work whose turn it is.
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) item: Item,
    /// Whether [its end](Lists::ended) is to be told.
    pub(crate) counted: bool,
}

/// Who must hear of new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// A worker of the first group, if one is idle.
    First,
    /// Nobody, or they know.
    Nobody,
}

/// What the second group finds.
pub(crate) enum Second {
    Run(Taken),
    /// No namespace is slow any more, or the pool stops.
    Leave,
}

impl Key {
    pub(crate) fn into_raw(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.place)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self { place: raw as u32, serial: (raw >> 32) as u32 }
    }
}

impl Lists {
    pub(crate) fn new(limits: Limits) -> Self {
        let inner = Inner {
            queues: Slab::new(),
            serial: 0,
            new: VecDeque::new(),
            old: VecDeque::new(),
            slow: VecDeque::new(),
            slow_queues: 0,
            slow_idle: 0,
            stopping: false,
        };
        let ready = AtomicUsize::new(0);
        Self { inner: Mutex::new(inner), ready, second: Condvar::new(), limits }
    }

    /// Lists for a namespace.
    pub(crate) fn add(&self, gauge: Arc<Gauge>) -> Key {
        let mut inner = self.inner.lock();
        inner.serial = inner.serial.wrapping_add(1);
        let serial = inner.serial;
        let place = inner.queues.insert(Queue {
            serial,
            items: VecDeque::new(),
            limit: TurnLimit::default(),
            deficit: 0,
            listed: false,
            slow: false,
            running: 0,
            stuck: 0,
            last_stuck: 0,
            gauge,
        });
        Key { place: place as u32, serial }
    }

    /// Takes a namespace's lists away. What is left in them is returned: words for sources that are
    /// gone. What waited for the limit is as little.
    pub(crate) fn remove(&self, key: Key) -> VecDeque<Item> {
        let mut inner = self.inner.lock();
        if inner.of(key).is_none() {
            return VecDeque::new();
        }
        let place = key.place as usize;
        let queue = inner.queues.remove(place);
        if queue.listed {
            inner.unlist(place);
        }
        if queue.slow {
            inner.slow_queues -= 1;
            if inner.slow_queues == 0 {
                self.second.notify_all();
            }
        } else {
            self.ready.fetch_sub(queue.items.len(), Ordering::SeqCst);
        }
        if inner.queues.is_empty() {
            inner.queues = Slab::new();
        }
        queue.items
    }

    /// How many pieces of work wait for the first group. Ordered against [`push`](Self::push): see
    /// `Staff::idle`.
    #[inline]
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::SeqCst)
    }

    /// Puts a piece of work into its namespace's list.
    pub(crate) fn push(&self, key: Key, item: Item) -> Tell {
        self.push_all(std::iter::once((key, item)))
    }

    /// Puts pieces of work into the lists.
    pub(crate) fn push_all(&self, items: impl Iterator<Item = (Key, Item)>) -> Tell {
        let mut inner = self.inner.lock();
        if inner.stopping {
            // Dropped, as what `clear` finds is.
            drop(inner);
            items.for_each(drop);
            return Tell::Nobody;
        }
        let (mut first, mut second) = (0, 0);
        for (key, item) in items {
            match inner.push(key, item, self.limits) {
                Some(true) => second += 1,
                Some(false) => first += 1,
                None => {}
            }
        }
        self.tell(inner, first, second)
    }

    /// What the first group runs next. What was done in the turn before is charged to its namespace.
    pub(crate) fn take(&self, charge: Option<(Key, u32)>) -> Option<Taken> {
        let mut inner = self.inner.lock();
        inner.charge(charge, self.limits);
        let taken = inner.take(self.limits)?;
        self.ready.fetch_sub(1, Ordering::SeqCst);
        Some(taken)
    }

    /// What the second group runs next. Waits for it.
    pub(crate) fn take_slow(&self) -> Second {
        let mut inner = self.inner.lock();
        loop {
            if inner.stopping || inner.slow_queues == 0 {
                return Second::Leave;
            }
            if let Some(taken) = inner.take_slow(self.limits) {
                return Second::Run(taken);
            }
            inner.slow_idle += 1;
            inner = self.second.wait(inner);
            inner.slow_idle -= 1;
        }
    }

    /// A turn that was counted is over, and another may take its place.
    pub(crate) fn ended(&self, key: Key) -> Tell {
        let mut inner = self.inner.lock();
        let next = inner.of(key).and_then(|queue| queue.limit.ended());
        let Some(id) = next else { return Tell::Nobody };
        let slow = inner.stand(key, Item::Source(id), self.limits);
        let (first, second) = (slow == Some(false), slow == Some(true));
        self.tell(inner, first.into(), second.into())
    }

    /// Sets how many turns of its sources a namespace may have at a time.
    pub(crate) fn limit_turns(&self, key: Key, most: Option<NonZero<usize>>) -> Tell {
        let mut inner = self.inner.lock();
        let Some(queue) = inner.of(key) else { return Tell::Nobody };
        let slow = queue.slow;
        let items = std::mem::take(&mut queue.items);
        if !slow {
            self.ready.fetch_sub(items.len(), Ordering::SeqCst);
        }
        let mut listed = Vec::new();
        for item in items {
            match item {
                Item::Source(id) => listed.push(id),
                job @ Item::Job(_) => queue.items.push_back(job),
            }
        }
        let admitted = queue.limit.set(most, listed);
        queue.items.extend(admitted.into_iter().map(Item::Source));
        queue.show();
        let ready = queue.items.len();
        inner.relist(key.place as usize);
        let (first, second) = if slow { (0, ready) } else { (ready, 0) };
        self.tell(inner, first, second)
    }

    /// A worker of the second group has done what it took.
    pub(crate) fn done_slow(&self, key: Key) {
        let mut inner = self.inner.lock();
        let waiting = match inner.of(key) {
            Some(queue) => {
                queue.running = queue.running.saturating_sub(1);
                !queue.items.is_empty()
            }
            None => false,
        };
        // Others left its work alone while its number of workers was reached.
        if waiting && inner.slow_idle > 0 {
            self.second.notify_one();
        }
    }

    /// Somebody is stuck in the namespace, of the first group for the first time if `newly`.
    /// Whether the namespace was fast until now.
    pub(crate) fn mark_slow(&self, key: Key, tick: u64, newly: bool) -> Option<Arc<Gauge>> {
        let mut inner = self.inner.lock();
        let queue = inner.of(key)?;
        queue.last_stuck = tick;
        queue.stuck += isize::from(newly);
        if queue.slow {
            return None;
        }
        queue.slow = true;
        queue.show();
        let gauge = queue.gauge.clone();
        let moved = queue.items.len();
        inner.slow_queues += 1;
        inner.relist(key.place as usize);
        self.ready.fetch_sub(moved, Ordering::SeqCst);
        self.second.notify_all();
        Some(gauge)
    }

    /// Somebody is stuck in the namespace, in a call that was not seen before.
    pub(crate) fn count_stuck_call(&self, key: Key) {
        if let Some(queue) = self.inner.lock().of(key) {
            queue.gauge.stuck_calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A worker that was stuck in the namespace has come back.
    pub(crate) fn came_back(&self, key: Key) {
        let mut inner = self.inner.lock();
        if let Some(queue) = inner.of(key) {
            queue.stuck -= 1;
            if queue.slow && !queue.items.is_empty() && inner.slow_idle > 0 {
                self.second.notify_one();
            }
        }
    }

    /// Namespaces in which nobody has been stuck since `tick` are fast again.
    pub(crate) fn recover(&self, tick: u64) -> (Vec<Arc<Gauge>>, Tell) {
        let mut inner = self.inner.lock();
        if inner.slow_queues == 0 {
            return (Vec::new(), Tell::Nobody);
        }
        let calm = |queue: &Queue| queue.slow && queue.last_stuck < tick && queue.stuck <= 0;
        let places: Vec<usize> =
            inner.queues.iter().filter(|(_, q)| calm(q)).map(|(place, _)| place).collect();
        let (mut recovered, mut moved) = (Vec::new(), 0);
        for place in places {
            let queue = &mut inner.queues[place];
            queue.slow = false;
            queue.show();
            recovered.push(queue.gauge.clone());
            moved += queue.items.len();
            inner.slow_queues -= 1;
            inner.relist(place);
        }
        if inner.slow_queues == 0 {
            self.second.notify_all();
        }
        (recovered, self.tell(inner, moved, 0))
    }

    /// How many more workers the second group could use now, and whether it serves anybody.
    pub(crate) fn slow_demand(&self) -> (usize, bool) {
        let inner = self.inner.lock();
        let waiting: usize = inner
            .slow
            .iter()
            .map(|&place| {
                let queue = &inner.queues[place];
                queue.items.len().min(queue.room(self.limits))
            })
            .sum();
        (waiting.saturating_sub(inner.slow_idle), inner.slow_queues > 0)
    }

    /// The second group ends. What waits is returned, so that it is dropped where it may block.
    pub(crate) fn stop(&self) {
        self.inner.lock().stopping = true;
        self.second.notify_all();
    }

    /// What is left when no worker is.
    pub(crate) fn clear(&self) -> Vec<Item> {
        let mut inner = self.inner.lock();
        let mut left = Vec::new();
        for (_, queue) in &mut inner.queues {
            left.extend(queue.items.drain(..));
            left.extend(queue.limit.clear().into_iter().map(Item::Source));
            queue.show_queued();
            queue.listed = false;
        }
        inner.new.clear();
        inner.old.clear();
        inner.slow.clear();
        self.ready.store(0, Ordering::SeqCst);
        left
    }

    fn tell(&self, inner: MutexGuard<'_, Inner>, first: usize, second: usize) -> Tell {
        if second > 0 && inner.slow_idle > 0 {
            if second == 1 { self.second.notify_one() } else { self.second.notify_all() }
        }
        if first == 0 {
            return Tell::Nobody;
        }
        self.ready.fetch_add(first, Ordering::SeqCst);
        Tell::First
    }
}

impl Inner {
    fn of(&mut self, key: Key) -> Option<&mut Queue> {
        self.queues.get_mut(key.place as usize).filter(|queue| queue.serial == key.serial)
    }

    /// Whether it is for the second group; `None` if nobody is to hear of it: it waits for the end of
    /// a turn, or there are no such lists.
    fn push(&mut self, key: Key, item: Item, limits: Limits) -> Option<bool> {
        let queue = self.of(key)?;
        // Jobs are not counted. They close what calls have opened, and tear-down waits for them: calls
        // that don't end must not keep them from being done, nor they others from being called.
        if let Item::Source(id) = item
            && !queue.limit.admits(id)
        {
            queue.show_queued();
            return None;
        }
        self.stand(key, item, limits)
    }

    /// Puts what can be run into its list; the same answer.
    fn stand(&mut self, key: Key, item: Item, limits: Limits) -> Option<bool> {
        let queue = self.of(key)?;
        queue.items.push_back(item);
        queue.show_queued();
        let slow = queue.slow;
        if !queue.listed {
            queue.listed = true;
            queue.deficit = limits.quantum;
            let list = if slow { &mut self.slow } else { &mut self.new };
            list.push_back(key.place as usize);
        }
        Some(slow)
    }

    fn charge(&mut self, charge: Option<(Key, u32)>, limits: Limits) {
        if let Some((key, requests)) = charge
            && let Some(queue) = self.of(key)
        {
            // Whoever took much at once pays it back, and not for ever.
            let least = -8 * limits.quantum;
            queue.deficit = (queue.deficit - i64::from(requests)).max(least);
        }
    }

    fn take(&mut self, limits: Limits) -> Option<Taken> {
        loop {
            let from_new = !self.new.is_empty();
            let list = if from_new { &mut self.new } else { &mut self.old };
            let place = *list.front()?;
            let queue = &mut self.queues[place];
            if queue.deficit <= 0 {
                queue.deficit += limits.quantum;
                list.pop_front();
                self.old.push_back(place);
                continue;
            }
            let Some(item) = queue.pop() else {
                list.pop_front();
                // It waits for one round before it counts as quiet: who always has just one piece of
                // work would else be ahead of the others for ever.
                if from_new {
                    self.old.push_back(place);
                } else {
                    queue.listed = false;
                }
                continue;
            };
            queue.deficit -= limits.turn_cost;
            return Some(queue.taken(place, item));
        }
    }

    fn take_slow(&mut self, limits: Limits) -> Option<Taken> {
        for _ in 0..self.slow.len() {
            let place = self.slow.pop_front()?;
            let queue = &mut self.queues[place];
            if queue.items.is_empty() {
                queue.listed = false;
                continue;
            }
            self.slow.push_back(place);
            if queue.room(limits) == 0 {
                continue;
            }
            if let Some(item) = queue.pop() {
                queue.running += 1;
                return Some(queue.taken(place, item));
            }
        }
        None
    }

    /// Moves what became slow or fast to where it belongs.
    fn relist(&mut self, place: usize) {
        self.unlist(place);
        let queue = &mut self.queues[place];
        queue.listed = !queue.items.is_empty();
        if queue.listed {
            if queue.slow { &mut self.slow } else { &mut self.old }.push_back(place);
        }
    }

    fn unlist(&mut self, place: usize) {
        for list in [&mut self.new, &mut self.old, &mut self.slow] {
            list.retain(|other| *other != place);
        }
    }
}

impl Queue {
    /// Shows how it is to those who don't lock.
    fn show(&self) {
        self.show_queued();
        self.gauge.slow.store(self.slow, Ordering::Relaxed);
        self.gauge.in_turn.store(self.slow || self.limit.is_set(), Ordering::Relaxed);
    }

    fn show_queued(&self) {
        let waiting = self.limit.waiting();
        self.gauge.queued.store(self.items.len() + waiting, Ordering::Relaxed);
        self.gauge.held_back.store(waiting, Ordering::Relaxed);
    }

    fn taken(&self, place: usize, item: Item) -> Taken {
        let counted = self.limit.is_set() && matches!(item, Item::Source(_));
        Taken { key: Key { place: place as u32, serial: self.serial }, item, counted }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.show_queued();
        if self.items.is_empty() && self.items.capacity() > 64 {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// How many more workers of the second group it may have.
    fn room(&self, limits: Limits) -> usize {
        let stuck = usize::try_from(self.stuck).unwrap_or(0);
        limits.slow_workers.saturating_sub(self.running + stuck)
    }
}
