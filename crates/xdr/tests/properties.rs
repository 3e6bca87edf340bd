//! For all values, and for all bytes.

use holm_xdr::{Array, Decode, Decoder, Encode, Encoder, List, Opaque};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, PartialEq, Encode, Decode)]
struct Everything<'a> {
    number: u32,
    signed: i64,
    flag: Option<bool>,
    name: Opaque<'a, 300>,
    fixed: [u8; 7],
    choice: Choice<'a>,
    numbers: Array<u64, 100>,
    names: List<Opaque<'a, 40>, 100>,
}

#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
enum Colour {
    Red = 1,
    Blue = 7,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Choice<'a> {
    #[xdr(case = Colour::Red)]
    Red(Opaque<'a, 9>),
    #[xdr(default)]
    Other(Colour, u32),
}

/// Memory of an `Everything`.
#[derive(Debug)]
struct Parts {
    number: u32,
    signed: i64,
    flag: Option<bool>,
    name: Vec<u8>,
    fixed: [u8; 7],
    red: Option<Vec<u8>>,
    numbers: Vec<u64>,
    names: Vec<Vec<u8>>,
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        any::<(u32, i64, Option<bool>, [u8; 7])>(),
        vec(any::<u8>(), 0..=300),
        proptest::option::of(vec(any::<u8>(), 0..=9)),
        vec(any::<u64>(), 0..=100),
        vec(vec(any::<u8>(), 0..=40), 0..=100),
    )
        .prop_map(|((number, signed, flag, fixed), name, red, numbers, names)| Parts {
            number,
            signed,
            flag,
            name,
            fixed,
            red,
            numbers,
            names,
        })
}

impl Parts {
    fn whole(&self) -> Everything<'_> {
        let names = self.names.iter().map(|name| Opaque::new(name).unwrap()).collect();
        Everything {
            number: self.number,
            signed: self.signed,
            flag: self.flag,
            name: Opaque::new(&self.name).unwrap(),
            fixed: self.fixed,
            choice: match &self.red {
                Some(red) => Choice::Red(Opaque::new(red).unwrap()),
                None => Choice::Other(Colour::Blue, self.number),
            },
            numbers: Array::new(self.numbers.clone()).unwrap(),
            names: List::new(names).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(parts in parts()) {
        let mut out = Encoder::new();
        parts.whole().encode(&mut out);
        prop_assert_eq!(out.len() % 4, 0);
        let mut input = Decoder::strict(&out);
        prop_assert_eq!(input.get::<Everything<'_>>().unwrap(), parts.whole());
        prop_assert!(input.finish().is_ok());
    }

    #[test]
    fn what_is_cut_does_not_decode(parts in parts()) {
        let mut out = Encoder::new();
        parts.whole().encode(&mut out);
        for len in 0..out.len() {
            prop_assert!(Decoder::new(&out[..len]).get::<Everything<'_>>().is_err());
        }
    }

    #[test]
    fn bytes_that_decode_are_encoded_to_the_same(parts in parts(), at: prop::sample::Index, bit in 0..8u8) {
        let mut out = Encoder::new();
        parts.whole().encode(&mut out);
        let mut bytes = out.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut input = Decoder::strict(&bytes);
        if let Ok(value) = input.get::<Everything<'_>>() {
            let mut again = Encoder::new();
            value.encode(&mut again);
            prop_assert_eq!(&*again, &bytes[..input.position()]);
        }
    }

    #[test]
    fn any_bytes_allocate_no_more_than_they_justify(bytes in vec(any::<u8>(), 0..400), count: u32) {
        // Counts that lie, in front of whatever.
        let lies = [&count.to_be_bytes(), &*bytes].concat();
        for input in [&bytes, &lies] {
            let allocated = allocated_by(|| {
                let _ = Decoder::new(input).get::<Everything<'_>>();
                let _ = Decoder::new(input).get::<Array<u64, { u32::MAX }>>();
                let _ = Decoder::new(input).get::<Array<Opaque<'_>, { u32::MAX }>>();
                let _ = Decoder::new(input).get::<List<u32, { u32::MAX }>>();
            });
            // 16 bytes of memory for 4 of input, doubled as a Vec grows, four times.
            prop_assert!(allocated <= 64 * (input.len() as u64 + 64), "{allocated} for {}", input.len());
        }
    }
}

/// Bytes that `run` asked for in all, on this thread.
fn allocated_by(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_total
}
