//! What a session is told, and what it needs.

use crate::Result;
use crate::cache::{File, Stateful};
use crate::handle::FileHandle;
use crate::service::Peer;
use crate::volume::Access;
use std::any::Any;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Who has come to the door, by the kernel's word: `SO_PEERCRED` and `SO_PEERGROUPS` (unix(7)), as they
/// were when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The process, for people to read; none if it is in no namespace of ours.
    pub pid: Option<i32>,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// The way to a client.
pub trait Line: Send + Sync + 'static {
    /// Sends a message, and a descriptor with it, without waiting. It is called with a lock held.
    ///
    /// # Errors
    ///
    /// If it cannot be sent now. The session ends then.
    fn send(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()>;

    /// Says no more and listens no more, without waiting. What the other side has sent until now may
    /// be lost. Whoever reads from the line finds its end and says [`Session::ended`].
    ///
    /// [`Session::ended`]: super::Session::ended
    fn end(&self);
}

/// What a client wants to have opened.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Who it is.
    pub who: &'a PeerCredentials,
    /// Where it is: the peer of its NFS connection.
    pub peer: Peer,
    /// The file, as the client has sent it.
    pub handle: &'a [u8],
    /// What for.
    pub access: Access,
}

/// Opens files as whoever wants them, and closes them. It may block, and sees to it that whoever has to
/// know of that does.
pub trait Opener<F: File> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// What NFS would say; [`Status::NotSupp`](crate::Status::NotSupp) for what is to be done by NFS.
    fn open(&mut self, wanted: &Wanted<'_>) -> Result<Loan<F>>;

    /// Has a file [given back](Lent::give_back).
    fn close(&mut self, lent: Lent<F>, flushed: bool);
}

/// A file that is about to be lent.
#[must_use]
pub struct Loan<F: File> {
    /// What the client gets. Nobody else uses it, so that its flags and its errors are the client's.
    pub descriptor: OwnedFd,
    /// What is kept here until the client has closed it.
    pub lent: Lent<F>,
}

/// A file that is lent. Dropping it is giving it back.
#[must_use]
pub struct Lent<F: File> {
    file: Stateful<F>,
    export: u32,
    /// Something may have been written to it that was not flushed.
    unflushed: bool,
}

impl<F: File> Lent<F> {
    /// A file of an export, open for `access`. With the file is [kept](Stateful::keeping) what it needs.
    pub fn new(file: Stateful<F>, export: u32, access: Access) -> Self {
        Self { file, export, unflushed: access != Access::Read }
    }

    /// Which export it is of.
    pub fn export(&self) -> u32 {
        self.export
    }

    /// Which file it is.
    pub fn handle(&self) -> &FileHandle {
        self.file.handle()
    }

    /// What is kept with the file.
    pub fn kept(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.file.kept()
    }

    /// The client has it no more. Not `flushed`, what was written to it is brought to the disk now; if
    /// that fails the write verifier changes. The same is done with what others have written to the
    /// file by NFS: a client that has flushed it itself may have heard of a failure in their place.
    pub fn give_back(mut self, flushed: bool) {
        self.unflushed &= !flushed;
    }
}

impl<F: File> Drop for Lent<F> {
    fn drop(&mut self) {
        if self.unflushed && self.file.stamp().is_ok_and(|stamp| stamp.links > 0) {
            // It was written to, past us.
            self.file.write(|_| ());
        }
        // If it fails, the write verifier says so by now.
        let _ = self.file.commit();
    }
}
