//! What is sent again is answered, not done again; and what a client learns of lost writes.

use crate::wire::*;
use crate::world::{Scratch, as_ordinary_user, as_root, run};
use holm_nfs_proto::nfs3::{self, Call, CreateHow, Error, StableHow};
use holm_nfsd::cache::{Clock, Object, Watcher, Within};
use holm_nfsd::export::ExportTable;
use holm_nfsd::service::{Context, Inline};
use holm_sunrpc::Step;
use holm_xdr::Encoder;
use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;

fn with_client(test: impl FnOnce(&Client, &[u8], &Scratch) + Send) {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        test(&client, &root, &scratch);
    });
}

fn send(client: &Client, xid: u32, call: &Call<'_>) -> Vec<u8> {
    let mut arguments = Encoder::new();
    arguments.put(call);
    let procedure = (nfs3::PROGRAM, nfs3::VERSION, call.procedure().number());
    client.send(xid, procedure, &arguments).expect("a reply")
}

/// Does it twice with one transaction, and once more with another.
fn thrice(client: &Client, call: &Call<'_>) -> Error {
    let xid = client.xid();
    let first = send(client, xid, call);
    // The connection broke: it comes back from another port.
    let again = client.from("127.0.0.1:701");
    assert_eq!(send(&again, xid, call), first, "{call:?}");
    let reply: nfs3::Outcome<[u8; 0], [u8; 0]> = {
        let status = u32::from_be_bytes(first[24..28].try_into().unwrap());
        assert_eq!(status, 0, "{call:?}");
        let other = send(client, client.xid(), call);
        let status = other[24..28].to_vec();
        holm_xdr::Decoder::new(Vec::leak(status)).get().unwrap()
    };
    reply.into_result().unwrap_err()
}

#[test]
fn a_retransmission_is_answered_and_not_done_again() {
    with_client(|client, root, scratch| {
        client.create(root, b"removed").unwrap();
        let remove = Call::Remove(nfs3::RemoveArgs { object: place(root, b"removed") });
        assert_eq!(thrice(client, &remove), Error::NoEnt);

        client.create(root, b"old").unwrap();
        let (from, to) = (place(root, b"old"), place(root, b"new"));
        assert_eq!(thrice(client, &Call::Rename(nfs3::RenameArgs { from, to })), Error::NoEnt);

        let how = CreateHow::Guarded(mode(0o644));
        let create = Call::Create(nfs3::CreateArgs { place: place(root, b"made"), how });
        assert_eq!(thrice(client, &create), Error::Exist);
        let attributes = mode(0o755);
        let mkdir = Call::MkDir(nfs3::MkDirArgs { place: place(root, b"dir"), attributes });
        assert_eq!(thrice(client, &mkdir), Error::Exist);
        let rmdir = Call::RmDir(nfs3::RemoveArgs { object: place(root, b"dir") });
        assert_eq!(thrice(client, &rmdir), Error::NoEnt);
        let file = client.lookup(root, b"made").unwrap();
        let link = nfs3::LinkArgs { file: fh(&file), link: place(root, b"link") };
        assert_eq!(thrice(client, &Call::Link(link)), Error::Exist);
        let guard = Some(client.getattr(&file).unwrap().ctime);
        let set = nfs3::SetAttrArgs { object: fh(&file), new_attributes: mode(0o600), guard };
        assert_eq!(thrice(client, &Call::SetAttr(set)), Error::NotSync);

        // A file made under the name meanwhile is not what was meant.
        client.create(root, b"again").unwrap();
        let remove = Call::Remove(nfs3::RemoveArgs { object: place(root, b"again") });
        let xid = client.xid();
        send(client, xid, &remove);
        fs::write(scratch.path().join("again"), "new").unwrap();
        send(client, xid, &remove);
        assert!(scratch.path().join("again").exists());
        // Another client with the same transaction means it.
        send(&client.from("127.0.0.2:700"), xid, &remove);
        assert!(!scratch.path().join("again").exists());
    });
}

/// It waits for the first, and says the same.
#[test]
fn a_retransmission_of_a_call_in_progress_is_answered_later() {
    with_client(|client, root, _| {
        let create = || {
            let how = CreateHow::Guarded(mode(0o644));
            Call::Create(nfs3::CreateArgs { place: place(root, b"made"), how })
        };
        let xid = client.xid();
        // Until what they have changed is on the disk, both are in progress.
        let twice = [(xid, create()), (xid, create())];
        let mut connection = client.serve_together(&twice, 3, Step::Receive, || {}).unwrap();
        let first = connection.unsent().to_vec();
        assert_eq!(first[28..32], [0; 4], "it succeeded");
        assert!(connection.is_waiting());
        connection.sent(first.len());
        client.serve_waiting(&mut connection);
        assert_eq!(connection.unsent(), first);
        assert!(!connection.is_waiting());
    });
}

