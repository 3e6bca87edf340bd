//! Notices that owners leave: one thread for all of them.
//!
//! Not a source of the pool: a tenant whose file system hangs has its sources wait, and a container is
//! killed just then.

use super::owner::Kind;
use super::{Left, Owner};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Notices that owners leave. Dropping it ends its thread; nothing is noticed any more.
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// An owner is watched until this is dropped. It may be noticed at that very moment still.
#[must_use]
pub struct Watch {
    shared: Arc<Shared>,
    id: u64,
}

/// How often paths are looked at in any case: what is mounted over one raises no event, and files of
/// `/proc` raise none at all.
const PERIOD: Duration = Duration::from_secs(1);

struct Shared {
    epoll: OwnedFd,
    /// Wakes the thread.
    told: OwnedFd,
    /// None if the system has none left; then paths are looked at periodically only.
    inotify: Option<OwnedFd>,
    all: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    over: bool,
    next: u64,
    owners: BTreeMap<u64, Entry>,
    /// Those that were not looked at since their folders are watched.
    fresh: Vec<u64>,
    /// How many of them are paths.
    paths: usize,
    /// How many of them are in each watched folder.
    folders: BTreeMap<i32, usize>,
}

struct Entry {
    owner: Arc<Owner>,
    /// The watched folder that its path is in.
    folder: Option<i32>,
    left: Box<dyn FnOnce(Left) + Send>,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors or no thread.
    pub fn start() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &told, EventData::new_u64(TOLD), EventFlags::IN)?;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        if let Some(inotify) = &inotify {
            epoll::add(&epoll, inotify, EventData::new_u64(FOLDER), EventFlags::IN)?;
        }
        let shared = Arc::new(Shared { epoll, told, inotify, all: Mutex::default() });
        let thread = thread::Builder::new().name("holm-owners".into()).spawn({
            let shared = shared.clone();
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Calls `left` once when the owner leaves, or has left: of a process at once, of a path within
    /// a second or so. It is called on the watcher's thread, and must not wait.
    ///
    /// # Errors
    ///
    /// The system's: the process can't be waited for.
    pub fn watch(
        &self,
        owner: Owner,
        left: impl FnOnce(Left) + Send + 'static,
    ) -> io::Result<Watch> {
        let id = self.shared.add(owner, Box::new(left))?;
        Ok(Watch { shared: self.shared.clone(), id })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.tell();
        // It may be that the thread itself drops it, from within a callback.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// The owner once more, for somebody else to watch.
    ///
    /// # Errors
    ///
    /// The system's, and that the owner has left.
    pub fn owner(&self) -> io::Result<Owner> {
        let owner = self.shared.lock().owners.get(&self.id).map(|entry| entry.owner.clone());
        let left = || io::Error::new(io::ErrorKind::NotFound, "whose network it was has left");
        owner.ok_or_else(left)?.try_clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let entry = self.shared.lock().take(self.shared.inotify.as_ref(), self.id);
        drop(entry);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Nothing that panics is called under it.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        // It fails only when the number is at its greatest, and then the thread has been told.
        let _ = rustix::io::write(&self.told, &1u64.to_ne_bytes());
    }

    fn add(&self, owner: Owner, left: Box<dyn FnOnce(Left) + Send>) -> io::Result<u64> {
        let mut all = self.lock();
        let id = all.next;
        all.next += 1;
        let mut folder = None;
        match &owner.0 {
            Kind::Process { process, .. } => {
                // Events come as soon as the lock is released: the thread finds the entry.
                let data = EventData::new_u64(id + FIRST);
                epoll::add(&self.epoll, process, data, EventFlags::IN)?;
            }
            Kind::Path { path, .. } => {
                folder = self.inotify.as_ref().and_then(|inotify| watch_folder(inotify, path));
                if let Some(folder) = folder {
                    *all.folders.entry(folder).or_default() += 1;
                }
                all.paths += 1;
            }
        }
        all.owners.insert(id, Entry { owner: Arc::new(owner), folder, left });
        // It may have left before it was watched; and the thread may not know that there are paths.
        all.fresh.push(id);
        drop(all);
        self.tell();
        Ok(id)
    }

    fn run(&self) {
        let mut look_at = Instant::now() + PERIOD;
        loop {
            let timeout = {
                let all = self.lock();
                if all.over {
                    return;
                }
                (all.paths > 0).then(|| look_at.saturating_duration_since(Instant::now()))
            };
            let mut gone = Vec::new();
            let mut events = [const { MaybeUninit::uninit() }; 16];
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: timeout.as_secs() as i64,
                tv_nsec: timeout.subsec_nanos().into(),
            });
            match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Ok((events, _)) => {
                    for event in events {
                        match event.data.u64() {
                            TOLD => {
                                let _ = rustix::io::read(&self.told, &mut [0; 8]);
                                let fresh = std::mem::take(&mut self.lock().fresh);
                                self.look(&mut gone, |all| all.some(fresh));
                            }
                            FOLDER => self.read_folders(&mut gone),
                            process => self.look(&mut gone, |all| all.some([process - FIRST])),
                        }
                    }
                }
                Err(Errno::INTR) => {}
                // Nothing is noticed early any more, and still within the period.
                Err(_) => thread::sleep(PERIOD),
            }
            let now = Instant::now();
            if now >= look_at {
                self.look(&mut gone, |all| all.which(|entry| entry.owner.is_path()));
                look_at = now + PERIOD;
            }
            // The lock is free: whoever is called may end this or another watch.
            for (entry, left) in gone {
                (entry.left)(left);
            }
        }
    }

    /// Looks at the owners that are `meant`, and takes out those that have left.
    fn look(
        &self,
        gone: &mut Vec<(Entry, Left)>,
        meant: impl FnOnce(&Watched) -> Vec<(u64, Arc<Owner>)>,
    ) {
        let meant = meant(&self.lock());
        // Without the lock: looking at a path may take long.
        for (id, owner) in meant {
            if let Some(left) = owner.left()
                && let Some(entry) = self.lock().take(self.inotify.as_ref(), id)
            {
                gone.push((entry, left));
            }
        }
    }

    /// Looks at the paths whose names something happened to.
    fn read_folders(&self, gone: &mut Vec<(Entry, Left)>) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        // It ends with an error when there is nothing more to be read.
        while let Ok(event) = reader.next() {
            let (folder, name) = (event.wd(), event.file_name().map(|name| name.to_bytes()));
            let name = name.map(OsStr::from_bytes);
            self.look(gone, |all| {
                all.which(|entry| match name {
                    Some(name) => entry.folder == Some(folder) && entry.owner.name() == Some(name),
                    // The folder itself, or events were lost.
                    None => entry.folder.is_some(),
                })
            });
        }
    }
}

