//! Who flushes a file, and may learn of a failure in another's place.
//!
//! Linux tells of a flush that failed once. A commit that comes after it hears nothing, so it must not
//! answer before whoever heard has changed the write verifier: it waits for all that flush its file.
//! It never waits for those of another file, which may take for ever.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use holm_lifetime::sync::{Condvar, Mutex};
use std::collections::HashMap;

/// The flushes of one export, by inode number: a file with two names may have two handles.
#[derive(Debug, Default)]
pub(crate) struct Flushing {
    files: Mutex<HashMap<u64, Flushers>>,
    /// One of a file has ended that others wait for.
    ended: Condvar,
}

/// Who flushes a file, or waits to.
#[derive(Debug, Default)]
struct Flushers {
    /// Operations that may flush it.
    others: u32,
    /// Commits, with those that wait.
    commits: u32,
    committing: bool,
}

/// A flush, until it has ended and a failure has changed the write verifier.
#[derive(Debug)]
#[must_use = "it lasts until it is dropped"]
pub(crate) struct Flush<'f> {
    flushing: &'f Flushing,
    inode: u64,
    is_commit: bool,
}

impl Flushing {
    /// For an operation that may flush the file and so take note of an earlier failure in place of
    /// a commit. Waits for commits of the file.
    pub(crate) fn may_flush(&self, inode: u64) -> Flush<'_> {
        let mut files = self.files.lock();
        // Of the waiting ones too: there may always be another operation.
        while files.get(&inode).is_some_and(|flushers| flushers.commits > 0) {
            files = self.ended.wait(files);
        }
        files.entry(inode).or_default().others += 1;
        Flush { flushing: self, inode, is_commit: false }
    }

    /// For a commit: nobody else has seen a failure to flush the file and not yet changed the write
    /// verifier.
    pub(crate) fn commit(&self, inode: u64) -> Flush<'_> {
        let mut files = self.files.lock();
        files.entry(inode).or_default().commits += 1;
        loop {
            let flushers = files.entry(inode).or_default();
            if flushers.others == 0 && !flushers.committing {
                flushers.committing = true;
                return Flush { flushing: self, inode, is_commit: true };
            }
            files = self.ended.wait(files);
        }
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        let mut files = self.flushing.files.lock();
        let flushers = files.entry(self.inode).or_default();
        if self.is_commit {
            flushers.committing = false;
            flushers.commits -= 1;
        } else {
            flushers.others -= 1;
        }
        let alone = (flushers.others, flushers.commits) == (0, 0);
        if alone {
            files.remove(&self.inode);
        }
        drop(files);
        self.flushing.ended.notify_all();
    }
}
