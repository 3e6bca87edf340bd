//! Calls of every procedure, with what an attacker chooses in them.

use holm_nfs_proto::nfs3::{
    self, Call, CreateHow, DeviceData, DeviceNumber, FileName, MkNodData, StableHow,
};
use holm_xdr::Opaque;

/// All that take a handle, with this one: `good` where there is another.
pub fn with_handle<'a>(handle: &'a [u8], good: &'a [u8]) -> Vec<Call<'a>> {
    let name = |dir: &'a [u8]| place(dir, b"name");
    let attributes = mode(0o600);
    vec![
        Call::GetAttr(nfs3::GetAttrArgs { object: fh(handle) }),
        Call::SetAttr(nfs3::SetAttrArgs {
            object: fh(handle),
            new_attributes: attributes,
            guard: None,
        }),
        Call::Lookup(nfs3::LookupArgs { what: name(handle) }),
        Call::Access(nfs3::AccessArgs { object: fh(handle), access: 0x3f }),
        Call::ReadLink(nfs3::ReadLinkArgs { symlink: fh(handle) }),
        Call::Read(nfs3::ReadArgs { file: fh(handle), offset: 0, count: 100 }),
        Call::Write(nfs3::WriteArgs {
            file: fh(handle),
            offset: 0,
            count: 1,
            stable: StableHow::FileSync,
            data: Opaque::new(b"x").unwrap(),
        }),
        Call::Create(nfs3::CreateArgs { place: name(handle), how: CreateHow::Exclusive([1; 8]) }),
        Call::MkDir(nfs3::MkDirArgs { place: name(handle), attributes }),
        symlink(name(handle)),
        Call::MkNod(nfs3::MkNodArgs { place: name(handle), what: MkNodData::Fifo(attributes) }),
        Call::Remove(nfs3::RemoveArgs { object: name(handle) }),
        Call::RmDir(nfs3::RemoveArgs { object: name(handle) }),
        Call::Rename(nfs3::RenameArgs { from: name(handle), to: name(good) }),
        Call::Rename(nfs3::RenameArgs { from: name(good), to: name(handle) }),
        Call::Link(nfs3::LinkArgs { file: fh(handle), link: name(good) }),
        Call::Link(nfs3::LinkArgs { file: fh(good), link: name(handle) }),
        Call::ReadDir(nfs3::ReadDirArgs {
            dir: fh(handle),
            cookie: 0,
            cookie_verifier: [0; 8],
            count: 4096,
        }),
        Call::ReadDirPlus(nfs3::ReadDirPlusArgs {
            dir: fh(handle),
            cookie: 0,
            cookie_verifier: [0; 8],
            dir_count: 4096,
            max_count: 4096,
        }),
        Call::FsStat(nfs3::FsArgs { fs_root: fh(handle) }),
        Call::FsInfo(nfs3::FsArgs { fs_root: fh(handle) }),
        Call::PathConf(nfs3::PathConfArgs { object: fh(handle) }),
        Call::Commit(nfs3::CommitArgs { file: fh(handle), offset: 0, count: 0 }),
    ]
}

/// All that take a name in a directory, with this one: `file`, and its name `known` in the same
/// directory, where there is another. The first is the look-up.
pub fn with_name<'a>(
    dir: &'a [u8],
    name: &'a [u8],
    file: &'a [u8],
    known: &'a [u8],
) -> Vec<Call<'a>> {
    let (attributes, place, known) = (mode(0o600), place(dir, name), place(dir, known));
    let device = DeviceData { attributes, device: DeviceNumber { major: 1, minor: 3 } };
    let create = |how| Call::Create(nfs3::CreateArgs { place, how });
    let make = |what| Call::MkNod(nfs3::MkNodArgs { place, what });
    vec![
        Call::Lookup(nfs3::LookupArgs { what: place }),
        create(CreateHow::Unchecked(nfs3::SetAttributes { size: Some(0), ..attributes })),
        create(CreateHow::Guarded(attributes)),
        create(CreateHow::Exclusive([7; 8])),
        Call::MkDir(nfs3::MkDirArgs { place, attributes }),
        symlink(place),
        make(MkNodData::Fifo(attributes)),
        make(MkNodData::Socket(attributes)),
        make(MkNodData::Character(device)),
        make(MkNodData::Block(device)),
        Call::Remove(nfs3::RemoveArgs { object: place }),
        Call::RmDir(nfs3::RemoveArgs { object: place }),
        Call::Rename(nfs3::RenameArgs { from: place, to: known }),
        Call::Rename(nfs3::RenameArgs { from: known, to: place }),
        Call::Link(nfs3::LinkArgs { file: fh(file), link: place }),
    ]
}

pub fn fh(handle: &[u8]) -> nfs3::FileHandle<'_> {
    Opaque::new(handle).unwrap()
}

pub fn place<'a>(dir: &'a [u8], name: &'a [u8]) -> nfs3::DirOpArgs<'a> {
    nfs3::DirOpArgs { dir: fh(dir), name: FileName::new(name).unwrap() }
}

pub fn mode(mode: u32) -> nfs3::SetAttributes {
    nfs3::SetAttributes { mode: Some(mode), ..Default::default() }
}

fn symlink(place: nfs3::DirOpArgs<'_>) -> Call<'_> {
    Call::SymLink(nfs3::SymLinkArgs {
        place,
        symlink_attributes: mode(0o777),
        symlink_data: Opaque::new(b"x").unwrap(),
    })
}
