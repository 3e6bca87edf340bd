//! A connection from its first byte to its last, and a client at the other end.

use holm_sunrpc::client::{CallError, Client, Procedure};
use holm_sunrpc::message::{Call, encode_call};
use holm_sunrpc::record::{Frame, RecordError};
use holm_sunrpc::{
    Answer, AuthStatus, AuthSys, Broken, Connection, Credential, Framing, Limits, Program,
    Programs, Refusal, Step,
};
use holm_xdr::{Array, Encoder, Opaque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::thread;

const PROGRAM: u32 = 0x2000_0007;

/// 0: nothing. 1: the opaque that it is called with. 4: user and groups. 5: never. 6: nothing, or
/// elsewhere where that was said.
struct Echo;

impl Program<Vec<u32>> for Echo {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        1..=1
    }

    fn call(
        &self,
        elsewhere: &mut Vec<u32>,
        call: &Call<'_>,
        results: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        let mut args = call.arguments();
        match call.procedure {
            0 => Ok(Answer::Now),
            1 => {
                results.put(&args.get::<Opaque<'_>>()?);
                Ok(Answer::Now)
            }
            4 => {
                let Credential::Sys(sys) = &call.credential else {
                    return Err(AuthStatus::TooWeak.into());
                };
                results.u32(sys.uid);
                let groups = [&[sys.gid], &*sys.gids].concat();
                results.put(&Array::<u32, 17>::new(groups).map_err(|_| Refusal::SystemError)?);
                Ok(Answer::Now)
            }
            5 => Ok(Answer::Never),
            6 if elsewhere.contains(&call.xid) => Ok(Answer::Elsewhere),
            6 => Ok(Answer::Now),
            _ => Err(Refusal::ProcedureUnavailable),
        }
    }
}

fn programs() -> Programs<Vec<u32>> {
    Programs::new().with(Echo)
}

fn procedure(number: u32) -> Procedure {
    Procedure { program: PROGRAM, version: 1, number }
}

/// Calls in one piece, as they would arrive.
fn calls(calls: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut out = Encoder::new();
    for (xid, number, args) in calls {
        let frame = Frame::begin(&mut out);
        encode_call(&mut out, *xid, (PROGRAM, 1, *number), &Credential::None);
        out.raw(args);
        frame.end(&mut out).unwrap();
    }
    out.to_vec()
}

fn receive(connection: &mut Connection, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = connection.space();
        let count = space.len().min(rest.len());
        assert!(count > 0, "there is room");
        space[..count].copy_from_slice(&rest[..count]);
        connection.received(count);
        rest = &rest[count..];
    }
}

#[test]
fn all_that_has_arrived_is_answered_in_one_piece() {
    let mut connection = Connection::new(Limits::default());
    assert!(connection.is_idle());
    let bytes = calls(&[(1, 0, &[]), (2, 9, &[]), (3, 1, &[0, 0, 0, 1, b'x', 0, 0, 0])]);
    receive(&mut connection, &bytes[..bytes.len() - 1]);
    let mut elsewhere = Vec::new();
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
    assert_eq!(connection.unsent().len(), 2 * 28, "two replies");
    receive(&mut connection, &bytes[bytes.len() - 1..]);
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
    assert_eq!(connection.unsent().len(), 2 * 28 + 36);
    assert_eq!(connection.unsent()[..12], [0x80, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(!connection.is_idle());

    connection.sent(10);
    assert_eq!(connection.unsent()[..2], [0, 1], "the rest of it");
    connection.sent(2 * 28 + 36 - 10);
    assert!(connection.is_idle());
    connection.reclaim();
    assert_eq!(connection.incoming().capacity(), 0);
}

#[test]
fn a_budget_is_kept() {
    let mut connection = Connection::new(Limits::default());
    receive(&mut connection, &calls(&[(1, 0, &[]), (2, 0, &[]), (3, 0, &[])]));
    let mut elsewhere = Vec::new();
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 2), Ok(Step::Again));
    assert_eq!(connection.unsent().len(), 2 * 28);
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 2), Ok(Step::Receive));
}

