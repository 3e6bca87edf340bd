//! The configuration file: TOML, one table for each namespace, in the words of [`model`](crate::model).
//!
//! ```toml
//! admin = "/run/holm/admin.sock"
//! state-dir = "/var/lib/holm"
//!
//! [ns.blue]
//! listen = [{ addr = "127.0.0.1:2049" }, { addr = "0.0.0.0:2049", netns = "/run/netns/blue" }]
//! export = [{ path = "/", dir = "/srv/blue", clients = ["127.0.0.0/8"] }]
//! limits = { connections = 64 }
//! local  = { users = [1000] }
//!
//! [ns.green]
//! link   = [{ name = "p0", type = "stream", path = "/run/vm7/net0.sock", addr = ["10.0.0.1/24"] }]
//! route  = [{ to = "default", via = "10.0.0.254" }]
//! export = [{ path = "/", dir = "/srv/green" }]
//! ```
//!
//! [`Config::load`] finds all that is wrong with a file, not only the first, and says where and what to
//! do about it. [`Configured`] is what a running server reads again.

mod difference;
mod errors;
mod lines;
mod reader;
mod reload;

pub use difference::difference;
pub use errors::{ConfigError, Mistake};
pub use reload::Configured;

use crate::model::{LimitsSpec, NamespaceSpec};
use crate::privileges::Needs;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What is not about one namespace.
    pub settings: Settings,
    /// The namespaces, in the order of the file.
    pub namespaces: Vec<NamespaceSpec>,
    /// In which lines of the file the settings are, and as `ns.NAME` the namespaces.
    lines: BTreeMap<String, usize>,
}

/// What a configuration says that is not about one namespace. It is read once, at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The socket of the admin API.
    pub admin: Option<PathBuf>,
    /// Where metrics are served to whoever comes by TCP.
    pub metrics: Option<SocketAddr>,
    /// Where what outlives the server is kept.
    pub state_dir: Option<PathBuf>,
    /// Tell the host's rpcbind where NFS, MOUNT and the port mapper are.
    #[serde(default)]
    pub rpcbind: bool,
    /// Keep the privileges that it takes to listen in whatever kernel network namespace is named
    /// later, by the admin API or when the configuration is read again.
    #[serde(default)]
    pub containers: bool,
    /// Limits of namespaces that say nothing themselves.
    #[serde(default)]
    pub limits: LimitsSpec,
}

impl Settings {
    /// The keys that others have another value of.
    fn differing(&self, others: &Self) -> Vec<&'static str> {
        let Self { admin, metrics, state_dir, rpcbind, containers, limits } = self;
        let keys = [
            ("admin", *admin != others.admin),
            ("metrics", *metrics != others.metrics),
            ("state-dir", *state_dir != others.state_dir),
            ("rpcbind", *rpcbind != others.rpcbind),
            ("containers", *containers != others.containers),
            ("limits", *limits != others.limits),
        ];
        keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

impl Config {
    /// Reads a file and checks what it says, directories too.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        Self::parse(&text).map_err(|mistakes| ConfigError::new(path, mistakes))
    }

    /// Checks what a file says, directories too.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        reader::read(text)
    }

    /// The capabilities that it takes.
    pub fn needs(&self) -> Needs {
        let needs = Needs::of(&self.namespaces);
        if self.settings.containers { needs.and(Needs::of_containers()) } else { needs }
    }

    /// What it comes to, in a line.
    pub fn summary(&self) -> String {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let exports = self.namespaces.iter().map(|ns| ns.export.len()).sum();
        let listeners = self.namespaces.iter().map(|ns| ns.listen.len()).sum();
        let namespaces = count(self.namespaces.len(), "namespace");
        let links: usize = self.namespaces.iter().map(|ns| ns.link.len()).sum();
        let links = if links == 0 { String::new() } else { format!(", {}", count(links, "link")) };
        let (exports, listeners) = (count(exports, "export"), count(listeners, "listener"));
        format!("{namespaces}, {exports}, {listeners}{links}")
    }
}
