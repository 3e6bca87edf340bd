//! A mount: the server's files by path.

use crate::connection::{Connections, Peer};
use crate::doorway::{Doorway, Through};
use crate::error::{Error, Problem, Result};
use crate::file::{Access, File};
use crate::handle::Handle;
use crate::listing::Listing;
use crate::locate::{self, Export};
use crate::nfs3::{Nfs3, Node};
use crate::options::Options;
use crate::uncommitted::{Budget, Uncommitted};
use crate::url::Url;
use holm_lifetime::sync::Mutex;
use holm_nfs_proto::nfs3::{
    self, Attributes, FileType, FsInfoOk, FsStatOk, PathConfOk, SetAttributes, access,
};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};
use std::sync::{Arc, Weak};

/// A directory of a server, mounted for this program alone.
///
/// It is cheap to clone, and shared between threads as it is: calls of several threads go side by side, on
/// as many [connections](Options::connections) as there may be. Unmounting is dropping it.
///
/// Paths begin at the URL's path, whether they are absolute or not; the empty path is what the URL itself
/// names, which may also be a file, or nothing yet. `..` is refused, and symbolic links are not followed.
///
/// Handles go on meaning the same file however it is renamed; [`nfs`](Self::nfs) has the same operations
/// by handle.
#[derive(Debug, Clone)]
pub struct Mount {
    inner: Arc<Inner>,
}

/// What all that belongs to a mount share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub nfs: Nfs3,
    pub info: FsInfoOk,
    pub budget: Arc<Budget>,
    doorway: Doorway,
    url: Url,
    export: Export,
    start: Mutex<Start>,
    /// What was written to files that are open.
    open: Mutex<HashMap<Handle, Weak<Uncommitted>>>,
}

/// Where paths begin.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// The export's root.
    root: Handle,
    /// The URL's path beneath it, once it was looked up.
    base: Option<Handle>,
}

impl Mount {
    /// Mounts the longest export that is on the way to the URL's path.
    ///
    /// NFS is asked for at the URL's port, or at 2049, or where the port mapper of the host says; MOUNT at
    /// the same port, or where a port mapper says, there or at port 111.
    ///
    /// # Errors
    /// [`Error`]. Unlike later on, a server that is not there is not waited for.
    pub fn new(url: &Url, options: &Options) -> Result<Self> {
        let peer = Arc::new(Peer::new(options));
        let found = locate::find(url, &peer)?;
        let connections = Connections::new(found.connection, options.connections);
        let mut nfs = Nfs3::new(connections, url.to_string());
        let info = nfs.fs_info(&found.root).map_err(|error| error.on(|| url.to_string()))?;
        nfs.limit(&info);
        let start = Start { root: found.root, base: None };
        Ok(Self {
            inner: Arc::new(Inner {
                nfs,
                info,
                budget: Budget::new(options.uncommitted),
                doorway: Doorway::new(options.local.clone(), options.user.clone()),
                url: url.clone(),
                export: found.export,
                start: Mutex::new(start),
                open: Mutex::default(),
            }),
        })
    }

    /// What was mounted.
    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    /// The path of the export on the server.
    pub fn export(&self) -> &Path {
        self.inner.export.path()
    }

    /// Where the server answers.
    pub fn address(&self) -> std::net::SocketAddr {
        self.inner.nfs.connections().address()
    }

    /// What the server does best, as it said when it was mounted.
    pub fn info(&self) -> &FsInfoOk {
        &self.inner.info
    }

    /// The same operations by handle.
    pub fn nfs(&self) -> &Nfs3 {
        &self.inner.nfs
    }

    /// What has this path.
    ///
    /// # Errors
    /// [`Error`].
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Node> {
        let path = path.as_ref();
        self.inner.at(path, |start| self.inner.walk(start, path))
    }

