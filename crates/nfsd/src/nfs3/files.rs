//! GETATTR, SETATTR, LOOKUP, ACCESS, READLINK (RFC 1813, sections 3.3.1 to 3.3.5).

use super::request::{Detail, Done, Known, Request, opaque};
use crate::attributes::Attributes;
use crate::files::HeldNode;
use crate::handle::FileHandle;
use crate::name::Component;
use crate::volume::Rights;
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{
    AccessArgs, AccessOk, GetAttrOk, LookupArgs, LookupOk, Outcome, Path, PostOpAttributes,
    ReadLinkOk, SetAttrArgs, WccData,
};
use holm_xdr::Encoder;

impl Known<'_> {
    /// GETATTR of an object that is in the cache.
    pub(super) fn getattr(&self, out: &mut Encoder) -> Option<()> {
        let known = self.attended.files().known_node(self.export.volume(), &self.handle)?;
        let (_, attributes) = known.ok()?;
        let attributes = self.export.attributes(&attributes);
        out.put(&Outcome::<_, ()>::Ok(GetAttrOk { attributes }));
        Some(())
    }
}

impl Request<'_> {
    pub(super) fn getattr(&self, out: &mut Encoder) -> Done<()> {
        let (_, attributes) = self.open()?;
        out.put(&Outcome::<_, ()>::Ok(GetAttrOk { attributes: self.wire(&attributes) }));
        Ok(())
    }

    pub(super) fn setattr(&self, args: &SetAttrArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let around = self.begin()?;
        let change = (&args.new_attributes).into();
        let set = {
            let _flushes = self.export.flushing().may_flush(around.node.inode());
            let guard = args.guard.map(Into::into);
            let caller = self.caller.claiming(self.claimed);
            self.volume().set_attributes(&caller, &around.node, &change, guard)
        };
        // A size for what is no file: the RFC knows only this.
        set.map_err(is_dir_is_invalid).detail(|| around.wcc())?;
        out.put(&Outcome::<_, ()>::Ok(around.wcc()));
        Ok(())
    }

    pub(super) fn lookup(
        &self,
        args: &LookupArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        let (dir, attributes) = self.open()?;
        // From before the look-up: a client may only take the directory for older than it is.
        let dir_attributes = Some(self.wire(&attributes));
        let (handle, attributes) = Component::parse(&args.what.name)
            .and_then(|name| self.find(&dir, name))
            .detail(|| dir_attributes)?;
        out.put(&Outcome::<_, ()>::Ok(LookupOk {
            object: opaque(&handle),
            object_attributes: Some(self.wire(&attributes)),
            dir_attributes,
        }));
        Ok(())
    }

    /// What has a name: its handle and attributes.
    ///
    /// A handle that the kernel gives for the name is of what had the name at that moment, and the
    /// attributes that are given with it come from an open object with that very handle. So nothing
    /// is lost if the name changes hands in between, and nothing is opened if the object is known.
    fn find(&self, dir: &HeldNode<'_>, name: Component<'_>) -> Result<(FileHandle, Attributes)> {
        let files = self.files();
        if files.are_kept()
            && let Component::Entry(name) = name
            && let Some(id) = self.volume().identify(self.caller, dir, name)?
        {
            let handle = self.seal(&id);
            if let Some(attributes) = files.known_entry(dir, self.volume(), &handle) {
                return Ok((handle, attributes));
            }
        }
        let (node, attributes) = self.volume().lookup(self.caller, dir, name)?;
        let handle = self.seal(node.id());
        files.keep_entry(dir, self.volume(), &handle, node, &attributes);
        Ok((handle, attributes))
    }

    pub(super) fn access(
        &self,
        args: &AccessArgs<'_>,
        out: &mut Encoder,
    ) -> Done<PostOpAttributes> {
        let (node, attributes) = self.open()?;
        let object_attributes = Some(self.wire(&attributes));
        let granted = self
            .volume()
            .access(self.caller, &node, Rights(args.access))
            .detail(|| object_attributes)?;
        out.put(&Outcome::<_, ()>::Ok(AccessOk { object_attributes, access: granted.0 }));
        Ok(())
    }

    pub(super) fn readlink(&self, out: &mut Encoder) -> Done<PostOpAttributes> {
        let (node, attributes) = self.open()?;
        let symlink_attributes = Some(self.wire(&attributes));
        let target = self.volume().read_link(self.caller, &node).detail(|| symlink_attributes)?;
        let data = Path::new(&target).map_err(|_| Status::NameTooLong);
        let data = data.detail(|| symlink_attributes)?;
        out.put(&Outcome::<_, ()>::Ok(ReadLinkOk { symlink_attributes, data }));
        Ok(())
    }
}

/// For procedures whose errors do not include `NFS3ERR_ISDIR`.
pub(super) fn is_dir_is_invalid(status: Status) -> Status {
    if status == Status::IsDir { Status::Inval } else { status }
}
