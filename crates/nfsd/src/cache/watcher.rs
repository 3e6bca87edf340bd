//! What happens to files behind our back.
//!
//! One watcher for the process. The kernel has one mark for an inode, which is shared by all who
//! watch it, in whatever namespace: the first adds it, the last takes it away. Whoever drives the
//! watcher waits for [`Watcher::fd`] and calls [`Caches::readable`](super::Caches::readable).

use super::fanotify::{self, Fanotify, Inode, Notice};
use crate::handle::FileHandle;
use holm_lifetime::sync::{Arc, Mutex};
use holm_netns::Namespace;
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;

/// Watches the inodes of cached files.
pub struct Watcher {
    /// Without it, all marks are refused.
    source: Option<Fanotify>,
    inodes: Mutex<HashMap<Inode, Arc<Watched>>>,
}

/// One inode.
struct Watched {
    inode: Inode,
    /// Held during the system calls, so that the last mark's end and the next one's beginning come
    /// to the kernel in this order.
    order: Mutex<()>,
    users: Mutex<Vec<User>>,
}

#[derive(Clone)]
struct User {
    ns: Namespace,
    handle: FileHandle,
}

/// That a file is watched. To be [ended](Watcher::end) while it is open.
pub(super) struct Mark {
    watched: Arc<Watched>,
    handle: FileHandle,
    ns: u64,
}

/// What happened.
pub(super) enum Change {
    File(Namespace, FileHandle),
    /// Any number of files may have changed.
    Anything,
}

impl Watcher {
    /// A watcher.
    ///
    /// # Errors
    ///
    /// If the kernel has none to give; [`refusing`](Self::refusing) does without.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self::with(Some(Fanotify::new()?)))
    }

    /// One that watches nothing: cached files are asked instead, before they are used and at most
    /// once a second.
    pub fn refusing() -> Self {
        Self::with(None)
    }

    fn with(source: Option<Fanotify>) -> Self {
        Self { source, inodes: Mutex::new(HashMap::new()) }
    }

    /// Readable when there is something to do.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(Fanotify::fd)
    }

    /// Watches a file, if that is possible.
    pub(super) fn begin(
        &self,
        ns: &Namespace,
        handle: &FileHandle,
        file: Option<BorrowedFd<'_>>,
    ) -> Option<Mark> {
        let (source, file) = (self.source.as_ref()?, file?);
        let inode = fanotify::inode(file).ok()?;
        let user = User { ns: ns.clone(), handle: *handle };
        let mut inodes = self.inodes.lock();
        let watched = inodes.entry(inode).or_insert_with_key(|inode| Watched::new(inode.clone()));
        let watched = watched.clone();
        // Before the kernel knows of it, so that no notice comes for nobody.
        watched.users.lock().push(user);
        drop(inodes);
        let mark = Mark { watched, handle: *handle, ns: ns.id().id };
        let order = mark.watched.order.lock();
        let added = source.add(file);
        drop(order);
        if added.is_err() {
            self.end(mark, None);
            return None;
        }
        Some(mark)
    }

    /// Ends a watch; of a file that is still open, or else the kernel ends it when it likes.
    pub(super) fn end(&self, mark: Mark, file: Option<BorrowedFd<'_>>) {
        let Mark { watched, handle, ns } = mark;
        let _order = watched.order.lock();
        let mut users = watched.users.lock();
        let own = users.iter().position(|user| user.ns.id().id == ns && user.handle == handle);
        if let Some(own) = own {
            users.swap_remove(own);
        }
        let was_last = users.is_empty();
        drop(users);
        if !was_last {
            return;
        }
        if let (Some(source), Some(file)) = (&self.source, file) {
            // May be refused, to somebody who may not read the file.
            let _ = source.remove(file);
        }
        // Somebody may have come meanwhile, and waits for `order` to add the mark again.
        let mut inodes = self.inodes.lock();
        if watched.users.lock().is_empty() {
            inodes.remove(&watched.inode);
        }
    }

    /// What has happened, as far as it fits into `buffer`, and whether there may be more.
    pub(super) fn read(&self, buffer: &mut [u8]) -> (Vec<Change>, bool) {
        let Some(source) = &self.source else { return (Vec::new(), false) };
        let notices = match source.read(buffer) {
            Ok(notices) => notices,
            Err(Errno::AGAIN) => return (Vec::new(), false),
            Err(_) => return (vec![Change::Anything], false),
        };
        let more = !notices.is_empty();
        let mut changes = Vec::new();
        for notice in notices {
            match notice {
                Notice::Lost => changes.push(Change::Anything),
                Notice::Changed(inode) => {
                    let watched = self.inodes.lock().get(inode).cloned();
                    let users = watched.map(|watched| watched.users.lock().clone());
                    let users = users.unwrap_or_default().into_iter();
                    changes.extend(users.map(|user| Change::File(user.ns, user.handle)));
                }
            }
        }
        (changes, more)
    }
}

impl Watched {
    fn new(inode: Inode) -> Arc<Self> {
        Arc::new(Self { inode, order: Mutex::new(()), users: Mutex::new(Vec::new()) })
    }
}
