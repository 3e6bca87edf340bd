//! Files that are read and written without the server: what a [`Mount`](crate::Mount) needs for that.

use crate::borrowing::Borrower;
use crate::file::Access;
use crate::handle::Handle;
use holm_nfs_proto::nfs3;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use thiserror::Error;

/// Where files can be opened past the network.
pub trait LocalDoor: fmt::Debug + Send + Sync {
    /// Opens a file, as whoever came to the door. It is read and written by several threads at a time.
    ///
    /// The borrower is who has to give it back when the server wants that; a door of which the files
    /// themselves say [`Recalled`](LocalError::Recalled) need not know.
    ///
    /// # Errors
    /// [`LocalError`]. The file is then used by RPC, and asked for again later.
    fn open(
        &self,
        file: &Handle,
        access: Access,
        borrower: &Borrower,
    ) -> Result<Box<dyn LocalFile>, LocalError>;
}

/// A file that was opened past the network.
pub trait LocalFile: Send + Sync {
    /// Reads some of what is there from `offset` on: nothing only at the end of the file.
    ///
    /// # Errors
    /// [`LocalError`]. What it fails with is asked of the server, who then says it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LocalError>;

    /// The next part from `offset` on that may be anything but zeros; empty if there is none.
    ///
    /// # Errors
    /// [`LocalError`]. It is read then to find out.
    fn next_data(&self, offset: u64) -> Result<Range<u64>, LocalError> {
        Ok(offset..u64::MAX)
    }

    /// Writes some of the data.
    ///
    /// # Errors
    /// [`LocalError`], as with reading.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, LocalError>;

    /// Has all that was written to the file on stable storage.
    ///
    /// # Errors
    /// [`LocalError`]. It comes out at the application's commit.
    fn commit(&self) -> Result<(), LocalError>;

    /// It is not used any more. `clean`: all that was written to it was committed.
    fn close(self: Box<Self>, clean: bool);
}

/// Why a file can't be had, or used any more, past the network.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The server wants it back.
    #[error("recalled")]
    Recalled,
    /// The server does not give it.
    #[error("{0}")]
    Refused(nfs3::Error),
    /// It failed.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// Where the door is.
pub trait Doors: Send + Sync {
    /// The door, if there is one now.
    fn door(&self) -> Option<Arc<dyn LocalDoor>>;
}
