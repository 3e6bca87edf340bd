//! READDIR (RFC 1813, section 3.3.16).

use super::request::{Detail, Done, Request};
use crate::files::HeldListing;
use crate::volume::Node;
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{DirReply, Entry, FileName, PostOpAttributes, ReadDirArgs, TooSmall};
use holm_xdr::Encoder;
use std::ops::ControlFlow;

impl Request<'_> {
    pub(super) fn readdir(
        &self,
        args: &ReadDirArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        let (dir, attributes) = self.open()?;
        // From before the listing: a client may only take the directory for older than it is.
        let attributes = Some(self.wire(&attributes));
        let listing = self.listing(&dir).detail(|| attributes)?;
        let count = args.count.min(REPLY_MAX);
        let mut reply = DirReply::read_dir(out, attributes, listing.verifier(), count)
            .map_err(too_small)
            .detail(|| attributes)?;
        let ended = listing.read(args.cookie, args.cookie_verifier, |entry| {
            // The file system gives no longer names than this takes.
            let name = FileName::new(entry.name).unwrap_or_default();
            let entry = Entry { fileid: entry.inode, name, cookie: entry.cookie };
            match reply.push(&entry) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_full) => ControlFlow::Break(()),
            }
        });
        finish(reply, ended).detail(|| attributes)
    }

    pub(super) fn listing(&self, dir: &Node) -> Result<HeldListing<'_>> {
        self.files().listing(self.caller, self.volume(), &self.handle, dir)
    }
}

/// Ends the reply; `ended` says whether the directory has.
pub(super) fn finish(reply: DirReply<'_>, ended: Result<bool>) -> Result<()> {
    let ended = ended?;
    if !ended && reply.entries() == 0 {
        // The client would ask for the same again.
        return Err(Status::TooSmall);
    }
    reply.finish(ended);
    Ok(())
}

pub(super) fn too_small(_: TooSmall) -> Status {
    Status::TooSmall
}

/// Most bytes of a reply, whatever a client asks for: a worker is busy with it all the time.
pub(super) const REPLY_MAX: u32 = 256 << 10;
