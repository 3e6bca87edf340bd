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

use crate::Credential;
use crate::message::Call;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Range;
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
///
/// When it is full, results are forgotten of a peer that has more calls in it than any other, or at
/// least half as many: the oldest of that peer. So a peer that makes few calls finds them for as long as
/// they are remembered, however many others make. It has no memory before the first call.
pub struct DuplicateCache<P> {
    limits: Limits,
    calls: HashMap<CallKey<P>, State>,
    /// Of each peer that has any.
    shares: HashMap<P, Share<P>>,
    /// The peers by the magnitude of what they have.
    ranks: BTreeSet<(u32, P)>,
    /// Bytes of all results.
    bytes: usize,
    /// When the results of all peers are looked through for what is too old.
    next_sweep: Option<Instant>,
    last_ticket: u64,
    checksum: RandomState,
}

/// What a cache has of one peer.
struct Share<P> {
    /// Calls, done or in progress; at least one.
    calls: usize,
    /// Those that are done, the oldest first.
    done: VecDeque<CallKey<P>>,
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
    /// 16,384 calls, 4 MiB of results, 2 minutes.
    fn default() -> Self {
        Self { entries: 16 << 10, bytes: 4 << 20, age: Duration::from_secs(120) }
    }
}

/// What makes two calls the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey<P> {
    peer: P,
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    len: usize,
    checksum: u64,
}

/// The checksum covers nearly all the rest, and nobody can choose it.
impl<P> Hash for CallKey<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.checksum);
    }
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

