//! READDIR, READDIRPLUS (RFC 1813, sections 3.3.16 and 3.3.17).

use super::request::{Detail, Done, Request, opaque};
use crate::attributes::Attributes;
use crate::files::HeldListing;
use crate::handle::FileHandle;
use crate::name::{Component, Name};
use crate::volume::Node;
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{
    DirReply, Entry, EntryPlus, FileName, PostOpAttributes, ReadDirArgs, ReadDirPlusArgs, TooSmall,
};
use holm_xdr::{Encoder, padded};
use std::ops::ControlFlow;

impl Request<'_> {
    pub(super) fn readdir(
        &self,
        args: &ReadDirArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        let (dir, attributes) = self.open()?;
        // From before the listing: a client may only take the directory for older than it is.
        let attributes = Some(self.wire(&attributes));
        let listing = self.listing(&dir).detail(|| attributes)?;
        let count = args.count.min(REPLY_MAX);
        let mut reply = DirReply::read_dir(out, attributes, listing.verifier(), count)
            .map_err(too_small)
            .detail(|| attributes)?;
        let ended = listing.read(args.cookie, args.cookie_verifier, |entry| {
            // The file system gives no longer names than this takes.
            let name = FileName::new(entry.name).unwrap_or_default();
            let entry = Entry { fileid: entry.inode, name, cookie: entry.cookie };
            match reply.push(&entry) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_full) => ControlFlow::Break(()),
            }
        });
        finish(reply, ended).detail(|| attributes)
    }

    pub(super) fn readdirplus(
        &self,
        args: &ReadDirPlusArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        let (dir, attributes) = self.open()?;
        let dir_attributes = Some(self.wire(&attributes));
        let listing = self.listing(&dir).detail(|| dir_attributes)?;
        let max_count = args.max_count.min(REPLY_MAX);
        let mut reply = DirReply::read_dir_plus(
            out,
            dir_attributes,
            listing.verifier(),
            args.dir_count,
            max_count,
        )
        .map_err(too_small)
        .detail(|| dir_attributes)?;

        let mut batch = Batch::default();
        let (mut left, mut dir_left) = (max_count as usize, args.dir_count as usize);
        let ended = listing
            .read(args.cookie, args.cookie_verifier, |entry| {
                // About as many as will fit: which do is seen when they were looked up.
                let of_dir = ENTRY + padded(entry.name.len());
                let rests = (left.checked_sub(of_dir + KNOWN), dir_left.checked_sub(of_dir));
                (left, dir_left) = match rests {
                    (Some(left), Some(dir_left)) => (left, dir_left),
                    _ if batch.entries.is_empty() => (0, 0),
                    _ => return ControlFlow::Break(()),
                };
                batch.push(entry.name, entry.inode, entry.cookie);
                ControlFlow::Continue(())
            })
            .detail(|| dir_attributes)?;

        let mut fits = true;
        for chunk in batch.entries.chunks(CHUNK) {
            let described = self.describe(&dir, &attributes, &batch, chunk);
            for (listed, known) in chunk.iter().zip(&described) {
                let name = FileName::new(batch.name(listed)).unwrap_or_default();
                let entry = EntryPlus {
                    fileid: listed.inode,
                    name,
                    cookie: listed.cookie,
                    name_attributes: known.as_ref().map(|(_, attributes)| self.wire(attributes)),
                    name_handle: known.as_ref().map(|(handle, _)| opaque(handle)),
                };
                fits = fits && reply.push_plus(&entry).is_ok();
            }
            if !fits {
                break;
            }
        }
        finish(reply, Ok(ended && fits)).detail(|| dir_attributes)
    }

    fn listing(&self, dir: &Node) -> Result<HeldListing<'_>> {
        self.files().listing(self.caller, self.volume(), &self.handle, dir)
    }

    /// Handles and attributes of entries. One that cannot be looked up, because it was removed
    /// since or the caller may not, has none; the client looks it up if it needs to.
    fn describe(
        &self,
        dir: &Node,
        attributes: &Attributes,
        batch: &Batch,
        chunk: &[Listed],
    ) -> Vec<Option<(FileHandle, Attributes)>> {
        let component = |listed| Component::parse(batch.name(listed));
        let names: Vec<Name<'_>> =
            chunk.iter().filter_map(|listed| component(listed).ok()?.to_change().ok()).collect();
        let mut found = self.volume().describe(self.caller, dir, &names).into_iter();
        let describe = |listed| match component(listed).ok()? {
            Component::Current => Some((self.seal(dir.id()), *attributes)),
            Component::Parent => {
                let above = self.volume().lookup(self.caller, dir, Component::Parent);
                above.ok().map(|(node, attributes)| (self.seal(node.id()), attributes))
            }
            Component::Entry(_) => {
                let (node, attributes) = found.next()?.ok()?;
                Some((self.seal(&node), attributes))
            }
        };
        chunk.iter().map(describe).collect()
    }
}

/// Entries that were listed and are to be looked up.
#[derive(Default)]
struct Batch {
    names: Vec<u8>,
    entries: Vec<Listed>,
}

struct Listed {
    start: usize,
    end: usize,
    inode: u64,
    cookie: u64,
}

impl Batch {
    fn push(&mut self, name: &[u8], inode: u64, cookie: u64) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(Listed { start, end: self.names.len(), inode, cookie });
    }

    fn name(&self, listed: &Listed) -> &[u8] {
        self.names.get(listed.start..listed.end).unwrap_or_default()
    }
}

/// Ends the reply; `ended` says whether the directory has.
fn finish(reply: DirReply<'_>, ended: Result<bool>) -> Result<()> {
    let ended = ended?;
    if !ended && reply.entries() == 0 {
        // The client would ask for the same again.
        return Err(Status::TooSmall);
    }
    reply.finish(ended);
    Ok(())
}

fn too_small(_: TooSmall) -> Status {
    Status::TooSmall
}

/// Most bytes of a reply, whatever a client asks for: a worker is busy with it all the time.
const REPLY_MAX: u32 = 256 << 10;
/// Entries that are looked up before it is seen whether they fit.
const CHUNK: usize = 32;
/// Bytes of number, length of the name, and cookie of an entry.
const ENTRY: usize = 4 + 8 + 4 + 8;
/// Bytes of attributes and the shortest handle.
const KNOWN: usize = 4 + 84 + 4 + 4 + 24;
