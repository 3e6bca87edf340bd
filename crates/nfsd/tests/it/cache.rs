//! The file cache on real files, with real threads.
#![cfg(not(shuttle))]

use crate::world::*;
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfsd::Status;
use holm_nfsd::cache::{Caches, Clock, IDLE_ROUNDS, Job, Limits, Object, Watcher, Within, Worker};
use holm_nfsd::handle::FileHandle;
use holm_nfsd::identity::{Credentials, Privileges, Session};
use holm_nfsd::volume::{Access, OpenFile, Stability, Volume};
use rustix::event::{PollFd, PollFlags};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Keeps jobs until they are asked for.
#[derive(Clone, Default)]
struct Jobs(Arc<Mutex<Vec<Job>>>);

impl Worker for Jobs {
    fn spawn(&self, _: &Namespace, job: Job) {
        self.0.lock().unwrap().push(job);
    }
}

impl Jobs {
    fn run(&self) {
        loop {
            let jobs = std::mem::take(&mut *self.0.lock().unwrap());
            if jobs.is_empty() {
                return;
            }
            jobs.into_iter().for_each(|job| job());
        }
    }
}

/// A namespace with a cache, and one export.
struct Tenant {
    caches: Caches<Object>,
    registry: Registry,
    ns: Namespace,
    volume: Volume,
    jobs: Jobs,
    clock: Clock,
}

fn watching() -> Watcher {
    Watcher::new().unwrap()
}

impl Tenant {
    fn new(directory: &Path, watcher: Watcher, limits: Limits) -> Self {
        let (jobs, clock) = (Jobs::default(), Clock::manual());
        let caches = Caches::new(limits, watcher, clock.clone(), jobs.clone());
        let registry = Registry::new().unwrap();
        registry.register(caches.clone()).unwrap();
        let ns = registry.create("blue").unwrap();
        Self { caches, registry, ns, volume: volume(directory), jobs, clock }
    }

    fn within(&self) -> Within<Object> {
        Within::enter(&self.ns).unwrap()
    }

    /// The handle of a file at the top of the export.
    fn handle(&self, file: &str) -> FileHandle {
        acting_as(1001, |caller| {
            let root = self.volume.root().unwrap();
            let node = self.volume.find_node(caller, &root, file).unwrap();
            FileHandle::seal(&key(), 1, 0, *node.id())
        })
    }

    /// Opens and closes a file as a user.
    fn use_file(&self, user: u32, handle: &FileHandle, access: Access) -> Result<(), Status> {
        let within = self.within();
        acting_as(user, |caller| within.open_file(caller, &self.volume, handle, access).map(drop))
    }

    fn read(&self, handle: &FileHandle) -> Result<(), Status> {
        self.use_file(1001, handle, Access::Read)
    }

    /// Waits for the watcher's descriptor, and does all there is to do.
    fn watch(&self) {
        let fd = self.caches.watcher_fd().unwrap();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        while self.caches.readable() {}
        self.jobs.run();
    }

    fn remove(self) {
        self.registry.remove([&self.ns], Deadline::Never).unwrap();
        assert_eq!(self.caches.open_files(), 0);
    }
}

/// The descriptors of this process that are open on something below `directory`.
fn descriptors_below(directory: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(directory))
        .count()
}

