//! Unix stream sockets.

use crate::framing::framed;
use crate::world::{Driven, close, frame};
use holm_ifnet::Frame;
use holm_ifnet::wire::{Received, Wire};
use holm_ifnet::wires::framing::LENGTH_MAX;
use holm_ifnet::wires::{FRAME_MAX, Stream, StreamEnd, StreamOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("net0.sock")
    }

    fn open(&self, end: StreamEnd) -> Driven<Stream> {
        Driven::new(Stream::open(&StreamOptions { path: self.path(), end }).unwrap())
    }

    fn listening(&self) -> Driven<Stream> {
        self.open(StreamEnd::Listen)
    }

    fn connecting(&self) -> Driven<Stream> {
        self.open(StreamEnd::Connect { retry: Duration::from_millis(5) })
    }

    fn peer(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }
}

/// Reads a frame as QEMU does.
fn read(mut peer: &UnixStream) -> Frame {
    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame).unwrap();
    frame.into()
}

fn write(mut peer: &UnixStream, frame: &[u8]) {
    peer.write_all(&framed(frame)).unwrap();
}

fn is_closed(mut peer: &UnixStream) -> bool {
    // It is, or something that it had not read was thrown away.
    !matches!(peer.read(&mut [0]), Ok(1..))
}

#[test]
fn frames_go_both_ways() {
    let place = Place::new();
    let mut wire = place.listening();
    assert!(!wire.wire.has_peer());
    let peer = place.peer();
    for (number, bytes) in [14, 60, 1514, 9014, FRAME_MAX].into_iter().enumerate() {
        write(&peer, &frame(number, bytes));
        assert_eq!(wire.frame(), frame(number, bytes));
        wire.send([frame(number + 10, bytes)]);
        assert_eq!(read(&peer), frame(number + 10, bytes));
    }
    assert!(wire.wire.has_peer());
    assert_eq!((wire.sent.frames, wire.sent.lost), (5, 0));
    assert_eq!(wire.received.malformed, 0);
}

#[test]
fn listener_hears_one_peer_after_the_other() {
    let place = Place::new();
    let mut wire = place.listening();
    let first = place.peer();
    write(&first, &frame(1, 60));
    assert_eq!(wire.frame(), frame(1, 60));
    // Those wait until it has gone.
    let (second, third) = (place.peer(), place.peer());
    write(&third, &frame(3, 60));
    write(&second, &frame(2, 60));
    write(&first, &frame(4, 60));
    assert_eq!(wire.frame(), frame(4, 60));
    close(first);
    assert_eq!(wire.frame(), frame(2, 60));
    wire.send([frame(5, 60)]);
    assert_eq!(read(&second), frame(5, 60));
    close(second);
    assert_eq!(wire.frame(), frame(3, 60));
    close(third);
    wire.until(|wire| !wire.wire.has_peer());
    wire.send([frame(6, 60)]);
    assert_eq!((wire.sent.lost, wire.left.len()), (1, 0));
}

#[test]
fn who_connects_finds_the_listener_whenever_it_comes() {
    let place = Place::new();
    let mut wire = place.connecting();
    assert!(!wire.wire.has_peer());
    wire.send([frame(1, 60)]);
    assert_eq!(wire.sent.lost, 1);
    for round in 0..3 {
        let listener = UnixListener::bind(place.path()).unwrap();
        wire.until(|wire| wire.wire.has_peer());
        let (peer, _) = listener.accept().unwrap();
        write(&peer, &frame(round, 60));
        assert_eq!(wire.frame(), frame(round, 60));
        wire.send([frame(round + 10, 60)]);
        assert_eq!(read(&peer), frame(round + 10, 60));
        close((peer, listener));
        wire.until(|wire| !wire.wire.has_peer());
        std::fs::remove_file(place.path()).unwrap();
    }
    // Somebody was there from the start.
    let _listener = UnixListener::bind(place.path()).unwrap();
    assert!(place.connecting().wire.has_peer());
}

