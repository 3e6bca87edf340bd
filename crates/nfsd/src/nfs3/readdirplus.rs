//! READDIRPLUS (RFC 1813, section 3.3.17).
//!
//! What was said of entries is kept with the open directory, and said again while it holds; what
//! does not is asked of the file system, which costs several times as much.

use super::directories::{REPLY_MAX, finish, too_small};
use super::request::{Detail, Done, Request, opaque};
use crate::Result;
use crate::attributes::{Attributes, Kind};
use crate::handle::FileHandle;
use crate::name::{Component, Name};
use crate::stripes::Glance;
use crate::volume::{self, Listing, Node, Page, View};
use holm_nfs_proto::nfs3::{
    DirReply, EntryPlus, FileName, PostOpAttributes, ReadDirPlusArgs, name_of_entry,
};
use holm_xdr::{Encoder, padded};
use std::ops::ControlFlow;

impl Request<'_> {
    pub(super) fn readdirplus(
        &self,
        args: &ReadDirPlusArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        // Before the directory is looked at.
        let (since, now) = (volume::a_moment_ago(), self.files().now());
        let (dir, attributes) = self.open()?;
        // From before the listing: a client may only take the directory for older than it is.
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

        let changed = attributes.changed;
        let tells = self.volume().tells_of_renames() && changed < since;
        let view = now.filter(|_| tells).map(|at| View { changed, at });
        let directory =
            Directory { request: self, node: &dir, attributes, listing: &listing, view };
        let ended = listing
            .must_know(args.cookie, args.cookie_verifier)
            .and_then(|()| directory.list(args.cookie, &mut reply));
        finish(reply, ended).detail(|| dir_attributes)
    }
}

/// A directory, for one call.
struct Directory<'d> {
    request: &'d Request<'d>,
    node: &'d Node,
    attributes: Attributes,
    listing: &'d Listing,
    /// None: nothing of it can be kept.
    view: Option<View>,
}

/// What is known of an entry.
#[derive(Clone, Copy)]
struct Described {
    /// None of one that cannot be looked up.
    object: Option<(FileHandle, Attributes)>,
    /// None if that may be something else the next time.
    glance: Option<Glance>,
}

