//! What the limit server answers.

use super::{Content, LimitOptions};
use crate::Error;
use crate::nfs;
use crate::outgoing::Outgoing;
use crate::pattern::Pattern;
use crate::rpc::LAST_FRAGMENT;
use crate::xdr::{Decoder, Encode, Truncated, padding};
use rustix::fs::{MemfdFlags, memfd_create};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that replies are made of.
#[derive(Debug)]
pub struct Answers {
    bytes: Arc<Vec<u8>>,
    written: OwnedFd,
    size: u64,
    entries: Vec<u8>,
    entry: usize,
    /// Bytes of the files by handle, if they are kept. Directories have none.
    kept: Option<Mutex<HashMap<[u8; HANDLE], Vec<u8>>>>,
}

/// A WRITE that was received in part.
#[derive(Debug)]
pub struct Begun {
    xid: u32,
    count: u32,
    offset: u64,
}

const HANDLE: usize = 32;
const ROOT: [u8; HANDLE] = [nfs::DIRECTORY as u8; HANDLE];
const VERIFIER: u64 = 1;
/// From here on, READ sends from where the bytes lie.
const SHARE_FROM: usize = 32 << 10;
/// Everything of a WRITE before its payload fits.
const WRITE_HEAD: usize = 1024;

impl Answers {
    pub fn new(options: &LimitOptions) -> Result<Self, Error> {
        let canned = options.content == Content::Canned;
        let mut bytes = vec![0; if canned { options.size as usize } else { 0 }];
        Pattern::new(0).fill(0, 0, 0, &mut bytes);
        let written =
            memfd_create("limit", MemfdFlags::CLOEXEC).map_err(Error::system("make a memfd"))?;
        if canned {
            // A page cache that is warm, in folios as large as those of a file on disk.
            for (index, chunk) in bytes.chunks(1 << 20).enumerate() {
                rustix::io::pwrite(&written, chunk, (index as u64) << 20)
                    .map_err(Error::system("fill a memfd"))?;
            }
        }
        let mut entries = Vec::new();
        for index in 0..options.entries {
            let name = format!("file-{index:06}");
            entries.uint(1);
            entries.hyper(index as u64 + 10);
            entries.opaque(name.as_bytes());
            entries.hyper(index as u64 + 1);
            entries.uint(1);
            attributes(&mut entries, nfs::REGULAR, options.size);
            entries.uint(1);
            entries.opaque(&child(nfs::REGULAR, &ROOT, name.as_bytes()));
        }
        Ok(Self {
            bytes: Arc::new(bytes),
            written,
            size: options.size,
            entry: entries.len() / options.entries.max(1),
            entries,
            kept: (!canned).then(|| Mutex::new(HashMap::from([(ROOT, Vec::new())]))),
        })
    }

    /// Answers a whole call.
    pub fn answer(&self, call: &[u8], out: &mut Outgoing) -> Result<(), Truncated> {
        let mut call = Decoder::new(call);
        let (xid, program, procedure) = header(&mut call)?;
        if program == nfs::MOUNT_PROGRAM {
            reply(out, xid, |results| {
                if procedure == nfs::MOUNT_MNT {
                    results.uint(nfs::OK);
                    results.opaque(&ROOT);
                    results.uint(1);
                    results.uint(1);
                }
            });
            return Ok(());
        }
        match procedure {
            nfs::READ => self.read(xid, &mut call, out),
            nfs::WRITE => self.write(xid, &mut call, out),
            nfs::READDIRPLUS => self.list(xid, &mut call, out),
            nfs::CREATE | nfs::MKDIR | nfs::LOOKUP | nfs::REMOVE => {
                self.name(xid, procedure, &mut call, out)
            }
            _ => self.small(xid, procedure, &mut call, out),
        }
    }

