//! What is remembered, for how long, and how much of it.

use holm_sunrpc::auth::Groups;
use holm_sunrpc::duplicates::{CallKey, DuplicateCache, Limits, Seen, Ticket};
use holm_sunrpc::message::{Call, encode_call};
use holm_sunrpc::{AuthSys, Credential};
use holm_xdr::{Encoder, Opaque};
use proptest::prelude::*;
use std::time::{Duration, Instant};

type Cache = DuplicateCache<u8>;

const LIMITS: Limits = Limits { entries: 4, bytes: 100, age: Duration::from_secs(10) };

fn key(cache: &Cache, peer: u8, xid: u32, procedure: u32, args: &[u8]) -> CallKey<u8> {
    let mut message = Encoder::new();
    encode_call(&mut message, xid, (100_003, 3, procedure), &Credential::None);
    message.raw(args);
    cache.key(peer, &Call::decode(&message).unwrap())
}

#[track_caller]
fn begin(cache: &mut Cache, key: CallKey<u8>, now: Instant) -> Ticket<u8> {
    match cache.begin(key, now) {
        Seen::New(ticket) => ticket,
        seen => panic!("{seen:?}"),
    }
}

#[test]
fn a_call_is_new_then_in_progress_then_done() {
    let mut cache = Cache::new(LIMITS);
    let now = Instant::now();
    let call = key(&cache, 1, 1, 12, b"name");
    let ticket = begin(&mut cache, call, now);
    assert!(matches!(cache.begin(call, now), Seen::InProgress));
    cache.finish(ticket, b"results", now);
    assert!(matches!(cache.begin(call, now), Seen::Done(b"results")));
    assert!(matches!(cache.begin(call, now), Seen::Done(b"results")), "again and again");
    assert_eq!((cache.len(), cache.bytes()), (1, 7));
}

#[test]
fn calls_that_differ_in_anything_are_different() {
    let cache = Cache::new(LIMITS);
    let long = [7u8; 5000];
    let mut keys = vec![
        key(&cache, 1, 1, 12, b"name"),
        key(&cache, 2, 1, 12, b"name"),
        key(&cache, 1, 2, 12, b"name"),
        key(&cache, 1, 1, 13, b"name"),
        key(&cache, 1, 1, 12, b"nbme"),
        key(&cache, 1, 1, 12, b"name\0\0\0\0"),
        key(&cache, 1, 1, 12, &long),
        key(&cache, 1, 1, 12, &long[4..]),
    ];
    assert_eq!(keys[0], key(&cache, 1, 1, 12, b"name"));
    let count = keys.len();
    while let Some(key) = keys.pop() {
        assert!(!keys.contains(&key), "{key:?}");
    }
    assert_eq!(count, 8);
}

#[test]
fn what_is_abandoned_is_new_again() {
    let mut cache = Cache::new(LIMITS);
    let now = Instant::now();
    let call = key(&cache, 1, 1, 12, b"");
    let ticket = begin(&mut cache, call, now);
    cache.abandon(ticket);
    assert!(cache.is_empty());
    let ticket = begin(&mut cache, call, now);
    cache.clear();
    let newer = begin(&mut cache, call, now);
    cache.finish(ticket, b"of another life", now);
    assert!(matches!(cache.begin(call, now), Seen::InProgress), "the old ticket means nothing");
    cache.finish(newer, b"", now);
    assert!(matches!(cache.begin(call, now), Seen::Done(b"")));
}

#[test]
fn results_are_forgotten_with_age_but_a_call_in_progress_is_not() {
    let mut cache = Cache::new(LIMITS);
    let start = Instant::now();
    let (done, stuck) = (key(&cache, 1, 1, 12, b""), key(&cache, 1, 2, 12, b""));
    let ticket = begin(&mut cache, done, start);
    let _stuck = begin(&mut cache, stuck, start);
    cache.finish(ticket, b"results", start + Duration::from_secs(5));
    assert!(matches!(cache.begin(done, start + Duration::from_secs(14)), Seen::Done(_)));
    let later = start + Duration::from_secs(15);
    assert!(matches!(cache.begin(stuck, later), Seen::InProgress));
    assert_eq!(cache.bytes(), 0);
    let _ticket = begin(&mut cache, done, later);
}

#[test]
fn the_oldest_results_make_room() {
    let mut cache = Cache::new(LIMITS);
    let now = Instant::now();
    let keys: Vec<_> = (0..6).map(|xid| key(&cache, 1, xid, 12, b"")).collect();
    for call in &keys[..4] {
        let ticket = begin(&mut cache, *call, now);
        cache.finish(ticket, &[1; 25], now);
    }
    assert_eq!((cache.len(), cache.bytes()), (4, 100));
    let fifth = begin(&mut cache, keys[4], now);
    assert_eq!((cache.len(), cache.bytes()), (4, 75), "one had to go for the entry");
    cache.finish(fifth, &[1; 60], now);
    assert_eq!((cache.len(), cache.bytes()), (2, 85), "two for the bytes");
    assert!(matches!(cache.begin(keys[3], now), Seen::Done(_)));

    let sixth = begin(&mut cache, keys[5], now);
    cache.finish(sixth, &[1; 101], now);
    assert_eq!((cache.len(), cache.bytes()), (2, 85), "too much to remember");
}

