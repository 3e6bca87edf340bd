//! All exports of one namespace.

use super::{Export, ExportPath};
use crate::service::Origin;
use crate::{Result, Status};
use std::sync::Arc;

/// The exports of a namespace. It does not change: another one takes its place, in which what
/// stays is the same [`Export`].
#[derive(Clone, Debug, Default)]
pub struct ExportTable {
    /// In the order of their paths.
    exports: Vec<Arc<Export>>,
}

/// Why exports do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two have the same path.
    #[error("{0} is exported twice")]
    Twice(ExportPath),
    /// Two happen to have the same number, which is made of path and directory.
    #[error("exports {0} and {1} cannot be told apart in handles: change the path of one")]
    SameId(ExportPath, ExportPath),
}

impl ExportTable {
    /// A table of these.
    ///
    /// # Errors
    ///
    /// If two have the same path.
    pub fn new(mut exports: Vec<Arc<Export>>) -> std::result::Result<Self, TableError> {
        exports.sort_by(|one, other| path(one).cmp(path(other)));
        for (index, export) in exports.iter().enumerate() {
            for other in exports.iter().skip(index + 1) {
                if path(export) == path(other) {
                    return Err(TableError::Twice(path(export).clone()));
                }
                if export.id() == other.id() {
                    return Err(TableError::SameId(path(export).clone(), path(other).clone()));
                }
            }
        }
        Ok(Self { exports })
    }

    /// All of them, in the order of their paths.
    pub fn exports(&self) -> &[Arc<Export>] {
        &self.exports
    }

    /// The export that a handle is of.
    ///
    /// # Errors
    ///
    /// [`Status::Stale`] if it is gone.
    pub fn of_handle(&self, export: u32) -> Result<&Arc<Export>> {
        self.exports.iter().find(|known| known.id() == export).ok_or(Status::Stale)
    }

    /// The export that a path lies in: of several, the innermost.
    pub fn of_path(&self, asked: &[u8]) -> Option<&Arc<Export>> {
        self.exports
            .iter()
            .filter(|export| path(export).within(asked).is_some())
            .max_by_key(|export| path(export).depth())
    }

    /// Whether there is anything for a client here.
    pub fn admits(&self, client: Origin) -> bool {
        self.exports.iter().any(|export| export.admits(client))
    }
}

fn path(export: &Export) -> &ExportPath {
    &export.options().path
}
