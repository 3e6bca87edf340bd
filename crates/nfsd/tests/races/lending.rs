//! Files that are lent, against all that wants them back: the client, the end of the namespace, another
//! export in the place of one, the end of the session.

use crate::harness::{fails, passes};
use crate::lender;
use crate::lender_sketch::{self as sketch, Flaw};
use crate::world::{LATE, LEFT, Ledger};
use holm_nfs_proto::localio::door::{Message, Opened};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};
use std::collections::{BTreeSet, VecDeque};

/// A client, and the namespace that lends it files. The ledger has them by export: those of the first
/// that there was, and those of the other, which takes its place.
pub trait Door: Send + Sync + 'static {
    fn ledger(&self) -> &Arc<Ledger>;
    /// What the client hears.
    fn inbox(&self) -> &Inbox;
    /// The client wants a file.
    fn open(&self);
    /// It has closed one; whether it is let go on.
    fn close(&self, file: u64) -> bool;
    /// It is gone.
    fn ended(&self);
    /// Another export takes the place of the first, whose files are wanted back.
    fn replace_export(&self);
    /// Removes the namespace and waits until it is gone.
    fn remove(&self);
    /// Collector, shrinker and watcher pass by.
    fn isolate(&self) {}
    /// Whoever has not given back what was wanted back is cut off.
    fn end_overdue(&self);
    /// The UUID of the client is named; whether it was known.
    fn prove(&self) -> bool;
}

/// What a client has been told.
#[derive(Default)]
pub struct Inbox {
    heard: Mutex<Heard>,
    more: Condvar,
}

#[derive(Default)]
struct Heard {
    messages: VecDeque<Message>,
    all_recalled: bool,
    ended: bool,
}

impl Inbox {
    pub fn put(&self, message: Message) {
        let mut heard = self.heard.lock().unwrap();
        heard.all_recalled |= message == Message::RecallAll;
        let is_late = heard.all_recalled && matches!(message, Message::Opened(_));
        let has_ended = heard.ended;
        heard.messages.push_back(message);
        drop(heard);
        self.more.notify_all();
        assert!(!has_ended, "{AFTER_END}");
        assert!(!is_late, "{LENT_LATE}");
    }

    pub fn end(&self) {
        self.heard.lock().unwrap().ended = true;
        self.more.notify_all();
    }

    /// What comes next; none, if it is over.
    pub fn next(&self) -> Option<Message> {
        let mut heard = self.heard.lock().unwrap();
        loop {
            let message = heard.messages.pop_front();
            if message.is_some() || heard.ended {
                return message;
            }
            heard = self.more.wait(heard).unwrap();
        }
    }

    fn has_ended(&self) -> bool {
        self.heard.lock().unwrap().ended
    }

    fn try_next(&self) -> Option<Message> {
        self.heard.lock().unwrap().messages.pop_front()
    }
}

/// What a client does that does what it is told. It begins to close what it has by itself after so
/// many messages.
fn obey<D: Door>(door: &D, next: impl Fn(&Inbox) -> Option<Message>, closes: usize) {
    let mut files = BTreeSet::new();
    let close = |file| {
        // What is in flight is finished.
        thread::yield_now();
        assert!(door.close(file), "{CUT_OFF}");
    };
    let mut heard = 0;
    while let Some(message) = next(door.inbox()) {
        heard += 1;
        match message {
            Message::Opened(Opened { file, .. }) if heard >= closes => close(file),
            Message::Opened(Opened { file, .. }) => {
                files.insert(file);
            }
            // One that it has closed meanwhile is recalled too.
            Message::Recall(file) if files.remove(&file) => close(file),
            Message::RecallAll => {
                std::mem::take(&mut files).into_iter().for_each(close);
                break;
            }
            _ => {}
        }
    }
}

/// Something else that is done with the door meanwhile.
fn beside<D: Door>(door: &Arc<D>, work: fn(&D)) -> JoinHandle<()> {
    let door = door.clone();
    thread::spawn(move || work(&door))
}

/// A client opens files while its namespace goes.
fn open_against_shutdown<D: Door>(door: D, closes: usize, passing: fn(&D)) {
    let door = Arc::new(door);
    let threads = [
        thread::spawn({
            let door = door.clone();
            move || [(); 2].map(|()| door.open())
        }),
        thread::spawn({
            let door = door.clone();
            move || {
                obey(&*door, Inbox::next, closes);
                door.ended();
                [(); 2]
            }
        }),
    ];
    let passer = beside(&door, passing);
    door.remove();
    door.ledger().is_gone(0);
    for thread in threads {
        thread.join().unwrap();
    }
    passer.join().unwrap();
}

