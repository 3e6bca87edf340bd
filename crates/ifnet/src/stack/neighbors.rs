//! Which station is at which address of a link, and what waits until that is known.

use super::packet::Outgoing;
use crate::ether::MacAddress;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// The neighbours of a link. Who speaks to us is remembered for a while; for who is wanted and not
/// known, a few packets wait while it is asked for.
///
/// Anybody on the link can claim any address, so their number is bounded: the one that was heard of
/// longest ago makes room.
#[derive(Debug)]
pub(super) struct Neighbors {
    /// How many are remembered.
    most: usize,
    known: HashMap<IpAddr, Known>,
    wanted: HashMap<IpAddr, Wanted>,
    /// Bytes that wait.
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    mac: MacAddress,
    heard: Duration,
    /// When it was asked for last, though it is known.
    asked: Duration,
}

#[derive(Debug)]
struct Wanted {
    waiting: Vec<Outgoing>,
    asked: u32,
    again: Duration,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Send it there; and ask whether that is where it is, if nothing was heard of it for a while.
    To { mac: MacAddress, packet: Outgoing, ask: bool },
    /// It waits. The address is to be asked for, if it was not just now.
    Waits { ask: bool },
    /// There is no room for it to wait.
    Lost { ask: bool },
}

/// Somebody to ask for once more, or to give up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ask(IpAddr),
    /// With so many packets that had waited.
    GaveUp(usize),
}

impl Neighbors {
    /// Of whom `most` are remembered.
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: HashMap::new(), wanted: HashMap::new(), bytes: 0 }
    }

    /// Has so many remembered from now on; of more that there are, those that were heard of last.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
        while self.known.len() > most {
            self.forget_oldest();
        }
    }

    /// Where to send a packet for the neighbour at `address`.
    pub(super) fn way(&mut self, now: Duration, address: IpAddr, mut packet: Outgoing) -> Way {
        if let Some(known) = self.known.get_mut(&address) {
            let silent = now.saturating_sub(known.heard);
            if silent < LIFETIME {
                let ask = silent >= ASK_EVERY && now.saturating_sub(known.asked) >= ASK_EVERY;
                if ask {
                    known.asked = now;
                }
                return Way::To { mac: known.mac, packet, ask };
            }
            self.known.remove(&address);
        }
        let ask = !self.wanted.contains_key(&address);
        if ask && self.wanted.len() >= WANTED_MAX {
            let oldest = self.wanted.iter().min_by_key(|(_, wanted)| wanted.again);
            if let Some(oldest) = oldest.map(|(&address, _)| address) {
                self.forget(oldest);
            }
        }
        let new = || Wanted { waiting: Vec::new(), asked: 1, again: now + ASK_EVERY };
        let wanted = self.wanted.entry(address).or_insert_with(new);
        if wanted.waiting.len() >= WAITING_MAX || self.bytes + packet.len() > BYTES_MAX {
            return Way::Lost { ask };
        }
        self.bytes += packet.len();
        // It may wait for longer than its connection lives, and holds nothing else meanwhile.
        packet.gather();
        wanted.waiting.push(packet);
        Way::Waits { ask }
    }

    /// Wants it no longer. Returns what has waited.
    fn forget(&mut self, address: IpAddr) -> Vec<Outgoing> {
        let Some(wanted) = self.wanted.remove(&address) else { return Vec::new() };
        self.bytes -= wanted.waiting.iter().map(|packet| packet.len()).sum::<usize>();
        wanted.waiting
    }

    /// The neighbour at `address` said where it is. Returns what waited for that.
    pub(super) fn learn(
        &mut self,
        now: Duration,
        address: IpAddr,
        mac: MacAddress,
    ) -> Vec<Outgoing> {
        if self.known.len() >= self.most && !self.known.contains_key(&address) {
            self.forget_oldest();
        }
        self.known.insert(address, Known { mac, heard: now, asked: now });
        self.forget(address)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, known)| known.heard);
        if let Some(oldest) = oldest.map(|(&address, _)| address) {
            self.known.remove(&oldest);
        }
    }

    /// Somebody says where it is without having been asked: that is believed of whom we know or want.
    pub(super) fn update(
        &mut self,
        now: Duration,
        address: IpAddr,
        mac: MacAddress,
    ) -> Vec<Outgoing> {
        if self.known.contains_key(&address) || self.wanted.contains_key(&address) {
            self.learn(now, address, mac)
        } else {
            Vec::new()
        }
    }

    /// Something came from it: it is still where it was.
    pub(super) fn heard(&mut self, now: Duration, address: IpAddr, mac: MacAddress) {
        if let Some(known) = self.known.get_mut(&address)
            && known.mac == mac
        {
            known.heard = now;
        }
    }

    /// Somebody whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        let (&address, wanted) = self.wanted.iter_mut().find(|(_, wanted)| wanted.again <= now)?;
        if wanted.asked < ASK_TIMES {
            wanted.asked += 1;
            wanted.again = now + ASK_EVERY;
            return Some(Due::Ask(address));
        }
        Some(Due::GaveUp(self.forget(address).len()))
    }

    /// When there is somebody [`due`](Self::due).
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.wanted.values().map(|wanted| wanted.again).min()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }
}

