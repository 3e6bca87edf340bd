//! Those who open the same file at the same time, and the file that changes meanwhile.

use crate::harness::{fails, passes};
use crate::real::{self, handle, key, opened};
use crate::sketch::{self, Flaw};
use crate::world::{Ledger, Open};
use holm_nfsd::cache::{File, Stamp};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

/// A cache that opens one file for whoever asks.
pub trait Opens: Default + Send + Sync + 'static {
    fn ledger(&self) -> &Arc<Ledger>;
    /// Opens the file and leaves it in the cache.
    fn use_it(&self, who: u32);
}

fn opened_by_two<O: Opens>(other: u32) {
    let opens = Arc::new(O::default());
    let users = [1, other].map(|who| {
        let opens = opens.clone();
        thread::spawn(move || opens.use_it(who))
    });
    for user in users {
        user.join().unwrap();
    }
    let kept = if other == 1 { 1 } else { 2 };
    assert_eq!(opens.ledger().open(1), kept, "{TWICE}");
    opens.use_it(1);
    assert_eq!(opens.ledger().open(1), kept, "{TWICE}");
}

/// A file whose permissions are changed by somebody who then says so.
pub trait Changes: Send + Sync + 'static {
    /// Opens the file; with which permissions it was opened.
    fn open(&self, permissions: &AtomicUsize) -> usize;
    fn changed(&self);
}

fn opened_while_changed<C: Changes>(cache: C) {
    let cache = Arc::new(cache);
    let permissions = Arc::new(AtomicUsize::new(0));
    let opener = thread::spawn({
        let (cache, permissions) = (cache.clone(), permissions.clone());
        move || cache.open(&permissions)
    });
    permissions.store(1, Ordering::SeqCst);
    cache.changed();
    assert_eq!(cache.open(&permissions), 1, "{REVOKED}");
    opener.join().unwrap();
    assert_eq!(cache.open(&permissions), 1, "{REVOKED}");
}

#[test]
fn one_key_is_open_once_and_two_are_twice() {
    passes("two opens of one key", || opened_by_two::<RealOpens>(1));
    passes("the same file opened by two callers", || opened_by_two::<RealOpens>(2));
    fails("two opens that check and then insert", &[TWICE], || {
        opened_by_two::<sketch::CheckThenInsert>(1);
    });
}

#[test]
fn what_was_opened_before_a_change_is_not_found_after_it() {
    passes("open against a change", || opened_while_changed(RealChanges::new()));
    fails("an open that is kept though the file changed meanwhile", &[REVOKED], || {
        opened_while_changed(sketch::KeepsWhatChanged::new(Flaw::NoReference));
    });
}

const TWICE: &str = "the same is open twice";
const REVOKED: &str = "opened with permissions that were revoked";

struct RealOpens {
    real: real::Real<Open>,
    ledger: Arc<Ledger>,
}

impl Default for RealOpens {
    fn default() -> Self {
        Self { real: real::Real::new(100), ledger: Arc::default() }
    }
}

impl Opens for RealOpens {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn use_it(&self, who: u32) {
        let within = self.real.within(1).unwrap();
        let open = || opened(Open::new(&self.ledger, 1));
        drop(within.open(&key(1, who), open).unwrap());
    }
}

struct WithPermissions(usize);

impl File for WithPermissions {
    fn flush(&self) -> holm_nfsd::Result<()> {
        Ok(())
    }

    fn stamp(&self) -> holm_nfsd::Result<Stamp> {
        Ok(real::stamp())
    }
}

struct RealChanges(real::Real<WithPermissions>);

impl RealChanges {
    fn new() -> Self {
        Self(real::Real::new(100))
    }
}

impl Changes for RealChanges {
    fn open(&self, permissions: &AtomicUsize) -> usize {
        let within = self.0.within(0).unwrap();
        let open = || {
            let checked = permissions.load(Ordering::SeqCst);
            thread::yield_now();
            opened(WithPermissions(checked))
        };
        within.open(&key(1, 0), open).unwrap().0
    }

    fn changed(&self) {
        self.0.within(0).unwrap().changed(&handle(1));
    }
}
