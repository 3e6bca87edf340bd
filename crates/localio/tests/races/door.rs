//! The door itself: threads that open and close against a server that wants everything back. All comes
//! back, and when the last file has, the client leaves.

use crate::harness::{fails, passes};
use holm_localio::parts::{Budget, Data, Door, Doors, NotLocal, Packet, Remote, Uncommitted, Wire};
use holm_localio::wire::{StableHow, Status};
use holm_localio::{Access, Handle, LocalDoor, Result, Written};
use holm_nfs_proto::localio::door::{Message, Opened, Refused, Request};
use holm_nfs_proto::nfs3::FileHandle;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The server's side.
#[derive(Debug, Default)]
struct Server {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    said: VecDeque<Packet>,
    lent: BTreeSet<u64>,
    last: u64,
    recalled: bool,
    ended: bool,
}

/// A wire to it.
#[derive(Debug, Clone)]
struct ModelWire {
    server: Arc<Server>,
    /// A mistake of the client's: it does not leave.
    stays: bool,
}

impl Wire for ModelWire {
    fn send(&self, request: &Request<'_>) -> std::result::Result<(), NotLocal> {
        thread::yield_now();
        let mut state = self.server.state.lock().unwrap();
        if state.ended {
            return Err(NotLocal("ended"));
        }
        match request {
            Request::Open(open) if state.recalled => {
                let refused = Refused { serial: open.serial, status: Status::JukeBox };
                state.said.push_back(Packet::new(&Message::Refused(refused), None));
            }
            Request::Open(open) => {
                state.last += 1;
                let file = state.last;
                state.lent.insert(file);
                let opened = Message::Opened(Opened { serial: open.serial, file });
                state.said.push_back(Packet::new(&opened, Some(descriptor())));
            }
            Request::Close(close) => assert!(state.lent.remove(&close.file), "closed twice"),
            Request::Register(_) => panic!("proven already"),
        }
        drop(state);
        self.server.changed.notify_all();
        Ok(())
    }

    fn receive(&self) -> std::result::Result<Packet, NotLocal> {
        let mut state = self.server.state.lock().unwrap();
        loop {
            if state.ended {
                return Err(NotLocal("ended"));
            }
            match state.said.pop_front() {
                Some(packet) => return Ok(packet),
                None => state = self.server.changed.wait(state).unwrap(),
            }
        }
    }

    fn end(&self) {
        if self.stays {
            return;
        }
        let mut state = self.server.state.lock().unwrap();
        // As the kernel does: it is let go of by who was there.
        state.ended = true;
        drop(state);
        self.server.changed.notify_all();
    }
}

impl Server {
    fn recall_all(&self) {
        let mut state = self.state.lock().unwrap();
        state.recalled = true;
        state.said.push_back(Packet::new(&Message::RecallAll, None));
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything is back and the client has left.
    fn wait_until_left(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.ended {
            state = self.changed.wait(state).unwrap();
        }
        assert_eq!(state.lent.len(), 0, "left, and kept files");
    }
}

/// A regular file of four bytes. It is made once: what threads do with it does not matter here.
fn descriptor() -> OwnedFd {
    static FILE: std::sync::OnceLock<File> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create("file", flags).unwrap());
        file.write_all_at(b"here", 0).unwrap();
        file
    });
    file.try_clone().unwrap().into()
}

struct OneDoor(Arc<Door<ModelWire>>);

impl Doors for OneDoor {
    fn door(&self) -> Option<Arc<dyn LocalDoor>> {
        self.0.is_open().then(|| self.0.clone() as Arc<dyn LocalDoor>)
    }
}

struct Rpc;

impl Remote for Rpc {
    fn read_max(&self) -> usize {
        4
    }

    fn write_max(&self) -> usize {
        4
    }

    fn read(&self, _: &Handle, _: u64, buffer: &mut [u8]) -> Result<(usize, bool)> {
        buffer.copy_from_slice(b"here");
        Ok((4, true))
    }

    fn write(&self, _: &Handle, _: u64, _: &[u8], _: StableHow) -> Result<Written> {
        panic!("nobody writes")
    }

    fn commit(&self, _: &Handle) -> Result<[u8; 8]> {
        panic!("nobody commits")
    }
}

fn open_and_close_against_recall_all(stays: bool) {
    let server = Arc::new(Server::default());
    let wire = ModelWire { server: server.clone(), stays };
    let door = Door::open(wire).unwrap();
    let threads = [1, 2].map(|file| {
        let doors = OneDoor(door.clone());
        thread::spawn(move || {
            let handle = Handle::from(FileHandle::new(&[file; 8]).unwrap());
            for access in [Access::Read, Access::ReadWrite] {
                let written = Arc::new(Uncommitted::new(handle, &Budget::new(0)));
                let data = Data::new(access, written);
                data.begin_local(&Rpc, &doors);
                let mut buffer = [0; 4];
                data.read_at(&Rpc, &doors, &mut buffer, 0).unwrap();
                assert_eq!(&buffer, b"here");
            }
        })
    });
    drop(door);
    server.recall_all();
    server.wait_until_left();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn everything_comes_back_and_the_client_leaves() {
    passes("opening and closing against recall", || open_and_close_against_recall_all(false));
    fails("a client that stays", &["deadlock"], || open_and_close_against_recall_all(true));
}
