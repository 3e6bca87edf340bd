//! The workloads, and what they need on the server.

use crate::client::{Client, Handle, first_xid};
use crate::driver::{At, Done, Driver, Next, Random, Reply};
use crate::engine::{self, Measurement, Plan};
use crate::nfs::{self, ReadHead, Written};
use crate::pattern::{Pattern, WORD};
use crate::xdr::{Decoder, Encode, Truncated, padding};
use crate::{Error, Target};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is called, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
#[non_exhaustive]
pub enum Workload {
    /// Nothing
    Null,
    /// Attributes of random files
    Getattr,
    /// Names of random files
    Lookup,
    /// Random blocks
    ReadRandom,
    /// Blocks in order
    ReadSequential,
    /// Blocks in order, UNSTABLE; one COMMIT per file at the end
    WriteUnstable,
    /// Random blocks, FILE_SYNC
    WriteSync,
    /// Files that are made and removed again
    CreateRemove,
    /// Whole directories with attributes and handles
    Readdirplus,
    /// GETATTR, LOOKUP, ACCESS (70 %), random READ (20 %) and unstable WRITE (10 %)
    Mixed,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Null,
        Self::Getattr,
        Self::Lookup,
        Self::ReadRandom,
        Self::ReadSequential,
        Self::WriteUnstable,
        Self::WriteSync,
        Self::CreateRemove,
        Self::Readdirplus,
        Self::Mixed,
    ];

    /// Its name on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.expect("none is skipped").get_name().to_owned()
    }

    fn default_block(self) -> u32 {
        match self {
            Self::ReadSequential | Self::WriteUnstable => 1 << 20,
            _ => 4096,
        }
    }
}

/// A workload and its sizes. What is not given has a default that depends on the workload.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is called.
    pub workload: Workload,
    /// Bytes of a READ or WRITE, a multiple of eight.
    pub block: Option<u32>,
    /// Files.
    pub files: Option<usize>,
    /// Bytes of each file.
    pub size: Option<u64>,
    /// dircount and maxcount of a READDIRPLUS.
    pub listing: u32,
    /// Every byte that is read has to be the right one, every handle that of the file.
    pub verify: bool,
}

impl Load {
    /// A workload with the defaults.
    pub fn new(workload: Workload) -> Self {
        Self { workload, block: None, files: None, size: None, listing: 32 << 10, verify: false }
    }

    /// Makes on the server what the workload needs, and runs it.
    pub fn run(&self, target: &Target, plan: &Plan) -> Result<Measurement, Error> {
        self.run_until(target, plan, None)
    }

    /// The same, until `stop` is set if that comes first.
    pub fn run_until(
        &self,
        target: &Target,
        plan: &Plan,
        stop: Option<&AtomicBool>,
    ) -> Result<Measurement, Error> {
        let driver = Calls::set_up(self, target, plan)?;
        let drop_payload = !self.verify && driver.block as usize >= DROP_FROM;
        let reads = matches!(self.workload, Workload::ReadRandom | Workload::ReadSequential);
        engine::run(target, plan, driver, drop_payload && reads, stop).map(|(result, _)| result)
    }
}

/// From this size on, dropping the payload costs less than receiving it.
const DROP_FROM: usize = 16 << 10;

/// The contents of the files are the same in every run, so that they can be kept.
const PATTERN_KEY: u64 = 0x6e66_736c_6f61_6401;

/// The directory below the export where everything happens.
const DIRECTORY: &str = "nfsload";

struct Calls {
    workload: Workload,
    verify: bool,
    block: u32,
    blocks: u64,
    listing: u32,
    pattern: Pattern,
    directory: Handle,
    names: Vec<String>,
    files: Vec<Handle>,
    /// Where each connection creates and removes.
    own_directories: Vec<Handle>,
    /// What is written unless it has to be right.
    payload: Arc<Vec<u8>>,
    run: u32,
    random: Random,
    connections: Vec<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    next_block: u64,
    committed: bool,
    slots: Vec<SlotState>,
}

#[derive(Default, Clone)]
struct SlotState {
    sequence: u64,
    created: bool,
    cookie: u64,
    verifier: u64,
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Null,
    Getattr,
    Access,
    Lookup { file: usize },
    Read { file: usize, offset: u64 },
    Write { stable: u32 },
    Create,
    Remove,
    List,
    Commit,
}

