//! Procedures on directories: READDIR and READDIRPLUS.
//!
//! A server writes their results with [`DirReply`](super::DirReply); the types of the results
//! here are for a client.

use super::{CookieVerifier, FileHandle, FileName, Outcome, PostOpAttributes};
use holm_xdr::{Decode, Encode, List};

/// READDIR, section 3.3.16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadDirArgs<'a> {
    /// The directory.
    pub dir: FileHandle<'a>,
    /// Behind which entry to go on; 0 is the beginning.
    pub cookie: u64,
    /// As it came with that entry; zeros with cookie 0.
    pub cookie_verifier: CookieVerifier,
    /// Most bytes of the result, not counting its status.
    pub count: u32,
}

/// An entry of a directory (`entry3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Entry<'a> {
    /// The file's number within the file system.
    pub fileid: u64,
    /// Its name.
    pub name: FileName<'a>,
    /// To go on behind this entry.
    pub cookie: u64,
}

/// What READDIR gives.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadDirOk<'a> {
    /// The attributes of the directory.
    pub dir_attributes: PostOpAttributes,
    /// To come with the cookies.
    pub cookie_verifier: CookieVerifier,
    /// The entries.
    pub entries: List<Entry<'a>, ENTRIES_MAX>,
    /// Whether there are no more.
    pub eof: bool,
}

/// The result of READDIR; with a failure the attributes of the directory.
pub type ReadDirRes<'a> = Outcome<ReadDirOk<'a>, PostOpAttributes>;

/// READDIRPLUS, section 3.3.17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadDirPlusArgs<'a> {
    /// The directory.
    pub dir: FileHandle<'a>,
    /// Behind which entry to go on; 0 is the beginning.
    pub cookie: u64,
    /// As it came with that entry; zeros with cookie 0.
    pub cookie_verifier: CookieVerifier,
    /// Most bytes of numbers, names and cookies.
    pub dir_count: u32,
    /// Most bytes of the result, not counting its status.
    pub max_count: u32,
}

/// An entry of a directory, with attributes and handle (`entryplus3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct EntryPlus<'a> {
    /// The file's number within the file system.
    pub fileid: u64,
    /// Its name.
    pub name: FileName<'a>,
    /// To go on behind this entry.
    pub cookie: u64,
    /// Its attributes.
    pub name_attributes: PostOpAttributes,
    /// Its handle.
    pub name_handle: Option<FileHandle<'a>>,
}

/// What READDIRPLUS gives.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadDirPlusOk<'a> {
    /// The attributes of the directory.
    pub dir_attributes: PostOpAttributes,
    /// To come with the cookies.
    pub cookie_verifier: CookieVerifier,
    /// The entries.
    pub entries: List<EntryPlus<'a>, ENTRIES_MAX>,
    /// Whether there are no more.
    pub eof: bool,
}

/// The result of READDIRPLUS; with a failure the attributes of the directory.
pub type ReadDirPlusRes<'a> = Outcome<ReadDirPlusOk<'a>, PostOpAttributes>;

/// Most entries of one result that a client takes; 1 MiB has room for fewer.
pub const ENTRIES_MAX: u32 = 65_536;
