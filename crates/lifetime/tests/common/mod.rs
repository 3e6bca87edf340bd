//! What the tests of this crate share.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts how many of its values have been dropped.
#[derive(Clone, Default)]
pub struct Drops(Arc<AtomicUsize>);

/// A value that is missed.
#[derive(Debug)]
pub struct Counted {
    pub number: u32,
    drops: Arc<AtomicUsize>,
}

impl Drops {
    pub fn value(&self, number: u32) -> Counted {
        Counted { number, drops: self.0.clone() }
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Panics when it is dropped, after it was counted.
pub struct Fragile(pub Counted);

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("fragile {}", self.0.number);
    }
}

/// The message of a panic in `f`.
pub fn panic_message(f: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("no panic");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast::<&str>().expect("a message").to_string(),
    }
}
