//! What belongs to a thread that serves calls.

use super::due::{Due, Item, Noting, Unflushed};
use super::{Peer, Remembered, Service};
use crate::cache::{Cache, Object, Within};
use crate::export::{Export, ExportTable};
use crate::files::Files;
use crate::handle::FileHandle;
use crate::identity::{Caller, Credentials, IdentityError, Privileges, Session};
use crate::statistics::{Counted, Place, Stopwatch};
use crate::{Result, Status};
use holm_nfs_proto::nfs3::Procedure;
use holm_sunrpc::{Credential, Refusal};
use std::cell::Cell;
use std::sync::Arc;

/// Is told of everything that may wait for a file system.
///
/// All such work of a call is within one [`may_block`](Self::may_block): system calls on files,
/// closing them too, and waiting for other calls on the same file. What is outside never waits
/// for more than a short lock.
pub trait Blocking {
    /// Runs `work`, at once and on this thread.
    #[track_caller]
    fn may_block<R>(&self, operation: &Operation<'_>, work: impl FnOnce() -> R) -> R;
}

/// What a thread is at.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The procedure, in the words of its RFC.
    pub procedure: &'static str,
    /// On which export.
    pub export: &'a Export,
    /// On which object, unless it is still to be found.
    pub object: Option<&'a FileHandle>,
    /// For which client.
    pub peer: &'a Peer,
}

/// For a thread that may wait: nobody is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inline;

