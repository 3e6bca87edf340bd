//! Arguments and results of NFSv3, worked out by hand from RFC 1813.

mod common;

use common::*;
use holm_nfs_proto::nfs3::*;
use holm_xdr::{Decoder, FixedSize, List, Problem};

/// The arguments of procedure `number` are `words`, and decode to `call`.
#[track_caller]
fn call(number: u32, call: &Call<'_>, words: &[&[u32]]) {
    let bytes = bytes(words.concat());
    let procedure = Procedure::from_number(number).expect("a procedure");
    assert_eq!(call.procedure(), procedure);
    assert_eq!(encoded(call), bytes, "encoded");
    let mut input = Decoder::strict(&bytes);
    assert_eq!(Call::decode(procedure, &mut input).as_ref(), Ok(call), "decoded");
    input.finish().expect("all of it");
    for len in 0..bytes.len() {
        Call::decode(procedure, &mut Decoder::new(&bytes[..len])).expect_err("cut");
    }
}

#[test]
fn there_are_22_procedures() {
    let numbers: Vec<u32> = Procedure::ALL.iter().map(|procedure| procedure.number()).collect();
    assert_eq!(numbers, (0..22).collect::<Vec<_>>());
    assert_eq!(Procedure::from_number(22), None);
    assert_eq!(Procedure::ReadDirPlus.name(), "READDIRPLUS");
    assert!(Procedure::Write.is_idempotent() && !Procedure::Rename.is_idempotent());
}

#[test]
fn arguments_of_a_file() {
    let file = opaque(&HANDLE_BYTES);
    let name = b"a";
    call(0, &Call::Null, &[]);
    call(1, &Call::GetAttr(GetAttrArgs { object: file }), &[&HANDLE]);
    let guard = Some(Time { seconds: 8, nanoseconds: 9 });
    call(
        2,
        &Call::SetAttr(SetAttrArgs { object: file, new_attributes: SET, guard }),
        &[&HANDLE, &SET_WORDS, &[1, 8, 9]],
    );
    call(
        2,
        &Call::SetAttr(SetAttrArgs {
            object: file,
            new_attributes: SetAttributes::default(),
            guard: None,
        }),
        &[&HANDLE, &[0, 0, 0, 0, 0, 0, 0]],
    );
    let what = dir_op(&HANDLE_BYTES, name);
    call(3, &Call::Lookup(LookupArgs { what }), &[&HANDLE, &NAME_A]);
    call(4, &Call::Access(AccessArgs { object: file, access: 0x3f }), &[&HANDLE, &[0x3f]]);
    call(5, &Call::ReadLink(ReadLinkArgs { symlink: file }), &[&HANDLE]);
    let offset = 0x1_0000_0002;
    call(6, &Call::Read(ReadArgs { file, offset, count: 3 }), &[&HANDLE, &[1, 2, 3]]);
    call(
        7,
        &Call::Write(WriteArgs {
            file,
            offset,
            count: 5,
            stable: StableHow::FileSync,
            data: opaque(b"hello"),
        }),
        &[&HANDLE, &[1, 2, 5, 2, 5, 0x6865_6c6c, 0x6f00_0000]],
    );
    call(21, &Call::Commit(CommitArgs { file, offset, count: 0 }), &[&HANDLE, &[1, 2, 0]]);
}

