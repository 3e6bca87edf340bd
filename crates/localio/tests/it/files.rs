//! Reading and writing.

use crate::world::{World, mount, options, pattern, url};
use holm_localio::wire::{SetAttributes, SetTime, Time};
use holm_localio::{Access, Mount};
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn what_is_written_is_there() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    // More than goes into one call, and no round number.
    let content = pattern(5 * (1 << 20) + 12_345, 1);
    let file = mount.create("a", 0o640, true).unwrap();
    file.write_at(&content, 0).unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(directory.join("a")).unwrap(), content);
    let metadata = fs::metadata(directory.join("a")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o640, 1000));

    let mut buffer = vec![0; content.len() + 100];
    let again = mount.open("a", Access::Read).unwrap();
    assert_eq!(again.read_at(&mut buffer, 0).unwrap(), content.len());
    assert_eq!(buffer[..content.len()], content);
    assert_eq!(again.read_at(&mut buffer[..100], 7_777).unwrap(), 100);
    assert_eq!(buffer[..100], content[7_777..7_877]);
    assert_eq!(again.read_at(&mut buffer, content.len() as u64 + 5).unwrap(), 0, "behind the end");
}

#[test]
fn threads_go_side_by_side() {
    const SLICE: usize = 300_000;
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    let file = mount.create("a", 0o600, true).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                let (content, at) = (pattern(SLICE, thread), thread * SLICE as u64);
                for (index, piece) in content.chunks(10_001).enumerate() {
                    file.write_at(piece, at + index as u64 * 10_001).unwrap();
                }
                file.commit().unwrap();
                let mut read = vec![0; SLICE];
                assert_eq!(file.read_at(&mut read, at).unwrap(), SLICE);
                assert!(read == content, "thread {thread}");
            });
        }
    });
    let expected: Vec<_> = (0..8).flat_map(|thread| pattern(SLICE, thread)).collect();
    assert!(fs::read(directory.join("a")).unwrap() == expected);
}

#[test]
fn little_is_kept_where_little_may_be() {
    let world = World::new();
    let (address, directory) = world.files();
    let content = pattern(3 << 20, 2);
    for bytes in [0, 1, 10_000, 1 << 20] {
        let mut options = options();
        options.uncommitted = bytes;
        let mount = Mount::new(&url(address, "/"), &options).unwrap();
        let files = ["a", "b"].map(|name| mount.create(name, 0o600, false).unwrap());
        for (index, piece) in content.chunks(40_000).enumerate() {
            files[index % 2].write_at(piece, index as u64 * 40_000).unwrap();
        }
        for file in &files {
            file.commit().unwrap();
        }
        let read = ["a", "b"].map(|name| fs::read(directory.join(name)).unwrap());
        for (index, piece) in content.chunks(40_000).enumerate() {
            let at = index * 40_000;
            assert!(&read[index % 2][at..at + piece.len()] == piece, "{bytes}: {index}");
        }
    }
}

#[test]
fn a_stream_reads_writes_and_seeks() {
    let world = World::new();
    let (address, _) = world.files();
    let mount = mount(address);
    let file = mount.create("a", 0o600, true).unwrap();
    let content = pattern(100_000, 3);
    let mut stream = file.stream();
    io::copy(&mut &content[..], &mut stream).unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.seek(SeekFrom::End(-10)).unwrap(), 99_990);
    stream.write_all(b"0123456789ab").unwrap();
    stream.rewind().unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), 100_002);
    assert!(read[..99_990] == content[..99_990] && read[99_990..] == *b"0123456789ab");
    assert_eq!(stream.seek(SeekFrom::Current(-2)).unwrap(), 100_000);
    assert_eq!(stream.seek(SeekFrom::Start(5)).unwrap(), 5);
    assert_eq!(stream.seek(SeekFrom::Current(-6)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn attributes_change() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    let file = mount.create("a", 0o600, true).unwrap();
    file.write_at(&[7; 1000], 0).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(file.stat().unwrap().size, 10);
    file.set_len(12).unwrap();
    assert_eq!(fs::read(directory.join("a")).unwrap(), [[7; 10].as_slice(), &[0; 2]].concat());

    let time = Time { seconds: 1_000_000_000, nanoseconds: 5000 };
    let set = SetAttributes {
        mode: Some(0o444),
        mtime: SetTime::ClientTime(time),
        atime: SetTime::ServerTime,
        size: Some(3),
        ..SetAttributes::default()
    };
    mount.set("a", &set).unwrap();
    let metadata = fs::metadata(directory.join("a")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o444, 3));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 5000));
    assert_eq!(mount.stat("a").unwrap().mtime, time);
}

#[test]
fn a_file_is_what_it_was_opened_for() {
    let world = World::new();
    let (address, directory) = world.files();
    let mount = mount(address);
    fs::write(directory.join("a"), "a").unwrap();
    fs::set_permissions(directory.join("a"), PermissionsExt::from_mode(0o444)).unwrap();
    let kind = |error: holm_localio::Error| (error.kind(), error.to_string());

    let (denied, said) = kind(mount.open("a", Access::Write).unwrap_err());
    assert_eq!(denied, ErrorKind::PermissionDenied);
    assert!(said.contains(&format!("could not open nfs://{address}/a: permission")), "{said}");

    let read_only = mount.open("a", Access::Read).unwrap();
    assert_eq!(kind(read_only.write_at(b"b", 0).unwrap_err()).0, ErrorKind::InvalidInput);
    assert_eq!(kind(read_only.set_len(0).unwrap_err()).0, ErrorKind::InvalidInput);
    mount.create("b", 0o600, true).unwrap();
    let write_only = mount.open("b", Access::Write).unwrap();
    assert_eq!(kind(write_only.read_at(&mut [0], 0).unwrap_err()).0, ErrorKind::InvalidInput);
    assert_eq!(kind(mount.open("", Access::Read).unwrap_err()).0, ErrorKind::IsADirectory);
    assert_eq!(kind(mount.open("c", Access::Read).unwrap_err()).0, ErrorKind::NotFound);
    assert_eq!(kind(mount.create("b", 0o600, true).unwrap_err()).0, ErrorKind::AlreadyExists);

    // Removed, and another of that name: the handle decides.
    mount.remove("b").unwrap();
    mount.create("b", 0o600, true).unwrap().write_at(b"another", 0).unwrap();
    let (stale, said) = kind(write_only.write_at(b"x", 0).unwrap_err());
    assert_eq!(stale, ErrorKind::StaleNetworkFileHandle, "{said}");
    assert_eq!(fs::read(directory.join("b")).unwrap(), b"another");
}
