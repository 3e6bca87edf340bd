//! Frames that are handed over unfinished, as network cards take them: the checksum is left out, and a long
//! segment is left whole, to be cut by whoever puts it on a wire. The kernel does so between two interfaces
//! of its own, where nobody ever does the rest, and so do our stacks and those at the other end of a tap.

use crate::ether::{HEADER as ETHERNET, MacAddress};
use crate::frame::{Frame, Frames};

/// What is left to be done of a frame. The kernel says so in the header of virtio's network device (virtio
/// 1.2, section 5.1.6), in the byte order of the machine, before each frame of a tap with `IFF_VNET_HDR` and
/// of a packet socket with `PACKET_VNET_HDR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// From which byte on the checksum is to be reckoned, and how far behind that it is to be put.
    checksum: Option<(u16, u16)>,
    /// What it is to be cut into.
    pieces: Pieces,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    /// Each with so many bytes behind its headers; and how the kernel calls that.
    Segments(u16, u8),
    Datagrams(u16),
    Unknown,
}

/// Bytes of the header.
pub const HEADER: usize = 10;

/// The header of a frame of which nothing is left to be done.
pub const FINISHED: [u8; HEADER] = [0; HEADER];

impl Unfinished {
    /// Reads the header. `None`: the frame is as it is on a wire.
    pub fn parse(header: [u8; HEADER]) -> Option<Self> {
        let [flags, kind, _, _, size, size_2, start, start_2, offset, offset_2] = header;
        let size = u16::from_ne_bytes([size, size_2]);
        let start = u16::from_ne_bytes([start, start_2]);
        let offset = u16::from_ne_bytes([offset, offset_2]);
        let pieces = match kind & !CUT_WITH_ECN {
            CUT_NONE => Pieces::One,
            CUT_TCP4 | CUT_TCP6 => Pieces::Segments(size, kind),
            CUT_UDP => Pieces::Datagrams(size),
            _ => Pieces::Unknown,
        };
        let checksum = (flags & NEEDS_CHECKSUM != 0).then_some((start, offset));
        let finished = checksum.is_none() && pieces == Pieces::One;
        (!finished).then_some(Self { checksum, pieces })
    }

    /// A segment of TCP whose header begins at that byte of the frame and has the sum of the pseudo-header in
    /// place of the checksum; to be cut into segments of `size` bytes, if that is given.
    pub fn segment(start: u16, is_ipv4: bool, size: Option<u16>) -> Self {
        let kind = if is_ipv4 { CUT_TCP4 } else { CUT_TCP6 };
        let pieces = size.map_or(Pieces::One, |size| Pieces::Segments(size, kind));
        Self { checksum: Some((start, TCP_CHECKSUM)), pieces }
    }

    /// The header that says so of that frame.
    pub fn header(self, frame: &[u8]) -> [u8; HEADER] {
        let (flags, (start, offset)) = match self.checksum {
            Some(checksum) => (NEEDS_CHECKSUM, checksum),
            None => (0, (0, 0)),
        };
        let (kind, size) = match self.pieces {
            Pieces::One => (CUT_NONE, 0),
            Pieces::Segments(size, kind) => (kind, size),
            Pieces::Datagrams(size) => (CUT_UDP, size),
            // Nobody takes it.
            Pieces::Unknown => (u8::MAX, 0),
        };
        // Only a hint, which the kernel makes longer where it has to.
        let headers = self.headers(frame).and_then(|headers| u16::try_from(headers).ok());
        let [h, i] = headers.unwrap_or(0).to_ne_bytes();
        let ([a, b], [c, d]) = (size.to_ne_bytes(), start.to_ne_bytes());
        let [e, f] = offset.to_ne_bytes();
        [flags, kind, h, i, a, b, c, d, e, f]
    }

    /// Whether it is one segment of TCP, however long, or one frame.
    pub fn is_whole(&self) -> bool {
        matches!(self.pieces, Pieces::One | Pieces::Segments(..))
    }

    /// Whether it is one frame.
    pub(crate) fn is_one(&self) -> bool {
        self.pieces == Pieces::One
    }

    /// Bytes of the longest frame that it is to be cut into, if it can be.
    /// It has so many bytes in all; its headers are in `front`.
    pub(crate) fn longest(&self, front: &[u8], length: usize) -> Option<usize> {
        let size = match self.pieces {
            Pieces::One => return Some(length),
            Pieces::Segments(size, _) | Pieces::Datagrams(size) => usize::from(size),
            Pieces::Unknown => return None,
        };
        let headers = self.headers(front)?;
        let payload = length.checked_sub(headers)?;
        (size > 0).then_some(headers + payload.min(size))
    }

