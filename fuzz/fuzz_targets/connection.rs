//! A whole connection, with a program that echoes: what goes out is a stream of records again.
#![no_main]

use holm_sunrpc::message::Reply;
use holm_sunrpc::record::Receiver;
use holm_sunrpc::{Answer, Call, Connection, Limits, Program, Programs, Refusal, Step};
use holm_xdr::Encoder;
use libfuzzer_sys::fuzz_target;
use std::ops::RangeInclusive;

struct Echo;

impl Program<()> for Echo {
    fn number(&self) -> u32 {
        1
    }

    fn versions(&self) -> RangeInclusive<u32> {
        0..=2
    }

    fn call(&self, (): &mut (), call: &Call<'_>, results: &mut Encoder) -> Result<Answer, Refusal> {
        results.raw(call.args);
        match call.procedure % 4 {
            0 => Ok(Answer::Now),
            1 => Ok(Answer::Elsewhere),
            2 => Ok(Answer::Never),
            _ => Err(Refusal::ProcedureUnavailable),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let programs = Programs::new().with(Echo);
    let mut connection = Connection::new(Limits { record: 4096, unsent: 256 });
    let (mut rest, mut sent) = (data, Vec::new());
    'stream: while !rest.is_empty() {
        let space = connection.space();
        let (now, later) = rest.split_at(rest.len().min(space.len()).min(100));
        space[..now.len()].copy_from_slice(now);
        connection.received(now.len());
        rest = later;
        loop {
            let Ok(step) = connection.serve(&programs, &mut (), 3) else { break 'stream };
            let piece = connection.unsent().len().min(31);
            sent.extend(&connection.unsent()[..piece]);
            connection.sent(piece);
            match step {
                Step::Receive => break,
                Step::Again | Step::Send => {}
            }
        }
    }
    sent.extend(connection.unsent());

    let mut receiver = Receiver::new(1 << 20);
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let space = receiver.space();
        let (now, later) = rest.split_at(rest.len().min(space.len()));
        space[..now.len()].copy_from_slice(now);
        receiver.received(now.len());
        rest = later;
        while let Some(record) = receiver.next_record().expect("records") {
            Reply::decode(&record).expect("a reply");
        }
    }
    assert!(receiver.is_idle(), "no record is cut");
});
