//! What all procedures need: their object, and what is said of it around the operation.

use crate::attributes::Attributes;
use crate::export::Export;
use crate::files::{Files, HeldNode};
use crate::handle::{FileHandle, NodeId};
use crate::identity::{Caller, Credentials};
use crate::service::Attended;
use crate::stripes::Change;
use crate::volume::{Node, OpenFile, Volume};
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{self, PostOpAttributes, WccAttributes, WccData};
use holm_xdr::Opaque;
use std::sync::Arc;

/// A call that was let in: what it is about, and who asks.
pub(super) struct Request<'r> {
    pub(super) attended: &'r Attended,
    pub(super) export: &'r Arc<Export>,
    /// The object that the arguments begin with.
    pub(super) handle: FileHandle,
    pub(super) caller: &'r Caller<'r>,
    /// The user and the group that it says it is, if it says so.
    pub(super) claimed: Option<(u32, u32)>,
}

/// A call that was let in, and may be answered from what is open already, by whoever the thread is.
pub(super) struct Known<'r> {
    pub(super) attended: &'r Attended,
    pub(super) export: &'r Export,
    pub(super) handle: FileHandle,
    /// Who asks, after squashing.
    pub(super) who: &'r Credentials,
}

/// How a procedure ends: with its result encoded, or a failure.
pub(super) type Done<F> = std::result::Result<(), Failure<F>>;

/// A status, and what the procedure says beside it.
#[derive(Debug)]
pub(super) struct Failure<F> {
    pub(super) status: Status,
    pub(super) detail: F,
}

impl<F: Default> From<Status> for Failure<F> {
    fn from(status: Status) -> Self {
        Self { status, detail: F::default() }
    }
}

/// Says what goes with a failure.
pub(super) trait Detail<T> {
    fn detail<F>(self, detail: impl FnOnce() -> F) -> std::result::Result<T, Failure<F>>;
}

impl<T> Detail<T> for Result<T> {
    fn detail<F>(self, detail: impl FnOnce() -> F) -> std::result::Result<T, Failure<F>> {
        self.map_err(|status| Failure { status, detail: detail() })
    }
}

impl Request<'_> {
    pub(super) fn volume(&self) -> &Volume {
        self.export.volume()
    }

    /// Where objects come from.
    pub(super) fn files(&self) -> Files<'_> {
        self.attended.files()
    }

    /// Opens the object.
    pub(super) fn open(&self) -> Result<(HeldNode<'_>, Attributes)> {
        self.files().node(self.caller, self.volume(), &self.handle)
    }

    pub(super) fn seal(&self, node: &NodeId) -> FileHandle {
        self.export.seal(self.attended.service.key(), node)
    }

    /// Attributes for the client.
    pub(super) fn wire(&self, attributes: &Attributes) -> nfs3::Attributes {
        self.export.attributes(attributes)
    }

    /// The attributes of an object after the operation.
    pub(super) fn post(&self, node: &Node) -> PostOpAttributes {
        node.attributes().ok().map(|attributes| self.wire(&attributes))
    }

    /// Opens the object in order to change it, or what is in it.
    pub(super) fn begin(&self) -> Result<Around<'_>> {
        let files = self.files();
        let around = self.around(files.only_node(self.caller, self.volume(), &self.handle)?);
        if matches!(around, Err(Status::Stale)) {
            // Removed. We keep it from being gone.
            files.changed(&self.handle);
        }
        around
    }

    /// Looks at an object before it is changed.
    ///
    /// # Errors
    ///
    /// If it was removed, or the file system does not say.
    pub(super) fn around<'r>(&'r self, node: HeldNode<'r>) -> Result<Around<'r>> {
        let change = Some(self.export.stripes().change(node.inode()));
        // After the change has begun: before, it could have been changed by another.
        self.before(node, change)
    }

    fn before<'r>(&'r self, node: HeldNode<'r>, change: Option<Change<'r>>) -> Result<Around<'r>> {
        let before = node.attributes()?;
        let before = Some(self.wire(&before));
        Ok(Around { request: self, node, before, change })
    }

    /// As [`around`](Self::around), for a second object of one call that shares a stripe with the
    /// first.
    pub(super) fn around_another<'r>(
        &'r self,
        node: HeldNode<'r>,
        first: &Around<'_>,
    ) -> Result<Around<'r>> {
        if !self.export.stripes().is_same(node.inode(), first.node.inode()) {
            return self.around(node);
        }
        self.before(node, None)
    }
}

/// An object that is being changed, with what it was before.
pub(super) struct Around<'r> {
    request: &'r Request<'r>,
    pub(super) node: HeldNode<'r>,
    before: PostOpAttributes,
    /// None: that of another object stands for it.
    change: Option<Change<'r>>,
}

impl Around<'_> {
    /// A change of another object by the same call; none if this one stands for it, as they share a
    /// stripe.
    pub(super) fn also(&self, inode: u64) -> Option<Change<'_>> {
        let stripes = self.request.export.stripes();
        (!stripes.is_same(inode, self.node.inode())).then(|| stripes.change(inode))
    }

    /// What the object was and is.
    pub(super) fn wcc(&self) -> WccData {
        let after = self.request.post(&self.node);
        self.data(self.change.as_ref().is_some_and(Change::is_alone), after)
    }

    /// The same, with the other object of the call.
    pub(super) fn wcc_beside(&self, first: &Self) -> WccData {
        let after = self.request.post(&self.node);
        let change = self.change.as_ref().or(first.change.as_ref());
        self.data(change.is_some_and(Change::is_alone), after)
    }

    fn data(&self, alone: bool, after: PostOpAttributes) -> WccData {
        WccData { before: before(self.before.as_ref(), alone), after }
    }
}

/// A file that is being changed, with what it was before.
pub(super) struct AroundFile<'r> {
    request: &'r Request<'r>,
    file: &'r OpenFile,
    before: PostOpAttributes,
    change: Change<'r>,
}

impl<'r> AroundFile<'r> {
    /// Looks at a file before it is changed; refuses one that was removed and is open still.
    pub(super) fn begin(request: &'r Request<'r>, file: &'r OpenFile) -> Result<Self> {
        let change = request.export.stripes().change(file.inode());
        let before = file.attributes();
        if before == Err(Status::Stale) {
            request.files().changed(&request.handle);
            return Err(Status::Stale);
        }
        let before = before.ok().map(|attributes| request.wire(&attributes));
        Ok(Self { request, file, before, change })
    }

    /// What the file was and is.
    pub(super) fn wcc(&self) -> WccData {
        let after = self.file.attributes().ok().map(|attributes| self.request.wire(&attributes));
        WccData { before: before(self.before.as_ref(), self.change.is_alone()), after }
    }
}

/// A handle as results have it.
pub(super) fn opaque(handle: &FileHandle) -> nfs3::FileHandle<'_> {
    // A handle has 64 bytes at most.
    Opaque::new(handle.as_bytes()).unwrap_or_default()
}

fn before(attributes: Option<&nfs3::Attributes>, alone: bool) -> Option<WccAttributes> {
    attributes.filter(|_| alone).map(WccAttributes::from)
}
