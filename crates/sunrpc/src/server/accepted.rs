//! The connections of one listener, so that they can end with it.

use super::connection::Served;
use super::limits::Place;
use super::{Counted, ServerLimits, Service, Transport};
use holm_lifetime::sync::atomic::Ordering;
use holm_lifetime::sync::{Arc, Mutex};
use holm_pool::{Handle, PoolSubsystem, Turn};
use std::collections::BTreeMap;

/// A listener that the pool serves, and the connections that it has accepted. Dropping it changes
/// nothing.
#[derive(Debug, Clone)]
pub struct ListenerHandle {
    listener: Handle,
    accepted: Arc<Accepted>,
}

impl ListenerHandle {
    pub(super) fn new(listener: Handle, accepted: Arc<Accepted>) -> Self {
        Self { listener, accepted }
    }

    /// How many connections came by it and have not ended.
    pub fn connections(&self) -> usize {
        self.accepted.0.lock().all.len()
    }

    /// Sets the limits of connections that are accepted from now on. Where none were allowed, those
    /// that wait are accepted now.
    pub fn set_limits(&self, limits: ServerLimits) {
        let before = std::mem::replace(&mut self.accepted.0.lock().limits, limits);
        if before.connections == 0 {
            self.listener.wake();
        }
    }

    /// Accepts no more. What was accepted goes on.
    pub fn stop(&self) {
        self.listener.remove();
    }

    /// Accepts no more and resets what was accepted: replies that were not taken yet are given up,
    /// and nothing of the connections stays behind in the kernel. One that is being served ends with
    /// that turn, when the call that it is in has returned.
    pub fn close(&self) {
        let connections = self.accepted.end();
        self.listener.remove();
        for connection in connections {
            connection.remove();
        }
    }
}

/// What a listener does with who comes.
pub(super) struct Welcome<S> {
    pub(super) service: Arc<S>,
    pub(super) counted: Arc<Counted>,
    pub(super) accepted: Arc<Accepted>,
}

impl<S: Service> Welcome<S> {
    /// Whether anything is served to the peer; otherwise it is sent away.
    pub(super) fn admits(&self, turn: &Turn<'_>, transport: &impl Transport) -> bool {
        let admits = self.service.admits(turn, transport.peer());
        if !admits {
            self.counted.strangers.fetch_add(1, Ordering::Relaxed);
            transport.abort();
        }
        admits
    }

    /// Serves a connection from now on, or drops it.
    pub(super) fn take(&self, turn: &Turn<'_>, transport: impl Transport) {
        let limits = self.accepted.limits();
        let Some(place) = Place::take(&self.counted, limits.connections) else { return };
        let Some(member) = self.accepted.admit() else { return transport.abort() };
        let key = member.key();
        let served = Served::new(transport, self.service.clone(), limits, place, member);
        let served = Arc::new(served);
        if let Some(pool) = turn.contents().get::<PoolSubsystem>()
            // Refused if the namespace goes; then the connection does, too.
            && let Ok(handle) = pool.add(served.clone())
        {
            served.be_woken(&handle);
            self.accepted.keep(key, handle);
        }
    }
}

/// The connections that a listener has accepted and that have not ended.
#[derive(Debug)]
pub(crate) struct Accepted(Mutex<Members>);

#[derive(Debug)]
struct Members {
    /// Of those that come.
    limits: ServerLimits,
    over: bool,
    next: u64,
    /// Without a handle: the pool is being given it.
    all: BTreeMap<u64, Option<Handle>>,
}

impl Accepted {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self(Mutex::new(Members { limits, over: false, next: 0, all: BTreeMap::new() }))
    }

    pub(super) fn limits(&self) -> ServerLimits {
        self.0.lock().limits
    }

    /// A place for a connection; none once it is over.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Member> {
        let mut members = self.0.lock();
        if members.over {
            return None;
        }
        let key = members.next;
        members.next += 1;
        members.all.insert(key, None);
        Some(Member { of: self.clone(), key })
    }

    /// Notes how a connection is reached, that may have ended by now.
    pub(super) fn keep(&self, key: u64, handle: Handle) {
        let mut members = self.0.lock();
        if !members.over {
            if let Some(place) = members.all.get_mut(&key) {
                *place = Some(handle);
            }
            return;
        }
        // Whoever said that it is over has not seen this one.
        drop(members);
        handle.remove();
    }

    fn end(&self) -> Vec<Handle> {
        let mut members = self.0.lock();
        members.over = true;
        std::mem::take(&mut members.all).into_values().flatten().collect()
    }
}

/// A connection's place among those of its listener, until it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    of: Arc<Accepted>,
    key: u64,
}

impl Member {
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Whether the listener was closed, with all of them.
    pub(super) fn is_over(&self) -> bool {
        self.of.0.lock().over
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let left = self.of.0.lock().all.remove(&self.key);
        drop(left);
    }
}