#[test]
fn two_wires_meet() {
    let place = Place::new();
    let mut one = place.connecting();
    let mut other = place.listening();
    one.until(|one| one.wire.has_peer());
    one.send([frame(1, 60)]);
    assert_eq!(other.frame(), frame(1, 60));
    other.send([frame(2, 60)]);
    assert_eq!(one.frame(), frame(2, 60));
}

#[test]
fn wrong_length_ends_the_connection_only() {
    let place = Place::new();
    let mut wire = place.listening();
    for (number, length) in [0, LENGTH_MAX as u32 + 1, u32::MAX].into_iter().enumerate() {
        let mut peer = place.peer();
        write(&peer, &frame(number, 60));
        peer.write_all(&length.to_be_bytes()).unwrap();
        peer.write_all(&framed(&frame(99, 60))).unwrap();
        assert_eq!(wire.frame(), frame(number, 60));
        wire.until(|wire| !wire.wire.has_peer());
        assert_eq!(wire.received.malformed, number as u64 + 1);
        assert!(is_closed(&peer));
    }
    // One that goes on behind it does not.
    let peer = place.peer();
    for length in [1, 13, FRAME_MAX + 1] {
        write(&peer, &vec![1; length]);
    }
    write(&peer, &frame(5, 60));
    assert_eq!(wire.frame(), frame(5, 60));
    assert_eq!(wire.received.malformed, 6);
}

/// There is one event for both.
#[test]
fn end_that_follows_a_frame_is_found_with_it() {
    let place = Place::new();
    let mut wire = place.listening();
    let peer = place.peer();
    write(&peer, &frame(1, 60));
    assert_eq!(wire.frame(), frame(1, 60));
    write(&peer, &frame(2, 60));
    close(peer);
    let mut frames = Vec::new();
    let received = wire.wire.receive(&mut frames, 64).unwrap();
    assert_eq!((frames, received), (vec![frame(2, 60)], Received::default()));
    assert!(!wire.wire.has_peer());
}

#[test]
fn peer_may_vanish_at_every_byte() {
    let place = Place::new();
    let mut wire = place.listening();
    let stream = [framed(&frame(1, 20)), framed(&frame(2, 14))].concat();
    let mut malformed = 0;
    for at in 0..=stream.len() {
        let mut peer = place.peer();
        peer.write_all(&stream[..at]).unwrap();
        close(peer);
        let whole = usize::from(at >= 24) + usize::from(at >= 42);
        for number in 0..whole {
            assert_eq!(wire.frame(), frame(number + 1, 20 - 6 * number));
        }
        malformed += u64::from(![0, 24, 42].contains(&at));
        // Who comes next begins anew.
        let next = place.peer();
        write(&next, &frame(9, 60));
        assert_eq!(wire.frame(), frame(9, 60), "after {at} bytes");
        assert_eq!(wire.received.malformed, malformed);
    }
}

/// What was begun is finished, nothing is mixed up, and what there is no room for stays outside.
#[test]
fn peer_that_does_not_read_costs_what_the_socket_holds() {
    let place = Place::new();
    let mut wire = place.listening();
    let peer = place.peer();
    write(&peer, &frame(0, 60));
    wire.frame();
    let mut number = 0;
    while wire.left.is_empty() {
        wire.send([frame(number, 1000 + number)]);
        number += 1;
    }
    assert!(number < 10_000);
    wire.send((number..number + 300).map(|number| frame(number, 1000 + number)));
    let (taken, left) = (wire.sent.frames as usize, wire.left.len());
    assert_eq!((taken + left, wire.sent.lost), (number + 300, 0));
    // Still nothing more.
    wire.send([]);
    assert_eq!(wire.left.len(), left);

    let reader = std::thread::spawn(move || {
        for number in 0..number + 300 {
            assert_eq!(read(&peer), frame(number, 1000 + number));
        }
        peer
    });
    wire.until(|wire| wire.left.is_empty());
    let peer = reader.join().unwrap();
    // It goes on as before.
    wire.send([frame(7, 60)]);
    assert_eq!(read(&peer), frame(7, 60));
}

