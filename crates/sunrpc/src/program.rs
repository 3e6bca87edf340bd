//! What is served, and the way of a call to it.

use crate::message::{self, Call, NotServed, Refusal};
use crate::record::{Ahead, Frame};
use holm_xdr::Encoder;
use std::fmt;
use std::ops::RangeInclusive;

/// A program: procedures by number. `C` is what its caller hands to every call: the tenant, the
/// peer, the thread's own buffers.
///
/// Nothing here knows of threads. Whether calls of one `Programs` run at the same time is up to
/// whoever calls [`Programs::serve`], and therefore `self` is shared.
pub trait Program<C: ?Sized> {
    /// The program's number.
    fn number(&self) -> u32;

    /// The versions that it serves. Must not overlap those of another program of that number.
    fn versions(&self) -> RangeInclusive<u32>;

    /// Serves a call of one of these versions, and appends its results to `results`, which holds
    /// the header of the reply already, and perhaps replies to other calls: it must not be
    /// cut shorter than it comes.
    ///
    /// The caller's credential is as it was sent; who is let in is for the program to say.
    ///
    /// # Errors
    /// The refusal that is the reply instead; results are taken back.
    fn call(
        &self,
        context: &mut C,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Answer, Refusal>;
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The results are written.
    Now,
    /// It is being served already, for another connection: it was sent again. What is written is taken
    /// back. Over a stream the call is [kept](crate::Connection::serve_waiting), to be served again in a
    /// while; a datagram is dropped.
    Elsewhere,
    /// There is no reply, and never will be. What is written is taken back. A stream ends then, or the
    /// peer would wait for ever.
    Never,
}

/// Whether messages are records of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each reply has a record mark.
    Stream,
    /// A message is a datagram.
    Datagram,
}

/// What [`Programs::serve`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "there may be no reply"]
pub enum Served {
    /// The reply is written, whole.
    Now,
    /// Nothing is written; the message is to be served again in a while.
    Elsewhere,
    /// Nothing is written, and nothing will be.
    Never,
}

/// The programs that a server has.
pub struct Programs<C: ?Sized> {
    programs: Vec<Box<dyn Program<C> + Send + Sync>>,
}

impl<C: ?Sized> Programs<C> {
    /// None yet.
    pub const fn new() -> Self {
        Self { programs: Vec::new() }
    }

    /// With one more. Of two that serve the same version, the first is called.
    #[must_use]
    pub fn with(mut self, program: impl Program<C> + Send + Sync + 'static) -> Self {
        self.programs.push(Box::new(program));
        self
    }

    /// Serves one message and appends the reply to `out`.
    ///
    /// # Errors
    /// If the message is no call: nothing is written. Refusals are replies, not errors.
    pub fn serve(
        &self,
        context: &mut C,
        message: &[u8],
        framing: Framing,
        out: &mut Encoder,
    ) -> Result<Served, holm_xdr::Error> {
        self.serve_before(Ahead::default(), context, message, framing, out)
    }

    /// The same, where other messages that have arrived are served next: a program may begin what
    /// they will need.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub fn serve_before(
        &self,
        ahead: Ahead<'_>,
        context: &mut C,
        message: &[u8],
        framing: Framing,
        out: &mut Encoder,
    ) -> Result<Served, holm_xdr::Error> {
        match Call::decode(message).map(|call| Call { ahead, ..call }) {
            Ok(call) => Ok(reply(out, framing, call.xid, |results| {
                self.find(call.program, call.version)?.call(context, &call, results)
            })),
            Err(NotServed::Refused { xid, refusal }) => {
                Ok(reply(out, framing, xid, |_| Err(refusal)))
            }
            Err(NotServed::NotACall(error)) => Err(error),
        }
    }

    /// The program that serves that version.
    ///
    /// # Errors
    /// [`Refusal::ProgramUnavailable`], or [`Refusal::ProgramMismatch`] with the lowest and the
    /// highest version that there is.
    pub fn find(
        &self,
        number: u32,
        version: u32,
    ) -> Result<&(dyn Program<C> + Send + Sync), Refusal> {
        let mut served: Option<(u32, u32)> = None;
        for program in self.programs.iter().filter(|program| program.number() == number) {
            let versions = program.versions();
            if versions.contains(&version) {
                return Ok(&**program);
            }
            let (low, high) = served.unwrap_or((*versions.start(), *versions.end()));
            served = Some((low.min(*versions.start()), high.max(*versions.end())));
        }
        Err(match served {
            Some((low, high)) => Refusal::ProgramMismatch { low, high },
            None => Refusal::ProgramUnavailable,
        })
    }

    /// Number and versions of all of them: what a port mapper tells.
    pub fn list(&self) -> impl Iterator<Item = (u32, RangeInclusive<u32>)> + '_ {
        self.programs.iter().map(|program| (program.number(), program.versions()))
    }
}

impl<C: ?Sized> Default for Programs<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: ?Sized> fmt::Debug for Programs<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

/// Appends the reply to the transaction `xid`: success with the results that `results` appends, or
/// what it refuses with.
fn reply(
    out: &mut Encoder,
    framing: Framing,
    xid: u32,
    results: impl FnOnce(&mut Encoder) -> Result<Answer, Refusal>,
) -> Served {
    let start = out.len();
    let frame = (framing == Framing::Stream).then(|| Frame::begin(out));
    message::encode_success(out, xid);

    let served = match results(out) {
        Ok(Answer::Now) => Served::Now,
        Ok(Answer::Elsewhere) => Served::Elsewhere,
        Ok(Answer::Never) => Served::Never,
        Err(refusal) => return refuse(out, start, framing, xid, refusal),
    };
    if served != Served::Now {
        out.truncate(start);
        return served;
    }
    match frame.map(|frame| frame.end(out)) {
        Some(Err(_too_long)) => refuse(out, start, framing, xid, Refusal::SystemError),
        Some(Ok(())) | None => served,
    }
}

#[cold]
fn refuse(out: &mut Encoder, start: usize, framing: Framing, xid: u32, refusal: Refusal) -> Served {
    out.truncate(start);
    let frame = (framing == Framing::Stream).then(|| Frame::begin(out));
    message::encode_refusal(out, xid, refusal);
    // A refusal has 32 bytes at most: it is not too long.
    let _ = frame.map(|frame| frame.end(out));
    Served::Now
}
