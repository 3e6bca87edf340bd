//! The stream cut into records, however it comes.

use holm_sunrpc::record::{FRAGMENTS_MAX, Frame, Receiver, RecordError};
use holm_xdr::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

/// A fragment with its mark.
fn fragment(bytes: &[u8], last: bool) -> Vec<u8> {
    let mark = bytes.len() as u32 | (u32::from(last) << 31);
    [&mark.to_be_bytes(), bytes].concat()
}

/// Receives as much of `bytes` as there is space for.
fn receive<'b>(receiver: &mut Receiver, bytes: &'b [u8]) -> &'b [u8] {
    let space = receiver.space();
    let (now, later) = bytes.split_at(bytes.len().min(space.len()));
    space[..now.len()].copy_from_slice(now);
    receiver.received(now.len());
    later
}

fn records(receiver: &mut Receiver) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(record) = receiver.next_record().expect("a stream of records") {
        records.push(record.to_vec());
    }
    records
}

#[test]
fn a_record_is_a_slice_of_the_place_it_was_received_into() {
    let mut receiver = Receiver::new(1000);
    assert_eq!(receiver.capacity(), 0, "nothing before it is needed");
    let place = receiver.space().as_ptr();
    receive(&mut receiver, &[fragment(b"first", true), fragment(b"second", true)].concat());
    let first = receiver.next_record().unwrap().unwrap();
    assert_eq!((&*first, first.as_ptr()), (&b"first"[..], place.wrapping_add(4)));
    let second = receiver.next_record().unwrap().unwrap();
    assert_eq!((&*second, second.as_ptr()), (&b"second"[..], place.wrapping_add(13)));
    assert!(receiver.next_record().unwrap().is_none());
    assert!(receiver.is_idle());
}

#[test]
fn fragments_are_put_together() {
    let mut receiver = Receiver::new(1000);
    let bytes = [
        fragment(b"one ", false),
        fragment(b"", false),
        fragment(b"and two", true),
        fragment(b"", true),
        fragment(b"three", true),
    ]
    .concat();
    receive(&mut receiver, &bytes);
    assert_eq!(records(&mut receiver), [&b"one and two"[..], b"", b"three"]);
}

#[test]
fn a_record_may_be_as_long_as_allowed_in_however_many_fragments() {
    let mut receiver = Receiver::new(10);
    receive(&mut receiver, &[fragment(b"12345", false), fragment(b"67890", true)].concat());
    assert_eq!(records(&mut receiver), [b"1234567890"]);

    receive(&mut receiver, &[fragment(b"12345", false), fragment(b"678901", true)].concat());
    let error = RecordError::TooLong { len: 11, max: 10 };
    assert_eq!(receiver.next_record().unwrap_err(), error);
    assert_eq!(receiver.next_record().unwrap_err(), error, "for good");
}

#[test]
fn a_long_record_that_is_announced_takes_no_memory() {
    let mut receiver = Receiver::new(1 << 30);
    receive(&mut receiver, &((1 << 31) | (1u32 << 29)).to_be_bytes());
    assert!(receiver.next_record().unwrap().is_none());
    for pieces in 1..=100 {
        assert!(receive(&mut receiver, &[b'x'; 1000]).is_empty());
        assert!(receiver.next_record().unwrap().is_none());
        assert_eq!(receiver.buffered(), pieces * 1000);
        let capacity = receiver.capacity();
        assert!(capacity <= 8192.max(3 * 1000 * pieces), "{capacity} for {pieces} kB");
    }
}

#[test]
fn a_record_in_endless_empty_fragments_is_refused() {
    let mut receiver = Receiver::new(1000);
    let bytes = fragment(b"", false).repeat(FRAGMENTS_MAX as usize + 1);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        rest = receive(&mut receiver, rest);
        let refused = receiver.next_record().err();
        assert_eq!(refused, rest.is_empty().then_some(RecordError::TooManyFragments));
        assert!(receiver.capacity() <= 8192);
    }
}

