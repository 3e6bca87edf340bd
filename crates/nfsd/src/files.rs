//! Open files for READ, WRITE and COMMIT.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use crate::Result;
use crate::handle::FileHandle;
use crate::identity::Caller;
use crate::volume::{Access, OpenFile, Volume};
use std::ops::Deref;

/// Where stateless operations get their files from: each is opened for one operation.
#[derive(Debug, Default)]
pub(crate) struct Files {}

/// A file that is open for one operation.
#[derive(Debug)]
pub(crate) struct Opened {
    file: OpenFile,
    inode: u64,
}

impl Files {
    /// Opens what `handle` names in `volume`, for what the caller may do with it.
    ///
    /// # Errors
    ///
    /// As [`Volume::open`] and [`Volume::open_file`].
    pub(crate) fn open(
        &self,
        caller: &Caller<'_>,
        volume: &Volume,
        handle: &FileHandle,
        access: Access,
    ) -> Result<Opened> {
        let (node, attributes) = volume.open(caller, handle.node())?;
        let file = volume.open_file(caller, &node, access)?;
        Ok(Opened { file, inode: attributes.inode })
    }
}

impl Opened {
    /// The number of the file, as in its attributes.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}

impl Deref for Opened {
    type Target = OpenFile;

    fn deref(&self) -> &OpenFile {
        &self.file
    }
}
