//! A client that blocks: for tests, for load, and to ask a server on the same machine.

use crate::auth::{AuthSys, Credential, Groups};
use crate::message::{Refusal, Reply, encode_call};
use crate::record::{Frame, Receiver, RecordError};
use holm_xdr::{Decode, Encode, Encoder, Opaque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::Duration;
use thiserror::Error;

/// A client of one server over a stream.
///
/// [`call`](Self::call) is a whole round trip. For several calls at a time, [`send`](Self::send)
/// them, and [`receive`](Self::receive) as many replies, in whatever order they come; the two ways
/// are not to be mixed while replies are outstanding, since `call` drops those to other calls.
///
/// After an error other than a [refusal](CallError::Refused) the stream is of no more use.
pub struct Client<S> {
    stream: S,
    incoming: Receiver,
    outgoing: Encoder,
    user: Option<User>,
    next_xid: u32,
}

/// A procedure: program, version, and number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Procedure {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure.
    pub number: u32,
}

/// Why a call has no results.
#[derive(Debug, Error)]
pub enum CallError {
    /// The stream failed.
    #[error("sending a call or receiving a reply: {0}")]
    Io(#[from] io::Error),
    /// The server closed the stream.
    #[error("the server closed the connection")]
    Closed,
    /// The stream does not make records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The call does not fit into a record.
    #[error("the call is too long: {0}")]
    TooLong(RecordError),
    /// What came is no reply, or does not have the results that were expected.
    #[error("the reply is malformed: {0}")]
    Reply(#[from] holm_xdr::Error),
    /// The server did not serve the call.
    #[error("the server refused the call: {0}")]
    Refused(#[from] Refusal),
}

struct User {
    machine_name: Vec<u8>,
    uid: u32,
    gid: u32,
    gids: Groups,
}

impl Client<TcpStream> {
    /// Connects to the first of the addresses that answers. `timeout` is for every single receive
    /// and send from then on; none is for ever.
    ///
    /// # Errors
    /// What connecting failed with, or a timeout of zero.
    pub fn connect(address: impl ToSocketAddrs, timeout: Option<Duration>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> Client<S> {
    /// A client over a stream that is connected; replies may have up to 4 MiB.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            incoming: Receiver::new(REPLY_MAX),
            outgoing: Encoder::new(),
            user: None,
            next_xid: 1,
        }
    }

    /// Calls in the name of that user from now on (AUTH_SYS). The stamp is not used.
    #[must_use]
    pub fn with_user(mut self, user: &AuthSys<'_>) -> Self {
        let AuthSys { machine_name, uid, gid, gids, .. } = user;
        let (uid, gid, gids) = (*uid, *gid, *gids);
        self.user = Some(User { machine_name: machine_name.to_vec(), uid, gid, gids });
        self
    }

    /// Begins with this transaction. Two clients of one machine should not have the same: the
    /// server's duplicate request cache may take one for the other.
    #[must_use]
    pub const fn with_xid(mut self, xid: u32) -> Self {
        self.next_xid = xid;
        self
    }

    /// Calls a procedure and waits for its results, which borrow from the client's buffer.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call<'c, R: Decode<'c>>(
        &'c mut self,
        procedure: Procedure,
        args: &impl Encode,
    ) -> Result<R, CallError> {
        let xid = self.send(procedure, args)?;
        let range = loop {
            let range = self.receive_record()?;
            if Reply::decode(self.incoming.slice(range.clone()))?.xid == xid {
                break range;
            }
        };
        let reply = Reply::decode(self.incoming.slice(range))?;
        Ok(reply.outcome?.get()?)
    }

    /// Sends a call; gives its transaction.
    ///
    /// # Errors
    /// [`CallError::Io`], [`CallError::TooLong`].
    pub fn send(&mut self, procedure: Procedure, args: &impl Encode) -> Result<u32, CallError> {
        let Procedure { program, version, number } = procedure;
        let xid = self.next_xid;
        self.next_xid = xid.wrapping_add(1);
        let out = &mut self.outgoing;
        out.clear();
        let frame = Frame::begin(out);
        encode_call(out, xid, (program, version, number), &credential(self.user.as_ref()));
        args.encode(out);
        frame.end(out).map_err(CallError::TooLong)?;
        self.stream.write_all(out)?;
        Ok(xid)
    }

    /// Waits for the next reply to whatever call.
    ///
    /// # Errors
    /// [`CallError`], but a refusal is within the reply.
    pub fn receive(&mut self) -> Result<Reply<'_>, CallError> {
        let range = self.receive_record()?;
        Ok(Reply::decode(self.incoming.slice(range))?)
    }

    /// The stream.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    fn receive_record(&mut self) -> Result<Range<usize>, CallError> {
        loop {
            if let Some(range) = self.incoming.next_range()? {
                return Ok(range);
            }
            match self.stream.read(self.incoming.space()) {
                Ok(0) => return Err(CallError::Closed),
                Ok(count) => self.incoming.received(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("stream", &self.stream)
            .field("next_xid", &self.next_xid)
            .finish_non_exhaustive()
    }
}

fn credential(user: Option<&User>) -> Credential<'_> {
    user.map_or(Credential::None, |user| {
        Credential::Sys(AuthSys {
            stamp: 0,
            // It came out of one.
            machine_name: Opaque::new(&user.machine_name).unwrap_or_default(),
            uid: user.uid,
            gid: user.gid,
            gids: user.gids,
        })
    })
}

/// Longest reply, in bytes.
const REPLY_MAX: usize = 4 << 20;
