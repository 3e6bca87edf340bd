//! A pool, namespaces with interfaces, and what tests put into them.

use holm_ifnet::{
    Cloner, Driver, DriverError, DropReason, Frame, Frames, IfName, IfnetSubsystem, Interface,
    LinkEvent, NewInterface, NsInterfaces, Receiver, Reply, Request, RequestError,
};
use holm_lifetime::Deadline;
use holm_netns::notifier::{Chain, Notifier, NsHeld, Refusal};
use holm_netns::{Inside, Namespace, Registry};
use holm_pool::{Config, Pool, Turn};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub struct World {
    pub registry: Registry,
    pub chain: Chain<LinkEvent>,
    pool: Pool,
}

impl World {
    pub fn new() -> Self {
        let pool = Pool::start(Config { workers: 2, ..Config::default() }).unwrap();
        let registry = Registry::new().unwrap();
        registry.register(pool.subsystem()).unwrap();
        let chain = IfnetSubsystem::register(&registry).unwrap();
        Self { registry, chain, pool }
    }

    pub fn create(&self, name: &str) -> Ns {
        Ns::enter(&self.registry.create(name).unwrap())
    }

    pub fn remove(&self, ns: Ns) {
        let namespace = ns.namespace().clone();
        drop(ns);
        self.registry.remove([&namespace], Deadline::Never).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.registry.remove_all(Deadline::Never).unwrap();
        }
        self.pool.stop();
    }
}

/// A namespace that was entered, and its interfaces.
pub struct Ns {
    interfaces: NsInterfaces,
    _inside: Inside,
}

impl Ns {
    pub fn enter(ns: &Namespace) -> Self {
        let inside = ns.enter().unwrap();
        let interfaces = inside.get::<IfnetSubsystem>().unwrap().clone();
        Self { interfaces, _inside: inside }
    }

    pub fn ask(&self, name: &str, request: Request) -> Result<Reply, RequestError> {
        self.request(named(name), &request)
    }

    pub fn tell(&self, name: &str, request: Request) {
        assert_eq!(self.ask(name, request), Ok(Reply::Done));
    }

    /// Has `receiver` receive from an interface.
    pub fn receive(&self, name: &str, receiver: Option<Arc<dyn Receiver>>) {
        let name = named(name);
        let set =
            self.namespace().request(&mut holm_lifetime::levels::Locked::nothing(), move |in_ns| {
                let interfaces = in_ns.contents.get::<IfnetSubsystem>().unwrap();
                let interface = interfaces.find(name).unwrap();
                drop(interface.set_receiver(receiver, &mut in_ns.held));
            });
        set.wait(Deadline::Never).ok().unwrap().unwrap();
    }

    pub fn names(&self) -> Vec<String> {
        self.list().iter().map(|interface| interface.name().to_string()).collect()
    }
}

impl Deref for Ns {
    type Target = NsInterfaces;

    fn deref(&self) -> &NsInterfaces {
        &self.interfaces
    }
}

pub fn named(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn new(name: &str) -> NewInterface {
    NewInterface { name: Some(named(name)), ..NewInterface::default() }
}

/// A frame of this length, whose payload says which one it is.
pub fn frame(number: u32, len: usize) -> Frame {
    let mut frame = vec![0; len];
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame.into()
}

/// Keeps what it receives.
#[derive(Default)]
pub struct Keeps {
    frames: Mutex<Frames>,
    rooms: AtomicUsize,
    changed: Condvar,
}

impl Keeps {
    /// Waits until so many have come; all that have.
    pub fn wait_for(&self, count: usize) -> MutexGuard<'_, Frames> {
        let frames = self.frames.lock().unwrap();
        self.changed.wait_while(frames, |frames| frames.len() < count).unwrap()
    }

    /// Waits until it was told of room.
    pub fn wait_for_room(&self) {
        let frames = self.frames.lock().unwrap();
        drop(self.changed.wait_while(frames, |_| self.rooms.load(Ordering::SeqCst) == 0).unwrap());
    }
}

impl Receiver for Keeps {
    fn receive(&self, _: &Turn<'_>, _: &Interface, frames: &mut Frames) {
        self.frames.lock().unwrap().append(frames);
        self.changed.notify_all();
    }

    fn has_room(&self, _: &Interface) {
        let _frames = self.frames.lock().unwrap();
        self.rooms.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
    }
}

/// Writes down what it hears, one line each.
#[derive(Default)]
pub struct Diary {
    pub lines: Mutex<Vec<String>>,
    heard: Condvar,
}

impl Diary {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    pub fn wait_for(&self, line: &str) {
        let lines = self.lines.lock().unwrap();
        drop(self.heard.wait_while(lines, |lines| !lines.iter().any(|l| l == line)).unwrap());
    }
}

impl Notifier<LinkEvent> for Diary {
    fn name(&self) -> &str {
        "diary"
    }

    fn notify(&self, ns: &Namespace, event: &LinkEvent, _: &mut NsHeld<'_>) -> Result<(), Refusal> {
        self.lines.lock().unwrap().push(format!("{} {event}", ns.id().name));
        self.heard.notify_all();
        Ok(())
    }
}

/// A driver that does nothing, and says when it is destroyed; asked for media it sleeps until it is woken.
#[derive(Default)]
pub struct Idle {
    pub seen: Arc<Seen>,
    pub refuses: bool,
    /// It is woken by nobody but the test, against the rules.
    pub deaf: bool,
}

#[derive(Default)]
pub struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asleep: usize,
    woken: bool,
    destroyed: usize,
}

impl Seen {
    pub fn destroyed(&self) -> usize {
        self.state.lock().unwrap().destroyed
    }

    pub fn wake(&self) {
        self.state.lock().unwrap().woken = true;
        self.changed.notify_all();
    }

    pub fn wait_asleep(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.asleep == 0).unwrap());
    }

    pub fn wait_destroyed(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.destroyed == 0).unwrap());
    }
}

impl Cloner for Idle {
    const KIND: &'static str = "idle";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(self))
    }
}

impl Driver for Idle {
    fn attach(&self, _: &holm_lifetime::WeakRef<Interface>) -> Result<(), DriverError> {
        if self.refuses { Err(DriverError("it does not want to".into())) } else { Ok(()) }
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        frames.clear();
        Ok(())
    }

    fn ask(&self, _: &Interface, request: &Request) -> Option<Result<Reply, RequestError>> {
        if *request == Request::Media {
            let mut state = self.seen.state.lock().unwrap();
            state.asleep += 1;
            self.seen.changed.notify_all();
            drop(self.seen.changed.wait_while(state, |state| !state.woken).unwrap());
        }
        None
    }

    fn wake(&self) {
        if !self.deaf {
            self.seen.wake();
        }
    }

    fn destroy(self: Box<Self>) {
        self.seen.state.lock().unwrap().destroyed += 1;
        self.seen.changed.notify_all();
    }
}
