//! The limits of what comes by a namespace's own interfaces are those of their stacks, at once.

use crate::links::{link, socket, spec, stack};
use crate::neighbour::{Neighbour, room_to};
use crate::world::{World, stop};
use holm::model::{LimitsSpec, LinkView, NamespaceSpec};
use holm_ifnet::MacAddress;
use holm_ifnet::stack::Reason;
use holm_lifetime::Deadline;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

#[test]
fn buffers_of_connections_are_as_large_as_the_limits_say() {
    let world = World::new();
    let server = world.server();
    let buffer = |bytes| LimitsSpec { link_buffer: Some(bytes), ..LimitsSpec::default() };
    let limits = buffer(128 << 10);
    server.add_namespace(NamespaceSpec { limits, ..spec(&world, "blue") }).unwrap();
    let neighbour = Neighbour::at(&socket(&world, "blue"), "10.0.0.2/24", None);
    let taken = Arc::<Mutex<Vec<_>>>::default();
    let keep = taken.clone();
    let accept = move |stream| keep.lock().unwrap().push(stream);
    let listener = neighbour.stack().listen(None, 700, accept).unwrap();
    let ours = stack(&server, "blue", "p0");
    let room = || room_to(&ours, "10.0.0.2:700");
    assert_eq!(room(), 128 << 10);
    server.set_limits("blue", buffer(1 << 20)).unwrap();
    assert_eq!(room(), 1 << 20);
    // Of a connection's memory one half is for what it sends.
    let memory = LimitsSpec { link_memory: Some(1 << 20), ..LimitsSpec::default() };
    server.set_limits("blue", memory).unwrap();
    assert!(room() <= 512 << 10);
    server.set_limits("blue", LimitsSpec::default()).unwrap();
    assert_eq!(room(), 4 << 20);
    drop((ours, listener, taken));
    neighbour.end();
    stop(server);
}

#[test]
fn connections_that_are_being_made_are_no_more_than_the_limit_says() {
    let world = World::new();
    let server = world.server();
    let half_open = |most| LimitsSpec { link_half_open: Some(most), ..LimitsSpec::default() };
    let limits = half_open(3);
    server.add_namespace(NamespaceSpec { limits, ..spec(&world, "blue") }).unwrap();
    let mut peer = UnixStream::connect(socket(&world, "blue")).unwrap();
    let (view, ours) = (link(&server, "blue", "p0"), stack(&server, "blue", "p0"));
    let mut flood = |sources: std::ops::Range<u8>| {
        let all = sources.len() as u64;
        let before = ours.usage();
        for source in sources {
            let frame = syn(&view, source);
            peer.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
            peer.write_all(&frame).unwrap();
        }
        // All have come: each is one more, or made room for one.
        let more = |usage: &holm_ifnet::stack::Usage| {
            let dropped =
                usage.dropped.get(Reason::HalfOpen) - before.dropped.get(Reason::HalfOpen);
            (usage.half_open - before.half_open) as u64 + dropped
        };
        while more(&ours.usage()) < all {
            std::thread::yield_now();
        }
        ours.usage().half_open
    };
    assert_eq!(flood(10..20), 3);
    server.set_limits("blue", half_open(6)).unwrap();
    assert_eq!(flood(30..40), 6);
    drop((peer, ours));
    server.del_namespace("blue", Deadline::Never).unwrap();
    stop(server);
}

/// A frame with the first segment of a connection to NFS, from that station.
fn syn(to: &LinkView, source: u8) -> Vec<u8> {
    let (ours, theirs) = ([10, 0, 0, source], [10, 0, 0, 1]);
    let mac: MacAddress = to.mac.parse().unwrap();
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    ip.extend([ours, theirs].concat());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut tcp = vec![4, 0, 8, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 3, 0xe8, 0, 0, 0, 0];
    let sum = checksum(&[&ours[..], &theirs, &[0, 6, 0, 20], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum);
    [&mac.0[..], &[2, 0, 0, 0, 0, source], &[8, 0], &ip, &tcp].concat()
}

/// Of IP and TCP (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!(((folded & 0xffff) + (folded >> 16)) as u16)).to_be_bytes()
}
