//! An asymmetric memory barrier: next to nothing where it is met often, a system call where it is
//! met seldom.
//!
//! [`light`] and [`heavy`] order memory between two threads exactly as two `fence(SeqCst)` would.
//! Where the kernel offers `membarrier(2)` with `PRIVATE_EXPEDITED`, the heavy side interrupts
//! every CPU that runs a thread of this process, and the light side need only keep the compiler
//! from reordering. Where it does not (an old kernel, a seccomp filter), both sides are real
//! fences. `HOLM_BARRIER=fence` in the environment asks for the latter, for sandboxes that kill
//! what calls `membarrier`.

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{heavy, init, light};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use native::{heavy, init, light};

#[cfg(not(any(loom, shuttle)))]
mod native {
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
    pub(crate) fn light() {
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
}

#[cfg(any(loom, shuttle))]
mod modelled {
    use crate::sync::atomic::{Ordering, fence};

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn init() -> bool {
        false
    }
}