    /// What has this path is such. A symbolic link is one, not what it points to.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Attributes> {
        self.lookup(path).map(|node| node.attributes)
    }

    /// Which of these rights the caller has: bits of [`access`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn access(&self, path: impl AsRef<Path>, rights: u32) -> Result<u32> {
        self.with(path, |file| self.nfs().access(file, rights))
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// [`Error`]; later ones come from the [`Listing`].
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Listing> {
        let path = path.as_ref();
        let Node { handle, attributes } = self.lookup(path)?;
        if attributes.file_type != FileType::Directory {
            let problem = Problem::Status(nfs3::Error::NotDir);
            return Err(Error::new("list", self.inner.name(path), problem));
        }
        Ok(Listing::new(self.inner.clone(), handle, self.inner.name(path)))
    }

    /// What is in the directory that has this handle.
    pub fn list_handle(&self, directory: &Handle) -> Listing {
        let name = format!("{directory:?} of {}", self.inner.url);
        Listing::new(self.inner.clone(), *directory, name)
    }

    /// Opens a file that is there. The server is asked now whether the caller may; later it may
    /// still refuse what it finds otherwise then.
    ///
    /// # Errors
    /// [`Error`]; also for what is no regular file.
    pub fn open(&self, path: impl AsRef<Path>, access: Access) -> Result<File> {
        let path = path.as_ref();
        let Node { handle, attributes } = self.lookup(path)?;
        let failed = |problem| Error::new("open", self.inner.name(path), problem);
        match attributes.file_type {
            FileType::Regular => {}
            FileType::Directory => return Err(failed(Problem::Status(nfs3::Error::IsDir))),
            FileType::SymLink => return Err(failed(Problem::Invalid(LINK))),
            _ => return Err(failed(Problem::Invalid("it is no regular file"))),
        }
        let wanted = access.rights();
        let granted = self.nfs().access(&handle, wanted);
        if granted.map_err(|error| error.on(|| self.inner.name(path)))? != wanted {
            return Err(failed(Problem::Status(nfs3::Error::Acces)));
        }
        Ok(self.file(handle, access, self.inner.name(path)))
    }

    /// Opens a file by its handle. Whether the caller may is seen when it is read or written.
    pub fn open_handle(&self, handle: &Handle, access: Access) -> File {
        self.file(*handle, access, format!("{handle:?} of {}", self.inner.url))
    }

    /// Makes a file with these permission bits and opens it for reading and writing. One that is there is
    /// taken as it is, unless it must be new.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(&self, path: impl AsRef<Path>, mode: u32, must_be_new: bool) -> Result<File> {
        let path = path.as_ref();
        let attributes = SetAttributes { mode: Some(mode & MODE), ..SetAttributes::default() };
        let node = self.in_directory(path, |directory, name| {
            if !must_be_new {
                // Its mode is its own.
                match self.nfs().lookup(directory, name) {
                    Err(error) if error.status() == Some(nfs3::Error::NoEnt) => {}
                    found => return found,
                }
            }
            self.nfs().create(directory, name, &attributes, must_be_new)
        })?;
        if node.attributes.file_type != FileType::Regular {
            let problem = match node.attributes.file_type {
                FileType::Directory => Problem::Status(nfs3::Error::IsDir),
                FileType::SymLink => Problem::Invalid(LINK),
                _ => Problem::Invalid("there is something that is no regular file"),
            };
            return Err(Error::new("create", self.inner.name(path), problem));
        }
        Ok(self.file(node.handle, Access::ReadWrite, self.inner.name(path)))
    }

    /// Makes a directory with these permission bits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn make_directory(&self, path: impl AsRef<Path>, mode: u32) -> Result<Node> {
        let attributes = SetAttributes { mode: Some(mode & MODE), ..SetAttributes::default() };
        self.in_directory(path, |directory, name| {
            self.nfs().make_directory(directory, name, &attributes)
        })
    }

    /// Makes a symbolic link to whatever `target` will mean to who follows it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn symlink(&self, target: impl AsRef<OsStr>, path: impl AsRef<Path>) -> Result<Node> {
        self.in_directory(path, |directory, name| {
            self.nfs().symlink(directory, name, target.as_ref())
        })
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<OsString> {
        self.with(path, |link| self.nfs().read_link(link))
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn link(&self, file: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let file = self.lookup(file)?.handle;
        self.in_directory(path, |directory, name| self.nfs().link(&file, directory, name))
    }

    /// Removes a name that is no directory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        self.in_directory(path, |directory, name| self.nfs().remove(directory, name))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove_directory(&self, path: impl AsRef<Path>) -> Result<()> {
        self.in_directory(path, |directory, name| self.nfs().remove_directory(directory, name))
    }

    /// Renames, over whatever has the new name if that can be.
    ///
    /// # Errors
    /// [`Error`], about the old name.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        self.in_directory(from, |from, old| {
            let to = self.inner.directory(&self.inner.start(), to)?;
            self.nfs().rename((from, old), (&to.0, to.1))
        })
    }

    /// Changes attributes; the size of a file that is open is best changed [there](File::set_len).
    ///
    /// # Errors
    /// [`Error`].
    pub fn set(&self, path: impl AsRef<Path>, attributes: &SetAttributes) -> Result<()> {
        self.with(path, |file| {
            let set = || self.nfs().set(file, attributes, None);
            match (attributes.size, self.inner.known(file)) {
                (Some(_), Some(open)) => open.with_nothing_kept(self.nfs(), set),
                _ => set(),
            }
        })
    }

    /// How full the file system is.
    ///
    /// # Errors
    /// [`Error`].
    pub fn fs_stat(&self, path: impl AsRef<Path>) -> Result<FsStatOk> {
        self.with(path, |file| self.nfs().fs_stat(file))
    }

    /// What names and links the file system can have.
    ///
    /// # Errors
    /// [`Error`].
    pub fn path_conf(&self, path: impl AsRef<Path>) -> Result<PathConfOk> {
        self.with(path, |file| self.nfs().path_conf(file))
    }

    fn file(&self, handle: Handle, access: Access, name: String) -> File {
        File::new(self.inner.clone(), self.inner.written(&handle), access, name)
    }

    fn with<T>(&self, path: impl AsRef<Path>, work: impl Fn(&Handle) -> Result<T>) -> Result<T> {
        let path = path.as_ref();
        self.inner.at(path, |start| work(&self.inner.walk_to(start, path)?))
    }

    fn in_directory<T>(
        &self,
        path: impl AsRef<Path>,
        work: impl Fn(&Handle, &OsStr) -> Result<T>,
    ) -> Result<T> {
        let path = path.as_ref();
        self.inner.at(path, |start| {
            let (directory, name) = self.inner.directory(start, path)?;
            work(&directory, name)
        })
    }
}

