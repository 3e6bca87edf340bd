//! One TCP connection of a link.

use super::buffers::Buffered;
use super::kept::{Kept, Spares};
use super::packet::{Outgoing, TCP, build};
use super::recovery::{REPEATED, Recovery};
use super::segment::{Segment, is_later};
use super::{Limits, Wake};
use bytes::Bytes;
use smoltcp::iface::Context;
use smoltcp::socket::tcp::{CongestionControl, RecvError, SendError, State};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where a connection begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// Which connection. No number is used twice, and newer ones have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// In whose hands a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being made; if it isn't by then, it is forgotten.
    HalfOpen { until: Duration },
    /// Somebody has a [`Stream`](super::Stream).
    Owned,
    /// Its owner has left. What he had sent is still delivered, until then.
    Left { until: Duration },
}

pub(super) struct Connection {
    buffered: Buffered,
    kept: Kept,
    spares: Arc<Spares>,
    /// None before a SYN was sent.
    recovery: Option<Recovery>,
    pub(super) ends: Ends,
    pub(super) stage: Stage,
    pub(super) wake: Option<Wake>,
    /// When it is to be looked at again, as it is listed.
    pub(super) timer: Option<Duration>,
    /// It is on the list of those that something was done with.
    pub(super) touched: bool,
    /// What its owner knows.
    seen: Seen,
    /// Its owner waits until there is room for so many bytes, if not for none.
    wants_room: usize,
    /// Fewer bytes than that are no news for its owner.
    wanted: usize,
    /// Its owner said that he takes no more.
    ended: bool,
    /// The sequence number of the next byte that its owner takes, and the one behind the furthest that
    /// has come. What is in between has not all come, if it is more than there is to take.
    next: Option<u32>,
    furthest: u32,
    /// The newest that the peer has acknowledged, and how much it would take from there on.
    acknowledged: Option<(u32, u16)>,
    /// Bytes of the longest segment that the peer takes.
    pub(super) peer_size: u16,
    /// Bytes received and sent since the last look at its memory, and since some was given back.
    moved: u64,
    used: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    queued: usize,
}

impl Connection {
    /// One that takes a SYN, or with an interface makes one, with so many bytes of room to send, and to receive
    /// as [`Limits::room_max`] says.
    pub(super) fn new(
        ends: Ends,
        stage: Stage,
        room: usize,
        limits: &Limits,
        connects: Option<&mut Context>,
    ) -> io::Result<Self> {
        let mut buffered = Buffered::new((room / 4).max(limits.room_min), room)?;
        let local = (ends.local.ip(), ends.local.port());
        let begun = buffered.socket(|socket| {
            // A reply is not held back until the one before was acknowledged.
            socket.set_nagle_enabled(false);
            socket.set_congestion_control(CongestionControl::Reno);
            socket.set_keep_alive(Some(limits.keep_alive.into()));
            socket.set_timeout(Some(limits.silence.into()));
            match connects {
                None => socket.listen(local).is_ok(),
                Some(interface) => {
                    socket.connect(interface, (ends.peer.ip(), ends.peer.port()), local).is_ok()
                }
            }
        });
        if !begun {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let state = buffered.socket(|socket| socket.state());
        Ok(Self {
            buffered,
            kept: Kept::default(),
            spares: Spares::new(room),
            recovery: None,
            ends,
            stage,
            wake: None,
            timer: None,
            touched: false,
            seen: Seen { state, queued: 0 },
            wants_room: 0,
            wanted: 0,
            ended: false,
            next: None,
            furthest: 0,
            acknowledged: None,
            // Unless it says so (RFC 9293, section 3.7.1).
            peer_size: 536,
            moved: 0,
            used: 0,
        })
    }

    pub(super) fn buffered(&mut self) -> &mut Buffered {
        &mut self.buffered
    }

    /// To send: the socket, and what it does not hold itself.
    pub(super) fn sending(&mut self) -> (&mut Buffered, &mut Kept) {
        (&mut self.buffered, &mut self.kept)
    }

    pub(super) fn state(&mut self) -> State {
        self.buffered.socket(|socket| socket.state())
    }

    /// What the peer has acknowledged since it made this segment, which has been overtaken.
    ///
    /// On a machine with several CPUs that happens. An old acknowledgement says nothing, but what comes with it
    /// counts (RFC 9293, section 3.10.7.4); smoltcp would drop it all, and the peer send it again, much later.
    pub(super) fn overtaken(&mut self, segment: &Segment) -> Option<(u32, u16)> {
        let (newest, window) = self.acknowledged?;
        let (old, _) = segment.acknowledges?;
        let most = self.buffered.socket(|socket| socket.send_capacity());
        let behind = newest.wrapping_sub(old) as usize;
        (segment.length > 0 && (1..=most).contains(&behind)).then_some((newest, window))
    }

    /// A segment was given to the socket, in which so many bytes waited to be acknowledged before. Whether the
    /// newest [acknowledgement](Self::acknowledgements) is to be shown to it again.
    #[must_use]
    pub(super) fn note(&mut self, now: Duration, segment: &Segment, before: usize) -> bool {
        let mut again = false;
        let queued = self.unacknowledged();
        self.kept.release(queued);
        if let Some((number, window)) = segment.acknowledges
            && (queued < before || self.acknowledged.is_some_and(|(newest, _)| newest == number))
        {
            // It was good: nobody else knows how far we are.
            let repeats = segment.length == 0 && segment.acknowledges == self.acknowledged;
            let had_room = self.takes_more();
            if let Some(recovery) = &mut self.recovery {
                again = recovery.acknowledged(now, number, repeats);
                if !had_room && window > 0 {
                    recovery.has_room_again();
                }
            }
            self.acknowledged = segment.acknowledges;
        }
        if self.next.is_none() && !matches!(self.state(), State::Listen | State::SynSent) {
            // This was the SYN that it has taken.
            self.furthest = segment.sequence.wrapping_add(1);
            self.next = Some(self.furthest);
        }
        let end = segment.sequence.wrapping_add(segment.length);
        if segment.length > 0 && is_later(end, self.furthest) {
            self.furthest = end;
        }
        self.moved += u64::from(segment.length);
        again
    }

    /// The socket has made segments.
    pub(super) fn note_sent(&mut self, now: Duration) {
        let Some((first, newest)) = self.kept.numbers() else { return };
        let recovery = self.recovery.get_or_insert_with(|| Recovery::new(first));
        if let Some(end) = self.kept.made_again() {
            recovery.sent_again(end);
        }
        recovery.sent(now, newest);
    }

    /// Whether the newest [acknowledgement](Self::acknowledgements) is to be shown to the socket again, because
    /// none has come for long.
    pub(super) fn probe(&mut self, now: Duration) -> bool {
        let takes_more = self.takes_more();
        self.recovery.as_mut().is_some_and(|recovery| takes_more && recovery.probe(now))
    }

    /// When to [`probe`](Self::probe) it.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.recovery.as_ref().filter(|_| self.takes_more())?.due_at()
    }

