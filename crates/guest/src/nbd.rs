//! The server's side of the NBD protocol, as far as QEMU speaks it: one export, on one stream.
//!
//! Described in the NBD project's `doc/proto.md`: "fixed newstyle" negotiation, simple replies.

use std::io::{self, Read, Write};

/// What is exported.
pub(crate) trait Export {
    /// Bytes.
    fn size(&self) -> u64;
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// What was written before is on the platter when this returns.
    fn flush(&self) -> io::Result<()>;
}

/// Serves until the client goes.
pub(crate) fn serve(mut stream: impl Read + Write, export: &impl Export) -> io::Result<()> {
    if !negotiate(&mut stream, export.size())? {
        return Ok(());
    }
    let mut buffer = Vec::new();
    loop {
        let mut request = [0; 28];
        match stream.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let [flags, command] = [4, 6].map(|at| u16::from_be_bytes([request[at], request[at + 1]]));
        let cookie = &request[8..16];
        let (offset, length) = (long(&request[16..24]), word(&request[24..28]) as usize);
        if word(&request[..4]) != REQUEST || length > MAX_LENGTH {
            return Err(io::Error::other("not a request"));
        }
        buffer.clear();
        let outcome = match command {
            READ => {
                buffer.resize(length, 0);
                export.read(offset, &mut buffer)
            }
            WRITE => {
                buffer.resize(length, 0);
                stream.read_exact(&mut buffer)?;
                let written = export.write(offset, &buffer);
                buffer.clear();
                written.and_then(|()| if flags & FUA != 0 { export.flush() } else { Ok(()) })
            }
            FLUSH => export.flush(),
            DISCONNECT => return Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        let error = match outcome {
            Ok(()) => 0,
            Err(error) => {
                buffer.clear();
                if error.kind() == io::ErrorKind::InvalidInput { INVALID } else { IO_ERROR }
            }
        };
        let mut head = [0; 16];
        head[..4].copy_from_slice(&REPLY.to_be_bytes());
        head[4..8].copy_from_slice(&error.to_be_bytes());
        head[8..].copy_from_slice(cookie);
        stream.write_all(&head)?;
        stream.write_all(&buffer)?;
    }
}

/// Up to the first request; `false` if the client wants none.
fn negotiate(stream: &mut (impl Read + Write), size: u64) -> io::Result<bool> {
    stream.write_all(b"NBDMAGICIHAVEOPT")?;
    stream.write_all(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes())?;
    let client = word(&take::<4>(stream)?);
    loop {
        let option = take::<16>(stream)?;
        let (number, length) = (word(&option[8..12]), word(&option[12..]) as usize);
        if option[..8] != *b"IHAVEOPT" || length > MAX_OPTION {
            return Err(io::Error::other("not an option"));
        }
        let mut data = vec![0; length];
        stream.read_exact(&mut data)?;
        let mut answer = |kind: u32, data: &[u8]| {
            stream.write_all(&OPTION_REPLY.to_be_bytes())?;
            let head = [number, kind, data.len() as u32].map(u32::to_be_bytes);
            stream.write_all(head.as_flattened())?;
            stream.write_all(data)
        };
        let mut about = size.to_be_bytes().to_vec();
        about.extend((HAS_FLAGS | SEND_FLUSH | SEND_FUA).to_be_bytes());
        match number {
            OPTION_EXPORT_NAME => {
                if client & u32::from(NO_ZEROES) == 0 {
                    about.resize(about.len() + 124, 0);
                }
                stream.write_all(&about)?;
                return Ok(true);
            }
            OPTION_ABORT => {
                answer(ACKNOWLEDGED, &[])?;
                return Ok(false);
            }
            OPTION_INFO | OPTION_GO => {
                // NBD_INFO_EXPORT
                answer(INFO, &[&[0, 0][..], &about].concat())?;
                answer(ACKNOWLEDGED, &[])?;
                if number == OPTION_GO {
                    return Ok(true);
                }
            }
            _ => answer(UNSUPPORTED, &[])?,
        }
    }
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn long(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const ACKNOWLEDGED: u32 = 1;
const INFO: u32 = 3;
const UNSUPPORTED: u32 = 1 << 31 | 1;

const HAS_FLAGS: u16 = 1;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_FUA: u16 = 1 << 3;

const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const FUA: u16 = 1;
const IO_ERROR: u32 = 5;
const INVALID: u32 = 22;

/// QEMU sends no larger requests.
const MAX_LENGTH: usize = 64 << 20;
const MAX_OPTION: usize = 64 << 10;
