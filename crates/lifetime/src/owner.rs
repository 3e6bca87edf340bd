//! One owner, many references, and a value that comes back when the last of them is gone.

use crate::holders::{Held, Holders, Mark};
use crate::levels;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Arc, Deadline};
use crate::vault::Vault;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;

/// The one owner of a `T` that others may refer to while it lives.
///
/// While it is live, references are taken with [`get`](Self::get) or, from a [`WeakRef`], with
/// [`upgrade`](WeakRef::upgrade). [`retire`](Self::retire) ends that: no new reference can be made
/// from then on, by nobody, and so the number of those outstanding only falls. When it is zero the
/// value comes back **by value** from [`Retired::wait`]. To destroy what a `T` stands for takes a
/// `T`, not a reference to one; so freeing it under a user's feet does not type-check.
///
/// Dropping the owner retires the value too; the last reference then drops it.
pub struct Owner<T: Send + Sync> {
    // Taken only by `retire`.
    inner: Option<Arc<Inner<T>>>,
}

/// A reference: the value lives at least as long.
///
/// Not `Clone`: a copy is a new reference, and after the owner retired there are none. See
/// [`again`](Self::again).
pub struct Ref<T: Send + Sync> {
    inner: NonNull<Inner<T>>,
    mark: Mark,
}

/// A way to a reference, as long as the value is live. Keeps memory, not the value.
pub struct WeakRef<T: Send + Sync> {
    inner: Arc<Inner<T>>,
}

/// A value whose owner has retired it; it is waited for.
///
/// Dropped, it leaves the value to the last reference, which drops it.
pub struct Retired<T: Send + Sync> {
    inner: Option<Arc<Inner<T>>>,
}

/// The deadline passed and somebody still holds a reference.
#[derive(thiserror::Error)]
#[error("{held}")]
pub struct StillHeld<T: Send + Sync> {
    /// To wait on.
    pub retired: Retired<T>,
    /// By whom.
    pub held: Held,
}

struct Inner<T> {
    /// Flags in the low bits, above them the count of references; the owner is one of them.
    state: AtomicUsize,
    holders: Holders,
    vault: Vault<T>,
}

/// No reference can be made any more.
const RETIRED: usize = 1;
/// References are recorded as they are made.
const TRACKED: usize = 2;
/// One reference. The count has 62 bits: it cannot overflow in the life of a machine.
const ONE: usize = 4;

impl<T: Send + Sync> Owner<T> {
    /// Becomes the owner of `value`.
    pub fn new(value: T) -> Self {
        let inner = Arc::new(Inner {
            state: AtomicUsize::new(ONE),
            holders: Holders::new(),
            vault: Vault::new(value),
        });
        // All the references together, the owner's among them, hold one count of the memory. The
        // last to let go finds it in the pointer it has (`Inner::release`).
        std::mem::forget(inner.clone());
        Self { inner: Some(inner) }
    }

    /// A reference.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Ref<T> {
        let inner = self.inner();
        // Relaxed, like `Arc::clone`: the owner is a reference itself, so the value is there.
        let state = inner.state.fetch_add(ONE, Ordering::Relaxed);
        // SAFETY: counted just now.
        unsafe { Inner::reference(pointer(inner), state) }
    }

    /// A way to references that does not keep the value.
    pub fn downgrade(&self) -> WeakRef<T> {
        WeakRef { inner: self.inner().clone() }
    }

    /// Records from now on who takes references, from where and when; or no longer.
    ///
    /// What was taken while it was off stays unrecorded.
    pub fn track(&self, on: bool) {
        self.inner().track(on);
    }

    /// Who holds on now.
    pub fn held(&self) -> Held {
        self.inner().held()
    }

    /// Ends the making of references.
    pub fn retire(mut self) -> Retired<T> {
        let inner = self.inner.take();
        if let Some(inner) = &inner {
            Inner::retire(inner);
        }
        Retired { inner }
    }

    #[inline]
    fn inner(&self) -> &Arc<Inner<T>> {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("only retire(), which consumes the owner, empties it"),
        }
    }
}

