//! Packet sockets at interfaces of the kernel. As root.

use crate::world::{Driven, bring_up, close, frame, in_a_netns, ip, other_netns};
use holm_ifnet::Frame;
use holm_ifnet::ether::{Ethernet, HEADER};
use holm_ifnet::frame::finish_all;
use holm_ifnet::wire::Wire;
use holm_ifnet::wires::{Packet, PacketOptions, Tap, TapOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

fn open(interface: &str) -> Driven<Packet> {
    Driven::new(Packet::open(&PacketOptions { interface: interface.into() }).unwrap())
}

fn tap(name: &str) -> Driven<Tap> {
    Driven::new(Tap::open(&TapOptions { name: Some(name.into()) }).unwrap())
}

#[test]
fn frames_go_both_ways() {
    in_a_netns(|| {
        ip("link add left type veth peer name right");
        ip("link set left up");
        bring_up("right");
        bring_up("left");
        let (mut left, mut right) = (open("left"), open("right"));
        for (number, bytes) in [14, 60, 1514].into_iter().enumerate() {
            left.send([frame(number, bytes)]);
            assert_eq!(right.frame(), frame(number, bytes));
            right.send([frame(number + 10, bytes)]);
            // And not what it has sent itself.
            assert_eq!(left.frame(), frame(number + 10, bytes));
        }
        assert_eq!(left.sent.lost, 0);
        // It is longer than the interface carries, and the others go on.
        left.send([frame(1, 60), frame(2, 1520), frame(3, 60)]);
        assert_eq!(left.sent.lost, 1);
        assert_eq!((right.frame(), right.frame()), (frame(1, 60), frame(3, 60)));
        left.wire.set_mtu(1500).unwrap();
        let refused = left.wire.set_mtu(1501).unwrap_err().to_string();
        assert!(refused.contains("left carries 1500"), "{refused}");
    });
}

#[test]
fn flood_is_cut_by_the_kernel_and_counted() {
    const FLOOD: usize = 20_000;
    in_a_netns(|| {
        let mut peer = tap("vm0");
        let mut wire = open("vm0");
        for round in 0..FLOOD / 100 {
            peer.send((0..100).map(|number| frame(round * 100 + number, 1000)));
        }
        wire.turn().unwrap();
        let came = wire.frames.len();
        assert!(came < FLOOD);
        assert_eq!(wire.frames[0], frame(0, 1000));
        // The next one that comes tells of them.
        wire.frames.clear();
        peer.send([frame(1, 100)]);
        assert_eq!(wire.frame(), frame(1, 100));
        assert_eq!(came as u64 + wire.received.missed, FLOOD as u64);
    });
}

#[test]
fn vlan_tags_are_put_back() {
    in_a_netns(|| {
        let mut peer = tap("vm0");
        let mut wire = open("vm0");
        let plain = frame(1, 100);
        let tagged: Frame = [&plain[..12], &[0x81, 0, 0x20, 7], &plain[12..]].concat().into();
        peer.send([tagged.clone()]);
        assert_eq!(wire.frame(), tagged);
        wire.send([tagged.clone()]);
        assert_eq!(peer.frame(), tagged);
    });
}

/// The kernel's own TCP and UDP over a veth pair: what one end sends is never put on a wire, so it comes
/// without checksums, and uncut, and says so.
#[test]
fn frames_that_come_can_be_finished() {
    /// As many as wait in the socket: they are received in the end.
    const BYTES: usize = 200_000;
    in_a_netns(|| {
        let (near, far) = (File::open("/proc/thread-self/ns/net").unwrap(), other_netns());
        ip("link add near type veth peer name far");
        // A copy that programs which are started get too.
        let inherited = rustix::io::dup(&far).unwrap();
        ip(&format!("link set far netns /proc/self/fd/{}", inherited.as_raw_fd()));
        ip("addr add 10.9.0.1/24 dev near");
        ip("link set near up");
        enter(&far);
        ip("addr add 10.9.0.2/24 dev far");
        bring_up("far");
        let mut wire = open("far");
        let listener = TcpListener::bind("10.9.0.2:2049").unwrap();
        let datagrams = UdpSocket::bind("10.9.0.2:111").unwrap();
        enter(&near);
        bring_up("near");

        let socket = UdpSocket::bind("10.9.0.1:700").unwrap();
        cut_datagrams(&socket, 1000);
        socket.send_to(&[1; 2500], "10.9.0.2:111").unwrap();
        for bytes in [1000, 1000, 500] {
            assert_eq!(datagrams.recv(&mut [0; 2000]).unwrap(), bytes);
        }
        let mut client = TcpStream::connect("10.9.0.2:2049").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let reader = std::thread::spawn(move || server.read_to_end(&mut Vec::new()).unwrap());
        client.write_all(&[7; BYTES]).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), BYTES);

        // The stack there has received it all, so it has come here too, in whatever order.
        wire.until(|wire| {
            assert_eq!((wire.received.malformed, wire.received.missed), (0, 0));
            in_one_piece(&wire.frames) >= BYTES
        });
        assert_eq!(in_one_piece(&wire.frames), BYTES);
        assert!(wire.frames.iter().any(|frame| frame.len() > 1514 && frame.rest().is_some()));
        assert_eq!(finish_all(&mut wire.frames), 0);
        assert_eq!(in_one_piece(&wire.frames), BYTES);
        assert!(wire.frames.iter().all(|frame| frame.len() <= 1514));
        for frame in wire.frames.iter().filter(|frame| transport(frame).is_some()) {
            assert_eq!(checksum(frame), 0xffff);
        }
        let udp = wire.frames.iter().filter_map(|frame| udp(frame).map(<[u8]>::len));
        assert_eq!(udp.collect::<Vec<_>>(), [1008, 1008, 508]);
    });
}

