//! Unix datagram sockets.

use crate::world::{Driven, close, frame};
use holm_ifnet::wire::Wire;
use holm_ifnet::wires::{Dgram, DgramOptions, FRAME_MAX};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Whose peer is at `peer`, or whoever begins.
    fn open(&self, peer: Option<&str>) -> Driven<Dgram> {
        let peer = peer.map(|peer| self.path(peer));
        Driven::new(Dgram::open(&DgramOptions { path: self.path("ours"), peer }).unwrap())
    }

    /// A peer as QEMU makes it: bound, and not connected.
    fn peer(&self, name: &str) -> UnixDatagram {
        let _ = std::fs::remove_file(self.path(name));
        UnixDatagram::bind(self.path(name)).unwrap()
    }

    /// A peer as vfkit makes it.
    fn vfkit(&self, name: &str) -> UnixDatagram {
        let peer = self.peer(name);
        peer.connect(self.path("ours")).unwrap();
        peer.send(b"VFKT").unwrap();
        peer
    }

    fn write(&self, peer: &UnixDatagram, frame: &[u8]) {
        peer.send_to(frame, self.path("ours")).unwrap();
    }
}

fn read(peer: &UnixDatagram) -> holm_ifnet::Frame {
    let mut space = vec![0; FRAME_MAX + 1];
    let count = peer.recv(&mut space).unwrap();
    space[..count].into()
}

#[test]
fn frames_go_both_ways_with_a_known_peer() {
    let place = Place::new();
    let mut wire = place.open(Some("theirs"));
    wire.send([frame(1, 60)]);
    assert_eq!((wire.sent.lost, wire.wire.has_peer()), (1, false));
    for _ in 0..2 {
        // It is the same path, though another socket.
        let peer = place.peer("theirs");
        for (number, bytes) in [14, 60, 1514, 9014, FRAME_MAX].into_iter().enumerate() {
            place.write(&peer, &frame(number, bytes));
            assert_eq!(wire.frame(), frame(number, bytes));
            wire.send([frame(number + 10, bytes)]);
            assert_eq!(read(&peer), frame(number + 10, bytes));
        }
        assert!(wire.wire.has_peer());
        close(peer);
    }
    wire.send([frame(1, 60), frame(2, 60)]);
    assert_eq!((wire.sent.frames, wire.sent.lost), (10, 3));
    assert!(!wire.wire.has_peer());
}

#[test]
fn vfkit_is_known_by_its_beginning() {
    let place = Place::new();
    let mut wire = place.open(None);
    assert!(!wire.wire.has_peer());
    let first = place.vfkit("first");
    first.send(&frame(1, 60)).unwrap();
    assert_eq!(wire.frame(), frame(1, 60));
    wire.send([frame(2, 60)]);
    assert_eq!(read(&first), frame(2, 60));
    // Somebody else does not become the peer by sending frames, or by having no name.
    let intruder = place.peer("intruder");
    place.write(&intruder, &frame(3, 60));
    place.write(&UnixDatagram::unbound().unwrap(), b"VFKT");
    first.send(&frame(4, 60)).unwrap();
    assert_eq!(wire.frame(), frame(4, 60));
    assert_eq!(wire.received.malformed, 2);
    // Its successor does, though nobody has noticed that it has gone.
    close(first);
    let second = place.vfkit("second");
    second.send(&frame(5, 60)).unwrap();
    assert_eq!(wire.frame(), frame(5, 60));
    wire.send([frame(6, 60)]);
    assert_eq!(read(&second), frame(6, 60));
    assert_eq!(wire.received.malformed, 2);
}

#[test]
fn whoever_sends_is_the_peer_when_there_is_none() {
    let place = Place::new();
    let mut wire = place.open(None);
    for round in 0..3 {
        let name = format!("peer{round}");
        let peer = place.peer(&name);
        place.write(&peer, &frame(round, 60));
        assert_eq!(wire.frame(), frame(round, 60));
        wire.send([frame(round + 10, 60)]);
        assert_eq!(read(&peer), frame(round + 10, 60));
        close(peer);
        wire.send([frame(9, 60)]);
        assert!(!wire.wire.has_peer());
    }
    assert_eq!(wire.sent.lost, 3);
}

