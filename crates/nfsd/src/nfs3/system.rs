//! FSSTAT, FSINFO, PATHCONF (RFC 1813, sections 3.3.18 to 3.3.20).

use super::request::{Detail, Done, Request};
use holm_nfs_proto::nfs3::{
    FsInfoOk, FsStatOk, Outcome, PathConfOk, PostOpAttributes, Time, properties,
};
use holm_xdr::Encoder;

impl Request<'_> {
    pub(super) fn fsstat(&self, out: &mut Encoder) -> Done<PostOpAttributes> {
        let (node, attributes) = self.open()?;
        let object_attributes = Some(self.wire(&attributes));
        let space = self.volume().space(&node).detail(|| object_attributes)?;
        out.put(&Outcome::<_, ()>::Ok(FsStatOk {
            object_attributes,
            total_bytes: space.total,
            free_bytes: space.free,
            available_bytes: space.available,
            total_files: space.total_files,
            free_files: space.free_files,
            available_files: space.available_files,
            invariant_seconds: 0,
        }));
        Ok(())
    }

    pub(super) fn fsinfo(&self, out: &mut Encoder) -> Done<PostOpAttributes> {
        let (node, attributes) = self.open()?;
        let object_attributes = Some(self.wire(&attributes));
        let limits = self.volume().limits(&node).detail(|| object_attributes)?;
        let options = self.export.options();
        out.put(&Outcome::<_, ()>::Ok(FsInfoOk {
            object_attributes,
            read_max: options.read_max,
            read_preferred: options.read_max,
            read_multiple: PAGE,
            write_max: options.write_max,
            write_preferred: options.write_max,
            write_multiple: PAGE,
            dir_preferred: DIRECTORY_PREFERRED,
            max_file_size: limits.file,
            time_delta: Time { seconds: 0, nanoseconds: limits.time_granularity },
            properties: properties::LINK
                | properties::SYMLINK
                | properties::HOMOGENEOUS
                | properties::CAN_SET_TIME,
        }));
        Ok(())
    }

    pub(super) fn pathconf(&self, out: &mut Encoder) -> Done<PostOpAttributes> {
        let (node, attributes) = self.open()?;
        let object_attributes = Some(self.wire(&attributes));
        let limits = self.volume().limits(&node).detail(|| object_attributes)?;
        out.put(&Outcome::<_, ()>::Ok(PathConfOk {
            object_attributes,
            link_max: limits.links,
            name_max: limits.name,
            no_trunc: true,
            chown_restricted: limits.chown_restricted,
            case_insensitive: limits.case_insensitive,
            case_preserving: limits.case_preserving,
        }));
        Ok(())
    }
}

/// What sizes had best be multiples of, in bytes.
const PAGE: u32 = 4096;
/// What a READDIR had best ask for, in bytes.
const DIRECTORY_PREFERRED: u32 = 64 << 10;