    /// Puts in the checksum of a frame that is not to be cut. `None` if that would lie outside.
    pub(crate) fn put_checksum(self, frame: &mut [u8]) -> Option<()> {
        let Some((start, offset)) = self.checksum else { return Some(()) };
        put_checksum(frame, start.into(), offset.into())
    }

    /// Finishes a frame and appends it, or what it is cut into, to `frames`, with a VLAN tag if there is
    /// one. None if it can't be.
    pub fn finish(self, frame: &mut [u8], tag: Option<[u8; 4]>, frames: &mut Frames) -> Option<()> {
        let (size, tcp) = match self.pieces {
            Pieces::One => {
                self.put_checksum(frame)?;
                frames.push(joined(frame, tag, &[])?);
                return Some(());
            }
            Pieces::Segments(size, _) => (size, true),
            Pieces::Datagrams(size) => (size, false),
            Pieces::Unknown => return None,
        };
        let (start, _) = self.checksum?;
        let (transport, headers) = (usize::from(start), self.headers(frame)?);
        let cut = Cut { transport, length: headers.checked_sub(transport)?, tcp };
        cut.all(frame, size.into(), tag, frames)
    }

    /// Bytes of the headers that each piece has. `None`: it is not to be cut, or its headers are not all there.
    fn headers(self, frame: &[u8]) -> Option<usize> {
        let start = usize::from(self.checksum?.0);
        let length = match self.pieces {
            Pieces::Segments(..) => usize::from(frame.get(start + TCP_LENGTH)? >> 4) * 4,
            Pieces::Datagrams(_) => UDP_HEADER,
            Pieces::One | Pieces::Unknown => return None,
        };
        let enough = !matches!(self.pieces, Pieces::Segments(..)) || length >= TCP_LENGTH_MIN;
        (enough && start + length <= frame.len()).then_some(start + length)
    }
}

/// A VLAN tag (IEEE 802.1Q, clause 9.3).
const VLAN_TAG: usize = 4;

/// How one long segment becomes many, or one long datagram.
struct Cut {
    /// Where the header of TCP or UDP begins.
    transport: usize,
    /// Bytes of it.
    length: usize,
    tcp: bool,
}

impl Cut {
    /// The headers are made anew in their place for each piece.
    fn all(
        &self,
        frame: &mut [u8],
        size: usize,
        tag: Option<[u8; VLAN_TAG]>,
        frames: &mut Frames,
    ) -> Option<()> {
        let (headers, payload) = frame.split_at_mut_checked(self.transport + self.length)?;
        let count = payload.len().div_ceil(size.max(1));
        if size == 0 || !(1..=PIECES_MAX).contains(&count) {
            return None;
        }
        let first = First::read(headers, self.transport)?;
        for (number, chunk) in payload.chunks(size).enumerate() {
            self.make_headers(headers, &first, number, number + 1 == count, size, chunk)?;
            frames.push(joined(headers, tag, chunk)?);
        }
        Some(())
    }

    fn make_headers(
        &self,
        headers: &mut [u8],
        first: &First,
        number: usize,
        is_last: bool,
        size: usize,
        chunk: &[u8],
    ) -> Option<()> {
        let (network, transport) = headers.split_at_mut_checked(self.transport)?;
        let network = network.get_mut(first.network..)?;
        let behind = transport.len() + chunk.len();
        // All of these are less than a frame's length, which fits.
        let protocol = if self.tcp { TCP } else { UDP };
        let mut pseudo = behind as u32 + u32::from(protocol);
        if first.is_ipv4 {
            put(network, 2, ((network.len() + behind) as u16).to_be_bytes())?;
            put(network, 4, first.identification.wrapping_add(number as u16).to_be_bytes())?;
            put(network, 10, [0; 2])?;
            put(network, 10, (!sum(network)).to_be_bytes())?;
            pseudo += u32::from(sum(network.get(12..20)?));
        } else {
            put(network, 4, ((network.len() - IPV6_HEADER + behind) as u16).to_be_bytes())?;
            pseudo += u32::from(sum(network.get(8..40)?));
        }
        let checksum = if self.tcp {
            let sequence = first.sequence.wrapping_add((number * size) as u32);
            put(transport, 4, sequence.to_be_bytes())?;
            let mut flags = first.flags;
            if number > 0 {
                flags &= !CWR;
            }
            if !is_last {
                flags &= !(FIN | PSH);
            }
            put(transport, 13, [flags])?;
            usize::from(TCP_CHECKSUM)
        } else {
            put(transport, 4, (behind as u16).to_be_bytes())?;
            6
        };
        put(transport, checksum, [0; 2])?;
        // The header is an even number of bytes, so the two can be added.
        let all = fold(pseudo + u32::from(sum(transport)) + u32::from(sum(chunk)));
        put(transport, checksum, not_none(!all).to_be_bytes())
    }
}

