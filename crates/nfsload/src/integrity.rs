//! Writes that are verified: nothing may be wrong, stale or lost.

use crate::client::{Client, Handle, first_xid};
use crate::driver::{At, Done, Driver, Next, Random, Reply};
use crate::engine::{self, Measurement, Plan};
use crate::journal::{self, Event, Journal, Model, Promise, Shape};
use crate::names::{Directories, State};
use crate::nfs::{self, ReadHead, Written};
use crate::pattern::{Damage, Found, MAX_GENERATION, Pattern};
use crate::xdr::{Encode, padding};
use crate::{Error, Target};
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// What is written: files of blocks, each written again and again.
#[derive(Debug, Clone)]
pub struct Integrity {
    /// Files; connection `n` has those whose number is `n` modulo the connections.
    pub files: usize,
    /// Blocks of each.
    pub blocks: usize,
    /// Bytes of a block, a multiple of eight, at most 1 MiB.
    pub block: u32,
}

impl Default for Integrity {
    fn default() -> Self {
        Self { files: 8, blocks: 256, block: 4096 }
    }
}

/// What a server was found to have.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// What was measured while writing, if it was.
    pub run: Option<Measurement>,
    /// Blocks read back.
    pub blocks: u64,
    /// What is missing or wrong, in words.
    pub damage: Vec<String>,
    /// Names, and the state that each was found in, unless it was in several.
    #[serde(skip)]
    pub(crate) names: Vec<(usize, State)>,
    /// How many blocks and names that is; `damage` has at most [`MAX_DAMAGE`] of them.
    pub damaged: u64,
}

/// How much damage is described; the rest is counted.
pub const MAX_DAMAGE: usize = 100;

impl Verdict {
    /// Nothing is wrong, neither at the end nor on the way.
    pub fn is_good(&self) -> bool {
        self.damaged == 0 && self.run.as_ref().is_none_or(|run| run.errors.is_empty())
    }
}

impl Integrity {
    /// Writes random blocks FILE_SYNC and UNSTABLE, with COMMITs in between, reads others, and
    /// reads everything back at the end.
    ///
    /// With a `journal`, everything that was acknowledged is written down there, and an existing
    /// one is gone on with. A server that goes away ends the run; then [`check`] tells what it
    /// kept.
    pub fn run(
        &self,
        target: &Target,
        plan: &Plan,
        journal: Option<&Path>,
    ) -> Result<Verdict, Error> {
        let writer = Writer::set_up(self, target, plan, journal)?;
        let (measurement, writer) = engine::run(target, plan, writer, false, None)?;
        let gone = |error: &String| error.starts_with("connection") || error.starts_with("rpc");
        if measurement.errors.keys().any(gone) {
            let run = Some(measurement);
            return Ok(Verdict { run, ..Verdict::default() });
        }
        let mut verdict = read_back(target, &writer.model, Promise::Acknowledged)?;
        verdict.run = Some(measurement);
        Ok(verdict)
    }
}

/// Reads back what a journal says was written, after a restart of the server for example.
pub fn check(target: &Target, journal: &Path, promise: Promise) -> Result<Verdict, Error> {
    read_back(target, &journal::read(journal)?, promise)
}

