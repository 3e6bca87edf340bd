//! Listeners inside containers, and what becomes of them when the containers die. As root.

use crate::container::{Container, Links, NULL_REPLY, Place, THERE, link, null_message, run};
use holm::kernel_netns::{Left, OpenError, Owner, Watch, Watcher, open};
use holm::model::NetnsRef;
use holm::nfs::{Nfs, Paths, Programme, Serving};
use holm::server::operations::Operations;
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfsd::export::{Export, ExportOptions, ExportTable, Network};
use holm_nfsd::handle::HandleKey;
use holm_nfsd::identity::Privileges;
use holm_nfsd::service::Service;
use holm_nfsd::store::PathDatabase;
use holm_pool::{Config, Pool, PoolSubsystem};
use holm_sunrpc::server::{ListenerHandle, ServerLimits, listen, listen_datagrams};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Instant;
use tempfile::TempDir;

/// Its veth's peer outside is gone, and who is served elsewhere does not notice.
#[test]
fn killed_container_is_let_go() {
    let mut world = World::new();
    let mut neighbour = world.client_of_another_tenant();
    let mut container = Container::start();
    let mut links = Links::watch(&world.outside);
    world.outside.cable(&container, "cable0");
    let netns = NetnsRef::Pid(container.pid());

    let inside = world.listen_in(&netns);
    assert_eq!(container.ask(inside.port), NULL_REPLY);
    assert_eq!(world.outside.ask_at(THERE, inside.port), NULL_REPLY);
    assert!(descriptors_of(&container).is_empty(), "holm keeps the namespace by a descriptor");
    let inode = container.netns();
    let (watch, left) = world.watch_and_close(inside);
    null_call(&mut neighbour);

    let killed = Instant::now();
    container.kill();
    links.wait_until_deleted("cable0");
    println!("cable0 gone after {:?}", killed.elapsed());
    assert!(matches!(left.recv().unwrap(), Left::Ended(_)));
    assert!(entered(&inode).is_empty());
    null_call(&mut neighbour);
    drop(watch);
    world.end();
}

/// A connection from outside goes on when the container's processes are dead, and it holds the network:
/// with the listener alone closed that stays. What was killed after it is gone before it.
#[test]
fn closing_the_listener_alone_would_not_do() {
    let mut world = World::new();
    let mut links = Links::watch(&world.outside);
    let (mut container, mut after) = (Container::start(), Container::start());
    world.outside.cable(&container, "cable0");
    after.run("ip", &["link", "add", "cable1", "type", "veth", "peer", "name", "eth0"]);
    let outside = world.outside.pid().to_string();
    after.run("ip", &["link", "set", "cable1", "netns", &outside]);

    let Inside { port, streams, datagrams, owner } =
        world.listen_in(&NetnsRef::Pid(container.pid()));
    assert_eq!(world.outside.ask_at(THERE, port), NULL_REPLY);
    container.kill();
    assert!(owner.left().is_some());
    datagrams.remove();
    streams.stop();
    after.kill();
    links.wait_until_deleted("cable1");
    assert!(world.outside.has_link("cable0"));
    streams.close();
    links.wait_until_deleted("cable0");
    world.end();
}

#[test]
fn removed_path_is_let_go() {
    let world = World::new();
    let mut container = Container::start();
    let mut links = Links::watch(&world.outside);
    world.outside.cable(&container, "cable0");
    let name = format!("holm-test-{}", container.pid());
    run("ip", &["netns", "attach", &name, &container.pid().to_string()]);
    let path = format!("/run/netns/{name}");

    let inside = world.listen_in(&NetnsRef::Path(path.clone()));
    assert_eq!(container.ask(inside.port), NULL_REPLY);
    let (_watch, left) = world.watch_and_close(inside);
    container.kill();
    // It is the path that counts.
    let deleted = Instant::now();
    run("ip", &["netns", "del", &name]);
    links.wait_until_deleted("cable0");
    println!("cable0 gone after {:?}", deleted.elapsed());
    assert_eq!(left.recv().unwrap(), Left::Removed(path.into()));
    world.end();
}

/// Another namespace is mounted over it, which raises no event.
#[test]
fn replaced_path_is_let_go() {
    let world = World::new();
    let (mut container, other) = (Container::start(), Container::start());
    let mut links = Links::watch(&world.outside);
    world.outside.cable(&container, "cable0");
    let place = Place::new(&container);

    let inside = world.listen_in(&place.netns());
    assert_eq!(container.ask(inside.port), NULL_REPLY);
    let (_watch, left) = world.watch_and_close(inside);
    world.until_watched();
    let replaced = Instant::now();
    place.mount(&other);
    assert_eq!(left.recv().unwrap(), Left::Replaced(place.path()));
    println!("noticed after {:?}", replaced.elapsed());
    container.kill();
    drop(place);
    links.wait_until_deleted("cable0");
    world.end();
}

