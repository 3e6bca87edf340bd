//! What was said of an object is not said again once it has changed.

use crate::harness::{fails, passes};
use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use stripes::{Glance, Stripes};

#[allow(dead_code)] // Much of it is not for listings.
#[path = "../../src/stripes.rs"]
mod stripes;

/// Tells when an object changes.
trait Tells: Default + Send + Sync + 'static {
    type Glance: Copy + Send;

    /// Changes the object by `work`.
    fn change(&self, work: impl FnOnce());
    /// Looks at the object by `look`; when it did, if what it saw can be kept.
    fn look(&self, look: impl FnOnce() -> u64) -> (u64, Option<Self::Glance>);
    fn is_unchanged_since(&self, glance: Self::Glance) -> bool;
}

/// An object that only grows older, and what was said of it.
struct Object<T: Tells> {
    tells: T,
    age: AtomicU64,
    kept: Mutex<Option<(u64, T::Glance)>>,
}

impl<T: Tells> Object<T> {
    fn new() -> Arc<Self> {
        let (tells, age, kept) = (T::default(), AtomicU64::new(0), Mutex::new(None));
        Arc::new(Self { tells, age, kept })
    }

    fn age(&self) -> u64 {
        self.age.load(Ordering::SeqCst)
    }

    /// As WRITE does: other calls see half of it before it is answered.
    fn grow(&self) {
        self.tells.change(|| {
            for _ in 0..2 {
                self.age.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
    }

    /// As READDIRPLUS does.
    fn list(&self) -> u64 {
        let kept = *self.kept.lock().unwrap();
        if let Some((age, glance)) = kept
            && self.tells.is_unchanged_since(glance)
        {
            return age;
        }
        let (age, glance) = self.tells.look(|| self.age());
        *self.kept.lock().unwrap() = glance.map(|glance| (age, glance));
        age
    }
}

fn listed_while_changed<T: Tells>() {
    let object = Object::<T>::new();
    let threads = [0, 1].map(|grows| {
        let object = object.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                if grows == 1 {
                    object.grow();
                }
                // What was seen once, is not undone by a listing.
                let seen = object.age();
                assert!(object.list() >= seen, "{STALE}");
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(object.list(), 4, "{STALE}");
}

#[test]
fn what_was_said_before_a_change_is_not_said_after_it() {
    passes("a listing against changes", listed_while_changed::<Stripes>);
    fails("a glance after the look", &[STALE], listed_while_changed::<GlancesAfter>);
    fails("what is seen during a change is kept", &[STALE], listed_while_changed::<KeepsHalf>);
    fails("changes that are counted when they end", &[STALE], listed_while_changed::<CountsEnds>);
}

const STALE: &str = "older than what was seen before";
const INODE: u64 = 7;

impl Tells for Stripes {
    type Glance = Glance;

    fn change(&self, work: impl FnOnce()) {
        let _change = self.change(INODE);
        work();
    }

    fn look(&self, look: impl FnOnce() -> u64) -> (u64, Option<Glance>) {
        let glance = self.glance(INODE);
        (look(), glance)
    }

    fn is_unchanged_since(&self, glance: Glance) -> bool {
        self.is_unchanged_since(INODE, glance)
    }
}

/// The real counters, asked too late.
#[derive(Default)]
struct GlancesAfter(Stripes);

impl Tells for GlancesAfter {
    type Glance = Glance;

    fn change(&self, work: impl FnOnce()) {
        Tells::change(&self.0, work);
    }

    fn look(&self, look: impl FnOnce() -> u64) -> (u64, Option<Glance>) {
        let seen = look();
        (seen, self.0.glance(INODE))
    }

    fn is_unchanged_since(&self, glance: Glance) -> bool {
        Tells::is_unchanged_since(&self.0, glance)
    }
}

/// Does not ask whether a change is going on.
#[derive(Default)]
struct KeepsHalf(AtomicU32);

impl Tells for KeepsHalf {
    type Glance = u32;

    fn change(&self, work: impl FnOnce()) {
        self.0.fetch_add(1, Ordering::SeqCst);
        work();
    }

    fn look(&self, look: impl FnOnce() -> u64) -> (u64, Option<u32>) {
        let glance = self.0.load(Ordering::SeqCst);
        (look(), Some(glance))
    }

    fn is_unchanged_since(&self, glance: u32) -> bool {
        self.0.load(Ordering::SeqCst) == glance
    }
}

/// Says what was known before, as long as a change goes on.
#[derive(Default)]
struct CountsEnds(AtomicU32);

impl Tells for CountsEnds {
    type Glance = u32;

    fn change(&self, work: impl FnOnce()) {
        work();
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn look(&self, look: impl FnOnce() -> u64) -> (u64, Option<u32>) {
        let glance = self.0.load(Ordering::SeqCst);
        (look(), Some(glance))
    }

    fn is_unchanged_since(&self, glance: u32) -> bool {
        self.0.load(Ordering::SeqCst) == glance
    }
}
