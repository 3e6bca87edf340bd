//! `holm link capture`: what passes by an interface, into a file.

use super::super::client::Client;
use super::super::outcome::Failure;
use super::super::{query, usage};
use crate::output::complain;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Writes until the interface goes, a signal comes, or nobody reads.
pub async fn carry_out(
    client: &Client,
    links: &str,
    name: &str,
    file: &Path,
    snap: u32,
) -> Result<(), Failure> {
    let to_stdout = file.as_os_str() == "-";
    if to_stdout && io::stdout().is_terminal() {
        return Err(usage(
            "a terminal cannot show frames: name a file, or pipe it to `wireshark -k -i -`",
        ));
    }
    let stop = signals()?;
    let which = query(&[("name", name), ("snap", &snap.to_string())]);
    // Only then the file: who is refused loses no older one.
    let mut chunks = client.chunks(&format!("{links}/capture?{which}")).await?;
    let mut out: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout())
    } else {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        Box::new(File::create(file).map_err(named)?)
    };
    let mut blocks = Blocks::default();
    let why = loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk?,
            stopped = stop.readable() => { stopped?; break "" }
        };
        let Some(chunk) = chunk else { break "; the interface has gone, or the server has ended" };
        blocks.received.extend_from_slice(&chunk);
        out.write_all(&blocks.take_whole())?;
        out.flush()?;
    };
    let Blocks { frames, missing, .. } = blocks;
    complain(format_args!("holm: {frames} frames captured, {missing} are missing{why}"));
    Ok(())
}

/// Readable when a signal says that it is enough.
fn signals() -> io::Result<tokio::net::UnixStream> {
    let (stop, stopped) = UnixStream::pair()?;
    pipe::register(SIGINT, stop.try_clone()?)?;
    pipe::register(SIGTERM, stop)?;
    stopped.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stopped)
}

/// The blocks of a pcapng file, of which only whole ones are written: so it can be read whenever it ends.
#[derive(Default)]
struct Blocks {
    received: Vec<u8>,
    frames: u64,
    /// How many frames the server has counted and not kept.
    missing: u64,
}

impl Blocks {
    /// The blocks that have come whole.
    fn take_whole(&mut self) -> Vec<u8> {
        let mut end = 0;
        while let Some((kind, block)) = self.received.get(end..).and_then(first_block) {
            match kind {
                PACKET => self.frames += 1,
                STATISTICS => self.missing = missing(block).unwrap_or(self.missing),
                _ => {}
            }
            end += block.len();
        }
        let rest = self.received.split_off(end);
        std::mem::replace(&mut self.received, rest)
    }
}

/// Its type, and all of it, if it is there whole.
fn first_block(bytes: &[u8]) -> Option<(u32, &[u8])> {
    // Type and length; a block of no length would never end.
    let length = number(bytes, 4)?.max(12);
    Some((number(bytes, 0)?, bytes.get(..length as usize)?))
}

/// How many frames are missing, of the block that says so: after the head, the interface and the time come
/// options, each of a code, a length, and as much data.
fn missing(block: &[u8]) -> Option<u64> {
    let mut options = block.get(20..)?;
    loop {
        let head = number(options, 0)?;
        let (code, length) = (head & 0xffff, (head >> 16) as usize);
        let data = options.get(4..4 + length)?;
        match code {
            0 => return None,
            ISB_IFDROP => return Some(u64::from_le_bytes(data.try_into().ok()?)),
            _ => options = options.get(4 + length.next_multiple_of(4)..)?,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const ISB_IFDROP: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u32]) -> Vec<u8> {
        let length = 12 + 4 * body.len() as u32;
        let words = [&[kind, length][..], body, &[length]].concat();
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn only_whole_blocks_are_taken_and_counted() {
        let statistics = [0, 0, 0, 8 << 16 | 4, 9, 0, 8 << 16 | 5, 7, 0, 0];
        let file = [block(1, &[1, 2]), block(6, &[1; 9]), block(5, &statistics), block(6, &[2; 8])];
        let ends: Vec<usize> = file
            .iter()
            .scan(0, |end, block| {
                *end += block.len();
                Some(*end)
            })
            .collect();
        let file = file.concat();
        // However it comes.
        for step in 1..=file.len() {
            let (mut blocks, mut written) = (Blocks::default(), Vec::new());
            for chunk in file.chunks(step) {
                blocks.received.extend_from_slice(chunk);
                written.extend(blocks.take_whole());
                assert!(written.is_empty() || ends.contains(&written.len()));
            }
            assert_eq!(written, file);
            assert_eq!((blocks.frames, blocks.missing), (2, 7));
        }
    }
}
