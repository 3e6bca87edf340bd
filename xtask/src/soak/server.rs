//! A server of this machine that can be killed and started again.

use crate::cargo::{cargo, root, run as run_command};
use anyhow::{Context, Result, bail};
use holm_nfsload::Target;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Builds the program; where it is.
pub fn built(release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "dev" };
    run_command(cargo(["build", "--quiet", "--locked", "-p", "holm", "--profile", profile]))?;
    Ok(root().join("target").join(if release { "release" } else { "debug" }).join("holm"))
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16> {
    let free =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(free.context("find a free port")?.port())
}

/// A server, an export and a folder for its state; ends with this.
pub struct Server {
    program: PathBuf,
    user: Option<u32>,
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Not started yet. With a `user`, it runs as that.
    pub fn new(program: &Path, user: Option<u32>) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let failed = || format!("prepare {}", folder.path().display());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).with_context(failed)?;
        // Where the program is built, another user may not get.
        let own = folder.path().join("holm");
        fs::copy(program, &own).with_context(|| format!("copy {}", program.display()))?;
        for name in ["export", "state"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).with_context(failed)?;
            fs::set_permissions(&path, Permissions::from_mode(0o777)).with_context(failed)?;
            chown(&path, user, user).with_context(failed)?;
        }
        let address = (Ipv4Addr::LOCALHOST, free_port()?).into();
        Ok(Self { program: own, user, address, folder, child: None })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, and returns when it serves.
    pub fn start(&mut self) -> Result<Target> {
        self.kill()?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.folder().join("export"));
        command.args(["--listen", &self.address.to_string()]);
        command.arg("--state-dir").arg(self.folder().join("state"));
        let log = self.folder().join("log");
        let append = File::options().create(true).append(true).open(&log).context("make a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(append);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().context("start holm")?;
        let output = child.stdout.take().context("its output")?;
        self.child = Some(child);
        let mut line = String::new();
        let mut output = BufReader::new(output);
        output.read_line(&mut line).context("read what holm prints")?;
        if !line.starts_with("serving") {
            bail!("holm did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        // What it still has to say does not hold it up.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Target::new(self.address, "/"))
    }

    /// Kills it, if it runs, and returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).context("kill holm")?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if it is gone.
        let _ = self.kill();
    }
}
