//! The arguments of every procedure of NFSv3.
#![no_main]

use holm_fuzz::{choose, same};
use holm_nfs_proto::nfs3::{Call, Procedure};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((procedure, data)) = choose(data, Procedure::ALL) else { return };
    same(data, |input| Call::decode(procedure, input));
});
