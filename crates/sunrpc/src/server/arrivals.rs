//! Connections that somebody else accepts, as a network stack of our own does.

use super::accepted::{Accepted, ListenerHandle, Welcome};
use super::listener::into_io;
use super::{Counted, ServerLimits, Service, Transport};
use holm_lifetime::sync::{Arc, Mutex, Weak};
use holm_pool::{Handle, Next, NsPool, Source, Turn};
use std::collections::VecDeque;
use std::fmt;
use std::io;

/// Where connections are handed over that were accepted elsewhere. Once the listener is no more they are
/// dropped.
pub struct Arrivals<T, S>(Weak<Desk<T, S>>);

/// Has the pool serve connections that are handed over, as [`listen`](super::listen) has it serve those
/// of a listener of the kernel's.
///
/// # Errors
/// The pool does not take it.
pub fn receive_arrivals<T: Transport, S: Service>(
    pool: &NsPool,
    service: Arc<S>,
    limits: ServerLimits,
    counted: Arc<Counted>,
) -> io::Result<(ListenerHandle, Arrivals<T, S>)> {
    let accepted = Arc::new(Accepted::new(limits));
    let welcome = Welcome { service, counted, accepted: accepted.clone() };
    let desk = Arc::new(Desk { welcome, queue: Mutex::default() });
    let handle = pool.add(desk.clone()).map_err(into_io)?;
    desk.queue.lock().handle = Some(handle.clone());
    Ok((ListenerHandle::new(handle, accepted), Arrivals(Arc::downgrade(&desk))))
}

impl<T: Transport, S: Service> Arrivals<T, S> {
    /// A connection was made.
    pub fn arrive(&self, transport: T) {
        let Some(desk) = self.0.upgrade() else { return };
        let mut queue = desk.queue.lock();
        queue.waiting.push_back(transport);
        let handle = queue.handle.clone();
        drop(queue);
        if let Some(handle) = handle {
            handle.wake();
        }
    }
}

impl<T, S> fmt::Debug for Arrivals<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrivals")
    }
}

/// The pool has the only strong reference for good, so that what waits here goes with the listener.
struct Desk<T, S> {
    welcome: Welcome<S>,
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    handle: Option<Handle>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), handle: None }
    }
}

impl<T: Transport, S: Service> Source for Desk<T, S> {
    fn run(&self, turn: &Turn<'_>) -> Next {
        if self.welcome.accepted.limits().connections == 0 {
            // Whoever comes waits: there is a wake-up when that changes.
            return Next::Idle;
        }
        while turn.left() > 0 {
            let Some(transport) = self.queue.lock().waiting.pop_front() else { return Next::Idle };
            turn.charge(1);
            if self.welcome.admits(turn, &transport) {
                self.welcome.take(turn, transport);
            }
        }
        Next::More
    }

    fn closing(&self) {
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        drop(waiting);
    }
}
