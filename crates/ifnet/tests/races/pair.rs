//! The two ends of a cable: who destroys one while others destroy the other, move it, or remove its
//! namespace.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::world::{World, enter, named, new};
use holm_ifnet::{LinkChange, LinkEvent, LinkState, Request};
use holm_lifetime::Deadline;
use holm_lifetime::sync::{Condvar, Mutex};
use holm_netns::Namespace;
use holm_netns::notifier::{Notifier, NsHeld, Refusal};
use shuttle::sync::Arc;
use shuttle::thread;

/// A cable with an end in each of two namespaces.
pub trait Cable: Default + Send + Sync + 'static {
    /// Destroys the end on this side, and so the other. Whether it was there.
    fn destroy(&self, side: usize) -> bool;
    /// Puts an end up or down.
    fn set_up(&self, side: usize, up: bool);
    /// Whether each end says that its link is up.
    fn links(&self) -> [bool; 2];
    /// Waits until that is what listeners heard last, of each end.
    fn wait_told(&self, links: [bool; 2]);
    /// Whether the ends are there.
    fn ends(&self) -> [bool; 2];
    fn end(&self) {}
}

fn destroy_both_ends<C: Cable>() {
    let cable = Arc::new(C::default());
    let other = thread::spawn({
        let cable = cable.clone();
        move || cable.destroy(1)
    });
    let destroyed = [cable.destroy(0), other.join().unwrap()];
    assert!(destroyed != [false; 2], "nobody destroyed it");
    assert_eq!(cable.ends(), [false; 2], "{LEFT}");
    cable.end();
}

fn set_up_both_ends<C: Cable>() {
    let cable = Arc::new(C::default());
    let other = thread::spawn({
        let cable = cable.clone();
        move || cable.set_up(1, true)
    });
    cable.set_up(0, true);
    other.join().unwrap();
    assert_eq!(cable.links(), [true; 2], "{WRONG}");
    let other = thread::spawn({
        let cable = cable.clone();
        move || cable.set_up(0, false)
    });
    cable.set_up(1, false);
    other.join().unwrap();
    assert_eq!(cable.links(), [false; 2], "{WRONG}");
    // Workers may be about to tell.
    cable.wait_told([false; 2]);
    cable.end();
}

const LEFT: &str = "an end was left";
const WRONG: &str = "the link is said to be what it is not";

#[test]
fn ends_destroyed_at_once() {
    passes("both ends of a pair destroyed at once", destroy_both_ends::<Real>);
    let what = "each end locks its own namespace first";
    fails(what, &["deadlock"], destroy_both_ends::<sketch::OwnNamespaceFirst>);
}

#[test]
fn ends_put_up_at_once() {
    passes("both ends of a pair put up and down at once", set_up_both_ends::<Real>);
    let what = "each end looks at the other before it notes its own";
    fails(what, &[WRONG], set_up_both_ends::<sketch::LooksBeforeItNotes>);
}

/// A cable of which one end can go from one namespace to another.
pub trait Moving: Default + Send + Sync + 'static {
    /// Moves that end. Whether it was there.
    fn go(&self) -> bool;
    /// Destroys the other end, and so both. Whether it was there.
    fn destroy(&self) -> bool;
    /// How many ends there are, wherever they are.
    fn count(&self) -> usize;
    fn end(&self) {}
}

fn destroy_while_the_other_moves<M: Moving>() {
    let cable = Arc::new(M::default());
    let moves = thread::spawn({
        let cable = cable.clone();
        move || cable.go()
    });
    assert!(cable.destroy());
    moves.join().unwrap();
    assert_eq!(cable.count(), 0, "{LEFT}");
    cable.end();
}

#[test]
fn end_destroyed_while_the_other_moves() {
    passes("a pair destroyed while one end moves", destroy_while_the_other_moves::<ToRed>);
    let what = "who destroys looks where the other end is and then locks";
    fails(what, &[LEFT], destroy_while_the_other_moves::<sketch::LooksWhereItIsThenLocks>);
}

/// The end comes before the namespace goes and goes with it, or stays where it was.
#[test]
fn namespace_removed_while_an_end_moves_there() {
    passes("a namespace removed while an end moves there", || {
        let cable = Arc::new(ToRed::default());
        let removes = thread::spawn({
            let cable = cable.clone();
            move || cable.real.world.registry.remove([&cable.red], Deadline::Never).unwrap()
        });
        cable.go();
        removes.join().unwrap();
        let ends = cable.real.ends();
        assert_eq!(ends[0], ends[1], "{LEFT}");
        cable.end();
    });
}

/// The end has left before the namespace goes, or goes with it.
#[test]
fn namespace_removed_while_an_end_moves_away() {
    passes("a namespace removed while an end moves away", || {
        let cable = Arc::new(ToRed::default());
        let removes = thread::spawn({
            let cable = cable.clone();
            move || cable.real.world.registry.remove([&cable.real.ns[1]], Deadline::Never).unwrap()
        });
        let moved = cable.go();
        removes.join().unwrap();
        assert_eq!(cable.count(), if moved { 2 } else { 0 }, "{LEFT}");
        cable.end();
    });
}

/// The end in green goes to red.
struct ToRed {
    real: Real,
    red: Namespace,
}

impl Default for ToRed {
    fn default() -> Self {
        let real = Real::default();
        let red = real.world.registry.create("red").unwrap();
        Self { real, red }
    }
}