#[test]
fn owner_that_leaves_while_it_is_entered_is_noticed() {
    let mut container = Container::start();
    let netns = NetnsRef::Pid(container.pid());
    let refused = open(&netns, || container.kill()).unwrap_err();
    assert!(matches!(refused, OpenError::Left { left: Left::Ended(_), .. }), "{refused}");
    // The process is there no more.
    let refused = open(&netns, || panic!("entered")).unwrap_err();
    assert!(matches!(refused, OpenError::NoProcess(_)), "{refused}");

    let container = Container::start();
    let place = Place::new(&container);
    let netns = place.netns();
    let refused = open(&netns, || drop(place)).unwrap_err();
    assert!(matches!(refused, OpenError::Left { left: Left::Removed(_), .. }), "{refused}");
}

#[test]
fn owner_that_left_before_it_was_watched_is_noticed() {
    let watcher = Watcher::start().unwrap();
    let mut container = Container::start();
    let place = Place::new(&container);
    let ((), process) = open(&NetnsRef::Pid(container.pid()), || ()).unwrap();
    let ((), path) = open(&place.netns(), || ()).unwrap();
    container.kill();
    drop(place);
    for owner in [process, path] {
        let (said, left) = mpsc::channel();
        let _watch = watcher.watch(owner, move |left| said.send(left).unwrap()).unwrap();
        left.recv().unwrap();
    }
}

#[test]
fn watch_that_was_ended_says_nothing() {
    let watcher = Watcher::start().unwrap();
    let (mut ended, mut watched) = (Container::start(), Container::start());
    let (said, left) = mpsc::channel();
    let watch = |container: &Container, said: mpsc::Sender<u32>| {
        let pid = container.pid();
        let ((), owner) = open(&NetnsRef::Pid(pid), || ()).unwrap();
        watcher.watch(owner, move |_| said.send(pid).unwrap()).unwrap()
    };
    drop(watch(&ended, said.clone()));
    let _watch = watch(&watched, said);
    let pid = watched.pid();
    ended.kill();
    watched.kill();
    assert_eq!(left.recv(), Ok(pid));
    assert!(left.recv().is_err(), "all who could say something are gone");
}

#[test]
fn what_is_no_network_namespace_is_refused_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let fifo = folder.path().join("fifo");
    run("mkfifo", &[fifo.to_str().unwrap()]);
    let said = |netns: NetnsRef| open(&netns, || panic!("entered")).unwrap_err().to_string();
    let path = |path: &Path| said(NetnsRef::Path(path.to_str().unwrap().into()));

    let missing = path(&folder.path().join("missing"));
    assert!(missing.contains("missing") && missing.contains("No such file"), "{missing}");
    for what in [file.as_path(), &fifo, folder.path(), Path::new("/proc/self/ns/mnt")] {
        let refused = path(what);
        assert!(refused.contains("is not a network namespace"), "{refused}");
    }
    for pid in [0, 1 << 31, 1 << 30] {
        assert!(said(NetnsRef::Pid(pid)).contains("there is no process"));
    }
    // Not allowed: as somebody who is no administrator, on a thread of its own.
    let somebody = |netns: NetnsRef| {
        std::thread::spawn(move || {
            let sets = rustix::thread::CapabilitySets {
                effective: rustix::thread::CapabilitySet::empty(),
                permitted: rustix::thread::CapabilitySet::empty(),
                inheritable: rustix::thread::CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, sets).unwrap();
            open(&netns, || ()).unwrap_err().to_string()
        })
        .join()
        .unwrap()
    };
    let container = Container::start();
    let refused = somebody(NetnsRef::Pid(container.pid()));
    assert!(refused.contains("CAP_SYS_ADMIN"), "{refused}");
}

/// A pool, a registry, and a kernel namespace that is "outside".
struct World {
    pool: Pool,
    registry: Registry,
    ns: Namespace,
    watcher: Watcher,
    outside: Container,
    _keeper: holm::caches::Keeper,
}

/// What listens inside a container.
struct Inside {
    port: u16,
    streams: ListenerHandle,
    datagrams: holm_pool::Handle,
    owner: Owner,
}

impl World {
    fn new() -> Self {
        let pool = Pool::start(Config { workers: 2, ..Config::default() }).unwrap();
        let registry = Registry::new().unwrap();
        let (caches, keeper) = holm::caches::start().unwrap();
        registry.register(pool.subsystem()).unwrap();
        registry.register(caches).unwrap();
        registry.register(Nfs).unwrap();
        let ns = tenant(&registry, "blue");
        let watcher = Watcher::start().unwrap();
        Self { pool, registry, ns, watcher, outside: Container::start(), _keeper: keeper }
    }

