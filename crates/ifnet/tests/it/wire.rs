//! Interfaces of wires.

use crate::sockets::Sockets;
use crate::world::{Diary, Keeps, World, frame, named, new};
use bytes::Bytes;
use holm_ifnet::{DropReason, Frame, LinkState, Request, RequestError};
use holm_lifetime::Deadline;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::sync::Arc;

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

/// What comes from the other end, waiting for it.
fn receive(theirs: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    loop {
        match rustix::net::recv(theirs, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((n, _)) => return Some(buffer[..n].to_vec()),
            Err(Errno::AGAIN) => {
                let mut fds = [rustix::event::PollFd::new(theirs, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, None).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn frames_pass_and_what_is_none_is_counted() {
    let world = World::new();
    let ns = world.create("blue");
    let (ours, theirs) = Sockets::pair();
    let wire = ns.create(new("w"), ours).unwrap();
    assert_eq!(wire.link(), LinkState::Up);
    ns.tell("w", Request::SetUp(true));
    let keeps = Arc::<Keeps>::default();
    ns.receive("w", Some(keeps.clone()));
    for n in 0..200 {
        rustix::net::send(&theirs, b"short", SendFlags::empty()).unwrap();
        rustix::net::send(&theirs, &frame(n, 100), SendFlags::empty()).unwrap();
        drop(keeps.wait_for(n as usize + 1));
    }
    let received = wire.counters().values().received;
    assert_eq!((received.frames, received.dropped(DropReason::Malformed)), (200, 200));
    wire.transmit(&mut vec![frame(1, 100), frame(2, 200)]);
    assert_eq!(receive(&theirs).map(|f| (number(&f), f.len())), Some((1, 100)));
    assert_eq!(receive(&theirs).map(|f| (number(&f), f.len())), Some((2, 200)));
}

#[test]
fn wire_that_is_full_gets_the_rest_in_order_when_there_is_room() {
    let world = World::new();
    let ns = world.create("blue");
    let (ours, theirs) = Sockets::pair();
    let wire = ns.create(new("w"), ours).unwrap();
    ns.tell("w", Request::SetUp(true));
    let sender = Arc::<Keeps>::default();
    ns.receive("w", Some(sender.clone()));
    let mut sent = 0;
    while wire.room() > 0 {
        wire.transmit(&mut vec![frame(sent, 1000)]);
        sent += 1;
    }
    wire.transmit(&mut vec![frame(u32::MAX, 1000)]);
    let counted = wire.counters().values().sent;
    assert_eq!((counted.frames, counted.dropped(DropReason::QueueFull)), (u64::from(sent), 1));
    for n in 0..sent {
        assert_eq!(number(&receive(&theirs).unwrap()), n);
    }
    sender.wait_for_room();
    assert!(wire.room() > 0);
}

/// What waits is not bounded by what it lies in.
#[test]
fn frame_that_waits_for_room_holds_no_memory_of_others() {
    let world = World::new();
    let ns = world.create("blue");
    let (ours, theirs) = Sockets::pair();
    let wire = ns.create(new("w"), ours).unwrap();
    ns.tell("w", Request::SetUp(true));
    let memory = Arc::new([7_u8; 1000]);
    struct Holds(Arc<[u8; 1000]>);
    impl AsRef<[u8]> for Holds {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }
    let mut sent = 0;
    while wire.room() > 0 {
        let part = Bytes::from_owner(Holds(memory.clone()));
        wire.transmit(&mut vec![Frame::of_parts(frame(sent, 100).to_vec(), vec![part], None)]);
        sent += 1;
    }
    assert_eq!(Arc::strong_count(&memory), 1);
    for n in 0..sent {
        let whole = receive(&theirs).unwrap();
        assert_eq!((number(&whole), &whole[100..]), (n, &memory[..]));
    }
}

#[test]
fn wire_that_breaks_is_down_and_takes_nothing() {
    let world = World::new();
    let diary = Arc::<Diary>::default();
    let _registered = world.chain.register(&world.registry, diary.clone()).unwrap();
    let ns = world.create("blue");
    let (ours, theirs) = Sockets::pair();
    let wire = ns.create(new("w"), ours).unwrap();
    ns.tell("w", Request::SetUp(true));
    drop(theirs);
    diary.wait_for("blue w: link down");
    assert_eq!(wire.counters().values().received.errors, 1);
    wire.transmit(&mut vec![frame(1, 100)]);
    let sent = wire.counters().values().sent;
    assert_eq!((sent.frames, sent.dropped(DropReason::NoPeer)), (0, 1));
    drop(wire);
    ns.destroy(named("w"), Deadline::Never).unwrap();
}

#[test]
fn descriptor_is_closed_with_the_interface() {
    let world = World::new();
    let ns = world.create("blue");
    let (ours, theirs) = Sockets::pair();
    drop(ns.create(new("w"), ours).unwrap());
    ns.destroy(named("w"), Deadline::Never).unwrap();
    assert_eq!(receive(&theirs), None);
    let (ours, theirs) = Sockets::pair();
    drop(ns.create(new("w"), ours).unwrap());
    world.remove(ns);
    // By now, not soon.
    let mut buffer = [0; 1];
    assert_eq!(rustix::net::recv(&theirs, &mut buffer, RecvFlags::empty()).unwrap().0, 0);
}

#[test]
fn mtu_that_the_wire_refuses_is_not_set() {
    let world = World::new();
    let ns = world.create("blue");
    let wire = ns.create(new("w"), Sockets::pair().0).unwrap();
    let refused = ns.ask("w", Request::SetMtu(2001)).unwrap_err();
    assert!(matches!(refused, RequestError::Failed { .. }), "{refused}");
    assert_eq!(wire.mtu(), 1500);
    ns.tell("w", Request::SetMtu(2000));
    assert_eq!(wire.mtu(), 2000);
}