fn new_file(disk: &Disk, name: &str, mode: u32) -> std::path::PathBuf {
    let path = disk.export().join(name);
    fs::write(&path, "data").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn on_each_disk(test: impl Fn(Disk) + Send + Sync) {
    for kind in [Kind::Ext4, Kind::Tmpfs] {
        as_root(|| test(Disk::new(kind)));
    }
}

#[test]
fn a_file_stays_open_until_it_is_old() {
    on_each_disk(|disk| {
        new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        let before = descriptors_below(&disk.export());
        for _ in 0..3 {
            tenant.read(&handle).unwrap();
        }
        let statistics = tenant.within().statistics();
        assert_eq!((statistics.opened, statistics.hits, statistics.open), (1, 2, 1));
        assert_eq!(descriptors_below(&disk.export()), before + 1);
        // Another caller, and another access, are other files.
        tenant.use_file(1002, &handle, Access::Read).unwrap();
        assert_eq!(tenant.use_file(1002, &handle, Access::Write), Err(Status::Acces));
        assert_eq!(tenant.caches.open_files(), 2);
        for _ in 0..IDLE_ROUNDS {
            tenant.read(&handle).unwrap();
            tenant.caches.collect();
        }
        tenant.jobs.run();
        assert_eq!(tenant.caches.open_files(), 1, "the one that is used");
        for _ in 0..IDLE_ROUNDS {
            tenant.caches.collect();
        }
        assert_eq!(tenant.caches.open_files(), 1, "the collector closes nothing itself");
        tenant.jobs.run();
        assert_eq!(tenant.caches.open_files(), 0);
        assert_eq!(descriptors_below(&disk.export()), before);
        tenant.remove();
    });
}

#[test]
fn after_removal_the_file_system_can_be_unmounted_at_once() {
    alone("cache::after_removal_the_file_system_can_be_unmounted_at_once", || {
        on_each_disk(|disk| {
            for file in 0..20 {
                new_file(&disk, &format!("{file}"), 0o666);
            }
            for round in 0..20 {
                let tenant = Tenant::new(&disk.export(), watching(), Limits::files(15));
                let handles: Vec<_> =
                    (0..20).map(|file| tenant.handle(&format!("{file}"))).collect();
                let going = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let (ready, started) = mpsc::channel();
                    for user in 0..2 {
                        let (ready, tenant, handles, going) =
                            (ready.clone(), &tenant, &handles, &going);
                        scope.spawn(move || {
                            let privileges = Privileges::detect().unwrap();
                            let mut session = Session::begin(&privileges).unwrap();
                            let who = Credentials::new(1001 + user, 1001, &[]);
                            for at in 0.. {
                                let Some(within) = Within::enter(&tenant.ns) else { return };
                                let handle = &handles[at % handles.len()];
                                let volume = &tenant.volume;
                                let opened = session.run_as(&who, |caller| {
                                    let file = within.open_file(
                                        caller,
                                        volume,
                                        handle,
                                        Access::ReadWrite,
                                    )?;
                                    let (written, _) = file.write(|file| {
                                        file.write_at(caller, b"data", 0, Stability::Unstable)
                                    });
                                    written.map(drop)
                                });
                                match opened.unwrap() {
                                    Err(Status::Jukebox) => {
                                        assert!(
                                            going.load(Ordering::SeqCst),
                                            "nobody has removed it"
                                        );
                                    }
                                    other => other.unwrap(),
                                }
                                if at == 40 {
                                    ready.send(()).unwrap();
                                }
                            }
                        });
                    }
                    for _ in 0..2 {
                        started.recv().unwrap();
                    }
                    tenant.caches.collect();
                    going.store(true, Ordering::SeqCst);
                    tenant.registry.remove([&tenant.ns], Deadline::Never).unwrap();
                    assert_eq!(descriptors_below(&disk.export()), 1, "the export's root, {round}");
                });
                assert_eq!(tenant.caches.open_files(), 0);
            }
            run("umount", &[disk.mount_point().to_str().unwrap()]);
        })
    });
}

