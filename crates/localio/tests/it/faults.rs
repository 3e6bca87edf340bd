//! Connections that break, and servers that say what cannot be.

use crate::proxy::{self, Fate, Message, set_word, word};
use crate::world::{World, mount, options, pattern, url};
use holm_localio::{Access, Error, Mount, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const READ: u32 = 6;
const WRITE: u32 = 7;
const CREATE: u32 = 8;
const REMOVE: u32 = 12;
const READDIRPLUS: u32 = 17;
const COMMIT: u32 = 21;
/// Behind transaction, type, status, verifier and accepted status.
const STATUS: usize = 24;

/// A server whose way is as the rule says once it is armed.
fn between(
    world: &World,
    rule: impl Fn(&mut Message<'_>) -> Fate + Send + Sync + 'static,
) -> (Mount, std::path::PathBuf, Arc<AtomicBool>) {
    let (address, directory) = world.files();
    let armed = Arc::new(AtomicBool::new(false));
    let shared = armed.clone();
    let proxy = proxy::start(address, move |message| {
        if shared.load(Ordering::SeqCst) { rule(message) } else { Fate::Passes }
    });
    (mount(proxy), directory, armed)
}

/// Each call is hit once, as it goes or as it comes back, in whatever way there is.
fn every_message_is_hit_once(fate: Fate, replies: bool) {
    let world = World::new();
    let hit = Mutex::new(BTreeSet::new());
    let (mount, directory, armed) = between(&world, move |message| {
        let due = message.is_reply == replies && hit.lock().unwrap().insert(message.xid);
        if due { fate } else { Fate::Passes }
    });
    armed.store(true, Ordering::SeqCst);
    let content = pattern(200_000, 1);
    let file = mount.create("a", 0o600, true).unwrap();
    for (index, piece) in content.chunks(50_000).enumerate() {
        file.write_at(piece, index as u64 * 50_000).unwrap();
    }
    file.commit().unwrap();
    mount.make_directory("d", 0o755).unwrap();
    mount.rename("a", "d/b").unwrap();
    mount.link("d/b", "c").unwrap();
    mount.symlink("x", "l").unwrap();
    mount.remove("l").unwrap();
    let mut read = vec![0; content.len()];
    assert_eq!(
        mount.open("c", Access::Read).unwrap().read_at(&mut read, 0).unwrap(),
        content.len()
    );
    assert!(read == content);
    assert_eq!(mount.list("d").unwrap().count(), 1);
    mount.remove("d/b").unwrap();
    mount.remove_directory("d").unwrap();
    assert_eq!(fs::read(directory.join("c")).unwrap(), content);
}

#[test]
fn calls_whose_connection_breaks_are_done_once() {
    for fate in [Fate::Cut, Fate::Half, Fate::Last] {
        every_message_is_hit_once(fate, false);
    }
}

#[test]
fn replies_whose_connection_breaks_come_again() {
    for fate in [Fate::Cut, Fate::Half, Fate::Last, Fate::Twice] {
        every_message_is_hit_once(fate, true);
    }
}

#[test]
fn a_call_is_sent_again_as_it_was() {
    let world = World::new();
    let seen: Arc<Mutex<BTreeMap<u32, u32>>> = Arc::default();
    let counted = seen.clone();
    let (mount, _, armed) = between(&world, move |message| {
        if message.procedure != REMOVE {
            return Fate::Passes;
        }
        let mut seen = counted.lock().unwrap();
        let times = seen.entry(message.xid).or_default();
        *times += u32::from(!message.is_reply);
        if message.is_reply && *times < 4 { Fate::Cut } else { Fate::Passes }
    });
    mount.create("a", 0o600, true).unwrap();
    armed.store(true, Ordering::SeqCst);
    mount.remove("a").unwrap();
    assert_eq!(seen.lock().unwrap().values().copied().collect::<Vec<_>>(), [4], "one transaction");
}

#[test]
fn what_gets_lost_is_sent_again_on_another_connection() {
    let world = World::new();
    let lost = AtomicU32::new(0);
    let (address, _) = world.files();
    let proxy = proxy::start(address, move |message| {
        let lose = message.procedure == CREATE && message.is_reply;
        if lose && lost.fetch_add(1, Ordering::SeqCst) == 0 { Fate::Lost } else { Fate::Passes }
    });
    let mut options = options();
    options.patience = Duration::from_secs(3);
    let mount = Mount::new(&url(proxy, "/"), &options).unwrap();
    mount.create("a", 0o600, true).unwrap();
}

#[test]
fn patience_ends() {
    let world = World::new();
    let (address, _) = world.files();
    let proxy =
        proxy::start(
            address,
            |message| {
                if message.procedure == REMOVE { Fate::Cut } else { Fate::Passes }
            },
        );
    let mut options = options();
    options.patience = Duration::from_millis(300);
    let mount = Mount::new(&url(proxy, "/"), &options).unwrap();
    let error = mount.remove("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(matches!(error.problem(), Problem::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
}

#[test]
fn later_means_later() {
    let world = World::new();
    let calls = AtomicU32::new(0);
    let transactions: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let seen = transactions.clone();
    let (mount, _, armed) = between(&world, move |message| {
        if message.procedure == REMOVE && !message.is_reply {
            seen.lock().unwrap().insert(message.xid);
        }
        let lie = message.procedure == REMOVE && message.is_reply;
        if lie && calls.fetch_add(1, Ordering::SeqCst) < 2 {
            set_word(message.bytes, STATUS, 10_008);
        }
        Fate::Passes
    });
    mount.create("a", 0o600, true).unwrap();
    armed.store(true, Ordering::SeqCst);
    // It was removed by the first, though the server says otherwise.
    let error = mount.remove("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(transactions.lock().unwrap().len(), 3, "new ones each");
}

#[test]
fn what_a_server_lost_is_written_again() {
    let world = World::new();
    let lost = AtomicU32::new(0);
    let (mount, directory, armed) = between(&world, move |message| {
        // Twice another verifier than that of the writes; and in between it was really lost.
        if message.is_reply
            && message.procedure == COMMIT
            && lost.fetch_add(1, Ordering::SeqCst) < 2
        {
            let end = message.bytes.len();
            message.bytes[end - 1] ^= 1;
        }
        Fate::Passes
    });
    let file = mount.create("a", 0o600, true).unwrap();
    let content = pattern(3_000_000, 4);
    file.write_at(&content, 0).unwrap();
    // Over it: what is written again must not come out on top.
    file.write_at(b"newer", 1_000_000).unwrap();
    fs::write(directory.join("a"), "").unwrap();
    armed.store(true, Ordering::SeqCst);
    file.commit().unwrap();
    let read = fs::read(directory.join("a")).unwrap();
    let expected = [&content[..1_000_000], b"newer", &content[1_000_005..]].concat();
    assert!(read == expected);

    // Nothing is kept any more.
    fs::write(directory.join("a"), "").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(directory.join("a")).unwrap(), b"");
}

#[test]
fn what_is_written_again_comes_under_what_came_later() {
    let world = World::new();
    // As after a restart: another verifier from then on.
    let (mount, directory, armed) = between(&world, |message| {
        if message.is_reply && matches!(message.procedure, WRITE | COMMIT) {
            let end = message.bytes.len();
            message.bytes[end - 1] ^= 1;
        }
        Fate::Passes
    });
    let file = mount.create("a", 0o600, true).unwrap();
    file.write_at(b"older, and longer", 0).unwrap();
    armed.store(true, Ordering::SeqCst);
    file.write_at(b"newer", 0).unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(directory.join("a")).unwrap(), b"newer, and longer");
}

#[test]
fn a_server_that_always_loses_is_given_up() {
    let world = World::new();
    let (mount, _, armed) = between(&world, move |message| {
        if message.is_reply && message.procedure == COMMIT {
            let end = message.bytes.len();
            message.bytes[end - 1] ^= 1;
        }
        Fate::Passes
    });
    let file = mount.create("a", 0o600, true).unwrap();
    file.write_at(b"a", 0).unwrap();
    armed.store(true, Ordering::SeqCst);
    let error = file.commit().unwrap_err();
    assert!(matches!(error.problem(), Problem::Lost(_)), "{error}");
    armed.store(false, Ordering::SeqCst);
    file.commit().unwrap();
}

/// What comes of an operation whose reply was made to say something else.
fn lied_to<T>(
    procedure: u32,
    lie: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    work: impl FnOnce(&Mount) -> Result<T, Error>,
) -> String {
    let world = World::new();
    let (mount, directory, armed) = between(&world, move |message| {
        if message.is_reply && message.procedure == procedure {
            lie(message.bytes);
        }
        Fate::Passes
    });
    fs::create_dir(directory.join("d")).unwrap();
    fs::write(directory.join("d/aaaa"), "content").unwrap();
    armed.store(true, Ordering::SeqCst);
    let Err(error) = work(&mount) else { panic!("believed") };
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    armed.store(false, Ordering::SeqCst);
    mount.stat("d").unwrap();
    error.to_string()
}

/// READ: behind attributes come count, eof and length.
const READ_COUNT: usize = STATUS + 4 + 4 + 84;

#[test]
fn reads_give_no_more_than_was_asked_for() {
    let read = |mount: &Mount| mount.open("d/aaaa", Access::Read)?.read_at(&mut [0; 4], 0);
    let more = |reply: &mut Vec<u8>| {
        set_word(reply, READ_COUNT, 8);
        set_word(reply, READ_COUNT + 8, 8);
        reply.extend([1, 2, 3, 4]);
    };
    let said = lied_to(READ, more, read);
    assert!(said.contains("8 bytes of data that are said to be 8, for 4 at most"), "{said}");
    let other = |reply: &mut Vec<u8>| set_word(reply, READ_COUNT, 3);
    assert!(lied_to(READ, other, read).contains("said to be 3"));
    let nothing = |reply: &mut Vec<u8>| {
        for at in [0, 4, 8] {
            set_word(reply, READ_COUNT + at, 0);
        }
    };
    assert!(lied_to(READ, nothing, read).contains("not at the end"));
    let short = |reply: &mut Vec<u8>| reply.truncate(READ_COUNT + 8);
    assert!(lied_to(READ, short, read).contains("makes no sense"));
}

#[test]
fn names_lead_nowhere_else() {
    for name in [b"../a", b"a/aa", b"a\0aa"] {
        let lie = |reply: &mut Vec<u8>| {
            let at = reply.windows(4).position(|bytes| bytes == b"aaaa").unwrap();
            reply[at..at + 4].copy_from_slice(name);
        };
        let list = |mount: &Mount| mount.list("d")?.collect::<Result<Vec<_>, _>>();
        lied_to(READDIRPLUS, lie, list);
    }
}

#[test]
fn directories_end() {
    let list = |mount: &Mount| mount.list("d")?.collect::<Result<Vec<_>, _>>();
    // The same page again and again.
    let never = |reply: &mut Vec<u8>| {
        let end = reply.len();
        set_word(reply, end - 4, 0);
    };
    let said = lied_to(READDIRPLUS, never, list);
    assert!(said.contains("circle") || said.contains("nothing in it"), "{said}");
    assert!(said.contains("could not list nfs://") && said.contains("/d:"), "{said}");
    // No entries, and no end.
    let nothing = |reply: &mut Vec<u8>| {
        reply.truncate(STATUS + 4 + 4 + 84 + 8);
        reply.extend([0; 8]);
    };
    let said = lied_to(READDIRPLUS, nothing, list);
    assert!(said.contains("nothing in it"), "{said}");
}

#[test]
fn writes_are_not_taken_for_more_than_they_were() {
    let write = |mount: &Mount| mount.create("new", 0o600, true)?.write_at(b"12345678", 0);
    // Count, committed and verifier are at the end.
    let more = |reply: &mut Vec<u8>| {
        let end = reply.len();
        assert_eq!(word(reply, end - 16), 8);
        set_word(reply, end - 16, 9);
    };
    assert!(lied_to(WRITE, more, write).contains("9 of 8 bytes written"));
    let none = |reply: &mut Vec<u8>| {
        let end = reply.len();
        set_word(reply, end - 16, 0);
    };
    assert!(lied_to(WRITE, none, write).contains("0 of 8 bytes written"));
}

#[test]
fn handles_are_no_longer_than_they_may_be() {
    let lie = |reply: &mut Vec<u8>| set_word(reply, STATUS + 4, 68);
    let said = lied_to(3, lie, |mount| mount.stat("d"));
    assert!(said.contains("68 is more than 64"), "{said}");
}
