//! Who a network namespace belongs to, and whether it still does.

use super::{OpenError, shown};
use crate::model::NetnsRef;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A network namespace that was found, with a descriptor by which it can be entered.
pub(super) enum Found {
    /// The descriptor is of the process. It leads to the namespace, and to no other process that gets
    /// the same number later.
    Process { pid: Pid, process: OwnedFd },
    /// The descriptor is of the namespace itself, so that what is entered is what was looked at.
    Path { path: PathBuf, netns: OwnedFd, inode: Inode },
}

/// What a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

/// Who a network namespace belongs to.
#[derive(Debug)]
pub struct Owner(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    /// A process, until it ends. The descriptor becomes readable then.
    Process { pid: Pid, process: OwnedFd },
    /// A path, for as long as the same namespace lies there. Our sockets keep the namespace, so its
    /// number is not given to another.
    Path { path: PathBuf, inode: Inode },
}

/// How an owner has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// The process has ended.
    Ended(Pid),
    /// No namespace lies at the path any more.
    Removed(PathBuf),
    /// Another namespace lies at the path.
    Replaced(PathBuf),
}

impl Found {
    pub(super) fn find(netns: &NetnsRef) -> Result<Self, OpenError> {
        match netns {
            NetnsRef::Pid(number) => {
                let no_process = OpenError::NoProcess(*number);
                let pid = i32::try_from(*number).ok().and_then(Pid::from_raw);
                let Some(pid) = pid else { return Err(no_process) };
                match pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(process) => Ok(Self::Process { pid, process }),
                    // The second is a thread that does not lead its process.
                    Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Err(no_process),
                    Err(error) => {
                        Err(OpenError::System { netns: shown(netns), error: error.into() })
                    }
                }
            }
            NetnsRef::Path(text) => {
                let path = PathBuf::from(text);
                let failed = |error: Errno| match error {
                    Errno::ACCESS | Errno::PERM => OpenError::NotAllowed(shown(netns)),
                    error => OpenError::Path { path: path.clone(), error: error.into() },
                };
                // What lies there may be anything: nothing is waited for.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let netns = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
                let inode = rustix::fs::fstat(&netns).map_err(failed)?.into();
                Ok(Self::Path { path, netns, inode })
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process { process, .. } => process.as_fd(),
            Self::Path { netns, .. } => netns.as_fd(),
        }
    }

    /// What it means that the kernel does not let us enter.
    pub(super) fn refused(&self, error: Errno) -> OpenError {
        let netns = match self {
            Self::Process { pid, .. } => format!("process {pid}"),
            Self::Path { path, .. } => path.display().to_string(),
        };
        match (error, self) {
            (Errno::PERM | Errno::ACCESS, _) => OpenError::NotAllowed(netns),
            (Errno::INVAL, Self::Path { path, .. }) => OpenError::NotANetns { path: path.clone() },
            (Errno::SRCH, Self::Process { pid, .. }) => {
                OpenError::NoProcess(pid.as_raw_nonzero().get().unsigned_abs())
            }
            (error, _) => OpenError::System { netns, error: error.into() },
        }
    }

    /// Lets go of the namespace.
    pub(super) fn into_owner(self) -> Owner {
        Owner(match self {
            Self::Process { pid, process } => Kind::Process { pid, process },
            Self::Path { path, inode, .. } => Kind::Path { path, inode },
        })
    }
}

impl Owner {
    /// The same with a descriptor of its own.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(match &self.0 {
            Kind::Process { pid, process } => {
                Kind::Process { pid: *pid, process: process.try_clone()? }
            }
            Kind::Path { path, inode } => Kind::Path { path: path.clone(), inode: *inode },
        }))
    }

    /// Whether it has left by now, and how.
    pub fn left(&self) -> Option<Left> {
        match &self.0 {
            Kind::Process { pid, process } => {
                has_ended(process.as_fd()).then_some(Left::Ended(*pid))
            }
            Kind::Path { path, inode } => what_became_of(path, *inode),
        }
    }
}

/// Errors are no answer: it is asked again.
fn has_ended(process: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn what_became_of(path: &Path, inode: Inode) -> Option<Left> {
    match rustix::fs::stat(path) {
        Ok(now) => match Inode::from(now) {
            now if now == inode => None,
            // All namespaces are on one device.
            now if now.device == inode.device => Some(Left::Replaced(path.into())),
            // What it was mounted on: it goes next.
            _ => Some(Left::Removed(path.into())),
        },
        Err(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => Some(Left::Removed(path.into())),
        // Not an answer: it is asked again.
        Err(_) => None,
    }
}

impl From<rustix::fs::Stat> for Inode {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self { device: stat.st_dev, number: stat.st_ino }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(pid) => write!(f, "process {pid} has ended"),
            Self::Removed(path) => write!(f, "{} was removed", path.display()),
            Self::Replaced(path) => write!(f, "{} is another one now", path.display()),
        }
    }
}
