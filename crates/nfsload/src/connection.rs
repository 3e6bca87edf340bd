//! One connection with calls outstanding: sends what a driver says, matches replies by xid.

use crate::client::first_xid;
use crate::driver::{At, Done, Driver, Next, Reply};
use crate::outgoing::Outgoing;
use crate::record::Recorder;
use crate::rpc::{self, Header, LAST_FRAGMENT, MAX_RECORD};
use crate::xdr::Decoder;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::TcpStream;
use std::time::Instant;

/// What all connections of a run have in common.
pub struct Context<D> {
    pub driver: D,
    pub recorder: Recorder,
    pub header: Header,
    /// No new work: only what tidies up.
    pub finishing: bool,
    /// Take only the head of large READ replies, and let the kernel drop the rest.
    pub drop_payload: bool,
    /// Where a kernel that does not drop would put it.
    pub sink: Vec<u8>,
}

/// A connection and its calls.
pub struct Connection<O> {
    pub stream: TcpStream,
    index: usize,
    slots: Vec<Slot<O>>,
    outstanding: usize,
    xid: u32,
    out: Outgoing,
    buffer: Vec<u8>,
    /// Received, and not looked at yet: `start..end` of the buffer.
    start: usize,
    end: usize,
    /// Fragments of a record whose last one has not come.
    fragments: Vec<u8>,
    dropping: Option<Dropping>,
}

struct Slot<O> {
    xid: u32,
    call: Option<(O, Instant)>,
}

/// A reply whose head was looked at, and whose payload is still to be dropped.
struct Dropping {
    left: usize,
    /// `None`: nobody asked for it.
    judged: Option<Judged>,
}

/// What a reply is worth, and whose it is.
struct Judged {
    slot: usize,
    started: Instant,
    outcome: Result<Done, String>,
}

/// Contains everything before the payload of a READ reply.
const HEAD: usize = 640;
const BUFFER: usize = 256 << 10;
/// Receives in a row before another connection has its turn.
const TURNS: usize = 8;

impl<O: Copy> Connection<O> {
    pub fn new(stream: TcpStream, index: usize, depth: usize) -> Self {
        let slots: Vec<_> = (0..depth).map(|_| Slot { xid: 0, call: None }).collect();
        Self {
            stream,
            index,
            xid: first_xid() & !mask(depth),
            slots,
            outstanding: 0,
            out: Outgoing::default(),
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            fragments: Vec::new(),
            dropping: None,
        }
    }

    /// Calls that have no reply yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The socket has not taken everything.
    pub fn wants_to_send(&self) -> bool {
        !self.out.is_empty()
    }

    /// Gives every idle slot a call, if the driver has one.
    pub fn fill<D: Driver<Operation = O>>(&mut self, context: &mut Context<D>, now: Instant) {
        if self.outstanding < self.slots.len() {
            for slot in 0..self.slots.len() {
                if self.slots[slot].call.is_none() {
                    self.call(slot, context, now);
                }
            }
        }
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush(&self.stream)
    }

    /// Receives what is there, handles the replies, and queues the next calls. `wait`: for the
    /// first byte, as long as the socket's time-out says.
    pub fn receive<D: Driver<Operation = O>>(
        &mut self,
        context: &mut Context<D>,
        wait: bool,
    ) -> io::Result<()> {
        for turn in 0..TURNS {
            let flags = if wait && turn == 0 { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            if !self.receive_once(context, flags)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there may be more.
    fn receive_once<D: Driver<Operation = O>>(
        &mut self,
        context: &mut Context<D>,
        flags: RecvFlags,
    ) -> io::Result<bool> {
        let received = if let Some(dropping) = &self.dropping {
            let length = dropping.left.min(context.sink.len());
            recv(&self.stream, &mut context.sink[..length], flags | RecvFlags::TRUNC)
        } else {
            let room = self.buffer.len() - self.end;
            let room = if context.drop_payload { room.min(HEAD) } else { room };
            recv(&self.stream, &mut self.buffer[self.end..self.end + room], flags)
        };
        let received = match received {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, received)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        if let Some(dropping) = &mut self.dropping {
            dropping.left -= received;
            if dropping.left == 0
                && let Some(Dropping { judged: Some(judged), .. }) = self.dropping.take()
            {
                self.complete(judged, context, now);
            }
            return Ok(true);
        }
        let room = self.buffer.len() - self.end;
        self.end += received;
        self.records(context, now)?;
        Ok(context.drop_payload || received == room)
    }

    /// Handles every record that is here, and the head of one that is not if its payload is to be
    /// dropped.
    fn records<D: Driver<Operation = O>>(
        &mut self,
        context: &mut Context<D>,
        now: Instant,
    ) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let outcome = self.records_in(&buffer, context, now);
        self.buffer = buffer;
        let needed = outcome?;
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if needed > self.buffer.len() {
            self.buffer.resize(needed, 0);
        }
        Ok(())
    }

    /// The room that the record at the front needs.
    fn records_in<D: Driver<Operation = O>>(
        &mut self,
        buffer: &[u8],
        context: &mut Context<D>,
        now: Instant,
    ) -> io::Result<usize> {
        while let Some((mark, here)) = buffer[self.start..self.end].split_first_chunk() {
            let mark = u32::from_be_bytes(*mark);
            let length = (mark & !LAST_FRAGMENT) as usize;
            if self.fragments.len() + length > MAX_RECORD {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "record too long"));
            }
            let last = mark & LAST_FRAGMENT != 0;
            let Some(fragment) = here.get(..length) else {
                let whole = last && self.fragments.is_empty();
                if whole && context.drop_payload && here.len() >= HEAD - 4 {
                    self.head(here, length, context);
                    self.start = self.end;
                    return Ok(0);
                }
                return Ok(4 + length);
            };
            self.start += 4 + length;
            if last && self.fragments.is_empty() {
                self.reply(fragment, context, now);
            } else {
                self.fragments.extend_from_slice(fragment);
                if last {
                    let record = std::mem::take(&mut self.fragments);
                    self.reply(&record, context, now);
                }
            }
        }
        Ok(0)
    }