impl Calls {
    fn set_up(load: &Load, target: &Target, plan: &Plan) -> Result<Self, Error> {
        let workload = load.workload;
        let root = Client::mount(target)?;
        let mut client = Client::nfs(target)?;
        let (most_read, most_write) = client.transfer_sizes(&root)?;
        let most = match workload {
            Workload::WriteUnstable | Workload::WriteSync => most_write,
            Workload::Mixed => most_read.min(most_write),
            _ => most_read,
        };
        let block = load.block.unwrap_or(workload.default_block()).min(most);
        let size = load.size.unwrap_or(match workload {
            Workload::WriteUnstable | Workload::WriteSync => 64 << 20,
            _ => 256 << 20,
        });
        if block == 0 || !(block as usize).is_multiple_of(WORD) || size < u64::from(block) {
            return Err(Error::Invalid(format!("blocks of {block} in files of {size} bytes")));
        }
        let pattern = Pattern::new(PATTERN_KEY);
        let mut payload = vec![0; block as usize];
        pattern.fill(0, 0, 0, &mut payload);
        let state = ConnectionState {
            slots: vec![SlotState::default(); plan.depth],
            ..ConnectionState::default()
        };
        let mut calls = Self {
            workload,
            verify: load.verify,
            block,
            blocks: size / u64::from(block),
            listing: load.listing,
            pattern,
            directory: Handle::new(),
            names: Vec::new(),
            files: Vec::new(),
            own_directories: Vec::new(),
            payload: Arc::new(payload),
            run: first_xid(),
            random: Random::new(first_xid().into()),
            connections: (0..plan.connections)
                .map(|_| ConnectionState { slots: state.slots.clone(), ..Default::default() })
                .collect(),
        };
        if workload != Workload::Null {
            let directory = client.directory(&root, DIRECTORY)?;
            calls.make_files(load, plan, &mut client, &directory, size, most_write)?;
        }
        Ok(calls)
    }

    fn make_files(
        &mut self,
        load: &Load,
        plan: &Plan,
        client: &mut Client,
        parent: &Handle,
        size: u64,
        most_write: u32,
    ) -> Result<(), Error> {
        let (directory, count, size) = match self.workload {
            Workload::Null => return Ok(()),
            Workload::CreateRemove => {
                for index in 0..plan.connections {
                    let name = format!("made-{index}");
                    self.own_directories.push(client.directory(parent, &name)?);
                }
                return Ok(());
            }
            Workload::Getattr | Workload::Lookup | Workload::Readdirplus => {
                let count = load.files.unwrap_or(1000);
                (format!("names-{count}"), count, 0)
            }
            Workload::ReadRandom => (format!("data-{size}"), load.files.unwrap_or(1), size),
            Workload::ReadSequential => {
                (format!("data-{size}"), load.files.unwrap_or(plan.connections), size)
            }
            Workload::Mixed => (format!("mixed-{size}"), load.files.unwrap_or(4), size),
            Workload::WriteUnstable | Workload::WriteSync => {
                (format!("written-{size}"), plan.connections, size)
            }
        };
        if count == 0 || count > crate::pattern::MAX_FILES {
            let most = crate::pattern::MAX_FILES;
            return Err(Error::Invalid(format!("{count} files; 1 to {most} are possible")));
        }
        // Unless it is verified, nobody keeps the contents right.
        let rewrite = self.verify && self.workload == Workload::Mixed;
        self.directory = client.directory(parent, &directory)?;
        for index in 0..count {
            let name = format!("file-{index:06}");
            let (handle, there) = client.file(&self.directory, &name)?;
            if size > 0 && (there != size || rewrite) {
                self.write_file(client, index, &handle, size, most_write)?;
            }
            if matches!(self.workload, Workload::ReadRandom | Workload::ReadSequential) {
                read_through(client, &handle, size, self.block)?;
            }
            self.names.push(name);
            self.files.push(handle);
        }
        Ok(())
    }

