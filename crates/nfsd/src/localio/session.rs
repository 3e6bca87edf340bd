//! One client at the door.

use super::lender::{ClientInfo, Place, Shared, Turned, add};
use super::opener::{Lent, Line, Loan, Opener, PeerCredentials, Wanted};
use crate::Status;
use crate::cache::File;
use crate::service::Peer;
use crate::volume::Access;
use holm_lifetime::sync::atomic::Ordering;
use holm_lifetime::sync::{Arc, Mutex, MutexGuard, Weak};
use holm_nfs_proto::localio::{Uuid, door};
use holm_xdr::{Encode, Encoder};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// A client, from when it has come in until it is gone.
///
/// Everything that is said to it is said under the lock of its state; so it hears of a file before
/// that is wanted back, and of nothing afterwards.
pub struct Session<F: File> {
    id: u64,
    who: PeerCredentials,
    since: Instant,
    line: Box<dyn Line>,
    lender: Weak<Shared<F>>,
    state: Mutex<State<F>>,
}

struct State<F: File> {
    /// Where it is, once that was proven.
    peer: Option<Peer>,
    /// Since when all its files are wanted back, and it gets no other.
    recalled: Option<Instant>,
    /// Nothing is said to it any more.
    over: bool,
    /// The number of the file that was lent last.
    last: u64,
    files: BTreeMap<u64, Borrowed<F>>,
}

/// A file that the client has.
struct Borrowed<F: File> {
    lent: Lent<F>,
    since: Instant,
    /// It is wanted back.
    recalled: Option<Instant>,
    /// After the file, which is counted until it is closed.
    _place: Place,
}

/// The session cannot go on.
struct Broken;

impl<F: File> Session<F> {
    pub(super) fn new(
        id: u64,
        who: PeerCredentials,
        line: Box<dyn Line>,
        lender: &Arc<Shared<F>>,
    ) -> Self {
        let state =
            State { peer: None, recalled: None, over: false, last: 0, files: BTreeMap::new() };
        let (since, lender) = (Instant::now(), Arc::downgrade(lender));
        Self { id, who, since, line, lender, state: Mutex::new(state) }
    }

    /// Its number, which no other session of the lender ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Who is at the other end.
    pub fn who(&self) -> &PeerCredentials {
        &self.who
    }

    /// Where it is, once that was proven. It opens nothing before.
    pub fn peer(&self) -> Option<Peer> {
        self.state.lock().peer
    }

    /// Serves a message; one at a time, in the order in which they have come. Files are opened and
    /// closed by `opener`; without one, which is when the namespace goes, none are opened, and those
    /// that come back are closed here. May block.
    ///
    /// Whether the session goes on. If not, its line was [ended](Line::end).
    pub fn serve(&self, message: &[u8], opener: Option<&mut dyn Opener<F>>) -> bool {
        let served = match door::Request::from_packet(message) {
            Ok(door::Request::Register(uuid)) => self.register(uuid),
            Ok(door::Request::Open(open)) => self.open(&open, opener),
            Ok(door::Request::Close(close)) => self.close(close, opener),
            Err(_) => Err(Broken),
        };
        if served.is_err() {
            self.cut(&mut self.state.lock());
        }
        served.is_ok()
    }

    /// The client is gone, or cut off: lets go of all it had. May block.
    ///
    /// How many files it has not given back. Those that its process has open still, or that it has passed
    /// on, stay with them.
    pub fn ended(&self) -> usize {
        let mut state = self.state.lock();
        self.cut(&mut state);
        let files = std::mem::take(&mut state.files);
        drop(state);
        if let Some(lender) = self.lender.upgrade() {
            lender.remove(self.id);
        }
        files.len()
    }

    /// Lets the client in, if `admit` does, and says so before anything else is said to it.
    pub(super) fn welcome(&self, admit: impl FnOnce() -> Result<(), Turned>) -> Result<(), Turned> {
        let mut state = self.state.lock();
        admit()?;
        let welcome = encoded(&door::Message::Welcome(door::Welcome::THIS));
        self.line.send(welcome.as_slice(), None).map_err(|error| {
            self.cut(&mut state);
            Turned::Deaf(error)
        })
    }

    /// It was proven that the client is at `peer`; whether it can be told.
    pub(super) fn prove(&self, peer: Peer) -> bool {
        let mut state = self.state.lock();
        if state.over || state.recalled.is_some() {
            return false;
        }
        state.peer = Some(peer);
        self.say(&mut state, &door::Message::Proven, None).is_ok()
    }

    /// Wants everything back, and says how many files that are which were not wanted back before.
    pub(super) fn recall_all(&self, now: Instant) -> u64 {
        let mut state = self.state.lock();
        self.recall_everything(&mut state, now)
    }

    /// The same for the files of an export.
    pub(super) fn recall_export(&self, export: u32, now: Instant) -> u64 {
        let mut state = self.state.lock();
        let is = |file: &Borrowed<F>| file.recalled.is_none() && file.lent.export() == export;
        let recalled: Vec<u64> =
            state.files.iter().filter(|(_, file)| is(file)).map(|(number, _)| *number).collect();
        if recalled.len() > MOST_RECALLS {
            return self.recall_everything(&mut state, now);
        }
        for number in &recalled {
            if let Some(file) = state.files.get_mut(number) {
                file.recalled = Some(now);
            }
            if self.say(&mut state, &door::Message::Recall(*number), None).is_err() {
                // It is over. What is open is let go of when the end of the line is found.
                break;
            }
        }
        recalled.len() as u64
    }

