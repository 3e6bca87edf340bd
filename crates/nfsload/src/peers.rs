//! Servers to compare with: started in private directories, on private ports, ended by their ids.

use crate::churn::{Ended, first_answer};
use crate::links::Tap;
use crate::{Error, Process, StartUp, Target};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A server that was started to be measured.
#[derive(Debug)]
pub struct Peer {
    target: Target,
    start: Start,
    // Ended in this order.
    server: Ended,
    _helper: Option<Ended>,
    directory: TempDir,
}

/// How a server is started.
#[derive(Debug)]
struct Start {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Start {
    fn new(name: &'static str, program: impl Into<PathBuf>) -> Self {
        Self { name, program: program.into(), arguments: Vec::new() }
    }

    fn with(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn command(&self, directory: &TempDir) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(directory.path());
        command
    }
}

impl Peer {
    /// NFS-Ganesha with its VFS back end (Debian: nfs-ganesha and nfs-ganesha-vfs), exporting a
    /// new directory below `parent`. It wants root, and an rpcbind: if there is none, one is
    /// started that nobody else reaches, for as long as it runs.
    pub fn ganesha(parent: &Path) -> Result<Self, Error> {
        const PROGRAM: &str = "ganesha.nfsd";
        let install = "apt-get install --no-install-recommends nfs-ganesha nfs-ganesha-vfs";
        let program = find(PROGRAM).ok_or_else(|| unavailable(PROGRAM, install))?;
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Unavailable(format!("{PROGRAM} has to be run as root")));
        }
        let helper = rpcbind()?;
        let directory = private(parent)?;
        let export = export(&directory)?;
        let [nfs, mount] = free_ports()?;
        let at = directory.path().display();
        let configuration = format!(
            "NFS_CORE_PARAM {{ Protocols = 3; NFS_Port = {nfs}; MNT_Port = {mount};
  Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}
NFSV4 {{ Graceless = true; RecoveryRoot = \"{at}\"; }}
NFS_KRB5 {{ Active_krb5 = false; }}
LOG {{ Default_Log_Level = MAJ; }}
EXPORT {{ Export_Id = 1; Path = \"{0}\"; Pseudo = \"{0}\"; Protocols = 3; Transports = TCP;
  Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            export.display()
        );
        let file = directory.path().join("ganesha.conf");
        fs::write(&file, configuration).map_err(Error::io(format!("write {}", file.display())))?;
        let (log, pid) = (directory.path().join("ganesha.log"), directory.path().join("pid"));
        let start = Start::new(PROGRAM, program).with(["-F", "-f"]).with([
            file.into_os_string(),
            "-L".into(),
            log.into(),
            "-p".into(),
            pid.into(),
        ]);
        let target = Target { mount_port: mount, ..Target::new(loopback(nfs), path(&export)) };
        Self::start(start, target, directory, helper)
    }

    /// The server of the nfs3_server crates (`cargo install cargo-nfs3-server`), exporting a new
    /// directory below `parent`. It is looked for below `root`, then in the search path, and
    /// installed below `root` if that is given.
    pub fn nfs3_server(parent: &Path, root: Option<&Path>) -> Result<Self, Error> {
        const PROGRAM: &str = "cargo-nfs3-server";
        let below_root = root.map(|root| root.join("bin").join(PROGRAM));
        if let (Some(root), Some(program)) = (root, &below_root)
            && !program.exists()
        {
            install(PROGRAM, root)?;
        }
        let program = below_root
            .or_else(|| find(PROGRAM))
            .ok_or_else(|| unavailable(PROGRAM, "cargo install cargo-nfs3-server"))?;
        let directory = private(parent)?;
        let export = export(&directory)?;
        let [port] = free_ports()?;
        let start = Start::new(PROGRAM, program)
            .with(["--quiet", "--log-level", "error", "--bind-ip", "127.0.0.1"])
            .with(["--bind-port", &port.to_string(), "--path"])
            .with([export]);
        Self::start(start, Target::new(loopback(port), "/"), directory, None)
    }

    /// holm itself, serving a new directory below `parent` without a configuration. `program` is
    /// its path.
    pub fn holm(parent: &Path, program: &Path) -> Result<Self, Error> {
        let directory = private(parent)?;
        let export = export(&directory)?;
        let [port] = free_ports()?;
        let state = directory.path().join("state");
        let start = Start::new("holm", program)
            .with([OsString::from("serve"), export.into()])
            .with(["--listen", &format!("127.0.0.1:{port}"), "--state-dir"])
            .with([state]);
        Self::start(start, Target::new(loopback(port), "/"), directory, None)
    }

    /// holm with two tenants, each with a new directory below `parent`. The second one's export comes
    /// with it.
    pub fn holm_with_two_tenants(parent: &Path, program: &Path) -> Result<(Self, Target), Error> {
        let (peer, [_, second]) = Self::holm_configured(parent, program, ["first", "second"], "")?;
        Ok((peer, second))
    }

    /// holm with a new directory below `parent`, whose changes it answers before they are on the disk.
    pub fn holm_lazy(parent: &Path, program: &Path) -> Result<Self, Error> {
        let lazily = ", lose-changes-on-power-failure = true";
        Self::holm_configured(parent, program, ["lazy"], lazily).map(|(peer, _)| peer)
    }

    /// holm with a listener at the kernel's loopback and with taps of its own, each for a tenant with a
    /// new directory below `parent`.
    pub(crate) fn holm_with_taps(
        parent: &Path,
        program: &Path,
        [large, usual]: [Tap; 2],
    ) -> Result<(Self, [Target; 3]), Error> {
        let directory = private(parent)?;
        let at = directory.path().display();
        let [port] = free_ports()?;
        let mut configuration = format!("admin = '{at}/admin.sock'\nstate-dir = '{at}/state'\n");
        let mut tenant = |name: &str, how: String| {
            let export = export_named(&directory, name)?;
            configuration += &format!(
                "[ns.{name}]\n{how}\nexport = [{{ path = '/', dir = '{}' }}]\n",
                export.display()
            );
            Ok(())
        };
        tenant("loopback", format!("listen = [{{ addr = '127.0.0.1:{port}' }}]"))?;
        for Tap { name, mtu, ours, .. } in [large, usual] {
            let tap = format!("name = '{name}', type = 'tap', mtu = {mtu}, addr = ['{ours}/24']");
            tenant(name, format!("link = [{{ {tap} }}]"))?;
        }
        let file = directory.path().join("holm.toml");
        fs::write(&file, configuration).map_err(Error::io(format!("write {}", file.display())))?;
        let start = Start::new("holm", program).with(["serve", "--config"]).with([file]);
        let loopback = Target::new(loopback(port), "/");
        let by = |tap: Tap| {
            let address = tap.ours.parse().map_err(|_| Error::Invalid(tap.ours.to_owned()))?;
            Ok(Target::new(SocketAddr::new(address, NFS), "/"))
        };
        let targets = [loopback.clone(), by(large)?, by(usual)?];
        Ok((Self::start(start, loopback, directory, None)?, targets))
    }

    fn holm_configured<const N: usize>(
        parent: &Path,
        program: &Path,
        tenants: [&str; N],
        options: &str,
    ) -> Result<(Self, [Target; N]), Error> {
        let directory = private(parent)?;
        let at = directory.path().display();
        let ports: [u16; N] = free_ports()?;
        let mut configuration = format!("admin = '{at}/admin.sock'\nstate-dir = '{at}/state'\n");
        for (name, port) in tenants.into_iter().zip(ports) {
            let export = export_named(&directory, name)?;
            configuration += &format!(
                "[ns.{name}]\nlisten = [{{ addr = '127.0.0.1:{port}' }}]\n\
                 export = [{{ path = '/', dir = '{}'{options} }}]\n",
                export.display()
            );
        }
        let file = directory.path().join("holm.toml");
        fs::write(&file, configuration).map_err(Error::io(format!("write {}", file.display())))?;
        let start = Start::new("holm", program).with(["serve", "--config"]).with([file]);
        let targets = ports.map(|port| Target::new(loopback(port), "/"));
        let first = targets.first().cloned();
        let first = first.ok_or_else(|| Error::Invalid("holm without a tenant".to_owned()))?;
        Ok((Self::start(start, first, directory, None)?, targets))
    }

    /// The limit server in a process of its own, so that its CPU time can be told from the
    /// client's. `program` is this crate's own.
    pub fn limit(parent: &Path, program: &Path) -> Result<Self, Error> {
        let directory = private(parent)?;
        let [port] = free_ports()?;
        let start = Start::new("the limit server", program).with(["limit", "--port"]);
        let start = start.with([port.to_string()]);
        Self::start(start, Target::new(loopback(port), "/"), directory, None)
    }

    fn start(
        start: Start,
        target: Target,
        directory: TempDir,
        helper: Option<Ended>,
    ) -> Result<Self, Error> {
        let (server, _) = first_answer(&target, start.name, &mut start.command(&directory))?;
        Ok(Self { target, start, server, _helper: helper, directory })
    }

    /// Ends it, and starts it again so many times, each time until it answers. It goes on with what
    /// it exported before.
    pub fn start_up(&mut self, runs: usize) -> Result<StartUp, Error> {
        let mut times = Vec::new();
        for _ in 0..runs.max(1) {
            self.server.end();
            let mut command = self.start.command(&self.directory);
            let (server, time) = first_answer(&self.target, self.start.name, &mut command)?;
            self.server = server;
            times.push(time);
        }
        Ok(StartUp::new(times, self.process()))
    }

    /// What it exports.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.server.process()
    }
}

const INTERVAL: Duration = Duration::from_millis(5);

/// Ganesha does not start if it can't register itself. It does so through rpcbind's unix socket,
/// so one is enough that has a network namespace to itself and is reached in no other way.
fn rpcbind() -> Result<Option<Ended>, Error> {
    const PROGRAM: &str = "rpcbind";
    const SOCKET: &str = "/run/rpcbind.sock";
    if UnixStream::connect(SOCKET).is_ok() {
        return Ok(None);
    }
    let program = find(PROGRAM).ok_or_else(|| unavailable(PROGRAM, "apt-get install rpcbind"))?;
    let child = Command::new("unshare")
        .arg("--net")
        .arg(program)
        .arg("-f")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("start rpcbind"))?;
    let helper = Ended(child);
    for _ in 0..1000 {
        if UnixStream::connect(SOCKET).is_ok() {
            return Ok(Some(helper));
        }
        std::thread::sleep(INTERVAL);
    }
    let reason = "its socket did not answer in 5 s".to_owned();
    Err(Error::NotAnswering { program: PROGRAM.to_owned(), reason })
}

