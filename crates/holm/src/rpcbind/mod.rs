//! Tells the host's rpcbind where NFS and MOUNT are, for clients that ask there (RFC 1833).
//!
//! rpcbind knows one address for each program, version and transport, and keeps it until somebody
//! takes it back, also when the server has died. So [`Registrar`] notes what it registers in a file,
//! **before** it does. What an earlier run has left behind is in it; [`Registrar::set`] takes that back
//! first, and never touches what somebody else has registered.

mod binder;

pub use binder::{Binder, BinderError};

use crate::model::ListenerView;
use binder::Connection;
use holm_nfs_proto::rpcbind::{TCP, TCP6, UDP, UDP6, universal_address};
use holm_nfs_proto::{mount, nfs3};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Keeps the host's rpcbind up to date.
#[derive(Debug)]
pub struct Registrar {
    binder: Binder,
    file: PathBuf,
    /// What is in the file: all that may be registered.
    noted: Vec<Entry>,
}

/// Why rpcbind does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// rpcbind was not reached or did not understand.
    #[error(
        "could not register with rpcbind: {0}; start rpcbind, or set rpcbind = false: mounts that name \
         the ports (port=, mountport=) do without"
    )]
    Binder(#[from] BinderError),
    /// It refused, or somebody else is registered.
    #[error(
        "could not register with rpcbind: {}; stop the other NFS server (rpcinfo shows it), or set \
         rpcbind = false",
        .0.join(", ")
    )]
    Taken(Vec<String>),
    /// What is registered could not be noted.
    #[error("could not note in {} what is registered with rpcbind: {error}", file.display())]
    Note {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What rpcbind is told: where a version of a program is served over a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    program: u32,
    version: u32,
    netid: String,
    address: String,
}

impl Registrar {
    /// For a binder, with a file that only this server uses. Nothing is registered or taken back
    /// before [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// [`RegisterError::Note`] if the file is there and can't be read.
    pub fn open(binder: Binder, file: &Path) -> Result<Self, RegisterError> {
        let noted = match fs::read_to_string(file) {
            Ok(text) => text.lines().filter_map(Entry::parse).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RegisterError::Note { file: file.into(), error }),
        };
        Ok(Self { binder, file: file.into(), noted })
    }

    /// Has these listeners registered and nothing else of ours, also not of an earlier run. Those
    /// inside containers are not meant: rpcbind speaks for the host. Of many for one transport it is
    /// told the first.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]. What could be registered is, whatever became of the rest.
    pub fn set<'l>(
        &mut self,
        listeners: impl IntoIterator<Item = &'l ListenerView>,
    ) -> Result<(), RegisterError> {
        let wanted = entries(listeners);
        if wanted.is_empty() && self.noted.is_empty() {
            return Ok(());
        }
        let mut binder = Connection::open(&self.binder)?;
        let there = binder.dump()?;
        for old in self.noted.iter().filter(|old| !wanted.contains(old)) {
            // By nobody else since.
            if there.contains(old) {
                binder.unset(old)?;
            }
        }
        let before = std::mem::replace(&mut self.noted, wanted);
        self.write()?;
        let mut refused = Vec::new();
        for new in &self.noted {
            let other = there.iter().find(|it| it.is_for_the_same(new) && !before.contains(it));
            match other {
                Some(other) if other == new => {}
                Some(other) => refused.push(format!("{other} is there already")),
                None if there.contains(new) => {}
                None if binder.set(new)? => {}
                None => refused.push(format!("it refuses {new}")),
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(RegisterError::Taken(refused)) }
    }

    fn write(&self) -> Result<(), RegisterError> {
        let result = if self.noted.is_empty() {
            fs::remove_file(&self.file)
        } else {
            let lines = self.noted.iter().map(Entry::to_line);
            let new = self.file.with_extension("new");
            fs::write(&new, lines.collect::<String>()).and_then(|()| fs::rename(&new, &self.file))
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RegisterError::Note { file: self.file.clone(), error })
            }
            _ => Ok(()),
        }
    }
}

/// What rpcbind is to be told of these listeners.
fn entries<'l>(listeners: impl IntoIterator<Item = &'l ListenerView>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for listener in listeners.into_iter().filter(|listener| listener.spec.netns.is_none()) {
        let served = [
            (nfs3::PROGRAM, nfs3::VERSION, false),
            (mount::PROGRAM, mount::VERSION, false),
            (mount::PROGRAM, mount::VERSION, true),
        ];
        for (program, version, udp) in served {
            let entry = Entry::new(program, version, udp, listener.local);
            if (!udp || listener.spec.udp) && !entries.iter().any(|it| it.is_for_the_same(&entry)) {
                entries.push(entry);
            }
        }
    }
    entries
}

impl Entry {
    fn new(program: u32, version: u32, udp: bool, address: SocketAddr) -> Self {
        let netid = match (udp, address.is_ipv6()) {
            (false, false) => TCP,
            (false, true) => TCP6,
            (true, false) => UDP,
            (true, true) => UDP6,
        };
        let netid = String::from_utf8_lossy(netid).into_owned();
        Self { program, version, netid, address: universal_address(address) }
    }

    /// Whether only one of both can be registered.
    fn is_for_the_same(&self, other: &Self) -> bool {
        (self.program, self.version, &self.netid) == (other.program, other.version, &other.netid)
    }

    fn to_line(&self) -> String {
        let Self { program, version, netid, address } = self;
        format!("{program} {version} {netid} {address}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (program, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (netid, address) = (words.next()?.into(), words.next()?.into());
        Some(Self { program, version, netid, address })
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { program, version, netid, address } = self;
        write!(f, "program {program} version {version} at {netid} {address}")
    }
}
