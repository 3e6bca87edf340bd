//! A door in front of a real server, which does and says what a test wants.

use crate::proxy::{self, Fate};
use holm_localio::Handle;
use holm_nfs_proto::localio::door::{
    Access, MESSAGE_MAX, Message, Opened, Refused, Request, Welcome,
};
use holm_nfs_proto::nfs3;
use holm_xdr::{Encode, Encoder};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv, sendmsg, shutdown,
    socket_with,
};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

/// GETADDR of the port mapper and UUID_IS_LOCAL, as the proxy numbers them.
const GET_ADDRESS: u32 = 100_000 + 3;
const UUID_IS_LOCAL: u32 = 400_122 + 1;
const RESULTS: usize = 24;

pub struct FakeDoor {
    /// Of the server that has this door.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _folder: tempfile::TempDir,
}

type Opening = dyn Fn(&Path, Access) -> std::io::Result<File> + Send + Sync;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    welcome: Welcome,
    opening: Box<Opening>,
}

#[derive(Default)]
struct State {
    files: HashMap<Vec<u8>, PathBuf>,
    lines: Vec<Arc<OwnedFd>>,
    registered: HashMap<[u8; 16], Arc<OwnedFd>>,
    last: u64,
    /// Files that are out.
    lent: Vec<u64>,
    closed: Vec<(u64, bool)>,
}

impl FakeDoor {
    pub fn new(server: SocketAddr) -> Self {
        Self::that(server, Welcome::THIS, |path, access| {
            let (read, write) = (access != Access::Write, access != Access::Read);
            OpenOptions::new().read(read).write(write).open(path)
        })
    }

    pub fn that(
        server: SocketAddr,
        welcome: Welcome,
        opening: impl Fn(&Path, Access) -> std::io::Result<File> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&socket, 16).unwrap();
        let opening = Box::new(opening);
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, changed, welcome, opening });
        let here = shared.clone();
        std::thread::spawn(move || {
            while let Ok(line) = accept(&socket) {
                let (here, line) = (here.clone(), Arc::new(line));
                std::thread::spawn(move || here.serve(&line));
            }
        });
        let there = shared.clone();
        let name = path.as_os_str().as_bytes().to_vec();
        let address = proxy::start(server, move |message| {
            if message.is_reply && message.procedure == GET_ADDRESS {
                message.bytes.truncate(RESULTS);
                let mut out = Encoder::new();
                holm_xdr::Opaque::<1024>::new(&name).unwrap().encode(&mut out);
                message.bytes.extend_from_slice(&out);
            }
            if !message.is_reply && message.procedure == UUID_IS_LOCAL {
                let uuid = message.bytes.last_chunk().unwrap();
                let line = there.state.lock().unwrap().registered.remove(uuid).unwrap();
                say(&line, &Message::Proven, None);
            }
            Fate::Passes
        });
        Self { address, shared, _folder: folder }
    }

    /// A file that can be opened here.
    pub fn knows(&self, handle: &Handle, path: &Path) {
        let handle = handle.as_bytes().to_vec();
        self.state().files.insert(handle, path.to_owned());
    }

    pub fn recall_all(&self) {
        self.say(&Message::RecallAll);
    }

    /// Says something on the line that was opened last.
    pub fn say(&self, message: &Message) {
        let line = self.state().lines.last().unwrap().clone();
        say(&line, message, None);
    }

    pub fn say_raw(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let line = self.state().lines.last().unwrap().clone();
        send_raw(&line, bytes, descriptors);
    }

    pub fn hang_up(&self) {
        let line = self.state().lines.last().unwrap().clone();
        shutdown(&*line, Shutdown::Both).unwrap();
    }

    /// The numbers of the files that are out.
    pub fn lent(&self) -> Vec<u64> {
        self.state().lent.clone()
    }

    /// Waits until all are back; how they came.
    pub fn wait_for_all(&self) -> Vec<(u64, bool)> {
        let mut state = self.state();
        while !state.lent.is_empty() {
            state = self.shared.changed.wait(state).unwrap();
        }
        state.closed.clone()
    }

    /// Waits until so many have come to the door.
    pub fn wait_for_lines(&self, count: usize) {
        let mut state = self.state();
        while state.lines.len() < count {
            state = self.shared.changed.wait(state).unwrap();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Shared {
    fn serve(&self, line: &Arc<OwnedFd>) {
        say(line, &Message::Welcome(self.welcome), None);
        self.state.lock().unwrap().lines.push(line.clone());
        self.changed.notify_all();
        let mut bytes = [0; MESSAGE_MAX];
        while let Ok((_, len @ 1..)) = recv(&**line, &mut bytes[..], RecvFlags::empty()) {
            match Request::from_packet(&bytes[..len]).unwrap() {
                Request::Register(uuid) => {
                    self.state.lock().unwrap().registered.insert(uuid, line.clone());
                    say(line, &Message::Registered, None);
                }
                Request::Open(open) => {
                    let path = self.state.lock().unwrap().files.get(&*open.handle).cloned();
                    let opened = path.map(|path| (self.opening)(&path, open.access));
                    let serial = open.serial;
                    let Some(Ok(file)) = opened else {
                        let status = nfs3::Error::NotSupp;
                        say(line, &Message::Refused(Refused { serial, status }), None);
                        continue;
                    };
                    let mut state = self.state.lock().unwrap();
                    state.last += 1;
                    let number = state.last;
                    let opened = Message::Opened(Opened { serial, file: number });
                    // Before anybody can recall it.
                    say(line, &opened, Some(file.as_fd()));
                    state.lent.push(number);
                }
                Request::Close(close) => {
                    let mut state = self.state.lock().unwrap();
                    state.lent.retain(|file| *file != close.file);
                    state.closed.push((close.file, close.flushed));
                    drop(state);
                    self.changed.notify_all();
                }
            }
        }
        // What was out on it is not any more; a test has one line with files at a time.
        self.state.lock().unwrap().lent.clear();
        self.changed.notify_all();
    }
}

fn say(line: &OwnedFd, message: &Message, descriptor: Option<BorrowedFd<'_>>) {
    let mut out = Encoder::new();
    message.encode(&mut out);
    send_raw(line, &out, descriptor.as_slice());
}

fn send_raw(line: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // The other side may have gone.
    let _ = sendmsg(line, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}
