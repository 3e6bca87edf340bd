//! Stacks that talk to each other over a link made of memory, in a time of its own.

mod attacks;
mod frames;
mod limits;
mod threads;
mod transfers;

use super::connection::{ConnectionId, Ends};
use super::machine::Machine;
use super::segment::is_later;
use super::{Config, Limits};
use crate::MacAddress;
use crate::frame::{Frame, Frames};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const NFS: u16 = 2049;

/// What a link does to frames.
#[derive(Clone, Copy, Default)]
pub(super) struct Weather {
    /// Of a thousand frames, so many are lost, come twice, or come late.
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) late: u64,
}

pub(super) type Accepted = Arc<Mutex<Vec<(ConnectionId, Ends)>>>;

/// Two machines and the link between them.
pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) machines: [Machine; 2],
    /// Connections that a machine has taken.
    pub(super) accepted: [Accepted; 2],
    pub(super) weather: Weather,
    /// Which frames of the second machine with new data are lost, the next being 0.
    pub(super) lost: Vec<usize>,
    /// How long a frame takes at least.
    pub(super) delay: Duration,
    /// How long it is under way alone, and when the last was in each direction.
    pub(super) wire: Duration,
    busy: [Duration; 2],
    /// What goes to the first machine arrives no sooner.
    pub(super) paused: Duration,
    /// Bytes that were carried from the second machine, the furthest of them, and how many frames with data were
    /// behind that.
    pub(super) carried: usize,
    furthest: Option<u32>,
    pub(super) again: usize,
    /// What is sent unfinished is finished on the way.
    pub(super) finishes: bool,
    under_way: BTreeMap<(Duration, u64), (usize, Frame)>,
    count: u64,
    random: u64,
}

pub(super) fn mac(n: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, n])
}

pub(super) fn config(n: u8, mtu: usize) -> Config {
    Config { mac: mac(n), mtu, loopback: false, limits: Limits::default() }
}

/// The addresses that both have.
pub(super) fn address(of: usize, v6: bool) -> IpAddr {
    let text = [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]];
    text[usize::from(v6)][of].parse().unwrap()
}

impl Net {
    pub(super) fn new(mtu: usize, seed: u64) -> Self {
        Self::with(config(1, mtu), config(2, mtu), seed)
    }

    pub(super) fn with(first: Config, second: Config, seed: u64) -> Self {
        let mut net = Self {
            now: Duration::from_secs(1),
            machines: [Machine::new(&first), Machine::new(&second)],
            accepted: Default::default(),
            weather: Weather::default(),
            lost: Vec::new(),
            delay: Duration::from_micros(50),
            wire: Duration::ZERO,
            busy: [Duration::ZERO; 2],
            paused: Duration::ZERO,
            carried: 0,
            furthest: None,
            again: 0,
            finishes: true,
            under_way: BTreeMap::new(),
            count: 0,
            random: seed | 1,
        };
        for (n, machine) in net.machines.iter_mut().enumerate() {
            let has_v6 = machine.addresses().iter().any(|network| network.address().is_ipv6());
            for (v6, prefix) in [(false, 24), (true, 64)] {
                let network = super::Network::new(address(n, v6), prefix).unwrap();
                let expected = has_v6 || !v6;
                assert_eq!(machine.add_address(net.now, network).is_ok(), expected);
            }
        }
        net
    }

    pub(super) fn listen(&mut self, of: usize, port: u16) {
        let accepted = self.accepted[of].clone();
        let acceptor = move |id, ends| accepted.lock().unwrap().push((id, ends));
        self.machines[of].listen((None, port), Arc::new(acceptor)).unwrap();
    }

