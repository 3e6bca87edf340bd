//! Peers that do not mean well.

use super::{NFS, Net, address, config, mac};
use crate::MacAddress;
use crate::ether;
use crate::frame::Frame;
use crate::offload::Unfinished;
use crate::stack::connection::Ends;
use crate::stack::packet::{Outgoing, TCP, build, sum};
use crate::stack::segment::Segment;
use crate::stack::{Config, Limits, Reason};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(super) const SYN: u8 = 2;
const ACK: u8 = 16;

/// A frame with a segment without data.
pub(super) fn segment(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    sequence: u32,
    flags: u8,
) -> Outgoing {
    let mut packet = build(from.0, to.0, TCP, 64, 20, |space| {
        space[..2].copy_from_slice(&from.1.to_be_bytes());
        space[2..4].copy_from_slice(&to.1.to_be_bytes());
        space[4..8].copy_from_slice(&sequence.to_be_bytes());
        space[12] = 0x50;
        space[13] = flags;
        space[14..16].copy_from_slice(&1000_u16.to_be_bytes());
        let sum = !sum(from.0, to.0, TCP, space);
        space[16..18].copy_from_slice(&sum.to_be_bytes());
    })
    .unwrap();
    let ether_type = if from.0.is_ipv4() { 0x0800 } else { 0x86dd };
    packet[..14].copy_from_slice(&ether::header(mac(1), mac(7), ether_type));
    packet
}

#[test]
fn a_flood_of_syns_costs_bounded_memory_and_lets_others_through() {
    let mut net = Net::new(1500, 4);
    net.listen(0, NFS);
    let before = net.connect(false);
    let limit = Limits::default().half_open;
    let to = (address(0, false), NFS);
    for n in 0..3000_u32 {
        let from = (IpAddr::V4(Ipv4Addr::from(0x0a00_0003 + n % 200)), 1024 + (n / 200) as u16);
        net.machines[0].input(net.now, &segment(from, to, n, SYN));
        if n % 100 == 0 {
            net.now += Duration::from_micros(100);
            net.collect();
        }
        if n % 1000 == 999 {
            net.ping(before);
            let made = net.connect(false);
            net.ping(made);
        }
        let usage = net.machines[0].usage();
        assert!(usage.half_open <= limit && usage.connections <= limit + 5);
    }
    let usage = net.machines[0].usage();
    assert!(usage.dropped.get(Reason::HalfOpen) >= 2000, "{usage:?}");
    net.pass(Limits::default().half_open_for + Duration::from_secs(1));
    assert_eq!(net.machines[0].usage().half_open, 0);
    net.ping(before);
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    let limits = Limits { connections: 10, ..Limits::default() };
    let mut net = Net::with(Config { limits, ..config(1, 1500) }, config(2, 1500), 3);
    net.listen(0, NFS);
    let all: Vec<_> = (0..10).map(|_| net.connect(false)).collect();
    let peer = (address(0, false), NFS).into();
    let (id, _) = net.machines[1].connect(net.now, peer).unwrap();
    net.pass(Duration::from_secs(5));
    assert_eq!(net.machines[0].usage().connections, 10);
    assert!(net.machines[0].usage().dropped.get(Reason::NoRoom) >= 2);
    // One goes, and the one that has gone on trying comes in.
    net.machines[1].leave(net.now, all[3].0);
    net.until(|net| net.receive(0, all[3].1).is_none());
    net.machines[0].leave(net.now, all[3].1);
    net.until(|net| net.accepted[0].lock().unwrap().len() == 11);
    let new = net.accepted[0].lock().unwrap()[10].0;
    net.ping((id, new));
}

#[test]
fn nobody_listens_and_the_peer_is_told() {
    let mut net = Net::new(1500, 3);
    for v6 in [false, true] {
        let (id, _) = net.machines[1].connect(net.now, (address(0, v6), NFS).into()).unwrap();
        net.until(|net| net.error(1, id) == Some(std::io::ErrorKind::ConnectionReset));
        net.machines[1].leave(net.now, id);
    }
    assert_eq!(net.machines[0].usage().connections, 0);
}

