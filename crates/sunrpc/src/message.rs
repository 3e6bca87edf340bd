//! The headers of calls and replies (RFC 5531, section 9).

use crate::auth::{AuthStatus, Credential, OpaqueAuth};
use crate::record::Ahead;
use holm_xdr::{Decoder, Discriminant, Encode, Encoder, Error, Problem};
use thiserror::Error;

/// The version of RPC.
pub const RPC_VERSION: u32 = 2;

/// A call, taken apart in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    /// The transaction: comes back in the reply, and is the same in a retransmission.
    pub xid: u32,
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure.
    pub procedure: u32,
    /// Who calls.
    pub credential: Credential<'a>,
    /// The encoded arguments.
    pub args: &'a [u8],
    /// The whole message, of which the arguments are the end.
    pub message: &'a [u8],
    /// Messages that are served after it, if any are known.
    pub ahead: Ahead<'a>,
}

/// Why a call was not served (RFC 5531, section 9: `MSG_DENIED`, or an `accept_stat` other than
/// `SUCCESS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// `RPC_MISMATCH`: another version of RPC than these.
    #[error("RPC version is not one of {low} to {high}")]
    RpcMismatch {
        /// The lowest version that is served.
        low: u32,
        /// The highest.
        high: u32,
    },
    /// `AUTH_ERROR`: the caller is not accepted.
    #[error("{0}")]
    Auth(#[from] AuthStatus),
    /// `PROG_UNAVAIL`: no such program here.
    #[error("program not available")]
    ProgramUnavailable,
    /// `PROG_MISMATCH`: not this version of the program, but of these.
    #[error("program version is not one of {low} to {high}")]
    ProgramMismatch {
        /// The lowest version that is served.
        low: u32,
        /// The highest.
        high: u32,
    },
    /// `PROC_UNAVAIL`: the program has no such procedure.
    #[error("procedure not available")]
    ProcedureUnavailable,
    /// `GARBAGE_ARGS`: the arguments cannot be decoded.
    #[error("arguments not decodable")]
    GarbageArgs,
    /// `SYSTEM_ERR`: such as out of memory.
    #[error("system error")]
    SystemError,
}

/// What was said wrong about the arguments stays here; the caller learns that they are garbage.
impl From<Error> for Refusal {
    fn from(_: Error) -> Self {
        Self::GarbageArgs
    }
}

/// Why a message is no call that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotServed {
    /// It is a call, and the reply to it is this refusal.
    #[error("call {xid:#x} refused: {refusal}")]
    Refused {
        /// The transaction.
        xid: u32,
        /// Why.
        refusal: Refusal,
    },
    /// It is not a call, or ends within its header: there is nothing to reply to. A peer that
    /// sends such over a stream has lost its way; the connection is to be closed.
    #[error("not a call: {0}")]
    NotACall(#[from] Error),
}

impl<'a> Call<'a> {
    /// Takes a message apart.
    ///
    /// # Errors
    /// [`NotServed`]: for another version of RPC, a credential that is not accepted, and what is no
    /// call. Program, version and procedure are not looked at.
    pub fn decode(message: &'a [u8]) -> Result<Self, NotServed> {
        let mut input = Decoder::new(message);
        let xid = input.u32().map_err(|error| error.within("xid"))?;
        expect(&mut input, CALL, "message type")?;
        let refused = |refusal| NotServed::Refused { xid, refusal };

        if input.u32().map_err(|error| error.within("RPC version"))? != RPC_VERSION {
            let (low, high) = (RPC_VERSION, RPC_VERSION);
            return Err(refused(Refusal::RpcMismatch { low, high }));
        }
        let mut number = |what| input.u32().map_err(|error| error.within(what));
        let (program, version, procedure) =
            (number("program")?, number("version")?, number("procedure")?);

        let mut auth = |status: AuthStatus| {
            input.get::<OpaqueAuth<'a>>().map_err(|_| refused(Refusal::Auth(status)))
        };
        let credential = auth(AuthStatus::BadCredential)?;
        let verifier = auth(AuthStatus::BadVerifier)?;
        let credential =
            Credential::open(credential, verifier).map_err(|status| refused(status.into()))?;
        let (args, ahead) = (input.rest(), Ahead::default());
        Ok(Self { xid, program, version, procedure, credential, args, message, ahead })
    }

    /// A decoder of the arguments.
    #[inline]
    pub const fn arguments(&self) -> Decoder<'a> {
        Decoder::new(self.args)
    }
}

/// The header of a call; the arguments follow.
pub fn encode_call(
    out: &mut Encoder,
    xid: u32,
    (program, version, procedure): (u32, u32, u32),
    credential: &Credential<'_>,
) {
    encode_words(out, [xid, CALL, RPC_VERSION, program, version, procedure]);
    credential.encode(out);
    OpaqueAuth::NONE.encode(out);
}

