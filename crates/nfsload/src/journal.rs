//! What a server acknowledged, so that it can be held to it: also after it crashed.
//!
//! A journal is a text file with one event per line. A WRITE is in it before it is sent, an
//! acknowledgement as soon as it came, so that the journal of a client that was killed tells enough
//! as well:
//!
//! | line | |
//! |---|---|
//! | `nfsload-journal 2 KEY FILES BLOCKS BLOCK NAMES` | contents, number of files, blocks of each, bytes of a block, number of names |
//! | `w FILE BLOCK GENERATION` | a WRITE is about to be sent |
//! | `s FILE BLOCK GENERATION` | it was acknowledged as FILE_SYNC or DATA_SYNC |
//! | `u FILE BLOCK GENERATION VERIFIER` | it was acknowledged as UNSTABLE |
//! | `b FILE` | a COMMIT of the whole file is about to be sent |
//! | `c FILE VERIFIER` | it was acknowledged |
//! | `n NAME STATE` | a call that brings a name into this [state](crate::names::State) is about to be sent |
//! | `d NAME STATE` | it is in this state: the call was acknowledged, or it was found so |
//! | `r` | the server was killed; its machine went on |
//! | `p` | its machine lost its power |

use crate::Error;
use crate::names::State;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::Path;

/// Something that a journal has a line for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Writing { file: usize, block: usize, generation: u32 },
    Synced { file: usize, block: usize, generation: u32 },
    Unstable { file: usize, block: usize, generation: u32, verifier: u64 },
    Committing { file: usize },
    Committed { file: usize, verifier: u64 },
    Changing { name: usize, to: State },
    Changed { name: usize, to: State },
    Restarted,
    PowerLost,
}

/// How large everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub key: u64,
    pub files: usize,
    pub blocks: usize,
    pub block: u32,
    pub names: usize,
}

/// What is known of every block.
#[derive(Debug)]
pub struct Model {
    pub shape: Shape,
    files: Vec<FileState>,
    names: Vec<NameState>,
    /// Write verifiers of this life of the server.
    verifiers: HashSet<u64>,
    /// Those of its earlier lives.
    dead_verifiers: HashSet<u64>,
    /// Replies that came with one of those.
    pub stale_verifiers: u64,
}

/// What is known of a name.
#[derive(Debug, Default, Clone, Copy)]
struct NameState {
    /// The last state acknowledged.
    known: State,
    /// The one that a call is to bring about.
    sent: Option<State>,
}

#[derive(Debug, Default)]
struct FileState {
    blocks: Vec<Block>,
    /// What the COMMIT that is outstanding will make durable: block, generation, verifier.
    committing: Option<Vec<(usize, u32, u64)>>,
    /// Blocks that a COMMIT has not covered yet.
    unstable: Vec<usize>,
}

/// What is known of one block. Generation 0 is what it was made with, durably.
#[derive(Debug, Default, Clone, Copy)]
pub struct Block {
    /// The last generation sent.
    pub sent: u32,
    /// The last one acknowledged in any way.
    pub acknowledged: u32,
    /// The last one promised to survive a crash.
    pub durable: u32,
    unstable: Option<(u32, u64)>,
}

/// What a check holds a server to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Promise {
    /// Everything that was acknowledged is there: nothing crashed since
    Acknowledged,
    /// Everything that was acknowledged as durable is there; the rest may be
    Durable,
}

impl Model {
    pub fn new(shape: Shape) -> Self {
        let file = || FileState { blocks: vec![Block::default(); shape.blocks], ..<_>::default() };
        Self {
            shape,
            files: (0..shape.files).map(|_| file()).collect(),
            names: vec![NameState::default(); shape.names],
            verifiers: HashSet::new(),
            dead_verifiers: HashSet::new(),
            stale_verifiers: 0,
        }
    }

    pub fn block(&self, file: usize, block: usize) -> Block {
        self.files[file].blocks[block]
    }

    /// A COMMIT of the file is outstanding.
    pub fn is_committing(&self, file: usize) -> bool {
        self.files[file].committing.is_some()
    }

    /// A COMMIT of the file would make something durable.
    pub fn has_unstable(&self, file: usize) -> bool {
        !self.files[file].unstable.is_empty()
    }

    fn end_life(&mut self) {
        self.dead_verifiers.extend(self.verifiers.drain());
        self.forget_outstanding();
    }

    /// A COMMIT failed: what it would have covered is not durable.
    pub fn forget_commit(&mut self, file: usize) {
        self.files[file].committing = None;
    }

