//! Counters with a cell for every lane, packed so that many small ones share their cache lines.
//!
//! A thread that has a lane writes only its lane's cell. The cells of one lane, of several
//! counters, lie together: a cache line is written by one thread, and yet a counter takes eight
//! bytes a lane, not a line (the kernel packs its per-CPU variables the same way). Threads whose
//! lane number is beyond the cells share one more cell.

use crate::lane::Lane;
use crate::sync::atomic::{AtomicIsize, Ordering};
use crate::sync::{Arc, Mutex};
use slab::Slab;
use std::collections::BTreeSet;

/// A counter; its value is the sum over its cells.
pub(crate) struct Counter {
    chunk: Arc<Chunk>,
    /// Which cell in every row.
    column: usize,
}

impl Counter {
    /// A counter at zero.
    pub(crate) fn new() -> Self {
        let mut chunks = CHUNKS.lock();
        let key = match chunks.with_room.first() {
            Some(key) => *key,
            None => chunks.add(),
        };
        let listed = &mut chunks.all[key];
        let column = listed.free.trailing_zeros() as usize;
        listed.free &= !(1 << column);
        let (chunk, full) = (listed.chunk.clone(), listed.free == 0);
        if full {
            chunks.with_room.remove(&key);
        }
        Self { chunk, column }
    }

    /// Adds `amount`, on behalf of the thread whose lane it is.
    #[inline]
    pub(crate) fn add(&self, lane: &Lane, amount: isize) {
        if lane.index < self.chunk.own_rows {
            let cell = &self.chunk.rows[lane.index].0[self.column];
            // No other thread writes this cell.
            cell.store(cell.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        } else {
            let cell = &self.chunk.rows[self.chunk.own_rows].0[self.column];
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The sum over the cells. Exact if nobody adds meanwhile and what was added happened before.
    pub(crate) fn sum(&self) -> isize {
        self.chunk.rows.iter().map(|row| row.0[self.column].load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        for row in &self.chunk.rows {
            row.0[self.column].store(0, Ordering::Relaxed);
        }
        let mut chunks = CHUNKS.lock();
        let key = self.chunk.key;
        let listed = &mut chunks.all[key];
        listed.free |= 1 << self.column;
        if listed.free == ALL_FREE {
            chunks.remove(key);
        } else {
            chunks.with_room.insert(key);
        }
    }
}

/// Cells for [`COLUMNS`] counters.
struct Chunk {
    /// Its place in [`CHUNKS`].
    key: usize,
    /// One row a lane, then the one that is shared by all further lanes.
    rows: Box<[Row]>,
    own_rows: usize,
}

impl Chunk {
    fn new(key: usize) -> Self {
        let own_rows = own_rows();
        let rows = (0..=own_rows).map(|_| Row::default()).collect();
        Self { key, rows, own_rows }
    }
}

/// Two cache lines: CPUs fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Row([AtomicIsize; COLUMNS]);

const COLUMNS: usize = 16;
const ALL_FREE: u16 = u16::MAX;

struct Listed {
    chunk: Arc<Chunk>,
    /// A bit for every column that no counter uses.
    free: u16,
}

struct Chunks {
    all: Slab<Listed>,
    /// Those that have a free column; the lowest is filled first, so that the others empty.
    with_room: BTreeSet<usize>,
}

impl Chunks {
    fn add(&mut self) -> usize {
        let entry = self.all.vacant_entry();
        let key = entry.key();
        entry.insert(Listed { chunk: Arc::new(Chunk::new(key)), free: ALL_FREE });
        self.with_room.insert(key);
        key
    }

    fn remove(&mut self, key: usize) {
        self.with_room.remove(&key);
        self.all.remove(key);
        if self.all.is_empty() {
            self.all = Slab::new();
        }
    }
}

crate::global! {
    static CHUNKS: Mutex<Chunks> =
        Mutex::new(Chunks { all: Slab::new(), with_room: BTreeSet::new() });
}

/// How many lanes have a row of their own: more than a machine of this size needs threads.
fn own_rows() -> usize {
    if cfg!(any(loom, shuttle)) {
        return 2;
    }
    static ROWS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *ROWS.get_or_init(|| {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (8 * cpus).clamp(16, 512)
    })
}