impl Blocking for Inline {
    fn may_block<R>(&self, _: &Operation<'_>, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// What a thread needs to serve calls: its identity, and `B`, to whom it tells when it may block.
///
/// It stays on the thread where it was made.
#[derive(Debug)]
pub struct Context<B> {
    session: Session<'static>,
    blocking: B,
    attended: Option<Attended>,
    /// Where it counts.
    place: Place,
    stopwatch: Stopwatch,
}

/// Whom a context attends.
#[derive(Debug)]
pub(crate) struct Attended {
    pub(crate) service: Arc<Service>,
    pub(crate) peer: Peer,
    exports: Arc<ExportTable>,
    /// When they were current.
    replaced: u64,
    /// Bytes that the call has read or written.
    moved: Cell<u64>,
    /// How many of the calls that are served next were looked at already.
    begun: Cell<usize>,
    /// What is to be flushed before anything is answered.
    due: Due,
    /// The namespace with its cache, left last.
    within: Option<Within<Object>>,
}

impl<B: Blocking> Context<B> {
    /// A context for the calling thread, which must have these privileges.
    ///
    /// # Errors
    ///
    /// If the thread has one already; see [`Session::begin`].
    pub fn new(
        privileges: &'static Privileges,
        blocking: B,
    ) -> std::result::Result<Self, IdentityError> {
        let (session, place) = (Session::begin(privileges)?, Place::take());
        Ok(Self { session, blocking, attended: None, place, stopwatch: Stopwatch::start() })
    }

    /// Serves calls of `peer` to `service` in `work`. Afterwards nothing of the service is held,
    /// after a panic neither.
    pub fn attend<R>(
        &mut self,
        service: &Arc<Service>,
        peer: Peer,
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.attend_in(None, service, peer, work)
    }

    /// The same within a namespace, whose cache keeps files open from one call to the next. What the
    /// calls have changed is on the disk when this returns, and not before.
    ///
    /// # Errors
    ///
    /// [`Unflushed`] if it is not: none of the calls may be answered.
    pub fn attend_within<R>(
        &mut self,
        within: Within<Object>,
        service: &Arc<Service>,
        peer: Peer,
        work: impl FnOnce(&mut Self) -> R,
    ) -> std::result::Result<R, Unflushed> {
        self.attend_in(Some(within), service, peer, |context| {
            let result = work(context);
            context.flush()?;
            Ok(result)
        })
    }

    fn attend_in<R>(
        &mut self,
        within: Option<Within<Object>>,
        service: &Arc<Service>,
        peer: Peer,
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        // The number first: exports that are newer than it are looked up once more.
        let replaced = service.replaced();
        let exports = service.exports();
        let before = self.attended.replace(Attended {
            service: service.clone(),
            peer,
            exports,
            replaced,
            moved: Cell::new(0),
            begun: Cell::new(0),
            due: Due::default(),
            within,
        });
        self.stopwatch = Stopwatch::start();
        let leaving = Leaving { context: self, before };
        work(leaving.context)
    }

    /// To whom it tells when it may block.
    pub fn blocking(&self) -> &B {
        &self.blocking
    }

    /// A call of NFS was served. It is counted, and whoever sends it again is answered, as soon as
    /// what it has changed is on the disk.
    pub(crate) fn served(
        &mut self,
        procedure: Procedure,
        failed: Option<Status>,
        remembered: Option<(Remembered, &[u8])>,
    ) {
        let Some(attended) = &mut self.attended else { return };
        let (took, bytes) = (self.stopwatch.lap(), attended.moved.take());
        let call = Counted { procedure, took, bytes, failed };
        if attended.due.take_touched() {
            return attended.due.wait(call, remembered);
        }
        if let Some((remembered, results)) = remembered {
            remembered.finish(results);
        }
        attended.service.statistics().count(&self.place, call);
    }

    /// Flushes what is due.
    fn flush(&mut self) -> std::result::Result<(), Unflushed> {
        let Some(attended) = &mut self.attended else { return Ok(()) };
        let (items, calls) = attended.due.take();
        if calls.is_empty() {
            return Ok(());
        }
        let attended = &*attended;
        let mut failed = None;
        for Item { procedure, export, handle, what } in items {
            let (object, peer) = (Some(&handle), &attended.peer);
            let operation = Operation { procedure, export: &export, object, peer };
            let flushed = self.blocking.may_block(&operation, || {
                // Letting go of it may close it.
                let what = what;
                if failed.is_none() { what.flush(&export, attended.files()) } else { Ok(()) }
            });
            if let Err(status) = flushed {
                export.volume().flush_at_once();
                failed = Some((export.options().path.clone(), status));
            }
        }
        let (count, flushing) = (calls.len(), self.stopwatch.lap());
        for call in calls {
            let call = match &failed {
                None => call.finish(flushing),
                Some((_, status)) => call.fail(flushing, *status),
            };
            attended.service.statistics().count(&self.place, call);
        }
        if let Some((export, status)) = failed {
            return Err(Unflushed { export, calls: count, status });
        }
        Ok(())
    }

    /// Attends this peer from now on, and not the one that it was told at first: a client at the door
    /// has its address from another connection.
    pub(crate) fn attend_peer(&mut self, peer: Peer) {
        if let Some(attended) = &mut self.attended {
            attended.peer = peer;
        }
    }

    /// Whom it attends, with exports that are current.
    pub(crate) fn attended(&mut self) -> std::result::Result<&Attended, Refusal> {
        let attended = self.attended.as_mut().ok_or(Refusal::SystemError)?;
        attended.refresh();
        Ok(attended)
    }

    /// The parts, so that they can be used at the same time.
    pub(crate) fn parts(&mut self) -> std::result::Result<Scope<'_, B>, Refusal> {
        let attended = self.attended.as_mut().ok_or(Refusal::SystemError)?;
        attended.refresh();
        attended.begun.set(attended.begun.get().saturating_sub(1));
        Ok(Scope { session: &mut self.session, blocking: &self.blocking, attended })
    }
}

/// Forgets whom the context attended.
struct Leaving<'c, B> {
    context: &'c mut Context<B>,
    before: Option<Attended>,
}

impl<B> Drop for Leaving<'_, B> {
    fn drop(&mut self) {
        self.context.attended = self.before.take();
    }
}

impl Attended {
    /// The call has read or written so many bytes.
    pub(crate) fn moved(&self, bytes: usize) {
        self.moved.set(bytes as u64);
    }

    /// How many of the calls behind the one that is served were looked at.
    pub(crate) fn begun_ahead(&self) -> usize {
        self.begun.get()
    }

    /// One more of them is.
    pub(crate) fn begin_ahead(&self) {
        self.begun.set(self.begun.get() + 1);
    }

    /// What the service exports.
    pub(crate) fn exports(&self) -> &ExportTable {
        &self.exports
    }

    /// The namespace with its cache, if it attends the peer within one.
    pub(crate) fn cache(&self) -> Option<&Cache<Object>> {
        self.within.as_deref()
    }

