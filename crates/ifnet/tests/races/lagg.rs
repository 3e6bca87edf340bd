//! A lagg with two ports: requests and frames against the end of the lagg and of a port. What was handed
//! back is never used, nobody waits for ever, and each request is done or hears that there is no such
//! interface.

mod sketch;

use crate::harness::{fails, passes};
use crate::request::NoInterface;
use crate::stand;
use crate::world::{State, USED, World, enter, named, new};
use holm_ifnet::aggregation::{LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::{
    Cloner, Driver, DriverError, DropReason, Frames, IfName, IfnetSubsystem, Interface, LinkState,
    NsInterfaces, Receiver, Request, RequestError,
};
use holm_lifetime::Deadline;
use holm_lifetime::levels::Locked;
use holm_netns::notifier::NsHeld;
use holm_netns::{Inside, Namespace};
use holm_pool::Turn;
use shuttle::sync::Arc;
use shuttle::thread;

/// What is asked of the lagg.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// A question that the driver answers.
    Media,
    /// Frames are sent.
    Send,
    /// The second port leaves.
    RemovePort,
    /// The second port joins.
    AddPort,
    /// Another protocol.
    Protocol,
    /// Another MTU, for the lagg and its ports.
    Mtu,
}

/// A lagg, and its ports.
pub trait Aggregate: Default + Send + Sync + 'static {
    fn request(&self, ask: Ask) -> Result<(), NoInterface>;
    /// Destroys the lagg and waits until it is gone.
    fn destroy(&self);
    /// Destroys the first port and waits until it is gone.
    fn destroy_port(&self);
    /// What the lagg has.
    fn lagg(&self) -> &State;
    /// What the ports have.
    fn ports(&self) -> [&State; 2];
    /// Whether the second port is an ordinary interface again, with what it had.
    fn has_released(&self) -> bool;
    fn end(&self) {}
}

/// Two who ask, one who destroys the lagg, and one who destroys a port.
fn requests_against_ends<A: Aggregate>(asks: [&'static [Ask]; 2]) {
    let lagg = Arc::new(A::default());
    let requesters = asks.map(|asks| {
        let lagg = lagg.clone();
        thread::spawn(move || {
            let mut gone = false;
            for ask in asks {
                let outcome = lagg.request(*ask);
                assert!(!gone || outcome.is_err(), "it came back");
                gone = outcome.is_err();
            }
        })
    });
    let port_ends = {
        let lagg = lagg.clone();
        thread::spawn(move || lagg.destroy_port())
    };
    lagg.destroy();
    assert!(lagg.lagg().is_handed_back());
    port_ends.join().unwrap();
    for requester in requesters {
        requester.join().unwrap();
    }
    assert_eq!(lagg.request(Ask::Media), Err(NoInterface));
    assert_eq!(lagg.ports().map(State::is_handed_back), [true, false]);
    assert!(lagg.has_released(), "{KEPT}");
    lagg.end();
}

const KEPT: &str = "a lagg that is gone has kept a port";
const QUESTIONS: [&[Ask]; 2] = [&[Ask::Media, Ask::Send], &[Ask::Send, Ask::Protocol]];
const CHANGES: [&[Ask]; 2] = [&[Ask::Protocol, Ask::Mtu], &[Ask::RemovePort, Ask::AddPort]];
const ALL: [&[Ask]; 2] =
    [&[Ask::Mtu, Ask::Send, Ask::Protocol], &[Ask::RemovePort, Ask::Media, Ask::AddPort]];

#[test]
fn requests_and_frames_against_the_end_of_a_lagg_and_of_a_port() {
    passes("questions and frames against the end of a lagg and of a port", || {
        requests_against_ends::<Real>(QUESTIONS);
    });
    passes("changes against the end of a lagg and of a port", || {
        requests_against_ends::<Real>(CHANGES);
    });
    passes("all of them", || requests_against_ends::<Real>(ALL));
    passes("a sketch without a mistake", || requests_against_ends::<sketch::Sound>(ALL));

    let what = "the state of a lagg freed when it is marked as dying";
    fails(what, &[USED], || requests_against_ends::<sketch::FreedWhenDying>(QUESTIONS));
    let what = "the lock of a lagg's driver inside the state that is freed under it";
    fails(what, &[USED], || requests_against_ends::<sketch::LockInsideTheState>(QUESTIONS));
    let what = "the port of a lagg kept in its list after it died";
    fails(what, &[USED], || requests_against_ends::<sketch::PortStaysInTheList>(QUESTIONS));
    let what = "a port that joins while the lagg goes";
    fails(what, &[KEPT], || requests_against_ends::<sketch::JoinsWhoGoes>(CHANGES));
}

/// A lagg with a port, at which frames come in.
pub trait Incoming: Default + Send + Sync + 'static {
    /// A frame is sent to the port. It comes in now, or later on another thread.
    fn frame_comes(&self);
    /// The port leaves the lagg.
    fn remove_port(&self);
    /// Destroys the lagg and waits until it is gone.
    fn destroy(&self);
    /// What the lagg has.
    fn lagg(&self) -> &State;
    fn end(&self) {}
}

