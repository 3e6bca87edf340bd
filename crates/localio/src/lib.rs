//! A client for NFSv3 that blocks, for programs: no mount, no root, no kernel. On the server's own machine
//! it reads and writes the files themselves, if the server lets it.
//!
//! ```
//! use holm_localio::{Access, Mount, Options, Url};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
//! # let folder = tempfile::tempdir()?;
//! # let served = folder.path().join("served");
//! # std::fs::create_dir(&served)?;
//! # std::fs::set_permissions(&served, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
//! # let state = holm::server::Options::new(folder.path().join("state"));
//! # let server = holm::server::Server::start(state)?;
//! # let namespace = server.add_namespace(NamespaceSpec {
//! #     name: "blue".into(),
//! #     export: vec![ExportSpec::new("/", &served)],
//! #     listen: vec![ListenSpec::new("127.0.0.1:0".parse()?)],
//! #     ..NamespaceSpec::default()
//! # })?;
//! # let text = format!("nfs://{}/", namespace.listeners[0].local);
//! // let text = "nfs://127.0.0.1/";
//! let url: Url = text.parse()?;
//! let mount = Mount::new(&url, &Options::default())?;
//! let file = mount.create("notes", 0o644, false)?;
//! file.write_at(b"hello", 0)?;
//! file.commit()?; // on stable storage, whatever happens to the server
//!
//! let mut content = vec![0; 5];
//! mount.open("notes", Access::Read)?.read_at(&mut content, 0)?;
//! for entry in mount.list("")? {
//!     let entry = entry?;
//!     println!("{:>8} {}", entry.attributes.size, entry.name.display());
//! }
//! # assert_eq!(content, b"hello");
//! # assert_eq!(std::fs::read(served.join("notes"))?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Url`], [`Options`]: where, as whom, how patiently.
//! - [`Mount`]: the operations by path; [`Nfs3`]: the same by handle.
//! - [`File`], [`Listing`]: what is open.
//! - [`Error`]: what was attempted, on what, why, and what can be done; as an
//!   [`io::Error`](std::io::Error) it has the kind that a local file system's would have.
//!
//! # When the server is gone for a while
//!
//! A call that has no answer is sent again for as long as the [patience](Options::patience) lasts, with the
//! same transaction, so that a server that did it already remembers what came of it. What was written and
//! not committed is kept, and written again if the server says that it may have lost it.
//!
//! # On the server's machine
//!
//! A holm that has a door for this user hands over the files that are [opened](Mount::open), and then
//! [`read_at`](File::read_at), [`write_at`](File::write_at) and [`commit`](File::commit) go past the network:
//! they cost what the system calls cost. The server can have them back at any time. Then what is in flight
//! ends, what was written is committed, the descriptor is closed, and the file is used by RPC, within the
//! same read or write if need be; later it is tried again. None of this is seen by who uses a [`File`], but
//! in its speed, and by [`is_local`](File::is_local).
//!
//! | file | what it is about |
//! |---|---|
//! | `data` | a file's content, by whichever way it is to be had |
//! | `borrowing` | a file that is here for a while: the gate, the recall, the commit that failed meanwhile |
//! | `uncommitted` | what was written by RPC and may be lost still |
//! | `doorway`, `door` | how the door is found, and what is said there |
//! | `connection`, `locate` | how the server is reached, and stays reached |
//!
//! [`LocalDoor`] is what a program implements that has the server within itself; [`Local::Given`] takes it.
//!
//! # What a server can do
//!
//! Everything that comes from it is checked: lengths against what was asked for, names, cookies that lead in
//! a circle, handles, how long a reply takes to trickle in, descriptors. No symbolic link is followed, here
//! or there. What is at the other end of a door is told nothing before it has said what it is.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(shuttle, allow(missing_docs))] // Of parts that only races see.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod borrowing;
mod connection;
mod data;
mod dial;
mod door;
mod doorway;
mod error;
mod file;
mod handle;
mod listing;
mod local;
mod locate;
mod mount;
mod nfs3;
mod options;
mod uncommitted;
mod url;

/// For the races, in which there is a model of a server.
#[cfg(shuttle)]
#[doc(hidden)]
pub mod parts {
    pub use crate::data::Data;
    pub use crate::door::{Door, NotLocal, Packet, Wire};
    pub use crate::local::Doors;
    pub use crate::uncommitted::{Budget, Remote, Uncommitted};
}

pub use borrowing::Borrower;
pub use error::{Error, Problem, Result};
pub use file::{Access, File, Stream};
pub use handle::Handle;
pub use listing::{Entry, Listing};
pub use local::{LocalDoor, LocalError, LocalFile};
pub use mount::Mount;
pub use nfs3::{Nfs3, Node, Written};
pub use options::{Local, Options, User};
pub use url::{Url, UrlError};

/// What files are, and what statuses there are, as the protocol has it.
pub mod wire {
    pub use holm_nfs_proto::nfs3::{
        Attributes, Error as Status, FileType, FsInfoOk, FsStatOk, PathConfOk, SetAttributes,
        SetTime, StableHow, Time, access,
    };
}
