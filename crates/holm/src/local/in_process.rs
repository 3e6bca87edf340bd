//! Files for a program that has the server within itself: no socket, no descriptor handed out.
//!
//! Each operation is done on the thread that asks for it, inside the namespace, and nothing is held
//! between two of them. So when the namespace has gone, nothing was lent.

use crate::nfs::{Noted, Serving};
use holm_localio::{Access, Borrower, Handle, LocalDoor, LocalError, LocalFile};
use holm_nfs_proto::nfs3;
use holm_nfsd::identity::IdentityError;
use holm_nfsd::localio::{InProcess, InProcessFile, Missed};
use holm_nfsd::service::Context;
use holm_nfsd::volume;
use std::io;

/// A door within the process.
#[derive(Debug)]
pub(crate) struct InProcessDoor {
    pub(crate) files: InProcess,
    pub(crate) host: OwnThreads,
}

/// The program's own threads, in a namespace.
#[derive(Debug, Clone)]
pub(crate) struct OwnThreads {
    pub(crate) ns: u64,
    pub(crate) serving: Serving,
}

/// A file that was opened by it.
struct Opened {
    file: InProcessFile,
    host: OwnThreads,
}

impl LocalDoor for InProcessDoor {
    fn open(
        &self,
        file: &Handle,
        access: Access,
        _: &Borrower,
    ) -> Result<Box<dyn LocalFile>, LocalError> {
        let Self { files, host } = self;
        let access = match access {
            Access::Read => volume::Access::Read,
            Access::Write => volume::Access::Write,
            Access::ReadWrite => volume::Access::ReadWrite,
        };
        let opened = host.on_this_thread(|on| files.open(on, file.as_bytes(), access));
        Ok(Box::new(Opened { file: opened?, host: host.clone() }))
    }
}

impl LocalFile for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LocalError> {
        self.host.on_this_thread(|on| self.file.read_at(on, buffer, offset))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<usize, LocalError> {
        self.host.on_this_thread(|on| self.file.write_at(on, data, offset))
    }

    fn commit(&self) -> Result<(), LocalError> {
        self.host.on_this_thread(|on| self.file.commit(on))
    }

    /// Nothing was held.
    fn close(self: Box<Self>, _: bool) {}
}

impl OwnThreads {
    /// Does something on the calling thread, which is itself again afterwards.
    fn on_this_thread<R>(
        &self,
        work: impl FnOnce(&mut Context<Noted>) -> Result<R, Missed>,
    ) -> Result<R, LocalError> {
        let failed = |error: IdentityError| LocalError::Failed(io::Error::other(error));
        let mut context = self.serving.on_own_thread(self.ns).map_err(failed)?;
        work(&mut context).map_err(|missed| match missed {
            Missed::Recalled => LocalError::Recalled,
            Missed::Failed(status) => LocalError::Refused(nfs3::Error::from(status)),
        })
    }
}
