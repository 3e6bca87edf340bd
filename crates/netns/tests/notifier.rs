//! Notifiers: brought up to date, told of everything from there on, and nothing left of a refusal.
#![cfg(not(any(loom, shuttle)))]

mod common;

use common::heard;
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::notifier::{
    Chain, Member, Notice, Notifier, NotifierError, NotifierRefused, NsHeld, Refusal, Registered,
    Source,
};
use holm_netns::{Held, InitError, Namespace, Registry, Subsystem, View};
use std::sync::{Arc, Mutex};
use std::thread;

/// A port came or went, or something happened to it that needs no taking back.
#[derive(Debug, Clone, PartialEq)]
enum Port {
    Up(u32),
    Down(u32),
    Renamed(u32),
}

impl Notice for Port {
    fn reverse(&self) -> Option<Self> {
        match self {
            Port::Up(port) => Some(Port::Down(*port)),
            Port::Down(port) => Some(Port::Up(*port)),
            Port::Renamed(_) => None,
        }
    }
}

/// The ports of each namespace; told of on the chain.
struct Ports {
    chain: Chain<Port>,
}

struct PortsOf {
    member: Arc<Member<Port>>,
    there: Arc<There>,
}

#[derive(Default)]
struct There {
    notices: Mutex<Vec<Port>>,
    panics: bool,
}

impl Source<Port> for There {
    fn existing(&self, _: &mut NsHeld<'_>) -> Vec<Port> {
        assert!(!self.panics, "lost count");
        self.notices.lock().unwrap().clone()
    }
}

impl Subsystem for Ports {
    type State = PortsOf;

