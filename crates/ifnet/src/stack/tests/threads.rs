//! Stacks that several threads use, in real time.

use super::{NFS, address, config, mac};
use crate::frame::Frames;
use crate::stack::arp;
use crate::stack::{Datagrams, Listener, Network, Outside, Stack, Stream, Wake};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Instant;

/// Leads straight to another stack, and has room for so many frames at a time.
struct Cable {
    other: Mutex<Weak<Stack>>,
    room: usize,
    alarm: Mutex<Alarm>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarm {
    at: Option<Instant>,
    over: bool,
}

struct End(Arc<Cable>);

impl Outside for End {
    fn room(&self) -> usize {
        self.0.room
    }

    fn transmit(&self, frames: Frames) {
        assert!(frames.len() <= self.0.room);
        let other = self.0.other.lock().unwrap().upgrade();
        if let Some(other) = other {
            other.input(&frames);
        }
    }

    fn wake_at(&self, at: Instant) {
        self.0.alarm.lock().unwrap().at = Some(at);
        self.0.changed.notify_all();
    }

    fn go_on(&self) {
        self.wake_at(Instant::now());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.alarm.lock().unwrap().over = true;
        self.0.changed.notify_all();
    }
}

/// Wakes a stack when its time has come, until it is gone.
fn keep_time(cable: &Cable, stack: &Weak<Stack>) {
    let mut alarm = cable.alarm.lock().unwrap();
    while !alarm.over {
        let now = Instant::now();
        match alarm.at {
            None => alarm = cable.changed.wait(alarm).unwrap(),
            Some(at) if at > now => {
                alarm = cable.changed.wait_timeout(alarm, at - now).unwrap().0;
            }
            Some(_) => {
                alarm.at = None;
                drop(alarm);
                if let Some(stack) = stack.upgrade() {
                    stack.tick();
                }
                alarm = cable.alarm.lock().unwrap();
            }
        }
    }
}

/// Two stacks with a cable between them.
pub(super) fn cabled(mtu: usize, room: usize) -> [Arc<Stack>; 2] {
    let cables = [(); 2].map(|()| {
        let (other, alarm) = (Mutex::default(), Mutex::default());
        Arc::new(Cable { other, room, alarm, changed: Condvar::new() })
    });
    let made = |n: usize| Stack::new(config(n as u8 + 1, mtu), End(cables[n].clone()));
    let stacks = [made(0), made(1)];
    for n in 0..2 {
        *cables[n].other.lock().unwrap() = Arc::downgrade(&stacks[1 - n]);
        let (cable, stack) = (cables[n].clone(), Arc::downgrade(&stacks[n]));
        std::thread::spawn(move || keep_time(&cable, &stack));
        for (v6, prefix) in [(false, 24), (true, 64)] {
            stacks[n].add_address(Network::new(address(n, v6), prefix).unwrap()).unwrap();
        }
    }
    stacks
}

/// Somebody who sleeps until he is woken.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn wake(self: &Arc<Self>) -> Wake {
        let bell = self.clone();
        Arc::new(move || {
            *bell.rung.lock().unwrap() = true;
            bell.changed.notify_all();
        })
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A stream whose user waits.
pub(super) struct Waiting {
    stream: Stream,
    bell: Arc<Bell>,
}

impl Waiting {
    pub(super) fn new(stream: Stream) -> Self {
        let bell = Arc::new(Bell::default());
        stream.set_wake(bell.wake());
        Self { stream, bell }
    }

