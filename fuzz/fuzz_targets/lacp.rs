//! A LACP system whose partners send whatever they like, whenever they like: it sends no more than it
//! may, says what it does, does nothing by itself in no time, and uses no port on its own.
#![no_main]

use holm_ifnet::MacAddress;
use holm_ifnet::lacp::{Action, Lacp, Link, Options, PortOptions, SlowPdu, State};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

const PORTS: u16 = 3;
const UP: Link = Link { up: true, speed: 1000, full_duplex: true };

fuzz_target!(|data: &[u8]| {
    let start = Instant::now();
    let mut now = start;
    let mut sent = [const { Vec::new() }; PORTS as usize];
    let mut usage = [(false, false); PORTS as usize];
    let mut actions = vec![];
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    let fast = data.first().is_some_and(|first| first & 1 == 1);
    let mut lacp = Lacp::new(start, mac, Options { fast, ..Options::default() });
    for port in 0..PORTS {
        lacp.add_port(now, port, PortOptions::default(), UP, &mut actions);
    }
    let mut rest = data;
    loop {
        for action in actions.drain(..) {
            match action {
                Action::Send { port, pdu: SlowPdu::Lacp(_) } => {
                    let sent = &mut sent[usize::from(port)];
                    sent.push(now);
                    if let [.., first, _, _, fourth] = sent[..] {
                        assert!(fourth - first >= Duration::from_secs(1));
                    }
                }
                Action::Send { pdu, .. } => assert!(matches!(pdu, SlowPdu::MarkerResponse(_))),
                Action::Use { port, collecting, distributing } => {
                    usage[usize::from(port)] = (collecting, distributing);
                }
            }
        }
        for (port, used) in (0..).zip(usage) {
            let status = lacp.status(port).expect("the port is there");
            let state = status.actor.state;
            assert_eq!(used, (state.has(State::COLLECTING), state.has(State::DISTRIBUTING)));
            assert!(!used.0 || status.partner.state.has(State::SYNCHRONIZATION));
        }
        assert!(lacp.deadline().is_none_or(|deadline| deadline > now));
        // Milliseconds, what happens at which port, and how many bytes come there.
        let Some(([a, b, what, length], more)) = rest.split_first_chunk() else { break };
        now += Duration::from_millis(u64::from(u16::from_le_bytes([*a, *b])));
        let port = u16::from(what % 4);
        let (bytes, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        match what / 64 {
            0 => lacp.advance(now, &mut actions),
            1 => {
                let link = Link { up: what & 4 == 0, full_duplex: what & 8 == 0, ..UP };
                lacp.set_link(now, port, link, &mut actions);
            }
            _ => lacp.receive(now, port, bytes, &mut actions),
        }
    }
});
