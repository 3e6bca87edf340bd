//! All TCP connections of a link.
//!
//! Each has a socket of smoltcp in a set of its own, so that a segment costs the same however many
//! there are. The interface that smoltcp wants has no state that matters: addresses, neighbours and
//! routes are the link's. It is made anew for each connection, because the only thing that it
//! contributes is the seed of the initial sequence number.
//!
//! smoltcp has no backlog: a socket is made when a SYN comes for a port that somebody listens at. Until
//! the handshake is done, a connection is *half-open*. There are so many of those and no more: one more
//! takes the place of the oldest. So a flood of forged SYNs costs bounded memory, and an honest peer
//! gets through if he answers before as many more have come; on a link that takes him well under a
//! millisecond. Nobody is told of connections that have not been made.

use super::Limits;
use super::connection::{Connection, ConnectionId, Ends, Stage};
use super::counters::{Dropped, Reason};
use super::kept::Kept;
use super::packet::{Outgoing, Packet, TCP, pseudo_sum, sum};
use super::segment::Segment;
use super::{Acceptor, Wake};
use crate::ether;
use crate::frame::Frame;
use crate::offload::Unfinished;
use crate::spare;
use bytes::Bytes;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

pub(super) struct Tcp {
    interface: Interface,
    capabilities: DeviceCapabilities,
    mtu: usize,
    finishing: Finishing,
    limits: Limits,
    seeds: RandomState,
    listeners: HashMap<(Option<IpAddr>, u16), Acceptor>,
    connections: HashMap<ConnectionId, Connection>,
    by_ends: HashMap<Ends, ConnectionId>,
    newest: u64,
    half_open: BTreeSet<ConnectionId>,
    left: BTreeSet<ConnectionId>,
    timers: BTreeSet<(Duration, ConnectionId)>,
    touched: VecDeque<ConnectionId>,
    /// When to look at the memory of the connections.
    look: Option<Duration>,
    /// What is to be sent, and how many bytes connections have put there.
    packets: Vec<Outgoing>,
    bytes: usize,
    /// Who is to be told something.
    pub(super) wakes: Vec<Wake>,
    /// The connections that were made, and for whom.
    pub(super) accepted: Vec<(Acceptor, ConnectionId, Ends)>,
    pub(super) ended: Ended,
    pub(super) dropped: Dropped,
}

/// Those who are told nothing any more. What they own may be of the same stack, so they are dropped when nobody
/// holds a lock.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) wakes: Vec<Wake>,
    acceptors: Vec<Acceptor>,
}

impl Tcp {
    /// With packets of at most `mtu` bytes. Without `checksums` none are made and none are looked at.
    pub(super) fn new(mtu: usize, checksums: bool, limits: Limits) -> Self {
        let capabilities = capabilities(mtu, false);
        let finishing = if checksums { Finishing::Checksum } else { Finishing::Nothing };
        Self {
            interface: interface(&capabilities, 0),
            capabilities,
            mtu,
            finishing,
            limits,
            seeds: RandomState::new(),
            listeners: HashMap::new(),
            connections: HashMap::new(),
            by_ends: HashMap::new(),
            newest: 0,
            half_open: BTreeSet::new(),
            left: BTreeSet::new(),
            timers: BTreeSet::new(),
            touched: VecDeque::new(),
            look: None,
            packets: Vec::new(),
            bytes: 0,
            wakes: Vec::new(),
            accepted: Vec::new(),
            ended: Ended::default(),
            dropped: Dropped::default(),
        }
    }

