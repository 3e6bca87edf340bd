//! The model checkers' locks in the shape of this module: not poisoned, with deadlines.
//!
//! Neither checker has a clock. A deadline that is over is seen as over; any other never ends, so
//! that what waits for nothing is found as a deadlock.

use super::Deadline;
use super::imp::model;
use std::sync::PoisonError;

/// Mutual exclusion; a panic while it is held does not poison it.
#[derive(Debug, Default)]
pub struct Mutex<T>(model::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> model::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody holds it.
    pub fn try_lock(&self) -> Option<model::MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// The value, by exclusive reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, by itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable.
#[derive(Debug, Default)]
pub struct Condvar(model::Condvar);

impl Condvar {
    /// A condition variable nobody waits on.
    pub fn new() -> Self {
        Self(model::Condvar::new())
    }

    /// Releases the lock, waits for a notification, takes the lock again.
    pub fn wait<'a, T>(&self, guard: model::MutexGuard<'a, T>) -> model::MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Like [`wait`](Self::wait), but until `deadline`; the flag says whether it is over.
    pub fn wait_until<'a, T>(
        &self,
        guard: model::MutexGuard<'a, T>,
        deadline: Deadline,
    ) -> (model::MutexGuard<'a, T>, bool) {
        if deadline.passed() { (guard, true) } else { (self.wait(guard), false) }
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
