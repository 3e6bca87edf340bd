//! Frames that are sent unfinished: who takes them as they are, and what reaches who does not.

use crate::lagg::{join, lagg, leave};
use crate::world::{Keeps, Ns, World, frame, named, new};
use bytes::Bytes;
use holm_ifnet::aggregation::Protocol;
use holm_ifnet::ether::HEADER;
use holm_ifnet::offload::Unfinished;
use holm_ifnet::{
    Cloner, Driver, DriverError, DropReason, Frame, Frames, Interface, LinkState, Request, Tap, Way,
};
use std::sync::{Arc, Mutex};

/// A driver that keeps what is sent.
#[derive(Default)]
struct Takes {
    offloads: bool,
    gathers: bool,
    frames: Arc<Mutex<Frames>>,
}

impl Cloner for Takes {
    const KIND: &'static str = "takes";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(self))
    }
}

impl Driver for Takes {
    fn link(&self) -> LinkState {
        LinkState::Up
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.frames.lock().unwrap().append(frames);
        Ok(())
    }

    fn offloads(&self, _: &Interface) -> bool {
        self.offloads
    }

    fn gathers(&self) -> bool {
        self.gathers
    }

    fn destroy(self: Box<Self>) {}
}

/// An interface that is up, and what is sent by it.
fn takes(ns: &Ns, name: &str, offloads: bool) -> Arc<Mutex<Frames>> {
    create(ns, name, Takes { offloads, ..Takes::default() })
}

fn create(ns: &Ns, name: &str, driver: Takes) -> Arc<Mutex<Frames>> {
    let frames = driver.frames.clone();
    drop(ns.create(new(name), driver).unwrap());
    ns.tell(name, Request::SetUp(true));
    frames
}