/// How many bytes from the first on the TCP segments have without a gap, whatever was sent twice.
fn in_one_piece(frames: &[Frame]) -> usize {
    let number = |tcp: &[u8]| u32::from_be_bytes(tcp[4..8].try_into().unwrap());
    let mut segments: Vec<_> = frames.iter().filter_map(|frame| tcp(frame)).collect();
    let Some(opening) = segments.iter().find(|tcp| tcp[13] & 2 != 0).copied() else { return 0 };
    let begins = |tcp: &[u8]| number(tcp).wrapping_sub(number(opening)).wrapping_sub(1) as usize;
    segments.retain(|tcp| tcp[13] & 2 == 0);
    segments.sort_by_key(|tcp| begins(tcp));
    segments.iter().fold(0, |end, tcp| {
        let bytes = tcp.len() - usize::from(tcp[12] >> 4) * 4;
        if begins(tcp) <= end { end.max(begins(tcp) + bytes) } else { end }
    })
}

#[test]
fn interface_that_goes_down_comes_back() {
    in_a_netns(|| {
        let mut peer = tap("vm0");
        let mut wire = open("vm0");
        assert!(wire.wire.has_peer());
        ip("link set vm0 down");
        wire.until(|wire| !wire.wire.has_peer());
        wire.send([frame(1, 60)]);
        assert_eq!(wire.sent.lost, 1);
        ip("link set vm0 up");
        peer.send([frame(2, 60)]);
        assert_eq!(wire.frame(), frame(2, 60));
        wire.send([frame(3, 60)]);
        assert_eq!(peer.frame(), frame(3, 60));
        wire.until(|wire| wire.wire.has_peer());
    });
}

/// Nothing is sent or received meanwhile, and other interfaces of the namespace change all the time.
#[test]
fn link_is_down_while_the_other_end_is() {
    in_a_netns(|| {
        ip("link add left type veth peer name right");
        ip("link set left up");
        let mut left = open("left");
        let again = open("left");
        let other = tap("vm0");
        let vm0 = open("vm0");
        assert!(!left.wire.has_peer() && vm0.wire.has_peer());
        for _ in 0..3 {
            ip("link set right up");
            left.until(|left| left.wire.has_peer());
            ip("link set vm0 mtu 1400");
            ip("link set right down");
            left.until(|left| !left.wire.has_peer());
        }
        assert!(vm0.wire.has_peer());
        // The same thread serves whoever comes when all have gone.
        close((left, again, other, vm0));
        let mut left = open("left");
        ip("link set right up");
        left.until(|left| left.wire.has_peer());
    });
}

#[test]
fn deleted_interface_is_noticed() {
    in_a_netns(|| {
        let peer = tap("vm0");
        let mut wire = open("vm0");
        close(peer);
        while wire.turn().is_ok() {}
        assert!(wire.wire.send(&mut vec![frame(1, 60)]).is_err());
        let refused = Packet::open(&PacketOptions { interface: "vm0".into() }).unwrap_err();
        assert!(refused.to_string().contains("none of that name"), "{refused}");
    });
}

/// The protocol of an IPv4 frame, and what it carries.
fn transport(frame: &[u8]) -> Option<(u8, &[u8])> {
    let ethernet = Ethernet::parse(frame)?;
    let packet = (ethernet.ether_type == 0x0800).then_some(ethernet.payload)?;
    let length = u16::from_be_bytes([packet[2], packet[3]]);
    Some((packet[9], &packet[20..length.into()]))
}

fn tcp(frame: &[u8]) -> Option<&[u8]> {
    transport(frame).filter(|found| found.0 == 6).map(|found| found.1)
}

fn udp(frame: &[u8]) -> Option<&[u8]> {
    transport(frame).filter(|found| found.0 == 17).map(|found| found.1)
}

/// Has the kernel cut what is sent into datagrams of so many bytes.
fn cut_datagrams(socket: &UdpSocket, bytes: libc::c_int) {
    let length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the value is an int, which lives during the call, and of that length.
    let set = unsafe {
        let (level, option) = (libc::SOL_UDP, libc::UDP_SEGMENT);
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const bytes).cast(), length)
    };
    assert_eq!(set, 0);
}

/// The sum over what the checksum of a segment or datagram covers, itself included: all ones.
fn checksum(frame: &[u8]) -> u16 {
    let packet = &frame[HEADER..];
    let packet = &packet[..usize::from(u16::from_be_bytes([packet[2], packet[3]]))];
    let (header, rest) = packet.split_at(20);
    let length = (rest.len() as u32).to_be_bytes();
    let covered = [&header[12..20], &[0, header[9]], &length, rest].concat();
    let sum = covered.chunks(2).fold(0_u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    });
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

fn enter(netns: &File) {
    move_into_thread_name_spaces(netns.as_fd(), ThreadNameSpaceType::NETWORK).unwrap();
}
