//! Users, groups, sizes and times that clients send along, whether they may set them or not.

use crate::wire::*;
use crate::world::{
    Disk, Kind, Scratch, acting_with, as_ordinary_user, as_root, become_user, mode as with_mode,
    name, on_another_thread, volume,
};
use holm_nfs_proto::nfs3::{self, Call, CreateHow, Error, MkNodData};
use holm_nfsd::Status;
use holm_nfsd::attributes::{Attributes, SetAttributes, SetTime, Time};
use holm_nfsd::identity::{Credentials, SquashWho};
use holm_nfsd::volume::{Create, Node, Volume};
use holm_xdr::Opaque;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// A client that says that it is this user and group, of an export that squashes so.
fn client(directory: &Path, who: SquashWho, user: (u32, u32)) -> Client {
    let mut options = trusting(directory);
    options.squash.who = who;
    Client { user: Some(user), ..Client::new(&Thread::new(), &service(vec![options])) }
}

/// Makes one object of each kind; gives their handles.
fn make_all(client: &Client, new: nfs3::SetAttributes) -> Vec<Result<Handle, Error>> {
    let root = client.mount("/").unwrap();
    let place = |name| place(&root, name);
    let create = |name, how| Call::Create(nfs3::CreateArgs { place: place(name), how });
    let calls = [
        create(b"unchecked", CreateHow::Unchecked(new)),
        create(b"guarded", CreateHow::Guarded(new)),
        Call::MkDir(nfs3::MkDirArgs { place: place(b"dir"), attributes: new }),
        Call::SymLink(nfs3::SymLinkArgs {
            place: place(b"link"),
            symlink_attributes: new,
            symlink_data: Opaque::new(b"target").unwrap(),
        }),
        Call::MkNod(nfs3::MkNodArgs { place: place(b"fifo"), what: MkNodData::Fifo(new) }),
    ];
    calls.iter().map(|call| made(client.nfs(call))).collect()
}

fn owned(uid: u32, gid: u32) -> nfs3::SetAttributes {
    nfs3::SetAttributes { uid: Some(uid), gid: Some(gid), ..Default::default() }
}

#[test]
fn an_owner_that_may_not_be_set_is_passed_over_when_an_object_is_made() {
    let anonymous = (65534, 65534);
    as_root(|| {
        for (who, says, wants, is) in [
            // The directory's group, as BSD has it.
            (SquashWho::Root, (1002, 1002), (1002, 0), (1002, 1002)),
            (SquashWho::Nobody, (1002, 1002), (1003, 1003), (1002, 1002)),
            (SquashWho::Root, (0, 0), (0, 0), anonymous),
            (SquashWho::Root, (0, 0), (1003, 0), anonymous),
            (SquashWho::Everybody, (501, 20), (501, 20), anonymous),
        ] {
            let disk = Disk::new(Kind::Ext4);
            let client = client(&disk.export(), who, says);
            for made in make_all(&client, owned(wants.0, wants.1)) {
                let told = client.getattr(&made.unwrap()).unwrap();
                assert_eq!((told.uid, told.gid), is, "{who:?} {says:?} {wants:?}");
            }
        }
    });
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = client(scratch.path(), SquashWho::Root, (501, 20));
        let own = fs::metadata(scratch.path()).unwrap();
        for made in make_all(&client, owned(501, 20)) {
            let told = client.getattr(&made.unwrap()).unwrap();
            assert_eq!((told.uid, told.gid), (own.uid(), own.gid()));
        }
    });
}

#[test]
fn an_owner_that_may_be_set_is() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let volume = volume(&disk.export());
        let make = |who: &Credentials, file, new: SetAttributes| {
            acting_with(who, |caller| {
                let root = volume.root().unwrap();
                let file = volume.create(caller, &root, name(file), &Create::Guarded(new)).unwrap();
                let made = file.attributes;
                (made.uid, made.gid, made.mode)
            })
        };
        let given = |uid, gid| SetAttributes { uid, gid, ..with_mode(0o6755) };
        let root = Credentials::new(0, 0, &[]);
        let of_another = make(&root, "file", given(Some(1003), Some(1004)));
        assert_eq!(of_another, (1003, 1004, 0o6755), "with the mode that it was to have");
        let member = Credentials::new(1002, 1002, &[1004]);
        let of_its_group = make(&member, "member", given(Some(1003), Some(1004)));
        assert_eq!(of_its_group, (1002, 1004, 0o6755));
    });
}

