//! A file that is borrowed from the server, given back when it wants that, and borrowed again.
//!
//! Who reads or writes it holds a [`Pass`] of a gate, in which the open file lies. Giving it back is: let
//! nobody in any more; wait until nobody is inside; commit, if something was written; close. The file
//! comes out of the gate **by value**, so it is not closed under anybody. A failure of that commit is kept
//! for the application's next one.

use crate::error::Problem;
use crate::file::Access;
use crate::local::{Doors, LocalDoor, LocalError, LocalFile};
use crate::uncommitted::{Remote, Uncommitted};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Condvar, Mutex, thread};
use holm_lifetime::{Deadline, Gate, Outgoing, Pass, Published, grace};
use holm_nfs_proto::nfs3;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Whether a file is borrowed, for one who has it open.
pub struct Borrowing {
    access: Access,
    written: Arc<Uncommitted>,
    /// While it is borrowed.
    current: Published<Gate<Borrowed>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Held by whoever commits the file itself.
    failures: Mutex<Failures>,
}

/// The file itself.
pub struct Borrowed {
    file: Box<dyn LocalFile>,
    /// Something was written since it was last committed.
    dirty: AtomicBool,
}

struct State {
    phase: Phase,
    /// Not to be tried before.
    next_try: Instant,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is used by RPC.
    Away,
    /// Somebody asks for it; it is wanted back already.
    Opening { recalled: bool },
    /// It is here.
    Here,
    /// It is on its way back.
    Returning,
}

/// Commits that failed.
#[derive(Default)]
struct Failures {
    count: u64,
    /// Nobody was told yet.
    untold: bool,
    /// It was given back without a commit: the server has to be asked for one.
    unsure: bool,
    last: Option<nfs3::Error>,
}

/// What a commit of the file itself came to.
pub enum Committed {
    /// All that was written to the file itself is safe.
    Safely,
    /// The server has to be asked.
    AskServer,
}

impl Borrowing {
    pub fn new(access: Access, written: Arc<Uncommitted>) -> Arc<Self> {
        let state = State { phase: Phase::Away, next_try: Instant::now(), pause: FIRST_PAUSE };
        Arc::new(Self {
            access,
            written,
            current: Published::new(None),
            state: Mutex::new(state),
            changed: Condvar::new(),
            failures: Mutex::default(),
        })
    }

    /// The file itself, if it is here; it does not go away before the pass is dropped.
    #[inline]
    pub fn enter(&self) -> Option<Pass<Borrowed>> {
        let section = grace::section();
        self.current.get(&section)?.enter_in(&section)
    }

    /// Borrows the file, if it is not and it may be time for that.
    pub fn begin(self: &Arc<Self>, remote: &impl Remote, doors: &dyn Doors) {
        let is_due = |state: &State| {
            state.phase == Phase::Away && (NO_PAUSES || state.next_try <= Instant::now())
        };
        if !self.state.try_lock().is_some_and(|state| is_due(&state)) {
            return;
        }
        let Some(door) = doors.door() else { return };
        let mut state = self.state.lock();
        if !is_due(&state) {
            return;
        }
        state.phase = Phase::Opening { recalled: false };
        drop(state);
        let open = || self.open(&*door);
        let opened = if self.access.writes() {
            // What fails is kept, and comes out at the application's own commit.
            self.written.begin_local(remote, open).is_ok_and(|opened| opened)
        } else {
            open()
        };
        if !opened {
            let mut state = self.state.lock();
            state.phase = Phase::Away;
            state.retry_later();
        }
    }

    /// Whether the file is here now.
    fn open(self: &Arc<Self>, door: &dyn LocalDoor) -> bool {
        let borrower = Borrower(Arc::downgrade(self));
        let Ok(file) = door.open(self.written.file(), self.access, &borrower) else { return false };
        let mut state = self.state.lock();
        if state.phase != (Phase::Opening { recalled: false }) {
            drop(state);
            file.close(true);
            return false;
        }
        let gate = Gate::new(Borrowed { file, dirty: AtomicBool::new(false) });
        // Nothing was there: it was taken out when the last one was given back.
        drop(self.current.replace(Some(Box::new(gate))));
        state.phase = Phase::Here;
        true
    }

