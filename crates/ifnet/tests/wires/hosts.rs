//! Hosts at the other end of a wire, with a TCP/IP of their own: this machine's kernel, as root, and Linux
//! in guests.

use crate::tenants::{Ns, World, new};
use crate::world::{in_a_netns, ip};
use holm_guest::{Guest, Network};
use holm_ifnet::stack::{Datagrams, Offered, StackSubsystem, Stream};
use holm_ifnet::wires::{DgramOptions, StreamEnd, StreamOptions, TapOptions};
use holm_ifnet::{Cloner, NewInterface, Request};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tempfile::TempDir;

const ECHO: u16 = 7;
const NAME: u16 = 13;

/// Namespaces with stacks.
fn world() -> World {
    let world = World::new();
    StackSubsystem::register(&world.registry, &world.chain).unwrap();
    world
}

/// A namespace with one interface and its addresses, at which it echoes and says its name.
fn tenant(
    world: &World,
    name: &'static str,
    mtu: usize,
    cloner: impl Cloner,
) -> (Ns, Vec<Offered>) {
    let ns = world.create(name);
    ns.create(NewInterface { mtu: Some(mtu), ..new("net0") }, cloner).unwrap();
    for address in ["10.9.0.1/24", "fd00::1/64"] {
        ns.tell("net0", Request::AddAddress(address.parse().unwrap()));
    }
    ns.tell("net0", Request::SetUp(true));
    let inside = ns.namespace().enter().unwrap();
    let stacks = inside.get::<StackSubsystem>().unwrap();
    let offered = vec![
        stacks.listen(ECHO, echo).unwrap(),
        stacks.bind(ECHO, echo_datagrams).unwrap(),
        stacks.listen(NAME, move |stream| drop(stream.send(name.as_bytes()))).unwrap(),
    ];
    (ns, offered)
}

/// Sends back what comes, until the peer ends.
fn echo(stream: Stream) {
    let (told, woken) = mpsc::channel();
    stream.set_wake(Arc::new(move || {
        let _ = told.send(());
    }));
    std::thread::spawn(move || {
        let mut space = vec![0; 100_000];
        let mut unsent = 0..0;
        loop {
            let done = if unsent.is_empty() {
                stream.receive(&mut space).map(|count| unsent = 0..count)
            } else {
                stream.send(&space[unsent.clone()]).map(|count| unsent.start += count)
            };
            match done {
                Ok(()) if unsent.end == 0 => return,
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && woken.recv().is_ok() => {}
                Err(_) => return,
            }
        }
    });
}

fn echo_datagrams(datagrams: Datagrams) {
    let (told, woken) = mpsc::channel();
    datagrams.set_wake(Arc::new(move || {
        let _ = told.send(());
    }));
    std::thread::spawn(move || {
        let mut space = vec![0; 2000];
        loop {
            match datagrams.receive(&mut space) {
                Ok(got) => {
                    let _ = datagrams.send(got.to, got.from, &space[..got.count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && woken.recv().is_ok() => {}
                Err(_) => return,
            }
        }
    });
}

#[test]
fn kernel_talks_over_a_tap() {
    in_a_netns(|| {
        for mtu in [1500, 65_521] {
            let world = world();
            let tap = TapOptions { name: Some("blue0".into()) };
            let (ns, offered) = tenant(&world, "blue", mtu, tap);
            std::fs::write("/proc/sys/net/ipv6/conf/blue0/disable_ipv6", "0").unwrap();
            ip("addr add 10.9.0.2/24 dev blue0");
            ip("addr add fd00::2/64 dev blue0 nodad");
            for (host, own) in [("10.9.0.1", "10.9.0.2:0"), ("[fd00::1]", "[fd00::2]:0")] {
                let mut name = String::new();
                let mut stream = TcpStream::connect(format!("{host}:{NAME}")).unwrap();
                stream.read_to_string(&mut name).unwrap();
                assert_eq!(name, "blue");

                let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
                let mut stream = TcpStream::connect(format!("{host}:{ECHO}")).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let mut back = vec![0; bytes.len()];
                std::thread::scope(|scope| {
                    scope.spawn(|| writer.write_all(&bytes).unwrap());
                    stream.read_exact(&mut back).unwrap();
                });
                assert!(back == bytes);

                let socket = UdpSocket::bind(own).unwrap();
                socket.connect(format!("{host}:{ECHO}")).unwrap();
                // Datagrams may be lost.
                socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                let datagram = &bytes[..1200];
                let mut back = vec![0; 2000];
                let count = loop {
                    socket.send(datagram).unwrap();
                    if let Ok(count) = socket.recv(&mut back) {
                        break count;
                    }
                };
                assert_eq!(back[..count], *datagram);
            }
            drop(offered);
            world.remove(ns);
        }
    });
}

/// Two machines with the same addresses, of the link too, each in its own tenant's network.
#[test]
fn guests_talk_over_unix_sockets() {
    let folder = TempDir::new().unwrap();
    let path = |name| folder.path().join(name);
    let world = world();
    let stream = StreamOptions { path: path("stream"), end: StreamEnd::Listen };
    let blue = tenant(&world, "blue", 1500, stream);
    let dgram = DgramOptions { path: path("ours"), peer: Some(path("theirs")) };
    let green = tenant(&world, "green", 1500, dgram);
    let over_stream = || Network::stream(path("stream"));
    let mut first = guest(over_stream()).spawn().unwrap();
    let second = guest(Network::datagram(path("theirs"), path("ours"))).spawn().unwrap();
    assert_eq!(second.wait().unwrap().success().unwrap().text(), "green\nthe same\n");
    first.wait_for_output("the same\n", PATIENCE).unwrap();
    first.power_loss().unwrap();
    // The next one finds the same interface.
    let outcome = guest(over_stream()).run().unwrap().success().unwrap();
    assert_eq!(outcome.text(), "blue\nthe same\n");
    drop((blue, green));
}

fn guest(network: Network) -> holm_guest::Builder {
    let script = format!(
        "set -e
         ip addr add 10.9.0.2/24 dev eth0
         ip addr add fd00::2/64 dev eth0 nodad
         ip link set eth0 address 52:54:00:00:00:09
         ip link set eth0 up
         ping -q -c 3 -i 0.2 10.9.0.1 >&2
         ping -q -c 3 -i 0.2 fd00::1 >&2
         cat < /dev/tcp/10.9.0.1/{NAME}; echo
         head -c 1000000 /dev/urandom > sent
         for host in 10.9.0.1 fd00::1; do
             exec 3<> /dev/tcp/$host/{ECHO}
             cat sent >&3 &
             head -c 1000000 <&3 > received
             cmp sent received
             exec 3>&-
         done
         echo the same"
    );
    Guest::builder().no_network().network(network).script(script).timeout(PATIENCE)
}

const PATIENCE: Duration = Duration::from_secs(300);
