//! Every procedure of NFSv3 on the wire, with its errors and its attributes before and after.

use crate::wire::*;
use crate::world::{Disk, Kind, Scratch, as_ordinary_user, as_root, open_to_all, run};
use holm_nfs_proto::nfs3::{
    self, Call, CreateHow, DeviceData, DeviceNumber, Error, FileType, MkNodData, SetTime,
    StableHow, Time, WccAttributes, WccData, access,
};
use holm_nfsd::beneath::Mounts;
use holm_sunrpc::message::Refusal;
use holm_xdr::Opaque;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

/// A client of an export that trusts it, and the export's root.
fn with_export(test: impl Fn(&Client, &[u8], &Scratch) + Send + Sync) {
    as_root(|| in_scratch(&test));
    as_ordinary_user(|| in_scratch(&test));
}

fn in_scratch(test: &dyn Fn(&Client, &[u8], &Scratch)) {
    let scratch = Scratch::new();
    let thread = Thread::new();
    let client = Client::new(&thread, &service(vec![trusting(scratch.path())]));
    let root = client.mount("/").unwrap();
    test(&client, &root, &scratch);
}

/// Both are there, and the same as what GETATTR says now.
fn check(client: &Client, handle: &[u8], wcc: &WccData, before: &nfs3::Attributes) {
    assert_eq!(wcc.before, Some(WccAttributes::from(before)));
    assert_eq!(wcc.after, Some(client.getattr(handle).unwrap()));
}

#[test]
fn null_and_procedures_that_are_not_there() {
    with_export(|client, _, _| {
        client.nfs::<()>(&Call::Null);
        let call = |program, version, number| {
            client.try_call::<()>((program, version, number), &()).unwrap_err()
        };
        assert_eq!(call(nfs3::PROGRAM, 3, 22), Refusal::ProcedureUnavailable);
        assert_eq!(call(nfs3::PROGRAM, 4, 0), Refusal::ProgramMismatch { low: 3, high: 3 });
        assert_eq!(call(nfs3::PROGRAM, 3, 1), Refusal::GarbageArgs);
        assert_eq!(call(100_021, 4, 0), Refusal::ProgramUnavailable);
    });
}

#[test]
fn getattr_says_what_the_file_system_says() {
    with_export(|client, root, scratch| {
        let file = client.create(root, b"file").unwrap();
        client.write(&file, 100_000, b"end").unwrap();
        let told = client.getattr(&file).unwrap();
        let real = fs::metadata(scratch.path().join("file")).unwrap();
        assert_eq!(told.file_type, FileType::Regular);
        assert_eq!((told.mode, told.nlink), (0o644, 1));
        assert_eq!((told.uid, told.gid), (real.uid(), real.gid()));
        assert_eq!((told.size, told.used), (100_003, real.blocks() * 512));
        assert_eq!(told.fileid, real.ino());
        let mtime = Time { seconds: real.mtime() as u32, nanoseconds: real.mtime_nsec() as u32 };
        assert_eq!(told.mtime, mtime);
        let of_root = client.getattr(root).unwrap();
        assert_eq!((of_root.file_type, of_root.fsid), (FileType::Directory, told.fsid));

        fs::remove_file(scratch.path().join("file")).unwrap();
        assert_eq!(client.getattr(&file), Err(Error::Stale));
        assert_eq!(client.getattr(b""), Err(Error::BadHandle));
        assert_eq!(client.getattr(&[7; 64]), Err(Error::BadHandle));
    });
}