/// Its own calls, and those of another client, may be many in the meantime.
#[test]
fn a_retransmission_is_known_after_thousands_of_other_calls() {
    with_client(|client, root, scratch| {
        client.create(root, b"file").unwrap();
        let remove = Call::Remove(nfs3::RemoveArgs { object: place(root, b"file") });
        let xid = client.xid();
        let first = send(client, xid, &remove);
        let missing = Call::Remove(nfs3::RemoveArgs { object: place(root, b"missing") });
        for _ in 0..5000 {
            send(client, client.xid(), &missing);
        }
        let other = client.from("127.0.0.2:700");
        for _ in 0..12_000 {
            send(&other, other.xid(), &missing);
        }
        fs::write(scratch.path().join("file"), "new").unwrap();
        assert_eq!(send(&client.from("127.0.0.1:701"), xid, &remove), first);
        assert!(scratch.path().join("file").exists());
    });
}

#[test]
fn a_namespace_that_was_made_again_has_another_write_verifier() {
    with_client(|client, root, _| {
        let file = client.create(root, b"file").unwrap();
        let verifier = client.write(&file, 0, b"x").unwrap().verifier;
        assert_eq!(client.write_verifier(), verifier);
        client.within().change_write_verifier();
        let committed = client.commit(&file).into_result().unwrap().verifier;
        assert_ne!(committed, verifier, "it sends its write again");
        assert_eq!(client.write(&file, 0, b"x").unwrap().verifier, committed);
        let again = Tenant::new(Watcher::refusing(), Clock::monotonic());
        let again = Within::<Object>::enter(&again.ns).unwrap().write_verifier().0;
        assert_ne!(again, verifier);
        assert_ne!(again, committed);
    });
}

/// Whichever call it is that hears of the failure: the next one would hear nothing.
#[test]
fn a_flush_that_fails_changes_the_write_verifier() {
    type Flush = fn(&Client, &[u8]) -> Option<Error>;
    let flushes: [Flush; 3] = [
        |client, file| Some(failure(client.commit(file)).0),
        |client, file| {
            let write = |piece: u64| {
                let data = [7; 1 << 20];
                client.write_how(file, piece << 20, &data, StableHow::FileSync).into_result().err()
            };
            Some((24..60).find_map(write).unwrap())
        },
        |client, file| {
            let (new_attributes, guard) = (mode(0o600), None);
            let set = nfs3::SetAttrArgs { object: fh(file), new_attributes, guard };
            let mut arguments = Encoder::new();
            arguments.put(&Call::SetAttr(set));
            let procedure = (nfs3::PROGRAM, nfs3::VERSION, nfs3::Procedure::SetAttr.number());
            // It could have been flushed with others: none of them is answered.
            assert_eq!(client.send(client.xid(), procedure, &arguments), None);
            None
        },
    ];
    for flush in flushes {
        as_root(|| {
            let scratch = Scratch::new();
            let export = small_disk(&scratch);
            let client = Client::new(&Thread::new(), &service(vec![trusting(&export)]));
            let file = client.create(&client.mount("/").unwrap(), b"file").unwrap();
            let verifier = client.write(&file, 0, b"unstable").unwrap().verifier;
            for piece in 0..24 {
                client.write(&file, piece << 20, &[7; 1 << 20]).unwrap();
            }
            assert_eq!(client.write_verifier(), verifier);
            let error = flush(&client, &file);
            assert!(matches!(error, None | Some(Error::Io | Error::NoSpc)), "{error:?}");
            assert_ne!(client.write_verifier(), verifier);
        });
    }
}

#[test]
fn a_flush_that_fails_for_one_call_alone_changes_it_too() {
    as_root(|| {
        let scratch = Scratch::new();
        let export = small_disk(&scratch);
        // Nothing is kept for later without a namespace.
        let thread = Thread::within(None);
        let client = Client::new(&thread, &service(vec![trusting(&export)]));
        let file = client.create(&client.mount("/").unwrap(), b"file").unwrap();
        let before = client.service.write_verifier();
        for piece in 0..24 {
            let written = client.write(&file, piece << 20, &[7; 1 << 20]).unwrap();
            assert_eq!(written.verifier, before);
        }
        let error = failure(client.setattr(&file, mode(0o600), None)).0;
        assert!(matches!(error, Error::Io | Error::NoSpc), "{error:?}");
        assert_ne!(client.service.write_verifier(), before);
    });
}

