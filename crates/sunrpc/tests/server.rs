//! Programs on real sockets, run by the pool.

use bytes::Bytes;
use holm_lifetime::Deadline;
use holm_netns::{Held, InitError, Namespace, Registry, Subsystem, View};
use holm_pool::{Bracket, Config, NsPool, Pool, PoolSubsystem, Turn};
use holm_sunrpc::server::{
    Counted, Counters, ListenerHandle, Peer, ServerLimits, Service, Transport, Wake, listen,
    listen_datagrams, receive_arrivals,
};
use holm_sunrpc::{Answer, Call, Limits, Program, Programs, Refusal};
use holm_xdr::Encoder;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

const PROGRAM: u32 = 0x2000_0077;
/// Answers what it was given.
const ECHO: u32 = 1;
/// Answers so many bytes.
const BYTES: u32 = 2;
/// Answers, and then nothing may be answered.
const TAKE_BACK: u32 = 3;
/// Answers what it was given, when it is let; meanwhile it is being served.
const ONCE: u32 = 4;

#[test]
fn calls_of_many_connections_are_answered_in_their_order() {
    let server = Server::start(ServerLimits::default());
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let address = server.address;
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for round in 0..20 {
                    // All at once, and then all replies.
                    let calls: Vec<u32> = (0..50).map(|n| client << 16 | round << 8 | n).collect();
                    let sent: Vec<u8> = calls.iter().flat_map(|n| framed(&echo(*n))).collect();
                    stream.write_all(&sent).unwrap();
                    for n in calls {
                        assert_eq!(reply(&mut stream), echoed(n));
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let counters = server.end();
    assert_eq!((counters.accepted, counters.calls), (8, 8 * 20 * 50));
    assert_eq!((counters.connections, counters.broken, counters.refused), (0, 0, 0));
}

#[test]
fn call_may_come_byte_by_byte() {
    let server = Server::start(ServerLimits::default());
    let mut stream = server.connect();
    for byte in framed(&echo(7)) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(reply(&mut stream), echoed(7));
    server.end();
}

#[test]
fn stream_is_told_how_much_of_a_long_call_is_missing() {
    let server = Server::start(ServerLimits::default());
    let script = server.arrive(Said::default());
    let (call, next) = (long(1), framed(&echo(2)));
    let (first, rest) = call.split_at(1000);
    script.say(first);
    let wanted = script.until(|said| said.wanted.last().copied());
    assert_eq!(wanted, rest.len());
    script.say(&[rest, &next[..8]].concat());
    let wanted = script.until(|said| said.wanted.get(1).copied());
    assert_eq!(wanted, 0, "the rest of a short one is not waited for");
    script.say(&next[8..]);
    let replies = [framed(&echoed(1)), framed(&echoed(2))].concat();
    script.until(|said| (said.sent == replies).then_some(()));
    assert_eq!(script.until(|said| Some(said.wanted.len())), 2);
    server.end();
}

/// Both at once, of which it is woken once; many, since a turn that is not over yet may find it by chance.
#[test]
fn streams_that_end_behind_a_call_are_left_when_that_is_answered() {
    let server = Server::start(ServerLimits::default());
    for _ in 0..100 {
        let script = server.arrive(Said::default());
        let wake = script.until(|said| said.wake.clone());
        script.say(&framed(&echo(0)));
        script.until(|said| (said.sent == framed(&echoed(0))).then_some(()));
        script.change(|said| {
            said.coming = framed(&echo(1));
            said.ended = true;
            said.sent.clear();
        });
        wake();
        script.until(|said| (said.sent == framed(&echoed(1))).then_some(()));
    }
    while server.counted.read().connections > 0 {
        thread::yield_now();
    }
    server.end();
}

/// By a transport that sends them so, and has room for a part of one now and then. Short ones among them are
/// copied, as is one that takes up little of its memory.
#[test]
fn long_replies_are_sent_from_where_they_lie() {
    let server = Server::start(ServerLimits::default());
    let script = server.arrive(Said { keeps: true, room: Some(0), ..Said::default() });
    let sizes = [1 << 20, 10, 200_000, 1 << 20, 100_000, 3000, 700_000, 1 << 20];
    let calls: Vec<_> = (0..).zip(sizes).map(|(n, size)| framed(&call(n, BYTES, size))).collect();
    script.say(&calls.concat());
    let total: usize = sizes.iter().map(|size| 28 + *size as usize).sum();
    let mut sent = 0;
    while sent < total {
        // When it has asked for room in vain.
        let wake = script.until(|said| said.wake.clone().filter(|_| said.blocked));
        script.change(|said| (said.blocked, said.room) = (false, Some(90_000)));
        wake();
        sent = script.until(|said| {
            let is_over = said.blocked || said.sent.len() == total;
            is_over.then_some(said.sent.len())
        });
    }
    let reply = |(xid, size): (u32, u32)| {
        let header = [xid, 1, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
        framed(&[header, vec![xid as u8; size as usize]].concat())
    };
    let replies: Vec<_> = (0..).zip(sizes).map(reply).collect();
    let (all, kept) = script.until(|said| Some((said.sent.clone(), said.kept.clone())));
    assert!(all == replies.concat());
    assert!(kept.iter().filter(|kept| **kept >= 1 << 20).count() >= 3, "{kept:?}");
    assert!(kept.iter().all(|kept| *kept >= 64 << 10), "{kept:?}");
    // What was given for the first was used for another.
    assert!(script.until(|said| Some(said.used_again)), "{kept:?}");
    server.end();
}

/// Nothing more is served for a peer that does not read, and nothing is lost when it does.
#[test]
fn peer_that_does_not_read_is_not_served_on_and_on() {
    const CALLS: u32 = 128;
    const SIZE: u32 = 1 << 20;
    let server = Server::start(ServerLimits::default());
    let mut stream = server.connect();
    for n in 0..CALLS {
        stream.write_all(&framed(&call(n, BYTES, SIZE))).unwrap();
    }
    // 128 MiB are more than the kernel and the limit take together.
    let mut mark = [0; 4];
    stream.read_exact(&mut mark).unwrap();
    assert!(server.counted.read().calls < u64::from(CALLS), "served without end");
    for n in 0..CALLS {
        if n > 0 {
            stream.read_exact(&mut mark).unwrap();
        }
        let length = u32::from_be_bytes(mark) & !(1 << 31);
        let mut record = vec![0; length as usize];
        stream.read_exact(&mut record).unwrap();
        assert_eq!(record[..4], n.to_be_bytes());
        assert_eq!(record.len(), 24 + SIZE as usize);
        assert!(record[24..].iter().all(|byte| *byte == n as u8));
    }
    assert_eq!(server.end().calls, u64::from(CALLS));
}

#[test]
fn one_connection_too_many_is_closed_and_the_place_of_one_that_ended_is_free() {
    let server = Server::start(ServerLimits { connections: 2, ..ServerLimits::default() });
    let mut served = [server.connect(), server.connect()];
    for stream in &mut served {
        stream.write_all(&framed(&echo(1))).unwrap();
        assert_eq!(reply(stream), echoed(1));
    }
    assert_closed(server.connect());
    let [first, mut second] = served;
    drop(first);
    // The end of the first is an event like any other; a new one is tried until it was seen.
    let mut third = loop {
        let mut stream = server.connect();
        if stream.write_all(&framed(&echo(3))).is_ok() && stream.peek(&mut [0]).is_ok_and(|n| n > 0)
        {
            break stream;
        }
    };
    assert_eq!(reply(&mut third), echoed(3));
    second.write_all(&framed(&echo(2))).unwrap();
    assert_eq!(reply(&mut second), echoed(2));
    let counters = server.end();
    assert_eq!(counters.accepted, 3);
    assert!(counters.refused >= 1);
}

#[test]
fn who_comes_before_anybody_is_let_in_is_served_afterwards() {
    let server = Server::start(ServerLimits { connections: 0, ..ServerLimits::default() });
    let before = server.pool.metrics().turns;
    let mut early = server.connect();
    early.write_all(&framed(&echo(1))).unwrap();
    // The listener has heard of it.
    while server.pool.metrics().turns == before {
        thread::yield_now();
    }
    assert_eq!(server.counted.read().accepted, 0);
    server.listener.set_limits(ServerLimits::default());
    assert_eq!(reply(&mut early), echoed(1));
    let counters = server.end();
    assert_eq!((counters.accepted, counters.refused), (1, 0));
}

/// However many come, and whatever they would send: the only place is free for the one who is admitted.
#[test]
fn peers_that_are_not_admitted_take_no_place() {
    let server = Server::start(ServerLimits { connections: 1, ..ServerLimits::default() });
    server.service.admits.store(false, Ordering::SeqCst);
    for _ in 0..5 {
        match TcpStream::connect(server.address) {
            Ok(mut stranger) => {
                // An error says that it is closed already.
                let _ = stranger.write_all(&framed(&echo(1))[..10]);
                assert_closed(stranger);
            }
            // It was closed while we were still about to learn that it is there.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    server.service.admits.store(true, Ordering::SeqCst);
    let mut admitted = server.connect();
    admitted.write_all(&framed(&echo(2))).unwrap();
    assert_eq!(reply(&mut admitted), echoed(2));
    let counters = server.end();
    assert_eq!((counters.strangers, counters.accepted, counters.refused), (5, 1, 0));
}

#[test]
fn what_is_not_rpc_ends_its_connection_and_no_other() {
    let server = Server::start(ServerLimits::default());
    let mut good = server.connect();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &framed(&[0xff; 40]),
        &[0xff; 100],
        &[0x80, 0, 0, 3, 1, 2, 3],
    ] {
        let mut bad = server.connect();
        bad.write_all(garbage).unwrap();
        assert_closed(bad);
        good.write_all(&framed(&echo(9))).unwrap();
        assert_eq!(reply(&mut good), echoed(9));
    }
    // The calls before it are answered.
    let mut half = server.connect();
    half.write_all(&[framed(&echo(5)), framed(&[0xff; 40])].concat()).unwrap();
    assert_eq!(reply(&mut half), echoed(5));
    assert_closed(half);
    assert_eq!(server.end().broken, 5);
}

#[test]
fn replies_that_are_taken_back_are_not_sent() {
    let server = Server::start(ServerLimits::default());
    let mut stream = server.connect();
    let calls = [framed(&call(1, TAKE_BACK, 1)), framed(&echo(2))].concat();
    stream.write_all(&calls).unwrap();
    assert_closed(stream);
    let mut other = server.connect();
    other.write_all(&framed(&echo(3))).unwrap();
    assert_eq!(reply(&mut other), echoed(3));
}

#[test]
fn connection_on_which_nothing_comes_is_closed() {
    let limits = ServerLimits { idle: Duration::from_millis(5), ..ServerLimits::default() };
    let server = Server::start(limits);
    assert_closed(server.connect());
    // Half a call does not keep it for ever.
    let mut half = server.connect();
    half.write_all(&framed(&echo(1))[..10]).unwrap();
    assert_closed(half);
    assert_eq!(server.end().idle, 2);
}

/// The rest of a call may come in ever so many pieces, but not for ever.
#[test]
fn call_that_never_ends_ends_its_connection() {
    let record = 64 << 20;
    let limits = ServerLimits {
        connection: Limits { record, ..Limits::default() },
        idle: Duration::from_millis(5),
        ..ServerLimits::default()
    };
    let server = Server::start(limits);
    let mut stream = server.connect();
    stream.write_all(&(1u32 << 31 | record as u32).to_be_bytes()).unwrap();
    while stream.write_all(&[0]).is_ok() {}
    assert_eq!(server.end().idle, 1);
}

/// As many as may have a part of a long call in memory; then nobody is received from until one of them
/// has sent the rest.
#[test]
fn others_wait_while_the_memory_for_unfinished_calls_is_used_up() {
    let stalled = Duration::MAX;
    let server = Server::start(ServerLimits { memory: 0, stalled, ..ServerLimits::default() });
    // Half of the least, as all are of one address.
    let mut laden: Vec<TcpStream> = Vec::new();
    for n in 1..=2 {
        let mut stream = server.connect();
        stream.write_all(&long(n)[..PART]).unwrap();
        laden.push(stream);
        server.wait_until(|counters| counters.received == u64::from(n) * PART as u64);
    }
    let mut other = server.connect();
    other.write_all(&framed(&echo(3))).unwrap();
    // Turns are its own from here on: it is looked at again and again.
    let before = server.pool.metrics().turns;
    while server.pool.metrics().turns < before + 8 {
        thread::yield_now();
    }
    let counters = server.counted.read();
    assert_eq!((counters.received, counters.calls), (2 * PART as u64, 0));

    for (stream, n) in laden.iter_mut().zip(1..) {
        stream.write_all(&long(n)[PART..]).unwrap();
        assert_eq!(reply(stream), echoed(n));
    }
    assert_eq!(reply(&mut other), echoed(3));
    assert_eq!(server.end().calls, 3);
}

/// However much the others send, and without a pause.
#[test]
fn who_waits_for_memory_has_a_turn() {
    let stalled = Duration::MAX;
    let server = Server::start(ServerLimits { memory: 0, stalled, ..ServerLimits::default() });
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .flat_map(|n| {
            let (mut sending, stop) = (server.connect(), stop.clone());
            let mut receiving = sending.try_clone().unwrap();
            let sends = thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    sending.write_all(&long(n)).unwrap();
                }
                sending.shutdown(Shutdown::Write).unwrap();
            });
            let receives = thread::spawn(move || {
                std::io::copy(&mut receiving, &mut std::io::sink()).unwrap();
            });
            [sends, receives]
        })
        .collect();
    server.wait_until(|counters| counters.calls > 16);
    let mut other = server.connect();
    for n in 0..5 {
        other.write_all(&framed(&echo(n))).unwrap();
        assert_eq!(reply(&mut other), echoed(n));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().unwrap();
    }
    assert_eq!(server.end().idle, 0);
}

/// Neither the rest of a call nor a hand for a reply comes from these.
#[test]
fn whoever_does_not_get_on_makes_room_while_the_memory_is_used_up() {
    let stalled = Duration::from_millis(5);
    let server = Server::start(ServerLimits { memory: 0, stalled, ..ServerLimits::default() });
    let mut half = server.connect();
    half.write_all(&long(1)[..PART]).unwrap();
    // What is left of a reply that the kernel does not take whole may happen to be little: not of all.
    let deaf = [(); 4].map(|()| {
        let mut stream = server.connect();
        for n in 0..64 {
            // An error says that it was closed meanwhile.
            let _ = stream.write_all(&framed(&call(n, BYTES, 1 << 20)));
        }
        stream
    });
    let mut other = server.connect();
    other.write_all(&framed(&echo(3))).unwrap();
    assert_eq!(reply(&mut other), echoed(3));
    // One that goes is enough, and which one is a matter of chance.
    server.wait_until(|counters| counters.idle > 0);
    drop((half, deaf));
    server.end();
}

/// It is answered when the first has ended, and nothing else on its connection waits for that.
#[test]
fn call_that_is_sent_again_while_it_is_served_is_answered_too() {
    let server = Server::start(ServerLimits::default());
    let once = &server.service.once;
    let mut first = server.connect();
    first.write_all(&framed(&call(1, ONCE, 1))).unwrap();
    let mut state = once.0.lock().unwrap();
    while *state == Once::New {
        state = once.1.wait(state).unwrap();
    }
    drop(state);
    let mut again = server.connect();
    for n in 2..5 {
        let calls = [framed(&call(1, ONCE, 1)), framed(&echo(n))].concat();
        again.write_all(&calls).unwrap();
        assert_eq!(reply(&mut again), echoed(n));
    }
    *once.0.lock().unwrap() = Once::Let;
    once.1.notify_all();
    assert_eq!(reply(&mut first), echoed(1));
    assert_eq!(reply(&mut again), echoed(1));
    again.write_all(&framed(&echo(5))).unwrap();
    assert_eq!(reply(&mut again), echoed(5), "it is answered once");
    let counters = server.end();
    assert_eq!((counters.accepted, counters.broken), (2, 0));
}

#[test]
fn namespace_goes_under_load_and_its_neighbour_does_not_notice() {
    let server = Server::start(ServerLimits::default());
    let neighbour = server.another("neighbour");
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, answered) = (server.address, answered.clone());
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let calls = framed(&echo(4)).repeat(20);
                // Until the server ends the connection.
                while stream.write_all(&calls).is_ok() {
                    let mut replies = vec![0; (4 + echoed(4).len()) * 20];
                    if stream.read_exact(&mut replies).is_err() {
                        return;
                    }
                    answered.fetch_add(20, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let beside = thread::spawn({
        let (address, stop) = (neighbour.address, stop.clone());
        move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(&framed(&echo(8))).unwrap();
                assert_eq!(reply(&mut stream), echoed(8));
                calls += 1;
            }
            calls
        }
    });
    while answered.load(Ordering::Relaxed) < 2000 {
        thread::yield_now();
    }
    server.registry.remove([&server.ns], Deadline::Never).unwrap();
    let counters = server.counted.read();
    assert_eq!(counters.connections, 0, "a connection outlived its namespace");
    assert!(counters.calls >= answered.load(Ordering::Relaxed) as u64);
    for client in clients {
        client.join().unwrap();
    }
    assert!(TcpStream::connect(server.address).is_err(), "the listener is still there");
    stop.store(true, Ordering::Relaxed);
    let calls = beside.join().unwrap();
    // Calls are counted after they were answered, and surely before the end.
    assert_eq!(neighbour.end().calls, calls);
}

