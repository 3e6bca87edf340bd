//! What the stack looks at in a TCP segment before smoltcp does (RFC 9293, section 3.1).

/// The header of a segment, without its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: u16,
    pub(super) destination: u16,
    /// Of the first byte, or of the SYN before it.
    pub(super) sequence: u32,
    pub(super) flags: u8,
    /// Up to where it acknowledges, if it does, and how much its sender would take from there on.
    pub(super) acknowledges: Option<(u32, u16)>,
    /// Bytes of data.
    pub(super) length: u32,
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const OPTION_END: u8 = 0;
const OPTION_NONE: u8 = 1;
const OPTION_SIZE: u8 = 2;

impl Segment {
    /// Looks at what a packet of TCP carries; `None` if it can be no segment.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let (&header, _) = payload.split_first_chunk::<20>()?;
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, ..] = header;
        let acknowledged = (u32::from_be_bytes([a0, a1, a2, a3]), u16::from_be_bytes([w0, w1]));
        let length = payload.len().checked_sub(usize::from(offset >> 4) * 4)?;
        let segment = Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            flags,
            acknowledges: (flags & ACK != 0).then_some(acknowledged),
            length: u32::try_from(length).ok()?,
        };
        (offset >> 4 >= 5 && segment.source != 0 && segment.destination != 0).then_some(segment)
    }

    /// Makes the header of one between those ports without data, that acknowledges that.
    pub(super) fn make(payload: &mut [u8], (source, destination): (u16, u16), sequence: u32) {
        if let Some(header) = payload.first_chunk_mut::<20>() {
            *header = [0; 20];
            let [s, t, d, e, a, b, c, f, _, _, _, _, offset, flags, ..] = header;
            [*s, *t] = source.to_be_bytes();
            [*d, *e] = destination.to_be_bytes();
            [*a, *b, *c, *f] = sequence.to_be_bytes();
            (*offset, *flags) = (5 << 4, ACK);
        }
    }

    /// Has the segment that is the payload acknowledge that.
    pub(super) fn acknowledge(payload: &mut [u8], (number, window): (u32, u16)) {
        if let Some(header) = payload.first_chunk_mut::<20>() {
            let [_, _, _, _, _, _, _, _, a, b, c, d, _, _, w, x, ..] = header;
            [*a, *b, *c, *d] = number.to_be_bytes();
            [*w, *x] = window.to_be_bytes();
        }
    }

    /// Where in that payload the size stands that the sender can take at most, if it says so with a SYN
    /// (RFC 9293, section 3.2).
    pub(super) fn size_option(payload: &[u8]) -> Option<(usize, u16)> {
        let (&header, _) = payload.split_first_chunk::<20>()?;
        let [.., offset, flags, _, _, _, _, _, _] = header;
        if flags & SYN == 0 {
            return None;
        }
        let end = usize::from(offset >> 4) * 4;
        let mut at = header.len();
        while at < end {
            at += match *payload.get(at..end)? {
                [OPTION_END, ..] => return None,
                [OPTION_NONE, ..] => 1,
                [OPTION_SIZE, 4, high, low, ..] => {
                    return Some((at + 2, u16::from_be_bytes([high, low])));
                }
                [_, length, ..] if length >= 2 => length.into(),
                _ => return None,
            };
        }
        None
    }

    /// Whether it has a SYN.
    pub(super) fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// Whether it asks for a new connection.
    pub(super) fn opens(&self) -> bool {
        self.flags & (SYN | RST | ACK) == SYN
    }
}

/// Whether a sequence number is less than half of all of them ahead of another (RFC 9293, section 3.4).
pub(super) fn is_later(number: u32, than: u32) -> bool {
    (number.wrapping_sub(than) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_looked_at_and_never_beyond_its_end() {
        let mut bytes = vec![0, 111, 8, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, SYN, 9, 9, 0, 0, 0, 0];
        assert_eq!(Segment::parse(&bytes), None, "the options are missing");
        bytes.extend([0; 7]);
        let segment = Segment::parse(&bytes).unwrap();
        assert_eq!((segment.source, segment.destination), (111, 2049));
        assert_eq!((segment.sequence, segment.length), (0x0102_0304, 3));
        assert!(segment.opens());
        for not in [SYN | ACK, SYN | RST, ACK, 0] {
            bytes[13] = not;
            assert!(!Segment::parse(&bytes).unwrap().opens());
        }
        bytes[12] = 0x40;
        assert_eq!(Segment::parse(&bytes), None, "a header of 16 bytes");
    }

    #[test]
    fn size_is_found_among_options_and_never_beyond_their_end() {
        let with = |flags: u8, options: &[u8]| {
            let mut bytes = vec![0; 20];
            bytes[12] = ((20 + options.len()) as u8 / 4) << 4;
            bytes[13] = flags;
            bytes.extend(options);
            bytes
        };
        let size = |bytes: &[u8]| Segment::size_option(bytes);
        assert_eq!(size(&with(SYN, &[2, 4, 5, 0xb4])), Some((22, 1460)));
        assert_eq!(size(&with(SYN | ACK, &[1, 3, 3, 7, 2, 4, 1, 2])), Some((26, 258)));
        assert_eq!(size(&with(ACK, &[2, 4, 5, 0xb4])), None, "only a SYN says so");
        for none in
            [[0, 2, 4, 5], [2, 2, 1, 1], [3, 0, 2, 4], [3, 9, 1, 1], [1, 2, 4, 5], [2, 5, 1, 1]]
        {
            assert_eq!(size(&with(SYN, &none)), None, "{none:?}");
        }
        let whole = with(SYN, &[4, 2, 2, 4, 9, 9, 1, 1]);
        for short in 0..26 {
            assert_eq!(size(&whole[..short]), None);
        }
    }
}
