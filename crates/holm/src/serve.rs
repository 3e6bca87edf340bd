//! `holm serve DIR`: one directory for this machine, without a configuration.

use crate::caches;
use crate::nfs::{Nfs, PATIENCE, Programme, patience};
use crate::state::{self, State};
use anyhow::{Context, Result, bail};
use holm_netns::Registry;
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::identity::Privileges;
use holm_nfsd::service::{Listening, Service, Transport};
use holm_nfsd::store::{PathDatabase, Syncing};
use holm_pool::{Config, Pool, PoolSubsystem, Report};
use holm_sunrpc::server::{ServerLimits, listen, listen_datagrams};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    let privileges: &'static Privileges =
        Box::leak(Box::new(Privileges::detect().context("could not find out what we may do")?));

    let pool = Pool::start(Config { report: Arc::new(say), ..Config::default() })
        .context("could not start the threads that serve")?;
    let registry = Registry::new().context("could not start the thread of the registry")?;
    let (caches, _keeper) = caches::start()?;
    registry.register(pool.subsystem())?;
    registry.register(caches)?;
    registry.register(Nfs)?;
    let ns = registry.create("default")?;

    let service = service(arguments, &directory)?;
    let (streams, datagrams) = bind(arguments.listen)?;
    let address = streams.local_addr().context("could not see where we listen")?;
    service.set_listening(
        [Transport::Tcp, Transport::Udp].map(|transport| Listening::new(transport, address)).into(),
    );
    {
        let inside = ns.enter().context("the namespace is gone")?;
        let served = inside.get::<Nfs>().context("the namespace has no NFS service")?;
        let sources = inside.get::<PoolSubsystem>().context("the namespace has no pool")?;
        served.set_service(service);
        let (limits, counted) = (ServerLimits::default(), served.counted());
        let programme = Arc::new(Programme::streams(privileges));
        listen(sources, streams, programme, limits, counted.clone())?;
        let programme = Arc::new(Programme::datagrams(privileges));
        listen_datagrams(sources, datagrams, programme, counted.clone())?;
    }
    print_ways_to_mount(&directory, address, privileges);

    if let Some(signal) = signals.forever().next() {
        tracing::info!(signal = signal_hook::low_level::signal_name(signal), "ending");
    }
    registry.remove_all(patience()).map_err(|draining| {
        let draining: Vec<String> = draining.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("not ended after {} s: {}", PATIENCE.as_secs(), draining.join("; "))
    })?;
    pool.stop();
    Ok(())
}

/// What is served: the directory as `/`.
fn service(arguments: &Arguments, directory: &Path) -> Result<Arc<Service>> {
    let folder = match &arguments.state_dir {
        Some(folder) => folder.clone(),
        None => state::default_folder()?,
    };
    let state = State::open(&folder, directory)?;
    let key = state.handle_key()?;
    let mut options = ExportOptions::new("/".parse()?, directory);
    options.read_only = arguments.read_only;
    let export = Export::open(options, &key, || {
        PathDatabase::open(&state.paths(), Syncing::default()).map(Arc::new)
    })?;
    if let Some(why) = export.why_paths() {
        tracing::info!(%why, "file handles are remembered paths");
    }
    let service = Service::new(key, Default::default())
        .map_err(|_| anyhow::anyhow!("the kernel gives no random numbers"))?;
    service.set_exports(ExportTable::new(vec![Arc::new(export)])?);
    Ok(service)
}

/// A stream and a datagram socket at one address.
fn bind(address: SocketAddr) -> Result<(TcpListener, UdpSocket)> {
    let streams = TcpListener::bind(address).with_context(|| {
        format!("could not listen at {address} (is another server there? try --listen)")
    })?;
    let address = streams.local_addr().context("could not see where we listen")?;
    let datagrams = UdpSocket::bind(address)
        .with_context(|| format!("could not receive datagrams at {address}"))?;
    Ok((streams, datagrams))
}

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

fn say(report: &Report) {
    tracing::warn!("{report}");
}
