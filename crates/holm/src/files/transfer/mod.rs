//! Copies between servers and this machine, so that whatever interrupts it, the same call again goes on
//! where it was, and nothing that is not complete is ever under a name that somebody looks for.
//!
//! # The rules
//!
//! - A file is written under a **name of its own** beside its target: `.NAME.ID.holm-part`, made for nobody
//!   else. `ID` stands for the source's server, number, size, mtime and ctime: a source that has changed has
//!   another, so that two of them are never mixed, and two calls that copy the same source write the same
//!   bytes to the same places.
//! - When all of it is written it is committed (COMMIT at a server, fsync here), then has its mode and
//!   times, then the source is looked at once more, and only then it is **renamed** to its target. So a
//!   target is what it was before, or complete and durable.
//! - A target with the source's size and mtime is such a copy, and is **not copied again**, unless that is
//!   asked for.
//! - Beside a large file that is being written lies a **record**, `.NAME.ID.holm-record`: which file it is
//!   about, and up to where everything is durable. It grows by a line after each commit ([`record`]). A copy
//!   goes on from the last whole line; what lies behind that is written again.
//! - The root of a tree that is being filled has a **marker** in it, `.ID.holm-part`, which goes when the
//!   tree is complete; `ID` stands for the source's directory. Called again, the copy goes into the tree that has the marker, not beneath it; and a
//!   source directory in which it is found is the target itself, by whatever way it is reached.
//! - Files with such names are not copied themselves.
//! - Directories get their mode and times when everything beneath them is done.
//!
//! # What a server or another user can't do
//!
//! Directories and files are held by descriptor or handle, and no symbolic link is followed on either side,
//! but those in a path that the user gave himself. Names of a listing that are no names (`..`, `a/b`) are
//! refused by the client library. What lies at a name of our own and is not ours is removed, not written to.

mod file;
pub mod local;
mod names;
mod pieces;
pub mod record;
pub mod remote;
pub mod side;
#[cfg(test)]
mod tests;
mod tree;

use super::outcome::Trouble;
use side::Directory;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How it is copied.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Directories, with all that is in them.
    pub recursive: bool,
    /// Owners and groups as well, where we may give files away; and set-uid and set-gid with them.
    pub owner: bool,
    /// Also what is there already.
    pub again: bool,
    /// Files at a time.
    pub files: usize,
    /// Pieces of one file at a time.
    pub pieces: usize,
}

/// What a source or a target is: a name in a directory, or the directory itself.
#[derive(Clone)]
pub struct Spot {
    /// Held.
    pub directory: Arc<dyn Directory>,
    /// In it.
    pub name: Option<OsString>,
}

/// A source, and what it becomes.
pub struct Item {
    /// From here.
    pub source: Spot,
    /// To here: a name is given, if the source is no directory.
    pub target: Spot,
    /// The target was named by its directory, which was there: an interrupted copy may have made it, as the
    /// source's copy itself.
    pub into: bool,
}

/// Who looks on.
pub trait Watch: Sync {
    /// So many bytes and files more are to be copied.
    fn found(&self, files: u64, bytes: u64);
    /// So many bytes have been, or need not be.
    fn moved(&self, bytes: u64);
    /// Something could not be copied.
    fn failed(&self, trouble: &Trouble);
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files and links that were copied.
    pub copied: u64,
    /// Those that were there already.
    pub same: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Files that were gone on with where an earlier copy was interrupted.
    pub resumed: u64,
    /// What could not be copied.
    pub failed: u64,
    /// The server is gone, and the rest was not tried.
    pub unreachable: bool,
}

/// Copies everything. What can't be copied is told to `watch`, and the rest goes on.
pub fn copy(items: &[Item], options: Options, watch: &dyn Watch) -> Summary {
    let run =
        Run { options, watch, counts: Counts::default(), unreachable: AtomicBool::new(false) };
    tree::copy(&run, items);
    run.summary()
}

/// A copy that is under way.
struct Run<'w> {
    options: Options,
    watch: &'w dyn Watch,
    counts: Counts,
    unreachable: AtomicBool,
}

#[derive(Default)]
struct Counts {
    copied: AtomicU64,
    same: AtomicU64,
    bytes: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

impl Run<'_> {
    fn fail(&self, trouble: &Trouble) {
        let unreachable = trouble.is_unreachable();
        // What comes after that only comes of it.
        if self.is_over() || (unreachable && self.unreachable.swap(true, Ordering::Relaxed)) {
            return;
        }
        add(&self.counts.failed, 1);
        self.watch.failed(trouble);
    }

    /// Whether it makes no sense to go on.
    fn is_over(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    fn failures(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    fn summary(&self) -> Summary {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Summary {
            copied: count(&self.counts.copied),
            same: count(&self.counts.same),
            bytes: count(&self.counts.bytes),
            resumed: count(&self.counts.resumed),
            failed: count(&self.counts.failed),
            unreachable: self.is_over(),
        }
    }
}

fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}