/// A segment of TCP over IPv4 with so many bytes of data, to be cut into segments of `size`.
fn long(data: usize, size: u16) -> Frame {
    let mut frame = vec![2, 9, 9, 9, 9, 9, 2, 8, 0, 0, 0, 7, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((40 + data as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
    frame.resize(frame.len() + data, 5);
    Frame::unfinished(frame, Unfinished::segment(34, true, Some(size)))
}

/// The sum over a segment and its pseudo-header: all ones if the checksum is right.
fn sum(frame: &[u8]) -> u16 {
    let segment = &frame[34..];
    let covered =
        [&frame[26..34], &[0, 6], &(segment.len() as u16).to_be_bytes(), segment].concat();
    let sum = covered.chunks(2).fold(0_u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    });
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// Takes what was sent, and sees that it is that segment of 10,000 bytes, cut and with right checksums.
fn assert_finished(frames: &Mutex<Frames>) {
    let frames = std::mem::take(&mut *frames.lock().unwrap());
    let sizes: Vec<_> = frames.iter().map(|frame| frame.len() - 54).collect();
    assert_eq!(sizes, [1460, 1460, 1460, 1460, 1460, 1460, 1240]);
    assert!(frames.iter().all(|frame| frame.rest().is_none() && sum(frame) == 0xffff));
}

fn interface(ns: &Ns, name: &str) -> holm_lifetime::Ref<Interface> {
    ns.find(named(name)).unwrap()
}

#[test]
fn who_does_not_take_them_unfinished_gets_them_finished() {
    let world = World::new();
    let ns = world.create("blue");
    let (whole, cut) = (takes(&ns, "whole", true), takes(&ns, "cut", false));
    for name in ["whole", "cut"] {
        assert_eq!(interface(&ns, name).offloads(), name == "whole");
        interface(&ns, name).transmit(&mut vec![long(10_000, 1460), frame(1, 60)]);
    }
    assert_eq!(*whole.lock().unwrap(), [long(10_000, 1460), frame(1, 60)]);
    assert_eq!(cut.lock().unwrap().pop(), Some(frame(1, 60)));
    assert_finished(&cut);
}

#[test]
fn other_end_of_a_pair_gets_them_finished() {
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    drop(blue.create_pair(new("a"), &green, new("b")).unwrap());
    blue.tell("a", Request::SetUp(true));
    green.tell("b", Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    green.receive("b", Some(keeps.clone()));
    interface(&blue, "a").transmit(&mut vec![long(10_000, 1460)]);
    assert_finished(&Mutex::new(keeps.wait_for(7).clone()));
}

/// The same as [`long`], in several parts.
fn scattered(data: usize, size: u16) -> Frame {
    let whole = long(data, size);
    let (first, rest) = whole.split_at(60);
    let parts = rest.chunks(data / 2 + 1).map(Bytes::copy_from_slice).collect();
    Frame::of_parts(first.to_vec(), parts, whole.rest().copied())
}

fn parts(frames: &Mutex<Frames>) -> Vec<usize> {
    let frames = std::mem::take(&mut *frames.lock().unwrap());
    assert!(frames.iter().all(|frame| *frame == long(10_000, 1460)));
    frames.iter().map(|frame| frame.parts().count()).collect()
}

#[test]
fn only_who_says_so_gets_frames_in_several_parts() {
    let world = World::new();
    let (ns, other) = (world.create("blue"), world.create("green"));
    let (one, cut) = (takes(&ns, "one", true), takes(&ns, "cut", false));
    let several = Takes { offloads: true, gathers: true, ..Takes::default() };
    let several = create(&ns, "several", several);
    drop(ns.create_pair(new("a"), &other, new("b")).unwrap());
    ns.tell("a", Request::SetUp(true));
    other.tell("b", Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    other.receive("b", Some(keeps.clone()));
    for name in ["one", "cut", "several", "a"] {
        interface(&ns, name).transmit(&mut vec![scattered(10_000, 1460)]);
    }
    assert_eq!((parts(&one), parts(&several)), (vec![1], vec![3]));
    assert_finished(&cut);
    assert_finished(&Mutex::new(keeps.wait_for(7).clone()));
    lagg(&ns, "lagg0", Protocol::RoundRobin, &["one", "several"]);
    let two = || scattered(10_000, 1460);
    interface(&ns, "lagg0").transmit(&mut vec![two(), two(), two(), two()]);
    assert_eq!((parts(&one), parts(&several)), (vec![1, 1], vec![3, 3]));
}

/// And so the stack makes no more of them, since there is only room for so many frames.
#[test]
fn who_looks_sees_them_as_they_are_on_a_wire() {
    struct Sees(Mutex<Frames>);
    impl Tap for Sees {
        fn saw(&self, _: &Interface, _: Way, frames: &[Frame]) {
            self.0.lock().unwrap().extend_from_slice(frames);
        }
    }
    let world = World::new();
    let ns = world.create("blue");
    let sent = takes(&ns, "whole", true);
    let interface = interface(&ns, "whole");
    let sees = Arc::new(Sees(Mutex::default()));
    let tap: Arc<dyn Tap> = sees.clone();
    interface.add_tap(tap.clone());
    assert!(!interface.offloads());
    for frame in [long(10_000, 1460), scattered(10_000, 1460)] {
        interface.transmit(&mut vec![frame]);
        assert_finished(&sees.0);
        assert_finished(&sent);
    }
    interface.remove_tap(&tap);
    assert!(interface.offloads());
    interface.transmit(&mut vec![long(10_000, 1460)]);
    assert_eq!(*sent.lock().unwrap(), [long(10_000, 1460)]);
}

#[test]
fn what_cannot_be_cut_or_is_too_long_in_pieces_is_dropped_and_counted() {
    let world = World::new();
    let ns = world.create("blue");
    for (name, offloads) in [("whole", true), ("cut", false)] {
        let sent = takes(&ns, name, offloads);
        let interface = interface(&ns, name);
        let no_headers = Frame::unfinished(vec![0; 60], Unfinished::segment(50, true, Some(9)));
        interface.transmit(&mut vec![long(10_000, 0), no_headers, long(10_000, 1461)]);
        let counted = interface.counters().values().sent;
        assert_eq!(counted.dropped(DropReason::Malformed), 2);
        let too_long = if offloads { 1 } else { 6 };
        assert_eq!(counted.dropped(DropReason::TooLong), too_long);
        let sent = sent.lock().unwrap();
        assert!(sent.iter().all(|frame| frame.len() <= HEADER + 1500));
    }
}

/// They may go by any of its ports.
#[test]
fn lagg_takes_them_if_all_its_ports_do() {
    let world = World::new();
    let ns = world.create("blue");
    let ports = [takes(&ns, "p0", true), takes(&ns, "p1", true), takes(&ns, "p2", false)];
    lagg(&ns, "lagg0", Protocol::RoundRobin, &["p0", "p1"]);
    let lagg0 = interface(&ns, "lagg0");
    assert!(lagg0.offloads());
    lagg0.transmit(&mut vec![long(10_000, 1460), long(10_000, 1460)]);
    for port in &ports[..2] {
        assert_eq!(std::mem::take(&mut *port.lock().unwrap()), [long(10_000, 1460)]);
    }
    join(&ns, "lagg0", "p2");
    assert!(!lagg0.offloads());
    // Who had not heard of it.
    lagg0.transmit(&mut vec![long(10_000, 1460)]);
    let pieces: Vec<_> =
        ports.iter().map(|port| std::mem::take(&mut *port.lock().unwrap())).collect();
    assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 7);
    assert!(pieces.iter().all(|pieces| (2..=3).contains(&pieces.len())));
    assert!(pieces.iter().flatten().all(|piece| piece.rest().is_none() && sum(piece) == 0xffff));
    leave(&ns, "lagg0", "p2");
    assert!(lagg0.offloads());
    ns.tell("p1", Request::SetUp(false));
    drop(takes(&ns, "p3", false));
    assert!(lagg0.offloads());
}