/// Nobody has lost anything by it.
#[test]
fn what_finds_no_space_leaves_the_write_verifier() {
    as_root(|| {
        let scratch = Scratch::new();
        let full = scratch.path().join("fs");
        fs::create_dir(&full).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "nr_inodes=8,size=64k", "none", full.to_str().unwrap()],
        );
        for within in [true, false] {
            let thread = if within { Thread::new() } else { Thread::within(None) };
            let client = Client::new(&thread, &service(vec![trusting(&full)]));
            let root = client.mount("/").unwrap();
            let file = match client.create(&root, b"file") {
                Err(Error::Exist) => client.lookup(&root, b"file"),
                made => made,
            };
            let verifier = || client.write(file.as_ref().unwrap(), 0, b"x").unwrap().verifier;
            let before = verifier();
            let names: Vec<_> = (0..9).map(|number| format!("{within}{number}")).collect();
            let refused = names.iter().find_map(|name| client.create(&root, name.as_bytes()).err());
            assert_eq!(refused, Some(Error::NoSpc));
            assert_eq!(client.mkdir(&root, b"dir"), Err(Error::NoSpc));
            assert_eq!(verifier(), before);
        }
    });
}

/// A file system that takes more than its disk can: it finds out when it flushes.
fn small_disk(scratch: &Scratch) -> PathBuf {
    let below = scratch.path().join("fs");
    let (image, disk) = (below.join("image"), below.join("disk"));
    fs::create_dir(&below).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=12m", "none", below.to_str().unwrap()]);
    fs::create_dir(&disk).unwrap();
    fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let image = image.to_str().unwrap();
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-O", "^has_journal", image]);
    run("mount", &["-o", "loop", image, disk.to_str().unwrap()]);
    disk
}

#[test]
fn nothing_of_a_service_is_held_when_nobody_is_attended() {
    with_client(|client, root, _| {
        client.create(root, b"file").unwrap();
        let old = client.service.set_exports(ExportTable::default());
        assert_eq!(client.getattr(root), Err(Error::Stale));
        let table = std::sync::Arc::into_inner(old).expect("the only reference");
        for export in table.exports().to_vec() {
            drop(table.clone());
            assert_eq!(std::sync::Arc::strong_count(&export), 2, "the table's, and this one");
        }
    });
}

/// Attributes from before are proof for a client that only it has changed the directory. Whatever
/// it is told, taken together, must be one chain.
#[test]
fn attributes_from_before_are_given_only_to_the_one_who_changed_it() {
    let scratch = Scratch::new();
    const CALLS: usize = 300;
    let shared = service(vec![trusting(scratch.path())]);
    let barrier = Barrier::new(2);
    let make_all = |thread: usize, calls: usize, begin: &dyn Fn()| {
        let client = Client::new(&Thread::new(), &shared);
        let root = client.mount("/").unwrap();
        begin();
        let make = |call| {
            let name = format!("{thread}-{call}");
            let made = client.create_how(&root, name.as_bytes(), CreateHow::Exclusive([1; 8]));
            made.into_result().unwrap().dir_wcc
        };
        (0..calls).map(make).collect::<Vec<_>>()
    };
    let mut told: Vec<_> = std::thread::scope(|scope| {
        let together = || {
            barrier.wait();
        };
        let run = |thread| scope.spawn(move || make_all(thread, CALLS, &together));
        let threads = [run(0), run(1)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // On its own thread, too, because a thread has one session.
    let alone = std::thread::scope(|scope| scope.spawn(|| make_all(2, 1, &|| ())).join().unwrap());
    assert!(alone.iter().all(|wcc| wcc.before.is_some()), "nobody else changed it");
    told.extend(alone);
    let mut given: Vec<_> = told.iter().filter_map(|wcc| Some((wcc.before?, wcc.after?))).collect();
    given.sort_by_key(|(before, after)| (before.ctime, after.ctime));
    for pair in given.windows(2) {
        let [(before, after), (next, _)] = pair else { unreachable!() };
        assert!(before.ctime <= after.ctime);
        assert!(after.ctime <= next.ctime, "{before:?} to {after:?} holds {next:?}");
    }
}

#[test]
fn a_thread_has_one_context() {
    as_ordinary_user(|| {
        let first = Context::new(privileges(), Inline).unwrap();
        assert!(Context::new(privileges(), Inline).is_err());
        drop(first);
        assert!(Context::new(privileges(), Inline).is_ok());
    });
}
