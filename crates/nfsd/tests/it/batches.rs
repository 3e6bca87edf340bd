//! What calls that are ready together have changed is flushed once, and answered after that.
#![cfg(not(shuttle))]

use crate::durability::stop;
use crate::wire::*;
use crate::world::{Disk, Kind, as_root};
use holm_nfs_proto::nfs3::{self, Call, CreateHow, StableHow};
use holm_xdr::Opaque;
use std::fs;

/// A client of a new disk, a directory `dir`, and the files `one` and `two`.
struct Setup {
    client: Client,
    root: Handle,
    dir: Handle,
    files: [Handle; 2],
    // After the client, which has files open.
    disk: Disk,
}

impl Setup {
    fn new() -> Self {
        let disk = Disk::new(Kind::Ext4);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        let root = client.mount("/").unwrap();
        let dir = client.mkdir(&root, b"dir").unwrap();
        let files = [&b"one"[..], b"two"].map(|name| client.create(&root, name).unwrap());
        Self { client, root, dir, files, disk }
    }

    /// Two writes to each file, two names in each directory, and one of them removed.
    fn calls(&self) -> Vec<(u32, Call<'_>)> {
        let write = |(file, offset, stable)| {
            let data = Opaque::new(b"data").unwrap();
            Call::Write(nfs3::WriteArgs { file: fh(file), offset, count: 4, stable, data })
        };
        let [one, two] = &self.files;
        let (data, file) = (StableHow::DataSync, StableHow::FileSync);
        let mut calls = vec![
            self.create(&self.root, b"new"),
            write((one, 0, file)),
            write((two, 0, data)),
            self.create(&self.dir, b"first"),
            write((one, 4, data)),
            self.create(&self.dir, b"second"),
            write((two, 4, file)),
        ];
        let object = place(&self.dir, b"first");
        calls.push(Call::Remove(nfs3::RemoveArgs { object }));
        calls.into_iter().map(|call| (self.client.xid(), call)).collect()
    }

    fn create<'a>(&self, dir: &'a [u8], name: &'a [u8]) -> Call<'a> {
        let how = CreateHow::Guarded(mode(0o644));
        Call::Create(nfs3::CreateArgs { place: place(dir, name), how })
    }

    /// What is there after a power failure.
    fn after_power_failure(self) -> Disk {
        let Self { client, disk, .. } = self;
        stop(&disk);
        client.thread.tenant.as_ref().unwrap().remove();
        drop(client);
        disk.remount();
        disk
    }
}

fn is_there(disk: &Disk, name: &str) -> bool {
    disk.export().join(name).exists()
}

#[test]
fn each_object_is_flushed_once_and_then_all_is_on_the_disk() {
    as_root(|| {
        let setup = Setup::new();
        let Setup { client, root, dir, files: [one, two], .. } = &setup;
        let flushes = || client.within().statistics().flushes;
        let before = flushes();
        let mut when_served = None;
        client.thread.told();
        let calls = setup.calls();
        let statuses = client.send_together(&calls, || when_served = Some(flushes()));
        assert_eq!(statuses, Some(vec![0; calls.len()]));
        assert_eq!((when_served, flushes()), (Some(before), before + 2));
        let told = client.thread.told();
        let flushed = &told[calls.len()..];
        let names = [("WRITE", one), ("WRITE", two), ("CREATE", root), ("CREATE", dir)];
        assert_eq!(flushed, names.map(|(name, object)| (name, object.clone())));

        let disk = setup.after_power_failure();
        assert!(is_there(&disk, "new") && is_there(&disk, "dir/second"));
        assert!(!is_there(&disk, "dir/first"));
        for file in ["one", "two"] {
            assert_eq!(fs::read(disk.export().join(file)).unwrap(), b"datadata", "{file}");
        }
    });
}

#[test]
fn a_write_does_not_wait_for_what_others_have_not_committed() {
    as_root(|| {
        let setup = Setup::new();
        let (client, file) = (&setup.client, &setup.files[0]);
        client.write(file, 1 << 20, b"unstable").unwrap();
        let before = client.within().statistics().flushes;
        client.write_how(file, 0, b"data", StableHow::FileSync).into_result().unwrap();
        assert_eq!(client.within().statistics().flushes, before, "its range alone");
        client.commit(file).into_result().unwrap();
        client.write_how(file, 4, b"data", StableHow::FileSync).into_result().unwrap();
        assert_eq!(client.within().statistics().flushes, before + 2);
        let disk = setup.after_power_failure();
        assert!(fs::read(disk.export().join("one")).unwrap().starts_with(b"datadata"));
    });
}

#[test]
fn a_flush_that_fails_leaves_all_unanswered_and_what_is_sent_again_hears_of_it() {
    as_root(|| {
        let setup = Setup::new();
        let client = &setup.client;
        let verifier = u64::from_be_bytes(client.write_verifier());
        let calls = setup.calls();
        assert_eq!(client.send_together(&calls, || stop(&setup.disk)), None);
        let changed = u64::from_be_bytes(client.write_verifier());
        assert_eq!(changed, verifier + 1, "once for the failure");

        // The client comes back from another port, with the same transactions.
        let again = client.from("127.0.0.1:701");
        client.thread.told();
        let statuses = again.send_together(&calls, || ()).expect("each answers for itself");
        assert!(statuses.iter().all(|status| *status != 0), "{statuses:?}");
        assert_eq!(client.thread.told().len(), calls.len(), "nothing is left for later");

        // None had been flushed by itself.
        drop(again);
        let disk = setup.after_power_failure();
        for name in ["new", "dir/first", "dir/second"] {
            assert!(!is_there(&disk, name), "{name}");
        }
        assert_eq!(fs::read(disk.export().join("one")).unwrap(), b"");
    });
}

#[test]
fn what_is_sent_again_before_the_flush_is_not_answered_and_after_it_is_not_done_again() {
    as_root(|| {
        let setup = Setup::new();
        let client = &setup.client;
        let create = [(client.xid(), setup.create(&setup.root, b"new"))];
        let (service, user) = (&client.service, client.user);
        let elsewhere = || {
            let on_another_connection = || {
                let other = Client { user, ..Client::new(&Thread::new(), service) };
                let mut arguments = holm_xdr::Encoder::new();
                arguments.put(&create[0].1);
                let procedure = (nfs3::PROGRAM, nfs3::VERSION, nfs3::Procedure::Create.number());
                other.send(create[0].0, procedure, &arguments).map(|reply| reply.len())
            };
            std::thread::scope(|scope| scope.spawn(on_another_connection).join().unwrap())
        };
        let mut before = None;
        let first = client.send_together(&create, || before = Some(elsewhere()));
        assert_eq!((first, before), (Some(vec![0]), Some(None)));
        assert!(elsewhere().is_some());
        assert_eq!(client.send_together(&create, || ()), Some(vec![0]), "remembered");
        let another = [(client.xid(), setup.create(&setup.root, b"new"))];
        assert_eq!(client.send_together(&another, || ()), Some(vec![17]), "it exists");
    });
}
