//! What tests run in: a thread of their own with its own mounts, file systems made for one test,
//! and volumes on them.

use holm_nfsd::attributes::SetAttributes;
use holm_nfsd::beneath::{Mounts, Root};
use holm_nfsd::handle::{HandleKey, NodeId, StoreKind};
use holm_nfsd::identity::{Caller, Credentials, Privileges, Session};
use holm_nfsd::name::{Component, Name};
use holm_nfsd::store::{self, PathDatabase, PathStore, Syncing};
use holm_nfsd::volume::{Create, Made, Node, Options, Volume};
use holm_nfsd::{Result, Status};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a test as root, on a thread whose mounts nobody else sees. As another user, it is skipped.
pub fn as_root(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    on_another_thread(|| {
        // SAFETY: the thread has opened nothing that others rely on; it only stops sharing
        // its mounts and its working directory.
        unsafe {
            rustix::thread::unshare_unsafe(
                rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS,
            )
        }
        .unwrap();
        run("mount", &["--make-rprivate", "/"]);
        test();
    });
}

/// Runs a test as an ordinary user, on a thread of its own.
pub fn as_ordinary_user(test: impl FnOnce() + Send) {
    let drop_root = || {
        if rustix::process::geteuid().is_root() {
            become_user(4711);
        }
        test();
    };
    on_another_thread(drop_root);
}

/// Runs the test of this name in a process of its own. Programs that other tests start have for a
/// moment, between fork and exec, whatever this process has open: a file system is busy then.
pub fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "HOLM_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", name, "--nocapture"]).env(ALONE, "").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// For what changes the thread for good.
pub fn on_another_thread(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(work).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Makes this thread a user without capabilities.
pub fn become_user(id: u32) {
    let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// A directory that is removed with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("holm-nfsd-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-R", "-q", "-l"]).arg(self.0.join("fs")).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A kind of file system that a test makes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Handles, parents in handles.
    Ext4,
    /// Handles, all places in memory.
    Tmpfs,
    /// No handles.
    Overlay,
}

/// A file system made for one test, and a directory of it for an export.
pub struct Disk {
    kind: Kind,
    scratch: Scratch,
}

impl Disk {
    pub fn new(kind: Kind) -> Self {
        let disk = Self { kind, scratch: Scratch::new() };
        fs::create_dir(disk.mount_point()).unwrap();
        if kind == Kind::Ext4 {
            let image = disk.scratch.path().join("image");
            fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
            let image = image.to_str().unwrap();
            run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-N", "120000", image]);
        }
        if kind == Kind::Overlay {
            // On another disk than the layers' own, as it usually is.
            let layers = disk.scratch.path().join("layers");
            fs::create_dir(&layers).unwrap();
            for layer in ["lower", "upper", "work"] {
                fs::create_dir(layers.join(layer)).unwrap();
            }
            fs::write(layers.join("lower/below"), "below").unwrap();
        }
        disk.mount();
        fs::create_dir_all(disk.export()).unwrap();
        fs::create_dir_all(disk.outside()).unwrap();
        open_to_all(&disk.export());
        open_to_all(&disk.mount_point());
        disk
    }

    pub fn mount(&self) {
        let at = self.mount_point();
        let at = at.to_str().unwrap();
        match self.kind {
            Kind::Ext4 => {
                let image = self.scratch.path().join("image");
                run("mount", &["-o", "loop", image.to_str().unwrap(), at]);
            }
            Kind::Tmpfs => run("mount", &["-t", "tmpfs", "none", at]),
            Kind::Overlay => {
                let layers = self.scratch.path().join("layers");
                let layer = |name: &str| layers.join(name).display().to_string();
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    layer("lower"),
                    layer("upper"),
                    layer("work")
                );
                run("mount", &["-t", "overlay", "none", "-o", &options, at]);
            }
        }
    }

    /// Forgets everything that the kernel had in memory of it.
    pub fn remount(&self) {
        assert_ne!(self.kind, Kind::Tmpfs, "nothing would be left");
        self.unmount();
        self.mount();
    }

    /// Nothing of it is open any more, save for a moment in programs that other tests start: they
    /// have, between fork and exec, whatever this process has open.
    fn unmount(&self) {
        let at = self.mount_point();
        let once = || Command::new("umount").arg(&at).output().unwrap();
        let mut tries = std::iter::repeat_with(once).take(1000);
        assert!(tries.any(|tried| tried.status.success()), "{} is in use", at.display());
    }

    /// Mounts it again, to be read only, without the part that begins with this block of a file.
    pub fn lose_from(&self, file: &str, block: u32) {
        self.unmount();
        let path = self.scratch.path().join("image");
        let image = path.to_str().unwrap();
        let question = format!("bmap {file} {block}");
        let answer = Command::new("debugfs").args(["-R", &question, image]).output().unwrap();
        let block: u64 = String::from_utf8_lossy(&answer.stdout).trim().parse().unwrap();
        let at = self.mount_point();
        run("mount", &["-o", "loop,ro,noload", image, at.to_str().unwrap()]);
        // Not before: it would not be mounted.
        let left = fs::File::options().write(true).open(&path).unwrap();
        left.set_len(block * 4096).unwrap();
    }

    pub fn mount_point(&self) -> PathBuf {
        self.scratch.path().join("fs")
    }

    /// The directory to export.
    pub fn export(&self) -> PathBuf {
        self.mount_point().join("export")
    }

    /// A directory beside it, on the same file system.
    pub fn outside(&self) -> PathBuf {
        self.mount_point().join("outside")
    }

    /// For the server's own files.
    pub fn state(&self) -> &Path {
        self.scratch.path()
    }
}