#[test]
fn setattr_changes_and_its_guard_refuses() {
    with_export(|client, root, _| {
        let file = client.create(root, b"file").unwrap();
        let before = client.getattr(&file).unwrap();
        let set = client.setattr(&file, mode(0o600), Some(before.ctime));
        check(client, &file, &set.into_result().unwrap(), &before);

        let before = client.getattr(&file).unwrap();
        assert_eq!(before.mode, 0o600);
        let old = Time { seconds: 1, nanoseconds: 0 };
        let (error, wcc) = failure(client.setattr(&file, mode(0o644), Some(old)));
        assert_eq!(error, Error::NotSync);
        check(client, &file, &wcc, &before);
        assert_eq!(client.getattr(&file).unwrap(), before);

        let new = nfs3::SetAttributes {
            size: Some(5 << 30),
            mtime: SetTime::ClientTime(Time { seconds: 3_000_000_000, nanoseconds: 5 }),
            ..Default::default()
        };
        client.setattr(&file, new, None).into_result().unwrap();
        let after = client.getattr(&file).unwrap();
        assert_eq!(after.size, 5 << 30);
        assert_eq!(after.mtime, Time { seconds: 3_000_000_000, nanoseconds: 5 });

        let fails = |new: nfs3::SetAttributes, error| {
            let (failed, wcc) = failure(client.setattr(root, new, None));
            assert_eq!(failed, error);
            assert_eq!(wcc.after, Some(client.getattr(root).unwrap()));
        };
        fails(nfs3::SetAttributes { size: Some(1), ..Default::default() }, Error::Inval);
        fails(nfs3::SetAttributes { uid: Some(u32::MAX), ..Default::default() }, Error::Inval);
        let time = SetTime::ClientTime(Time { seconds: 1, nanoseconds: 1_000_000_000 });
        fails(nfs3::SetAttributes { mtime: time, ..Default::default() }, Error::Inval);
        fails(nfs3::SetAttributes { size: Some(u64::MAX), ..Default::default() }, Error::FBig);
    });
}

#[test]
fn lookup_finds_entries_itself_and_the_directory_above_up_to_the_root() {
    with_export(|client, root, scratch| {
        let dir = client.mkdir(root, b"dir").unwrap();
        let file = client.create(&dir, b"\xff not text").unwrap();
        assert_eq!(client.lookup(&dir, b"\xff not text").unwrap(), file);
        assert_eq!(client.lookup(&dir, b".").unwrap(), dir);
        assert_eq!(client.lookup(&dir, b"..").unwrap(), root);
        assert_eq!(client.lookup(root, b"..").unwrap(), root);
        let fails = |dir: &[u8], name: &[u8]| {
            let call = Call::Lookup(nfs3::LookupArgs { what: place(dir, name) });
            let (error, attributes) = failure(client.nfs::<nfs3::LookupRes<'_>>(&call));
            assert_eq!(attributes, client.getattr(dir).ok(), "{error}");
            error
        };
        assert_eq!(fails(root, b"absent"), Error::NoEnt);
        assert_eq!(fails(root, b""), Error::Acces);
        assert_eq!(fails(root, b"dir/x"), Error::Acces);
        assert_eq!(fails(root, b"a\0b"), Error::Acces);
        assert_eq!(fails(root, &[b'a'; 256]), Error::NameTooLong);
        assert_eq!(fails(root, &[b'a'; 65_536]), Error::NameTooLong);
        assert_eq!(fails(&file, b"x"), Error::NotDir);
        fs::remove_dir_all(scratch.path().join("dir")).unwrap();
        assert_eq!(fails(&dir, b"x"), Error::Stale);
    });
}

#[test]
fn access_is_what_the_caller_may() {
    as_root(|| {
        in_scratch(&|client, root, scratch| {
            let all = 0x3f;
            let file = client.create(root, b"file").unwrap();
            fs::set_permissions(scratch.path().join("file"), fs::Permissions::from_mode(0o640))
                .unwrap();
            let change = access::MODIFY | access::EXTEND;
            assert_eq!(client.access(&file, all), Ok(access::READ | change));
            assert_eq!(client.user(1001).access(&file, all), Ok(0));
            let group = Client { user: Some((1001, 0)), ..client.clone() };
            assert_eq!(group.access(&file, all), Ok(access::READ));
            assert_eq!(group.access(&file, access::MODIFY), Ok(0));
            let dir = access::READ | access::LOOKUP | change | access::DELETE;
            assert_eq!(client.user(1001).access(root, all), Ok(dir), "all may write there");
        });
    });
}

#[test]
fn readlink_gives_what_was_written() {
    with_export(|client, root, scratch| {
        let target = b"../../\xff/etc";
        let call = |name: &[u8], target: &[u8]| {
            client.nfs::<nfs3::CreateRes<'_>>(&Call::SymLink(nfs3::SymLinkArgs {
                place: place(root, name),
                symlink_attributes: Default::default(),
                symlink_data: Opaque::new(target).unwrap(),
            }))
        };
        let link = made(call(b"link", target)).unwrap();
        let read = |handle: &[u8]| {
            let call = Call::ReadLink(nfs3::ReadLinkArgs { symlink: fh(handle) });
            client.nfs::<nfs3::ReadLinkRes<'_>>(&call)
        };
        let ok = read(&link).into_result().unwrap();
        assert_eq!(*ok.data, *target);
        assert_eq!(ok.symlink_attributes.unwrap().file_type, FileType::SymLink);
        let (error, attributes) = failure(read(root));
        assert_eq!((error, attributes.is_some()), (Error::Inval, true));
        assert_eq!(failure(call(b"empty", b"")).0, Error::Inval);
        assert_eq!(failure(call(b"long", &[b'a'; 5000])).0, Error::NameTooLong);
        assert!(symlink("x", scratch.path().join("link")).is_err(), "it is there");
    });
}

