//! Everything at once: whatever a client sends, the real programs answer it with replies as the
//! RFCs describe them, and never show or change anything outside the export.
#![no_main]

use holm_fuzz::world::{SECRET, Server, nfs3_results, peer, with_handles};
use holm_nfs_proto::nfs3;
use holm_nfsd::service::Transport;
use holm_sunrpc::message::{Call, Reply};
use holm_sunrpc::record::{Frame, Receiver};
use holm_sunrpc::{Connection, Limits, Step};
use holm_xdr::Encoder;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new(false));
}

fuzz_target!(|data: &[u8]| {
    SERVER.with_borrow_mut(|server| serve(server, data));
});

fn serve(server: &mut Server, data: &[u8]) {
    let (service, mut handles) = server.service();
    let mut connection = Connection::new(Limits { record: 1 << 16, unsent: 1 << 16 });
    for message in messages(data) {
        let message = with_handles(&message, &handles);
        let mut stream = Encoder::new();
        let frame = Frame::begin(&mut stream);
        stream.raw(&message);
        frame.end(&mut stream).expect("not too long");

        let mut sent = Vec::new();
        let mut rest = &*stream;
        while !rest.is_empty() {
            let space = connection.space();
            let count = rest.len().min(space.len());
            space[..count].copy_from_slice(&rest[..count]);
            connection.received(count);
            rest = &rest[count..];
            loop {
                let Server { context: Some(context), programs, .. } = server else {
                    unreachable!()
                };
                let step = context.attend(&service, peer(Transport::Tcp), |context| {
                    connection.serve(programs, context, 1)
                });
                sent.extend(connection.unsent());
                connection.sent(connection.unsent().len());
                match step {
                    Ok(Step::Receive) => break,
                    Ok(Step::Again | Step::Send) => {}
                    Err(_) => return server.check_beside(),
                }
            }
        }
        assert!(!sent.windows(SECRET.len()).any(|bytes| bytes == SECRET), "the secret is out");
        handles.extend(check(&message, &sent));
    }
    server.check_beside();
}

/// The records of a stream, as far as it makes any; what is left at its end is one more.
fn messages(data: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, rest) = records(&mut Receiver::new(1 << 15), data);
    messages.extend(rest.map(|rest| rest[..rest.len().min(1 << 15)].to_vec()));
    messages
}

/// The records of a stream, and what was not received when it turned out to be none.
fn records<'d>(receiver: &mut Receiver, data: &'d [u8]) -> (Vec<Vec<u8>>, Option<&'d [u8]>) {
    let (mut records, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let space = receiver.space();
        let count = rest.len().min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        receiver.received(count);
        rest = &rest[count..];
        loop {
            match receiver.next_record() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => break,
                Err(_) => return (records, Some(rest)),
            }
        }
    }
    (records, None)
}

/// The reply to a call is one record, with its number and the results of its procedure. Gives the
/// handle in them.
fn check(message: &[u8], sent: &[u8]) -> Option<Vec<u8>> {
    let mut receiver = Receiver::new(1 << 22);
    let (replies, broken) = records(&mut receiver, sent);
    assert!(broken.is_none(), "no record");
    assert!(receiver.is_idle() && replies.len() <= 1, "{} replies to a call", replies.len());
    let reply = Reply::decode(replies.first()?).expect("a reply");
    let Ok(call) = Call::decode(message) else { return None };
    assert_eq!(reply.xid, call.xid);
    let results = reply.outcome.ok()?;
    if call.program != nfs3::PROGRAM {
        return None;
    }
    let procedure = nfs3::Procedure::from_number(call.procedure).expect("it was served");
    nfs3_results(procedure, results.rest())
}
