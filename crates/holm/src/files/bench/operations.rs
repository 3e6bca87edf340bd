//! What is measured.

use super::measure::{Measured, Plan, measure};
use super::scratch::{FILE_SIZE, Scratch, next_random};
use crate::files::outcome::{Result, Trouble};
use holm_localio::{Access, File, Mount};
use std::ffi::OsStr;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// What a file is.
    GetAttr,
    /// What has a name.
    Lookup,
    /// 4 KiB from anywhere.
    RandomRead,
    /// 1 MiB, then the next.
    SequentialRead,
    /// The same, with a commit at the end.
    SequentialWrite,
    /// A new file that is removed again.
    CreateRemove,
}

impl Operation {
    pub const ALL: &[Self] = &[
        Self::GetAttr,
        Self::Lookup,
        Self::RandomRead,
        Self::SequentialRead,
        Self::SequentialWrite,
        Self::CreateRemove,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::GetAttr => "getattr",
            Self::Lookup => "lookup",
            Self::RandomRead => "read 4K random",
            Self::SequentialRead => "read 1M sequential",
            Self::SequentialWrite => "write 1M sequential",
            Self::CreateRemove => "create+remove",
        }
    }

    /// Bytes that are moved by one.
    pub const fn bytes(self) -> Option<usize> {
        match self {
            Self::RandomRead => Some(SMALL),
            Self::SequentialRead | Self::SequentialWrite => Some(LARGE),
            _ => None,
        }
    }

    /// Whether it is different past the network.
    pub const fn moves_data(self) -> bool {
        self.bytes().is_some()
    }

    /// Does it for a while.
    ///
    /// # Errors
    /// If one failed.
    pub fn measure(self, plan: &Plan<'_>, mount: &Mount, scratch: &Scratch) -> Result<Measured> {
        match self {
            Self::GetAttr => {
                let file = mount.lookup(scratch.data())?.handle;
                let stat = |_: &mut usize| Ok(mount.nfs().stat(&file).map(drop)?);
                measure(plan, Ok, stat, nothing)
            }
            Self::Lookup => {
                let path = scratch.data();
                let directory = path.parent().unwrap_or(&path);
                let directory = mount.lookup(directory)?.handle;
                let name = path.file_name().unwrap_or(OsStr::new(""));
                let lookup = |_: &mut usize| Ok(mount.nfs().lookup(&directory, name).map(drop)?);
                measure(plan, Ok, lookup, nothing)
            }
            Self::RandomRead => {
                let pieces = FILE_SIZE / SMALL as u64;
                let begin =
                    |number| Work::new(mount.open(scratch.data(), Access::Read)?, number, SMALL);
                let read = |work: &mut Work| {
                    let offset = next_random(&mut work.random) % pieces * SMALL as u64;
                    work.read(offset)
                };
                measure(plan, begin, read, nothing)
            }
            Self::SequentialRead => {
                let begin =
                    |number| Work::new(mount.open(scratch.data(), Access::Read)?, number, LARGE);
                let read = |work: &mut Work| {
                    let offset = work.next();
                    work.read(offset)
                };
                measure(plan, begin, read, nothing)
            }
            Self::SequentialWrite => {
                let begin = |number| {
                    let file =
                        mount.create(scratch.path(format!("write-{number}")), 0o600, false)?;
                    Work::new(file, number, LARGE)
                };
                let write = |work: &mut Work| {
                    let offset = work.next();
                    Ok(work.file.write_at(&work.buffer, offset)?)
                };
                measure(plan, begin, write, |work| Ok(work.file.commit()?))
            }
            Self::CreateRemove => {
                let name = |number: usize| Ok(scratch.path(format!("create-{number}")));
                let create_and_remove = |path: &mut std::path::PathBuf| {
                    drop(mount.create(&*path, 0o600, false)?);
                    Ok(mount.remove(&*path)?)
                };
                measure(plan, name, create_and_remove, nothing)
            }
        }
    }
}

/// What a thread works with.
struct Work {
    file: File,
    buffer: Vec<u8>,
    random: u64,
    /// Where the next piece is.
    position: u64,
}

impl Work {
    fn new(file: File, number: usize, bytes: usize) -> Result<Self> {
        let random = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Something else than zeros, and each thread elsewhere.
        let mut work = Self { file, buffer: vec![1; bytes], random, position: 0 };
        work.position = next_random(&mut work.random) % FILE_SIZE / bytes as u64 * bytes as u64;
        Ok(work)
    }

    fn next(&mut self) -> u64 {
        let after = self.position + self.buffer.len() as u64;
        std::mem::replace(&mut self.position, if after < FILE_SIZE { after } else { 0 })
    }

    fn read(&mut self, offset: u64) -> Result<()> {
        let count = self.file.read_at(&mut self.buffer, offset)?;
        if count != self.buffer.len() {
            return Err(Trouble::new(format!("read {count} bytes at {offset} of {FILE_SIZE}")));
        }
        Ok(())
    }
}

fn nothing<S>(_: &mut S) -> Result<()> {
    Ok(())
}

const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;
