//! A client for NFSv3 that blocks, for programs: no mount, no root, no kernel.
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
//! # What a server can do
//!
//! Everything that comes from it is checked: lengths against what was asked for, names, cookies that lead in
//! a circle, handles, how long a reply takes to trickle in. No symbolic link is followed, here or there.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod connection;
mod error;
mod file;
mod handle;
mod listing;
mod locate;
mod mount;
mod nfs3;
mod options;
mod uncommitted;
mod url;

pub use error::{Error, Problem, Result};
pub use file::{Access, File, Stream};
pub use handle::Handle;
pub use listing::{Entry, Listing};
pub use mount::Mount;
pub use nfs3::{Nfs3, Node, Written};
pub use options::{Options, User};
pub use url::{Url, UrlError};

/// What files are, and what statuses there are, as the protocol has it.
pub mod wire {
    pub use holm_nfs_proto::nfs3::{
        Attributes, Error as Status, FileType, FsInfoOk, FsStatOk, PathConfOk, SetAttributes,
        SetTime, StableHow, Time, access,
    };
}