    /// After a restart of the client nobody waits for the COMMITs that it had sent.
    pub fn forget_outstanding(&mut self) {
        for file in &mut self.files {
            file.committing = None;
        }
    }

    /// Generations that a block may have now. While nothing crashed, a later write than the last
    /// one acknowledged may have happened as well.
    pub fn expected(&self, file: usize, block: usize, promise: Promise) -> RangeInclusive<u32> {
        let block = self.block(file, block);
        match promise {
            Promise::Acknowledged => block.acknowledged..=block.sent,
            Promise::Durable => block.durable..=block.sent,
        }
    }

    /// Blocks of a file that no COMMIT has covered, and that were written in an earlier life of the
    /// server: they have to be written again.
    pub fn to_rewrite(&self, file: usize) -> Vec<usize> {
        let dead = |block: &Block| {
            block.unstable.is_some_and(|(_, verifier)| !self.verifiers.contains(&verifier))
        };
        let blocks = self.files[file].blocks.iter().enumerate();
        blocks.filter(|(_, block)| dead(block)).map(|(number, _)| number).collect()
    }

    /// The last state of a name that was acknowledged.
    pub fn name(&self, name: usize) -> State {
        self.names[name].known
    }

    /// The states that a name may be in.
    pub fn expected_name(&self, name: usize) -> impl Iterator<Item = State> {
        let NameState { known, sent } = self.names[name];
        std::iter::once(known).chain(sent)
    }

    fn see(&mut self, verifier: u64) {
        if self.dead_verifiers.contains(&verifier) {
            self.stale_verifiers += 1;
        }
        self.verifiers.insert(verifier);
    }

    /// `None`: it names what does not exist.
    pub fn apply(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Writing { file, block, generation } => {
                self.files.get_mut(file)?.blocks.get_mut(block)?.sent = generation;
            }
            Event::Synced { file, block, generation } => {
                let block = self.files.get_mut(file)?.blocks.get_mut(block)?;
                block.acknowledged = generation;
                block.durable = generation;
                block.unstable = None;
            }
            Event::Unstable { file, block, generation, verifier } => {
                self.see(verifier);
                let file = self.files.get_mut(file)?;
                let state = file.blocks.get_mut(block)?;
                state.acknowledged = generation;
                state.unstable = Some((generation, verifier));
                file.unstable.push(block);
            }
            Event::Committing { file } => {
                let file = self.files.get_mut(file)?;
                let blocks = &file.blocks;
                let covered = file.unstable.drain(..).filter_map(|block| {
                    let (generation, verifier) = blocks[block].unstable?;
                    Some((block, generation, verifier))
                });
                file.committing = Some(covered.collect());
            }
            Event::Committed { file, verifier } => {
                self.see(verifier);
                let file = self.files.get_mut(file)?;
                for (block, generation, written_with) in file.committing.take()? {
                    let block = &mut file.blocks[block];
                    // Another verifier: the server restarted in between and may have lost it.
                    if written_with == verifier {
                        block.durable = block.durable.max(generation);
                    }
                    if block.unstable == Some((generation, written_with))
                        && written_with == verifier
                    {
                        block.unstable = None;
                    }
                }
            }
            Event::Changing { name, to } => self.names.get_mut(name)?.sent = Some(to),
            Event::Changed { name, to } => {
                *self.names.get_mut(name)? = NameState { known: to, sent: None };
            }
            Event::Restarted => self.end_life(),
            Event::PowerLost => {
                self.end_life();
                for file in &mut self.files {
                    for block in &mut file.blocks {
                        block.acknowledged = block.durable;
                        block.unstable = None;
                    }
                    file.unstable.clear();
                }
            }
        }
        Some(())
    }
}

/// Where events are written down.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
}

impl Journal {
    /// A new journal; there must be none of that name.
    pub fn create(path: &Path, shape: &Shape) -> Result<Self, Error> {
        let attempt = || Error::io(format!("make the journal {}", path.display()));
        let file = File::create_new(path).map_err(attempt())?;
        let mut journal = Self { file: BufWriter::new(file) };
        let Shape { key, files, blocks, block, names } = shape;
        writeln!(journal.file, "{MAGIC} {key} {files} {blocks} {block} {names}")
            .map_err(attempt())?;
        journal.flush().map_err(attempt())?;
        Ok(journal)
    }

    /// Reads a journal, and goes on with it.
    pub fn resume(path: &Path) -> Result<(Self, Model), Error> {
        let model = read(path)?;
        let file = File::options()
            .append(true)
            .open(path)
            .map_err(Error::io(format!("append to {}", path.display())))?;
        Ok((Self { file: BufWriter::new(file) }, model))
    }

