//! Record marking: whatever comes, in whatever pieces, the memory stays within its bounds and the
//! records are those of a receiver that sees it all at once.
#![no_main]

use holm_sunrpc::record::{Receiver, RecordError};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 20_000;

fuzz_target!(|data: &[u8]| {
    let Some((steps, data)) = data.split_at_checked(4) else { return };
    let mut steps = steps.iter().map(|step| usize::from(*step) + 1).cycle();
    let pieces = run(data, || steps.next().unwrap_or(1), true);
    let whole = run(data, || usize::MAX, false);
    assert_eq!(pieces, whole);
});

fn run(
    data: &[u8],
    mut step: impl FnMut() -> usize,
    lend: bool,
) -> (Vec<Vec<u8>>, Option<RecordError>) {
    let mut receiver = Receiver::new(MAX);
    let mut records = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let space = receiver.space();
        assert!(!space.is_empty(), "all records are taken");
        let (now, later) = rest.split_at(rest.len().min(space.len()).min(step()));
        space[..now.len()].copy_from_slice(now);
        receiver.received(now.len());
        rest = later;
        loop {
            match receiver.next_record() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
        let received = data.len() - rest.len();
        assert!(receiver.capacity() <= 8192.max(3 * received));
        assert!(receiver.capacity() <= MAX + 8192);
        if lend && received % 3 == 0 {
            receiver.reclaim();
            assert_eq!(receiver.capacity(), receiver.buffered());
        }
    }
    (records, None)
}