    /// For connections from now on.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
        if let Finishing::Others { mtu: told, .. } = &mut self.finishing {
            *told = mtu;
        }
        self.set_capabilities();
    }

    /// Whether checksums, and the cutting of segments that are longer than a packet, may be left to others.
    pub(super) fn set_offloads(&mut self, offloads: bool) {
        let finishing = match (self.finishing, offloads) {
            (Finishing::Nothing, _) => Finishing::Nothing,
            (_, true) => Finishing::Others { mtu: self.mtu, peer_size: PEER_SIZE_MIN },
            (_, false) => Finishing::Checksum,
        };
        if self.finishing != finishing {
            self.finishing = finishing;
            self.set_capabilities();
        }
    }

    fn set_capabilities(&mut self) {
        let offloads = matches!(self.finishing, Finishing::Others { .. });
        self.capabilities = capabilities(self.mtu, offloads);
        self.interface = interface(&self.capabilities, self.seed());
    }

    /// Takes connections to that port, at one address or all.
    pub(super) fn listen(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        acceptor: Acceptor,
    ) -> io::Result<()> {
        if port == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        if self.listeners.contains_key(&(address, port)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        self.listeners.insert((address, port), acceptor);
        Ok(())
    }

    /// Takes no more of them. Those that are being made are reset.
    pub(super) fn unlisten(&mut self, now: Duration, address: Option<IpAddr>, port: u16) {
        self.ended.acceptors.extend(self.listeners.remove(&(address, port)));
        for id in self.half_open.clone() {
            let ends = self.connections.get(&id).map(|connection| connection.ends);
            if ends.is_some_and(|ends| self.listener(ends.local).is_none()) {
                self.reset(now, id);
            }
        }
    }

    /// Makes a connection from that address of ours. It is there when it can be sent on.
    pub(super) fn connect(
        &mut self,
        local: IpAddr,
        peer: SocketAddr,
    ) -> io::Result<(ConnectionId, Ends)> {
        let first = self.seed();
        let ends = (0..PORTS).map(|n| {
            let port = FIRST_PORT + ((first.wrapping_add(n.into())) % u64::from(PORTS)) as u16;
            Ends { local: SocketAddr::new(local, port), peer }
        });
        let free = ends.into_iter().find(|ends| !self.by_ends.contains_key(ends));
        let ends = free.ok_or(ErrorKind::AddrInUse)?;
        let id = self.begin(ends, Stage::Owned)?;
        self.touch(id);
        Ok((id, ends))
    }

    /// Takes a packet in, whose checksum was looked at or is not to be. What it brings about is done by
    /// [`settle`](Self::settle).
    pub(super) fn take(&mut self, now: Duration, packet: &Packet<'_>, checked: bool) {
        let Some(segment) = Segment::parse(packet.payload) else {
            return self.dropped.count(Reason::Malformed);
        };
        if !checked && sum(packet.source, packet.destination, TCP, packet.payload) != !0 {
            return self.dropped.count(Reason::Checksum);
        }
        let ends = Ends {
            local: SocketAddr::new(packet.destination, segment.destination),
            peer: SocketAddr::new(packet.source, segment.source),
        };
        let mut known = self.by_ends.get(&ends).copied();
        if segment.opens()
            && let Some(id) = known
            && self.is_over(id)
        {
            // The peer uses its port again before the end of the wait (RFC 9293, section 3.6.1).
            self.remove(id);
            known = None;
        }
        match known {
            Some(id) => self.deliver(now, id, &segment, packet),
            None if segment.opens() => self.open(now, ends, &segment, packet),
            None => self.refuse(now, packet),
        }
    }

    /// What is to be sent.
    pub(super) fn take_packets(&mut self) -> Vec<Outgoing> {
        self.bytes = 0;
        std::mem::take(&mut self.packets)
    }

    /// Sends and tells what has come of all that was done, and of the time. When that has made `room`
    /// packets or a few more, or many bytes, the rest is left for the next time.
    pub(super) fn settle(&mut self, now: Duration, room: usize) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.timer = None;
            }
            self.touch(id);
        }
        while self.packets.len() < room
            && self.bytes < BYTES_MAX
            && let Some(id) = self.touched.pop_front()
        {
            self.settle_one(now, id, room);
        }
        if self.look.is_some_and(|look| look <= now) {
            let again = self.connections.values_mut().fold(false, |again, connection| {
                // All of them are looked at.
                connection.settle_memory() | again
            });
            self.look = again.then_some(now + LOOK_EVERY);
        }
    }

    /// Whether there is something left to [`settle`](Self::settle).
    pub(super) fn is_unsettled(&self) -> bool {
        !self.touched.is_empty()
    }

    /// When to [`settle`](Self::settle) at the latest.
    pub(super) fn due_at(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|&(at, _)| at);
        [timer, self.look].into_iter().flatten().min()
    }

    /// Has something done with a connection that somebody owns.
    pub(super) fn with<R>(
        &mut self,
        now: Duration,
        id: ConnectionId,
        f: impl FnOnce(&mut Connection) -> R,
    ) -> Option<R> {
        let outcome = self.connections.get_mut(&id).map(f);
        if outcome.is_some() {
            self.touch(id);
            self.look.get_or_insert(now + LOOK_EVERY);
        }
        outcome
    }

    /// The owner of a connection leaves.
    pub(super) fn leave(&mut self, now: Duration, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.ended.wakes.extend(connection.wake.take());
        if connection.has_unread() {
            // What the peer has sent is not going to be read (RFC 9293, section 3.6.1).
            connection.abort();
        } else {
            connection.end();
        }
        connection.stage = Stage::Left { until: now + self.limits.left_for };
        self.left.insert(id);
        self.touch(id);
        if self.left.len() > self.limits.left
            && let Some(oldest) = self.left.pop_first()
        {
            self.reset(now, oldest);
        }
    }

    /// Resets all connections at that local address, or all.
    pub(super) fn reset_all(&mut self, now: Duration, local: Option<IpAddr>) {
        let at = |ends: &Ends| local.is_none_or(|local| ends.local.ip() == local);
        let ids: Vec<_> =
            self.by_ends.iter().filter(|(ends, _)| at(ends)).map(|(_, &id)| id).collect();
        for id in ids {
            self.reset(now, id);
        }
    }

    /// Resets all connections and takes no more.
    pub(super) fn close(&mut self, now: Duration) {
        self.ended.acceptors.extend(self.listeners.drain().map(|(_, acceptor)| acceptor));
        let ids: Vec<_> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.reset(now, id));
    }

    /// How many connections there are, those included that are being made or have been left.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many of them are being made.
    pub(super) fn half_open(&self) -> usize {
        self.half_open.len()
    }

    fn listener(&self, local: SocketAddr) -> Option<&Acceptor> {
        let exactly = self.listeners.get(&(Some(local.ip()), local.port()));
        exactly.or_else(|| self.listeners.get(&(None, local.port())))
    }

    /// Begins a connection, if somebody wants it and there is room.
    fn open(&mut self, now: Duration, ends: Ends, segment: &Segment, packet: &Packet<'_>) {
        if self.listener(ends.local).is_none() {
            return self.refuse(now, packet);
        }
        if self.half_open.len() >= self.limits.half_open
            && let Some(&oldest) = self.half_open.first()
        {
            self.dropped.count(Reason::HalfOpen);
            self.remove(oldest);
        }
        if self.connections.len() >= self.limits.connections
            && let Some(&oldest) = self.left.first()
        {
            self.remove(oldest);
        }
        let stage = Stage::HalfOpen { until: now + self.limits.half_open_for };
        let Ok(id) = self.begin(ends, stage) else {
            // The peer tries again.
            return self.dropped.count(Reason::NoRoom);
        };
        self.half_open.insert(id);
        self.deliver(now, id, segment, packet);
    }

    fn begin(&mut self, ends: Ends, stage: Stage) -> io::Result<ConnectionId> {
        if self.connections.len() >= self.limits.connections {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        self.newest += 1;
        let id = ConnectionId(self.newest);
        self.interface = interface(&self.capabilities, self.seed());
        let connects = (stage == Stage::Owned).then(|| self.interface.context());
        let room = share(self.connections.len(), &self.limits);
        let connection = Connection::new(ends, stage, room, &self.limits, connects)?;
        self.connections.insert(id, connection);
        self.by_ends.insert(ends, id);
        Ok(id)
    }

    fn deliver(&mut self, now: Duration, id: ConnectionId, segment: &Segment, packet: &Packet<'_>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = connection.unacknowledged();
        let renewed = connection.overtaken(segment).map(|newest| {
            let mut renewed = packet.whole.to_vec();
            let header = renewed.len() - packet.payload.len();
            Segment::acknowledge(renewed.get_mut(header..).unwrap_or_default(), newest);
            renewed
        });
        let finishing = self.finishing.of(connection.peer_size);
        let (buffered, kept) = connection.sending();
        let mut wires = Wires {
            incoming: Some(renewed.as_deref().unwrap_or(packet.whole)),
            outgoing: &mut self.packets,
            capabilities: &self.capabilities,
            finishing,
            kept,
        };
        buffered.sockets(|sockets| {
            self.interface.poll_ingress_single(instant(now), &mut wires, sockets);
        });
        if let Some((_, size @ 1..)) = Segment::size_option(packet.payload) {
            connection.peer_size = size.max(PEER_SIZE_MIN);
        }
        if connection.note(now, segment, before) {
            self.acknowledge_again(now, id);
        }
        self.touch(id);
        self.look.get_or_insert(now + LOOK_EVERY);
    }

    /// Has a connection send again what is not acknowledged.
    fn acknowledge_again(&mut self, now: Duration, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(packets) = connection.acknowledgements() else { return };
        let finishing = self.finishing.of(connection.peer_size);
        let (buffered, kept) = connection.sending();
        for packet in &packets {
            let mut wires = Wires {
                incoming: packet.get(ether::HEADER..),
                outgoing: &mut self.packets,
                capabilities: &self.capabilities,
                finishing,
                kept,
            };
            buffered.sockets(|sockets| {
                self.interface.poll_ingress_single(instant(now), &mut wires, sockets);
            });
        }
    }

    /// Says that nobody is there, as far as that is answered at all.
    fn refuse(&mut self, now: Duration, packet: &Packet<'_>) {
        let mut wires = Wires {
            incoming: Some(packet.whole),
            outgoing: &mut self.packets,
            capabilities: &self.capabilities,
            finishing: self.finishing.of(PEER_SIZE_MIN),
            kept: &mut Kept::default(),
        };
        let mut nobody = SocketSet::new(Vec::new());
        self.interface.poll_ingress_single(instant(now), &mut wires, &mut nobody);
    }

    fn touch(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.touched
        {
            connection.touched = true;
            self.touched.push_back(id);
        }
    }

    fn settle_one(&mut self, now: Duration, id: ConnectionId, room: usize) {
        if self.connections.get_mut(&id).is_some_and(|connection| connection.probe(now)) {
            self.acknowledge_again(now, id);
        }
        let all_sent = self.send(now, id, room);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.touched = false;
        let state = connection.state();
        let until = match connection.stage {
            Stage::HalfOpen { .. } if matches!(state, State::Listen | State::Closed) => {
                return self.remove(id);
            }
            Stage::HalfOpen { until } if state == State::SynReceived => {
                if until <= now {
                    self.dropped.count(Reason::HalfOpen);
                    return self.remove(id);
                }
                Some(until)
            }
            Stage::HalfOpen { .. } => {
                connection.stage = Stage::Owned;
                let ends = connection.ends;
                self.half_open.remove(&id);
                match self.listener(ends.local).cloned() {
                    Some(acceptor) => self.accepted.push((acceptor, id, ends)),
                    None => return self.reset(now, id),
                }
                None
            }
            Stage::Owned => None,
            Stage::Left { .. } if state == State::Closed => return self.remove(id),
            Stage::Left { until } => {
                if until <= now || connection.has_unread() {
                    return self.reset(now, id);
                }
                Some(until)
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.has_news() {
            // The last that there is to tell; who is told may hold the connection.
            let last = state == State::Closed;
            let wake = if last { connection.wake.take() } else { connection.wake.clone() };
            self.wakes.extend(wake);
        }
        if state == State::Closed && self.by_ends.get(&connection.ends) == Some(&id) {
            self.by_ends.remove(&connection.ends);
        }
        if !all_sent {
            self.touch(id);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let due = connection.buffered().sockets(|s| self.interface.poll_at(instant(now), s));
        let due = due.map(|at| {
            let at = Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
            // What it had to do at once is done, or it could not.
            at.max(now + SOONEST)
        });
        let timer = [due, until, connection.probe_at()].into_iter().flatten().min();
        if timer != connection.timer {
            if let Some(before) = connection.timer {
                self.timers.remove(&(before, id));
            }
            connection.timer = timer;
            self.timers.extend(timer.map(|at| (at, id)));
        }
    }

    /// Has a connection send what it has to, while there is room. Whether that was all.
    fn send(&mut self, now: Duration, id: ConnectionId, room: usize) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        let room = room.saturating_sub(self.packets.len()).clamp(1, SEGMENTS_MAX);
        let mut bytes = self.bytes;
        let finishing = self.finishing.of(connection.peer_size);
        let (buffered, kept) = connection.sending();
        let mut wires = Wires {
            incoming: None,
            outgoing: &mut self.packets,
            capabilities: &self.capabilities,
            finishing,
            kept,
        };
        let all_sent = buffered.sockets(|sockets| {
            for _ in 0..room {
                let sent = self.interface.poll_egress(instant(now), &mut wires, sockets);
                if sent == PollResult::None {
                    return true;
                }
                bytes += wires.outgoing.last().map_or(0, |packet| packet.len());
                if bytes >= BYTES_MAX {
                    return false;
                }
            }
            false
        });
        self.bytes = bytes;
        connection.note_sent(now);
        all_sent
    }

    /// Resets a connection. If somebody owns it, he is told.
    fn reset(&mut self, now: Duration, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.abort();
        let owned = connection.stage == Stage::Owned;
        self.send(now, id, 1);
        if owned {
            self.touch(id);
        } else {
            self.remove(id);
        }
    }

    /// Forgets a connection, without a word.
    fn remove(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.ended.wakes.extend(connection.wake.take());
        if self.by_ends.get(&connection.ends) == Some(&id) {
            self.by_ends.remove(&connection.ends);
        }
        if let Some(at) = connection.timer {
            self.timers.remove(&(at, id));
        }
        self.half_open.remove(&id);
        self.left.remove(&id);
    }

    /// Whether both sides have ended it and only the wait for stray segments is left.
    fn is_over(&mut self, id: ConnectionId) -> bool {
        self.connections.get_mut(&id).is_some_and(|connection| {
            matches!(connection.stage, Stage::Left { .. }) && connection.state() == State::TimeWait
        })
    }

    fn seed(&self) -> u64 {
        self.seeds.hash_one(self.newest)
    }
}

/// How many bytes the next connection can send: the fewer, the more there are.
fn share(connections: usize, limits: &Limits) -> usize {
    (limits.memory / (2 * (connections + 1))).clamp(limits.room_min, limits.room_max)
}

/// An interface that takes packets to any address.
fn interface(capabilities: &DeviceCapabilities, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut outgoing = Vec::new();
    let mut wires = Wires {
        incoming: None,
        outgoing: &mut outgoing,
        capabilities,
        finishing: Finishing::Nothing,
        kept: &mut Kept::default(),
    };
    let mut interface = Interface::new(config, &mut wires, Instant::ZERO);
    interface.set_any_ip(true);
    interface
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// What smoltcp takes for a device: one packet, and where to put others.
struct Wires<'w> {
    incoming: Option<&'w [u8]>,
    outgoing: &'w mut Vec<Outgoing>,
    capabilities: &'w DeviceCapabilities,
    finishing: Finishing,
    kept: &'w mut Kept,
}

impl Device for Wires<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Space<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Space<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), self.space()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Space<'_>> {
        Some(self.space())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

impl Wires<'_> {
    fn space(&mut self) -> Space<'_> {
        Space { outgoing: self.outgoing, finishing: self.finishing, kept: self.kept }
    }
}

struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Space<'a> {
    outgoing: &'a mut Vec<Outgoing>,
    finishing: Finishing,
    kept: &'a mut Kept,
}

impl TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let length = ether::HEADER + length;
        let mut memory = zeros(length);
        let (packet, _) = memory.split_at_mut(length);
        let outcome = f(packet.split_at_mut(ether::HEADER).1);
        let Some((rest, behind)) = finish(packet, self.finishing, self.kept) else {
            // smoltcp makes no other packets.
            return outcome;
        };
        let frame = match behind {
            Some((first, others)) => {
                let front = memory.get(..first).unwrap_or_default().to_vec();
                spare::give(memory);
                Frame::of_parts(front, others, rest)
            }
            None => Frame::front(memory, length, rest),
        };
        self.outgoing.push(frame);
        outcome
    }
}

/// Room for a packet of that length, or more. Where headers are, it is zeros; the data behind them covers the
/// rest.
fn zeros(length: usize) -> Vec<u8> {
    if !(spare::LARGE..=spare::ROOM).contains(&length) {
        return vec![0; length];
    }
    let mut space = spare::take();
    space.iter_mut().take(HEADERS_MAX).for_each(|byte| *byte = 0);
    space
}

/// Who makes the checksum of a packet, and cuts it if it is too long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finishing {
    /// Nobody: it comes back.
    Nothing,
    /// The checksum is made here, and it is not too long.
    Checksum,
    /// Whoever it is sent by.
    Others {
        mtu: usize,
        /// Bytes of the longest segment that the peer takes.
        peer_size: u16,
    },
}

