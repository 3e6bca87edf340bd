//! What is answered without anybody having a connection.

use super::{Net, address, config, mac};
use crate::ether::{self, Ethernet, MacAddress};
use crate::frame::Frames;
use crate::stack::arp::{self, Arp, Operation};
use crate::stack::icmp;
use crate::stack::machine::Machine;
use crate::stack::packet::{Outgoing, Packet, build, sum};
use crate::stack::{AddressError, Network, Reason, Route};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

fn framed(mut packet: Outgoing, from: MacAddress, to: MacAddress) -> Outgoing {
    let v6 = packet[14] >> 4 == 6;
    packet[..14].copy_from_slice(&ether::header(to, from, if v6 { 0x86dd } else { 0x0800 }));
    packet
}

fn echo_request(from: IpAddr, to: IpAddr, data: &[u8]) -> Outgoing {
    let (protocol, kind) = if from.is_ipv4() { (1, 8) } else { (58, 128) };
    build(from, to, protocol, 64, data.len() + 8, |space| {
        space[0] = kind;
        space[4..8].copy_from_slice(b"idno");
        space[8..].copy_from_slice(data);
        let sum = match from {
            IpAddr::V4(_) => smoltcp::wire::checksum::data(space),
            IpAddr::V6(_) => sum(from, to, 58, space),
        };
        space[2..4].copy_from_slice(&(!sum).to_be_bytes());
    })
    .unwrap()
}

fn settle(machine: &mut Machine, seconds: u64) -> Frames {
    machine.settle(Duration::from_secs(seconds), usize::MAX).0
}

/// One that has said all that it says at the beginning.
fn machine(mtu: usize) -> Machine {
    let mut machine = Machine::new(&config(1, mtu));
    for network in ["10.0.0.1/24", "fd00::1/64"] {
        machine.add_address(Duration::ZERO, network.parse().unwrap()).unwrap();
    }
    settle(&mut machine, 0);
    machine
}

#[test]
fn an_echo_of_any_size_that_the_link_carries_comes_back() {
    for mtu in [1500, 65_521] {
        for v6 in [false, true] {
            let mut machine = machine(mtu);
            let (peer, us) = (address(1, v6), address(0, v6));
            let header = if v6 { 48 } else { 28 };
            let solicited = match (peer, us) {
                (IpAddr::V6(peer), IpAddr::V6(us)) => {
                    framed(icmp::solicitation((mac(2), peer), us).unwrap(), mac(2), mac(1))
                }
                (IpAddr::V4(peer), IpAddr::V4(us)) => arp::request((mac(2), peer), us),
                _ => unreachable!(),
            };
            machine.input(Duration::ZERO, &solicited);
            assert_eq!(settle(&mut machine, 0).len(), 1, "it says where it is");
            for length in [0, 1, 56, mtu - header - 1, mtu - header] {
                let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let request = framed(echo_request(peer, us, &data), mac(2), mac(1));
                machine.input(Duration::ZERO, &request);
                let frames = settle(&mut machine, 0);
                let [reply] = &frames[..] else { panic!("{} frames", frames.len()) };
                let ethernet = Ethernet::parse(reply).unwrap();
                assert_eq!((ethernet.source, ethernet.destination), (mac(1), mac(2)));
                let parse = if v6 { Packet::parse_v6 } else { Packet::parse_v4 };
                let packet = parse(ethernet.payload).unwrap();
                assert_eq!((packet.source, packet.destination), (us, peer));
                assert_eq!(packet.payload[0], if v6 { 129 } else { 0 });
                assert_eq!(&packet.payload[8..], data);
            }
            let long = framed(echo_request(peer, us, &vec![0; mtu - header + 1]), mac(2), mac(1));
            machine.input(Duration::ZERO, &long);
            assert!(settle(&mut machine, 0).is_empty(), "longer than the link carries");
        }
    }
}

