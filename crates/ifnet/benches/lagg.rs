//! What it costs to choose a port for a frame: `cargo bench -p holm-ifnet --bench lagg`.

use holm_ifnet::aggregation::{HashLayers, Protocol};
use holm_ifnet::lagg::{Distribution, FlowHash, Member};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let members = [1, 2].map(|number| Member { number, collecting: true, distributing: true });
    println!("choosing one of two ports for frames of 1500 bytes of 1000 flows");
    for layers in ["l2", "l2,l3", "l3,l4", "l2,l3,l4"] {
        let Ok(layers) = layers.parse::<HashLayers>() else { continue };
        for (name, frames) in [("IPv4", frames(ipv4)), ("IPv6", frames(ipv6))] {
            let hash = FlowHash::new(layers, 0x0123_4567_89ab_cdef);
            let choice = Distribution::new(Protocol::Lacp, hash, false, &members);
            let cost = measure(&frames, |frame| {
                black_box(choice.choose(black_box(frame), || 0));
            });
            println!("  {:10} {name}  {cost:6.2} ns a frame", layers.to_string());
        }
    }
    let hash = FlowHash::new(HashLayers::default(), 1);
    let start = Instant::now();
    for _ in 0..TIMES {
        black_box(Distribution::new(Protocol::Lacp, hash, false, black_box(&members)));
    }
    println!("making the choice: {:.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES));
}

/// The best of some runs, in nanoseconds.
fn measure(frames: &[Vec<u8>], mut choose: impl FnMut(&[u8])) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            frames.iter().for_each(|frame| choose(frame));
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / (ROUNDS * frames.len()) as f64
}

fn frames(header: fn(u16) -> Vec<u8>) -> Vec<Vec<u8>> {
    let frame = |flow| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(header(flow));
        frame.resize(1514, 0);
        frame
    };
    (0..1000).map(frame).collect()
}

fn ipv4(flow: u16) -> Vec<u8> {
    let mut header = vec![8, 0, 0x45, 0, 5, 220, 7, 7, 0x40, 0, 64, 6, 9, 9];
    header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    header.extend(flow.to_be_bytes());
    header.extend([8, 1]);
    header
}

fn ipv6(flow: u16) -> Vec<u8> {
    let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0, 5, 180, 6, 64];
    header.extend([0xfe; 32]);
    header.extend(flow.to_be_bytes());
    header.extend([8, 1]);
    header
}

const TIMES: u32 = 10_000;
const RUNS: usize = 20;
const ROUNDS: usize = 200;
