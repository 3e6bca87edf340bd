//! Finding an interface by name without a lock.
//!
//! A hash table of small arrays. A reader looks at one array within a section; who changes the table
//! makes a new array and publishes it, and leaves the old one to the [attic](crate::attic).

use crate::attic::{Attic, Old};
use crate::interface::Interface;
use crate::name::IfName;
use holm_lifetime::grace::{self, Section};
use holm_lifetime::{Published, Ref, WeakRef};
use std::hash::BuildHasher;

/// The interfaces of a namespace by name. It is changed by who holds the lock of the table beside it.
pub(crate) struct Names {
    hasher: foldhash::fast::RandomState,
    buckets: Published<Buckets>,
}

/// A power of two of buckets.
pub(crate) struct Buckets(Box<[Published<Bucket>]>);

/// The interfaces of one bucket. Mostly there is one.
pub(crate) struct Bucket {
    first: Named,
    others: Box<[Named]>,
}

type Named = (IfName, WeakRef<Interface>);

/// A namespace mostly has few.
const FEWEST_BUCKETS: usize = 4;

impl Names {
    pub(crate) fn new() -> Self {
        let buckets = Buckets::of([], FEWEST_BUCKETS, |_| 0);
        let hasher = foldhash::fast::RandomState::default();
        Self { hasher, buckets: Published::new(Some(Box::new(buckets))) }
    }

    /// The interface of this name, if it is not retired.
    #[inline]
    #[track_caller]
    pub(crate) fn find(&self, name: IfName) -> Option<Ref<Interface>> {
        let section = grace::section();
        let bucket = self.bucket(name, &section)?.get(&section)?;
        bucket.iter().find(|(other, _)| *other == name)?.1.upgrade()
    }

    /// Calls `each` for all interfaces that are not retired, in no order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Ref<Interface>)) {
        let section = grace::section();
        let Some(buckets) = self.buckets.get(&section) else { return };
        for (_, interface) in buckets.iter(&section) {
            interface.upgrade().into_iter().for_each(&mut each);
        }
    }

    /// Adds a name that is not there; with it there are `len`.
    pub(crate) fn insert(
        &self,
        name: IfName,
        interface: WeakRef<Interface>,
        len: usize,
        attic: &Attic,
    ) {
        self.change(name, attic, |bucket| bucket.push((name, interface)));
        self.resize(len, attic);
    }

    /// Takes a name out; without it there are `len`.
    pub(crate) fn remove(&self, name: IfName, len: usize, attic: &Attic) {
        self.change(name, attic, |bucket| bucket.retain(|(other, _)| *other != name));
        self.resize(len, attic);
    }

    fn change(&self, name: IfName, attic: &Attic, edit: impl FnOnce(&mut Vec<Named>)) {
        let section = grace::section();
        let Some(bucket) = self.bucket(name, &section) else { return };
        let mut named: Vec<_> =
            bucket.get(&section).into_iter().flat_map(Bucket::iter).cloned().collect();
        edit(&mut named);
        attic.keep(bucket.replace(Bucket::of(named)).map(Old::Bucket));
    }

    /// Grows as soon as it is full, shrinks when it is an eighth full.
    fn resize(&self, len: usize, attic: &Attic) {
        let section = grace::section();
        let Some(now) = self.buckets.get(&section) else { return };
        let wanted = len.next_power_of_two().max(FEWEST_BUCKETS);
        if wanted <= now.0.len() && now.0.len() < 8 * wanted {
            return;
        }
        let all = now.iter(&section).cloned();
        let next = Buckets::of(all, wanted, |name| self.hasher.hash_one(name));
        attic.keep(self.buckets.replace(Some(Box::new(next))).map(Old::Buckets));
    }

    #[inline]
    fn bucket<'s>(&'s self, name: IfName, section: &'s Section) -> Option<&'s Published<Bucket>> {
        let buckets = &self.buckets.get(section)?.0;
        buckets.get(self.hasher.hash_one(name) as usize & (buckets.len() - 1))
    }
}

impl Buckets {
    fn of(
        all: impl IntoIterator<Item = Named>,
        count: usize,
        hash: impl Fn(IfName) -> u64,
    ) -> Self {
        let mut sorted: Vec<Vec<Named>> = vec![Vec::new(); count];
        for named in all {
            if let Some(bucket) = sorted.get_mut(hash(named.0) as usize & (count - 1)) {
                bucket.push(named);
            }
        }
        Self(sorted.into_iter().map(|named| Published::new(Bucket::of(named))).collect())
    }

    fn iter<'s>(&'s self, section: &'s Section) -> impl Iterator<Item = &'s Named> {
        self.0.iter().filter_map(|bucket| bucket.get(section)).flat_map(Bucket::iter)
    }
}

impl Bucket {
    /// A bucket of these; none if there are none.
    fn of(mut named: Vec<Named>) -> Option<Box<Self>> {
        let first = named.pop()?;
        Some(Box::new(Self { first, others: named.into() }))
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = &Named> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
