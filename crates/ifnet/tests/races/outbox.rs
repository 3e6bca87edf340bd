//! What several threads have a stack send, while its link has room now and then.

use crate::harness::{fails, passes};
use holm_ifnet::ether::{Ethernet, header};
use holm_ifnet::stack::{Config, Limits, Outside, Stack};
use holm_ifnet::{Frames, MacAddress};
use holm_lifetime::sync::Mutex;
use shuttle::sync::Arc;
use shuttle::thread;
use std::collections::VecDeque;
use std::time::Instant;

/// Somebody who sends what several threads give him, each a number.
pub trait Sends: Send + Sync + 'static {
    fn new(link: Arc<Link>) -> Self;
    fn send(&self, number: u8);
    /// There is room again, or somebody is to go on.
    fn tick(&self);
}

/// A link with room for one.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<u8>,
    /// Whoever sends was told that there is no room.
    is_waited_for: bool,
    /// Whoever sent has left something.
    is_left: bool,
    sending: bool,
    gone: Vec<u8>,
}

impl Link {
    fn room(&self) -> usize {
        let mut state = self.state.lock();
        let room = ROOM.saturating_sub(state.waiting.len());
        state.is_waited_for |= room == 0;
        room
    }

    fn transmit(&self, numbers: impl Iterator<Item = u8>) {
        for number in numbers {
            let mut state = self.state.lock();
            assert!(!state.sending, "{TOGETHER}");
            state.sending = true;
            drop(state);
            thread::yield_now();
            let mut state = self.state.lock();
            state.sending = false;
            state.waiting.push_back(number);
        }
    }

    fn go_on(&self) {
        self.state.lock().is_left = true;
    }

    /// Takes one off. Whether somebody is to be told that there is room, or has to go on.
    fn take(&self) -> bool {
        let mut state = self.state.lock();
        let taken = state.waiting.pop_front();
        state.gone.extend(taken);
        let has_room = taken.is_some() && std::mem::take(&mut state.is_waited_for);
        std::mem::take(&mut state.is_left) || has_room
    }
}

const ROOM: usize = 1;
const EACH: u8 = 3;

fn two_send<S: Sends>() {
    let link = Arc::new(Link::default());
    let sends = Arc::new(S::new(link.clone()));
    let other = thread::spawn({
        let sends = sends.clone();
        move || (0..EACH).for_each(|number| sends.send(100 + number))
    });
    let takes = thread::spawn({
        let (link, sends) = (link.clone(), sends.clone());
        move || {
            // As long as there is something to take, or somebody may still send something.
            let mut idle = 0;
            while link.state.lock().gone.len() < usize::from(2 * EACH) {
                if link.take() {
                    sends.tick();
                    idle = 0;
                }
                idle += 1;
                assert!(idle < 10_000, "{LEFT}");
                thread::yield_now();
            }
        }
    });
    (0..EACH).for_each(|number| sends.send(number));
    other.join().unwrap();
    takes.join().unwrap();
    let gone = std::mem::take(&mut link.state.lock().gone);
    for first in [0, 100] {
        let of_one: Vec<u8> = gone.iter().copied().filter(|n| n / 100 == first / 100).collect();
        assert_eq!(of_one, (first..first + EACH).collect::<Vec<_>>(), "{ORDER}");
    }
}

const TOGETHER: &str = "two send at the same time";
const LEFT: &str = "something is never sent";
const ORDER: &str = "the order is another";

#[test]
fn outbox_of_a_stack() {
    passes("threads that send by one stack", two_send::<Real>);
    let what = "each sends what it has itself";
    fails(what, &[TOGETHER, ORDER], two_send::<Sketch<SENDS_ITSELF>>);
    let what = "who finds no room does not look whether somebody came meanwhile";
    fails(what, &[LEFT], two_send::<Sketch<DOES_NOT_LOOK>>);
    let what = "who leaves something for others says so before he has left";
    fails(what, &[LEFT], two_send::<Sketch<SAYS_SO_EARLY>>);
}

struct Real(std::sync::Arc<Stack>);

/// Where the stack ends: only datagrams count.
struct End(Arc<Link>);

impl Outside for End {
    fn room(&self) -> usize {
        self.0.room()
    }

    fn transmit(&self, frames: Frames) {
        let is_datagram = |frame: &&holm_ifnet::Frame| frame[12..14] == [8, 0] && frame[23] == 17;
        self.0.transmit(frames.iter().filter(is_datagram).map(|frame| frame[42]));
    }

    fn wake_at(&self, _: Instant) {}

    fn go_on(&self) {
        self.0.go_on();
    }
}

impl Sends for Real {
    fn new(link: Arc<Link>) -> Self {
        let mac = |n| MacAddress([2, 0, 0, 0, 0, n]);
        let config = Config { mac: mac(1), mtu: 1500, loopback: false, limits: Limits::default() };
        let stack = Stack::new(config, End(link));
        stack.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        // The neighbour says where it is, so that nothing waits for that.
        let mut frame = header(mac(1), mac(2), 0x0806).to_vec();
        frame.extend([0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
        frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        assert!(Ethernet::parse(&frame).is_some());
        stack.input(&vec![frame.into()]);
        Self(stack)
    }

    fn send(&self, number: u8) {
        let socket = self.0.bind(None, 700 + u16::from(number)).unwrap();
        let (from, to) = ("10.0.0.1:700".parse().unwrap(), "10.0.0.2:111".parse().unwrap());
        socket.send(from, to, &[number]).unwrap();
    }

    fn tick(&self) {
        self.0.tick();
    }
}

/// An outbox with one mistake.
struct Sketch<const MISTAKE: u8> {
    link: Arc<Link>,
    state: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    numbers: VecDeque<u8>,
    sending: bool,
}

const SENDS_ITSELF: u8 = 0;
const DOES_NOT_LOOK: u8 = 1;
const SAYS_SO_EARLY: u8 = 2;

impl<const MISTAKE: u8> Sends for Sketch<MISTAKE> {
    fn new(link: Arc<Link>) -> Self {
        Self { link, state: Mutex::default() }
    }

    fn send(&self, number: u8) {
        if MISTAKE == SENDS_ITSELF {
            return self.link.transmit([number].into_iter());
        }
        self.state.lock().numbers.push_back(number);
        self.tick();
    }

    fn tick(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.sending, true) {
            return;
        }
        drop(state);
        loop {
            let room = self.link.room();
            let mut state = self.state.lock();
            if room == 0 || state.numbers.is_empty() {
                state.sending = false;
                return;
            }
            let number = state.numbers.pop_front();
            drop(state);
            self.link.transmit(number.into_iter());
            if MISTAKE == SAYS_SO_EARLY {
                self.link.go_on();
                thread::yield_now();
                self.state.lock().sending = false;
                return;
            }
        }
    }
}
