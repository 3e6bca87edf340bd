//! Commits of one file share flushes, and none answers for what is not on the disk.

use crate::harness::{fails, passes};
use crate::real::{self, key, opened};
use crate::sketch::{self, Flaw};
use holm_nfsd::Status;
use holm_nfsd::cache::{File, Stamp};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// A disk that takes time, and may fail once.
#[derive(Default)]
pub struct Disk(Mutex<State>);

#[derive(Default)]
struct State {
    in_memory: Vec<usize>,
    on_disk: Vec<usize>,
    fail: bool,
}

impl Disk {
    pub fn failing(fail: bool) -> Arc<Self> {
        let disk = Self::default();
        disk.0.lock().unwrap().fail = fail;
        Arc::new(disk)
    }

    pub fn write(&self, data: usize) {
        thread::yield_now();
        self.0.lock().unwrap().in_memory.push(data);
        thread::yield_now();
    }

    /// What is in memory when it begins is on the disk when it ends, or nowhere.
    pub fn flush(&self) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        let flushed = std::mem::take(&mut state.in_memory);
        let fails = std::mem::take(&mut state.fail);
        drop(state);
        // Long enough for another to write and to ask for a commit meanwhile.
        for _ in 0..30 {
            thread::yield_now();
        }
        if fails {
            return Err(Status::Io);
        }
        self.0.lock().unwrap().on_disk.extend(flushed);
        Ok(())
    }

    fn has(&self, data: usize) -> bool {
        self.0.lock().unwrap().on_disk.contains(&data)
    }
}

/// A file of which commits can be asked.
pub trait Commits: Send + Sync + 'static {
    /// Gives the verifier of the reply.
    fn write(&self, data: usize) -> u64;
    /// The same, or that it failed.
    fn commit(&self) -> Result<u64, Status>;
    /// Writes something that is on the disk when it is answered, if it is.
    fn write_stable(&self, data: usize) -> Result<(), Status>;
    fn disk(&self) -> &Disk;
    /// Nobody uses the file any more, and it leaves the cache.
    fn end_of_use(&self);
}

fn write_and_commit<C: Commits>(commits: C) {
    let commits = Arc::new(commits);
    let writers = [1, 2, 3].map(|data| {
        let commits = commits.clone();
        thread::spawn(move || {
            let written = commits.write(data);
            if commits.commit() == Ok(written) {
                // The client throws its copy away.
                assert!(commits.disk().has(data), "{LOST}");
            }
        })
    });
    for writer in writers {
        writer.join().unwrap();
    }
}

fn write_stably<C: Commits>(commits: C) {
    let commits = Arc::new(commits);
    let connections = [1, 2].map(|data| {
        let commits = commits.clone();
        thread::spawn(move || {
            if commits.write_stable(data).is_ok() {
                assert!(commits.disk().has(data), "{LOST}");
            }
        })
    });
    let written = commits.write(3);
    if commits.commit() == Ok(written) {
        assert!(commits.disk().has(3), "{LOST}");
    }
    for connection in connections {
        connection.join().unwrap();
    }
}

fn write_and_close<C: Commits>(commits: C) {
    let commits = Arc::new(commits);
    let written = commits.write(1);
    let closes = thread::spawn({
        let commits = commits.clone();
        move || commits.end_of_use()
    });
    if commits.commit() == Ok(written) {
        assert!(commits.disk().has(1), "{LOST}");
    }
    closes.join().unwrap();
}

#[test]
fn what_is_committed_is_on_the_disk() {
    passes("three writers and committers", || write_and_commit(Real::new(Disk::failing(false))));
    passes("the same, with a flush that fails", || {
        write_and_commit(Real::new(Disk::failing(true)));
    });
    fails("a commit that joins the flush that runs", &[LOST], || {
        write_and_commit(sketch::Commits::new(Flaw::JoinsRunning, Disk::failing(false)));
    });
    fails("a failed flush that changes no verifier", &[LOST], || {
        write_and_commit(sketch::Commits::new(Flaw::KeepsVerifier, Disk::failing(true)));
    });
}

#[test]
fn what_is_written_stably_is_on_the_disk() {
    for fail in [false, true] {
        passes(&format!("stable writes beside a commit, failing: {fail}"), move || {
            write_stably(Real::new(Disk::failing(fail)));
        });
    }
    fails("a reply before the flush", &[LOST], || {
        write_stably(sketch::Commits::new(Flaw::AnswersFirst, Disk::failing(false)));
    });
    fails("a flush that is trusted after another has failed", &[LOST], || {
        write_stably(sketch::Commits::new(Flaw::TrustsNextFlush, Disk::failing(true)));
    });
}

#[test]
fn what_was_written_outlives_the_descriptor() {
    for fail in [false, true] {
        passes(&format!("commit against close, failing: {fail}"), move || {
            write_and_close(Real::new(Disk::failing(fail)));
        });
    }
    fails("a close that forgets what was not flushed", &[LOST], || {
        write_and_close(sketch::Commits::new(Flaw::ForgetsAtClose, Disk::failing(false)));
    });
}

const LOST: &str = "answered, and lost";

struct OnDisk(Arc<Disk>);

impl File for OnDisk {
    fn flush(&self) -> holm_nfsd::Result<()> {
        self.0.flush()
    }

    fn stamp(&self) -> holm_nfsd::Result<Stamp> {
        Ok(real::stamp())
    }
}

struct Real {
    real: real::Real<OnDisk>,
    disk: Arc<Disk>,
}

impl Real {
    fn new(disk: Arc<Disk>) -> Self {
        Self { real: real::Real::new(100), disk }
    }
}

impl Commits for Real {
    fn write(&self, data: usize) -> u64 {
        let within = self.real.within(0).unwrap();
        let file = within.open(&key(1, 0), || opened(OnDisk(self.disk.clone()))).unwrap();
        let ((), verifier) = file.write(|file| file.0.write(data));
        u64::from_be_bytes(verifier.0)
    }

    fn commit(&self) -> Result<u64, Status> {
        let within = self.real.within(0).unwrap();
        // By another caller, who has a descriptor of his own.
        let file = within.open(&key(1, 1), || opened(OnDisk(self.disk.clone()))).unwrap();
        file.commit().map(|verifier| u64::from_be_bytes(verifier.0))
    }

    fn write_stable(&self, data: usize) -> Result<(), Status> {
        let within = self.real.within(0).unwrap();
        let file = within.open(&key(1, 0), || opened(OnDisk(self.disk.clone()))).unwrap();
        let Some(kept) = file.keep() else {
            // What others have written waits for a commit: so does this.
            let written = self.write(data);
            return if self.commit() == Ok(written) { Ok(()) } else { Err(Status::Io) };
        };
        file.write_kept(|file| file.0.write(data));
        drop(file);
        kept.flush(|| ())
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }

    fn end_of_use(&self) {
        self.real.caches.forget_everything();
    }
}
