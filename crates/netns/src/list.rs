//! The list of live namespaces, and its two locks.

use crate::namespace::Namespace;
use holm_lifetime::levels::{DevBase, HeldLevels, Holding, Holds, Locked, NsRtnl, Pernet, Rtnl};
use holm_lifetime::sync::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The live namespaces of a registry, oldest first.
///
/// It is changed holding `Pernet` **and** `Rtnl`, so whoever holds **either** sees it stand still
/// and may walk it. The tokens say so; the mutex within only keeps each single step whole.
#[derive(Default)]
pub struct NsList {
    members: Mutex<BTreeMap<u64, Namespace>>,
}

/// Something is held that keeps the list of namespaces as it is.
#[diagnostic::on_unimplemented(
    message = "the list of namespaces may be walked holding `Pernet` or `Rtnl`, not `{Self}`"
)]
pub trait HoldsNsList: HeldLevels {}

impl<Outer: HeldLevels> HoldsNsList for Holding<Pernet, Outer> {}
impl<Outer: HeldLevels> HoldsNsList for Holding<Rtnl, Outer> {}
impl<Outer: HoldsNsList> HoldsNsList for Holding<NsRtnl, Outer> {}
impl<Outer: HoldsNsList> HoldsNsList for Holding<DevBase, Outer> {}

impl NsList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `f` for each namespace, and for as long as it says `true`.
    pub fn for_each<'a, H: HoldsNsList>(
        &self,
        held: &mut Locked<'a, H>,
        mut f: impl FnMut(&Namespace, &mut Locked<'a, H>) -> bool,
    ) {
        let mut next = Bound::Unbounded;
        loop {
            // Not locked during `f`, which may take any level that comes after.
            let found = self
                .members
                .lock()
                .range((next, Bound::Unbounded))
                .next()
                .map(|(id, ns)| (*id, ns.clone()));
            let Some((id, ns)) = found else { return };
            if !f(&ns, held) {
                return;
            }
            next = Bound::Excluded(id);
        }
    }

    /// How many there are.
    pub fn len<H: HoldsNsList>(&self, _held: &Locked<'_, H>) -> usize {
        self.members.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty<H: HoldsNsList>(&self, held: &Locked<'_, H>) -> bool {
        self.len(held) == 0
    }

    /// Whether this namespace is in the list.
    pub fn contains<H: HoldsNsList>(&self, ns: &Namespace, _held: &Locked<'_, H>) -> bool {
        self.members.lock().get(&ns.id().id).is_some_and(|member| member == ns)
    }

    /// Adds a namespace.
    pub fn insert<H>(&self, ns: Namespace, _held: &mut Locked<'_, H>)
    where
        H: Holds<Pernet> + Holds<Rtnl>,
    {
        self.members.lock().insert(ns.id().id, ns);
    }

    /// Takes a namespace out. Whether it was in.
    pub fn remove<H>(&self, ns: &Namespace, _held: &mut Locked<'_, H>) -> bool
    where
        H: Holds<Pernet> + Holds<Rtnl>,
    {
        let mut members = self.members.lock();
        members.get(&ns.id().id).is_some_and(|member| member == ns)
            && members.remove(&ns.id().id).is_some()
    }

    /// All of them as they were at one moment, which may be over.
    pub(crate) fn snapshot(&self) -> Vec<Namespace> {
        self.members.lock().values().cloned().collect()
    }
}