    /// Makes a connection from the second machine to the first.
    pub(super) fn connect(&mut self, v6: bool) -> (ConnectionId, ConnectionId) {
        let peer = SocketAddr::new(address(0, v6), NFS);
        let before = self.accepted[0].lock().unwrap().len();
        let (id, _) = self.machines[1].connect(self.now, peer).unwrap();
        self.until(|net| net.accepted[0].lock().unwrap().len() > before);
        (id, self.accepted[0].lock().unwrap().last().unwrap().0)
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    /// Takes what the machines have made on its way.
    pub(super) fn collect(&mut self) {
        for n in 0..2 {
            let (frames, news) = self.machines[n].settle(self.now, usize::MAX);
            for (acceptor, id, ends) in news.accepted {
                acceptor(id, ends);
            }
            news.wakes.iter().for_each(|wake| wake());
            let mut pieces = Frames::new();
            for frame in frames {
                if self.finishes {
                    frame.finish(&mut pieces).unwrap();
                } else {
                    pieces.push(frame);
                }
            }
            for frame in pieces {
                self.carry(1 - n, frame);
            }
        }
    }

    fn carry(&mut self, to: usize, mut frame: Frame) {
        frame.gather();
        let Weather { lost, twice, late } = self.weather;
        if self.random(1000) < lost {
            return;
        }
        if to == 0 && frame.len() > 100 {
            self.carried += frame.len();
            if !self.is_furthest(&frame) {
                self.again += 1;
            } else if !self.lost.is_empty() {
                let is_next = self.lost.first() == Some(&0);
                self.lost.retain(|next| *next > 0);
                self.lost.iter_mut().for_each(|next| *next -= 1);
                if is_next {
                    return;
                }
            }
        }
        let copies = if self.random(1000) < twice { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.delay;
            if self.random(1000) < late {
                delay += Duration::from_micros(self.random(500));
            }
            self.count += 1;
            let mut at = self.now + delay;
            if to == 0 {
                at = at.max(self.paused);
            }
            if let Some(busy) = self.busy.get_mut(to).filter(|_| self.wire > Duration::ZERO) {
                at = at.max(*busy + self.wire);
                *busy = at;
            }
            self.under_way.insert((at, self.count), (to, frame.clone()));
        }
    }

    /// Whether its data is behind what was carried before.
    fn is_furthest(&mut self, frame: &Frame) -> bool {
        let headers = if frame.get(14).is_some_and(|first| first >> 4 == 4) { 34 } else { 54 };
        let Some(number) = frame.get(headers + 4..).and_then(|rest| rest.first_chunk()) else {
            return true;
        };
        let number = u32::from_be_bytes(*number);
        let is_furthest = self.furthest.is_none_or(|furthest| is_later(number, furthest));
        if is_furthest {
            self.furthest = Some(number);
        }
        is_furthest
    }

    /// Goes on to when something happens next; `false` if nothing is going to.
    pub(super) fn step(&mut self) -> bool {
        self.collect();
        let arrival = self.under_way.keys().next().map(|&(at, _)| at);
        let timers = self.machines.iter().filter_map(Machine::due_at);
        let Some(next) = timers.chain(arrival).min() else { return false };
        self.now = self.now.max(next);
        while let Some((&(at, n), _)) = self.under_way.first_key_value()
            && at <= self.now
        {
            let (to, frame) = self.under_way.remove(&(at, n)).unwrap();
            self.machines[to].input_frame(self.now, &frame);
        }
        self.collect();
        true
    }

    /// Goes on until something is so.
    pub(super) fn until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) {
        for _ in 0..5_000_000 {
            if condition(self) {
                return;
            }
            assert!(self.step(), "nothing is going to happen any more");
        }
        panic!("it does not come to be, at {:?}", self.now);
    }

    /// Goes on for some time.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.collect();
        while let Some(next) = self.next()
            && next <= end
        {
            self.step();
        }
        self.now = end;
        self.collect();
    }

    fn next(&self) -> Option<Duration> {
        let arrival = self.under_way.keys().next().map(|&(at, _)| at);
        self.machines.iter().filter_map(Machine::due_at).chain(arrival).min()
    }

    /// Sends as much as there is room for.
    pub(super) fn send(&mut self, of: usize, id: ConnectionId, bytes: &[u8]) -> usize {
        let sent = self.machines[of].with(self.now, id, |c| c.send(bytes)).unwrap();
        match sent {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same, from where it lies.
    pub(super) fn send_kept(
        &mut self,
        of: usize,
        id: ConnectionId,
        memory: &Bytes,
        from: usize,
    ) -> usize {
        let sent = self.machines[of].with(self.now, id, |c| c.send_kept(memory, from)).unwrap();
        match sent {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Receives what is there; `None` at the end.
    pub(super) fn receive(&mut self, of: usize, id: ConnectionId) -> Option<Vec<u8>> {
        let mut space = vec![0; 256 << 10];
        match self.machines[of].with(self.now, id, |c| c.receive(&mut space)).unwrap() {
            Ok(0) => None,
            Ok(count) => {
                space.truncate(count);
                Some(space)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(Vec::new()),
            Err(error) => panic!("{error}"),
        }
    }

    /// What is said when everything that was there is received.
    pub(super) fn error(&mut self, of: usize, id: ConnectionId) -> Option<ErrorKind> {
        let mut space = vec![0; 256 << 10];
        loop {
            match self.machines[of].with(self.now, id, |c| c.receive(&mut space))? {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error.kind()),
            }
        }
    }

    /// One byte there and one back.
    pub(super) fn ping(&mut self, ids: (ConnectionId, ConnectionId)) {
        assert_eq!(self.send(1, ids.0, b"?"), 1);
        let mut came = Vec::new();
        self.until(|net| {
            came.extend(net.receive(0, ids.1).unwrap());
            !came.is_empty()
        });
        assert_eq!((came.as_slice(), self.send(0, ids.1, b"!")), (&b"?"[..], 1));
        let mut back = Vec::new();
        self.until(|net| {
            back.extend(net.receive(1, ids.0).unwrap());
            !back.is_empty()
        });
        assert_eq!(back, b"!");
    }
}
