//! Directory replies with names, budgets and handles of any size: never a byte above the budget,
//! and what is written decodes.
#![no_main]

use holm_nfs_proto::nfs3::{DirReply, EntryPlus, Outcome, ReadDirPlusRes};
use holm_xdr::{Decoder, Encoder, Opaque};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, Vec<(u64, Vec<u8>, Option<[u8; 9]>)>)| {
    let (dir_count, max_count, entries) = input;
    let (dir_count, max_count) = (dir_count.into(), max_count.into());
    let mut out = Encoder::new();
    let mut reply = match DirReply::read_dir_plus(&mut out, None, [7; 8], dir_count, max_count) {
        Ok(reply) => reply,
        Err(_) => {
            assert!(max_count < 4 + 8 + 8);
            return;
        }
    };
    let mut taken = Vec::new();
    for (cookie, name, handle) in &entries {
        let Ok(name) = Opaque::new(name) else { continue };
        let name_handle = handle.as_ref().and_then(|handle| Opaque::new(handle).ok());
        let (cookie, fileid) = (*cookie, !*cookie);
        let entry = EntryPlus { fileid, name, cookie, name_attributes: None, name_handle };
        if reply.push_plus(&entry).is_err() {
            break;
        }
        taken.push(entry);
    }
    reply.finish(true);
    assert!(out.len() <= 4 + max_count as usize);
    let mut input = Decoder::strict(&out);
    let Ok(Outcome::Ok(ok)) = input.get::<ReadDirPlusRes<'_>>() else { panic!("{out:?}") };
    assert_eq!(*ok.entries, *taken);
    input.finish().expect("all of it");
});
