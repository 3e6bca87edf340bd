//! The image that guests boot: made once of Debian packages, then used by every guest.

use std::{
    env,
    fs::{self, File, FileTimes, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    Error, host, kernel,
    recipe::{MMDEBSTRAP_OPTIONS, Recipe, SQFSTAR_OPTIONS},
};

/// An image nobody has booted for this long goes when another is built.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A kernel and a root file system that guests boot.
///
/// Images live in a cache directory: `$HOLM_GUEST_CACHE`, or `holm/guest` below
/// `$XDG_CACHE_HOME` or `~/.cache`. Each recipe has its own image there.
#[derive(Debug, Clone)]
pub struct Image {
    directory: PathBuf,
}

impl Image {
    /// The image of this version of the crate; builds it if the cache does not have it.
    ///
    /// Building takes a Debian machine, a Debian archive that apt is set up with, and either root
    /// or what mmdebstrap needs to do without (`uidmap`, subordinate ids). Programs that are
    /// missing are installed when run as root.
    ///
    /// # Errors
    ///
    /// Everything that can go wrong with it; [`Error::Packages`] says what to install.
    pub fn ready() -> Result<Self, Error> {
        Self::make(false)
    }

    /// Builds the image again, with the packages that the archive has now.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn rebuild() -> Result<Self, Error> {
        Self::make(true)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The version of its kernel.
    ///
    /// # Errors
    ///
    /// The image can't be read.
    pub fn kernel_version(&self) -> Result<String, Error> {
        let path = self.directory.join("version");
        Ok(fs::read_to_string(&path).map_err(Error::path("read", path))?.trim().to_owned())
    }

    /// The kernel, as an ELF file.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// The initramfs.
    pub(crate) fn initrd(&self) -> PathBuf {
        self.directory.join("initrd.cpio")
    }

    /// The root file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root.squashfs")
    }

    fn make(again: bool) -> Result<Self, Error> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Error::Unsupported("guests are x86-64 machines, and this is none".into()));
        }
        host::provide_to_run()?;
        let cache = cache()?;
        fs::create_dir_all(&cache).map_err(Error::path("create", &cache))?;
        let recipe = Recipe::new()?;
        let image = Self { directory: cache.join(recipe.name()) };
        if !again && image.is(&recipe) {
            image.mark_used();
            return Ok(image);
        }
        let path = cache.join("lock");
        let lock = File::create(&path).map_err(Error::path("create", &path))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .map_err(Error::path("lock", &path))?;
        if again || !image.is(&recipe) {
            host::provide_to_build()?;
            clean(&cache);
            image.build(&recipe, &cache)?;
        }
        image.mark_used();
        Ok(image)
    }

    /// Whether this image is there and made by this recipe. The recipe is written last.
    fn is(&self, recipe: &Recipe) -> bool {
        fs::read_to_string(self.directory.join("recipe")).is_ok_and(|text| text == recipe.text())
    }

    /// Keeps it from being cleaned away. An image may belong to somebody else, who then keeps it.
    fn mark_used(&self) {
        let times = FileTimes::new().set_modified(SystemTime::now());
        let _ = File::create(self.directory.join("used")).and_then(|file| file.set_times(times));
    }

    fn build(&self, recipe: &Recipe, cache: &Path) -> Result<(), Error> {
        let begin = Instant::now();
        eprintln!("guest: building an image in {}", self.directory.display());
        let work = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(cache)
            .map_err(Error::path("create a directory in", cache))?;
        let tar = work.path().join("root.tar");
        root_tar(recipe, &tar)?;
        unpack_boot_files(&tar, work.path())?;
        kernel::unpack(&work.path().join("vmlinuz"), &work.path().join("vmlinux"))?;
        squash(&tar, &work.path().join("root.squashfs"))?;
        for name in ["root.tar", "vmlinuz"] {
            let path = work.path().join(name);
            fs::remove_file(&path).map_err(Error::path("remove", &path))?;
        }
        let path = work.path().join("recipe");
        fs::write(&path, recipe.text()).map_err(Error::path("write", &path))?;
        fs::set_permissions(work.path(), Permissions::from_mode(0o755))
            .map_err(Error::path("change the mode of", work.path()))?;
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).map_err(Error::path("remove", &self.directory))?;
        }
        let work = work.keep();
        fs::rename(&work, &self.directory).map_err(Error::path("rename", &work))?;
        eprintln!(
            "guest: kernel {}, {} MiB, built in {:.0} s",
            self.kernel_version()?,
            size(&self.directory) >> 20,
            begin.elapsed().as_secs_f64(),
        );
        Ok(())
    }
}