    /// Cuts the client off if it has not given back what was wanted back before `then`.
    pub(super) fn cut_if_overdue(&self, then: Instant) -> bool {
        let mut state = self.state.lock();
        let is_overdue = |recalled: Option<Instant>| recalled.is_some_and(|at| at <= then);
        let overdue = is_overdue(state.recalled)
            || state.files.values().any(|file| is_overdue(file.recalled));
        if overdue {
            self.cut(&mut state);
        }
        overdue
    }

    pub(super) fn info(&self) -> ClientInfo {
        let state = self.state.lock();
        let files = || state.files.values();
        ClientInfo {
            session: self.id,
            pid: self.who.pid,
            uid: self.who.uid,
            address: state.peer.map(|peer| peer.address()),
            files: state.files.len(),
            oldest: files().map(|file| file.since).min(),
            since: self.since,
            recalled: files().filter_map(|file| file.recalled).chain(state.recalled).min(),
        }
    }

    fn register(&self, uuid: Uuid) -> Result<(), Broken> {
        let mut state = self.state.lock();
        if state.over || state.peer.is_some() {
            return Err(Broken);
        }
        if state.recalled.is_some() {
            // It was told, or is about to hear it.
            return Ok(());
        }
        let lender = self.lender.upgrade().ok_or(Broken)?;
        if !lender.register(uuid, self.id) {
            return Err(Broken);
        }
        self.say(&mut state, &door::Message::Registered, None)
    }

    fn open(
        &self,
        open: &door::Open<'_>,
        opener: Option<&mut dyn Opener<F>>,
    ) -> Result<(), Broken> {
        let serial = open.serial;
        let peer = self.peer().ok_or(Broken)?;
        let lender = self.lender.upgrade().ok_or(Broken)?;
        let refuse = |status| self.refuse(&lender, serial, status);
        let (Some(opener), Some(place)) = (opener, lender.take_place()) else {
            return refuse(Status::Jukebox);
        };
        if self.state.lock().recalled.is_some() {
            return refuse(Status::Jukebox);
        }
        let recalls = lender.recalls.load(Ordering::SeqCst);
        let access = match open.access {
            door::Access::Read => Access::Read,
            door::Access::Write => Access::Write,
            door::Access::ReadWrite => Access::ReadWrite,
        };
        let wanted = Wanted { who: &self.who, peer, handle: &open.handle, access };
        let Loan { descriptor, lent } = match opener.open(&wanted) {
            Ok(loan) => loan,
            Err(status) => return refuse(status),
        };
        let mut state = self.state.lock();
        let is_wanted_back =
            state.recalled.is_some() || lender.recalls.load(Ordering::SeqCst) != recalls;
        if state.over || is_wanted_back {
            drop(state);
            // Nobody has it, so nothing was written.
            drop(descriptor);
            opener.close(lent, true);
            drop(place);
            return refuse(Status::Jukebox);
        }
        state.last += 1;
        let file = state.last;
        let borrowed = Borrowed { lent, since: Instant::now(), recalled: None, _place: place };
        state.files.insert(file, borrowed);
        let opened = door::Message::Opened(door::Opened { serial, file });
        let said = self.say(&mut state, &opened, Some(descriptor.as_fd()));
        drop(state);
        add(&lender.counters.opened, 1);
        said
    }

    fn refuse(&self, lender: &Shared<F>, serial: u32, status: Status) -> Result<(), Broken> {
        add(&lender.counters.refused, 1);
        let refused = door::Message::Refused(door::Refused { serial, status: status.into() });
        self.say(&mut self.state.lock(), &refused, None)
    }

    fn close(&self, close: door::Close, opener: Option<&mut dyn Opener<F>>) -> Result<(), Broken> {
        let file = self.state.lock().files.remove(&close.file).ok_or(Broken)?;
        let Borrowed { lent, _place: place, .. } = file;
        match opener {
            Some(opener) => opener.close(lent, close.flushed),
            None => lent.give_back(close.flushed),
        }
        drop(place);
        Ok(())
    }

    fn recall_everything(&self, state: &mut MutexGuard<'_, State<F>>, now: Instant) -> u64 {
        if state.over || state.recalled.is_some() {
            return 0;
        }
        state.recalled = Some(now);
        let mut count = 0;
        for file in state.files.values_mut().filter(|file| file.recalled.is_none()) {
            file.recalled = Some(now);
            count += 1;
        }
        // If it cannot be told, it is over.
        let _ = self.say(state, &door::Message::RecallAll, None);
        count
    }

    /// Says something, unless nothing is said any more. What cannot be said is the last.
    fn say(
        &self,
        state: &mut MutexGuard<'_, State<F>>,
        message: &door::Message,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), Broken> {
        if state.over {
            return Err(Broken);
        }
        let sent = self.line.send(encoded(message).as_slice(), file);
        if sent.is_err() {
            self.cut(state);
        }
        sent.map_err(|_| Broken)
    }

    fn cut(&self, state: &mut MutexGuard<'_, State<F>>) {
        if !std::mem::replace(&mut state.over, true) {
            self.line.end();
        }
    }
}

/// Files of an export that are wanted back one by one; if there are more, everything is. What is said
/// has to find room in a socket.
const MOST_RECALLS: usize = 64;

fn encoded(message: &door::Message) -> Encoder {
    let mut out = Encoder::with_capacity(door::MESSAGE_MAX);
    message.encode(&mut out);
    out
}

impl<F: File> fmt::Debug for Session<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}
