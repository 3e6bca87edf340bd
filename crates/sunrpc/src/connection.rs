//! One stream: what came in, what goes out.

use crate::program::{Framing, Programs, Served};
use crate::record::{Receiver, RecordError};
use holm_xdr::Encoder;
use thiserror::Error;

/// What a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a call.
    pub record: usize,
    /// Bytes of replies that wait to be sent from which on no further call is served.
    pub unsent: usize,
}

impl Default for Limits {
    /// For reads and writes of up to 1 MiB. A long reply is sent before the next is made, while it is
    /// in the CPU's caches.
    fn default() -> Self {
        Self { record: (1 << 20) + (1 << 16), unsent: 256 << 10 }
    }
}

/// A server's side of a stream, without the stream.
///
/// # The calls, in their order
///
/// *In:* [`space`](Self::space), [`received`](Self::received). *Serve:* [`serve`](Self::serve),
/// until it says [`Step::Receive`]. *Out:* [`unsent`](Self::unsent), [`sent`](Self::sent). *In a
/// while:* [`serve_waiting`](Self::serve_waiting), where it [is waiting](Self::is_waiting). *At any
/// time:* [`reclaim`](Self::reclaim) when idle, or [`Buffers`](crate::Buffers) around every turn.
///
/// ```
/// # use holm_sunrpc::{Connection, Limits, Programs, Step};
/// # use std::io::{Read, Write};
/// # fn run(mut stream: impl Read + Write, programs: &Programs<()>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = Connection::new(Limits::default());
/// loop {
///     let count = stream.read(connection.space())?;
///     if count == 0 {
///         return Ok(());
///     }
///     connection.received(count);
///     loop {
///         let step = connection.serve(programs, &mut (), 64)?;
///         stream.write_all(connection.unsent())?;
///         connection.sent(connection.unsent().len());
///         match step {
///             Step::Receive => break,
///             Step::Again | Step::Send => {}
///         }
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    pub(crate) incoming: Receiver,
    pub(crate) outgoing: Encoder,
    /// How much of `outgoing` was sent.
    pub(crate) sent: usize,
    /// Calls that are being served elsewhere: the first came before.
    waiting: Vec<Box<[u8]>>,
    served: u64,
    limits: Limits,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says what to do next"]
pub enum Step {
    /// All that has arrived whole was served: send, and receive more.
    Receive,
    /// As many calls as allowed were served: there may be more.
    Again,
    /// Too much is unsent: send first.
    Send,
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Broken {
    /// The stream does not make records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record is no call.
    #[error("a record is no call: {0}")]
    Message(#[from] holm_xdr::Error),
    /// A call gets no reply, or too many calls wait for one that is being made elsewhere. On this
    /// connection the peer would wait for ever.
    #[error("a call gets no reply here")]
    Unanswered,
}

impl Connection {
    /// A connection that has received nothing; allocates nothing yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            incoming: Receiver::new(limits.record),
            outgoing: Encoder::new(),
            sent: 0,
            waiting: Vec::new(),
            served: 0,
            limits,
        }
    }

    /// Where to receive into; see [`Receiver::space`].
    pub fn space(&mut self) -> &mut [u8] {
        self.incoming.space()
    }

    /// `count` bytes were received into the front of [`space`](Self::space).
    pub fn received(&mut self, count: usize) {
        self.incoming.received(count);
    }

    /// Serves what has arrived, up to `budget` calls.
    ///
    /// # Errors
    /// If the connection is to be closed. Replies to the calls before are unsent.
    pub fn serve<C: ?Sized>(
        &mut self,
        programs: &Programs<C>,
        context: &mut C,
        budget: usize,
    ) -> Result<Step, Broken> {
        self.forget_sent();
        for _ in 0..budget {
            if let Some(step) = self.must_send() {
                return Ok(step);
            }
            let Some(record) = self.incoming.next_record()? else {
                return Ok(Step::Receive);
            };
            let (ahead, out) = (record.ahead(), &mut self.outgoing);
            let served = programs.serve_before(ahead, context, &record, Framing::Stream, out)?;
            self.served += 1;
            match served {
                Served::Elsewhere => wait(&mut self.waiting, &record)?,
                Served::Never => return Err(Broken::Unanswered),
                Served::Now => {}
            }
        }
        Ok(self.must_send().unwrap_or(Step::Again))
    }