    /// Takes the head of a WRITE; `None` if it is another call, or if it has to be here whole.
    pub fn begin_write(&self, head: &[u8], length: usize) -> Option<Begun> {
        if self.kept.is_some() || head.len() < WRITE_HEAD.min(length) {
            return None;
        }
        let mut call = Decoder::new(head);
        let (xid, program, procedure) = header(&mut call).ok()?;
        if (program, procedure) != (nfs::NFS_PROGRAM, nfs::WRITE) {
            return None;
        }
        let (_, offset, count) = write_arguments(&mut call).ok()?;
        let mut begun = Begun { xid, count, offset };
        self.go_on_writing(&mut begun, call.rest());
        Some(begun)
    }

    /// More of its payload.
    pub fn go_on_writing(&self, begun: &mut Begun, bytes: &[u8]) {
        // A full memfd is not the client's problem: nobody reads it.
        let _ = rustix::io::pwrite(&self.written, bytes, begun.offset % self.size.max(1));
        begun.offset += bytes.len() as u64;
    }

    /// It is here.
    pub fn end_write(&self, begun: &Begun, out: &mut Outgoing) {
        self.wrote(begun.xid, begun.count, out);
    }

    fn small(
        &self,
        xid: u32,
        procedure: u32,
        call: &mut Decoder<'_>,
        out: &mut Outgoing,
    ) -> Result<(), Truncated> {
        if procedure == nfs::NULL {
            reply(out, xid, |_| ());
            return Ok(());
        }
        let handle = call.opaque()?;
        let asked = if procedure == nfs::ACCESS { call.uint()? } else { 0 };
        let size = self.size_of(handle);
        reply(out, xid, |results| match procedure {
            nfs::GETATTR => {
                results.uint(nfs::OK);
                attributes(results, kind(handle), size);
            }
            nfs::ACCESS => {
                results.uint(nfs::OK);
                results.uint(1);
                attributes(results, kind(handle), size);
                results.uint(asked);
            }
            nfs::FSINFO => {
                results.uint(nfs::OK);
                results.uint(0);
                for value in [1 << 20, 1 << 20, 4096, 1 << 20, 1 << 20, 4096, 1 << 16] {
                    results.uint(value);
                }
                results.hyper(1 << 62);
                results.hyper(1);
                results.uint(0x1b);
            }
            nfs::COMMIT => {
                wcc(results, handle, size);
                results.hyper(VERIFIER);
            }
            _ => {
                results.uint(nfs::NOTSUPP);
                results.uint(0);
                results.uint(0);
            }
        });
        Ok(())
    }

    fn name(
        &self,
        xid: u32,
        procedure: u32,
        call: &mut Decoder<'_>,
        out: &mut Outgoing,
    ) -> Result<(), Truncated> {
        let directory = call.opaque()?;
        let name = call.opaque()?;
        let found = self.resolve(procedure, directory, name);
        reply(out, xid, |results| {
            let Some(handle) = found else {
                results.uint(nfs::NOENT);
                results.uint(0);
                if procedure != nfs::LOOKUP {
                    results.uint(0);
                }
                return;
            };
            if procedure == nfs::REMOVE {
                wcc(results, directory, 4096);
                return;
            }
            results.uint(nfs::OK);
            if procedure != nfs::LOOKUP {
                results.uint(1);
            }
            results.opaque(&handle);
            results.uint(1);
            attributes(results, kind(&handle), self.size_of(&handle));
            if procedure != nfs::LOOKUP {
                results.uint(0);
            }
            results.uint(1);
            attributes(results, nfs::DIRECTORY, 4096);
        });
        Ok(())
    }

    /// The handle of a name, which is made or removed if the procedure says so.
    fn resolve(&self, procedure: u32, directory: &[u8], name: &[u8]) -> Option<[u8; HANDLE]> {
        let file = child(nfs::REGULAR, directory, name);
        let below = child(nfs::DIRECTORY, directory, name);
        let new = if procedure == nfs::MKDIR { below } else { file };
        let Some(mut kept) = self.kept() else { return Some(new) };
        match procedure {
            nfs::LOOKUP => [file, below].into_iter().find(|handle| kept.contains_key(handle)),
            nfs::REMOVE => kept.remove(&file).map(|_| file),
            _ => {
                kept.entry(new).or_default();
                Some(new)
            }
        }
    }

