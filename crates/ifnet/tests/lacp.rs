//! Two systems that speak LACP with each other, over links and through a time of the test's own.
#![cfg(not(any(loom, shuttle)))]

use holm_ifnet::MacAddress;
use holm_ifnet::ether::{Ethernet, HEADER};
use holm_ifnet::lacp::{
    ADDRESS, Action, ChurnState, ETHER_TYPE, Information, Lacp, Lacpdu, Link, Marker, MuxState,
    Options, PortOptions, ReceiveState, Selected, SlowPdu, State,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const UP: Link = Link { up: true, speed: 10_000, full_duplex: true };
const DOWN: Link = Link { up: false, ..UP };
const GONE: &str = "the port is there";

/// A port: which of the systems, and its number there.
type Place = (usize, u16);

/// Some systems, and the cables between their ports.
struct World {
    systems: Vec<Lacp>,
    cables: BTreeMap<Place, Place>,
    /// What the ports are used for: to take frames, to send them.
    usage: BTreeMap<Place, (bool, bool)>,
    /// When LACPDUs were sent.
    sent: BTreeMap<Place, Vec<Duration>>,
    start: Instant,
    time: Duration,
}

impl World {
    fn new(options: &[Options]) -> Self {
        let start = Instant::now();
        let system = |(number, options): (usize, &Options)| {
            Lacp::new(start, MacAddress([2, 0, 0, 0, 1, number as u8]), *options)
        };
        Self {
            systems: options.iter().enumerate().map(system).collect(),
            cables: BTreeMap::new(),
            usage: BTreeMap::new(),
            sent: BTreeMap::new(),
            start,
            time: Duration::ZERO,
        }
    }

    /// Two systems of that kind, with `links` links between them: port n to port n + 10.
    fn pair(ours: Options, theirs: Options, links: u16) -> Self {
        let mut world = Self::new(&[ours, theirs]);
        for number in 1..=links {
            world.plug((0, number), (1, number + 10));
        }
        world
    }

    fn plug(&mut self, one: Place, other: Place) {
        self.cables.insert(one, other);
        self.cables.insert(other, one);
        for place in [one, other] {
            self.usage.insert(place, (false, false));
            self.act(place.0, |lacp, now, actions| {
                lacp.add_port(now, place.1, PortOptions::default(), UP, actions);
            });
        }
    }

    /// A cable that is pulled, with or without the ends' links being lost.
    fn pull(&mut self, one: Place, links_are_lost: bool) {
        let other = self.cables.remove(&one).unwrap();
        self.cables.remove(&other);
        if links_are_lost {
            self.set_link(one, DOWN);
            self.set_link(other, DOWN);
        }
    }

    fn set_link(&mut self, place: Place, link: Link) {
        self.act(place.0, |lacp, now, actions| lacp.set_link(now, place.1, link, actions));
    }

    /// Does something at a system, and whatever follows from it at the same instant.
    fn act(&mut self, system: usize, what: impl FnOnce(&mut Lacp, Instant, &mut Vec<Action>)) {
        let now = self.start + self.time;
        let mut actions = vec![];
        what(&mut self.systems[system], now, &mut actions);
        let mut todo: VecDeque<_> = actions.into_iter().map(|action| (system, action)).collect();
        let mut rounds = 0;
        while let Some((system, action)) = todo.pop_front() {
            rounds += 1;
            assert!(rounds < 10_000, "they never stop talking");
            let (place, pdu) = match action {
                Action::Use { port, collecting, distributing } => {
                    self.usage.insert((system, port), (collecting, distributing));
                    continue;
                }
                Action::Send { port, pdu } => ((system, port), pdu),
            };
            if matches!(pdu, SlowPdu::Lacp(_)) {
                self.sent.entry(place).or_default().push(self.time);
            }
            let Some(&(peer, port)) = self.cables.get(&place) else { continue };
            let frame = pdu.frame(MacAddress([2, 0, 0, 0, 2, 2]));
            let frame = Ethernet::parse(&frame).unwrap();
            assert_eq!((frame.destination, frame.ether_type), (ADDRESS, ETHER_TYPE));
            let mut actions = vec![];
            self.systems[peer].receive(now, port, frame.payload, &mut actions);
            todo.extend(actions.into_iter().map(|action| (peer, action)));
        }
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, seconds: f64) {
        let end = self.time + Duration::from_secs_f64(seconds);
        loop {
            let due = self.systems.iter().enumerate();
            let due = due.filter_map(|(system, lacp)| Some((lacp.deadline()?, system))).min();
            let Some((deadline, system)) =
                due.filter(|(deadline, _)| *deadline - self.start <= end)
            else {
                break;
            };
            self.time = deadline - self.start;
            self.act(system, |lacp, now, actions| {
                lacp.advance(now, actions);
                assert!(lacp.deadline().is_none_or(|next| next > now));
            });
        }
        self.time = end;
        for system in 0..self.systems.len() {
            self.act(system, |lacp, now, actions| lacp.advance(now, actions));
        }
    }

    fn usage(&self, places: &[Place]) -> Vec<(bool, bool)> {
        places.iter().map(|place| self.usage[place]).collect()
    }

    fn status(&self, (system, port): Place) -> holm_ifnet::lacp::PortStatus {
        self.systems[system].status(port).expect(GONE)
    }

    /// No port has sent more than three LACPDUs in any second.
    fn assert_limit(&self) {
        for (place, sent) in &self.sent {
            for (first, fourth) in sent.iter().zip(&sent[3.min(sent.len())..]) {
                assert!(*fourth - *first >= Duration::from_secs(1), "{place:?}: {sent:?}");
            }
        }
    }
}

const IN_USE: (bool, bool) = (true, true);
const UNUSED: (bool, bool) = (false, false);
const LINKS: [Place; 4] = [(0, 1), (0, 2), (1, 11), (1, 12)];

fn options(active: bool, fast: bool) -> Options {
    Options { active, fast, ..Options::default() }
}

#[test]
fn two_systems_come_up_in_every_mode_in_which_one_of_them_is_active() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        for (we_fast, they_fast) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut world = World::pair(options(ours, we_fast), options(theirs, they_fast), 2);
            // All links come up at the same time: they wait, agree, and tell each other.
            world.pass(1.9);
            assert_eq!(world.usage(&LINKS), [UNUSED; 4]);
            world.pass(2.1);
            assert_eq!(world.usage(&LINKS), [IN_USE; 4], "{ours} {theirs} {we_fast} {they_fast}");
            world.pass(300.0);
            assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
            for place in LINKS {
                let status = world.status(place);
                assert_eq!(
                    (status.selected, status.mux),
                    (Selected::Selected, MuxState::Distributing)
                );
                assert_eq!(status.receive, ReceiveState::Current);
                let churn = (status.actor_churn, status.partner_churn);
                assert_eq!(churn, (ChurnState::NoChurn, ChurnState::NoChurn));
                let counters = status.counters;
                assert_eq!((counters.actor_churns, counters.partner_churns), (0, 0));
                assert!(!status.looped);
            }
            world.assert_limit();
        }
    }
}

