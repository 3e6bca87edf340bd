//! What the programs keep open between calls, and what they let go of.
#![cfg(not(shuttle))]

use crate::wire::*;
use crate::world::{Disk, Kind, alone, as_root, open_to_all, run};
use holm_nfs_proto::nfs3::{self, Error};
use holm_nfsd::cache::{Clock, IDLE_ROUNDS, Watcher};
use holm_nfsd::export::{Export, ExportTable};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How changes behind our back come to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The kernel says so.
    Marks,
    /// Files are asked.
    Asking,
}

/// Runs a test with a client of the export of a new disk.
fn each(test: impl Fn(&Client, &[u8], &Disk, Mode) + Send + Sync) {
    for kind in [Kind::Ext4, Kind::Tmpfs] {
        for mode in [Mode::Marks, Mode::Asking] {
            as_root(|| {
                let disk = Disk::new(kind);
                open_to_all(&disk.outside());
                let watcher = match mode {
                    Mode::Marks => Watcher::new().unwrap(),
                    Mode::Asking => Watcher::refusing(),
                };
                let tenant = Tenant::new(watcher, Clock::manual());
                let thread = Thread::within(Some(tenant));
                let client = Client::new(&thread, &service(vec![trusting(&disk.export())]));
                let root = client.mount("/").unwrap();
                test(&client.user(1001), &root, &disk, mode);
            });
        }
    }
}

impl Client {
    fn tenant(&self) -> &Tenant {
        self.thread.tenant.as_ref().unwrap()
    }

    /// Until what happened behind our back has to be known.
    fn wait(&self, mode: Mode) {
        match mode {
            Mode::Marks => self.tenant().watch(),
            Mode::Asking => self.tenant().clock.advance(Duration::from_secs(1)),
        }
    }

    /// Acts on files as the administrator: the thread is who the last caller was.
    fn as_root<R>(&self, root: &[u8], work: impl FnOnce() -> R) -> R {
        self.user(0).access(root, 1).unwrap();
        work()
    }

    fn opened(&self) -> u64 {
        self.within().statistics().opened
    }
}

fn descriptors_below(directory: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(directory))
        .count()
}

#[test]
fn what_was_opened_once_is_not_opened_again() {
    each(|client, root, _, _| {
        let file = client.create(root, b"file").unwrap();
        client.write(&file, 0, b"data").unwrap();
        client.read(&file, 0, 10).unwrap();
        client.lookup(root, b"file").unwrap();
        let opened = client.opened();
        for _ in 0..3 {
            assert_eq!(client.read(&file, 0, 10).unwrap(), (b"data".to_vec(), true));
            assert_eq!(client.lookup(root, b"file").unwrap(), file);
            assert_eq!(client.getattr(&file).unwrap().size, 4);
            assert_eq!(client.access(&file, 0x3f), Ok(0x0d));
            client.write(&file, 0, b"data").unwrap();
            client.commit(&file).into_result().unwrap();
        }
        assert_eq!(client.opened(), opened);
    });
}

#[test]
fn when_the_namespace_is_gone_the_file_system_can_be_unmounted_at_once() {
    alone("kept::when_the_namespace_is_gone_the_file_system_can_be_unmounted_at_once", || {
        each(|client, root, disk, _| {
            let below = descriptors_below(&disk.mount_point());
            for file in 0..20 {
                let file = client.create(root, format!("{file}").as_bytes()).unwrap();
                client.write(&file, 0, b"data").unwrap();
                client.read(&file, 0, 10).unwrap();
            }
            let dir = client.mkdir(root, b"dir").unwrap();
            client.lookup(&dir, b"..").unwrap();
            // Some of it waits for a worker that never comes.
            client.remove(root, b"7").into_result().unwrap();
            assert!(descriptors_below(&disk.mount_point()) > below + 40);
            client.tenant().remove();
            client.service.set_exports(ExportTable::default());
            assert_eq!(descriptors_below(&disk.mount_point()), 0);
            run("umount", &[disk.mount_point().to_str().unwrap()]);
        })
    });
}

#[test]
fn space_of_a_file_comes_back_when_a_client_removes_it() {
    each(|client, root, disk, _| {
        client.getattr(root).unwrap();
        let before = descriptors_below(&disk.export());
        let ways: [fn(&Client, &[u8]); 2] = [
            |client, root| client.remove(root, b"file").into_result().map(drop).unwrap(),
            |client, root| {
                client.create(root, b"other").unwrap();
                client.rename((root, b"other"), (root, b"file")).into_result().map(drop).unwrap();
                client.remove(root, b"file").into_result().map(drop).unwrap();
            },
        ];
        for remove in ways {
            let file = client.create(root, b"file").unwrap();
            client.write(&file, 0, b"data").unwrap();
            client.lookup(root, b"file").unwrap();
            assert!(descriptors_below(&disk.export()) >= before + 2);
            remove(client, root);
            client.tenant().jobs.run();
            assert_eq!(descriptors_below(&disk.export()), before);
            assert_eq!(client.getattr(&file), Err(Error::Stale));
        }
        let dir = client.mkdir(root, b"dir").unwrap();
        client.rmdir(root, b"dir").into_result().unwrap();
        client.tenant().jobs.run();
        assert_eq!(descriptors_below(&disk.export()), before);
        assert_eq!(client.getattr(&dir), Err(Error::Stale));
    });
}

