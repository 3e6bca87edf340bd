//! The results of every procedure of the port mapper and rpcbind, as a client sees them.
#![no_main]

use holm_fuzz::{choose, round_trip};
use holm_nfs_proto::{portmap, rpcbind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoders: &[fn(&[u8])] = &[
        |data| round_trip::<portmap::DumpRes>(data),
        |data| round_trip::<portmap::CallItRes<'_>>(data),
        |data| round_trip::<rpcbind::DumpRes<'_>>(data),
        |data| round_trip::<rpcbind::Text<'_>>(data),
    ];
    let Some((decode, data)) = choose(data, decoders) else { return };
    decode(data);
    if let Some(address) = rpcbind::parse_universal_address(data) {
        let text = rpcbind::universal_address(address);
        assert_eq!(rpcbind::parse_universal_address(text.as_bytes()), Some(address));
    }
});