/// One who sends, one who removes the port, and one who destroys the lagg.
fn frames_against_the_end<I: Incoming>() {
    let lagg = Arc::new(I::default());
    let sends = thread::spawn({
        let lagg = lagg.clone();
        move || (0..2).for_each(|_| lagg.frame_comes())
    });
    let removes = thread::spawn({
        let lagg = lagg.clone();
        move || lagg.remove_port()
    });
    lagg.destroy();
    assert!(lagg.lagg().is_handed_back());
    sends.join().unwrap();
    removes.join().unwrap();
    lagg.end();
}

#[test]
fn frames_that_come_in_against_the_end_of_a_lagg() {
    passes("frames that come in at a port, against the end of its lagg", || {
        frames_against_the_end::<WithCable>();
    });
    assert_ne!(CAME.load(std::sync::atomic::Ordering::Relaxed), 0, "no frame ever came");
    let what = "a port that goes to its lagg without counting";
    fails(what, &[USED], frames_against_the_end::<sketch::UncountedReceiver>);
}

/// A lagg, a port of which is the end of a cable, and a pool.
struct WithCable {
    world: stand::World,
    ns: Namespace,
    state: Arc<State>,
}

impl Default for WithCable {
    fn default() -> Self {
        let world = stand::World::new(1);
        drop(IfnetSubsystem::register(&world.registry).unwrap());
        let ns = world.registry.create("blue").unwrap();
        let state = Arc::<State>::default();
        let (_inside, interfaces) = enter(&ns).unwrap();
        let aggregate = NewLagg { seed: 1, ..NewLagg::default() };
        drop(interfaces.create(new("lagg0"), aggregate).unwrap());
        drop(interfaces.create_pair(new("a"), &interfaces, new("b")).unwrap());
        for name in ["lagg0", "a", "b"] {
            interfaces.request(named(name), &Request::SetUp(true)).unwrap();
        }
        let joins = Request::Lagg(LaggRequest::AddPort(named("b")));
        interfaces.request(named("lagg0"), &joins).unwrap();
        let lagg = interfaces.find(named("lagg0")).unwrap();
        let mut held = Locked::nothing();
        let mut guard = ns.lock(&mut held);
        drop(lagg.set_receiver(Some(Arc::new(Uses(state.clone()))), guard.token()));
        drop(guard);
        drop(lagg);
        Self { world, ns, state }
    }
}

