//! Two stacks on a link that loses, repeats, exchanges and changes frames and brings others, at any
//! time, while their users do what they like: nothing breaks, what is sent is well-formed, and what a
//! stack keeps is bounded.
#![no_main]

use holm_ifnet::ether::{Ethernet, HEADER, header};
use holm_ifnet::offload::Unfinished;
use holm_ifnet::stack::{Config, Limits, Outside, Stack, Stream};
use holm_ifnet::{Frame, Frames, MacAddress};
use libfuzzer_sys::fuzz_target;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MTU: usize = 1500;
const LIMITS: Limits = Limits {
    connections: 8,
    half_open: 4,
    half_open_for: Duration::from_secs(10),
    left: 3,
    left_for: Duration::from_secs(60),
    keep_alive: Duration::from_secs(60),
    silence: Duration::from_secs(180),
    memory: 4 << 20,
    room_min: 64 << 10,
    room_max: 128 << 10,
    neighbors: 8,
};

/// A link to nowhere, and its clock.
#[derive(Clone)]
struct Link {
    frames: Arc<Mutex<Frames>>,
    alarm: Arc<Mutex<Option<Instant>>>,
    now: Arc<Mutex<Instant>>,
    offloads: Arc<AtomicBool>,
}

impl Outside for Link {
    fn offloads(&self) -> bool {
        self.offloads.load(Ordering::Relaxed)
    }

    fn room(&self) -> usize {
        64_usize.saturating_sub(self.frames.lock().unwrap().len())
    }

    fn transmit(&self, mut frames: Frames) {
        for frame in &frames {
            let ethernet = Ethernet::parse(frame).expect("a frame");
            assert!(ethernet.source.is_station());
            assert!(frame.longest().expect("it can be cut") <= HEADER + MTU);
            let mut pieces = Frames::new();
            assert!(frame.clone().finish(&mut pieces).is_some());
            assert!(pieces.iter().all(|piece| piece.len() <= HEADER + MTU));
        }
        frames.iter_mut().for_each(Frame::gather);
        self.frames.lock().unwrap().append(&mut frames);
    }

    fn wake_at(&self, at: Instant) {
        *self.alarm.lock().unwrap() = Some(at);
    }

    fn go_on(&self) {
        self.wake_at(self.now());
    }

    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }
}

struct Side {
    stack: Arc<Stack>,
    link: Link,
    streams: Arc<Mutex<Vec<Stream>>>,
}

fn mac(n: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, n])
}

fn side(n: u8, now: &Arc<Mutex<Instant>>) -> Side {
    let link = Link {
        frames: Arc::default(),
        alarm: Arc::default(),
        now: now.clone(),
        offloads: Arc::default(),
    };
    let config = Config { mac: mac(n), mtu: MTU, loopback: false, limits: LIMITS };
    let stack = Stack::new(config, link.clone());
    stack.add_address(format!("10.0.0.{n}/24").parse().unwrap()).unwrap();
    stack.add_address(format!("fd00::{n}/64").parse().unwrap()).unwrap();
    Side { stack, link, streams: Arc::default() }
}

