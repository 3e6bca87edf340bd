//! Reading and writing.

use crate::attributes::Attributes;
use crate::identity::Caller;
use crate::{Result, Status};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A regular file, open for reading or writing.
#[derive(Debug)]
pub struct OpenFile {
    file: OwnedFd,
    inode: u64,
}

/// What must have happened to written data before the write is answered (RFC 1813: `stable_how`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// Nothing: a commit follows.
    Unstable = 0,
    /// The data is on the disk, and what is needed to find it.
    DataSync = 1,
    /// Data and attributes are on the disk.
    FileSync = 2,
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// As long as it takes.
    Allowed,
    /// Not at all: what is not in memory is answered with [`Status::Jukebox`].
    Refused,
}

impl OpenFile {
    pub(crate) fn new(file: OwnedFd, inode: u64) -> Self {
        Self { file, inode }
    }

    /// The number of the file in its file system.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its attributes now.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if it was removed meanwhile.
    pub fn attributes(&self) -> Result<Attributes> {
        let attributes = Attributes::of(self.fd())?;
        if attributes.links == 0 { Err(Status::Stale) } else { Ok(attributes) }
    }

    /// Reads from `offset` on; waits if it must. See [`read_with`](Self::read_with).
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.read_with(&mut [IoSliceMut::new(buffer)], offset, Waiting::Allowed)
    }

    /// Reads from `offset` on, and says how many bytes. They are fewer than the buffers take only
    /// at the end of the file, or with [`Waiting::Refused`].
    ///
    /// # Errors
    ///
    /// [`Status::Jukebox`] if it would have to wait and may not; [`Status::NotSupp`] if this file
    /// system cannot read without waiting. Beyond what any file has, there are 0 bytes.
    pub fn read_with(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
        waiting: Waiting,
    ) -> Result<usize> {
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if end_of(offset, length).is_none() {
            // Where no file can have bytes, all files have ended.
            return Ok(0);
        }
        let flags = match waiting {
            Waiting::Allowed => ReadWriteFlags::empty(),
            Waiting::Refused => ReadWriteFlags::NOWAIT,
        };
        let mut buffers = buffers;
        let mut done = 0;
        loop {
            let read = match rustix::io::preadv2(&self.file, buffers, offset + done as u64, flags) {
                Err(Errno::INTR) => continue,
                Err(_) if done > 0 => return Ok(done),
                read => read?,
            };
            done += read;
            if read == 0 || done == length || waiting == Waiting::Refused {
                return Ok(done);
            }
            IoSliceMut::advance_slices(&mut buffers, read);
        }
    }

    /// Writes at `offset`, and says how many bytes: fewer than given if the disk or a quota became
    /// full on the way. Those that it says are as stable as asked for.
    ///
    /// As the caller, so that a write takes set-uid and set-gid away where it should.
    ///
    /// # Errors
    ///
    /// [`Status::FBig`] for offsets that no file has, and what the file system says. After
    /// [`Status::Io`], it is not known what of the range is on the disk.
    pub fn write_at(
        &self,
        _: &Caller<'_>,
        buffers: &[IoSlice<'_>],
        offset: u64,
        stability: Stability,
    ) -> Result<usize> {
        let length = buffers.iter().map(|buffer| buffer.len()).sum();
        end_of(offset, length).ok_or(Status::FBig)?;
        // One call that flushes just this range, not all that is unstable in the file.
        let flags = match stability {
            Stability::Unstable => ReadWriteFlags::empty(),
            Stability::DataSync => ReadWriteFlags::DSYNC,
            Stability::FileSync => ReadWriteFlags::DSYNC | ReadWriteFlags::SYNC,
        };
        let write = |flags| loop {
            match rustix::io::pwritev2(&self.file, buffers, offset, flags) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        };
        match write(flags) {
            Err(Errno::OPNOTSUPP) if stability != Stability::Unstable => {
                let written = write(ReadWriteFlags::empty())?;
                self.flush(stability)?;
                Ok(written)
            }
            result => Ok(result?),
        }
    }

    /// Brings everything written so far to the disk, with attributes (RFC 1813, section 3.3.21).
    /// The range that a client gives is a lower bound: Linux flushes whole files.
    ///
    /// # Errors
    ///
    /// After one, data may be lost: the write verifier has to change.
    pub fn commit(&self) -> Result<()> {
        self.flush(Stability::FileSync)
    }

    fn flush(&self, stability: Stability) -> Result<()> {
        match stability {
            Stability::Unstable => {}
            Stability::DataSync => rustix::fs::fdatasync(&self.file)?,
            Stability::FileSync => rustix::fs::fsync(&self.file)?,
        }
        Ok(())
    }
}

/// Where a transfer ends, if any file can reach that far.
fn end_of(offset: u64, length: usize) -> Option<u64> {
    offset.checked_add(length as u64).filter(|&end| end <= i64::MAX as u64)
}