#[test]
fn peer_that_vanishes_unread_takes_along_what_was_begun() {
    let place = Place::new();
    let mut wire = place.listening();
    let peer = place.peer();
    write(&peer, &frame(0, 60));
    wire.frame();
    while wire.left.is_empty() {
        wire.send([frame(1, 60_000)]);
    }
    close(peer);
    wire.until(|wire| wire.left.is_empty());
    assert!(wire.sent.lost > 0);
    let next = place.peer();
    write(&next, &frame(2, 60));
    assert_eq!(wire.frame(), frame(2, 60));
    wire.send([frame(3, 60)]);
    assert_eq!(read(&next), frame(3, 60));
}

#[test]
fn threads_send_whole_frames_while_another_receives() {
    const EACH: usize = 500;
    let place = Place::new();
    let mut wire = place.listening();
    let peer = place.peer();
    write(&peer, &frame(0, 60));
    wire.frame();
    let (wire, mut incoming) = (&wire.wire, Vec::new());
    std::thread::scope(|scope| {
        for sender in 1..=2 {
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut frames = vec![frame(sender, 100 + number)];
                    // Somebody reads: there will be room.
                    while !frames.is_empty() {
                        wire.send(&mut frames).unwrap();
                        std::thread::yield_now();
                    }
                }
            });
        }
        let peer = &peer;
        scope.spawn(move || {
            for number in 0..EACH {
                write(peer, &frame(number, 200));
            }
        });
        scope.spawn(move || {
            let mut next = [0, 0];
            for _ in 0..2 * EACH {
                let got = read(peer);
                let sender = usize::from(got[14].wrapping_sub(98)) - 1;
                assert_eq!(got, frame(sender + 1, 100 + next[sender]));
                next[sender] += 1;
            }
        });
        while incoming.len() < EACH {
            wire.receive(&mut incoming, 10).unwrap();
            std::thread::yield_now();
        }
    });
    for (number, got) in incoming.into_iter().enumerate() {
        assert_eq!(got, frame(number, 200));
    }
}

#[test]
fn file_of_the_dead_is_replaced_and_that_of_the_living_is_not() {
    let place = Place::new();
    let options = StreamOptions { path: place.path(), end: StreamEnd::Listen };
    // A listener that is closed leaves its file.
    close(UnixListener::bind(place.path()).unwrap());
    let mut wire = place.listening();
    let refused = Stream::open(&options).unwrap_err().to_string();
    assert!(refused.contains("choose another path"), "{refused}");
    let peer = place.peer();
    write(&peer, &frame(1, 60));
    assert_eq!(wire.frame(), frame(1, 60));
    close(wire);
    assert!(!place.path().exists());

    std::fs::write(place.path(), "precious").unwrap();
    assert!(Stream::open(&options).is_err());
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), "precious");
    assert_eq!(names(place.0.path()), ["net0.sock"]);
}

#[test]
fn file_that_is_not_ours_any_more_stays() {
    let place = Place::new();
    let wire = place.listening();
    std::fs::remove_file(place.path()).unwrap();
    let _other = UnixListener::bind(place.path()).unwrap();
    close(wire);
    assert!(std::fs::symlink_metadata(place.path()).unwrap().file_type().is_socket());
}

#[test]
fn path_that_is_too_long_is_refused() {
    let path = PathBuf::from(format!("/tmp/{}", "x".repeat(108)));
    for end in [StreamEnd::Listen, StreamEnd::CONNECT] {
        let refused = Stream::open(&StreamOptions { path: path.clone(), end }).unwrap_err();
        assert!(refused.to_string().contains("at most 107 bytes"), "{refused}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
