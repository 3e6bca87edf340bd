//! What is kept between one start and the next, so that clients' file handles go on.
//!
//! ```text
//! STATE-DIR/
//!   lock         held by the server that uses it
//!   namespaces   which namespaces have which key
//!   paths/       where objects were last seen, on file systems without handles of their own
//! ```
//!
//! A key belongs to one [`Incarnation`] of a namespace. A restart finds it by the namespace's name;
//! [`StateDir::change`] destroys it with the namespace, and then no handle that was given out is good
//! any more.
//!
//! `namespaces` is a journal of lines, `+ NAME ID KEY SUM` and `- NAME ID SUM`. Every change has
//! reached the operating system when the call that makes it returns, so that a crash of the server
//! loses nothing. The disk follows within moments for keys that are new: if the whole machine fails
//! before, clients of that namespace have to mount anew. Keys that are destroyed are so on the disk
//! before [`StateDir::sync`] returns.

use anyhow::{Context, Result, anyhow, bail};
use holm_nfsd::handle::HandleKey;
use rustix::fs::{Mode, OFlags};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::hash::Hasher;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The folder in which a server keeps what outlives it. One server at a time uses it.
#[derive(Debug)]
pub struct StateDir {
    folder: PathBuf,
    journal: Mutex<Journal>,
    syncing: Arc<AtomicBool>,
    /// Held until this is dropped.
    _lock: File,
}

/// What a namespace is from its creation to its removal, over restarts too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    id: u64,
    key: HandleKey,
}

/// A change of what is kept.
#[derive(Clone, Debug)]
pub enum Change {
    /// A namespace is kept from now on.
    Keep(String, Incarnation),
    /// It is kept no longer, and its key destroyed.
    Destroy(String, Incarnation),
}

#[derive(Debug)]
struct Journal {
    file: File,
    kept: BTreeMap<String, Incarnation>,
    lines: usize,
}

impl StateDir {
    /// The state in `folder`, which is made if need be, for its owner alone.
    ///
    /// # Errors
    ///
    /// If another server uses it, or it cannot be read or written.
    pub fn open(folder: &Path) -> Result<Arc<Self>> {
        let failed = || format!("could not use the state directory {}", folder.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.join(PATHS))
            .with_context(failed)?;
        let lock = lock(folder).with_context(failed)?;
        let journal = Journal::open(&folder.join(JOURNAL)).with_context(failed)?;
        let this = Self {
            folder: folder.to_owned(),
            journal: Mutex::new(journal),
            syncing: Arc::default(),
            _lock: lock,
        };
        this.sweep();
        Ok(Arc::new(this))
    }

