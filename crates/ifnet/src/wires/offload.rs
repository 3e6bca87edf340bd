//! Frames that the kernel hands over unfinished: it leaves checksums, and the cutting of long segments,
//! to the hardware, and between two interfaces of its own nobody does it.

use super::VLAN_TAG;
use crate::ether::{HEADER as ETHERNET, MacAddress};
use crate::frame::{Frame, Frames};

/// What stands before each frame of a packet socket with `PACKET_VNET_HDR`: the header of virtio's
/// network device (virtio 1.2, section 5.1.6), in the byte order of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// From which byte on the checksum is to be reckoned, and how far behind that it is to be put.
    checksum: Option<(usize, usize)>,
    /// What it is to be cut into.
    pieces: Pieces,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    /// Each with so many bytes behind its headers.
    Segments(usize),
    Datagrams(usize),
    Unknown,
}

/// Bytes of the header.
pub const HEADER: usize = 10;

impl Unfinished {
    /// Reads the header.
    pub fn parse(header: [u8; HEADER]) -> Self {
        let [flags, kind, _, _, size, size_2, start, start_2, offset, offset_2] = header;
        let size = u16::from_ne_bytes([size, size_2]).into();
        let start = u16::from_ne_bytes([start, start_2]).into();
        let offset = u16::from_ne_bytes([offset, offset_2]).into();
        let pieces = match kind & !CUT_WITH_ECN {
            CUT_NONE => Pieces::One,
            CUT_TCP4 | CUT_TCP6 => Pieces::Segments(size),
            CUT_UDP => Pieces::Datagrams(size),
            _ => Pieces::Unknown,
        };
        Self { checksum: (flags & NEEDS_CHECKSUM != 0).then_some((start, offset)), pieces }
    }

    /// Finishes a frame and appends it, or what it is cut into, to `frames`, with a VLAN tag if there is
    /// one. None if it can't be.
    pub fn finish(self, frame: &mut [u8], tag: Option<[u8; 4]>, frames: &mut Frames) -> Option<()> {
        match (self.pieces, self.checksum) {
            (Pieces::One, checksum) => {
                if let Some((start, offset)) = checksum {
                    put_checksum(frame, start, offset)?;
                }
                frames.push(joined(frame, tag, &[])?);
                Some(())
            }
            (Pieces::Segments(size), Some((start, _))) => {
                let length = usize::from(frame.get(start + TCP_LENGTH)? >> 4) * 4;
                let cut = Cut { transport: start, length, tcp: true };
                (length >= TCP_LENGTH_MIN).then(|| cut.all(frame, size, tag, frames))?
            }
            (Pieces::Datagrams(size), Some((start, _))) => {
                let cut = Cut { transport: start, length: UDP_HEADER, tcp: false };
                cut.all(frame, size, tag, frames)
            }
            _ => None,
        }
    }
}

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
            16
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
fn joined(head: &[u8], tag: Option<[u8; VLAN_TAG]>, tail: &[u8]) -> Option<Frame> {
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
/// Into how many pieces a frame is cut at most: who makes more of it means no good.
pub const PIECES_MAX: usize = 1024;

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
        Unfinished::parse(header).finish(&mut frame.to_vec(), tag, &mut frames)?;
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
            let long = [&frame[..], &[0; 1000]].concat();
            assert_eq!(finish(header, &long, None), None, "{size}");
        }
    }
}
