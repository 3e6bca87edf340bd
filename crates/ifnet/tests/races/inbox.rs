//! Frames between interfaces: each that found room comes, in order, and who waits for room hears of it.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::stand::World;
use crate::world::{enter, named, new};
use holm_ifnet::{Frames, IfnetSubsystem, Interface, Receiver, Request};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_lifetime::sync::{Condvar, Mutex};
use holm_netns::Namespace;
use holm_pool::Turn;
use shuttle::sync::Arc;
use shuttle::thread;

/// Frames go from one who sends to one who receives.
pub trait Mail: Default + Send + Sync + 'static {
    /// Sends a frame with a number, when there is room.
    fn send(&self, number: u32);
    /// Waits until so many have come, and says which.
    fn receive(&self, count: usize) -> Vec<u32>;
    fn end(&self) {}
}

fn frames_come_in_order<M: Mail>() {
    let mail = Arc::new(M::default());
    let sends = thread::spawn({
        let mail = mail.clone();
        move || (0..COUNT).for_each(|number| mail.send(number))
    });
    let came = mail.receive(COUNT as usize);
    sends.join().unwrap();
    assert!(came.iter().copied().eq(0..COUNT), "not in order: {came:?}");
    mail.end();
}

const COUNT: u32 = 4;

#[test]
fn frames_that_found_room_come() {
    passes("frames over a pair, with room for two", frames_come_in_order::<Real>);
    let what = "the outlet is woken before the frame is there";
    fails(what, &["deadlock"], frames_come_in_order::<sketch::WakesThenPuts>);
    let what = "who sends looks for room and then says that it waits";
    fails(what, &["deadlock"], frames_come_in_order::<sketch::LooksThenSaysItWaits>);
}

#[test]
fn frames_under_way_when_an_end_goes_hold_up_nobody() {
    passes("frames over a pair that is destroyed", || {
        let real = Arc::new(Real::default());
        let sends = thread::spawn({
            let real = real.clone();
            move || {
                let (_inside, interfaces) = enter(&real.ns).unwrap();
                for number in 0..COUNT {
                    let Some(interface) = interfaces.find(named("a")) else { return };
                    interface.transmit(&mut vec![frame(number)]);
                }
            }
        });
        let (inside, interfaces) = enter(&real.ns).unwrap();
        interfaces.destroy(named("b"), Deadline::Never).unwrap();
        drop((inside, interfaces));
        sends.join().unwrap();
        real.end();
    });
}

#[test]
fn frames_under_way_when_an_end_moves_come_or_are_dropped() {
    passes("frames over a pair, an end of which moves", || {
        let real = Arc::new(Real::default());
        let there = real.world.registry.create("green").unwrap();
        let sends = thread::spawn({
            let real = real.clone();
            move || {
                let (_inside, interfaces) = enter(&real.ns).unwrap();
                let interface = interfaces.find(named("a")).unwrap();
                (0..2).for_each(|number| interface.transmit(&mut vec![frame(number)]));
            }
        });
        let (inside, interfaces) = enter(&real.ns).unwrap();
        let (other_inside, others) = enter(&there).unwrap();
        interfaces.move_to(named("b"), &others, None).unwrap();
        sends.join().unwrap();
        // Whoever was about to hand some over where it was has no say any more: these come here.
        let receives = Arc::<Receives>::default();
        set_receiver(&there, "b", receives.clone());
        let interface = interfaces.find(named("a")).unwrap();
        while interface.room() == 0 {
            thread::yield_now();
        }
        interface.transmit(&mut vec![frame(7)]);
        receives.wait_for(7);
        drop(interface);
        drop((inside, interfaces, other_inside, others));
        real.end();
    });
}

/// A pair in one namespace, with a pool over a stand-in for epoll.
struct Real {
    world: World,
    ns: Namespace,
    receives: Arc<Receives>,
    sender: Arc<Receives>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(1);
        drop(IfnetSubsystem::register(&world.registry).unwrap());
        let ns = world.registry.create("blue").unwrap();
        let (_inside, interfaces) = enter(&ns).unwrap();
        drop(interfaces.create_pair(new("a"), &interfaces, new("b")).unwrap());
        for name in ["a", "b"] {
            interfaces.request(named(name), &Request::SetUp(true)).unwrap();
        }
        let [receives, sender] = [(); 2].map(|()| Arc::<Receives>::default());
        set_receiver(&ns, "b", receives.clone());
        set_receiver(&ns, "a", sender.clone());
        Self { world, ns, receives, sender }
    }
}

impl Mail for Real {
    fn send(&self, number: u32) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        let interface = interfaces.find(named("a")).unwrap();
        if interface.room() == 0 {
            self.sender.wait_for_room();
        }
        interface.transmit(&mut vec![frame(number)]);
    }

    fn receive(&self, count: usize) -> Vec<u32> {
        self.receives.wait(|heard| heard.came.len() >= count)
    }

    fn end(&self) {
        self.world.end();
    }
}

#[derive(Default)]
struct Receives {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    came: Vec<u32>,
    room: bool,
}

impl Receives {
    fn wait(&self, until: impl Fn(&mut Heard) -> bool) -> Vec<u32> {
        let mut heard = self.heard.lock();
        while !until(&mut heard) {
            heard = self.changed.wait(heard);
        }
        heard.came.clone()
    }

    fn wait_for(&self, number: u32) {
        self.wait(|heard| heard.came.contains(&number));
    }

    fn wait_for_room(&self) {
        self.wait(|heard| std::mem::take(&mut heard.room));
    }
}

impl Receiver for Receives {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        let numbers = frames.drain(..).map(|frame| u32::from(*frame.last().unwrap()));
        self.heard.lock().came.extend(numbers);
        self.changed.notify_all();
    }

    fn has_room(&self, _: &Interface) {
        self.heard.lock().room = true;
        self.changed.notify_all();
    }
}

fn set_receiver(ns: &Namespace, name: &str, receiver: Arc<dyn Receiver>) {
    let (_inside, interfaces) = enter(ns).unwrap();
    let mut held = Locked::nothing();
    let mut guard = ns.lock(&mut held);
    let interface = interfaces.find(named(name)).unwrap();
    drop(interface.set_receiver(Some(receiver), guard.token()));
}

fn frame(number: u32) -> holm_ifnet::Frame {
    let mut frame = vec![0; 60];
    frame[59] = number as u8;
    frame.into()
}
