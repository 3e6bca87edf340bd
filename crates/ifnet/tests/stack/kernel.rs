//! A tap, and at its other end this machine's kernel. As root.

use crate::world::{NFS, Ns, World, bytes, named, new};
use holm_ifnet::ether::HEADER;
use holm_ifnet::wires::{Tap, TapOptions};
use holm_ifnet::{
    Cloner, Driver, DriverError, Frame, Interface, NewInterface, Request, Way, WireDriver,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// An interface over a tap that is open.
struct Over(Tap);

impl Cloner for Over {
    const KIND: &'static str = "tap";

    fn make(self) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(WireDriver::new(self.0)))
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.expect("install iproute2");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

/// Runs a test in a network namespace of the kernel's that is there for it alone, as root: with
/// the address of the kernel's end, and that of ours, for each family that there is.
fn with_a_tap(mtu: usize, test: impl FnOnce(&Ns, &[IpAddr]) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: it changes nothing but in which network namespace this thread makes sockets.
            unsafe {
                let network = rustix::thread::UnshareFlags::NEWNET;
                rustix::thread::unshare_unsafe(network).unwrap();
            }
            let tap = Tap::open(&TapOptions { name: Some("holm0".into()) }).unwrap();
            let v6 = std::path::Path::new("/proc/sys/net/ipv6/conf/holm0").exists();
            ip("addr add 10.9.0.1/24 dev holm0");
            if v6 {
                ip("addr add fd09::1/64 dev holm0 nodad");
            }
            let world = World::new();
            let ns = world.create("blue");
            let new = NewInterface { mtu: Some(mtu), ..new("wan") };
            drop(ns.interfaces.create(new, Over(tap)).unwrap());
            ns.tell("wan", Request::SetUp(true));
            let mut ours = vec!["10.9.0.2/24"];
            ours.extend(v6.then_some("fd09::2/64"));
            for cidr in &ours {
                ns.address("wan", cidr);
            }
            let _offered = ns.serve_echo();
            let addresses: Vec<IpAddr> =
                ours.iter().map(|cidr| cidr.split('/').next().unwrap().parse().unwrap()).collect();
            test(&ns, &addresses);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn kernel_exchanges_streams_with_us() {
    for mtu in [1500, 65_521] {
        with_a_tap(mtu, |_, addresses| {
            for &address in addresses {
                let stream = TcpStream::connect(SocketAddr::new(address, NFS)).unwrap();
                let sent = bytes(mtu as u32, 3_000_000);
                let mut came = Vec::new();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        (&stream).write_all(&sent).unwrap();
                        stream.shutdown(std::net::Shutdown::Write).unwrap();
                    });
                    (&stream).read_to_end(&mut came).unwrap();
                });
                assert!(came == sent);
            }
        });
    }
}

/// What passes by a tap while somebody looks, and the longest frame of it.
struct Looks {
    mtu: usize,
    frames: AtomicUsize,
}

