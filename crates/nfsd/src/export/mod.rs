//! Exports: which directories clients see, which clients, and what they may do.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod closing;
mod network;
mod path;
mod table;

pub use closing::Closed;
pub use network::{Network, NetworkError};
pub use path::{ExportPath, PATH_MAX, PathError};
pub use table::{ExportTable, TableError};

use crate::beneath::{Mounts, Root, RootError};
use crate::flushing::Flushing;
use crate::handle::{FileHandle, HandleKey, NodeId};
use crate::identity::Squash;
use crate::service::Origin;
use crate::store::{self, ChooseError, DatabaseError, PathDatabase, Unsuitable};
use crate::stripes::Stripes;
use crate::sys;
use crate::volume::{Durability, Options, Volume};
use closing::Closing;
use std::path::PathBuf;
use std::sync::Arc;

/// How an export is to be. What is not said is the safest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// What clients call it.
    pub path: ExportPath,
    /// The directory that it shows. Absolute.
    pub directory: PathBuf,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Which callers are taken at their word, and who the others are.
    pub squash: Squash,
    /// Which clients it is for.
    pub clients: Vec<Network>,
    /// It is also for all who come by an interface that belongs to the namespace alone.
    pub own_links: bool,
    /// Only for calls from ports below 1024.
    pub privileged_port: bool,
    /// Whether file systems that are mounted below belong to it.
    pub mounts: Mounts,
    /// Most bytes of a READ.
    pub read_max: u32,
    /// Most bytes of a WRITE.
    pub write_max: u32,
    /// When changes of directories and attributes are answered.
    pub durability: Durability,
}

impl ExportOptions {
    /// For this machine only, to be written to, with root squashed, without mounts below, reads and
    /// writes of up to 1 MiB, durable.
    pub fn new(path: ExportPath, directory: impl Into<PathBuf>) -> Self {
        Self {
            path,
            directory: directory.into(),
            read_only: false,
            squash: Squash::default(),
            clients: Network::LOOPBACK.to_vec(),
            own_links: false,
            privileged_port: false,
            mounts: Mounts::Closed,
            read_max: TRANSFER_MAX,
            write_max: TRANSFER_MAX,
            durability: Durability::Durable,
        }
    }

    /// Checks what can be checked without touching the directory.
    ///
    /// # Errors
    ///
    /// What is not as it has to be.
    pub fn check(&self) -> Result<(), OptionsError> {
        let refuse = |what| Err(OptionsError { path: self.path.clone(), what });
        if !self.directory.is_absolute() {
            return refuse(OptionProblem::Relative(self.directory.clone()));
        }
        if self.clients.is_empty() && !self.own_links {
            return refuse(OptionProblem::NoClients);
        }
        for (option, bytes) in [("read size", self.read_max), ("write size", self.write_max)] {
            if !(TRANSFER_MIN..=TRANSFER_MAX).contains(&bytes)
                || !bytes.is_multiple_of(TRANSFER_MIN)
            {
                return refuse(OptionProblem::Transfer { option, bytes });
            }
        }
        if self.squash.uid == u32::MAX || self.squash.gid == u32::MAX {
            return refuse(OptionProblem::NoUser);
        }
        Ok(())
    }
}

/// What is wrong with the options of an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("export {path}: {what}")]
pub struct OptionsError {
    /// Which export.
    pub path: ExportPath,
    /// What is wrong.
    pub what: OptionProblem,
}

/// An option that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionProblem {
    /// The directory's path is relative.
    #[error("the directory {} has to be an absolute path", .0.display())]
    Relative(PathBuf),
    /// It is for nobody.
    #[error("it has no clients: name a network, such as 127.0.0.0/8")]
    NoClients,
    /// A maximum out of range.
    #[error("the maximum {option} has to be a multiple of 4096 from 4096 to 1048576, not {bytes}")]
    Transfer {
        /// Which.
        option: &'static str,
        /// What was asked for.
        bytes: u32,
    },
    /// The squashed user or group is the number that stands for none.
    #[error("user and group of squashed callers cannot be 4294967295, which stands for nobody")]
    NoUser,
}

/// Why there is no such export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Its directory cannot be exported.
    #[error("export {path}: {source}")]
    Root {
        /// Which export.
        path: ExportPath,
        /// Why.
        source: RootError,
    },
    /// Its objects cannot be named.
    #[error("export {path}: {source}")]
    Store {
        /// Which export.
        path: ExportPath,
        /// Why.
        source: ChooseError,
    },
}

