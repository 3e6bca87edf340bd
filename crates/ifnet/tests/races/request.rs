//! Requests against destroy: the state is never used after it was handed back, nobody waits for ever, and
//! each request is done or hears that there is no such interface.

use crate::harness::{fails, passes};
use crate::sketch;
use crate::world::{Probe, State, TWICE, USED, World, enter, named, new};
use holm_ifnet::{NsInterfaces, Request, RequestError};
use holm_lifetime::Deadline;
use holm_netns::{Inside, Namespace};
use shuttle::sync::Arc;
use shuttle::thread;

/// What requesters ask for.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// A question.
    Question,
    /// A question that sleeps in the driver until the interface goes.
    Sleep,
    /// A change, made under the configuration lock.
    Change,
}

/// There is no such interface.
#[derive(Debug, PartialEq, Eq)]
pub struct NoInterface;

/// An interface that is asked by some while others destroy it.
pub trait Asked: Default + Send + Sync + 'static {
    fn request(&self, ask: Ask) -> Result<(), NoInterface>;
    /// Destroys the interface and waits until it is gone. Whether this call has.
    fn destroy(&self) -> bool;
    /// What its driver had.
    fn state(&self) -> &State;
    fn end(&self) {}
}

/// Two requesters, each with such requests, and as many who destroy.
pub fn requests_against_destroy<A: Asked>(asks: [&'static [Ask]; 2], destroyers: usize) {
    let asked = Arc::new(A::default());
    let requesters = asks.map(|asks| {
        let asked = asked.clone();
        thread::spawn(move || {
            let mut gone = false;
            for ask in asks {
                let outcome = asked.request(*ask);
                assert!(!gone || outcome.is_err(), "it came back");
                gone = outcome.is_err();
            }
        })
    });
    let destroyers: Vec<_> = (1..destroyers)
        .map(|_| {
            let asked = asked.clone();
            thread::spawn(move || asked.destroy())
        })
        .collect();
    let mut destroyed = usize::from(asked.destroy());
    for destroyer in destroyers {
        destroyed += usize::from(destroyer.join().unwrap());
    }
    assert_eq!(destroyed, 1);
    for requester in requesters {
        requester.join().unwrap();
    }
    assert!(asked.state().is_handed_back());
    assert_eq!(asked.request(Ask::Question), Err(NoInterface));
    asked.end();
}

const QUICK: [&[Ask]; 2] = [&[Ask::Question, Ask::Change], &[Ask::Change, Ask::Question]];
const SLOW: [&[Ask]; 2] = [&[Ask::Sleep], &[Ask::Change, Ask::Sleep]];

#[test]
fn request_against_destroy() {
    passes("requests against destroy", || requests_against_destroy::<Real>(QUICK, 1));
    passes("requests that sleep against destroy", || requests_against_destroy::<Real>(SLOW, 1));
    passes("requests against two who destroy", || requests_against_destroy::<Real>(QUICK, 2));

    let what = "the state freed when the interface is marked as dying";
    fails(what, &[USED], || requests_against_destroy::<sketch::FreedWhenDying>(QUICK, 1));
    let what = "the driver's lock inside the state that is freed under it";
    fails(what, &[USED], || requests_against_destroy::<sketch::LockInsideTheState>(QUICK, 1));
    let what = "waiting for who sleeps, and waking them afterwards";
    fails(what, &["deadlock"], || requests_against_destroy::<sketch::WaitsThenWakes>(SLOW, 1));
    let what = "waiting with the configuration lock held";
    fails(what, &["deadlock"], || requests_against_destroy::<sketch::WaitsWithTheLock>(QUICK, 1));
    let what = "who destroys it looks and unlinks in two steps";
    fails(what, &[TWICE, USED], || requests_against_destroy::<sketch::LooksThenUnlinks>(QUICK, 2));
}

/// An interface that goes with its namespace.
#[test]
fn request_against_the_end_of_the_namespace() {
    passes("requests against the removal of the namespace", || {
        requests_against_destroy::<WithNamespace>(QUICK, 1);
    });
    passes("requests that sleep against the removal of the namespace", || {
        requests_against_destroy::<WithNamespace>(SLOW, 1);
    });
}

struct Real {
    world: World,
    ns: Namespace,
    state: Arc<State>,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new();
        let ns = world.registry.create("blue").unwrap();
        let state = Arc::<State>::default();
        let (_inside, interfaces) = enter(&ns).unwrap();
        drop(interfaces.create(new("p"), Probe(state.clone())).unwrap());
        Self { world, ns, state }
    }
}

impl Real {
    fn inside(&self) -> Option<(Inside, NsInterfaces)> {
        enter(&self.ns)
    }
}

impl Asked for Real {
    fn request(&self, ask: Ask) -> Result<(), NoInterface> {
        let request = match ask {
            Ask::Question => Request::Mtu,
            Ask::Sleep => Request::Media,
            Ask::Change => Request::SetMtu(1400),
        };
        let (_inside, interfaces) = self.inside().ok_or(NoInterface)?;
        match interfaces.request(named("p"), &request) {
            Ok(_) => Ok(()),
            Err(RequestError::NoInterface(_)) => Err(NoInterface),
            Err(other) => panic!("{other}"),
        }
    }

    fn destroy(&self) -> bool {
        let (_inside, interfaces) = self.inside().unwrap();
        let destroyed = interfaces.destroy(named("p"), Deadline::Never).is_ok();
        assert!(!destroyed || self.state.is_handed_back());
        destroyed
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn end(&self) {
        self.world.end();
    }
}

#[derive(Default)]
struct WithNamespace(Real);

impl Asked for WithNamespace {
    fn request(&self, ask: Ask) -> Result<(), NoInterface> {
        self.0.request(ask)
    }

    fn destroy(&self) -> bool {
        self.0.world.end();
        true
    }

    fn state(&self) -> &State {
        &self.0.state
    }
}
