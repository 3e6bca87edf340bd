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
//!
//! # Who pays
//!
//! A section must be visible before its thread reads, and a thread that just goes on does not see to
//! that. As long as grace periods are few, each of them interrupts every running thread of the process
//! (`membarrier(2)`), and sections pay nothing. When they are many, sections pay for a fence each and
//! nobody is interrupted. What holds is in the two lowest bits of the phase, which a section reads
//! once it is visible:
//!
//! | | a section | a grace period |
//! |---|---|---|
//! | `LIGHT` | no fence | interrupts |
//! | `ASKED` | a fence | interrupts |
//! | `FENCED` | a fence | a fence |
//!
//! *From light to fenced*, every so many grace periods: the one asks, interrupts, and then declares
//! it fenced. Whoever looked before the interruption is visible after it, and who looks later has
//! been asked. *From fenced to light*: a thread that began many sections and saw no grace period
//! begin changes the bits back. A grace period that found `FENCED` began before that change, in the
//! order in which the phase changes; so a section that reads the change sees what was unlinked, and
//! need not be waited for.

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
        begin_outermost(lane);
    }
    Section { lane, borrowed, _stays_on_its_thread: PhantomData }
}

#[inline]
fn begin_outermost(lane: &'static Lane) {
    barrier::in_reach(lane);
    let phase = GRACE.phase.load(Ordering::Relaxed);
    barrier::may_strike(lane);
    // Release: who reads this store in place of the one that ended the section before it sees that
    // section as ended.
    lane.active.store(phase, Ordering::Release);
    barrier::may_strike(lane);
    // Acquire: who reads a phase sees all that was unlinked before it began.
    let phase = GRACE.phase.load(Ordering::Acquire);
    if phase & MODE != LIGHT {
        // Pairs with the one of `synchronize`: either that sees this section, or this section sees
        // what was unlinked.
        fence(Ordering::SeqCst);
        count_fence(lane, phase);
    }
    barrier::may_strike(lane);
}

/// Notes that a section paid for a fence. Where many do and nobody gains by it, they need not.
#[inline]
fn count_fence(lane: &Lane, phase: u64) {
    if lane.fences_in.load(Ordering::Relaxed) != phase {
        lane.fences_in.store(phase, Ordering::Relaxed);
        lane.fences.store(0, Ordering::Relaxed);
    }
    let fences = lane.fences.load(Ordering::Relaxed) + 1;
    lane.fences.store(fences, Ordering::Relaxed);
    if fences >= FENCES && phase & MODE == FENCED {
        without_fences(lane, phase);
    }
}

#[cold]
fn without_fences(lane: &Lane, phase: u64) {
    lane.fences.store(0, Ordering::Relaxed);
    if barrier::init() {
        // After the fence of this section, and released: who reads it sees what was unlinked before
        // any grace period that began before. Refused if another has begun.
        let light = phase & !MODE | LIGHT;
        let _ = GRACE.phase.compare_exchange(phase, light, Ordering::Release, Ordering::Relaxed);
    }
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
        barrier::light(self.lane);
        let sleepers = GRACE.sleepers.load(Ordering::Relaxed);
        barrier::out_of_reach(self.lane);
        if sleepers != 0 {
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
    let before = GRACE.phase.fetch_add(PHASE, Ordering::AcqRel);
    let phase = before / PHASE + 1;
    if before & MODE == FENCED {
        fence(Ordering::SeqCst);
    } else {
        interrupt_sections();
    }
    for lane in lane::all() {
        if !spin_until_past(lane, phase) {
            sleep_until_past(lane, phase);
        }
    }
    GRACE.completed.fetch_max(phase, Ordering::AcqRel);
    Elapsed { phase }
}

/// Makes every section that paid for no fence visible. Every so many times it asks those to come to
/// pay for one.
fn interrupt_sections() {
    let before = GRACE.interruptions.fetch_add(1, Ordering::Relaxed);
    let asks = before % INTERRUPTIONS == INTERRUPTIONS - 1;
    // One at a time, so that it is this thread's interruption after which they all have been asked.
    let asking = if asks { GRACE.asking.try_lock() } else { None };
    let light = |phase| (phase & MODE == LIGHT).then_some(phase & !MODE | ASKED);
    let asked = asking.is_some()
        && GRACE.phase.fetch_update(Ordering::AcqRel, Ordering::Relaxed, light).is_ok();
    barrier::heavy();
    if asked {
        GRACE.phase.fetch_xor(ASKED ^ FENCED, Ordering::AcqRel);
    }
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
        Unlinked { phase: GRACE.phase.load(Ordering::Acquire) / PHASE }
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
    /// Counts grace periods, in steps of [`PHASE`] from 1, and has the [`MODE`] in its lowest bits.
    phase: AtomicU64,
    /// The latest one that has passed.
    completed: AtomicU64,
    /// How often sections were interrupted.
    interruptions: AtomicU64,
    /// Held by who makes sections pay for fences.
    asking: Mutex<()>,
    /// How many threads sleep until a section ends.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    woken: Condvar,
}

crate::global! {
    static GRACE: Grace = Grace {
        // Until it is known whether the kernel can interrupt.
        phase: AtomicU64::new(PHASE | FENCED),
        completed: AtomicU64::new(0),
        interruptions: AtomicU64::new(0),
        asking: Mutex::new(()),
        sleepers: AtomicUsize::new(0),
        sleep: Mutex::new(()),
        woken: Condvar::new(),
    };
}

/// One grace period, in the counter.
const PHASE: u64 = 4;
/// Who pays: see the [module](self).
const MODE: u64 = PHASE - 1;
const LIGHT: u64 = 0;
const ASKED: u64 = 1;
const FENCED: u64 = 2;

/// After so many interruptions, sections pay instead. One costs whoever is interrupted as much as some
/// hundred fences: so where they are rare, the fences that are paid in vain afterwards cost about as
/// much as the interruptions did, and nobody needs a clock to see how rare they are.
const INTERRUPTIONS: u64 = if cfg!(any(loom, shuttle)) { 1 } else { 8 };
/// After so many sections of one thread that paid while no grace period began, none pays.
const FENCES: u64 = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// Sections last nanoseconds; one that is still there after this many looks lost its CPU.
const SPINS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 200 };

/// Whether `lane` is in no section that began before `phase`.
fn is_past(lane: &Lane, phase: u64) -> bool {
    let began = lane.active.load(Ordering::Acquire);
    began == 0 || began / PHASE >= phase
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