/// What the headers of the first piece go by.
struct First {
    /// Where the IP header begins.
    network: usize,
    is_ipv4: bool,
    identification: u16,
    sequence: u32,
    flags: u8,
}

impl First {
    fn read(headers: &[u8], transport: usize) -> Option<Self> {
        let mut network = ETHERNET;
        while let VLAN | SERVICE_VLAN = u16::from_be_bytes(get(headers, network - 2)?) {
            network += VLAN_TAG;
        }
        let is_ipv4 = match u16::from_be_bytes(get(headers, network - 2)?) {
            IPV4 => true,
            IPV6 => false,
            _ => return None,
        };
        let least = if is_ipv4 { IPV4_HEADER } else { IPV6_HEADER };
        (transport >= network + least).then_some(())?;
        Some(Self {
            network,
            is_ipv4,
            identification: u16::from_be_bytes(get(headers, network + 4)?),
            sequence: u32::from_be_bytes(get(headers, transport + 4)?),
            // A datagram's header has none.
            flags: headers.get(transport + 13).copied().unwrap_or(0),
        })
    }
}

/// The kernel has put the sum of the pseudo-header there already (RFC 768, RFC 9293, section 3.1).
fn put_checksum(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let covered = frame.get_mut(start..)?;
    let sum = not_none(!sum(covered));
    put(covered, offset, sum.to_be_bytes())
}