fuzz_target!(|data: &[u8]| {
    let now = Arc::new(Mutex::new(Instant::now()));
    let sides = [side(1, &now), side(2, &now)];
    let streams = Arc::downgrade(&sides[0].streams);
    let _listener = sides[0].stack.listen(None, 2049, move |stream| {
        if let Some(streams) = streams.upgrade() {
            streams.lock().unwrap().push(stream);
        }
    });
    let datagrams = sides[0].stack.bind(None, 111).unwrap();
    let mut rest = data;
    while let Some((&[what, a, b], more)) = rest.split_first_chunk() {
        rest = more;
        let near = usize::from(what >> 7);
        let (side, other) = (&sides[near], &sides[1 - near]);
        match what & 0x7f {
            // What is under way arrives, more or less.
            0..32 => {
                let frame = side.link.frames.lock().unwrap().pop_front_or(a);
                if let Some(frame) = frame {
                    if b & 1 == 0 {
                        other.stack.input(&vec![frame.clone()]);
                    }
                    if b & 6 == 6 {
                        side.link.frames.lock().unwrap().push(frame);
                    }
                }
            }
            // All of it does.
            32..48 => {
                let frames = std::mem::take(&mut *side.link.frames.lock().unwrap());
                other.stack.input(&frames);
                side.stack.tick();
            }
            // Some bytes of one are others.
            48..64 => {
                let mut frames = side.link.frames.lock().unwrap();
                if let Some(frame) = frames.first_mut() {
                    let at = usize::from(a) % frame.len();
                    frame[at] = b;
                    mend(frame);
                }
            }
            // Something else comes.
            64..80 => {
                let (bytes, more) = rest.split_at(rest.len().min(usize::from(a)));
                rest = more;
                let kind = [0x0800, 0x86dd, 0x0806, u16::from(b)][usize::from(b % 4)];
                let to = mac(2 - near as u8);
                let mut frame = header(to, mac(1 + near as u8), kind).to_vec();
                frame.extend(bytes);
                mend(&mut frame);
                // Perhaps with something left to be done, of whatever kind.
                let rest = more.first_chunk().copied().and_then(Unfinished::parse);
                let frame = match rest.filter(|_| b >= 128) {
                    Some(rest) => Frame::unfinished(frame, rest),
                    None => frame.into(),
                };
                other.stack.input(&vec![frame]);
            }
            80..96 => {
                *now.lock().unwrap() += Duration::from_millis(u64::from(a) * u64::from(b));
                sides.iter().for_each(|side| side.stack.tick());
            }
            96..100 => {
                let to = if a & 1 == 0 { "10.0.0.1:2049" } else { "[fd00::1]:2049" };
                if let Ok(stream) = sides[1].stack.connect(to.parse().unwrap()) {
                    sides[1].streams.lock().unwrap().push(stream);
                }
            }
            100..104 => {
                let mut space = [0; 2000];
                while let Ok(came) = datagrams.receive(&mut space) {
                    let _ = datagrams.send(came.to, came.from, &space[..came.count]);
                }
            }
            104 => {
                side.link.offloads.store(a & 1 != 0, Ordering::Relaxed);
                side.stack.announce();
            }
            105 => {
                side.stack.remove_address("10.0.0.1".parse().unwrap());
            }
            106 => {
                let _ = side.stack.add_address("10.0.0.1/24".parse().unwrap());
            }
            // The user of a stream does something.
            what => {
                let stream = {
                    let mut streams = side.streams.lock().unwrap();
                    let count = streams.len();
                    if count == 0 {
                        continue;
                    }
                    streams.swap_remove(usize::from(a) % count)
                };
                let mut space = [7; 70_000];
                match what {
                    107..111 => drop(stream.send(&space[..usize::from(b) * 270])),
                    111..114 => {
                        let (kept, _) = stream.keep(space.to_vec(), usize::from(b) * 270);
                        drop(stream.send_kept(&kept, usize::from(a)));
                    }
                    114..121 => drop(stream.receive(&mut space[..usize::from(b) * 270])),
                    121 => stream.end(),
                    122 => stream.abort(),
                    // It is dropped.
                    _ => continue,
                }
                side.streams.lock().unwrap().push(stream);
            }
        }
        for side in &sides {
            let usage = side.stack.usage();
            assert!(usage.connections <= LIMITS.connections);
            assert!(usage.half_open <= LIMITS.half_open);
        }
    }
    sides.iter().for_each(|side| side.stack.close());
    for side in &sides {
        let streams = std::mem::take(&mut *side.streams.lock().unwrap());
        drop(streams);
        assert_eq!(side.stack.usage().connections, 0);
    }
});

trait PopFront {
    fn pop_front_or(&mut self, at: u8) -> Option<Frame>;
}

impl PopFront for Frames {
    /// Mostly the first, sometimes another.
    fn pop_front_or(&mut self, at: u8) -> Option<Frame> {
        let at = if at < 192 { 0 } else { usize::from(at - 192) };
        (at < self.len()).then(|| self.remove(at))
    }
}

/// Has the lengths and checksums of a packet be right, so that it is looked at.
fn mend(frame: &mut [u8]) {
    let Some((header, packet)) = frame.split_first_chunk_mut::<14>() else { return };
    let (at, protocol, pseudo) = match (&header[12..], packet.len()) {
        ([8, 0], 20..) => {
            packet[0] = 0x45;
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[6..8].fill(0);
            packet[10..12].fill(0);
            let checksum = !sum(&packet[..20], 0);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            (20, packet[9], sum(&packet[12..20], 0))
        }
        ([0x86, 0xdd], 40..) => {
            packet[0] = 0x60;
            let length = packet.len() as u16 - 40;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            (40, packet[6], sum(&packet[8..40], 0))
        }
        _ => return,
    };
    let payload = &mut packet[at..];
    let place = match protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    if payload.len() < place + 2 {
        return;
    }
    payload[place..place + 2].fill(0);
    let mut checksum = sum(payload, u32::from(protocol) + payload.len() as u32);
    if protocol != 1 {
        checksum = sum(&checksum.to_be_bytes(), pseudo.into());
    } else {
        checksum = sum(payload, 0);
    }
    payload[place..place + 2].copy_from_slice(&(!checksum).to_be_bytes());
}

/// RFC 1071.
fn sum(bytes: &[u8], first: u32) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum = words.fold(first, |sum, word| sum + word);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
