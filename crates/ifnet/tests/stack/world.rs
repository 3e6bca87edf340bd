//! Namespaces with interfaces and stacks, and users of streams that wait.

use holm_ifnet::stack::{NsStacks, Offered, Stack, StackSubsystem, Stream, Wake};
use holm_ifnet::{IfName, IfnetSubsystem, LinkEvent, NewInterface, NsInterfaces, Reply, Request};
use holm_lifetime::Deadline;
use holm_netns::notifier::Chain;
use holm_netns::{Inside, Namespace, Registry};
use holm_pool::{Config, Pool};
use std::io::{self, ErrorKind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};

/// The port that is served.
pub const NFS: u16 = 2049;

pub struct World {
    pub registry: Registry,
    pub pool: Pool,
    _chain: Chain<LinkEvent>,
}

impl World {
    pub fn new() -> Self {
        let pool = Pool::start(Config { workers: 2, ..Config::default() }).unwrap();
        let registry = Registry::new().unwrap();
        registry.register(pool.subsystem()).unwrap();
        let chain = IfnetSubsystem::register(&registry).unwrap();
        StackSubsystem::register(&registry, &chain).unwrap();
        Self { registry, pool, _chain: chain }
    }

    pub fn create(&self, name: &str) -> Ns {
        let ns = self.registry.create(name).unwrap();
        let inside = ns.enter().unwrap();
        let interfaces = inside.get::<IfnetSubsystem>().unwrap().clone();
        let stacks = inside.get::<StackSubsystem>().unwrap().clone();
        Ns { ns, interfaces, stacks, _inside: inside }
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

/// A namespace that was entered.
pub struct Ns {
    pub ns: Namespace,
    pub interfaces: NsInterfaces,
    pub stacks: NsStacks,
    _inside: Inside,
}

impl Ns {
    pub fn tell(&self, name: &str, request: Request) {
        assert_eq!(self.interfaces.request(named(name), &request), Ok(Reply::Done));
    }

    pub fn address(&self, name: &str, cidr: &str) {
        self.tell(name, Request::AddAddress(cidr.parse().unwrap()));
    }

    /// The stack of an interface.
    pub fn stack(&self, name: &str) -> Option<Arc<Stack>> {
        let index = self.interfaces.find(named(name)).unwrap().index();
        self.stacks.stack(index)
    }

    /// Sends back whatever comes on any connection to the port, until the end.
    pub fn serve_echo(&self) -> Offered {
        self.stacks
            .listen(NFS, |stream| {
                std::thread::spawn(move || {
                    let stream = Waiting::new(stream);
                    let mut space = vec![0; 100_000];
                    // A connection that is reset has no more to say.
                    while let Ok(count @ 1..) = stream.receive(&mut space) {
                        if stream.send(&space[..count]).is_err() {
                            break;
                        }
                    }
                });
            })
            .unwrap()
    }

    /// The streams that come to the port, as they come.
    pub fn accept(&self) -> (Offered, Receiver<Stream>) {
        let (sender, streams) = channel();
        let sender = Mutex::new(sender);
        let offered = self.stacks.listen(NFS, move |stream| {
            // Nobody waits for it any more when a test ends.
            let _ = sender.lock().unwrap().send(stream);
        });
        (offered.unwrap(), streams)
    }
}

pub fn named(name: &str) -> IfName {
    name.parse().unwrap()
}

pub fn new(name: &str) -> NewInterface {
    NewInterface { name: Some(named(name)), ..NewInterface::default() }
}

/// Somebody who sleeps until he is woken.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn wake(self: &Arc<Self>) -> Wake {
        let bell = self.clone();
        Arc::new(move || {
            *bell.rung.lock().unwrap() = true;
            bell.changed.notify_all();
        })
    }

    pub fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        *self.changed.wait_while(rung, |rung| !*rung).unwrap() = false;
    }
}

/// A stream that is waited for.
pub struct Waiting {
    pub stream: Stream,
    bell: Arc<Bell>,
}

impl Waiting {
    pub fn new(stream: Stream) -> Self {
        let bell = Arc::<Bell>::default();
        stream.set_wake(bell.wake());
        Self { stream, bell }
    }

    pub fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.send(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.bell.wait(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.receive(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.bell.wait(),
                outcome => return outcome,
            }
        }
    }

    /// Sends all of that to who sends it back, and compares.
    pub fn exchange(&self, bytes: &[u8]) {
        let (mut sent, mut came) = (0, Vec::<u8>::new());
        let mut space = vec![0; 100_000];
        while came.len() < bytes.len() {
            let mut moved = false;
            match self.stream.send(&bytes[sent..]) {
                Ok(count) => {
                    sent += count;
                    moved |= count > 0;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            match self.stream.receive(&mut space) {
                Ok(count) => {
                    assert!(count > 0, "it has ended");
                    came.extend(&space[..count]);
                    moved = true;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            if !moved {
                self.bell.wait();
            }
        }
        assert!(came == bytes);
    }
}

/// Bytes that differ from those of another number.
pub fn bytes(number: u32, length: u32) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(at ^ number) >> 3) as u8).collect()
}
