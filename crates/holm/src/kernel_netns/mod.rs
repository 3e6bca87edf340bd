//! Sockets inside other network namespaces of the kernel: a container's, so that it mounts
//! `127.0.0.1:/` from within.
//!
//! [`open`] runs a closure inside such a namespace, on a thread that then ends: no thread that serves
//! ever leaves its own. What it returns, with the sockets, is the namespace's [`Owner`]: the process
//! that was named, or what lies at the path that was named. A socket keeps its namespace alive, with
//! its interfaces and their peers outside, though everybody in it is dead. So the owner is given to
//! the [`Watcher`], which says within a second that it [has left](Left), and then the sockets are to
//! be closed, the accepted ones too. Nothing here keeps a descriptor of a namespace.

mod owner;
mod watcher;

pub use owner::{Left, Owner};
pub use watcher::{Watch, Watcher};

use crate::model::NetnsRef;
use owner::Found;
use rustix::io::Errno;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::thread;

/// Why nothing could be opened inside a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such process.
    #[error("there is no process {0}, whose network namespace was asked for")]
    NoProcess(u32),
    /// What is at the path can't be opened.
    #[error("could not open the network namespace {}: {error}", path.display())]
    Path {
        /// Which path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something else is there.
    #[error(
        "{} is not a network namespace: name one of /run/netns, a /proc/PID/ns/net, or the number of \
         a process",
        path.display()
    )]
    NotANetns {
        /// Where.
        path: PathBuf,
    },
    /// We may not.
    #[error(
        "not allowed to enter the network namespace of {0}: that takes CAP_SYS_ADMIN, and \
         CAP_SYS_PTRACE where it is found by a process; start holm as root, with `containers = true` in its \
         configuration"
    )]
    NotAllowed(String),
    /// The system's error.
    #[error("could not enter the network namespace of {netns}: {error}")]
    System {
        /// Which one.
        netns: String,
        /// What the system said.
        error: io::Error,
    },
    /// Its owner left meanwhile.
    #[error("could not listen in the network namespace of {netns}: {left}")]
    Left {
        /// Which one.
        netns: String,
        /// What has happened.
        left: Left,
    },
}

/// Runs `work` inside a network namespace, on a thread of its own, and waits for it. What it opens
/// stays in there.
///
/// Not to be called by who may not wait: what is at a path may be on a file system that hangs.
///
/// # Errors
///
/// [`OpenError`]. If it is that the owner has left, `work` has run, and what it returned is dropped.
pub fn open<T: Send>(
    netns: &NetnsRef,
    work: impl FnOnce() -> T + Send,
) -> Result<(T, Owner), OpenError> {
    let found = Found::find(netns)?;
    let result = inside(found.fd(), work).map_err(|error| found.refused(error))?;
    let owner = found.into_owner();
    match owner.left() {
        Some(left) => Err(OpenError::Left { netns: shown(netns), left }),
        None => Ok((result, owner)),
    }
}

fn shown(netns: &NetnsRef) -> String {
    match netns {
        NetnsRef::Pid(pid) => format!("process {pid}"),
        NetnsRef::Path(path) => path.clone(),
    }
}

/// On a thread that ends: one that could not go back would serve others from in there.
fn inside<T: Send>(fd: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> rustix::io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("holm-setns".into()).spawn_scoped(scope, || {
            move_into_thread_name_spaces(fd, ThreadNameSpaceType::NETWORK)?;
            Ok(work())
        });
        match thread {
            Ok(thread) => match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
        }
    })
}
