//! MOUNT version 3 (RFC 1813, appendix I): from a path to the first handle.
//!
//! A path may be that of an export or lead on to a directory within it; where exports lie within
//! each other, it is one of the innermost. The way there is gone as whoever the caller is on that
//! export, name by name as with LOOKUP: it follows no symbolic link, and goes nowhere that the
//! caller could not go itself.
//!
//! What is exported, and who has mounted it, is told to clients that something is exported to.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod list;

pub(crate) use list::MountList;

use crate::export::Export;
use crate::handle::FileHandle;
use crate::identity::Caller;
use crate::name::Component;
use crate::service::{Attended, Blocking, Context, Scope, Transport};
use crate::volume::Node;
use crate::{Result, Status};
use holm_nfs_proto::mount::{
    Call as Mnt, Error, MountEntry, MountOk, MountRes, Name, PROGRAM, Procedure, VERSION,
};
use holm_sunrpc::{Answer, Call, Program, Refusal, auth};
use holm_xdr::{Array, Encode, Encoder, Opaque};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mount;

impl<B: Blocking> Program<Context<B>> for Mount {
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
    ) -> std::result::Result<Answer, Refusal> {
        let procedure =
            Procedure::from_number(call.procedure).ok_or(Refusal::ProcedureUnavailable)?;
        let arguments = Mnt::decode(procedure, &mut call.arguments())?;
        let mut scope = context.parts()?;
        let attended = scope.attended;
        let host = attended.peer.address();
        match arguments {
            Mnt::Null => {}
            Mnt::Mnt(path) => match mount(&mut scope, call, &path) {
                Ok(handle) => {
                    attended.service.mount_list().add(host, &path);
                    MountRes::Ok(MountOk {
                        // A handle has 64 bytes at most.
                        handle: Opaque::new(handle.as_bytes()).unwrap_or_default(),
                        flavors: Array::new(FLAVORS.to_vec()).unwrap_or_default(),
                    })
                    .encode(results);
                }
                Err(status) => MountRes::Failed(error(status)).encode(results),
            },
            Mnt::Dump => dump(attended, results),
            Mnt::Umnt(path) => attended.service.mount_list().remove(host, &path),
            Mnt::UmntAll => attended.service.mount_list().remove_all(host),
            Mnt::Export => exports(attended, results),
        }
        Ok(Answer::Now)
    }
}

/// Finds the directory of a path.
fn mount<B: Blocking>(
    scope: &mut Scope<'_, B>,
    call: &Call<'_>,
    path: &[u8],
) -> Result<FileHandle> {
    let attended = scope.attended;
    let Some(export) = attended.exports().of_path(path) else {
        // Who is not served at all, learns nothing of what is.
        return Err(if attended.admits_peer() { Status::NoEnt } else { Status::Acces });
    };
    attended.must_admit(export)?;
    let names = export.options().path.within(path).into_iter().flatten();
    let walk = |caller: &Caller<'_>| walk(export, caller, names);
    let node = scope.run("MNT", export, None, &call.credential, walk)??;
    Ok(export.seal(attended.service.key(), node.id()))
}

fn walk<'n>(
    export: &Export,
    caller: &Caller<'_>,
    names: impl Iterator<Item = &'n [u8]>,
) -> Result<Node> {
    let volume = export.volume();
    let mut reached = volume.root()?;
    // The directory may have been removed since it was exported.
    reached.attributes()?;
    for name in names {
        let name = match Component::parse(name)? {
            Component::Parent => return Err(Status::Acces),
            Component::Current => continue,
            name => name,
        };
        reached = volume.lookup(caller, &reached, name)?.0;
    }
    match reached.kind() {
        crate::attributes::Kind::Directory => Ok(reached),
        _ => Err(Status::NotDir),
    }
}

/// Who has mounted what (procedure 2).
fn dump(attended: &Attended, out: &mut Encoder) {
    let mut list = LinkedList::begin(attended, out);
    if attended.admits_peer() {
        for (host, path) in attended.service.mount_list().iter() {
            let host = host.to_string();
            // They came out of such.
            let host = Name::new(host.as_bytes()).unwrap_or_default();
            let directory = Opaque::new(path).unwrap_or_default();
            list.push(&MountEntry { host, directory });
        }
    }
    list.finish();
}

/// What is exported, and to whom (procedure 5).
fn exports(attended: &Attended, out: &mut Encoder) {
    let mut list = LinkedList::begin(attended, out);
    if attended.admits_peer() {
        for export in attended.exports().exports() {
            list.push(&Listed(export));
        }
    }
    list.finish();
}

/// An entry of EXPORT (`exportnode`).
struct Listed<'e>(&'e Export);

impl Encode for Listed<'_> {
    fn encode(&self, out: &mut Encoder) {
        let options = self.0.options();
        Opaque::<1024>::new(options.path.as_str().as_bytes()).unwrap_or_default().encode(out);
        for network in &options.clients {
            let text = network.to_string();
            out.bool(true);
            Name::new(text.as_bytes()).unwrap_or_default().encode(out);
        }
        if options.own_links {
            out.bool(true);
            Name::new(EVERYBODY).unwrap_or_default().encode(out);
        }
        out.bool(false);
    }
}

/// A linked list as long as the transport takes it.
struct LinkedList<'o> {
    out: &'o mut Encoder,
    limit: usize,
}

impl<'o> LinkedList<'o> {
    fn begin(attended: &Attended, out: &'o mut Encoder) -> Self {
        let most = match attended.peer.transport() {
            Transport::Tcp => STREAM_MAX,
            Transport::Udp => DATAGRAM_MAX,
        };
        let limit = out.len().saturating_add(most);
        Self { out, limit }
    }

    fn push(&mut self, entry: &impl Encode) {
        let before = self.out.len();
        self.out.bool(true);
        entry.encode(self.out);
        if self.out.len() > self.limit {
            self.out.truncate(before);
        }
    }

    fn finish(self) {
        self.out.bool(false);
    }
}

/// What MNT says to what a look-up says.
fn error(status: Status) -> Error {
    match status {
        Status::Perm => Error::Perm,
        Status::NoEnt | Status::Stale => Error::NoEnt,
        Status::Io => Error::Io,
        Status::Acces => Error::Acces,
        Status::NotDir => Error::NotDir,
        Status::Inval => Error::Inval,
        Status::NameTooLong => Error::NameTooLong,
        Status::NotSupp => Error::NotSupp,
        _ => Error::ServerFault,
    }
}

/// Whose mounts are listed: those of an address.
pub(crate) type Host = IpAddr;

/// What the list of exports calls those who come by the namespace's own interfaces.
const EVERYBODY: &[u8] = b"*";
/// What handles can be used with, the best first.
const FLAVORS: [u32; 2] = [auth::SYS, auth::NONE];
/// Most bytes of a list over a stream.
const STREAM_MAX: usize = 1 << 20;
/// Most bytes of a list in a datagram: what every network carries in a few fragments, and no gift to
/// whoever sends datagrams in another's name.
const DATAGRAM_MAX: usize = 4 << 10;