    /// Whether the peer would take more: if not, smoltcp asks it for that.
    fn takes_more(&self) -> bool {
        self.acknowledged.is_none_or(|(_, window)| window > 0)
    }

    /// The newest acknowledgement once more, as often as it takes; and before that with another window, so that
    /// those which have come before do not count.
    pub(super) fn acknowledgements(&mut self) -> Option<[Outgoing; 2 + REPEATED as usize]> {
        let (next, (number, window)) = self.next.zip(self.acknowledged)?;
        if window == 0 {
            return None;
        }
        let ended = match self.state() {
            State::Established | State::FinWait1 => 0,
            // Not where both have ended it: there smoltcp counts none.
            State::CloseWait | State::Closing => 1,
            _ => return None,
        };
        let queued = self.buffered.socket(|socket| socket.recv_queue()) as u32;
        let sequence = next.wrapping_add(queued).wrapping_add(ended);
        let Ends { local, peer } = self.ends;
        let packet = |window| {
            build(peer.ip(), local.ip(), TCP, 64, 20, |payload| {
                Segment::make(payload, (peer.port(), local.port()), sequence);
                Segment::acknowledge(payload, (number, window));
            })
        };
        let (other, newest) = (packet(window ^ 1)?, packet(window)?);
        Some(std::array::from_fn(|n| if n == 0 { other.clone() } else { newest.clone() }))
    }

    /// Bytes that were not acknowledged, or not sent.
    pub(super) fn unacknowledged(&mut self) -> usize {
        self.buffered.socket(|socket| socket.send_queue())
    }

    /// Whether what has changed is something that its owner waits for. It is asked once.
    pub(super) fn has_news(&mut self) -> bool {
        let (seen, room, most) = self.buffered.socket(|socket| {
            let seen = Seen { state: socket.state(), queued: socket.recv_queue() };
            (seen, socket.send_capacity() - socket.send_queue(), socket.send_capacity())
        });
        let more = seen.queued > self.seen.queued && seen.queued >= self.wanted;
        let news = seen.state != self.seen.state || more;
        let roomy = self.wants_room > 0 && room >= self.wants_room.max(most / 4);
        self.seen = seen;
        if roomy {
            self.wants_room = 0;
        }
        news || roomy
    }

    /// As [`Stream::want`](super::Stream::want).
    pub(super) fn want(&mut self, bytes: usize) {
        // With half of the buffer free the peer goes on sending, however large its segments are.
        self.wanted = self.buffered.socket(|socket| bytes.min(socket.recv_capacity() / 2));
        // What is there is looked at again: it may be enough.
        self.seen.queued = 0;
    }

