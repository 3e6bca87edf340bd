//! Finding a namespace by name without a lock.
//!
//! A hash table of small arrays. A reader looks at one array within a section; a writer makes a new
//! array and publishes it. What it replaced is freed after a grace period: that of a removal, which
//! has one anyway, or one of its own when too much has come together.

use crate::namespace::Namespace;
use holm_lifetime::grace::{self, Elapsed, Section};
use holm_lifetime::sync::Mutex;
use holm_lifetime::{Outgoing, Published};
use std::hash::BuildHasher;

pub(crate) struct Table {
    hasher: foldhash::fast::RandomState,
    buckets: Published<Buckets>,
    writer: Mutex<Writer>,
}

/// A power of two of buckets.
struct Buckets(Box<[Published<Bucket>]>);

/// The namespaces of one bucket, with the hashes of their names. Mostly there is one.
struct Bucket {
    first: Named,
    others: Box<[Named]>,
}

#[derive(Clone)]
struct Named {
    hash: u64,
    ns: Namespace,
}

/// What only writers know, away from what every look-up reads.
#[repr(align(128))]
struct Writer {
    len: usize,
    old_buckets: Vec<Outgoing<Bucket>>,
    old_tables: Vec<Outgoing<Buckets>>,
}

const FEWEST_BUCKETS: usize = 16;
/// How much may wait for a removal's grace period.
const MOST_GARBAGE: usize = 128;

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            buckets: Published::new(Some(Box::new(Buckets::new(FEWEST_BUCKETS)))),
            writer: Mutex::new(Writer { len: 0, old_buckets: Vec::new(), old_tables: Vec::new() }),
        }
    }

    /// The namespace of this name, for as long as the section lasts.
    #[inline]
    pub(crate) fn find<'s>(&'s self, name: &str, section: &'s Section) -> Option<&'s Namespace> {
        let hash = self.hasher.hash_one(name.as_bytes());
        let bucket = self.buckets.get(section)?.of(hash).get(section)?;
        let found = bucket
            .iter()
            .find(|named| named.hash == hash && named.ns.id().name.as_bytes() == name.as_bytes());
        found.map(|named| &named.ns)
    }

    /// Adds a namespace. Its name is not in the table: the caller has looked, under the lock that
    /// everybody holds who changes the table.
    pub(crate) fn insert(&self, ns: Namespace) {
        let hash = self.hasher.hash_one(ns.id().name.as_bytes());
        let mut writer = self.writer.lock();
        writer.len += 1;
        self.change(&mut writer, hash, |old| old.push(Named { hash, ns }));
        self.resize(&mut writer);
        if writer.old_buckets.len() + writer.old_tables.len() > MOST_GARBAGE {
            writer.reclaim(&grace::synchronize());
        }
    }

    /// Takes a namespace out. Until the next [`reclaim`](Self::reclaim) somebody may still be
    /// looking at it.
    pub(crate) fn remove(&self, ns: &Namespace) {
        let hash = self.hasher.hash_one(ns.id().name.as_bytes());
        let mut writer = self.writer.lock();
        writer.len -= 1;
        self.change(&mut writer, hash, |old| old.retain(|named| named.ns != *ns));
        self.resize(&mut writer);
    }

    /// Frees what was replaced before the grace period.
    pub(crate) fn reclaim(&self, elapsed: &Elapsed) {
        self.writer.lock().reclaim(elapsed);
    }

    /// Replaces the bucket of `hash` by what `edit` makes of it.
    fn change(&self, writer: &mut Writer, hash: u64, edit: impl FnOnce(&mut Vec<Named>)) {
        let section = grace::section();
        let Some(buckets) = self.buckets.get(&section) else { return };
        let bucket = buckets.of(hash);
        let mut named: Vec<Named> =
            bucket.get(&section).into_iter().flat_map(Bucket::iter).cloned().collect();
        edit(&mut named);
        writer.old_buckets.extend(bucket.replace(Bucket::of(named)));
    }

    fn resize(&self, writer: &mut Writer) {
        let section = grace::section();
        let Some(buckets) = self.buckets.get(&section) else { return };
        let now = buckets.0.len();
        let wanted = writer.len.next_power_of_two().max(FEWEST_BUCKETS);
        // Grows as soon as it is full, shrinks when it is an eighth full.
        if wanted <= now && now < 8 * wanted {
            return;
        }
        let mut sorted: Vec<Vec<Named>> = vec![Vec::new(); wanted];
        for bucket in buckets.0.iter().filter_map(|bucket| bucket.get(&section)) {
            for named in bucket.iter() {
                sorted[named.hash as usize & (wanted - 1)].push(named.clone());
            }
        }
        let sorted = sorted.into_iter().map(|named| Published::new(Bucket::of(named)));
        let old = self.buckets.replace(Some(Box::new(Buckets(sorted.collect()))));
        writer.old_tables.extend(old);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut writer = self.writer.lock();
        if !(writer.old_buckets.is_empty() && writer.old_tables.is_empty()) {
            writer.reclaim(&grace::synchronize());
        }
    }
}

impl Buckets {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Published::new(None)).collect())
    }

    #[inline]
    fn of(&self, hash: u64) -> &Published<Bucket> {
        &self.0[hash as usize & (self.0.len() - 1)]
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

impl Writer {
    fn reclaim(&mut self, elapsed: &Elapsed) {
        reclaim(&mut self.old_buckets, elapsed);
        reclaim(&mut self.old_tables, elapsed);
    }
}

fn reclaim<T>(old: &mut Vec<Outgoing<T>>, elapsed: &Elapsed) {
    for old in old.extract_if(.., |old| old.is_covered_by(elapsed)) {
        drop(old.reclaim(elapsed));
    }
    // It can have been long, once.
    old.shrink_to(MOST_GARBAGE);
}
