//! For all values, budgets and bytes.

mod common;

use common::*;
use holm_nfs_proto::localio::door;
use holm_nfs_proto::nfs3::*;
use holm_nfs_proto::{localio, mount, nfs3, portmap, rpcbind};
use holm_xdr::{Decode, Decoder, Encode, Encoder, padded};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn time() -> impl Strategy<Value = Time> {
    any::<(u32, u32)>().prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (0..7usize, any::<([u32; 6], [u64; 4])>(), time(), time(), time()).prop_map(
        |(file_type, ([mode, nlink, uid, gid, major, minor], longs), atime, mtime, ctime)| {
            let [size, used, fsid, fileid] = longs;
            let file_type = [
                FileType::Regular,
                FileType::Directory,
                FileType::Block,
                FileType::Character,
                FileType::SymLink,
                FileType::Socket,
                FileType::Fifo,
            ][file_type];
            let rdev = DeviceNumber { major, minor };
            Attributes {
                file_type,
                mode,
                nlink,
                uid,
                gid,
                size,
                used,
                rdev,
                fsid,
                fileid,
                atime,
                mtime,
                ctime,
            }
        },
    )
}

fn set_time() -> impl Strategy<Value = SetTime> {
    prop_oneof![
        Just(SetTime::DontChange),
        Just(SetTime::ServerTime),
        time().prop_map(SetTime::ClientTime)
    ]
}

fn set_attributes() -> impl Strategy<Value = SetAttributes> {
    (any::<([Option<u32>; 3], Option<u64>)>(), set_time(), set_time()).prop_map(
        |(([mode, uid, gid], size), atime, mtime)| SetAttributes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        },
    )
}

fn handle() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=64)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=300)
}

/// Memory and numbers from which arguments of every procedure are made.
#[derive(Debug)]
struct Parts {
    handles: [Vec<u8>; 2],
    names: [Vec<u8>; 2],
    data: Vec<u8>,
    set: SetAttributes,
    guard: Option<Time>,
    numbers: [u32; 2],
    offset: u64,
    verifier: [u8; 8],
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        [handle(), handle()],
        [name(), name()],
        vec(any::<u8>(), 0..5000),
        set_attributes(),
        option::of(time()),
        any::<([u32; 2], u64, [u8; 8])>(),
    )
        .prop_map(|(handles, names, data, set, guard, (numbers, offset, verifier))| Parts {
            handles,
            names,
            data,
            set,
            guard,
            numbers,
            offset,
            verifier,
        })
}

impl Parts {
    fn calls(&self) -> Vec<Call<'_>> {
        let file = opaque(&self.handles[0]);
        let place = dir_op(&self.handles[0], &self.names[0]);
        let other = dir_op(&self.handles[1], &self.names[1]);
        let [count, more] = self.numbers;
        let (set, offset, verifier) = (self.set, self.offset, self.verifier);
        let device =
            DeviceData { attributes: set, device: DeviceNumber { major: count, minor: more } };
        let stable =
            [StableHow::Unstable, StableHow::DataSync, StableHow::FileSync][count as usize % 3];
        let hows =
            [CreateHow::Unchecked(set), CreateHow::Guarded(set), CreateHow::Exclusive(verifier)];
        let nodes = [
            MkNodData::Character(device),
            MkNodData::Block(device),
            MkNodData::Socket(set),
            MkNodData::Fifo(set),
            MkNodData::Other(8 + count / 2),
        ];
        let mut calls = vec![
            Call::Null,
            Call::GetAttr(GetAttrArgs { object: file }),
            Call::SetAttr(SetAttrArgs { object: file, new_attributes: set, guard: self.guard }),
            Call::Lookup(LookupArgs { what: place }),
            Call::Access(AccessArgs { object: file, access: count }),
            Call::ReadLink(ReadLinkArgs { symlink: file }),
            Call::Read(ReadArgs { file, offset, count }),
            Call::Write(WriteArgs { file, offset, count, stable, data: opaque(&self.data) }),
            Call::MkDir(MkDirArgs { place, attributes: set }),
            Call::SymLink(SymLinkArgs {
                place,
                symlink_attributes: set,
                symlink_data: opaque(&self.data),
            }),
            Call::Remove(RemoveArgs { object: place }),
            Call::RmDir(RemoveArgs { object: place }),
            Call::Rename(RenameArgs { from: place, to: other }),
            Call::Link(LinkArgs { file, link: other }),
            Call::ReadDir(ReadDirArgs {
                dir: file,
                cookie: offset,
                cookie_verifier: verifier,
                count,
            }),
            Call::ReadDirPlus(ReadDirPlusArgs {
                dir: file,
                cookie: offset,
                cookie_verifier: verifier,
                dir_count: count,
                max_count: more,
            }),
            Call::FsStat(FsArgs { fs_root: file }),
            Call::FsInfo(FsArgs { fs_root: file }),
            Call::PathConf(PathConfArgs { object: file }),
            Call::Commit(CommitArgs { file, offset, count }),
        ];
        calls.extend(hows.map(|how| Call::Create(CreateArgs { place, how })));
        calls.extend(nodes.map(|what| Call::MkNod(MkNodArgs { place, what })));
        calls
    }
}