#[test]
fn what_nobody_can_have_sent_is_dropped_for_the_reason_that_is_counted() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    net.collect();
    let us = (address(0, false), NFS);
    let mut check = |packet: &[u8], reason: Option<Reason>| {
        let before = net.machines[0].usage();
        net.machines[0].input(net.now, packet);
        let (frames, _) = net.machines[0].settle(net.now, usize::MAX);
        let after = net.machines[0].usage();
        if let Some(reason) = reason {
            assert_eq!(after.dropped.get(reason), before.dropped.get(reason) + 1, "{reason:?}");
            assert_eq!(after.connections, before.connections);
            assert!(frames.is_empty());
        } else {
            assert_eq!(after.connections, before.connections + 1);
        }
    };
    let spoofed = |text: &str| segment((text.parse().unwrap(), 99), us, 1, SYN);
    check(&spoofed("10.0.0.9"), None);
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        check(&spoofed(source), Some(Reason::Spoofed));
    }
    for source in ["10.0.0.255", "10.0.0.0", "10.0.0.1"] {
        check(&spoofed(source), Some(Reason::Spoofed));
    }
    let us6 = (address(0, true), NFS);
    for source in ["::", "::1", "ff02::1", "fd00::1", "::ffff:10.0.0.9"] {
        let packet = segment((source.parse().unwrap(), 99), us6, 1, SYN);
        check(&packet, Some(Reason::Spoofed));
    }
    let valid = spoofed("10.0.0.8");
    let from = |mac: MacAddress| {
        let mut frame = valid.clone();
        frame[6..12].copy_from_slice(&mac.0);
        frame
    };
    for mac in [mac(1), MacAddress::BROADCAST, MacAddress::default()] {
        check(&from(mac), Some(Reason::Spoofed));
    }
    let to = |mac: MacAddress| {
        let mut frame = valid.clone();
        frame[..6].copy_from_slice(&mac.0);
        frame
    };
    check(&to(mac(3)), Some(Reason::NotForUs));
    check(&to(MacAddress::BROADCAST), Some(Reason::NotForUs));
    let elsewhere = (IpAddr::from([10, 0, 0, 77]), NFS);
    check(&segment((IpAddr::from([10, 0, 0, 9]), 5), elsewhere, 1, SYN), Some(Reason::NotForUs));
    check(&valid[..13], Some(Reason::Truncated));
    check(&valid[..40], Some(Reason::Truncated));
    let mut wrong = valid.clone();
    wrong[12] = 0x12;
    check(&wrong, Some(Reason::Protocol));
}

/// An acknowledgement from the second machine, which it did not make.
fn acknowledgement(ends: Ends, sequence: u32, number: u32, window: u16) -> Frame {
    let Ends { local, peer } = ends;
    let mut packet = build(peer.ip(), local.ip(), TCP, 64, 20, |payload| {
        Segment::make(payload, (peer.port(), local.port()), sequence);
        Segment::acknowledge(payload, (number, window));
    })
    .unwrap();
    packet[..ether::HEADER].copy_from_slice(&ether::header(mac(1), mac(2), 0x0800));
    Frame::unfinished(packet.to_vec(), Unfinished::segment(34, true, None))
}

/// The numbers and lengths of the segments with data that the first machine makes.
fn data_of(net: &mut Net) -> Vec<(u32, usize)> {
    let (frames, _) = net.machines[0].settle(net.now, usize::MAX);
    let segment = |frame: &Frame| Segment::parse(&frame[34..]).unwrap();
    let all = frames.iter().filter(|frame| frame[12..14] == [8, 0]).map(segment);
    let data = all.filter(|it| it.length > 0);
    data.map(|it| (it.sequence, it.length as usize)).collect()
}

/// It has dropped what had come already.
#[test]
fn who_had_no_room_for_what_was_sent_gets_it_when_he_has() {
    for (delay, full) in [(0, 50), (0, 500), (0, 1500), (350, 50), (350, 1500)] {
        let mut net = Net::new(1500, 5);
        net.delay = Duration::from_millis(delay);
        net.listen(0, NFS);
        let ids = net.connect(false);
        net.ping(ids);
        net.pass(Duration::from_millis(500) + net.delay * 2);
        let ends = net.accepted[0].lock().unwrap()[0].1;
        assert_eq!(net.send(0, ids.1, &[9; 2000]), 2000);
        let sent = data_of(&mut net);
        let [(first, 1460), (second, 540)] = sent[..] else { panic!("{sent:?}") };
        // What the second machine would say next.
        assert_eq!(net.send(1, ids.0, &[1]), 1);
        let (frames, _) = net.machines[1].settle(net.now, usize::MAX);
        let sequence = Segment::parse(&frames[0][34..]).unwrap().sequence;
        assert_eq!(second, first.wrapping_add(1460));
        net.now += Duration::from_millis(1);
        net.machines[0].input_frame(net.now, &acknowledgement(ends, sequence, second, 0));
        assert_eq!(data_of(&mut net), []);
        let opens = net.now + Duration::from_millis(full);
        while let Some(due) = net.machines[0].due_at().filter(|due| *due < opens) {
            net.now = net.now.max(due);
            let asked = data_of(&mut net);
            assert!(asked.iter().all(|(_, length)| *length == 1), "{asked:?}");
        }
        net.now = opens;
        net.machines[0].input_frame(net.now, &acknowledgement(ends, sequence, second, 60_000));
        let mut again = data_of(&mut net);
        while again.is_empty() {
            let due = net.machines[0].due_at().unwrap();
            assert!(due < opens + Duration::from_secs(3), "{full} ms: {:?}", due - opens);
            net.now = net.now.max(due);
            again = data_of(&mut net);
        }
        assert_eq!(again, [(second, 540)], "{full} ms");
    }
}

