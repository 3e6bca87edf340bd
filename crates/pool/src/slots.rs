//! Slots: where a source is found by the word that epoll hands back, and who may run it.
//!
//! A slot's memory is used for one source after another and never freed, so it is found without a
//! lock, a count or a grace period. What keeps a late event of an earlier source from touching a
//! later one is the generation: it is part of the word, and of the slot's state, and every step
//! of the state compares both at once.
//!
//! ```text
//!            event              a worker begins          end, nothing happened meanwhile
//!   Idle  ---------->  Queued  ---------------->  Running  ---------------------------->  Idle
//!                        ^                           | event
//!                        |       end                 v
//!                        +------------------------ Again
//! ```
//!
//! Whoever takes a slot out of `Idle` has it, and passes it on: the event to a list, the list to a
//! worker. So there is never more than one who runs it. A source that is removed while somebody has
//! it is marked, and whoever has it ends it.

use crate::source::{Source, SourceId};
use crate::tenant::Tenant;
use holm_lifetime::sync::atomic::{AtomicU64, Ordering};
use holm_lifetime::sync::{Arc, Mutex, MutexGuard, OnceLock};

pub(crate) struct Slots {
    /// Each twice as large as the one before.
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    free: Mutex<Free>,
}

struct Free {
    used_before: Vec<u32>,
    /// All from here on were never used.
    fresh: u32,
}

#[repr(align(64))]
pub(crate) struct Slot {
    /// The generation in the upper half, flags and the phase below.
    state: AtomicU64,
    /// The [`Key`](crate::lists::Key) of the lists of the source's namespace.
    queue: AtomicU64,
    /// Locked by whoever runs the source, for as long as that takes, and by whoever ends it.
    contents: Mutex<Option<Contents>>,
}

pub(crate) struct Contents {
    pub(crate) generation: u32,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) tenant: Arc<Tenant>,
}

const IDLE: u64 = 0;
const QUEUED: u64 = 1;
const RUNNING: u64 = 2;
const AGAIN: u64 = 3;
const PHASE: u64 = 3;
/// The peer will send nothing more.
const HUNG_UP: u64 = 4;
/// Removed, and whoever has it ends it.
const GONE: u64 = 8;

const FIRST_CHUNK: u32 = 64;
const CHUNKS: usize = 25;

/// What an event found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Nobody had the source; the caller has it now.
    Mine,
    /// Somebody has it and will see the event.
    Already,
    /// It is not there any more.
    Stale,
}

/// What a worker that has a source may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Run it.
    Run { hung_up: bool },
    /// End it.
    Gone,
    /// Nothing: it was ended elsewhere.
    Stale,
}

/// What becomes of a source that was run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nobody has it.
    Idle,
    /// The caller has it still, to be run again.
    Queued,
    /// The caller ends it.
    Gone,
}

/// Who ends a source that is removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The caller.
    Mine,
    /// Whoever has it now; or it has ended.
    Elsewhere,
}

impl Slots {
    pub(crate) fn new() -> Self {
        let free = Free { used_before: Vec::new(), fresh: 0 };
        Self { chunks: [const { OnceLock::new() }; CHUNKS], free: Mutex::new(free) }
    }

    /// The slot, if there ever was one of this number.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        let (chunk, place) = locate(index);
        self.chunks.get(chunk)?.get()?.get(place)
    }

    /// Puts a source into a free slot. The caller has it, as if it ran, until it [ends](Slot::end)
    /// that. `None` if there are as many sources as there can be.
    pub(crate) fn insert(
        &self,
        source: Arc<dyn Source>,
        tenant: Arc<Tenant>,
    ) -> Option<(SourceId, &Slot)> {
        let index = self.take_free()?;
        let slot = self.get(index)?;
        slot.queue.store(tenant.key.into_raw(), Ordering::Relaxed);
        // Nobody else changes the state of a slot that is free: its generation was never given out.
        let generation = generation(slot.state.load(Ordering::Relaxed));
        *slot.contents.lock() = Some(Contents { generation, source, tenant });
        slot.state.store(of(generation) | RUNNING, Ordering::Release);
        Some((SourceId { generation, index }, slot))
    }

    /// Makes a slot free whose contents were [taken](Slot::take).
    pub(crate) fn give_back(&self, index: u32) {
        self.free.lock().used_before.push(index);
    }

    fn take_free(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if let Some(index) = free.used_before.pop() {
            return Some(index);
        }
        let index = free.fresh;
        let (chunk, _) = locate(index);
        let filled = self.chunks.get(chunk)?;
        // Under the lock: nobody else fills it.
        filled.get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| Slot::new()).collect());
        free.fresh += 1;
        Some(index)
    }
}

impl Slot {
    fn new() -> Self {
        let state = AtomicU64::new(of(1));
        Self { state, queue: AtomicU64::new(0), contents: Mutex::new(None) }
    }

    /// The lists it belongs to. Whoever has the slot may rely on it.
    pub(crate) fn queue(&self) -> u64 {
        self.queue.load(Ordering::Relaxed)
    }

