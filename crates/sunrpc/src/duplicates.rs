//! Replies to remember, so that a retransmitted call is answered and not done again.
//!
//! Over TCP a client sends a call again when its connection broke before the reply came. Done
//! twice, a REMOVE that succeeded would be reported as a failure. The cache tells by transaction,
//! peer, procedure, length and a checksum of the call.
//!
//! ```
//! use holm_sunrpc::duplicates::{DuplicateCache, Limits, Seen};
//! use std::net::IpAddr;
//! use std::time::Instant;
//! # use holm_sunrpc::message::{Call, encode_call};
//! # use holm_sunrpc::Credential;
//! # let mut message = holm_xdr::Encoder::new();
//! # encode_call(&mut message, 1, (100_003, 3, 12), &Credential::None);
//! # let call = Call::decode(&message).unwrap();
//!
//! let mut cache: DuplicateCache<IpAddr> = DuplicateCache::new(Limits::default());
//! let peer = IpAddr::from([127, 0, 0, 1]);
//! let key = cache.key(peer, &call);
//!
//! let Seen::New(ticket) = cache.begin(key, Instant::now()) else { panic!("never seen") };
//! assert!(matches!(cache.begin(key, Instant::now()), Seen::InProgress), "drop it");
//! cache.finish(ticket, b"the results", Instant::now());
//! assert!(matches!(cache.begin(key, Instant::now()), Seen::Done(b"the results")));
//! ```

use crate::message::Call;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

/// A duplicate request cache: a plain data structure, to be locked by whoever shares it, though
/// never while a call is served.
///
/// A call is [begun](Self::begin), which tells what is known of it. If it is new, its ticket is
/// [finished](Self::finish) with the results, or [abandoned](Self::abandon) if it came to nothing
/// that needs to be remembered; a ticket that is merely dropped leaves the call in progress
/// for good.
///
/// `P` tells peers apart. The address without the port is a good choice: a client comes back from
/// another port.
pub struct DuplicateCache<P> {
    limits: Limits,
    calls: HashMap<CallKey<P>, State>,
    /// Calls that are done, the oldest first.
    done: VecDeque<CallKey<P>>,
    /// Bytes of all results.
    bytes: usize,
    last_ticket: u64,
    checksum: RandomState,
}

/// What a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most calls, done or in progress.
    pub entries: usize,
    /// Most bytes of results.
    pub bytes: usize,
    /// For how long results are remembered. Not for ever: a machine restored from a snapshot
    /// sends the very calls again that it sent before, and means them.
    pub age: Duration,
}

impl Default for Limits {
    /// 1,024 calls, 1 MiB of results, 2 minutes.
    fn default() -> Self {
        Self { entries: 1024, bytes: 1 << 20, age: Duration::from_secs(120) }
    }
}

/// What makes two calls the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallKey<P> {
    peer: P,
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    len: usize,
    checksum: u64,
}

/// What is known of a call.
#[derive(Debug)]
#[must_use = "a new call is to be finished or abandoned"]
pub enum Seen<'c, P> {
    /// Nothing: serve it.
    New(Ticket<P>),
    /// It is being served: drop the retransmission.
    InProgress,
    /// It was served: these are the results.
    Done(&'c [u8]),
    /// As many calls are in progress as it can hold: nothing is known or will be. Serve it or drop
    /// it.
    Full,
}

/// A call in progress.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropped, it leaves the call in progress"]
pub struct Ticket<P> {
    key: CallKey<P>,
    number: u64,
}

enum State {
    InProgress { ticket: u64 },
    Done { results: Box<[u8]>, at: Instant },
}

impl<P: Clone + Eq + Hash> DuplicateCache<P> {
    /// An empty cache; allocates nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: HashMap::new(),
            done: VecDeque::new(),
            bytes: 0,
            last_ticket: 0,
            checksum: RandomState::new(),
        }
    }

    /// The key of a call. It is meant for this cache: the checksum is keyed, so that nobody can
    /// make two calls collide on purpose.
    pub fn key(&self, peer: P, call: &Call<'_>) -> CallKey<P> {
        let Call { xid, program, version, procedure, message, .. } = *call;
        let summed = message.get(..SUMMED).unwrap_or(message);
        let checksum = self.checksum.hash_one(summed);
        CallKey { peer, xid, program, version, procedure, len: message.len(), checksum }
    }

    /// What is known of a call at the time `now`; if it is new, it is in progress from here on.
    pub fn begin(&mut self, key: CallKey<P>, now: Instant) -> Seen<'_, P> {
        self.forget_before(now);
        if !self.calls.contains_key(&key) {
            return self.begin_new(key);
        }
        match self.calls.get(&key) {
            Some(State::Done { results, .. }) => Seen::Done(results),
            _ => Seen::InProgress,
        }
    }

    /// The call was served at the time `now`, with these results. Results larger than the cache
    /// are not remembered.
    pub fn finish(&mut self, ticket: Ticket<P>, results: &[u8], now: Instant) {
        if !self.is_current(&ticket) {
            return;
        }
        if results.len() > self.limits.bytes {
            self.calls.remove(&ticket.key);
            return;
        }
        while self.bytes + results.len() > self.limits.bytes && self.forget_oldest() {}
        self.bytes += results.len();
        self.calls.insert(ticket.key.clone(), State::Done { results: results.into(), at: now });
        self.done.push_back(ticket.key);
    }

    /// The call needs not be remembered: it was refused, say, or the server is to be asked again.
    pub fn abandon(&mut self, ticket: Ticket<P>) {
        if self.is_current(&ticket) {
            self.calls.remove(&ticket.key);
        }
    }

    /// Forgets everything, calls in progress too: their tickets mean nothing any more.
    pub fn clear(&mut self) {
        self.calls = HashMap::new();
        self.done = VecDeque::new();
        self.bytes = 0;
    }

    /// Number of calls, done or in progress.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether it knows no call.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Bytes of results.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn begin_new(&mut self, key: CallKey<P>) -> Seen<'_, P> {
        while self.calls.len() >= self.limits.entries {
            if !self.forget_oldest() {
                return Seen::Full;
            }
        }
        self.last_ticket += 1;
        let ticket = Ticket { key: key.clone(), number: self.last_ticket };
        self.calls.insert(key, State::InProgress { ticket: ticket.number });
        Seen::New(ticket)
    }

    fn is_current(&self, ticket: &Ticket<P>) -> bool {
        matches!(
            self.calls.get(&ticket.key),
            Some(State::InProgress { ticket: number }) if *number == ticket.number
        )
    }

    /// Forgets what was done too long before `now`.
    fn forget_before(&mut self, now: Instant) {
        while let Some(oldest) = self.done.front()
            && let Some(State::Done { at, .. }) = self.calls.get(oldest)
            && now.saturating_duration_since(*at) >= self.limits.age
        {
            self.forget_oldest();
        }
    }

    /// Whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.done.pop_front() else {
            return false;
        };
        if let Some(State::Done { results, .. }) = self.calls.remove(&oldest) {
            self.bytes -= results.len();
        }
        true
    }
}

impl<P> fmt::Debug for DuplicateCache<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicateCache")
            .field("calls", &self.calls.len())
            .field("done", &self.done.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes of a call that the checksum covers, from its beginning: header, credential, and all of
/// the arguments of a call that changes names.
const SUMMED: usize = 4096;