    /// The state for serving the directory `served` alone, in a folder of its own below `all`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of_directory(all: &Path, served: &Path) -> Result<Arc<Self>> {
        // Not the standard library's hash, which may be another one with the next compiler.
        let mut hasher = SipHasher13::new();
        hasher.write(served.as_os_str().as_bytes());
        let folder = all.join(format!("serve-{:016x}", hasher.finish()));
        let this = Self::open(&folder)?;
        // The name is a hash: here stands of what.
        let name = folder.join("directory");
        let of = match fs::read(&name) {
            Ok(of) => of,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("could not read {}", name.display()));
            }
        };
        if of == served.as_os_str().as_bytes() {
            return Ok(this);
        }
        // No path is empty or has a zero: its name was on the disk when the machine failed, and what
        // was written to it was not.
        if !of.is_empty() && !of.contains(&0) {
            bail!("{} is of another directory: use another --state-dir", folder.display());
        }
        fs::write(&name, served.as_os_str().as_bytes())
            .with_context(|| format!("could not write {}", name.display()))?;
        Ok(this)
    }

    /// What is kept of a namespace of this name, or a new incarnation, of which nothing is kept yet.
    ///
    /// # Errors
    ///
    /// If the kernel gives no random numbers.
    pub fn incarnation(&self, name: &str) -> Result<Incarnation> {
        match self.journal().kept.get(name) {
            Some(kept) => Ok(kept.clone()),
            None => Incarnation::new(),
        }
    }

    /// Makes all changes or none. [`Change::Keep`] of what is kept already changes nothing.
    ///
    /// # Errors
    ///
    /// If something else is kept under a name by now, or the journal cannot be written.
    pub fn change(&self, changes: &[Change]) -> Result<()> {
        let mut journal = self.journal();
        let mut lines = String::new();
        let mut needed = Vec::new();
        for change in changes {
            let (name, incarnation) = change.parts();
            let kept = journal.kept.get(name);
            let to_be_written = match (change, kept) {
                (Change::Keep(..), None) => true,
                (_, Some(kept)) if kept == incarnation => matches!(change, Change::Destroy(..)),
                _ => bail!("another namespace {name} was created or removed meanwhile"),
            };
            if to_be_written {
                change.write(&mut lines);
                needed.push(change);
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(JOURNAL);
        journal.append(&lines).with_context(|| format!("could not write {}", path.display()))?;
        for change in needed {
            journal.lines += 1;
            match change {
                Change::Keep(name, new) => drop(journal.kept.insert(name.clone(), new.clone())),
                Change::Destroy(name, old) => {
                    journal.kept.remove(name);
                    // Whoever has it open goes on with what has no name any more.
                    let _ = fs::remove_file(self.paths(old));
                }
            }
        }
        if journal.lines > 2 * journal.kept.len() + SPARE_LINES
            && let Err(error) = journal.rewrite(&path)
        {
            // It is longer than it need be, and right.
            tracing::warn!(path = %path.display(), %error, "could not be written anew");
        }
        self.sync_soon(&journal.file);
        Ok(())
    }

    /// Waits until every change is on the disk.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn sync(&self) -> Result<()> {
        let file = self.journal().file.try_clone();
        file.and_then(|file| flush(&file, &self.folder))
            .with_context(|| format!("could not flush {}", self.folder.display()))
    }

    /// Forgets what an incarnation has left that was never kept.
    pub fn give_up(&self, incarnation: &Incarnation) {
        let journal = self.journal();
        if !journal.kept.values().any(|kept| kept == incarnation) {
            let _ = fs::remove_file(self.paths(incarnation));
        }
    }

    /// Where the remembered paths of an incarnation are kept.
    pub fn paths(&self, incarnation: &Incarnation) -> PathBuf {
        self.folder.join(PATHS).join(format!("{:016x}.redb", incarnation.id))
    }

    /// Where it is noted what the host's rpcbind was told.
    pub fn rpcbind(&self) -> PathBuf {
        self.folder.join("rpcbind")
    }

    /// Has the disk follow, without waiting for it. The thread keeps nothing that a next server would
    /// have to wait for.
    fn sync_soon(&self, file: &File) {
        if self.syncing.swap(true, Ordering::SeqCst) {
            return;
        }
        let (file, folder, syncing) = (file.try_clone(), self.folder.clone(), self.syncing.clone());
        let sync = move || {
            // Before the flush: what is written from now on asks for another.
            syncing.store(false, Ordering::SeqCst);
            if let Err(error) = file.and_then(|file| flush(&file, &folder)) {
                tracing::error!(folder = %folder.display(), %error, "could not be flushed");
            }
        };
        if std::thread::Builder::new().name("state".into()).spawn(sync).is_err() {
            self.syncing.store(false, Ordering::SeqCst);
        }
    }

    /// Removes what is of no namespace that is kept.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.folder.join(PATHS)) else { return };
        let journal = self.journal();
        let kept: Vec<PathBuf> = journal.kept.values().map(|kept| self.paths(kept)).collect();
        for entry in entries.flatten() {
            if !kept.contains(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incarnation {
    fn new() -> Result<Self> {
        let random =
            || HandleKey::generate().map_err(|_| anyhow!("the kernel gives no randomness"));
        let [a, b, c, d, e, f, g, h, ..] = random()?.to_bytes();
        Ok(Self { id: u64::from_be_bytes([a, b, c, d, e, f, g, h]), key: random()? })
    }

    /// The key of its file handles.
    pub fn key(&self) -> &HandleKey {
        &self.key
    }
}

impl Change {
    /// What takes it back.
    #[must_use]
    pub fn undo(&self) -> Self {
        match self.clone() {
            Self::Keep(name, incarnation) => Self::Destroy(name, incarnation),
            Self::Destroy(name, incarnation) => Self::Keep(name, incarnation),
        }
    }

    fn parts(&self) -> (&str, &Incarnation) {
        let (Self::Keep(name, incarnation) | Self::Destroy(name, incarnation)) = self;
        (name, incarnation)
    }

    fn write(&self, lines: &mut String) {
        let (name, incarnation) = self.parts();
        let line = match self {
            Self::Keep(..) => {
                let key = u128::from_be_bytes(incarnation.key.to_bytes());
                format!("+ {name} {:016x} {key:032x}", incarnation.id)
            }
            Self::Destroy(..) => format!("- {name} {:016x}", incarnation.id),
        };
        // Into a string: never fails.
        let _ = writeln!(lines, "{line} {:016x}", sum(&line));
    }

    /// What a line says; `None` if it is not as it was written.
    fn read<'l>(
        line: &'l str,
        kept: &BTreeMap<String, Incarnation>,
    ) -> Option<(&'l str, Option<Incarnation>)> {
        let (line, written) = line.rsplit_once(' ')?;
        if u64::from_str_radix(written, 16).ok()? != sum(line) {
            return None;
        }
        let mut words = line.split(' ');
        let (sign, name) = (words.next()?, words.next()?);
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        match sign {
            "+" => {
                let key = u128::from_str_radix(words.next()?, 16).ok()?.to_be_bytes();
                Some((name, Some(Incarnation { id, key: HandleKey::from_bytes(key) })))
            }
            "-" if kept.get(name).is_some_and(|kept| kept.id == id) => Some((name, None)),
            _ => None,
        }
    }
}

impl Journal {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
        let failed = || format!("could not open {}", path.display());
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).with_context(failed)?;
        let mut this = Self { file: file.into(), kept: BTreeMap::new(), lines: 0 };
        let mut text = Vec::new();
        this.file.read_to_end(&mut text).with_context(failed)?;
        let read = this.read(&text);
        let rest = text.get(read..).unwrap_or_default();
        // After a crash of the machine the end may not be what was written. What stands before it is.
        if rest.split(|byte| *byte == b'\n').skip(1).any(|line| this.understands(line)) {
            bail!(
                "{}: line {} is damaged: take the file from a backup, or remove it, and all clients \
                 have to mount anew",
                path.display(),
                this.lines + 1,
            );
        }
        if !rest.is_empty() || this.lines > this.kept.len() {
            this.rewrite(path)?;
        }
        Ok(this)
    }

    /// Takes in what can be read, and says how many bytes that was.
    fn read(&mut self, text: &[u8]) -> usize {
        let mut read = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let said = line.strip_suffix(b"\n").and_then(|line| str::from_utf8(line).ok());
            match said.and_then(|line| Change::read(line, &self.kept)) {
                Some((name, Some(incarnation))) => {
                    self.kept.insert(name.to_owned(), incarnation);
                }
                Some((name, None)) => drop(self.kept.remove(name)),
                None => break,
            }
            self.lines += 1;
            read += line.len();
        }
        read
    }

    fn understands(&self, line: &[u8]) -> bool {
        str::from_utf8(line).is_ok_and(|line| Change::read(line, &self.kept).is_some())
    }

    /// Adds lines, all of them or none.
    fn append(&mut self, lines: &str) -> Result<()> {
        let before = self.file.metadata()?.len();
        self.file.write_all(lines.as_bytes()).inspect_err(|_| {
            // What is left of it is no line, and the next change is refused behind it, or read.
            let _ = self.file.set_len(before);
        })?;
        Ok(())
    }

    /// Leaves out what is not kept any more.
    fn rewrite(&mut self, path: &Path) -> Result<()> {
        let mut lines = String::new();
        for (name, incarnation) in &self.kept {
            Change::Keep(name.clone(), incarnation.clone()).write(&mut lines);
        }
        let new = path.with_extension("new");
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        file.seek(std::io::SeekFrom::End(0))?;
        fs::rename(&new, path)?;
        self.lines = self.kept.len();
        self.file = file;
        Ok(())
    }
}

