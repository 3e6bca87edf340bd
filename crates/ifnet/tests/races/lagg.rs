//! A lagg with two ports: requests and frames against the end of the lagg and of a port. What was handed
//! back is never used, nobody waits for ever, and each request is done or hears that there is no such
//! interface.

mod sketch;

use crate::harness::{fails, passes};
use crate::request::NoInterface;
use crate::world::{State, USED, World, enter, named, new};
use holm_ifnet::aggregation::{LaggRequest, Protocol};
use holm_ifnet::lagg::NewLagg;
use holm_ifnet::{
    Cloner, Driver, DriverError, DropReason, Frames, IfName, Interface, LinkState, NsInterfaces,
    Request, RequestError,
};
use holm_lifetime::Deadline;
use holm_netns::notifier::NsHeld;
use holm_netns::{Inside, Namespace};
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
