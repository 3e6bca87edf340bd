//! Why something was not done.

use crate::model::{ErrorBody, ErrorCode, HeldView};
use crate::spelling::nearest;
use std::fmt::Display;

/// Why something was not done. The text says what was tried, on what, and why it failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It is about something that is not there.
    #[error("{0}")]
    NotFound(String),
    /// There is something of that name, path or address already.
    #[error("{0}")]
    Exists(String),
    /// What was to go is going, and has not gone in time. It goes as soon as it can.
    #[error("{message}")]
    StillHeld {
        /// What was tried.
        message: String,
        /// What is in the way.
        held: HeldView,
    },
    /// The system did not allow it.
    #[error("{0}")]
    Failed(String),
}

/// Why changes were refused: one thing of perhaps many.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// The namespace whose change it is about, where it is about one.
    pub ns: Option<String>,
    /// Why.
    pub error: Error,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { ns: None, error }
    }
}

impl Error {
    pub(crate) fn no_namespace(name: &str) -> Self {
        Self::NotFound(format!("there is no namespace {name}"))
    }

    /// The same, where it is known which there are.
    pub(crate) fn no_namespace_of<'k>(
        name: &str,
        known: impl IntoIterator<Item = &'k String>,
    ) -> Self {
        match nearest(name, known.into_iter().map(String::as_str)) {
            Some(near) => {
                Self::NotFound(format!("there is no namespace {name}: did you mean {near}?"))
            }
            None => Self::no_namespace(name),
        }
    }

    pub(crate) fn failed(error: impl Display) -> Self {
        // With all that led to it.
        Self::Failed(format!("{error:#}"))
    }

    /// Which kind of reason it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Exists(_) => ErrorCode::Exists,
            Self::StillHeld { .. } => ErrorCode::StillHeld,
            Self::Failed(_) => ErrorCode::Failed,
        }
    }

    /// As the admin API says it.
    pub fn to_body(&self) -> ErrorBody {
        let held = match self {
            Self::StillHeld { held, .. } => Some(held.clone()),
            _ => None,
        };
        ErrorBody { code: self.code(), message: self.to_string(), held }
    }
}
