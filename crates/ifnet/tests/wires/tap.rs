//! Taps, with this machine's kernel at the other end. As root.

use crate::world::{Driven, close, frame, in_a_netns, ip};
use bytes::Bytes;
use holm_ifnet::Frame;
use holm_ifnet::ether::{MTU_MAX, MTU_MIN};
use holm_ifnet::frame::PARTS_MAX;
use holm_ifnet::wire::Wire;
use holm_ifnet::wires::{Packet, PacketOptions, Tap, TapOptions};

fn open(name: Option<&str>, mtu: usize) -> Driven<Tap> {
    let tap = Tap::open(&TapOptions { name: name.map(Into::into) }).unwrap();
    tap.set_mtu(mtu).unwrap();
    Driven::new(tap)
}

/// The kernel's side of a tap.
fn other_end(tap: &Driven<Tap>) -> Driven<Packet> {
    let interface = tap.wire.name().unwrap();
    Driven::new(Packet::open(&PacketOptions { interface }).unwrap())
}

fn in_parts(frame: &Frame, parts: usize) -> Frame {
    let (first, rest) = frame.split_at(60);
    let others = rest.chunks(rest.len().div_ceil(parts - 1)).map(Bytes::copy_from_slice);
    let frame = Frame::of_parts(first.to_vec(), others.collect(), None);
    assert_eq!(frame.parts().count(), parts);
    frame
}

fn mtu_of(name: &str) -> String {
    let said = ip(&format!("-oneline link show {name}"));
    said.split("mtu ").nth(1).unwrap().split(' ').next().unwrap().into()
}

#[test]
fn frames_go_both_ways() {
    in_a_netns(|| {
        for mtu in [MTU_MIN, 1500, 9000, MTU_MAX] {
            let mut tap = open(None, mtu);
            let mut kernel = other_end(&tap);
            for (number, bytes) in [14, 60, mtu, mtu + 14].into_iter().enumerate() {
                tap.send([frame(number, bytes)]);
                assert_eq!(kernel.frame(), frame(number, bytes));
                kernel.send([frame(number + 10, bytes)]);
                assert_eq!(tap.frame(), frame(number + 10, bytes));
            }
            // In several parts it is the same.
            for parts in 2..=PARTS_MAX {
                tap.send([in_parts(&frame(parts, mtu), parts)]);
                assert_eq!(kernel.frame(), frame(parts, mtu));
                kernel.send([in_parts(&frame(parts + 10, mtu), parts)]);
                assert_eq!(tap.frame(), frame(parts + 10, mtu));
            }
            // One that has a VLAN tag is longer by that.
            let mut tagged = frame(20, mtu + 14).to_vec();
            tagged.splice(12..12, [0x81, 0, 0x20, 7]);
            tap.send([tagged.clone().into()]);
            assert!(*kernel.frame() == tagged[..]);
            kernel.send([tagged.clone().into()]);
            assert!(*tap.frame() == tagged[..]);
            assert_eq!((tap.received.malformed, tap.sent.lost), (0, 0));
            assert_eq!((kernel.received.malformed, kernel.sent.lost), (0, 0));
        }
    });
}

#[test]
fn kernel_answers() {
    in_a_netns(|| {
        let mut tap = open(Some("blue0"), 1500);
        ip("addr add 10.9.0.1/24 dev blue0");
        let we = [2, 0, 0, 0, 0, 9];
        let header = [&[0xff; 6][..], &we, &[8, 6]].concat();
        // RFC 826: who has 10.9.0.1, tell 10.9.0.2?
        let request = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &we, &[10, 9, 0, 2], &[0; 6], &[10, 9, 0, 1]];
        tap.send([[header, request.concat()].concat().into()]);
        let is_answer = |frame: &[u8]| frame[..6] == we && frame[12..14] == [8, 6];
        tap.until(|tap| tap.frames.iter().any(|frame| is_answer(frame)));
        let answer = tap.frames.iter().find(|frame| is_answer(frame)).unwrap();
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[28..32], [10, 9, 0, 1]);
    });
}

#[test]
fn name_is_given_or_chosen_and_gone_in_the_end() {
    in_a_netns(|| {
        let blue = open(Some("blue0"), 1500);
        assert_eq!(blue.wire.name().unwrap(), "blue0");
        assert!(blue.wire.is_ours());
        let (first, second) = (open(None, 1500), open(None, 1500));
        assert_eq!(first.wire.name().unwrap(), "tap0");
        assert_eq!(second.wire.name().unwrap(), "tap1");
        let again = TapOptions { name: Some("blue0".into()) };
        let refused = Tap::open(&again).unwrap_err().to_string();
        assert!(refused.contains("another process uses it"), "{refused}");
        for name in ["", "a/b", "x".repeat(16).as_str(), "lo", "nul\0"] {
            let options = TapOptions { name: Some(name.into()) };
            // The kernel takes the empty name for one that it may choose.
            assert_eq!(Tap::open(&options).is_err(), !name.is_empty(), "{name:?}");
        }
        // It is called otherwise by now.
        ip("link set blue0 down");
        ip("link set blue0 name green0");
        blue.wire.set_mtu(9000).unwrap();
        assert_eq!(blue.wire.name().unwrap(), "green0");
        assert_eq!(mtu_of("green0"), "9000");
        close(blue);
        assert!(Packet::open(&PacketOptions { interface: "green0".into() }).is_err());
    });
}

#[test]
fn mtu_is_told_to_the_kernel() {
    in_a_netns(|| {
        let tap = open(Some("blue0"), 9000);
        assert_eq!(mtu_of("blue0"), "9000");
        tap.wire.set_mtu(MTU_MAX).unwrap();
        assert_eq!(mtu_of("blue0"), "65521");
        assert!(tap.wire.set_mtu(MTU_MAX + 1).is_err());
    });
}

#[test]
fn tap_of_somebody_else_is_used_as_it_is() {
    in_a_netns(|| {
        ip("tuntap add dev vm0 mode tap");
        ip("link set vm0 mtu 1400");
        let mut tap = open(Some("vm0"), 9000);
        assert!(!tap.wire.is_ours());
        assert_eq!(mtu_of("vm0"), "1400");
        tap.send([frame(1, 60)]);
        // It is not up.
        assert_eq!((tap.sent.lost, tap.wire.has_peer()), (1, false));
        ip("link set vm0 up");
        let mut kernel = other_end(&tap);
        tap.until(|tap| tap.wire.has_peer());
        tap.send([frame(2, 60)]);
        assert_eq!(kernel.frame(), frame(2, 60));
        close((tap, kernel));
        ip("link del vm0");
    });
}

#[test]
fn deleted_tap_is_of_no_use() {
    in_a_netns(|| {
        let mut tap = open(Some("blue0"), 1500);
        ip("link del blue0");
        // Events from before may be told first.
        while tap.turn().is_ok() {}
        assert!(tap.wire.send(&mut vec![frame(1, 60)]).is_err());
        assert!(tap.wire.name().is_err());
    });
}
