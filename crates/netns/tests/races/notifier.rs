//! A notifier is registered while things happen in several namespaces: it hears each once.

use crate::harness::{fails, passes};
use crate::sketch::{self, Flaw};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::notifier::{Chain, Notice, Notifier, NsHeld, Refusal, Registered, Source};
use holm_netns::{Held, InitError, Namespace, Registry, Subsystem, View};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// Where things are added, and one who wants to know of them.
pub trait Things: Send + Sync + 'static {
    /// Things 1, 2 and 3 go to different namespaces.
    fn add_thing(&self, thing: u32);
    fn register(&self);
    /// What was heard of, sorted.
    fn heard(&self) -> Vec<u32>;
}

fn registered_while_things_happen<T: Things>(things: T) {
    let things = Arc::new(things);
    let users = [1, 2, 3].map(|thing| {
        let things = things.clone();
        thread::spawn(move || things.add_thing(thing))
    });
    things.register();
    for user in users {
        user.join().unwrap();
    }
    assert_eq!(things.heard(), [1, 2, 3], "{ONCE}");
}

#[test]
fn no_event_is_missed_and_none_seen_twice() {
    passes("notifier registered while things happen", || {
        registered_while_things_happen(Real::new());
    });
    for (flaw, what) in [
        (Flaw::PublishAfterUnlock, "notifier published after the replay's lock was dropped"),
        (Flaw::PublishFirst, "notifier published before the replay"),
    ] {
        fails(what, &[ONCE], move || {
            registered_while_things_happen(sketch::Notifiers::new(flaw));
        });
    }
}

/// What it has heard of is taken back once each, while one of the namespaces goes.
#[test]
fn what_was_heard_is_taken_back_once() {
    passes("notifier unregistered while a namespace goes", || {
        let real = Real::new();
        for thing in [1, 2, 3] {
            real.add_thing(thing);
        }
        real.register();
        let removes = thread::spawn({
            let registry = real.registry.clone();
            move || registry.remove_named("ns-1", Deadline::Never).unwrap()
        });
        let registered = real.registered.lock().unwrap().take().unwrap();
        real.chain.unregister(&real.registry, registered);
        removes.join().unwrap();
        assert_eq!(real.heard(), [], "taken back once each");
    });
}

const ONCE: &str = "each thing is heard of once";

enum Thing {
    Added(u32),
    Removed(u32),
}

impl Notice for Thing {
    fn reverse(&self) -> Option<Self> {
        match self {
            Thing::Added(thing) => Some(Thing::Removed(*thing)),
            Thing::Removed(_) => None,
        }
    }
}

/// Two namespaces from the start; the third is made for the thing it gets.
struct Real {
    registry: Registry,
    chain: Chain<Thing>,
    heard: Arc<Heard>,
    registered: Mutex<Option<Registered<Thing>>>,
}

impl Real {
    fn new() -> Self {
        let registry = Registry::new().unwrap();
        let chain = Chain::new("things");
        registry.register(chain.clone()).unwrap();
        registry.register(Shelves).unwrap();
        registry.create("ns-1").unwrap();
        registry.create("ns-2").unwrap();
        Self { registry, chain, heard: Arc::new(Heard::default()), registered: Mutex::new(None) }
    }
}

impl Things for Real {
    fn add_thing(&self, thing: u32) {
        let name = format!("ns-{thing}");
        let ns = self.registry.find(&name).or_else(|| self.registry.create(&*name).ok()).unwrap();
        let inside = ns.enter().unwrap();
        let mut held = Locked::nothing();
        let mut guard = ns.lock(&mut held);
        inside.get::<Shelves>().unwrap().0.lock().unwrap().push(thing);
        inside.get::<Chain<Thing>>().unwrap().notify(&Thing::Added(thing), guard.token());
    }

    fn register(&self) {
        let registered = self.chain.register(&self.registry, self.heard.clone()).unwrap();
        *self.registered.lock().unwrap() = Some(registered);
    }

    fn heard(&self) -> Vec<u32> {
        let mut heard = self.heard.0.lock().unwrap().clone();
        heard.sort();
        heard
    }
}

/// The things of each namespace.
struct Shelves;

struct Shelf(Mutex<Vec<u32>>);

impl Subsystem for Shelves {
    type State = Arc<Shelf>;

    fn name(&self) -> &str {
        "shelves"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<Arc<Shelf>, InitError> {
        let shelf = Arc::new(Shelf(Mutex::new(Vec::new())));
        let member = ns.get::<Chain<Thing>>().expect("registered before");
        member.set_source(shelf.clone());
        Ok(shelf)
    }

    fn exit(&self, ns: &View<'_>, shelf: Arc<Shelf>) {
        let mut held = Locked::nothing();
        let mut guard = ns.namespace().lock(&mut held);
        let member = ns.get::<Chain<Thing>>().expect("registered before");
        let things = std::mem::take(&mut *shelf.0.lock().unwrap());
        for thing in things {
            member.notify(&Thing::Removed(thing), guard.token());
        }
    }
}

impl Source<Thing> for Shelf {
    fn existing(&self, _held: &mut NsHeld<'_>) -> Vec<Thing> {
        self.0.lock().unwrap().iter().map(|thing| Thing::Added(*thing)).collect()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<u32>>);

impl Notifier<Thing> for Heard {
    fn name(&self) -> &str {
        "heard"
    }

    fn notify(&self, _: &Namespace, notice: &Thing, _: &mut NsHeld<'_>) -> Result<(), Refusal> {
        let mut heard = self.0.lock().unwrap();
        match notice {
            Thing::Added(thing) => heard.push(*thing),
            Thing::Removed(thing) => {
                let place = heard.iter().position(|other| other == thing);
                heard.remove(place.expect("it was heard of before"));
            }
        }
        Ok(())
    }
}
