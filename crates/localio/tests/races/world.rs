//! A machine with one file of two blocks, a server that lends it, and the book that is kept of both.

use holm_localio::parts::{Budget, Data, Doors, Remote, Uncommitted};
use holm_localio::wire::StableHow;
use holm_localio::{Access, Borrower, Handle, LocalDoor, LocalError, LocalFile, Result, Written};
use holm_nfs_proto::nfs3::FileHandle;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use std::fmt;
use std::sync::Arc;

pub const USED: &str = "used after it was closed";
pub const NOT_SAFE: &str = "committed, and not on the disk";
pub const WRONG: &str = "a wrong byte";

/// What is in the file, in memory and on the disk, and what is lent.
#[derive(Default)]
pub struct Machine {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pages: [u64; 2],
    disk: [u64; 2],
    /// How often the server was started.
    starts: u64,
    /// Descriptors that are open.
    open: Vec<u64>,
    last: u64,
}

impl Machine {
    pub fn read(&self, block: usize) -> u64 {
        thread::yield_now();
        self.state.lock().unwrap().pages[block]
    }

    pub fn write(&self, block: usize, value: u64) {
        thread::yield_now();
        self.state.lock().unwrap().pages[block] = value;
    }

    pub fn flush(&self) {
        thread::yield_now();
        let mut state = self.state.lock().unwrap();
        state.disk = state.pages;
    }

    /// Is another after each start.
    pub fn verifier(&self) -> u64 {
        self.state.lock().unwrap().starts
    }

    /// What was said to be committed is on the disk.
    pub fn is_safe(&self, block: usize, value: u64) {
        let safe = self.state.lock().unwrap().disk[block];
        assert_eq!(safe, value, "{NOT_SAFE}");
    }

    pub fn start_again(&self) {
        self.state.lock().unwrap().starts += 1;
    }

    /// The descriptor that was opened last.
    pub fn last(&self) -> u64 {
        self.state.lock().unwrap().last
    }

    /// Waits until all that were opened up to then are closed.
    pub fn wait_until_closed(&self, last: u64) {
        let mut state = self.state.lock().unwrap();
        while state.open.iter().any(|number| *number <= last) {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn nothing_is_open(&self) {
        let open = self.state.lock().unwrap().open.clone();
        assert_eq!(open, []);
    }
}

/// An open file.
pub struct Descriptor {
    machine: Arc<Machine>,
    pub number: u64,
}

impl Descriptor {
    pub fn open(machine: &Arc<Machine>) -> Self {
        thread::yield_now();
        let mut state = machine.state.lock().unwrap();
        state.last += 1;
        let number = state.last;
        state.open.push(number);
        drop(state);
        Self { machine: machine.clone(), number }
    }

    pub fn read(&self, block: usize) -> u64 {
        let value = self.machine.read(block);
        self.is_open();
        value
    }

    pub fn write(&self, block: usize, value: u64) {
        self.machine.write(block, value);
        self.is_open();
    }

    pub fn flush(&self) {
        self.machine.flush();
        self.is_open();
    }

    pub fn close(&self) {
        thread::yield_now();
        self.machine.state.lock().unwrap().open.retain(|number| *number != self.number);
        self.machine.changed.notify_all();
    }

    fn is_open(&self) {
        thread::yield_now();
        let is_open = self.machine.state.lock().unwrap().open.contains(&self.number);
        assert!(is_open, "{USED}");
    }
}

/// Somebody who has the file open, and a server that can have it back.
pub trait Client: Send + Sync + Sized + 'static {
    fn new(machine: &Arc<Machine>) -> Self;
    fn write(&self, block: usize, value: u64);
    fn read(&self, block: usize) -> u64;
    fn commit(&self);
    /// The server wants everything back; the same server goes on, or another begins.
    fn recall(&self, restart: bool);
    fn end(self) {}
}

/// The real one.
pub struct Real {
    data: Data,
    rpc: Rpc,
    doors: OpenDoors,
}

impl Client for Real {
    fn new(machine: &Arc<Machine>) -> Self {
        let handle = Handle::from(FileHandle::new(&[1; 16]).unwrap());
        let written = Arc::new(Uncommitted::new(handle, &Budget::new(24)));
        let data = Data::new(Access::ReadWrite, written);
        let rpc = Rpc(machine.clone());
        let doors = OpenDoors { machine: machine.clone(), door: Mutex::default() };
        doors.open_another();
        data.begin_local(&rpc, &doors);
        Self { data, rpc, doors }
    }

    fn write(&self, block: usize, value: u64) {
        let data = value.to_be_bytes();
        self.data.write_at(&self.rpc, &self.doors, &data, 8 * block as u64).unwrap();
    }