/// A client takes what is beyond the end for zeros.
#[test]
fn what_the_disk_does_not_give_is_not_the_end() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        fs::write(disk.export().join("file"), vec![7; 4 << 20]).unwrap();
        disk.lose_from("/export/file", 600);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        let file = client.lookup(&client.mount("/").unwrap(), b"file").unwrap();
        let lost = 600 * 4096;
        let mut at = 2 << 20;
        while at < lost {
            let (data, eof) = client.read(&file, at, 1 << 20).unwrap();
            assert!(!data.is_empty() && data.iter().all(|byte| *byte == 7));
            assert!(!eof, "of {lost} bytes that are left, {at} and {} were read", data.len());
            at += data.len() as u64;
        }
        assert_eq!(client.read(&file, at, 1 << 20), Err(Error::Io));
    });
}

#[test]
fn what_is_written_is_read_wherever_it_is() {
    with_export(|client, root, _| {
        let file = client.create(root, b"file").unwrap();
        assert_eq!(client.read(&file, 0, 10), Ok((vec![], true)));
        let data: Vec<u8> = (0..300_000u32).map(|byte| (byte % 251) as u8).collect();
        let far = 6 << 32;
        let before = client.getattr(&file).unwrap();
        let wrote = client.write(&file, far, &data).unwrap();
        assert_eq!((wrote.count as usize, wrote.committed), (data.len(), StableHow::Unstable));
        check(client, &file, &wrote.file_wcc, &before);
        assert_eq!(client.read(&file, far, 1 << 20), Ok((data.clone(), true)));
        assert_eq!(client.read(&file, far, 1000), Ok((data[..1000].to_vec(), false)));
        assert_eq!(client.read(&file, far + 299_999, 1), Ok((data[299_999..].to_vec(), true)));
        assert_eq!(client.read(&file, far + 300_001, u32::MAX), Ok((vec![], true)));
        assert_eq!(client.read(&file, u64::MAX, u32::MAX), Ok((vec![], true)));
        assert_eq!(client.read(&file, 7, 3), Ok((vec![0; 3], false)), "a hole");
        assert_eq!(client.read(&file, far, 0), Ok((vec![], false)));
        let (hole, eof) = client.read(&file, 0, u32::MAX).unwrap();
        assert_eq!((hole.len(), eof), (1 << 20, false), "no more than the export admits");

        for stable in [StableHow::DataSync, StableHow::FileSync] {
            let ok = client.write_how(&file, 1, b"x", stable).into_result().unwrap();
            assert_eq!((ok.committed, ok.verifier), (stable, wrote.verifier));
        }
        let before = client.getattr(&file).unwrap();
        let ok = client.commit(&file).into_result().unwrap();
        assert_eq!(ok.verifier, wrote.verifier);
        check(client, &file, &ok.file_wcc, &before);
        assert_eq!(client.write(&file, 0, b"").unwrap().count, 0);
    });
}