#[test]
fn datagram_is_a_call_or_nothing() {
    let server = Server::start(ServerLimits::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.datagrams).unwrap();
    for (n, garbage) in [&b"what?"[..], &[], &[0xff; 2000]].into_iter().enumerate() {
        socket.send(garbage).unwrap();
        socket.send(&echo(n as u32)).unwrap();
        let mut answer = [0; 100];
        let count = socket.recv(&mut answer).unwrap();
        assert_eq!(answer[..count], echoed(n as u32));
    }
    assert_eq!(server.end().calls, 3);
}

#[test]
fn listener_that_is_stopped_leaves_its_connections_be() {
    let server = Server::start(ServerLimits::default());
    let mut stream = server.connect();
    stream.write_all(&framed(&echo(1))).unwrap();
    assert_eq!(reply(&mut stream), echoed(1));
    assert_eq!(server.listener.connections(), 1);
    server.listener.stop();
    // It may be in the turn in which it has accepted, and goes at the end of that.
    while TcpStream::connect(server.address).is_ok() {
        thread::yield_now();
    }
    stream.write_all(&framed(&echo(2))).unwrap();
    assert_eq!(reply(&mut stream), echoed(2));
    server.end();
}

/// Also those whose replies nobody takes, and those that are accepted at this very moment.
#[test]
fn listener_that_is_closed_takes_its_connections_with_it_and_no_others() {
    let server = Server::start(ServerLimits::default());
    let inside = server.ns.enter().unwrap();
    let sources: &NsPool = inside.get::<PoolSubsystem>().unwrap();
    for round in 0..8 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (service, counted) = (Arc::new(TestService::new()), Arc::new(Counted::default()));
        let limits = ServerLimits::default();
        let closed = listen(sources, listener, service, limits, counted.clone()).unwrap();

        let mut other = server.connect();
        let mut full = TcpStream::connect(address).unwrap();
        for n in 0..16 {
            full.write_all(&framed(&call(n, BYTES, 1 << 20))).unwrap();
        }
        full.read_exact(&mut [0; 4]).unwrap();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                thread::spawn(move || {
                    for turn in 0.. {
                        let Ok(mut stream) = TcpStream::connect(address) else { break };
                        let sent = stream.write_all(&framed(&echo(client)));
                        // Some stay until the listener is closed.
                        if client % 2 == 0 || turn > 10 || sent.is_err() {
                            let _ = stream.read_to_end(&mut Vec::new());
                        }
                    }
                })
            })
            .collect();
        while counted.read().accepted < 1 + round {
            thread::yield_now();
        }
        closed.close();
        for client in clients {
            client.join().unwrap();
        }
        let mut rest = Vec::new();
        let error = full.read_to_end(&mut rest).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        // The last of them ends with the turn that it was in.
        while counted.read().connections > 0 {
            thread::yield_now();
        }
        other.write_all(&framed(&echo(3))).unwrap();
        assert_eq!(reply(&mut other), echoed(3));
    }
    drop(inside);
    server.end();
}

