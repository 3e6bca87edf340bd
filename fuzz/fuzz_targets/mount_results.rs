//! The results of every procedure of MOUNT, as a client sees them.
#![no_main]

use holm_fuzz::{choose, round_trip};
use holm_nfs_proto::mount::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoders: &[fn(&[u8])] = &[
        |data| round_trip::<MountRes<'_>>(data),
        |data| round_trip::<DumpRes<'_>>(data),
        |data| round_trip::<ExportRes<'_>>(data),
    ];
    let Some((decode, data)) = choose(data, decoders) else { return };
    decode(data);
});