    /// Gives the file back, because using it has shown that it is wanted; the caller has no pass.
    pub fn give_back(self: &Arc<Self>) {
        if let Some(leaving) = self.leave() {
            let (borrowing, borrowed) = leaving.wait();
            borrowing.finish(borrowed);
        }
    }

    /// Nobody uses it any more, or will.
    pub fn end(self: &Arc<Self>) {
        if let Some(leaving) = self.leave() {
            let (borrowing, borrowed) = leaving.wait();
            // As when any file is closed: nothing is flushed.
            let clean = !borrowed.dirty.load(Ordering::Relaxed);
            borrowing.close(borrowed.file, clean);
        }
    }

    /// Has what was written to the file itself on stable storage, also if it was given back since.
    ///
    /// # Errors
    /// What that failed with, or what giving it back has failed with.
    pub fn commit(self: &Arc<Self>) -> Result<Committed, Problem> {
        let before = self.failures.lock().count;
        while let Some(borrowed) = self.enter() {
            let mut failures = self.failures.lock();
            let recalled = failures.commit(&borrowed);
            drop((failures, borrowed));
            if !recalled {
                break;
            }
            self.give_back();
        }
        // It may be on its way: then it is committed there.
        let mut state = self.state.lock();
        while state.phase == Phase::Returning {
            state = self.changed.wait(state);
        }
        drop(state);
        let mut failures = self.failures.lock();
        if failures.count != before || std::mem::take(&mut failures.untold) {
            failures.untold = false;
            return Err(Problem::Status(failures.last.unwrap_or(nfs3::Error::Io)));
        }
        let unsure = std::mem::take(&mut failures.unsure);
        Ok(if unsure { Committed::AskServer } else { Committed::Safely })
    }

    /// The commit that the server was asked for failed.
    pub fn not_committed(&self) {
        self.failures.lock().unsure = true;
    }

    /// Lets nobody in any more, if it is here. It has to be brought back by whoever gets it.
    fn leave(self: &Arc<Self>) -> Option<Leaving> {
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Away | Phase::Returning => None,
            Phase::Opening { recalled } => {
                *recalled = true;
                None
            }
            Phase::Here => {
                let gate = self.current.replace(None)?;
                gate.shut();
                state.phase = Phase::Returning;
                Some(Leaving { borrowing: self.clone(), gate })
            }
        }
    }

    /// Commits and closes what nobody uses any more.
    fn finish(&self, borrowed: Borrowed) {
        let clean = !borrowed.dirty.load(Ordering::Relaxed) || {
            let mut failures = self.failures.lock();
            let before = failures.count;
            let recalled = failures.commit(&borrowed);
            failures.unsure |= recalled;
            failures.untold |= failures.count != before;
            !recalled && failures.count == before
        };
        self.close(borrowed.file, clean);
    }

    fn close(&self, file: Box<dyn LocalFile>, clean: bool) {
        file.close(clean);
        if self.access.writes() {
            self.written.end_local();
        }
        let mut state = self.state.lock();
        state.phase = Phase::Away;
        state.retry_later();
        drop(state);
        self.changed.notify_all();
    }
}

impl fmt::Debug for Borrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowing").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Borrowed {
    /// [`LocalFile::read_at`].
    #[inline]
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LocalError> {
        self.file.read_at(buffer, offset)
    }

    /// [`LocalFile::next_data`].
    pub fn next_data(&self, offset: u64) -> Result<Range<u64>, LocalError> {
        self.file.next_data(offset)
    }

    /// [`LocalFile::write_at`].
    #[inline]
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, LocalError> {
        let written = self.file.write_at(data, offset);
        // Afterwards: a commit that begins in between and does not see it makes nothing clean of it. Also
        // after a failure, which may have written some.
        if !self.dirty.load(Ordering::Relaxed) {
            self.dirty.store(true, Ordering::Relaxed);
        }
        written
    }
}

impl Failures {
    /// Commits, and counts a failure. Whether it was recalled instead.
    fn commit(&mut self, borrowed: &Borrowed) -> bool {
        borrowed.dirty.store(false, Ordering::Relaxed);
        let failure = match borrowed.file.commit() {
            Ok(()) => return false,
            Err(LocalError::Recalled) => None,
            Err(LocalError::Refused(status)) => Some(status),
            Err(LocalError::Failed(error)) => Some(status_of(&error)),
        };
        borrowed.dirty.store(true, Ordering::Relaxed);
        if failure.is_some() {
            self.last = failure;
            self.count += 1;
        }
        failure.is_none()
    }
}