#[test]
fn calls_in_progress_are_never_forgotten_and_therefore_bounded() {
    let mut cache = Cache::new(LIMITS);
    let now = Instant::now();
    let keys: Vec<_> = (0..5).map(|xid| key(&cache, 1, xid, 12, b"")).collect();
    let mut tickets: Vec<_> = keys[..4].iter().map(|call| begin(&mut cache, *call, now)).collect();
    assert!(matches!(cache.begin(keys[4], now), Seen::Full));
    assert!(matches!(cache.begin(keys[0], now), Seen::InProgress));
    cache.finish(tickets.pop().unwrap(), b"", now);
    let _ticket = begin(&mut cache, keys[4], now);
}

/// It is the one that makes many calls whose results make room.
#[test]
fn a_flood_of_one_peer_forgets_nothing_of_another() {
    let limits = Limits { entries: 64, bytes: 64 * 10, ..LIMITS };
    let mut cache = Cache::new(limits);
    let now = Instant::now();
    let done = |cache: &mut Cache, peer, xid| {
        let call = key(cache, peer, xid, 12, b"");
        let ticket = begin(cache, call, now);
        cache.finish(ticket, &[peer; 10], now);
        call
    };
    let quiet = [1, 3].map(|peer| [1, 2, 3].map(|xid| done(&mut cache, peer, xid)));
    for xid in 0..1000 {
        done(&mut cache, 2, xid);
        assert!(cache.len() <= 64 && cache.bytes() <= 640);
    }
    for call in quiet.into_iter().flatten() {
        assert!(matches!(cache.begin(call, now), Seen::Done(_)), "{call:?}");
    }
    // What room the quiet ones leave is the other's.
    let last = key(&cache, 2, 999 - 50, 12, b"");
    assert!(matches!(cache.begin(last, now), Seen::Done(_)));
}

/// What nobody asks for again goes, too.
#[test]
fn results_of_peers_that_went_away_are_forgotten() {
    let mut cache = Cache::new(Limits { entries: 100, ..LIMITS });
    let start = Instant::now();
    for peer in 1..=20 {
        let call = key(&cache, peer, 1, 12, b"");
        let ticket = begin(&mut cache, call, start);
        cache.finish(ticket, b"gone", start);
    }
    let call = key(&cache, 50, 1, 12, b"");
    let ticket = begin(&mut cache, call, start + LIMITS.age);
    assert_eq!((cache.len(), cache.bytes()), (1, 0));
    cache.abandon(ticket);
    assert!(cache.is_empty());
}

/// Some clients put the time there.
#[test]
fn the_stamp_of_a_credential_makes_no_other_call() {
    let cache = Cache::new(LIMITS);
    let key = |stamp, uid| {
        let machine_name = Opaque::new(b"host").unwrap();
        let gids = Groups::new(&[5, 6]).unwrap();
        let sys = AuthSys { stamp, machine_name, uid, gid: 5, gids };
        let mut message = Encoder::new();
        encode_call(&mut message, 7, (100_003, 3, 12), &Credential::Sys(sys));
        message.raw(b"name");
        cache.key(1, &Call::decode(&message).unwrap())
    };
    assert_eq!(key(1, 1000), key(u32::MAX, 1000));
    assert_ne!(key(1, 1000), key(1, 1001));
}

#[test]
fn it_has_no_memory_before_the_first_call() {
    let info = allocation_counter::measure(|| drop(Cache::new(Limits::default())));
    assert_eq!(info.count_total, 0);
}

proptest! {
    /// Against a model that remembers everything: it never answers with other results than
    /// these, never begins a call that is in progress, and stays within its bounds.
    #[test]
    fn it_never_answers_wrongly(steps in prop::collection::vec((0..8u32, 0..4u8, 0..60usize, 0..4u64), 0..200)) {
        let mut cache = Cache::new(LIMITS);
        let mut now = Instant::now();
        let mut progress: Vec<(u32, Ticket<u8>)> = Vec::new();
        let mut done: std::collections::HashMap<u32, Vec<u8>> = Default::default();
        for (n, (xid, action, size, pass)) in steps.into_iter().enumerate() {
            now += Duration::from_secs(pass);
            let position = progress.iter().position(|(other, _)| *other == xid);
            match (action, position) {
                (0 | 1, _) => {
                    // Of three peers.
                    let call = key(&cache, (xid % 3) as u8, xid, 12, b"");
                    match cache.begin(call, now) {
                        Seen::New(ticket) => {
                            prop_assert!(position.is_none());
                            progress.push((xid, ticket));
                        }
                        Seen::InProgress => prop_assert!(position.is_some()),
                        Seen::Done(results) => prop_assert_eq!(Some(results), done.get(&xid).map(|results| &results[..])),
                        Seen::Full => prop_assert_eq!(progress.len(), LIMITS.entries),
                    }
                }
                (2, Some(position)) => {
                    let results = vec![n as u8; size];
                    cache.finish(progress.remove(position).1, &results, now);
                    done.insert(xid, results);
                }
                (_, Some(position)) => cache.abandon(progress.remove(position).1),
                (_, None) => {}
            }
            prop_assert!(cache.len() <= LIMITS.entries && cache.bytes() <= LIMITS.bytes);
        }
    }
}