proptest! {
    #[test]
    fn arguments_decode_to_what_was_encoded_and_not_at_all_if_cut(parts in parts(), cut: prop::sample::Index) {
        for call in parts.calls() {
            let bytes = encoded(&call);
            let mut input = Decoder::strict(&bytes);
            prop_assert_eq!(Call::decode(call.procedure(), &mut input), Ok(call.clone()));
            prop_assert!(input.finish().is_ok());
            if !bytes.is_empty() {
                let cut = cut.index(bytes.len());
                let decoded = Call::decode(call.procedure(), &mut Decoder::new(&bytes[..cut]));
                prop_assert!(decoded.is_err(), "{:?}", decoded);
            }
        }
    }

    #[test]
    fn messages_of_a_door_decode_to_what_was_encoded_and_not_at_all_if_changed_in_length(
        uuid: [u8; 16],
        handle in handle(),
        serial: u32,
        file: u64,
        flushed: bool,
        access in 0..3usize,
        cut: prop::sample::Index,
        more in vec(any::<u8>(), 1..300),
    ) {
        let access = [door::Access::Read, door::Access::Write, door::Access::ReadWrite][access];
        let handle = opaque(&handle);
        let requests = [
            door::Request::Register(uuid),
            door::Request::Open(door::Open { serial, handle, access }),
            door::Request::Close(door::Close { file, flushed }),
        ];
        for request in requests {
            let bytes = encoded(&request);
            prop_assert!(bytes.len() <= door::MESSAGE_MAX);
            prop_assert_eq!(door::Request::from_packet(&bytes), Ok(request));
            prop_assert!(door::Request::from_packet(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(door::Request::from_packet(&[&bytes[..], &more].concat()).is_err());
        }
        let messages = [
            door::Message::Opened(door::Opened { serial, file }),
            door::Message::Refused(door::Refused { serial, status: Error::Stale }),
            door::Message::Recall(file),
            door::Message::RecallAll,
        ];
        for message in messages {
            let bytes = encoded(&message);
            prop_assert!(bytes.len() <= door::MESSAGE_MAX);
            prop_assert_eq!(door::Message::from_packet(&bytes), Ok(message));
            prop_assert!(door::Message::from_packet(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(door::Message::from_packet(&[&bytes[..], &more].concat()).is_err());
        }
    }

    #[test]
    fn arguments_that_decode_are_encoded_to_the_same(
        parts in parts(),
        which: prop::sample::Index,
        changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
    ) {
        let calls = parts.calls();
        let call = which.get(&calls);
        let mut bytes = encoded(call);
        for (at, change) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= change;
            }
        }
        let mut input = Decoder::strict(&bytes);
        if let Ok(call) = Call::decode(call.procedure(), &mut input) {
            prop_assert_eq!(encoded(&call), &bytes[..input.position()]);
        }
    }

    #[test]
    fn no_bytes_panic_or_allocate_more_than_they_justify(
        bytes in vec(any::<u8>(), 0..600),
        zeros in vec(0..2u8, 0..600),
        words in vec(0..4u32, 0..8).prop_map(common::bytes),
    ) {
        // The second kind has small numbers, and goes further; the third is often a packet.
        for input in [&bytes, &zeros, &words] {
            let allocated = allocation_counter::measure(|| arguments(input)).bytes_total;
            prop_assert_eq!(allocated, 0, "arguments are decoded in place");
            packets(input);
            let allocated = allocation_counter::measure(|| results(input)).bytes_total;
            prop_assert!(allocated <= 256 * (input.len() as u64 + 64), "{}", allocated);
        }
    }

    #[test]
    fn a_read_reply_is_the_result_of_a_read(
        data in vec(any::<u8>(), 0..300),
        room in 0..300u32,
        attributes in option::of(attributes()),
        eof: bool,
        before in vec(any::<u8>(), 0..9),
    ) {
        let mut out = Encoder::new();
        out.space(2000).fill(0xaa);
        out.clear();
        out.raw(&before);
        let max = data.len() as u32 + room;
        let mut reply = ReadReply::begin(&mut out, max);
        prop_assert_eq!(reply.payload().len(), max as usize);
        reply.payload()[..data.len()].copy_from_slice(&data);
        reply.finish(attributes, data.len() as u32, eof);

        let count = data.len() as u32;
        let ok = ReadOk { file_attributes: attributes, count, eof, data: opaque(&data) };
        let whole = [before.clone(), encoded(&ReadRes::Ok(ok))].concat();
        prop_assert_eq!(&*out, &*whole);

        out.truncate(before.len());
        read_head(&mut out, attributes, count, eof);
        out.raw(&data);
        out.pad(data.len());
        prop_assert_eq!(&*out, &*whole);

        out.truncate(before.len());
        ReadReply::begin(&mut out, max).fail(Error::Io, attributes);
        prop_assert_eq!(&out[before.len()..], encoded(&ReadRes::Failed(Error::Io, attributes)));

        out.truncate(before.len());
        drop(ReadReply::begin(&mut out, max));
        prop_assert_eq!(&*out, &*before);
    }

    #[test]
    fn a_directory_reply_fills_the_budget_and_not_a_byte_more(
        names in vec(vec(any::<u8>(), 1..40), 0..30),
        attributes in option::of(attributes()),
        handle in handle(),
        plus: bool,
        count in 0..3000u32,
        dir_count in 0..1500u32,
        eof: bool,
    ) {
        let entries: Vec<EntryPlus<'_>> = names.iter().enumerate().map(|(n, name)| EntryPlus {
            fileid: n as u64,
            name: opaque(name),
            cookie: n as u64 + 1,
            name_attributes: attributes.filter(|_| n % 3 != 0),
            name_handle: (n % 2 == 0).then(|| opaque(&handle)),
        }).collect();
        let size = |entry: &EntryPlus<'_>| {
            4 + if plus { encoded(entry).len() } else { encoded(&plain(entry)).len() }
        };

        let mut out = Encoder::new();
        out.u32(7);
        let begun = directory_reply(&mut out, attributes, plus.then_some(dir_count), count, &entries, eof);
        let head = encoded(&attributes).len() + 8;
        let Ok(taken) = begun else {
            prop_assert!(head + 8 > count as usize);
            prop_assert_eq!(out.len(), 4, "it is as before");
            return Ok(());
        };

        let len = out.len() - 8;
        let expected: usize = entries[..taken].iter().map(size).sum();
        prop_assert_eq!(len, head + expected + 8);
        prop_assert!(len <= count as usize);
        let directory = |entries: &[EntryPlus<'_>]| -> usize {
            entries.iter().map(|entry| 24 + padded(entry.name.len())).sum()
        };
        if plus && taken > 1 {
            prop_assert!(directory(&entries[..taken]) <= dir_count as usize);
        }
        if let Some(next) = entries.get(taken) {
            let too_long = len + size(next) > count as usize;
            let too_much = plus && taken > 0
                && directory(&entries[..=taken]) > dir_count as usize;
            prop_assert!(too_long || too_much, "the next one had to be refused");
        }

        let mut input = Decoder::strict(&out[4..]);
        if plus {
            let Ok(Outcome::Ok(ok)) = input.get::<ReadDirPlusRes<'_>>() else { panic!("{out:?}") };
            prop_assert_eq!(&*ok.entries, &entries[..taken]);
            prop_assert_eq!((ok.eof, ok.dir_attributes), (eof, attributes));
        } else {
            let Ok(Outcome::Ok(ok)) = input.get::<ReadDirRes<'_>>() else { panic!("{out:?}") };
            let plain: Vec<_> = entries[..taken].iter().map(plain).collect();
            prop_assert_eq!(&*ok.entries, &*plain);
        }
        prop_assert!(input.finish().is_ok());
    }

    #[test]
    fn attributes_are_encoded_to_what_they_are(attributes in attributes(), set in set_attributes()) {
        prop_assert_eq!(Decoder::strict(&encoded(&attributes)).get(), Ok(attributes));
        prop_assert_eq!(Decoder::strict(&encoded(&set)).get(), Ok(set));
    }
}

