//! Under shuttle: thousands of schedules, sequentially consistent memory.

pub use super::modelled::{Condvar, Mutex};
pub use ::shuttle::sync::{Arc, MutexGuard, Weak, atomic};

pub(super) use ::shuttle::sync as model;

pub use crate::{__shuttle_global as __global, __shuttle_thread_local as __thread_local};

/// Threads.
pub mod thread {
    pub use ::shuttle::thread::{Builder, JoinHandle, ThreadId, current, spawn, yield_now};
}

#[path = "cell.rs"]
pub mod cell;

#[doc(hidden)]
#[macro_export]
macro_rules! __shuttle_global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
        ::shuttle::lazy_static! { $(#[$meta])* static ref $name: $type = $init; }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __shuttle_thread_local {
    ($($body:tt)*) => { ::shuttle::thread_local! { $($body)* } };
}