impl<P: Clone + Ord + Hash> DuplicateCache<P> {
    /// An empty cache; allocates nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: HashMap::new(),
            shares: HashMap::new(),
            ranks: BTreeSet::new(),
            bytes: 0,
            next_sweep: None,
            last_ticket: 0,
            checksum: RandomState::new(),
        }
    }

    /// The key of a call. It is meant for this cache: the checksum is keyed, so that nobody can
    /// make two calls collide on purpose. The stamp of AUTH_SYS is left out: clients that put the time
    /// there put another one into a retransmission.
    pub fn key(&self, peer: P, call: &Call<'_>) -> CallKey<P> {
        let Call { xid, program, version, procedure, message, .. } = *call;
        let summed = message.get(..SUMMED).unwrap_or(message);
        let stamp = if matches!(call.credential, Credential::Sys(_)) { STAMP } else { NOWHERE };
        let before = summed.get(..stamp.start).unwrap_or(summed);
        let after = summed.get(stamp.end..).unwrap_or_default();
        let checksum = self.checksum.hash_one((&peer, before, after));
        CallKey { peer, xid, program, version, procedure, len: message.len(), checksum }
    }

    /// What is known of a call at the time `now`; if it is new, it is in progress from here on.
    pub fn begin(&mut self, key: CallKey<P>, now: Instant) -> Seen<'_, P> {
        self.forget_before(&key.peer, now);
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
            return self.remove(&ticket.key);
        }
        while self.bytes + results.len() > self.limits.bytes && self.forget_one() {}
        self.bytes += results.len();
        self.calls.insert(ticket.key.clone(), State::Done { results: results.into(), at: now });
        if let Some(share) = self.shares.get_mut(&ticket.key.peer) {
            share.done.push_back(ticket.key);
        }
    }

    /// The call needs not be remembered: it was refused, say, or the server is to be asked again.
    pub fn abandon(&mut self, ticket: Ticket<P>) {
        if self.is_current(&ticket) {
            self.remove(&ticket.key);
        }
    }

    /// Forgets everything, calls in progress too: their tickets mean nothing any more.
    pub fn clear(&mut self) {
        self.calls = HashMap::new();
        self.shares = HashMap::new();
        self.ranks = BTreeSet::new();
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
            if !self.forget_one() {
                return Seen::Full;
            }
        }
        self.last_ticket += 1;
        let ticket = Ticket { key: key.clone(), number: self.last_ticket };
        let share = self.shares.entry(key.peer.clone()).or_insert_with(Share::none);
        share.count(&key.peer, share.calls + 1, &mut self.ranks);
        self.calls.insert(key, State::InProgress { ticket: ticket.number });
        Seen::New(ticket)
    }

    fn is_current(&self, ticket: &Ticket<P>) -> bool {
        matches!(
            self.calls.get(&ticket.key),
            Some(State::InProgress { ticket: number }) if *number == ticket.number
        )
    }

    /// Forgets what was done for that peer too long before `now`, and now and then what was for others.
    fn forget_before(&mut self, peer: &P, now: Instant) {
        self.forget_of_before(peer, now);
        if self.next_sweep.is_none_or(|due| due <= now) {
            self.next_sweep = now.checked_add(self.limits.age);
            let peers: Vec<P> = self.shares.keys().cloned().collect();
            for peer in peers {
                self.forget_of_before(&peer, now);
            }
            if self.calls.len() < self.calls.capacity() / 4 {
                self.calls.shrink_to_fit();
            }
        }
    }

    fn forget_of_before(&mut self, peer: &P, now: Instant) {
        while let Some(oldest) = self.shares.get(peer).and_then(|share| share.done.front())
            && let Some(State::Done { at, .. }) = self.calls.get(oldest)
            && now.saturating_duration_since(*at) >= self.limits.age
        {
            self.forget_oldest_of(peer);
        }
    }

    /// Forgets the oldest results of a peer that has much; whether there was one.
    fn forget_one(&mut self) -> bool {
        let mut most_first = self.ranks.iter().rev().map(|(_, peer)| peer);
        let has_done =
            |peer: &&P| self.shares.get(peer).is_some_and(|share| !share.done.is_empty());
        let Some(most) = most_first.find(has_done).cloned() else { return false };
        self.forget_oldest_of(&most);
        true
    }

    fn forget_oldest_of(&mut self, peer: &P) {
        let Some(share) = self.shares.get_mut(peer) else { return };
        let Some(oldest) = share.done.pop_front() else { return };
        if let Some(State::Done { results, .. }) = self.calls.remove(&oldest) {
            self.bytes -= results.len();
        }
        let fewer = share.calls.saturating_sub(1);
        if share.count(peer, fewer, &mut self.ranks) {
            self.shares.remove(peer);
        }
    }

    /// Forgets a call in progress.
    fn remove(&mut self, key: &CallKey<P>) {
        self.calls.remove(key);
        let Some(share) = self.shares.get_mut(&key.peer) else { return };
        let fewer = share.calls.saturating_sub(1);
        if share.count(&key.peer, fewer, &mut self.ranks) {
            self.shares.remove(&key.peer);
        }
    }
}

impl<P: Clone + Ord> Share<P> {
    const fn none() -> Self {
        Self { calls: 0, done: VecDeque::new() }
    }

    /// It has so many calls now; whether that is none.
    fn count(&mut self, peer: &P, calls: usize, ranks: &mut BTreeSet<(u32, P)>) -> bool {
        let [before, after] = [self.calls, calls].map(usize::checked_ilog2);
        self.calls = calls;
        if before != after {
            if let Some(rank) = before {
                ranks.remove(&(rank, peer.clone()));
            }
            if let Some(rank) = after {
                ranks.insert((rank, peer.clone()));
            }
        }
        calls == 0
    }
}

impl<P> fmt::Debug for DuplicateCache<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplicateCache")
            .field("calls", &self.calls.len())
            .field("peers", &self.shares.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes of a call that the checksum covers, from its beginning: header, credential, and all of
/// the arguments of a call that changes names.
const SUMMED: usize = 4096;
/// Where AUTH_SYS has its stamp: behind six words of the call, the flavor and the length.
const STAMP: Range<usize> = 32..36;
const NOWHERE: Range<usize> = 0..0;
