//! A turn: what a source or a job is given while it runs.

use crate::pool::Shared;
use crate::source::SourceId;
use crate::staff::Desk;
use crate::tenant::{Handle, Tenant};
use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::Ordering;
use holm_netns::{Contents, Inside};
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

/// What a source or a job is given while it runs. The worker is inside the namespace for as long as
/// the turn lasts.
pub struct Turn<'t> {
    pub(crate) shared: &'t Arc<Shared>,
    pub(crate) inside: &'t Inside,
    pub(crate) desk: &'t Arc<Desk>,
    pub(crate) shelf: &'t Shelf,
    /// The source, if it is one.
    pub(crate) of: Option<(SourceId, &'t Arc<Tenant>)>,
    pub(crate) hung_up: bool,
    pub(crate) budget: u32,
    pub(crate) used: Cell<u32>,
}

impl<'t> Turn<'t> {
    /// What there is in the namespace.
    pub fn contents(&self) -> &'t Contents {
        self.inside
    }

    /// How many requests may still be served in this turn. Whoever finds nothing left and has more to
    /// do returns [`Next::More`](crate::Next::More).
    pub fn left(&self) -> u32 {
        self.budget.saturating_sub(self.used.get())
    }

    /// Counts requests that were served: one for a small one, more for one that moves much data.
    pub fn charge(&self, requests: u32) {
        self.used.set(self.used.get().saturating_add(requests));
    }

    /// Whether an event has said that the peer will send nothing more. Then there is an end of file
    /// to be read, though the read before it came back short.
    pub fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Calls `call`, which may take long: everything that touches a file.
    ///
    /// It costs two stores to the worker's own memory. If it takes longer than a few milliseconds
    /// another worker steps in, and the namespace counts as slow.
    #[inline]
    pub fn may_block<R>(&self, call: impl FnOnce() -> R) -> R {
        let _back = self.desk.enters_a_call();
        call()
    }

    /// [`may_block`](Self::may_block) for what the worker keeps from turn to turn, in its
    /// [scratch](Self::scratch), and can't borrow the turn.
    pub fn bracket(&self) -> Bracket {
        Bracket { desk: self.desk.clone(), _stays_with_the_worker: PhantomData }
    }

    /// The worker's own `T`, to be used again in its next turn. A second one is made if the first has
    /// not been given back yet.
    pub fn scratch<T: Default + 'static>(&self) -> Scratch<'t, T> {
        Scratch { shelf: self.shelf, value: Some(self.shelf.take()) }
    }

    /// Has the source run at `deadline` in any case, or no longer; in place of what was said before.
    /// Does nothing in a job.
    pub fn wake_at(&self, deadline: Option<Instant>) {
        if let Some((id, _)) = self.of {
            self.shared.set_deadline(id, deadline);
        }
    }

    /// A handle to the source that runs; none in a job.
    pub fn handle(&self) -> Option<Handle> {
        self.of.map(|(id, tenant)| Handle::new(self.shared.clone(), tenant.clone(), id))
    }
}

/// Tells the watchdog of calls that may block, on the worker that it was made on.
pub struct Bracket {
    desk: Arc<Desk>,
    _stays_with_the_worker: PhantomData<*const ()>,
}

impl Bracket {
    /// See [`Turn::may_block`].
    #[inline]
    pub fn may_block<R>(&self, call: impl FnOnce() -> R) -> R {
        let _back = self.desk.enters_a_call();
        call()
    }
}

impl fmt::Debug for Bracket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bracket")
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("of", &self.of.map(|(id, _)| id)).finish_non_exhaustive()
    }
}

/// Something of the worker's, on loan until this is dropped.
pub struct Scratch<'t, T: 'static> {
    shelf: &'t Shelf,
    // Taken only by `drop`.
    value: Option<Box<T>>,
}

impl<T> Deref for Scratch<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("only drop takes it"),
        }
    }
}

impl<T> DerefMut for Scratch<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("only drop takes it"),
        }
    }
}

impl<T> Drop for Scratch<'_, T> {
    fn drop(&mut self) {
        // What a panic has left half done is not used again.
        if let Some(value) = self.value.take()
            && !std::thread::panicking()
        {
            self.shelf.give_back(value);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Scratch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scratch").field(&**self).finish()
    }
}

/// What a worker keeps for the turns to come: one of each type.
#[derive(Default)]
pub(crate) struct Shelf(RefCell<Vec<(TypeId, Box<dyn Any>)>>);

impl Shelf {
    fn take<T: Default + 'static>(&self) -> Box<T> {
        let mut kept = self.0.borrow_mut();
        let place = kept.iter().position(|(key, _)| *key == TypeId::of::<T>());
        let found = place.and_then(|place| kept.swap_remove(place).1.downcast().ok());
        drop(kept);
        found.unwrap_or_default()
    }

    fn give_back<T: 'static>(&self, value: Box<T>) {
        let mut kept = self.0.borrow_mut();
        if !kept.iter().any(|(key, _)| *key == TypeId::of::<T>()) {
            kept.push((TypeId::of::<T>(), value));
        }
    }

    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.borrow_mut());
        drop(kept);
    }
}

/// Ends a call that may block.
pub(crate) struct Back<'t> {
    desk: &'t Desk,
    /// The number from then on; none for a call within a call.
    number: Option<u64>,
}

impl Desk {
    /// From now on the watchdog counts.
    #[inline]
    fn enters_a_call(&self) -> Back<'_> {
        // Only this thread writes the number.
        let number = self.number.load(Ordering::Relaxed);
        if number % 2 == 1 {
            return Back { desk: self, number: None };
        }
        // Release: who sees it sees in which namespace the call is.
        self.number.store(number + 1, Ordering::Release);
        Back { desk: self, number: Some(number + 2) }
    }
}

impl Drop for Back<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.desk.number.store(number, Ordering::Release);
        }
    }
}
