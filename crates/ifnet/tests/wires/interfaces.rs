//! Interfaces that are made of wires.

use crate::tenants::{Diary, Keeps, Ns, World, frame, named, new};
use crate::world::{close, in_a_netns, ip, other_netns};
use holm_ifnet::wires::{
    DgramOptions, Enter, Inside, PacketOptions, StreamEnd, StreamOptions, TapOptions,
};
use holm_ifnet::{Cloner, LinkState, NewInterface, Request};
use holm_lifetime::Deadline;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// An interface that is up and whose frames are kept.
fn up(ns: &Ns, name: &str, cloner: impl Cloner) -> Arc<Keeps> {
    ns.create(new(name), cloner).unwrap();
    ns.tell(name, Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    ns.receive(name, Some(keeps.clone()));
    keeps
}

/// Sends frames until one has come: those on the way while nobody was there are lost.
fn passes(from: &Ns, name: &str, to: &Keeps) {
    let before = to.wait_for(0).len();
    while to.wait_for(0).len() == before {
        from.find(named(name)).unwrap().transmit(&mut vec![frame(1, 1000)]);
        std::thread::yield_now();
    }
}

#[test]
fn stream_goes_from_one_namespace_to_another_and_survives_restarts() {
    let folder = TempDir::new().unwrap();
    let options = |end| StreamOptions { path: folder.path().join("net0"), end };
    let retry = Duration::from_millis(5);
    let world = World::new();
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let here = up(&blue, "s", options(StreamEnd::Listen));
    let there = up(&green, "s", options(StreamEnd::Connect { retry }));
    diary.wait_for("blue s: link up");
    passes(&blue, "s", &there);
    passes(&green, "s", &here);

    diary.take();
    green.destroy(named("s"), Deadline::Never).unwrap();
    diary.wait_for("blue s: link down");
    let there = up(&green, "s", options(StreamEnd::Connect { retry }));
    diary.wait_for("blue s: link up");
    passes(&blue, "s", &there);

    diary.take();
    blue.destroy(named("s"), Deadline::Never).unwrap();
    diary.wait_for("green s: link down");
    let here = up(&blue, "s", options(StreamEnd::Listen));
    diary.wait_for("green s: link up");
    passes(&green, "s", &here);
    world.remove(blue);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn dgram_goes_from_one_namespace_to_another() {
    let folder = TempDir::new().unwrap();
    let path = |name| folder.path().join(name);
    let world = World::new();
    let (blue, green) = (world.create("blue"), world.create("green"));
    let here = up(&blue, "d", DgramOptions { path: path("here"), peer: None });
    let there = DgramOptions { path: path("there"), peer: Some(path("here")) };
    let there = up(&green, "d", there);
    passes(&green, "d", &here);
    passes(&blue, "d", &there);
    // More than the queue of a datagram socket holds arrives, in order.
    let sender = green.find(named("d")).unwrap();
    while sender.room() < 200 {
        std::thread::yield_now();
    }
    sender.transmit(&mut (0..200).map(|number| frame(number, 100)).collect());
    let mut count = 200;
    loop {
        let frames = here.wait_for(count);
        let ours: Vec<_> = frames.iter().filter(|frame| frame.len() == 100).collect();
        if ours.len() == 200 {
            let all: Vec<_> = (0..200).map(|number| frame(number, 100)).collect();
            assert!(all.iter().eq(ours));
            break;
        }
        count = frames.len() + 1;
    }
}

#[test]
fn refused_wire_leaves_no_interface() {
    let folder = TempDir::new().unwrap();
    let world = World::new();
    let blue = world.create("blue");
    let nowhere = folder.path().join("nowhere/net0");
    let refused = blue
        .create(NewInterface::default(), StreamOptions { path: nowhere, end: StreamEnd::Listen });
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("could not listen at"), "{refused}");
    assert_eq!(blue.names(), ["lo"]);
}

/// The kernel's namespace is that of whoever lives there, not ours: with the interfaces destroyed,
/// nothing of it is left.
#[test]
fn kernel_netns_is_let_go_with_the_interfaces() {
    in_a_netns(|| {
        let theirs = other_netns();
        let inherited = rustix::io::dup(&theirs).unwrap();
        let there = format!("/proc/self/fd/{}", inherited.as_raw_fd());
        ip(&format!("link add outside type veth peer name inside netns {there}"));
        let world = World::new();
        let blue = world.create("blue");
        let options = TapOptions { name: Some("blue0".into()) };
        let tap = NewInterface { mtu: Some(9000), ..new("t") };
        let tap = blue.create(tap, Inside { options, enter: enter(&theirs) }).unwrap();
        blue.tell("t", Request::SetUp(true));
        // It hears what the tap sends, which is itself sent by the namespace.
        let options = PacketOptions { interface: "blue0".into() };
        let heard = up(&blue, "p", Inside { options, enter: enter(&theirs) });
        passes(&blue, "t", &heard);
        // Not here, nor without leave.
        let refused = blue.create(new("q"), PacketOptions { interface: "blue0".into() });
        assert!(refused.err().unwrap().to_string().contains("none of that name"));
        let enter_refuses: Enter = Box::new(|_| Err(holm_ifnet::DriverError("locked".into())));
        let nowhere = Inside { options: TapOptions::default(), enter: enter_refuses };
        assert!(blue.create(new("q"), nowhere).err().unwrap().to_string().contains("locked"));

        close((theirs, inherited));
        assert!(ip("link show").contains("outside"));
        drop(tap);
        blue.destroy(named("t"), Deadline::Never).unwrap();
        blue.destroy(named("p"), Deadline::Never).unwrap();
        while ip("link show").contains("outside") {
            std::thread::yield_now();
        }
    });
}

#[test]
fn interface_of_a_tap_that_the_kernel_deletes_is_down() {
    in_a_netns(|| {
        let world = World::new();
        let diary = Arc::<Diary>::default();
        let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
        let blue = world.create("blue");
        let options = TapOptions { name: Some("blue0".into()) };
        let large = NewInterface { mtu: Some(65_521), ..new("t") };
        let interface = blue.create(large, options).unwrap();
        assert!(ip("link show blue0").contains("mtu 65521"));
        blue.tell("t", Request::SetMtu(1400));
        assert!(ip("link show blue0").contains("mtu 1400"));
        ip("link del blue0");
        diary.wait_for("blue t: link down");
        assert_eq!(interface.link(), LinkState::Down);
        drop(interface);
        blue.destroy(named("t"), Deadline::Never).unwrap();
    });
}

#[test]
fn tap_that_the_kernel_sets_down_is_down_without_a_frame() {
    in_a_netns(|| {
        let world = World::new();
        let diary = Arc::<Diary>::default();
        let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
        let blue = world.create("blue");
        ip("tuntap add dev vm0 mode tap");
        let options = TapOptions { name: Some("vm0".into()) };
        let interface = blue.create(new("t"), options).unwrap();
        // Somebody else's, who has not brought it up yet.
        assert_eq!(interface.link(), LinkState::Down);
        for _ in 0..2 {
            diary.take();
            ip("link set vm0 up");
            diary.wait_for("blue t: link up");
            assert_eq!(interface.link(), LinkState::Up);
            ip("link set vm0 down");
            diary.wait_for("blue t: link down");
        }
        let values = interface.counters().values();
        assert_eq!((values.sent.frames, values.sent.dropped_in_all()), (0, 0));
        drop(interface);
        blue.destroy(named("t"), Deadline::Never).unwrap();
        ip("link del vm0");
    });
}

fn enter(netns: &File) -> Enter {
    let netns = netns.try_clone().unwrap();
    Box::new(move |work| {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = ThreadNameSpaceType::NETWORK;
                move_into_thread_name_spaces(netns.as_fd(), network).unwrap();
                work();
            });
            inside.join().unwrap();
        });
        Ok(())
    })
}
