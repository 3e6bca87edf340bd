//! The list is walked under one lock while others change it; they need both.

use crate::harness::{fails, passes};
use crate::sketch;
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::{HoldsNsList, Registry};
use shuttle::sync::Arc;
use shuttle::thread;
use std::collections::BTreeSet;

/// A list of namespaces with two locks.
pub trait List: Default + Send + Sync + 'static {
    /// Adds two and takes one of them out again.
    fn change(&self);
    /// What two walks see, one after the other, holding `Rtnl`.
    fn walk_twice_under_rtnl(&self) -> [BTreeSet<u64>; 2];
    /// The same holding `Pernet`.
    fn walk_twice_under_pernet(&self) -> [BTreeSet<u64>; 2];
}

fn walked_while_changed<L: List>() {
    let list = Arc::new(L::default());
    let changes = thread::spawn({
        let list = list.clone();
        move || list.change()
    });
    let walks = thread::spawn({
        let list = list.clone();
        move || list.walk_twice_under_pernet()
    });
    let [before, after] = list.walk_twice_under_rtnl();
    assert_eq!(before, after, "{CHANGED}");
    let [before, after] = walks.join().unwrap();
    assert_eq!(before, after, "{CHANGED}");
    changes.join().unwrap();
}

#[test]
fn list_stands_still_for_whoever_holds_one_of_its_locks() {
    passes("list walked under Rtnl or Pernet while it is changed", walked_while_changed::<Real>);
    fails("list changed holding Pernet alone", &[CHANGED], walked_while_changed::<sketch::List>);
}

const CHANGED: &str = "the list changed under a lock that keeps it";

struct Real(Registry);

impl Default for Real {
    fn default() -> Self {
        Self(Registry::new().unwrap())
    }
}

impl List for Real {
    fn change(&self) {
        let first = self.0.create("first").unwrap();
        self.0.create("second").unwrap();
        self.0.remove([&first], Deadline::Never).unwrap();
    }

    fn walk_twice_under_rtnl(&self) -> [BTreeSet<u64>; 2] {
        let mut held = Locked::nothing();
        let mut rtnl = self.0.rtnl(&mut held);
        walk_twice(&self.0, rtnl.token())
    }

    fn walk_twice_under_pernet(&self) -> [BTreeSet<u64>; 2] {
        let mut held = Locked::nothing();
        let mut pernet = self.0.pernet(&mut held);
        walk_twice(&self.0, pernet.token())
    }
}

fn walk_twice<'a, H: HoldsNsList>(
    registry: &Registry,
    held: &mut Locked<'a, H>,
) -> [BTreeSet<u64>; 2] {
    [(); 2].map(|()| {
        let mut ids = BTreeSet::new();
        registry.for_each(held, |ns, _| ids.insert(ns.id().id));
        thread::yield_now();
        ids
    })
}
