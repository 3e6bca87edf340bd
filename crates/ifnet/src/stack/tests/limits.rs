//! What a stack may use, and that it may be other limits from one moment to the next.

use super::attacks::{SYN, segment};
use super::{NFS, Net, address};
use crate::stack::Limits;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Two machines, of which the first listens and has these limits from now on.
fn limited(limits: Limits) -> Net {
    let mut net = Net::new(1500, 5);
    net.listen(0, NFS);
    net.machines[0].set_limits(limits);
    net
}

/// How much a new connection of the first machine takes to be sent.
fn room(net: &mut Net) -> usize {
    let (_, id) = net.connect(false);
    net.send(0, id, &vec![0; 16 << 20])
}

#[test]
fn no_more_connections_are_being_made_than_the_limit_says() {
    let half_open = |half_open| Limits { half_open, ..Limits::default() };
    let mut net = limited(half_open(3));
    let flood = |net: &mut Net, first: u32| {
        for n in first..first + 20 {
            let from = (IpAddr::V4(Ipv4Addr::from(0x0a00_0003 + n)), 1024);
            net.machines[0].input(net.now, &segment(from, (address(0, false), NFS), n, SYN));
        }
        net.machines[0].usage().half_open
    };
    assert_eq!(flood(&mut net, 0), 3);
    net.machines[0].set_limits(half_open(7));
    assert_eq!(flood(&mut net, 50), 7);
    // Those that there are stay, and make room as others come.
    net.machines[0].set_limits(half_open(2));
    assert_eq!(net.machines[0].usage().half_open, 7);
}

#[test]
fn no_buffer_is_larger_than_the_limit_says() {
    let room_max = |room_max| Limits { room_max, ..Limits::default() };
    let mut net = limited(room_max(128 << 10));
    let (_, before) = net.connect(false);
    assert_eq!(room(&mut net), 128 << 10);
    net.machines[0].set_limits(room_max(1 << 20));
    assert_eq!(room(&mut net), 1 << 20);
    let kept = net.send(0, before, &vec![0; 16 << 20]);
    assert_eq!(kept, 128 << 10, "a connection keeps its buffers");
}

#[test]
fn connections_share_the_memory_that_the_limit_says() {
    let memory = |memory| Limits { memory, ..Limits::default() };
    let mut net = limited(memory(4 << 20));
    let rooms: Vec<usize> = (0..40).map(|_| room(&mut net)).collect();
    // For both directions; the first gets half of what there is, and later ones less and less.
    assert_eq!(rooms[0], 2 << 20);
    assert!(rooms.is_sorted_by(|one, next| one >= next), "{rooms:?}");
    assert_eq!(rooms[39], Limits::default().room_min);
    net.machines[0].set_limits(memory(64 << 20));
    assert!(room(&mut net) > 4 * rooms[39]);
}

#[test]
fn a_silent_peer_is_given_up_after_the_time_that_the_limit_says() {
    let mut net = limited(Limits::default());
    let before = net.connect(false).1;
    let (keep_alive, silence) = (Duration::from_secs(10), Duration::from_secs(30));
    net.machines[0].set_limits(Limits { keep_alive, silence, ..Limits::default() });
    let after = net.connect(false).1;
    net.weather.lost = 1000;
    net.pass(silence / 2);
    assert_eq!(net.error(0, after), Some(ErrorKind::WouldBlock));
    net.pass(silence / 2 + keep_alive);
    assert_eq!(net.error(0, after), Some(ErrorKind::ConnectionReset));
    assert_eq!(net.error(0, before), Some(ErrorKind::WouldBlock), "it keeps its time");
    net.pass(Limits::default().silence + Limits::default().keep_alive);
    assert_eq!(net.error(0, before), Some(ErrorKind::ConnectionReset));
}
