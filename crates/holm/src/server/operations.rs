//! What the threads are at: which operation, on which file, for whom, since when, held from where.
//!
//! Every thread that serves calls has a [`Desk`], and notes there what it is at before it touches a
//! file. Nobody but who asks reads it, so a note costs its thread a lock that is always free and a
//! look at a coarse clock, some ten nanoseconds. Work that is nobody's call, such as opening the directory of a new export, is
//! noted in the same way.

use holm_nfsd::FileHandle;
use holm_nfsd::service::Operation;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// All desks.
#[derive(Debug, Default)]
pub struct Operations(Mutex<Vec<Weak<Desk>>>);

/// The place of one thread.
#[derive(Debug, Default)]
pub struct Desk(Mutex<Option<Note>>);

/// What a thread is at.
#[derive(Clone, Debug)]
pub struct Note {
    /// In which namespace.
    pub ns: u64,
    /// Which operation.
    pub operation: &'static str,
    /// On which export.
    pub on: On,
    /// On which object.
    pub object: Option<FileHandle>,
    /// For which client.
    pub client: Option<IpAddr>,
    /// The line of code.
    pub at: &'static Location<'static>,
    since: Timespec,
}

/// The export that something is done with.
#[derive(Clone, Debug)]
pub enum On {
    /// One that is served, by its number.
    Export(u32),
    /// One that is still to be opened, by its path.
    Path(String),
    /// None in particular.
    None,
}

/// A note, until this is dropped.
#[derive(Debug)]
pub struct Noted<'d>(&'d Desk);

impl Operations {
    /// A desk for the calling thread.
    pub fn desk(&self) -> Arc<Desk> {
        let desk = Arc::new(Desk::default());
        let mut desks = self.desks();
        desks.retain(|desk| desk.strong_count() > 0);
        desks.push(Arc::downgrade(&desk));
        desk
    }

    /// The desk that the calling thread has here for as long as it lives.
    pub fn own_desk(self: &Arc<Self>) -> Arc<Desk> {
        let own = OWN.try_with(|own| {
            let mut own = own.borrow_mut();
            match &*own {
                Some((of, desk)) if of.as_ptr() == Arc::as_ptr(self) => desk.clone(),
                _ => own.insert((Arc::downgrade(self), self.desk())).1.clone(),
            }
        });
        // The thread ends.
        own.unwrap_or_else(|_| self.desk())
    }

    /// What is going on in a namespace, the oldest first.
    pub fn of(&self, ns: u64) -> Vec<Note> {
        let desks: Vec<_> = self.desks().iter().filter_map(Weak::upgrade).collect();
        let notes = desks.iter().filter_map(|desk| desk.note().clone());
        let mut notes: Vec<Note> = notes.filter(|note| note.ns == ns).collect();
        notes.sort_by_key(|note| note.since);
        notes
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Weak<Desk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Notes a client's operation.
    #[inline]
    #[track_caller]
    pub fn begin(&self, ns: u64, operation: &Operation<'_>) -> Noted<'_> {
        self.put(Note {
            ns,
            operation: operation.procedure,
            on: On::Export(operation.export.id()),
            object: operation.object.copied(),
            client: Some(operation.peer.address()),
            at: Location::caller(),
            since: now(),
        })
    }

    /// Notes what the server does by itself.
    #[track_caller]
    pub fn begin_own(&self, ns: u64, operation: &'static str, path: &str) -> Noted<'_> {
        let (on, at) = (On::Path(path.to_owned()), Location::caller());
        self.put(Note { ns, operation, on, object: None, client: None, at, since: now() })
    }

    /// The same, where it is about no export in particular.
    #[track_caller]
    pub fn begin_work(&self, ns: u64, operation: &'static str) -> Noted<'_> {
        let (on, at) = (On::None, Location::caller());
        self.put(Note { ns, operation, on, object: None, client: None, at, since: now() })
    }

    fn put(&self, note: Note) -> Noted<'_> {
        *self.note() = Some(note);
        Noted(self)
    }

    fn note(&self) -> MutexGuard<'_, Option<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noted<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.0.note() = None;
    }
}

impl Note {
    /// For how long, give or take the few milliseconds that the clock advances by.
    pub fn age(&self) -> Duration {
        let (now, then) = (now(), self.since);
        let seconds = (now.tv_sec - then.tv_sec).max(0).unsigned_abs();
        let nanoseconds = now.tv_nsec - then.tv_nsec;
        let whole = Duration::from_secs(seconds);
        match u64::try_from(nanoseconds) {
            Ok(more) => whole + Duration::from_nanos(more),
            Err(_) => whole.saturating_sub(Duration::from_nanos(nanoseconds.unsigned_abs())),
        }
    }
}

thread_local! {
    /// Of which operations, and the desk there.
    static OWN: RefCell<Option<(Weak<Operations>, Arc<Desk>)>> = const { RefCell::new(None) };
}

fn now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}
