//! LOCALIO: clients of the same machine are handed the files themselves.
//!
//! A client has a connection for NFS, as any other. It finds the server's *door*, a unix socket, with
//! the port mapper, registers a UUID there and names it on its NFS connection; so it is known where the
//! client is, and that it is here. From then on it opens files at the door by their NFS handles, and
//! reads and writes them without us. What is here has no sockets and no threads:
//!
//! - [`Lender`]: whom a namespace lends files to. It belongs to a
//!   [`Service`](crate::service::Service::local).
//! - [`Session`]: one client at the door, behind a [`Line`].
//! - [`Turns`] and [`Ending`]: who reads from it, so that it is always one, whoever serves it.
//! - [`Opener`]: opens files as the client; a [`Context`](crate::service::Context) is one.
//! - [`Localio`]: the RPC program in which a UUID is named.
//! - [`InProcess`]: the same for a program that has the server within it, without descriptors.
//!
//! # Who gets what
//!
//! Who a client is, is the kernel's word, never a message's. Where it is, is where its NFS connection
//! comes from. With both, a file is opened as for a call of NFS: the export has to be for that
//! address, the user is squashed, the kernel checks the permissions.
//!
//! A descriptor can do more than the calls of NFS: with it, whoever has it acts on the file as itself,
//! not as whom the export makes of it. So what is handed out is opened anew, in a mount that nobody
//! else sees, without set-user-ID and without devices, and read-only if the file is to be read
//! only; and for writing only to who is on the export who it is. What cannot be had that way is
//! refused with [`Status::NotSupp`](crate::Status::NotSupp), and the client goes on by NFS.
//!
//! # When it ends
//!
//! Each file that is lent is open here too: a [`Stateful`](crate::cache::Stateful) file of the cache,
//! which keeps its export and the namespace, and is released in that order: file, export, namespace.
//! It is given back when the client has closed its descriptor, on request ([`Lender::recall_all`]) or
//! by itself; when the client is gone; and when it takes too long ([`Lender::end_overdue`]). In the
//! last case the descriptor is still in a foreign process, and nothing can take it from there.
//!
//! No lock of a lender or a session is held while a file is opened, flushed or closed.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod in_process;
mod lender;
mod opener;
mod opening;
mod program;
mod readers;
mod session;

pub use in_process::{InProcess, InProcessFile, Missed};
pub use lender::{ClientInfo, Lender, Rules, Statistics, Turned};
pub use opener::{Lent, Line, Loan, Opener, PeerCredentials, Wanted};
pub use program::Localio;
pub use readers::{Ending, Turns, Wake};
pub use session::Session;
