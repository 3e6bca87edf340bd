//! Frames after their lengths: whatever comes, in whatever pieces, the memory stays within its bounds and
//! the frames are those of a receiver that sees it all at once.
#![no_main]

use holm_ifnet::wires::framing::{Cut, Decoder, LENGTH_MAX, PREFIX, WrongLength};
use libfuzzer_sys::fuzz_target;

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
    keep: bool,
) -> (Vec<Cut>, Result<bool, WrongLength>) {
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (mut now, later) = rest.split_at(rest.len().min(step()));
        rest = later;
        loop {
            // Now and then the receiver has enough for a while.
            if keep && all.len() % 3 == 2 {
                decoder.keep(now);
                now = &[];
            }
            match decoder.next(&mut now) {
                Ok(Some(cut)) => all.push(cut),
                Ok(None) => break,
                Err(wrong) => return (all, Err(wrong)),
            }
        }
        assert!(now.is_empty());
        let received = data.len() - rest.len();
        assert!(decoder.capacity() <= 2048.max(2 * received).min(2 * (PREFIX + LENGTH_MAX)));
    }
    (all, Ok(decoder.is_between()))
}
