//! READDIR and READDIRPLUS in many small pieces, while the directory changes.

use crate::wire::*;
use crate::world::{Disk, Kind, Scratch, as_ordinary_user, as_root};
use holm_nfs_proto::nfs3::{self, Call, Error};
use holm_xdr::{Encode, Encoder};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// One piece of a listing: name and cookie of its entries, and whether it is the last.
type Piece = (Vec<(Vec<u8>, u64)>, [u8; 8], bool);

fn plus(
    client: &Client,
    dir: &[u8],
    at: (u64, [u8; 8]),
    counts: (u32, u32),
) -> Result<Piece, Error> {
    let (cookie, cookie_verifier) = at;
    let (dir_count, max_count) = counts;
    let dir = fh(dir);
    let args = nfs3::ReadDirPlusArgs { dir, cookie, cookie_verifier, dir_count, max_count };
    let ok = client.nfs::<nfs3::ReadDirPlusRes<'_>>(&Call::ReadDirPlus(args)).into_result()?;
    assert!(encoded(&ok) <= max_count as usize, "{} bytes of {max_count}", encoded(&ok));
    let dir_bytes: usize =
        ok.entries.iter().map(|entry| 24 + entry.name.len().div_ceil(4) * 4).sum();
    assert!(dir_bytes <= dir_count as usize || ok.entries.len() == 1);
    for entry in ok.entries.iter() {
        if let (Some(handle), Some(told)) = (entry.name_handle, entry.name_attributes)
            && entry.cookie % 7 == 0
        {
            let now = client.getattr(&handle);
            assert!(now == Err(Error::Stale) || now.unwrap().fileid == told.fileid);
        }
    }
    let entries = ok.entries.iter().map(|entry| (entry.name.to_vec(), entry.cookie)).collect();
    Ok((entries, ok.cookie_verifier, ok.eof))
}

fn plain(client: &Client, dir: &[u8], at: (u64, [u8; 8]), count: u32) -> Result<Piece, Error> {
    let (cookie, cookie_verifier) = at;
    let args = nfs3::ReadDirArgs { dir: fh(dir), cookie, cookie_verifier, count };
    let ok = client.nfs::<nfs3::ReadDirRes<'_>>(&Call::ReadDir(args)).into_result()?;
    assert!(encoded(&ok) <= count as usize, "{} bytes of {count}", encoded(&ok));
    let entries = ok.entries.iter().map(|entry| (entry.name.to_vec(), entry.cookie)).collect();
    Ok((entries, ok.cookie_verifier, ok.eof))
}

fn encoded(value: &impl Encode) -> usize {
    let mut out = Encoder::new();
    out.put(value);
    out.len()
}

/// Lists a directory, and lets `meanwhile` happen between the pieces. Says how often each name came.
fn list(
    mut piece: impl FnMut((u64, [u8; 8]), usize) -> Piece,
    mut meanwhile: impl FnMut(usize),
) -> HashMap<Vec<u8>, u32> {
    let mut seen = HashMap::new();
    let mut at = (0, [0; 8]);
    for round in 0.. {
        let (entries, verifier, eof) = piece(at, round);
        for (name, cookie) in entries {
            *seen.entry(name).or_default() += 1;
            at = (cookie, verifier);
        }
        if eof {
            break;
        }
        meanwhile(round);
    }
    seen
}

fn fill(directory: &Path, count: usize) {
    for number in 0..count {
        fs::write(directory.join(format!("stays {number:06}")), "").unwrap();
    }
}

/// Lists while files come and go, and checks that what stays is listed once.
fn lists_what_stays(client: &Client, root: &[u8], directory: &Path, count: usize, budgets: &[u32]) {
    fill(directory, count);
    let change = |round: usize| {
        let path = |number: usize| directory.join(format!("comes and goes {number}"));
        fs::write(path(round), "").unwrap();
        if round >= 10 {
            fs::remove_file(path(round - 10)).unwrap();
        }
    };
    let check = |seen: HashMap<Vec<u8>, u32>| {
        for number in 0..count {
            let name = format!("stays {number:06}");
            assert_eq!(seen.get(name.as_bytes()), Some(&1), "{name}");
        }
        assert_eq!((seen[&b"."[..]], seen[&b".."[..]]), (1, 1));
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains("comes") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    let budget = |round: usize| budgets[round % budgets.len()];
    check(list(
        |at, round| plus(client, root, at, (budget(round) / 2, budget(round))).unwrap(),
        change,
    ));
    check(list(|at, round| plain(client, root, at, budget(round)).unwrap(), change));
}

#[test]
fn every_entry_that_stays_is_listed_once_in_small_pieces_of_a_large_directory() {
    as_root(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        let budgets = [4096, 32 << 10, 1200, 64 << 10, 9000, 2048];
        lists_what_stays(&client, &root, scratch.path(), 100_000, &budgets);
    });
}