impl Inner {
    /// The way to the server's door.
    pub fn doors(&self) -> Through<'_> {
        Through { doorway: &self.doorway, nfs: &self.nfs }
    }

    /// What a path is called in errors.
    pub fn name(&self, path: &Path) -> String {
        match self.url.join(path) {
            Ok(url) => url.to_string(),
            Err(_) => format!("{}: {}", self.url, path.display()),
        }
    }

    /// What is kept of a file, for all who have it open.
    fn written(&self, handle: &Handle) -> Arc<Uncommitted> {
        let mut open = self.open.lock();
        if let Some(known) = open.get(handle).and_then(Weak::upgrade) {
            return known;
        }
        // As many as are open, and once as many that were.
        if open.len() >= CLOSED_MAX && open.len() == open.capacity() {
            open.retain(|_, file| file.strong_count() > 0);
        }
        let new = Arc::new(Uncommitted::new(*handle, &self.budget));
        open.insert(*handle, Arc::downgrade(&new));
        new
    }

    fn known(&self, handle: &Handle) -> Option<Arc<Uncommitted>> {
        self.open.lock().get(handle).and_then(Weak::upgrade)
    }

    /// Does something with a path, and once more if the handles on the way to it were of the past.
    fn at<T>(&self, path: &Path, work: impl Fn(&Start) -> Result<T>) -> Result<T> {
        let done = work(&self.start()).or_else(|error| {
            if !matches!(error.status(), Some(nfs3::Error::Stale | nfs3::Error::BadHandle)) {
                return Err(error);
            }
            self.start_again()?;
            work(&self.start())
        });
        done.map_err(|error| error.on(|| self.name(path)))
    }

    fn start(&self) -> Start {
        *self.start.lock()
    }

    /// The server was set up anew, or what the URL's path named was replaced.
    fn start_again(&self) -> Result<()> {
        let root = self.export.mount(self.nfs.connections().peer())?;
        *self.start.lock() = Start { root, base: None };
        Ok(())
    }

    /// Follows a path.
    fn walk(&self, start: &Start, path: &Path) -> Result<Node> {
        match self.way(start, path)? {
            (handle, None) => Ok(Node { handle, attributes: self.nfs.stat(&handle)? }),
            (directory, Some(name)) => self.nfs.lookup(&directory, name),
        }
    }

    fn walk_to(&self, start: &Start, path: &Path) -> Result<Handle> {
        match self.way(start, path)? {
            (handle, None) => Ok(handle),
            (directory, Some(name)) => self.nfs.lookup(&directory, name).map(|node| node.handle),
        }
    }

    /// All of a path but its last name.
    fn way<'p>(&self, start: &Start, path: &'p Path) -> Result<(Handle, Option<&'p OsStr>)> {
        let mut names = self.names(path)?;
        let last = names.pop();
        Ok((self.walk_names(self.base(start)?, &names)?, last))
    }

    /// The directory that a path's last name is in.
    fn directory<'p>(&'p self, start: &Start, path: &'p Path) -> Result<(Handle, &'p OsStr)> {
        let mut names = self.names(path)?;
        if let Some(last) = names.pop() {
            return Ok((self.walk_names(self.base(start)?, &names)?, last));
        }
        let mut names = self.names(self.beneath())?;
        let nameless = || self.nfs.error("name", Problem::Invalid("an export's root has no name"));
        let last = names.pop().ok_or_else(nameless)?;
        Ok((self.walk_names(start.root, &names)?, last))
    }

    /// What the URL itself names.
    fn base(&self, start: &Start) -> Result<Handle> {
        if let Some(base) = start.base {
            return Ok(base);
        }
        let names = self.names(self.beneath())?;
        let Some((last, names)) = names.split_last() else { return Ok(start.root) };
        let base = self.nfs.lookup(&self.walk_names(start.root, names)?, last)?;
        let mut known = self.start.lock();
        // Not if it was mounted again meanwhile. A file may be replaced by another.
        if known.root == start.root && base.attributes.file_type == FileType::Directory {
            known.base = Some(base.handle);
        }
        Ok(base.handle)
    }

    /// The URL's path within the export.
    fn beneath(&self) -> &Path {
        self.url.path().strip_prefix(self.export.path()).unwrap_or(Path::new(""))
    }

    fn names<'p>(&self, path: &'p Path) -> Result<Vec<&'p OsStr>> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::ParentDir => {
                    let why = Problem::Invalid("'..' in a path leads nowhere");
                    return Err(self.nfs.error("look up", why));
                }
                _ => {}
            }
        }
        Ok(names)
    }

    fn walk_names(&self, mut reached: Handle, names: &[&OsStr]) -> Result<Handle> {
        for name in names {
            let node = self.nfs.lookup(&reached, name)?;
            if node.attributes.file_type == FileType::SymLink {
                return Err(self.nfs.error("look up", Problem::Invalid(LINK_ON_THE_WAY)));
            }
            reached = node.handle;
        }
        Ok(reached)
    }
}

impl Access {
    const fn rights(self) -> u32 {
        const WRITE: u32 = access::MODIFY | access::EXTEND;
        match self {
            Self::Read => access::READ,
            Self::Write => WRITE,
            Self::ReadWrite => access::READ | WRITE,
        }
    }
}

const LINK: &str = "it is a symbolic link, and those are not followed";
const LINK_ON_THE_WAY: &str = "there is a symbolic link on the way, and those are not followed";
/// The permission bits, with set-uid, set-gid and sticky.
const MODE: u32 = 0o7777;
/// Files that were closed, of which something is remembered.
const CLOSED_MAX: usize = 64;
