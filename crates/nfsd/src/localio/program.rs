//! The RPC program (Linux, `Documentation/filesystems/nfs/localio.rst`).

use crate::service::{Blocking, Context};
use holm_nfs_proto::localio::{Call as Local, PROGRAM, Procedure, VERSION};
use holm_sunrpc::{Answer, Call, Program, Refusal};
use holm_xdr::Encoder;
use std::ops::RangeInclusive;

/// The program in which a client names the UUID that it has registered at the door. For streams: by
/// datagrams anybody could be anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Localio;

impl<B: Blocking> Program<Context<B>> for Localio {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(
        &self,
        context: &mut Context<B>,
        call: &Call<'_>,
        _: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        let procedure =
            Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
        match Local::decode(procedure, &mut call.arguments())? {
            Local::Null => {}
            Local::UuidIsLocal(uuid) => {
                let attended = context.attended()?;
                if attended.admits_peer() {
                    // The answer is the same; who has registered it hears of it at the door.
                    attended.service.local().prove(&uuid, attended.peer);
                }
            }
        }
        Ok(Answer::Now)
    }
}