/// Where state is kept if nothing else is said.
///
/// # Errors
///
/// For an ordinary user without a home.
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

/// The lock file, locked.
fn lock(folder: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::open(folder.join("lock"), flags, mode)?);
    match file.try_lock() {
        Ok(()) => {
            let pid = std::process::id();
            file.set_len(0).and_then(|()| writeln!(file, "{pid}"))?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            bail!("another server uses it (process {}): choose another one", pid.trim())
        }
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Has a file on the disk, and its name.
fn flush(file: &File, folder: &Path) -> std::io::Result<()> {
    file.sync_data()?;
    File::open(folder)?.sync_all()
}

fn sum(line: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(line.as_bytes());
    hasher.finish()
}

const JOURNAL: &str = "namespaces";
const PATHS: &str = "paths";
/// So many lines too many are left alone.
const SPARE_LINES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn open(folder: &TempDir) -> Arc<StateDir> {
        StateDir::open(folder.path()).unwrap()
    }

    fn keep(state: &Arc<StateDir>, name: &str) -> Incarnation {
        let incarnation = state.incarnation(name).unwrap();
        state.change(&[Change::Keep(name.into(), incarnation.clone())]).unwrap();
        incarnation
    }

    #[test]
    fn state_of_a_directory_is_its_own_and_outlives_a_power_failure() {
        let all = TempDir::new().unwrap();
        let served = Path::new("/srv/files");
        let open = || StateDir::of_directory(all.path(), served);
        let state = open().unwrap();
        let name = state.folder.join("directory");
        drop(state);
        // As the disk has them when the machine failed right after the start.
        for lost in [&b""[..], &[0; 10]] {
            fs::write(&name, lost).unwrap();
            drop(open().unwrap());
            assert_eq!(fs::read(&name).unwrap(), b"/srv/files");
        }
        fs::write(&name, "/srv/others").unwrap();
        let refused = open().unwrap_err().to_string();
        assert!(refused.contains("is of another directory"), "{refused}");
    }

    #[test]
    fn restart_keeps_what_is_kept_and_destroying_destroys_it() {
        let folder = TempDir::new().unwrap();
        let state = open(&folder);
        let (blue, green) = (keep(&state, "blue"), keep(&state, "green"));
        assert_ne!(blue, green);
        assert_ne!(state.incarnation("red").unwrap(), state.incarnation("red").unwrap());
        state.change(&[Change::Destroy("blue".into(), blue.clone())]).unwrap();
        state.sync().unwrap();
        assert_ne!(state.incarnation("blue").unwrap(), blue);
        drop(state);
        let state = open(&folder);
        assert_eq!(state.incarnation("green").unwrap(), green);
        assert_ne!(state.incarnation("blue").unwrap(), blue);
        let text = fs::read_to_string(folder.path().join(JOURNAL)).unwrap();
        let key = format!("{:032x}", u128::from_be_bytes(blue.key().to_bytes()));
        assert!(!text.contains(&key), "the key of what was destroyed is still there");
        let refused = state.change(&[Change::Destroy("blue".into(), blue)]);
        assert!(refused.unwrap_err().to_string().contains("meanwhile"));
    }

    #[test]
    fn second_server_is_refused() {
        let folder = TempDir::new().unwrap();
        let state = open(&folder);
        let refused = format!("{:#}", StateDir::open(folder.path()).unwrap_err());
        let pid = std::process::id();
        assert!(refused.contains(&format!("another server uses it (process {pid})")), "{refused}");
        drop(state);
        drop(open(&folder));
    }

    #[test]
    fn torn_end_is_cut_off_and_damage_before_it_is_refused() {
        let folder = TempDir::new().unwrap();
        let state = open(&folder);
        let kept = ["a", "b", "c"].map(|name| keep(&state, name));
        drop(state);
        let path = folder.path().join(JOURNAL);
        let whole = fs::read(&path).unwrap();
        let line = whole.len() / 3;
        for cut in 0..whole.len() {
            let mut torn = whole[..cut].to_vec();
            if cut % 2 == 0 {
                torn.extend([0; 100]);
            }
            fs::write(&path, torn).unwrap();
            let state = open(&folder);
            for (at, (name, kept)) in ["a", "b", "c"].into_iter().zip(&kept).enumerate() {
                let is_there = state.incarnation(name).unwrap() == *kept;
                assert_eq!(is_there, cut >= (at + 1) * line, "{name} of {cut} bytes");
            }
            drop(state);
        }
        let mut damaged = whole;
        damaged[line + 5] ^= 1;
        fs::write(&path, damaged).unwrap();
        let refused = format!("{:#}", StateDir::open(folder.path()).unwrap_err());
        assert!(refused.contains("line 2 is damaged"), "{refused}");
    }

    #[test]
    fn journal_does_not_grow_with_what_has_gone() {
        let folder = TempDir::new().unwrap();
        let state = open(&folder);
        let kept = keep(&state, "kept");
        for _ in 0..2 * SPARE_LINES {
            let name = "comes-and-goes".to_owned();
            let incarnation = keep(&state, &name);
            state.change(&[Change::Destroy(name, incarnation)]).unwrap();
        }
        let length = fs::metadata(folder.path().join(JOURNAL)).unwrap().len();
        assert!(length < 2 * SPARE_LINES as u64 * 100, "{length} bytes");
        drop(state);
        assert_eq!(open(&folder).incarnation("kept").unwrap(), kept);
    }
}
