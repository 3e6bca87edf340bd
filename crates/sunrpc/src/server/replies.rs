//! Sending the replies of a connection.

use super::Transport;
use crate::Connection;
use bytes::Bytes;
use std::io::ErrorKind;

/// What a connection has to send besides what is in its buffer, and before that: a long reply that is sent from
/// where it lies, and how much of it was.
#[derive(Debug, Default)]
pub(super) struct Replies {
    kept: Option<(Bytes, usize)>,
}

/// What became of the replies.
pub(super) enum Sent {
    /// All of it.
    All,
    /// Not all: the peer takes no more for now.
    Full,
    /// The stream has ended.
    Ended,
}

impl Replies {
    /// Sends what there is to send, and adds how much that was to `sent`.
    pub(super) fn send(
        &mut self,
        transport: &impl Transport,
        connection: &mut Connection,
        sent: &mut usize,
    ) -> Sent {
        loop {
            if self.kept.is_none() && transport.keeps() && is_worth_keeping(connection) {
                self.kept = Some(connection.take_unsent(|reply| transport.keep(reply)));
            }
            let outcome = match &self.kept {
                Some((reply, from)) => transport.send_kept(reply, *from),
                None if connection.unsent().is_empty() => return Sent::All,
                None => transport.send(connection.unsent()),
            };
            match outcome {
                Ok(count) => {
                    self.sent(connection, count);
                    *sent += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::Full,
                Err(_) => return Sent::Ended,
            }
        }
    }

    /// Bytes of memory that it has.
    pub(super) fn memory(&self) -> usize {
        self.kept.as_ref().map_or(0, |(reply, _)| reply.len())
    }

    fn sent(&mut self, connection: &mut Connection, count: usize) {
        match &mut self.kept {
            Some((reply, from)) => {
                *from += count;
                if *from >= reply.len() {
                    self.kept = None;
                }
            }
            None => connection.sent(count),
        }
    }
}

/// Whether so much is to be sent that copying it takes longer than anything else, and at least half of the memory
/// that it lies in: none of it is free before the last byte was sent.
fn is_worth_keeping(connection: &Connection) -> bool {
    let unsent = connection.unsent().len();
    unsent >= LONG && unsent >= connection.outgoing.capacity() / 2
}

/// So many bytes are much.
const LONG: usize = 64 << 10;
