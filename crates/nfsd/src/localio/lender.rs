//! Whom a namespace lends files to.

use super::session::Session;
use super::{Line, PeerCredentials};
use crate::cache::File;
use crate::service::Peer;
use holm_lifetime::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use holm_nfs_proto::localio::Uuid;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

/// Lends the files of one namespace to clients of the same machine.
///
/// Locks: that of a [`Session`] comes before the lender's, which is held for a few instructions and for
/// nothing that could wait.
pub struct Lender<F: File>(Arc<Shared<F>>);

/// Who may come, and how much they may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The users that may open files here. None: nobody may.
    pub users: BTreeSet<u32>,
    /// Most sessions at a time; a user has no more than a quarter of them, or one.
    pub sessions: usize,
    /// Most files at a time, for all together.
    pub files: usize,
}

/// A client, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The number of its session.
    pub session: u64,
    /// Its process, if that is known.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    /// Where its NFS connection comes from, if it has proven one.
    pub address: Option<IpAddr>,
    /// How many files it has.
    pub files: usize,
    /// When the oldest of them was opened.
    pub oldest: Option<Instant>,
    /// When it came.
    pub since: Instant,
    /// Since when any of its files is wanted back.
    pub recalled: Option<Instant>,
}

/// What has happened so far, and what there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sessions that there are.
    pub sessions: u64,
    /// Files that are lent, or about to be.
    pub files: u64,
    /// Clients that have come in.
    pub arrived: u64,
    /// Clients that were not let in.
    pub turned_away: u64,
    /// Clients that have proven where they are.
    pub proven: u64,
    /// Files that were lent.
    pub opened: u64,
    /// Files that were not.
    pub refused: u64,
    /// Files that were wanted back.
    pub recalled: u64,
    /// Clients that were cut off because they did not give them back in time.
    pub cut_off: u64,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Turned {
    /// The user may not.
    #[error("user {0} may not open local files here")]
    User(u32),
    /// There are too many.
    #[error("user {0} cannot have one more session: there are as many as may be")]
    Full(u32),
    /// The namespace goes.
    #[error("no local files are opened here any more")]
    Shut,
    /// It does not listen.
    #[error("cannot say anything to the client: {0}")]
    Deaf(io::Error),
}

pub(super) struct Shared<F: File> {
    state: Mutex<State<F>>,
    next: AtomicU64,
    /// How many files are lent, or about to be.
    files: Arc<AtomicUsize>,
    /// How often files of an export were wanted back. Who opens one meanwhile does not know which.
    pub(super) recalls: AtomicU64,
    pub(super) counters: Counters,
}

struct State<F: File> {
    rules: Rules,
    address: Option<String>,
    /// No file is lent any more, for good.
    shut: bool,
    sessions: BTreeMap<u64, Arc<Session<F>>>,
    /// UUIDs that wait to be named, and by whose session. A session has one.
    pending: HashMap<Uuid, u64>,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) arrived: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) proven: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) recalled: AtomicU64,
    pub(super) cut_off: AtomicU64,
}