    pub fn write(&mut self, event: Event) -> std::io::Result<()> {
        match event {
            Event::Writing { file, block, generation } => {
                writeln!(self.file, "w {file} {block} {generation}")
            }
            Event::Synced { file, block, generation } => {
                writeln!(self.file, "s {file} {block} {generation}")
            }
            Event::Unstable { file, block, generation, verifier } => {
                writeln!(self.file, "u {file} {block} {generation} {verifier}")
            }
            Event::Committing { file } => writeln!(self.file, "b {file}"),
            Event::Committed { file, verifier } => writeln!(self.file, "c {file} {verifier}"),
            Event::Changing { name, to } => writeln!(self.file, "n {name} {}", to.number()),
            Event::Changed { name, to } => writeln!(self.file, "d {name} {}", to.number()),
            Event::Restarted => writeln!(self.file, "r"),
            Event::PowerLost => writeln!(self.file, "p"),
        }
    }

    pub fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// What a journal says. A last line that was cut short is left out.
pub fn read(path: &Path) -> Result<Model, Error> {
    let attempt = || Error::io(format!("read the journal {}", path.display()));
    let mut lines = BufReader::new(File::open(path).map_err(attempt())?);
    let mut line = String::new();
    let mut number = 0;
    let mut model: Option<Model> = None;
    loop {
        line.clear();
        lines.read_line(&mut line).map_err(attempt())?;
        let Some(whole) = line.strip_suffix('\n') else { break };
        number += 1;
        let understood = match &mut model {
            None => parse_shape(whole).map(|shape| model = Some(Model::new(shape))),
            Some(model) => parse_event(whole).and_then(|event| model.apply(event)),
        };
        if understood.is_none() {
            let path = path.display();
            return Err(Error::Invalid(format!(
                "{path}, line {number}: not of a journal: {whole}"
            )));
        }
    }
    model.ok_or_else(|| Error::Invalid(format!("{} is no journal", path.display())))
}

const MAGIC: &str = "nfsload-journal 2";

fn parse_shape(line: &str) -> Option<Shape> {
    let numbers = numbers(line.strip_prefix(MAGIC)?)?;
    let [key, files, blocks, block, names] = numbers[..] else { return None };
    let shape = Shape {
        key,
        files: files.try_into().ok()?,
        blocks: blocks.try_into().ok()?,
        block: block.try_into().ok()?,
        names: names.try_into().ok()?,
    };
    shape.is_possible().then_some(shape)
}

impl Shape {
    /// The pattern can tell all of it apart.
    pub fn is_possible(&self) -> bool {
        let size = (self.blocks as u64).checked_mul(self.block.into());
        (1..=crate::pattern::MAX_FILES).contains(&self.files)
            && self.block > 0
            && (self.block as usize).is_multiple_of(crate::pattern::WORD)
            && self.block <= 1 << 20
            && self.names <= 1 << 16
            && size.is_some_and(|size| size > 0 && size <= crate::pattern::MAX_SIZE)
    }
}

fn parse_event(line: &str) -> Option<Event> {
    match line {
        "r" => return Some(Event::Restarted),
        "p" => return Some(Event::PowerLost),
        _ => {}
    }
    let (kind, rest) = line.split_once(' ')?;
    let numbers = numbers(rest)?;
    let index = |at: usize| numbers.get(at).copied().and_then(|n| usize::try_from(n).ok());
    let generation = |at: usize| numbers.get(at).copied().and_then(|n| u32::try_from(n).ok());
    let file = index(0)?;
    Some(match (kind, numbers.len()) {
        ("w", 3) => Event::Writing { file, block: index(1)?, generation: generation(2)? },
        ("s", 3) => Event::Synced { file, block: index(1)?, generation: generation(2)? },
        ("u", 4) => Event::Unstable {
            file,
            block: index(1)?,
            generation: generation(2)?,
            verifier: numbers[3],
        },
        ("b", 1) => Event::Committing { file },
        ("c", 2) => Event::Committed { file, verifier: numbers[1] },
        ("n", 2) => Event::Changing { name: file, to: State::from_number(numbers[1])? },
        ("d", 2) => Event::Changed { name: file, to: State::from_number(numbers[1])? },
        _ => return None,
    })
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { key: 1, files: 1, blocks: 4, block: 4096, names: 2 };

    fn after(events: &[Event]) -> Model {
        let mut model = Model::new(SHAPE);
        for event in events {
            model.apply(*event).unwrap();
        }
        model
    }

    const WRITING: Event = Event::Writing { file: 0, block: 2, generation: 1 };
    const UNSTABLE: Event = Event::Unstable { file: 0, block: 2, generation: 1, verifier: 7 };
    const COMMITTING: Event = Event::Committing { file: 0 };
    const COMMITTED: Event = Event::Committed { file: 0, verifier: 7 };

    #[test]
    fn a_commit_covers_what_was_acknowledged_before_it_was_sent() {
        let model = after(&[WRITING, UNSTABLE, COMMITTING, COMMITTED]);
        assert_eq!(model.block(0, 2).durable, 1);
        let model = after(&[WRITING, COMMITTING, UNSTABLE, COMMITTED]);
        assert_eq!(model.block(0, 2).durable, 0);
        assert_eq!(model.expected(0, 2, Promise::Durable), 0..=1);
        assert_eq!(model.expected(0, 2, Promise::Acknowledged), 1..=1);
    }

    #[test]
    fn another_verifier_makes_nothing_durable() {
        let restarted = Event::Committed { file: 0, verifier: 8 };
        let model = after(&[WRITING, UNSTABLE, COMMITTING, restarted]);
        assert_eq!(model.block(0, 2).durable, 0);
    }

    #[test]
    fn a_power_loss_may_take_what_was_not_durable_and_a_restart_may_not() {
        let restarted = after(&[WRITING, UNSTABLE, Event::Restarted]);
        assert_eq!(restarted.expected(0, 2, Promise::Acknowledged), 1..=1);
        assert_eq!(restarted.to_rewrite(0), [2]);
        let lost = after(&[WRITING, UNSTABLE, Event::PowerLost]);
        assert_eq!(lost.expected(0, 2, Promise::Acknowledged), 0..=1);
        assert_eq!(lost.to_rewrite(0), [0; 0]);
        let kept = after(&[WRITING, UNSTABLE, COMMITTING, COMMITTED, Event::PowerLost]);
        assert_eq!(kept.expected(0, 2, Promise::Durable), 1..=1);
    }

    #[test]
    fn a_verifier_of_a_past_life_is_noticed() {
        let again = Event::Unstable { file: 0, block: 1, generation: 1, verifier: 7 };
        assert_eq!(after(&[WRITING, UNSTABLE, again]).stale_verifiers, 0);
        assert_eq!(after(&[WRITING, UNSTABLE, Event::Restarted, again]).stale_verifiers, 1);
    }

    #[test]
    fn a_name_is_in_its_last_state_or_on_its_way() {
        let state = |number| State::from_number(number).unwrap();
        let states = |model: &Model| model.expected_name(1).collect::<Vec<_>>();
        let made = [1, 2].map(|to| Event::Changing { name: 1, to: state(to) });
        let acknowledged = Event::Changed { name: 1, to: state(1) };
        assert_eq!(states(&after(&made[..1])), [State::Absent, state(1)]);
        assert_eq!(states(&after(&[made[0], acknowledged])), [state(1)]);
        let moving = after(&[made[0], acknowledged, made[1], Event::PowerLost]);
        assert_eq!(states(&moving), [state(1), state(2)]);
    }

    #[test]
    fn a_journal_says_again_what_happened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::create(&path, &SHAPE).unwrap();
        let moved = State::from_number(7).unwrap();
        let others = [
            Event::Changing { name: 1, to: moved },
            Event::Changed { name: 1, to: moved },
            Event::Restarted,
            Event::PowerLost,
        ];
        for event in [WRITING, UNSTABLE, COMMITTING, COMMITTED].into_iter().chain(others) {
            journal.write(event).unwrap();
        }
        let synced = Event::Synced { file: 0, block: 1, generation: 1 };
        journal.write(Event::Writing { file: 0, block: 1, generation: 1 }).unwrap();
        journal.write(synced).unwrap();
        journal.flush().unwrap();
        let (mut journal, model) = Journal::resume(&path).unwrap();
        assert_eq!(model.shape, SHAPE);
        assert_eq!((model.block(0, 2).durable, model.block(0, 1).durable), (1, 1));
        assert_eq!((model.name(1), model.dead_verifiers.len()), (moved, 1));

        // The client was killed in the middle of a line.
        journal.file.write_all(b"w 0 1").unwrap();
        journal.flush().unwrap();
        assert_eq!(read(&path).unwrap().block(0, 1).sent, 1);
        journal.file.write_all(b" 1 1 1\n").unwrap();
        journal.flush().unwrap();
        assert!(matches!(read(&path), Err(Error::Invalid(_))));
    }
}
