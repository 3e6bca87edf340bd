//! The content of a file, several pieces at a time. Zeros are left out: what is not written is a hole.

use super::record::Record;
use super::side::Content;
use super::{Run, add};
use crate::files::outcome::{Result, Trouble};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Copies a part of the content to a file in which there is nothing yet, or the same, from there on. Says
/// whether it could: not if the source is shorter, or all of the copying is given up.
pub fn copy(
    run: &Run<'_>,
    source: &dyn Content,
    target: &dyn Content,
    range: Range<u64>,
    record: Option<Record>,
) -> Result<bool> {
    let threads = match range.end.saturating_sub(range.start) {
        0 => return Ok(true),
        // Nothing is gained.
        length if length <= PIECE => 1,
        _ => run.options.pieces.max(1),
    };
    let work = Work {
        run,
        source,
        target,
        size: range.end,
        progress: Mutex::new(Progress {
            next: range.start,
            under_way: BTreeSet::new(),
            written: 0,
            noted: (0, Instant::now()),
            record,
            failed: None,
            cut_short: false,
        }),
    };
    if threads == 1 {
        work.go_on();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| work.go_on());
            }
        });
    }
    let progress = work.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.failed.map_or(Ok(!progress.cut_short), Err)
}

/// A file whose content is being copied.
struct Work<'a> {
    run: &'a Run<'a>,
    source: &'a dyn Content,
    target: &'a dyn Content,
    size: u64,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Where the next piece is looked for: all before it is done, under way, or a hole.
    next: u64,
    /// Where pieces begin that are being copied.
    under_way: BTreeSet<u64>,
    /// Bytes.
    written: u64,
    /// How many of those there were at the last commit that was recorded, and when that was.
    noted: (u64, Instant),
    /// `None` if nobody wants it, or while somebody commits.
    record: Option<Record>,
    failed: Option<Trouble>,
    /// The source has not been as long as it was said to be, or nobody goes on.
    cut_short: bool,
}

impl Work<'_> {
    /// Copies pieces until there are no more, or one failed.
    fn go_on(&self) {
        let mut buffer = vec![0; usize::try_from(PIECE.min(self.size)).unwrap_or(0)];
        loop {
            let step = match self.take() {
                Ok(Some(piece)) => self.copy_piece(&mut buffer, &piece).and_then(|()| self.note()),
                Ok(None) => return,
                Err(trouble) => Err(trouble),
            };
            if let Err(trouble) = step {
                self.progress().failed.get_or_insert(trouble);
                return;
            }
        }
    }

    /// The next piece.
    fn take(&self) -> Result<Option<Range<u64>>> {
        let mut progress = self.progress();
        progress.cut_short |= self.run.is_over();
        if progress.failed.is_some() || progress.cut_short || progress.next >= self.size {
            return Ok(None);
        }
        let data = self.source.next_data(progress.next, self.size)?;
        self.run.watch.moved(data.start.saturating_sub(progress.next));
        // Pieces end where a multiple of their size is, so that holes are found again on both sides.
        let end = (data.start / PIECE + 1).saturating_mul(PIECE).min(data.end);
        progress.next = end;
        if data.start >= end {
            progress.next = self.size.max(end);
            return Ok(None);
        }
        progress.under_way.insert(data.start);
        Ok(Some(data.start..end))
    }

    fn copy_piece(&self, buffer: &mut [u8], piece: &Range<u64>) -> Result<()> {
        let length = usize::try_from(piece.end - piece.start).unwrap_or(0);
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        if self.source.read_at(buffer, piece.start)? != length {
            self.progress().cut_short = true;
            return Ok(());
        }
        let mut written = 0;
        for data in parts_with_data(buffer, piece.start) {
            let part = buffer.get(data.clone()).unwrap_or_default();
            self.target.write_at(part, piece.start + data.start as u64)?;
            written += part.len() as u64;
        }
        self.run.watch.moved(length as u64);
        add(&self.run.counts.bytes, written);
        let mut progress = self.progress();
        progress.under_way.remove(&piece.start);
        progress.written += written;
        Ok(())
    }

    /// Makes durable and records what is complete, from time to time, while the others go on.
    fn note(&self) -> Result<()> {
        let mut progress = self.progress();
        let (noted, when) = progress.noted;
        if progress.written - noted < NOTED_BYTES && when.elapsed() < NOTED_TIME {
            return Ok(());
        }
        let Some(mut record) = progress.record.take() else { return Ok(()) };
        let complete = progress.under_way.first().copied().unwrap_or(progress.next);
        progress.noted = (progress.written, Instant::now());
        drop(progress);
        self.target.commit()?;
        record.note(complete)?;
        self.progress().record = Some(record);
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a piece that begins at `offset` of the file without the blocks that are all zero.
fn parts_with_data(piece: &[u8], offset: u64) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < piece.len() {
        let to_boundary = BLOCK - ((offset + start as u64) % BLOCK as u64) as usize;
        let end = (start + to_boundary).min(piece.len());
        if !is_zero(piece.get(start..end).unwrap_or_default()) {
            match parts.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => parts.push(start..end),
            }
        }
        start = end;
    }
    parts
}

fn is_zero(block: &[u8]) -> bool {
    // Compared with itself, moved by one: as fast as memory.
    block.first().is_none_or(|first| *first == 0 && block.get(1..) == block.get(..block.len() - 1))
}

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;
/// What can be a hole: the block of most file systems.
const BLOCK: usize = 4096;
/// It is recorded how far a copy is after so many bytes, or so much time.
const NOTED_BYTES: u64 = 32 << 20;
const NOTED_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out() {
        let mut piece = vec![0; 10 * BLOCK];
        assert!(parts_with_data(&piece, 0).is_empty());
        piece[0] = 1;
        piece[BLOCK] = 1;
        piece[5 * BLOCK - 1] = 1;
        piece[10 * BLOCK - 1] = 1;
        let parts = parts_with_data(&piece, 0);
        assert_eq!(parts, [0..2 * BLOCK, 4 * BLOCK..5 * BLOCK, 9 * BLOCK..10 * BLOCK]);
    }

    #[test]
    fn blocks_are_those_of_the_file() {
        let only = |range| std::iter::once(range).collect::<Vec<Range<usize>>>();
        let mut piece = vec![0; 2 * BLOCK];
        piece[BLOCK] = 1;
        // It begins in the middle of a block, and ends so.
        let half = BLOCK / 2;
        assert_eq!(parts_with_data(&piece, half as u64), only(half..half + BLOCK));
        piece[0] = 1;
        piece[2 * BLOCK - 1] = 1;
        assert_eq!(parts_with_data(&piece, half as u64), only(0..2 * BLOCK));
        assert_eq!(parts_with_data(&[0, 0, 1], 4095), only(1..3));
    }

    #[test]
    fn only_zeros_are_zero() {
        assert!(is_zero(&[]) && is_zero(&[0]) && is_zero(&[0; 4096]));
        for at in [0, 1, 2000, 4095] {
            let mut block = [0; 4096];
            block[at] = 1;
            assert!(!is_zero(&block));
        }
        assert!(!is_zero(&[1; 4096]));
    }
}
