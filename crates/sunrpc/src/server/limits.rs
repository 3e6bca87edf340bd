//! What the peers of one namespace may take together, and what they have taken.

use super::laden::Laden;
use crate::Limits;
use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Limits of one namespace's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Of one connection.
    pub connection: Limits,
    /// Connections at a time, on all listeners together. One more is closed as soon as it is accepted.
    /// With 0 none is accepted: they wait in the kernel until there are other limits.
    pub connections: usize,
    /// A connection on which no call has arrived whole for this long is closed.
    pub idle: Duration,
    /// Bytes that all connections may keep together of calls that have not arrived whole and of replies
    /// that were not taken. It is reckoned in connections that keep as much as one may, at least four;
    /// those of one address keep half of it at most, and what is less than 16 KiB is not counted. When
    /// it is used up the others wait, with what they send.
    pub memory: usize,
    /// When it is used up, a connection that keeps some of it and on which no call has arrived whole for
    /// this long is closed.
    pub stalled: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connection: Limits::default(),
            connections: 1024,
            idle: Duration::from_secs(15 * 60),
            memory: 256 << 20,
            stalled: Duration::from_secs(10),
        }
    }
}

impl ServerLimits {
    /// How many connections may keep as much as one may.
    pub(crate) fn laden(&self) -> usize {
        // A call, replies up to the limit, and the one that went beyond it.
        let Limits { record, unsent } = self.connection;
        let each = record.saturating_mul(2).saturating_add(unsent);
        (self.memory / each.max(1)).max(4)
    }
}

/// What has happened on the sockets of one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections there are.
    pub connections: usize,
    /// Connections that were accepted and served.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub refused: u64,
    /// Connections that were closed at once, because the service does not [admit](super::Service::admits)
    /// their peers.
    pub strangers: u64,
    /// Connections that were closed because what came on them was not RPC.
    pub broken: u64,
    /// Connections that were closed because no call came, or not the rest of one while memory was used up.
    pub idle: u64,
    /// Calls that were served.
    pub calls: u64,
    /// Bytes that were received.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
}

/// The counters, for those who count and those who read.
#[derive(Debug, Default)]
pub struct Counted {
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    pub(crate) strangers: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) idle: AtomicU64,
    calls: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    pub(crate) laden: Laden,
}

impl Counted {
    /// As they are now.
    pub fn read(&self) -> Counters {
        Counters {
            connections: self.connections.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            strangers: self.strangers.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    /// Counts what one turn did.
    pub(crate) fn turn(&self, calls: u64, received: usize, sent: usize) {
        for (counter, more) in
            [(&self.calls, calls), (&self.received, received as u64), (&self.sent, sent as u64)]
        {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

/// The place that a connection takes among those allowed, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Counted>);

impl Place {
    /// Takes one, unless all are taken.
    pub(crate) fn take(counted: &Arc<Counted>, most: usize) -> Option<Self> {
        let taken = counted.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < most).then_some(now + 1)
        });
        let counter = if taken.is_ok() { &counted.accepted } else { &counted.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        taken.is_ok().then(|| Self(counted.clone()))
    }

    pub(crate) fn counted(&self) -> &Arc<Counted> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