    /// Whether calls wait that are being served [elsewhere](crate::Answer::Elsewhere).
    pub const fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Serves the calls once more that wait because they were being served elsewhere. What is still
    /// being served goes on waiting.
    ///
    /// # Errors
    /// As from [`serve`](Self::serve).
    pub fn serve_waiting<C: ?Sized>(
        &mut self,
        programs: &Programs<C>,
        context: &mut C,
    ) -> Result<Step, Broken> {
        self.forget_sent();
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while self.must_send().is_none()
            && let Some(call) = waiting.next()
        {
            let served = programs.serve(context, &call, Framing::Stream, &mut self.outgoing)?;
            match served {
                Served::Elsewhere => self.waiting.push(call),
                Served::Never => return Err(Broken::Unanswered),
                Served::Now => {}
            }
        }
        self.waiting.extend(waiting);
        Ok(self.must_send().unwrap_or(Step::Receive))
    }

    /// What is to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// The first `count` bytes of [`unsent`](Self::unsent) were sent.
    pub fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.outgoing.len());
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
    }

    /// Takes out the buffer with what is to be sent, and how many bytes of it were sent before. What is served
    /// next goes into the buffer that `exchange` gives for it.
    pub fn take_unsent<T>(&mut self, exchange: impl FnOnce(Encoder) -> (T, Encoder)) -> (T, usize) {
        let (taken, other) = exchange(std::mem::take(&mut self.outgoing));
        self.outgoing = other;
        (taken, std::mem::take(&mut self.sent))
    }

    /// Whether [`serve`](Self::serve) would do anything: a call has arrived whole, or the stream does
    /// not make records.
    pub fn is_ready(&self) -> bool {
        self.incoming.is_ready()
    }

    /// Whether nothing waits here: no call, no byte of one, and none of a reply.
    pub const fn is_idle(&self) -> bool {
        self.incoming.is_idle() && self.outgoing.is_empty() && !self.is_waiting()
    }

    /// Bytes of memory that it has, for what has arrived, what waits and what is unsent.
    pub fn memory(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(|call| call.len()).sum();
        self.incoming.capacity() + self.outgoing.capacity() + waiting
    }

    /// How many calls it has served.
    pub const fn served(&self) -> u64 {
        self.served
    }

    /// The receiving side: to take records without serving them, or to lend it a buffer.
    pub const fn incoming(&mut self) -> &mut Receiver {
        &mut self.incoming
    }

    /// Gives up memory that holds nothing, and both buffers if it is idle.
    pub fn reclaim(&mut self) {
        self.incoming.reclaim();
        self.outgoing.shrink_to(0);
    }

    /// Before more is appended. Moves no more than was sent, so that it does not matter how small the
    /// pieces are.
    fn forget_sent(&mut self) {
        if self.sent > self.outgoing.len() / 2 {
            self.outgoing.consume(self.sent);
            self.sent = 0;
        }
    }

    fn must_send(&self) -> Option<Step> {
        (self.unsent().len() >= self.limits.unsent).then_some(Step::Send)
    }
}

/// Has a call wait, unless it does already. The first are the oldest.
fn wait(waiting: &mut Vec<Box<[u8]>>, call: &[u8]) -> Result<(), Broken> {
    if waiting.iter().any(|other| **other == *call) {
        return Ok(());
    }
    if waiting.len() >= WAITING_MAX || call.len() > WAITING_LEN_MAX {
        return Err(Broken::Unanswered);
    }
    waiting.push(call.into());
    Ok(())
}

/// So many calls may wait that are being served elsewhere,
const WAITING_MAX: usize = 32;
/// each of so many bytes. Longer than any that must not be done twice: two names and a credential, or
/// a name and where a symbolic link leads.
const WAITING_LEN_MAX: usize = 8 << 10;
