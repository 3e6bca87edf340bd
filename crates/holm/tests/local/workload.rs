//! What a program does with files that it has to be able to rely on: a process of its own.
//!
//! Every block says which file, which place and which version it is of, and the rest of it follows from
//! that. The program remembers of each block which version was committed, and which it wrote last; what
//! it reads has to be one of those between, and after an error too.

use holm_localio::{Access, Error, File, Mount, Options, Problem, Url};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which errors a program may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// None: files stay the same.
    None,
    /// That a file which was open is of a namespace that is gone, and then those of another try.
    Stale,
}

/// Works with the files of `url` until a line arrives on the standard input; says `working` when every
/// thread has written, read and committed.
pub fn run(url: &str, errors: Errors) {
    let url: Url = url.parse().expect("a URL");
    let (over, local, all) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let started = std::sync::Barrier::new(THREADS + 1);
    let before = descriptors();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let worker = Worker {
                    url: &url,
                    thread: thread as u64,
                    errors,
                    blocks: vec![Block::default(); BLOCKS],
                    random: 0x9e37_79b9_7f4a_7c15 ^ (thread as u64 + 1),
                    local: &local,
                    all: &all,
                };
                let (over, started) = (&over, &started);
                scope.spawn(move || worker.run(over, started))
            })
            .collect();
        started.wait();
        say("working");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).expect("the soak");
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("a worker saw what it must not see");
        }
    });
    let (local, all) = (local.into_inner(), all.into_inner());
    // What hears of recalls ends by itself.
    let begin = Instant::now();
    while descriptors() > before {
        assert!(begin.elapsed() < PATIENCE, "descriptors are left: {:#?}", open_files());
        std::thread::yield_now();
    }
    say(&format!("{all} {local}"));
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("the soak reads it");
}

#[derive(Clone, Copy, Default)]
struct Block {
    committed: u64,
    written: u64,
    /// The oldest that may be read: what was read once does not become older, as long as its server stays.
    oldest: u64,
}

struct Worker<'w> {
    url: &'w Url,
    thread: u64,
    errors: Errors,
    blocks: Vec<Block>,
    random: u64,
    local: &'w AtomicU64,
    all: &'w AtomicU64,
}

impl Worker<'_> {
    fn run(mut self, over: &AtomicBool, started: &std::sync::Barrier) {
        let mut working = false;
        while !over.load(Ordering::Relaxed) {
            let done = self.work(over, &mut || {
                if !std::mem::replace(&mut working, true) {
                    started.wait();
                }
            });
            match done {
                Ok(()) => break,
                Err(error) if self.errors == Errors::Stale && is_of_the_end(&error) => {
                    // What was not committed may be gone with whatever has ended.
                    for block in &mut self.blocks {
                        block.oldest = block.committed;
                    }
                }
                Err(error) => panic!("thread {}: {error}", self.thread),
            }
        }
    }

    /// Opens the file and works with it.
    fn work(&mut self, over: &AtomicBool, working: &mut impl FnMut()) -> Result<(), Error> {
        let mut options = Options::default();
        options.patience = PATIENCE;
        let mount = Mount::new(self.url, &options)?;
        let name = format!("worker-{}", self.thread);
        let file = match mount.open(&name, Access::ReadWrite) {
            Err(error) if is_missing(&error) => {
                mount.create(&name, 0o600, false)?;
                mount.open(&name, Access::ReadWrite)?
            }
            opened => opened?,
        };
        for block in 0..BLOCKS {
            self.read(&file, block)?;
        }
        let mut round = 0u64;
        while !over.load(Ordering::Relaxed) {
            for _ in 0..16 {
                let block = self.random() as usize % BLOCKS;
                if self.random().is_multiple_of(3) {
                    let count = 1 + self.random() as usize % 8;
                    self.write(&file, block, count.min(BLOCKS - block))?;
                } else {
                    self.read(&file, block)?;
                }
                self.all.fetch_add(1, Ordering::Relaxed);
                self.local.fetch_add(u64::from(file.is_local()), Ordering::Relaxed);
            }
            round += 1;
            if round.is_multiple_of(4) {
                self.commit(&file)?;
                working();
            }
        }
        self.commit(&file)?;
        for block in 0..BLOCKS {
            self.read(&file, block)?;
        }
        Ok(())
    }

    fn read(&mut self, file: &File, block: usize) -> Result<(), Error> {
        let mut buffer = [0; SIZE];
        let count = file.read_at(&mut buffer, (block * SIZE) as u64)?;
        let Block { oldest, written, .. } = self.blocks[block];
        let version = match count {
            0 => 0,
            SIZE => version(&buffer, self.thread, block),
            count => panic!("thread {}, block {block}: {count} bytes", self.thread),
        };
        assert!(
            (oldest..=written).contains(&version),
            "thread {}, block {block}: version {version} is none of {oldest} to {written}",
            self.thread,
        );
        self.blocks[block].oldest = version;
        Ok(())
    }

    fn write(&mut self, file: &File, first: usize, count: usize) -> Result<(), Error> {
        let mut data = vec![0; count * SIZE];
        for (number, block) in data.chunks_exact_mut(SIZE).enumerate() {
            let known = &mut self.blocks[first + number];
            known.written += 1;
            fill(block, self.thread, first + number, known.written);
        }
        file.write_at(&data, (first * SIZE) as u64)?;
        for known in &mut self.blocks[first..first + count] {
            known.oldest = known.written;
        }
        Ok(())
    }

    fn commit(&mut self, file: &File) -> Result<(), Error> {
        file.commit()?;
        for known in &mut self.blocks {
            // What was written before an error that was seen may be on the disk or not.
            known.committed = known.oldest;
        }
        Ok(())
    }

    /// xorshift.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Whether a namespace is gone, or not there yet.
fn is_of_the_end(error: &Error) -> bool {
    use holm_nfs_proto::nfs3::Error::{Acces, BadHandle, NoEnt, Stale};
    match error.problem() {
        Problem::Status(status) => matches!(status, Stale | BadHandle | NoEnt | Acces),
        _ => true,
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.problem(), Problem::Status(holm_nfs_proto::nfs3::Error::NoEnt))
}

fn fill(block: &mut [u8], thread: u64, number: usize, version: u64) {
    let mut word = mix((thread << 48) ^ ((number as u64) << 24) ^ version);
    for (place, bytes) in block.chunks_exact_mut(8).enumerate() {
        let value = match place {
            0 => thread,
            1 => number as u64,
            2 => version,
            _ => {
                word = mix(word);
                word
            }
        };
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Which version it is; every byte has to be as it was written.
fn version(block: &[u8], thread: u64, number: usize) -> u64 {
    let version = u64::from_le_bytes(block[16..24].try_into().expect("eight"));
    if version == 0 {
        assert!(block.iter().all(|byte| *byte == 0), "thread {thread}, block {number}: no zeros");
        return 0;
    }
    let mut right = vec![0; block.len()];
    fill(&mut right, thread, number, version);
    assert!(block == right, "thread {thread}, block {number}: torn or foreign");
    version
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 29)
}

fn descriptors() -> usize {
    open_files().len()
}

fn open_files() -> Vec<PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    links.filter_map(|link| std::fs::read_link(link.path()).ok()).collect()
}

const THREADS: usize = 4;
const BLOCKS: usize = 512;
const SIZE: usize = 4096;
/// What a server that comes back may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