impl Moving for ToRed {
    fn go(&self) -> bool {
        let Some((_inside, from)) = enter(&self.real.ns[1]) else { return false };
        let Some((_there, to)) = enter(&self.red) else { return false };
        from.move_to(named("p"), &to, Some(named("q"))).is_ok()
    }

    fn destroy(&self) -> bool {
        self.real.destroy(0)
    }

    fn count(&self) -> usize {
        let [blue, green] = &self.real.ns;
        let is_there = |ns: &Namespace, name| {
            enter(ns).is_some_and(|(_inside, interfaces)| interfaces.find(named(name)).is_some())
        };
        [is_there(blue, "p"), is_there(green, "p"), is_there(&self.red, "q")]
            .into_iter()
            .filter(|there| *there)
            .count()
    }

    fn end(&self) {
        self.real.end();
    }
}

/// What waits to be told of the link waits where the end was.
#[test]
fn link_that_comes_up_while_an_end_moves_is_told_of() {
    passes("a link that comes up while an end moves", || {
        let real = Arc::new(Real::default());
        let red = real.world.registry.create("red").unwrap();
        real.set_up(1, true);
        let other = thread::spawn({
            let real = real.clone();
            move || real.set_up(0, true)
        });
        let (inside, from) = enter(&real.ns[1]).unwrap();
        let (there, to) = enter(&red).unwrap();
        from.move_to(named("p"), &to, Some(named("q"))).unwrap();
        other.join().unwrap();
        assert_eq!(to.find(named("q")).unwrap().link(), LinkState::Up, "{WRONG}");
        real.wait_told([true; 2]);
        drop((inside, from, there, to));
        real.end();
    });
}

#[test]
fn end_destroyed_while_the_cable_is_made() {
    passes("a pair destroyed while it is being made", || {
        let world = World::new();
        let ns = ["blue", "green"].map(|name| world.registry.create(name).unwrap());
        let destroys = thread::spawn({
            let ns = ns[0].clone();
            move || {
                let (_inside, interfaces) = enter(&ns).unwrap();
                interfaces.destroy(named("p"), Deadline::Never).is_ok()
            }
        });
        let (_inside, here) = enter(&ns[0]).unwrap();
        let (_there, there) = enter(&ns[1]).unwrap();
        drop(here.create_pair(new("p"), &there, new("p")).unwrap());
        let destroyed = destroys.join().unwrap();
        let left = [&here, &there].map(|ns| ns.find(named("p")).is_some());
        assert_eq!(left, [!destroyed; 2], "{LEFT}");
        drop((_inside, _there));
        world.end();
    });
}

#[test]
fn namespaces_of_both_ends_removed_at_once() {
    passes("the namespaces of a pair removed at once", || {
        let real = Real::default();
        let other = thread::spawn({
            let (registry, ns) = (real.world.registry.clone(), real.ns[1].clone());
            move || registry.remove([&ns], Deadline::Never).unwrap()
        });
        real.world.registry.remove([&real.ns[0]], Deadline::Never).unwrap();
        other.join().unwrap();
        real.end();
    });
}

struct Real {
    world: World,
    ns: [Namespace; 2],
    told: Arc<Told>,
}

/// What was told last of the link of each namespace's end.
#[derive(Default)]
struct Told {
    links: Mutex<[bool; 2]>,
    changed: Condvar,
}

impl Notifier<LinkEvent> for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn notify(&self, ns: &Namespace, event: &LinkEvent, _: &mut NsHeld<'_>) -> Result<(), Refusal> {
        if let LinkChange::Link(link) = event.change {
            let side = usize::from(ns.id().name.as_str() != "blue");
            self.links.lock()[side] = link == LinkState::Up;
            self.changed.notify_all();
        }
        Ok(())
    }
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new();
        let ns = ["blue", "green"].map(|name| world.registry.create(name).unwrap());
        let told = Arc::<Told>::default();
        drop(world.chain.register(&world.registry, told.clone()).unwrap());
        let (_inside, here) = enter(&ns[0]).unwrap();
        let (_there, there) = enter(&ns[1]).unwrap();
        drop(here.create_pair(new("p"), &there, new("p")).unwrap());
        drop((_inside, _there));
        Self { world, ns, told }
    }
}

impl Cable for Real {
    fn destroy(&self, side: usize) -> bool {
        let (_inside, interfaces) = enter(&self.ns[side]).unwrap();
        interfaces.destroy(named("p"), Deadline::Never).is_ok()
    }

    fn set_up(&self, side: usize, up: bool) {
        let (_inside, interfaces) = enter(&self.ns[side]).unwrap();
        interfaces.request(named("p"), &Request::SetUp(up)).unwrap();
    }

    fn links(&self) -> [bool; 2] {
        [0, 1].map(|side: usize| {
            let (_inside, interfaces) = enter(&self.ns[side]).unwrap();
            interfaces.find(named("p")).unwrap().link() == LinkState::Up
        })
    }

    fn wait_told(&self, links: [bool; 2]) {
        let mut told = self.told.links.lock();
        while *told != links {
            told = self.told.changed.wait(told);
        }
    }

    fn ends(&self) -> [bool; 2] {
        [0, 1].map(|side: usize| {
            let (_inside, interfaces) = enter(&self.ns[side]).unwrap();
            interfaces.find(named("p")).is_some()
        })
    }

    fn end(&self) {
        self.world.end();
    }
}
