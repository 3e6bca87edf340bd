//! Frames that the kernel has left unfinished, with any header before them and of any content: what they
//! are cut into is bounded, loses nothing and has right checksums.
#![no_main]

use holm_ifnet::Frame;
use holm_ifnet::ether::Ethernet;
use holm_ifnet::offload::{HEADER, PIECES_MAX, Unfinished};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, frame)) = data.split_first_chunk::<HEADER>() else { return };
    let Some(unfinished) = Unfinished::parse(*header) else { return };
    // The header that is made of it says the same.
    let again = unfinished.header(frame);
    if again[1] != u8::MAX {
        assert_eq!(Unfinished::parse(again), Some(unfinished));
    }
    let whole = Frame::unfinished(frame.to_vec(), unfinished);
    let expected = whole.longest();
    let (mut plain, mut tagged) = (Vec::new(), Vec::new());
    let (mut one, mut other) = (frame.to_vec(), frame.to_vec());
    let tag = [0x81, 0, 0, 7];
    let done = unfinished.finish(&mut one, None, &mut plain);
    assert_eq!(done, unfinished.finish(&mut other, Some(tag), &mut tagged));
    assert_eq!(plain.len(), tagged.len());
    for (plain, tagged) in plain.iter().zip(&tagged) {
        assert_eq!([&plain[..12], &tag, &plain[12..]].concat(), **tagged);
    }
    if done.is_none() {
        return;
    }
    assert!((1..=PIECES_MAX).contains(&plain.len()));
    assert_eq!(plain.iter().map(|piece| piece.len()).max(), expected);
    let mut owned = Vec::new();
    assert!(whole.finish(&mut owned).is_some() && owned == plain);
    if let [whole] = &plain[..] {
        assert_eq!(whole.len(), frame.len());
        return;
    }
    // The headers are as long in each, and what is behind them is all there was.
    let longest = plain.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let size = usize::from(u16::from_ne_bytes([header[4], header[5]]));
    let headers = longest - size;
    let payload: Vec<u8> = plain.iter().flat_map(|piece| &piece[headers..]).copied().collect();
    assert_eq!(payload, frame[headers..]);
    for piece in &plain {
        let Some(Ethernet { ether_type: 0x0800, payload, .. }) = Ethernet::parse(piece) else {
            continue;
        };
        assert_eq!(usize::from(u16::from_be_bytes([payload[2], payload[3]])), payload.len());
    }
});
