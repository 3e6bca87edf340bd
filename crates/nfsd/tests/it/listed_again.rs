//! READDIRPLUS of directories that were listed before: what is kept of them, and for how long.
#![cfg(not(shuttle))]

use crate::wire::*;
use crate::world::{Disk, Kind, as_root, run};
use holm_nfs_proto::nfs3::{self, Call, CreateHow, StableHow};
use holm_nfsd::cache::{Clock, Watcher};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was listed of an entry: its handle and attributes, if it has any.
type Listed = Option<(Handle, nfs3::Attributes)>;

/// A call, the entry that it changes, and how it is made.
type Change<'c> = (&'static str, &'static str, &'c dyn Fn() -> Result<(), nfs3::Error>);

/// What happens to a directory, and how it is done.
type Way<'w> = (&'static str, &'w dyn Fn(&[u8]));

/// A directory of an export, and who lists it.
struct Tree {
    client: Client,
    root: Handle,
    path: PathBuf,
}

/// Runs a test on an export of each kind of file system of which something is kept. The clock of
/// the cache stands still.
fn each(test: impl Fn(&Tree) + Send + Sync) {
    for kind in [Kind::Ext4, Kind::Tmpfs] {
        with(kind, &test);
    }
}

fn with(kind: Kind, test: impl Fn(&Tree) + Send + Sync) {
    as_root(|| {
        let disk = Disk::new(kind);
        let tenant = Tenant::new(Watcher::refusing(), Clock::manual());
        let thread = Thread::within(Some(tenant));
        let client = Client::new(&thread, &service(vec![trusting(&disk.export())]));
        let root = client.mount("/").unwrap();
        test(&Tree { client, root, path: disk.export() });
    });
}

