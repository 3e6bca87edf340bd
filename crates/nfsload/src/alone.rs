//! What a file system does without a server: the same changes, each flushed by the thread that makes it.

use crate::driver::Random;
use crate::{Error, Plan, Workload};
use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// A directory on the file system that is measured.
#[derive(Debug)]
pub struct Alone(TempDir);

impl Alone {
    /// A new directory below `parent`.
    ///
    /// # Errors
    ///
    /// If it can't be made.
    pub fn below(parent: &Path) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("nfsload-alone-").tempdir_in(parent);
        let attempt = format!("make a directory in {}", parent.display());
        directory.map(Self).map_err(Error::io(attempt))
    }

    /// Changes per second, of workloads whose changes have to be on the disk: by as many threads as
    /// `plan` has calls outstanding, in as many directories, or files, as it has connections.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn run(&self, workload: Workload, plan: &Plan) -> Result<Option<f64>, Error> {
        match workload {
            Workload::CreateRemove => {
                let directories = self.each(plan, |path| {
                    // What the last run left.
                    if path.exists() {
                        std::fs::remove_dir_all(&path)?;
                    }
                    std::fs::create_dir(&path)?;
                    File::open(path)
                })?;
                let work = |thread: usize| {
                    let directory = &directories[thread % directories.len()];
                    let name = format!("file-{thread}");
                    let mut is_there = false;
                    move || {
                        is_there = !is_there;
                        if is_there { create(directory, &name) } else { remove(directory, &name) }
                    }
                };
                measure(plan, plan.connections * plan.depth, work).map(Some)
            }
            Workload::WriteSync => {
                let files = self.each(plan, |path| {
                    let path = path.with_extension("data");
                    if !path.exists() {
                        std::fs::write(&path, vec![1; FILE as usize])?;
                    }
                    File::options().write(true).open(path)
                })?;
                let work = |thread: usize| {
                    let file = &files[thread % files.len()];
                    let mut random = Random::new(thread as u64);
                    move || write(file, random.below(FILE / BLOCK) * BLOCK)
                };
                measure(plan, WRITERS, work).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn each(
        &self,
        plan: &Plan,
        open: impl Fn(std::path::PathBuf) -> std::io::Result<File>,
    ) -> Result<Vec<File>, Error> {
        let path = |index| self.0.path().join(format!("made-{index}"));
        let opened = (0..plan.connections).map(|index| open(path(index)));
        opened
            .collect::<Result<_, _>>()
            .map_err(Error::io("prepare what is changed without a server"))
    }
}

/// Each file, and each write to it.
const FILE: u64 = 64 << 20;
const BLOCK: u64 = 4096;
/// More of them do no more.
const WRITERS: usize = 16;

fn create(directory: &File, name: &str) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    drop(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
    rustix::fs::fsync(directory)
}

fn remove(directory: &File, name: &str) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty())?;
    rustix::fs::fsync(directory)
}

/// As FILE_SYNC has it: data and attributes.
fn write(file: &File, offset: u64) -> rustix::io::Result<()> {
    let data = [IoSlice::new(&[2; BLOCK as usize])];
    let flags = ReadWriteFlags::DSYNC | ReadWriteFlags::SYNC;
    rustix::io::pwritev2(file, &data, offset, flags).map(drop)
}

/// Runs `threads` of what `work` gives, and counts for as long as the plan says.
fn measure<W: FnMut() -> rustix::io::Result<()> + Send>(
    plan: &Plan,
    threads: usize,
    work: impl Fn(usize) -> W,
) -> Result<f64, Error> {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let repeat = |mut once: W| {
            let (done, stop) = (&done, &stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    once()?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        };
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(repeat(work(n)))).collect();
        std::thread::sleep(plan.warm_up);
        let (start, before) = (Instant::now(), done.load(Ordering::Relaxed));
        std::thread::sleep(plan.duration);
        let counted = done.load(Ordering::Relaxed) - before;
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let ended = running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.map_err(Error::system("change files without a server"))?;
        Ok(counted as f64 / took.as_secs_f64())
    })
}