    fn read(&self, xid: u32, call: &mut Decoder<'_>, out: &mut Outgoing) -> Result<(), Truncated> {
        let handle = call.opaque()?;
        let offset = call.hyper()?;
        let count = call.uint()? as usize;
        let head = |results: &mut Vec<u8>, size, count: usize, eof: bool| {
            results.uint(nfs::OK);
            results.uint(1);
            attributes(results, nfs::REGULAR, size);
            results.uint(count as u32);
            results.uint(eof.into());
            results.uint(count as u32);
        };
        if let Some(kept) = self.kept() {
            let bytes = key(handle).and_then(|key| kept.get(&key)).map_or(&[][..], Vec::as_slice);
            let start = (offset as usize).min(bytes.len());
            let end = start.saturating_add(count).min(bytes.len());
            reply(out, xid, |results| {
                head(results, bytes.len() as u64, end - start, end == bytes.len());
                results.extend_from_slice(&bytes[start..end]);
                results.resize(results.len() + padding(end - start), 0);
            });
            return Ok(());
        }
        let count = count.min(self.bytes.len());
        let start = if offset as usize + count <= self.bytes.len() { offset as usize } else { 0 };
        let range = start..start + count;
        let eof = range.end == self.bytes.len();
        if count >= SHARE_FROM && padding(count) == 0 {
            reply_before(out, xid, count, |results| head(results, self.size, count, eof));
            out.share(Arc::clone(&self.bytes), range);
        } else {
            reply(out, xid, |results| {
                head(results, self.size, count, eof);
                results.extend_from_slice(&self.bytes[range]);
                results.resize(results.len() + padding(count), 0);
            });
        }
        Ok(())
    }

    fn write(&self, xid: u32, call: &mut Decoder<'_>, out: &mut Outgoing) -> Result<(), Truncated> {
        let (handle, offset, count) = write_arguments(call)?;
        let bytes = call.fixed(count as usize)?;
        if let Some(mut kept) = self.kept() {
            let file = key(handle).and_then(|key| kept.get_mut(&key));
            let end = (offset as usize).saturating_add(bytes.len());
            let Some(file) = file.filter(|_| end <= MAX_KEPT) else {
                reply(out, xid, |results| {
                    results.uint(NOSPC);
                    results.uint(0);
                    results.uint(0);
                });
                return Ok(());
            };
            if file.len() < end {
                file.resize(end, 0);
            }
            file[offset as usize..end].copy_from_slice(bytes);
        } else {
            self.go_on_writing(&mut Begun { xid, count, offset }, bytes);
        }
        self.wrote(xid, count, out);
        Ok(())
    }

    fn wrote(&self, xid: u32, count: u32, out: &mut Outgoing) {
        reply(out, xid, |results| {
            wcc(results, &[nfs::REGULAR as u8], self.size);
            results.uint(count);
            results.uint(nfs::FILE_SYNC);
            results.hyper(VERIFIER);
        });
    }

    fn list(&self, xid: u32, call: &mut Decoder<'_>, out: &mut Outgoing) -> Result<(), Truncated> {
        /// What stands around the entries.
        const AROUND: usize = 4 + 4 + nfs::ATTRIBUTES + 8 + 4 + 4;
        call.opaque()?;
        let cookie = call.hyper()? as usize;
        call.hyper()?;
        call.uint()?;
        let room = (call.uint()? as usize).saturating_sub(AROUND);
        let first = cookie.saturating_mul(self.entry).min(self.entries.len());
        let fit = (room / self.entry.max(1)).max(1) * self.entry;
        let end = (first + fit).min(self.entries.len());
        reply(out, xid, |results| {
            results.uint(nfs::OK);
            results.uint(1);
            attributes(results, nfs::DIRECTORY, 4096);
            results.hyper(1);
            results.extend_from_slice(&self.entries[first..end]);
            results.uint(0);
            results.uint((end == self.entries.len()).into());
        });
        Ok(())
    }

