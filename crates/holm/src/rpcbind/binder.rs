//! rpcbind, as one who registers with it sees it.

use super::Entry;
use holm_nfs_proto::portmap;
use holm_nfs_proto::rpcbind::{Binding, DumpRes, PROGRAM, Procedure, Text, VERSION_4};
use holm_sunrpc::client::{self, CallError, Client};
use holm_xdr::{Decode, Encode};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where rpcbind is.
#[derive(Debug, Clone)]
pub struct Binder {
    /// Its socket, where it knows by whom it is called.
    pub socket: PathBuf,
    /// Its address, if there is nobody at the socket.
    pub address: SocketAddr,
}

impl Default for Binder {
    /// Where it is by convention.
    fn default() -> Self {
        let address = (Ipv4Addr::LOCALHOST, portmap::PORT).into();
        Self { socket: "/run/rpcbind.sock".into(), address }
    }
}

/// Why rpcbind could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum BinderError {
    /// Nobody is there.
    #[error("nobody answers at {} ({by_socket}) or {address} ({by_address})", socket.display())]
    NoAnswer {
        /// The socket that was tried.
        socket: PathBuf,
        /// What became of it.
        by_socket: io::Error,
        /// The address that was tried.
        address: SocketAddr,
        /// What became of it.
        by_address: io::Error,
    },
    /// What it answered is no answer.
    #[error("{what}: {error}")]
    Call {
        /// What was asked for.
        what: &'static str,
        /// What came of it.
        error: CallError,
    },
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A connection to it.
pub(super) struct Connection(Client<Box<dyn Stream>>);

impl Connection {
    pub(super) fn open(binder: &Binder) -> Result<Self, BinderError> {
        let Binder { socket, address } = binder;
        let by_socket = match by_socket(socket) {
            Ok(stream) => return Ok(Self(Client::new(Box::new(stream)))),
            Err(error) => error,
        };
        match by_address(*address) {
            Ok(stream) => Ok(Self(Client::new(Box::new(stream)))),
            Err(by_address) => {
                let (socket, address) = (socket.clone(), *address);
                Err(BinderError::NoAnswer { socket, by_socket, address, by_address })
            }
        }
    }

    /// All that is registered, as far as it is text.
    pub(super) fn dump(&mut self) -> Result<Vec<Entry>, BinderError> {
        let all: DumpRes<'_> = self.call("asking what is registered", Procedure::Dump, &())?;
        Ok(all.iter().filter_map(entry).collect())
    }

    /// Whether it was taken.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<bool, BinderError> {
        self.call("registering", Procedure::Set, &binding(entry))
    }

    /// Whether it was there and ours.
    pub(super) fn unset(&mut self, entry: &Entry) -> Result<bool, BinderError> {
        self.call("taking back what was registered", Procedure::Unset, &binding(entry))
    }

    fn call<'c, R: Decode<'c>>(
        &'c mut self,
        what: &'static str,
        procedure: Procedure,
        args: &impl Encode,
    ) -> Result<R, BinderError> {
        let number = procedure as u32;
        let procedure = client::Procedure { program: PROGRAM, version: VERSION_4, number };
        self.0.call(procedure, args).map_err(|error| BinderError::Call { what, error })
    }
}

fn by_socket(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn by_address(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn binding(entry: &Entry) -> Binding<'_> {
    // None of them is longer than a text may be.
    let text = |text| Text::new(text).unwrap_or_default();
    Binding {
        program: entry.program,
        version: entry.version,
        netid: text(entry.netid.as_bytes()),
        address: text(entry.address.as_bytes()),
        owner: text(OWNER),
    }
}

fn entry(binding: &Binding<'_>) -> Option<Entry> {
    let text = |text: Text<'_>| Some(std::str::from_utf8(&text).ok()?.to_owned());
    let (netid, address) = (text(binding.netid)?, text(binding.address)?);
    Some(Entry { program: binding.program, version: binding.version, netid, address })
}

/// rpcbind puts in its place who it knows that we are.
const OWNER: &[u8] = b"holm";

/// It is on this machine and has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(2);