/// An export that is ready.
#[derive(Debug)]
pub struct Export {
    id: u32,
    file_system: u64,
    /// Whose number that is; none, if all of it is one file system whatever the devices.
    device: Option<(u32, u32)>,
    options: ExportOptions,
    volume: Volume,
    why_paths: Option<Unsuitable>,
    stripes: Stripes,
    flushing: Flushing,
    /// Last: see there.
    closing: Closing,
}

impl Export {
    /// Opens the directory and finds out how its objects can be named. Call it as the server.
    ///
    /// `database` is asked only if the export needs one; see [`store::choose`].
    ///
    /// # Errors
    ///
    /// What is wrong with the options or the directory.
    pub fn open(
        options: ExportOptions,
        key: &HandleKey,
        database: impl FnOnce() -> Result<Arc<PathDatabase>, DatabaseError>,
    ) -> Result<Self, ExportError> {
        options.check()?;
        let path = || options.path.clone();
        let opened = Root::open(&options.directory, options.mounts);
        let root = Arc::new(opened.map_err(|source| ExportError::Root { path: path(), source })?);
        let name = name(&options, key);
        // Handles begin with it: a restart gives the same, another directory another.
        let id = (name >> 32) as u32;
        let chosen = store::choose(&root, id, key, database)
            .map_err(|source| ExportError::Store { path: path(), source })?;
        // A union says of its files which disk they come from, and is one file system all the same.
        let is_union = sys::file_system(root.directory()) == Ok(OVERLAYFS);
        let is_one = is_union && options.mounts == Mounts::Closed;
        let device = (!is_one).then_some(root.place().device);
        let allowed = Options { read_only: options.read_only, durability: options.durability };
        Ok(Self {
            id,
            file_system: name,
            device,
            volume: Volume::new(root, chosen.store, allowed),
            why_paths: chosen.why_paths,
            stripes: Stripes::default(),
            flushing: Flushing::default(),
            options,
            closing: Closing::new(),
        })
    }

    /// What its handles begin with.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it is.
    pub fn options(&self) -> &ExportOptions {
        &self.options
    }

    /// Its objects.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Why its objects are found by remembered paths, if they are.
    pub fn why_paths(&self) -> Option<&Unsuitable> {
        self.why_paths.as_ref()
    }

    /// What tells when it is closed, that is, when the last who has it has let go.
    pub fn closed(&self) -> Closed {
        self.closing.closed()
    }

    /// Whether it is for a client.
    pub fn admits(&self, client: Origin) -> bool {
        let options = &self.options;
        let named = options.clients.iter().any(|network| network.contains(client.address));
        named || (options.own_links && client.own_link)
    }

    /// The handle of one of its objects.
    pub fn seal(&self, key: &HandleKey, node: &NodeId) -> FileHandle {
        FileHandle::seal(key, self.id, 0, *node)
    }

    /// What clients tell its file systems apart by (RFC 1813: `fsid`). That of the root stays the
    /// same, whatever number its device has after the next boot.
    pub(crate) fn file_system(&self, device: (u32, u32)) -> u64 {
        if self.device.is_none_or(|of_root| of_root == device) {
            return self.file_system;
        }
        let device = (u64::from(device.0) << 32) | u64::from(device.1);
        // By an odd number: no two devices become the same.
        self.file_system ^ device.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn stripes(&self) -> &Stripes {
        &self.stripes
    }

    /// Who flushes which of its files.
    pub(crate) fn flushing(&self) -> &Flushing {
        &self.flushing
    }
}

/// A number for this export, the same after a restart.
fn name(options: &ExportOptions, key: &HandleKey) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let mut purpose = b"export\0".to_vec();
    purpose.extend_from_slice(options.path.as_str().as_bytes());
    purpose.push(0);
    purpose.extend_from_slice(options.directory.as_os_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = key.derive(&purpose);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

const OVERLAYFS: u32 = 0x794c_7630;
const TRANSFER_MIN: u32 = 4096;
const TRANSFER_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_say_why() {
        let good = ExportOptions::new("/a".parse().unwrap(), "/srv");
        assert_eq!(good.check(), Ok(()));
        let says = |change: fn(&mut ExportOptions), text: &str| {
            let mut options = good.clone();
            change(&mut options);
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with("export /a: ") && error.contains(text), "{error}");
        };
        says(|options| options.directory = "srv".into(), "srv has to be an absolute path");
        says(|options| options.clients.clear(), "no clients");
        says(|options| options.read_max = 0, "read size");
        says(|options| options.read_max = 5000, "not 5000");
        says(|options| options.write_max = 2 << 20, "write size");
        says(|options| options.squash.uid = u32::MAX, "stands for nobody");
    }
}