#[test]
fn reads_and_writes_that_cannot_be_say_why() {
    with_export(|client, root, scratch| {
        let file = client.create(root, b"file").unwrap();
        assert_eq!(client.read(root, 0, 10), Err(Error::Inval));
        assert_eq!(client.write(root, 0, b"x").unwrap_err(), Error::Inval);
        assert_eq!(failure(client.commit(root)).0, Error::Inval);
        assert_eq!(client.write(&file, u64::MAX - 1, b"xyz").unwrap_err(), Error::FBig);
        assert_eq!(client.write(&file, i64::MAX as u64, b"x").unwrap_err(), Error::FBig);
        let lie = nfs3::WriteArgs {
            file: fh(&file),
            offset: 0,
            count: 9,
            stable: StableHow::Unstable,
            data: Opaque::new(b"four").unwrap(),
        };
        let (error, wcc) = failure(client.nfs::<nfs3::WriteRes>(&Call::Write(lie)));
        assert_eq!((error, wcc.after.unwrap().size), (Error::Inval, 0));
        fs::remove_file(scratch.path().join("file")).unwrap();
        assert_eq!(client.read(&file, 0, 1), Err(Error::Stale));
        assert_eq!(client.write(&file, 0, b"x").unwrap_err(), Error::Stale);
        assert_eq!(failure(client.commit(&file)).0, Error::Stale);
    });
}