/// What comes on a stream that is no socket, and what it was told.
#[derive(Default)]
struct Script {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    coming: Vec<u8>,
    /// Behind that it ends.
    ended: bool,
    wanted: Vec<usize>,
    sent: Vec<u8>,
    wake: Option<Wake>,
    /// Whether it sends long replies from where they lie; how long they were, and whether the memory of one was
    /// that of another.
    keeps: bool,
    kept: Vec<usize>,
    used_again: bool,
    /// For how many bytes there is room, if not for any, and whether somebody asked when there was none.
    room: Option<usize>,
    blocked: bool,
}

impl Said {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        self.sent.extend(&bytes[..count]);
        self.room = self.room.map(|room| room - count);
        self.blocked = count == 0;
        if self.blocked { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
}

impl Script {
    fn say(&self, bytes: &[u8]) {
        self.said.lock().unwrap().coming.extend(bytes);
        let wake = self.until(|said| said.wake.clone());
        wake();
    }

    fn until<T>(&self, mut what: impl FnMut(&Said) -> Option<T>) -> T {
        let mut said = self.said.lock().unwrap();
        loop {
            if let Some(what) = what(&said) {
                return what;
            }
            said = self.changed.wait(said).unwrap();
        }
    }

    fn change<R>(&self, f: impl FnOnce(&mut Said) -> R) -> R {
        let outcome = f(&mut self.said.lock().unwrap());
        self.changed.notify_all();
        outcome
    }
}

struct Scripted(Arc<Script>);

/// Bytes of memory that it gives for another.
const GIVEN: usize = (1 << 20) + 4096;

impl Transport for Scripted {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&self, wake: Wake) {
        self.0.change(|said| said.wake = Some(wake.clone()));
        wake();
    }

