//! Frames that the kernel hands over unfinished: it leaves checksums, and cutting into packets, to the
//! hardware, and between two interfaces of its own nobody does it.

/// What stands before each frame of a packet socket with `PACKET_VNET_HDR`: the header of virtio's
/// network device (virtio 1.2, section 5.1.6), in the byte order of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// From which byte on the checksum is to be reckoned, and how far behind that it is to be put.
    checksum: Option<(usize, usize)>,
    /// Into what it is to be cut.
    cut: u8,
}

/// Bytes of the header.
pub(super) const HEADER: usize = 10;

impl Unfinished {
    pub(super) fn parse(header: [u8; HEADER]) -> Self {
        let [flags, cut, _, _, _, _, start, start_2, offset, offset_2] = header;
        let start = u16::from_ne_bytes([start, start_2]).into();
        let offset = u16::from_ne_bytes([offset, offset_2]).into();
        let needs = flags & NEEDS_CHECKSUM != 0;
        Self { checksum: needs.then_some((start, offset)), cut }
    }

    /// Finishes a frame; false if it can't be. TCP segments that were to be cut stay one: they are
    /// longer than the MTU and otherwise whole, and TCP does not care. Datagrams would be run together.
    pub(super) fn finish(self, frame: &mut [u8]) -> bool {
        match self.cut & !CUT_WITH_ECN {
            CUT_NONE | CUT_TCP4 | CUT_TCP6 => {}
            _ => return false,
        }
        match self.checksum {
            Some((start, offset)) => put_checksum(frame, start, offset),
            None => true,
        }
    }
}

/// The kernel has put the sum of the pseudo-header there already (RFC 768, RFC 9293, section 3.1).
fn put_checksum(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(covered) = frame.get_mut(start..) else { return false };
    let sum = match !sum(covered) {
        // Which stands for none in UDP. The two are the same number.
        0 => 0xffff,
        sum => sum,
    };
    match covered.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        Some(place) => {
            *place = sum.to_be_bytes();
            true
        }
        None => false,
    }
}

/// The one's complement sum of RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let (pairs, last) = bytes.as_chunks::<2>();
    // No frame is so long that this overflows.
    let mut sum: u32 = pairs.iter().map(|pair| u32::from(u16::from_ne_bytes(*pair))).sum();
    if let [last] = last {
        sum += u32::from(u16::from_ne_bytes([*last, 0]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // In whatever order the bytes are added, the sum has them in the same.
    u16::from_be_bytes((sum as u16).to_ne_bytes())
}

const NEEDS_CHECKSUM: u8 = 1;
const CUT_NONE: u8 = 0;
const CUT_TCP4: u8 = 1;
const CUT_TCP6: u8 = 4;
const CUT_WITH_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, cut: u8, start: u16, offset: u16) -> [u8; HEADER] {
        let [a, b] = start.to_ne_bytes();
        let [c, d] = offset.to_ne_bytes();
        [flags, cut, 0, 0, 0, 0, a, b, c, d]
    }

    /// The example of RFC 1071, section 3, with an odd byte behind it.
    #[test]
    fn sum_is_that_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(sum(&[&bytes[..], &[0x10]].concat()), 0xedf2);
        assert_eq!(sum(&[0xff; 65_539]), 0xff00);
        assert_eq!(sum(&[]), 0);
    }

    #[test]
    fn checksum_is_put_where_it_belongs() {
        // A pseudo-header's sum of 1, before the example.
        let mut frame = [9, 9, 0x00, 0x01, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert!(Unfinished::parse(header(1, 0, 2, 0)).finish(&mut frame));
        assert_eq!(frame[..4], [9, 9, 0x22, 0x0c]);
        assert_eq!(sum(&frame[2..]), 0xfffe);
        // None is sent as its other form.
        let mut frame = [0xff, 0xff];
        assert!(Unfinished::parse(header(1, 0, 0, 0)).finish(&mut frame));
        assert_eq!(frame, [0xff, 0xff]);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        for (start, offset) in [(13, 0), (12, 0), (0, 11), (11, 0), (0, u16::MAX), (u16::MAX, 0)] {
            let unfinished = Unfinished::parse(header(1, 0, start, offset));
            assert!(!unfinished.finish(&mut [0; 12]), "{start} {offset}");
        }
        // Nobody looks where none is needed.
        assert!(Unfinished::parse(header(0, 0, 13, 0)).finish(&mut [0; 12]));
    }

    #[test]
    fn only_tcp_may_stay_uncut() {
        for (cut, may) in [(0, true), (1, true), (0x81, true), (4, true), (3, false), (5, false)] {
            assert_eq!(Unfinished::parse(header(0, cut, 0, 0)).finish(&mut [0; 12]), may, "{cut}");
        }
    }
}
