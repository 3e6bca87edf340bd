//! NFS version 3 (RFC 1813): from calls to operations on volumes, and back.
//!
//! Each procedure opens the object that its handle names, does one operation of a
//! [`Volume`](crate::volume::Volume) as the caller, and encodes what came of it.
//!
//! Attributes from before an operation are given only if no other call changed the object between
//! the two (section 2.6, weak cache consistency): a client that finds its own attributes there
//! takes what comes after for the effect of its call alone.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
// A failure carries attributes, and goes no further than to where it is encoded.
#![allow(clippy::result_large_err)]

mod ahead;
mod convert;
mod data;
mod directories;
mod files;
mod names;
mod readdirplus;
mod request;
mod system;

use crate::Status;
use crate::identity::Caller;
use crate::service::{Blocking, Context, Remembered, Scope};
use holm_nfs_proto::nfs3::{Call as Nfs, Outcome, PROGRAM, Procedure, VERSION};
use holm_sunrpc::{Answer, Call, Credential, Program, Refusal};
use holm_xdr::{Encode, Encoder};
use request::{Done, Failure, Known, Request};
use std::ops::RangeInclusive;

/// The program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nfs3;

impl<B: Blocking> Program<Context<B>> for Nfs3 {
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
        results: &mut Encoder,
    ) -> Result<Answer, Refusal> {
        let procedure =
            Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
        let arguments = Nfs::decode(procedure, &mut call.arguments())?;
        let mut scope = context.parts()?;
        let remembered = if procedure.is_idempotent() || !scope.attended.admits_peer() {
            None
        } else {
            match Remembered::begin(&scope, call, results) {
                Ok(remembered) => Some(remembered),
                Err(answer) => return Ok(answer),
            }
        };
        let start = results.len();
        let failed = serve(&mut scope, call, &arguments, results);
        // To be asked again, it says: then it has to be done.
        let remembered = remembered.filter(|_| failed != Some(Status::Jukebox));
        let results = results.get(start..).unwrap_or_default();
        context.served(procedure, failed, remembered.map(|remembered| (remembered, results)));
        Ok(Answer::Now)
    }
}

/// Does what the call asks for, and encodes the result. Says what it failed with, if it did.
fn serve<B: Blocking>(
    scope: &mut Scope<'_, B>,
    call: &Call<'_>,
    arguments: &Nfs<'_>,
    out: &mut Encoder,
) -> Option<Status> {
    let name = arguments.procedure().name();
    let mut on = On { scope, call, name, out };
    match arguments {
        Nfs::Null => None,
        Nfs::GetAttr(args) => on.known_object(
            &args.object,
            Some(|known: &Known<'_>, out: &mut Encoder| known.getattr(out)),
            |request, out| request.getattr(out),
        ),
        Nfs::SetAttr(args) => on.object(&args.object, |request, out| request.setattr(args, out)),
        Nfs::Lookup(args) => on.object(&args.what.dir, |request, out| request.lookup(args, out)),
        Nfs::Access(args) => on.object(&args.object, |request, out| request.access(args, out)),
        Nfs::ReadLink(args) => on.object(&args.symlink, |request, out| request.readlink(out)),
        Nfs::Read(args) => on.known_object(
            &args.file,
            Some(|known: &Known<'_>, out: &mut Encoder| known.read(call, args, out)),
            |request, out| request.read(args, out),
        ),
        Nfs::Write(args) => on.object(&args.file, |request, out| request.write(args, out)),
        Nfs::Create(args) => on.object(&args.place.dir, |request, out| request.create(args, out)),
        Nfs::MkDir(args) => on.object(&args.place.dir, |request, out| request.mkdir(args, out)),
        Nfs::SymLink(args) => on.object(&args.place.dir, |request, out| request.symlink(args, out)),
        Nfs::MkNod(args) => on.object(&args.place.dir, |request, out| request.mknod(args, out)),
        Nfs::Remove(args) => on.object(&args.object.dir, |request, out| request.remove(args, out)),
        Nfs::RmDir(args) => on.object(&args.object.dir, |request, out| request.rmdir(args, out)),
        Nfs::Rename(args) => on.object(&args.from.dir, |request, out| request.rename(args, out)),
        Nfs::Link(args) => on.object(&args.file, |request, out| request.link(args, out)),
        Nfs::ReadDir(args) => on.object(&args.dir, |request, out| request.readdir(args, out)),
        Nfs::ReadDirPlus(args) => {
            on.object(&args.dir, |request, out| request.readdirplus(args, out))
        }
        Nfs::FsStat(args) => on.object(&args.fs_root, |request, out| request.fsstat(out)),
        Nfs::FsInfo(args) => on.object(&args.fs_root, |request, out| request.fsinfo(out)),
        Nfs::PathConf(args) => on.object(&args.object, |request, out| request.pathconf(out)),
        Nfs::Commit(args) => on.object(&args.file, |request, out| request.commit(out)),
    }
}

/// Where a procedure finds its object, and puts its result.
struct On<'o, 'c, B> {
    scope: &'o mut Scope<'c, B>,
    call: &'o Call<'o>,
    name: &'static str,
    out: &'o mut Encoder,
}

impl<B: Blocking> On<'_, '_, B> {
    /// Does `work` on the export of the object that the client named, as the caller.
    fn object<F: Default + Encode>(
        &mut self,
        sent: &[u8],
        work: impl FnOnce(&Request<'_>, &mut Encoder) -> Done<F>,
    ) -> Option<Status> {
        self.known_object(sent, None::<fn(&Known<'_>, &mut Encoder) -> Option<()>>, work)
    }

    /// The same, where `known` can often do without being the caller: if the object is open already.
    fn known_object<F: Default + Encode>(
        &mut self,
        sent: &[u8],
        known: Option<impl FnOnce(&Known<'_>, &mut Encoder) -> Option<()>>,
        work: impl FnOnce(&Request<'_>, &mut Encoder) -> Done<F>,
    ) -> Option<Status> {
        let Self { scope, call, name, out } = self;
        let start = out.len();
        let attended = scope.attended;
        let done = attended.admit(sent).map_err(Failure::from).and_then(|(handle, export)| {
            let who = scope.who(export, &call.credential);
            if let Some(known) = known {
                let request = Known { attended, export, handle, who: &who };
                let answer = || known(&request, out);
                if scope.run_as_anybody(name, export, &handle, answer).is_some() {
                    return Ok(());
                }
                out.truncate(start);
            }
            let claimed = match &call.credential {
                Credential::None => None,
                Credential::Sys(sys) => Some((sys.uid, sys.gid)),
            };
            scope.run_as(name, export, Some(&handle), &who, |caller: &Caller<'_>| {
                work(&Request { attended, export, handle, caller, claimed }, out)
            })?
        });
        let Failure { status, detail } = done.err()?;
        out.truncate(start);
        Outcome::<(), F>::Failed(status.into(), detail).encode(out);
        Some(status)
    }
}
