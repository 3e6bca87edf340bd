//! A server with its state in a folder of its own, and a client.

#![allow(dead_code)] // Several programs of tests use it, none all of it.

use holm::model::{ExportSpec, ListenSpec, NamespaceSpec, NamespaceView};
use holm::server::{Options, Server};
use holm_lifetime::Deadline;
use holm_nfs_proto::mount::{self, MountRes};
use holm_nfs_proto::nfs3::{
    self, CreateArgs, CreateHow, CreateRes, DirOpArgs, GetAttrArgs, GetAttrRes, LookupArgs,
    LookupRes, Outcome, SetAttributes,
};
use holm_sunrpc::AuthSys;
use holm_sunrpc::auth::Groups;
use holm_sunrpc::client::{CallError, Client, Procedure};
use holm_xdr::{Decode, Encode, Opaque};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A folder with a directory for each namespace, and state.
pub struct World {
    pub folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A directory that everybody may write to.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        path
    }

    pub fn server(&self) -> Arc<Server> {
        Server::start(Options::new(self.state())).unwrap()
    }

    /// A namespace that exports the directory of its name as `/`, at a port that is free.
    pub fn spec(&self, name: &str) -> NamespaceSpec {
        NamespaceSpec {
            name: name.into(),
            export: vec![ExportSpec::new("/", self.directory(name))],
            listen: vec![anywhere()],
            ..NamespaceSpec::default()
        }
    }
}

/// Ends a server; nothing may be held.
pub fn stop(server: Arc<Server>) {
    server.stop(Deadline::Never).unwrap();
    let mut server = Some(server);
    // A thread that serves may be about to let go of it.
    while let Some(Err(shared)) = server.take().map(Arc::try_unwrap) {
        std::thread::yield_now();
        server = Some(shared);
    }
}

pub fn anywhere() -> ListenSpec {
    ListenSpec::new("127.0.0.1:0".parse().unwrap())
}

pub fn address(view: &NamespaceView) -> SocketAddr {
    view.listeners[0].local
}

/// Who calls.
pub fn user() -> AuthSys<'static> {
    AuthSys {
        stamp: 0,
        machine_name: Opaque::new(b"test").unwrap(),
        uid: 1000,
        gid: 1000,
        gids: Groups::default(),
    }
}

/// A client of a namespace.
pub struct Nfs<S = TcpStream>(pub Client<S>);

pub type Handle = Vec<u8>;

impl Nfs {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Long enough for a loaded machine, and not for ever where something is wrong.
        let client = Client::connect(address, Some(Duration::from_secs(120)))?;
        // Clients of one machine are told apart by their transactions.
        let xid = NEXT.fetch_add(1, Ordering::Relaxed) << 16;
        Ok(Self(client.with_user(&user()).with_xid(xid)))
    }

    /// Waits until the server has ended the connection; whether it has.
    pub fn is_over(&self) -> bool {
        match self.0.stream().peek(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

impl<S: Read + Write> Nfs<S> {
    pub fn nfs<'c, R: Decode<'c>>(
        &'c mut self,
        procedure: nfs3::Procedure,
        args: &impl Encode,
    ) -> Result<R, CallError> {
        let number = procedure.number();
        let (program, version) = (nfs3::PROGRAM, nfs3::VERSION);
        self.0.call(Procedure { program, version, number }, args)
    }

    pub fn mount(&mut self, path: &str) -> Result<Handle, mount::Error> {
        self.try_mount(path).unwrap()
    }

    /// As [`mount`](Self::mount), and an error of the connection.
    pub fn try_mount(&mut self, path: &str) -> Result<Result<Handle, mount::Error>, CallError> {
        let number = mount::Procedure::Mnt.number();
        let (program, version) = (mount::PROGRAM, mount::VERSION);
        let path: mount::DirPath<'_> = Opaque::new(path.as_bytes()).unwrap();
        Ok(match self.0.call(Procedure { program, version, number }, &path)? {
            MountRes::Ok(ok) => Ok(ok.handle.to_vec()),
            MountRes::Failed(error) => Err(error),
        })
    }

    pub fn getattr(&mut self, handle: &[u8]) -> Result<u64, nfs3::Error> {
        self.try_getattr(handle).unwrap()
    }

    /// As [`getattr`](Self::getattr), and an error of the connection.
    pub fn try_getattr(&mut self, handle: &[u8]) -> Result<Result<u64, nfs3::Error>, CallError> {
        let args = GetAttrArgs { object: Opaque::new(handle).unwrap() };
        Ok(match self.nfs::<GetAttrRes>(nfs3::Procedure::GetAttr, &args)? {
            Outcome::Ok(ok) => Ok(ok.attributes.size),
            Outcome::Failed(error, ()) => Err(error),
        })
    }

    pub fn lookup(&mut self, dir: &[u8], name: &str) -> Result<Handle, nfs3::Error> {
        let args = LookupArgs { what: place(dir, name) };
        match self.nfs::<LookupRes<'_>>(nfs3::Procedure::Lookup, &args).unwrap() {
            Outcome::Ok(ok) => Ok(ok.object.to_vec()),
            Outcome::Failed(error, _) => Err(error),
        }
    }

    pub fn create(&mut self, dir: &[u8], name: &str) -> Result<Handle, nfs3::Error> {
        self.try_create(dir, name).unwrap()
    }

    /// As [`create`](Self::create), and an error of the connection.
    pub fn try_create(
        &mut self,
        dir: &[u8],
        name: &str,
    ) -> Result<Result<Handle, nfs3::Error>, CallError> {
        let how = CreateHow::Unchecked(SetAttributes::default());
        let args = CreateArgs { place: place(dir, name), how };
        Ok(match self.nfs::<CreateRes<'_>>(nfs3::Procedure::Create, &args)? {
            Outcome::Ok(ok) => Ok(ok.object.unwrap().to_vec()),
            Outcome::Failed(error, _) => Err(error),
        })
    }
}

fn place<'a>(dir: &'a [u8], name: &'a str) -> DirOpArgs<'a> {
    DirOpArgs { dir: Opaque::new(dir).unwrap(), name: Opaque::new(name.as_bytes()).unwrap() }
}

/// Which of this process's descriptors lead below `path`.
pub fn open_below(path: &Path) -> Vec<PathBuf> {
    let own = fs::read_dir("/proc/self/fd").unwrap();
    let targets = own.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| target.starts_with(path)).collect()
}
