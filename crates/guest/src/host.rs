//! What this machine must have: programs from Debian packages, and the Debian archive that apt is
//! set up with.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{Error, error::tail};

/// A program and the Debian package that has it.
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// Runs the guests.
pub(crate) const QEMU: Program = Program { name: "qemu-system-x86_64", package: "qemu-system-x86" };
/// Makes the root file system out of Debian packages.
pub(crate) const MMDEBSTRAP: Program = Program { name: "mmdebstrap", package: "mmdebstrap" };
/// Turns it into a disk.
pub(crate) const SQFSTAR: Program = Program { name: "sqfstar", package: "squashfs-tools" };
/// Unpacks the kernel.
pub(crate) const XZ: Program = Program { name: "xz", package: "xz-utils" };
/// Lets mmdebstrap work for an ordinary user.
const NEWUIDMAP: Program = Program { name: "newuidmap", package: "uidmap" };

impl Program {
    /// Where the program is, if it is installed.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|directory| directory.join(self.name))
            .find(|file| file.is_file())
    }

    /// A command that runs the program.
    pub(crate) fn command(&self) -> Command {
        Command::new(self.find().unwrap_or_else(|| self.name.into()))
    }
}

/// Whether we may do everything here.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes sure that the programs to run a guest are there: installs what is missing when run as
/// root, and otherwise says what to install.
pub(crate) fn provide_to_run() -> Result<(), Error> {
    provide(&[QEMU])
}

/// The same for the programs to build an image with.
pub(crate) fn provide_to_build() -> Result<(), Error> {
    let mut programs = vec![QEMU, MMDEBSTRAP, SQFSTAR, XZ];
    if !is_root() {
        programs.push(NEWUIDMAP);
    }
    provide(&programs)
}

fn provide(programs: &[Program]) -> Result<(), Error> {
    let missing = || programs.iter().filter(|program| program.find().is_none());
    let packages = || missing().map(|program| program.package).collect::<Vec<_>>().join(" ");
    if missing().next().is_none() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", packages());
    let names = missing().map(|program| program.name).collect::<Vec<_>>().join(", ");
    let refused = |why: &str| Error::Packages {
        reason: format!("missing to make and run guests: {names}; {why}"),
        command: command.clone(),
    };
    if !is_root() {
        return Err(refused("installing them takes root"));
    }
    let mut said = install(&packages());
    if missing().next().is_some() {
        // apt may never have fetched its lists here.
        if apt_get(&["update"]).is_ok_and(|output| output.status.success()) {
            said = install(&packages());
        }
    }
    if missing().next().is_some() {
        return Err(refused(&format!("apt-get could not install them:\n{said}")));
    }
    Ok(())
}

/// Installs packages; returns the end of what apt-get said.
fn install(packages: &str) -> String {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages.split(' '));
    match apt_get(&arguments) {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(tail(&said, 2000)).into_owned()
        }
        Err(error) => error.to_string(),
    }
}

fn apt_get(arguments: &[&str]) -> Result<Output, Error> {
    eprintln!("guest: apt-get {}", arguments.join(" "));
    Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Somebody else's apt-get may be at work.
        .args(["-q", "-o", "DPkg::Lock::Timeout=600"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run apt-get"))
}

/// Debian's code name of this machine (`bookworm`, …): guests are of the same release.
pub(crate) fn release() -> Result<String, Error> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(Error::path("read", path))?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    match (value("ID").as_deref(), value("VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename),
        _ => Err(Error::Unsupported(
            "guests are made of Debian packages on a Debian machine, and this is none".into(),
        )),
    }
}

/// The Debian archives that apt is set up with, as lines of a sources.list.
pub(crate) fn archives() -> Result<Vec<String>, Error> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"])
        .args(["Created-By: Packages", "Origin: Debian"])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run apt-get indextargets"))?;
    let mut lines: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| format!("deb {line}")).collect();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        return Err(Error::Unsupported(
            "apt knows no Debian archive here; run: apt-get update".into(),
        ));
    }
    Ok(lines)
}

/// How this machine's apt reaches its archives (proxies, certificates, what it checks), as lines
/// of an apt.conf.
pub(crate) fn apt_options() -> Result<Vec<String>, Error> {
    let output = Command::new("apt-config")
        .args(["dump", "--format", "%F \"%v\";%n", "Acquire"])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run apt-config dump"))?;
    const WANTED: [&str; 5] = [
        "Acquire::http",
        "Acquire::https",
        "Acquire::Check-",
        "Acquire::Retries",
        "Acquire::Proxy",
    ];
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| WANTED.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| !line.ends_with(" \"\";"))
        .map(str::to_owned)
        .collect())
}