impl holm_ifnet::Tap for Looks {
    fn saw(&self, _: &Interface, _: Way, frames: &[Frame]) {
        for frame in frames {
            assert!(frame.len() <= HEADER + self.mtu && frame.rest().is_none());
            if let Some(sum) = sum(frame) {
                assert_eq!(sum, 0xffff, "a checksum is wrong");
                self.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The sum over what the checksum of a segment of TCP covers, itself included: all ones if it is right.
fn sum(frame: &[u8]) -> Option<u16> {
    let packet = frame.get(HEADER..)?;
    let (addresses, segment) = match packet.first()? >> 4 {
        4 if packet[9] == 6 => {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            (&packet[12..20], &packet[20..length])
        }
        6 if packet[6] == 6 => (&packet[8..40], &packet[40..]),
        _ => return None,
    };
    let length = (segment.len() as u32).to_be_bytes();
    let covered = [addresses, &[0, 6], &length, segment].concat();
    let sum = covered.chunks(2).fold(0_u64, |sum, pair| {
        sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
    });
    let once = (sum & 0xffff) + (sum >> 16);
    Some(((once & 0xffff) + (once >> 16)) as u16)
}

/// Sends bytes to who sends them back, and compares.
fn echo(stream: &TcpStream, sent: &[u8]) {
    let mut came = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| (&*stream).write_all(sent).unwrap());
        (&*stream).read_exact(&mut came).unwrap();
    });
    assert!(came == sent);
}

/// Long segments cross a tap of the usual MTU in one piece, as nobody cuts them on the way, and no more than the
/// first are lost when somebody begins or ends to look, who sees them as they would be on a wire.
#[test]
fn kernel_exchanges_long_segments_with_us_unless_somebody_looks() {
    for mtu in [1500, 65_521] {
        with_a_tap(mtu, |ns, addresses| {
            let interface = ns.interfaces.find(named("wan")).unwrap();
            for &address in addresses {
                let stream = TcpStream::connect(SocketAddr::new(address, NFS)).unwrap();
                let sent = bytes(mtu as u32, 4_000_000);
                let counted = || {
                    let values = interface.counters().values();
                    [values.sent, values.received].map(|way| (way.frames, way.bytes))
                };
                let before = counted();
                echo(&stream, &sent);
                // The last may not be counted yet.
                for (before, after) in before.into_iter().zip(counted()) {
                    let (frames, bytes) = (after.0 - before.0, after.1 - before.1);
                    assert!(bytes > 3_500_000 && frames < 1000, "{frames} frames, MTU {mtu}");
                }
                let looks = Arc::new(Looks { mtu, frames: AtomicUsize::new(0) });
                let tap: Arc<dyn holm_ifnet::Tap> = looks.clone();
                interface.add_tap(tap.clone());
                echo(&stream, &sent);
                interface.remove_tap(&tap);
                assert!(looks.frames.load(Ordering::Relaxed) > 2 * 4_000_000 / mtu);
                echo(&stream, &sent);
            }
            let values = interface.counters().values();
            assert_eq!(values.received.dropped_in_all(), 0);
        });
    }
}

#[test]
fn kernel_opens_many_connections_at_once() {
    with_a_tap(1500, |_, addresses| {
        let streams: Vec<_> = (0..200)
            .map(|n| {
                let address = addresses[n % addresses.len()];
                TcpStream::connect(SocketAddr::new(address, NFS)).unwrap()
            })
            .collect();
        for (n, mut stream) in streams.iter().enumerate() {
            stream.write_all(&(n as u64).to_be_bytes()).unwrap();
        }
        for (n, mut stream) in streams.iter().enumerate() {
            let mut came = [0; 8];
            stream.read_exact(&mut came).unwrap();
            assert_eq!(u64::from_be_bytes(came), n as u64);
        }
    });
}

#[test]
fn kernel_is_told_that_nobody_is_there() {
    with_a_tap(1500, |_, addresses| {
        for &address in addresses {
            let refused = TcpStream::connect(SocketAddr::new(address, 99)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(SocketAddr::new(address, 99)).unwrap();
            socket.send(b"anybody?").unwrap();
            let refused = socket.recv(&mut [0; 9]).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn kernel_gets_answers_to_datagrams() {
    with_a_tap(1500, |ns, addresses| {
        let (sender, sockets) = channel();
        let sender = Mutex::new(sender);
        let _bound = ns
            .stacks
            .bind(111, move |socket| sender.lock().unwrap().send(socket).unwrap())
            .unwrap();
        let sockets: Vec<_> = sockets.try_iter().map(Arc::new).collect();
        for socket in &sockets {
            let answering = socket.clone();
            socket.set_wake(Arc::new(move || {
                let mut space = [0; 2000];
                while let Ok(came) = answering.receive(&mut space) {
                    let _ = answering.send(came.to, came.from, &space[..came.count]);
                }
            }));
        }
        for &address in addresses {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(SocketAddr::new(address, 111)).unwrap();
            for length in [0, 1, 1400] {
                let sent = bytes(1, length);
                socket.send(&sent).unwrap();
                let mut space = [0; 2000];
                let count = socket.recv(&mut space).unwrap();
                assert!(space[..count] == sent);
            }
        }
    });
}

#[test]
fn kernel_pings_us() {
    with_a_tap(9000, |_, addresses| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP));
        let socket = socket.unwrap();
        for length in [8_usize, 64, 1000, 8980] {
            let mut request = vec![0; length];
            request[0] = 8;
            request[4] = length as u8;
            let sum: u32 = request
                .chunks(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            request[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            let to = SocketAddr::new(addresses[0], 0);
            rustix::net::sendto(&socket, &request, SendFlags::empty(), &to).unwrap();
            let mut space = [0; 10_000];
            loop {
                // With its header.
                let (count, _) =
                    rustix::net::recv(&socket, &mut space, RecvFlags::empty()).unwrap();
                if count == 20 + length && space[20] == 0 && space[24] == length as u8 {
                    break;
                }
            }
        }
    });
}

/// How fast it is, in a release build: `cargo test --release -p holm-ifnet --test stack -- --ignored
/// --nocapture`. Against the kernel's own loopback, in the same run.
#[test]
#[ignore = "a measurement"]
fn how_fast_it_is() {
    for mtu in [1500, 65_521] {
        with_a_tap(mtu, |_, addresses| measure(&format!("tap, MTU {mtu}"), addresses[0], NFS));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            let mut space = vec![0; 100_000];
            while let Ok(count @ 1..) = stream.read(&mut space) {
                stream.write_all(&space[..count]).unwrap();
            }
        }
    });
    measure("loopback", IpAddr::from([127, 0, 0, 1]), port);
}

/// There and back, once as much as there is, and once a little at a time.
fn measure(what: &str, address: IpAddr, port: u16) {
    let stream = TcpStream::connect(SocketAddr::new(address, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (chunk, count) = (vec![7; 1 << 20], 1000);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|_| (&stream).write_all(&chunk).unwrap()));
        let mut space = vec![0; 1 << 20];
        (0..count).for_each(|_| (&stream).read_exact(&mut space).unwrap());
    });
    let rate = f64::from(count) / 1024.0 / began.elapsed().as_secs_f64();
    let mut space = [0; 128];
    let began = std::time::Instant::now();
    for _ in 0..20_000 {
        (&stream).write_all(&space).unwrap();
        (&stream).read_exact(&mut space).unwrap();
    }
    let call = began.elapsed().as_secs_f64() / 20_000.0 * 1e6;
    println!("{what}: {rate:.2} GiB/s there and back, {call:.1} us a call of 128 bytes");
}