#[test]
fn the_partner_sets_the_pace() {
    let mut world = World::pair(options(true, false), options(true, true), 1);
    world.pass(10.0);
    let before = world.sent.clone();
    world.pass(300.0);
    let more = |place| world.sent[&place].len() - before[&place].len();
    assert_eq!((more((0, 1)), more((1, 11))), (300, 10));
}

#[test]
fn two_passive_systems_say_nothing() {
    let mut world = World::pair(options(false, true), options(false, true), 2);
    world.pass(1000.0);
    assert_eq!(world.usage(&LINKS), [UNUSED; 4]);
    assert!(world.sent.is_empty());
}

#[test]
fn a_link_that_is_lost_is_left_at_once_and_taken_up_again() {
    let mut world = World::pair(options(true, false), options(true, false), 2);
    world.pass(5.0);
    world.pull((0, 1), true);
    assert_eq!(world.usage(&LINKS), [UNUSED, IN_USE, UNUSED, IN_USE]);
    world.pass(500.0);
    assert_eq!(world.usage(&LINKS), [UNUSED, IN_USE, UNUSED, IN_USE]);
    world.cables.extend([((0, 1), (1, 11)), ((1, 11), (0, 1))]);
    world.set_link((0, 1), UP);
    world.set_link((1, 11), UP);
    world.pass(4.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    world.assert_limit();
}

#[test]
fn a_link_that_dies_silently_is_left_after_the_timeout() {
    for (fast, timeout) in [(true, 3.0), (false, 90.0)] {
        let mut world = World::pair(options(true, fast), options(true, fast), 2);
        // Until just after the partner was heard.
        world.pass(if fast { 30.5 } else { 30.9 });
        world.pull((0, 1), false);
        world.pass(timeout / 2.0);
        assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
        world.pass(timeout / 2.0);
        assert_eq!(world.usage(&LINKS), [UNUSED, IN_USE, UNUSED, IN_USE], "{fast}");
        assert_eq!(world.status((0, 1)).receive, ReceiveState::Expired);
        world.pass(3.0);
        assert_eq!(world.status((0, 1)).receive, ReceiveState::Defaulted);
        assert_eq!(world.status((0, 1)).selected, Selected::Unselected);
        world.pass(61.0);
        assert_eq!(world.status((0, 1)).partner_churn, ChurnState::Churn);
        assert_eq!(world.status((0, 2)).partner_churn, ChurnState::NoChurn);
        world.assert_limit();
    }
}

#[test]
fn a_port_that_leads_to_another_system_stands_by_and_its_partner_knows() {
    let mut world = World::pair(options(true, true), options(true, true), 2);
    world.systems.push(Lacp::new(world.start, MacAddress([2, 0, 0, 0, 1, 9]), options(true, true)));
    world.plug((0, 3), (2, 13));
    world.pass(10.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    assert_eq!(world.usage(&[(0, 3), (2, 13)]), [UNUSED; 2]);
    assert_eq!(world.status((0, 3)).selected, Selected::Standby);
    assert!(!world.status((2, 13)).partner.state.has(State::SYNCHRONIZATION));
    world.pass(60.0);
    assert_eq!(world.status((0, 3)).actor_churn, ChurnState::Churn);
    assert_eq!(world.status((2, 13)).partner_churn, ChurnState::Churn);
    // Now it is the only one that has a partner.
    world.pull((0, 1), true);
    assert_eq!(world.usage(&[(0, 2), (1, 12), (0, 3), (2, 13)]), [IN_USE, IN_USE, UNUSED, UNUSED]);
    world.pull((0, 2), true);
    world.pass(5.0);
    assert_eq!(world.usage(&[(0, 2), (1, 12), (0, 3), (2, 13)]), [UNUSED, UNUSED, IN_USE, IN_USE]);
    world.assert_limit();
}

#[test]
fn the_group_with_more_bandwidth_is_used() {
    let mut world = World::new(&[options(true, true); 3]);
    world.plug((0, 1), (1, 11));
    world.pass(5.0);
    world.plug((0, 2), (2, 12));
    world.pass(5.0);
    assert_eq!(world.usage(&[(0, 1), (0, 2)]), [IN_USE, UNUSED], "as much: the first one stays");
    world.plug((0, 3), (2, 13));
    world.pass(5.0);
    assert_eq!(world.usage(&[(0, 1), (0, 2), (0, 3)]), [UNUSED, IN_USE, IN_USE]);
    world.assert_limit();
}

#[test]
fn a_port_whose_partner_becomes_another_is_left_at_once() {
    let mut world = World::pair(options(true, false), options(true, false), 2);
    world.pass(5.0);
    let stranger = MacAddress([2, 0, 0, 0, 1, 9]);
    let mut said = world.status((1, 11)).actor;
    said.system.mac = stranger;
    let pdu = Lacpdu { actor: said, partner: world.status((0, 1)).actor, collector_max_delay: 0 };
    let frame = SlowPdu::Lacp(pdu).frame(stranger);
    world.cables.remove(&(0, 1));
    world.act(0, |lacp, now, actions| lacp.receive(now, 1, &frame[HEADER..], actions));
    assert_eq!(world.usage(&[(0, 1), (0, 2)]), [UNUSED, IN_USE]);
    assert_eq!(world.status((0, 1)).selected, Selected::Standby);
    world.cables.insert((0, 1), (1, 11));
    world.pass(120.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4], "the old one is back");
    world.assert_limit();
}

#[test]
fn a_system_that_is_renamed_comes_up_again() {
    let mut world = World::pair(options(true, false), options(true, false), 2);
    world.pass(5.0);
    world.act(0, |lacp, now, actions| {
        lacp.set_mac(now, MacAddress([2, 7, 7, 7, 7, 7]), actions);
    });
    assert_eq!(world.usage(&LINKS), [UNUSED; 4]);
    world.pass(6.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    assert_eq!(world.status((1, 11)).partner.system.mac, MacAddress([2, 7, 7, 7, 7, 7]));
    world.act(1, |lacp, now, actions| {
        lacp.set_options(now, Options { key: 5, fast: true, ..lacp.options() }, actions);
    });
    world.pass(6.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    assert!(world.status((0, 1)).partner.state.has(State::SHORT_TIMEOUT));
    world.assert_limit();
}

#[test]
fn links_of_another_speed_or_half_duplex_are_not_aggregated_with_the_others() {
    let mut world = World::pair(options(true, true), options(true, true), 4);
    let slow = Link { speed: 1_000, ..UP };
    let half = Link { full_duplex: false, ..UP };
    for (number, link) in [(3, slow), (4, half)] {
        world.set_link((0, number), link);
        world.set_link((1, number + 10), link);
    }
    world.pass(10.0);
    let ours = [(0, 1), (0, 2), (0, 3), (0, 4)];
    assert_eq!(world.usage(&ours), [IN_USE, IN_USE, UNUSED, UNUSED]);
    assert_eq!(world.status((0, 3)).selected, Selected::Standby);
    assert_eq!(world.status((0, 4)).selected, Selected::Unselected);
    assert_eq!(world.status((0, 4)).receive, ReceiveState::LacpDisabled);
    world.set_link((0, 4), UP);
    world.set_link((1, 14), UP);
    world.pass(6.0);
    assert_eq!(world.usage(&ours), [IN_USE, IN_USE, UNUSED, IN_USE]);
    world.assert_limit();
}

#[test]
fn of_individual_ports_one_is_used() {
    let mut world = World::pair(options(true, true), options(true, true), 2);
    for number in 1..=2 {
        let alone = PortOptions { individual: true, ..PortOptions::default() };
        world.act(0, |lacp, now, actions| lacp.set_port_options(now, number, alone, actions));
    }
    world.pass(10.0);
    assert_eq!(world.usage(&LINKS), [IN_USE, UNUSED, IN_USE, UNUSED]);
    let first = PortOptions { individual: true, priority: 1 };
    world.pull((0, 1), true);
    world.act(0, |lacp, now, actions| lacp.set_port_options(now, 2, first, actions));
    world.pass(10.0);
    assert_eq!(world.usage(&LINKS), [UNUSED, IN_USE, UNUSED, IN_USE]);
    world.assert_limit();
}

#[test]
fn a_system_connected_to_itself_uses_no_such_port() {
    let mut world = World::pair(options(true, true), options(true, true), 1);
    world.plug((0, 2), (0, 3));
    // And one that hears itself.
    world.plug((0, 4), (0, 5));
    world.cables.insert((0, 4), (0, 4));
    world.pass(100.0);
    let ours = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)];
    assert_eq!(world.usage(&ours), [IN_USE, UNUSED, UNUSED, UNUSED, UNUSED]);
    for number in [2, 3, 4] {
        let status = world.status((0, number));
        assert!(status.looped && status.counters.looped > 0);
        assert_eq!(status.selected, Selected::Unselected);
    }
    assert!(!world.status((0, 1)).looped);
    world.pull((0, 2), false);
    world.pass(100.0);
    assert!(!world.status((0, 2)).looped, "it is forgotten with the partner");
    world.assert_limit();
}

#[test]
fn a_partner_that_speaks_no_lacp_gets_one_port_if_that_is_wanted() {
    let lenient = Options { strict: false, ..options(true, true) };
    for (ours, usage) in [(lenient, [IN_USE, UNUSED]), (options(true, true), [UNUSED; 2])] {
        let mut world = World::new(&[ours]);
        for number in 1..=2 {
            world.usage.insert((0, number), UNUSED);
            world.act(0, |lacp, now, actions| {
                lacp.add_port(now, number, PortOptions::default(), UP, actions);
            });
        }
        world.pass(2.9);
        assert_eq!(world.usage(&[(0, 1), (0, 2)]), [UNUSED; 2]);
        world.pass(10.0);
        assert_eq!(world.usage(&[(0, 1), (0, 2)]), usage);
        world.set_link((0, 1), DOWN);
        world.pass(5.0);
        assert_eq!(world.usage(&[(0, 1), (0, 2)]), [UNUSED, usage[0]]);
        world.assert_limit();
    }
}

#[test]
fn a_port_that_comes_and_goes_does_not_keep_another_waiting() {
    let mut world = World::pair(options(true, true), options(true, true), 2);
    for _ in 0..10 {
        world.set_link((0, 2), DOWN);
        world.pass(0.3);
        world.set_link((0, 2), UP);
        world.pass(0.7);
    }
    assert_eq!(world.usage(&[(0, 1), (1, 11)]), [IN_USE; 2]);
    world.pass(4.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    world.assert_limit();
}

#[test]
fn a_port_that_leaves_takes_its_traffic_with_it() {
    let mut world = World::pair(options(true, true), options(true, true), 2);
    world.pass(5.0);
    world.act(0, |lacp, now, actions| lacp.remove_port(now, 1, actions));
    assert_eq!(world.systems[0].status(1), None);
    world.pass(5.0);
    assert_eq!(world.usage(&[(0, 2), (1, 11), (1, 12)]), [IN_USE, UNUSED, IN_USE]);
    // What still comes for it is nothing.
    world.act(0, |lacp, now, actions| lacp.receive(now, 1, &[1; 110], actions));
    world.plug((0, 1), (1, 11));
    world.pass(5.0);
    assert_eq!(world.usage(&LINKS), [IN_USE; 4]);
    world.assert_limit();
}

#[test]
fn markers_are_answered() {
    let mut world = World::pair(options(true, true), options(true, true), 1);
    world.cables.clear();
    let system = MacAddress([2, 9, 9, 9, 9, 9]);
    let mut actions = vec![];
    for transaction in 0..1000 {
        let marker = SlowPdu::Marker(Marker { port: 4, system, transaction });
        let frame = marker.frame(system);
        world.systems[0].receive(world.start, 1, &frame[HEADER..], &mut actions);
        let answer = SlowPdu::MarkerResponse(Marker { port: 4, system, transaction });
        let frame = answer.frame(system);
        world.systems[0].receive(world.start, 1, &frame[HEADER..], &mut actions);
    }
    let answers: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { port: 1, pdu: SlowPdu::MarkerResponse(marker) } => {
                assert_eq!((marker.port, marker.system), (4, system));
                Some(marker.transaction)
            }
            _ => None,
        })
        .collect();
    assert_eq!(answers, [0, 1, 2, 3, 4]);
    let counters = world.status((0, 1)).counters;
    assert_eq!((counters.markers, counters.marker_responses, counters.unknown), (1000, 5, 1000));
}