    fn want(&self, bytes: usize) {
        self.0.change(|said| said.wanted.push(bytes));
    }

    fn peer(&self) -> SocketAddr {
        ([127, 0, 0, 1], 700).into()
    }

    fn local(&self) -> SocketAddr {
        ([127, 0, 0, 1], 2049).into()
    }

    fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        self.0.change(|said| {
            if said.coming.is_empty() && !said.ended {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = space.len().min(said.coming.len());
            space[..count].copy_from_slice(&said.coming[..count]);
            said.coming.drain(..count);
            Ok(count)
        })
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.change(|said| said.send(bytes))
    }

    fn keeps(&self) -> bool {
        self.0.change(|said| said.keeps)
    }

    fn keep(&self, reply: Encoder) -> (Bytes, Encoder) {
        self.0.change(|said| {
            said.kept.push(reply.len());
            let (memory, length) = reply.into_memory();
            said.used_again |= memory.len() == GIVEN;
            let bytes = Bytes::from(memory).slice(..length);
            (bytes, Encoder::in_memory(vec![0xee; GIVEN]))
        })
    }

    fn send_kept(&self, reply: &Bytes, from: usize) -> io::Result<usize> {
        self.0.change(|said| said.send(&reply[from..]))
    }

    fn end(&self) {}