#[test]
fn arguments_with_names() {
    let place = dir_op(&HANDLE_BYTES, b"a");
    let verifier = [0, 0, 0, 1, 0, 0, 0, 2];
    let create = |how| Call::Create(CreateArgs { place, how });
    call(8, &create(CreateHow::Unchecked(SET)), &[&HANDLE, &NAME_A, &[0], &SET_WORDS]);
    call(8, &create(CreateHow::Guarded(SET)), &[&HANDLE, &NAME_A, &[1], &SET_WORDS]);
    call(8, &create(CreateHow::Exclusive(verifier)), &[&HANDLE, &NAME_A, &[2, 1, 2]]);
    call(9, &Call::MkDir(MkDirArgs { place, attributes: SET }), &[&HANDLE, &NAME_A, &SET_WORDS]);
    call(
        10,
        &Call::SymLink(SymLinkArgs {
            place,
            symlink_attributes: SET,
            symlink_data: opaque(b"../b"),
        }),
        &[&HANDLE, &NAME_A, &SET_WORDS, &[4, 0x2e2e_2f62]],
    );
    let mknod = |what| Call::MkNod(MkNodArgs { place, what });
    let device = DeviceData { attributes: SET, device: DeviceNumber { major: 4, minor: 64 } };
    let head: [&[u32]; 2] = [&HANDLE, &NAME_A];
    let with = |rest: &[&'static [u32]]| [&head[..], rest].concat();
    call(11, &mknod(MkNodData::Character(device)), &with(&[&[4], &SET_WORDS, &[4, 64]]));
    call(11, &mknod(MkNodData::Block(device)), &with(&[&[3], &SET_WORDS, &[4, 64]]));
    call(11, &mknod(MkNodData::Socket(SET)), &with(&[&[6], &SET_WORDS]));
    call(11, &mknod(MkNodData::Fifo(SET)), &with(&[&[7], &SET_WORDS]));
    call(11, &mknod(MkNodData::Other(2)), &with(&[&[2]]));
    call(11, &mknod(MkNodData::Other(99)), &with(&[&[99]]));
    call(12, &Call::Remove(RemoveArgs { object: place }), &[&HANDLE, &NAME_A]);
    call(13, &Call::RmDir(RemoveArgs { object: place }), &[&HANDLE, &NAME_A]);
    call(
        14,
        &Call::Rename(RenameArgs { from: place, to: dir_op(&[], b"bb") }),
        &[&HANDLE, &NAME_A, &[0, 2, 0x6262_0000]],
    );
    call(
        15,
        &Call::Link(LinkArgs { file: opaque(&HANDLE_BYTES), link: place }),
        &[&HANDLE, &HANDLE, &NAME_A],
    );
}

#[test]
fn arguments_of_directories_and_file_systems() {
    let dir = opaque(&HANDLE_BYTES);
    let cookie_verifier = [0, 0, 0, 3, 0, 0, 0, 4];
    call(
        16,
        &Call::ReadDir(ReadDirArgs { dir, cookie: 2, cookie_verifier, count: 512 }),
        &[&HANDLE, &[0, 2, 3, 4, 512]],
    );
    call(
        17,
        &Call::ReadDirPlus(ReadDirPlusArgs {
            dir,
            cookie: 2,
            cookie_verifier,
            dir_count: 512,
            max_count: 4096,
        }),
        &[&HANDLE, &[0, 2, 3, 4, 512, 4096]],
    );
    call(18, &Call::FsStat(FsArgs { fs_root: dir }), &[&HANDLE]);
    call(19, &Call::FsInfo(FsArgs { fs_root: dir }), &[&HANDLE]);
    call(20, &Call::PathConf(PathConfArgs { object: dir }), &[&HANDLE]);
}

#[test]
fn the_payload_of_a_write_is_where_it_was_received() {
    let bytes = bytes([4, 9, 0, 0, 4, 0, 4, 0x6461_7461]);
    let call = Call::decode(Procedure::Write, &mut Decoder::new(&bytes)).unwrap();
    let Call::Write(args) = call else { panic!("{call:?}") };
    assert!(std::ptr::eq(args.data.bytes(), &bytes[28..32]));
}

#[test]
fn attributes_have_84_bytes() {
    check(&ATTRIBUTES, &bytes(ATTRIBUTES_WORDS));
    assert_eq!(encoded(&ATTRIBUTES).len(), Attributes::SIZE);
    let before = WccAttributes::from(&ATTRIBUTES);
    check(&before, &bytes([1, 5, 20, 21, 30, 31]));
}

#[test]
fn results_of_a_file() {
    let attributes = ATTRIBUTES;
    let post: &[u32] = &[&[1], &ATTRIBUTES_WORDS[..]].concat();
    check(
        &GetAttrRes::Ok(GetAttrOk { attributes }),
        &bytes([&[0], &ATTRIBUTES_WORDS[..]].concat()),
    );
    check(&GetAttrRes::Failed(Error::Stale, ()), &bytes([70]));
    check(&SetAttrRes::Ok(WCC), &bytes([&[0], &WCC_WORDS[..]].concat()));
    check(&SetAttrRes::Failed(Error::NotSync, WCC), &bytes([&[10_002], &WCC_WORDS[..]].concat()));
    let object = opaque(&HANDLE_BYTES);
    check(
        &LookupRes::Ok(LookupOk {
            object,
            object_attributes: Some(attributes),
            dir_attributes: None,
        }),
        &bytes([&[0, 4, 9], post, &[0]].concat()),
    );
    check(&LookupRes::Failed(Error::NoEnt, None), &bytes([2, 0]));
    check(
        &AccessRes::Ok(AccessOk {
            object_attributes: None,
            access: access::READ | access::EXECUTE,
        }),
        &bytes([0, 0, 0x21]),
    );
    check(
        &ReadLinkRes::Ok(ReadLinkOk { symlink_attributes: None, data: opaque(b"a") }),
        &bytes([0, 0, 1, 0x6100_0000]),
    );
    check(
        &ReadRes::Ok(ReadOk { file_attributes: None, count: 2, eof: true, data: opaque(b"hi") }),
        &bytes([0, 0, 2, 1, 2, 0x6869_0000]),
    );
    let verifier = [0, 0, 0, 5, 0, 0, 0, 6];
    check(
        &WriteRes::Ok(WriteOk {
            file_wcc: WCC,
            count: 9,
            committed: StableHow::DataSync,
            verifier,
        }),
        &bytes([&[0], &WCC_WORDS[..], &[9, 1, 5, 6]].concat()),
    );
    check(
        &CommitRes::Ok(CommitOk { file_wcc: WCC, verifier }),
        &bytes([&[0], &WCC_WORDS[..], &[5, 6]].concat()),
    );
    check(&CommitRes::Failed(Error::Io, WccData::default()), &bytes([5, 0, 0]));
}

#[test]
fn results_with_names() {
    check(
        &CreateRes::Ok(CreateOk {
            object: Some(opaque(&HANDLE_BYTES)),
            object_attributes: None,
            dir_wcc: WCC,
        }),
        &bytes([&[0, 1, 4, 9, 0], &WCC_WORDS[..]].concat()),
    );
    check(&CreateRes::Failed(Error::Exist, WCC), &bytes([&[17], &WCC_WORDS[..]].concat()));
    check(&RemoveRes::Failed(Error::NotEmpty, WCC), &bytes([&[66], &WCC_WORDS[..]].concat()));
    let both = RenameWcc { from_dir_wcc: WCC, to_dir_wcc: WccData::default() };
    check(&RenameRes::Ok(both), &bytes([&[0], &WCC_WORDS[..], &[0, 0]].concat()));
    check(&RenameRes::Failed(Error::XDev, both), &bytes([&[18], &WCC_WORDS[..], &[0, 0]].concat()));
    let link = LinkWcc { file_attributes: None, link_dir_wcc: WCC };
    check(&LinkRes::Ok(link), &bytes([&[0, 0], &WCC_WORDS[..]].concat()));
}

#[test]
fn results_of_directories() {
    let entry = Entry { fileid: 1, name: opaque(b"a"), cookie: 2 };
    check(
        &ReadDirRes::Ok(ReadDirOk {
            dir_attributes: None,
            cookie_verifier: [0, 0, 0, 3, 0, 0, 0, 4],
            entries: List::new(vec![entry, entry]).unwrap(),
            eof: true,
        }),
        &bytes([&[0, 0, 3, 4][..], &[1, 0, 1, 1, 0x6100_0000, 0, 2].repeat(2), &[0, 1]].concat()),
    );
    let entry = EntryPlus {
        fileid: 1,
        name: opaque(b"a"),
        cookie: 2,
        name_attributes: Some(ATTRIBUTES),
        name_handle: Some(opaque(&HANDLE_BYTES)),
    };
    check(
        &ReadDirPlusRes::Ok(ReadDirPlusOk {
            dir_attributes: None,
            cookie_verifier: [0; 8],
            entries: List::new(vec![entry]).unwrap(),
            eof: false,
        }),
        &bytes(
            [
                &[0, 0, 0, 0, 1, 0, 1, 1, 0x6100_0000, 0, 2, 1],
                &ATTRIBUTES_WORDS[..],
                &[1, 4, 9, 0, 0],
            ]
            .concat(),
        ),
    );
}

#[test]
fn results_of_file_systems() {
    check(
        &FsStatRes::Ok(FsStatOk {
            object_attributes: None,
            total_bytes: 1,
            free_bytes: 2,
            available_bytes: 3,
            total_files: 4,
            free_files: 5,
            available_files: 6,
            invariant_seconds: 7,
        }),
        &bytes([0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 7]),
    );
    check(
        &FsInfoRes::Ok(FsInfoOk {
            object_attributes: None,
            read_max: 1,
            read_preferred: 2,
            read_multiple: 3,
            write_max: 4,
            write_preferred: 5,
            write_multiple: 6,
            dir_preferred: 7,
            max_file_size: 8,
            time_delta: Time { seconds: 0, nanoseconds: 1 },
            properties: 0x1b,
        }),
        &bytes([0, 0, 1, 2, 3, 4, 5, 6, 7, 0, 8, 0, 1, 0x1b]),
    );
    assert_eq!(
        properties::LINK | properties::SYMLINK | properties::HOMOGENEOUS | properties::CAN_SET_TIME,
        0x1b
    );
    check(
        &PathConfRes::Ok(PathConfOk {
            object_attributes: None,
            link_max: 1,
            name_max: 255,
            no_trunc: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        }),
        &bytes([0, 0, 1, 255, 1, 1, 0, 1]),
    );
}

#[test]
fn every_status_of_the_rfc_is_there() {
    let all = [
        1, 2, 5, 6, 13, 17, 18, 19, 20, 21, 22, 27, 28, 30, 31, 63, 66, 69, 70, 71, 10_001, 10_002,
        10_003, 10_004, 10_005, 10_006, 10_007, 10_008,
    ];
    for status in 0..20_000u32 {
        let bytes = status.to_be_bytes();
        let decoded = Decoder::new(&bytes).get::<Error>();
        assert_eq!(decoded.is_ok(), all.contains(&status), "{status}");
    }
    assert_eq!(Error::JukeBox.name(), "NFS3ERR_JUKEBOX");
}

#[test]
fn handles_are_at_most_64_bytes_and_names_65536() {
    let problem = |procedure, words: &[u32]| {
        let bytes = bytes(words.iter().copied());
        Call::decode(procedure, &mut Decoder::new(&bytes)).unwrap_err()
    };
    let error = problem(Procedure::GetAttr, &[65]);
    assert_eq!(error.problem(), Problem::TooMany { count: 65, max: 64 });
    assert_eq!(error.what(), "GetAttrArgs.object");
    let error = problem(Procedure::Lookup, &[0, 65_537]);
    assert_eq!(error.problem(), Problem::TooMany { count: 65_537, max: 65_536 });
    assert_eq!(error.what(), "DirOpArgs.name");
}
