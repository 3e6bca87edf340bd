//! Grace periods: wait until everybody who might have seen something has looked away.
//!
//! A [`Section`] marks a few instructions in which a thread reads shared state without a lock.
//! [`synchronize`] returns when every section that was open when it was called has ended, on
//! whatever thread. So a writer unlinks, calls `synchronize`, and then nobody can still be looking
//! at what it unlinked. This is read-copy-update (McKenney and Slingwine, 1998) in user space, in
//! the form that costs the reader two plain stores: the ordering is paid for by the writer, with
//! `membarrier(2)`.
//!
//! A section must be short and must not block: whoever waits for a grace period waits for it.

use crate::barrier;
use crate::lane::{self, Lane, ORPHANED};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex};
use std::marker::PhantomData;

/// Begins a section on this thread. Sections nest.
#[inline]
pub fn section() -> Section {
    let (lane, borrowed) = lane::current();
    let depth = lane.depth.load(Ordering::Relaxed);
    lane.depth.store(depth + 1, Ordering::Relaxed);
    if depth == 0 {
        // Acquire: who reads a phase sees all that was unlinked before the phase began. Release:
        // who reads this store in place of the one that ended the section before it sees that
        // section as ended.
        lane.active.store(GRACE.phase.load(Ordering::Acquire), Ordering::Release);
        // Pairs with the heavy barrier of `synchronize`: either that sees this section, or this
        // section sees what was unlinked.
        barrier::light();
    }
    Section { lane, borrowed, _stays_on_its_thread: PhantomData }
}

/// Keeps what this thread reads from being freed. See the [module](self).
#[must_use = "the section ends where this is dropped"]
pub struct Section {
    lane: &'static Lane,
    borrowed: bool,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Section {
    /// The lane of the thread that is in the section.
    #[inline]
    pub(crate) fn lane(&self) -> &'static Lane {
        self.lane
    }

    #[inline]
    fn end_outermost(&self) {
        self.lane.active.store(0, Ordering::Release);
        // Pairs with the heavy barrier of `sleep_until_past`.
        barrier::light();
        if GRACE.sleepers.load(Ordering::Relaxed) != 0 {
            wake_sleepers();
        }
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        let depth = self.lane.depth.load(Ordering::Relaxed) - 1;
        self.lane.depth.store(depth, Ordering::Relaxed);
        if depth == 0 {
            self.end_outermost();
        } else if depth == ORPHANED {
            self.lane.depth.store(0, Ordering::Relaxed);
            self.end_outermost();
            lane::give_back(self.lane);
        }
        if self.borrowed {
            lane::give_back(self.lane);
        }
    }
}

/// Waits for a grace period: until every section that is open now has ended.
///
/// # Panics
///
/// In a section, which would wait for itself.
pub fn synchronize() -> Elapsed {
    let (own, borrowed) = lane::current();
    assert!(own.depth.load(Ordering::Relaxed) == 0, "synchronize() within a section");
    if borrowed {
        lane::give_back(own);
    }
    // Sections that read the new phase began after all that this thread unlinked.
    let phase = GRACE.phase.fetch_add(1, Ordering::AcqRel) + 1;
    barrier::heavy();
    for lane in lane::all() {
        if !spin_until_past(lane, phase) {
            sleep_until_past(lane, phase);
        }
    }
    GRACE.completed.fetch_max(phase, Ordering::AcqRel);
    Elapsed { phase }
}

/// Like [`synchronize`], but does not wait if somebody else's grace period has covered `unlinked`
/// already.
pub fn synchronize_since(unlinked: Unlinked) -> Elapsed {
    let latest = Elapsed { phase: GRACE.completed.load(Ordering::Acquire) };
    if latest.covers(unlinked) { latest } else { synchronize() }
}

/// Proof that a grace period has passed, for whatever was unlinked before it began.
#[derive(Debug, Clone, Copy)]
pub struct Elapsed {
    phase: u64,
}

impl Elapsed {
    /// Whether the grace period began after `unlinked`.
    pub fn covers(&self, unlinked: Unlinked) -> bool {
        unlinked.phase < self.phase
    }
}

/// When something was unlinked, in grace periods.
#[derive(Debug, Clone, Copy)]
pub struct Unlinked {
    phase: u64,
}

impl Unlinked {
    /// Everything this thread has unlinked so far counts as unlinked from here.
    pub fn now() -> Self {
        // Between what was unlinked and this load: a grace period that begins after the phase that is
        // read here has its own barrier after this one. Every section reads the phase, so it is not
        // written for this.
        fence(Ordering::SeqCst);
        Unlinked { phase: GRACE.phase.load(Ordering::Acquire) }
    }

    /// To keep it in an atomic; never 0.
    pub(crate) fn into_raw(self) -> u64 {
        self.phase
    }

    /// From [`into_raw`](Self::into_raw).
    pub(crate) fn from_raw(phase: u64) -> Self {
        Unlinked { phase }
    }
}

/// Has its cache lines for itself: every section reads it.
#[repr(align(128))]
struct Grace {
    /// Counts grace periods; never 0, which stands for "in no section".
    phase: AtomicU64,
    /// The latest one that has passed.
    completed: AtomicU64,
    /// How many threads sleep until a section ends.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    woken: Condvar,
}

crate::global! {
    static GRACE: Grace = Grace {
        phase: AtomicU64::new(1),
        completed: AtomicU64::new(0),
        sleepers: AtomicUsize::new(0),
        sleep: Mutex::new(()),
        woken: Condvar::new(),
    };
}

/// Sections last nanoseconds; one that is still there after this many looks lost its CPU.
const SPINS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 200 };

/// Whether `lane` is in no section that began before `phase`.
fn is_past(lane: &Lane, phase: u64) -> bool {
    let began = lane.active.load(Ordering::Acquire);
    began == 0 || began >= phase
}

fn spin_until_past(lane: &Lane, phase: u64) -> bool {
    for _ in 0..SPINS {
        if is_past(lane, phase) {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

#[cold]
fn sleep_until_past(lane: &Lane, phase: u64) {
    let mut sleep = GRACE.sleep.lock();
    GRACE.sleepers.fetch_add(1, Ordering::Relaxed);
    // Either the end of the section is seen below, or the end of the section sees the sleeper.
    barrier::heavy();
    while !is_past(lane, phase) {
        sleep = GRACE.woken.wait(sleep);
    }
    GRACE.sleepers.fetch_sub(1, Ordering::Relaxed);
}

#[cold]
fn wake_sleepers() {
    let _sleep = GRACE.sleep.lock();
    GRACE.woken.notify_all();
}
