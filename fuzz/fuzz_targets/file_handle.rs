//! File handles: none that was not sealed is accepted, whatever of an honest one is changed.
#![no_main]

use holm_nfsd::handle::{FileHandle, HandleKey, MAX_HANDLE, MAX_NODE, NodeId, StoreKind};
use libfuzzer_sys::fuzz_target;

/// What is to be done to an honest handle.
type Change = (u8, u8);

fuzz_target!(|input: (Vec<u8>, u32, u16, bool, Vec<Change>, u8)| {
    let (bytes, export, volume, kernel, changes, length) = input;
    let key = HandleKey::from_bytes([7; 16]);
    assert!(FileHandle::verify(&key, &bytes).is_err(), "an invented handle");

    let store = if kernel { StoreKind::Kernel } else { StoreKind::Path };
    let Some(node) = NodeId::new(store, &[&bytes]) else {
        assert!(bytes.len() > MAX_NODE);
        return;
    };
    let sealed = FileHandle::seal(&key, export, volume, node);
    let verified = FileHandle::verify(&key, sealed.as_bytes()).expect("an honest handle");
    assert_eq!((verified.export(), verified.volume()), (export, volume));
    assert_eq!((verified.node(), verified.node().store()), (&node, store));

    let mut forged = sealed.as_bytes().to_vec();
    for (at, bits) in changes {
        let at = usize::from(at) % forged.len();
        forged[at] ^= bits;
    }
    if length % 4 == 0 {
        forged.resize(usize::from(length) % (MAX_HANDLE + 8), 0);
    }
    let honest = forged == sealed.as_bytes();
    assert_eq!(FileHandle::verify(&key, &forged).is_ok(), honest, "{forged:?} of {sealed:?}");
});