#[test]
fn who_is_squashed_knows_what_is_its_own_by_its_own_number() {
    let test = |client: &Client, set_group: u32| {
        let (uid, gid) = client.user.unwrap();
        let root = client.mount("/").unwrap();
        let file = client.create(&root, b"file").unwrap();
        let before = client.getattr(&file).unwrap();
        let set = |new| client.setattr(&file, new, None).into_result().map(drop);
        set(nfs3::SetAttributes { mode: Some(0o600), ..owned(uid, gid) }).unwrap();
        let after = client.getattr(&file).unwrap();
        assert_eq!((after.uid, after.gid, after.mode), (before.uid, before.gid, 0o600));
        assert_eq!(set(owned(uid + 7, gid)), Err(Error::Perm), "given away");

        // The group of its directory is not its own, and it does not lose it by asking for it.
        let shared = client.lookup(&root, b"shared").unwrap();
        let user = Client { user: Some((uid, set_group)), ..client.clone() };
        let file = user.create(&shared, b"file").unwrap();
        user.setattr(&file, owned(uid, set_group), None).into_result().unwrap();
        assert_eq!(user.getattr(&file).unwrap().gid, set_group);
    };
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let export = disk.export();
        let shared = export.join("shared");
        fs::create_dir(&shared).unwrap();
        chown(&shared, None, Some(500)).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2777)).unwrap();
        fs::write(export.join("others"), "").unwrap();
        chown(export.join("others"), Some(1001), Some(1001)).unwrap();

        let not_its_own = |client: &Client, user: (u32, u32)| {
            let others = client.lookup(&client.mount("/").unwrap(), b"others").unwrap();
            let set = client.setattr(&others, owned(user.0, user.1), None);
            assert_eq!(failure(set).0, Error::Perm);
        };
        for (who, user) in [(SquashWho::Root, (0, 0)), (SquashWho::Everybody, (501, 20))] {
            let client = client(&export, who, user);
            test(&client, 500);
            not_its_own(&client, user);
            fs::remove_file(export.join("file")).unwrap();
            fs::remove_file(shared.join("file")).unwrap();
        }
        let kept = fs::metadata(export.join("others")).unwrap();
        assert_eq!((kept.uid(), kept.gid()), (1001, 1001));
        on_another_thread(|| {
            become_user(4711);
            let client = client(&export, SquashWho::Root, (501, 20));
            test(&client, 500);
            not_its_own(&client, (501, 20));
        });
    });
}

#[test]
fn a_size_means_something_for_files_only_and_nothing_for_a_new_one_if_it_is_0() {
    as_root(|| {
        for size in [0, 5] {
            let disk = Disk::new(Kind::Ext4);
            let client = client(&disk.export(), SquashWho::Nobody, (1002, 1002));
            let root = client.mount("/").unwrap();
            client.thread.told();
            let new = nfs3::SetAttributes { size: Some(size), ..mode(0o644) };
            let file = made(client.create_how(&root, b"file", CreateHow::Guarded(new))).unwrap();
            let told = client.thread.told();
            let of_the_file = told.iter().filter(|(_, object)| *object == file).count();
            assert_eq!(of_the_file, usize::from(size > 0), "flushed only if there is something");
            assert_eq!(client.getattr(&file).unwrap().size, size);

            for made in &make_all(&client, new)[2..] {
                assert!(made.is_ok(), "{made:?}");
            }
        }
    });
}

/// A file of user 1001 with ten bytes and old times, and who else may write it.
struct Shared {
    volume: Volume,
    node: Node,
}