impl Finishing {
    /// The same, for a peer that takes segments of so many bytes.
    fn of(self, size: u16) -> Self {
        match self {
            Self::Others { mtu, .. } => Self::Others { mtu, peer_size: size },
            other => other,
        }
    }
}

/// What is left to be done of a packet, and what it has behind so many bytes, if that is not what is there.
type Finished = (Option<Unfinished>, Option<(usize, Vec<Bytes>)>);

/// Finishes a packet of TCP: smoltcp has made no checksum, and it does not know how long a packet may be in the
/// end, nor what is kept for it. `None`: it is none.
fn finish(packet: &mut [u8], finishing: Finishing, kept: &mut Kept) -> Option<Finished> {
    let network = packet.get(ether::HEADER..)?;
    let is_ipv4 = network.first()? >> 4 == 4;
    let header = if is_ipv4 { IPV4_HEADER } else { IPV6_HEADER };
    let parse = if is_ipv4 { Packet::parse_v4 } else { Packet::parse_v6 };
    let (source, destination) = parse(network).map(|ip| (ip.source, ip.destination)).ok()?;
    let start = ether::HEADER + header;
    let transport = packet.get_mut(start..)?;
    let segment = Segment::parse(transport)?;
    if segment.is_syn() {
        kept.begin(segment.sequence);
    } else {
        kept.made(segment.sequence, segment.length);
    }
    let headers = transport.len().checked_sub(segment.length as usize)?;
    let pseudo = pseudo_sum(source, destination, TCP, transport.len());
    transport.get_mut(16..18)?.copy_from_slice(&pseudo.to_be_bytes());
    if let Finishing::Others { mtu, peer_size } = finishing {
        let size_max = mtu.saturating_sub(header + TCP_HEADER);
        if let Some((at, _)) = Segment::size_option(transport) {
            let size = u16::try_from(size_max).unwrap_or(u16::MAX);
            transport.get_mut(at..at + 2)?.copy_from_slice(&size.to_be_bytes());
        }
        let size =
            size_max.min(peer_size.into()).saturating_sub(headers.saturating_sub(TCP_HEADER));
        let size = u16::try_from(size).ok().filter(|size| segment.length > u32::from(*size));
        let rest = Unfinished::segment(u16::try_from(start).ok()?, is_ipv4, size);
        if let Some((front, parts)) = kept.behind(segment.sequence, transport.get(headers..)?) {
            return Some((Some(rest), Some((start + headers + front, parts))));
        }
        kept.fill(segment.sequence, transport.get_mut(headers..)?);
        return Some((Some(rest), None));
    }
    kept.fill(segment.sequence, transport.get_mut(headers..)?);
    if let Finishing::Checksum = finishing {
        Unfinished::segment(u16::try_from(start).ok()?, is_ipv4, None).put_checksum(packet)?;
    }
    Some((None, None))
}