    fn size_of(&self, handle: &[u8]) -> u64 {
        match self.kept() {
            _ if kind(handle) == nfs::DIRECTORY => 4096,
            Some(kept) => key(handle).and_then(|key| kept.get(&key)).map_or(0, Vec::len) as u64,
            None => self.size,
        }
    }

    fn kept(&self) -> Option<MutexGuard<'_, HashMap<[u8; HANDLE], Vec<u8>>>> {
        Some(self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const NOSPC: u32 = 28;
/// Bytes of a file that is kept.
const MAX_KEPT: usize = 1 << 30;

/// xid, program and procedure.
fn header(call: &mut Decoder<'_>) -> Result<(u32, u32, u32), Truncated> {
    let xid = call.uint()?;
    call.fixed(8)?;
    let program = call.uint()?;
    call.uint()?;
    let procedure = call.uint()?;
    for _credential_and_verifier in 0..2 {
        call.uint()?;
        call.opaque()?;
    }
    Ok((xid, program, procedure))
}

/// Handle, offset and count, up to the payload.
fn write_arguments<'a>(call: &mut Decoder<'a>) -> Result<(&'a [u8], u64, u32), Truncated> {
    let handle = call.opaque()?;
    let offset = call.hyper()?;
    let count = call.uint()?;
    call.fixed(8)?;
    Ok((handle, offset, count))
}

fn reply(out: &mut Outgoing, xid: u32, results: impl FnOnce(&mut Vec<u8>)) {
    reply_before(out, xid, 0, results);
}

/// A reply that is followed by `payload` more bytes.
fn reply_before(out: &mut Outgoing, xid: u32, payload: usize, results: impl FnOnce(&mut Vec<u8>)) {
    let bytes = out.bytes();
    let start = bytes.len();
    bytes.uint(0);
    bytes.uint(xid);
    for value in [1, 0, 0, 0, 0] {
        bytes.uint(value);
    }
    results(bytes);
    let mark = (bytes.len() - start - 4 + payload) as u32 | LAST_FRAGMENT;
    bytes[start..start + 4].copy_from_slice(&mark.to_be_bytes());
    out.queue(start);
}

/// OK, and what a changed object looks like now.
fn wcc(results: &mut Vec<u8>, handle: &[u8], size: u64) {
    results.uint(nfs::OK);
    results.uint(0);
    results.uint(1);
    attributes(results, kind(handle), size);
}

fn attributes(out: &mut Vec<u8>, kind: u32, size: u64) {
    out.uint(kind);
    out.uint(if kind == nfs::DIRECTORY { 0o755 } else { 0o644 });
    out.uint(1);
    out.uint(0);
    out.uint(0);
    out.hyper(size);
    out.hyper(size);
    out.hyper(0);
    out.hyper(1);
    out.hyper(2);
    for _access_modify_change in 0..3 {
        out.hyper(0x6500_0000_0000_0000);
    }
}

/// The handle of a name. Its first byte is the kind.
fn child(kind: u32, directory: &[u8], name: &[u8]) -> [u8; HANDLE] {
    let mut hasher = DefaultHasher::new();
    (directory, name).hash(&mut hasher);
    let mut handle = [0; HANDLE];
    handle[0] = kind as u8;
    handle[8..16].copy_from_slice(&hasher.finish().to_be_bytes());
    handle
}

fn kind(handle: &[u8]) -> u32 {
    handle.first().map_or(nfs::REGULAR, |kind| (*kind).into())
}

fn key(handle: &[u8]) -> Option<[u8; HANDLE]> {
    handle.try_into().ok()
}
