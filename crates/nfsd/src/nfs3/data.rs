//! READ, WRITE, COMMIT (RFC 1813, sections 3.3.6, 3.3.7 and 3.3.21).

use super::files::is_dir_is_invalid;
use super::request::{AroundFile, Detail, Done, Known, Request};
use crate::export::Export;
use crate::files::HeldFile;
use crate::handle::FileHandle;
use crate::service::Attended;
use crate::volume::{Access, Stability};
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{
    CommitOk, Outcome, PostOpAttributes, Procedure, ReadArgs, ReadReply, WccData, WriteArgs,
    WriteOk,
};
use holm_sunrpc::Call;
use holm_xdr::Encoder;

impl Known<'_> {
    /// READ of a file that the caller has open.
    pub(super) fn read(
        &self,
        call: &Call<'_>,
        args: &ReadArgs<'_>,
        out: &mut Encoder,
    ) -> Option<()> {
        let (files, volume) = (self.attended.files(), self.export.volume());
        let file = files.known_file(self.who, volume, &self.handle, Access::Read)?;
        let read_at = |buffer: &mut [u8]| match call.ahead.is_empty() {
            true => file.read_at(buffer, args.offset),
            false => file.read_before(buffer, args.offset, || self.begin_reads_ahead(call)),
        };
        // What fails is tried again in the ordinary way, which says what goes with the failure.
        read(self.attended, self.export, (&self.handle, &file), args, out, read_at).ok()
    }
}

impl Request<'_> {
    pub(super) fn read(&self, args: &ReadArgs<'_>, out: &mut Encoder) -> Done<PostOpAttributes> {
        let file = self.file(Access::Read).detail(|| self.attributes())?;
        let read_at = |buffer: &mut [u8]| file.read_at(buffer, args.offset);
        read(self.attended, self.export, (&self.handle, &file), args, out, read_at)
            .detail(|| self.attributes())
    }

    pub(super) fn write(&self, args: &WriteArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let file = self.file(Access::Write).detail(|| self.unchanged())?;
        let around = AroundFile::begin(self, &file)?;
        if args.count as usize != args.data.len() {
            return Err(Status::Inval).detail(|| around.wcc());
        }
        let most = (self.export.options().write_max as usize).min(args.data.len());
        let data = args.data.get(..most).unwrap_or_default();
        // Before the write: if others lose theirs meanwhile, this one is taken for lost too.
        let verifier = self.files().write_verifier();
        let stability = Stability::from(args.stable);
        let written = match stability {
            Stability::Unstable => {
                file.write(|file| file.write_at(self.caller, data, args.offset, stability))
            }
            Stability::DataSync | Stability::FileSync => {
                self.write_stable(&file, data, args.offset, stability)
            }
        };
        let count = written.detail(|| around.wcc())?;
        self.attended.moved(count);
        out.put(&Outcome::<_, ()>::Ok(WriteOk {
            file_wcc: around.wcc(),
            // No more than was given.
            count: count as u32,
            committed: args.stable,
            verifier,
        }));
        Ok(())
    }

    /// With others, one flush of the file brings all that they write to the disk, before any is
    /// answered; alone, a write flushes just its range.
    fn write_stable(
        &self,
        file: &HeldFile<'_>,
        data: &[u8],
        offset: u64,
        stability: Stability,
    ) -> Result<usize> {
        let write = |stability| file.write_at(self.caller, data, offset, stability);
        let noting = self.attended.noting(Procedure::Write.name(), self.export);
        let later = noting.write(&self.handle, file, || write(Stability::Unstable));
        later.unwrap_or_else(|| {
            let _flushes = self.export.flushing().may_flush(file.inode());
            write(stability).inspect_err(|status| {
                if matches!(status, Status::Io | Status::NoSpc | Status::DQuot) {
                    file.write_failed(self.files());
                }
            })
        })
    }

    /// The whole file, whatever range was asked for.
    pub(super) fn commit(&self, out: &mut Encoder) -> Done<WccData> {
        let file = self.file(Access::Write).detail(|| self.unchanged())?;
        let around = AroundFile::begin(self, &file)?;
        // While somebody else may have seen a failure in our place, the verifier is not known.
        let alone = || self.export.flushing().commit(file.inode());
        let verifier = self.files().commit(&file, alone).detail(|| around.wcc())?;
        out.put(&Outcome::<_, ()>::Ok(CommitOk { file_wcc: around.wcc(), verifier }));
        Ok(())
    }

    fn file(&self, access: Access) -> Result<HeldFile<'_>> {
        self.files()
            .file(self.caller, self.volume(), &self.handle, access)
            .map_err(is_dir_is_invalid)
    }

    /// The attributes of an object that could not be opened as a file.
    fn attributes(&self) -> PostOpAttributes {
        self.open().ok().map(|(_, attributes)| self.wire(&attributes))
    }

    fn unchanged(&self) -> WccData {
        WccData { before: None, after: self.attributes() }
    }
}

/// Reads from a file straight into the reply.
fn read(
    attended: &Attended,
    export: &Export,
    (handle, file): (&FileHandle, &HeldFile<'_>),
    args: &ReadArgs<'_>,
    out: &mut Encoder,
    read_at: impl FnOnce(&mut [u8]) -> Result<usize>,
) -> Result<()> {
    let mut wanted = args.count.min(export.options().read_max);
    if wanted > LARGE {
        // No more memory than there is to read.
        let left = file.attributes()?.size.saturating_sub(args.offset);
        wanted = u32::try_from(left).map_or(wanted, |left| wanted.min(left.max(1)));
    }
    let mut reply = ReadReply::begin(out, wanted);
    let count = read_at(reply.payload())?;
    // After the read: what is said of the file is not older than its data.
    let attributes = file.attributes();
    if attributes == Err(Status::Stale) {
        // Removed. We keep it from being gone.
        attended.files().changed(handle);
        return Err(Status::Stale);
    }
    let attributes = attributes.ok();
    // Few bytes are not the end: the disk may not have given the others, and what a client takes for
    // the end it fills with zeros. None are the end.
    let ended = attributes.as_ref().is_some_and(|now| now.ends_at(args.offset, count));
    let eof = ended || (count == 0 && wanted > 0);
    // No more than `wanted`.
    reply.finish(attributes.map(|now| export.attributes(&now)), count as u32, eof);
    attended.moved(count);
    Ok(())
}

/// Reads of more than this take memory for what there is, not for what is asked for.
const LARGE: u32 = 32 << 10;