impl Directory<'_> {
    /// Gives the entries after a cookie, as many as fit; whether those are all.
    fn list(&self, mut cookie: u64, reply: &mut DirReply<'_>) -> Result<bool> {
        // Whoever may not look names up is told nothing but names.
        if let Some(view) = &self.view
            && self.request.volume().may_look_up(self.request.caller, self.node)
        {
            while let Some((page, next)) = self.listing.kept().find(cookie, view) {
                if !self.say_again(&page, next, reply) {
                    return Ok(false);
                }
                if page.is_last() {
                    return Ok(true);
                }
                cookie = page.last_cookie();
            }
        }
        if reply.entries() > 0 && reply.room().0 < SMALLEST {
            return Ok(false);
        }
        self.ask(cookie, reply)
    }

    /// Gives entries of a page; whether all of them fit.
    fn say_again(&self, page: &Page, first: usize, reply: &mut DirReply<'_>) -> bool {
        let stripes = self.request.export.stripes();
        let mut doubtful = Batch::default();
        let (mut left, mut dir_left) = reply.room();
        for (place, (told, words)) in page.from(first).enumerate() {
            let name = name_of_entry(words);
            if !told.holds(stripes) {
                doubtful.push(place, name, told.inode, told.cookie);
            }
            // No more is looked up than may fit.
            let rests =
                (left.checked_sub(words.len()), dir_left.checked_sub(ENTRY + padded(name.len())));
            let (Some(rest), Some(dir_rest)) = rests else { break };
            (left, dir_left) = (rest, dir_rest);
        }
        let known = self.describe_all(&doubtful);
        if known.iter().any(|known| known.glance.is_some()) {
            self.renew(page, first, &doubtful, &known);
        }

        let mut known = doubtful.entries.iter().zip(&known).peekable();
        page.from(first).enumerate().all(|(place, (_, words))| {
            match known.next_if(|(listed, _)| listed.place == place) {
                Some((listed, known)) => self.say(&doubtful, listed, known, reply),
                None => reply.push_again(words).is_ok(),
            }
        })
    }

    /// Lists the directory after a cookie and looks its entries up.
    fn ask(&self, cookie: u64, reply: &mut DirReply<'_>) -> Result<bool> {
        let mut batch = Batch::default();
        let (mut left, mut dir_left) = reply.room();
        let read = self.listing.read_next(cookie, |entry| {
            // About as many as will fit: which do is seen when they were looked up.
            let of_dir = ENTRY + padded(entry.name.len());
            let rests = (left.checked_sub(of_dir + KNOWN), dir_left.checked_sub(of_dir));
            (left, dir_left) = match rests {
                (Some(left), Some(dir_left)) => (left, dir_left),
                _ if batch.entries.is_empty() => (0, 0),
                _ => return ControlFlow::Break(()),
            };
            batch.push(batch.entries.len(), entry.name, entry.inode, entry.cookie);
            ControlFlow::Continue(())
        })?;
        let view = self.view.filter(|view| read.is_of(view.changed));
        let mut page = view.map(|view| Page::new(view, cookie));

        let mut fits = true;
        for chunk in batch.entries.chunks(CHUNK) {
            for (listed, known) in chunk.iter().zip(self.describe(&batch, chunk)) {
                fits = fits && self.say(&batch, listed, &known, reply);
                if fits && let Some(page) = &mut page {
                    page.push(reply.last(), listed.cookie, listed.inode, known.glance);
                }
            }
            if !fits {
                break;
            }
        }
        let ended = read.ended && fits;
        if let Some(mut page) = page {
            if ended {
                page.end();
            }
            self.listing.kept().keep(page);
        }
        Ok(ended)
    }

    /// Keeps a page in which some entries, counted from one of it, are as they are known now.
    fn renew(&self, page: &Page, first: usize, batch: &Batch, known: &[Described]) {
        let mut again = Encoder::new();
        let Ok(mut again) = DirReply::read_dir_plus(&mut again, None, [0; 8], u32::MAX, u32::MAX)
        else {
            return;
        };
        let mut renewed = page.anew();
        let mut known = batch.entries.iter().zip(known).peekable();
        for (place, (told, words)) in page.from(0).enumerate() {
            let is_here = |listed: &Listed| listed.place.checked_add(first) == Some(place);
            match known.next_if(|(listed, _)| is_here(listed)) {
                Some((listed, known)) => {
                    if !self.say(batch, listed, known, &mut again) {
                        return;
                    }
                    renewed.push(again.last(), told.cookie, told.inode, known.glance);
                }
                None => renewed.push(words, told.cookie, told.inode, told.glance),
            }
        }
        self.listing.kept().keep(renewed);
    }

    /// Gives an entry; whether it fits.
    fn say(
        &self,
        batch: &Batch,
        listed: &Listed,
        known: &Described,
        reply: &mut DirReply<'_>,
    ) -> bool {
        let object = known.object.as_ref();
        // The file system gives no longer names than this takes.
        let name = FileName::new(batch.name(listed)).unwrap_or_default();
        let entry = EntryPlus {
            fileid: listed.inode,
            name,
            cookie: listed.cookie,
            name_attributes: object.map(|(_, attributes)| self.request.wire(attributes)),
            name_handle: object.map(|(handle, _)| opaque(handle)),
        };
        reply.push_plus(&entry).is_ok()
    }

    fn describe_all(&self, batch: &Batch) -> Vec<Described> {
        batch.entries.chunks(CHUNK).flat_map(|chunk| self.describe(batch, chunk)).collect()
    }

    /// Handles and attributes of entries. One that cannot be looked up, because it was removed
    /// since or the caller may not, has none; the client looks it up if it needs to.
    fn describe(&self, batch: &Batch, chunk: &[Listed]) -> Vec<Described> {
        let request = self.request;
        let component = |listed: &Listed| Component::parse(batch.name(listed));
        let names: Vec<Name<'_>> =
            chunk.iter().filter_map(|listed| component(listed).ok()?.to_change().ok()).collect();
        // Before they are looked at.
        let glance = |listed: &Listed| request.export.stripes().glance(listed.inode);
        let glances: Vec<_> = chunk.iter().map(glance).collect();
        let found = request.volume().describe(request.caller, self.node, &names);
        let mut found = found.into_iter();
        let describe = |(listed, glance): (&Listed, Option<Glance>)| {
            let object = match component(listed) {
                Ok(Component::Current) => Some((request.seal(self.node.id()), self.attributes)),
                Ok(Component::Parent) => self.above(),
                Ok(Component::Entry(_)) => {
                    let found = found.next().and_then(Result::ok);
                    let object = found.map(|(node, attributes)| (request.seal(&node), attributes));
                    let lasts = object.is_some_and(|(_, known)| is_only_here(listed, &known));
                    return Described { object, glance: glance.filter(|_| lasts) };
                }
                Err(_) => None,
            };
            Described { object, glance: None }
        };
        chunk.iter().zip(glances).map(describe).collect()
    }

    fn above(&self) -> Option<(FileHandle, Attributes)> {
        let request = self.request;
        let above = request.volume().lookup(request.caller, self.node, Component::Parent);
        above.ok().map(|(node, attributes)| (request.seal(node.id()), attributes))
    }
}

/// Whether an entry is the object that it was listed as, and its only name.
fn is_only_here(listed: &Listed, known: &Attributes) -> bool {
    known.inode == listed.inode && (known.links == 1 || known.kind == Kind::Directory)
}

/// Entries that were listed and are to be looked up.
#[derive(Default)]
struct Batch {
    names: Vec<u8>,
    entries: Vec<Listed>,
}

struct Listed {
    /// Which entry it is, of those that are to be given.
    place: usize,
    start: usize,
    end: usize,
    inode: u64,
    cookie: u64,
}

impl Batch {
    fn push(&mut self, place: usize, name: &[u8], inode: u64, cookie: u64) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(Listed { place, start, end: self.names.len(), inode, cookie });
    }

    fn name(&self, listed: &Listed) -> &[u8] {
        self.names.get(listed.start..listed.end).unwrap_or_default()
    }
}

/// Entries that are looked up before it is seen whether they fit.
const CHUNK: usize = 32;
/// Bytes of number, length of the name, and cookie of an entry.
const ENTRY: usize = 4 + 8 + 4 + 8;
/// Bytes of attributes and the shortest handle.
const KNOWN: usize = 4 + 84 + 4 + 4 + 24;
/// Bytes of an entry with the shortest name.
const SMALLEST: usize = ENTRY + 4 + KNOWN;
