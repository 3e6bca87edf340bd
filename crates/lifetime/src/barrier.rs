//! An asymmetric memory barrier: next to nothing where it is met often, a system call where it is
//! met seldom.
//!
//! [`light`] and [`heavy`] order memory between two threads exactly as two `fence(SeqCst)` would.
//! Where the kernel offers `membarrier(2)` with `PRIVATE_EXPEDITED`, the heavy side interrupts
//! every CPU that runs a thread of this process, and the light side need only keep the compiler
//! from reordering. Where it does not (an old kernel, a seccomp filter), both sides are real
//! fences. `HOLM_BARRIER=fence` in the environment asks for the latter, for sandboxes that kill
//! what calls `membarrier`.
//!
//! Loom has no interruptions, so they are modelled: a thread that is [in reach](in_reach) of the heavy
//! side looks now and then whether it [is struck](may_strike), and if so, has a fence there.

#[cfg(loom)]
pub use modelled::Reach;
#[cfg(loom)]
pub(crate) use modelled::{heavy, in_reach, init, light, may_strike, out_of_reach};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use native::{heavy, in_reach, init, light, may_strike, out_of_reach};
#[cfg(shuttle)]
pub(crate) use none::{heavy, in_reach, init, light, may_strike, out_of_reach};

/// Does what the first use of a gate or of a grace period would do once for the process.
///
/// To be called before the process starts threads: the kernel registers a process for
/// `membarrier(2)` at once while it has one thread, and otherwise after an RCU grace period, which is
/// milliseconds on an idle machine and more on a busy one.
pub fn prepare() {
    init();
}

#[cfg(not(any(loom, shuttle)))]
mod native {
    use crate::lane::Lane;
    use rustix::thread::{MembarrierCommand, membarrier};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

    /// Whether the light side may leave its fence out. Set only after the process has registered,
    /// and from then on every heavy side is a system call.
    static ASYMMETRIC: Line = Line(AtomicBool::new(false));

    /// In a cache line of its own: every section reads it.
    #[repr(align(128))]
    struct Line(AtomicBool);

    /// The side that is met often.
    #[inline(always)]
    pub(crate) fn light(_: &Lane) {
        if ASYMMETRIC.0.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The side that is met seldom.
    pub(crate) fn heavy() {
        if !init() {
            fence(Ordering::SeqCst);
            return;
        }
        // Out of memory for the CPU mask is the one failure left to a registered process; the
        // slower global command needs no mask.
        if membarrier(MembarrierCommand::PrivateExpedited).is_err()
            && let Err(error) = membarrier(MembarrierCommand::Global)
        {
            // Going on would be a data race.
            eprintln!("holm: membarrier(2) worked at start and now fails: {error}");
            std::process::abort();
        }
    }

    /// Chooses the form, once. Whether it is the asymmetric one.
    pub(crate) fn init() -> bool {
        static CHOSEN: OnceLock<bool> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let refused = std::env::var_os("HOLM_BARRIER").is_some_and(|form| form == "fence");
            let asymmetric =
                !refused && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
            ASYMMETRIC.0.store(asymmetric, Ordering::Release);
            asymmetric
        })
    }

    /// What is before this in the program is so for whoever interrupts after it.
    #[inline(always)]
    pub(crate) fn may_strike(_: &Lane) {
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    pub(crate) fn in_reach(_: &Lane) {}

    #[inline(always)]
    pub(crate) fn out_of_reach(_: &Lane) {}
}

#[cfg(loom)]
#[allow(missing_docs, clippy::new_without_default)]
mod modelled {
    use crate::lane::{self, Lane};
    use crate::sync::atomic::{AtomicUsize, Ordering, fence};
    use crate::sync::thread;

    /// A thread that can be interrupted while it is in reach.
    pub struct Reach {
        /// Whether it is. If not, what the thread does is ordered by fences.
        inside: AtomicUsize,
        /// How often it was interrupted.
        interruptions: AtomicUsize,
        /// The latest interruption that has struck.
        struck: AtomicUsize,
    }

    impl Reach {
        pub fn new() -> Self {
            let [inside, interruptions, struck] = [(); 3].map(|()| AtomicUsize::new(0));
            Self { inside, interruptions, struck }
        }

        pub fn enter(&self) {
            self.inside.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }

        /// A place where an interruption strikes.
        pub fn may_strike(&self) {
            let interruptions = self.interruptions.load(Ordering::Relaxed);
            if self.struck.load(Ordering::Relaxed) < interruptions {
                fence(Ordering::SeqCst);
                self.struck.store(interruptions, Ordering::Release);
            }
        }

        pub fn leave(&self) {
            fence(Ordering::SeqCst);
            self.inside.store(0, Ordering::Release);
        }

        /// Interrupts the thread, if it is in reach, and waits until that has struck somewhere.
        pub fn interrupt(&self) {
            fence(Ordering::SeqCst);
            let own = self.interruptions.fetch_add(1, Ordering::AcqRel) + 1;
            fence(Ordering::SeqCst);
            while self.inside.load(Ordering::Acquire) != 0
                && self.struck.load(Ordering::Acquire) < own
            {
                thread::yield_now();
            }
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
        lane::all().for_each(|lane| lane.reach.interrupt());
    }

    pub(crate) fn init() -> bool {
        true
    }

    pub(crate) fn light(lane: &Lane) {
        lane.reach.may_strike();
    }

    pub(crate) fn may_strike(lane: &Lane) {
        lane.reach.may_strike();
    }

    pub(crate) fn in_reach(lane: &Lane) {
        lane.reach.enter();
    }

    pub(crate) fn out_of_reach(lane: &Lane) {
        lane.reach.leave();
    }
}

/// Shuttle has no memory but a sequentially consistent one.
#[cfg(shuttle)]
mod none {
    use crate::lane::Lane;

    pub(crate) fn heavy() {}

    pub(crate) fn init() -> bool {
        true
    }

    pub(crate) fn light(_: &Lane) {}

    pub(crate) fn may_strike(_: &Lane) {}

    pub(crate) fn in_reach(_: &Lane) {}

    pub(crate) fn out_of_reach(_: &Lane) {}
}
