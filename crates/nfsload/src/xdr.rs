//! The few types of XDR (RFC 4506) that a load generator needs.
//!
//! It shares nothing with the servers it measures: a mistake in their codec is not repeated here.

/// The buffer ended before the value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

/// Appends values in their encoding.
pub trait Encode {
    /// An unsigned integer, an enum or a bool.
    fn uint(&mut self, value: u32);
    /// An unsigned hyper integer.
    fn hyper(&mut self, value: u64);
    /// Variable-length opaque data or a string.
    fn opaque(&mut self, bytes: &[u8]);
}

impl Encode for Vec<u8> {
    fn uint(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn hyper(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn opaque(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u32);
        self.extend_from_slice(bytes);
        self.extend_from_slice(&ZEROS[..padding(bytes.len())]);
    }
}

/// How many zero bytes follow `length` bytes of opaque data.
pub fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// Padding to send.
pub static ZEROS: [u8; 3] = [0; 3];

/// Takes values off the front of a buffer.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An unsigned integer, an enum or a bool.
    pub fn uint(&mut self) -> Result<u32, Truncated> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// An unsigned hyper integer.
    pub fn hyper(&mut self) -> Result<u64, Truncated> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*bytes))
    }

    /// `length` bytes as they are.
    pub fn fixed(&mut self, length: usize) -> Result<&'a [u8], Truncated> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Variable-length opaque data or a string, and its padding.
    pub fn opaque(&mut self) -> Result<&'a [u8], Truncated> {
        let length = self.uint()? as usize;
        let bytes = self.fixed(length)?;
        self.fixed(padding(length))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let mut bytes = Vec::new();
        bytes.uint(7);
        bytes.hyper(1 << 40);
        bytes.opaque(b"abcde");
        assert_eq!(bytes.len(), 4 + 8 + 4 + 8);
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(decoder.uint(), Ok(7));
        assert_eq!(decoder.hyper(), Ok(1 << 40));
        assert_eq!(decoder.opaque(), Ok(&b"abcde"[..]));
        assert_eq!(decoder.rest(), b"");
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        assert_eq!(Decoder::new(&[0, 0, 0]).uint(), Err(Truncated));
        assert_eq!(Decoder::new(&[0; 7]).hyper(), Err(Truncated));
        assert_eq!(Decoder::new(&[0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0]).opaque(), Err(Truncated));
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xff]).opaque(), Err(Truncated));
    }
}