/// A client that does not listen has files open while its namespace goes.
fn cut_off_against_shutdown<D: Door>(door: D, cut_off: fn(&D)) {
    let door = Arc::new(door);
    door.open();
    let threads = [cut_off, D::open, D::ended].map(|work| beside(&door, work));
    door.remove();
    door.ledger().is_gone(0);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A file is opened while its client goes.
fn open_against_end<D: Door>(door: D) {
    let door = Arc::new(door);
    door.open();
    let opener = beside(&door, D::open);
    door.ended();
    opener.join().unwrap();
    door.remove();
    door.ledger().is_gone(0);
}

/// A file is opened while its export becomes another one.
fn open_against_another_export<D: Door>(door: D) {
    let door = Arc::new(door);
    door.open();
    let opener = beside(&door, D::open);
    door.replace_export();
    opener.join().unwrap();
    obey(&*door, Inbox::try_next, usize::MAX);
    assert_eq!(door.ledger().open(0), 0, "{OF_OLD}");
    door.ended();
    door.remove();
}

/// A client closes a file that is wanted back in that moment.
fn close_against_recall<D: Door>(door: D) {
    let door = Arc::new(door);
    door.open();
    door.open();
    let recalling = beside(&door, D::replace_export);
    obey(&*door, Inbox::try_next, 0);
    recalling.join().unwrap();
    door.ended();
    assert_eq!(door.ledger().open(0), 0, "{OF_OLD}");
    door.remove();
    door.ledger().is_gone(0);
}

/// A client closes the file that was wanted back when the time for that is over.
fn close_against_deadline<D: Door>(door: D) {
    let door = Arc::new(door);
    door.open();
    door.replace_export();
    let deadline = beside(&door, D::end_overdue);
    let mut said = std::iter::from_fn(|| door.inbox().try_next());
    let file = said.find_map(|message| match message {
        Message::Opened(Opened { file, .. }) => Some(file),
        _ => None,
    });
    let in_time = door.close(file.unwrap()) && !door.inbox().has_ended();
    deadline.join().unwrap();
    assert!(!(in_time && door.inbox().has_ended()), "{CUT_OFF}");
    door.ended();
    assert_eq!(door.ledger().open(0), 0, "{OF_OLD}");
    door.remove();
    door.ledger().is_gone(0);
}

/// A UUID is named when its session ends.
fn proof_against_end<D: Door>(door: D) {
    let door = Arc::new(door);
    let namers = [(); 2].map(|()| {
        let door = door.clone();
        thread::spawn(move || door.prove())
    });
    // Not before both had a chance.
    for _ in 0..6 {
        thread::yield_now();
    }
    door.ended();
    let proven = namers.map(|namer| namer.join().unwrap());
    assert_ne!(proven, [true; 2], "{TWICE}");
    assert!(!door.prove(), "{TWICE}");
    let said = std::iter::from_fn(|| door.inbox().try_next());
    let said = said.filter(|message| *message == Message::Proven).count();
    assert_eq!(said, proven.into_iter().filter(|proven| *proven).count());
    door.remove();
}

#[test]
fn nothing_is_lent_once_everything_was_recalled() {
    passes("open against shutdown", || {
        open_against_shutdown(lender::Real::new(), usize::MAX, |_| ());
    });
    fails("an open that looks outside the lock whether it may", &[LENT_LATE, "deadlock"], || {
        open_against_shutdown(sketch::Door::new(Flaw::ShutOutsideLock), usize::MAX, |_| ());
    });
}

#[test]
fn what_was_lent_is_closed_before_its_namespace_is_gone() {
    passes("a client that closes its files, against shutdown", || {
        open_against_shutdown(lender::Real::new(), 0, |_| ());
    });
    fails("the namespace released before the file", &[LATE, LEFT], || {
        open_against_shutdown(sketch::Door::new(Flaw::NamespaceFirst), 0, |_| ());
    });
    fails("the namespace released before the export of the file", &[LATE, LEFT], || {
        open_against_shutdown(sketch::Door::new(Flaw::ExportLast), 0, |_| ());
    });
}

#[test]
fn what_passes_by_leaves_what_is_lent_alone() {
    passes("collector, shrinker and watcher beside files that are lent, against shutdown", || {
        open_against_shutdown(lender::Real::new(), usize::MAX, Door::isolate);
    });
}

#[test]
fn who_does_not_listen_is_cut_off_by_one() {
    passes("cut off, opening and ended at once, against shutdown", || {
        cut_off_against_shutdown(lender::Real::new(), Door::end_overdue);
    });
}

#[test]
fn who_is_gone_is_lent_nothing() {
    passes("open against the end of its client", || open_against_end(lender::Real::new()));
    fails("a session that is open still when it has ended", &["deadlock"], || {
        open_against_end(sketch::Door::new(Flaw::EndsOpen));
    });
}

#[test]
fn who_gives_back_in_time_is_not_cut_off() {
    passes("close against the deadline", || close_against_deadline(lender::Real::new()));
    fails("a deadline that looks first and then cuts off", &[CUT_OFF], || {
        close_against_deadline(sketch::Door::new(Flaw::LooksThenCuts));
    });
}

#[test]
fn nothing_of_an_export_stays_lent_that_was_recalled() {
    passes("open against another export", || {
        open_against_another_export(lender::Real::new());
    });
    fails("a recall that asks only for what is lent by then", &[OF_OLD], || {
        open_against_another_export(sketch::Door::new(Flaw::RecallsOnlyLent));
    });
}

#[test]
fn a_file_may_come_back_while_it_is_recalled() {
    passes("close against recall", || close_against_recall(lender::Real::new()));
    fails("a file that is forgotten when it is recalled", &[CUT_OFF], || {
        close_against_recall(sketch::Door::new(Flaw::ForgetsRecalled));
    });
}

#[test]
fn a_proof_comes_before_the_end_or_not() {
    passes("a proof against the end of its session", || proof_against_end(lender::Real::new()));
    fails("a proof for a session that was found before", &[AFTER_END], || {
        proof_against_end(sketch::Door::new(Flaw::ProvesEnded));
    });
    fails("a UUID that is looked at and then used up", &[TWICE], || {
        proof_against_end(sketch::Door::new(Flaw::LooksThenTakes));
    });
}

const LENT_LATE: &str = "a file is lent after everything was recalled";
const CUT_OFF: &str = "a client was cut off that has done nothing wrong";
const OF_OLD: &str = "a file of an export that is gone is lent";
const AFTER_END: &str = "something is said after the end";
const TWICE: &str = "a UUID was good twice";
