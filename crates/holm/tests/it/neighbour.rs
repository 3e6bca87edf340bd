//! A machine at the other end of a tenant's unix socket: an interface and a TCP/IP stack of our own, in
//! a registry of its own.

use crate::world::{Nfs, user};
use holm_ifnet::stack::{NsStacks, Stack, StackSubsystem, Stream};
use holm_ifnet::wires::{StreamEnd, StreamOptions};
use holm_ifnet::{IfnetSubsystem, MacAddress, NewInterface, NsInterfaces, Request};
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfs_proto::{mount, portmap};
use holm_pool::{Config, Pool};
use holm_sunrpc::client::{Client, Procedure};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub struct Neighbour {
    stack: Arc<Stack>,
    ns: Namespace,
    registry: Registry,
    pool: Pool,
}

impl Neighbour {
    /// One that connects to the socket, with that address.
    pub fn at(socket: &Path, address: &str, mac: Option<&str>) -> Self {
        let pool = Pool::start(Config::default()).unwrap();
        let registry = Registry::new().unwrap();
        registry.register(pool.subsystem()).unwrap();
        let chain = IfnetSubsystem::register(&registry).unwrap();
        StackSubsystem::register(&registry, &chain).unwrap();
        let ns = registry.create("neighbour").unwrap();
        let inside = ns.enter().unwrap();
        let interfaces: &NsInterfaces = inside.get::<IfnetSubsystem>().unwrap();
        let name = "e0".parse().unwrap();
        let mac: Option<MacAddress> = mac.map(|mac| mac.parse().unwrap());
        let new = NewInterface { name: Some(name), mac, ..NewInterface::default() };
        let end = StreamEnd::Connect { retry: Duration::from_millis(10) };
        let options = StreamOptions { path: socket.to_owned(), end };
        let index = interfaces.create(new, options).unwrap().index();
        let cidr = address.parse().unwrap();
        for request in [Request::SetUp(true), Request::AddAddress(cidr)] {
            interfaces.request(name, &request).unwrap();
        }
        let stacks: &NsStacks = inside.get::<StackSubsystem>().unwrap();
        let stack = stacks.stack(index).unwrap();
        drop(inside);
        Self { stack, ns, registry, pool }
    }

    /// A client of NFS. TCP sends again what is lost until the link is up.
    pub fn nfs(&self, address: &str) -> Nfs<Blocking> {
        Nfs(self.client(address).with_user(&user()))
    }

    /// Whether a connection there is reset.
    pub fn is_refused(&self, address: &str) -> bool {
        let mut stream = self.connect(address);
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Which port the port mapper says.
    pub fn port_of_mount_by_stream(&self, address: &str) -> u32 {
        ask_for_mount(self.client(address), portmap::TCP)
    }

    pub fn port_of_mount_by_datagram(&self, address: &str) -> u32 {
        let server = address.parse().unwrap();
        let socket = self.stack.bind(None, 700).unwrap();
        let bell = Bell::default();
        socket.set_wake(bell.clapper());
        let local = SocketAddr::new("10.0.0.2".parse().unwrap(), 700);
        let datagrams = Datagrams { socket, bell, local, server, reply: Vec::new() };
        ask_for_mount(Client::new(datagrams), portmap::UDP)
    }

    /// What the port mapper lists: programs, versions, protocols and ports.
    pub fn programs(&self, address: &str) -> Vec<(u32, u32, u32, u32)> {
        let number = portmap::Procedure::Dump.number();
        let (program, version) = (portmap::PROGRAM, portmap::VERSION);
        let mut client = self.client(address);
        let all: portmap::DumpRes =
            client.call(Procedure { program, version, number }, &()).unwrap();
        all.iter().map(|it| (it.program, it.version, it.protocol, it.port)).collect()
    }

    /// The stack at its end.
    pub fn stack(&self) -> &Arc<Stack> {
        &self.stack
    }

    pub fn end(self) {
        drop(self.stack);
        drop(self.ns);
        self.registry.remove_all(Deadline::Never).unwrap();
        self.pool.stop();
    }

    fn client(&self, address: &str) -> Client<Blocking> {
        Client::new(self.connect(address))
    }

    fn connect(&self, address: &str) -> Blocking {
        Blocking::connect(&self.stack, address)
    }
}

/// A client of NFS at a stack.
pub fn nfs_at(stack: &Arc<Stack>, address: &str) -> Nfs<Blocking> {
    Nfs(Client::new(Blocking::connect(stack, address)).with_user(&user()))
}

fn ask_for_mount<S: Read + Write>(mut client: Client<S>, protocol: u32) -> u32 {
    let asked =
        portmap::Mapping { program: mount::PROGRAM, version: mount::VERSION, protocol, port: 0 };
    let number = portmap::Procedure::GetPort.number();
    let (program, version) = (portmap::PROGRAM, portmap::VERSION);
    client.call(Procedure { program, version, number }, &asked).unwrap()
}

/// Rings when something happens.
#[derive(Clone, Default)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn clapper(&self) -> Arc<dyn Fn() + Send + Sync> {
        let bell = self.clone();
        Arc::new(move || {
            *bell.0.0.lock().unwrap() = true;
            bell.0.1.notify_all();
        })
    }

    /// Tries until it is not too early, and waits in between.
    fn until<R>(&self, mut attempt: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let mut rung = self.0.0.lock().unwrap();
            while !std::mem::take(&mut *rung) {
                rung = self.0.1.wait(rung).unwrap();
            }
        }
    }
}

/// How many bytes a new connection there takes at once.
pub fn room_to(stack: &Arc<Stack>, address: &str) -> usize {
    Blocking::connect(stack, address).write(&vec![0; 64 << 20]).unwrap()
}

/// A connection that is waited for.
pub struct Blocking {
    stream: Stream,
    bell: Bell,
}

impl Blocking {
    fn connect(stack: &Arc<Stack>, address: &str) -> Self {
        let stream = stack.connect(address.parse().unwrap()).unwrap();
        let bell = Bell::default();
        stream.set_wake(bell.clapper());
        Self { stream, bell }
    }
}

impl Read for Blocking {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.bell.until(|| self.stream.receive(space))
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bell.until(|| self.stream.send(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Datagrams as the client of streams speaks: what is a record there is a datagram here. One that is lost
/// on the way, as while a neighbour is looked for, would be missed for ever; so a connection was made
/// before.
struct Datagrams {
    socket: holm_ifnet::stack::Datagrams,
    bell: Bell,
    local: SocketAddr,
    server: SocketAddr,
    reply: Vec<u8>,
}

impl Write for Datagrams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Behind the length of the record.
        self.socket.send(self.local, self.server, &bytes[4..])?;
        let mut space = [0; 2048];
        let received = self.bell.until(|| self.socket.receive(&mut space))?;
        let length = received.count as u32 | 1 << 31;
        self.reply = [&length.to_be_bytes()[..], &space[..received.count]].concat();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Datagrams {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let count = space.len().min(self.reply.len());
        space[..count].copy_from_slice(&self.reply[..count]);
        self.reply.drain(..count);
        Ok(count)
    }
}
