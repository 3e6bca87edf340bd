//! What is to be sent on a connection: small messages in one buffer, large payload where it lies.

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The queue of one connection. All of it goes in as few system calls as the socket allows.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    /// Bytes of the front of `bytes` that were sent.
    sent: usize,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
enum Segment {
    Buffered(usize),
    Shared(Arc<Vec<u8>>, Range<usize>),
}

impl Outgoing {
    /// Where to append a message; then [`queue`](Self::queue) it.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Queues what was appended since `start`.
    pub fn queue(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        match self.segments.back_mut() {
            Some(Segment::Buffered(more)) => *more += length,
            _ => self.segments.push_back(Segment::Buffered(length)),
        }
    }

    /// Queues bytes that are not copied.
    pub fn share(&mut self, bytes: Arc<Vec<u8>>, range: Range<usize>) {
        self.segments.push_back(Segment::Shared(bytes, range));
    }

    /// Nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Sends what the socket takes without waiting.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<()> {
        while !self.segments.is_empty() {
            match self.send_some(socket.as_fd()) {
                Ok(sent) => self.advance(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.segments.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > COMPACT_AT {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    fn send_some(&self, socket: impl AsFd) -> rustix::io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut at = self.sent;
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            count += 1;
            *slice = IoSlice::new(match segment {
                Segment::Buffered(length) => {
                    at += length;
                    &self.bytes[at - length..at]
                }
                Segment::Shared(bytes, range) => &bytes[range.clone()],
            });
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(socket, &slices[..count], &mut SendAncillaryBuffer::default(), flags)
    }

    fn advance(&mut self, mut sent: usize) {
        while sent > 0 {
            let Some(segment) = self.segments.front_mut() else { return };
            let left = match segment {
                Segment::Buffered(length) => {
                    let part = sent.min(*length);
                    *length -= part;
                    self.sent += part;
                    sent -= part;
                    *length
                }
                Segment::Shared(_, range) => {
                    let part = sent.min(range.len());
                    range.start += part;
                    sent -= part;
                    range.len()
                }
            };
            if left == 0 {
                self.segments.pop_front();
            }
        }
    }
}

const SLICES: usize = 32;
const COMPACT_AT: usize = 256 << 10;
