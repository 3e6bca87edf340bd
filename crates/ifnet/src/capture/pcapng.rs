//! The blocks of a capture file: pcapng (draft-ietf-opsawg-pcapng), little-endian, of one interface, with
//! times in nanoseconds. Each block begins with its type and its length, and ends with its length.

use crate::frame::Frame;
use crate::receiver::Way;
use std::time::Duration;

/// How a file begins: a section, and in it the interface.
pub(super) fn header(name: &str, snap: u32) -> Vec<u8> {
    let mut file = Vec::new();
    block(&mut file, SECTION, |body| {
        body.extend(MAGIC.to_le_bytes());
        // Version 1.0; nobody knows how long the section will be.
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
    });
    block(&mut file, INTERFACE, |body| {
        body.extend(ETHERNET.to_le_bytes());
        body.extend([0; 2]);
        body.extend(snap.to_le_bytes());
        option(body, IF_NAME, name.as_bytes());
        option(body, IF_TSRESOL, &[NANOSECONDS]);
        option(body, END, &[]);
    });
    file
}

/// How long the block of a frame is.
pub(super) fn packet_len(frame: &Frame, snap: u32) -> usize {
    PACKET_WITHOUT_DATA + kept(frame, snap).len().next_multiple_of(4)
}

/// A frame that passed at a time since 1970.
pub(super) fn packet(file: &mut Vec<u8>, time: Duration, way: Way, frame: &Frame, snap: u32) {
    let direction: u32 = match way {
        Way::In => 1,
        Way::Out => 2,
    };
    block(file, PACKET, |body| {
        body.extend(INTERFACE_NUMBER.to_le_bytes());
        timestamp(body, time);
        let kept = kept(frame, snap);
        body.extend(length(kept).to_le_bytes());
        body.extend(length(frame).to_le_bytes());
        padded(body, kept);
        option(body, EPB_FLAGS, &direction.to_le_bytes());
        option(body, END, &[]);
    });
}

/// How many frames have passed until now, and how many of them are not in the file.
pub(super) fn statistics(file: &mut Vec<u8>, time: Duration, seen: u64, dropped: u64) {
    block(file, STATISTICS, |body| {
        body.extend(INTERFACE_NUMBER.to_le_bytes());
        timestamp(body, time);
        option(body, ISB_IFRECV, &seen.to_le_bytes());
        option(body, ISB_IFDROP, &dropped.to_le_bytes());
        option(body, END, &[]);
    });
}

fn block(file: &mut Vec<u8>, kind: u32, write_body: impl FnOnce(&mut Vec<u8>)) {
    let begin = file.len();
    file.extend(kind.to_le_bytes());
    file.extend([0; 4]);
    write_body(file);
    let length = u32::try_from(file.len() - begin + 4).unwrap_or(u32::MAX).to_le_bytes();
    file.extend(length);
    if let Some(place) = file.get_mut(begin + 4..begin + 8) {
        place.copy_from_slice(&length);
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(body, value);
}

fn padded(body: &mut Vec<u8>, data: &[u8]) {
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The upper half goes first, whatever the order of bytes.
fn timestamp(body: &mut Vec<u8>, time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    body.extend(((nanoseconds >> 32) as u32).to_le_bytes());
    body.extend((nanoseconds as u32).to_le_bytes());
}

fn kept(frame: &Frame, snap: u32) -> &[u8] {
    frame.get(..snap as usize).unwrap_or(frame)
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// What readers find out the order of bytes by.
const MAGIC: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;
const INTERFACE_NUMBER: u32 = 0;

const END: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;

/// Type, length, interface, time, two lengths, option, end of options, length.
const PACKET_WITHOUT_DATA: usize = 4 + 4 + 4 + 8 + 8 + 8 + 4 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_of_a_frame_is_as_long_as_it_is_said_to_be() {
        for (len, snap) in [(14, 65_535), (15, 65_535), (60, 20), (60, 0), (65_535, u32::MAX)] {
            let frame: Frame = vec![7; len].into();
            let mut file = Vec::new();
            packet(&mut file, Duration::from_nanos(1), Way::In, &frame, snap);
            assert_eq!(file.len(), packet_len(&frame, snap), "{len} {snap}");
        }
    }
}
