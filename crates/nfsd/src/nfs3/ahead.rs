//! Reads that the disk is told of while another one waits for it.
//!
//! The calls of a connection are served one after the other. Where one finds that its data is not in
//! memory, those behind it that have arrived are looked at, and the data of reads is asked for: the
//! disk has all of them at once, and each is in memory, or on its way, when its turn comes. What is in
//! memory costs nothing more than before.

use super::request::Known;
use crate::volume::Access;
use holm_nfs_proto::nfs3::ReadArgs;
use holm_sunrpc::Call;

impl Known<'_> {
    /// Asks for the data of the reads that are served after this one, as far as they are the same
    /// caller's, of files that it has open.
    pub(super) fn begin_reads_ahead(&self, call: &Call<'_>) {
        let Self { attended, export, .. } = self;
        let begun = attended.begun_ahead();
        for message in call.ahead.take(MOST).skip(begun) {
            attended.begin_ahead();
            let Ok(next) = Call::decode(message) else { continue };
            let same = (next.program, next.version, next.procedure)
                == (call.program, call.version, call.procedure)
                && next.credential == call.credential;
            let read = same.then(|| next.arguments().get::<ReadArgs<'_>>().ok()).flatten();
            let Some(read) = read else { continue };
            let Ok((handle, of)) = attended.admit(&read.file) else { continue };
            if !std::ptr::eq(&**of, *export) {
                continue;
            }
            let file =
                attended.files().known_file(self.who, export.volume(), &handle, Access::Read);
            if let Some(file) = file {
                file.begin_read(read.offset, read.count.min(export.options().read_max));
            }
        }
    }
}

/// Calls that are looked at.
const MOST: usize = 32;
