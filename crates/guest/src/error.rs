//! What can go wrong, and what was left to read when it did.

use std::{fmt, io, path::PathBuf, time::Duration};

/// Why there is no image, or no result of a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Programs are missing on this machine and could not be installed.
    #[error("{reason}; run: {command}")]
    Packages {
        /// Which programs, and why they were not installed.
        reason: String,
        /// The command that installs them.
        command: String,
    },
    /// This machine can't make or run a guest.
    #[error("{0}")]
    Unsupported(String),
    /// A program that makes the image failed.
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// A system call failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was tried, on what.
        attempt: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The builder asked for something that does not exist or does not fit.
    #[error("{0}")]
    Invalid(String),
    /// The script did not end in time; the guest was killed.
    #[error("the guest was not done after {after:?}{remains}")]
    Timeout {
        /// The time it was given.
        after: Duration,
        /// What it left.
        remains: Box<Remains>,
    },
    /// The guest ended before its script did: a kernel panic, or QEMU refused or crashed.
    #[error("the guest ended without an exit code ({status}){remains}")]
    Died {
        /// How QEMU ended.
        status: String,
        /// What it left.
        remains: Box<Remains>,
    },
    /// The guest ended before its script said what was waited for.
    #[error("the guest ended and never said {text:?}{remains}")]
    Unsaid {
        /// What was waited for.
        text: String,
        /// What it left.
        remains: Box<Remains>,
    },
    /// The script ended with another exit code than 0; see
    /// [`Outcome::success`](crate::Outcome::success).
    #[error("the script ended with exit code {code}{remains}")]
    Failed {
        /// Its exit code, or 128 plus the number of the signal that ended it.
        code: i32,
        /// What it left.
        remains: Box<Remains>,
    },
    /// QEMU's monitor refused a command.
    #[error("QEMU refused {command}: {answer}")]
    Monitor {
        /// The command.
        command: String,
        /// Its answer.
        answer: String,
    },
}

impl Error {
    pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    pub(crate) fn path(verb: &str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.into().display()))
    }
}

/// What a guest left to read.
#[derive(Default, Clone)]
pub struct Remains {
    /// The script's standard output, unless it was only streamed.
    pub stdout: Vec<u8>,
    /// The script's standard error, unless it was only streamed.
    pub stderr: Vec<u8>,
    /// The end of the kernel's console.
    pub console: Vec<u8>,
    /// The end of what QEMU said.
    pub qemu: Vec<u8>,
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains")
            .field("stdout", &Text(&self.stdout))
            .field("stderr", &Text(&self.stderr))
            .field("console", &Text(&self.console))
            .field("qemu", &Text(&self.qemu))
            .finish()
    }
}

/// Bytes that are text for whoever debugs.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("stdout", &self.stdout),
            ("stderr", &self.stderr),
            ("console", &self.console),
            ("QEMU", &self.qemu),
        ];
        for (name, bytes) in parts {
            let end = String::from_utf8_lossy(tail(bytes, 4000)).replace('\r', "");
            if !end.trim().is_empty() {
                write!(f, "\n--- end of {name}:\n{}", end.trim_end())?;
            }
        }
        Ok(())
    }
}

/// The last `limit` bytes.
pub(crate) fn tail(bytes: &[u8], limit: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(limit)..]
}
