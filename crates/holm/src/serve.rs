//! `holm serve DIR`: one directory for this machine, without a configuration.

use crate::model::{ExportSpec, LimitsSpec, ListenSpec, NamespaceSpec};
use crate::server::Server;
use crate::state::{self, StateDir};
use anyhow::{Context, Result, bail};
use holm_lifetime::Deadline;
use holm_nfsd::identity::Privileges;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Serve a directory to this machine
#[derive(clap::Args)]
pub struct Arguments {
    /// Which directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where: an address of this machine's loopback, and a port; port 0 means any that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2049")]
    listen: SocketAddr,
    /// Let nobody change anything
    #[arg(long)]
    read_only: bool,
    /// Where to keep what clients' file handles need after a restart
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Serves until a signal says that it is enough.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not wait for signals")?;
    if !arguments.listen.ip().is_loopback() {
        bail!(
            "--listen {}: without a configuration only this machine is served; use an address such \
             as 127.0.0.1:{}",
            arguments.listen,
            arguments.listen.port(),
        );
    }
    let directory = arguments.directory.canonicalize().with_context(|| {
        format!("could not serve {}: no such directory", arguments.directory.display())
    })?;
    let folder = match &arguments.state_dir {
        Some(folder) => folder.clone(),
        None => state::default_folder()?,
    };
    let state = StateDir::of_directory(&folder, &directory)?;
    let server = Server::start_with(state, LimitsSpec::default())?;
    let export = ExportSpec { read_only: arguments.read_only, ..ExportSpec::new("/", &directory) };
    let ns = server.add_namespace(NamespaceSpec {
        name: "default".into(),
        export: vec![export],
        listen: vec![ListenSpec::new(arguments.listen)],
        ..NamespaceSpec::default()
    })?;
    for why in ns.exports.iter().filter_map(|export| export.why_paths.as_ref()) {
        tracing::info!(%why, "file handles are remembered paths");
    }
    let address = ns.listeners.first().context("nothing is listened at")?.local;
    print_ways_to_mount(&directory, address, server.privileges());

    if let Some(signal) = signals.forever().next() {
        tracing::info!(signal = signal_hook::low_level::signal_name(signal), "ending");
    }
    server.stop(Deadline::after(PATIENCE)).map_err(|left| {
        let left: Vec<String> = left.iter().map(|ns| format!("{}@{}", ns.name, ns.id)).collect();
        anyhow::anyhow!("not ended after {} s: {}", PATIENCE.as_secs(), left.join(", "))
    })
}

/// How long the end of a server waits for what is in flight.
const PATIENCE: Duration = Duration::from_secs(10);

fn print_ways_to_mount(directory: &Path, address: SocketAddr, privileges: &Privileges) {
    let port = address.port();
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    println!("serving {} at {address}", directory.display());
    if privileges.is_ordinary() {
        println!("everybody acts as the user who runs this, who is no administrator");
    }
    println!();
    println!(
        "Linux:  mount -t nfs -o vers=3,tcp,port={port},mountport={port},mountproto=tcp,nolock \
         {host}:/ /mnt"
    );
    println!(
        "macOS:  mount -t nfs -o vers=3,tcp,port={port},mountport={port},nolocks {host}:/ /mnt"
    );
    println!("libnfs: nfs://{host}//?nfsport={port}&mountport={port}&version=3");
}