    fn read(&self, block: usize) -> u64 {
        let mut data = [0; 8];
        let read = self.data.read_at(&self.rpc, &self.doors, &mut data, 8 * block as u64);
        assert_eq!(read.unwrap(), 8);
        u64::from_be_bytes(data)
    }

    fn commit(&self) {
        self.data.commit(&self.rpc).unwrap();
    }

    fn recall(&self, restart: bool) {
        let door = self.doors.door.lock().unwrap().clone().unwrap();
        if restart {
            door.state.lock().unwrap().over = true;
        }
        let borrowers: Vec<_> =
            door.state.lock().unwrap().lent.iter().map(|(_, borrower)| borrower.clone()).collect();
        Borrower::recall(borrowers);
        if restart {
            self.rpc.0.start_again();
            self.doors.open_another();
        }
    }

    fn end(self) {
        // One use more, of a server that is left alone, and it is local again.
        self.read(0);
        assert!(self.data.is_local());
    }
}

/// The real one, of a server that has no door.
pub struct ByRpc(Real);

impl Client for ByRpc {
    fn new(machine: &Arc<Machine>) -> Self {
        let real = Real::new(machine);
        real.recall(true);
        *real.doors.door.lock().unwrap() = None;
        machine.wait_until_closed(machine.last());
        Self(real)
    }

    fn write(&self, block: usize, value: u64) {
        self.0.write(block, value);
    }

    fn read(&self, block: usize) -> u64 {
        self.0.read(block)
    }

    fn commit(&self) {
        self.0.commit();
    }

    fn recall(&self, _: bool) {
        self.0.rpc.0.start_again();
    }
}

/// The server, asked by RPC.
pub struct Rpc(Arc<Machine>);

impl Remote for Rpc {
    fn read_max(&self) -> usize {
        8
    }

    fn write_max(&self) -> usize {
        8
    }

    fn read(&self, _: &Handle, offset: u64, buffer: &mut [u8]) -> Result<(usize, bool)> {
        buffer.copy_from_slice(&self.0.read(offset as usize / 8).to_be_bytes());
        Ok((8, false))
    }

    fn write(&self, _: &Handle, offset: u64, data: &[u8], stable: StableHow) -> Result<Written> {
        let verifier = self.0.verifier().to_be_bytes();
        self.0.write(offset as usize / 8, u64::from_be_bytes(data.try_into().unwrap()));
        if stable != StableHow::Unstable {
            self.0.flush();
        }
        Ok(Written { count: 8, committed: stable, verifier })
    }

    fn commit(&self, _: &Handle) -> Result<[u8; 8]> {
        self.0.flush();
        Ok(self.0.verifier().to_be_bytes())
    }
}

/// Where the door of the server is that was started last.
pub struct OpenDoors {
    machine: Arc<Machine>,
    door: Mutex<Option<Arc<ModelDoor>>>,
}

impl OpenDoors {
    fn open_another(&self) {
        let state = Mutex::default();
        let door = Arc::new(ModelDoor { machine: self.machine.clone(), state });
        *self.door.lock().unwrap() = Some(door);
    }
}

impl Doors for OpenDoors {
    fn door(&self) -> Option<Arc<dyn LocalDoor>> {
        let door = self.door.lock().unwrap().clone()?;
        thread::yield_now();
        Some(door)
    }
}

struct ModelDoor {
    machine: Arc<Machine>,
    state: Mutex<Lending>,
}

#[derive(Default)]
struct Lending {
    lent: Vec<(u64, Borrower)>,
    over: bool,
}

impl LocalDoor for ModelDoor {
    fn open(
        &self,
        _: &Handle,
        _: Access,
        borrower: &Borrower,
    ) -> std::result::Result<Box<dyn LocalFile>, LocalError> {
        let mut state = self.state.lock().unwrap();
        if state.over {
            return Err(LocalError::Recalled);
        }
        let descriptor = Descriptor::open(&self.machine);
        state.lent.push((descriptor.number, borrower.clone()));
        drop(state);
        thread::yield_now();
        Ok(Box::new(ModelFile(descriptor)))
    }
}

impl fmt::Debug for ModelDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelDoor")
    }
}

struct ModelFile(Descriptor);

impl LocalFile for ModelFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::result::Result<usize, LocalError> {
        buffer.copy_from_slice(&self.0.read(offset as usize / 8).to_be_bytes());
        Ok(8)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> std::result::Result<usize, LocalError> {
        self.0.write(offset as usize / 8, u64::from_be_bytes(data.try_into().unwrap()));
        Ok(8)
    }

    fn commit(&self) -> std::result::Result<(), LocalError> {
        self.0.flush();
        Ok(())
    }

    fn close(self: Box<Self>, _: bool) {
        self.0.close();
    }
}
