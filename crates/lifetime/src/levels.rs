//! The order in which locks are taken, as types.
//!
//! The whole order, outermost first, is one line at the end of this page:
//!
//! ```text
//! Pernet → Rtnl → NsRtnl → DevBase
//! ```
//!
//! A thread that holds nothing has a [`Locked<Nothing>`](Locked) token. Taking a [`LevelMutex`]
//! borrows the token for as long as the lock is held, and gives a longer one, which names every
//! level held. To take a lock, the innermost level held must precede its level; so an inversion,
//! or the same level twice, does not compile. A function that relies on a lock asks for a token
//! that [holds](Holds) its level.
//!
//! Nobody waits for a [`Ref`](crate::Ref) or a [`Gate`](crate::Gate) with any level held. The calls
//! that wait take no token, and a debug build checks that the thread holds nothing.

use crate::sync::{Mutex, MutexGuard};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A lock level: one of the types at the end of this page.
pub trait Level: 'static {
    /// The level's name, for messages.
    const NAME: &'static str;
    /// A bit for the level; a level further in has a higher one.
    const BIT: u32;
}

/// What a thread holds: [`Nothing`], or [`Holding`] one level and, outside of it, others.
pub trait HeldLevels: 'static {
    /// Whether no level is held.
    const NOTHING: bool;
}

/// No level is held.
pub enum Nothing {}

/// `L` is held, taken while `Outer` was.
pub struct Holding<L, Outer>(PhantomData<(L, Outer)>);

impl HeldLevels for Nothing {
    const NOTHING: bool = true;
}

impl<L: Level, Outer: HeldLevels> HeldLevels for Holding<L, Outer> {
    const NOTHING: bool = false;
}

/// While this is held, `L` may be taken.
#[diagnostic::on_unimplemented(
    message = "lock order: `{L}` may not be taken while holding `{Self}`",
    note = "the order is Pernet → Rtnl → NsRtnl → DevBase, and no level is taken twice"
)]
pub trait MayTake<L: Level>: HeldLevels {}

/// `L` is among what is held.
#[diagnostic::on_unimplemented(message = "`{L}` must be held here, and only `{Self}` is")]
pub trait Holds<L: Level>: HeldLevels {}

impl<L: Level> MayTake<L> for Nothing {}
impl<L: Level, Outer: HeldLevels> Holds<L> for Holding<L, Outer> {}

/// Says what this thread holds. It cannot leave the thread.
pub struct Locked<'a, H: HeldLevels = Nothing>(PhantomData<(&'a mut H, *const ())>);

impl Locked<'static> {
    /// The token of a thread that holds nothing.
    ///
    /// The types can't keep a second token from being made while the first is borrowed. A debug
    /// build can.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a level.
    pub fn nothing() -> Self {
        assert_nothing_held();
        Self(PhantomData)
    }
}

impl<L: Level, Outer: HeldLevels> Locked<'_, Holding<L, Outer>> {
    /// The same without the levels outside of the innermost: for callbacks that rely on that one and
    /// need not know under what it was taken.
    pub fn innermost(&mut self) -> Locked<'_, Holding<L, Nothing>> {
        Locked(PhantomData)
    }
}

/// A mutex with a place in the lock order.
#[derive(Debug)]
pub struct LevelMutex<L, T> {
    mutex: Mutex<T>,
    _level: PhantomData<fn() -> L>,
}

impl<L: Level, T> LevelMutex<L, T> {
    /// A mutex around `value`.
    #[allow(clippy::missing_const_for_fn)]
    pub fn new(value: T) -> Self {
        Self { mutex: Mutex::new(value), _level: PhantomData }
    }

    /// Waits for the lock.
    pub fn lock<'a, H: MayTake<L>>(
        &'a self,
        _held: &'a mut Locked<'_, H>,
    ) -> LevelGuard<'a, L, H, T> {
        held_by_thread::check::<L>();
        LevelGuard::new(self.mutex.lock())
    }

    /// The lock, if nobody holds it.
    pub fn try_lock<'a, H: MayTake<L>>(
        &'a self,
        _held: &'a mut Locked<'_, H>,
    ) -> Option<LevelGuard<'a, L, H, T>> {
        held_by_thread::check::<L>();
        self.mutex.try_lock().map(LevelGuard::new)
    }

    /// Waits for two locks of one level. The caller names them in the order in which everybody names
    /// them (by an id that never changes). The one guard, and its token, stand for both; what it
    /// [dereferences](Deref) to is what the first one guards.
    ///
    /// # Panics
    ///
    /// If both are the same lock.
    pub fn lock_two<'a, H: MayTake<L>>(
        first: &'a Self,
        second: &'a Self,
        _held: &'a mut Locked<'_, H>,
    ) -> LevelGuard<'a, L, H, T> {
        assert!(!std::ptr::eq(first, second), "{} taken twice", L::NAME);
        held_by_thread::check::<L>();
        let mut guard = LevelGuard::new(first.mutex.lock());
        guard.second = Some(second.mutex.lock());
        guard
    }
}

