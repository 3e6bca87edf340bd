//! Where a value waits for its last user, and the one way out of it.
//!
//! A counter beside the vault says who uses the value ([`owner`](crate::owner) and
//! [`gate`](crate::gate) have one each). When it says that nobody does any more, and never will
//! again, somebody calls [`Vault::drained`], once. From then on the value can leave, once.

use crate::sync::cell::UnsafeCell;
use crate::sync::{Condvar, Deadline, Mutex, MutexGuard};
use std::mem::ManuallyDrop;

pub(crate) struct Vault<T> {
    value: UnsafeCell<ManuallyDrop<T>>,
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    /// Somebody may use the value.
    InUse,
    /// So it is, and this one gets the value afterwards; nobody: it is dropped.
    Promised(Option<Taker<T>>),
    /// Nobody uses the value, and it is still here.
    Drained,
    /// It has left.
    Taken,
}

type Taker<T> = Box<dyn FnOnce(T) + Send>;

// SAFETY: the value is shared by those who are counted (`T: Sync`) and leaves on whichever thread
// takes it (`T: Send`); the rest is behind the mutex.
unsafe impl<T: Send + Sync> Send for Vault<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Vault<T> {}

impl<T> Vault<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(ManuallyDrop::new(value)),
            state: Mutex::new(State::InUse),
            changed: Condvar::new(),
        }
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// The caller is counted for as long as it uses the reference: `drained` is not called before.
    #[inline(always)]
    pub(crate) unsafe fn get(&self) -> &T {
        // SAFETY: the value leaves only after `drained`.
        self.value.with(|value| unsafe { &*value })
    }

    /// Nobody uses the value any more: wakes who waits for that, or hands it to whom it is promised.
    ///
    /// # Safety
    ///
    /// Every use of the value happened before this call, and there will be none after it.
    pub(crate) unsafe fn drained(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Drained) {
            State::InUse => {}
            // SAFETY: the value is out of use, by the caller's promise.
            State::Promised(taker) => return unsafe { self.hand_over(state, taker) },
            State::Drained | State::Taken => unreachable!("drained twice"),
        }
        self.changed.notify_all();
    }

    /// Waits until the value is out of use. Whether it is.
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        let mut state = self.state.lock();
        while matches!(*state, State::InUse | State::Promised(_)) {
            if deadline.passed() {
                return false;
            }
            state = self.changed.wait_until(state, deadline).0;
        }
        true
    }

    /// The value, if it is out of use and has not left.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        if !matches!(*state, State::Drained) {
            return None;
        }
        *state = State::Taken;
        // SAFETY: drained, and it leaves by this call.
        Some(unsafe { self.take_out() })
    }

    /// Gives the value to `taker` once it is out of use: here and now, or by whoever lets go last.
    /// In place of an earlier taker; does nothing once the value has left.
    pub(crate) fn promise(&self, taker: Taker<T>) {
        let mut state = self.state.lock();
        match &mut *state {
            State::InUse => *state = State::Promised(Some(taker)),
            State::Promised(earlier) => {
                let earlier = earlier.replace(taker);
                drop(state);
                drop(earlier);
            }
            // SAFETY: the value is out of use.
            State::Drained => unsafe { self.hand_over(state, Some(taker)) },
            State::Taken => {}
        }
    }

    /// Has the value dropped once it is out of use, unless it is promised to somebody.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        match &mut *state {
            State::InUse => *state = State::Promised(None),
            // SAFETY: the value is out of use.
            State::Drained => unsafe { self.hand_over(state, None) },
            State::Promised(_) | State::Taken => {}
        }
    }

    /// # Safety
    ///
    /// The value is out of use and has not left; `state` is the lock of this vault.
    unsafe fn hand_over(&self, mut state: MutexGuard<'_, State<T>>, taker: Option<Taker<T>>) {
        *state = State::Taken;
        drop(state);
        self.changed.notify_all();
        // SAFETY: it leaves by this call, which was marked under the lock.
        let value = unsafe { self.take_out() };
        match taker {
            Some(taker) => taker(value),
            None => drop(value),
        }
    }

    /// # Safety
    ///
    /// Once, after `drained`.
    unsafe fn take_out(&self) -> T {
        // SAFETY: nobody else reads or takes it.
        self.value.with_mut(|value| unsafe { ManuallyDrop::take(&mut *value) })
    }
}

impl<T> Drop for Vault<T> {
    fn drop(&mut self) {
        if !matches!(self.state.get_mut(), State::Taken) {
            // SAFETY: it has not left, and `&mut self` means that nobody uses it.
            self.value.with_mut(|value| unsafe { ManuallyDrop::drop(&mut *value) });
        }
    }
}