    /// Whether the source is there and was not removed.
    pub(crate) fn is_current(&self, id: SourceId) -> bool {
        let state = self.state.load(Ordering::Acquire);
        generation(state) == id.generation && state & GONE == 0
    }

    /// An event: the source shall be run.
    ///
    /// It writes even where it changes nothing: only so does whoever runs the source next see what
    /// the caller did before.
    #[inline]
    pub(crate) fn note(&self, id: SourceId, hung_up: bool) -> Noted {
        let flag = if hung_up { HUNG_UP } else { 0 };
        self.change(id, Noted::Stale, |state| match state & PHASE {
            _ if state & GONE != 0 => None,
            IDLE => Some((state & !PHASE | QUEUED | flag, Noted::Mine)),
            RUNNING => Some((state & !PHASE | AGAIN | flag, Noted::Already)),
            _ => Some((state | flag, Noted::Already)),
        })
    }

    /// The source's turn has come. The caller has it, in the list or from an event.
    #[inline]
    pub(crate) fn begin(&self, id: SourceId) -> Begun {
        self.change(id, Begun::Stale, |state| {
            let begun = if state & GONE != 0 {
                Begun::Gone
            } else {
                Begun::Run { hung_up: state & HUNG_UP != 0 }
            };
            Some((state & !PHASE | RUNNING, begun))
        })
    }

    /// The turn is over, and there is `more` to do or not.
    #[inline]
    pub(crate) fn end(&self, id: SourceId, more: bool) -> Ended {
        self.change(id, Ended::Idle, |state| {
            Some(if state & GONE != 0 {
                (state, Ended::Gone)
            } else if more || state & PHASE == AGAIN {
                (state & !PHASE | QUEUED, Ended::Queued)
            } else {
                (state & !PHASE | IDLE, Ended::Idle)
            })
        })
    }

    /// The caller has it and can't run it. A source that was removed stays with nobody, for whoever
    /// sweeps.
    pub(crate) fn let_go(&self, id: SourceId) {
        self.change(id, (), |state| (state & GONE == 0).then_some((state & !PHASE | IDLE, ())));
    }

    /// No event touches the source any more.
    pub(crate) fn remove(&self, id: SourceId) -> Removed {
        self.change(id, Removed::Elsewhere, |state| match state & PHASE {
            _ if state & GONE != 0 => None,
            IDLE => Some((state & !PHASE | RUNNING | GONE, Removed::Mine)),
            _ => Some((state | GONE, Removed::Elsewhere)),
        })
    }

    /// What is in it. Waits for whoever runs the source.
    #[inline]
    pub(crate) fn contents(&self) -> MutexGuard<'_, Option<Contents>> {
        self.contents.lock()
    }

    /// Takes the source out, if it is still the one meant. From here on whatever names it is stale.
    pub(crate) fn take(
        &self,
        id: SourceId,
        mut contents: MutexGuard<'_, Option<Contents>>,
    ) -> Option<Contents> {
        contents.as_ref().filter(|contents| contents.generation == id.generation)?;
        let taken = contents.take();
        // After 2^32 sources in one slot a word from the first would be taken for one of the last.
        self.state.store(of(id.generation.wrapping_add(1)), Ordering::Release);
        taken
    }

    #[inline]
    fn change<R>(&self, id: SourceId, stale: R, step: impl Fn(u64) -> Option<(u64, R)>) -> R {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if generation(state) != id.generation {
                return stale;
            }
            let Some((next, outcome)) = step(state) else { return stale };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return outcome,
                Err(now) => state = now,
            }
        }
    }
}

fn of(generation: u32) -> u64 {
    u64::from(generation) << 32
}

fn generation(state: u64) -> u32 {
    (state >> 32) as u32
}

/// The chunk, and the place in it.
fn locate(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + u64::from(FIRST_CHUNK);
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (shifted - (u64::from(FIRST_CHUNK) << chunk)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_each_other() {
        assert_eq!(locate(0), (0, 0));
        assert_eq!(locate(63), (0, 63));
        assert_eq!(locate(64), (1, 0));
        assert_eq!(locate(191), (1, 127));
        assert_eq!(locate(192), (2, 0));
    }

    #[test]
    fn an_event_of_an_earlier_source_is_stale() {
        let slot = Slot::new();
        let first = SourceId { generation: 1, index: 0 };
        assert_eq!(slot.note(first, false), Noted::Mine);
        assert_eq!(slot.note(first, true), Noted::Already);
        assert_eq!(slot.begin(first), Begun::Run { hung_up: true });
        assert_eq!(slot.note(first, false), Noted::Already);
        assert_eq!(slot.end(first, false), Ended::Queued);
        assert_eq!(slot.remove(first), Removed::Elsewhere);
        assert_eq!(slot.begin(first), Begun::Gone);
        slot.state.store(of(2), Ordering::Release);
        assert_eq!(slot.note(first, false), Noted::Stale);
        assert_eq!(slot.begin(first), Begun::Stale);
        assert_eq!(slot.note(SourceId { generation: 2, index: 0 }, false), Noted::Mine);
    }
}