/// The directory that all images are in.
fn cache() -> Result<PathBuf, Error> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("HOLM_GUEST_CACHE") {
        return Ok(path);
    }
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|path| path.join("holm/guest"))
        .ok_or_else(|| Error::Invalid("no directory for guest images: set HOLM_GUEST_CACHE".into()))
}

/// Removes what builds that were cut off have left, and images that nobody uses.
fn clean(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let path = entry.path();
        let unfinished = entry.file_name().to_string_lossy().starts_with("build-");
        let unused = fs::metadata(path.join("used"))
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNUSED));
        if (unfinished || unused)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            eprintln!("guest: {} stays: {error}", path.display());
        }
    }
}

/// Installs the packages and the kernel; the result is a tar file.
fn root_tar(recipe: &Recipe, tar: &Path) -> Result<(), Error> {
    let mut command = host::MMDEBSTRAP.command();
    command
        .args(MMDEBSTRAP_OPTIONS)
        .arg(format!("--include={}", recipe.packages()))
        .arg(format!("--customize-hook={}", recipe.customize))
        .args(host::apt_options()?.iter().map(|option| format!("--aptopt={option}")))
        // The archive's settings are this machine's business.
        .arg("--customize-hook=rm -f \"$1/etc/apt/apt.conf.d/99mmdebstrap\"")
        .args(["", "-", "-"]);
    let output = File::create(tar).map_err(Error::path("create", tar))?;
    command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io("run mmdebstrap"))?;
    // A few lines, which fit into a pipe.
    let archives = host::archives()?.join("\n") + "\n";
    let written = child.stdin.take().expect("piped").write_all(archives.as_bytes());
    finish("mmdebstrap", child)?;
    written.map_err(Error::io("tell mmdebstrap the archives"))
}

/// Takes the kernel and the initramfs out of the tar file.
fn unpack_boot_files(tar: &Path, to: &Path) -> Result<(), Error> {
    let attempt = || Error::path("unpack", tar);
    let file = File::open(tar).map_err(attempt())?;
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
    let mut wanted = vec!["vmlinuz", "initrd.cpio", "version"];
    for entry in archive.entries_with_seek().map_err(attempt())? {
        let mut entry = entry.map_err(attempt())?;
        let path = entry.path().map_err(attempt())?.into_owned();
        let found =
            wanted.iter().position(|name| path.ends_with(Path::new("boot/guest").join(name)));
        if let Some(found) = found {
            let path = to.join(wanted.swap_remove(found));
            let mut file = File::create(&path).map_err(Error::path("create", &path))?;
            io::copy(&mut entry, &mut file).map_err(attempt())?;
        }
    }
    if !wanted.is_empty() {
        let what = format!("the image in the making has no {}", wanted.join(", "));
        return Err(Error::Unsupported(what));
    }
    Ok(())
}

/// Makes a squashfs of the tar file.
fn squash(tar: &Path, to: &Path) -> Result<(), Error> {
    let input = File::open(tar).map_err(Error::path("open", tar))?;
    let child = host::SQFSTAR
        .command()
        .args(SQFSTAR_OPTIONS)
        .arg(to)
        .arg("boot/guest")
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("run sqfstar"))?;
    finish("sqfstar", child)
}

fn finish(program: &str, child: Child) -> Result<(), Error> {
    let output = child.wait_with_output().map_err(Error::io(format!("wait for {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        program: program.into(),
        status: output.status.to_string(),
        output: ends(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// The first and the last lines: one of them is the reason.
fn ends(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<_> = text.lines().collect();
    if lines.len() <= 2 * LINES {
        return text.into();
    }
    [&lines[..LINES], &["…"], &lines[lines.len() - LINES..]].concat().join("\n")
}

/// The sizes of the directory's files.
fn size(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
