//! From a URL to the first file handle: which port, which export.

use crate::connection::{Connection, Peer};
use crate::error::{Error, Problem, Result};
use crate::handle::Handle;
use crate::url::Url;
use holm_nfs_proto::mount::{self, DirPath, ExportRes, MountRes};
use holm_nfs_proto::{nfs3, portmap};
use holm_sunrpc::auth;
use holm_sunrpc::client::Procedure;
use holm_sunrpc::message::Refusal;
use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a URL leads to.
pub struct Found {
    /// To the server's NFS program.
    pub connection: Connection,
    pub export: Export,
    /// The handle of the export's root.
    pub root: Handle,
}

/// What was mounted, and where it is asked for.
#[derive(Debug, Clone)]
pub struct Export {
    /// Of the server's MOUNT program.
    address: SocketAddr,
    path: PathBuf,
}

impl Export {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts it again: its handles may be others now.
    pub fn mount(&self, peer: &Arc<Peer>) -> Result<Handle> {
        let mut program = MountProgram(Connection::closed(peer, self.address));
        let handle = program.mount(&self.path).and_then(|mounted| mounted.map_err(no_export(&[])));
        handle.map_err(|problem| Error::new(MOUNT, self.path.display().to_string(), problem))
    }
}

/// Finds the server's programs and the longest export on the way to the URL's path.
pub fn find(url: &Url, peer: &Arc<Peer>) -> Result<Found> {
    let failed = |problem| Error::new(MOUNT, url.to_string(), problem);
    let addresses = (url.host(), url.port().unwrap_or(nfs3::PORT)).to_socket_addrs();
    let mut problem = None;
    for address in addresses.map_err(|error| failed(Problem::Unreachable(error)))? {
        match nfs_program(peer, address, url.port().is_some()) {
            Ok(connection) => return find_export(url, peer, address, connection).map_err(failed),
            Err(why) => problem = Some(why),
        }
    }
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    Err(failed(problem.unwrap_or_else(|| Problem::Unreachable(no_address()))))
}

fn nfs_program(
    peer: &Arc<Peer>,
    address: SocketAddr,
    is_said: bool,
) -> std::result::Result<Connection, Problem> {
    let error = match Connection::open(peer, address) {
        Ok(connection) => return Ok(connection),
        Err(error) if is_said => return Err(Problem::Unreachable(error)),
        Err(error) => error,
    };
    let mapped = port_mapper(peer, address, nfs3::PROGRAM, nfs3::VERSION);
    let Ok(Some(address)) = mapped else { return Err(Problem::Unreachable(error)) };
    Connection::open(peer, address).map_err(Problem::Unreachable)
}

