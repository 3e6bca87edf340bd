//! The header of a call.
#![no_main]

use holm_sunrpc::message::{Call, NotServed, Reply, encode_call, encode_refusal};
use holm_xdr::Encoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut out = Encoder::new();
    match Call::decode(data) {
        Ok(call) => {
            assert!(call.args.len() <= data.len() - 40);
            let Call { xid, program, version, procedure, ref credential, args, .. } = call;
            encode_call(&mut out, xid, (program, version, procedure), credential);
            out.raw(args);
            let again = Call::decode(&out).expect("what was encoded");
            assert_eq!(Call { message: data, args, ..again }, call);
            assert_eq!(again.args, args);
        }
        Err(NotServed::Refused { xid, refusal }) => {
            encode_refusal(&mut out, xid, refusal);
            let reply = Reply::decode(&out).expect("what was encoded");
            assert_eq!(reply.outcome.expect_err("a refusal"), refusal);
        }
        Err(NotServed::NotACall(error)) => assert!(error.at() <= data.len()),
    }
});