#[test]
fn space_of_a_file_deleted_behind_our_back_comes_back() {
    on_each_disk(|disk| {
        let free = || rustix::fs::statvfs(disk.export().as_path()).unwrap().f_bfree;
        for replaced in [false, true] {
            let path = new_file(&disk, "large", 0o666);
            fs::write(&path, vec![7; 8 << 20]).unwrap();
            rustix::fs::syncfs(fs::File::open(disk.export()).unwrap()).unwrap();
            let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
            let handle = tenant.handle("large");
            tenant.read(&handle).unwrap();
            let with_it = free();
            if replaced {
                let other = new_file(&disk, "other", 0o666);
                fs::rename(&other, &path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            assert!(free() <= with_it, "we have it open");
            tenant.watch();
            assert_eq!(tenant.caches.open_files(), 0);
            rustix::fs::syncfs(fs::File::open(disk.export()).unwrap()).unwrap();
            assert!(free() >= with_it + (7 << 20) / 4096, "{} of {with_it}", free());
            assert_eq!(tenant.read(&handle), Err(Status::Stale));
            let statistics = tenant.within().statistics();
            assert_eq!((statistics.changed, statistics.closed), (1, 1));
            tenant.remove();
        }
    });
}

#[test]
fn a_revoked_permission_is_honoured() {
    on_each_disk(|disk| {
        let path = new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        // It is in use when it happens.
        let within = tenant.within();
        let in_use = acting_as(1001, |caller| {
            within.open_file(caller, &tenant.volume, &handle, Access::Read).unwrap()
        });
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tenant.watch();
        assert_eq!(tenant.read(&handle), Err(Status::Acces));
        assert_eq!(tenant.caches.open_files(), 1);
        drop(in_use);
        drop(within);
        assert_eq!(tenant.caches.open_files(), 0);
        // Given again, and taken by another owner.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&path, Some(1001), Some(1001)).unwrap();
        tenant.read(&handle).unwrap();
        std::os::unix::fs::chown(&path, Some(1002), Some(1002)).unwrap();
        tenant.watch();
        assert_eq!(tenant.read(&handle), Err(Status::Acces));
        tenant.remove();
    });
}

#[test]
fn a_file_moved_out_of_the_export_is_stale() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let path = new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        fs::rename(&path, disk.outside().join("file")).unwrap();
        tenant.watch();
        assert_eq!(tenant.read(&handle), Err(Status::Stale));
        tenant.remove();
    });
}

/// One mark of the kernel for two who watch.
#[test]
fn one_namespace_stops_watching_and_the_other_goes_on() {
    on_each_disk(|disk| {
        let path = new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        let other = tenant.registry.create("green").unwrap();
        tenant.read(&handle).unwrap();
        let within = Within::<Object>::enter(&other).unwrap();
        acting_as(1001, |caller| {
            drop(within.open_file(caller, &tenant.volume, &handle, Access::Read).unwrap());
        });
        drop(within);
        tenant.registry.remove([&other], Deadline::Never).unwrap();
        assert_eq!(tenant.caches.open_files(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tenant.watch();
        assert_eq!(tenant.read(&handle), Err(Status::Acces));
        tenant.remove();
    });
}

/// The queue of the kernel takes 16384 notices; equal ones that follow each other count once.
#[test]
fn a_queue_that_overflows_empties_the_caches() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let queue = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
        let files: usize = queue.trim().parse::<usize>().unwrap() + 10;
        let (soft, hard) = {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            (limit.current, limit.maximum)
        };
        if hard.is_some_and(|hard| hard < files as u64 + 100) {
            eprintln!("skipped: needs {files} descriptors");
            return;
        }
        let raised = rustix::process::Rlimit { current: hard, maximum: hard };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(2 * files));
        let paths: Vec<_> =
            (0..files).map(|file| new_file(&disk, &format!("{file}"), 0o644)).collect();
        for file in 0..files {
            tenant.read(&tenant.handle(&format!("{file}"))).unwrap();
        }
        assert_eq!(tenant.caches.open_files(), files);
        for path in &paths {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        tenant.watch();
        assert!(tenant.caches.overflows() > 0, "or the test proves nothing");
        assert_eq!(tenant.caches.open_files(), 0);
        let last = tenant.handle(&format!("{}", files - 1));
        assert_eq!(tenant.read(&last), Err(Status::Acces));
        tenant.remove();
        let lowered = rustix::process::Rlimit { current: soft, maximum: hard };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, lowered).unwrap();
    });
}

