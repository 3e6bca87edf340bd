//! The end of a namespace whose files are lent: a thread of its own hears of those that come back, and cuts
//! off who is too slow.
//!
//! The pool runs no turn of a namespace that goes, and `pre_exit` waits for nobody. So each connection gives
//! its reader away, from `closing` or at the end of a turn that goes on; the first that does starts the
//! thread. It ends in `exit`, when nobody is inside the namespace and so no file is lent.

use super::LocalClients;
use super::connection::Reader;
use crate::server::operations::Desk;
use holm_nfsd::localio::Wake;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// Who reads for a namespace that goes.
pub(super) type Ending = holm_nfsd::localio::Ending<Reader, Thread>;

pub(super) struct Thread {
    /// To be written to when something has changed.
    wake: Arc<OwnedFd>,
    handle: JoinHandle<()>,
}

impl Wake for Thread {
    fn wake(&self) {
        // One that is full wakes as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl LocalClients {
    /// Has the thread go on with a connection. Does not wait, unless there is no thread to be had: then the
    /// client is cut off.
    pub(super) fn hand_over(self: &Arc<Self>, reader: Reader) {
        let Err((reader, error)) = self.ending.hand_over(reader, || start(self)) else { return };
        let (ns, why) = (self.host.get().map(|host| &host.ns), "was not asked to wait");
        tracing::warn!(?ns, %error, "no thread for the end of a namespace: a client {why}");
        drop(reader);
    }

    /// The namespace has drained, so all files were given back: ends the thread, and the connections.
    pub(crate) fn end(&self) {
        if let Some(Thread { handle, .. }) = self.ending.end() {
            let _ = handle.join();
        }
    }

    /// Reads until the namespace has ended.
    fn read_until_the_end(&self, wake: &OwnedFd) {
        let desk = self.host.get().map(|host| (host.serving.desk(), host.ns.id));
        // They were asked before the first of them came here.
        let mut due = Instant::now().checked_add(self.recall_time());
        let mut readers: Vec<Reader> = Vec::new();
        while self.ending.receive(&mut readers) {
            let noted = desk.as_ref().map(|(desk, ns)| Desk::begin_work(desk, *ns, TAKING_BACK));
            readers.retain(Reader::read_some);
            if due.is_none_or(|due| due <= Instant::now()) {
                // Those that come later were asked before that as well.
                due = None;
                self.cut_off_overdue();
            }
            drop(noted);
            wait(wake, &readers, due);
        }
    }
}

fn start(clients: &Arc<LocalClients>) -> io::Result<Thread> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (clients, woken) = (clients.clone(), wake.clone());
    let run = move || clients.read_until_the_end(&woken);
    let handle = Builder::new().name("holm-recall".into()).stack_size(STACK).spawn(run)?;
    Ok(Thread { wake, handle })
}

/// Waits until there is something to do.
fn wait(wake: &OwnedFd, readers: &[Reader], due: Option<Instant>) {
    let fds = readers.iter().map(|reader| reader.socket.as_fd());
    let mut fds: Vec<_> = std::iter::once(wake.as_fd())
        .chain(fds)
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    // Interrupted, it says nothing, and all is looked at again.
    let _ = poll(&mut fds, left.as_ref());
    let _ = rustix::io::read(wake, &mut [0; 8]);
}

/// What the thread is at.
const TAKING_BACK: &str = "taking back files of local clients";
/// Bytes: it flushes and closes files.
const STACK: usize = 256 << 10;