    fn listen_in(&self, netns: &NetnsRef) -> Inside {
        let (sockets, owner) = open(netns, || bind_at(Ipv4Addr::UNSPECIFIED)).unwrap();
        let (port, streams, datagrams) = serve(&self.ns, sockets);
        Inside { port, streams, datagrams, owner }
    }

    /// What the server does when the owner leaves.
    fn watch_and_close(&self, inside: Inside) -> (Watch, mpsc::Receiver<Left>) {
        let (said, left) = mpsc::channel();
        let Inside { streams, datagrams, owner, .. } = inside;
        let watch = self.watcher.watch(owner, move |left| {
            streams.close();
            datagrams.remove();
            said.send(left).unwrap();
        });
        (watch.unwrap(), left)
    }

    /// Until the watcher has looked at all that it was given.
    fn until_watched(&self) {
        let mut container = Container::start();
        let ((), owner) = open(&NetnsRef::Pid(container.pid()), || ()).unwrap();
        container.kill();
        let (said, left) = mpsc::channel();
        let _watch = self.watcher.watch(owner, move |left| said.send(left).unwrap()).unwrap();
        left.recv().unwrap();
    }

    fn client_of_another_tenant(&self) -> TcpStream {
        let (port, ..) = serve(&tenant(&self.registry, "green"), bind());
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        null_call(&mut client);
        client
    }

    fn end(self) {
        self.registry.remove_all(Deadline::Never).unwrap();
        self.pool.stop();
    }
}

fn tenant(registry: &Registry, name: &str) -> Namespace {
    let ns = registry.create(name).unwrap();
    let service = Service::new(HandleKey::generate().unwrap(), Default::default()).unwrap();
    // To the containers, too.
    let root = std::env::temp_dir();
    let options = ExportOptions {
        clients: vec![Network::ALL_V4],
        read_only: true,
        ..ExportOptions::new("/".parse().unwrap(), root)
    };
    let in_memory = || PathDatabase::in_memory().map(Arc::new);
    let export = Export::open(options, service.key(), in_memory).unwrap();
    service.set_exports(ExportTable::new(vec![Arc::new(export)]).unwrap());
    let paths = Paths::new("/nowhere".into());
    ns.enter().unwrap().get::<Nfs>().unwrap().begin(service, paths);
    ns
}

fn bind() -> (TcpListener, UdpSocket) {
    bind_at(Ipv4Addr::LOCALHOST)
}

fn bind_at(ip: Ipv4Addr) -> (TcpListener, UdpSocket) {
    (TcpListener::bind((ip, 0)).unwrap(), UdpSocket::bind((ip, 0)).unwrap())
}

fn serve(
    ns: &Namespace,
    (streams, datagrams): (TcpListener, UdpSocket),
) -> (u16, ListenerHandle, holm_pool::Handle) {
    static PRIVILEGES: OnceLock<Privileges> = OnceLock::new();
    let privileges = PRIVILEGES.get_or_init(|| Privileges::detect().unwrap());
    let inside = ns.enter().unwrap();
    let pool = inside.get::<PoolSubsystem>().unwrap();
    let counted = inside.get::<Nfs>().unwrap().counted().clone();
    let SocketAddr::V4(address) = streams.local_addr().unwrap() else { unreachable!() };
    let serving = Serving::new(privileges, Arc::new(Operations::default()));
    let (programme, limits) =
        (Arc::new(Programme::streams(serving.clone())), ServerLimits::default());
    let streams = listen(pool, streams, programme, limits, counted.clone()).unwrap();
    let programme = Arc::new(Programme::datagrams(serving));
    let datagrams = listen_datagrams(pool, datagrams, programme, counted).unwrap();
    (address.port(), streams, datagrams)
}

fn null_call(stream: &mut TcpStream) {
    stream.write_all(&null_message()).unwrap();
    let mut reply = vec![0; NULL_REPLY.len() / 2];
    stream.read_exact(&mut reply).unwrap();
    let reply: String = reply.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(reply, NULL_REPLY);
}

/// Our descriptors of a container's network namespace.
fn descriptors_of(container: &Container) -> Vec<String> {
    let netns = container.netns();
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|fd| link(&fd.unwrap().path())).filter(|link| *link == netns).collect()
}

/// Our threads in it, but for one that is just ending.
fn entered(netns: &str) -> Vec<String> {
    loop {
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let inside = tasks.filter(|task| link(&task.join("ns/net")).as_deref() == Some(netns));
        let names: Vec<_> =
            inside.filter_map(|it| fs::read_to_string(it.join("comm")).ok()).collect();
        if names.iter().all(|name| name.trim_end() != "holm-setns") {
            return names;
        }
    }
}