mod whatever_happens {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Event {
        Bytes(u16, Vec<u8>),
        /// A LACPDU that is well-formed, from one of a few systems, perhaps with our own end in it.
        Pdu {
            port: u16,
            from: u8,
            number: u16,
            actor: u8,
            echo: bool,
            partner: u8,
        },
        Link(u16, Link),
        Options(Options),
        PortOptions(u16, PortOptions),
        Mac(u8),
        Add(u16),
        Remove(u16),
        Pass,
    }

    fn event() -> impl Strategy<Value = Event> {
        let port = 0..4u16;
        let link = (any::<bool>(), prop_oneof![Just(0), Just(1_000), any::<u32>()], any::<bool>());
        let link = link.prop_map(|(up, speed, full_duplex)| Link { up, speed, full_duplex });
        let options = (any::<[bool; 3]>(), any::<u16>(), any::<u16>());
        let options = options.prop_map(|([active, fast, strict], system_priority, key)| Options {
            active,
            fast,
            strict,
            system_priority,
            key,
        });
        let port_options = (any::<u16>(), any::<bool>());
        let port_options =
            port_options.prop_map(|(priority, individual)| PortOptions { priority, individual });
        let pdu = (port.clone(), 0..3u8, 0..3u16, any::<u8>(), any::<bool>(), any::<u8>());
        prop_oneof![
            2 => (port.clone(), vec(any::<u8>(), 0..130)).prop_map(|(port, bytes)| Event::Bytes(port, bytes)),
            8 => pdu.prop_map(|(port, from, number, actor, echo, partner)| {
                Event::Pdu { port, from, number, actor, echo, partner }
            }),
            3 => (port.clone(), link).prop_map(|(port, link)| Event::Link(port, link)),
            1 => options.prop_map(Event::Options),
            1 => (port.clone(), port_options).prop_map(|(port, options)| Event::PortOptions(port, options)),
            1 => (0..3u8).prop_map(Event::Mac),
            2 => port.clone().prop_map(Event::Add),
            1 => port.prop_map(Event::Remove),
            8 => Just(Event::Pass),
        ]
    }

