//! A client as a source of the pool.

use super::LocalClients;
use super::socket::{Received, Socket};
use crate::model::Happened;
use crate::nfs::{Nfs, Served};
use holm_nfs_proto::localio::door::MESSAGE_MAX;
use holm_nfsd::cache::Object;
use holm_nfsd::localio::{Opener, Session, Turns};
use holm_nfsd::service::Peer;
use holm_pool::{AddError, Next, NsPool, Source, Turn};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection of a client.
pub(super) struct Connection {
    socket: Arc<Socket>,
    clients: Arc<LocalClients>,
    arrived: Instant,
    reader: Turns<Reader>,
}

/// Whoever has it reads from the connection, and nobody else. Dropping it lets go of all that the client
/// had, and may block.
pub(super) struct Reader {
    pub(super) socket: Arc<Socket>,
    session: Arc<Session<Object>>,
    clients: Arc<LocalClients>,
    /// Whoever listens to events was told that it came.
    announced: bool,
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
        let (socket_too, clients_too) = (socket.clone(), clients.clone());
        let reader = Reader { socket: socket_too, session, clients: clients_too, announced: false };
        let (arrived, reader) = (Instant::now(), Turns::new(reader));
        let connection = Self { socket, clients: clients.clone(), arrived, reader };
        // If it is refused it goes with its reader, which has no files yet.
        let handle = pool.add(Arc::new(connection))?;
        handle.wake_at(arrived.checked_add(UNPROVEN));
        Ok(())
    }

    fn read(&self, turn: &Turn<'_>, served: &Served, reader: &mut Reader) -> Read {
        let mut space = [0; MESSAGE_MAX];
        loop {
            let received = reader.receive(turn, &mut space);
            // Not before: what has come may be the first thing that is said after the proof.
            let peer = reader.proven();
            let length = match received {
                Ok(length) => length,
                Err(Read::All) if peer.is_none() && self.arrived.elapsed() >= UNPROVEN => {
                    return Read::Ended;
                }
                Err(read) => return read,
            };
            let Some(peer) = peer else {
                if reader.serve(turn, &space, length, None) {
                    continue;
                }
                return Read::Ended;
            };
            let Some(host) = self.clients.host.get() else { return Read::Ended };
            let read = host.serving.attend(turn, served, peer, |context| {
                let mut length = length;
                while reader.serve(turn, &space, length, Some(context)) {
                    match reader.receive(turn, &mut space) {
                        Ok(next) => length = next,
                        Err(read) => return read,
                    }
                }
                Read::Ended
            });
            return read.unwrap_or(Read::Ended);
        }
    }
}

impl Source for Connection {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let Some(mut reader) = self.reader.take() else { return Next::Done };
        let read = match turn.contents().get::<Nfs>() {
            Some(served) => self.read(turn, served, &mut reader),
            None => Read::Ended,
        };
        let next = match read {
            Read::All => Next::Idle,
            Read::Enough => Next::More,
            Read::Ended => {
                self.reader.keep();
                self.end(turn, reader);
                return Next::Done;
            }
        };
        match self.reader.put_back(reader) {
            Ok(()) => next,
            Err(reader) => {
                self.clients.hand_over(reader);
                Next::Done
            }
        }
    }

    /// The namespace goes, and the pool runs nothing of it any more.
    fn closing(&self) {
        if let Some(reader) = self.reader.close() {
            self.clients.hand_over(reader);
        }
    }
}

impl Connection {
    /// Lets go of all that the client had.
    fn end(&self, turn: &Turn<'_>, reader: Reader) {
        let end = || drop(reader);
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
                    if !self.session.serve(space.get(..length).unwrap_or_default(), None) {
                        return false;
                    }
                }
                Received::Nothing => return true,
                Received::End => return false,
            }
        }
        true
    }

    /// Receives a message of a turn, if there is one.
    fn receive(&self, turn: &Turn<'_>, space: &mut [u8]) -> Result<usize, Read> {
        if turn.left() == 0 {
            return Err(Read::Enough);
        }
        match turn.may_block(|| self.socket.receive(space)) {
            Received::Nothing => Err(Read::All),
            Received::End => Err(Read::Ended),
            Received::Message(length) => {
                turn.charge(1);
                Ok(length)
            }
        }
    }

    fn serve(
        &self,
        turn: &Turn<'_>,
        space: &[u8],
        length: usize,
        opener: Option<&mut dyn Opener<Object>>,
    ) -> bool {
        let message = space.get(..length).unwrap_or_default();
        turn.may_block(|| self.session.serve(message, opener))
    }

    /// Where the client is, once that was proven. Then whoever listens to events is told that it came.
    fn proven(&mut self) -> Option<Peer> {
        let peer = self.session.peer()?;
        if !std::mem::replace(&mut self.announced, true) {
            let (pid, uid) = self.who();
            self.clients.say(Happened::LocalClientCame { pid, uid });
        }
        Some(peer)
    }

    fn who(&self) -> (Option<i32>, u32) {
        let who = self.session.who();
        (who.pid, who.uid)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let files = self.session.ended();
        if self.announced {
            let (pid, uid) = self.who();
            self.clients.say(Happened::LocalClientWent { pid, uid, files });
        }
    }
}

/// Who has not proved within this time that it is here is sent away.
const UNPROVEN: Duration = Duration::from_secs(10);
/// So many messages are some.
const SOME: usize = 64;
/// What is done when a client has ended with files.
const CLOSING: &str = "closing files of a local client";
