//! A disk with a write cache, whose power can fail.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::{fs::FileExt, net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crate::{Error, nbd};

/// A disk with a write cache: what was written and not flushed is lost when the power fails, or
/// part of it, in any order, as on real disks. A block of 4 KiB is written as a whole or not at all.
///
/// It outlives its guests: give it to one, end that by [`power_loss`](crate::Guest::power_loss), say
/// [`lose_power`](Self::lose_power), and give it to the next. One guest at a time can use it.
///
/// ```no_run
/// # use holm_guest::{CachedDisk, Disk, Guest};
/// # use std::time::Duration;
/// # fn main() -> Result<(), holm_guest::Error> {
/// let disk = CachedDisk::new(256)?;
/// let guest = || Guest::builder().disk(Disk::cached(&disk));
/// let script = "echo a > /scratch/a; sync; echo b > /scratch/b; echo written; sleep infinity";
/// let mut first = guest().script(script).spawn()?;
/// first.wait_for_output("written", Duration::from_secs(60))?;
/// first.power_loss()?;
/// disk.lose_power(1)?;
/// guest().script("cat /scratch/a && ! cat /scratch/b").run()?.success()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CachedDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    size: u64,
    server: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Store {
    /// What survives.
    platter: File,
    /// Blocks written since the last flush, each time they were, with the number of the write.
    cache: BTreeMap<u64, Vec<(u64, Box<Block>)>>,
    writes: u64,
    flushes: u64,
}

/// What became of what was written and not flushed when the power failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Blocks of which the last write had reached the disk all the same.
    pub kept: usize,
    /// Blocks of which it had not.
    pub lost: usize,
    /// Flushes since the power failed last.
    pub flushes: u64,
}

impl CachedDisk {
    /// A disk of this size with nothing on it.
    ///
    /// # Errors
    ///
    /// No temporary file can be made.
    pub fn new(mebibytes: u64) -> Result<Self, Error> {
        let platter = tempfile::tempfile().map_err(Error::io("create a disk"))?;
        let size = mebibytes << 20;
        platter.set_len(size).map_err(Error::io("set the size of a disk"))?;
        let store = Store { platter, cache: BTreeMap::new(), writes: 0, flushes: 0 };
        let store = Mutex::new(store);
        Ok(Self(Arc::new(Shared { store, size, server: Mutex::default() })))
    }

    /// Forgets what was not flushed: all of it, or all since some moment, or any part of it, as
    /// `seed` says.
    ///
    /// Returns when the guest that used it is gone: end that first.
    ///
    /// # Errors
    ///
    /// The file behind it can't be written.
    pub fn lose_power(&self, seed: u64) -> Result<PowerLoss, Error> {
        let server = self.0.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            // It ends with its connection, and never panics.
            let _ = server.join();
        }
        self.0.store().lose_power(seed).map_err(Error::io("write to a disk"))
    }

    /// QEMU's end of a connection to it.
    pub(crate) fn connect(&self) -> Result<UnixStream, Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("create a socket pair"))?;
        let shared = self.0.clone();
        let server = thread::Builder::new()
            .name("cached disk".into())
            // A client that goes in the middle of a request is a machine that lost its power.
            .spawn(move || drop(nbd::serve(ours, &*shared)))
            .map_err(Error::io("start a thread"))?;
        *self.0.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(theirs)
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of a range, block by block: the block, where in it, and which bytes of the range.
    fn blocks(
        &self,
        offset: u64,
        length: usize,
    ) -> io::Result<impl Iterator<Item = (u64, usize, std::ops::Range<usize>)>> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = offset;
        Ok(std::iter::from_fn(move || {
            let within = (at % BLOCK as u64) as usize;
            let count = ((BLOCK - within) as u64).min(end - at) as usize;
            let start = (at - offset) as usize;
            let part = (count > 0).then_some((at / BLOCK as u64, within, start..start + count));
            at += count as u64;
            part
        }))
    }
}

