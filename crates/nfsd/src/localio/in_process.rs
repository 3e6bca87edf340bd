//! Files for the program that serves them.

use crate::export::Export;
use crate::files::HeldFile;
use crate::handle::FileHandle;
use crate::identity::{Caller, Credentials};
use crate::service::{Attended, Blocking, Context, Peer, Scope, Service};
use crate::volume::{Access, Stability};
use crate::{Result, Status, cache};
use holm_lifetime::sync::Mutex;
use holm_netns::Namespace;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a program that has the server within it opens files by, as some user.
///
/// Nothing is held from one operation to the next: each enters the namespace, finds the file in its
/// cache or opens it, does what it has to and leaves. So nothing has to be recalled. When the namespace
/// goes, an operation either has begun, and is waited for, or is [`Missed::Recalled`].
#[derive(Clone, Debug)]
pub struct InProcess {
    ns: Namespace,
    /// Not kept: its exports are closed when the namespace has gone, whoever has this still.
    service: Weak<Service>,
    peer: Peer,
    who: Credentials,
}

/// A file of a [program's own](InProcess).
pub struct InProcessFile {
    from: InProcess,
    /// As the server has given it.
    handle: Box<[u8]>,
    access: Access,
    /// The write verifier from before the first write that was not committed since.
    uncommitted: Mutex<Option<[u8; 8]>>,
}

/// Why an operation was not done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// The namespace is on its way out.
    #[error("the namespace of the file is on its way out")]
    Recalled,
    /// What NFS would have answered.
    #[error(transparent)]
    Failed(#[from] Status),
}

impl InProcess {
    /// The files of `ns`, which `service` serves, for a user who is taken for being at `peer`. It is
    /// squashed as others are.
    pub fn new(ns: &Namespace, service: &Arc<Service>, peer: Peer, who: Credentials) -> Self {
        Self { ns: ns.clone(), service: Arc::downgrade(service), peer, who }
    }

    /// Opens a file by its handle, on the thread of `context`.
    ///
    /// # Errors
    ///
    /// What NFS would answer to who reads or writes it, or that the namespace goes.
    pub fn open<B: Blocking>(
        &self,
        context: &mut Context<B>,
        handle: &[u8],
        access: Access,
    ) -> std::result::Result<InProcessFile, Missed> {
        let (from, handle) = (self.clone(), handle.into());
        let file = InProcessFile { from, handle, access, uncommitted: Mutex::new(None) };
        file.within(context, OPEN, false, |_, _, _| Ok(()))?;
        Ok(file)
    }
}

impl InProcessFile {
    /// Reads from `offset` on, and says how many bytes: fewer than there is room for at the end of the
    /// file.
    ///
    /// # Errors
    ///
    /// What NFS would answer, or that the namespace goes.
    pub fn read_at<B: Blocking>(
        &self,
        context: &mut Context<B>,
        buffer: &mut [u8],
        offset: u64,
    ) -> std::result::Result<usize, Missed> {
        self.within(context, READ, true, |_, _, file| file.read_at(buffer, offset))
    }

    /// Writes at `offset`, and says how many bytes: fewer if the disk became full. It may be in memory
    /// only until it is [committed](Self::commit).
    ///
    /// # Errors
    ///
    /// As for reading.
    pub fn write_at<B: Blocking>(
        &self,
        context: &mut Context<B>,
        data: &[u8],
        offset: u64,
    ) -> std::result::Result<usize, Missed> {
        self.within(context, WRITE, false, |on, caller, file| {
            let _change = on.export.stripes().change(file.inode());
            let verifier = on.attended.files().write_verifier();
            let Some(caller) = caller else { return Err(Status::ServerFault) };
            let write = |file: &crate::volume::OpenFile| {
                file.write_at(caller, data, offset, Stability::Unstable)
            };
            let written = file.write(write);
            // After the write: a commit that takes it away need not have seen this one.
            self.uncommitted.lock().get_or_insert(verifier);
            written
        })
    }

    /// Brings all that was written to the file to the disk.
    ///
    /// # Errors
    ///
    /// As for reading. [`Status::Io`]: something that was written to it may be lost.
    pub fn commit<B: Blocking>(&self, context: &mut Context<B>) -> std::result::Result<(), Missed> {
        self.within(context, COMMIT, true, |on, _, file| {
            let written = self.uncommitted.lock().take();
            let alone = || on.export.flushing().commit(file.inode());
            let verifier = on.attended.files().commit(file, alone)?;
            if written.is_none_or(|written| written == verifier) { Ok(()) } else { Err(Status::Io) }
        })
    }

    /// Does `work` on the open file, within the namespace; with `known`, by whoever the thread is, if
    /// the file is open already.
    fn within<B: Blocking, R>(
        &self,
        context: &mut Context<B>,
        operation: &'static str,
        known: bool,
        work: impl FnOnce(On<'_>, Option<&Caller<'_>>, &HeldFile<'_>) -> Result<R>,
    ) -> std::result::Result<R, Missed> {
        let InProcess { ns, service, peer, who } = &self.from;
        // Left last: the namespace does not end while its service is used here.
        let _inside = ns.enter().ok_or(Missed::Recalled)?;
        let service = service.upgrade().ok_or(Missed::Recalled)?;
        let within = cache::Within::enter(ns).ok_or(Missed::Recalled)?;
        let done = context.attend_within(within, &service, *peer, |context| {
            let mut scope = context.parts().map_err(|_| Status::ServerFault)?;
            let (handle, export) = scope.attended.admit(&self.handle)?;
            let who = scope.who_is(export, who);
            self.on_file(&mut scope, export, &handle, &who, (operation, known), work)
        });
        // What is unstable is not due.
        let done = done.unwrap_or_else(|unflushed| Err(unflushed.status));
        // A cache that takes in nothing more says so before nobody can enter.
        let goes = done.as_ref().is_err_and(|status| *status == Status::Jukebox)
            && service.local().is_shut();
        if goes { Err(Missed::Recalled) } else { Ok(done?) }
    }

    fn on_file<B: Blocking, R>(
        &self,
        scope: &mut Scope<'_, B>,
        export: &Arc<Export>,
        handle: &FileHandle,
        who: &Credentials,
        (operation, known): (&'static str, bool),
        work: impl FnOnce(On<'_>, Option<&Caller<'_>>, &HeldFile<'_>) -> Result<R>,
    ) -> Result<R> {
        let attended = scope.attended;
        let (files, volume, on) = (attended.files(), export.volume(), On { attended, export });
        let found = known.then(|| files.known_file(who, volume, handle, self.access)).flatten();
        if let Some(file) = found {
            return scope.run_as_anybody(operation, export, handle, || {
                // Letting go of it may close it.
                let file = file;
                work(on, None, &file)
            });
        }
        scope.run_as(operation, export, Some(handle), who, |caller| {
            let file = files.file(caller, volume, handle, self.access)?;
            work(on, Some(caller), &file)
        })?
    }
}

/// What an operation is about.
#[derive(Clone, Copy)]
struct On<'a> {
    attended: &'a Attended,
    export: &'a Export,
}

const OPEN: &str = "LOCALIO OPEN";
const READ: &str = "LOCALIO READ";
const WRITE: &str = "LOCALIO WRITE";
const COMMIT: &str = "LOCALIO COMMIT";

impl fmt::Debug for InProcessFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessFile")
            .field("from", &self.from)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
