//! A gate that counts who is inside without a cache line that two of them write.

use crate::counters::Counter;
use crate::grace::{self, Section, Unlinked};
use crate::holders::{Held, Holders, Mark};
use crate::levels;
use crate::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Arc, Deadline};
use crate::vault::Vault;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;

/// Counts the work in flight around a `T`, which is there for whoever is inside.
///
/// [`enter`](Self::enter) gives a [`Pass`] until the gate is closed; it takes no lock and writes
/// only memory of its own thread. [`close`](Self::close) lets nobody in any more, for good. When
/// the last pass is gone the gate has drained, and the `T` can be [taken](Self::take) **by value**.
///
/// Dropping a gate closes it, which waits for a grace period unless it was [settled](Self::settle);
/// the last pass then drops the `T`.
///
/// It is the sharded sibling of [`Owner`](crate::Owner): cheaper to enter and to leave, dearer to
/// close, which takes a grace period.
///
/// # How it counts
///
/// As the kernel's `percpu_ref` does. While the gate is open, entering and leaving each change the
/// cell of the thread's own lane, within a grace period's section; the sum of the cells is
/// meaningless until nobody changes them. Closing sets a flag and waits for a grace period; from
/// then on nobody enters, and all that leave count down one common number. Only then are the cells
/// added up into that number, which began so high that it could not reach zero before.
pub struct Gate<T: Send + Sync = ()> {
    inside: Arc<Inside<T>>,
}

/// Being inside: the `T` is there until this is dropped, on whatever thread.
#[must_use = "dropping a pass is leaving"]
pub struct Pass<T: Send + Sync = ()> {
    inside: NonNull<Inside<T>>,
    mark: Mark,
}

struct Inside<T> {
    flags: AtomicUsize,
    /// When the gate was shut, as [`Unlinked`]; 0 before.
    shut: AtomicU64,
    /// How many are inside, while the gate is open.
    open: Counter,
    /// How many are inside, once it is closed; more by [`BIAS`] until `open` was added.
    closed: AtomicIsize,
    holders: Holders,
    vault: Vault<T>,
}

/// Nobody may enter any more.
const CLOSED: usize = 1;
/// Passes are recorded as they are given.
const TRACKED: usize = 2;
/// The cells have been added up, or are about to be.
const SETTLED: usize = 4;
/// More than anybody will ever count down.
const BIAS: isize = isize::MAX / 2;

impl Gate {
    /// An open gate that counts and guards nothing.
    pub fn bare() -> Self {
        Self::new(())
    }
}

impl<T: Send + Sync> Gate<T> {
    /// An open gate around `value`.
    pub fn new(value: T) -> Self {
        let inside = Arc::new(Inside {
            flags: AtomicUsize::new(0),
            shut: AtomicU64::new(0),
            open: Counter::new(),
            closed: AtomicIsize::new(BIAS),
            holders: Holders::new(),
            vault: Vault::new(value),
        });
        // All that are inside hold one count of the memory together; the last of them drops it.
        std::mem::forget(inside.clone());
        Self { inside }
    }

    /// Lets the caller in, unless the gate is closed.
    #[inline]
    #[track_caller]
    pub fn enter(&self) -> Option<Pass<T>> {
        self.enter_in(&grace::section())
    }

    /// Like [`enter`](Self::enter), by somebody who is in a section already.
    #[inline]
    #[track_caller]
    pub fn enter_in(&self, section: &Section) -> Option<Pass<T>> {
        let flags = self.inside.flags.load(Ordering::Relaxed);
        if flags & CLOSED != 0 {
            return None;
        }
        // Whoever closes waits for the end of this section before it adds up.
        self.inside.open.add(section.lane(), 1);
        let mark =
            if flags & TRACKED == 0 { None } else { self.inside.holders.add(Location::caller()) };
        Some(Pass { inside: pointer(&self.inside), mark })
    }

    /// Closes the gate: when this returns nobody enters any more. Waits for a grace period, not for
    /// those inside.
    pub fn close(&self) {
        self.shut();
        self.settle();
    }

    /// The first half of [`close`](Self::close): who looks at the gate from now on is not let in.
    /// Somebody who looked before may still be entering, until a grace period has passed.
    ///
    /// To close many things with one grace period, shut them all, call [`grace::synchronize`], and
    /// then [`settle`](Self::settle) each.
    pub fn shut(&self) {
        self.inside.flags.fetch_or(CLOSED, Ordering::Relaxed);
        self.inside.shut.store(Unlinked::now().into_raw(), Ordering::Release);
    }

    /// The second half of [`close`](Self::close). Waits for a grace period, if none has passed since
    /// the gate was shut. Does nothing to a gate that is open.
    pub fn settle(&self) {
        // Who shut it may be about to say when; then a grace period from now on will do.
        let shut = match self.inside.shut.load(Ordering::Acquire) {
            0 if !self.is_closed() => return,
            0 => Unlinked::now(),
            raw => Unlinked::from_raw(raw),
        };
        grace::synchronize_since(shut);
        if self.inside.flags.fetch_or(SETTLED, Ordering::AcqRel) & SETTLED == 0 {
            Inside::add_up(&self.inside);
        }
    }