impl Tree {
    /// A new directory with files, each with a handle.
    fn directory(&self, name: &str, files: &[&str]) -> Handle {
        let dir = self.client.mkdir(&self.root, name.as_bytes()).unwrap();
        for file in files {
            self.client.create(&dir, file.as_bytes()).unwrap();
        }
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn a_second_passes(&self) {
        let tenant = self.client.thread.tenant.as_ref().unwrap();
        tenant.clock.advance(Duration::from_secs(1));
    }
}

/// Waits until a directory was not changed since a moment before: only then anything is kept of it.
fn let_settle(directory: &Path) {
    while !is_settled(directory) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_settled(directory: &Path) -> bool {
    let metadata = fs::metadata(directory).unwrap();
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (now.tv_sec, now.tv_nsec) > (metadata.ctime() + 1, metadata.ctime_nsec())
}

/// A piece of a directory of so many bytes, where the last one ended; whether it is the last.
fn piece(
    client: &Client,
    dir: &[u8],
    at: &mut (u64, [u8; 8]),
    max_count: u32,
) -> (Vec<(String, Listed)>, bool) {
    let ((cookie, cookie_verifier), dir_count) = (*at, max_count);
    let args =
        nfs3::ReadDirPlusArgs { dir: fh(dir), cookie, cookie_verifier, dir_count, max_count };
    let result = client.nfs::<nfs3::ReadDirPlusRes<'_>>(&Call::ReadDirPlus(args));
    let ok = result.into_result().unwrap();
    let mut listed = Vec::new();
    for entry in ok.entries.iter() {
        let handle = entry.name_handle.map(|handle| handle.to_vec());
        let name = String::from_utf8(entry.name.to_vec()).unwrap();
        listed.push((name, handle.zip(entry.name_attributes)));
        *at = (entry.cookie, ok.cookie_verifier);
    }
    (listed, ok.eof)
}

/// All of a directory, in pieces of so many bytes.
fn list_in(
    client: &Client,
    dir: &[u8],
    mut budget: impl FnMut() -> u32,
) -> BTreeMap<String, Listed> {
    let mut all = BTreeMap::new();
    let mut at = (0, [0; 8]);
    loop {
        let (entries, ended) = piece(client, dir, &mut at, budget());
        for (name, listed) in entries {
            assert!(all.insert(name, listed).is_none(), "listed twice");
        }
        if ended {
            return all;
        }
    }
}

fn list(client: &Client, dir: &[u8]) -> BTreeMap<String, Listed> {
    list_in(client, dir, || 32 << 10)
}

/// Without what the file system changes when it likes: when it was read, and how much space it takes.
fn settled(attributes: nfs3::Attributes) -> nfs3::Attributes {
    nfs3::Attributes { atime: Default::default(), used: 0, ..attributes }
}

/// Lists a directory twice; in between others change an entry, which is not seen: so what was said
/// is said again.
fn assert_kept(client: &Client, dir: &[u8], witness: &Path) {
    let name = witness.file_name().unwrap().to_str().unwrap();
    let before = list(client, dir)[name].clone().unwrap();
    let mode = fs::metadata(witness).unwrap().permissions().mode();
    fs::set_permissions(witness, fs::Permissions::from_mode(mode ^ 0o007)).unwrap();
    assert_eq!(list(client, dir)[name], Some(before), "said again");
}

#[test]
fn attributes_that_a_call_changes_are_listed_at_once() {
    each(|tree| {
        let Tree { client, root, .. } = tree;
        let dir = tree.directory("dir", &["file", "linked", "witness"]);
        let beside = tree.directory("beside", &["moves"]);
        let object = |name: &str| client.lookup(&dir, name.as_bytes()).unwrap();
        let (file, linked) = (object("file"), object("linked"));
        let sub = client.mkdir(&dir, b"sub").unwrap();
        let_settle(&tree.path("dir"));
        let settled_at = fs::metadata(tree.path("dir")).unwrap().ctime_nsec();

        // Nothing of this changes the directory itself.
        let write = |stable| client.write_how(&file, 0, b"data", stable).into_result().map(drop);
        let set = |new| client.setattr(&file, new, None).into_result().map(drop);
        let in_sub = || place(&sub, b"new");
        let attributes = mode(0o700);
        let symlink_data = holm_xdr::Opaque::new(b"to").unwrap();
        let symlink =
            || nfs3::SymLinkArgs { place: in_sub(), symlink_attributes: attributes, symlink_data };
        let what = nfs3::MkNodData::Fifo(attributes);
        let mknod = || nfs3::MkNodArgs { place: in_sub(), what };
        let cut =
            || CreateHow::Unchecked(nfs3::SetAttributes { size: Some(0), ..Default::default() });
        let remove = || client.remove(&sub, b"new").into_result().map(drop);
        let changes: [Change<'_>; 21] = [
            ("WRITE", "file", &|| write(StableHow::Unstable)),
            ("WRITE to the disk", "file", &|| write(StableHow::FileSync)),
            ("SETATTR of the mode", "file", &|| set(mode(0o640))),
            ("SETATTR of the owner", "file", &|| {
                set(nfs3::SetAttributes { uid: Some(1001), ..Default::default() })
            }),
            ("SETATTR of a time", "file", &|| {
                let mtime = nfs3::SetTime::ClientTime(nfs3::Time { seconds: 1, nanoseconds: 2 });
                set(nfs3::SetAttributes { mtime, ..Default::default() })
            }),
            ("SETATTR of the size", "file", &|| {
                set(nfs3::SetAttributes { size: Some(100), ..Default::default() })
            }),
            ("CREATE of what is there", "file", &|| {
                made(client.create_how(&dir, b"file", cut())).map(drop)
            }),
            ("CREATE in it", "sub", &|| client.create(&sub, b"new").map(drop)),
            ("REMOVE in it", "sub", &remove),
            ("SYMLINK in it", "sub", &|| made(client.nfs(&Call::SymLink(symlink()))).map(drop)),
            ("REMOVE of a link in it", "sub", &remove),
            ("MKNOD in it", "sub", &|| made(client.nfs(&Call::MkNod(mknod()))).map(drop)),
            ("REMOVE of a pipe in it", "sub", &remove),
            ("MKDIR in it", "sub", &|| client.mkdir(&sub, b"new").map(drop)),
            ("RMDIR in it", "sub", &|| client.rmdir(&sub, b"new").into_result().map(drop)),
            ("RENAME into it", "sub", &|| {
                client.rename((&beside, b"moves"), (&sub, b"moved")).into_result().map(drop)
            }),
            ("RENAME out of it", "sub", &|| {
                client.rename((&sub, b"moved"), (&beside, b"moves")).into_result().map(drop)
            }),
            ("LINK", "linked", &|| client.link(&linked, &beside, b"other").into_result().map(drop)),
            ("RENAME of another name", "linked", &|| {
                client.rename((&beside, b"other"), (root, b"other")).into_result().map(drop)
            }),
            ("RENAME over another name", "linked", &|| {
                client.rename((&beside, b"moves"), (root, b"other")).into_result().map(drop)
            }),
            ("LINK into it", "sub", &|| client.link(&file, &sub, b"other").into_result().map(drop)),
        ];
        for (what, name, change) in changes {
            assert_kept(client, &dir, &tree.path("dir/witness"));
            let before = list(client, &dir)[name].clone().unwrap();
            change().unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let (handle, listed) = list(client, &dir)[name].clone().unwrap();
            let now = client.getattr(&handle).unwrap();
            assert_eq!(settled(listed), settled(now), "{what}");
            assert_eq!(handle, before.0, "{what}");
            let ctime = fs::metadata(tree.path("dir")).unwrap().ctime_nsec();
            assert_eq!(ctime, settled_at, "{what} has left the directory alone");
        }
    });
}

#[test]
fn attributes_that_a_call_is_seen_to_change_are_others_than_before() {
    // Otherwise the test above would see nothing.
    each(|tree| {
        let client = &tree.client;
        let dir = tree.directory("dir", &["file"]);
        let file = client.lookup(&dir, b"file").unwrap();
        let_settle(&tree.path("dir"));
        let before = list(client, &dir)["file"].clone().unwrap().1;
        client.write(&file, 0, b"data").unwrap();
        let after = list(client, &dir)["file"].clone().unwrap().1;
        assert_eq!((before.size, after.size), (0, 4));
        assert_eq!(list(client, &dir)["file"].clone().unwrap().1, after);
    });
}

#[test]
fn names_that_a_call_changes_are_listed_at_once() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let names = ["made anew", "renamed over", "removed", "renames", "witness"];
        let ways: [Way<'_>; 5] = [
            ("nothing", &|_| {}),
            ("CREATE", &|dir| {
                client.create(dir, b"new").unwrap();
            }),
            ("REMOVE and CREATE", &|dir| {
                client.remove(dir, b"made anew").into_result().unwrap();
                client.create(dir, b"made anew").unwrap();
            }),
            ("RENAME", &|dir| {
                client.rename((dir, b"renames"), (dir, b"renamed over")).into_result().unwrap();
            }),
            ("REMOVE", &|dir| {
                client.remove(dir, b"removed").into_result().unwrap();
            }),
        ];
        let directories = ways.map(|(way, _)| tree.directory(way, &names));
        for (way, _) in ways {
            let_settle(&tree.path(way));
        }
        let is_listed = |way: &str, dir: &[u8]| {
            let listed = list(client, dir);
            let on_disk = fs::read_dir(tree.path(way)).unwrap();
            assert_eq!(listed.len(), on_disk.count() + 2, "{way}");
            for (name, listed) in listed.iter().filter(|(name, _)| *name != "witness") {
                let (handle, attributes) = listed.clone().unwrap();
                assert_eq!(client.lookup(dir, name.as_bytes()).unwrap(), handle, "{way}: {name}");
                let now = client.getattr(&handle).unwrap();
                assert_eq!(settled(attributes), settled(now), "{way}: {name}");
            }
        };
        for ((way, change), dir) in ways.iter().zip(&directories) {
            assert_kept(client, dir, &tree.path(way).join("witness"));
            change(dir);
            is_listed(way, dir);
        }
        // Nor does it come back when something can be kept again.
        for ((way, _), dir) in ways.iter().zip(&directories) {
            let_settle(&tree.path(way));
            is_listed(way, dir);
        }
    });
}

