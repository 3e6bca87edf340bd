//! What went wrong, and what the shell is told.

use super::quote::Quoted;
use crate::output::complain;
use holm_localio::Problem;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// The result of what is done with files.
pub type Result<T> = std::result::Result<T, Trouble>;

/// Something could not be done. As a text: what was attempted, on what, why, and what can be done.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    text: String,
    kind: io::ErrorKind,
    unreachable: bool,
}

/// Why a command has not done what it was to do.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done.
    Failed(Trouble),
    /// Some of it could not be done; what, has been said.
    Partly,
    /// The command makes no sense.
    Usage(String),
    /// What was to be written could not be.
    Output(io::Error),
}

impl Trouble {
    /// About something that is named already.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: io::ErrorKind::Other, unreachable: false }
    }

    /// The server is gone.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self { unreachable: true, ..Self::new(text) }
    }

    /// A call of this machine failed.
    pub fn local(attempt: &str, object: &OsStr, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let text = format!("could not {attempt} {}: {error}", Quoted(object));
        Self { text, kind: error.kind(), unreachable: false }
    }

    /// The kind of error that it was.
    pub const fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// Whether the server does not answer, so that asking for more makes no sense.
    pub const fn is_unreachable(&self) -> bool {
        self.unreachable
    }
}

impl From<holm_localio::Error> for Trouble {
    fn from(error: holm_localio::Error) -> Self {
        let unreachable =
            matches!(error.problem(), Problem::Unreachable(_) | Problem::NoAnswer { .. });
        // A server's words are its own.
        let text = Quoted(OsStr::new(&error.to_string())).plain();
        Self { text, kind: error.kind(), unreachable }
    }
}

impl Failure {
    /// Says on stderr what went wrong.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Failure::Partly => 1,
            Failure::Failed(trouble) if trouble.unreachable => 3,
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            // Who reads has gone, as `head` does.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Failure::Output(_) => 1,
        };
        match self {
            Failure::Partly => {}
            Failure::Failed(trouble) => say(trouble),
            Failure::Usage(why) => say(why),
            Failure::Output(error) => say(format_args!("could not write: {error}")),
        }
        ExitCode::from(code)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure::Failed(trouble)
    }
}

impl From<holm_localio::Error> for Failure {
    fn from(error: holm_localio::Error) -> Self {
        Failure::Failed(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

/// Says what went wrong.
pub fn say(what: impl fmt::Display) {
    complain(format_args!("holm: {what}"));
}