#[test]
fn the_owner_reads_and_writes_what_its_mode_forbids_and_nobody_else_does() {
    as_root(|| {
        in_scratch(&|client, root, _| {
            let owner = client.user(1001);
            let how = CreateHow::Guarded(mode(0o444));
            let file = made(owner.create_how(root, b"object", how)).unwrap();
            owner.write(&file, 0, b"object").unwrap();
            owner.commit(&file).into_result().unwrap();
            let other = client.user(1002);
            assert_eq!(other.read(&file, 0, 9).unwrap().0, b"object");
            let (error, wcc) = failure(other.write_how(&file, 0, b"x", StableHow::FileSync));
            assert_eq!((error, wcc.before), (Error::Acces, None));
            assert_eq!(wcc.after, Some(client.getattr(&file).unwrap()));
            assert_eq!(failure(other.setattr(&file, mode(0o777), None)).0, Error::Perm);
            let secret = made(owner.create_how(root, b"s", CreateHow::Guarded(mode(0)))).unwrap();
            let call = Call::Read(nfs3::ReadArgs { file: fh(&secret), offset: 0, count: 9 });
            let (error, attributes) = failure(other.nfs::<nfs3::ReadRes<'_>>(&call));
            assert_eq!((error, attributes.map(|a| a.mode)), (Error::Acces, Some(0)));
        });
    });
}

#[test]
fn create_guards_takes_and_knows_its_own_retransmission() {
    with_export(|client, root, _| {
        let before = client.getattr(root).unwrap();
        let ok = client.create_how(root, b"file", CreateHow::Guarded(mode(0o640)));
        let ok = ok.into_result().unwrap();
        check(client, root, &ok.dir_wcc, &before);
        let file = ok.object.unwrap().to_vec();
        assert_eq!(ok.object_attributes, Some(client.getattr(&file).unwrap()));
        client.write(&file, 0, b"content").unwrap();

        let again = client.create_how(root, b"file", CreateHow::Guarded(mode(0)));
        let (error, wcc) = failure(again);
        assert_eq!((error, wcc.after), (Error::Exist, Some(client.getattr(root).unwrap())));
        let cut = nfs3::SetAttributes { size: Some(3), ..Default::default() };
        let same = made(client.create_how(root, b"file", CreateHow::Unchecked(cut))).unwrap();
        assert_eq!((same, client.read(&file, 0, 9).unwrap().0), (file, b"con".to_vec()));

        // With other transactions: nothing is remembered but what is in the file.
        let exclusive = |verifier| client.create_how(root, b"ex", CreateHow::Exclusive(verifier));
        let first = made(exclusive([0xa5; 8])).unwrap();
        assert_eq!(made(exclusive([0xa5; 8])), Ok(first));
        assert_eq!(made(exclusive([0x5a; 8])), Err(Error::Exist));

        client.mkdir(root, b"dir").unwrap();
        let taken = client.create_how(root, b"dir", CreateHow::Unchecked(mode(0)));
        assert_eq!(failure(taken).0, Error::Exist);
        for (name, error) in BAD_NAMES {
            let expected = if matches!(*name, b"." | b"..") { Error::Exist } else { *error };
            assert_eq!(client.create(root, name), Err(expected), "{name:?}");
            assert_eq!(client.mkdir(root, name), Err(expected), "{name:?}");
        }
    });
}

#[test]
fn special_files_are_made_and_other_types_refused() {
    as_root(|| {
        in_scratch(&|client, root, scratch| {
            let make = |name: &[u8], what| {
                let place = place(root, name);
                made(client.nfs(&Call::MkNod(nfs3::MkNodArgs { place, what })))
            };
            let device =
                DeviceData { attributes: mode(0o600), device: DeviceNumber { major: 1, minor: 3 } };
            let null = make(b"null", MkNodData::Character(device)).unwrap();
            let told = client.getattr(&null).unwrap();
            assert_eq!((told.file_type, told.rdev), (FileType::Character, device.device));
            let block = make(b"block", MkNodData::Block(device)).unwrap();
            assert_eq!(client.getattr(&block).unwrap().file_type, FileType::Block);
            make(b"fifo", MkNodData::Fifo(mode(0o600))).unwrap();
            make(b"socket", MkNodData::Socket(mode(0o600))).unwrap();
            let kind = |name| fs::symlink_metadata(scratch.path().join(name)).unwrap().file_type();
            assert!(kind("fifo").is_fifo() && kind("socket").is_socket());
            assert_eq!(make(b"x", MkNodData::Other(1)), Err(Error::BadType));
            assert_eq!(make(b"x", MkNodData::Other(99)), Err(Error::BadType));
            assert_eq!(make(b"fifo", MkNodData::Fifo(mode(0))), Err(Error::Exist));
            assert_eq!(client.read(&null, 0, 9), Err(Error::Inval), "the device is not opened");
            let place = place(root, b"d");
            let what = MkNodData::Block(device);
            let call = Call::MkNod(nfs3::MkNodArgs { place, what });
            assert_eq!(made(client.user(1001).nfs(&call)), Err(Error::Perm));
        });
    });
}

#[test]
fn names_are_removed_and_what_cannot_be_stays() {
    with_export(|client, root, _| {
        client.create(root, b"file").unwrap();
        let dir = client.mkdir(root, b"dir").unwrap();
        client.create(&dir, b"inside").unwrap();
        let before = client.getattr(root).unwrap();
        assert_eq!(failure(client.remove(root, b"dir")).0, Error::IsDir);
        assert_eq!(failure(client.rmdir(root, b"dir")).0, Error::NotEmpty);
        assert_eq!(failure(client.rmdir(root, b"file")).0, Error::NotDir);
        assert_eq!(failure(client.remove(root, b".")).0, Error::Inval);
        assert_eq!(failure(client.remove(root, b"..")).0, Error::Inval);
        assert_eq!(failure(client.rmdir(root, b".")).0, Error::Inval);
        assert_eq!(failure(client.rmdir(root, b"..")).0, Error::Exist);
        let (error, wcc) = failure(client.remove(root, b"absent"));
        assert_eq!(error, Error::NoEnt);
        check(client, root, &wcc, &before);
        let wcc = client.remove(root, b"file").into_result().unwrap();
        check(client, root, &wcc, &before);
        client.remove(&dir, b"inside").into_result().unwrap();
        client.rmdir(root, b"dir").into_result().unwrap();
        assert_eq!(failure(client.remove(&dir, b"x")).0, Error::Stale);
    });
}

#[test]
fn rename_moves_and_replaces_and_says_what_both_directories_were() {
    with_export(|client, root, _| {
        let dir = client.mkdir(root, b"dir").unwrap();
        let file = client.create(root, b"file").unwrap();
        client.create(&dir, b"old").unwrap();
        let before = (client.getattr(root).unwrap(), client.getattr(&dir).unwrap());
        let ok = client.rename((root, b"file"), (&dir, b"old")).into_result().unwrap();
        check(client, root, &ok.from_dir_wcc, &before.0);
        check(client, &dir, &ok.to_dir_wcc, &before.1);
        let moved = client.lookup(&dir, b"old").unwrap();
        assert_eq!(
            client.getattr(&moved).unwrap().fileid,
            client.getattr(&file).unwrap().fileid,
            "the old handle still names it"
        );

        let before = client.getattr(&dir).unwrap();
        let ok = client.rename((&dir, b"old"), (&dir, b"new")).into_result().unwrap();
        check(client, &dir, &ok.from_dir_wcc, &before);
        check(client, &dir, &ok.to_dir_wcc, &before);

        let fails = |from: (&[u8], &[u8]), to: (&[u8], &[u8])| {
            let (error, wcc) = failure(client.rename(from, to));
            assert_eq!(wcc.from_dir_wcc.after, client.getattr(from.0).ok());
            error
        };
        client.mkdir(root, b"full").unwrap();
        assert_eq!(fails((root, b"full"), (root, b"dir")), Error::NotEmpty);
        assert_eq!(fails((root, b"dir"), (&dir, b"itself")), Error::Inval);
        assert_eq!(fails((root, b"absent"), (root, b"x")), Error::NoEnt);
        assert_eq!(fails((&dir, b"new"), (root, b"full")), Error::IsDir);
        assert_eq!(fails((root, b"full"), (&dir, b"new")), Error::NotDir);
        assert_eq!(fails((&moved, b"x"), (root, b"x")), Error::NotDir);
        for name in [&b"."[..], b".."] {
            assert_eq!(fails((root, name), (root, b"x")), Error::Inval);
            assert_eq!(fails((root, b"dir"), (root, name)), Error::Inval);
        }
    });
}

#[test]
fn link_gives_a_second_name() {
    with_export(|client, root, _| {
        let dir = client.mkdir(root, b"dir").unwrap();
        let file = client.create(root, b"file").unwrap();
        let before = client.getattr(&dir).unwrap();
        let ok = client.link(&file, &dir, b"second").into_result().unwrap();
        check(client, &dir, &ok.link_dir_wcc, &before);
        assert_eq!(ok.file_attributes.unwrap().nlink, 2);
        let (error, wcc) = failure(client.link(&file, &dir, b"second"));
        assert_eq!((error, wcc.file_attributes.unwrap().nlink), (Error::Exist, 2));
        assert_eq!(failure(client.link(&dir, root, b"loop")).0, Error::Inval);
        assert_eq!(failure(client.link(&file, &file, b"x")).0, Error::NotDir);
        assert_eq!(failure(client.link(&file, &dir, b"..")).0, Error::Exist);
        // A change by one name is not alone if another goes on by the other: they are one file.
        let second = client.lookup(&dir, b"second").unwrap();
        client.write(&second, 0, b"both").unwrap();
        assert_eq!(client.read(&file, 0, 9).unwrap().0, b"both");
    });
}

#[test]
fn figures_of_the_file_system() {
    with_export(|client, root, _| {
        let call = Call::FsStat(nfs3::FsArgs { fs_root: fh(root) });
        let stat = client.nfs::<nfs3::FsStatRes>(&call).into_result().unwrap();
        assert!(stat.total_bytes >= stat.free_bytes && stat.free_bytes >= stat.available_bytes);
        assert!(stat.total_files >= stat.free_files && stat.object_attributes.is_some());
        let call = Call::FsInfo(nfs3::FsArgs { fs_root: fh(root) });
        let info = client.nfs::<nfs3::FsInfoRes>(&call).into_result().unwrap();
        assert_eq!((info.read_max, info.write_max), (1 << 20, 1 << 20));
        assert_eq!((info.time_delta, info.properties), (Time { seconds: 0, nanoseconds: 1 }, 0x1b));
        let call = Call::PathConf(nfs3::PathConfArgs { object: fh(root) });
        let conf = client.nfs::<nfs3::PathConfRes>(&call).into_result().unwrap();
        assert_eq!((conf.name_max, conf.no_trunc, conf.case_insensitive), (255, true, false));
        for call in [
            Call::FsStat(nfs3::FsArgs { fs_root: fh(&[9; 32]) }),
            Call::FsInfo(nfs3::FsArgs { fs_root: fh(&[9; 32]) }),
        ] {
            let result = client.nfs::<nfs3::Outcome<(), nfs3::PostOpAttributes>>(&call);
            assert_eq!(result.into_result(), Err(Error::BadHandle));
        }
    });
}

#[test]
fn no_read_or_write_is_longer_than_the_export_admits() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let mut options = trusting(scratch.path());
        (options.read_max, options.write_max) = (8192, 4096);
        let client = Client::new(&Thread::new(), &service(vec![options]));
        let root = client.mount("/").unwrap();
        let call = Call::FsInfo(nfs3::FsArgs { fs_root: fh(&root) });
        let info = client.nfs::<nfs3::FsInfoRes>(&call).into_result().unwrap();
        assert_eq!((info.read_max, info.read_preferred), (8192, 8192));
        assert_eq!((info.write_max, info.write_preferred), (4096, 4096));
        let file = client.create(&root, b"file").unwrap();
        let data: Vec<u8> = (0..20_000u32).map(|byte| (byte % 241) as u8).collect();
        let mut done = 0;
        while done < data.len() {
            let wrote = client.write(&file, done as u64, &data[done..]).unwrap().count as usize;
            assert_eq!(wrote, (data.len() - done).min(4096));
            done += wrote;
        }
        assert_eq!(client.read(&file, 0, 20_000), Ok((data[..8192].to_vec(), false)));
        assert_eq!(client.read(&file, 16_000, 8192), Ok((data[16_000..].to_vec(), true)));
    });
}

