//! The end of a namespace whose files are lent: a thread of its own hears of those that come back, and cuts
//! off who is too slow.
//!
//! The pool runs no turn of a namespace that goes, and `pre_exit` waits for nobody. So each connection gives
//! its reader away, from `closing` or at the end of a turn that goes on; the first that does starts the
//! thread. It ends in `exit`, when nobody is inside the namespace and so no file is lent.

use super::LocalClients;
use super::connection::Reader;
use crate::server::operations::Desk;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// Who reads for a namespace that goes.
#[derive(Default)]
pub(super) struct Ending(Mutex<State>);

#[derive(Default)]
struct State {
    /// Readers that the thread has not taken yet.
    handed: Vec<Reader>,
    thread: Option<Thread>,
    over: bool,
}

struct Thread {
    /// To be written to when something has changed.
    wake: Arc<OwnedFd>,
    handle: JoinHandle<()>,
}

impl Ending {
    /// Nobody is inside: ends the thread, and the connections.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        let thread = state.thread.take();
        drop(state);
        if let Some(Thread { wake, handle }) = thread {
            notify(&wake);
            let _ = handle.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalClients {
    /// Has the thread go on with a connection. Does not wait, unless there is no thread to be had: then the
    /// client is cut off.
    pub(super) fn hand_over(self: &Arc<Self>, reader: Reader) {
        let mut state = self.ending.state();
        if state.thread.is_none() {
            match start(self) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    drop(state);
                    let (ns, why) = (self.host.get().map(|host| &host.ns), "was not asked to wait");
                    tracing::warn!(?ns, %error, "no thread for the end of a namespace: a client {why}");
                    return reader.end(self);
                }
            }
        }
        state.handed.push(reader);
        if let Some(thread) = &state.thread {
            notify(&thread.wake);
        }
    }

    /// Reads until the namespace has ended.
    fn read_until_the_end(&self, wake: &OwnedFd) {
        let desk = self.host.get().map(|host| (host.serving.desk(), host.ns.id));
        let working = |work: &mut dyn FnMut()| {
            let _noted = desk.as_ref().map(|(desk, ns)| Desk::begin_work(desk, *ns, TAKING_BACK));
            work();
        };
        // They were asked before the first of them came here.
        let mut due = Instant::now().checked_add(self.recall_time());
        let mut readers: Vec<Reader> = Vec::new();
        loop {
            let mut state = self.ending.state();
            readers.append(&mut state.handed);
            let over = state.over;
            drop(state);
            if over {
                return readers.iter().for_each(|reader| reader.end(self));
            }
            working(&mut || {
                readers.retain(|reader| {
                    let goes_on = reader.read_some();
                    if !goes_on {
                        reader.end(self);
                    }
                    goes_on
                });
                if due.is_none_or(|due| due <= Instant::now()) {
                    // Those that come later were asked before that as well.
                    due = None;
                    self.cut_off_overdue();
                }
            });
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

fn notify(wake: &OwnedFd) {
    // One that is full wakes as well.
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
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
