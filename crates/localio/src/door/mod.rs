//! The server's door: a connection on which files are opened, come as descriptors, and are recalled.
//!
//! One thread hears what the server says: that a file was opened, for whoever waits for that, and that files
//! are wanted back. It hands the work of giving them back to others. A server that goes, or says what
//! makes no sense, has all of them back.

mod line;

pub use line::{Line, NotLocal, Packet};

use crate::borrowing::Borrower;
use crate::file::Access;
use crate::handle::Handle;
use crate::local::{LocalDoor, LocalError, LocalFile};
use holm_lifetime::sync::{Condvar, Deadline, Mutex, thread};
use holm_nfs_proto::localio::door::{self, Message, Request};
use holm_nfs_proto::nfs3;
use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// The way to a server's door and back.
pub trait Wire: fmt::Debug + Send + Sync + 'static {
    /// Sends a message.
    ///
    /// # Errors
    /// If it can't be sent; the wire is of no more use.
    fn send(&self, request: &Request<'_>) -> Result<(), NotLocal>;
    /// Waits for a message.
    ///
    /// # Errors
    /// If none will come any more.
    fn receive(&self) -> Result<Packet, NotLocal>;
    /// Says and hears no more. Whoever waits for a message is told.
    fn end(&self);
}

/// An open door.
pub struct Door<W: Wire = Line> {
    line: W,
    state: Mutex<State<W>>,
    answered: Condvar,
}

struct State<W: Wire> {
    serial: u32,
    /// Who waits for an answer, by serial.
    waiting: HashMap<u32, Waiting<W>>,
    /// Who has which file.
    files: HashMap<u64, Borrower>,
    /// Nothing is opened any more.
    over: bool,
}

struct Waiting<W: Wire> {
    borrower: Borrower,
    answer: Option<Result<Lent<W>, nfs3::Error>>,
}

impl<W: Wire> Door<W> {
    /// At the other end of a line on which it was proven that we are here.
    pub fn open(line: W) -> Result<Arc<Self>, NotLocal> {
        let (waiting, files) = (HashMap::new(), HashMap::new());
        let state = Mutex::new(State { serial: 0, waiting, files, over: false });
        let door = Arc::new(Self { line, state, answered: Condvar::new() });
        let listener = door.clone();
        let thread = thread::Builder::new().name("holm-localio".to_owned());
        match thread.spawn(move || listener.listen()) {
            Ok(_) => Ok(door),
            Err(_) => Err(NotLocal("there is no thread to listen")),
        }
    }

    /// Whether files may be opened.
    pub fn is_open(&self) -> bool {
        !self.state.lock().over
    }

    /// Nobody has a file or wants one.
    pub fn leave(&self) {
        self.line.end();
    }

    fn listen(self: Arc<Self>) {
        while let Ok(packet) = self.line.receive() {
            if self.hear(packet).is_err() {
                break;
            }
        }
        self.line.end();
        self.recall_all();
    }

    /// # Errors
    /// If it makes no sense.
    fn hear(self: &Arc<Self>, packet: Packet) -> Result<(), NotLocal> {
        let message = packet.message()?;
        match (message, packet.descriptor) {
            (Message::Opened(opened), Some(descriptor)) => {
                let lent = Lent {
                    file: File::from(descriptor),
                    loan: Loan { door: self.clone(), number: opened.file, clean: true },
                };
                self.opened(opened.serial, lent)
            }
            (Message::Refused(refused), None) => {
                let mut state = self.state.lock();
                // Or nobody waits any more.
                if let Some(waiting) = state.waiting.get_mut(&refused.serial) {
                    waiting.answer = Some(Err(refused.status));
                }
                drop(state);
                self.answered.notify_all();
                Ok(())
            }
            (Message::Recall(file), None) => {
                let borrower = self.state.lock().files.get(&file).cloned();
                // Or it is on its way back.
                Borrower::recall(borrower);
                Ok(())
            }
            (Message::RecallAll, None) => {
                self.recall_all();
                Ok(())
            }
            _ => Err(NotLocal("the server says what it should not")),
        }
    }

    fn opened(&self, serial: u32, lent: Lent<W>) -> Result<(), NotLocal> {
        let mut state = self.state.lock();
        let number = lent.loan.number;
        let (is_new, over) = (!state.files.contains_key(&number), state.over);
        let borrower = match state.waiting.get_mut(&serial) {
            Some(waiting) if is_new && waiting.answer.is_none() && !over => {
                waiting.answer = Some(Ok(lent));
                waiting.borrower.clone()
            }
            waiting => {
                let is_late = waiting.is_none() || over;
                drop(state);
                // Nobody waits any more, and it goes back as it is; or nobody ever did.
                drop(lent);
                let made_up = NotLocal("the server answers what was not asked");
                return (is_new && is_late).then_some(()).ok_or(made_up);
            }
        };
        state.files.insert(number, borrower);
        drop(state);
        self.answered.notify_all();
        Ok(())
    }

