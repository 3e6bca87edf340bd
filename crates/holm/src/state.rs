//! What is kept between one start and the next, so that clients' file handles go on.

use anyhow::{Context, Result, bail};
use holm_nfsd::handle::HandleKey;
use rustix::fs::{Mode, OFlags};
use siphasher::sip::SipHasher13;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder in which the state of one served directory lies.
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The state of `served` in the folder `all`, which is made if need be, for its owner alone.
    pub fn open(all: &Path, served: &Path) -> Result<Self> {
        // Not the standard library's, which may be another one with the next compiler.
        let mut hasher = SipHasher13::new();
        hasher.write(served.as_os_str().as_bytes());
        let folder = all.join(format!("serve-{:016x}", hasher.finish()));
        let failed = || format!("could not make the folder for state {}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(failed)?;
        let state = Self { folder };
        // The name is a hash: here stands of what.
        let name = state.folder.join("directory");
        let of = read_or_make(&name, || Ok(served.as_os_str().as_bytes().to_vec()))?;
        if of != served.as_os_str().as_bytes() {
            bail!("{} is of another directory: choose another --state-dir", state.folder.display());
        }
        Ok(state)
    }

    /// The key of the file handles, made at the first start.
    pub fn handle_key(&self) -> Result<HandleKey> {
        let path = self.folder.join("key");
        let bytes = read_or_make(&path, || {
            let key = HandleKey::generate().map_err(|_| anyhow::anyhow!("no random numbers"))?;
            Ok(key.to_bytes().to_vec())
        })?;
        let Ok(bytes) = bytes.try_into() else {
            bail!(
                "{} is not a key of 16 bytes: remove it, and every client has to mount anew",
                path.display()
            );
        };
        Ok(HandleKey::from_bytes(bytes))
    }

    /// Where remembered paths are kept, for file systems without handles of their own.
    pub fn paths(&self) -> PathBuf {
        self.folder.join("paths.redb")
    }
}

/// Where state is kept if nothing else is said.
pub fn default_folder() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/holm".into());
    }
    let own =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match own("XDG_STATE_HOME").or_else(|| own("HOME").map(|home| home.join(".local/state"))) {
        Some(folder) => Ok(folder.join("holm")),
        None => bail!("neither XDG_STATE_HOME nor HOME says where to keep state: use --state-dir"),
    }
}

/// The content of a file that only its owner may read; made whole, or not at all.
fn read_or_make(path: &Path, content: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    match File::open(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .with_context(|| format!("could not read {}", path.display()))?;
            return Ok(bytes);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("could not open {}", path.display()));
        }
    }
    let bytes = content()?;
    let failed = || format!("could not write {}", path.display());
    let new = path.with_extension("new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mut file =
        File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR).with_context(failed)?);
    file.write_all(&bytes).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    fs::rename(&new, path).with_context(failed)?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)?;
    }
    Ok(bytes)
}