/// Where nothing can be watched, a file is asked when a second has passed.
#[test]
fn without_marks_files_are_asked() {
    on_each_disk(|disk| {
        let path = new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), Watcher::refusing(), Limits::files(100));
        assert!(tenant.caches.watcher_fd().is_none());
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        tenant.clock.advance(Duration::from_millis(1000));
        tenant.read(&handle).unwrap();
        tenant.read(&handle).unwrap();
        let statistics = tenant.within().statistics();
        assert_eq!((statistics.opened, statistics.revalidated), (1, 1));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tenant.clock.advance(Duration::from_millis(1000));
        assert_eq!(tenant.read(&handle), Err(Status::Acces));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        tenant.read(&handle).unwrap();
        fs::remove_file(&path).unwrap();
        tenant.clock.advance(Duration::from_millis(1000));
        assert_eq!(tenant.read(&handle), Err(Status::Stale));
        tenant.jobs.run();
        assert_eq!(tenant.caches.open_files(), 0);
        tenant.remove();
    });
}

/// Whether an overlay can be watched depends on the kernel and its layers.
#[test]
fn a_revoked_permission_is_honoured_on_an_overlay() {
    as_root(|| {
        let disk = Disk::new(Kind::Overlay);
        let path = new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        tenant.clock.advance(Duration::from_millis(1000));
        while tenant.caches.readable() {}
        assert_eq!(tenant.read(&handle), Err(Status::Acces));
        tenant.jobs.run();
        tenant.remove();
    });
}

/// Marks of inodes need no privilege.
#[test]
fn an_ordinary_user_watches_too() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        fs::write(&path, "data").unwrap();
        let tenant = Tenant::new(scratch.path(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        fs::remove_file(&path).unwrap();
        tenant.watch();
        assert_eq!(tenant.caches.open_files(), 0);
        assert_eq!(tenant.read(&handle), Err(Status::Stale));
        tenant.remove();
    });
}

#[test]
fn a_storm_of_opens_keeps_to_the_limit() {
    as_root(|| {
        const LIMIT: usize = 40;
        const THREADS: usize = 4;
        let disk = Disk::new(Kind::Tmpfs);
        for file in 0..200 {
            new_file(&disk, &format!("{file}"), 0o666);
        }
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(LIMIT));
        let handles: Vec<_> = (0..200).map(|file| tenant.handle(&format!("{file}"))).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (tenant, handles) = (&tenant, &handles);
                scope.spawn(move || {
                    for at in 0..5000 {
                        let handle = &handles[(at * (2 * thread + 1)) % handles.len()];
                        tenant.read(handle).unwrap();
                        let open = tenant.caches.open_files();
                        assert!(open <= LIMIT + THREADS, "{open} files are open");
                        if at % 100 == thread {
                            tenant.jobs.run();
                        }
                    }
                });
            }
        });
        let statistics = tenant.within().statistics();
        assert!(statistics.evicted > 0 && statistics.hits > 0, "{statistics:?}");
        // Files that are kept leave room for nobody, and are not taken away.
        let open = |file: usize| {
            acting_as(1001, |caller| {
                let who = *caller.credentials();
                let key = holm_nfsd::cache::Key::new(&handles[file], Access::Read, &who);
                tenant.within().open_stateful(&key, || {
                    let (node, attributes) =
                        tenant.volume.open(caller, handles[file].node()).unwrap();
                    let file = tenant.volume.open_file(caller, &node, Access::Read)?;
                    let stamp = (&attributes).into();
                    Ok(holm_nfsd::cache::Opened { file: Object::File(file), stamp })
                })
            })
        };
        let kept: Vec<_> = (0..LIMIT).map(|file| open(file).unwrap()).collect();
        assert_eq!(open(LIMIT).err(), Some(Status::Jukebox));
        tenant.read(&handles[LIMIT]).unwrap();
        assert_eq!(tenant.caches.open_files(), LIMIT, "and this one was closed after its use");
        drop(kept);
        assert_eq!(tenant.caches.open_files(), 0);
        tenant.remove();
    });
}

