//! Memory that the connections of one thread take turns with.

use crate::Connection;
use holm_xdr::Encoder;

/// Buffers that one connection after another receives into and replies from.
///
/// What is used last is lent first: it is still in the CPU's caches. A connection gives its buffers
/// back after its turn, so that an idle one has none; one that waits for the rest of a long call, or
/// for its peer to take long replies, keeps those in which they lie.
///
/// What is lent holds what another connection left in it, perhaps one of another tenant. Nothing
/// reads it: what is received is known by its count, and of a reply only what was written is sent.
#[derive(Debug, Default)]
pub struct Buffers {
    receiving: Vec<Vec<u8>>,
    sending: Vec<Encoder>,
}

/// Buffers of each kind that are kept. More than one, because a connection may keep what it was lent
/// and come back later: then there are two.
const KEPT: usize = 2;
/// A buffer that is at least one part in so many full stays with its connection.
const WORTH_KEEPING: usize = 4;

impl Buffers {
    /// None yet.
    pub const fn new() -> Self {
        Self { receiving: Vec::new(), sending: Vec::new() }
    }

    /// Lends a connection what it needs for a turn.
    pub fn lend(&mut self, connection: &mut Connection) {
        let Connection { incoming, outgoing, .. } = connection;
        if incoming.capacity() < incoming.largest() {
            // One of a connection that may receive less is of no use here: it goes.
            let kept = self.receiving.pop().filter(|buffer| buffer.len() >= incoming.largest());
            // Zeros of this size come from the system as they are touched.
            let buffer = kept.unwrap_or_else(|| vec![0; incoming.largest()]);
            // It is the larger one, so it is taken.
            drop(incoming.lend(buffer));
        }
        if outgoing.is_empty()
            && let Some(encoder) = self.sending.pop()
        {
            *outgoing = encoder;
        }
    }

    /// Takes back what a connection does not need until its next turn.
    pub fn take_back(&mut self, connection: &mut Connection) {
        let Connection { incoming, outgoing, .. } = connection;
        if incoming.buffered() < incoming.capacity() / WORTH_KEEPING {
            let buffer = incoming.reclaim();
            if self.receiving.len() < KEPT {
                self.receiving.push(buffer);
            }
        }
        let unsent = outgoing.len().saturating_sub(connection.sent);
        if unsent < outgoing.capacity() / WORTH_KEEPING {
            let mut rest = Encoder::with_capacity(unsent);
            rest.raw(outgoing.get(connection.sent..).unwrap_or_default());
            connection.sent = 0;
            let mut encoder = std::mem::replace(outgoing, rest);
            encoder.clear();
            if self.sending.len() < KEPT {
                self.sending.push(encoder);
            }
        }
    }
}
