//! The door of a namespace: a unix socket by which programs on the server's machine are handed open files.
//!
//! What is asked and answered there is [`holm_nfsd::localio`]'s; here are the socket, its connections as
//! sources of the pool, and what keeps the promise that a namespace ends:
//!
//! - `door` accepts, and `credentials` says by the kernel's word who came.
//! - `connection` is one client as a source of the pool.
//! - `overdue` cuts off clients that were asked for files and do not give them back, while the namespace
//!   lives.
//! - `in_process` is the same without a socket, for a program that has the server within itself.
//! - `ending` does so when the namespace goes. The pool runs nothing of it then, so connections are handed
//!   over to a thread of its own, until no file is lent any more.

mod connection;
mod credentials;
mod door;
mod ending;
mod in_process;
mod overdue;
mod socket;

pub(crate) use door::{BindError, Door, DoorFile};
pub(crate) use in_process::{InProcessDoor, OwnThreads};

use crate::model::Happened;
use crate::nfs::Serving;
use crate::server::Speaker;
use ending::Ending;
use holm_netns::NsId;
use holm_nfsd::localio::ClientInfo;
use holm_nfsd::service::Service;
use holm_pool::Handle;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// The programs that have come to a namespace by its door.
#[derive(Default)]
pub struct LocalClients {
    host: OnceLock<Host>,
    /// In seconds.
    recall_time: AtomicU32,
    /// Where files that are not given back are taken note of.
    overdue: OnceLock<Handle>,
    ending: Ending,
}

/// What is known once the namespace serves.
pub(crate) struct Host {
    pub(crate) ns: NsId,
    /// Not kept by a connection: its exports are to be closed when the namespace ends.
    pub(crate) service: Weak<Service>,
    pub(crate) serving: Serving,
    pub(crate) speaker: Arc<Speaker>,
}

impl LocalClients {
    /// The namespace serves from now on; once.
    pub(crate) fn begin(&self, host: Host) {
        let _ = self.host.set(host);
    }

    /// So long may a client take to give back files that it is asked for.
    pub(crate) fn set_recall_time(&self, seconds: u32) {
        self.recall_time.store(seconds, Ordering::Relaxed);
    }

    /// Files were asked for: whoever does not give them back in time is cut off.
    pub(crate) fn recalled(&self) {
        if let Some(overdue) = self.overdue.get() {
            overdue.wake();
        }
    }

    /// The namespace goes: all files are asked for, and no more are lent. Waits for nobody.
    pub(crate) fn recall_all(&self) {
        if let Some(service) = self.service() {
            service.local().recall_all();
        }
    }

    /// Cuts off those who were asked for files too long ago; when to ask again. May block, since the files
    /// are closed here.
    fn cut_off_overdue(&self) -> Option<Instant> {
        let service = self.service()?;
        let lender = service.local();
        if let Some(then) = Instant::now().checked_sub(self.recall_time()) {
            for client in lender.end_overdue(then) {
                self.say_cut_off(&client);
            }
        }
        let recalled = lender.clients().iter().filter_map(|client| client.recalled).min();
        recalled.and_then(|at| at.checked_add(self.recall_time()))
    }

    fn say_cut_off(&self, client: &ClientInfo) {
        let Some(Host { ns, speaker, .. }) = self.host.get() else { return };
        let ClientInfo { pid, uid, files, .. } = *client;
        let seconds = self.recall_time().as_secs();
        tracing::warn!(
            %ns, pid, uid, files,
            "a local client was cut off: it has not given back its files within {seconds} s. What its \
             process was handed, or has mapped, it can go on using, and the file system stays busy, until \
             that process closes it or ends"
        );
        speaker.say(Some(ns), Happened::LocalClientCutOff { pid, uid, files });
    }

    fn say(&self, what: Happened) {
        if let Some(Host { ns, speaker, .. }) = self.host.get() {
            speaker.say(Some(ns), what);
        }
    }

    fn recall_time(&self) -> Duration {
        Duration::from_secs(self.recall_time.load(Ordering::Relaxed).into())
    }

    fn service(&self) -> Option<Arc<Service>> {
        self.host.get()?.service.upgrade()
    }
}

impl fmt::Debug for LocalClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.host.get().map(|host| &host.ns);
        f.debug_struct("LocalClients").field("ns", &ns).finish_non_exhaustive()
    }
}