#[test]
fn all_are_told_of_addresses_when_they_come_and_when_they_move() {
    let mut machine = Machine::new(&config(1, 1500));
    let v4: Network = "10.0.0.1/24".parse().unwrap();
    machine.add_address(Duration::ZERO, v4).unwrap();
    let frames = settle(&mut machine, 0);
    assert_eq!(frames, [arp::announcement((mac(1), Ipv4Addr::new(10, 0, 0, 1)))]);
    machine.add_address(Duration::ZERO, "fd00::1/64".parse().unwrap()).unwrap();
    let frames = settle(&mut machine, 0);
    let packet = Packet::parse_v6(&frames[0][14..]).unwrap();
    let expected = icmp::Icmp::Advertisement { target: "fd00::1".parse().unwrap(), mac: mac(1) };
    assert_eq!(icmp::Icmp::parse(&packet), Ok(expected));
    assert_eq!(&frames[0][..6], [0x33, 0x33, 0, 0, 0, 1], "all stations");

    machine.announce(Duration::ZERO);
    assert_eq!(settle(&mut machine, 0).len(), 3, "with the one that is link-local");

    machine.set_mac(Duration::ZERO, mac(5));
    let frames = settle(&mut machine, 0);
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|frame| frame[6..12] == mac(5).0));
    assert!(machine.addresses().contains(&Network::link_local(mac(5))));
    assert!(!machine.addresses().contains(&Network::link_local(mac(1))));
}

#[test]
fn addresses_that_a_link_cannot_have_are_refused() {
    let mut machine = Machine::new(&config(1, 1279));
    let mut add = |text: &str| machine.add_address(Duration::ZERO, text.parse().unwrap());
    assert_eq!(add("10.0.0.1/24"), Ok(()));
    assert_eq!(add("10.0.0.1/8"), Err(AddressError::Exists("10.0.0.1".parse().unwrap())));
    for wrong in ["127.0.0.1/8", "10.0.0.255/24", "0.0.0.0/0", "224.0.0.1/24"] {
        assert_eq!(add(wrong), Err(AddressError::NoStation(wrong.parse().unwrap())));
    }
    assert_eq!(add("fd00::1/64"), Err(AddressError::SmallMtu(1279)));
    assert!(machine.addresses().iter().all(|network| network.address().is_ipv4()));
}