    /// Where objects come from.
    pub(crate) fn files(&self) -> Files<'_> {
        Files::new(&self.service, self.within.as_deref())
    }

    /// Where what a call changes is noted, to be flushed with what others do if they are served within
    /// a namespace.
    pub(crate) fn noting<'a>(
        &'a self,
        procedure: &'static str,
        export: &'a Arc<Export>,
    ) -> Noting<'a> {
        let due = self.within.is_some().then_some(&self.due);
        Noting { due, files: self.files(), key: self.service.key(), procedure, export }
    }

    /// Whether the service has anything for the peer at all. To others it says nothing.
    pub(crate) fn admits_peer(&self) -> bool {
        self.exports.admits(self.peer.origin())
    }

    /// Refuses the peer if the export is not for it.
    pub(crate) fn must_admit(&self, export: &Export) -> Result<()> {
        let by_port = self.peer.is_privileged() || !export.options().privileged_port;
        if by_port && export.admits(self.peer.origin()) { Ok(()) } else { Err(Status::Acces) }
    }

    /// The handle that a client sent, and the export that it is of, if the client may use it.
    ///
    /// # Errors
    ///
    /// [`Status::BadHandle`], [`Status::Stale`]; [`Status::Acces`] for a client that the export is
    /// not for.
    pub(crate) fn admit(&self, sent: &[u8]) -> Result<(FileHandle, &Arc<Export>)> {
        let handle = FileHandle::verify(self.service.key(), sent)?;
        if handle.volume() != 0 {
            return Err(Status::Stale);
        }
        let export = self.exports.of_handle(handle.export())?;
        self.must_admit(export)?;
        Ok((handle, export))
    }

    fn refresh(&mut self) {
        let replaced = self.service.replaced();
        if replaced != self.replaced {
            self.exports = self.service.exports();
            self.replaced = replaced;
        }
    }
}

/// A context in use.
pub(crate) struct Scope<'c, B> {
    session: &'c mut Session<'static>,
    blocking: &'c B,
    pub(crate) attended: &'c Attended,
}

impl<B: Blocking> Scope<'_, B> {
    /// Runs `work` on an export as whoever the caller is there.
    ///
    /// # Errors
    ///
    /// [`Status::ServerFault`] if the thread could not become that; `work` did not run.
    #[track_caller]
    pub(crate) fn run<T>(
        &mut self,
        procedure: &'static str,
        export: &Arc<Export>,
        object: Option<&FileHandle>,
        credential: &Credential<'_>,
        work: impl FnOnce(&Caller<'_>) -> T,
    ) -> Result<T> {
        let caller = self.who(export, credential);
        self.run_as(procedure, export, object, &caller, work)
    }

    /// The same for a caller of whom it is [known who it is](Self::who).
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub(crate) fn run_as<T>(
        &mut self,
        procedure: &'static str,
        export: &Arc<Export>,
        object: Option<&FileHandle>,
        caller: &Credentials,
        work: impl FnOnce(&Caller<'_>) -> T,
    ) -> Result<T> {
        let operation = Operation { procedure, export, object, peer: &self.attended.peer };
        let noting = self.attended.noting(procedure, export);
        self.blocking.may_block(&operation, || {
            self.session.run_as(caller, |caller| work(&caller.flushed_by(&noting)))
        })
    }

    /// Runs `work`, for which it does not matter who the thread is: on objects that are open.
    #[track_caller]
    pub(crate) fn run_as_anybody<T>(
        &mut self,
        procedure: &'static str,
        export: &Export,
        object: &FileHandle,
        work: impl FnOnce() -> T,
    ) -> T {
        let object = Some(object);
        let operation = Operation { procedure, export, object, peer: &self.attended.peer };
        self.blocking.may_block(&operation, work)
    }

    /// Who the caller is on an export.
    pub(crate) fn who(&self, export: &Export, credential: &Credential<'_>) -> Credentials {
        let squash = &export.options().squash;
        let caller = match credential {
            Credential::None => squash.anonymous(),
            Credential::Sys(sys) => squash.apply(&Credentials::new(sys.uid, sys.gid, &sys.gids)),
        };
        self.session.effective(&caller)
    }

    /// The same for a caller of whom the kernel says who it is.
    pub(crate) fn who_is(&self, export: &Export, claimed: &Credentials) -> Credentials {
        self.session.effective(&export.options().squash.apply(claimed))
    }
}
