//! What failed: what was attempted, on what, why, and what can be done.

use holm_nfs_proto::{mount, nfs3};
use holm_sunrpc::auth::AuthStatus;
use holm_sunrpc::message::Refusal;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// The result of whatever asks the server.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation failed.
#[derive(Debug, Error)]
#[error("could not {attempt} {object}: {problem}")]
pub struct Error {
    attempt: &'static str,
    object: String,
    problem: Problem,
}

/// Why.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The server did not do it, and says why (RFC 1813, section 2.6).
    #[error("{0} ({name}){advice}", name = .0.name(), advice = advice(*.0))]
    Status(nfs3::Error),
    /// The server lets nobody, or not this client, have the directory (RFC 1813, section 5.2.1).
    #[error("{error}{advice}", advice = mount_advice(*error, exports))]
    Mount {
        /// What the server said.
        error: mount::Error,
        /// Some of the directories that it would let somebody have, if it says so.
        exports: Vec<String>,
    },
    /// No connection could be made.
    #[error("{0}; is the server running, and this its address and port?")]
    Unreachable(io::Error),
    /// No answer came in time, whatever was tried.
    #[error("no answer within {:.1} s: {last}; once the server is back it can be tried again", waited.as_secs_f64())]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
        /// What the last attempt came to.
        last: String,
    },
    /// The server does not serve such a call.
    #[error("the server refused the call: {0}{advice}", advice = refusal_advice(.0))]
    Refused(Refusal),
    /// What the server says cannot be.
    #[error("the server's answer makes no sense: {0}")]
    Malformed(String),
    /// It can't be asked for.
    #[error("{0}")]
    Invalid(&'static str),
    /// Data that was written and not committed is lost, or the server keeps losing it.
    #[error("{0}")]
    Lost(String),
}

impl Error {
    pub(crate) fn new(attempt: &'static str, object: impl Into<String>, problem: Problem) -> Self {
        Self { attempt, object: object.into(), problem }
    }

    /// Why it failed.
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    /// On what: a URL as a rule.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The server's status, if it was that.
    pub const fn status(&self) -> Option<nfs3::Error> {
        match self.problem {
            Problem::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The kind of error that a local file system would have had.
    pub fn kind(&self) -> io::ErrorKind {
        self.problem.kind()
    }

    /// The same, on something that is better known by this name.
    #[must_use]
    pub fn on(mut self, object: impl FnOnce() -> String) -> Self {
        self.object = object();
        self
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

impl Problem {
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }

    fn kind(&self) -> io::ErrorKind {
        use io::ErrorKind as Kind;
        match self {
            Self::Status(status) => kind_of(*status),
            Self::Mount { error, .. } => match error {
                mount::Error::NoEnt => Kind::NotFound,
                mount::Error::Perm | mount::Error::Acces => Kind::PermissionDenied,
                mount::Error::NotDir => Kind::NotADirectory,
                mount::Error::Inval => Kind::InvalidInput,
                mount::Error::NameTooLong => Kind::InvalidFilename,
                mount::Error::NotSupp => Kind::Unsupported,
                mount::Error::Io | mount::Error::ServerFault => Kind::Other,
            },
            Self::Unreachable(error) => error.kind(),
            Self::NoAnswer { .. } => Kind::TimedOut,
            Self::Refused(Refusal::Auth(_)) => Kind::PermissionDenied,
            Self::Refused(_) => Kind::Unsupported,
            Self::Malformed(_) => Kind::InvalidData,
            Self::Invalid(_) => Kind::InvalidInput,
            Self::Lost(_) => Kind::Other,
        }
    }
}

fn kind_of(status: nfs3::Error) -> io::ErrorKind {
    use io::ErrorKind as Kind;
    use nfs3::Error as Status;
    match status {
        Status::Perm | Status::Acces => Kind::PermissionDenied,
        Status::NoEnt | Status::NxIo | Status::NoDev => Kind::NotFound,
        Status::Exist => Kind::AlreadyExists,
        Status::XDev => Kind::CrossesDevices,
        Status::NotDir => Kind::NotADirectory,
        Status::IsDir => Kind::IsADirectory,
        Status::Inval | Status::BadHandle | Status::BadType => Kind::InvalidInput,
        Status::FBig => Kind::FileTooLarge,
        Status::NoSpc => Kind::StorageFull,
        Status::RoFs => Kind::ReadOnlyFilesystem,
        Status::MLink => Kind::TooManyLinks,
        Status::NameTooLong => Kind::InvalidFilename,
        Status::NotEmpty => Kind::DirectoryNotEmpty,
        Status::DQuot => Kind::QuotaExceeded,
        Status::Stale => Kind::StaleNetworkFileHandle,
        Status::NotSupp => Kind::Unsupported,
        Status::JukeBox => Kind::TimedOut,
        Status::Io
        | Status::Remote
        | Status::NotSync
        | Status::BadCookie
        | Status::TooSmall
        | Status::ServerFault => Kind::Other,
    }
}

/// What can be done, where that is not plain.
const fn advice(status: nfs3::Error) -> &'static str {
    use nfs3::Error as Status;
    match status {
        Status::Acces | Status::Perm => {
            "; as whom the server takes this user is a matter of the export's squashing"
        }
        Status::RoFs => "; the export, or the server's file system, takes no changes",
        Status::Stale | Status::BadHandle => {
            "; it was removed or is exported no longer: look its name up again"
        }
        Status::BadCookie => "; the directory changed meanwhile: list it again",
        Status::NotSync => "; somebody else changed it: look again",
        Status::JukeBox => "; the server needs longer than we waited",
        _ => "",
    }
}

const fn refusal_advice(refusal: &Refusal) -> &'static str {
    match refusal {
        // Also with an export that is `secure`, by most servers.
        Refusal::Auth(AuthStatus::TooWeak) => {
            "; the export may be only for ports below 1024, which root has, or for stronger authentication \
             than AUTH_SYS"
        }
        _ => "",
    }
}

fn mount_advice(error: mount::Error, exports: &[String]) -> String {
    match error {
        mount::Error::Acces | mount::Error::Perm => {
            "; this client's address, port or user is none that the export is for".to_owned()
        }
        mount::Error::NoEnt if !exports.is_empty() => {
            format!("; the server exports {}", exports.join(", "))
        }
        _ => String::new(),
    }
}
