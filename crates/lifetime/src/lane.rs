//! Lanes: a small piece of memory that belongs to one thread at a time.
//!
//! A thread takes a lane when it first needs one and gives it back when it ends; the next new
//! thread takes it over. Lanes are numbered from zero, lowest free number first, so that few
//! threads use few lanes. They are never freed: as many exist as threads were alive at once.

use crate::barrier;
use crate::notes::Notes;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ptr;

/// One thread's lane. Aligned so that no two lanes share a cache line, nor the pair of lines that
/// the CPU fetches together.
#[repr(align(128))]
pub(crate) struct Lane {
    /// The phase in which the thread's outermost section began, as it was read; 0 while it is in
    /// none.
    pub(crate) active: AtomicU64,
    /// How many sections the thread is in, and [`ORPHANED`]. Only the lane's thread touches it.
    pub(crate) depth: AtomicUsize,
    /// Sections that paid for a fence, since a phase was first seen; only the lane's thread touches
    /// them.
    pub(crate) fences: AtomicU64,
    /// That phase.
    pub(crate) fences_in: AtomicU64,
    /// What the model of the barrier knows of the lane.
    #[cfg(loom)]
    pub(crate) reach: barrier::Reach,
    /// What the thread has taken.
    pub(crate) notes: Notes,
    /// The lane's number.
    pub(crate) index: usize,
    next: *const Lane,
}

/// In a lane's `depth`: its thread has no more use for it than the sections it is in. The end of
/// the last of them gives the lane back.
pub(crate) const ORPHANED: usize = 1 << (usize::BITS - 1);

// SAFETY: `next` is set before the lane is published and never changes; it points to a lane that
// is never freed. Everything else is atomic.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

/// Calls `f` with the lane of this thread.
///
/// While the thread is being torn down its own lane is gone already; a destructor that still
/// needs one borrows one for the call, and then the flag is set: what `f` leaves behind in the
/// lane must be given back with [`give_back`].
#[inline]
pub(crate) fn current() -> (&'static Lane, bool) {
    match ATTACHED.try_with(|attached| attached.0) {
        Ok(lane) => (lane, false),
        Err(_) => (take(), true),
    }
}

/// Makes a lane free for another thread.
#[cold]
pub(crate) fn give_back(lane: &'static Lane) {
    LANES.free.lock().push(Reverse(Free(lane)));
}

/// Every lane there is, in no particular order.
pub(crate) fn all() -> impl Iterator<Item = &'static Lane> {
    let mut at: *const Lane = LANES.newest.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null or a published lane; those are never freed, and the acquire above (or the
        // acquire that published the one before) makes their contents visible.
        let lane = unsafe { at.as_ref() }?;
        at = lane.next;
        Some(lane)
    })
}

struct Lanes {
    newest: AtomicPtr<Lane>,
    free: Mutex<BinaryHeap<Reverse<Free>>>,
}

crate::global! {
    static LANES: Lanes =
        Lanes { newest: AtomicPtr::new(ptr::null_mut()), free: Mutex::new(BinaryHeap::new()) };
}

#[cold]
fn take() -> &'static Lane {
    barrier::init();
    let mut free = LANES.free.lock();
    if let Some(Reverse(Free(lane))) = free.pop() {
        drop(free);
        lane.notes.begin();
        return lane;
    }
    // Still holding `free`: it orders those who add a lane.
    let next = LANES.newest.load(Ordering::Relaxed);
    // SAFETY: null or a lane, which is never freed; written by a holder of `free`.
    let index = unsafe { next.as_ref() }.map_or(0, |newest| newest.index + 1);
    let lane = Box::leak(Box::new(Lane {
        active: AtomicU64::new(0),
        depth: AtomicUsize::new(0),
        fences: AtomicU64::new(0),
        fences_in: AtomicU64::new(0),
        #[cfg(loom)]
        reach: barrier::Reach::new(),
        notes: Notes::new(),
        index,
        next,
    }));
    lane.notes.begin();
    LANES.newest.store(lane, Ordering::Release);
    lane
}

/// A lane in the heap of free ones, ordered by number.
struct Free(&'static Lane);

impl PartialEq for Free {
    fn eq(&self, other: &Self) -> bool {
        self.0.index == other.0.index
    }
}

impl Eq for Free {}

impl PartialOrd for Free {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Free {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.index.cmp(&other.0.index)
    }
}

/// This thread's hold on its lane.
struct Attached(&'static Lane);

impl Drop for Attached {
    fn drop(&mut self) {
        // Loom drops the statics of an execution before the main thread's locals.
        if cfg!(loom) {
            return;
        }
        // A section that is kept in another thread-local may end later than this.
        match self.0.depth.load(Ordering::Relaxed) {
            0 => give_back(self.0),
            depth => self.0.depth.store(depth | ORPHANED, Ordering::Relaxed),
        }
    }
}

crate::thread_local! {
    static ATTACHED: Attached = Attached(take());
}
