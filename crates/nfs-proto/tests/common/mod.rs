//! What the tests share.
#![allow(dead_code)]

use holm_nfs_proto::nfs3::{Attributes, DeviceNumber, DirOpArgs, FileType, SetAttributes, SetTime};
use holm_nfs_proto::nfs3::{Time, WccAttributes, WccData};
use holm_xdr::{Decode, Decoder, Encode, Encoder, Opaque};
use std::fmt::Debug;

pub fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

pub fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = Encoder::new();
    value.encode(&mut out);
    out.to_vec()
}

/// `value` is encoded as `bytes`, which decode to it and, cut anywhere, to nothing.
#[track_caller]
pub fn check<'a, T: Encode + Decode<'a> + PartialEq + Debug>(value: &T, bytes: &'a [u8]) {
    assert_eq!(encoded(value), bytes, "encoded");
    let mut input = Decoder::strict(bytes);
    assert_eq!(input.get::<T>().as_ref(), Ok(value), "decoded");
    input.finish().expect("all of it");
    for len in 0..bytes.len() {
        Decoder::new(&bytes[..len]).get::<T>().expect_err("cut");
    }
}

pub fn opaque<const MAX: u32>(bytes: &[u8]) -> Opaque<'_, MAX> {
    Opaque::new(bytes).expect("short")
}

pub fn dir_op<'a>(dir: &'a [u8], name: &'a [u8]) -> DirOpArgs<'a> {
    DirOpArgs { dir: opaque(dir), name: opaque(name) }
}

pub const ATTRIBUTES: Attributes = Attributes {
    file_type: FileType::Regular,
    mode: 0o644,
    nlink: 1,
    uid: 1000,
    gid: 100,
    size: 0x1_0000_0005,
    used: 4096,
    rdev: DeviceNumber { major: 8, minor: 1 },
    fsid: 77,
    fileid: 42,
    atime: Time { seconds: 10, nanoseconds: 11 },
    mtime: Time { seconds: 20, nanoseconds: 21 },
    ctime: Time { seconds: 30, nanoseconds: 31 },
};

/// As RFC 1813 has them, section 2.6.
pub const ATTRIBUTES_WORDS: [u32; 21] =
    [1, 0o644, 1, 1000, 100, 1, 5, 0, 4096, 8, 1, 0, 77, 0, 42, 10, 11, 20, 21, 30, 31];

pub const WCC: WccData = WccData {
    before: Some(WccAttributes {
        size: 3,
        mtime: Time { seconds: 1, nanoseconds: 2 },
        ctime: Time { seconds: 3, nanoseconds: 4 },
    }),
    after: None,
};

pub const WCC_WORDS: [u32; 8] = [1, 0, 3, 1, 2, 3, 4, 0];

pub const SET: SetAttributes = SetAttributes {
    mode: Some(0o600),
    uid: None,
    gid: Some(5),
    size: Some(1),
    atime: SetTime::ServerTime,
    mtime: SetTime::ClientTime(Time { seconds: 6, nanoseconds: 7 }),
};

pub const SET_WORDS: [u32; 12] = [1, 0o600, 0, 1, 5, 1, 0, 1, 1, 2, 6, 7];

/// `0` and `1` in one word each: the name "a", the handle 9.
pub const NAME_A: [u32; 2] = [1, 0x6100_0000];
pub const HANDLE: [u32; 2] = [4, 9];
pub const HANDLE_BYTES: [u8; 4] = [0, 0, 0, 9];
