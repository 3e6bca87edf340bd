//! Opening files as NFS does.

use super::{Lent, Loan, Opener, Wanted};
use crate::cache::{Key, Object, Opened};
use crate::export::Export;
use crate::identity::{Credentials, MAX_GROUPS};
use crate::service::{Blocking, Context, Operation, Peer};
use crate::{Result, Status};
use std::sync::Arc;

/// A context opens files for the service that it attends, within its namespace.
impl<B: Blocking> Opener<Object> for Context<B> {
    fn open(&mut self, wanted: &Wanted<'_>) -> Result<Loan<Object>> {
        self.attend_peer(wanted.peer);
        let mut scope = self.parts().map_err(|_| Status::ServerFault)?;
        let attended = scope.attended;
        let (handle, export) = attended.admit(wanted.handle)?;
        let cache = attended.cache().ok_or(Status::NotSupp)?;
        let within = cache.enter_again().ok_or(Status::Jukebox)?;
        let claimed = Credentials::new(wanted.who.uid, wanted.who.gid, &wanted.who.groups);
        let who = scope.who_is(export, &claimed);
        let is_itself = who == claimed && wanted.who.groups.len() <= MAX_GROUPS;
        let (files, volume, access) = (attended.files(), export.volume(), wanted.access);
        scope.run_as(OPEN, export, Some(&handle), &who, |caller| {
            // The node says whether the object is where it belongs still.
            let (node, attributes) = files.node(caller, volume, &handle)?;
            let descriptor = volume.lend(caller, &node, access, is_itself)?;
            let key = Key::new(&handle, access, caller.credentials()).of_volume(volume);
            let file = within.open_stateful(&key, || {
                let file = volume.open_file(caller, &node, access)?;
                Ok(Opened { file: Object::File(file), stamp: (&attributes).into() })
            })?;
            let file = file.keeping(export.clone());
            Ok(Loan { descriptor, lent: Lent::new(file, export.id(), access) })
        })?
    }

    fn close(&mut self, lent: Lent<Object>, flushed: bool) {
        let export = lent.kept().and_then(|kept| kept.downcast_ref::<Arc<Export>>()).cloned();
        let peer = self.attended().ok().map(|attended| attended.peer);
        match (export, peer) {
            (Some(export), Some(peer)) => close(self.blocking(), &export, &peer, lent, flushed),
            _ => lent.give_back(flushed),
        }
    }
}

fn close(
    blocking: &impl Blocking,
    export: &Arc<Export>,
    peer: &Peer,
    lent: Lent<Object>,
    flushed: bool,
) {
    let handle = *lent.handle();
    let operation = Operation { procedure: CLOSE, export, object: Some(&handle), peer };
    blocking.may_block(&operation, || lent.give_back(flushed));
}

const OPEN: &str = "LOCALIO OPEN";
const CLOSE: &str = "LOCALIO CLOSE";