#[test]
fn a_client_that_does_not_take_replies_is_not_served() {
    let mut connection = Connection::new(Limits { unsent: 40, ..Limits::default() });
    receive(&mut connection, &calls(&[(1, 0, &[]), (2, 0, &[]), (3, 0, &[])]));
    let mut elsewhere = Vec::new();
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Send));
    assert_eq!(connection.unsent().len(), 2 * 28);
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Send), "still");
    connection.sent(2 * 28);
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
}

#[test]
fn replies_can_be_sent_in_pieces() {
    let mut connection = Connection::new(Limits::default());
    let (mut sent, mut expected, mut elsewhere) = (Vec::<u8>::new(), Vec::new(), Vec::new());
    for xid in 0..100u32 {
        receive(&mut connection, &calls(&[(xid, 0, &[])]));
        assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
        expected.extend([0x8000_0018, xid, 1, 0, 0, 0, 0].map(u32::to_be_bytes).concat());
        let piece = (xid as usize * 7 % 53).min(connection.unsent().len());
        sent.extend(&connection.unsent()[..piece]);
        connection.sent(piece);
    }
    sent.extend(connection.unsent());
    assert_eq!(sent, expected);
}

#[test]
fn a_connection_that_makes_no_sense_is_to_be_closed() {
    let mut elsewhere = Vec::new();
    let mut connection = Connection::new(Limits { record: 100, ..Limits::default() });
    receive(&mut connection, &calls(&[(1, 0, &[])]));
    receive(&mut connection, &[0x80, 0, 0, 101]);
    let too_long = Broken::Record(RecordError::TooLong { len: 101, max: 100 });
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Err(too_long));
    assert_eq!(connection.unsent().len(), 28, "the call before it was served");

    let mut connection = Connection::new(Limits::default());
    receive(&mut connection, b"\x80\0\0\x04GET ");
    let error = connection.serve(&programs(), &mut elsewhere, 10).unwrap_err();
    assert!(matches!(error, Broken::Message(_)), "{error}");
}

/// Serves one connection after the other until the listener's owner is gone.
#[test]
fn a_call_without_a_reply_ends_the_connection_after_the_replies_before_it() {
    let mut elsewhere = Vec::new();
    let mut connection = Connection::new(Limits::default());
    receive(&mut connection, &calls(&[(1, 0, &[]), (2, 5, &[]), (3, 0, &[])]));
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Err(Broken::Unanswered));
    assert_eq!(connection.unsent().len(), 28, "the call before it was served");
    assert_eq!(connection.unsent()[4..8], [0, 0, 0, 1]);
}

/// Those beside it are answered, and it is when it can be.
#[test]
fn a_call_that_is_served_elsewhere_waits_and_keeps_nobody() {
    let mut elsewhere = vec![2];
    let mut connection = Connection::new(Limits::default());
    receive(&mut connection, &calls(&[(1, 0, &[]), (2, 6, b"same"), (3, 0, &[])]));
    // And once more.
    receive(&mut connection, &calls(&[(2, 6, b"same")]));
    assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
    let xids = |unsent: &[u8]| unsent.chunks(28).map(|reply| reply[7]).collect::<Vec<_>>();
    assert_eq!(xids(connection.unsent()), [1, 3]);
    connection.sent(2 * 28);
    assert_eq!(connection.serve_waiting(&programs(), &mut elsewhere), Ok(Step::Receive));
    assert_eq!((connection.unsent(), connection.is_waiting()), (&[][..], true));
    assert!(!connection.is_idle());
    elsewhere.clear();
    assert_eq!(connection.serve_waiting(&programs(), &mut elsewhere), Ok(Step::Receive));
    assert_eq!(xids(connection.unsent()), [2]);
    assert!(!connection.is_waiting());
}

#[test]
fn calls_that_wait_are_few_and_short() {
    let mut elsewhere: Vec<u32> = (0..1000).collect();
    let mut connection = Connection::new(Limits::default());
    for xid in 0..32 {
        receive(&mut connection, &calls(&[(xid, 6, &[7; 2000])]));
        assert_eq!(connection.serve(&programs(), &mut elsewhere, 10), Ok(Step::Receive));
    }
    receive(&mut connection, &calls(&[(32, 6, &[])]));
    let served = connection.serve(&programs(), &mut elsewhere, 10);
    assert_eq!(served, Err(Broken::Unanswered));
    let mut connection = Connection::new(Limits::default());
    receive(&mut connection, &calls(&[(1, 6, &[7; 9000])]));
    let served = connection.serve(&programs(), &mut elsewhere, 10);
    assert_eq!(served, Err(Broken::Unanswered));
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        if serve_stream(stream).is_err() {
            return;
        }
    }
}