    fn name(&self) -> &str {
        "ports"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<PortsOf, InitError> {
        let _ = &self.chain;
        let member = ns.get::<Chain<Port>>().expect("registered before").clone();
        let panics = ns.namespace().id().name.as_str() == "panics";
        let there = Arc::new(There { panics, ..There::default() });
        member.set_source(there.clone());
        Ok(PortsOf { member, there })
    }

    fn pre_exit(&self, ns: &View<'_>, ports: &PortsOf) {
        // As interfaces do: they go while the namespace drains, and everybody hears of it.
        let mut held = Locked::nothing();
        let mut guard = ns.namespace().lock(&mut held);
        let gone = std::mem::take(&mut *ports.there.notices.lock().unwrap());
        for notice in gone.iter().rev().filter_map(Notice::reverse) {
            ports.member.notify(&notice, guard.token());
        }
    }
}

fn up(ns: &Namespace, port: u32) {
    let inside = ns.enter().unwrap();
    let ports = inside.get::<Ports>().unwrap();
    let mut held = Locked::nothing();
    let mut guard = ns.lock(&mut held);
    ports.there.notices.lock().unwrap().push(Port::Up(port));
    ports.member.notify(&Port::Up(port), guard.token());
}

fn say(ns: &Namespace, notice: &Port) {
    let inside = ns.enter().unwrap();
    let mut held = Locked::nothing();
    inside.get::<Ports>().unwrap().member.notify(notice, ns.lock(&mut held).token());
}

/// Writes down what it hears, and refuses (or panics at) what it is told to.
#[derive(Default)]
struct Listener {
    log: Mutex<Vec<String>>,
    refuses: Option<Port>,
    panics: Option<Port>,
}

impl Listener {
    fn refuses(notice: Port) -> Arc<Self> {
        Arc::new(Self { refuses: Some(notice), ..Self::default() })
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Notifier<Port> for Listener {
    fn name(&self) -> &str {
        "listener"
    }

    fn notify(&self, ns: &Namespace, notice: &Port, _: &mut NsHeld<'_>) -> Result<(), Refusal> {
        if Some(notice) == self.refuses.as_ref() {
            return Err(Refusal(format!("not {notice:?}")));
        }
        assert!(Some(notice) != self.panics.as_ref(), "at {notice:?}");
        self.log.lock().unwrap().push(format!("{} {notice:?}", ns.id().name));
        Ok(())
    }
}

fn registry() -> (Registry, Chain<Port>) {
    let registry = Registry::new().unwrap();
    let chain = Chain::new("ports chain");
    registry.register(chain.clone()).unwrap();
    registry.register(Ports { chain: chain.clone() }).unwrap();
    (registry, chain)
}

fn listen(
    registry: &Registry,
    chain: &Chain<Port>,
    listener: &Arc<Listener>,
) -> Result<Registered<Port>, NotifierRefused> {
    chain.register(registry, listener.clone()).map_err(|error| match error {
        NotifierError::Refused(refused) => refused,
        other => panic!("{other}"),
    })
}

/// Two namespaces: `a` with ports 1 and 2, `b` with 3 and 4.
fn with_ports() -> (Registry, Chain<Port>, [Namespace; 2]) {
    let (registry, chain) = registry();
    let [a, b] = ["a", "b"].map(|name| registry.create(name).unwrap());
    for (ns, port) in [(&a, 1), (&a, 2), (&b, 3), (&b, 4)] {
        up(ns, port);
    }
    (registry, chain, [a, b])
}

#[test]
fn new_notifier_hears_what_exists_in_order_and_then_what_happens() {
    let (registry, chain, [a, b]) = with_ports();
    let listener = Arc::new(Listener::default());
    let _registered = listen(&registry, &chain, &listener).unwrap();
    assert_eq!(listener.log(), ["a Up(1)", "a Up(2)", "b Up(3)", "b Up(4)"]);
    up(&b, 5);
    say(&a, &Port::Renamed(1));
    let c = registry.create("c").unwrap();
    up(&c, 6);
    assert_eq!(listener.log(), ["b Up(5)", "a Renamed(1)", "c Up(6)"]);
}

#[test]
fn namespace_that_goes_is_heard_of_to_the_end() {
    let (registry, chain, [a, b]) = with_ports();
    let listener = Arc::new(Listener::default());
    let _registered = listen(&registry, &chain, &listener).unwrap();
    listener.log();
    let inside = a.enter().unwrap();
    registry.remove([&a], Deadline::now()).expect_err("somebody is inside");
    assert_eq!(listener.log(), ["a Down(2)", "a Down(1)"]);
    // It drains; who comes now hears what exists in it, which is nothing, and what happens.
    let late = Arc::new(Listener::default());
    let _late = listen(&registry, &chain, &late).unwrap();
    assert_eq!(late.log(), ["b Up(3)", "b Up(4)"]);
    let mut held = Locked::nothing();
    let member = &inside.get::<Ports>().unwrap().member;
    member.notify(&Port::Up(9), a.lock(&mut held).token());
    assert_eq!((listener.log(), late.log()), (vec!["a Up(9)".to_owned()], vec!["a Up(9)".into()]));
    drop(inside);
    a.wait_gone(Deadline::Never).unwrap();
    up(&b, 5);
    assert_eq!(late.log(), ["b Up(5)"]);
}

#[test]
fn refusal_takes_back_what_was_heard_in_this_and_in_every_earlier_namespace() {
    for refused in 1..=4 {
        let (registry, chain, [a, b]) = with_ports();
        let listener = Listener::refuses(Port::Up(refused));
        let refusal = listen(&registry, &chain, &listener).expect_err("refused");
        let (ns, name) = if refused <= 2 { (&a, "a@1") } else { (&b, "b@2") };
        assert_eq!((refusal.ns.as_str(), refusal.notifier.as_str()), (name, "listener"));
        assert_eq!(refusal.why, format!("not Up({refused})"));
        let expected: &[&str] = match refused {
            1 => &[],
            2 => &["a Up(1)", "a Down(1)"],
            3 => &["a Up(1)", "a Up(2)", "a Down(2)", "a Down(1)"],
            _ => &["a Up(1)", "a Up(2)", "b Up(3)", "b Down(3)", "a Down(2)", "a Down(1)"],
        };
        assert_eq!(listener.log(), expected);
        // It hears no more, there or in namespaces that come.
        up(ns, 7);
        up(&registry.create("c").unwrap(), 8);
        assert!(listener.log().is_empty());
    }
}

#[test]
fn unregistered_notifier_hears_the_reverse_and_no_more() {
    let (registry, chain, [a, b]) = with_ports();
    let (one, two) = (Arc::new(Listener::default()), Arc::new(Listener::default()));
    let registered = listen(&registry, &chain, &one).unwrap();
    let _stays = listen(&registry, &chain, &two).unwrap();
    up(&a, 5);
    one.log();
    two.log();
    chain.unregister(&registry, registered);
    let expected = ["a Down(5)", "a Down(2)", "a Down(1)", "b Down(4)", "b Down(3)"];
    assert_eq!(one.log(), expected);
    up(&b, 6);
    up(&registry.create("c").unwrap(), 7);
    assert!(one.log().is_empty());
    assert_eq!(two.log(), ["b Up(6)", "c Up(7)"], "the other one is not concerned");
    assert_eq!(Arc::strong_count(&one), 1, "somebody keeps it");
}

#[test]
fn notifier_is_registered_once_at_a_time() {
    let (registry, chain, [a, _]) = with_ports();
    let listener = Arc::new(Listener::default());
    let registered = listen(&registry, &chain, &listener).unwrap();
    listener.log();
    let again = chain.register(&registry, listener.clone()).expect_err("registered");
    assert_eq!(again, NotifierError::Exists("listener".into()));
    up(&a, 5);
    assert_eq!(listener.log(), ["a Up(5)"], "once, and nothing was replayed");
    chain.unregister(&registry, registered);
    listener.log();
    let _registered = listen(&registry, &chain, &listener).unwrap();
    assert_eq!(listener.log().len(), 5);
}

#[test]
fn chain_belongs_to_one_registry() {
    let (own, chain, [a, _]) = with_ports();
    let other = Registry::new().unwrap();
    other.create("c").unwrap();
    let refused = other.register(chain.clone()).expect_err("of another registry");
    assert!(refused.to_string().contains("belongs to another registry"), "{refused}");

    let listener = Arc::new(Listener::default());
    let register = || drop(chain.register(&other, listener.clone()));
    let why = std::panic::catch_unwind(std::panic::AssertUnwindSafe(register)).unwrap_err();
    assert_eq!(
        why.downcast_ref::<String>().map(String::as_str),
        Some("chain ports chain belongs to another registry")
    );
    up(&a, 5);
    assert!(listener.log().is_empty());
    let _registered = listen(&own, &chain, &listener).unwrap();
    assert_eq!(listener.log().len(), 5);
}

#[test]
fn later_refusal_or_panic_is_reported_and_keeps_nobody_from_hearing() {
    let (registry, chain, [a, _]) = with_ports();
    let mut events = registry.events();
    let refuses = Listener::refuses(Port::Up(8));
    let panics = Arc::new(Listener { panics: Some(Port::Up(9)), ..Listener::default() });
    let last = Arc::new(Listener::default());
    let _all = [&refuses, &panics, &last].map(|one| listen(&registry, &chain, one).unwrap());
    last.log();
    up(&a, 8);
    up(&a, 9);
    up(&a, 10);
    assert_eq!(last.log(), ["a Up(8)", "a Up(9)", "a Up(10)"]);
    assert_eq!(panics.log().last().map(String::as_str), Some("a Up(10)"));
    assert_eq!(
        heard(&mut events),
        ["a@1: notify of listener: not Up(8)", "a@1: notify of listener: panicked: at Up(9)"]
    );
}

#[test]
fn panic_in_the_replay_is_a_refusal() {
    let (registry, chain, _) = with_ports();
    let panics = Arc::new(Listener { panics: Some(Port::Up(2)), ..Listener::default() });
    let refusal = listen(&registry, &chain, &panics).expect_err("refused");
    assert_eq!(refusal.why, "panicked: at Up(2)");
    assert_eq!(panics.log(), ["a Up(1)", "a Down(1)"]);
}

#[test]
fn source_that_panics_refuses_and_leaves_nothing_registered() {
    let (registry, chain, [a, _]) = with_ports();
    let panics = registry.create("panics").unwrap();
    let listener = Arc::new(Listener::default());
    let refusal = listen(&registry, &chain, &listener).expect_err("refused");
    assert_eq!((refusal.ns.as_str(), refusal.why.as_str()), ("panics@3", "panicked: lost count"));
    listener.log();
    up(&a, 5);
    assert!(listener.log().is_empty(), "registered by halves");
    assert_eq!(Arc::strong_count(&listener), 1, "somebody keeps it");

    // And where it panics when a notifier goes, the others still hear of it.
    registry.remove([&panics], Deadline::Never).unwrap();
    let registered = listen(&registry, &chain, &listener).unwrap();
    registry.create("panics").unwrap();
    registry.create("z").map(|z| up(&z, 6)).unwrap();
    listener.log();
    let mut events = registry.events();
    chain.unregister(&registry, registered);
    assert_eq!(listener.log().last().map(String::as_str), Some("z Down(6)"));
    assert_eq!(heard(&mut events), ["panics@4: notify of ports chain: panicked: lost count"]);
    drop(a);
}

/// Ports come in two namespaces while notifiers come and go: each hears of every port once.
#[test]
fn no_port_is_missed_and_none_heard_of_twice() {
    for _ in 0..40 {
        let (registry, chain, namespaces) = with_ports();
        let listener = Arc::new(Listener::default());
        let _registered = thread::scope(|scope| {
            for (ns, first) in namespaces.iter().zip([100, 200]) {
                scope.spawn(move || (first..first + 20).for_each(|port| up(ns, port)));
            }
            scope.spawn(|| registry.create("c").map(|c| up(&c, 300)).unwrap());
            let other = Arc::new(Listener::default());
            let registered = listen(&registry, &chain, &listener).unwrap();
            let others = listen(&registry, &chain, &other).unwrap();
            chain.unregister(&registry, others);
            let log = other.log();
            for entry in log.iter().filter(|entry| entry.contains("Up")) {
                let down = entry.replace("Up", "Down");
                assert_eq!(log.iter().filter(|e| **e == down).count(), 1, "{entry} stays");
            }
            registered
        });
        let mut log = listener.log();
        log.sort();
        let mut expected: Vec<_> = [1, 2].iter().map(|port| format!("a Up({port})")).collect();
        expected.extend([3, 4].iter().map(|port| format!("b Up({port})")));
        expected.extend((100..120).map(|port| format!("a Up({port})")));
        expected.extend((200..220).map(|port| format!("b Up({port})")));
        expected.push("c Up(300)".into());
        expected.sort();
        assert_eq!(log, expected);
    }
}