fn plain<'a>(entry: &EntryPlus<'a>) -> Entry<'a> {
    Entry { fileid: entry.fileid, name: entry.name, cookie: entry.cookie }
}

/// A whole result, of READDIRPLUS if there is a `dir_count`; how many of the entries it took.
fn directory_reply(
    out: &mut Encoder,
    attributes: PostOpAttributes,
    dir_count: Option<u32>,
    count: u32,
    entries: &[EntryPlus<'_>],
    eof: bool,
) -> Result<usize, TooSmall> {
    let mut reply = match dir_count {
        Some(dir_count) => DirReply::read_dir_plus(out, attributes, [1; 8], dir_count, count)?,
        None => DirReply::read_dir(out, attributes, [1; 8], count)?,
    };
    let taken = entries.iter().take_while(|entry| match dir_count {
        Some(_) => reply.push_plus(entry).is_ok(),
        None => reply.push(&plain(entry)).is_ok(),
    });
    let taken = taken.count();
    assert_eq!(reply.entries(), taken as u32);
    reply.finish(eof);
    Ok(taken)
}

#[test]
fn a_directory_reply_that_fails_takes_its_entries_back() {
    let mut out = Encoder::new();
    let entry = Entry { fileid: 1, name: opaque(b"a"), cookie: 1 };
    let mut reply = DirReply::read_dir(&mut out, None, [0; 8], 512).unwrap();
    reply.push(&entry).unwrap();
    reply.fail(Error::BadCookie, Some(ATTRIBUTES));
    assert_eq!(*out, encoded(&ReadDirRes::Failed(Error::BadCookie, Some(ATTRIBUTES))));

    out.clear();
    let mut reply = DirReply::read_dir(&mut out, None, [0; 8], 512).unwrap();
    reply.push(&entry).unwrap();
    drop(reply);
    assert!(out.is_empty());
}

#[test]
fn an_entry_can_be_given_again_as_it_was_encoded() {
    let entry = |name, name_attributes| EntryPlus {
        fileid: 1,
        name: opaque(name),
        cookie: 2,
        name_attributes,
        name_handle: Some(opaque(&[7; 20])),
    };
    let entries = [entry(b"a", None), entry(b"longer than that", Some(ATTRIBUTES))];
    let (mut first, mut second) = (Encoder::new(), Encoder::new());
    fn begin(out: &mut Encoder, dir_count: u32) -> DirReply<'_> {
        DirReply::read_dir_plus(out, None, [1; 8], dir_count, 512).unwrap()
    }
    let (mut one, mut again) = (begin(&mut first, 512), begin(&mut second, 512));
    assert!(one.last().is_empty());
    for entry in &entries {
        one.push_plus(entry).unwrap();
        assert_eq!(name_of_entry(one.last()), &*entry.name);
        again.push_again(one.last()).unwrap();
        assert_eq!((again.room(), again.entries()), (one.room(), one.entries()));
    }
    let last = one.last().to_vec();
    one.finish(true);
    again.finish(true);
    assert_eq!(*first, *second);

    // It is measured as any other.
    let mut third = Encoder::new();
    let mut short = begin(&mut third, 60);
    short.push_again(&last).unwrap();
    assert_eq!(short.push_again(&last), Err(Full));
    assert_eq!((short.entries(), short.last()), (1, &*last));
    drop(short);
    for cut in 0..last.len() {
        let _ = name_of_entry(&last[..cut]);
    }
}