#[test]
fn an_export_is_one_file_system_though_a_union_has_files_of_several() {
    as_root(|| {
        let disk = Disk::new(Kind::Overlay);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.mount_point())]));
        let root = client.mount("/").unwrap();
        let fsid = |handle: &[u8]| client.getattr(handle).unwrap().fsid;
        assert_eq!(fsid(&client.lookup(&root, b"below").unwrap()), fsid(&root));
        assert_eq!(fsid(&client.create(&root, b"above").unwrap()), fsid(&root));
    });
}

#[test]
fn a_file_system_mounted_below_is_another_one_if_it_belongs_to_the_export() {
    as_root(|| {
        let (disk, export) = (Disk::new(Kind::Tmpfs), Scratch::new());
        fs::create_dir(export.path().join("fs")).unwrap();
        let below = export.path().join("fs");
        run("mount", &["--bind", disk.export().to_str().unwrap(), below.to_str().unwrap()]);
        let mut options = trusting(export.path());
        let closed = Client::new(&Thread::new(), &service(vec![options.clone()]));
        let root = closed.mount("/").unwrap();
        assert_eq!(closed.lookup(&root, b"fs"), Err(Error::Acces));
        assert_eq!(closed.mount("/fs"), Err(holm_nfs_proto::mount::Error::Acces));

        options.mounts = Mounts::Crossed;
        let crossed = Client { service: service(vec![options]), ..closed };
        let root = crossed.mount("/").unwrap();
        let below = crossed.lookup(&root, b"fs").unwrap();
        let file = crossed.create(&below, b"file").unwrap();
        let fsid = |handle: &[u8]| crossed.getattr(handle).unwrap().fsid;
        assert_ne!(fsid(&below), fsid(&root));
        assert_eq!(fsid(&below), fsid(&file));
        let moved = crossed.rename((&below, b"file"), (&root, b"file"));
        assert_eq!(failure(moved).0, Error::XDev);
        assert_eq!(failure(crossed.link(&file, &root, b"file")).0, Error::XDev);
    });
}

