//! Namespaces with interfaces, and a driver that notices what must not be.

use holm_ifnet::{
    Cloner, Driver, DriverError, DropReason, Frames, IfName, IfnetSubsystem, Interface, LinkEvent,
    NewInterface, NsInterfaces, Reply, Request, RequestError,
};
use holm_lifetime::Deadline;
use holm_lifetime::sync::{Condvar, Mutex};
use holm_netns::notifier::{Chain, NsHeld};
use holm_netns::{Inside, Namespace, Registry};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

pub struct World {
    pub registry: Registry,
    pub chain: Chain<LinkEvent>,
}

impl World {
    pub fn new() -> Self {
        let registry = Registry::new().unwrap();
        let chain = IfnetSubsystem::register(&registry).unwrap();
        Self { registry, chain }
    }

    pub fn end(&self) {
        self.registry.remove_all(Deadline::Never).unwrap();
    }
}

/// The interfaces of a namespace, and being inside it, unless it goes.
pub fn enter(ns: &Namespace) -> Option<(Inside, NsInterfaces)> {
    let inside = ns.enter()?;
    let interfaces = inside.get::<IfnetSubsystem>()?.clone();
    Some((inside, interfaces))
}

pub fn named(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn new(name: &str) -> NewInterface {
    NewInterface { name: Some(named(name)), ..NewInterface::default() }
}

/// The state of a driver: a lock, and sleepers. It notices when it is used after it was handed back.
#[derive(Default)]
pub struct State {
    lock: Mutex<Sleepers>,
    changed: Condvar,
    handed_back: AtomicBool,
}

#[derive(Default)]
struct Sleepers {
    woken: bool,
}

pub const USED: &str = "the driver's state was used after it was handed back";
pub const TWICE: &str = "the driver's state was handed back twice";

impl State {
    pub fn check(&self) {
        assert!(!self.handed_back.load(Ordering::SeqCst), "{USED}");
    }

    /// What a request does that does not sleep.
    pub fn work(&self) {
        self.check();
        let sleepers = self.lock.lock();
        self.check();
        thread::yield_now();
        self.check();
        drop(sleepers);
    }

    /// What a request does that sleeps.
    pub fn sleep(&self) {
        self.check();
        let mut sleepers = self.lock.lock();
        while !sleepers.woken {
            sleepers = self.changed.wait(sleepers);
            self.check();
        }
        drop(sleepers);
    }

    pub fn wake(&self) {
        self.lock.lock().woken = true;
        self.changed.notify_all();
    }

    /// It is handed back, by value: whoever uses it from now on uses freed memory.
    pub fn hand_back(&self) {
        assert!(!self.handed_back.swap(true, Ordering::SeqCst), "{TWICE}");
    }

    pub fn is_handed_back(&self) -> bool {
        self.handed_back.load(Ordering::SeqCst)
    }
}

/// A driver of nothing but that.
pub struct Probe(pub Arc<State>);

impl Cloner for Probe {
    const KIND: &'static str = "probe";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(self))
    }
}

impl Driver for Probe {
    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.0.work();
        frames.clear();
        Ok(())
    }

    fn ask(&self, _: &Interface, request: &Request) -> Option<Result<Reply, RequestError>> {
        match request {
            Request::Media => self.0.sleep(),
            _ => self.0.work(),
        }
        None
    }

    fn change(&self, _: &Interface, _: &Request, _: &mut NsHeld<'_>) -> Result<(), RequestError> {
        self.0.work();
        Ok(())
    }

    fn wake(&self) {
        self.0.check();
        self.0.wake();
    }

    fn destroy(self: Box<Self>) {
        self.0.hand_back();
    }
}