    fn abort(&self) {}
}

/// A pool, a registry, and a namespace that serves the test's program.
struct Server {
    registry: Registry,
    ns: Namespace,
    address: SocketAddr,
    datagrams: SocketAddr,
    counted: Arc<Counted>,
    listener: ListenerHandle,
    service: Arc<TestService>,
    pool: Arc<Pool>,
}

impl Server {
    fn start(limits: ServerLimits) -> Self {
        let pool = Arc::new(Pool::start(Config { workers: 2, ..Config::default() }).unwrap());
        let registry = Registry::new().unwrap();
        registry.register(pool.subsystem()).unwrap();
        registry.register(Alive).unwrap();
        Self::in_namespace(pool, registry, "blue", limits)
    }

    fn another(&self, name: &str) -> Self {
        let (pool, registry) = (self.pool.clone(), self.registry.clone());
        Self::in_namespace(pool, registry, name, ServerLimits::default())
    }

    fn in_namespace(pool: Arc<Pool>, registry: Registry, name: &str, limits: ServerLimits) -> Self {
        let ns = registry.create(name).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, datagrams) = (listener.local_addr().unwrap(), socket.local_addr().unwrap());
        let (service, counted) = (Arc::new(TestService::new()), Arc::new(Counted::default()));
        let inside = ns.enter().unwrap();
        let sources: &NsPool = inside.get::<PoolSubsystem>().unwrap();
        let listener = listen(sources, listener, service.clone(), limits, counted.clone()).unwrap();
        listen_datagrams(sources, socket, service.clone(), counted.clone()).unwrap();
        drop(inside);
        Self { registry, ns, address, datagrams, counted, listener, service, pool }
    }

    /// A stream that is no socket.
    fn arrive(&self, said: Said) -> Arc<Script> {
        let script = Arc::new(Script { said: Mutex::new(said), ..Script::default() });
        let inside = self.ns.enter().unwrap();
        let sources: &NsPool = inside.get::<PoolSubsystem>().unwrap();
        let limits = ServerLimits::default();
        let (service, counted) = (self.service.clone(), self.counted.clone());
        let (_, arrivals) = receive_arrivals(sources, service, limits, counted).unwrap();
        arrivals.arrive(Scripted(script.clone()));
        script
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn wait_until(&self, condition: impl Fn(Counters) -> bool) {
        while !condition(self.counted.read()) {
            thread::yield_now();
        }
    }

    /// Removes the namespace; what was counted.
    fn end(self) -> Counters {
        self.registry.remove([&self.ns], Deadline::Never).unwrap();
        self.counted.read()
    }
}

