//! Who calls, and how patiently.

use crate::local::LocalDoor;
use holm_sunrpc::auth::GROUPS_MAX;
use std::sync::Arc;
use std::time::Duration;

/// How a [`Mount`](crate::Mount) behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// In whose name the server is asked (AUTH_SYS). The process's own user, if nothing is said.
    pub user: User,
    /// For how long a server that does not answer is asked, and a connection that broke is made again,
    /// before a call fails; at most a year. 30 seconds, if nothing is said.
    pub patience: Duration,
    /// Most TCP connections to the server: so many calls go side by side, each of another thread. They
    /// are made as they are needed. 4, if nothing is said.
    pub connections: usize,
    /// Most bytes that are kept because they were written and not committed: the server may lose them
    /// and want them again. Whoever writes beyond that waits for a commit. 64 MiB, if nothing is said.
    pub uncommitted: usize,
    /// Whether files are read and written past the network where that can be.
    pub local: Local,
}

/// Whether files are read and written past the network.
#[derive(Debug, Clone, Default)]
pub enum Local {
    /// If the server is on this machine and lets us, which is asked again from time to time; and if the
    /// [user](Options::user) is whom this process acts as.
    #[default]
    Automatic,
    /// Never.
    Never,
    /// By this door: of a server in the same process, as a rule.
    Given(Arc<dyn LocalDoor>),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user: User::of_process(),
            patience: Duration::from_secs(30),
            connections: 4,
            uncommitted: 64 << 20,
            local: Local::Automatic,
        }
    }
}

/// A user and groups, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
    /// The other groups. AUTH_SYS has room for 16; those beyond are not said.
    pub groups: Vec<u32>,
}

impl User {
    /// Whom this process acts as: the effective user and groups.
    pub fn of_process() -> Self {
        let gid = rustix::process::getegid().as_raw();
        let groups = rustix::process::getgroups().unwrap_or_default();
        let groups = groups.into_iter().map(|group| group.as_raw()).filter(|group| *group != gid);
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid,
            groups: groups.take(GROUPS_MAX).collect(),
        }
    }

    /// Whether that is the same, as far as the server can tell.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let sorted = |user: &Self| {
            let mut groups: Vec<_> =
                user.groups.iter().copied().filter(|group| *group != user.gid).collect();
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        (self.uid, self.gid) == (other.uid, other.gid) && sorted(self) == sorted(other)
    }
}
