//! The results of READDIR and READDIRPLUS, entry by entry within the client's budget.

use super::{CookieVerifier, Entry, EntryPlus, Error, Outcome, PostOpAttributes};
use holm_xdr::{Encode, Encoder, padded};

/// A READDIR or READDIRPLUS result under construction, which takes entries as long as they fit.
///
/// The budget is counted exactly as the RFC says: the encoded `READDIR3resok` or
/// `READDIRPLUS3resok`, which is the result without its status, has at most `count` (`maxcount`)
/// bytes, the end of the list included; and what READDIRPLUS gives of numbers, names and cookies
/// has at most `dircount`.
///
/// ```
/// use holm_nfs_proto::nfs3::{DirReply, Entry, FileName, Full};
/// use holm_xdr::Encoder;
///
/// let mut out = Encoder::new();
/// let mut reply = DirReply::read_dir(&mut out, None, [0; 8], 64).expect("room for a list");
/// let entry = |cookie| Entry { fileid: 7, name: FileName::new(b"a").expect("short"), cookie };
/// assert_eq!(reply.push(&entry(1)), Ok(()));
/// assert_eq!(reply.push(&entry(2)), Err(Full), "12 + 28 + 28 + 8 > 64");
/// reply.finish(false);
/// assert_eq!(out.len(), 4 + 12 + 28 + 8);
/// ```
///
/// Dropped unfinished, it takes back everything.
#[derive(Debug)]
#[must_use = "it is to be finished"]
pub struct DirReply<'e> {
    out: &'e mut Encoder,
    start: usize,
    /// Where the buffer may end before the end of the list is written.
    limit: usize,
    /// Bytes of directory information that there may still be.
    dir_left: usize,
    entries: u32,
    /// Where the last entry begins.
    last: usize,
    finished: bool,
}

/// The entry does not fit: the client asks for it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply is full")]
pub struct Full;

/// Not even an empty list fits: `NFS3ERR_TOOSMALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's budget has no room for an empty list")]
pub struct TooSmall;

impl<'e> DirReply<'e> {
    /// Begins the result of a READDIR: the client wants at most `count` bytes.
    ///
    /// # Errors
    /// [`TooSmall`]; `out` is then as before.
    pub fn read_dir(
        out: &'e mut Encoder,
        dir_attributes: PostOpAttributes,
        verifier: CookieVerifier,
        count: u32,
    ) -> Result<Self, TooSmall> {
        Self::begin(out, dir_attributes, verifier, count, usize::MAX)
    }

    /// Begins the result of a READDIRPLUS: the client wants at most `max_count` bytes, of which
    /// `dir_count` are numbers, names and cookies.
    ///
    /// # Errors
    /// [`TooSmall`]; `out` is then as before.
    pub fn read_dir_plus(
        out: &'e mut Encoder,
        dir_attributes: PostOpAttributes,
        verifier: CookieVerifier,
        dir_count: u32,
        max_count: u32,
    ) -> Result<Self, TooSmall> {
        Self::begin(out, dir_attributes, verifier, max_count, dir_count as usize)
    }

    /// Adds an entry to the result of a READDIR.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the result is as before.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        self.push_encoded(entry, &entry.name)
    }

    /// Adds an entry to the result of a READDIRPLUS.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; the result is as before. The first entry is not measured
    /// against `dircount`, since a client that sends a tiny one would get nowhere.
    pub fn push_plus(&mut self, entry: &EntryPlus<'_>) -> Result<(), Full> {
        self.push_encoded(entry, &entry.name)
    }

    /// Adds an entry as it was encoded before: as [`last`](Self::last) gave it, by this or another
    /// result of the same kind. Bytes that are not that make a result that no client understands.
    ///
    /// # Errors
    /// As when it was added first.
    pub fn push_again(&mut self, encoded: &[u8]) -> Result<(), Full> {
        self.push_with(name_of_entry(encoded).len(), |out| out.raw(encoded))
    }

    /// Number of entries so far.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// The last entry, encoded: that there is one, and what it is. Empty if there is none.
    pub fn last(&self) -> &[u8] {
        if self.entries == 0 {
            return &[];
        }
        self.out.get(self.last..).unwrap_or_default()
    }

    /// Bytes that entries may take still: of all that is said of them, and of numbers, names and
    /// cookies alone.
    pub fn room(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.out.len()), self.dir_left)
    }

    /// Ends the list; `eof` says that it was the last entry of the directory. If there is no entry
    /// and more of the directory, [`fail`](Self::fail) with [`Error::TooSmall`] instead: the client
    /// would ask for the same again.
    pub fn finish(mut self, eof: bool) {
        self.finished = true;
        self.out.bool(false);
        self.out.bool(eof);
    }

    /// It failed after all.
    pub fn fail(mut self, error: Error, dir_attributes: PostOpAttributes) {
        self.finished = true;
        self.out.truncate(self.start);
        Outcome::<(), _>::Failed(error, dir_attributes).encode(self.out);
    }

    fn begin(
        out: &'e mut Encoder,
        dir_attributes: PostOpAttributes,
        verifier: CookieVerifier,
        max: u32,
        dir_left: usize,
    ) -> Result<Self, TooSmall> {
        let start = out.len();
        out.u32(OK);
        let limit = out.len().saturating_add(max as usize).saturating_sub(TAIL);
        dir_attributes.encode(out);
        verifier.encode(out);
        if out.len() > limit {
            out.truncate(start);
            return Err(TooSmall);
        }
        let last = out.len();
        Ok(Self { out, start, limit, dir_left, entries: 0, last, finished: false })
    }

    fn push_encoded(&mut self, entry: &impl Encode, name: &[u8]) -> Result<(), Full> {
        self.push_with(name.len(), |out| {
            out.bool(true);
            entry.encode(out);
        })
    }

    fn push_with(&mut self, name: usize, encode: impl FnOnce(&mut Encoder)) -> Result<(), Full> {
        let dir_bytes = padded(name) + DIR_BYTES;
        if dir_bytes > self.dir_left && self.entries > 0 {
            return Err(Full);
        }
        let before = self.out.len();
        encode(self.out);
        if self.out.len() > self.limit {
            self.out.truncate(before);
            return Err(Full);
        }
        self.last = before;
        self.dir_left = self.dir_left.saturating_sub(dir_bytes);
        self.entries += 1;
        Ok(())
    }
}

/// The name of an entry as [`DirReply::last`] gives it; empty if it is none.
pub fn name_of_entry(encoded: &[u8]) -> &[u8] {
    let name = || {
        let (length, rest) = encoded.get(NAME_AT..)?.split_first_chunk()?;
        rest.get(..u32::from_be_bytes(*length) as usize)
    };
    name().unwrap_or_default()
}

impl Drop for DirReply<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// `NFS3_OK`.
const OK: u32 = 0;
/// The end of the list and `eof`.
const TAIL: usize = 8;
/// Behind that there is an entry, and its number: the name with its length.
const NAME_AT: usize = 4 + 8;
/// Directory information of an entry besides the bytes of its name: that it is there, its number,
/// the length of its name, its cookie.
const DIR_BYTES: usize = 4 + 8 + 4 + 8;
