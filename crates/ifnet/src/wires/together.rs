//! Many frames, each a datagram, in one call.

use super::scratch::BATCH;
use crate::frame::Frame;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use std::io::IoSlice;
use std::iter;
use std::os::fd::AsFd;

/// Sends the first of `frames`, each after its header, and returns how many of them.
pub(super) fn send<const N: usize>(
    socket: impl AsFd,
    frames: &[Frame],
    header: impl Fn(&Frame) -> [u8; N],
    to: Option<&SocketAddrAny>,
) -> rustix::io::Result<usize> {
    let frames = frames.get(..BATCH).unwrap_or(frames);
    let headers: Vec<_> = frames.iter().map(header).collect();
    let parts = headers.iter().zip(frames).map(|(header, frame)| {
        iter::once(&header[..]).chain(frame.parts()).map(IoSlice::new).collect()
    });
    let parts: Vec<Vec<_>> = parts.collect();
    let mut nothing: Vec<_> = parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let message = |(parts, nothing)| match to {
        Some(to) => MMsgHdr::new_with_addr(to, parts, nothing),
        None => MMsgHdr::new(parts, nothing),
    };
    let mut messages: Vec<_> =
        parts.iter().map(|parts| &parts[..]).zip(&mut nothing).map(message).collect();
    sendmmsg(socket, &mut messages, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}