/// The header of a reply to a call that was served; the results follow.
#[inline]
pub fn encode_success(out: &mut Encoder, xid: u32) {
    encode_words(out, [xid, REPLY]);
    encode_accepted(out, SUCCESS);
}

/// The reply to a call that was refused.
pub fn encode_refusal(out: &mut Encoder, xid: u32, refusal: Refusal) {
    encode_words(out, [xid, REPLY]);
    match refusal {
        Refusal::RpcMismatch { low, high } => {
            encode_words(out, [DENIED, RPC_MISMATCH, low, high]);
        }
        Refusal::Auth(status) => {
            encode_words(out, [DENIED, AUTH_ERROR]);
            status.encode(out);
        }
        Refusal::ProgramMismatch { low, high } => {
            encode_accepted(out, PROG_MISMATCH);
            encode_words(out, [low, high]);
        }
        Refusal::ProgramUnavailable => encode_accepted(out, PROG_UNAVAIL),
        Refusal::ProcedureUnavailable => encode_accepted(out, PROC_UNAVAIL),
        Refusal::GarbageArgs => encode_accepted(out, GARBAGE_ARGS),
        Refusal::SystemError => encode_accepted(out, SYSTEM_ERR),
    }
}

/// A reply, taken apart in place.
#[derive(Debug, Clone)]
pub struct Reply<'a> {
    /// Of which transaction.
    pub xid: u32,
    /// A decoder of the results, or why there are none.
    pub outcome: Result<Decoder<'a>, Refusal>,
}

impl<'a> Reply<'a> {
    /// Takes a message apart. The server's verifier is not looked into.
    ///
    /// # Errors
    /// If it is no reply, or not one that the RFC has.
    pub fn decode(message: &'a [u8]) -> Result<Self, Error> {
        let mut input = Decoder::new(message);
        let xid = input.u32().map_err(|error| error.within("xid"))?;
        expect(&mut input, REPLY, "message type")?;
        let outcome = if accepted(&mut input)? {
            input.get::<OpaqueAuth<'a>>().map_err(|error| error.within("verifier"))?;
            accept_status(&mut input)?.map(|()| input)
        } else {
            Err(denial(&mut input).map_err(|error| error.within("denial"))?)
        };
        Ok(Self { xid, outcome })
    }
}

fn encode_accepted(out: &mut Encoder, status: u32) {
    out.u32(ACCEPTED);
    OpaqueAuth::NONE.encode(out);
    out.u32(status);
}

fn encode_words<const N: usize>(out: &mut Encoder, words: [u32; N]) {
    for word in words {
        out.u32(word);
    }
}

fn expect(input: &mut Decoder<'_>, expected: u32, what: &'static str) -> Result<(), Error> {
    let before = input.clone();
    let value = input.u32().map_err(|error| error.within(what))?;
    if value != expected {
        return Err(before.unknown(value.to_wire()).within(what));
    }
    Ok(())
}

fn accepted(input: &mut Decoder<'_>) -> Result<bool, Error> {
    let denied: bool = input.bool().map_err(|error| error.within("reply status"))?;
    Ok(!denied)
}

fn accept_status(input: &mut Decoder<'_>) -> Result<Result<(), Refusal>, Error> {
    let before = input.clone();
    Ok(match input.u32()? {
        SUCCESS => Ok(()),
        PROG_UNAVAIL => Err(Refusal::ProgramUnavailable),
        PROG_MISMATCH => Err(Refusal::ProgramMismatch { low: input.u32()?, high: input.u32()? }),
        PROC_UNAVAIL => Err(Refusal::ProcedureUnavailable),
        GARBAGE_ARGS => Err(Refusal::GarbageArgs),
        SYSTEM_ERR => Err(Refusal::SystemError),
        other => {
            let problem = Problem::Unknown { value: other.to_wire() };
            return Err(before.error(problem).within("accept status"));
        }
    })
}

fn denial(input: &mut Decoder<'_>) -> Result<Refusal, Error> {
    let before = input.clone();
    match input.u32()? {
        RPC_MISMATCH => Ok(Refusal::RpcMismatch { low: input.u32()?, high: input.u32()? }),
        AUTH_ERROR => Ok(Refusal::Auth(input.get()?)),
        other => Err(before.unknown(other.to_wire())),
    }
}

// msg_type
const CALL: u32 = 0;
const REPLY: u32 = 1;
// reply_stat
const ACCEPTED: u32 = 0;
const DENIED: u32 = 1;
// accept_stat
const SUCCESS: u32 = 0;
const PROG_UNAVAIL: u32 = 1;
const PROG_MISMATCH: u32 = 2;
const PROC_UNAVAIL: u32 = 3;
const GARBAGE_ARGS: u32 = 4;
const SYSTEM_ERR: u32 = 5;
// reject_stat
const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;
