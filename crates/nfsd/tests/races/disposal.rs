//! Collector, shrinker, watcher, and those who use files, against the end of a namespace.

use crate::harness::{fails, passes};
use crate::real;
use crate::sketch::{self, Flaw};
use crate::world::{LATE, LEFT, Ledger};
use shuttle::sync::Arc;
use shuttle::thread;

/// Two namespaces with open files.
pub trait Tenants: Send + Sync + 'static {
    fn ledger(&self) -> &Arc<Ledger>;
    /// Opens a file of a namespace, if that is there, and leaves it in the cache.
    fn use_file(&self, ns: usize, file: u8);
    /// Opens a file for itself, and closes it.
    fn keep_file(&self, ns: usize, file: u8);
    /// The next time that the collector comes, it finds what is open too old.
    fn grow_old(&self);
    fn collect(&self);
    fn shrink(&self);
    fn change_everything(&self);
    /// Removes the namespace and waits until it is gone.
    fn remove(&self, ns: usize);
}

fn isolated_against_exit<T: Tenants>(tenants: T, isolate: &'static [fn(&T)]) {
    let tenants = Arc::new(tenants);
    tenants.use_file(0, 1);
    tenants.use_file(0, 2);
    tenants.use_file(1, 1);
    tenants.grow_old();
    let isolators: Vec<_> = isolate
        .iter()
        .map(|isolate| {
            let tenants = tenants.clone();
            thread::spawn(move || isolate(&tenants))
        })
        .collect();
    tenants.remove(0);
    tenants.ledger().is_gone(0);
    // The other one lives on.
    tenants.use_file(1, 1);
    for isolator in isolators {
        isolator.join().unwrap();
    }
    tenants.remove(1);
    tenants.ledger().is_gone(1);
}

fn used_against_exit<T: Tenants>(tenants: T, uses: fn(&T)) {
    let tenants = Arc::new(tenants);
    let users = [(); 2].map(|()| {
        let tenants = tenants.clone();
        thread::spawn(move || uses(&tenants))
    });
    tenants.remove(0);
    tenants.ledger().is_gone(0);
    for user in users {
        user.join().unwrap();
    }
    tenants.remove(1);
}

const COLLECTOR: fn(&real::Tenants) = <real::Tenants as Tenants>::collect;
const SHRINKER: fn(&real::Tenants) = <real::Tenants as Tenants>::shrink;
const WATCHER: fn(&real::Tenants) = <real::Tenants as Tenants>::change_everything;

fn sketch_fails(what: &str, flaw: Flaw) {
    fails(what, &[LATE, LEFT], move || {
        isolated_against_exit(sketch::Tenants::new(flaw), &[<sketch::Tenants as Tenants>::collect]);
    });
}

#[test]
fn what_the_collector_isolates_is_closed_before_the_namespace_is_gone() {
    passes("collector against exit", || {
        isolated_against_exit(real::Tenants::default(), &[COLLECTOR]);
    });
    sketch_fails("a reference taken when the file is disposed of", Flaw::ReferenceAtDisposal);
    sketch_fails("no reference at all", Flaw::NoReference);
    sketch_fails("the namespace released before the file", Flaw::NamespaceFirst);
}

#[test]
fn what_the_shrinker_isolates_is_closed_before_the_namespace_is_gone() {
    passes("shrinker against exit", || {
        isolated_against_exit(real::Tenants::default(), &[SHRINKER]);
    });
}

#[test]
fn what_the_watcher_isolates_is_closed_before_the_namespace_is_gone() {
    passes("watcher against exit", || {
        isolated_against_exit(real::Tenants::default(), &[WATCHER]);
    });
}

#[test]
fn all_three_at_once() {
    passes("collector, shrinker and watcher against exit", || {
        isolated_against_exit(real::Tenants::default(), &[COLLECTOR, SHRINKER, WATCHER]);
    });
}

#[test]
fn the_last_put_comes_before_the_end() {
    passes("last put against exit", || {
        used_against_exit(real::Tenants::default(), |tenants| {
            tenants.use_file(0, 1);
        });
    });
    passes("last put of a stateful open against exit", || {
        used_against_exit(real::Tenants::default(), |tenants| {
            tenants.keep_file(0, 1);
        });
    });
    fails("a put after the namespace was left", &[LATE, LEFT], || {
        used_against_exit(sketch::Tenants::new(Flaw::NamespaceFirst), |tenants| {
            tenants.use_file(0, 1);
        });
    });
}

#[test]
fn what_is_opened_during_the_end_is_closed() {
    passes("opens, collector and watcher against shutdown", || {
        used_against_exit(real::Tenants::default(), |tenants| {
            tenants.use_file(0, 1);
            tenants.change_everything();
            tenants.use_file(0, 1);
        });
    });
    fails("an opener that only looks whether it may", &[LATE, LEFT], || {
        used_against_exit(sketch::Tenants::new(Flaw::NoReference), |tenants| {
            tenants.use_file(0, 1);
        });
    });
}

#[test]
fn a_stateful_open_is_closed_by_the_last_who_has_it() {
    passes("two stateful opens of one file", || {
        let tenants = Arc::new(real::Tenants::default());
        let other = tenants.clone();
        let user = thread::spawn(move || other.keep_file(1, 1));
        tenants.keep_file(1, 1);
        user.join().unwrap();
        assert_eq!(tenants.ledger().open(1), 0, "nobody has it, and it is open");
    });
}