/// It may be that nothing was sent since, which would have told.
#[test]
fn successor_of_a_peer_that_is_gone_is_heard() {
    let place = Place::new();
    let mut wire = place.open(None);
    for round in 0..3 {
        let peer = place.peer(&format!("peer{round}"));
        place.write(&peer, &frame(round, 60));
        assert_eq!(wire.frame(), frame(round, 60));
        wire.send([frame(round + 10, 60)]);
        assert_eq!(read(&peer), frame(round + 10, 60));
        close(peer);
        if round == 1 {
            std::fs::remove_file(place.path("peer1")).unwrap();
        }
    }
    assert_eq!((wire.received.malformed, wire.sent.lost), (0, 0));
}

#[test]
fn what_is_no_frame_is_counted() {
    let place = Place::new();
    let mut wire = place.open(Some("theirs"));
    let peer = place.peer("theirs");
    for bytes in [0, 1, 4, 13, FRAME_MAX + 1, 100_000] {
        place.write(&peer, &vec![1; bytes]);
    }
    place.write(&peer, &frame(1, 14));
    assert_eq!(wire.frame(), frame(1, 14));
    assert_eq!(wire.received.malformed, 6);
}

/// Where the peer is connected to us it is the bytes under way that are bounded, otherwise how many
/// datagrams wait at it.
#[test]
fn peer_that_does_not_read_is_waited_for() {
    for connected in [true, false] {
        let place = Place::new();
        let mut wire = place.open(connected.then_some("theirs"));
        let peer = if connected { place.peer("theirs") } else { place.vfkit("theirs") };
        place.write(&peer, &frame(0, 60));
        wire.frame();
        let mut number = 0;
        while wire.left.is_empty() {
            wire.send([frame(number, 1000)]);
            number += 1;
        }
        assert!(number < 10_000);
        wire.send((number..number + 300).map(|number| frame(number, 1000)));
        assert_eq!(wire.sent.frames as usize + wire.left.len(), number + 300);
        let reader = std::thread::spawn(move || {
            for number in 0..number + 300 {
                assert_eq!(read(&peer), frame(number, 1000));
            }
            peer
        });
        wire.until(|wire| wire.left.is_empty());
        let peer = reader.join().unwrap();
        assert_eq!(wire.sent.lost, 0);
        wire.send([frame(7, 60)]);
        assert_eq!(read(&peer), frame(7, 60));
    }
}

#[test]
fn peer_that_vanishes_while_it_is_waited_for_is_noticed() {
    for connected in [true, false] {
        let place = Place::new();
        let mut wire = place.open(connected.then_some("theirs"));
        let peer = if connected { place.peer("theirs") } else { place.vfkit("theirs") };
        place.write(&peer, &frame(0, 60));
        wire.frame();
        while wire.left.is_empty() {
            wire.send([frame(1, 1000)]);
        }
        close(peer);
        wire.until(|wire| wire.left.is_empty());
        assert!(wire.sent.lost > 0);
        let peer = place.vfkit("theirs");
        place.write(&peer, &frame(2, 60));
        assert_eq!(wire.frame(), frame(2, 60));
        wire.send([frame(3, 60)]);
        assert_eq!(read(&peer), frame(3, 60));
    }
}

#[test]
fn file_of_the_dead_is_replaced_and_that_of_the_living_is_not() {
    let place = Place::new();
    close(UnixDatagram::bind(place.path("ours")).unwrap());
    let wire = place.open(None);
    let options = DgramOptions { path: place.path("ours"), peer: None };
    let refused = Dgram::open(&options).unwrap_err().to_string();
    assert!(refused.contains("choose another path"), "{refused}");
    close(wire);
    assert!(!place.path("ours").exists());
}