/// What smoltcp is told of the link. It makes no checksum of TCP, and looks at none. Where others cut segments,
/// they are as many packets long as fit into the longest.
fn capabilities(mtu: usize, offloads: bool) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = ChecksumCapabilities::ignored();
    capabilities.checksum.ipv4 = Checksum::Tx;
    if offloads && 2 * mtu <= ether::MTU_MAX {
        // For IPv6, smoltcp refuses what is longer than this, whoever cuts it.
        capabilities.max_transmission_unit = ether::MTU_MAX;
        let longest = |headers: usize| {
            let size = mtu.saturating_sub(headers).max(1);
            NonZeroUsize::new(headers + (ether::MTU_MAX - headers) / size * size)
        };
        capabilities.segmentation.tcpv4 = longest(IPV4_HEADER + TCP_HEADER);
        capabilities.segmentation.tcpv6 = longest(IPV6_HEADER + TCP_HEADER);
    }
    capabilities
}

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
/// Bytes of all headers of a packet at most.
const HEADERS_MAX: usize = ether::HEADER + IPV6_HEADER + 60;
/// What smoltcp takes for the least that a peer can mean.
const PEER_SIZE_MIN: u16 = 48;

/// Ports for connections that begin here (RFC 6335, section 6).
const FIRST_PORT: u16 = 49_152;
const PORTS: u16 = 16_384;
/// How often the memory of connections is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A connection is not looked at again before that, except for a reason.
const SOONEST: Duration = Duration::from_millis(1);
/// Bytes that are made before they are sent: so they are still in the cache when the wire takes them.
const BYTES_MAX: usize = 256 << 10;
/// Segments that a connection sends before others have their turn.
const SEGMENTS_MAX: usize = 256;