    /// As [`Stream::receive`](super::Stream::receive).
    pub(super) fn receive(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let taken = self.buffered.socket(|socket| {
            let taken = socket.recv_slice(space);
            (taken, socket.recv_queue())
        });
        match taken {
            (Ok(0), _) if !space.is_empty() => Err(ErrorKind::WouldBlock.into()),
            (Ok(count), queued) => {
                self.next = self.next.map(|next| next.wrapping_add(count as u32));
                self.seen.queued = queued;
                Ok(count)
            }
            (Err(RecvError::Finished), _) => Ok(0),
            (Err(RecvError::InvalidState), _) if self.is_being_made() => {
                Err(ErrorKind::WouldBlock.into())
            }
            (Err(RecvError::InvalidState), _) => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// As [`Stream::send`](super::Stream::send).
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_being_made() {
            self.wants_room = 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        let sent = self.buffered.socket(|socket| socket.send_slice(bytes));
        self.kept.copied(sent.unwrap_or(0));
        self.sent(sent, bytes.len())
    }

    /// As [`Stream::send_kept`](super::Stream::send_kept).
    pub(super) fn send_kept(&mut self, memory: &Bytes, from: usize) -> io::Result<usize> {
        let bytes = memory.get(from..).unwrap_or_default();
        let (room, most) = self.buffered.socket(|socket| {
            (socket.send_capacity() - socket.send_queue(), socket.send_capacity())
        });
        let worth = (memory.len() / 2).max(WORTH_KEEPING);
        let keeps = self.kept.ends_with(memory, from) || room.min(bytes.len()) >= worth;
        if !keeps && most.min(bytes.len()) >= worth && self.buffered.socket(|s| s.may_send()) {
            // Soon there is room for enough of it.
            self.wants_room = worth;
            return Err(ErrorKind::WouldBlock.into());
        }
        if !keeps || !self.kept.has_begun() || self.is_being_made() {
            return self.send(bytes);
        }
        let sent = self.buffered.socket(|socket| {
            let mut count = 0;
            loop {
                // What is there stays there: nobody will see it.
                let more = socket.send(|room| {
                    let more = room.len().min(bytes.len() - count);
                    (more, more)
                })?;
                count += more;
                if more == 0 {
                    return Ok(count);
                }
            }
        });
        self.kept.keep(memory, from..from + sent.unwrap_or(0));
        self.sent(sent, bytes.len())
    }

    /// As [`Stream::keep`](super::Stream::keep).
    pub(super) fn spares(&self) -> &Arc<Spares> {
        &self.spares
    }

    fn sent(&mut self, sent: Result<usize, SendError>, wanted: usize) -> io::Result<usize> {
        let count = sent.map_err(|_| match self.state() {
            State::Closed => ErrorKind::ConnectionReset,
            _ => ErrorKind::BrokenPipe,
        })?;
        self.moved += count as u64;
        if count < wanted {
            self.wants_room = 1;
        }
        if count == 0 && wanted > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn is_being_made(&mut self) -> bool {
        matches!(self.state(), State::SynSent | State::SynReceived)
    }

    /// Sends no more, and takes no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.buffered.socket(|socket| socket.close());
    }

    /// Gives up what is unsent and resets the connection.
    pub(super) fn abort(&mut self) {
        self.buffered.socket(|socket| socket.abort());
    }

    /// Whether there are bytes that nobody has taken.
    pub(super) fn has_unread(&mut self) -> bool {
        self.buffered.socket(|socket| socket.recv_queue()) > 0
    }

    /// Looks at how much memory it uses, and gives back what it can if it needs little: some was used,
    /// and since the last look it moved nothing or not much. Returns whether to look again.
    pub(super) fn settle_memory(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        self.used += moved;
        let busy = moved >= BUSY || (moved > 0 && self.used < WORTH);
        if self.used == 0 || busy {
            return self.used > 0;
        }
        self.spares.release();
        let queued = self.buffered.socket(|socket| socket.recv_queue());
        // What came out of order is behind what there is to take.
        let all_taken = queued == 0 && self.next == Some(self.furthest);
        if all_taken {
            self.buffered.release_receiving();
        }
        if self.buffered.release_sending() && all_taken {
            self.used = 0;
        }
        self.used > 0
    }
}

/// Fewer bytes than these are copied: to keep them takes as long. As are those that are the smaller part of the
/// memory in which they lie, or peers that acknowledge nothing could have each connection hold much more than its
/// buffer does.
const WORTH_KEEPING: usize = 16 << 10;
/// Bytes between two looks that make a connection a busy one.
const BUSY: u64 = 1 << 20;
/// Bytes of memory that are worth a system call while a connection is in use.
const WORTH: u64 = 64 << 10;