fn find_export(
    url: &Url,
    peer: &Arc<Peer>,
    address: SocketAddr,
    mut connection: Connection,
) -> std::result::Result<Found, Problem> {
    let mut program = MountProgram(mount_program(url, peer, address, &mut connection)?);
    // One that does not tell its exports may have them.
    let mut exports = program.exports().unwrap_or_default();
    exports.sort_by_key(|export| export.components().count());
    let address = program.0.address();
    let export = |path: &Path| Export { address, path: path.to_owned() };
    let longest = exports.iter().rev().find(|export| url.path().starts_with(export));
    if let Some(path) = longest {
        let root = program.mount(path)?.map_err(no_export(&exports))?;
        return Ok(Found { connection, export: export(path), root });
    }
    let mut first = None;
    for path in url.path().ancestors().take(DEPTH_MAX) {
        match program.mount(path)? {
            Ok(root) => return Ok(Found { connection, export: export(path), root }),
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    Err(no_export(&exports)(first.unwrap_or(mount::Error::NoEnt)))
}

/// Where the URL says; else on the connection that is there, or where the port mapper says.
fn mount_program(
    url: &Url,
    peer: &Arc<Peer>,
    address: SocketAddr,
    connection: &mut Connection,
) -> std::result::Result<Connection, Problem> {
    let there = |port| Connection::open(peer, port).map_err(Problem::Unreachable);
    if let Some(port) = url.mount_port() {
        return there(SocketAddr::new(address.ip(), port));
    }
    match null(connection, mount::PROGRAM, mount::VERSION) {
        Ok(()) => return Ok(Connection::closed(peer, connection.address())),
        Err(Problem::Refused(Refusal::ProgramUnavailable | Refusal::ProgramMismatch { .. })) => {}
        Err(problem) => return Err(problem),
    }
    let port = match get_port(connection, mount::PROGRAM, mount::VERSION) {
        Ok(Some(port)) => Some(SocketAddr::new(address.ip(), port)),
        _ => port_mapper(peer, address, mount::PROGRAM, mount::VERSION)
            .map_err(mount_is_elsewhere)?,
    };
    there(port.ok_or(Problem::Refused(Refusal::ProgramUnavailable))?)
}

/// The server's MOUNT program.
struct MountProgram(Connection);

impl MountProgram {
    /// The directories that can be mounted, by whomever.
    fn exports(&mut self) -> std::result::Result<Vec<PathBuf>, Problem> {
        self.0.call(procedure(mount::Procedure::Export), &(), &|input| {
            let exports = input.get::<ExportRes<'_>>()?.into_iter();
            let path = |export: mount::ExportEntry<'_>| {
                PathBuf::from(OsStr::from_bytes(export.directory.bytes()))
            };
            Ok(exports.map(path).filter(|path| path.is_absolute()).collect())
        })
    }

    fn mount(
        &mut self,
        path: &Path,
    ) -> std::result::Result<std::result::Result<Handle, mount::Error>, Problem> {
        let path = DirPath::new(path.as_os_str().as_bytes())
            .map_err(|_| Problem::Invalid("a path of more than 1024 bytes can't be mounted"))?;
        let mounted = self.0.call(procedure(mount::Procedure::Mnt), &path, &|input| {
            Ok(match input.get::<MountRes<'_>>()? {
                MountRes::Ok(ok) => Ok((Handle::from(ok.handle), ok.flavors.to_vec())),
                MountRes::Failed(error) => Err(error),
            })
        })?;
        match mounted {
            // Nothing said is as it was before there were others.
            Ok((root, flavors)) if flavors.is_empty() || flavors.contains(&auth::SYS) => {
                Ok(Ok(root))
            }
            Ok(_) => Err(Problem::Invalid(
                "the export is for clients with stronger \
                                           authentication than AUTH_SYS, which is all there is here",
            )),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Asks the port mapper of the host where a program is served over TCP.
fn port_mapper(
    peer: &Arc<Peer>,
    address: SocketAddr,
    program: u32,
    version: u32,
) -> std::result::Result<Option<SocketAddr>, Problem> {
    let mapper = SocketAddr::new(address.ip(), portmap::PORT);
    let mut connection = Connection::open(peer, mapper).map_err(Problem::Unreachable)?;
    let port = get_port(&mut connection, program, version)?;
    Ok(port.map(|port| SocketAddr::new(address.ip(), port)))
}

fn get_port(
    connection: &mut Connection,
    program: u32,
    version: u32,
) -> std::result::Result<Option<u16>, Problem> {
    let number = portmap::Procedure::GetPort.number();
    let get_port = Procedure { program: portmap::PROGRAM, version: portmap::VERSION, number };
    let asked = portmap::Mapping { program, version, protocol: portmap::TCP, port: 0 };
    let port = connection.call(get_port, &asked, &|input| input.u32())?;
    Ok(u16::try_from(port).ok().filter(|port| *port != 0))
}

/// Whether a program is there.
fn null(
    connection: &mut Connection,
    program: u32,
    version: u32,
) -> std::result::Result<(), Problem> {
    connection.call(Procedure { program, version, number: 0 }, &(), &|_| Ok(()))
}

fn procedure(procedure: mount::Procedure) -> Procedure {
    let (program, version) = (mount::PROGRAM, mount::VERSION);
    Procedure { program, version, number: procedure.number() }
}

/// The MOUNT program has a port of its own, and the port mapper does not answer.
fn mount_is_elsewhere(problem: Problem) -> Problem {
    match problem {
        Problem::Unreachable(error) => Problem::Unreachable(io::Error::new(
            error.kind(),
            format!(
                "the server's MOUNT program has a port of its own, and its port mapper (port {}) can't be \
                 asked which: {error}; ?mountport=PORT at the end of the URL says it",
                portmap::PORT
            ),
        )),
        other => other,
    }
}

/// What cannot be mounted, and what could be.
fn no_export(exports: &[PathBuf]) -> impl Fn(mount::Error) -> Problem {
    let shown: Vec<_> = exports.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    move |error| Problem::Mount { error, exports: shown.clone() }
}

const MOUNT: &str = "mount";
/// How far up exports are tried, if the server does not say which there are.
const DEPTH_MAX: usize = 64;
/// Exports that an error names.
const SHOWN: usize = 8;