    pub(super) fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.send(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.bell.wait(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// 0 at the end.
    pub(super) fn receive(&self, space: &mut [u8]) -> usize {
        loop {
            match self.stream.receive(space) {
                Ok(count) => return count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.bell.wait(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn receive_all(&self, mut space: &mut [u8]) {
        while !space.is_empty() {
            let count = self.receive(space);
            assert!(count > 0, "it has ended");
            space = &mut space[count..];
        }
    }
}

/// Streams that were taken, as they come.
pub(super) fn accepting(stack: &Arc<Stack>) -> (Listener, impl Fn() -> Stream) {
    let (sender, taken) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let listener = stack.listen(None, NFS, move |stream| {
        sender.lock().unwrap().send(stream).unwrap();
    });
    (listener.unwrap(), move || taken.recv().unwrap())
}

/// Whoever is told may own what he is told of, and it goes with him.
#[test]
fn who_is_told_no_more_may_own_streams_of_the_same_stack() {
    let [server, client] = cabled(1500, 7);
    let peer = SocketAddr::new(address(0, false), NFS);
    let connected = || {
        let (listener, accept) = accepting(&server);
        let ours = Waiting::new(client.connect(peer).unwrap());
        (listener, ours, accept())
    };
    let ends = |ours: Waiting| {
        let mut space = [0; 9];
        loop {
            match ours.stream.receive(&mut space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ours.bell.wait(),
                Ok(0) | Err(_) => break,
                Ok(count) => panic!("{count} bytes came"),
            }
        }
    };

    // One who takes connections and keeps them.
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (keeps, bell) = (taken.clone(), Arc::new(Bell::default()));
    let ring = bell.wake();
    let keep = move |stream| {
        keeps.lock().unwrap().push(stream);
        ring();
    };
    let listener = server.listen(None, NFS, keep).unwrap();
    let ours = Waiting::new(client.connect(peer).unwrap());
    bell.wait();
    drop(taken);
    drop(listener);
    ends(ours);
    // One who is not to take any, as another does.
    let (listener, ours, theirs) = connected();
    let theirs = Mutex::new(theirs);
    let refused = server.listen(None, NFS, move |_| _ = theirs.lock().unwrap().peer());
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
    drop(listener);
    ends(ours);
    // Those who wait: for bytes of another stream, in place of another, and for datagrams.
    let owner = |stream: Stream| -> Wake { Arc::new(move || _ = stream.peer()) };
    let two = || {
        [(); 2].map(|()| {
            let (_listener, ours, theirs) = connected();
            (ours, theirs)
        })
    };
    let [(first, second), (third, fourth)] = two();
    let (listener, ours, waits) = connected();
    waits.set_wake(owner(second));
    waits.set_wake(owner(fourth));
    ends(first);
    drop(waits);
    ends(third);
    ends(ours);
    drop(listener);
    let [(first, second), (third, fourth)] = two();
    let datagrams = server.bind(None, NFS).unwrap();
    datagrams.set_wake(owner(second));
    datagrams.set_wake(owner(fourth));
    ends(first);
    drop(datagrams);
    ends(third);
}

#[test]
fn threads_at_both_ends_exchange_everything_over_a_link_with_little_room() {
    for (mtu, room) in [(1500, 7), (65_521, 1)] {
        let [server, client] = cabled(mtu, room);
        let (_listener, accept) = accepting(&server);
        std::thread::scope(|scope| {
            for n in 0..4_u8 {
                let peer = SocketAddr::new(address(0, n % 2 == 0), NFS);
                let ours = client.connect(peer).unwrap();
                let theirs = accept();
                assert_eq!((ours.peer(), ours.local()), (theirs.local(), theirs.peer()));
                scope.spawn(move || {
                    let theirs = Waiting::new(theirs);
                    let mut space = vec![0; 100_000];
                    loop {
                        let count = theirs.receive(&mut space);
                        if count == 0 {
                            break;
                        }
                        theirs.send(&space[..count]);
                    }
                });
                scope.spawn(move || {
                    let ours = Arc::new(Waiting::new(ours));
                    let all: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8 ^ n).collect();
                    // The bell is for one, so one thread does both.
                    let (mut sent, mut came) = (0, Vec::<u8>::new());
                    let mut space = vec![0; 70_000];
                    while came.len() < all.len() {
                        let mut moved = false;
                        if let Ok(count) = ours.stream.send(&all[sent..]) {
                            sent += count;
                            moved = count > 0;
                        }
                        if let Ok(count) = ours.stream.receive(&mut space) {
                            came.extend(&space[..count]);
                            moved = true;
                        }
                        if !moved {
                            ours.bell.wait();
                        }
                    }
                    assert!(came == all);
                    ours.stream.end();
                });
            }
        });
    }
}

#[test]
fn what_was_received_before_anybody_listened_for_it_is_told() {
    let [server, client] = cabled(1500, 100);
    let (_listener, accept) = accepting(&server);
    let ours = Waiting::new(client.connect(SocketAddr::new(address(0, false), NFS)).unwrap());
    ours.send(b"early");
    let theirs = Waiting::new(accept());
    let mut space = [0; 5];
    theirs.receive_all(&mut space);
    assert_eq!(&space, b"early");
    server.close();
    let bell = &ours.bell;
    loop {
        match ours.stream.receive(&mut space) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => bell.wait(),
            outcome => {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
}

/// Leads to another stack, and can be stopped in the middle of sending.
struct Gate {
    other: Mutex<Weak<Stack>>,
    /// From now on who sends stops here, as one does who has lost his CPU; the first says that he has come.
    stops: Mutex<Option<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>>,
}

impl Outside for Arc<Gate> {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn transmit(&self, frames: Frames) {
        let stop = self.stops.lock().unwrap().take();
        if let Some((stopped, go_on)) = stop {
            stopped.send(()).unwrap();
            // What he has is lost: meanwhile the link goes.
            return go_on.recv().unwrap();
        }
        let other = self.other.lock().unwrap().upgrade();
        if let Some(other) = other {
            other.input(&frames);
        }
    }

    fn wake_at(&self, _: Instant) {}

    fn go_on(&self) {}
}

/// Two stacks that are connected through gates.
struct Gated {
    /// That of the server.
    gate: Arc<Gate>,
    server: Arc<Stack>,
    /// The ends of a connection.
    theirs: Stream,
    ours: Stream,
    _kept: (Arc<Stack>, Listener),
}

fn gated() -> Gated {
    let gates =
        [(); 2].map(|()| Arc::new(Gate { other: Mutex::default(), stops: Mutex::default() }));
    let [server, client] = [0, 1].map(|n| Stack::new(config(n as u8 + 1, 1500), gates[n].clone()));
    for (gate, other) in gates.iter().zip([&client, &server]) {
        *gate.other.lock().unwrap() = Arc::downgrade(other);
    }
    for (n, stack) in [&server, &client].into_iter().enumerate() {
        stack.add_address(Network::new(address(n, false), 24).unwrap()).unwrap();
    }
    let (listener, ours, theirs) = {
        let (listener, accept) = accepting(&server);
        let ours = client.connect(SocketAddr::new(address(0, false), NFS)).unwrap();
        (listener, ours, accept())
    };
    let [gate, _] = gates;
    Gated { gate, server, theirs, ours, _kept: (client, listener) }
}

#[test]
fn who_sends_for_long_has_told_before_what_there_is_to_receive() {
    let Gated { gate, theirs, ours, .. } = &gated();
    let bell = Arc::new(Bell::default());
    theirs.set_wake(bell.wake());
    let mut space = [0; 4096];
    assert_eq!(theirs.receive(&mut space).unwrap_err().kind(), ErrorKind::WouldBlock);
    *bell.rung.lock().unwrap() = false;
    let (stopped, has_stopped) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    *gate.stops.lock().unwrap() = Some((stopped, goes_on));
    let told = std::thread::scope(|scope| {
        // More than one segment: it is acknowledged at once, and there it stops.
        scope.spawn(|| ours.send(&[7; 4096]));
        has_stopped.recv().unwrap();
        let told = *bell.rung.lock().unwrap();
        go_on.send(()).unwrap();
        told
    });
    assert!(told && theirs.receive(&mut space).unwrap() > 0);
}

/// Somebody who has more to send whenever something was sent, so and so often.
#[derive(Default)]
struct Insatiable {
    socket: Mutex<Option<Arc<Datagrams>>>,
    sent: AtomicUsize,
    left: AtomicUsize,
}

impl Insatiable {
    fn send(&self) {
        let (from, to) = (address(0, false), address(1, false));
        let ends = [from, to].map(|address| SocketAddr::new(address, NFS));
        let socket = self.socket.lock().unwrap().clone();
        socket.unwrap().send(ends[0], ends[1], b"more").unwrap();
    }
}

impl Outside for Arc<Insatiable> {
    fn room(&self) -> usize {
        1
    }

    fn transmit(&self, frames: Frames) {
        // On a slow machine the peer is asked in between whether it still is there.
        let datagrams = frames.iter().filter(|frame| frame[12..14] == [8, 0]).count();
        if datagrams > 0 && self.sent.fetch_add(datagrams, Ordering::Relaxed) + datagrams < MUCH {
            self.send();
        }
    }

    fn wake_at(&self, _: Instant) {}

    fn go_on(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

const MUCH: usize = 20_000;

#[test]
fn who_sends_leaves_to_others_what_comes_without_end() {
    let outside = Arc::new(Insatiable::default());
    let stack = Stack::new(config(1, 1500), outside.clone());
    stack.add_address(Network::new(address(0, false), 24).unwrap()).unwrap();
    // Whoever answers for the peer: where it is has to be known.
    let IpAddr::V4(peer) = address(1, false) else { unreachable!("it is asked for") };
    let IpAddr::V4(us) = address(0, false) else { unreachable!("it is asked for") };
    stack.input(&vec![arp::request((mac(2), peer), us)]);
    *outside.socket.lock().unwrap() = Some(Arc::new(stack.bind(None, NFS).unwrap()));
    outside.send();
    let at_once = outside.sent.load(Ordering::Relaxed);
    assert!(at_once < MUCH / 10, "{at_once}");
    while outside.left.swap(0, Ordering::Relaxed) > 0 {
        stack.tick();
    }
    assert_eq!(outside.sent.load(Ordering::Relaxed), MUCH);
    // The stack has a socket that has the stack.
    outside.socket.lock().unwrap().take();
}

#[test]
fn who_closes_leaves_the_resets_to_nobody_who_is_sending() {
    let Gated { gate, server, theirs, ours, .. } = &gated();
    let (stopped, has_stopped) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    *gate.stops.lock().unwrap() = Some((stopped, goes_on));
    std::thread::scope(|scope| {
        scope.spawn(|| theirs.send(b"answer"));
        has_stopped.recv().unwrap();
        server.close();
        // The peer has been told, whatever becomes of him.
        let told = ours.receive(&mut [0; 8]).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::ConnectionReset);
        go_on.send(()).unwrap();
    });
}

/// How fast it is, in a release build: `cargo test --release -p holm-ifnet --lib -- --ignored fast
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_fast_it_is() {
    for mtu in [1500, 9000, 65_521] {
        let [server, client] = cabled(mtu, 256);
        let (_listener, accept) = accepting(&server);
        let ours = Waiting::new(client.connect(SocketAddr::new(address(0, false), NFS)).unwrap());
        let theirs = Waiting::new(accept());
        let total = 2_usize << 30;
        let chunk = vec![7; 1 << 20];
        let began = Instant::now();
        let (mut sent, mut came) = (0, 0);
        let mut space = vec![0; 1 << 20];
        // One thread at both ends: what is measured is the work and no waiting.
        while came < total {
            if sent < total
                && let Ok(count) = ours.stream.send(&chunk)
            {
                sent += count;
            }
            while let Ok(count) = theirs.stream.receive(&mut space) {
                came += count;
            }
        }
        let rate = came as f64 / began.elapsed().as_secs_f64() / 1e9;
        let calls = 300_000;
        let began = Instant::now();
        let mut space = [0; 128];
        for _ in 0..calls {
            ours.send(&[1; 128]);
            theirs.receive_all(&mut space);
            theirs.send(&[2; 128]);
            ours.receive_all(&mut space);
        }
        let call = began.elapsed().as_secs_f64() / f64::from(calls) * 1e6;
        println!("MTU {mtu}: {rate:.2} GB/s, {call:.2} us a call of 128 bytes and its answer");
    }
}
