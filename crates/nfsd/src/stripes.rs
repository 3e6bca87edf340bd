//! What operations on one object have to know of each other.
//!
//! Objects share a few stripes, by their inode numbers: handles will not do, since a file with two
//! names may have two. Objects that fall on one stripe are taken for the same, which costs some
//! precision and never correctness.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The stripes of one export.
#[derive(Debug)]
pub(crate) struct Stripes([Stripe; COUNT]);

/// What is going on with the objects of a stripe.
#[derive(Debug, Default)]
struct Stripe {
    /// Changes that were begun, and that have ended. Both wrap.
    begun: AtomicU32,
    ended: AtomicU32,
    flush: RwLock<()>,
}

/// A change of an object, from before its attributes are looked at to after they were looked at
/// again.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Change<'s> {
    stripe: &'s Stripe,
    /// Which one it is, if no other was going on.
    alone: Option<u32>,
}

impl Stripes {
    /// Begins a change.
    pub(crate) fn change(&self, inode: u64) -> Change<'_> {
        let stripe = self.of(inode);
        // In this order: one that ended in between makes us think it goes on, not the reverse.
        let ended = stripe.ended.load(Ordering::SeqCst);
        let begun = stripe.begun.fetch_add(1, Ordering::SeqCst);
        let alone = (begun == ended).then_some(begun.wrapping_add(1));
        Change { stripe, alone }
    }

    /// Whether two objects share a stripe.
    pub(crate) fn is_same(&self, one: u64, other: u64) -> bool {
        std::ptr::eq(self.of(one), self.of(other))
    }

    /// For an operation that may flush the file and so take note of an earlier failure in place of
    /// a commit: until the write verifier is changed.
    pub(crate) fn may_flush(&self, inode: u64) -> RwLockReadGuard<'_, ()> {
        self.of(inode).flush.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a commit: nobody else has seen a failure to flush the file and not yet changed the write
    /// verifier.
    pub(crate) fn commit(&self, inode: u64) -> RwLockWriteGuard<'_, ()> {
        self.of(inode).flush.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, inode: u64) -> &Stripe {
        let [first, rest @ ..] = &self.0;
        let index = (inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % COUNT;
        index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first)
    }
}

impl Default for Stripes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Stripe::default()))
    }
}

impl Change<'_> {
    /// Whether no other change was going on since this one began. Attributes that were looked at
    /// since then, before and after, are then those around this change.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone == Some(self.stripe.begun.load(Ordering::SeqCst))
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.stripe.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// A few hundred bytes per export.
const COUNT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_alone_unless_another_overlaps() {
        let stripes = Stripes::default();
        let first = stripes.change(7);
        assert!(first.is_alone());
        drop(first);

        let first = stripes.change(7);
        let second = stripes.change(7);
        assert!(!first.is_alone() && !second.is_alone());
        drop(first);
        assert!(!second.is_alone(), "it was not, when it looked before");
        drop(second);
        assert!(stripes.change(7).is_alone());

        let first = stripes.change(7);
        drop(stripes.change(7));
        assert!(!first.is_alone(), "another came and went");
    }
}