impl<T: Send + Sync> Deref for Owner<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the owner is counted until it retires, which consumes it.
        unsafe { self.inner().vault.get() }
    }
}

impl<T: Send + Sync> Drop for Owner<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            Inner::retire(&inner);
            inner.vault.abandon();
        }
    }
}

// SAFETY: a `Ref` is a counted `&T` that may be the last on its thread and drop the value there.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T: Send + Sync> Ref<T> {
    /// Another reference, unless the owner has retired the value.
    #[inline]
    #[track_caller]
    pub fn again(&self) -> Option<Ref<T>> {
        // SAFETY: this reference keeps the memory.
        unsafe { Inner::upgrade(self.inner) }
    }

    #[inline]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: the references hold a count of the memory together, and this is one of them.
        unsafe { self.inner.as_ref() }
    }
}

impl<T: Send + Sync> Deref for Ref<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this reference is counted until it is dropped.
        unsafe { self.inner().vault.get() }
    }
}

impl<T: Send + Sync> Drop for Ref<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mark) = self.mark {
            self.inner().holders.remove(mark);
        }
        // SAFETY: this reference's count, which it gives up here and nowhere else.
        unsafe { Inner::release(self.inner) };
    }
}

impl<T: Send + Sync> WeakRef<T> {
    /// A reference, unless the owner has retired the value.
    #[inline]
    #[track_caller]
    pub fn upgrade(&self) -> Option<Ref<T>> {
        // SAFETY: this reference keeps the memory.
        unsafe { Inner::upgrade(pointer(&self.inner)) }
    }

    /// Who holds the value now; nobody once it is gone.
    pub fn held(&self) -> Held {
        self.inner.held()
    }

    /// Whether the owner has retired the value.
    pub fn is_retired(&self) -> bool {
        self.inner.state.load(Ordering::Acquire) & RETIRED != 0
    }
}

impl<T: Send + Sync> Clone for WeakRef<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Send + Sync> Retired<T> {
    /// Waits for the last reference and gives the value back.
    ///
    /// # Errors
    ///
    /// [`StillHeld`] when `deadline` passes first. It names the holders as far as they were tracked
    /// and can be waited on again.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock [level](crate::levels): nobody waits with one.
    pub fn wait(mut self, deadline: Deadline) -> Result<T, StillHeld<T>> {
        levels::assert_nothing_held();
        let inner = self.inner();
        if inner.vault.wait(deadline)
            && let Some(value) = inner.vault.take()
        {
            self.inner = None;
            return Ok(value);
        }
        let held = inner.held();
        Err(StillHeld { retired: self, held })
    }

    /// Has `taker` called with the value when the last reference is gone: now if there is none, or
    /// by the thread that drops it. `taker` must not block; let it put the value where somebody
    /// else destroys it.
    pub fn on_drained(mut self, taker: impl FnOnce(T) + Send + 'static) {
        if let Some(inner) = self.inner.take() {
            inner.vault.promise(Box::new(taker));
        }
    }

    /// Who holds on.
    pub fn held(&self) -> Held {
        self.inner().held()
    }

    fn inner(&self) -> &Arc<Inner<T>> {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("emptied only by calls that consume it"),
        }
    }
}

impl<T: Send + Sync> Drop for Retired<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            inner.vault.abandon();
        }
    }
}

impl<T> Inner<T> {
    fn retire(this: &Arc<Self>) {
        this.state.fetch_or(RETIRED, Ordering::Relaxed);
        // SAFETY: the owner's own count; retiring consumes the owner, so this happens once.
        unsafe { Self::release(pointer(this)) };
    }

