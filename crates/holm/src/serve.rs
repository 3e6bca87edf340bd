//! `holm serve`: one directory for this machine without a configuration, or what a configuration says.

use crate::admin::{Admin, Socket};
use crate::config::{Config, Configured};
use crate::host::Host;
use crate::model::{ExportSpec, ListenSpec, LocalPatch, LocalSpec, NamespaceSpec};
use crate::output::print;
use crate::privileges::{self, Needs};
use crate::server::{Options, Server};
use crate::startup_code;
use crate::state::{self, StateDir};
use anyhow::{Context, Result, anyhow, bail};
use holm_lifetime::Deadline;
use holm_nfsd::identity::Privileges;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Serve a directory to this machine, or what a configuration says
#[derive(clap::Args)]
pub struct Arguments {
    /// Which directory
    #[arg(value_name = "DIR", required_unless_present = "config")]
    directory: Option<PathBuf>,
    /// Where: an address of this machine's loopback, and a port; port 0 means any that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2049")]
    listen: SocketAddr,
    /// Let nobody change anything
    #[arg(long)]
    read_only: bool,
    /// Serve what this file says; it is read again on SIGHUP
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "listen", "read_only"])]
    config: Option<PathBuf>,
    /// Where to keep what clients' file handles need after a restart
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Serves until a signal says that it is enough.
///
/// # Errors
///
/// Why nothing can be served; or at the end, what was still held.
pub fn run(arguments: &Arguments, admin: Option<&Path>) -> Result<()> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).context("could not wait for signals")?;
    second_ends_at_once().context("could not wait for signals")?;
    raise_descriptor_limit();
    let (server, mut configured, _admin) = match (&arguments.config, &arguments.directory) {
        (Some(file), _) => serve_configured(file, arguments.state_dir.as_deref(), admin)?,
        (None, Some(directory)) => {
            let socket = Socket::choose(admin)?;
            let doors = socket.as_ref().map(Socket::doors);
            let server = serve_directory(directory, arguments, doors)?;
            let admin = Admin::start(server.clone(), socket, None)?;
            (server, None, admin)
        }
        (None, None) => bail!("neither a directory nor a configuration says what to serve"),
    };
    let rpcbind = configured.as_ref().is_some_and(|configured| configured.settings().rpcbind);
    let host = Host::begin(&server, rpcbind);
    startup_code::let_go();
    for signal in signals.forever() {
        if let (SIGHUP, Some(configured)) = (signal, &mut configured) {
            host.reloading();
            // Said and logged there.
            let _ = configured.reload(&server);
            host.reloaded(&server);
            continue;
        }
        tracing::info!(signal = signal_hook::low_level::signal_name(signal), "ending");
        break;
    }
    host.ending();
    server.stop(Deadline::after(PATIENCE)).map_err(|left| {
        let left: Vec<String> = left.iter().map(|ns| format!("{}@{}", ns.name, ns.id)).collect();
        anyhow!("not ended after {} s: {}", PATIENCE.as_secs(), left.join(", "))
    })
}

/// Serves one directory as one namespace.
fn serve_directory(
    directory: &Path,
    arguments: &Arguments,
    doors: Option<PathBuf>,
) -> Result<Arc<Server>> {
    if !arguments.listen.ip().is_loopback() {
        bail!(
            "--listen {}: without a configuration only this machine is served; use an address such \
             as 127.0.0.1:{}",
            arguments.listen,
            arguments.listen.port(),
        );
    }
    let directory = directory
        .canonicalize()
        .with_context(|| format!("could not serve {}: no such directory", directory.display()))?;
    let folder = match &arguments.state_dir {
        Some(folder) => folder.clone(),
        None => state::default_folder()?,
    };
    let export = ExportSpec { read_only: arguments.read_only, ..ExportSpec::new("/", &directory) };
    let namespaces = [NamespaceSpec {
        name: "default".into(),
        export: vec![export],
        listen: vec![ListenSpec::new(arguments.listen)],
        ..NamespaceSpec::default()
    }];
    if let Some(warning) = privileges::root_without_need(&namespaces) {
        tracing::warn!("{warning}");
    }
    // Whoever runs it comes to the files without the network as well.
    let own = LocalPatch { add_users: [geteuid().as_raw()].into(), ..LocalPatch::default() };
    let local = LocalSpec::default().patched(&own);
    // Before there is another thread.
    privileges::reduce(Needs::of(&namespaces).and(Needs::of_local(&local)))?;
    let state = StateDir::of_directory(&folder, &directory)?;
    let server = Server::start_with(state, Options { doors, ..Options::new(&folder) })?;
    let [namespace] = namespaces;
    let ns = server.add_namespace(namespace)?;
    for why in ns.exports.iter().filter_map(|export| export.why_paths.as_ref()) {
        tracing::info!(%why, "file handles are remembered paths");
    }
    // Who has no such folder, or another server with a door there, is served by the network.
    if let Err(error) = server.set_local(&ns.name, own) {
        tracing::info!(%error, "no door for programs on this machine");
    }
    let address = ns.listeners.first().context("nothing is listened at")?.local;
    print_ways_to_mount(&directory, address, server.privileges());
    Ok(server)
}

/// Serves what a configuration says.
fn serve_configured(
    file: &Path,
    state_dir: Option<&Path>,
    admin: Option<&Path>,
) -> Result<(Arc<Server>, Option<Configured>, Admin)> {
    let config = Config::load(file)?;
    let socket = Socket::choose(admin.or(config.settings.admin.as_deref()))?;
    let metrics = config.settings.metrics.map(bind_metrics).transpose()?;
    let folder = match (state_dir, &config.settings.state_dir) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(folder)) => folder.clone(),
        (None, None) => state::default_folder()?,
    };
    if let Some(warning) = privileges::root_without_need(&config.namespaces) {
        tracing::warn!("{warning}");
    }
    // Before there is another thread.
    privileges::reduce(config.needs())?;
    let limits = config.settings.limits.clone();
    let doors = socket.as_ref().map(Socket::doors);
    let server = Server::start(Options { state: folder, limits, doors })?;
    let summary = config.summary();
    let configured =
        Configured::begin(file, config, &server).map_err(|errors| anyhow!(errors.join("\n")))?;
    print(format_args!("serving {summary}"));
    let admin = Admin::start(server.clone(), socket, metrics)?;
    Ok((server, Some(configured), admin))
}

fn bind_metrics(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("could not listen at {address} for metrics"))
}

/// Whoever asks a second time to end does not want to wait for what is in flight.
fn second_ends_at_once() -> std::io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds it unset.
        flag::register_conditional_shutdown(signal, 1, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    Ok(())
}

/// Every namespace has a descriptor for each listener and export, and each connection and open file
/// is one: as many as the system lets us have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// How long the end of a server waits for what is in flight.
const PATIENCE: Duration = Duration::from_secs(10);

fn print_ways_to_mount(directory: &Path, address: SocketAddr, privileges: &Privileges) {
    let port = address.port();
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    print(format_args!("serving {} at {address}", directory.display()));
    if privileges.is_ordinary() {
        print("everybody acts as the user who runs this, who is no administrator");
    }
    print(format_args!(
        "
Linux:  mount -t nfs -o vers=3,tcp,port={port},mountport={port},mountproto=tcp,nolock {host}:/ /mnt
macOS:  mount -t nfs -o vers=3,tcp,port={port},mountport={port},nolocks {host}:/ /mnt
libnfs: nfs://{host}//?nfsport={port}&mountport={port}&version=3"
    ));
}
