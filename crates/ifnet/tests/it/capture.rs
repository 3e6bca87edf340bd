//! Captures, read back by the published format.

use crate::world::{Keeps, World, frame, named, new};
use holm_ifnet::{Capture, Flags, NewInterface, Request, Way};
use holm_lifetime::Deadline;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// All that one can wish to keep of a frame.
const ALL: u32 = 65_535;

#[test]
fn frames_of_both_ways_are_in_the_file() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    drop(blue.create_pair(new("a"), &green, new("b")).unwrap());
    blue.tell("a", Request::SetUp(true));
    green.tell("b", Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    blue.receive("a", Some(keeps.clone()));
    let (a, b) = (blue.find(named("a")).unwrap(), green.find(named("b")).unwrap());
    let begin = now();
    let mut whole = a.capture(ALL);
    let mut short = a.capture(100);
    assert!(a.flags().has(Flags::TAPPED) && !b.flags().has(Flags::TAPPED));

    let frames = [(1, 60), (2, 61), (3, 62), (4, 1514)].map(|(n, len)| frame(n, len));
    a.transmit(&mut vec![frames[0].clone(), frames[1].clone()]);
    b.transmit(&mut vec![frames[2].clone()]);
    drop(keeps.wait_for(1));
    a.transmit(&mut vec![frames[3].clone()]);
    drop((a, b));
    blue.destroy(named("a"), Deadline::Never).unwrap();

    let ways = [Way::Out, Way::Out, Way::In, Way::Out];
    for (capture, snap) in [(&mut whole, ALL), (&mut short, 100)] {
        let file = File::parse(&read(capture));
        assert_eq!((file.name.as_str(), file.snap), ("a", snap));
        assert!(file.packets.iter().map(|packet| packet.way).eq(ways));
        for (packet, frame) in file.packets.iter().zip(&frames) {
            assert_eq!(packet.len, frame.len());
            assert_eq!(*packet.data, frame[..frame.len().min(snap as usize)]);
        }
        let hour = 3_600_000_000_000;
        assert!(file.packets.iter().all(|packet| packet.time.abs_diff(begin) < hour));
        assert_eq!(file.statistics, [Statistics { seen: 4, dropped: 0 }]);
    }
}

#[test]
fn reader_that_stalls_loses_frames_and_holds_up_nobody() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    drop(blue.create_pair(new("a"), &green, new("b")).unwrap());
    blue.tell("a", Request::SetUp(true));
    let a = blue.find(named("a")).unwrap();
    let mut capture = a.capture(ALL);
    for n in 0..10_000 {
        a.transmit(&mut vec![frame(n, 1000)]);
    }
    let mut bytes = ready(&mut capture);
    assert!(bytes.len() <= (1 << 20) + 100, "{} bytes were kept", bytes.len());
    let file = File::parse(&bytes);
    let kept = file.packets.len();
    assert!((900..1100).contains(&kept), "{kept} frames were kept");
    assert_eq!(file.statistics, [Statistics { seen: 10_000, dropped: 10_000 - kept as u64 }]);
    let numbers = file.packets.iter().map(|packet| packet.data[14..18].try_into().unwrap());
    assert!(numbers.map(u32::from_be_bytes).eq(0..kept as u32), "the first are kept");
    // It goes on once there is room, and the file can be read with the gap in it.
    a.transmit(&mut vec![frame(77, 60)]);
    drop(a);
    blue.destroy(named("a"), Deadline::Never).unwrap();
    bytes.extend(read(&mut capture));
    let file = File::parse(&bytes);
    assert_eq!(file.packets.len(), kept + 1);
    assert_eq!(file.packets[kept].data[14..18], 77_u32.to_be_bytes());
    let last = Statistics { seen: 10_001, dropped: 10_000 - kept as u64 };
    assert_eq!(file.statistics.last(), Some(&last));
}

#[test]
fn capture_ends_when_the_interface_goes_or_moves() {
    let world = World::new();
    let [blue, green, red] = ["blue", "green", "red"].map(|name| world.create(name));
    let read_whole = |wait_first: bool, end: &dyn Fn()| {
        drop(blue.create_pair(new("a"), &green, new("b")).unwrap());
        let mut capture = green.find(named("b")).unwrap().capture(ALL);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                assert!(!wait_first || next(&mut capture).is_some());
                read(&mut capture)
            });
            end();
            reader.join().unwrap()
        })
    };
    // It may be read for the first time before or after.
    for wait_first in [false, true] {
        read_whole(wait_first, &|| green.destroy(named("b"), Deadline::Never).unwrap());
        read_whole(wait_first, &|| blue.destroy(named("a"), Deadline::Never).unwrap());
        read_whole(wait_first, &|| green.move_to(named("b"), &red, None).unwrap());
        assert!(!red.find(named("b")).unwrap().flags().has(Flags::TAPPED));
        blue.destroy(named("a"), Deadline::Never).unwrap();
    }
    let mut capture = red.find(named("lo")).unwrap().capture(ALL);
    world.remove(red);
    assert_eq!(File::parse(&read(&mut capture)).name, "lo");
}

