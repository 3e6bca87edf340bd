//! NFSv3 and MOUNT (RFC 1813): numbers, and the results that a load generator looks at.

use crate::xdr::{Decoder, Encode, Truncated};

pub const NFS_PROGRAM: u32 = 100003;
pub const MOUNT_PROGRAM: u32 = 100005;
pub const VERSION: u32 = 3;

pub const MOUNT_MNT: u32 = 1;

pub const NULL: u32 = 0;
pub const GETATTR: u32 = 1;
pub const LOOKUP: u32 = 3;
pub const ACCESS: u32 = 4;
pub const READ: u32 = 6;
pub const WRITE: u32 = 7;
pub const CREATE: u32 = 8;
pub const MKDIR: u32 = 9;
pub const REMOVE: u32 = 12;
pub const RMDIR: u32 = 13;
pub const RENAME: u32 = 14;
pub const READDIRPLUS: u32 = 17;
pub const FSINFO: u32 = 19;
pub const COMMIT: u32 = 21;

pub const UNSTABLE: u32 = 0;
pub const FILE_SYNC: u32 = 2;

pub const OK: u32 = 0;
pub const NOENT: u32 = 2;
pub const EXIST: u32 = 17;
pub const NOTSUPP: u32 = 10004;

pub const REGULAR: u32 = 1;
pub const DIRECTORY: u32 = 2;

/// Encoded length of fattr3.
pub const ATTRIBUTES: usize = 84;

/// The name of a procedure.
pub fn procedure_name(procedure: u32) -> &'static str {
    match procedure {
        NULL => "NULL",
        GETATTR => "GETATTR",
        LOOKUP => "LOOKUP",
        ACCESS => "ACCESS",
        READ => "READ",
        WRITE => "WRITE",
        CREATE => "CREATE",
        MKDIR => "MKDIR",
        REMOVE => "REMOVE",
        RMDIR => "RMDIR",
        RENAME => "RENAME",
        READDIRPLUS => "READDIRPLUS",
        FSINFO => "FSINFO",
        COMMIT => "COMMIT",
        _ => "unknown procedure",
    }
}

/// The name of an nfsstat3, or of a mountstat3, which has the same numbers.
pub fn status_name(status: u32) -> String {
    let name = match status {
        0 => "OK",
        1 => "PERM",
        2 => "NOENT",
        5 => "IO",
        6 => "NXIO",
        13 => "ACCES",
        17 => "EXIST",
        18 => "XDEV",
        19 => "NODEV",
        20 => "NOTDIR",
        21 => "ISDIR",
        22 => "INVAL",
        27 => "FBIG",
        28 => "NOSPC",
        30 => "ROFS",
        31 => "MLINK",
        63 => "NAMETOOLONG",
        66 => "NOTEMPTY",
        69 => "DQUOT",
        70 => "STALE",
        71 => "REMOTE",
        10001 => "BADHANDLE",
        10002 => "NOT_SYNC",
        10003 => "BAD_COOKIE",
        10004 => "NOTSUPP",
        10005 => "TOOSMALL",
        10006 => "SERVERFAULT",
        10007 => "BADTYPE",
        10008 => "JUKEBOX",
        _ => return format!("status {status}"),
    };
    name.to_owned()
}

/// sattr3 that sets nothing but the mode.
pub fn put_mode(out: &mut Vec<u8>, mode: u32) {
    out.uint(1);
    out.uint(mode);
    for _ in 0..5 {
        out.uint(0);
    }
}

/// The size in an fattr3.
pub fn size(decoder: &mut Decoder<'_>) -> Result<u64, Truncated> {
    let attributes = decoder.fixed(ATTRIBUTES)?;
    Decoder::new(&attributes[20..]).hyper()
}

/// The size in a post_op_attr.
pub fn post_op_size(decoder: &mut Decoder<'_>) -> Result<Option<u64>, Truncated> {
    if decoder.uint()? == 0 { Ok(None) } else { size(decoder).map(Some) }
}

/// A handle in a post_op_fh3.
pub fn post_op_handle<'a>(decoder: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, Truncated> {
    if decoder.uint()? == 0 { Ok(None) } else { decoder.opaque().map(Some) }
}

/// Skips a wcc_data.
pub fn wcc(decoder: &mut Decoder<'_>) -> Result<(), Truncated> {
    if decoder.uint()? != 0 {
        decoder.fixed(24)?;
    }
    post_op_size(decoder).map(|_| ())
}

/// What a WRITE answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes taken.
    pub count: u32,
    /// UNSTABLE, DATA_SYNC or FILE_SYNC.
    pub committed: u32,
    /// The write verifier.
    pub verifier: u64,
}

impl Written {
    /// Follows the status.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Truncated> {
        wcc(decoder)?;
        let count = decoder.uint()?;
        let committed = decoder.uint()?;
        Ok(Self { count, committed, verifier: decoder.hyper()? })
    }
}

/// What stands before the bytes of a READ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadHead {
    /// Bytes that follow.
    pub count: u32,
    /// Whether they reach the end of the file.
    pub eof: bool,
}

impl ReadHead {
    /// Follows the status. `None`: count and length of the data contradict each other.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Option<Self>, Truncated> {
        post_op_size(decoder)?;
        let count = decoder.uint()?;
        let eof = decoder.uint()? != 0;
        let length = decoder.uint()?;
        Ok((count == length).then_some(Self { count, eof }))
    }
}