/// Decodes as the arguments of everything.
fn arguments(bytes: &[u8]) {
    let input = Decoder::new(bytes);
    for procedure in nfs3::Procedure::ALL {
        let _ = nfs3::Call::decode(*procedure, &mut input.clone());
    }
    for procedure in mount::Procedure::ALL {
        let _ = mount::Call::decode(*procedure, &mut input.clone());
    }
    for procedure in portmap::Procedure::ALL {
        let _ = portmap::Call::decode(*procedure, &mut input.clone());
    }
    for procedure in rpcbind::Procedure::ALL {
        let _ = rpcbind::Call::decode(*procedure, &mut input.clone());
    }
    for procedure in localio::Procedure::ALL {
        let _ = localio::Call::decode(*procedure, &mut input.clone());
    }
    let _ = door::Request::from_packet(bytes);
    let _ = door::Message::from_packet(bytes);
}

/// What is read of a packet is all of it.
fn packets(bytes: &[u8]) {
    if let Ok(request) = door::Request::from_packet(bytes) {
        assert_eq!(encoded(&request), bytes);
    }
    if let Ok(message) = door::Message::from_packet(bytes) {
        assert_eq!(encoded(&message), bytes);
    }
}

/// Decodes as the results of everything that has lists; the others are in place too.
fn results(bytes: &[u8]) {
    fn decode<'a, T: Decode<'a> + Encode>(bytes: &'a [u8]) {
        let _ = Decoder::new(bytes).get::<T>();
    }
    decode::<ReadDirRes<'_>>(bytes);
    decode::<ReadDirPlusRes<'_>>(bytes);
    decode::<mount::MountRes<'_>>(bytes);
    decode::<mount::DumpRes<'_>>(bytes);
    decode::<mount::ExportRes<'_>>(bytes);
    decode::<portmap::DumpRes>(bytes);
    decode::<rpcbind::DumpRes<'_>>(bytes);
}
