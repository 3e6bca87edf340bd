//! What calls have changed and is to be on the disk before any of them is answered.
//!
//! All calls that are ready on a connection are served, then everything that they have changed is
//! flushed, each object once, and then their replies are sent. For the calls it is as if each had
//! been flushed by itself and all had taken equally long: nobody is told of a call before, neither
//! its client nor whoever sends it again on another connection.
//!
//! A flush that fails is the failure of all the calls, and it is too late to say so in their results.
//! So none is answered and the connection is closed. The client sends them again, on another one;
//! they are done again; and since from then on the calls of that export are flushed one by one, each
//! answers for itself.

use super::remembered::Remembered;
use crate::cache::{Kept, Object};
use crate::export::{Export, ExportPath};
use crate::files::{Files, Held, HeldFile};
use crate::handle::{FileHandle, HandleKey, NodeId};
use crate::statistics::Counted;
use crate::volume::{Changed, Flusher, Volume};
use crate::{Result, Status};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

/// What the calls of a turn have changed, and what is said of them when it is on the disk.
#[derive(Debug, Default)]
pub(super) struct Due {
    items: RefCell<Vec<Item>>,
    /// The call that is being served has changed some of it.
    touched: Cell<bool>,
    unanswered: Vec<Unanswered>,
}

/// An object that is to be flushed, and who was the first to want it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) procedure: &'static str,
    pub(super) export: Arc<Export>,
    pub(super) handle: FileHandle,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Written(Kept<Object>),
    Changed(Changed),
}

/// A call that was served.
#[derive(Debug)]
pub(super) struct Unanswered {
    call: Counted,
    remembered: Option<(Remembered, Box<[u8]>)>,
}

/// What calls have changed did not come to the disk. None of them may be answered, and the connection
/// is to be closed: their client sends them again, and is told of each by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "export {export}: {calls} calls are not answered, because what they changed could not be flushed \
     ({status}); the connection is closed, and the export's calls are flushed one by one from now on"
)]
pub struct Unflushed {
    /// Where.
    pub export: ExportPath,
    /// How many calls.
    pub calls: usize,
    /// Why.
    pub status: Status,
}

impl Due {
    /// Whether the call that was served has changed something that is due; once for each call.
    pub(super) fn take_touched(&self) -> bool {
        self.touched.take()
    }

    /// That call waits.
    pub(super) fn wait(&mut self, call: Counted, remembered: Option<(Remembered, &[u8])>) {
        let remembered = remembered.map(|(remembered, results)| (remembered, results.into()));
        self.unanswered.push(Unanswered { call, remembered });
    }

    /// Everything that is due, in the order in which it is to be flushed, and the calls that wait.
    pub(super) fn take(&mut self) -> (Vec<Item>, Vec<Unanswered>) {
        let mut items = std::mem::take(self.items.get_mut());
        items.sort_by_key(|item| match &item.what {
            What::Written(_) => 0,
            What::Changed(changed) if !changed.is_directory() => 1,
            What::Changed(_) => 2,
        });
        (items, std::mem::take(&mut self.unanswered))
    }
}

impl What {
    /// Flushes it. A failure has changed the write verifier.
    pub(super) fn flush(&self, export: &Export, files: Files<'_>) -> Result<()> {
        let flushing = export.flushing();
        match self {
            Self::Written(file) => file.flush(|| flushing.commit(file.file().inode())),
            Self::Changed(changed) => {
                let _flushes = flushing.may_flush(changed.inode());
                export.volume().flush(changed).inspect_err(|_| files.change_write_verifier())
            }
        }
    }
}

impl Unanswered {
    /// What it has changed is on the disk, and took so long to get there.
    pub(super) fn finish(self, flushing: Duration) -> Counted {
        if let Some((remembered, results)) = self.remembered {
            remembered.finish(&results);
        }
        Counted { took: self.call.took + flushing, ..self.call }
    }

    /// It is not.
    pub(super) fn fail(self, flushing: Duration, status: Status) -> Counted {
        Counted { took: self.call.took + flushing, failed: Some(status), ..self.call }
    }
}

/// What a call changes is noted here.
pub(crate) struct Noting<'a> {
    /// None: every call flushes what it changes itself.
    pub(super) due: Option<&'a Due>,
    pub(super) files: Files<'a>,
    pub(super) key: &'a HandleKey,
    pub(super) procedure: &'static str,
    pub(super) export: &'a Arc<Export>,
}

impl Noting<'_> {
    /// Runs a write to a file that is flushed later, whatever was written to it by then; `None`: this
    /// one has to be flushed by itself, and was not run.
    pub(crate) fn write<R>(
        &self,
        handle: &FileHandle,
        file: &HeldFile<'_>,
        write: impl FnOnce() -> R,
    ) -> Option<R> {
        let (Some(due), Held::Cached(file)) = (self.due, file) else { return None };
        if self.export.volume().flushes_at_once() {
            return None;
        }
        let is = |item: &Item| matches!(&item.what, What::Written(kept) if file.is_kept_as(kept));
        if due.items.borrow().iter().any(is) {
            due.touched.set(true);
        } else {
            self.put(due, *handle, What::Written(file.keep()?));
        }
        Some(file.write_kept(write))
    }

    fn put(&self, due: &Due, handle: FileHandle, what: What) {
        let (procedure, export) = (self.procedure, self.export.clone());
        due.items.borrow_mut().push(Item { procedure, export, handle, what });
        due.touched.set(true);
    }
}

impl Flusher for Noting<'_> {
    fn has(&self, volume: &Volume, object: &NodeId) -> bool {
        let Some(due) = self.due else { return false };
        let is = |item: &Item| match &item.what {
            What::Written(_) => false,
            What::Changed(changed) => changed.is(volume, object),
        };
        let has = due.items.borrow().iter().any(is);
        due.touched.set(due.touched.get() || has);
        has
    }

    fn take(&self, changed: Changed) -> Option<Changed> {
        let Some(due) = self.due else { return Some(changed) };
        self.put(due, self.export.seal(self.key, changed.id()), What::Changed(changed));
        None
    }

    fn failed(&self) {
        self.files.change_write_verifier();
    }
}
