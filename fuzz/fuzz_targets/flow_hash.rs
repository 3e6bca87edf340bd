//! The hash of a frame's flow: whatever the frame is, it goes to a port that is used, and the second
//! layer does not look at what comes after it.
#![no_main]

use holm_ifnet::aggregation::{HashLayers, Protocol};
use holm_ifnet::lagg::{Choice, Distribution, FlowHash, Member};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, frame)) = data.split_first() else { return };
    let layers = HashLayers { l2: choice & 1 != 0, l3: choice & 2 != 0, l4: choice & 4 != 0 };
    let hash = FlowHash::new(layers, 0x0123_4567_89ab_cdef);
    let members = [1, 2, 3].map(|number| {
        let up = choice >> (2 + number) & 1 != 0;
        Member { number, collecting: up, distributing: up }
    });
    let distribution = Distribution::new(Protocol::LoadBalance, hash, &members);
    match distribution.choose(frame, || 0) {
        Choice::Nowhere => assert!(members.iter().all(|member| !member.distributing)),
        Choice::One(place) => assert!(members[place].distributing),
        Choice::All => panic!("one port"),
    }
    // Two tags after the header are the last that the second layer looks at.
    if !layers.l3 && !layers.l4 && frame.len() > 14 + 2 * 4 {
        let mut other = frame.to_vec();
        other.truncate(14 + 2 * 4);
        assert_eq!(hash.hash(&other), hash.hash(frame));
    }
});