#[test]
fn nothing_is_left_of_captures_that_are_dropped() {
    let world = World::new();
    let blue = world.create("blue");
    drop(blue.create_pair(NewInterface::default(), &blue, NewInterface::default()).unwrap());
    let interface = blue.find(named("pair0")).unwrap();
    let (first, second) = (interface.capture(ALL), interface.capture(ALL));
    drop(first);
    assert!(interface.flags().has(Flags::TAPPED), "the second goes on");
    drop(second);
    assert!(!interface.flags().has(Flags::TAPPED));
    // Nor is it kept by one whose interface has gone.
    let capture = interface.capture(ALL);
    drop(interface);
    blue.destroy(named("pair0"), Deadline::Never).unwrap();
    drop(capture);
}

/// The rest of a file.
fn read(capture: &mut Capture) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(more) = next(capture) {
        bytes.extend(more);
    }
    bytes
}

/// The next part of it, waited for by this thread.
fn next(capture: &mut Capture) -> Option<Vec<u8>> {
    struct Unparks(Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
    loop {
        match capture.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(next) => return next,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The part that there is.
fn ready(capture: &mut Capture) -> Vec<u8> {
    match capture.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A file, as draft-ietf-opsawg-pcapng says it is to be read, of one section and one interface.
struct File {
    name: String,
    snap: u32,
    packets: Vec<Packet>,
    statistics: Vec<Statistics>,
}

struct Packet {
    time: u64,
    way: Way,
    len: usize,
    data: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Statistics {
    seen: u64,
    dropped: u64,
}

impl File {
    fn parse(mut rest: &[u8]) -> Self {
        let section = block(&mut rest, 0x0a0d_0d0a);
        // Order of bytes, version, unknown length.
        assert_eq!(section[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        assert_eq!((&section[8..16], section.len()), (&[0xff; 8][..], 16));
        let interface = block(&mut rest, 1);
        assert_eq!(interface[..4], [1, 0, 0, 0], "Ethernet");
        let found = options(&interface[8..]);
        let [(2, name), (9, [9])] = found[..] else { panic!("{found:?}") };
        let name = std::str::from_utf8(name).unwrap().to_owned();
        let snap = u32_at(interface, 4);
        let mut file = Self { name, snap, packets: Vec::new(), statistics: Vec::new() };
        while !rest.is_empty() {
            let kind = u32_at(rest, 0);
            let body = block(&mut rest, kind);
            assert_eq!(u32_at(body, 0), 0, "there is one interface");
            let time = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
            match kind {
                6 => {
                    let kept = u32_at(body, 12) as usize;
                    let end = 20 + kept;
                    let padding = &body[end..end.next_multiple_of(4)];
                    assert!(padding.iter().all(|byte| *byte == 0));
                    let found = options(&body[end.next_multiple_of(4)..]);
                    let [(2, flags)] = found[..] else { panic!("{found:?}") };
                    let way = match flags {
                        [1, 0, 0, 0] => Way::In,
                        [2, 0, 0, 0] => Way::Out,
                        other => panic!("{other:?}"),
                    };
                    let len = u32_at(body, 16) as usize;
                    file.packets.push(Packet { time, way, len, data: body[20..end].to_vec() });
                }
                5 => {
                    let found = options(&body[12..]);
                    let [(4, seen), (5, dropped)] = found[..] else { panic!("{found:?}") };
                    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
                    file.statistics
                        .push(Statistics { seen: number(seen), dropped: number(dropped) });
                }
                other => panic!("a block of type {other}"),
            }
        }
        file
    }
}

/// The body of the next block, which is of this type.
fn block<'a>(rest: &mut &'a [u8], kind: u32) -> &'a [u8] {
    assert_eq!(u32_at(rest, 0), kind);
    let len = u32_at(rest, 4) as usize;
    assert_eq!(len % 4, 0);
    let (block, after) = rest.split_at(len);
    assert_eq!(u32_at(block, len - 4) as usize, len);
    *rest = after;
    &block[8..len - 4]
}

/// The options, without the last, after which nothing may be.
fn options(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    loop {
        let code = u16::from_le_bytes(rest[..2].try_into().unwrap());
        let len = u16::from_le_bytes(rest[2..4].try_into().unwrap()) as usize;
        let value = &rest[4..4 + len];
        rest = &rest[4 + len.next_multiple_of(4)..];
        if code == 0 {
            assert!(len == 0 && rest.is_empty());
            return all;
        }
        all.push((code, value));
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
