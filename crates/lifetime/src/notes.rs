//! What a thread has taken and not given back, as it has noted itself.
//!
//! Each thread has a few notes in its [lane](crate::lane), and so writes no memory that others write, but
//! when what it took is given back elsewhere. Whoever wants to know who holds something looks through the
//! notes of all threads.
//!
//! A note is written by the thread whose lane it is in, and only while it is blank. It is made blank by
//! whoever gives back what it is about. Who reads it sees from its version that it was not written
//! meanwhile: so a place in the code is never said of another object than the one that was taken there.

use crate::holders::Holder;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use rustix::time::{ClockId, clock_gettime};
use std::panic::Location;
use std::ptr;
use std::time::{Duration, Instant};

/// The notes of one thread, and after it of the next that has the lane.
pub(crate) struct Notes {
    notes: [Note; NOTES],
    /// How often the lane was taken. Written only by who takes it.
    tenancy: AtomicU64,
    name: Mutex<Name>,
}

/// One thing that was taken.
pub(crate) struct Note {
    /// The address of what was taken; null while it is blank.
    what: AtomicPtr<()>,
    /// Odd while the rest is being written. Written by the lane's thread alone.
    version: AtomicUsize,
    location: AtomicPtr<Location<'static>>,
    /// Nanoseconds of the coarse clock.
    since: AtomicU64,
    tenancy: AtomicU64,
}

/// More than a thread mostly has at a time. A model checker explores what happens when there is none.
const NOTES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 8 };

/// The name of the thread that has the lane, or had it last, as far as there is room.
#[derive(Clone, Copy)]
struct Name {
    tenancy: u64,
    bytes: [u8; 64],
    /// None: it has no name.
    length: Option<usize>,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Self {
            notes: std::array::from_fn(|_| Note::blank()),
            tenancy: AtomicU64::new(0),
            name: Mutex::new(Name { tenancy: 0, bytes: [0; 64], length: None }),
        }
    }

    /// The lane is this thread's from now on.
    pub(crate) fn begin(&self) {
        // Whose threads have no names; and each step here would be one more to explore.
        if cfg!(loom) {
            return;
        }
        let tenancy = self.tenancy.load(Ordering::Relaxed) + 1;
        self.tenancy.store(tenancy, Ordering::Relaxed);
        let mut name = Name { tenancy, bytes: [0; 64], length: None };
        if let Some(own) = std::thread::current().name() {
            name.length = Some(own.floor_char_boundary(name.bytes.len()));
            name.bytes.iter_mut().zip(own.bytes()).for_each(|(to, byte)| *to = byte);
        }
        *self.name.lock() = name;
    }

    /// Notes that this thread, whose lane it is, has taken something there; unless all notes are in use.
    #[inline]
    pub(crate) fn write(
        &'static self,
        what: *const (),
        location: &'static Location<'static>,
    ) -> Option<&'static Note> {
        let blank = |note: &&Note| note.what.load(Ordering::Relaxed).is_null();
        let note = self.notes.iter().find(blank)?;
        let version = note.version.load(Ordering::Relaxed);
        note.version.store(version + 1, Ordering::Relaxed);
        // Who reads something of what follows reads also that it is being written.
        fence(Ordering::Release);
        note.location.store(ptr::from_ref(location).cast_mut(), Ordering::Relaxed);
        note.since.store(now(), Ordering::Relaxed);
        note.tenancy.store(self.tenancy.load(Ordering::Relaxed), Ordering::Relaxed);
        note.what.store(what.cast_mut(), Ordering::Relaxed);
        note.version.store(version + 2, Ordering::Release);
        Some(note)
    }

    /// Who has noted that it has this.
    pub(crate) fn of(&self, what: *const ()) -> impl Iterator<Item = Holder> {
        self.notes.iter().filter_map(move |note| self.read(note, what))
    }

    fn read(&self, note: &Note, what: *const ()) -> Option<Holder> {
        let version = note.version.load(Ordering::Acquire);
        if !version.is_multiple_of(2) || !ptr::eq(note.what.load(Ordering::Relaxed), what) {
            return None;
        }
        let location = note.location.load(Ordering::Relaxed);
        let since = note.since.load(Ordering::Relaxed);
        let tenancy = note.tenancy.load(Ordering::Relaxed);
        // Pairs with the fence of who writes: had something of that been written meanwhile, so would be
        // the version.
        fence(Ordering::Acquire);
        if note.version.load(Ordering::Relaxed) != version {
            return None;
        }
        // SAFETY: null before the first note, and then what was a `&'static` in `write`.
        let location = unsafe { location.as_ref() }?;
        let age = Duration::from_nanos(now().saturating_sub(since));
        let since = Instant::now().checked_sub(age)?;
        Some(Holder { location, since, thread: self.name_in(tenancy) })
    }

    /// What the thread was called that had the lane then, if nobody has had it since.
    fn name_in(&self, tenancy: u64) -> Option<String> {
        let name = *self.name.lock();
        let bytes = name.bytes.get(..name.length?)?;
        (name.tenancy == tenancy).then(|| String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Note {
    fn blank() -> Self {
        Self {
            what: AtomicPtr::new(ptr::null_mut()),
            version: AtomicUsize::new(0),
            location: AtomicPtr::new(ptr::null_mut()),
            since: AtomicU64::new(0),
            tenancy: AtomicU64::new(0),
        }
    }

    /// What it is about was given back. Nobody uses the note after that.
    #[inline]
    pub(crate) fn erase(&self) {
        self.what.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Nanoseconds of a clock that is cheap to read, and goes on every few milliseconds.
#[inline]
fn now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