#[test]
fn every_entry_that_stays_is_listed_once_where_positions_do_not_last() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        let root = client.mount("/").unwrap();
        lists_what_stays(&client, &root, &disk.export(), 2000, &[4096, 1200, 9000]);
    });
}

#[test]
fn every_entry_that_stays_is_listed_once_to_an_ordinary_user() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        lists_what_stays(&client, &root, scratch.path(), 500, &[4096, 1200, 9000]);
    });
}

#[test]
fn a_listing_that_cannot_be_says_why() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        let file = client.create(&root, &[b'n'; 255]).unwrap();
        let start = (0, [0; 8]);
        assert_eq!(plain(&client, &root, start, 0).unwrap_err(), Error::TooSmall);
        assert_eq!(plain(&client, &root, start, 110).unwrap_err(), Error::TooSmall);
        assert_eq!(plus(&client, &root, start, (0, 0)).unwrap_err(), Error::TooSmall);
        assert_eq!(plus(&client, &root, start, (100, 200)).unwrap_err(), Error::TooSmall);
        assert_eq!(plain(&client, &file, start, 4096).unwrap_err(), Error::NotDir);
        assert_eq!(plus(&client, &file, start, (4096, 4096)).unwrap_err(), Error::NotDir);
        let odd = (5, [9; 8]);
        assert_eq!(plain(&client, &root, odd, 4096).unwrap_err(), Error::BadCookie);
        assert_eq!(plus(&client, &root, odd, (4096, 4096)).unwrap_err(), Error::BadCookie);
        // As much as there is, for whatever it asks.
        let (entries, _, eof) = plus(&client, &root, start, (u32::MAX, u32::MAX)).unwrap();
        assert_eq!((entries.len(), eof), (3, true));
        fs::create_dir(scratch.path().join("gone")).unwrap();
        let gone = client.lookup(&root, b"gone").unwrap();
        fs::remove_dir(scratch.path().join("gone")).unwrap();
        assert_eq!(plain(&client, &gone, start, 4096).unwrap_err(), Error::Stale);
    });
}

#[test]
fn entries_come_with_attributes_and_handles_and_the_roots_parent_is_itself() {
    as_root(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        let dir = client.mkdir(&root, b"dir").unwrap();
        let listing = |dir: &[u8]| -> HashMap<Vec<u8>, Vec<u8>> {
            let result = client.nfs::<nfs3::ReadDirPlusRes<'_>>(&Call::ReadDirPlus(args(fh(dir))));
            let ok = result.into_result().unwrap();
            let entry = |entry: &nfs3::EntryPlus<'_>| {
                let handle = entry.name_handle.unwrap().to_vec();
                let attributes = client.getattr(&handle).unwrap();
                // The listing itself has read the directory.
                let told = entry.name_attributes.unwrap();
                assert_eq!(nfs3::Attributes { atime: attributes.atime, ..told }, attributes);
                assert_eq!(entry.fileid, attributes.fileid);
                (entry.name.to_vec(), handle)
            };
            ok.entries.iter().map(entry).collect()
        };
        let of_root = listing(&root);
        assert_eq!((&of_root[&b"."[..]], &of_root[&b".."[..]]), (&root, &root));
        assert_eq!(of_root[&b"dir"[..]], dir);
        let of_dir = listing(&dir);
        assert_eq!((&of_dir[&b"."[..]], &of_dir[&b".."[..]]), (&dir, &root));

        // Who may list a directory and not look into it, gets names.
        use std::os::unix::fs::PermissionsExt;
        let only_read = fs::Permissions::from_mode(0o744);
        client.create(&dir, b"file").unwrap();
        fs::set_permissions(scratch.path().join("dir"), only_read).unwrap();
        let result =
            client.user(1001).nfs::<nfs3::ReadDirPlusRes<'_>>(&Call::ReadDirPlus(args(fh(&dir))));
        let ok = result.into_result().unwrap();
        let file = ok.entries.iter().find(|entry| *entry.name == *b"file").unwrap();
        assert_eq!((file.name_handle, file.name_attributes), (None, None));
    });
}

fn args(dir: nfs3::FileHandle<'_>) -> nfs3::ReadDirPlusArgs<'_> {
    let (cookie, cookie_verifier) = (0, [0; 8]);
    nfs3::ReadDirPlusArgs { dir, cookie, cookie_verifier, dir_count: 8192, max_count: 8192 }
}
