//! Opening files as NFS does.

use super::{Lent, Loan, Opener, Wanted};
use crate::cache::{Key, Object, Opened};
use crate::export::Export;
use crate::identity::{Credentials, MAX_GROUPS};
use crate::service::{Blocking, Context, Operation};
use crate::volume::Access;
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
            let file = file.keeping(Kept::new(export, access, node.inode()));
            Ok(Loan { descriptor, lent: Lent::new(file, export.id(), access) })
        })?
    }

    fn close(&mut self, lent: Lent<Object>, flushed: bool) {
        let kept = lent.kept().and_then(|kept| kept.downcast_ref::<Kept>());
        let export = kept.map(|kept| kept.export.clone());
        let peer = self.attended().ok().map(|attended| attended.peer);
        let (Some(export), Some(peer)) = (export, peer) else { return lent.give_back(flushed) };
        let handle = *lent.handle();
        let (object, peer) = (Some(&handle), &peer);
        let operation = Operation { procedure: CLOSE, export: &export, object, peer };
        self.blocking().may_block(&operation, || lent.give_back(flushed));
    }
}

/// What a file needs as long as it is lent.
struct Kept {
    export: Arc<Export>,
    /// The file, if it may change: what others see around their own changes need not be theirs alone.
    changing: Option<u64>,
}

impl Kept {
    fn new(export: &Arc<Export>, access: Access, inode: u64) -> Self {
        let changing = (access != Access::Read).then_some(inode);
        if let Some(inode) = changing {
            export.stripes().begin_unseen(inode);
        }
        Self { export: export.clone(), changing }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(inode) = self.changing {
            self.export.stripes().end_unseen(inode);
        }
    }
}

const OPEN: &str = "LOCALIO OPEN";
const CLOSE: &str = "LOCALIO CLOSE";
