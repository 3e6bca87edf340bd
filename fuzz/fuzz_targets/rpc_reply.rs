//! The header of a reply, as a client sees it.
#![no_main]

use holm_sunrpc::message::{Reply, encode_refusal};
use holm_xdr::Encoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(reply) = Reply::decode(data) else { return };
    if let Err(refusal) = reply.outcome {
        let mut out = Encoder::new();
        encode_refusal(&mut out, reply.xid, refusal);
        let again = Reply::decode(&out).expect("what was encoded");
        assert_eq!((again.xid, again.outcome.expect_err("a refusal")), (reply.xid, refusal));
    }
});
