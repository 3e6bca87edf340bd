//! What is in a file: read and written itself where that can be, by RPC where not, and by one after the
//! other within a single read or write if need be.

use crate::borrowing::{Borrowing, Committed};
use crate::error::{Error, Result};
use crate::file::Access;
use crate::handle::Handle;
use crate::local::{Doors, LocalError};
use crate::uncommitted::{Remote, Uncommitted};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use std::ops::Range;
use std::sync::Arc;

/// The content of a file, for one who has it open.
#[derive(Debug)]
pub struct Data {
    written: Arc<Uncommitted>,
    borrowing: Arc<Borrowing>,
    /// The server was asked for some of it.
    read_before: AtomicBool,
}

impl Data {
    pub fn new(access: Access, written: Arc<Uncommitted>) -> Self {
        let borrowing = Borrowing::new(access, written.clone());
        Self { written, borrowing, read_before: AtomicBool::new(false) }
    }

    pub fn handle(&self) -> &Handle {
        self.written.file()
    }

    pub fn written(&self) -> &Uncommitted {
        &self.written
    }

    /// Has it read and written itself from now on, if it can be.
    pub fn begin_local(&self, remote: &impl Remote, doors: &dyn Doors) {
        self.borrowing.begin(remote, doors);
    }

    /// Whether it is read and written itself now.
    pub fn is_local(&self) -> bool {
        self.borrowing.enter().is_some()
    }

    /// Reads until the buffer is full or the file ends.
    #[inline]
    pub fn read_at(
        &self,
        remote: &impl Remote,
        doors: &dyn Doors,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize> {
        let mut done = 0;
        loop {
            let rest = buffer.get_mut(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(done);
            }
            let at = offset.saturating_add(done as u64);
            let (count, over) = match self.read_locally(rest, at) {
                Some(count) => (count, count == 0),
                None => self.read_remotely(remote, doors, rest, at)?,
            };
            done += count;
            if over {
                return Ok(done);
            }
        }
    }

    /// The next part from `offset` on that may be anything but zeros, as far as the file itself says: all
    /// that is left, if it is not here.
    pub fn next_data(&self, offset: u64) -> Range<u64> {
        let unknown = offset..u64::MAX;
        let Some(borrowed) = self.borrowing.enter() else { return unknown };
        match borrowed.next_data(offset) {
            Ok(data) => data,
            Err(LocalError::Recalled) => {
                drop(borrowed);
                self.borrowing.give_back();
                unknown
            }
            Err(_) => unknown,
        }
    }

    /// Writes all of the data.
    #[inline]
    pub fn write_at(
        &self,
        remote: &impl Remote,
        doors: &dyn Doors,
        data: &[u8],
        offset: u64,
    ) -> Result<()> {
        let done = self.write_locally(data, offset);
        let rest = data.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let offset = offset.saturating_add(done as u64);
        // It may be borrowed until the first of it is written, and not any more.
        self.written
            .write(remote, offset, rest, |offset, rest| self.write_locally(rest, offset))?;
        // The server is there.
        self.begin_local(remote, doors);
        Ok(())
    }

    /// Has all that was written on stable storage.
    pub fn commit(&self, remote: &impl Remote) -> Result<()> {
        let itself = self.borrowing.commit();
        // Also if that failed: what was written by RPC is another matter.
        let kept = self.written.commit(remote);
        let failed = |problem| Error::new("commit", format!("{:?}", self.handle()), problem);
        if let Committed::AskServer = itself.map_err(failed)?
            && let Err(error) = remote.commit(self.handle())
        {
            self.borrowing.not_committed();
            return Err(error);
        }
        kept
    }

    /// Reads some of the file itself; `None` if the server has to be asked.
    #[inline]
    fn read_locally(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        let borrowed = self.borrowing.enter()?;
        let len = buffer.len().min(PIECE);
        match borrowed.read_at(buffer.get_mut(..len)?, offset) {
            Ok(count) => Some(count.min(len)),
            Err(LocalError::Recalled) => {
                drop(borrowed);
                self.borrowing.give_back();
                None
            }
            // It is the server's to say what is wrong.
            Err(_) => None,
        }
    }

    fn read_remotely(
        &self,
        remote: &impl Remote,
        doors: &dyn Doors,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(usize, bool)> {
        let len = buffer.len().min(remote.read_max().max(1));
        let buffer = buffer.get_mut(..len).unwrap_or_default();
        let (count, over) = remote.read(self.handle(), offset, buffer)?;
        // A file that is read as a whole by one call costs less so than if it was opened.
        let whole = over && offset == 0;
        if self.read_before.swap(true, Ordering::Relaxed) || !whole {
            // The server is there.
            self.begin_local(remote, doors);
        }
        Ok((count, over))
    }

    /// Writes as much as can be to the file itself.
    #[inline]
    fn write_locally(&self, data: &[u8], offset: u64) -> usize {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(borrowed) = self.borrowing.enter() else { break };
            let piece = rest.get(..PIECE).unwrap_or(rest);
            match borrowed.write_at(piece, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count.min(piece.len()),
                Err(LocalError::Recalled) => {
                    drop(borrowed);
                    self.borrowing.give_back();
                    break;
                }
                // It is the server's to say what is wrong.
                Err(_) => break,
            }
        }
        done
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.borrowing.end();
    }
}

/// Bytes of one read or write of the file itself: for so long it can't be given back.
const PIECE: usize = 1 << 20;
