//! An event of a source that is gone does not run another that has its slot now.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::{World, does_on_event, in_pool};
use holm_netns::Namespace;
use holm_pool::{Handle, Next};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// Where one source after another is put.
pub trait Table: Default + Send + Sync + 'static {
    /// The first source becomes ready.
    fn first_is_ready(&self);
    /// Removes the first and puts another into its place.
    fn replace_first(&self);
    /// Whether the first ran after it was removed, and how often the second ran.
    fn end(&self) -> (bool, usize);
}

fn event_against_removal<T: Table>() {
    let table = Arc::new(T::default());
    let told = thread::spawn({
        let table = table.clone();
        move || table.first_is_ready()
    });
    table.replace_first();
    told.join().unwrap();
    let (first_after, second) = table.end();
    assert!(!first_after, "{AFTER}");
    assert_eq!(second, 0, "{STALE}");
}

#[test]
fn event_of_a_source_that_was_removed_runs_nothing() {
    passes("event against removal and reuse of the slot", event_against_removal::<Real>);
    let what = "a table without generations";
    fails(what, &[STALE], event_against_removal::<sketch::NoGenerations>);
}

const STALE: &str = "a source was run for an event of another";
const AFTER: &str = "a source ran after it had been dropped";

struct Real {
    world: World,
    ns: Namespace,
    first: Mutex<Option<(Handle, i32)>>,
    dropped: Arc<AtomicBool>,
    ran_after: Arc<AtomicBool>,
    second: Arc<AtomicUsize>,
}

struct SetsOnDrop(Arc<AtomicBool>);

impl Drop for SetsOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let (dropped, ran_after) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let source = {
            let (sets, ran_after) = (SetsOnDrop(dropped.clone()), ran_after.clone());
            does_on_event(move |_| {
                ran_after.fetch_or(sets.0.load(Ordering::SeqCst), Ordering::SeqCst);
                thread::yield_now();
                ran_after.fetch_or(sets.0.load(Ordering::SeqCst), Ordering::SeqCst);
                Next::Idle
            })
        };
        let (source, fd) = source;
        let handle = in_pool(&ns, |pool| pool.add(source).unwrap());
        let first = Mutex::new(Some((handle, fd)));
        Self { world, ns, first, dropped, ran_after, second: Arc::default() }
    }
}

impl Table for Real {
    fn first_is_ready(&self) {
        let fd = self.first.lock().unwrap().as_ref().map(|(_, fd)| *fd);
        if let Some(fd) = fd {
            self.world.stand.ready(&[fd]);
        }
    }

    fn replace_first(&self) {
        let first = self.first.lock().unwrap().as_ref().map(|(handle, _)| handle.clone());
        first.unwrap().remove();
        let second = self.second.clone();
        // It has no descriptor, so that no event can be meant for it.
        let source = crate::stand::does(move |_| {
            second.fetch_add(1, Ordering::SeqCst);
            Next::Idle
        });
        in_pool(&self.ns, |pool| pool.add(source).unwrap());
    }

    fn end(&self) -> (bool, usize) {
        self.world.end();
        assert!(self.dropped.load(Ordering::SeqCst), "removed, and still there");
        (self.ran_after.load(Ordering::SeqCst), self.second.load(Ordering::SeqCst))
    }
}