#[test]
fn a_flush_that_fails_changes_the_verifier() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        new_file(&disk, "file", 0o666);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        let within = tenant.within();
        acting_as(1001, |caller| {
            let file = within.open_file(caller, &tenant.volume, &handle, Access::Write).unwrap();
            let write = |file: &OpenFile| file.write_at(caller, b"data", 0, Stability::Unstable);
            let (written, verifier) = file.write(write);
            assert_eq!(written, Ok(4));
            assert_eq!(file.commit(), Ok(verifier));
            let flushes = within.statistics().flushes;
            assert_eq!(file.commit(), Ok(verifier));
            assert_eq!(within.statistics().flushes, flushes, "there was nothing to flush");

            let (written, verifier) = file.write(write);
            assert_eq!(written, Ok(4));
            crate::durability::stop(&disk);
            assert!(file.commit().is_err());
            assert_ne!(within.write_verifier(), verifier);
        });
        drop(within);
        tenant.remove();
    });
}

/// A node keeps nothing that could be flushed.
#[test]
fn the_last_that_can_flush_a_file_does_though_its_node_stays() {
    as_root(|| {
        for fails in [false, true] {
            let disk = Disk::new(Kind::Ext4);
            new_file(&disk, "file", 0o666);
            let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
            let handle = tenant.handle("file");
            let within = tenant.within();
            let verifier = acting_as(1001, |caller| {
                let node = within.open_node(caller, &tenant.volume, &handle).unwrap();
                let open = |access| within.open_file(caller, &tenant.volume, &handle, access);
                let file = open(Access::Write).unwrap();
                let write =
                    |file: &OpenFile| file.write_at(caller, b"data", 0, Stability::Unstable);
                let verifier = file.write(write).1;
                drop((node, file));
                verifier
            });
            if fails {
                crate::durability::stop(&disk);
            }
            let before = within.statistics();
            // What is open for writing leaves first.
            for _ in 0..IDLE_ROUNDS / 2 {
                tenant.caches.collect();
            }
            tenant.jobs.run();
            let now = within.statistics();
            assert_eq!((before.open, now.open), (2, 1));
            assert_eq!(now.flushes, before.flushes + 1);
            assert_eq!(within.write_verifier() != verifier, fails);
            drop(within);
            tenant.remove();
        }
    });
}

#[test]
fn an_export_that_ends_is_forgotten_at_once() {
    on_each_disk(|disk| {
        new_file(&disk, "file", 0o644);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(100));
        let handle = tenant.handle("file");
        tenant.read(&handle).unwrap();
        tenant.within().forget(|handle| handle.export() == 2);
        assert_eq!(tenant.caches.open_files(), 1);
        // Also what waits for a worker.
        tenant.caches.forget_everything();
        tenant.within().forget(|handle| handle.export() == 1);
        assert_eq!(tenant.caches.open_files(), 0);
        tenant.remove();
    });
}

/// Notices of files that are not cached any more must not hide those that follow.
#[test]
fn notices_of_others_are_skipped() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let tenant = Tenant::new(&disk.export(), watching(), Limits::files(5000));
        let names: Vec<_> = (0..1000).map(|file| format!("{file}")).collect();
        for name in &names {
            new_file(&disk, name, 0o644);
        }
        let handles: Vec<_> = names.iter().map(|name| tenant.handle(name)).collect();
        for handle in &handles {
            tenant.read(handle).unwrap();
        }
        for name in &names {
            let path = disk.export().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        // All but the last leave the cache before their notices are read.
        let last = handles[999];
        tenant.within().forget(|handle| *handle != last);
        assert_eq!(tenant.caches.open_files(), 1);
        tenant.watch();
        assert_eq!(tenant.caches.open_files(), 0);
        tenant.remove();
    });
}
