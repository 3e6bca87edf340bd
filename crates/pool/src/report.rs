//! What a pool tells whoever runs it.

use holm_netns::NsId;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Something that whoever runs the pool may want to know.
#[derive(Debug)]
pub enum Report {
    /// A source or a job panicked. The source was removed.
    Panicked {
        /// In which namespace.
        ns: NsId,
        /// What it said.
        why: String,
    },
    /// Calls of a namespace take long: the second group serves it now.
    Slow {
        /// Which.
        ns: NsId,
    },
    /// None has for a while: the first group serves it again.
    Fast {
        /// Which.
        ns: NsId,
    },
    /// A worker could not be started. It is tried again.
    NoThread {
        /// What the system said.
        error: io::Error,
    },
    /// Events could not be waited for.
    NoEvents {
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Panicked { ns, why } => write!(f, "a source or job of namespace {ns} {why}"),
            Report::Slow { ns } => write!(f, "calls of namespace {ns} take long"),
            Report::Fast { ns } => write!(f, "calls of namespace {ns} take no longer than usual"),
            Report::NoThread { error } => write!(f, "no worker could be started: {error}"),
            Report::NoEvents { error } => write!(f, "events could not be waited for: {error}"),
        }
    }
}

/// Calls `f` and turns a panic into words.
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    // What panicked is a source or a job, which is not used again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("panicked: {}", message.unwrap_or("(no message)"))
    })
}
