//! A pointer that is read without a lock and replaced without disturbing its readers.

use crate::grace::{self, Elapsed, Section, Unlinked};
use crate::sync::atomic::{AtomicPtr, Ordering};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// A value that readers see as it was or as it is, never in between.
///
/// Reading takes a [`Section`] and no lock. Replacing gives the old value back as [`Outgoing`],
/// from which it comes **by value** once a grace period has passed.
pub struct Published<T> {
    current: AtomicPtr<T>,
    _owns: PhantomData<Box<T>>,
}

impl<T: Send + Sync> Published<T> {
    /// Publishes `value`, or nothing yet.
    pub fn new(value: Option<Box<T>>) -> Self {
        Self { current: AtomicPtr::new(into_raw(value)), _owns: PhantomData }
    }

    /// What is published now. It stays valid for the section, whatever is published meanwhile.
    #[inline]
    pub fn get<'s>(&'s self, _section: &'s Section) -> Option<&'s T> {
        // SAFETY: null or from `into_raw`. `replace` hands the old value out only after a grace
        // period, which waits for the section; `drop` needs `self` exclusively.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `value` in place of what was published before.
    pub fn replace(&self, value: Option<Box<T>>) -> Option<Outgoing<T>> {
        let old = self.current.swap(into_raw(value), Ordering::AcqRel);
        NonNull::new(old).map(|pointer| Outgoing { pointer, unlinked: Unlinked::now() })
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let last = self.current.load(Ordering::Relaxed);
        if !last.is_null() {
            // SAFETY: from `into_raw`; `&mut self` means that no reader is left.
            drop(unsafe { Box::from_raw(last) });
        }
    }
}

impl<T> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published(..)")
    }
}

/// A value that is no longer published and may still be looked at.
///
/// Dropped as it is, it waits for a grace period of its own.
#[must_use = "dropping it waits for a grace period; reclaim() many with one"]
pub struct Outgoing<T> {
    pointer: NonNull<T>,
    unlinked: Unlinked,
}

// SAFETY: it owns the value, as a `Box<T>` would; readers elsewhere share it until the grace period
// is over, for which `Published` demands `T: Sync`.
unsafe impl<T: Send + Sync> Send for Outgoing<T> {}

impl<T> Outgoing<T> {
    /// Whether this grace period has let the last reader go.
    pub fn is_covered_by(&self, elapsed: &Elapsed) -> bool {
        elapsed.covers(self.unlinked)
    }

    /// The value, now that nobody can be looking at it.
    ///
    /// # Panics
    ///
    /// If the grace period began before the value was replaced.
    pub fn reclaim(self, elapsed: &Elapsed) -> Box<T> {
        assert!(
            elapsed.covers(self.unlinked),
            "the grace period is older than what it should free"
        );
        let pointer = ManuallyDrop::new(self).pointer;
        // SAFETY: from `into_raw`, taken out of its `Published` once; no section that could have
        // read it is left.
        unsafe { Box::from_raw(pointer.as_ptr()) }
    }
}

impl<T> Deref for Outgoing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: from `into_raw`, and not reclaimed: that consumes `self`.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T> Drop for Outgoing<T> {
    fn drop(&mut self) {
        grace::synchronize();
        // SAFETY: as in `reclaim`.
        drop(unsafe { Box::from_raw(self.pointer.as_ptr()) });
    }
}

impl<T> fmt::Debug for Outgoing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("unlinked", &self.unlinked).finish_non_exhaustive()
    }
}

fn into_raw<T>(value: Option<Box<T>>) -> *mut T {
    value.map_or(ptr::null_mut(), Box::into_raw)
}
