//! A client as a source of the pool.

use super::LocalClients;
use super::socket::{Received, Socket};
use crate::model::Happened;
use crate::nfs::{Nfs, Served};
use holm_nfs_proto::localio::door::MESSAGE_MAX;
use holm_nfsd::cache::Object;
use holm_nfsd::localio::{Opener, Session};
use holm_pool::{AddError, Next, NsPool, Source, Turn};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection of a client.
pub(super) struct Connection {
    socket: Arc<Socket>,
    clients: Arc<LocalClients>,
    arrived: Instant,
    reader: Mutex<Held>,
}

/// Whoever has it reads from the connection, and nobody else.
pub(super) struct Reader {
    pub(super) socket: Arc<Socket>,
    session: Arc<Session<Object>>,
    /// Whoever listens to events was told that it came.
    announced: bool,
}

/// Where the reader of a connection is.
enum Held {
    /// Here: nobody reads.
    Here(Reader),
    /// With whose turn it is.
    Taken,
    /// The same, and then it goes to who ends the namespace.
    Wanted,
    /// Gone for good.
    Gone,
}

/// How reading went.
enum Read {
    /// Nothing more has come for now.
    All,
    /// The turn is over.
    Enough,
    /// The client is gone, or was cut off.
    Ended,
}

impl Connection {
    /// Has a session served from now on.
    pub(super) fn begin(
        socket: Arc<Socket>,
        session: Arc<Session<Object>>,
        clients: &Arc<LocalClients>,
        pool: &NsPool,
    ) -> Result<(), AddError> {
        let reader = Reader { socket: socket.clone(), session: session.clone(), announced: false };
        let arrived = Instant::now();
        let reader = Mutex::new(Held::Here(reader));
        let connection = Self { socket, clients: clients.clone(), arrived, reader };
        let added = pool.add(Arc::new(connection));
        match &added {
            Ok(handle) => handle.wake_at(arrived.checked_add(UNPROVEN)),
            // It has no files yet.
            Err(_) => drop(session.ended()),
        }
        added.map(drop)
    }

    fn read(&self, turn: &Turn<'_>, served: &Served, reader: &mut Reader) -> Read {
        loop {
            let Some(peer) = reader.session.peer() else {
                match reader.read_one(turn, None) {
                    Ok(()) => continue,
                    Err(Read::All) if self.arrived.elapsed() >= UNPROVEN => return Read::Ended,
                    Err(read) => return read,
                }
            };
            if !std::mem::replace(&mut reader.announced, true) {
                let (pid, uid) = reader.who();
                self.clients.say(Happened::LocalClientCame { pid, uid });
            }
            let Some(host) = self.clients.host.get() else { return Read::Ended };
            let read = host.serving.attend(turn, served, peer, |context| {
                loop {
                    if let Err(read) = reader.read_one(turn, Some(context)) {
                        return read;
                    }
                }
            });
            return read.unwrap_or(Read::Ended);
        }
    }

    /// Takes the reader for a turn.
    fn take(&self) -> Option<Reader> {
        let mut held = self.held();
        match std::mem::replace(&mut *held, Held::Taken) {
            Held::Here(reader) => Some(reader),
            other => {
                *held = other;
                None
            }
        }
    }

    /// Puts it back after the turn; whether it stays.
    fn put_back(&self, reader: Reader) -> bool {
        let mut held = self.held();
        if matches!(*held, Held::Taken) {
            *held = Held::Here(reader);
            return true;
        }
        *held = Held::Gone;
        drop(held);
        self.clients.hand_over(reader);
        false
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Connection {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let Some(mut reader) = self.take() else { return Next::Done };
        let read = match turn.contents().get::<Nfs>() {
            Some(served) => self.read(turn, served, &mut reader),
            None => Read::Ended,
        };
        let next = match read {
            Read::All => Next::Idle,
            Read::Enough => Next::More,
            Read::Ended => {
                *self.held() = Held::Gone;
                self.end(turn, &reader);
                return Next::Done;
            }
        };
        if self.put_back(reader) { next } else { Next::Done }
    }

    /// The namespace goes, and the pool runs nothing of it any more.
    fn closing(&self) {
        let mut held = self.held();
        match std::mem::replace(&mut *held, Held::Gone) {
            Held::Here(reader) => {
                drop(held);
                self.clients.hand_over(reader);
            }
            Held::Taken | Held::Wanted => *held = Held::Wanted,
            Held::Gone => {}
        }
    }
}

impl Connection {
    /// Lets go of all that the client had.
    fn end(&self, turn: &Turn<'_>, reader: &Reader) {
        let end = || reader.end(&self.clients);
        match self.clients.host.get() {
            Some(host) => host.serving.work(turn, host.ns.id, CLOSING, end),
            None => end(),
        }
    }
}

impl Reader {
    /// Serves what has come, when the namespace goes: files are only taken back. Not all at once of a client
    /// that says much. Whether more can come. May block.
    pub(super) fn read_some(&self) -> bool {
        let mut space = [0; MESSAGE_MAX];
        for _ in 0..SOME {
            match self.socket.receive(&mut space) {
                Received::Message(length) => {
                    if !self.serve(&space, length, None) {
                        return false;
                    }
                }
                Received::Nothing => return true,
                Received::End => return false,
            }
        }
        true
    }

    /// The client is gone, or its time is over: lets go of all that it had. May block.
    pub(super) fn end(&self, clients: &LocalClients) {
        let files = self.session.ended();
        if self.announced {
            let (pid, uid) = self.who();
            clients.say(Happened::LocalClientWent { pid, uid, files });
        }
    }

    /// Serves a message of a turn, if there is one.
    fn read_one(
        &self,
        turn: &Turn<'_>,
        opener: Option<&mut dyn Opener<Object>>,
    ) -> Result<(), Read> {
        if turn.left() == 0 {
            return Err(Read::Enough);
        }
        let mut space = [0; MESSAGE_MAX];
        match turn.may_block(|| self.socket.receive(&mut space)) {
            Received::Nothing => Err(Read::All),
            Received::End => Err(Read::Ended),
            Received::Message(length) => {
                turn.charge(1);
                let goes_on = turn.may_block(|| self.serve(&space, length, opener));
                if goes_on { Ok(()) } else { Err(Read::Ended) }
            }
        }
    }

    fn serve(&self, space: &[u8], length: usize, opener: Option<&mut dyn Opener<Object>>) -> bool {
        self.session.serve(space.get(..length).unwrap_or_default(), opener)
    }

    fn who(&self) -> (Option<i32>, u32) {
        let who = self.session.who();
        (who.pid, who.uid)
    }
}

/// Who has not proved within this time that it is here is sent away.
const UNPROVEN: Duration = Duration::from_secs(10);
/// So many messages are some.
const SOME: usize = 64;
/// What is done when a client has ended with files.
const CLOSING: &str = "closing files of a local client";
