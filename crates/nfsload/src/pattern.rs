//! What files are filled with: every word says where it belongs.
//!
//! A word of eight bytes holds, scrambled with a key, the number of its file, the generation of
//! the write it came with, and its place in the file. So what is read back is not only right or
//! wrong: it can be said to be of an earlier write, of another place, of another file, or of
//! nobody.

use std::{fmt, ops::RangeInclusive};

/// Files that can be told apart.
pub const MAX_FILES: usize = 1 << 12;
/// Generations that can be told apart.
pub const MAX_GENERATION: u32 = (1 << 20) - 1;
/// Bytes of a file that can be told apart.
pub const MAX_SIZE: u64 = 8 << 32;
/// Sizes and offsets are multiples of this.
pub const WORD: usize = 8;

/// The contents of all files of a run.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    key: u64,
}

impl Pattern {
    /// Another key makes other contents, so that leftovers of an earlier run are noticed.
    pub fn new(key: u64) -> Self {
        Self { key }
    }

    /// What a generation of a file has at `offset`.
    pub fn fill(&self, file: usize, generation: u32, offset: u64, out: &mut [u8]) {
        let mut place = Place { file, generation, offset };
        for word in out.chunks_exact_mut(WORD) {
            word.copy_from_slice(&self.word(place).to_le_bytes());
            place.offset += WORD as u64;
        }
    }

    /// Finds what does not belong: every word has to be of one of the `generations`.
    pub fn check(
        &self,
        file: usize,
        generations: RangeInclusive<u32>,
        offset: u64,
        data: &[u8],
    ) -> Option<Damage> {
        let mut damage: Option<Damage> = None;
        for (at, word) in (offset..).step_by(WORD).zip(data.chunks_exact(WORD)) {
            let found = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            let place = self.place(found);
            let here = place.file == file && place.offset == at;
            if here && generations.contains(&place.generation) {
                continue;
            }
            let what = if found == 0 {
                Found::Zeros
            } else if here {
                Found::Generation(place.generation)
            } else if place.generation <= *generations.end() && place.offset % 512 == at % 512 {
                Found::Elsewhere(place)
            } else {
                Found::Unknown
            };
            damage
                .get_or_insert(Damage {
                    file,
                    offset: at,
                    bytes: 0,
                    expected: generations.clone(),
                    found: what,
                })
                .bytes += WORD as u64;
        }
        damage
    }

    fn word(&self, place: Place) -> u64 {
        let packed = (place.file as u64) << 52
            | u64::from(place.generation) << 32
            | (place.offset / WORD as u64);
        scramble(packed ^ self.key)
    }

    fn place(&self, word: u64) -> Place {
        let packed = unscramble(word) ^ self.key;
        Place {
            file: (packed >> 52) as usize,
            generation: (packed >> 32) as u32 & MAX_GENERATION,
            offset: (packed & 0xffff_ffff) * WORD as u64,
        }
    }
}

/// Where a word belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file.
    pub file: usize,
    /// Which write of that place.
    pub generation: u32,
    /// Its offset in bytes.
    pub offset: u64,
}

/// Bytes that are not what they have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the file.
    pub file: usize,
    /// The first wrong word.
    pub offset: u64,
    /// How many bytes are in wrong words from there on.
    pub bytes: u64,
    /// Generations that would have been right.
    pub expected: RangeInclusive<u32>,
    /// What the first wrong word is.
    pub found: Found,
}

/// What stands where something else should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written there, or it was lost.
    Zeros,
    /// Another generation of the right place: a write that was lost, or a stale cache.
    Generation(u32),
    /// Bytes that belong elsewhere.
    Elsewhere(Place),
    /// Bytes that nobody wrote.
    Unknown,
    /// Nothing: the file is too short.
    EndOfFile,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, expected, found } = self;
        write!(f, "file {file}, offset {offset}, {bytes} bytes: expected generation ")?;
        if expected.start() == expected.end() {
            write!(f, "{}", expected.start())?;
        } else {
            write!(f, "{} to {}", expected.start(), expected.end())?;
        }
        match found {
            Found::Zeros => write!(f, ", found zeros"),
            Found::Generation(generation) => write!(f, ", found generation {generation}"),
            Found::Elsewhere(Place { file, generation, offset }) => {
                write!(f, ", found bytes of file {file}, offset {offset}, generation {generation}")
            }
            Found::Unknown => write!(f, ", found bytes that nobody wrote"),
            Found::EndOfFile => write!(f, ", found the end of the file"),
        }
    }
}

/// A permutation of the 64-bit numbers (the finaliser of splitmix64).
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Its inverse.
fn unscramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ (x >> 30) ^ (x >> 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: Pattern = Pattern { key: 42 };

    fn block() -> Vec<u8> {
        let mut block = vec![0; 4096];
        PATTERN.fill(3, 7, 8192, &mut block);
        block
    }

    #[test]
    fn a_word_tells_its_place() {
        let place = Place { file: MAX_FILES - 1, generation: MAX_GENERATION, offset: MAX_SIZE - 8 };
        assert_eq!(PATTERN.place(PATTERN.word(place)), place);
        assert_eq!(PATTERN.check(3, 7..=7, 8192, &block()), None);
    }

    #[test]
    fn every_wrong_byte_is_found() {
        for at in 0..4096 {
            let mut block = block();
            block[at] ^= 1;
            let damage = PATTERN.check(3, 7..=7, 8192, &block).expect("one byte is wrong");
            assert_eq!((damage.offset, damage.bytes), (8192 + (at as u64 & !7), 8));
            assert_eq!(damage.found, Found::Unknown);
        }
    }

    #[test]
    fn it_says_what_is_there_instead() {
        let found = |data: &[u8]| PATTERN.check(3, 7..=7, 8192, data).map(|damage| damage.found);
        assert_eq!(found(&[0; 4096]), Some(Found::Zeros));
        let mut other = vec![0; 4096];
        PATTERN.fill(3, 6, 8192, &mut other);
        assert_eq!(found(&other), Some(Found::Generation(6)));
        PATTERN.fill(2, 7, 8192, &mut other);
        let place = Place { file: 2, generation: 7, offset: 8192 };
        assert_eq!(found(&other), Some(Found::Elsewhere(place)));
        PATTERN.fill(3, 7, 0, &mut other);
        let place = Place { file: 3, generation: 7, offset: 0 };
        assert_eq!(found(&other), Some(Found::Elsewhere(place)));
    }
}