impl<F: File> Lender<F> {
    /// One that lends nothing to anybody, until it is told [to whom](Self::set_rules).
    pub fn new() -> Self {
        let state = State {
            rules: Rules::default(),
            address: None,
            shut: false,
            sessions: BTreeMap::new(),
            pending: HashMap::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            next: AtomicU64::new(1),
            files: Arc::new(AtomicUsize::new(0)),
            recalls: AtomicU64::new(0),
            counters: Counters::default(),
        }))
    }

    /// Says who may come from now on. From others who are here all files are recalled.
    pub fn set_rules(&self, rules: Rules) {
        let mut state = self.0.state.lock();
        let unwanted = |session: &&Arc<Session<F>>| !rules.users.contains(&session.who().uid);
        let unwanted: Vec<_> = state.sessions.values().filter(unwanted).cloned().collect();
        state.rules = rules;
        drop(state);
        self.recall(unwanted);
    }

    /// Says where the door is, which clients hear from the port mapper: the path of a socket.
    pub fn set_address(&self, address: Option<String>) {
        self.0.state.lock().address = address;
    }

    /// Where the door is, if anybody is let in.
    pub fn address(&self) -> Option<String> {
        let state = self.0.state.lock();
        if state.shut || state.rules.users.is_empty() { None } else { state.address.clone() }
    }

    /// Somebody is at the door, and is told that it is one. When this succeeds, whoever reads from the
    /// line has each message [served](Session::serve), and says at its end that it
    /// [ended](Session::ended).
    ///
    /// # Errors
    ///
    /// Why it is not let in. The line was not used, save with [`Turned::Deaf`].
    pub fn arrive(&self, who: PeerCredentials, line: impl Line) -> Result<Arc<Session<F>>, Turned> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(id, who, Box::new(line), &self.0));
        let counters = &self.0.counters;
        // Before anybody else can say anything to it.
        let welcomed = session.welcome(|| self.0.state.lock().admit(&session));
        if welcomed.is_err() {
            add(&counters.turned_away, 1);
            self.0.remove(id);
        } else {
            add(&counters.arrived, 1);
        }
        welcomed.map(|()| session)
    }

    /// A UUID was named on an NFS connection from `peer`. Whether it was registered here: it is used
    /// up, and its session knows where its client is.
    pub fn prove(&self, uuid: &Uuid, peer: Peer) -> bool {
        let mut state = self.0.state.lock();
        let id = state.pending.remove(uuid);
        let session = id.and_then(|id| state.sessions.get(&id).cloned());
        drop(state);
        let proven = session.is_some_and(|session| session.prove(peer));
        add(&self.0.counters.proven, proven.into());
        proven
    }

    /// Wants everything back, for good. When this returns no file is lent any more: an open that has
    /// begun is refused at its end. Never waits.
    pub fn recall_all(&self) {
        let mut state = self.0.state.lock();
        state.shut = true;
        state.pending.clear();
        drop(state);
        self.recall(self.sessions());
    }

    /// Wants the files of an export back: it is gone, or it is another one now. Call it when that is so
    /// for those who look exports up. When this returns none is lent that was opened before. Never
    /// waits.
    pub fn recall_export(&self, export: u32) {
        // Before the sessions are looked at: who finds it unchanged afterwards, with the session's lock
        // held, has put its file where it is found here.
        self.0.recalls.fetch_add(1, Ordering::SeqCst);
        let now = Instant::now();
        for session in self.sessions() {
            let recalled = session.recall_export(export, now);
            add(&self.0.counters.recalled, recalled);
        }
    }

    /// Who is here.
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.sessions().iter().map(|session| session.info()).collect()
    }

    /// Ends the sessions from which all files were recalled before `then`, and those that have files
    /// still which were. Gives those that had files: what their processes have open is theirs from
    /// here on. May block, since the files are closed here.
    pub fn end_overdue(&self, then: Instant) -> Vec<ClientInfo> {
        let mut ended = Vec::new();
        for session in self.sessions() {
            let info = session.info();
            if session.cut_if_overdue(then) {
                session.ended();
                if info.files > 0 {
                    add(&self.0.counters.cut_off, 1);
                    ended.push(info);
                }
            }
        }
        ended
    }

    /// What has happened so far.
    pub fn statistics(&self) -> Statistics {
        let Counters { arrived, turned_away, proven, opened, refused, recalled, cut_off } =
            &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            sessions: self.0.state.lock().sessions.len() as u64,
            files: self.0.files.load(Ordering::Relaxed) as u64,
            arrived: read(arrived),
            turned_away: read(turned_away),
            proven: read(proven),
            opened: read(opened),
            refused: read(refused),
            recalled: read(recalled),
            cut_off: read(cut_off),
        }
    }

    /// Whether [everything was recalled](Self::recall_all).
    pub fn is_shut(&self) -> bool {
        self.0.state.lock().shut
    }

    fn recall(&self, sessions: Vec<Arc<Session<F>>>) {
        let now = Instant::now();
        for session in sessions {
            let recalled = session.recall_all(now);
            add(&self.0.counters.recalled, recalled);
        }
    }

    fn sessions(&self) -> Vec<Arc<Session<F>>> {
        self.0.state.lock().sessions.values().cloned().collect()
    }
}

impl<F: File> Default for Lender<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: File> Shared<F> {
    /// Waits for a UUID of this session to be named. Not if another one waits for the same, or has
    /// chosen it twice; or if it is too late.
    pub(super) fn register(&self, uuid: Uuid, session: u64) -> bool {
        let mut state = self.state.lock();
        let can = !state.shut
            && state.sessions.contains_key(&session)
            && !state.pending.values().any(|other| *other == session)
            && !state.pending.contains_key(&uuid);
        if can {
            state.pending.insert(uuid, session);
        }
        can
    }

    /// A session has ended.
    pub(super) fn remove(&self, session: u64) {
        let mut state = self.state.lock();
        state.pending.retain(|_, other| *other != session);
        let removed = state.sessions.remove(&session);
        drop(state);
        // It may be the last who has it.
        drop(removed);
    }

    /// The place of one more file, if there is one.
    pub(super) fn take_place(&self) -> Option<Place> {
        let most = self.state.lock().rules.files;
        let before = self.files.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.files.clone());
        (before < most).then_some(place)
    }
}

impl<F: File> State<F> {
    fn admit(&mut self, session: &Arc<Session<F>>) -> Result<(), Turned> {
        let uid = session.who().uid;
        if self.shut {
            return Err(Turned::Shut);
        }
        if !self.rules.users.contains(&uid) {
            return Err(Turned::User(uid));
        }
        let of_user = self.sessions.values().filter(|other| other.who().uid == uid).count();
        let most_of_user = (self.rules.sessions / 4).max(1);
        if of_user >= most_of_user || self.sessions.len() >= self.rules.sessions {
            return Err(Turned::Full(uid));
        }
        self.sessions.insert(session.id(), session.clone());
        Ok(())
    }
}

/// Counts a file that is lent, until it is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl<F: File> fmt::Debug for Lender<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}