struct TestService {
    programs: Programs<TestContext>,
    admits: AtomicBool,
    once: Arc<(Mutex<Once>, Condvar)>,
}

/// How far a call is that is not to be done twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Once {
    New,
    InProgress,
    Let,
    Done,
}

struct TestContext {
    /// Whether the namespace is there while calls are served.
    alive: Arc<AtomicBool>,
    taken_back: bool,
    bracket: Bracket,
    once: Arc<(Mutex<Once>, Condvar)>,
}

impl TestService {
    fn new() -> Self {
        let programs = Programs::new().with(TestProgram);
        let once = Arc::new((Mutex::new(Once::New), Condvar::new()));
        Self { programs, admits: AtomicBool::new(true), once }
    }
}

impl Service for TestService {
    type Context = TestContext;

    fn programs(&self) -> &Programs<TestContext> {
        &self.programs
    }

    fn admits(&self, _: &Turn<'_>, peer: SocketAddr) -> bool {
        assert!(peer.ip().is_loopback());
        self.admits.load(Ordering::SeqCst)
    }

    fn with_context<R>(
        &self,
        turn: &Turn<'_>,
        peer: Peer,
        serve: impl FnOnce(&mut TestContext) -> R,
    ) -> Option<R> {
        assert!(peer.address.ip().is_loopback());
        let alive = turn.contents().get::<Alive>().unwrap().clone();
        let mut context = TestContext {
            alive,
            taken_back: false,
            once: self.once.clone(),
            bracket: turn.bracket(),
        };
        let result = serve(&mut context);
        (!context.taken_back).then_some(result)
    }
}