    fn recall_all(&self) {
        let mut state = self.state.lock();
        state.over = true;
        let files: Vec<_> = state.files.values().cloned().collect();
        self.end_if_left(&state);
        drop(state);
        self.answered.notify_all();
        Borrower::recall(files);
    }

    /// Ends the line, if nothing will be opened and nothing is.
    fn end_if_left(&self, state: &State<W>) {
        if state.over && state.files.is_empty() && state.waiting.is_empty() {
            self.line.end();
        }
    }

    /// A file was closed.
    fn closed(&self, file: u64, flushed: bool) {
        // Said first: whoever finds that nothing is left ends the line.
        if self.line.send(&Request::Close(door::Close { file, flushed })).is_err() {
            // It is understood from the end of the line, too.
            self.line.end();
        }
        let mut state = self.state.lock();
        state.files.remove(&file);
        self.end_if_left(&state);
    }

    fn wait_for(&self, serial: u32) -> Result<Lent<W>, LocalError> {
        let until = Deadline::after(PATIENCE);
        let mut state = self.state.lock();
        let mut late = false;
        while !(late || state.over)
            && state.waiting.get(&serial).is_some_and(|waiting| waiting.answer.is_none())
        {
            (state, late) = self.answered.wait_until(state, until);
        }
        let waiting = state.waiting.remove(&serial);
        self.end_if_left(&state);
        drop(state);
        match waiting.and_then(|waiting| waiting.answer) {
            Some(Ok(lent)) => Ok(lent),
            Some(Err(status)) => Err(LocalError::Refused(status)),
            None => Err(LocalError::Recalled),
        }
    }
}

impl<W: Wire> LocalDoor for Door<W> {
    fn open(
        &self,
        file: &Handle,
        access: Access,
        borrower: &Borrower,
    ) -> Result<Box<dyn LocalFile>, LocalError> {
        let mut state = self.state.lock();
        if state.over {
            return Err(LocalError::Recalled);
        }
        state.serial = state.serial.wrapping_add(1);
        let serial = state.serial;
        let waiting = Waiting { borrower: borrower.clone(), answer: None };
        state.waiting.insert(serial, waiting);
        drop(state);
        let wanted = match access {
            Access::Read => door::Access::Read,
            Access::Write => door::Access::Write,
            Access::ReadWrite => door::Access::ReadWrite,
        };
        let open = door::Open { serial, handle: file.wire(), access: wanted };
        if self.line.send(&Request::Open(open)).is_err() {
            self.line.end();
        }
        let lent = self.wait_for(serial)?;
        if line::is_open_for(&lent.file, access) {
            Ok(Box::new(lent))
        } else {
            // It is none that we could use without harm.
            Err(LocalError::Recalled)
        }
    }
}

impl<W: Wire> fmt::Debug for Door<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A file that was lent. It is closed first, and then the server hears of it.
struct Lent<W: Wire> {
    file: File,
    loan: Loan<W>,
}

struct Loan<W: Wire> {
    door: Arc<Door<W>>,
    number: u64,
    /// All that was written to it is on the disk.
    clean: bool,
}

impl<W: Wire> Drop for Loan<W> {
    fn drop(&mut self) {
        self.door.closed(self.number, self.clean);
    }
}

impl<W: Wire> LocalFile for Lent<W> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LocalError> {
        uninterrupted(|| self.file.read_at(buffer, offset))
    }

    /// Nobody uses the position of the descriptor, which this moves.
    fn next_data(&self, offset: u64) -> Result<Range<u64>, LocalError> {
        let found = match fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => fs::seek(&self.file, SeekFrom::Hole(start)).map(|end| start..end),
            // Nothing but a hole, or the end.
            Err(Errno::NXIO) => Ok(u64::MAX..u64::MAX),
            Err(error) => Err(error),
        };
        found.map_err(|error| LocalError::Failed(error.into()))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, LocalError> {
        uninterrupted(|| self.file.write_at(data, offset))
    }

    fn commit(&self) -> Result<(), LocalError> {
        uninterrupted(|| self.file.sync_data())
    }

    fn close(mut self: Box<Self>, clean: bool) {
        self.loan.clean = clean;
    }
}

#[inline]
fn uninterrupted<T>(mut work: impl FnMut() -> io::Result<T>) -> Result<T, LocalError> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map_err(LocalError::Failed),
        }
    }
}

/// For how long a file is waited for that the server is asked to open. Then it is used by RPC.
const PATIENCE: Duration = Duration::from_secs(5);
