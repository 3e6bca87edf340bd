//! The one place that names the concurrency primitives of std, parking_lot, loom or shuttle.
//!
//! Everything above is written against this module, so that the very code that ships also runs
//! under the model checkers: `--cfg loom` explores every interleaving and every allowed memory
//! ordering of small pieces, `--cfg shuttle` explores thousands of schedules of large ones.
//!
//! The shape is the smallest common one: a [`Mutex`] that is never poisoned, a [`Condvar`] that
//! waits until a [`Deadline`], [`UnsafeCell`](cell::UnsafeCell) with closures, and two macros for
//! state that must begin anew with every explored execution: [`global!`](crate::global) and
//! [`thread_local!`](crate::thread_local).

#[cfg(loom)]
#[path = "loom.rs"]
mod imp;
#[cfg(all(shuttle, not(loom)))]
#[path = "shuttle.rs"]
mod imp;
#[cfg(not(any(loom, shuttle)))]
#[path = "native.rs"]
mod imp;

#[cfg(any(loom, shuttle))]
mod modelled;

#[cfg(not(loom))] // It has none.
pub use imp::Weak;
#[doc(hidden)]
pub use imp::{__global, __thread_local};
pub use imp::{Arc, Condvar, Mutex, MutexGuard, atomic, cell, thread};

/// A place that is filled once and read often. Whoever fills it holds a lock, so that nobody waits
/// in it; what is left is a load with acquire, of which a model checker need not know.
pub use std::sync::OnceLock;

use std::time::{Duration, Instant};

/// Until when a waiting call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For as long as it takes.
    Never,
    /// Until this instant.
    At(Instant),
}

impl Deadline {
    /// `duration` from now. A duration too long to be represented means [`Deadline::Never`].
    pub fn after(duration: Duration) -> Self {
        Instant::now().checked_add(duration).map_or(Deadline::Never, Deadline::At)
    }

    /// Already over: the call looks once and does not wait.
    pub fn now() -> Self {
        Deadline::At(Instant::now())
    }

    /// Whether it is over.
    pub fn passed(self) -> bool {
        match self {
            Deadline::Never => false,
            Deadline::At(instant) => instant <= Instant::now(),
        }
    }
}

/// Declares a static that starts anew with every execution under a model checker.
///
/// ```ignore
/// global! { static COUNT: AtomicUsize = AtomicUsize::new(0); }
/// ```
///
/// The initial value must be a constant expression where no model checker is at work.
#[macro_export]
macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
        $crate::sync::__global! { $(#[$meta])* static $name: $type = $init; }
    };
}

/// `std::thread_local!` for real threads, the model checker's own under one.
#[macro_export]
macro_rules! thread_local {
    ($($body:tt)*) => { $crate::sync::__thread_local! { $($body)* } };
}