impl Watched {
    fn some(&self, ids: impl IntoIterator<Item = u64>) -> Vec<(u64, Arc<Owner>)> {
        let found = |id: u64| Some((id, self.owners.get(&id)?.owner.clone()));
        ids.into_iter().filter_map(found).collect()
    }

    fn which(&self, meant: impl Fn(&Entry) -> bool) -> Vec<(u64, Arc<Owner>)> {
        let meant = self.owners.iter().filter(|(_, entry)| meant(entry));
        meant.map(|(id, entry)| (*id, entry.owner.clone())).collect()
    }

    fn take(&mut self, inotify: Option<&OwnedFd>, id: u64) -> Option<Entry> {
        let entry = self.owners.remove(&id)?;
        if entry.owner.is_path() {
            self.paths -= 1;
        }
        if let Some(folder) = entry.folder
            && let Some(count) = self.folders.get_mut(&folder)
        {
            *count -= 1;
            if *count == 0 {
                self.folders.remove(&folder);
                if let Some(inotify) = inotify {
                    // Refused, the folder itself has gone.
                    let _ = inotify::remove_watch(inotify, folder);
                }
            }
        }
        Some(entry)
    }
}

impl Owner {
    fn is_path(&self) -> bool {
        matches!(self.0, Kind::Path { .. })
    }

    /// The last name of its path.
    fn name(&self) -> Option<&OsStr> {
        match &self.0 {
            Kind::Path { path, .. } => path.file_name(),
            Kind::Process { .. } => None,
        }
    }
}

/// Not what lies at the path: a mark on a namespace's inode holds the namespace.
fn watch_folder(inotify: impl AsFd, path: &Path) -> Option<i32> {
    use inotify::WatchFlags;
    let names = WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::CREATE;
    let flags = names | WatchFlags::ONLYDIR;
    inotify::add_watch(inotify, path.parent()?, flags).ok()
}

const TOLD: u64 = 0;
const FOLDER: u64 = 1;
/// What a process's event carries: this and the number of the watch.
const FIRST: u64 = 2;

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("watched", &self.shared.lock().owners.len()).finish()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}