fn install(program: &str, root: &Path) -> Result<(), Error> {
    let output = Command::new("cargo")
        .args(["install", "--quiet", "--locked", program, "--root"])
        .arg(root)
        .output()
        .map_err(Error::io("run cargo install"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let end = said.lines().last().unwrap_or_default();
    Err(Error::Unavailable(format!("cargo install {program} failed: {end}")))
}

fn unavailable(program: &str, command: &str) -> Error {
    Error::Unavailable(format!("{program} is not installed; run: {command}"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|d| d.join(program)).find(|file| file.is_file())
}

/// Where NFS is by an interface of a tenant's own.
const NFS: u16 = 2049;

fn private(parent: &Path) -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("nfsload-peer-")
        .tempdir_in(parent)
        .and_then(|directory| {
            fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
            Ok(directory)
        })
        .map_err(Error::io(format!("make a directory in {}", parent.display())))
}

fn export(directory: &TempDir) -> Result<PathBuf, Error> {
    export_named(directory, "export")
}

fn export_named(directory: &TempDir, name: &str) -> Result<PathBuf, Error> {
    let export = directory.path().join(name);
    // For everybody: some servers take root for nobody.
    fs::create_dir(&export)
        .and_then(|()| fs::set_permissions(&export, Permissions::from_mode(0o777)))
        .map_err(Error::io(format!("make {}", export.display())))?;
    Ok(export)
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Ports that nobody had a moment ago.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let attempt = || Error::io("find free ports");
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(attempt())?;
        *port = listener.local_addr().map_err(attempt())?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
