//! Encodings worked out by hand from RFC 4506, both ways.

use holm_xdr::{Array, Decode, Decoder, Encode, Encoder, Error, List, Opaque, Problem};
use std::fmt::Debug;

/// `value` is encoded as `bytes`, which decode to it; cut anywhere, they do not decode.
#[track_caller]
fn check<'a, T: Encode + Decode<'a> + PartialEq + Debug>(value: &T, bytes: &'a [u8]) {
    let mut out = Encoder::new();
    value.encode(&mut out);
    assert_eq!(*out, *bytes, "encoded");

    let mut input = Decoder::strict(bytes);
    assert_eq!(input.get::<T>().as_ref(), Ok(value), "decoded");
    input.finish().expect("all of it");

    for len in 0..bytes.len() {
        let error = Decoder::new(&bytes[..len]).get::<T>().expect_err("cut");
        assert!(matches!(error.problem(), Problem::Truncated { .. }), "{error}");
        assert!(error.at() <= len);
    }
}

#[track_caller]
fn problem<'a, T: Decode<'a> + Debug>(bytes: &'a [u8]) -> Problem {
    Decoder::strict(bytes).get::<T>().expect_err("malformed").problem()
}

#[test]
fn integers_are_big_endian() {
    check(&1u32, &[0, 0, 0, 1]);
    check(&u32::MAX, &[0xff; 4]);
    check(&-2i32, &[0xff, 0xff, 0xff, 0xfe]);
    check(&0x0102_0304_0506_0708u64, &[1, 2, 3, 4, 5, 6, 7, 8]);
    check(&i64::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_bool_is_zero_or_one() {
    check(&false, &[0, 0, 0, 0]);
    check(&true, &[0, 0, 0, 1]);
    assert_eq!(problem::<bool>(&[0, 0, 0, 2]), Problem::Unknown { value: 2 });
}

#[test]
fn opaques_are_padded_to_four() {
    check(&[1u8, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 0, 0, 0]);
    check(&Opaque::<8>::EMPTY, &[0, 0, 0, 0]);
    check(&Opaque::<8>::new(b"abc").unwrap(), &[0, 0, 0, 3, b'a', b'b', b'c', 0]);
    check(&Opaque::<4>::new(b"abcd").unwrap(), &[0, 0, 0, 4, b'a', b'b', b'c', b'd']);
}

#[test]
fn an_opaque_is_a_slice_of_the_input() {
    let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 0];
    let opaque: Opaque<'_, 8> = Decoder::new(&bytes).get().unwrap();
    assert!(std::ptr::eq(opaque.bytes(), &bytes[4..7]));
}

#[test]
fn padding_other_than_zero_is_refused_only_if_strict() {
    let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 7];
    assert_eq!(problem::<Opaque<'_, 8>>(&bytes), Problem::Padding);
    assert_eq!(*Decoder::new(&bytes).get::<Opaque<'_, 8>>().unwrap(), *b"abc");
    assert_eq!(problem::<[u8; 3]>(&[1, 2, 3, 4]), Problem::Padding);
}

#[test]
fn a_count_above_the_bound_is_refused_before_the_elements_are_looked_at() {
    assert_eq!(problem::<Opaque<'_, 2>>(&[0, 0, 0, 3]), Problem::TooMany { count: 3, max: 2 });
    assert_eq!(problem::<Array<u32, 2>>(&[0, 0, 0, 3]), Problem::TooMany { count: 3, max: 2 });
    assert!(Opaque::<2>::new(b"abc").is_err());
    assert!(Array::<u32, 2>::new(vec![1, 2, 3]).is_err());
    assert!(List::<u32, 2>::new(vec![1, 2, 3]).is_err());
}

#[test]
fn a_count_of_four_billion_is_an_error_and_no_allocation() {
    let bytes = [0xff; 4];
    assert_eq!(
        problem::<Opaque<'_>>(&bytes),
        Problem::Truncated { needs: u32::MAX as usize, left: 0 }
    );
    assert_eq!(
        problem::<Array<u64, { u32::MAX }>>(&bytes),
        Problem::Truncated { needs: 8, left: 0 }
    );
}

#[test]
fn arrays_have_a_count_and_lists_a_flag_for_each() {
    check(&Array::<u32, 4>::new(vec![5, 6]).unwrap(), &[0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
    check(
        &List::<u32, 4>::new(vec![5, 6]).unwrap(),
        &[0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0],
    );
    check(&Some(9u32), &[0, 0, 0, 1, 0, 0, 0, 9]);
    check(&None::<u32>, &[0, 0, 0, 0]);
}

#[test]
fn a_list_may_have_as_many_elements_as_its_bound() {
    let list = |count: usize| {
        let mut bytes = [0, 0, 0, 1, 0, 0, 0, 5].repeat(count);
        bytes.extend([0; 4]);
        bytes
    };
    assert_eq!(Decoder::new(&list(2)).get::<List<u32, 2>>().unwrap().len(), 2);
    assert_eq!(problem::<List<u32, 2>>(&list(3)), Problem::TooMany { count: 3, max: 2 });
}

#[test]
fn a_list_can_be_taken_one_by_one() {
    let bytes = [0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7];
    let mut input = Decoder::new(&bytes);
    assert_eq!(input.list::<u32>(9).collect::<Result<Vec<_>, _>>(), Ok(vec![5]));
    assert_eq!(input.u32(), Ok(7), "the decoder is behind the list");

    let mut input = Decoder::new(&bytes[..6]);
    let mut items = input.list::<u32>(9);
    assert!(items.next().is_some_and(|item| item.is_err()));
    assert!(items.next().is_none(), "it ends after an error");
}

#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
enum Kind {
    Ascii = 0,
    Data = -1,
    Exec = 2,
}

#[test]
fn an_enumeration_has_its_values_and_no_others() {
    check(&Kind::Exec, &[0, 0, 0, 2]);
    check(&Kind::Data, &[0xff; 4]);
    let error = Decoder::new(&[0, 0, 0, 1]).get::<Kind>().unwrap_err();
    assert_eq!(error.to_string(), "Kind at byte 0: 1 has no meaning");
}

/// The example of RFC 4506, section 7.
#[derive(Debug, PartialEq, Encode, Decode)]
struct File<'a> {
    filename: Opaque<'a, 255>,
    kind: FileType<'a>,
    owner: Opaque<'a, 32>,
    data: Opaque<'a, 65535>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum FileType<'a> {
    #[xdr(case = 0)]
    Text,
    #[xdr(case = 1)]
    Data { creator: Opaque<'a, 255> },
    #[xdr(case = 2)]
    Exec { interpretor: Opaque<'a, 255> },
}

#[test]
fn the_file_of_the_rfc() {
    let file = File {
        filename: Opaque::new(b"sillyprog").unwrap(),
        kind: FileType::Exec { interpretor: Opaque::new(b"lisp").unwrap() },
        owner: Opaque::new(b"john").unwrap(),
        data: Opaque::new(b"(quit)").unwrap(),
    };
    #[rustfmt::skip]
    let bytes = [
        0x00, 0x00, 0x00, 0x09,
        0x73, 0x69, 0x6c, 0x6c,
        0x79, 0x70, 0x72, 0x6f,
        0x67, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x04,
        0x6c, 0x69, 0x73, 0x70,
        0x00, 0x00, 0x00, 0x04,
        0x6a, 0x6f, 0x68, 0x6e,
        0x00, 0x00, 0x00, 0x06,
        0x28, 0x71, 0x75, 0x69,
        0x74, 0x29, 0x00, 0x00,
    ];
    check(&file, &bytes);
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Answer<T> {
    #[xdr(case = true)]
    Yes(T),
    #[xdr(default)]
    No(bool),
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Open {
    #[xdr(case = Kind::Exec)]
    Exec(u32, u32),
    #[xdr(default)]
    Other(Kind, u64),
}

#[test]
fn unions_have_arms_and_perhaps_a_default() {
    check(&Answer::Yes(7u32), &[0, 0, 0, 1, 0, 0, 0, 7]);
    check(&Answer::<u32>::No(false), &[0, 0, 0, 0]);
    check(&Open::Exec(3, 4), &[0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
    check(&Open::Other(Kind::Ascii, 9), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(problem::<Open>(&[0, 0, 0, 5]), Problem::Unknown { value: 5 });
    assert_eq!(problem::<FileType<'_>>(&[0, 0, 0, 3]), Problem::Unknown { value: 3 });
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Empty;

#[derive(Debug, PartialEq, Encode, Decode)]
struct Pair(u32, Empty, [u8; 2]);

#[test]
fn structures_are_their_fields() {
    check(&Pair(1, Empty, [2, 3]), &[0, 0, 0, 1, 2, 3, 0, 0]);
}

#[test]
fn an_error_says_what_and_where() {
    let error = |bytes: &[u8]| -> Error { Decoder::new(bytes).get::<File<'_>>().unwrap_err() };
    let shown = |bytes: &[u8]| error(bytes).to_string();
    assert_eq!(shown(&[0, 0, 1, 0]), "File.filename at byte 0: 256 is more than 255");
    assert_eq!(shown(&[0, 0, 0, 8]), "File.filename at byte 4: needs 8 bytes, 0 are left");
    assert_eq!(
        shown(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0]),
        "FileType::Exec.interpretor at byte 8: needs 4 bytes, 2 are left"
    );
    let mut input = Decoder::new(&[0; 6]);
    assert_eq!(input.u32(), Ok(0));
    assert_eq!(input.finish().unwrap_err().to_string(), "a value at byte 4: 2 bytes are left over");
}

#[test]
fn the_derives_refuse_what_has_no_meaning() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
