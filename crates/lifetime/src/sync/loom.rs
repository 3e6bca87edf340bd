//! Under loom: every interleaving, every allowed memory ordering.

pub use super::modelled::{Condvar, Mutex};
pub use ::loom::sync::{Arc, MutexGuard, atomic};

pub(super) use ::loom::sync as model;

pub use crate::{__loom_global as __global, __loom_thread_local as __thread_local};

/// Threads.
pub mod thread {
    pub use ::loom::thread::{Builder, JoinHandle, current, spawn, yield_now};
}

/// Cells, whose accesses loom checks for races.
pub mod cell {
    pub use ::loom::cell::UnsafeCell;
}

#[doc(hidden)]
#[macro_export]
macro_rules! __loom_global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
        ::loom::lazy_static! { $(#[$meta])* static ref $name: $type = $init; }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __loom_thread_local {
    ($($body:tt)*) => { ::loom::thread_local! { $($body)* } };
}
