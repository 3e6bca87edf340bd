//! The results of every procedure of NFSv3, as a client sees them.
#![no_main]

use holm_fuzz::{choose, round_trip};
use holm_nfs_proto::nfs3::*;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoders: &[fn(&[u8])] = &[
        |data| round_trip::<GetAttrRes>(data),
        |data| round_trip::<SetAttrRes>(data),
        |data| round_trip::<LookupRes<'_>>(data),
        |data| round_trip::<AccessRes>(data),
        |data| round_trip::<ReadLinkRes<'_>>(data),
        |data| round_trip::<ReadRes<'_>>(data),
        |data| round_trip::<WriteRes>(data),
        |data| round_trip::<CreateRes<'_>>(data),
        |data| round_trip::<RemoveRes>(data),
        |data| round_trip::<RenameRes>(data),
        |data| round_trip::<LinkRes>(data),
        |data| round_trip::<ReadDirRes<'_>>(data),
        |data| round_trip::<ReadDirPlusRes<'_>>(data),
        |data| round_trip::<FsStatRes>(data),
        |data| round_trip::<FsInfoRes>(data),
        |data| round_trip::<PathConfRes>(data),
        |data| round_trip::<CommitRes>(data),
    ];
    let Some((decode, data)) = choose(data, decoders) else { return };
    decode(data);
});