impl nbd::Export for Shared {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let store = self.store();
        for (number, within, range) in self.blocks(offset, buffer.len())? {
            let count = range.len();
            buffer[range].copy_from_slice(&store.block(number)?[within..within + count]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut store = self.store();
        store.writes += 1;
        let write = store.writes;
        for (number, within, range) in self.blocks(offset, data.len())? {
            let mut block = store.block(number)?;
            block[within..within + range.len()].copy_from_slice(&data[range]);
            store.cache.entry(number).or_default().push((write, block));
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut store = self.store();
        store.flushes += 1;
        store.settle(|versions| versions.last()).map(drop)
    }
}

impl Store {
    /// As the guest sees it.
    fn block(&self, number: u64) -> io::Result<Box<Block>> {
        if let Some((_, block)) = self.cache.get(&number).and_then(|versions| versions.last()) {
            return Ok(block.clone());
        }
        let mut block = Box::new([0; BLOCK]);
        self.platter.read_exact_at(&mut *block, number * BLOCK as u64)?;
        Ok(block)
    }

    /// Empties the cache: writes the version of each block that `choose` says, if any.
    fn settle(
        &mut self,
        mut choose: impl FnMut(&[(u64, Box<Block>)]) -> Option<&(u64, Box<Block>)>,
    ) -> io::Result<PowerLoss> {
        let mut loss = PowerLoss::default();
        for (number, versions) in std::mem::take(&mut self.cache) {
            let chosen = choose(&versions);
            if let Some((_, block)) = chosen {
                self.platter.write_all_at(&**block, number * BLOCK as u64)?;
            }
            let newest = versions.last().map(|(write, _)| write);
            match chosen.map(|(write, _)| write) == newest {
                true => loss.kept += 1,
                false => loss.lost += 1,
            }
        }
        Ok(loss)
    }

    fn lose_power(&mut self, seed: u64) -> io::Result<PowerLoss> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let all = || self.cache.values().flatten().map(|(write, _)| *write);
        let (first, last) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let flushes = std::mem::take(&mut self.flushes);
        let loss = match random.below(3) {
            0 => self.settle(|_| None),
            1 => {
                let moment = first + random.below(last - first + 1);
                self.settle(|versions| versions.iter().rfind(|(write, _)| *write < moment))
            }
            _ => self.settle(|versions| {
                let chosen = random.below(versions.len() as u64 + 1) as usize;
                chosen.checked_sub(1).and_then(|chosen| versions.get(chosen))
            }),
        }?;
        Ok(PowerLoss { flushes, ..loss })
    }
}

/// Numbers that need only look random, and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

type Block = [u8; BLOCK];

/// What a disk writes as a whole.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nbd::Export;

    fn disk() -> CachedDisk {
        CachedDisk::new(1).expect("a disk")
    }

    fn read(disk: &CachedDisk, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        disk.0.read(offset, &mut buffer).expect("a read");
        buffer
    }

    #[test]
    fn what_was_written_is_read_wherever_it_lies() {
        let disk = disk();
        disk.0.write(4000, &[1; 200]).unwrap();
        assert_eq!(read(&disk, 3999, 202), [&[0][..], &[1; 200], &[0]].concat());
        disk.0.flush().unwrap();
        disk.0.write(4100, &[2; 5000]).unwrap();
        assert_eq!(read(&disk, 4090, 20), [[1; 10], [2; 10]].concat());
        assert!(disk.0.write((1 << 20) - 1, &[0; 2]).is_err());
        assert!(disk.0.read(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn no_power_loss_takes_what_was_flushed() {
        for seed in 0..100 {
            let disk = disk();
            disk.0.write(0, &[1; 3 * BLOCK]).unwrap();
            disk.0.flush().unwrap();
            disk.0.write(4096, &[2; 4096]).unwrap();
            disk.0.write(4096, &[3; 4096]).unwrap();
            disk.lose_power(seed).unwrap();
            assert_eq!(read(&disk, 0, 4096), [1; 4096]);
            assert_eq!(read(&disk, 8192, 4096), [1; 4096]);
            let between = read(&disk, 4096, 4096);
            assert!(between.iter().all(|byte| *byte == between[0]), "a torn block");
        }
    }

    #[test]
    fn what_was_not_flushed_is_lost_in_every_way_that_a_disk_has() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..400 {
            let disk = disk();
            disk.0.write(0, &[1; 4096]).unwrap();
            disk.0.write(4096, &[1; 4096]).unwrap();
            disk.0.write(0, &[2; 4096]).unwrap();
            disk.lose_power(seed).unwrap();
            outcomes.insert((read(&disk, 0, 1)[0], read(&disk, 4096, 1)[0]));
        }
        let all = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), all);
    }
}
