//! Who holds what, since when, from where in the code.

use crate::lane;
use crate::notes::Note;
use crate::sync::Mutex;
use slab::Slab;
use std::fmt;
use std::num::NonZeroU32;
use std::panic::Location;
use std::time::{Duration, Instant};

/// One outstanding reference or pass, as recorded when it was taken.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The line of code that took it.
    pub location: &'static Location<'static>,
    /// When, to a few milliseconds.
    pub since: Instant,
    /// The name of the thread that took it, as far as it is still known.
    pub thread: Option<String>,
}

impl Holder {
    /// For how long it has been held.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.3} s", self.location, self.age().as_secs_f64())?;
        match &self.thread {
            Some(thread) => write!(f, " (thread {thread})"),
            None => Ok(()),
        }
    }
}

/// What stands in the way: how many hold on, and those of them that were tracked.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// How many references or passes are outstanding.
    pub count: usize,
    /// Those taken while tracking was on, oldest first.
    pub holders: Vec<Holder>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held {} time{}", self.count, if self.count == 1 { "" } else { "s" })?;
        for (at, holder) in self.holders.iter().enumerate() {
            write!(f, "{} {holder}", if at == 0 { ": from" } else { ", from" })?;
        }
        match self.count.saturating_sub(self.holders.len()) {
            0 => Ok(()),
            untracked => write!(f, " ({untracked} taken with tracking off)"),
        }
    }
}

/// Where it is recorded that something was taken; `None` for what was taken while tracking was off.
pub(crate) type Mark = Option<Recorded>;

/// Where it is recorded that something was taken.
#[derive(Clone, Copy)]
pub(crate) enum Recorded {
    /// In the notes of the thread that took it.
    Noted(&'static Note),
    /// In the list of the object.
    Listed(NonZeroU32),
}

/// The outstanding holders of one object. Threads note themselves what they take; who has no room for
/// another note is listed here.
#[derive(Debug)]
pub(crate) struct Holders(Mutex<Slab<Holder>>);

impl Holders {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Slab::new()))
    }

    /// Records a holder. What it is recorded by is this object's place in memory: it stays where it is
    /// until all records are [removed](Self::remove).
    #[inline]
    pub(crate) fn add(&self, location: &'static Location<'static>) -> Mark {
        let (lane, borrowed) = lane::current();
        let noted = lane.notes.write(self.place(), location);
        if borrowed {
            lane::give_back(lane);
        }
        match noted {
            Some(note) => Some(Recorded::Noted(note)),
            None => self.list(location),
        }
    }

    #[cold]
    fn list(&self, location: &'static Location<'static>) -> Mark {
        let thread = std::thread::current().name().map(str::to_owned);
        let mut holders = self.0.lock();
        // What does not fit the mark goes untracked.
        let mark = u32::try_from(holders.vacant_key() + 1).ok().and_then(NonZeroU32::new)?;
        holders.insert(Holder { location, since: Instant::now(), thread });
        Some(Recorded::Listed(mark))
    }

    /// Forgets a holder.
    #[inline]
    pub(crate) fn remove(&self, recorded: Recorded) {
        match recorded {
            Recorded::Noted(note) => note.erase(),
            Recorded::Listed(mark) => self.unlist(mark),
        }
    }

    #[cold]
    fn unlist(&self, mark: NonZeroU32) {
        let mut holders = self.0.lock();
        holders.try_remove(mark.get() as usize - 1);
        if holders.is_empty() {
            *holders = Slab::new();
        }
    }

    /// Everybody on record, and `count` of all.
    pub(crate) fn held(&self, count: usize) -> Held {
        let mut holders: Vec<Holder> =
            self.0.lock().iter().map(|(_, holder)| holder.clone()).collect();
        holders.extend(lane::all().flat_map(|lane| lane.notes.of(self.place())));
        holders.sort_by_key(|holder| holder.since);
        Held { count, holders }
    }

    fn place(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }
}
