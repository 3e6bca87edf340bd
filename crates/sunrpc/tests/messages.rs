//! Headers worked out by hand from RFC 5531, section 9, and every refusal that it has.

use holm_sunrpc::auth::{AuthSys, Groups};
use holm_sunrpc::message::{Call, NotServed, Reply, encode_call, encode_refusal, encode_success};
use holm_sunrpc::{Answer, AuthStatus, Credential, Framing, Program, Programs, Refusal, Served};
use holm_xdr::{Encoder, Opaque};
use proptest::prelude::*;
use std::ops::RangeInclusive;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_be_bytes).collect()
}

/// A user with all groups and the longest name that there may be.
fn user(groups: &[u32], name: &'static [u8]) -> Credential<'static> {
    Credential::Sys(AuthSys {
        stamp: 7,
        machine_name: Opaque::new(name).unwrap(),
        uid: 1000,
        gid: 100,
        gids: Groups::new(groups).unwrap(),
    })
}

#[test]
fn a_call_is_taken_apart() {
    let message = bytes(&[0xabcd, 0, 2, 100_003, 3, 1, 0, 0, 0, 0, 4, 9]);
    let call = Call::decode(&message).unwrap();
    assert_eq!((call.xid, call.program, call.version, call.procedure), (0xabcd, 100_003, 3, 1));
    assert_eq!(call.credential, Credential::None);
    assert_eq!(call.args, &message[40..]);
    let mut out = Encoder::new();
    encode_call(&mut out, 0xabcd, (100_003, 3, 1), &Credential::None);
    assert_eq!(*out, message[..40]);
}

#[test]
fn a_user_has_a_machine_and_groups() {
    let message =
        bytes(&[1, 0, 2, 100_003, 3, 0, 1, 32, 7, 3, 0x766d_3700, 1000, 100, 2, 5, 6, 0, 0]);
    let call = Call::decode(&message).unwrap();
    assert_eq!(call.credential, user(&[5, 6], b"vm7"));
    let mut out = Encoder::new();
    encode_call(&mut out, 1, (100_003, 3, 0), &call.credential);
    assert_eq!(*out, *message);
    for len in 0..message.len() {
        assert!(Call::decode(&message[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn sixteen_groups_and_a_name_of_255_bytes_are_the_most() {
    let all: Vec<u32> = (0..16).collect();
    let credential = user(&all, &[b'm'; 255]);
    let mut out = Encoder::new();
    encode_call(&mut out, 1, (1, 1, 1), &credential);
    assert_eq!(Call::decode(&out).unwrap().credential, credential);
    assert!(Groups::new(&[0; 17]).is_err());

    let groups = |count: u32| {
        let mut words = vec![1, 0, 2, 1, 1, 1, 1, 20 + 4 * count, 7, 0, 1000, 100, count];
        words.extend(0..count);
        words.extend([0, 0]);
        bytes(&words)
    };
    assert!(Call::decode(&groups(16)).is_ok());
    refused(&groups(17), Refusal::Auth(AuthStatus::BadCredential));
    // Seventeen are announced, sixteen are there.
    let mut lie = groups(16);
    lie[48..52].copy_from_slice(&17u32.to_be_bytes());
    refused(&lie, Refusal::Auth(AuthStatus::BadCredential));

    let mut words = vec![1, 0, 2, 1, 1, 1, 1, 20 + 256, 7, 256];
    words.extend([0; 64]);
    words.extend([1000, 100, 0, 0, 0]);
    refused(&bytes(&words), Refusal::Auth(AuthStatus::BadCredential));
}

#[track_caller]
fn refused(message: &[u8], refusal: Refusal) {
    assert_eq!(Call::decode(message), Err(NotServed::Refused { xid: 1, refusal }));
}

#[test]
fn what_is_wrong_with_a_header_is_refused_as_such() {
    let auth = |status| Refusal::Auth(status);
    refused(&bytes(&[1, 0, 3]), Refusal::RpcMismatch { low: 2, high: 2 });
    let call = |auth: &[u32]| bytes(&[&[1, 0, 2, 100_003, 3, 0], auth].concat());
    // Longer than a credential may be; not all there; of a flavor that is not offered.
    refused(&call(&[0, 401]), auth(AuthStatus::BadCredential));
    refused(&call(&[1, 20, 0]), auth(AuthStatus::BadCredential));
    refused(&call(&[6, 4, 0, 0, 0]), auth(AuthStatus::RejectedCredential));
    // AUTH_NONE has no body, AUTH_SYS nothing behind its groups.
    refused(&call(&[0, 4, 9, 0, 0]), auth(AuthStatus::BadCredential));
    refused(&call(&[1, 24, 7, 0, 1, 2, 0, 9, 0, 0]), auth(AuthStatus::BadCredential));
    // The verifier is missing, or is one.
    refused(&call(&[0, 0]), auth(AuthStatus::BadVerifier));
    refused(&call(&[0, 0, 0, 4, 9]), auth(AuthStatus::BadVerifier));
    refused(&call(&[0, 0, 1, 0]), auth(AuthStatus::BadVerifier));
}

#[test]
fn what_is_no_call_gets_no_reply() {
    for words in [&[][..], &[1], &[1, 1, 0, 0, 0, 0], &[1, 2], &[1, 0], &[1, 0, 2, 100_003, 3]] {
        let message = bytes(words);
        assert!(matches!(Call::decode(&message), Err(NotServed::NotACall(_))), "{words:?}");
    }
    let error = Call::decode(&bytes(&[1, 1])).unwrap_err();
    assert_eq!(error.to_string(), "not a call: message type at byte 4: 1 has no meaning");
}

#[test]
fn every_refusal_of_the_rfc() {
    #[track_caller]
    fn check(refusal: Refusal, words: &[u32]) {
        let mut out = Encoder::new();
        encode_refusal(&mut out, 0xab, refusal);
        let message = bytes(words);
        assert_eq!(*out, *message);
        let reply = Reply::decode(&message).unwrap();
        assert_eq!(reply.xid, 0xab);
        assert_eq!(reply.outcome.unwrap_err(), refusal);
        for len in 0..message.len() {
            assert!(Reply::decode(&message[..len]).is_err(), "cut at {len}");
        }
    }
    check(Refusal::RpcMismatch { low: 2, high: 2 }, &[0xab, 1, 1, 0, 2, 2]);
    for (status, number) in [
        (AuthStatus::BadCredential, 1),
        (AuthStatus::RejectedCredential, 2),
        (AuthStatus::BadVerifier, 3),
        (AuthStatus::RejectedVerifier, 4),
        (AuthStatus::TooWeak, 5),
        (AuthStatus::InvalidResponse, 6),
        (AuthStatus::Failed, 7),
        (AuthStatus::KerberosGeneric, 8),
        (AuthStatus::TimeExpire, 9),
        (AuthStatus::TicketFile, 10),
        (AuthStatus::Decode, 11),
        (AuthStatus::NetAddress, 12),
        (AuthStatus::GssCredentialProblem, 13),
        (AuthStatus::GssContextProblem, 14),
    ] {
        check(Refusal::Auth(status), &[0xab, 1, 1, 1, number]);
    }
    check(Refusal::ProgramUnavailable, &[0xab, 1, 0, 0, 0, 1]);
    check(Refusal::ProgramMismatch { low: 3, high: 4 }, &[0xab, 1, 0, 0, 0, 2, 3, 4]);
    check(Refusal::ProcedureUnavailable, &[0xab, 1, 0, 0, 0, 3]);
    check(Refusal::GarbageArgs, &[0xab, 1, 0, 0, 0, 4]);
    check(Refusal::SystemError, &[0xab, 1, 0, 0, 0, 5]);
}

#[test]
fn a_reply_has_its_results() {
    let mut out = Encoder::new();
    encode_success(&mut out, 5);
    out.u32(77);
    assert_eq!(*out, *bytes(&[5, 1, 0, 0, 0, 0, 77]));
    let reply = Reply::decode(&out).unwrap();
    assert_eq!(reply.outcome.unwrap().u32(), Ok(77));
    // A verifier is skipped.
    let message = bytes(&[5, 1, 0, 1, 4, 9, 0, 78]);
    assert_eq!(Reply::decode(&message).unwrap().outcome.unwrap().u32(), Ok(78));
    for words in [&[5, 0][..], &[5, 1, 2], &[5, 1, 0, 0, 0, 6], &[5, 1, 1, 2], &[5, 1, 1, 1, 0]] {
        assert!(Reply::decode(&bytes(words)).is_err(), "{words:?}");
    }
}

/// Doubles a number.
struct Double(u32, RangeInclusive<u32>);

impl Program<u32> for Double {
    fn number(&self) -> u32 {
        self.0
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.1.clone()
    }

    fn call(
        &self,
        calls: &mut u32,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        *calls += 1;
        results.u32(call.version); // taken back, if it is refused
        match call.procedure {
            0 => Ok(Answer::Now),
            1 => {
                results.u32(call.arguments().u32()?.wrapping_mul(2));
                Ok(Answer::Now)
            }
            2 => Ok(Answer::Never),
            3 => Ok(Answer::Elsewhere),
            5 => Err(AuthStatus::TooWeak.into()),
            _ => Err(Refusal::ProcedureUnavailable),
        }
    }
}

#[test]
fn calls_find_their_program() {
    let programs =
        Programs::new().with(Double(10, 2..=2)).with(Double(10, 4..=5)).with(Double(11, 1..=1));
    let mut calls = 0;
    let mut served = |program, version, procedure, args: &[u32]| {
        let header = [1, 0, 2, program, version, procedure, 0, 0, 0, 0];
        let message = bytes(&[&header, args].concat());
        let mut out = Encoder::new();
        out.u32(0xdead);
        let served = programs.serve(&mut calls, &message, Framing::Datagram, &mut out).unwrap();
        assert_eq!(out[..4], 0xdead_u32.to_be_bytes(), "what was there stays");
        let reply = Reply::decode(&out[4..]).map(|reply| reply.outcome);
        let outcome = reply.ok().map(|outcome| outcome.map(|results| results.rest().to_vec()));
        (served, outcome)
    };
    let now = |words: &[u32]| (Served::Now, Some(Ok(bytes(words))));
    let refused = |refusal| (Served::Now, Some(Err(refusal)));
    assert_eq!(served(10, 2, 1, &[21]), now(&[2, 42]));
    assert_eq!(served(10, 5, 0, &[]), now(&[5]));
    assert_eq!(served(11, 1, 1, &[1, 99]), now(&[1, 2]), "more than the arguments is ignored");
    assert_eq!(served(12, 1, 0, &[]), refused(Refusal::ProgramUnavailable));
    assert_eq!(served(10, 3, 0, &[]), refused(Refusal::ProgramMismatch { low: 2, high: 5 }));
    assert_eq!(served(10, 2, 9, &[]), refused(Refusal::ProcedureUnavailable));
    assert_eq!(served(10, 2, 1, &[]), refused(Refusal::GarbageArgs));
    assert_eq!(served(10, 2, 5, &[]), refused(Refusal::Auth(AuthStatus::TooWeak)));
    assert_eq!(served(10, 2, 2, &[]), (Served::Never, None));
    assert_eq!(served(10, 2, 3, &[]), (Served::Elsewhere, None));
    assert_eq!(calls, 8);
}

proptest! {
    #[test]
    fn no_bytes_panic_or_allocate(words in prop::collection::vec(prop_oneof![0..3u32, any::<u32>()], 0..40), cut in 0..4usize) {
        let mut message = bytes(&words);
        message.truncate(message.len().saturating_sub(cut));
        let allocated = allocation_counter::measure(|| {
            let _ = Call::decode(&message);
            let _ = Reply::decode(&message);
        });
        prop_assert_eq!(allocated.bytes_total, 0);
        let mut call = message.clone();
        for (place, word) in call.chunks_exact_mut(4).zip([1u32, 0, 2]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let _ = Call::decode(&call);
    }

    #[test]
    fn a_call_is_what_was_encoded(xid: u32, procedure: (u32, u32, u32), ids: (u32, u32), groups in prop::collection::vec(any::<u32>(), 0..=16), name in prop::collection::vec(any::<u8>(), 0..=255)) {
        let credential = Credential::Sys(AuthSys {
            stamp: xid,
            machine_name: Opaque::new(&name).unwrap(),
            uid: ids.0,
            gid: ids.1,
            gids: Groups::new(&groups).unwrap(),
        });
        let mut out = Encoder::new();
        encode_call(&mut out, xid, procedure, &credential);
        let call = Call::decode(&out).unwrap();
        prop_assert_eq!((call.program, call.version, call.procedure), procedure);
        prop_assert_eq!(call.credential, credential);
        prop_assert!(call.args.is_empty());
    }
}