#[test]
fn names_that_others_change_are_listed_at_once_and_attributes_after_a_second() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["file", "gone"]);
        let_settle(&tree.path("dir"));
        let file = tree.path("dir/file");
        let mode_of = || list(client, &dir)["file"].clone().unwrap().1.mode;
        assert_eq!(mode_of(), 0o644);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(mode_of(), 0o644, "kept");
        tree.a_second_passes();
        assert_eq!(mode_of(), 0o600);

        assert_kept(client, &dir, &file);
        fs::remove_file(tree.path("dir/gone")).unwrap();
        fs::write(tree.path("dir/come"), "here").unwrap();
        let listed = list(client, &dir);
        assert!(!listed.contains_key("gone"));
        assert_eq!(listed["come"].clone().unwrap().1.size, 4);
    });
}

#[test]
fn what_is_mounted_over_has_no_handle_after_a_second() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["witness"]);
        client.mkdir(&dir, b"sub").unwrap();
        let_settle(&tree.path("dir"));
        assert_kept(client, &dir, &tree.path("dir/witness"));
        let at = tree.path("dir/sub");
        run("mount", &["-t", "tmpfs", "none", at.to_str().unwrap()]);
        tree.a_second_passes();
        assert_eq!(list(client, &dir)["sub"], None);
        run("umount", &[at.to_str().unwrap()]);
        // What could not be looked up was not kept.
        assert!(list(client, &dir)["sub"].is_some());
    });
}

#[test]
fn a_second_name_elsewhere_is_looked_at_each_time() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["file", "witness"]);
        let file = client.lookup(&dir, b"file").unwrap();
        client.link(&file, &tree.root, b"other").into_result().unwrap();
        let_settle(&tree.path("dir"));
        assert_kept(client, &dir, &tree.path("dir/witness"));
        let links = || list(client, &dir)["file"].clone().unwrap().1.nlink;
        assert_eq!(links(), 2);
        // By its other name: the directory does not change, and the call does not say which it was.
        client.remove(&tree.root, b"other").into_result().unwrap();
        assert_eq!(links(), 1);
    });
}