    /// Whether the gate is closed or being closed.
    pub fn is_closed(&self) -> bool {
        self.inside.flags.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Waits until the gate is closed and the last pass is gone; a value that was promised to
    /// [somebody](Self::on_drained) may still be on its way there. [Settles](Self::settle) a gate that
    /// was only shut.
    ///
    /// # Errors
    ///
    /// Who is still inside when `deadline` passes.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock [level](crate::levels): nobody waits with one.
    pub fn drained(&self, deadline: Deadline) -> Result<(), Held> {
        levels::assert_nothing_held();
        self.settle();
        if self.inside.vault.wait(deadline) { Ok(()) } else { Err(self.held()) }
    }

    /// The value, once the gate has drained; at most once.
    pub fn take(&self) -> Option<T> {
        self.inside.vault.take()
    }

    /// Has `taker` called with the value when the gate has drained: now, or by the thread that leaves
    /// last. `taker` must not block; let it put the value where somebody else destroys it.
    pub fn on_drained(&self, taker: impl FnOnce(T) + Send + 'static) {
        self.inside.vault.promise(Box::new(taker));
    }

    /// Records from now on who enters, from where and when; or no longer.
    pub fn track(&self, on: bool) {
        if on {
            self.inside.flags.fetch_or(TRACKED, Ordering::Relaxed);
        } else {
            self.inside.flags.fetch_and(!TRACKED, Ordering::Relaxed);
        }
    }

    /// Who is inside. The count is exact once the gate is closed, and a snapshot before.
    pub fn held(&self) -> Held {
        self.inside.held()
    }
}

impl<T: Send + Sync> Drop for Gate<T> {
    fn drop(&mut self) {
        self.inside.vault.abandon();
        if self.inside.flags.load(Ordering::Relaxed) & SETTLED == 0 {
            self.close();
        }
    }
}

// SAFETY: a pass is a counted `&T` that may be the last on its thread and drop the value there.
unsafe impl<T: Send + Sync> Send for Pass<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Pass<T> {}

impl<T: Send + Sync> Pass<T> {
    #[inline]
    fn inside(&self) -> &Inside<T> {
        // SAFETY: those inside hold a count of the memory together, and this is one of them.
        unsafe { self.inside.as_ref() }
    }
}

impl<T: Send + Sync> Deref for Pass<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this pass is counted until it is dropped.
        unsafe { self.inside().vault.get() }
    }
}

impl<T: Send + Sync> Drop for Pass<T> {
    #[inline]
    fn drop(&mut self) {
        let inside = self.inside();
        if let Some(mark) = self.mark {
            inside.holders.remove(mark);
        }
        let section = grace::section();
        if inside.flags.load(Ordering::Relaxed) & CLOSED == 0 {
            // Whoever closes waits for the end of this section before it adds up, and until it has
            // added up the gate cannot drain: the memory is there.
            inside.open.add(section.lane(), -1);
            return;
        }
        drop(section);
        // SAFETY: this pass's count, given up here and nowhere else.
        unsafe { Inside::count_closed(self.inside, -1) };
    }
}

impl<T> Inside<T> {
    /// Moves the count from the cells to the common number. Once, a grace period after closing.
    fn add_up(this: &Arc<Self>) {
        let inside = this.open.sum();
        // SAFETY: the bias, given up here and nowhere else.
        unsafe { Self::count_closed(pointer(this), inside - BIAS) };
    }

    /// Changes the common number; who makes it zero declares the gate drained.
    ///
    /// # Safety
    ///
    /// The caller gives up what it was counted with, and `inside` was alive because of it.
    unsafe fn count_closed(inside: NonNull<Self>, change: isize) {
        // SAFETY: alive until the count is given up. Release: what was done inside happens before
        // whoever is last declares the gate drained.
        let before = unsafe { inside.as_ref() }.closed.fetch_add(change, Ordering::Release);
        if before + change != 0 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the count that `Gate::new` left behind for this; zero is reached once.
        let inside = unsafe { Arc::from_raw(inside.as_ptr().cast_const()) };
        // SAFETY: nobody is inside or can enter. Those who left before the cells were added up did
        // so in a section that the grace period waited for, the others released the number.
        unsafe { inside.vault.drained() };
    }

    fn held(&self) -> Held {
        let closed = self.closed.load(Ordering::Relaxed);
        let count = if closed > BIAS / 2 { self.open.sum() + (closed - BIAS) } else { closed };
        self.holders.held(usize::try_from(count).unwrap_or(0))
    }
}

/// A pointer to the whole allocation, from which the `Arc` can be made again.
fn pointer<T>(inside: &Arc<Inside<T>>) -> NonNull<Inside<T>> {
    // SAFETY: an `Arc` is never null.
    unsafe { NonNull::new_unchecked(Arc::as_ptr(inside).cast_mut()) }
}

impl<T: Send + Sync> fmt::Debug for Gate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("closed", &self.is_closed())
            .field("inside", &self.held().count)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + fmt::Debug> fmt::Debug for Pass<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&&**self).finish()
    }
}