#[test]
fn space_of_a_file_that_others_remove_comes_back() {
    each(|client, root, disk, mode| {
        client.getattr(root).unwrap();
        let before = descriptors_below(&disk.mount_point());
        let file = client.create(root, b"file").unwrap();
        client.write(&file, 0, b"data").unwrap();
        client.lookup(root, b"file").unwrap();
        fs::remove_file(disk.export().join("file")).unwrap();
        match mode {
            Mode::Marks => client.tenant().watch(),
            // Nobody asks for it any more.
            Mode::Asking => {
                for _ in 0..IDLE_ROUNDS / 2 {
                    client.getattr(root).unwrap();
                    client.tenant().caches.collect();
                }
                client.tenant().jobs.run();
            }
        }
        assert_eq!(descriptors_below(&disk.mount_point()), before);
        assert_eq!(client.getattr(&file), Err(Error::Stale));
        assert_eq!(client.read(&file, 0, 1), Err(Error::Stale));
    });
}

#[test]
fn a_file_that_others_remove_is_stale_at_once_to_who_uses_it() {
    each(|client, root, disk, _| {
        let file = client.create(root, b"file").unwrap();
        client.write(&file, 0, b"data").unwrap();
        client.read(&file, 0, 1).unwrap();
        fs::remove_file(disk.export().join("file")).unwrap();
        assert_eq!(client.read(&file, 0, 1), Err(Error::Stale));
        assert_eq!(client.write(&file, 0, b"x").err(), Some(Error::Stale));
        assert_eq!(client.getattr(&file), Err(Error::Stale));
        assert_eq!(client.lookup(root, b"file"), Err(Error::NoEnt));
    });
}

#[test]
fn a_revoked_permission_is_honoured() {
    let revocations: [fn(&Path); 2] = [
        |file| fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap(),
        // To a group that the caller is not in.
        |file| chown(file, Some(1003), Some(1003)).unwrap(),
    ];
    for revoke in revocations {
        each(|client, root, disk, mode| {
            let file = client.create(root, b"file").unwrap();
            let path = disk.export().join("file");
            client.as_root(root, || {
                chown(&path, Some(1002), Some(1001)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
            });
            client.write(&file, 0, b"data").unwrap();
            client.read(&file, 0, 10).unwrap();
            client.as_root(root, || revoke(&path));
            client.wait(mode);
            assert_eq!(client.read(&file, 0, 10), Err(Error::Acces));
            assert_eq!(client.write(&file, 0, b"data").err(), Some(Error::Acces));
            client.getattr(&file).unwrap();
        });
    }
}

#[test]
fn a_permission_that_a_client_revokes_is_honoured() {
    each(|client, root, _, mode| {
        let file = client.create(root, b"file").unwrap();
        let other = client.user(1002);
        client.write(&file, 0, b"data").unwrap();
        other.read(&file, 0, 10).unwrap();
        client.setattr(&file, crate::wire::mode(0o600), None).into_result().unwrap();
        client.wait(mode);
        assert_eq!(other.read(&file, 0, 10), Err(Error::Acces));
        client.read(&file, 0, 10).unwrap();
    });
}

#[test]
fn what_is_moved_out_of_the_export_is_stale_within_a_second() {
    each(|client, root, disk, _| {
        let dir = client.mkdir(root, b"dir").unwrap();
        let inner = client.mkdir(&dir, b"inner").unwrap();
        let file = client.create(&inner, b"file").unwrap();
        let use_all = || {
            [
                client.read(&file, 0, 10).map(drop),
                client.write(&file, 0, b"data").map(drop),
                client.getattr(&file).map(drop),
                client.lookup(&inner, b"file").map(drop),
                client.access(&inner, 1).map(drop),
                client.lookup(&dir, b"inner").map(drop),
            ]
        };
        assert_eq!(use_all(), [Ok(()); 6]);
        client.tenant().clock.advance(Duration::from_millis(600));
        fs::rename(disk.export().join("dir"), disk.outside().join("dir")).unwrap();
        // Being found by name in a directory makes nothing younger than that was seen.
        for use_ in use_all() {
            assert!(matches!(use_, Ok(()) | Err(Error::Stale)), "{use_:?}");
        }
        client.tenant().clock.advance(Duration::from_millis(400));
        assert_eq!(use_all(), [Err(Error::Stale); 6]);
        // It comes back, and is what it was.
        fs::rename(disk.outside().join("dir"), disk.export().join("dir")).unwrap();
        assert_eq!(use_all(), [Ok(()); 6]);
    });
}

#[test]
fn other_rules_for_an_export_hold_for_what_is_open() {
    each(|client, root, disk, _| {
        let file = client.create(root, b"file").unwrap();
        client.write(&file, 0, b"data").unwrap();
        let mut options = trusting(&disk.export());
        options.read_only = true;
        let open = || Export::open(options, client.service.key(), || unreachable!());
        let export = client.as_root(root, open).unwrap();
        client.service.set_exports(ExportTable::new(vec![Arc::new(export)]).unwrap());
        assert_eq!(client.write(&file, 0, b"data").err(), Some(Error::RoFs));
        assert_eq!(client.read(&file, 0, 10).unwrap().0, b"data");
        let removed = client.remove(root, b"file");
        assert_eq!(failure::<_, nfs3::WccData>(removed).0, Error::RoFs);
    });
}

#[test]
fn an_export_that_ends_is_let_go_of() {
    alone("kept::an_export_that_ends_is_let_go_of", || {
        each(|client, root, disk, _| {
            let file = client.create(root, b"file").unwrap();
            client.write(&file, 0, b"data").unwrap();
            client.lookup(root, b"file").unwrap();
            let before = client.service.set_exports(ExportTable::default());
            assert_eq!(Arc::strong_count(&before), 1, "nobody uses it");
            client.within().forget_export(before.exports()[0].id());
            drop(before);
            assert_eq!(descriptors_below(&disk.mount_point()), 0);
            run("umount", &[disk.mount_point().to_str().unwrap()]);
            assert_eq!(client.getattr(&file), Err(Error::Stale));
        })
    });
}
