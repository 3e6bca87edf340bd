//! File handles that are kept.

use holm_nfs_proto::nfs3::{FileHandle, HANDLE_MAX};
use std::fmt;

/// What the server calls a file (RFC 1813, section 2.3.3): at most 64 bytes that mean something to the
/// server only. It goes on meaning the same file when that is renamed, and nothing any more
/// ([stale](holm_nfs_proto::nfs3::Error::Stale)) when it is removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    len: u8,
    bytes: [u8; HANDLE_MAX as usize],
}

impl Handle {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    pub(crate) fn wire(&self) -> FileHandle<'_> {
        // No more than there may be: it came out of one.
        FileHandle::new(self.as_bytes()).unwrap_or_default()
    }
}

impl From<FileHandle<'_>> for Handle {
    fn from(handle: FileHandle<'_>) -> Self {
        let mut bytes = [0; HANDLE_MAX as usize];
        if let Some(place) = bytes.get_mut(..handle.len()) {
            place.copy_from_slice(&handle);
        }
        Self { len: handle.len() as u8, bytes }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