    fn write_file(
        &self,
        client: &mut Client,
        index: usize,
        handle: &Handle,
        size: u64,
        most: u32,
    ) -> Result<(), Error> {
        let mut data = vec![0; (most.min(1 << 20) as usize) & !(WORD - 1)];
        for offset in (0..size).step_by(data.len()) {
            let length = (size - offset).min(data.len() as u64) as usize;
            self.pattern.fill(index, 0, offset, &mut data[..length]);
            client.write(handle, offset, nfs::UNSTABLE, &data[..length])?;
        }
        match client.commit(handle) {
            // Some servers have no COMMIT; the workload can be read all the same.
            Err(Error::Status { status: nfs::NOTSUPP, .. } | Error::Refused { .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn pick(&mut self) -> usize {
        self.random.below(self.files.len() as u64) as usize
    }

    fn read(&mut self, file: usize, block: u64, arguments: &mut Vec<u8>) -> Next<Operation> {
        let offset = block * u64::from(self.block);
        arguments.opaque(&self.files[file]);
        arguments.hyper(offset);
        arguments.uint(self.block);
        Next::new(nfs::READ, Operation::Read { file, offset })
    }

    fn write(
        &mut self,
        file: usize,
        block: u64,
        stable: u32,
        arguments: &mut Vec<u8>,
    ) -> Next<Operation> {
        let offset = block * u64::from(self.block);
        arguments.opaque(&self.files[file]);
        arguments.hyper(offset);
        arguments.uint(self.block);
        arguments.uint(stable);
        arguments.uint(self.block);
        let mut next = Next::new(nfs::WRITE, Operation::Write { stable });
        if self.verify {
            let start = arguments.len();
            arguments.resize(start + self.block as usize, 0);
            self.pattern.fill(file, 0, offset, &mut arguments[start..]);
        } else {
            let all: Range<usize> = 0..self.payload.len();
            next.payload = Some((Arc::clone(&self.payload), all));
        }
        next
    }

    fn create_or_remove(&mut self, at: At, arguments: &mut Vec<u8>) -> Next<Operation> {
        let slot = &mut self.connections[at.connection].slots[at.slot];
        let create = !slot.created;
        if create {
            slot.sequence += 1;
        }
        arguments.opaque(&self.own_directories[at.connection]);
        let name = format!("f{:08x}-{}-{}", self.run, at.slot, slot.sequence);
        arguments.opaque(name.as_bytes());
        if create {
            arguments.uint(0); // UNCHECKED
            nfs::put_mode(arguments, 0o644);
            Next::new(nfs::CREATE, Operation::Create)
        } else {
            slot.created = false;
            Next::new(nfs::REMOVE, Operation::Remove)
        }
    }

    /// What has to be called when the time is over.
    fn tidy(&mut self, at: At, arguments: &mut Vec<u8>) -> Option<Next<Operation>> {
        let connection = &mut self.connections[at.connection];
        match self.workload {
            Workload::WriteUnstable if !connection.committed => {
                connection.committed = true;
                arguments.opaque(&self.files[at.connection]);
                arguments.hyper(0);
                arguments.uint(0);
                Some(Next::new(nfs::COMMIT, Operation::Commit))
            }
            Workload::CreateRemove if connection.slots[at.slot].created => {
                Some(self.create_or_remove(at, arguments))
            }
            _ => None,
        }
    }

    fn check_listing(&mut self, at: At, results: &mut Decoder<'_>) -> Result<Judged, Truncated> {
        let slot = &mut self.connections[at.connection].slots[at.slot];
        let before = std::mem::take(slot);
        nfs::post_op_size(results)?;
        let verifier = results.hyper()?;
        let (mut entries, mut cookie) = (0, before.cookie);
        while results.uint()? != 0 {
            results.hyper()?;
            results.opaque()?;
            cookie = results.hyper()?;
            nfs::post_op_size(results)?;
            nfs::post_op_handle(results)?;
            entries += 1;
        }
        let seen = before.seen + entries;
        let eof = results.uint()? != 0;
        if !eof && entries == 0 {
            return Ok(Err("READDIRPLUS: neither an entry nor the end".to_owned()));
        }
        if eof {
            // "." and ".." may be listed.
            let files = self.files.len() as u64;
            if !(files..=files + 2).contains(&seen) {
                return Ok(Err("READDIRPLUS: not as many entries as there are files".to_owned()));
            }
        } else {
            *slot = SlotState { cookie, verifier, seen, ..before };
        }
        Ok(Ok(Done { bytes: 0, entries }))
    }

    fn check_read(
        &self,
        file: usize,
        offset: u64,
        results: &mut Decoder<'_>,
        dropped: usize,
    ) -> Result<Judged, Truncated> {
        let length = self.block as usize;
        let head = ReadHead::decode(results)?;
        let rest = results.rest().len() + dropped;
        if head.is_none_or(|head| head.count != self.block) || rest != length + padding(length) {
            return Ok(Err("READ: not as long as asked for".to_owned()));
        }
        if self.verify
            && let Some(damage) = self.pattern.check(file, 0..=0, offset, results.fixed(length)?)
        {
            return Ok(Err(format!("READ: wrong data: {damage}")));
        }
        Ok(Ok(Done { bytes: length as u64, entries: 0 }))
    }
}

type Judged = Result<Done, String>;

impl Driver for Calls {
    type Operation = Operation;

    fn next(
        &mut self,
        at: At,
        finishing: bool,
        arguments: &mut Vec<u8>,
    ) -> Option<Next<Operation>> {
        if finishing {
            return self.tidy(at, arguments);
        }
        let workload = match self.workload {
            Workload::Mixed => match self.random.below(100) {
                0..24 => Workload::Getattr,
                24..47 => Workload::Lookup,
                47..70 => Workload::Mixed,
                70..90 => Workload::ReadRandom,
                _ => Workload::WriteUnstable,
            },
            one => one,
        };
        let sequential = self.workload != Workload::Mixed;
        let block = match workload {
            Workload::ReadSequential | Workload::WriteUnstable if sequential => {
                let next = &mut self.connections[at.connection].next_block;
                let block = *next % self.blocks;
                *next += 1;
                block
            }
            _ => self.random.below(self.blocks),
        };
        Some(match workload {
            Workload::Null => Next::new(nfs::NULL, Operation::Null),
            Workload::Getattr => {
                let file = self.pick();
                arguments.opaque(&self.files[file]);
                Next::new(nfs::GETATTR, Operation::Getattr)
            }
            Workload::Lookup => {
                let file = self.pick();
                arguments.opaque(&self.directory);
                arguments.opaque(self.names[file].as_bytes());
                Next::new(nfs::LOOKUP, Operation::Lookup { file })
            }
            Workload::Mixed => {
                let file = self.pick();
                arguments.opaque(&self.files[file]);
                arguments.uint(0x3f);
                Next::new(nfs::ACCESS, Operation::Access)
            }
            Workload::ReadRandom => {
                let file = self.pick();
                self.read(file, block, arguments)
            }
            Workload::ReadSequential => {
                self.read(at.connection % self.files.len(), block, arguments)
            }
            Workload::WriteUnstable => {
                let file = if sequential { at.connection } else { self.pick() };
                self.write(file, block, nfs::UNSTABLE, arguments)
            }
            Workload::WriteSync => self.write(at.connection, block, nfs::FILE_SYNC, arguments),
            Workload::CreateRemove => self.create_or_remove(at, arguments),
            Workload::Readdirplus => {
                let slot = &self.connections[at.connection].slots[at.slot];
                arguments.opaque(&self.directory);
                arguments.hyper(slot.cookie);
                arguments.hyper(slot.verifier);
                arguments.uint(self.listing);
                arguments.uint(self.listing);
                Next::new(nfs::READDIRPLUS, Operation::List)
            }
        })
    }

    fn reply(&mut self, at: At, operation: Operation, reply: Reply<'_>) -> Judged {
        let nothing = Ok(Ok(Done::default()));
        match operation {
            Operation::Null => Ok(Done::default()),
            Operation::Getattr => {
                reply.ok(nfs::GETATTR, |results, _| nfs::size(results).and(nothing))
            }
            Operation::Access => reply.ok(nfs::ACCESS, |results, _| {
                nfs::post_op_size(results)?;
                results.uint().and(nothing)
            }),
            Operation::Lookup { file } => reply.ok(nfs::LOOKUP, |results, _| {
                let handle = results.opaque()?;
                nfs::post_op_size(results)?;
                nfs::post_op_size(results)?;
                if self.verify && handle != self.files[file] {
                    return Ok(Err("LOOKUP: the handle of another file".to_owned()));
                }
                nothing
            }),
            Operation::Read { file, offset } => reply
                .ok(nfs::READ, |results, dropped| self.check_read(file, offset, results, dropped)),
            Operation::Write { stable } => reply.ok(nfs::WRITE, |results, _| {
                let written = Written::decode(results)?;
                if written.count != self.block {
                    return Ok(Err("WRITE: not all taken".to_owned()));
                }
                if written.committed < stable {
                    return Ok(Err("WRITE: less stable than asked for".to_owned()));
                }
                Ok(Ok(Done { bytes: written.count.into(), entries: 0 }))
            }),
            Operation::Create => {
                let created = reply.ok(nfs::CREATE, |results, _| {
                    nfs::post_op_handle(results)?;
                    nfs::post_op_size(results)?;
                    nfs::wcc(results).and(nothing)
                });
                self.connections[at.connection].slots[at.slot].created = created.is_ok();
                created
            }
            Operation::Remove => reply.ok(nfs::REMOVE, |results, _| nfs::wcc(results).and(nothing)),
            Operation::List => {
                reply.ok(nfs::READDIRPLUS, |results, _| self.check_listing(at, results))
            }
            Operation::Commit => reply.ok(nfs::COMMIT, |results, _| {
                nfs::wcc(results)?;
                results.hyper().and(nothing)
            }),
        }
    }
}

/// So that it is in the server's page cache.
fn read_through(client: &mut Client, file: &Handle, size: u64, block: u32) -> Result<(), Error> {
    let step = u64::from(block.max(1 << 18));
    for offset in (0..size).step_by(step as usize) {
        client.read(file, offset, step as u32)?;
    }
    Ok(())
}