/// Holds a [`LevelMutex`] until dropped, and the token that says so.
pub struct LevelGuard<'a, L: Level, H: HeldLevels, T> {
    token: Locked<'a, Holding<L, H>>,
    guard: MutexGuard<'a, T>,
    /// Of [`LevelMutex::lock_two`].
    second: Option<MutexGuard<'a, T>>,
}

impl<'a, L: Level, H: HeldLevels, T> LevelGuard<'a, L, H, T> {
    fn new(guard: MutexGuard<'a, T>) -> Self {
        held_by_thread::add::<L>();
        Self { token: Locked(PhantomData), guard, second: None }
    }

    /// What is held now: this level, and all that was held before.
    pub fn token(&mut self) -> &mut Locked<'a, Holding<L, H>> {
        &mut self.token
    }

    /// What the second lock guards, of two.
    pub fn second(&mut self) -> Option<&mut T> {
        self.second.as_deref_mut()
    }

    /// What is held now, and what the lock guards.
    pub fn split(&mut self) -> (&mut Locked<'a, Holding<L, H>>, &mut T) {
        (&mut self.token, &mut self.guard)
    }
}

impl<L: Level, H: HeldLevels, T> Deref for LevelGuard<'_, L, H, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<L: Level, H: HeldLevels, T> DerefMut for LevelGuard<'_, L, H, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<L: Level, H: HeldLevels, T> Drop for LevelGuard<'_, L, H, T> {
    fn drop(&mut self) {
        held_by_thread::remove::<L>();
    }
}

/// In a debug build, panics if this thread holds any level.
#[track_caller]
pub fn assert_nothing_held() {
    if cfg!(debug_assertions) {
        let held = held_by_thread::names();
        assert!(held.is_empty(), "this call may wait, and the thread holds {}", held.join(", "));
    }
}

/// What the types say, once more at run time: they can't see what a thread holds that made itself a
/// second token. Debug builds only.
mod held_by_thread {
    use super::{Cell, LEVELS, Level};

    crate::thread_local! { static LEVELS_HELD: Cell<u32> = Cell::new(0); }

    /// Before the lock is waited for: a thread that holds it would wait for itself.
    pub(super) fn check<L: Level>() {
        if cfg!(debug_assertions) {
            let held = LEVELS_HELD.with(Cell::get);
            assert!(
                held < L::BIT,
                "lock order: {} taken while holding {}",
                L::NAME,
                names_of(held).join(", "),
            );
        }
    }

    pub(super) fn add<L: Level>() {
        if cfg!(debug_assertions) {
            LEVELS_HELD.with(|held| held.set(held.get() | L::BIT));
        }
    }

    pub(super) fn remove<L: Level>() {
        if cfg!(debug_assertions) {
            LEVELS_HELD.with(|held| held.set(held.get() & !L::BIT));
        }
    }

    pub(super) fn names() -> Vec<&'static str> {
        LEVELS_HELD.with(|held| names_of(held.get()))
    }

    fn names_of(held: u32) -> Vec<&'static str> {
        LEVELS.iter().filter(|(_, bit)| held & bit != 0).map(|(name, _)| *name).collect()
    }
}

/// Declares the levels in their order, and that each may be taken while any before it is held.
macro_rules! order {
    ($($(#[$doc:meta])* $level:ident = $bit:expr),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $level {}

            impl Level for $level {
                const NAME: &'static str = stringify!($level);
                const BIT: u32 = 1 << $bit;
            }
        )*
        const LEVELS: &[(&str, u32)] = &[$(($level::NAME, $level::BIT)),*];
        order!(@pairs $($level)*);
    };
    (@pairs $outer:ident $($inner:ident)*) => {
        $(
            impl<Outer: HeldLevels> MayTake<$inner> for Holding<$outer, Outer> {}
            impl<Outer: Holds<$outer>> Holds<$outer> for Holding<$inner, Outer> {}
        )*
        order!(@pairs $($inner)*);
    };
    (@pairs) => {};
}

order! {
    /// Serialises the registration of subsystems and the creation and removal of namespaces.
    Pernet = 0,
    /// The global configuration lock.
    Rtnl = 1,
    /// The configuration lock of one namespace.
    NsRtnl = 2,
    /// Guards the table of one namespace's interfaces.
    DevBase = 3,
}
