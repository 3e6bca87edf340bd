//! A server with its state in a folder of its own, and mounts of it.

use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
use holm::server::{Options as ServerOptions, Server};
use holm_lifetime::Deadline;
use holm_localio::{Mount, Options, Url, User};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A server, and a folder with what it serves.
pub struct World {
    pub server: Arc<Server>,
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let server = Server::start(ServerOptions::new(folder.path().join("state"))).unwrap();
        Self { server, folder }
    }

    /// A server that is set up so.
    pub fn with(options: ServerOptions) -> Self {
        Self { server: Server::start(options).unwrap(), folder: TempDir::new().unwrap() }
    }

    /// A directory that everybody may write to.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        path
    }

    /// Serves directories under these paths.
    pub fn serve(&self, ns: &str, exports: &[(&str, &Path)], at: &str) -> SocketAddr {
        let spec = NamespaceSpec {
            name: ns.into(),
            export: exports.iter().map(|(path, dir)| ExportSpec::new(*path, dir)).collect(),
            listen: vec![ListenSpec::new(at.parse().unwrap())],
            ..NamespaceSpec::default()
        };
        self.server.add_namespace(spec).unwrap().listeners[0].local
    }

    pub fn remove(&self, ns: &str) {
        self.server.del_namespace(ns, Deadline::Never).unwrap();
    }

    /// Serves one directory as `/`.
    pub fn files(&self) -> (SocketAddr, PathBuf) {
        let directory = self.directory("files");
        (self.serve("blue", &[("/", &directory)], "127.0.0.1:0"), directory)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.server.stop(Deadline::Never).unwrap();
        }
    }
}

pub fn url(address: SocketAddr, path: &str) -> Url {
    Url::new(&address.ip().to_string(), Some(address.port()), path).unwrap()
}

/// Somebody who is not root.
pub fn options() -> Options {
    let mut options = Options::default();
    options.user = User { uid: 1000, gid: 1000, groups: vec![] };
    // Long enough for a loaded machine, and not for ever where something is wrong.
    options.patience = Duration::from_secs(120);
    options
}

pub fn mount(address: SocketAddr) -> Mount {
    Mount::new(&url(address, "/"), &options()).unwrap()
}

/// Bytes that tell where they belong.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Whoever runs the test: a door knows nobody else.
pub fn own_options() -> Options {
    let mut options = Options::default();
    options.patience = Duration::from_secs(120);
    options
}
