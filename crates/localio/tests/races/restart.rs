//! Borrowing against a server that is started again: what was opened of the old one goes back, also
//! when that was under way; what the new one may have lost is written again, under what came later.

use crate::harness::{fails, passes};
use crate::sketch::{ForgottenOpening, KeptWhileLocal, OlderOverNewer};
use crate::world::{ByRpc, Client, Machine, NOT_SAFE, Real, WRONG};
use shuttle::thread;
use std::sync::Arc;

fn restart_against_probes<C: Client>() {
    let machine = Arc::new(Machine::default());
    let client = Arc::new(C::new(&machine));
    let workers = [0, 1].map(|block| {
        let (machine, client) = (machine.clone(), client.clone());
        thread::spawn(move || {
            for value in 1..=3 {
                client.write(block, value);
                assert_eq!(client.read(block), value, "{WRONG}");
                if value != 2 {
                    client.commit();
                    machine.is_safe(block, value);
                }
            }
            assert_eq!(client.read(block), 3, "{WRONG}");
        })
    });
    for _ in 0..2 {
        // In the middle of something, and not always at its beginning.
        for _ in 0..8 {
            thread::yield_now();
        }
        let last = machine.last();
        client.recall(true);
        machine.wait_until_closed(last);
    }
    for worker in workers {
        worker.join().unwrap();
    }
    client.recall(true);
    machine.wait_until_closed(machine.last());
    for block in [0, 1] {
        client.commit();
        assert_eq!(client.read(block), 3, "{WRONG}");
        machine.is_safe(block, 3);
    }
    Arc::into_inner(client).unwrap().end();
    machine.nothing_is_open();
}

#[test]
fn what_was_opened_goes_back_and_what_was_written_stays() {
    passes("borrowing against restart", restart_against_probes::<Real>);
    let forgotten = restart_against_probes::<ForgottenOpening>;
    fails("recalled while it is opened, and kept", &["deadlock"], forgotten);
    let kept = restart_against_probes::<KeptWhileLocal>;
    fails("what is kept is older than what was written locally", &[WRONG, NOT_SAFE], kept);
    passes("writing by RPC against restart", restart_against_probes::<ByRpc>);
    let older = restart_against_probes::<OlderOverNewer>;
    fails("what was lost written over what was not", &[WRONG, NOT_SAFE], older);
}