/// Zero stands for none in UDP. The other is the same number, also in TCP.
fn not_none(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The one's complement sum of RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let (pairs, last) = bytes.as_chunks::<2>();
    // No frame is so long that this overflows.
    let mut sum: u32 = pairs.iter().map(|pair| u32::from(u16::from_ne_bytes(*pair))).sum();
    if let [last] = last {
        sum += u32::from(u16::from_ne_bytes([*last, 0]));
    }
    // In whatever order the bytes are added, the sum has them in the same.
    u16::from_be_bytes(fold(sum).to_ne_bytes())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A frame of two parts, with a tag behind its addresses.
pub(crate) fn joined(head: &[u8], tag: Option<[u8; VLAN_TAG]>, tail: &[u8]) -> Option<Frame> {
    let (addresses, rest) = head.split_at_checked(2 * size_of::<MacAddress>())?;
    let tag = tag.as_ref().map_or(&[][..], |tag| tag);
    Some([addresses, tag, rest, tail].concat().into())
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}

const NEEDS_CHECKSUM: u8 = 1;
const CUT_NONE: u8 = 0;
const CUT_TCP4: u8 = 1;
const CUT_TCP6: u8 = 4;
const CUT_UDP: u8 = 5;
const CUT_WITH_ECN: u8 = 0x80;
/// Into how many pieces a frame is cut at most: who makes more of it means no good. The smallest segments that
/// a peer of ours can ask for have 48 bytes.
pub const PIECES_MAX: usize = 1400;

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// Where TCP's header tells its own length, in units of four bytes.
const TCP_LENGTH: usize = 12;
const TCP_LENGTH_MIN: usize = 20;
/// Where its checksum is.
const TCP_CHECKSUM: u16 = 16;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

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
        assert_eq!(put_checksum(&mut frame, 2, 0), Some(()));
        assert_eq!(frame[..4], [9, 9, 0x22, 0x0c]);
        assert_eq!(sum(&frame[2..]), 0xfffe);
        // None is sent as its other form.
        let mut frame = [0xff, 0xff];
        assert_eq!(put_checksum(&mut frame, 0, 0), Some(()));
        assert_eq!(frame, [0xff, 0xff]);
    }

    fn finish(header: [u8; HEADER], frame: &[u8], tag: Option<[u8; 4]>) -> Option<Frames> {
        let mut frames = Frames::new();
        match Unfinished::parse(header) {
            Some(rest) => rest.finish(&mut frame.to_vec(), tag, &mut frames)?,
            None => frames.push(frame.into()),
        }
        Some(frames)
    }

    #[test]
    fn what_lies_outside_is_refused() {
        for (start, offset) in [(21, 0), (20, 0), (0, 19), (19, 0), (0, u16::MAX), (u16::MAX, 0)] {
            for kind in [0, 1, 4, 5] {
                assert_eq!(finish(header(1, kind, start, offset), &[0; 20], None), None);
            }
        }
        // Nobody looks where none is needed.
        assert!(finish(header(0, 0, 13, 0), &[0; 20], None).is_some());
        // What is to be cut has one, and is of a known kind.
        for kind in [1, 2, 3, 4, 5, 0x7f] {
            assert_eq!(finish(header(0, kind, 34, 16), &[0; 100], None), None);
        }
    }

    /// A segment over IPv4 with 25 bytes, of which ten go into each piece.
    #[test]
    fn segment_is_cut() {
        let mut frame = vec![7; 12];
        frame.extend([
            8, 0, 0x45, 0, 0, 65, 0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame
            .extend([0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x50, 0x99, 1, 1, 0, 0, 0, 0]);
        frame.extend(0..25);
        let mut header = header(1, 1, 34, 16);
        [header[4], header[5]] = 10_u16.to_ne_bytes();
        let tag = [0x81, 0, 0, 5];
        let tagged = finish(header, &frame, Some(tag)).unwrap();
        let frames = finish(header, &frame, None).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.len()).collect::<Vec<_>>(), [64, 64, 59]);
        for (number, (piece, tagged)) in frames.iter().zip(tagged).enumerate() {
            assert_eq!(*tagged, *[&piece[..12], &tag, &piece[12..]].concat());
            let (network, transport) = piece[14..].split_at(20);
            assert_eq!(usize::from(network[3]), piece.len() - 14);
            assert_eq!(network[4..6], 0xffff_u16.wrapping_add(number as u16).to_be_bytes());
            assert_eq!(sum(network), 0xffff);
            let sequence = u32::MAX.wrapping_add(10 * number as u32);
            assert_eq!(transport[4..8], sequence.to_be_bytes());
            // CWR with the first, FIN and PSH with the last, ACK with each.
            assert_eq!(transport[13], [0x90, 0x10, 0x19][number]);
            let pseudo = u32::from(sum(&network[12..20])) + 6 + transport.len() as u32;
            assert_eq!(fold(pseudo + u32::from(sum(transport))), 0xffff);
            let payload: Vec<u8> = (0..25).skip(10 * number).take(10).collect();
            assert_eq!(transport[20..], payload);
        }
        for size in [0_u16, 1] {
            [header[4], header[5]] = size.to_ne_bytes();
            let long = [&frame[..], &[0; PIECES_MAX]].concat();
            assert_eq!(finish(header, &long, None), None, "{size}");
        }
    }

    #[test]
    fn header_says_again_what_was_read() {
        let plain = Unfinished::parse(header(1, 0, 34, 16)).unwrap();
        assert_eq!(plain.header(&[0; 100]), header(1, 0, 34, 16));
        assert_eq!(plain, Unfinished::segment(34, true, None));
        let mut long = vec![0; 1000];
        long[54 + 12] = 0x80;
        for (is_ipv4, kind) in [(true, 1), (false, 4)] {
            let made = Unfinished::segment(54, is_ipv4, Some(400)).header(&long);
            let mut expected = header(1, kind, 54, 16);
            [expected[2], expected[3]] = (54_u16 + 32).to_ne_bytes();
            [expected[4], expected[5]] = 400_u16.to_ne_bytes();
            assert_eq!(made, expected);
            assert_eq!(Unfinished::parse(made), Some(Unfinished::segment(54, is_ipv4, Some(400))));
        }
        assert_eq!(Unfinished::parse(FINISHED), None);
        // The kernel has looked at the checksum: nothing is left to be done.
        assert_eq!(Unfinished::parse(header(2, 0, 0, 0)), None);
    }

    #[test]
    fn longest_piece_is_known_before_it_is_cut() {
        let mut frame = vec![0; 1000];
        frame[34 + 12] = 0x50;
        let longest = |size| Unfinished::segment(34, true, size).longest(&frame, frame.len());
        assert_eq!(longest(None), Some(1000));
        assert_eq!(longest(Some(400)), Some(454));
        assert_eq!(longest(Some(946)), Some(1000));
        assert_eq!(longest(Some(u16::MAX)), Some(1000), "more than there is");
        assert_eq!(longest(Some(0)), None);
        for short in 0..54 {
            let front = &frame[..short];
            assert_eq!(Unfinished::segment(34, true, Some(400)).longest(front, short), None);
        }
        frame[34 + 12] = 0x40;
        assert_eq!(
            Unfinished::segment(34, true, Some(400)).longest(&frame, frame.len()),
            None,
            "a header of 16 bytes"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_header_comes_with_whatever_frame(
            header: [u8; HEADER],
            kind in proptest::sample::select(vec![0_u8, 1, 4, 5, 0x81, 3]),
            start in 0_u16..80,
            frame in proptest::collection::vec(0_u8.., 0..300),
        ) {
            let mut header = header;
            header[0] |= NEEDS_CHECKSUM;
            header[1] = kind;
            [header[6], header[7]] = start.to_ne_bytes();
            let Some(rest) = Unfinished::parse(header) else { return Ok(()) };
            let frame = Frame::unfinished(frame, rest);
            let (longest, _) = (frame.longest(), rest.header(&frame));
            let mut pieces = Frames::new();
            if frame.clone().finish(&mut pieces).is_some() {
                proptest::prop_assert_eq!(pieces.iter().map(|piece| piece.len()).max(), longest);
                proptest::prop_assert!(pieces.len() <= PIECES_MAX);
            }
        }
    }
}
