//! One connection of the limit server: one receive and one send for all calls that are there.

use super::answers::{Answers, Begun};
use crate::outgoing::Outgoing;
use crate::rpc::LAST_FRAGMENT;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::TcpStream;

#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    out: Outgoing,
    /// A WRITE whose payload goes on beyond what was received.
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    begun: Begun,
    left: usize,
}

const BUFFER: usize = 256 << 10;
/// More than a client may send in one record.
const MAX_CALL: usize = 8 << 20;
/// Receives in a row before another connection has its turn.
const TURNS: usize = 8;

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            out: Outgoing::default(),
            writing: None,
        }
    }

    /// The client does not take its replies.
    pub fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Receives what is there and answers it.
    pub fn serve(&mut self, answers: &Answers) -> io::Result<()> {
        self.out.flush(&self.stream)?;
        for _ in 0..TURNS {
            if self.is_blocked() {
                return Ok(());
            }
            let room = self.buffer.len() - self.end;
            let target = &mut self.buffer[self.end..];
            let received = match recv(&self.stream, target, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, received)) => received,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.end += received;
            self.handle(answers)?;
            self.out.flush(&self.stream)?;
            if received < room {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Every call that is here.
    fn handle(&mut self, answers: &Answers) -> io::Result<()> {
        self.payload(answers);
        let mut needed = 0;
        while let Some((mark, here)) = self.buffer[self.start..self.end].split_first_chunk() {
            let mark = u32::from_be_bytes(*mark);
            let length = (mark & !LAST_FRAGMENT) as usize;
            if mark & LAST_FRAGMENT == 0 || length > MAX_CALL {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let garbage = |_| io::Error::from(io::ErrorKind::InvalidData);
            if let Some(call) = here.get(..length) {
                answers.answer(call, &mut self.out).map_err(garbage)?;
                self.start += 4 + length;
                continue;
            }
            if let Some(begun) = answers.begin_write(here, length) {
                self.writing = Some(Writing { begun, left: length - here.len() });
                self.start = self.end;
            } else {
                needed = 4 + length;
            }
            break;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if needed > self.buffer.len() {
            self.buffer.resize(needed, 0);
        }
        Ok(())
    }

    /// What was received of a WRITE that has begun.
    fn payload(&mut self, answers: &Answers) {
        if let Some(writing) = &mut self.writing {
            let part = writing.left.min(self.end - self.start);
            let bytes = &self.buffer[self.start..self.start + part];
            answers.go_on_writing(&mut writing.begun, bytes);
            writing.left -= part;
            self.start += part;
            if writing.left == 0
                && let Some(writing) = self.writing.take()
            {
                answers.end_write(&writing.begun, &mut self.out);
            }
        }
    }
}