impl State {
    fn retry_later(&mut self) {
        let now = Instant::now();
        // Long since it was last tried: as if it were the first time.
        if self.next_try + LAST_PAUSE < now {
            self.pause = FIRST_PAUSE;
        }
        self.next_try = now + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }
}

/// Who has borrowed a file, and can be asked for it.
#[derive(Debug, Clone)]
pub struct Borrower(Weak<Borrowing>);

impl Borrower {
    /// Has files given back. From the moment when this returns nobody begins to read or write them; as
    /// soon as nobody does any more, and what was written is committed, they are
    /// [closed](LocalFile::close), on a thread that comes and goes for that. Those that have been given
    /// back, or whose opening is under way, count too.
    pub fn recall(borrowers: impl IntoIterator<Item = Self>) {
        let leave = |borrower: Self| borrower.0.upgrade()?.leave();
        let leaving: Vec<_> = borrowers.into_iter().filter_map(leave).collect();
        if leaving.is_empty() {
            return;
        }
        let count = leaving.len();
        let returns = Arc::new(Returns::default());
        // One for all of them.
        let elapsed = grace::synchronize();
        for Leaving { borrowing, gate } in leaving {
            gate.settle();
            let queue = returns.clone();
            // By whoever lets go last, who has other things to do.
            gate.on_drained(move |borrowed| queue.push((borrowing, borrowed)));
            drop(gate.reclaim(&elapsed));
        }
        let queue = returns.clone();
        let name = "holm-localio".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || queue.finish(count));
        if thread.is_err() {
            returns.finish(count);
        }
    }
}

/// A file that nobody may begin to use.
struct Leaving {
    borrowing: Arc<Borrowing>,
    gate: Outgoing<Gate<Borrowed>>,
}

impl Leaving {
    /// Waits until nobody uses it.
    fn wait(self) -> (Arc<Borrowing>, Borrowed) {
        let Self { borrowing, gate } = self;
        let elapsed = grace::synchronize();
        let gate = gate.reclaim(&elapsed);
        loop {
            // There is no deadline that it could miss, and nobody else who could take it.
            let _ = gate.drained(Deadline::Never);
            if let Some(borrowed) = gate.take() {
                return (borrowing, borrowed);
            }
        }
    }
}

/// Files that nobody uses any more, as they come.
#[derive(Default)]
struct Returns {
    files: Mutex<Vec<(Arc<Borrowing>, Borrowed)>>,
    came: Condvar,
}

impl Returns {
    fn push(&self, file: (Arc<Borrowing>, Borrowed)) {
        self.files.lock().push(file);
        self.came.notify_one();
    }

    /// Commits and closes so many, one after the other. That is the disk's time: for 200 files 0.1 to 0.7 s
    /// (ext4, 64 KiB or 1 MiB written to each; Linux 6.18, 2 CPUs), as long as the application's own
    /// commits. One `syncfs` takes half of that where nobody else writes, and else waits for them.
    fn finish(&self, count: usize) {
        for _ in 0..count {
            let mut files = self.files.lock();
            let (borrowing, borrowed) = loop {
                match files.pop() {
                    Some(file) => break file,
                    None => files = self.came.wait(files),
                }
            };
            drop(files);
            borrowing.finish(borrowed);
        }
    }
}

/// What the server would have said.
fn status_of(error: &io::Error) -> nfs3::Error {
    match error.kind() {
        io::ErrorKind::StorageFull => nfs3::Error::NoSpc,
        io::ErrorKind::QuotaExceeded => nfs3::Error::DQuot,
        io::ErrorKind::FileTooLarge => nfs3::Error::FBig,
        io::ErrorKind::ReadOnlyFilesystem => nfs3::Error::RoFs,
        io::ErrorKind::StaleNetworkFileHandle => nfs3::Error::Stale,
        _ => nfs3::Error::Io,
    }
}

/// A model checker has no clock.
const NO_PAUSES: bool = cfg!(shuttle);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);