struct TestProgram;

impl Program<TestContext> for TestProgram {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn call(
        &self,
        context: &mut TestContext,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        assert!(context.alive.load(Ordering::SeqCst), "the namespace is gone");
        let number = call.arguments().u32()?;
        match call.procedure {
            ECHO => results.u32(number),
            BYTES => results.space(number as usize).fill(call.xid as u8),
            ONCE => {
                let (state, changed) = &*context.once;
                let mut state = state.lock().unwrap();
                match *state {
                    Once::New => {
                        *state = Once::InProgress;
                        changed.notify_all();
                        context.bracket.may_block(|| {
                            while *state != Once::Let {
                                state = changed.wait(state).unwrap();
                            }
                            *state = Once::Done;
                        });
                    }
                    Once::InProgress | Once::Let => return Ok(Answer::Elsewhere),
                    Once::Done => {}
                }
                results.u32(number);
            }
            TAKE_BACK => {
                context.taken_back = true;
                results.u32(number);
            }
            _ => return Err(Refusal::ProcedureUnavailable),
        }
        assert!(context.alive.load(Ordering::SeqCst), "the namespace is gone");
        Ok(Answer::Now)
    }
}

/// Lowers its flag when the namespace's contents are destroyed.
struct Alive;

impl Subsystem for Alive {
    type State = Arc<AtomicBool>;