fn serve_stream(mut stream: TcpStream) -> std::io::Result<()> {
    let mut connection = Connection::new(Limits::default());
    let (programs, mut elsewhere) = (programs(), Vec::new());
    loop {
        let count = stream.read(connection.space())?;
        if count == 0 {
            return Ok(());
        }
        connection.received(count);
        loop {
            let Ok(step) = connection.serve(&programs, &mut elsewhere, 3) else { return Ok(()) };
            let unsent = connection.unsent().len();
            stream.write_all(connection.unsent())?;
            connection.sent(unsent);
            match step {
                Step::Receive => break,
                Step::Again | Step::Send => {}
            }
        }
    }
}

#[test]
fn a_client_gets_what_it_calls_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(&listener));

    let mut client = Client::connect(address, Some(std::time::Duration::from_secs(20))).unwrap();
    client.call::<()>(procedure(0), &()).unwrap();
    // Longer than any buffer at first, and longer than a segment.
    for len in [0, 1, 5, 1000, 100_000, 1 << 20] {
        let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let args: Opaque<'_> = Opaque::new(&sent).unwrap();
        let echo: Opaque<'_> = client.call(procedure(1), &args).unwrap();
        assert!(*echo == *sent, "{len} bytes");
    }

    let refusal = |error| match error {
        CallError::Refused(refusal) => refusal,
        error => panic!("{error}"),
    };
    let error = client.call::<()>(procedure(99), &()).unwrap_err();
    assert_eq!(refusal(error), Refusal::ProcedureUnavailable);
    let error =
        client.call::<()>(Procedure { program: 5, version: 1, number: 0 }, &()).unwrap_err();
    assert_eq!(refusal(error), Refusal::ProgramUnavailable);
    let error = client.call::<()>(Procedure { version: 9, ..procedure(0) }, &()).unwrap_err();
    assert_eq!(refusal(error), Refusal::ProgramMismatch { low: 1, high: 1 });
    let error = client.call::<()>(procedure(1), &7u32).unwrap_err();
    assert_eq!(refusal(error), Refusal::GarbageArgs);
    let error = client.call::<()>(procedure(4), &()).unwrap_err();
    assert_eq!(refusal(error), Refusal::Auth(AuthStatus::TooWeak));

    // Several at a time.
    let sent: Vec<u32> = (0..10).map(|_| client.send(procedure(0), &()).unwrap()).collect();
    let mut replies: Vec<u32> = sent.iter().map(|_| client.receive().unwrap().xid).collect();
    replies.sort_unstable();
    assert_eq!(replies, sent);
    drop(client);

    let user = AuthSys {
        stamp: 1,
        machine_name: Opaque::new(b"vm").unwrap(),
        uid: 1000,
        gid: 100,
        gids: holm_sunrpc::auth::Groups::new(&[4, 24]).unwrap(),
    };
    let mut client = Client::connect(address, None).unwrap().with_user(&user).with_xid(u32::MAX);
    for _ in 0..2 {
        let (uid, groups) = {
            let seen: User = client.call(procedure(4), &()).unwrap();
            (seen.uid, seen.groups.into_vec())
        };
        assert_eq!((uid, groups), (1000, vec![100, 4, 24]));
    }
    client.stream().write_all(b"\x80\0\0\x04GET ").unwrap();
    assert!(matches!(client.receive(), Err(CallError::Closed)));
}

#[derive(Debug, holm_xdr::Decode)]
struct User {
    uid: u32,
    groups: Array<u32, 17>,
}

#[test]
fn datagrams_have_no_marks() {
    let message = &calls(&[(1, 0, &[])])[4..];
    let mut out = Encoder::new();
    let served = programs().serve(&mut Vec::new(), message, Framing::Datagram, &mut out);
    assert_eq!(served, Ok(holm_sunrpc::Served::Now));
    assert_eq!(out.len(), 24);
}