pub fn read_back(target: &Target, model: &Model, promise: Promise) -> Result<Verdict, Error> {
    let shape = model.shape;
    let pattern = Pattern::new(shape.key);
    let root = Client::mount(target)?;
    let mut client = Client::nfs(target)?;
    let mut verdict = Verdict::default();
    let directory = client.lookup(&root, &directory_name(&shape))?;
    for file in 0..shape.files {
        let found = match &directory {
            Some((directory, _)) => client.lookup(directory, &file_name(file))?,
            None => None,
        };
        let Some((handle, _)) = found else {
            verdict.damaged += shape.blocks as u64;
            verdict.describe(format!("file {file} is missing"));
            continue;
        };
        for block in 0..shape.blocks {
            let offset = block as u64 * u64::from(shape.block);
            let expected = model.expected(file, block, promise);
            verdict.blocks += 1;
            match client.read(&handle, offset, shape.block) {
                Ok(data) => {
                    if let Some(damage) = judge(&pattern, &shape, file, expected, offset, data) {
                        verdict.damaged += 1;
                        verdict.describe(damage.to_string());
                    }
                }
                Err(error @ (Error::Status { .. } | Error::Reply { .. })) => {
                    verdict.damaged += 1;
                    verdict.describe(format!("file {file}, offset {offset}: {error}"));
                    // After a reply that is not one, the next can't be trusted either.
                    client = Client::nfs(target)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
    if let Some((directory, _)) = directory
        && shape.names > 0
    {
        verdict.look_at_names(&mut client, &directory, model)?;
    }
    Ok(verdict)
}

impl Verdict {
    fn look_at_names(
        &mut self,
        client: &mut Client,
        directory: &[u8],
        model: &Model,
    ) -> Result<(), Error> {
        let directories = Directories::find(client, directory)?;
        for name in 0..model.shape.names {
            let found = directories.look(client, name)?;
            if let &[state] = &found[..] {
                self.names.push((name, state));
                if model.expected_name(name).any(|expected| expected == state) {
                    continue;
                }
            }
            let text = |states: &mut dyn Iterator<Item = State>| {
                states.map(|state| state.to_string()).collect::<Vec<_>>().join(" or ")
            };
            let expected = text(&mut model.expected_name(name));
            self.damaged += 1;
            self.describe(format!(
                "name {name} is {}, expected {expected}",
                text(&mut found.into_iter()).replace(" or ", " and ")
            ));
        }
        Ok(())
    }

    fn describe(&mut self, damage: String) {
        if self.damage.len() < MAX_DAMAGE {
            self.damage.push(damage);
        }
    }
}

/// What is wrong with a block, also when it is too short.
pub fn judge(
    pattern: &Pattern,
    shape: &Shape,
    file: usize,
    expected: std::ops::RangeInclusive<u32>,
    offset: u64,
    data: &[u8],
) -> Option<Damage> {
    let whole = data.len() & !(crate::pattern::WORD - 1);
    pattern.check(file, expected.clone(), offset, &data[..whole]).or_else(|| {
        let missing = u64::from(shape.block).saturating_sub(data.len() as u64);
        (missing > 0).then(|| Damage {
            file,
            offset: offset + data.len() as u64,
            bytes: missing,
            expected,
            found: Found::EndOfFile,
        })
    })
}

pub fn directory_name(shape: &Shape) -> String {
    format!("integrity-{:016x}", shape.key)
}

pub fn file_name(file: usize) -> String {
    format!("file-{file:06}")
}

struct Writer {
    pattern: Pattern,
    model: Model,
    journal: Option<Journal>,
    failed: Option<std::io::Error>,
    handles: Vec<Handle>,
    connections: usize,
    /// File and block that a call is outstanding for.
    busy: HashSet<(usize, usize)>,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Write { file: usize, block: usize, generation: u32, stable: u32 },
    Read { file: usize, block: usize },
    Commit { file: usize },
}

impl Writer {
    fn set_up(
        options: &Integrity,
        target: &Target,
        plan: &Plan,
        path: Option<&Path>,
    ) -> Result<Self, Error> {
        let key = u64::from(first_xid()) << 32 | u64::from(first_xid());
        let &Integrity { files, blocks, block } = options;
        let shape = Shape { key, files, blocks, block, names: 0 };
        if !shape.is_possible() || files < plan.connections {
            return Err(Error::Invalid(format!(
                "{files} files of {blocks} blocks of {block} bytes for {} connections",
                plan.connections
            )));
        }
        let root = Client::mount(target)?;
        let mut client = Client::nfs(target)?;
        let (journal, model) = match path {
            Some(path) if path.exists() => {
                let (journal, mut model) = Journal::resume(path)?;
                model.forget_outstanding();
                (Some(journal), model)
            }
            _ => {
                make_files(&mut client, &root, &shape)?;
                // Not before the files are there: what a journal describes can be checked.
                let journal = path.map(|path| Journal::create(path, &shape)).transpose()?;
                (journal, Model::new(shape))
            }
        };
        let shape = model.shape;
        let directory = client.directory(&root, &directory_name(&shape))?;
        let handles: Result<_, _> = (0..shape.files)
            .map(|file| client.file(&directory, &file_name(file)).map(|(handle, _)| handle))
            .collect();
        Ok(Self {
            pattern: Pattern::new(shape.key),
            model,
            journal,
            failed: None,
            handles: handles?,
            connections: plan.connections,
            busy: HashSet::new(),
            random: Random::new(first_xid().into()),
        })
    }

    fn note(&mut self, event: Event) {
        self.model.apply(event).expect("only what exists is written");
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.write(event)
        {
            self.failed = Some(error);
        }
    }

    fn commit(&mut self, file: usize, arguments: &mut Vec<u8>) -> Next<Operation> {
        self.note(Event::Committing { file });
        arguments.opaque(&self.handles[file]);
        arguments.hyper(0);
        arguments.uint(0);
        Next::new(nfs::COMMIT, Operation::Commit { file })
    }

    /// Files of a connection.
    fn own(&self, at: At) -> usize {
        (self.model.shape.files - at.connection).div_ceil(self.connections)
    }
}

/// Every block is of generation 0, durably.
pub fn make_files(client: &mut Client, root: &[u8], shape: &Shape) -> Result<(), Error> {
    let directory = client.directory(root, &directory_name(shape))?;
    let pattern = Pattern::new(shape.key);
    let mut data = vec![0; shape.block as usize];
    for file in 0..shape.files {
        let (handle, _) = client.file(&directory, &file_name(file))?;
        let mut verifiers = HashSet::new();
        for block in 0..shape.blocks {
            let offset = block as u64 * u64::from(shape.block);
            pattern.fill(file, 0, offset, &mut data);
            verifiers.insert(client.write(&handle, offset, nfs::UNSTABLE, &data)?.verifier);
        }
        verifiers.insert(client.commit(&handle)?);
        if verifiers.len() > 1 {
            let problem = "the write verifier changed while files were made".to_owned();
            return Err(Error::Reply { operation: "COMMIT".to_owned(), problem });
        }
    }
    Ok(())
}

impl Driver for Writer {
    type Operation = Operation;

    fn next(
        &mut self,
        at: At,
        finishing: bool,
        arguments: &mut Vec<u8>,
    ) -> Option<Next<Operation>> {
        let own = self.own(at);
        let nth = |n: usize| at.connection + n * self.connections;
        if finishing {
            let ready =
                |&file: &usize| self.model.has_unstable(file) && !self.model.is_committing(file);
            let file = (0..own).map(nth).find(ready)?;
            return Some(self.commit(file, arguments));
        }
        let file = nth(self.random.below(own as u64) as usize);
        let shape = self.model.shape;
        let chance = self.random.below(100);
        if chance < 5 && self.model.has_unstable(file) && !self.model.is_committing(file) {
            return Some(self.commit(file, arguments));
        }
        let block = self.random.below(shape.blocks as u64) as usize;
        let state = self.model.block(file, block);
        // One call at a time for a block: then what it has to be is certain.
        if state.sent == MAX_GENERATION || !self.busy.insert((file, block)) {
            return None;
        }
        let offset = block as u64 * u64::from(shape.block);
        arguments.opaque(&self.handles[file]);
        arguments.hyper(offset);
        arguments.uint(shape.block);
        if chance < 30 {
            return Some(Next::new(nfs::READ, Operation::Read { file, block }));
        }
        let generation = state.sent + 1;
        let stable = if chance < 50 { nfs::FILE_SYNC } else { nfs::UNSTABLE };
        self.note(Event::Writing { file, block, generation });
        arguments.uint(stable);
        arguments.uint(shape.block);
        let start = arguments.len();
        arguments.resize(start + shape.block as usize, 0);
        self.pattern.fill(file, generation, offset, &mut arguments[start..]);
        Some(Next::new(nfs::WRITE, Operation::Write { file, block, generation, stable }))
    }

    fn reply(&mut self, _: At, operation: Operation, reply: Reply<'_>) -> Result<Done, String> {
        match operation {
            Operation::Write { file, block, generation, stable } => {
                self.busy.remove(&(file, block));
                let size = self.model.shape.block;
                let written =
                    reply.ok(nfs::WRITE, |results, _| Ok(Ok(Written::decode(results)?)))?;
                if written.count != size {
                    return Err("WRITE: not all taken".to_owned());
                }
                if written.committed < stable {
                    return Err("WRITE: less stable than asked for".to_owned());
                }
                let verifier = written.verifier;
                self.note(if written.committed == nfs::UNSTABLE {
                    Event::Unstable { file, block, generation, verifier }
                } else {
                    Event::Synced { file, block, generation }
                });
                Ok(Done { bytes: size.into(), entries: 0 })
            }
            Operation::Commit { file } => {
                let verifier = reply.ok(nfs::COMMIT, |results, _| {
                    nfs::wcc(results)?;
                    Ok(Ok(results.hyper()?))
                });
                let verifier = verifier.inspect_err(|_| self.model.forget_commit(file))?;
                self.note(Event::Committed { file, verifier });
                Ok(Done::default())
            }
            Operation::Read { file, block } => {
                self.busy.remove(&(file, block));
                let shape = self.model.shape;
                let offset = block as u64 * u64::from(shape.block);
                let expected = self.model.expected(file, block, Promise::Acknowledged);
                let pattern = self.pattern;
                reply.ok(nfs::READ, |results, _| {
                    let count = ReadHead::decode(results)?.map_or(u32::MAX, |head| head.count);
                    let length = count as usize;
                    if count > shape.block || results.rest().len() != length + padding(length) {
                        return Ok(Err("READ: not as long as it says".to_owned()));
                    }
                    let data = results.fixed(length)?;
                    Ok(match judge(&pattern, &shape, file, expected, offset, data) {
                        Some(damage) => Err(format!("READ: {damage}")),
                        None => Ok(Done { bytes: length as u64, entries: 0 }),
                    })
                })
            }
        }
    }

    fn before_sending(&mut self) -> std::io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.journal.as_mut().map_or(Ok(()), Journal::flush)
    }
}