    /// # Safety
    ///
    /// `inner` is alive during the call.
    #[inline]
    #[track_caller]
    unsafe fn upgrade(inner: NonNull<Self>) -> Option<Ref<T>>
    where
        T: Send + Sync,
    {
        // SAFETY: by the caller's promise.
        let count = &unsafe { inner.as_ref() }.state;
        let mut state = count.load(Ordering::Relaxed);
        while state & RETIRED == 0 {
            // Acquire: what the owner did before it made the value reachable is seen.
            let (done, failed) = (Ordering::Acquire, Ordering::Relaxed);
            match count.compare_exchange_weak(state, state + ONE, done, failed) {
                // SAFETY: counted just now.
                Ok(state) => return Some(unsafe { Self::reference(inner, state) }),
                Err(now) => state = now,
            }
        }
        None
    }

    /// A reference that was counted when the state was `state`.
    ///
    /// # Safety
    ///
    /// The count becomes the reference's.
    #[inline]
    #[track_caller]
    unsafe fn reference(inner: NonNull<Self>, state: usize) -> Ref<T>
    where
        T: Send + Sync,
    {
        let mut mark = None;
        if state & TRACKED != 0 {
            // SAFETY: alive, being counted.
            mark = unsafe { inner.as_ref() }.holders.add(Location::caller());
        }
        Ref { inner, mark }
    }

    /// Gives up one count. The last one gives up the memory too.
    ///
    /// # Safety
    ///
    /// The caller owned the count, and `inner` was alive because of it.
    #[inline]
    unsafe fn release(inner: NonNull<Self>) {
        // SAFETY: alive until the count is given up. Release: what was done with the value happens
        // before whoever is last lets it go.
        let state = unsafe { inner.as_ref() }.state.fetch_sub(ONE, Ordering::Release);
        if state < 2 * ONE {
            // SAFETY: the last one; only now, and once, is the common count of the memory used.
            unsafe { Self::release_last(inner) };
        }
    }

    /// # Safety
    ///
    /// Once, by whoever gave up the last count.
    #[cold]
    unsafe fn release_last(inner: NonNull<Self>) {
        fence(Ordering::Acquire);
        // SAFETY: the count that `Owner::new` left behind for this.
        let inner = unsafe { Arc::from_raw(inner.as_ptr().cast_const()) };
        // SAFETY: the count is zero and stays so: the owner counts until it retires, and after it
        // retired nobody counts up. The fence makes every use happen before.
        unsafe { inner.vault.drained() };
    }

    fn track(&self, on: bool) {
        if on {
            self.state.fetch_or(TRACKED, Ordering::Relaxed);
        } else {
            self.state.fetch_and(!TRACKED, Ordering::Relaxed);
        }
    }

    fn held(&self) -> Held {
        let state = self.state.load(Ordering::Relaxed);
        let count = state / ONE;
        // The owner's own count is not a holder.
        self.holders.held(if state & RETIRED == 0 { count.saturating_sub(1) } else { count })
    }
}

/// A pointer to the whole allocation, from which the `Arc` can be made again.
fn pointer<T>(inner: &Arc<Inner<T>>) -> NonNull<Inner<T>> {
    // SAFETY: an `Arc` is never null.
    unsafe { NonNull::new_unchecked(Arc::as_ptr(inner).cast_mut()) }
}

macro_rules! debug_as {
    ($($type:ident $what:literal),*) => {$(
        impl<T: Send + Sync + fmt::Debug> fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($what).field(&&**self).finish()
            }
        }
    )*};
}
debug_as!(Owner "Owner", Ref "Ref");

impl<T: Send + Sync> fmt::Debug for WeakRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRef").field("retired", &self.is_retired()).finish_non_exhaustive()
    }
}

impl<T: Send + Sync> fmt::Debug for Retired<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired").field("held", &self.held().count).finish_non_exhaustive()
    }
}

impl<T: Send + Sync> fmt::Debug for StillHeld<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StillHeld").field("held", &self.held).finish_non_exhaustive()
    }
}
