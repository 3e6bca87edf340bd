//! On which ports a lagg sends a frame and from which it takes one: what follows from the protocol and
//! the list of ports. It is made anew when either changes, and then only read.

use super::hash::{FlowHash, fold};
use crate::aggregation::Protocol;

/// A port, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The port's number. It has it for as long as it is a port.
    pub number: u16,
    /// Frames may be taken from it: its link is up, and for LACP it is collecting.
    pub collecting: bool,
    /// Frames may be sent on it: its link is up, and for LACP it is distributing.
    pub distributing: bool,
}

/// Where a frame goes. Ports are named by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// There is no port for it.
    Nowhere,
    /// To one port.
    One(usize),
    /// To all ports of [`Distribution::senders`].
    All,
}

/// What a lagg does with frames.
#[derive(Debug, Clone)]
pub struct Distribution {
    protocol: Protocol,
    hash: FlowHash,
    /// The places of the ports on which something is sent.
    senders: Vec<u8>,
    /// The ports from which frames are taken, a bit for each place.
    takers: u64,
    /// The place of the port for each part of the flows; empty if flows have no part in the choice.
    parts: Vec<u8>,
}

/// Ports that a lagg can have.
pub const MOST_PORTS: usize = 32;

impl Distribution {
    /// With the first [`MOST_PORTS`] of `members`, in the order in which they came to be ports.
    pub fn new(protocol: Protocol, hash: FlowHash, members: &[Member]) -> Self {
        let members = members.get(..MOST_PORTS).unwrap_or(members);
        let places = || (0u8..).zip(members);
        let mut senders: Vec<u8> =
            places().filter(|(_, member)| member.distributing).map(|(place, _)| place).collect();
        let mut takers = places()
            .filter(|(_, member)| member.collecting)
            .fold(0, |takers, (place, _)| takers | 1 << place);
        let mut parts = vec![];
        match protocol {
            Protocol::None => {
                senders.clear();
                takers = 0;
            }
            Protocol::Failover => {
                senders.truncate(1);
                // From another one they come twice where both lead to the same network.
                takers &= senders.first().map_or(0, |place| 1 << place);
            }
            Protocol::LoadBalance | Protocol::Lacp => parts = share(members, &senders),
            Protocol::RoundRobin | Protocol::Broadcast => {}
        }
        Self { protocol, hash, senders, takers, parts }
    }

    /// Where all frames go, if that does not depend on them or on whose turn it is.
    pub fn same_for_all(&self) -> Option<Choice> {
        match &self.senders[..] {
            [] => Some(Choice::Nowhere),
            [one] => Some(Choice::One(usize::from(*one))),
            _ if self.protocol == Protocol::Broadcast => Some(Choice::All),
            _ => None,
        }
    }

    /// Where `frame` goes. `turn` gives another number each time, the next one.
    pub fn choose(&self, frame: &[u8], turn: impl FnOnce() -> usize) -> Choice {
        if let Some(choice) = self.same_for_all() {
            return choice;
        }
        let place = match self.protocol {
            Protocol::RoundRobin => self.senders.get(turn() % self.senders.len()),
            _ => self.parts.get(self.hash.hash(frame) as usize % PARTS),
        };
        place.map_or(Choice::Nowhere, |place| Choice::One(usize::from(*place)))
    }

    /// Whether frames are taken from the port at that place.
    pub fn takes_from(&self, place: usize) -> bool {
        place < MOST_PORTS && self.takers >> place & 1 == 1
    }

    /// The places of the ports on which something is sent: with failover, one.
    pub fn senders(&self) -> impl Iterator<Item = usize> {
        self.senders.iter().map(|place| usize::from(*place))
    }
}

/// Gives each part of the flows to the sender that draws the highest number for it. So when one goes,
/// only what it had moves; and what it gets when it comes, or comes back, is all that moves.
fn share(members: &[Member], senders: &[u8]) -> Vec<u8> {
    if senders.len() < 2 {
        return vec![];
    }
    let drawn = |part: u64, place: u8| {
        let number = members.get(usize::from(place)).map_or(0, |member| member.number);
        fold(fold(((u64::from(number) << 32) | part) ^ FIRST_DRAW, SECOND_DRAW), FIRST_DRAW)
    };
    (0..PARTS as u64)
        .filter_map(|part| senders.iter().max_by_key(|place| drawn(part, **place)).copied())
        .collect()
}

