//! Connections that take turns with buffers.

use holm_sunrpc::message::encode_call;
use holm_sunrpc::record::Frame;
use holm_sunrpc::{
    Answer, Buffers, Call, Connection, Credential, Limits, Program, Programs, Refusal, Step,
};
use holm_xdr::Encoder;
use std::ops::RangeInclusive;

const PROGRAM: u32 = 0x2000_0099;

/// Sends back what it was given.
struct Echo;

impl Program<()> for Echo {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn call(&self, (): &mut (), call: &Call<'_>, results: &mut Encoder) -> Result<Answer, Refusal> {
        results.raw(call.args);
        Ok(Answer::Now)
    }
}

fn call(xid: u32, args: &[u8]) -> Vec<u8> {
    let mut out = Encoder::new();
    let frame = Frame::begin(&mut out);
    encode_call(&mut out, xid, (PROGRAM, 1, 0), &Credential::None);
    out.raw(args);
    frame.end(&mut out).unwrap();
    out.to_vec()
}

const HEADER: usize = 4 + 24;

/// A connection, what its peer has still to send and to take, and what the peer got.
struct Peer {
    connection: Connection,
    to_send: Vec<u8>,
    got: Vec<u8>,
}

impl Peer {
    fn new(to_send: Vec<u8>) -> Self {
        Self { connection: Connection::new(Limits::default()), to_send, got: Vec::new() }
    }

    /// A turn in which so many bytes arrive, and the peer takes so many.
    fn turn(&mut self, buffers: &mut Buffers, arrive: usize, takes: usize) {
        buffers.lend(&mut self.connection);
        let space = self.connection.space();
        let count = arrive.min(self.to_send.len()).min(space.len());
        space[..count].copy_from_slice(&self.to_send[..count]);
        self.to_send.drain(..count);
        self.connection.received(count);
        let programs = Programs::new().with(Echo);
        while self.connection.is_ready()
            && self.connection.serve(&programs, &mut (), 1).unwrap() == Step::Again
        {}
        let takes = takes.min(self.connection.unsent().len());
        self.got.extend(&self.connection.unsent()[..takes]);
        self.connection.sent(takes);
        buffers.take_back(&mut self.connection);
    }

    fn holds(&mut self) -> usize {
        self.connection.incoming().capacity()
    }
}

#[test]
fn whoever_waits_for_nothing_holds_nothing() {
    let mut buffers = Buffers::new();
    let mut peers: Vec<Peer> =
        (0..3u32).map(|xid| Peer::new(call(xid, &xid.to_be_bytes()))).collect();
    for (xid, peer) in (0u32..).zip(&mut peers) {
        peer.turn(&mut buffers, usize::MAX, usize::MAX);
        assert!(peer.connection.is_idle());
        assert_eq!(peer.holds(), 0);
        assert_eq!(peer.got[4..8], xid.to_be_bytes());
        assert_eq!(peer.got[HEADER..], xid.to_be_bytes());
    }
}

#[test]
fn a_few_bytes_of_a_call_hold_no_more_than_they_are() {
    let mut buffers = Buffers::new();
    let mut peer = Peer::new(call(1, &[7; 1 << 20]));
    peer.turn(&mut buffers, 1000, usize::MAX);
    assert_eq!(peer.holds(), 1000);
    peer.turn(&mut buffers, 1 << 19, usize::MAX);
    assert_eq!(peer.holds(), peer.connection.incoming().largest(), "half of it");
    peer.turn(&mut buffers, usize::MAX, usize::MAX);
    assert_eq!(peer.got.len(), HEADER + (1 << 20));
    assert_eq!(peer.holds(), 0);
}

/// Calls of several connections, long and short, arrive in pieces and are taken in pieces.
#[test]
fn nothing_is_lost_or_mixed_up_whatever_the_pieces() {
    let mut random = 7u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % bound
    };
    let mut buffers = Buffers::new();
    let mut peers = Vec::new();
    let mut expected = Vec::new();
    for peer in 0..4u8 {
        let (mut calls, mut replies) = (Vec::new(), Vec::new());
        for xid in 0..20u32 {
            let size = [8, 200, 70_000, 1 << 20][below(4)];
            let args = vec![peer ^ xid as u8; size];
            calls.extend(call(xid, &args));
            let mark = (24 + size) as u32 | 1 << 31;
            replies.extend([mark, xid, 1, 0, 0, 0, 0].map(u32::to_be_bytes).concat());
            replies.extend(args);
        }
        peers.push(Peer::new(calls));
        expected.push(replies);
    }
    while peers.iter().zip(&expected).any(|(peer, replies)| peer.got.len() < replies.len()) {
        let turn = &mut peers[below(4)];
        let sizes = [1, 100, 50_000, usize::MAX];
        turn.turn(&mut buffers, sizes[below(4)], sizes[below(4)]);
    }
    for (peer, replies) in peers.iter_mut().zip(expected) {
        assert!(peer.got == replies, "other bytes");
        assert_eq!(peer.holds(), 0);
    }
}
