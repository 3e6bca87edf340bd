//! Cutting frames out of a stream.

use crate::world::frame;
use holm_ifnet::Frame;
use holm_ifnet::wires::FRAME_MAX;
use holm_ifnet::wires::framing::{Cut, Decoder, LENGTH_MAX, WrongLength};
use proptest::prelude::*;

pub fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

/// What is cut out of the pieces, and whether it ended between two frames.
fn cut(pieces: &[&[u8]]) -> (Vec<Cut>, Result<bool, WrongLength>) {
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(cut)) => all.push(cut),
                Ok(None) => break,
                Err(wrong) => return (all, Err(wrong)),
            }
        }
        assert!(input.is_empty());
    }
    (all, Ok(decoder.is_between()))
}

#[test]
fn frames_are_the_same_wherever_the_stream_is_cut() {
    let frames = [frame(1, 14), frame(2, 60), frame(3, 15)];
    let stream = frames.iter().flat_map(|frame| framed(frame)).collect::<Vec<_>>();
    let whole: Vec<_> = frames.into_iter().map(Cut::Frame).collect();
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(cut(&[first, second]), (whole.clone_all(), Ok(true)), "cut at {at}");
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(cut(&bytes), (whole, Ok(true)));
}

trait CloneAll {
    fn clone_all(&self) -> Vec<Cut>;
}

impl CloneAll for Vec<Cut> {
    fn clone_all(&self) -> Vec<Cut> {
        let copy = |cut: &Cut| match cut {
            Cut::Frame(frame) => Cut::Frame(frame.clone()),
            Cut::Malformed => Cut::Malformed,
        };
        self.iter().map(copy).collect()
    }
}

#[test]
fn lengths_that_are_no_frame_are_passed_over_or_end_the_stream() {
    let good: Frame = frame(9, 100);
    for length in [1, 13, FRAME_MAX + 1, LENGTH_MAX] {
        let stream = [framed(&vec![7; length]), framed(&good)].concat();
        let pieces: Vec<_> = stream.chunks(997).collect();
        let expected = vec![Cut::Malformed, Cut::Frame(good.clone())];
        assert_eq!(cut(&pieces), (expected, Ok(true)), "{length}");
    }
    for length in [14, FRAME_MAX] {
        let stream = framed(&vec![7; length]);
        assert_eq!(cut(&[&stream]), (vec![Cut::Frame(vec![7; length].into())], Ok(true)));
    }
    for length in [0, LENGTH_MAX as u32 + 1, u32::MAX] {
        let stream = [framed(&good), length.to_be_bytes().to_vec(), framed(&good)].concat();
        let expected = vec![Cut::Frame(good.clone())];
        assert_eq!(cut(&[&stream]), (expected, Err(WrongLength(length))));
    }
}

#[test]
fn what_was_announced_takes_no_memory() {
    let mut decoder = Decoder::default();
    let mut input: &[u8] = &(FRAME_MAX as u32).to_be_bytes();
    assert_eq!(decoder.next(&mut input), Ok(None));
    assert!(decoder.capacity() < 64, "{}", decoder.capacity());
    assert!(!decoder.is_between());
    // And what was used is given back.
    let frame = vec![1; FRAME_MAX];
    for piece in frame.chunks(1000) {
        let mut input = piece;
        let cut = decoder.next(&mut input).unwrap();
        assert_eq!(cut.is_some(), decoder.is_between());
    }
    assert_eq!(decoder.capacity(), 0);
}

proptest! {
    #[test]
    fn any_pieces_give_what_the_whole_gives(
        lengths in prop::collection::vec(
            prop_oneof![0..40_usize, Just(FRAME_MAX + 1), Just(LENGTH_MAX + 1)], 1..8),
        sizes in prop::collection::vec(1..5000_usize, 1..20),
        kept in any::<bool>(),
    ) {
        let stream: Vec<u8> = lengths.iter().flat_map(|length| framed(&vec![5; *length])).collect();
        let mut sizes = sizes.iter().cycle();
        let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(now);
            rest = later;
        }
        let whole = cut(&[&stream]);
        prop_assert_eq!(cut(&pieces), (whole.0.clone_all(), whole.1));
        if kept {
            let mut decoder = Decoder::default();
            decoder.keep(&stream);
            let mut all = Vec::new();
            while let Ok(Some(cut)) = decoder.next(&mut &[][..]) {
                all.push(cut);
            }
            prop_assert_eq!(all, whole.0);
        }
    }
}
