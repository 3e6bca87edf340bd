//! A directory that is there for a measurement, and gone after it.

use crate::files::outcome::{Result, say};
use holm_localio::Mount;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The directory, with a file of data to read in it. Removed at the latest when it is dropped.
pub struct Scratch {
    mount: Mount,
    path: PathBuf,
    is_removed: bool,
}

impl Scratch {
    /// Makes it.
    ///
    /// # Errors
    /// If it can't be made, or filled.
    pub fn new(mount: &Mount) -> Result<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!(".holm-bench-{}-{}", std::process::id(), since.as_nanos());
        mount.make_directory(&name, 0o700)?;
        let scratch = Self { mount: mount.clone(), path: name.into(), is_removed: false };
        let data = mount.create(scratch.data(), 0o600, true)?;
        let mut piece = vec![0; 1 << 20];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for offset in (0..FILE_SIZE).step_by(piece.len()) {
            for word in piece.chunks_exact_mut(8) {
                word.copy_from_slice(&next_random(&mut state).to_le_bytes());
            }
            data.write_at(&piece, offset)?;
        }
        data.commit()?;
        Ok(scratch)
    }

    /// The file that is there to be read: [`FILE_SIZE`] bytes.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A file in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Removes it.
    ///
    /// # Errors
    /// What could not be removed, and why.
    pub fn remove(mut self) -> Result<()> {
        self.is_removed = true;
        self.remove_all()
    }

    fn remove_all(&self) -> Result<()> {
        let entries: Vec<_> = self.mount.list(&self.path)?.take(ENTRIES_MAX).collect();
        for entry in entries {
            self.mount.remove(self.path(entry?.name))?;
        }
        Ok(self.mount.remove_directory(&self.path)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_removed {
            return;
        }
        if let Err(trouble) = self.remove_all() {
            say(trouble);
        }
    }
}

/// The next of a row of numbers that look random (xorshift).
pub fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Bytes of each file.
pub const FILE_SIZE: u64 = 64 << 20;
/// More than a measurement makes: a file for each thread at a time.
const ENTRIES_MAX: usize = 1024;