    fn mac(number: u8) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, number])
    }

    /// What is sent and used stays within its bounds, whatever comes at whatever time.
    fn run(events: Vec<(u64, Event)>) {
        let start = Instant::now();
        let mut lacp = Lacp::new(start, mac(0), Options::default());
        let mut latest = start;
        // Since a port was added: what was sent on it, and whether it is used.
        let mut sent: BTreeMap<u16, Vec<Instant>> = BTreeMap::new();
        let mut usage: BTreeMap<u16, (bool, bool)> = BTreeMap::new();
        for (at, event) in events {
            // Not in order.
            let now = start + Duration::from_millis(at);
            latest = latest.max(now);
            let mut actions = vec![];
            match event {
                Event::Bytes(port, bytes) => lacp.receive(now, port, &bytes, &mut actions),
                Event::Pdu { port, from, number, actor, echo, partner } => {
                    let mut pdu = Lacpdu::default();
                    pdu.actor.system.mac = mac(from);
                    pdu.actor.port.number = number;
                    pdu.actor.state = State(actor);
                    pdu.partner = match lacp.status(port).filter(|_| echo) {
                        Some(status) => Information { state: State(partner), ..status.actor },
                        None => pdu.partner,
                    };
                    let frame = SlowPdu::Lacp(pdu).frame(mac(from));
                    lacp.receive(now, port, &frame[HEADER..], &mut actions);
                }
                Event::Link(port, link) => lacp.set_link(now, port, link, &mut actions),
                Event::Options(options) => lacp.set_options(now, options, &mut actions),
                Event::PortOptions(port, options) => {
                    lacp.set_port_options(now, port, options, &mut actions);
                }
                Event::Mac(number) => lacp.set_mac(now, mac(number), &mut actions),
                Event::Add(port) => {
                    sent.remove(&port);
                    usage.insert(port, (false, false));
                    lacp.add_port(now, port, PortOptions::default(), UP, &mut actions);
                }
                Event::Remove(port) => {
                    usage.remove(&port);
                    lacp.remove_port(now, port, &mut actions);
                }
                Event::Pass => lacp.advance(now, &mut actions),
            }
            for action in actions {
                match action {
                    Action::Send { port, pdu: SlowPdu::Lacp(pdu) } => {
                        let sent = sent.entry(port).or_default();
                        sent.push(latest);
                        if let [.., first, _, _, fourth] = sent[..] {
                            assert!(fourth - first >= Duration::from_secs(1));
                        }
                        assert_eq!(pdu.actor.port.number, port);
                    }
                    Action::Send { pdu, .. } => assert!(matches!(pdu, SlowPdu::MarkerResponse(_))),
                    Action::Use { port, collecting, distributing } => {
                        let before = usage.insert(port, (collecting, distributing));
                        assert_ne!(before, Some((collecting, distributing)));
                        assert!(before.is_some(), "a port that is there");
                    }
                }
            }
            for (port, used) in &usage {
                let status = lacp.status(*port).expect(GONE);
                let state = status.actor.state;
                let told = (state.has(State::COLLECTING), state.has(State::DISTRIBUTING));
                assert_eq!(*used, told, "what we do is what we say");
                if used.0 {
                    assert_eq!(status.selected, Selected::Selected);
                    assert!(status.partner.state.has(State::SYNCHRONIZATION) && !status.looped);
                }
            }
            assert!(lacp.deadline().is_none_or(|deadline| deadline > latest), "it would spin");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neither_panics_nor_sends_too_much_nor_uses_a_port_it_must_not(
            events in vec((0..20_000u64, event()), 1..120)
        ) {
            run(events);
        }

        #[test]
        fn the_same_when_time_goes_forward(
            events in vec((0..2_000u64, event()), 1..120)
        ) {
            let mut time = 0;
            let events = events.into_iter().map(|(step, event)| {
                time += step;
                (time, event)
            });
            run(events.collect());
        }
    }
}