#[test]
fn who_asks_whether_an_address_is_taken_is_told() {
    let mut machine = machine(1500);
    let us = Ipv4Addr::new(10, 0, 0, 1);
    machine.input(Duration::ZERO, &arp::request((mac(4), Ipv4Addr::UNSPECIFIED), us));
    let frames = settle(&mut machine, 0);
    let reply = Arp::parse(&frames[0][14..]).unwrap();
    assert_eq!((reply.operation, reply.sender), (Operation::Reply, (mac(1), us)));

    let us = "fd00::1".parse().unwrap();
    let probe = build("::".parse().unwrap(), "ff02::1:ff00:1".parse().unwrap(), 58, 255, 24, |s| {
        s[0] = 135;
        s[8..24].copy_from_slice(&std::net::Ipv6Addr::octets(&us));
        let sum = sum("::".parse().unwrap(), "ff02::1:ff00:1".parse().unwrap(), 58, s);
        s[2..4].copy_from_slice(&(!sum).to_be_bytes());
    });
    let group = MacAddress([0x33, 0x33, 0xff, 0, 0, 1]);
    machine.input(Duration::ZERO, &framed(probe.unwrap(), mac(4), group));
    let frames = settle(&mut machine, 0);
    assert_eq!(&frames[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn who_is_elsewhere_is_reached_by_the_way_to_the_smallest_network() {
    let mut machine = machine(1500);
    let route = |network: &str, via: &str| Route {
        network: network.parse().unwrap(),
        via: via.parse().unwrap(),
    };
    machine.set_routes(vec![
        route("8.0.0.0/5", "10.0.0.254"),
        route("192.168.0.0/16", "10.0.0.253"),
        route("192.168.7.0/24", "172.16.0.1"),
        route("::/0", "fe80::254"),
    ]);
    let mut asked = |to: &str| {
        let from = if to.contains(':') { address(0, true) } else { address(0, false) };
        let to = SocketAddr::new(to.parse().unwrap(), 9);
        machine.send_datagram(Duration::ZERO, (from, 9).into(), to, b"x").unwrap();
        settle(&mut machine, 0)
    };
    let target = |frames: Frames| Arp::parse(&frames[0][14..]).unwrap().target.1;
    assert_eq!(target(asked("8.8.8.8")), Ipv4Addr::new(10, 0, 0, 254));
    assert_eq!(target(asked("192.168.1.1")), Ipv4Addr::new(10, 0, 0, 253));
    let asked_again = asked("192.168.7.1");
    assert!(asked_again.is_empty(), "not by who is elsewhere, but by who was just asked for");
    assert!(asked("1.1.1.1").is_empty(), "no way leads there");
    assert_eq!(target(asked("10.0.0.7")), Ipv4Addr::new(10, 0, 0, 7));
    let frames = asked("2001:db8::1");
    let packet = Packet::parse_v6(&frames[0][14..]).unwrap();
    assert_eq!(packet.destination, "ff02::1:ff00:254".parse::<IpAddr>().unwrap());
    assert_eq!(machine.usage().dropped.get(Reason::Unreachable), 1);
    // One answers, and gets what has waited for it; the others do not.
    let router = (mac(3), Ipv4Addr::new(10, 0, 0, 253));
    let target = (mac(1), Ipv4Addr::new(10, 0, 0, 1));
    let answer = Arp { operation: Operation::Reply, sender: router, target }.frame(mac(1));
    machine.input(Duration::ZERO, &answer);
    let frames = settle(&mut machine, 0);
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame[..6] == mac(3).0));
    for seconds in 1..5 {
        settle(&mut machine, seconds);
    }
    assert_eq!(machine.usage().dropped.get(Reason::Unreachable), 4);
}

#[test]
fn datagrams_are_answered_from_the_address_that_they_came_to() {
    let mut net = Net::new(1500, 1);
    net.machines[0].bind((None, 111)).unwrap();
    net.machines[1].bind((None, 700)).unwrap();
    for v6 in [false, true] {
        let (us, peer) = ((address(0, v6), 111).into(), (address(1, v6), 700).into());
        net.machines[1].send_datagram(net.now, peer, us, b"call").unwrap();
        let mut came = None;
        net.until(|net| {
            came = net.machines[0].receive_datagram((None, 111)).ok();
            came.is_some()
        });
        let came = came.unwrap();
        assert_eq!((&*came.payload, came.from, came.to), (&b"call"[..], peer, us));
        net.machines[0].send_datagram(net.now, came.to, came.from, b"reply").unwrap();
        net.until(|net| net.machines[1].receive_datagram((None, 700)).is_ok());
        let long = vec![0; 1500 - 27];
        assert!(net.machines[0].send_datagram(net.now, us, peer, &long).is_err());
    }
    let elsewhere = ("10.0.0.9".parse::<IpAddr>().unwrap(), 1).into();
    let to = (address(1, false), 1).into();
    assert!(net.machines[0].send_datagram(net.now, elsewhere, to, b"").is_err());
}

#[test]
fn a_datagram_for_nobody_is_answered_so() {
    let mut net = Net::new(1500, 1);
    for v6 in [false, true] {
        let (us, peer) = ((address(0, v6), 111).into(), (address(1, v6), 700).into());
        net.machines[1].send_datagram(net.now, peer, us, &[7; 1000]).unwrap();
        net.pass(Duration::from_millis(1));
    }
    assert_eq!(net.machines[0].usage().dropped.get(Reason::NotForUs), 2 + announcements());
}

/// What the other says at the beginning that is not for us.
fn announcements() -> u64 {
    let mut net = Net::new(1500, 1);
    net.pass(Duration::from_millis(1));
    net.machines[0].usage().dropped.get(Reason::NotForUs)
}

#[test]
fn a_loopback_link_speaks_to_itself() {
    let mut machine = Machine::new(&crate::stack::Config { loopback: true, ..config(0, 65_521) });
    for network in ["127.0.0.1/8", "::1/128"] {
        machine.add_address(Duration::ZERO, network.parse().unwrap()).unwrap();
    }
    assert!(machine.add_address(Duration::ZERO, "10.0.0.1/8".parse().unwrap()).is_err());
    machine.bind((None, 111)).unwrap();
    for local in ["127.0.0.1:111", "[::1]:111"] {
        let local = local.parse().unwrap();
        machine.send_datagram(Duration::ZERO, local, local, b"me").unwrap();
        for frame in settle(&mut machine, 0) {
            machine.input(Duration::ZERO, &frame);
        }
        assert_eq!(&*machine.receive_datagram((None, 111)).unwrap().payload, b"me");
    }
}