impl Incoming for WithCable {
    fn frame_comes(&self) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        let a = interfaces.find(named("a")).unwrap();
        a.transmit(&mut vec![vec![0; 60].into()]);
    }

    fn remove_port(&self) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        let leaves = Request::Lagg(LaggRequest::RemovePort(named("b")));
        match interfaces.request(named("lagg0"), &leaves) {
            Ok(_) | Err(RequestError::NoInterface(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn destroy(&self) {
        let (_inside, interfaces) = enter(&self.ns).unwrap();
        interfaces.destroy(named("lagg0"), Deadline::Never).unwrap();
        self.state.hand_back();
    }

    fn lagg(&self) -> &State {
        &self.state
    }

    fn end(&self) {
        self.world.end();
    }
}

/// Receives from the lagg: whenever it does, the lagg's driver is used.
struct Uses(Arc<State>);

impl Receiver for Uses {
    fn receive(&self, _: &Turn<'_>, _: &Interface, _: &mut Frames) {
        self.0.work();
        CAME.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// How often one came, in all schedules.
static CAME: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

struct Real {
    world: World,
    ns: Namespace,
    lagg: Arc<State>,
    ports: [Arc<State>; 2],
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new();
        let ns = world.registry.create("blue").unwrap();
        let lagg = Arc::<State>::default();
        let ports: [Arc<State>; 2] = Default::default();
        let (_inside, interfaces) = enter(&ns).unwrap();
        // Which port a flow goes to is the same in each run.
        let aggregate = NewLagg { protocol: Protocol::Broadcast, seed: 1, ..NewLagg::default() };
        drop(interfaces.create(new("lagg0"), aggregate).unwrap());
        interfaces.request(named("lagg0"), &Request::SetUp(true)).unwrap();
        for (port, name) in ports.iter().zip(PORTS) {
            let port = Port { own: port.clone(), lagg: lagg.clone() };
            drop(interfaces.create(new(name), port).unwrap());
            interfaces.request(named(name), &Request::SetUp(true)).unwrap();
            let joins = Request::Lagg(LaggRequest::AddPort(named(name)));
            interfaces.request(named("lagg0"), &joins).unwrap();
        }
        Self { world, ns, lagg, ports }
    }
}

const PORTS: [&str; 2] = ["p0", "p1"];
const MTU: usize = 1400;

impl Real {
    fn inside(&self) -> (Inside, NsInterfaces) {
        enter(&self.ns).unwrap()
    }

    fn destroy(&self, name: IfName) {
        let (_inside, interfaces) = self.inside();
        interfaces.destroy(name, Deadline::Never).unwrap();
    }
}

impl Aggregate for Real {
    fn request(&self, ask: Ask) -> Result<(), NoInterface> {
        let (_inside, interfaces) = self.inside();
        let second = named(PORTS[1]);
        let request = match ask {
            Ask::Media => Request::Media,
            Ask::RemovePort => Request::Lagg(LaggRequest::RemovePort(second)),
            Ask::AddPort => Request::Lagg(LaggRequest::AddPort(second)),
            Ask::Protocol => Request::Lagg(LaggRequest::SetProtocol(Protocol::RoundRobin)),
            Ask::Mtu => Request::SetMtu(MTU),
            Ask::Send => {
                let lagg = interfaces.find(named("lagg0")).ok_or(NoInterface)?;
                lagg.transmit(&mut vec![vec![0; 60].into(), vec![1; 60].into()]);
                return Ok(());
            }
        };
        match interfaces.request(named("lagg0"), &request) {
            Ok(_) => Ok(()),
            Err(RequestError::NoInterface(_)) => Err(NoInterface),
            Err(other) => panic!("{other}"),
        }
    }

    fn destroy(&self) {
        self.destroy(named("lagg0"));
        self.lagg.hand_back();
    }

    fn destroy_port(&self) {
        self.destroy(named(PORTS[0]));
        assert!(self.ports[0].is_handed_back());
    }

    fn lagg(&self) -> &State {
        &self.lagg
    }

    fn ports(&self) -> [&State; 2] {
        [&self.ports[0], &self.ports[1]]
    }

    fn has_released(&self) -> bool {
        let (_inside, interfaces) = self.inside();
        let port = interfaces.find(named(PORTS[1])).unwrap();
        port.receiver().is_none() && port.mtu() != MTU
    }

    fn end(&self) {
        self.world.end();
    }
}

/// The driver of a port. Only the lagg has it do anything: so whenever it does, the lagg's driver is used.
struct Port {
    own: Arc<State>,
    lagg: Arc<State>,
}

impl Cloner for Port {
    const KIND: &'static str = "port";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(self))
    }
}

impl Driver for Port {
    fn link(&self) -> LinkState {
        LinkState::Up
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.own.work();
        self.lagg.check();
        frames.clear();
        Ok(())
    }

    fn change(&self, _: &Interface, _: &Request, _: &mut NsHeld<'_>) -> Result<(), RequestError> {
        self.own.work();
        self.lagg.check();
        Ok(())
    }

    fn wake(&self) {
        self.own.check();
    }

    fn destroy(self: Box<Self>) {
        self.own.hand_back();
    }
}
