//! Procedures on a file: GETATTR, SETATTR, LOOKUP, ACCESS, READLINK, READ, WRITE, COMMIT.

use super::{
    Attributes, DirOpArgs, FileHandle, Outcome, Path, PostOpAttributes, SetAttributes, Time,
    WccData, WriteVerifier,
};
use holm_xdr::{Decode, Encode, Opaque};

/// GETATTR, section 3.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetAttrArgs<'a> {
    /// The file.
    pub object: FileHandle<'a>,
}

/// What GETATTR gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GetAttrOk {
    /// Its attributes.
    pub attributes: Attributes,
}

/// The result of GETATTR.
pub type GetAttrRes = Outcome<GetAttrOk>;

/// SETATTR, section 3.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SetAttrArgs<'a> {
    /// The file.
    pub object: FileHandle<'a>,
    /// What to set.
    pub new_attributes: SetAttributes,
    /// If given, set nothing unless this is the file's ctime (`sattrguard3`).
    pub guard: Option<Time>,
}

/// The result of SETATTR: the attributes around it, either way.
pub type SetAttrRes = Outcome<WccData, WccData>;

/// LOOKUP, section 3.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LookupArgs<'a> {
    /// What to look up.
    pub what: DirOpArgs<'a>,
}

/// What LOOKUP gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LookupOk<'a> {
    /// What has that name.
    pub object: FileHandle<'a>,
    /// Its attributes.
    pub object_attributes: PostOpAttributes,
    /// Those of the directory.
    pub dir_attributes: PostOpAttributes,
}

/// The result of LOOKUP; with a failure the attributes of the directory.
pub type LookupRes<'a> = Outcome<LookupOk<'a>, PostOpAttributes>;

/// ACCESS, section 3.3.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AccessArgs<'a> {
    /// The file.
    pub object: FileHandle<'a>,
    /// What the client would like to do: bits of [`access`].
    pub access: u32,
}

/// What ACCESS gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AccessOk {
    /// The file's attributes.
    pub object_attributes: PostOpAttributes,
    /// What of it the client may do: bits of [`access`].
    pub access: u32,
}

/// The result of ACCESS; with a failure the attributes of the file.
pub type AccessRes = Outcome<AccessOk, PostOpAttributes>;

/// What ACCESS can ask about.
pub mod access {
    /// Read data, or read a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Rewrite data, or modify directory entries.
    pub const MODIFY: u32 = 0x04;
    /// Write new data, or add directory entries.
    pub const EXTEND: u32 = 0x08;
    /// Delete a directory entry.
    pub const DELETE: u32 = 0x10;
    /// Execute a file. Means nothing for a directory.
    pub const EXECUTE: u32 = 0x20;
}

/// READLINK, section 3.3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadLinkArgs<'a> {
    /// The symbolic link.
    pub symlink: FileHandle<'a>,
}

/// What READLINK gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadLinkOk<'a> {
    /// The link's attributes.
    pub symlink_attributes: PostOpAttributes,
    /// Where it points to.
    pub data: Path<'a>,
}

/// The result of READLINK; with a failure the attributes of the link.
pub type ReadLinkRes<'a> = Outcome<ReadLinkOk<'a>, PostOpAttributes>;

/// READ, section 3.3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadArgs<'a> {
    /// The file.
    pub file: FileHandle<'a>,
    /// Where to begin, in bytes.
    pub offset: u64,
    /// How many bytes are wanted.
    pub count: u32,
}

/// What READ gives, with the data in memory. A server writes it with
/// [`ReadReply`](super::ReadReply) or [`read_head`](super::read_head) instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ReadOk<'a> {
    /// The file's attributes.
    pub file_attributes: PostOpAttributes,
    /// Number of bytes read; the length of `data`.
    pub count: u32,
    /// Whether the file ends behind them.
    pub eof: bool,
    /// The bytes.
    pub data: Opaque<'a>,
}

/// The result of READ; with a failure the attributes of the file.
pub type ReadRes<'a> = Outcome<ReadOk<'a>, PostOpAttributes>;

/// How far what is written must have got before the reply (`stable_how`). In order: each
/// includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[repr(i32)]
pub enum StableHow {
    /// Nowhere: a COMMIT will follow.
    Unstable = 0,
    /// The data, and what is needed to get at it, on stable storage.
    DataSync = 1,
    /// All of the file, attributes too, on stable storage.
    FileSync = 2,
}

/// WRITE, section 3.3.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct WriteArgs<'a> {
    /// The file.
    pub file: FileHandle<'a>,
    /// Where to begin, in bytes.
    pub offset: u64,
    /// How many bytes to write. The RFC wants it to be the length of `data`; decoding does not.
    pub count: u32,
    /// How safe it must be.
    pub stable: StableHow,
    /// The bytes: a slice of the call that was received.
    pub data: Opaque<'a>,
}

/// What WRITE gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct WriteOk {
    /// The file's attributes around it.
    pub file_wcc: WccData,
    /// Number of bytes written; fewer than asked for is no error.
    pub count: u32,
    /// How safe it is: at least what was asked for.
    pub committed: StableHow,
    /// Compare with that of the COMMIT.
    pub verifier: WriteVerifier,
}

/// The result of WRITE; with a failure the attributes of the file around it.
pub type WriteRes = Outcome<WriteOk, WccData>;

/// COMMIT, section 3.3.21.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CommitArgs<'a> {
    /// The file.
    pub file: FileHandle<'a>,
    /// Where to begin, in bytes.
    pub offset: u64,
    /// How many bytes; 0 is all to the end of the file.
    pub count: u32,
}

/// What COMMIT gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CommitOk {
    /// The file's attributes around it.
    pub file_wcc: WccData,
    /// If it differs from that of a WRITE, what that wrote may be lost and is to be sent again.
    pub verifier: WriteVerifier,
}

/// The result of COMMIT; with a failure the attributes of the file around it.
pub type CommitRes = Outcome<CommitOk, WccData>;