/// For how long it is believed where somebody is who is not heard of. Who sends to it meanwhile asks, so
/// that one who has moved is found before TCP tries for the second time: that he has told us may be lost.
const LIFETIME: Duration = Duration::from_secs(60);
/// RFC 4861, section 10: how often, and how many times.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_TIMES: u32 = 3;
/// Packets that wait for one neighbour (RFC 1122, section 2.3.2.2 wants at least one).
const WAITING_MAX: usize = 4;
/// Bytes that wait for all of them.
const BYTES_MAX: usize = 1 << 20;
const WANTED_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MOST: usize = 1024;
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
    }

    fn to(packet: Outgoing, ask: bool) -> Way {
        Way::To { mac: MAC, packet, ask }
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn packets_wait_until_it_is_known_where_they_go() {
        let mut neighbors = Neighbors::new(MOST);
        assert_eq!(neighbors.way(second(0), ip(1), vec![1].into()), Way::Waits { ask: true });
        assert_eq!(neighbors.way(second(0), ip(1), vec![2].into()), Way::Waits { ask: false });
        assert_eq!(neighbors.due_at(), Some(second(1)));
        assert_eq!(neighbors.learn(second(1), ip(1), MAC), [vec![1].into(), vec![2].into()]);
        assert_eq!(neighbors.due_at(), None);
        assert_eq!(neighbors.way(second(60), ip(1), vec![3].into()), to(vec![3].into(), true));
        neighbors.heard(second(60), ip(1), MAC);
        neighbors.heard(second(61), ip(1), MacAddress::BROADCAST);
        assert_eq!(neighbors.way(second(119), ip(1), vec![4].into()), to(vec![4].into(), true));
        assert_eq!(neighbors.way(second(120), ip(1), vec![5].into()), Way::Waits { ask: true });
    }

    #[test]
    fn who_is_silent_is_asked_for_once_a_second_while_it_is_sent_to() {
        let mut neighbors = Neighbors::new(MOST);
        neighbors.learn(second(0), ip(1), MAC);
        let tenths = |n: u64| Duration::from_millis(100 * n);
        for n in 0..30 {
            assert_eq!(
                neighbors.way(tenths(n), ip(1), vec![].into()),
                to(vec![].into(), [10, 20].contains(&n))
            );
        }
        // Heard of, it need not be.
        for n in 30..60 {
            neighbors.heard(tenths(n), ip(1), MAC);
            assert_eq!(neighbors.way(tenths(n), ip(1), vec![].into()), to(vec![].into(), false));
        }
        let other = MacAddress([2, 0, 0, 0, 0, 2]);
        neighbors.learn(second(6), ip(1), other);
        let way = neighbors.way(second(6), ip(1), vec![].into());
        assert_eq!(way, Way::To { mac: other, packet: vec![].into(), ask: false });
    }

    #[test]
    fn who_does_not_answer_is_given_up() {
        let mut neighbors = Neighbors::new(MOST);
        for n in 0..=WAITING_MAX {
            let way = neighbors.way(second(0), ip(1), vec![n as u8].into());
            assert_eq!(way == Way::Lost { ask: false }, n == WAITING_MAX);
        }
        assert_eq!(neighbors.due(second(0)), None);
        assert_eq!(neighbors.due(second(1)), Some(Due::Ask(ip(1))));
        assert_eq!(neighbors.due(second(1)), None);
        assert_eq!(neighbors.due(second(2)), Some(Due::Ask(ip(1))));
        assert_eq!(neighbors.due(second(3)), Some(Due::GaveUp(WAITING_MAX)));
        assert_eq!(neighbors.due(second(9)), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut neighbors = Neighbors::new(MOST);
        let packet = || vec![0; 60_000];
        let most = BYTES_MAX / 60_000;
        for n in 0..most as u32 {
            assert_eq!(neighbors.way(second(0), ip(n), packet().into()), Way::Waits { ask: true });
        }
        assert_eq!(neighbors.way(second(0), ip(99), packet().into()), Way::Lost { ask: true });
        assert_eq!(neighbors.learn(second(0), ip(0), MAC).len(), 1);
        assert_eq!(neighbors.way(second(0), ip(99), packet().into()), Way::Waits { ask: false });
        for n in 0..3 {
            while neighbors.due(second(n)).is_some() {}
        }
        assert_eq!(neighbors.way(second(9), ip(7), packet().into()), Way::Lost { ask: false });
        while neighbors.due(second(9)).is_some() {}
        assert_eq!((neighbors.bytes, neighbors.wanted.len()), (0, 0));
    }

    #[test]
    fn what_waits_is_in_one_part() {
        let mut neighbors = Neighbors::new(MOST);
        let parts = vec![bytes::Bytes::from_static(&[2; 9])];
        let packet = Outgoing::of_parts(vec![1], parts, None);
        let whole = packet.clone();
        assert_eq!(neighbors.way(second(0), ip(0), packet), Way::Waits { ask: true });
        let waited = neighbors.learn(second(0), ip(0), MAC).pop().unwrap();
        assert_eq!((waited.parts().count(), &waited), (1, &whole));
    }

    #[test]
    fn claims_are_bounded_and_do_not_make_the_unknown_known() {
        let mut neighbors = Neighbors::new(MOST);
        assert!(neighbors.update(second(0), ip(0), MAC).is_empty());
        assert_eq!(neighbors.way(second(0), ip(0), vec![].into()), Way::Waits { ask: true });
        for n in 0..1500 {
            neighbors.learn(second(1), ip(n), MAC);
            neighbors.way(second(1), ip(10_000 + n), vec![].into());
        }
        assert_eq!(neighbors.known.len(), MOST);
        assert_eq!(neighbors.wanted.len(), WANTED_MAX);
        neighbors.learn(second(2), ip(7), MAC);
        neighbors.set_most(1);
        assert_eq!(neighbors.known.keys().collect::<Vec<_>>(), [&ip(7)]);
        neighbors.clear();
        neighbors.learn(second(3), ip(8), MAC);
        neighbors.learn(second(4), ip(9), MAC);
        assert_eq!(neighbors.known.keys().collect::<Vec<_>>(), [&ip(9)]);
    }
}