#[test]
fn who_may_not_look_names_up_gets_names_and_takes_nothing_from_others() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["file", "witness"]);
        client.setattr(&dir, mode(0o744), None).into_result().unwrap();
        let_settle(&tree.path("dir"));
        let described = |client: &Client| list(client, &dir)["file"].is_some();
        let other = client.user(1001);
        assert!(!described(&other));
        assert!(described(client));
        assert_kept(client, &dir, &tree.path("dir/witness"));
        assert!(!described(&other));
        assert!(described(client));
        // By others, who tell nobody.
        let may = |mode| {
            client.access(&dir, 1).unwrap();
            fs::set_permissions(tree.path("dir"), fs::Permissions::from_mode(mode)).unwrap();
        };
        may(0o755);
        assert!(described(&other));
        may(0o744);
        assert!(!described(&other));
    });
}

#[test]
fn pieces_of_any_size_make_the_same_listing() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let names: Vec<String> = (0..300).map(|number| format!("{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let dir = tree.directory("dir", &names);
        let fresh = list_in(client, &dir, || 1500);
        assert_eq!(fresh.len(), 302);
        let same = |listed: BTreeMap<String, Listed>, what: &str| {
            assert!(listed.keys().eq(fresh.keys()), "{what}");
            for (name, listed) in &listed {
                let of = |listed: &Listed| {
                    listed.clone().map(|(handle, attributes)| (handle, settled(attributes)))
                };
                assert_eq!(of(listed), of(&fresh[name]), "{what}: {name}");
            }
        };
        let_settle(&tree.path("dir"));
        let budgets = [4096, 700, 32 << 10, 1200, 9000, 64 << 10, 2048];
        for round in 0..6 {
            // Some that are kept, and some in between that are not.
            same(list_in(client, &dir, || budgets[round]), "one size");
            let mut next = budgets.iter().cycle().skip(round);
            same(list_in(client, &dir, || *next.next().unwrap()), "all sizes");
        }
        assert_kept(client, &dir, &tree.path("dir/7"));
    });
}

#[test]
fn nothing_is_kept_of_a_directory_that_was_just_changed() {
    // Its time of last change may be the same after another change.
    each(|tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["file"]);
        let mode_of = || list(client, &dir)["file"].clone().unwrap().1.mode;
        for number in 0.. {
            fs::write(tree.path("dir").join(number.to_string()), "").unwrap();
            let before = mode_of();
            let other = before ^ 0o007;
            fs::set_permissions(tree.path("dir/file"), fs::Permissions::from_mode(other)).unwrap();
            let now = mode_of();
            // Unless that took too long.
            if !is_settled(&tree.path("dir")) {
                assert_eq!(now, other);
                break;
            }
            tree.a_second_passes();
        }
    });
}

#[test]
fn what_is_left_of_an_old_listing_is_not_kept_as_a_new_one() {
    each(|tree| {
        let Tree { client, .. } = tree;
        let names = |from: u32| (from..from + 100).map(|name| name.to_string());
        let make = |names: &mut dyn Iterator<Item = String>, dir: &[u8]| {
            for name in names {
                client.create(dir, name.as_bytes()).unwrap();
            }
        };
        let dir = tree.directory("dir", &[]);
        make(&mut names(0), &dir);
        let mut at = (0, [0; 8]);
        piece(client, &dir, &mut at, 4096);
        // Which of these come in what follows depends on the file system.
        make(&mut names(100), &dir);
        let_settle(&tree.path("dir"));
        let rest = || {
            let (mut at, mut names) = (at, Vec::new());
            loop {
                let (entries, ended) = piece(client, &dir, &mut at, 32 << 10);
                names.extend(entries.into_iter().map(|(name, _)| name));
                if ended {
                    return names;
                }
            }
        };
        rest();
        let (cookie, cookie_verifier) = at;
        let plain = nfs3::ReadDirArgs { dir: fh(&dir), cookie, cookie_verifier, count: 64 << 10 };
        let plain =
            client.nfs::<nfs3::ReadDirRes<'_>>(&Call::ReadDir(plain)).into_result().unwrap();
        assert!(plain.eof);
        let plain =
            plain.entries.iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap());
        assert_eq!(rest(), plain.collect::<Vec<_>>());
    });
}

#[test]
fn nothing_is_kept_where_change_times_do_not_tell() {
    with(Kind::Overlay, |tree| {
        let Tree { client, .. } = tree;
        let dir = tree.directory("dir", &["file"]);
        let_settle(&tree.path("dir"));
        let mode_of = || list(client, &dir)["file"].clone().unwrap().1.mode;
        assert_eq!(mode_of(), 0o644);
        fs::set_permissions(tree.path("dir/file"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(mode_of(), 0o600);
    });
}
