//! What can go wrong.

use crate::{nfs, rpc::Refusal, xdr::Truncated};
use std::{io, net::SocketAddr};

/// Why a measurement or a check could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was tried, on what.
        attempt: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server answered with an error.
    #[error("{operation}: {}", nfs::status_name(*.status))]
    Status {
        /// What was asked.
        operation: String,
        /// The nfsstat3 or mountstat3.
        status: u32,
    },
    /// The server did not execute a call.
    #[error("{operation}: {refusal}")]
    Refused {
        /// What was asked.
        operation: String,
        /// What it said.
        refusal: Refusal,
    },
    /// A reply is not what the protocol says.
    #[error("{operation}: {problem}")]
    Reply {
        /// What was asked.
        operation: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// No process listens there.
    #[error("nobody of this machine listens on {0}")]
    NobodyListens(SocketAddr),
    /// Options that contradict each other or reality.
    #[error("{0}")]
    Invalid(String),
    /// A server to compare with can't be had here.
    #[error("{0}")]
    Unavailable(String),
    /// A server that was started did not answer.
    #[error("{program} did not answer: {reason}")]
    NotAnswering {
        /// The program.
        program: String,
        /// How it ended or how long it was waited for, and the end of its log.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    pub(crate) fn system(attempt: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source: source.into() }
    }

    pub(crate) fn truncated(operation: &str) -> impl FnOnce(Truncated) -> Self {
        let operation = operation.to_owned();
        move |_| Self::Reply { operation, problem: "truncated reply".to_owned() }
    }
}