/// Parts that flows are divided into.
const PARTS: usize = 256;
const FIRST_DRAW: u64 = 0xd1b5_4a32_d192_ed03;
const SECOND_DRAW: u64 = 0xa076_1d64_78bd_642f;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::HashLayers;

    const ALL: [Protocol; 6] = [
        Protocol::None,
        Protocol::Failover,
        Protocol::LoadBalance,
        Protocol::RoundRobin,
        Protocol::Broadcast,
        Protocol::Lacp,
    ];

    fn up(number: u16) -> Member {
        Member { number, collecting: true, distributing: true }
    }

    fn down(number: u16) -> Member {
        Member { number, collecting: false, distributing: false }
    }

    fn distribution(protocol: Protocol, members: &[Member]) -> Distribution {
        let hash = FlowHash::new(HashLayers::default(), 0x0123_4567_89ab_cdef);
        Distribution::new(protocol, hash, members)
    }

    /// A frame of one of many flows.
    fn frame(flow: u32) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0];
        frame.extend(flow.to_be_bytes());
        frame.extend([0x88, 0xb5]);
        frame
    }

    /// Where the frames of 4096 flows go.
    fn spread(distribution: &Distribution) -> Vec<Choice> {
        let never = || -> usize { panic!("flows take no turns") };
        (0..4096).map(|flow| distribution.choose(&frame(flow), never)).collect()
    }

    fn taken(distribution: &Distribution) -> Vec<usize> {
        (0..100).filter(|place| distribution.takes_from(*place)).collect()
    }

    #[test]
    fn none_uses_no_port() {
        let none = distribution(Protocol::None, &[up(1), up(2)]);
        assert_eq!(none.choose(&frame(1), || 0), Choice::Nowhere);
        assert!(taken(&none).is_empty());
        assert_eq!(none.senders().count(), 0);
    }

    #[test]
    fn without_a_port_that_is_up_nothing_is_sent() {
        for protocol in ALL {
            for members in [&[][..], &[down(1), down(2)]] {
                let distribution = distribution(protocol, members);
                assert_eq!(distribution.choose(&frame(1), || 7), Choice::Nowhere, "{protocol}");
                assert!(taken(&distribution).is_empty(), "{protocol}");
            }
        }
    }

    #[test]
    fn failover_uses_the_first_port_that_is_up() {
        let cases = [
            ([up(1), up(2), up(3)], 0),
            ([down(1), up(2), up(3)], 1),
            ([down(1), down(2), up(3)], 2),
        ];
        for (members, used) in cases {
            let failover = distribution(Protocol::Failover, &members);
            assert_eq!(failover.choose(&frame(1), || 7), Choice::One(used));
            assert_eq!(taken(&failover), [used]);
            assert_eq!(failover.senders().collect::<Vec<_>>(), [used]);
        }
    }

    #[test]
    fn roundrobin_takes_turns() {
        let turns = distribution(Protocol::RoundRobin, &[up(1), down(2), up(3)]);
        let chosen = [0, 1, 2, 3, usize::MAX].map(|turn| turns.choose(&frame(1), || turn));
        assert_eq!(chosen, [0, 2, 0, 2, 2].map(Choice::One));
        assert_eq!(taken(&turns), [0, 2]);
    }

    #[test]
    fn broadcast_uses_all() {
        let all = distribution(Protocol::Broadcast, &[up(1), down(2), up(3)]);
        assert_eq!(all.choose(&frame(1), || 0), Choice::All);
        assert_eq!(all.senders().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(taken(&all), [0, 2]);
        let one = distribution(Protocol::Broadcast, &[down(1), up(2)]);
        assert_eq!(one.choose(&frame(1), || 0), Choice::One(1));
    }

    #[test]
    fn flows_are_shared_among_the_ports_that_are_up() {
        for protocol in [Protocol::LoadBalance, Protocol::Lacp] {
            let some = distribution(protocol, &[up(1), down(2), up(3), up(4)]);
            let spread = spread(&some);
            for place in [0, 2, 3] {
                let flows = spread.iter().filter(|choice| **choice == Choice::One(place)).count();
                assert!((1000..1750).contains(&flows), "{flows} of 4096 on port {place}");
            }
            assert!(!spread.contains(&Choice::One(1)));
            assert_eq!(taken(&some), [0, 2, 3]);
        }
    }

    #[test]
    fn a_flow_moves_only_if_its_port_goes() {
        let all = spread(&distribution(Protocol::LoadBalance, &[up(1), up(2), up(3), up(4)]));
        let fewer = spread(&distribution(Protocol::LoadBalance, &[up(1), up(2), down(3), up(4)]));
        let others = fewer.iter().zip(&all).filter(|(_, before)| **before != Choice::One(2));
        assert!(others.clone().count() > 2000);
        assert!(others.into_iter().all(|(now, before)| now == before));
        // The same if it is no port any more, but for the places.
        let gone = spread(&distribution(Protocol::LoadBalance, &[up(1), up(2), up(4)]));
        let places = gone.iter().map(|choice| match choice {
            Choice::One(2) => Choice::One(3),
            other => *other,
        });
        assert!(places.eq(fewer));
    }

    #[test]
    fn a_port_that_collects_need_not_distribute() {
        let half = Member { number: 2, collecting: true, distributing: false };
        let lacp = distribution(Protocol::Lacp, &[up(1), half]);
        assert_eq!(taken(&lacp), [0, 1]);
        assert!(spread(&lacp).iter().all(|choice| *choice == Choice::One(0)));
    }

    #[test]
    fn more_ports_than_there_can_be_are_left_out() {
        let members: Vec<_> = (1..=40).map(up).collect();
        for protocol in ALL {
            let many = distribution(protocol, &members);
            assert!(many.senders().chain(taken(&many)).all(|place| place < MOST_PORTS));
        }
    }
}
