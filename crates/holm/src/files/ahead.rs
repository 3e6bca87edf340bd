//! Reads of one file from its beginning to its end, some of them ahead of who takes the data.

use super::outcome::Result;
use std::sync::mpsc::sync_channel;

/// Bytes of one read.
pub const PIECE: usize = 1 << 20;

/// Gives all of a file to `take`, in order, until that fails or wants no more.
///
/// `read` reads at an offset until the buffer is full or the file ends; up to `threads` of those are under
/// way at a time. A file that grows meanwhile ends where the first incomplete read found its end.
///
/// # Errors
/// What `read` or `take` failed with.
pub fn read<E: From<super::outcome::Trouble>>(
    threads: usize,
    read: impl Fn(&mut [u8], u64) -> Result<usize> + Sync,
    mut take: impl FnMut(&[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let piece = |number: usize| {
        let mut buffer = vec![0; PIECE];
        let count = read(&mut buffer, number as u64 * PIECE as u64)?;
        buffer.truncate(count);
        Ok(buffer)
    };
    // Most files are small.
    let first: Vec<u8> = piece(0)?;
    take(&first)?;
    if first.len() < PIECE {
        return Ok(());
    }
    let threads = threads.max(1);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|which| {
                let (send, receive) = sync_channel::<Result<Vec<u8>>>(1);
                let piece = &piece;
                scope.spawn(move || {
                    let mut number = which + 1;
                    loop {
                        let data = piece(number);
                        let is_last = !matches!(&data, Ok(data) if data.len() == PIECE);
                        // Whoever wants no more has dropped the other end.
                        if send.send(data).is_err() || is_last {
                            return;
                        }
                        number += threads;
                    }
                });
                receive
            })
            .collect();
        for reader in readers.iter().cycle() {
            // One ends only behind its last piece, which nobody asks further than.
            let Ok(data) = reader.recv() else { break };
            let data = data?;
            take(&data)?;
            if data.len() < PIECE {
                break;
            }
        }
        // Before the scope waits for the threads: they wait for who takes.
        drop(readers);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::outcome::{Failure, Trouble};
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn reader(content: &[u8]) -> impl Fn(&mut [u8], u64) -> Result<usize> + Sync {
        |buffer, offset| {
            let rest = content.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    #[test]
    fn everything_comes_in_order() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 9 * PIECE + 7] {
            let content: Vec<u8> = (0..length).map(|at| (at / 1000 % 251) as u8).collect();
            for threads in [1, 3, 4] {
                let mut taken = Vec::new();
                let done = read(threads, reader(&content), |data| {
                    taken.extend_from_slice(data);
                    Ok::<_, Failure>(())
                });
                done.unwrap();
                assert!(taken == content, "{length} bytes by {threads} threads");
            }
        }
    }

    #[test]
    fn who_takes_no_more_is_not_waited_for() {
        let content = vec![1; 20 * PIECE];
        let done =
            read(4, reader(&content), |_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(matches!(done, Err(Failure::Output(_))));
    }

    #[test]
    fn failures_come_in_order_too() {
        let content = vec![1; 20 * PIECE];
        let right = reader(&content);
        let pieces = AtomicUsize::new(0);
        let done = read(
            4,
            |buffer, offset| {
                if offset >= 6 * PIECE as u64 {
                    Err(Trouble::new("broken"))
                } else {
                    right(buffer, offset)
                }
            },
            |_| {
                pieces.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Failure>(())
            },
        );
        assert!(matches!(done, Err(Failure::Failed(trouble)) if trouble.to_string() == "broken"));
        assert_eq!(pieces.into_inner(), 6);
    }
}
