//! The buffer: what it takes besides values, and what it does with its memory.

use holm_xdr::{Encode, Encoder, FixedSize, padded, padding};

#[test]
fn memory_is_kept_and_not_zeroed_again() {
    let mut out = Encoder::new();
    assert_eq!(out.capacity(), 0);
    out.space(1000).fill(7);
    let capacity = out.capacity();
    out.clear();
    assert!(out.is_empty() && out.as_slice().is_empty());
    assert_eq!(*out.space(1000), [7; 1000], "what was there is there still");
    assert_eq!(out.capacity(), capacity);

    out.truncate(10);
    out.shrink_to(0);
    assert_eq!((out.len(), out.capacity()), (10, 10));
}

#[test]
fn new_memory_is_zero() {
    let mut out = Encoder::with_capacity(16);
    assert_eq!(*out.space(16), [0; 16]);
    assert_eq!(*out.space(5000), [0; 5000]);
}

#[test]
fn a_placeholder_is_filled_later() {
    let mut out = Encoder::new();
    out.u32(1);
    let place = out.placeholder::<u64>();
    out.u32(3);
    assert_eq!(*out, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    out.fill(place, &2);
    assert_eq!(*out, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]);

    out.truncate(8);
    out.fill(place, &4);
    assert_eq!(*out, [0, 0, 0, 1, 0, 0, 0, 0], "it is not there any more");
}

#[test]
fn a_placeholder_is_zero_in_memory_that_is_reused() {
    let mut out = Encoder::new();
    out.space(8).fill(9);
    out.clear();
    let _ = out.placeholder::<u32>();
    assert_eq!(*out, [0; 4]);
    out.opaque_fixed(b"a");
    assert_eq!(*out, [0, 0, 0, 0, b'a', 0, 0, 0]);
}

#[test]
fn bytes_are_taken_from_front_and_middle() {
    let mut out = Encoder::new();
    out.raw(&[1, 2, 3, 4, 5, 6]);
    out.remove(1, 2);
    assert_eq!(*out, [1, 4, 5, 6]);
    out.remove(3, 2);
    assert_eq!(*out, [1, 4, 5, 6], "they are not all there");
    out.consume(1);
    assert_eq!(*out, [4, 5, 6]);
    out.tail_mut(1).fill(0);
    assert_eq!(*out, [4, 0, 0]);
    assert!(out.tail_mut(4).is_empty());
    out.consume(9);
    assert!(out.is_empty());
}

#[test]
fn padding_fills_up_to_four() {
    assert_eq!([0, 1, 2, 3, 4, 5].map(padding), [0, 3, 2, 1, 0, 3]);
    assert_eq!([0, 1, 2, 3, 4, 5].map(padded), [0, 4, 4, 4, 4, 8]);
    assert_eq!(padded(usize::MAX), usize::MAX, "no overflow");
}

#[test]
fn fixed_sizes_are_what_is_encoded() {
    fn check<T: FixedSize + Encode>(value: &T) {
        let mut out = Encoder::new();
        value.encode(&mut out);
        assert_eq!(out.len(), T::SIZE);
    }
    check(&1u32);
    check(&1i32);
    check(&1u64);
    check(&1i64);
    check(&true);
    check(&[0u8; 5]);
}