#[test]
fn a_segment_with_a_wrong_checksum_makes_no_connection() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    let from = (IpAddr::from([10, 0, 0, 9]), 99);
    let mut packet = segment(from, (address(0, false), NFS), 1, SYN);
    let last = packet.len() - 1;
    packet[last] ^= 1;
    net.machines[0].input(net.now, &packet);
    net.collect();
    assert_eq!(net.machines[0].usage().connections, 0);
}

#[test]
fn claims_to_be_somewhere_else_are_not_believed_of_who_is_not_known() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.ping(ids);
    // Somebody says that he is us, and somebody speaks for a network that is not here.
    for sender in ["10.0.0.1", "192.168.1.1", "0.0.0.0"] {
        let arp = crate::stack::arp::announcement((mac(9), sender.parse().unwrap()));
        net.machines[0].input(net.now, &arp);
        let (frames, _) = net.machines[0].settle(net.now, usize::MAX);
        assert!(frames.is_empty());
    }
    net.ping(ids);
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever comes, nothing breaks, what is sent is well-formed, and others go on.
    #[test]
    fn any_frames_at_any_time_harm_nobody(
        frames in prop::collection::vec((anything(), 0..8_u8, 0..3_000_000_u64), 0..60),
        seed in any::<u64>(),
    ) {
        let mut net = Net::new(1500, seed);
        net.listen(0, NFS);
        let ids = net.connect(seed.is_multiple_of(2));
        net.ping(ids);
        let mut sent = Vec::new();
        for (bytes, kind, micros) in frames {
            let frame = disguised(&mut net, &bytes, kind);
            net.machines[0].input(net.now, &frame);
            net.now += Duration::from_micros(micros);
            let (frames, _) = net.machines[0].settle(net.now, usize::MAX);
            sent.extend(frames);
            // A keep-alive that nobody answered, as those frames went elsewhere.
            net.machines[1].settle(net.now, usize::MAX);
        }
        for frame in sent {
            prop_assert!((14..=1514).contains(&frame.len()));
            let ethernet = ether::Ethernet::parse(&frame).unwrap();
            prop_assert_eq!(ethernet.source, mac(1));
        }
    }
}

/// Something that is less and less obviously wrong.
fn disguised(net: &mut Net, bytes: &[u8], kind: u8) -> Vec<u8> {
    let v6 = kind.is_multiple_of(2);
    let (from, to) = (address(1, v6), address(0, v6));
    let protocols = [TCP, 17, if v6 { 58 } else { 1 }];
    let protocol = protocols[net.random(3) as usize];
    let mut frame = match kind {
        0 | 1 => return bytes.to_vec(),
        2 | 3 => {
            let mut frame = ether::header(mac(1), mac(2), 0x0806).to_vec();
            frame.extend([0, 1, 8, 0, 6, 4]);
            frame.extend(bytes);
            return frame;
        }
        4 | 5 => build(from, to, protocol, 255, bytes.len(), |space| {
            space.copy_from_slice(bytes);
        })
        .unwrap(),
        // A segment for the connection, or one that asks for another.
        _ => {
            let port = net.accepted[0].lock().unwrap()[0].1.peer.port();
            let sequence = net.random(1 << 32) as u32;
            let flags = if net.random(2) == 0 { SYN } else { ACK | bytes.first().unwrap_or(&0) };
            segment((from, port - net.random(2) as u16), (to, NFS), sequence, flags)
        }
    };
    if kind < 6 {
        let at = 14 + if v6 { 40 } else { 20 };
        let checksum = match protocol {
            TCP => at + 16,
            17 => at + 6,
            _ => at + 2,
        };
        if frame.len() >= checksum + 2 {
            frame[checksum..checksum + 2].fill(0);
            let sum = if protocol == 1 {
                smoltcp::wire::checksum::data(&frame[at..])
            } else {
                sum(from, to, protocol, &frame[at..])
            };
            frame[checksum..checksum + 2].copy_from_slice(&(!sum).to_be_bytes());
        }
    }
    let ether_type = if v6 { 0x86dd } else { 0x0800 };
    frame[..14].copy_from_slice(&ether::header(mac(1), mac(2), ether_type));
    frame.to_vec()
}