    fn name(&self) -> &str {
        "alive"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<Arc<AtomicBool>, InitError> {
        Ok(Arc::new(AtomicBool::new(true)))
    }

    fn exit(&self, _: &View<'_>, alive: Arc<AtomicBool>) {
        alive.store(false, Ordering::SeqCst);
    }
}

fn call(xid: u32, procedure: u32, argument: u32) -> Vec<u8> {
    let words = [xid, 0, 2, PROGRAM, 1, procedure, 0, 0, 0, 0, argument];
    words.map(u32::to_be_bytes).concat()
}

fn echo(n: u32) -> Vec<u8> {
    call(n, ECHO, n)
}

fn echoed(n: u32) -> Vec<u8> {
    [n, 1, 0, 0, 0, 0, n].map(u32::to_be_bytes).concat()
}

/// A call that is answered as [`echo`], with a long argument behind.
fn long(n: u32) -> Vec<u8> {
    framed(&[echo(n), vec![0; 1 << 20]].concat())
}

/// So much of a long call is not little.
const PART: usize = 300 << 10;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(1 << 31 | message.len() as u32).to_be_bytes()[..], message].concat()
}

fn reply(stream: &mut TcpStream) -> Vec<u8> {
    let mut mark = [0; 4];
    stream.read_exact(&mut mark).unwrap();
    let mut record = vec![0; (u32::from_be_bytes(mark) & !(1 << 31)) as usize];
    stream.read_exact(&mut record).unwrap();
    record
}

/// The server has closed the connection, in good order or with what was unread thrown away.
fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, []);
}