impl Shared {
    fn new(export: &Path, mode: u32) -> Self {
        let path = export.join("shared");
        fs::write(&path, "ten bytes.").unwrap();
        chown(&path, Some(1001), Some(1001)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let volume = volume(export);
        let node = acting_with(&Credentials::new(0, 0, &[]), |caller| {
            let root = volume.root().unwrap();
            let node =
                volume.lookup(caller, &root, holm_nfsd::name::Component::Entry(name("shared")));
            let node = node.unwrap().0;
            let (accessed, modified) = (SetTime::Client(OLD), SetTime::Client(OLD));
            let old = SetAttributes { accessed, modified, ..Default::default() };
            volume.set_attributes(caller, &node, &old, None).unwrap();
            node
        });
        Self { volume, node }
    }

    fn set(&self, who: &Credentials, change: SetAttributes) -> Result<Attributes, Status> {
        acting_with(who, |caller| self.volume.set_attributes(caller, &self.node, &change, None))
    }
}

const OLD: Time = Time { seconds: 77, nanoseconds: 0 };

/// As clients set them that truncate a file, or touch it.
const SIZE: SetAttributes = SetAttributes {
    mode: None,
    uid: None,
    gid: None,
    size: Some(3),
    accessed: SetTime::Keep,
    modified: SetTime::Server,
};

#[test]
fn who_may_write_to_a_file_sets_its_times_to_now() {
    let member = Credentials::new(1002, 1002, &[1001]);
    let stranger = Credentials::new(1003, 1003, &[]);
    let times = |accessed, modified| SetAttributes { accessed, modified, ..Default::default() };
    let (keep, now) = (SetTime::Keep, SetTime::Server);
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            for (accessed, modified) in [(keep, now), (now, keep), (now, now)] {
                let shared = Shared::new(&disk.export(), 0o664);
                let change = times(accessed, modified);
                assert!(shared.set(&stranger, change).is_err());
                let after = shared.set(&member, change).unwrap();
                let is_old = (after.accessed == OLD, after.modified == OLD);
                assert_eq!(is_old, (accessed == keep, modified == keep), "{kind:?}");
                let given = times(SetTime::Client(OLD), modified);
                assert_eq!(shared.set(&member, given), Err(Status::Perm));

                let cut = SetAttributes { accessed, ..SIZE };
                let shared = Shared::new(&disk.export(), 0o664);
                let after = shared.set(&member, cut).unwrap();
                assert_eq!(after.size, 3);
                assert!(after.modified != OLD && (after.accessed == OLD) == (accessed == keep));
            }
        }
    });
}

#[test]
fn an_ordinary_users_server_cuts_what_it_may_write_and_does_not_own() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        drop(Shared::new(&disk.export(), 0o666));
        on_another_thread(|| {
            become_user(4711);
            let client = client(&disk.export(), SquashWho::Root, (501, 20));
            let file = client.lookup(&client.mount("/").unwrap(), b"shared").unwrap();
            let modified = nfs3::SetTime::ServerTime;
            let cut = nfs3::SetAttributes { size: Some(0), mtime: modified, ..Default::default() };
            client.setattr(&file, cut, None).into_result().unwrap();
            let after = client.getattr(&file).unwrap();
            assert!(after.size == 0 && after.mtime.seconds > 77);
        });
    });
}

#[test]
fn what_is_refused_cuts_nothing_off() {
    as_root(|| {
        for kind in [Kind::Ext4, Kind::Tmpfs, Kind::Overlay] {
            let disk = Disk::new(kind);
            let shared = Shared::new(&disk.export(), 0o664);
            let member = Credentials::new(1002, 1002, &[1001]);
            let refused = [
                SetAttributes { mode: Some(0o600), ..SIZE },
                SetAttributes { modified: SetTime::Client(OLD), ..SIZE },
                SetAttributes { accessed: SetTime::Client(OLD), ..SIZE },
                SetAttributes { uid: Some(1002), ..SIZE },
                SetAttributes { gid: Some(1002), ..SIZE },
            ];
            for change in refused {
                assert_eq!(shared.set(&member, change), Err(Status::Perm), "{change:?}");
                assert_eq!(shared.node.attributes().unwrap().size, 10, "{kind:?} {change:?}");
            }
            let owner = Credentials::new(1001, 1001, &[]);
            let all = SetAttributes { modified: SetTime::Client(OLD), gid: Some(1001), ..SIZE };
            let after = shared.set(&owner, SetAttributes { mode: Some(0o4755), ..all }).unwrap();
            assert_eq!((after.size, after.mode, after.modified), (3, 0o4755, OLD));
        }
    });
}
