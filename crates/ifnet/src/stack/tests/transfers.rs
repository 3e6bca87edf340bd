//! Connections that carry something.

use super::{NFS, Net, Weather, address, config, mac};
use crate::frame::Frame;
use crate::stack::connection::ConnectionId;
use crate::stack::{Config, Limits, Reason, Wake};
use bytes::Bytes;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Bytes that say where they are from.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((word >> 32).to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sends both ways at once and compares what arrives; then ends both ways.
fn exchange(net: &mut Net, ids: (ConnectionId, ConnectionId), there: &[u8], back: &[u8]) {
    let mut sent = [0, 0];
    let mut came = [Vec::new(), Vec::new()];
    net.until(|net| {
        sent[0] += net.send(1, ids.0, &there[sent[0]..]);
        sent[1] += net.send(0, ids.1, &back[sent[1]..]);
        came[0].extend(net.receive(0, ids.1).unwrap());
        came[1].extend(net.receive(1, ids.0).unwrap());
        came[0].len() >= there.len() && came[1].len() >= back.len()
    });
    assert!(came[0] == there && came[1] == back);
}

/// One side ends, the other sees it, ends too, and both are left.
fn finish(net: &mut Net, ids: (ConnectionId, ConnectionId)) {
    net.machines[1].with(net.now, ids.0, |c| c.end()).unwrap();
    net.until(|net| net.receive(0, ids.1).is_none());
    net.machines[0].leave(net.now, ids.1);
    net.machines[1].leave(net.now, ids.0);
    net.until(|net| net.machines.iter().all(|machine| machine.usage().connections == 0));
}

#[test]
fn everything_arrives_in_order_whatever_the_link_does() {
    let storms = [
        Weather::default(),
        Weather { late: 300, ..Weather::default() },
        Weather { twice: 200, ..Weather::default() },
        Weather { lost: 30, ..Weather::default() },
        Weather { lost: 20, twice: 50, late: 200 },
    ];
    for (seed, weather) in storms.into_iter().enumerate() {
        for (mtu, v6) in [(576, false), (1500, true), (65_521, seed % 2 == 0)] {
            let mut net = Net::new(mtu, seed as u64 * 7919 + mtu as u64);
            net.listen(0, NFS);
            net.weather = weather;
            let ids = net.connect(v6);
            exchange(&mut net, ids, &bytes(1, 150_000), &bytes(2, 100_000));
            finish(&mut net, ids);
        }
    }
}

/// As from a peer that sends on one CPU and acknowledges on another.
#[test]
fn a_segment_that_an_acknowledgement_has_overtaken_counts() {
    let mut net = Net::new(1500, 1);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.pass(Duration::from_millis(100));
    for _ in 0..3 {
        let deliver = |net: &mut Net, to: usize, frames: Vec<Frame>| {
            frames.iter().for_each(|frame| net.machines[to].input_frame(net.now, frame));
        };
        assert_eq!(net.send(1, ids.0, b"late"), 4);
        let (late, _) = net.machines[1].settle(net.now, usize::MAX);
        assert_eq!(net.send(0, ids.1, &[7; 500]), 500);
        let (data, _) = net.machines[0].settle(net.now, usize::MAX);
        deliver(&mut net, 1, data);
        net.now += Duration::from_millis(20);
        let (acknowledgement, _) = net.machines[1].settle(net.now, usize::MAX);
        assert_eq!((late.len(), acknowledgement.len()), (1, 1));
        deliver(&mut net, 0, acknowledgement);
        deliver(&mut net, 0, late);
        assert_eq!(net.receive(0, ids.1).as_deref(), Some(&b"late"[..]));
        assert_eq!(net.receive(1, ids.0).as_deref(), Some(&[7; 500][..]));
        net.pass(Duration::from_millis(100));
    }
}

/// Who leaves the finishing to others makes long segments, whatever the MTU of the link, which arrive as they
/// are or as what they were cut into; also while that changes, and when the other has smaller packets.
#[test]
fn everything_arrives_when_finishing_is_left_to_others() {
    for (seed, finishes) in [(1, true), (2, false), (3, true)] {
        for (mtu, mtu_of_other, v6) in [
            (576, 576, false),
            (1500, 1500, true),
            (1500, 1500, false),
            (65_521, 65_521, false),
            (9000, 1500, true),
            (1500, 9000, false),
        ] {
            let mut net = Net::with(config(1, mtu), config(2, mtu_of_other), seed);
            net.finishes = finishes;
            net.machines.iter_mut().for_each(|machine| machine.set_offloads(true));
            net.listen(0, NFS);
            if seed == 3 {
                net.weather = Weather { lost: 5, twice: 20, late: 100 };
            }
            let ids = net.connect(v6);
            let (there, back) = (bytes(1, 300_000), bytes(2, 200_000));
            exchange(&mut net, ids, &there, &back);
            net.machines.iter_mut().for_each(|machine| machine.set_offloads(false));
            exchange(&mut net, ids, &there, &back);
            net.machines.iter_mut().for_each(|machine| machine.set_offloads(true));
            exchange(&mut net, ids, &there, &back);
            finish(&mut net, ids);
            for machine in &net.machines {
                for wrong in [Reason::Checksum, Reason::Malformed, Reason::Truncated] {
                    assert_eq!(machine.usage().dropped.get(wrong), 0, "{wrong:?}, {mtu}");
                }
            }
        }
    }
}

/// What is sent from where it lies, and what is there for as long as it is.
fn kept(memory: Vec<u8>) -> (Bytes, Weak<Vec<u8>>) {
    struct Memory(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Memory {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let memory = Arc::new(memory);
    let there = Arc::downgrade(&memory);
    (Bytes::from_owner(Memory(memory)), there)
}

/// Long replies from where they lie, by turns with short ones, whatever the link does to them and whoever finishes
/// them, also while that changes. They are let go when they have arrived.
#[test]
fn everything_arrives_that_is_sent_from_where_it_lies() {
    for (seed, offloads) in [(1, true), (2, false), (3, true), (4, false)] {
        for (mtu, v6) in [(576, false), (1500, true), (1500, false), (65_521, true)] {
            let mut net = Net::new(mtu, seed * 31 + mtu as u64);
            net.machines[0].set_offloads(offloads);
            net.listen(0, NFS);
            if seed > 2 {
                net.weather = Weather { lost: 10, twice: 20, late: 100 };
            }
            let ids = net.connect(v6);
            let (mut all, mut came, mut replies) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..8 {
                let length = 16_384 + net.random(200_000) as usize;
                let (long, there) = kept(bytes(round, length));
                let short = bytes(round + 100, net.random(3000) as usize);
                all.extend([&long[..], &short].concat());
                let (mut from, mut sent) = (0, 0);
                net.until(|net| {
                    from += net.send_kept(0, ids.1, &long, from);
                    if from == length {
                        sent += net.send(0, ids.1, &short[sent..]);
                    }
                    came.extend(net.receive(1, ids.0).unwrap());
                    sent == short.len()
                });
                replies.push(there);
                net.machines[0].set_offloads(offloads ^ (round % 3 == 1));
            }
            assert!(replies.last().is_some_and(|reply| reply.strong_count() > 0), "on its way");
            net.until(|net| {
                came.extend(net.receive(1, ids.0).unwrap());
                came.len() >= all.len()
            });
            assert!(came == all);
            net.until(|net| {
                net.machines[0].with(net.now, ids.1, |c| c.unacknowledged()) == Some(0)
            });
            assert!(replies.iter().all(|reply| reply.strong_count() == 0));
            finish(&mut net, ids);
            for machine in &net.machines {
                for wrong in [Reason::Checksum, Reason::Malformed, Reason::Truncated] {
                    assert_eq!(machine.usage().dropped.get(wrong), 0, "{wrong:?}, {mtu}");
                }
            }
        }
    }
}

/// However the connection ends: nothing of what it has kept stays behind.
#[test]
fn what_is_kept_goes_with_its_connection() {
    for end in 0..3 {
        let mut net = Net::new(1500, 3);
        net.listen(0, NFS);
        let ids = net.connect(false);
        let (long, there) = kept(bytes(1, 1 << 20));
        assert_eq!(net.send_kept(0, ids.1, &long, 0), 1 << 20);
        drop(long);
        net.step();
        assert!(there.strong_count() > 0);
        match end {
            0 => net.machines[0].close(net.now),
            1 => net.machines[0].with(net.now, ids.1, |c| c.abort()).unwrap(),
            _ => net.machines[1].with(net.now, ids.0, |c| c.abort()).unwrap(),
        }
        net.pass(Duration::from_secs(1));
        net.machines[0].leave(net.now, ids.1);
        net.pass(Duration::from_secs(1));
        assert_eq!(there.strong_count(), 0, "{end}");
    }
}

/// Or a peer that acknowledges nothing would have a connection hold much more than its buffer does.
#[test]
fn memory_is_kept_only_where_most_of_it_is_on_its_way() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    let ids = net.connect(false);
    let [(first, _), (second, there)] = [kept(bytes(1, 3 << 20)), kept(bytes(2, 2 << 20))];
    let wakes = Arc::new(AtomicUsize::new(0));
    let counts = wakes.clone();
    let wake: Wake = Arc::new(move || _ = counts.fetch_add(1, Ordering::Relaxed));
    net.machines[0].with(net.now, ids.1, |c| c.wake = Some(wake)).unwrap();
    assert_eq!(net.send_kept(0, ids.1, &first, 0), 3 << 20);
    assert_eq!(net.send_kept(0, ids.1, &second, 0), 1 << 20);
    // The end of it is kept,
    let mut came = 0;
    let mut receive = |net: &mut Net, all: usize| {
        let before = wakes.load(Ordering::Relaxed);
        net.until(|net| {
            came += net.receive(1, ids.0).unwrap().len();
            came >= all
        });
        net.pass(Duration::from_millis(1));
        wakes.load(Ordering::Relaxed) - before
    };
    receive(&mut net, 4 << 20);
    assert_eq!(net.send_kept(0, ids.1, &second, 1 << 20), 1 << 20);
    receive(&mut net, 5 << 20);
    assert_eq!(net.send_kept(0, ids.1, &first, 0), 3 << 20);
    // and otherwise copied; but for more than half its owner waits, and is woken once.
    assert_eq!(net.send_kept(0, ids.1, &second, (2 << 20) - 300_000), 300_000);
    assert_eq!(net.send_kept(0, ids.1, &second, 10), 0);
    drop(second);
    assert_eq!(there.strong_count(), 0);
    let woken = receive(&mut net, (8 << 20) + 300_000);
    assert_eq!(woken, 1);
}

#[test]
fn who_can_send_no_more_is_told_so_whatever_he_sends() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    let ids = net.connect(false);
    let (long, _) = kept(bytes(1, 5 << 20));
    let room = net.send_kept(0, ids.1, &long, 0);
    assert_eq!((room, net.send_kept(0, ids.1, &long, room)), (4 << 20, 0));
    net.machines[0].with(net.now, ids.1, |c| c.end()).unwrap();
    let error = |net: &mut Net| {
        let sent = net.machines[0].with(net.now, ids.1, |c| c.send_kept(&long, room)).unwrap();
        sent.unwrap_err().kind()
    };
    assert_eq!(error(&mut net), ErrorKind::BrokenPipe);
    net.machines[1].with(net.now, ids.0, |c| c.abort()).unwrap();
    net.until(|net| error(net) == ErrorKind::ConnectionReset);
}

/// How long it takes until so many bytes have arrived of which `lost` says which segments are lost, once.
fn time_with_losses(mtu: usize, offloads: bool, length: usize, lost: &[usize]) -> Duration {
    let mut net = Net::new(mtu, 5);
    net.machines[1].set_offloads(offloads);
    net.listen(0, NFS);
    let ids = net.connect(false);
    // Until the window is open, and it is known how long an acknowledgement takes.
    exchange(&mut net, ids, &bytes(1, 3_000_000), &bytes(2, 10));
    net.pass(Duration::from_secs(1));
    let (all, began) = (bytes(3, length), net.now);
    assert_eq!(net.send(1, ids.0, &all), length);
    net.lost = lost.to_vec();
    let mut came = Vec::new();
    net.until(|net| {
        came.extend(net.receive(0, ids.1).unwrap());
        came.len() == length
    });
    assert!(came == all && net.lost.is_empty());
    net.now - began
}

/// Time is that of the simulation.
#[test]
fn losses_do_not_stop_a_connection() {
    for (mtu, offloads) in [(1500, false), (9000, false), (65_521, true)] {
        let some: &[&[usize]] = &[&[3], &[2, 3], &[1, 2, 5], &[2, 4, 6, 8], &[3, 4, 5, 6, 7]];
        for lost in some {
            let took = time_with_losses(mtu, offloads, 2_000_000, lost);
            assert!(took < Duration::from_millis(150), "{took:?}, {mtu}: {lost:?}");
        }
        // The last, behind which nothing comes; and all.
        for lost in [&[0][..], &[0, 1]] {
            let took = time_with_losses(mtu, offloads, 2 * mtu - 500, lost);
            assert!(took < Duration::from_millis(450), "{took:?}, {mtu}: {lost:?}");
        }
    }
    // One that was cut, all of it.
    let cut: Vec<_> = (20..64).collect();
    let took = time_with_losses(1500, true, 2_000_000, &cut);
    assert!(took < Duration::from_millis(450), "{took:?}");
}

/// Who is far away is not taken for one that has lost something.
#[test]
fn nothing_is_sent_twice_to_who_is_far_away() {
    let mut net = Net::new(1500, 5);
    net.delay = Duration::from_millis(300);
    net.listen(0, NFS);
    let ids = net.connect(false);
    exchange(&mut net, ids, &bytes(1, 300_000), &bytes(2, 300_000));
    net.carried = 0;
    let length = 100_000;
    exchange(&mut net, ids, &bytes(1, length), &[]);
    assert!(net.carried < length + length / 10, "{} bytes", net.carried);
}

/// A connection whose window is open, and of which it is known how long an acknowledgement takes.
fn running(delay: Duration) -> (Net, (ConnectionId, ConnectionId)) {
    let mut net = Net::new(1500, 5);
    (net.delay, net.wire) = (delay, Duration::from_nanos(1200));
    net.listen(0, NFS);
    let ids = net.connect(false);
    time_of(&mut net, ids, 6_000_000);
    net.pass(Duration::from_secs(1));
    net.again = 0;
    (net, ids)
}

/// How long so many bytes take.
fn time_of(net: &mut Net, ids: (ConnectionId, ConnectionId), length: usize) -> Duration {
    let (all, began) = (bytes(4, length), net.now);
    let (mut sent, mut came) = (0, Vec::new());
    net.until(|net| {
        sent += net.send(1, ids.0, &all[sent..]);
        came.extend(net.receive(0, ids.1).unwrap());
        came.len() == length
    });
    assert!(came == all);
    net.now - began
}

/// Who answers later than before, or not for a while, has lost nothing.
#[test]
fn little_is_sent_twice_to_who_becomes_slower_or_pauses() {
    for delay in [150, 300] {
        let (mut net, ids) = running(Duration::from_micros(500));
        net.delay = Duration::from_millis(delay);
        time_of(&mut net, ids, 3_000_000);
        for _ in 0..20 {
            time_of(&mut net, ids, 500);
            net.pass(Duration::from_secs(3));
        }
        assert!(net.again <= 3, "{} segments sent again at {delay} ms", net.again);
    }
    for pause in [250, 600, 900] {
        let (mut net, ids) = running(Duration::from_micros(50));
        net.paused = net.now + Duration::from_millis(pause);
        time_of(&mut net, ids, 3_000_000);
        assert!(net.again <= 2, "{} segments sent again after {pause} ms", net.again);
    }
}

/// Where much is lost, it takes as long again as with the timer alone, and no longer.
#[test]
fn what_takes_long_is_left_to_the_timer() {
    let most = Duration::from_secs(3);
    for delay in [Duration::from_micros(50), Duration::from_millis(5)] {
        // The second half, behind which nothing comes.
        let (mut net, ids) = running(delay);
        net.lost = (360..720).collect();
        let took = time_of(&mut net, ids, 1 << 20);
        assert!(took < most && net.lost.is_empty(), "{took:?}");
        // Every second one for some time.
        let (mut net, ids) = running(delay);
        net.lost = (300..600).step_by(2).collect();
        let took = time_of(&mut net, ids, 3_000_000);
        assert!(took < most && net.lost.is_empty(), "{took:?}");
        // All, for longer than the timer takes: it goes back to the first of them, and that is all.
        let (mut net, ids) = running(delay);
        net.weather.lost = 1000;
        let all = bytes(5, 2_000_000);
        assert_eq!(net.send(1, ids.0, &all), all.len());
        net.pass(Duration::from_millis(1500));
        (net.weather.lost, net.again) = (0, 0);
        let (began, mut came) = (net.now, 0);
        net.until(|net| {
            came += net.receive(0, ids.1).unwrap().len();
            came == all.len()
        });
        let took = net.now - began;
        assert!(took < most && net.again == 0, "{took:?}, {} segments sent again", net.again);
    }
}

/// The sizes of what a machine sends on a connection that nobody hinders.
fn sizes(mtu: usize, v6: bool, offloads: bool) -> Vec<(usize, usize)> {
    let mut net = Net::new(mtu, 1);
    net.machines[1].set_offloads(offloads);
    net.listen(0, NFS);
    let ids = net.connect(v6);
    // Until the window is open.
    exchange(&mut net, ids, &bytes(1, 3_000_000), &bytes(2, 10));
    net.pass(Duration::from_secs(1));
    net.send(1, ids.0, &bytes(3, 500_000));
    let (frames, _) = net.machines[1].settle(net.now, usize::MAX);
    frames.iter().map(|frame| (frame.len(), frame.longest().unwrap())).collect()
}

#[test]
fn long_segments_are_made_of_whole_packets_of_the_link() {
    for v6 in [false, true] {
        let headers = if v6 { 60 } else { 40 };
        let packet = 1500 - headers;
        let (long, data) = ((65_521 - headers) / packet * packet, 14 + headers);
        let sizes_of = |mtu, offloads| sizes(mtu, v6, offloads);
        let made = sizes_of(1500, true);
        assert!(made.starts_with(&[(long + data, 1514)]), "{made:?}");
        assert!(sizes_of(1500, false).starts_with(&[(1514, 1514); 20]));
        assert!(sizes_of(65_521, true).starts_with(&[(65_535, 65_535)]));
    }
}

#[test]
fn a_large_transfer_fills_and_drains_all_buffers() {
    let mut net = Net::new(65_521, 1);
    net.listen(0, NFS);
    let ids = net.connect(false);
    exchange(&mut net, ids, &bytes(1, 3 << 20), &bytes(2, 1 << 20));
    finish(&mut net, ids);
}

#[test]
fn a_reader_who_stops_stops_the_sender_and_loses_nothing() {
    let limits = Limits { room_max: 1 << 20, ..Limits::default() };
    let config = |n| Config { limits, ..config(n, 1500) };
    let mut net = Net::with(config(1), config(2), 5);
    net.listen(0, NFS);
    let ids = net.connect(true);
    let all = bytes(3, 5 << 19);
    let mut sent = 0;
    // Nobody reads.
    for _ in 0..20_000 {
        sent += net.send(1, ids.0, &all[sent..]);
        if !net.step() {
            break;
        }
    }
    let most = 2 * limits.room_max;
    assert!((most / 2..=most).contains(&sent), "{sent} bytes are on their way");
    let mut came = Vec::new();
    net.until(|net| {
        sent += net.send(1, ids.0, &all[sent..]);
        came.extend(net.receive(0, ids.1).unwrap());
        came.len() == all.len()
    });
    assert!(came == all);
}

#[test]
fn who_wants_much_is_woken_when_it_is_there_and_at_the_end() {
    let mut net = Net::new(1500, 5);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.ping(ids);
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = wakes.clone();
    let wake: Wake = Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
    net.machines[0].with(net.now, ids.1, |c| c.wake = Some(wake)).unwrap();
    // Whether he was woken.
    let send = |net: &mut Net, count: usize| {
        assert_eq!(net.send(1, ids.0, &vec![7; count]), count);
        net.pass(Duration::from_millis(100));
        wakes.swap(0, Ordering::Relaxed) > 0
    };
    let want = |net: &mut Net, bytes: usize| {
        net.machines[0].with(net.now, ids.1, |c| c.want(bytes)).unwrap();
        net.pass(Duration::from_millis(100));
        wakes.swap(0, Ordering::Relaxed) > 0
    };
    assert!(send(&mut net, 1), "whatever comes, before anything was said");
    assert!(!want(&mut net, 10_000));
    assert!(!send(&mut net, 9998));
    assert!(send(&mut net, 1));
    assert!(want(&mut net, 10_000), "it is there already");
    assert!(!want(&mut net, 10_001));
    assert!(want(&mut net, 0));
    let half = Limits::default().room_max / 8;
    assert!(!want(&mut net, usize::MAX));
    assert!(!send(&mut net, half - 10_001));
    assert!(send(&mut net, 1), "there will not be much more than half of the room");
    while !net.receive(0, ids.1).unwrap().is_empty() {}
    assert!(!want(&mut net, half));
    net.machines[1].with(net.now, ids.0, |c| c.end()).unwrap();
    net.pass(Duration::from_millis(100));
    assert!(wakes.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_thousand_connections_each_have_their_own_bytes() {
    let mut net = Net::new(1500, 3);
    net.listen(0, NFS);
    let all: Vec<_> = (0..1000).map(|n| net.connect(n % 2 == 0)).collect();
    for (n, ids) in all.iter().enumerate() {
        let message = bytes(n as u64, 100);
        assert_eq!(net.send(1, ids.0, &message), 100);
    }
    net.pass(Duration::from_millis(100));
    for (n, ids) in all.iter().enumerate() {
        assert_eq!(net.receive(0, ids.1), Some(bytes(n as u64, 100)));
    }
    // Each has used a page for receiving and, at the other end, one for sending. When they have been
    // idle for a while, none.
    let resident = |net: &mut Net| -> usize {
        let now = net.now;
        let [server, client] = &mut net.machines;
        let of =
            |machine: &mut super::Machine, id| machine.with(now, id, |c| c.buffered().resident());
        all.iter().map(|ids| of(client, ids.0).unwrap() + of(server, ids.1).unwrap()).sum()
    };
    assert_eq!(resident(&mut net), 2 * 1000 * 4096);
    net.pass(Duration::from_secs(10));
    assert_eq!(resident(&mut net), 0);
    net.ping(all[500]);
}

#[test]
fn memory_is_given_back_when_a_transfer_is_over_but_nothing_that_is_still_needed() {
    let mut net = Net::new(1500, 8);
    net.listen(0, NFS);
    let ids = net.connect(false);
    let all = bytes(1, 1 << 20);
    exchange(&mut net, ids, &all, &all);
    let resident = |net: &mut Net, of: usize, id| {
        net.machines[of].with(net.now, id, |c| c.buffered().resident()).unwrap()
    };
    assert!(resident(&mut net, 0, ids.1) >= 1 << 20);
    // Bytes that nobody takes stay.
    assert_eq!(net.send(1, ids.0, b"kept"), 4);
    net.pass(Duration::from_secs(10));
    let kept = resident(&mut net, 0, ids.1);
    assert!(kept > 0, "{kept} bytes");
    assert_eq!(net.receive(0, ids.1).unwrap(), b"kept");
    net.pass(Duration::from_secs(10));
    assert_eq!(resident(&mut net, 0, ids.1), 0);
    assert_eq!(resident(&mut net, 1, ids.0), 0);
    exchange(&mut net, ids, &all, &all);
}

#[test]
fn memory_with_what_came_out_of_order_is_not_given_back() {
    let mut net = Net::new(1500, 8);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.ping(ids);
    // The first of these is lost, so that what follows waits for it, for as long as a timeout takes.
    let all = bytes(9, 10_000);
    assert_eq!(net.send(1, ids.0, &all[..1000]), 1000);
    net.weather.lost = 1000;
    net.collect();
    net.weather.lost = 0;
    assert_eq!(net.send(1, ids.0, &all[1000..]), 9000);
    net.pass(Duration::from_millis(10));
    assert_eq!(net.receive(0, ids.1).unwrap(), b"");
    for _ in 0..3 {
        net.machines[0].with(net.now, ids.1, |c| c.settle_memory()).unwrap();
    }
    let mut came = Vec::new();
    net.until(|net| {
        came.extend(net.receive(0, ids.1).unwrap());
        came.len() >= all.len()
    });
    assert!(came == all);
}

#[test]
fn connections_of_a_removed_address_are_reset_at_both_ends() {
    let mut net = Net::new(1500, 2);
    net.listen(0, NFS);
    let (there, stays) = (net.connect(false), net.connect(true));
    net.send(1, there.0, &bytes(1, 500_000));
    net.step();
    assert!(net.machines[0].remove_address(net.now, address(0, false)));
    assert!(!net.machines[0].remove_address(net.now, address(0, false)));
    assert_eq!(net.error(0, there.1), Some(ErrorKind::ConnectionReset));
    net.until(|net| net.error(1, there.0) == Some(ErrorKind::ConnectionReset));
    net.ping(stays);
    net.machines[0].leave(net.now, there.1);
    net.machines[1].leave(net.now, there.0);
    net.step();
    assert_eq!(net.machines[0].usage().connections, 1);
}

#[test]
fn everybody_is_told_when_the_stack_is_closed() {
    let mut net = Net::new(1500, 2);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.machines[0].close(net.now);
    net.collect();
    assert_eq!(net.error(0, ids.1), Some(ErrorKind::ConnectionReset));
    net.until(|net| net.error(1, ids.0) == Some(ErrorKind::ConnectionReset));
}

#[test]
fn what_was_sent_arrives_after_its_owner_has_left() {
    let mut net = Net::new(1500, 4);
    net.listen(0, NFS);
    let ids = net.connect(false);
    let all = bytes(6, 900_000);
    assert_eq!(net.send(0, ids.1, &all), all.len());
    net.machines[0].leave(net.now, ids.1);
    let mut came: Vec<u8> = Vec::new();
    net.until(|net| {
        let more = net.receive(1, ids.0);
        came.extend(more.iter().flatten());
        more.is_none()
    });
    assert!(came == all);
}

#[test]
fn a_connection_survives_a_link_that_is_gone_for_a_while() {
    let mut net = Net::new(1500, 4);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.weather.lost = 1000;
    assert_eq!(net.send(1, ids.0, b"late"), 4);
    net.pass(Duration::from_secs(20));
    assert_eq!(net.receive(0, ids.1).unwrap(), b"");
    net.weather.lost = 0;
    let mut came = Vec::new();
    net.until(|net| {
        came.extend(net.receive(0, ids.1).unwrap());
        came == b"late"
    });
    net.ping(ids);
}

/// As when a lagg takes the address of another port, and what it tells is lost with the one that fails.
#[test]
fn a_connection_finds_a_peer_that_has_moved_and_was_not_heard_of() {
    for v6 in [false, true] {
        let mut net = Net::new(1500, 4);
        net.listen(0, NFS);
        let ids = net.connect(v6);
        net.ping(ids);
        net.weather.lost = 1000;
        net.machines[0].set_mac(net.now, mac(9));
        net.pass(Duration::from_millis(10));
        net.weather.lost = 0;
        let began = net.now;
        let length = 500_000;
        exchange(&mut net, ids, &bytes(1, length), &bytes(2, length));
        let took = net.now - began;
        assert!(took < Duration::from_secs(10), "{took:?} in the time of the test");
    }
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up_but_one_that_answers_stays() {
    let mut net = Net::new(1500, 4);
    net.listen(0, NFS);
    let ids = net.connect(false);
    net.pass(Duration::from_secs(3600));
    net.ping(ids);
    let peer = net.connect(false);
    net.weather.lost = 1000;
    net.pass(Limits::default().silence + Limits::default().keep_alive);
    for ids in [ids, peer] {
        assert_eq!(net.error(0, ids.1), Some(ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_port_is_used_again_before_the_wait_is_over() {
    let mut limits = Limits { left: 4, ..Limits::default() };
    limits.left_for = Duration::from_secs(60);
    let mut net = Net::with(super::Config { limits, ..config(1, 1500) }, config(2, 1500), 3);
    net.listen(0, NFS);
    for _ in 0..20 {
        let ids = net.connect(false);
        // The server ends first, so it is the one that waits.
        net.machines[0].leave(net.now, ids.1);
        net.until(|net| net.receive(1, ids.0).is_none());
        net.machines[1].leave(net.now, ids.0);
        net.until(|net| net.machines[1].usage().connections == 0);
        assert!(net.machines[0].usage().connections <= 4, "the wait is bounded");
    }
    net.until(|net| net.machines[0].usage().connections == 0);
}