pub fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
}

/// A volume on a directory, with what it needs over restarts.
pub struct Server {
    pub volume: Volume,
    pub key: HandleKey,
}

pub fn key() -> HandleKey {
    HandleKey::from_bytes(*b"a key for tests.")
}

pub fn memory() -> Arc<PathDatabase> {
    Arc::new(PathDatabase::in_memory().unwrap())
}

/// The volume that a server would make of this directory.
pub fn volume(directory: &Path) -> Volume {
    serve(directory, memory(), Options::default()).volume
}

pub fn serve(directory: &Path, database: Arc<PathDatabase>, options: Options) -> Server {
    let root = Arc::new(Root::open(directory, Mounts::Closed).unwrap());
    let chosen = store::choose(&root, 1, &key(), || Ok(database)).unwrap();
    Server { volume: Volume::new(root, chosen.store, options), key: key() }
}

/// The same with the database in a file, as after a restart.
pub fn serve_from(directory: &Path, state: &Path) -> Server {
    let database = PathDatabase::open(&state.join("paths"), Syncing::WhenAsked).unwrap();
    serve(directory, Arc::new(database), Options::default())
}

/// A volume that remembers paths though it could do without.
pub fn volume_with_paths(directory: &Path, mounts: Mounts, database: Arc<PathDatabase>) -> Volume {
    let root = Arc::new(Root::open(directory, mounts).unwrap());
    let store = PathStore::new(&root, 1, &key(), &database).unwrap();
    Volume::new(root, Box::new(store), Options::default())
}

/// Runs `work` as user and group `id`, in a session of its own.
pub fn acting_as<T>(id: u32, work: impl FnOnce(&Caller<'_>) -> T) -> T {
    acting_with(&Credentials::new(id, id, &[]), work)
}

pub fn acting_with<T>(credentials: &Credentials, work: impl FnOnce(&Caller<'_>) -> T) -> T {
    let privileges = Privileges::detect().unwrap();
    let mut session = Session::begin(&privileges).unwrap();
    session.run_as(credentials, work).unwrap()
}

pub fn name(text: &str) -> Name<'_> {
    Component::parse(text.as_bytes()).unwrap().to_change().unwrap()
}

pub fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..Default::default() }
}

pub trait Shortcuts {
    fn find_node(&self, caller: &Caller<'_>, dir: &Node, name: &str) -> Result<Node>;
    fn new_file(&self, caller: &Caller<'_>, dir: &Node, name: &str) -> Result<Made>;
    fn new_directory(&self, caller: &Caller<'_>, dir: &Node, name: &str) -> Result<Node>;
    fn inode_of(&self, caller: &Caller<'_>, id: &NodeId) -> Result<u64>;
    fn uses(&self) -> StoreKind;
}

impl Shortcuts for Volume {
    fn find_node(&self, caller: &Caller<'_>, dir: &Node, entry: &str) -> Result<Node> {
        self.lookup(caller, dir, Component::parse(entry.as_bytes())?).map(|(node, _)| node)
    }

    fn new_file(&self, caller: &Caller<'_>, dir: &Node, entry: &str) -> Result<Made> {
        self.create(caller, dir, name(entry), &Create::Guarded(mode(0o644)))
    }

    fn new_directory(&self, caller: &Caller<'_>, dir: &Node, entry: &str) -> Result<Node> {
        self.make_directory(caller, dir, name(entry), &mode(0o755)).map(|made| made.node)
    }

    fn inode_of(&self, caller: &Caller<'_>, id: &NodeId) -> Result<u64> {
        Ok(self.open(caller, id)?.1.inode)
    }

    fn uses(&self) -> StoreKind {
        self.store().kind()
    }
}

pub fn is_stale<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Status::Stale))
}