#[test]
fn the_buffer_goes_and_comes_between_two_bytes() {
    let mut receiver = Receiver::new(1000);
    let bytes = [fragment(b"one ", false), fragment(b"and two", true)].concat();
    for byte in &bytes {
        let buffer = receiver.reclaim();
        assert_eq!(receiver.capacity(), receiver.buffered());
        assert!(receiver.lend(vec![0; 4096.max(buffer.len())]).is_none());
        receiver.space()[0] = *byte;
        receiver.received(1);
        let whole = receiver.next_record().unwrap().map(|record| record.to_vec());
        if let Some(record) = whole {
            assert_eq!(record, b"one and two");
        }
    }
    assert!(receiver.is_idle());
    assert_eq!(receiver.lend(vec![0; 10]), Some(vec![0; 10]), "it has a larger one");
    receiver.reclaim();
    assert_eq!(receiver.capacity(), 0);
}

#[test]
fn a_frame_counts_what_is_in_it() {
    let mut out = Encoder::new();
    out.u32(1);
    let frame = Frame::begin(&mut out);
    out.u32(5);
    frame.end(&mut out).unwrap();
    assert_eq!(*out, [0, 0, 0, 1, 0x80, 0, 0, 4, 0, 0, 0, 5]);
}

/// Each record as its fragments.
fn stream() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    // Lengths are drawn, bytes are counted: drawing each would take most of the time.
    let part = (0..3000u32, any::<u32>())
        .prop_map(|(len, first)| (0..len).map(|n| first.wrapping_add(n * n) as u8).collect());
    vec(vec(part, 1..5), 0..20)
}

proptest! {
    #[test]
    fn records_come_out_however_they_come_in(stream in stream(), steps in vec(1..4000usize, 1..50), idle: bool) {
        let mut bytes = Vec::new();
        for record in &stream {
            let last = record.len() - 1;
            for (n, part) in record.iter().enumerate() {
                bytes.extend(fragment(part, n == last));
            }
        }
        let mut receiver = Receiver::new(4 * 3000);
        let mut got = Vec::new();
        let (mut rest, mut arrived) = (&bytes[..], 0);
        for step in steps.iter().cycle() {
            let (mut now, later) = rest.split_at((*step).min(rest.len()));
            rest = later;
            while !now.is_empty() {
                let left = receive(&mut receiver, now);
                arrived += now.len() - left.len();
                // Sometimes more than one receive before it is looked at.
                if left.len() == now.len() || *step % 2 == 0 {
                    let ready = receiver.is_ready();
                    let new = records(&mut receiver);
                    prop_assert!(ready || new.is_empty(), "it has said that there is nothing");
                    prop_assert!(!receiver.is_ready(), "it has said that there is more");
                    got.extend(new);
                }
                now = left;
                prop_assert!(receiver.capacity() <= 8192.max(3 * arrived));
            }
            if idle {
                receiver.reclaim();
            }
            if rest.is_empty() {
                break;
            }
        }
        got.extend(records(&mut receiver));
        let expected: Vec<Vec<u8>> = stream.iter().map(|record| record.concat()).collect();
        prop_assert_eq!(got, expected);
        prop_assert!(receiver.is_idle());
    }

    #[test]
    fn no_bytes_panic_or_take_more_memory_than_they_justify(bytes in vec(prop_oneof![Just(0u8), Just(0x80), any::<u8>()], 0..800)) {
        let mut receiver = Receiver::new(500);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = receive(&mut receiver, rest);
            loop {
                match receiver.next_record() {
                    Ok(Some(record)) => prop_assert!(record.len() <= 500),
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            prop_assert!(receiver.capacity() <= 8192.max(3 * (bytes.len() - rest.len())));
            prop_assert!(receiver.capacity() <= 500 + 8192);
        }
    }
}

/// As many as that make it ready, wherever it is cut.
#[test]
fn what_is_missing_makes_a_fragment_whole() {
    let stream = [&[0, 0, 0, 3, 1, 2, 3][..], &[0x80, 0, 0, 2, 4, 5], &[0x80, 0, 0, 0]].concat();
    let mut receiver = Receiver::new(100);
    let (mut sent, mut records) = (0, Vec::new());
    while sent < stream.len() {
        let missing = receiver.missing();
        assert!((1..=4).contains(&missing), "{missing} after {sent}");
        let piece = &stream[sent..sent + missing];
        receiver.space()[..missing].copy_from_slice(piece);
        receiver.received(missing);
        sent += missing;
        if receiver.is_ready() {
            assert_eq!(receiver.missing(), 0);
        }
        while let Some(record) = receiver.next_record().unwrap() {
            records.push(record.to_vec());
        }
    }
    assert_eq!(records, [&[1, 2, 3, 4, 5][..], &[]]);
}
