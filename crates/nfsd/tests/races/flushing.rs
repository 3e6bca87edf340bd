//! A commit hears of every failure that others saw in its place, and waits for no other file.

use crate::harness::{fails, passes};
use flushing::Flushing;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::sync::{Arc, RwLock};
use shuttle::thread;

#[path = "../../src/flushing.rs"]
mod flushing;

/// Says who may flush when.
trait Orders: Default + Send + Sync + 'static {
    fn may_flush(&self, inode: u64, work: impl FnOnce());
    fn commit(&self, inode: u64, work: impl FnOnce());
}

/// A file whose data was lost, which is told once.
struct File<O: Orders> {
    orders: O,
    lost: AtomicBool,
    verifier: AtomicU64,
}

impl<O: Orders> File<O> {
    /// Says whether it went well. The verifier is another if not, some time after that.
    fn flush(&self) -> bool {
        let failed = self.lost.swap(false, Ordering::SeqCst);
        thread::yield_now();
        if failed {
            self.verifier.fetch_add(1, Ordering::SeqCst);
        }
        !failed
    }
}

fn commit_beside_others<O: Orders>() {
    let (orders, lost, verifier) = (O::default(), AtomicBool::new(true), AtomicU64::new(1));
    let file = Arc::new(File { orders, lost, verifier });
    let other = |commits: bool| {
        let file = file.clone();
        thread::spawn(move || {
            let work = || {
                file.flush();
            };
            if commits {
                file.orders.commit(INODE, work);
            } else {
                file.orders.may_flush(INODE, work);
            }
        })
    };
    let others = [false, false, true].map(other);
    let mut well = false;
    file.orders.commit(INODE, || well = file.flush());
    assert!(!well || file.verifier.load(Ordering::SeqCst) > 1, "{LOST}");
    for other in others {
        other.join().unwrap();
    }
}

/// What holds up one file ends only when others have been flushed.
fn commit_while_another_is_stuck<O: Orders>() {
    let orders = Arc::new(O::default());
    orders.commit(INODE, || {
        let others = [false, true].map(|commits| {
            let orders = orders.clone();
            thread::spawn(move || {
                for inode in (0..40).filter(|inode| *inode != INODE) {
                    if commits {
                        orders.commit(inode, || ());
                    } else {
                        orders.may_flush(inode, || ());
                    }
                }
            })
        });
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn commits_hear_of_what_others_were_told() {
    passes("a commit beside others", commit_beside_others::<Flushing>);
    fails("a commit that waits for nobody", &[LOST], commit_beside_others::<Nothing>);
}

#[test]
fn commits_wait_for_their_own_file_only() {
    passes("a commit while another is stuck", commit_while_another_is_stuck::<Flushing>);
    fails("files that share a lock", &["deadlock"], commit_while_another_is_stuck::<Shared>);
}

const LOST: &str = "answered, and lost";
const INODE: u64 = 7;

impl Orders for Flushing {
    fn may_flush(&self, inode: u64, work: impl FnOnce()) {
        let _flush = self.may_flush(inode);
        work();
    }

    fn commit(&self, inode: u64, work: impl FnOnce()) {
        let _flush = self.commit(inode);
        work();
    }
}

/// No order at all.
#[derive(Default)]
struct Nothing;

impl Orders for Nothing {
    fn may_flush(&self, _: u64, work: impl FnOnce()) {
        work();
    }

    fn commit(&self, _: u64, work: impl FnOnce()) {
        work();
    }
}

/// A few locks for many files.
#[derive(Default)]
struct Shared([RwLock<()>; 8]);

impl Orders for Shared {
    fn may_flush(&self, inode: u64, work: impl FnOnce()) {
        let _flush = self.0[inode as usize % 8].read().unwrap();
        work();
    }

    fn commit(&self, inode: u64, work: impl FnOnce()) {
        let _flush = self.0[inode as usize % 8].write().unwrap();
        work();
    }
}
