//! Who calls: AUTH_NONE and AUTH_SYS (RFC 5531, sections 8.2 and 10, appendix A).

use holm_xdr::{Decode, Decoder, Encode, Encoder, Error, Opaque, TooLong};
use std::ops::Deref;

/// The flavor of no credential at all.
pub const NONE: u32 = 0;
/// The flavor of user and group numbers.
pub const SYS: u32 = 1;

/// Most bytes in a credential or verifier.
pub const BODY_MAX: u32 = 400;
/// Most bytes in the machine's name of AUTH_SYS.
pub const MACHINE_NAME_MAX: u32 = 255;
/// Most groups of AUTH_SYS, besides the first.
pub const GROUPS_MAX: usize = 16;

/// A credential or verifier that nobody has looked into (`opaque_auth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct OpaqueAuth<'a> {
    /// What kind it is.
    pub flavor: u32,
    /// What it is.
    pub body: Opaque<'a, BODY_MAX>,
}

impl OpaqueAuth<'_> {
    /// AUTH_NONE: it is not said.
    pub const NONE: OpaqueAuth<'static> = OpaqueAuth { flavor: NONE, body: Opaque::EMPTY };
}

/// Who calls, as far as the caller says; nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nobody in particular.
    None,
    /// A user of a Unix system.
    Sys(AuthSys<'a>),
}

/// A user and groups, by number (`authsys_parms`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuthSys<'a> {
    /// Any number.
    pub stamp: u32,
    /// What the caller's machine calls itself.
    pub machine_name: Opaque<'a, MACHINE_NAME_MAX>,
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
    /// The user's other groups.
    pub gids: Groups,
}

/// Up to 16 groups. Dereferences to `[u32]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups {
    len: usize,
    ids: [u32; GROUPS_MAX],
}

/// What is wrong with a credential or verifier (`auth_stat` without `AUTH_OK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Encode, Decode)]
#[repr(i32)]
pub enum AuthStatus {
    /// `AUTH_BADCRED`: the credential is malformed.
    #[error("bad credential")]
    BadCredential = 1,
    /// `AUTH_REJECTEDCRED`: the client must begin a new session; also for a flavor that is not
    /// offered.
    #[error("credential rejected")]
    RejectedCredential = 2,
    /// `AUTH_BADVERF`: the verifier is malformed.
    #[error("bad verifier")]
    BadVerifier = 3,
    /// `AUTH_REJECTEDVERF`: the verifier has expired or was replayed.
    #[error("verifier rejected")]
    RejectedVerifier = 4,
    /// `AUTH_TOOWEAK`: rejected for security reasons.
    #[error("authentication too weak")]
    TooWeak = 5,
    /// `AUTH_INVALIDRESP`: the verifier of the reply is bogus.
    #[error("bogus response verifier")]
    InvalidResponse = 6,
    /// `AUTH_FAILED`: for a reason not known.
    #[error("authentication failed")]
    Failed = 7,
    /// `AUTH_KERB_GENERIC`: an error of Kerberos.
    #[error("kerberos error")]
    KerberosGeneric = 8,
    /// `AUTH_TIMEEXPIRE`: the credential has expired.
    #[error("credential expired")]
    TimeExpire = 9,
    /// `AUTH_TKT_FILE`: a problem with the ticket file.
    #[error("problem with ticket file")]
    TicketFile = 10,
    /// `AUTH_DECODE`: the authenticator cannot be decoded.
    #[error("authenticator not decodable")]
    Decode = 11,
    /// `AUTH_NET_ADDR`: a wrong address in a ticket.
    #[error("wrong address in ticket")]
    NetAddress = 12,
    /// `RPCSEC_GSS_CREDPROBLEM`: no credentials for the user.
    #[error("no GSS credentials")]
    GssCredentialProblem = 13,
    /// `RPCSEC_GSS_CTXPROBLEM`: a problem with the context.
    #[error("problem with GSS context")]
    GssContextProblem = 14,
}

impl<'a> Credential<'a> {
    /// Looks into a credential and the verifier that came with it, which these flavors leave
    /// empty.
    ///
    /// # Errors
    /// [`AuthStatus::RejectedCredential`] for another flavor; [`AuthStatus::BadCredential`] and
    /// [`AuthStatus::BadVerifier`] for what is not as it should be.
    pub fn open(credential: OpaqueAuth<'a>, verifier: OpaqueAuth<'_>) -> Result<Self, AuthStatus> {
        let opened = match credential.flavor {
            NONE if credential.body.is_empty() => Self::None,
            NONE => return Err(AuthStatus::BadCredential),
            SYS => {
                let mut body = Decoder::new(credential.body.bytes());
                let opened = body.get().map_err(|_| AuthStatus::BadCredential)?;
                body.finish().map_err(|_| AuthStatus::BadCredential)?;
                Self::Sys(opened)
            }
            _ => return Err(AuthStatus::RejectedCredential),
        };
        if verifier != OpaqueAuth::NONE {
            return Err(AuthStatus::BadVerifier);
        }
        Ok(opened)
    }
}

/// As it stands in a call: flavor and body.
impl Encode for Credential<'_> {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::None => OpaqueAuth::NONE.encode(out),
            Self::Sys(sys) => {
                out.u32(SYS);
                let len = out.placeholder();
                let start = out.len();
                sys.encode(out);
                // At most 5 * 4 + 256 + 16 * 4 bytes, and a multiple of four.
                out.fill(len, &((out.len() - start) as u32));
            }
        }
    }
}

impl Groups {
    /// These groups.
    ///
    /// # Errors
    /// [`TooLong`] if there are more than 16.
    pub fn new(groups: &[u32]) -> Result<Self, TooLong> {
        let mut new = Self { len: groups.len(), ..Self::default() };
        match new.ids.get_mut(..groups.len()) {
            Some(ids) => ids.copy_from_slice(groups),
            None => return Err(TooLong { len: groups.len(), max: GROUPS_MAX as u32 }),
        }
        Ok(new)
    }
}

impl Deref for Groups {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.ids.get(..self.len).unwrap_or_default()
    }
}

impl Decode<'_> for Groups {
    fn decode(input: &mut Decoder<'_>) -> Result<Self, Error> {
        let len = input.count(GROUPS_MAX as u32)? as usize;
        let mut groups = Self { len, ..Self::default() };
        for id in groups.ids.iter_mut().take(len) {
            *id = input.u32()?;
        }
        Ok(groups)
    }
}

impl Encode for Groups {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.len as u32);
        for id in self.iter() {
            out.u32(*id);
        }
    }
}
