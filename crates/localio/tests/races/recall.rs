//! Recall against a client in the middle of I/O: no descriptor is closed under anybody, and what was
//! committed is on the disk.

use crate::harness::{fails, passes};
use crate::sketch::{CloseBeforeDrained, FlushBeforeDrained, NoFlush};
use crate::world::{Client, Machine, NOT_SAFE, Real, USED, WRONG};
use shuttle::thread;
use std::sync::Arc;

fn recall_against_io<C: Client>() {
    let machine = Arc::new(Machine::default());
    let client = Arc::new(C::new(&machine));
    let workers = [0, 1].map(|block| {
        let (machine, client) = (machine.clone(), client.clone());
        thread::spawn(move || {
            for value in 1..=2 {
                client.write(block, value);
                assert_eq!(client.read(block), value, "{WRONG}");
                client.commit();
                machine.is_safe(block, value);
            }
        })
    });
    for _ in 0..2 {
        let last = machine.last();
        client.recall(false);
        // Or else it waits for ever.
        machine.wait_until_closed(last);
    }
    for worker in workers {
        worker.join().unwrap();
    }
    Arc::into_inner(client).unwrap().end();
    machine.nothing_is_open();
}

#[test]
fn nothing_is_closed_under_anybody_and_nothing_is_lost() {
    passes("recall against I/O", recall_against_io::<Real>);
    fails("closed before I/O has drained", &[USED], recall_against_io::<CloseBeforeDrained>);
    fails("flushed before I/O has drained", &[NOT_SAFE], recall_against_io::<FlushBeforeDrained>);
    fails("not flushed at all", &[NOT_SAFE], recall_against_io::<NoFlush>);
}
