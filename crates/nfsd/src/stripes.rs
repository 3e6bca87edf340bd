//! What operations on one object have to know of each other.
//!
//! Objects share a few stripes, by their inode numbers: handles will not do, since a file with two
//! names may have two. Objects that fall on one stripe are taken for the same, which costs some
//! precision and never correctness.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use holm_lifetime::sync::atomic::{AtomicU32, Ordering};

/// The stripes of one export.
#[derive(Debug)]
pub(crate) struct Stripes {
    changes: [Changes; CHANGES],
}

/// Changes of the objects of a stripe: that were begun, and that have ended. Both wrap.
#[derive(Debug, Default)]
struct Changes {
    begun: AtomicU32,
    ended: AtomicU32,
}

/// A change of an object, from before its attributes are looked at to after they were looked at
/// again.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Change<'s> {
    changes: &'s Changes,
    /// Which one it is, if no other was going on.
    alone: Option<u32>,
}

/// A moment in which an object was not being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    begun: u32,
}

impl Stripes {
    /// Begins a change.
    pub(crate) fn change(&self, inode: u64) -> Change<'_> {
        let changes = self.changes(inode);
        // In this order: one that ended in between makes us think it goes on, not the reverse.
        let ended = changes.ended.load(Ordering::SeqCst);
        let begun = changes.begun.fetch_add(1, Ordering::SeqCst);
        let alone = (begun == ended).then_some(begun.wrapping_add(1));
        Change { changes, alone }
    }

    /// Begins a change by somebody who does not say what he does, and ends only when
    /// [that is said](Self::end_unseen).
    pub(crate) fn begin_unseen(&self, inode: u64) {
        std::mem::forget(self.change(inode));
    }

    /// Ends what [was begun](Self::begin_unseen).
    pub(crate) fn end_unseen(&self, inode: u64) {
        self.changes(inode).ended.fetch_add(1, Ordering::SeqCst);
    }

    /// For who is about to look at an object, and wants to know later whether it is as it was seen.
    /// None while it is being changed: what is seen then may be anything.
    pub(crate) fn glance(&self, inode: u64) -> Option<Glance> {
        let changes = self.changes(inode);
        // In this order, see above.
        let ended = changes.ended.load(Ordering::SeqCst);
        let begun = changes.begun.load(Ordering::SeqCst);
        (begun == ended).then_some(Glance { begun })
    }

    /// Whether no change of the object was begun since. Ask within the time that 2^32 changes take.
    pub(crate) fn is_unchanged_since(&self, inode: u64, glance: Glance) -> bool {
        self.changes(inode).begun.load(Ordering::SeqCst) == glance.begun
    }

    /// Whether two objects share a stripe.
    pub(crate) fn is_same(&self, one: u64, other: u64) -> bool {
        std::ptr::eq(self.changes(one), self.changes(other))
    }

    fn changes(&self, inode: u64) -> &Changes {
        of(&self.changes, inode)
    }
}

impl Default for Stripes {
    fn default() -> Self {
        Self { changes: std::array::from_fn(|_| Changes::default()) }
    }
}

impl Change<'_> {
    /// Whether no other change was going on since this one began. Attributes that were looked at
    /// since then, before and after, are then those around this change.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone == Some(self.changes.begun.load(Ordering::SeqCst))
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.changes.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// The one that an object falls on. The highest bits of the product are the best mixed.
#[allow(clippy::indexing_slicing)] // There are as many as the index can say.
pub(crate) fn of<T, const COUNT: usize>(stripes: &[T; COUNT], inode: u64) -> &T {
    const { assert!(COUNT.is_power_of_two() && COUNT > 1) };
    let index = inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - COUNT.trailing_zeros());
    &stripes[index as usize]
}

/// 1 KiB per export: a file that is being written has what is known of each 128th beside it
/// forgotten.
const CHANGES: usize = 128;

#[cfg(all(test, not(shuttle)))]
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

    #[test]
    fn a_glance_is_good_until_the_next_change_begins() {
        let stripes = Stripes::default();
        let glance = stripes.glance(7).unwrap();
        assert!(stripes.is_unchanged_since(7, glance));
        let change = stripes.change(7);
        assert!(!stripes.is_unchanged_since(7, glance));
        assert_eq!(stripes.glance(7), None);
        drop(change);
        assert!(!stripes.is_unchanged_since(7, glance));
        assert!(stripes.is_unchanged_since(7, stripes.glance(7).unwrap()));
    }

    #[test]
    fn neighbours_spread_over_all_stripes() {
        let stripes = Stripes::default();
        let used = stripes.changes.iter().filter(|changes| {
            (1000..1512).any(|inode| std::ptr::eq(*changes, stripes.changes(inode)))
        });
        assert_eq!(used.count(), CHANGES);
    }
}
