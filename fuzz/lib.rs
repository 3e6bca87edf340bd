//! What the targets share. `cargo xtask fuzz` runs them all for a while, or the ones it is given.
//!
//! A target panics if a decoder does, and if what was decoded is not encoded to the same bytes.

#![forbid(unsafe_code)]

pub mod world;

use holm_xdr::{Decode, Decoder, Encode, Encoder, Error};

/// `data` decodes as a `T` that is encoded to the same bytes, or not at all.
pub fn round_trip<'a, T: Decode<'a> + Encode>(data: &'a [u8]) {
    same(data, |input| input.get::<T>());
}

/// The first byte of `data` chooses one of `choices`; the others are its input.
pub fn choose<'a, T: Copy>(data: &'a [u8], choices: &[T]) -> Option<(T, &'a [u8])> {
    let (choice, data) = data.split_first()?;
    Some((*choices.get(usize::from(*choice) % choices.len())?, data))
}

/// What `decode` makes of `data` is encoded to the same bytes. Cut short by one byte it does not
/// decode; with padding that is not zero it decodes all the same, unless the decoder is strict.
pub fn same<'a, T: Encode>(data: &'a [u8], decode: impl Fn(&mut Decoder<'a>) -> Result<T, Error>) {
    let mut strict = Decoder::strict(data);
    let mut lenient = Decoder::new(data);
    match (decode(&mut strict), decode(&mut lenient)) {
        (Ok(value), Ok(_)) => {
            let end = strict.position();
            assert_eq!(end, lenient.position());
            let mut out = Encoder::new();
            value.encode(&mut out);
            assert_eq!(*out, data[..end]);
            if let Some(cut) = end.checked_sub(1) {
                assert!(decode(&mut Decoder::new(&data[..cut])).is_err());
            }
        }
        (Err(_), Ok(value)) => {
            // Only its padding was wrong: that is all that changes.
            let mut out = Encoder::new();
            value.encode(&mut out);
            assert_eq!(out.len(), lenient.position());
        }
        (Ok(_), Err(error)) => panic!("only a strict decoder takes it: {error}"),
        (Err(strict), Err(_)) => assert!(strict.at() <= data.len()),
    }
}
