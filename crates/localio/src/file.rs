//! A file that is open.

use crate::data::Data;
use crate::error::{Error, Problem, Result};
use crate::handle::Handle;
use crate::mount::Inner;
use crate::uncommitted::Uncommitted;
use holm_nfs_proto::nfs3::{Attributes, SetAttributes};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether it is for reading.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether it is for writing.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// A regular file, opened by [`Mount::open`](crate::Mount::open) or
/// [`create`](crate::Mount::create).
///
/// Threads may share it and read and write side by side. What was written is seen by whoever reads from
/// then on, here or elsewhere, and is safe from a crash of the server only after [`commit`](Self::commit);
/// until then a copy is kept, with which a server that may have lost it is told once more, at the next
/// commit; a server whose machine lost its power may show what was there before until then. Dropping a file
/// does not commit, as closing one does not flush.
pub struct File {
    mount: Arc<Inner>,
    data: Data,
    access: Access,
    /// For errors.
    name: String,
}

impl File {
    pub(crate) fn new(
        mount: Arc<Inner>,
        written: Arc<Uncommitted>,
        access: Access,
        name: String,
    ) -> Self {
        let data = Data::new(access, written);
        if access.writes() {
            // What is written by RPC first would have to be committed in between.
            data.begin_local(&mount.nfs, &mount.doors());
        }
        Self { mount, data, access, name }
    }

    /// What the server calls it.
    pub fn handle(&self) -> &Handle {
        self.data.handle()
    }

    /// Whether it is read and written past the network just now.
    pub fn is_local(&self) -> bool {
        self.data.is_local()
    }

    /// Reads from `offset` on until the buffer is full or the file ends; says how much that was.
    ///
    /// # Errors
    /// [`Error`]. The buffer then holds something.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(self.not_for("read"));
        }
        let (nfs, doors) = (&self.mount.nfs, self.mount.doors());
        self.named(self.data.read_at(nfs, &doors, buffer, offset))
    }

    /// The next part from `offset` on that may be anything but zeros; empty if there is none. Between the
    /// two the file has a hole, which need not be read. NFSv3 can't ask for holes: unless the file is read
    /// past the network, it is all that is left, whatever that is.
    pub fn next_data(&self, offset: u64) -> Range<u64> {
        self.data.next_data(offset)
    }

    /// Writes all of `data` from `offset` on.
    ///
    /// # Errors
    /// [`Error`]. Some of the data may have been written then.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        if !self.access.writes() {
            return Err(self.not_for("write to"));
        }
        let (nfs, doors) = (&self.mount.nfs, self.mount.doors());
        self.named(self.data.write_at(nfs, &doors, data, offset))
    }

    /// When this returns, all that was written before is on stable storage.
    ///
    /// # Errors
    /// [`Error`]: also if it failed already when the server wanted the file back. What was written by RPC is
    /// kept for another try, as long as that makes sense; what was written past the network may be lost,
    /// as with a file of this machine.
    pub fn commit(&self) -> Result<()> {
        self.named(self.data.commit(&self.mount.nfs))
    }

    /// What it is now.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stat(&self) -> Result<Attributes> {
        self.named(self.mount.nfs.stat(self.handle()))
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set(&self, attributes: &SetAttributes) -> Result<()> {
        let nfs = &self.mount.nfs;
        let set = || nfs.set(self.handle(), attributes, None);
        self.named(match attributes.size {
            // What lies beyond must not be written again.
            Some(_) => self.data.written().with_nothing_kept(nfs, set),
            None => set(),
        })
    }

    /// Cuts it short or makes it longer, with zeros.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_len(&self, size: u64) -> Result<()> {
        if !self.access.writes() {
            return Err(self.not_for("set the size of"));
        }
        self.set(&SetAttributes { size: Some(size), ..SetAttributes::default() })
    }

    /// Reads and writes it from a position that moves on, from its beginning. Several such may be at
    /// work on one file.
    pub fn stream(&self) -> Stream<'_> {
        Stream { file: self, position: 0 }
    }

    fn not_for(&self, what: &'static str) -> Error {
        Error::new(what, self.name.clone(), Problem::Invalid("it was not opened for that"))
    }

    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.on(|| self.name.clone()))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("name", &self.name)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// A [`File`] with a position. Each read and write is asked of the server as it comes: small ones are best
/// made through [`BufReader`](io::BufReader) and [`BufWriter`](io::BufWriter).
#[derive(Debug)]
pub struct Stream<'f> {
    file: &'f File,
    position: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write_at(data, self.position)?;
        self.position = self.position.saturating_add(data.len() as u64);
        Ok(data.len())
    }

    /// Nothing waits here. To have it on stable storage, [`commit`](File::commit).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.stat()?.size.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "before the file's beginning");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}
