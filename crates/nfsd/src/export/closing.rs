//! When an export is closed.

use holm_lifetime::sync::{Arc, Condvar, Deadline, Mutex};
use std::fmt;

/// Tells when nothing of an export is open any more but what a file cache keeps. It does not keep
/// the export.
#[derive(Clone)]
pub struct Closed(Arc<Latch>);

struct Latch {
    closed: Mutex<bool>,
    wake: Condvar,
}

impl Closed {
    /// Whether it is so by now.
    pub fn is_closed(&self) -> bool {
        *self.0.closed.lock()
    }

    /// Waits until it is so; whether it is.
    pub fn wait(&self, deadline: Deadline) -> bool {
        let mut closed = self.0.closed.lock();
        while !*closed && !deadline.passed() {
            closed = self.0.wake.wait_until(closed, deadline).0;
        }
        *closed
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closed").field(&self.is_closed()).finish()
    }
}

/// The last field of an export, so that everything else is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Closing(Closed);

impl Closing {
    pub(super) fn new() -> Self {
        Self(Closed(Arc::new(Latch { closed: Mutex::new(false), wake: Condvar::new() })))
    }

    pub(super) fn closed(&self) -> Closed {
        self.0.clone()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Closed(latch) = &self.0;
        *latch.closed.lock() = true;
        latch.wake.notify_all();
    }
}
