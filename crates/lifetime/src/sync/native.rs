//! Real threads: std and parking_lot.

use super::Deadline;

pub use std::sync::{Arc, Weak, atomic};

pub use crate::{__native_global as __global, __native_thread_local as __thread_local};

/// Threads.
pub mod thread {
    pub use std::thread::{Builder, JoinHandle, ThreadId, current, spawn, yield_now};
}

#[path = "cell.rs"]
pub mod cell;

/// Mutual exclusion; a panic while it is held does not poison it.
#[derive(Debug, Default)]
pub struct Mutex<T>(parking_lot::Mutex<T>);

/// Holds a [`Mutex`] until dropped.
pub type MutexGuard<'a, T> = parking_lot::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// The lock, if nobody holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// The value, by itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// A condition variable.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition variable nobody waits on.
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Releases the lock, waits for a notification, takes the lock again.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// Like [`wait`](Self::wait), but until `deadline`; the flag says whether it is over.
    pub fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Deadline,
    ) -> (MutexGuard<'a, T>, bool) {
        let over = match deadline {
            Deadline::Never => {
                self.0.wait(&mut guard);
                false
            }
            Deadline::At(instant) => self.0.wait_until(&mut guard, instant).timed_out(),
        };
        (guard, over)
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __native_global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
        $(#[$meta])* static $name: $type = $init;
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __native_thread_local {
    ($($body:tt)*) => { ::std::thread_local! { $($body)* } };
}
