//! A file system that ceases to answer when it is told to.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, Request, SessionACL,
};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Lookup,
    GetAttr,
    Open,
    Read,
    /// A file is closed.
    Flush,
}

/// Mounted, with [`FILE`] in it. It answers until it is told not to.
pub struct Wedge {
    state: Arc<State>,
    directory: PathBuf,
    session: BackgroundSession,
}

pub const FILE: &str = "file";
pub const CONTENT: &[u8] = b"behind a wedge";

#[derive(Default)]
struct State {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    unanswered: Option<Asked>,
    answers: Vec<Answer>,
}

type Answer = Box<dyn FnOnce() + Send>;

impl Wedge {
    /// Mounts it, in mounts that are the caller's own.
    pub fn mount(directory: &Path) -> Self {
        std::fs::create_dir(directory).unwrap();
        let state = Arc::new(State::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("wedge".into()), MountOption::RO];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(Served(state.clone()), directory, &config).unwrap();
        Self { state, directory: directory.into(), session }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// From now on it does not answer this.
    pub fn stop_answering(&self, what: Asked) {
        self.state.waiting().unanswered = Some(what);
    }

    /// Waits until so many wait for an answer.
    pub fn wait_for_stuck(&self, count: usize) {
        let waiting = self.state.waiting();
        let enough = |waiting: &mut Waiting| waiting.answers.len() < count;
        drop(self.state.changed.wait_while(waiting, enough).unwrap());
    }

    /// How many wait for an answer.
    pub fn stuck(&self) -> usize {
        self.state.waiting().answers.len()
    }

    /// Answers all who wait, and from now on everybody.
    pub fn answer(&self) {
        let mut waiting = self.state.waiting();
        waiting.unanswered = None;
        let answers = std::mem::take(&mut waiting.answers);
        drop(waiting);
        answers.into_iter().for_each(|answer| answer());
    }

    /// Ends it in front of all who wait.
    pub fn abort(&self) {
        // That it can't be unmounted then because it is in use, does not matter.
        Command::new("umount").arg("--force").arg(&self.directory).output().unwrap();
    }

    /// Unmounts it, which fails while anything in it is open.
    pub fn unmount(self) -> std::io::Result<()> {
        self.session.umount_and_join()
    }
}

impl State {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap()
    }

    fn answer(&self, asked: Asked, answer: impl FnOnce() + Send + 'static) {
        let mut waiting = self.waiting();
        if waiting.unanswered == Some(asked) {
            waiting.answers.push(Box::new(answer));
            self.changed.notify_all();
        } else {
            drop(waiting);
            answer();
        }
    }
}

struct Served(Arc<State>);

/// Nothing is remembered by the kernel: it asks every time.
const NOT_KEPT: Duration = Duration::ZERO;
const FILE_NUMBER: INodeNo = INodeNo(2);

fn attributes(inode: INodeNo) -> FileAttr {
    let is_file = inode == FILE_NUMBER;
    FileAttr {
        ino: inode,
        size: if is_file { CONTENT.len() as u64 } else { 0 },
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o644 } else { 0o755 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name != FILE {
            return reply.error(Errno::ENOENT);
        }
        self.0.answer(Asked::Lookup, || {
            reply.entry(&NOT_KEPT, &attributes(FILE_NUMBER), Generation(0));
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let answer = move || reply.attr(&NOT_KEPT, &attributes(inode));
        // The directory is asked for even by who only looks at the mount.
        if inode == FILE_NUMBER { self.0.answer(Asked::GetAttr, answer) } else { answer() }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let answer = move || reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        self.0.answer(Asked::Open, answer);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = CONTENT.get(offset as usize..).unwrap_or_default();
        let data = &rest[..rest.len().min(size as usize)];
        self.0.answer(Asked::Read, move || reply.data(data));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.0.answer(Asked::Flush, move || reply.ok());
    }
}