#[test]
fn nothing_changes_on_a_read_only_export() {
    let test = || {
        let scratch = Scratch::new();
        open_to_all(scratch.path());
        fs::write(scratch.path().join("file"), "content").unwrap();
        let mut options = trusting(scratch.path());
        options.read_only = true;
        let client = Client::new(&Thread::new(), &service(vec![options]));
        let root = client.mount("/").unwrap();
        let file = client.lookup(&root, b"file").unwrap();
        assert_eq!(client.read(&file, 0, 9).unwrap().0, b"content");
        let all = access::MODIFY | access::EXTEND | access::DELETE;
        assert_eq!(client.access(&root, all), Ok(0));
        assert_eq!(client.write(&file, 0, b"x").unwrap_err(), Error::RoFs);
        assert_eq!(failure(client.setattr(&file, mode(0), None)).0, Error::RoFs);
        for call in crate::calls::with_name(&root, b"x", &file, b"file").iter().skip(1) {
            assert_eq!(client.status(call), Error::RoFs as u32, "{call:?}");
        }
        assert_eq!(failure(client.remove(&root, b"file")).0, Error::RoFs);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"content");
    };
    as_root(test);
    as_ordinary_user(test);
}

const BAD_NAMES: &[(&[u8], Error)] = &[
    (b"", Error::Acces),
    (b".", Error::Exist),
    (b"..", Error::Exist),
    (b"a/b", Error::Acces),
    (b"/", Error::Acces),
    (b"../x", Error::Acces),
    (b"x\0", Error::Acces),
    (&[b'n'; 300], Error::NameTooLong),
];