    /// A whole reply.
    fn reply<D: Driver<Operation = O>>(
        &mut self,
        record: &[u8],
        context: &mut Context<D>,
        now: Instant,
    ) {
        if let Some(judged) = self.judge(record, 0, context) {
            self.complete(judged, context, now);
        }
    }

    /// A reply that goes on beyond what is `here`.
    fn head<D: Driver<Operation = O>>(
        &mut self,
        here: &[u8],
        length: usize,
        context: &mut Context<D>,
    ) {
        let left = length - here.len();
        let judged = self.judge(here, left, context);
        self.dropping = Some(Dropping { left, judged });
    }

    /// Whose reply it is, and what the driver thinks of it.
    fn judge<D: Driver<Operation = O>>(
        &mut self,
        record: &[u8],
        dropped: usize,
        context: &mut Context<D>,
    ) -> Option<Judged> {
        let mut results = Decoder::new(record);
        let mask = mask(self.slots.len());
        let found = results.uint().ok().and_then(|xid| {
            let index = (xid & mask) as usize;
            let slot = self.slots.get_mut(index).filter(|slot| slot.xid == xid)?;
            Some((index, slot.call.take()?))
        });
        let Some((slot, (operation, started))) = found else {
            context.recorder.error("rpc: reply to an unknown xid");
            return None;
        };
        let at = At { connection: self.index, slot };
        let outcome = match rpc::reply_header(&mut results) {
            Ok(()) => context.driver.reply(at, operation, Reply { results, dropped }),
            Err(refusal) => Err(refusal.to_string()),
        };
        Some(Judged { slot, started, outcome })
    }

    fn complete<D: Driver<Operation = O>>(
        &mut self,
        judged: Judged,
        context: &mut Context<D>,
        now: Instant,
    ) {
        let Judged { slot, started, outcome } = judged;
        self.outstanding -= 1;
        match outcome {
            Ok(done) => context.recorder.done(now.saturating_duration_since(started), done),
            Err(error) => context.recorder.error(&error),
        }
        self.call(slot, context, now);
    }

    fn call<D: Driver<Operation = O>>(
        &mut self,
        slot: usize,
        context: &mut Context<D>,
        now: Instant,
    ) {
        let depth = self.slots.len();
        let xid = self.xid.wrapping_add(mask(depth) + 1);
        let bytes = self.out.bytes();
        let begun = context.header.begin(bytes, xid | slot as u32);
        let at = At { connection: self.index, slot };
        let Some(next) = context.driver.next(at, context.finishing, bytes) else {
            bytes.truncate(begun.start);
            return;
        };
        let Next { procedure, operation, payload } = next;
        let length = payload.as_ref().map_or(0, |(_, range)| range.len());
        Header::finish(bytes, &begun, procedure, length);
        self.out.queue(begun.start);
        if let Some((bytes, range)) = payload {
            self.out.share(bytes, range);
        }
        self.xid = xid;
        self.slots[slot] = Slot { xid: xid | slot as u32, call: Some((operation, now)) };
        self.outstanding += 1;
    }
}

/// The bits of an xid that are the number of its slot.
fn mask(depth: usize) -> u32 {
    depth.next_power_of_two() as u32 - 1
}
