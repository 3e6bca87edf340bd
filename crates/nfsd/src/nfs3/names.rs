//! CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK (RFC 1813, sections 3.3.8 to
//! 3.3.15).

use super::files::is_dir_is_invalid;
use super::request::{Around, Detail, Done, Request, opaque};
use crate::attributes::SetAttributes;
use crate::files::HeldNode;
use crate::handle::FileHandle;
use crate::name::{Component, Name};
use crate::volume::{Create, Made, Node, Special};
use crate::{Result, Status};
use holm_nfs_proto::nfs3::{
    CreateArgs, CreateHow, CreateOk, DirOpArgs, FileName, LinkArgs, LinkWcc, MkDirArgs, MkNodArgs,
    MkNodData, Outcome, RemoveArgs, RenameArgs, RenameWcc, SymLinkArgs, WccData,
};
use holm_xdr::Encoder;

impl Request<'_> {
    pub(super) fn create(&self, args: &CreateArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let how = match &args.how {
            CreateHow::Unchecked(new) => Create::Unchecked(new.into()),
            CreateHow::Guarded(new) => Create::Guarded(new.into()),
            CreateHow::Exclusive(verifier) => Create::Exclusive(*verifier),
        };
        self.make(args.place.name, out, |dir, name| {
            self.volume().create(self.caller, dir, name, &how)
        })
    }

    pub(super) fn mkdir(&self, args: &MkDirArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let new = SetAttributes::from(&args.attributes);
        self.make(args.place.name, out, |dir, name| {
            self.volume().make_directory(self.caller, dir, name, &new)
        })
    }

    pub(super) fn symlink(&self, args: &SymLinkArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let new = SetAttributes::from(&args.symlink_attributes);
        self.make(args.place.name, out, |dir, name| {
            self.volume().make_symlink(self.caller, dir, name, &args.symlink_data, &new)
        })
    }

    pub(super) fn mknod(&self, args: &MkNodArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        let (special, new) = match &args.what {
            MkNodData::Character(data) => {
                (Ok(Special::Character(data.device.major, data.device.minor)), data.attributes)
            }
            MkNodData::Block(data) => {
                (Ok(Special::Block(data.device.major, data.device.minor)), data.attributes)
            }
            MkNodData::Socket(new) => (Ok(Special::Socket), *new),
            MkNodData::Fifo(new) => (Ok(Special::Fifo), *new),
            MkNodData::Other(_) => (Err(Status::BadType), Default::default()),
        };
        let new = SetAttributes::from(&new);
        self.make(args.place.name, out, |dir, name| {
            self.volume().make_special(self.caller, dir, name, special?, &new)
        })
    }

    pub(super) fn remove(&self, args: &RemoveArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        self.take_away(out, |dir| {
            let name = Component::parse(&args.object.name)?.to_change()?;
            let removed = self.identify(dir, name);
            self.volume().remove(self.caller, dir, name)?;
            self.has_lost_a_name(removed);
            Ok(())
        })
    }

    pub(super) fn rmdir(&self, args: &RemoveArgs<'_>, out: &mut Encoder) -> Done<WccData> {
        self.take_away(out, |dir| {
            let name = match Component::parse(&args.object.name)? {
                // The RFC tells this one from `.`.
                Component::Parent => return Err(Status::Exist),
                name => name.to_change()?,
            };
            let removed = self.identify(dir, name);
            self.volume().remove_directory(self.caller, dir, name)?;
            self.has_lost_a_name(removed);
            Ok(())
        })
    }

    pub(super) fn rename(&self, args: &RenameArgs<'_>, out: &mut Encoder) -> Done<RenameWcc> {
        let from = self.begin()?;
        let only_from = || RenameWcc { from_dir_wcc: from.wcc(), ..RenameWcc::default() };
        let to = self.other_directory(&args.to, &from).detail(only_from)?;
        let wcc = || RenameWcc { from_dir_wcc: from.wcc(), to_dir_wcc: to.wcc_beside(&from) };
        let renamed = entry(&args.from).and_then(|old| {
            let new = entry(&args.to)?;
            let replaced = self.identify(&to.node, new);
            self.volume().rename(self.caller, (&from.node, old), (&to.node, new))?;
            self.has_lost_a_name(replaced);
            Ok(())
        });
        renamed.detail(wcc)?;
        out.put(&Outcome::<_, ()>::Ok(wcc()));
        Ok(())
    }

    pub(super) fn link(&self, args: &LinkArgs<'_>, out: &mut Encoder) -> Done<LinkWcc> {
        let (node, attributes) = self.open()?;
        let only_file =
            || LinkWcc { file_attributes: Some(self.wire(&attributes)), ..LinkWcc::default() };
        let dir = self.open_other(&args.link).and_then(|dir| self.around(dir));
        let dir = dir.detail(only_file)?;
        let _change = dir.also(node.inode());
        let wcc = || LinkWcc { file_attributes: self.post(&node), link_dir_wcc: dir.wcc() };
        let linked = Component::parse(&args.link.name)
            .and_then(Component::to_create)
            .and_then(|name| self.volume().link(self.caller, &node, &dir.node, name))
            .map_err(is_dir_is_invalid);
        linked.detail(wcc)?;
        out.put(&Outcome::<_, ()>::Ok(wcc()));
        Ok(())
    }

    /// Makes something in the directory.
    fn make(
        &self,
        name: FileName<'_>,
        out: &mut Encoder,
        make: impl FnOnce(&Node, Name<'_>) -> Result<Made>,
    ) -> Done<WccData> {
        let dir = self.begin()?;
        let made = Component::parse(&name)
            .and_then(Component::to_create)
            .and_then(|name| make(&dir.node, name))
            .detail(|| dir.wcc())?;
        // It may have been there before, and be known elsewhere.
        drop(dir.also(made.node.inode()));
        let handle = self.seal(made.node.id());
        if !made.is_open {
            self.files().keep_entry(&dir.node, self.volume(), &handle, made.node, &made.attributes);
        }
        out.put(&Outcome::<_, ()>::Ok(CreateOk {
            object: Some(opaque(&handle)),
            object_attributes: Some(self.wire(&made.attributes)),
            dir_wcc: dir.wcc(),
        }));
        Ok(())
    }

    /// Removes something from the directory.
    fn take_away(
        &self,
        out: &mut Encoder,
        remove: impl FnOnce(&Node) -> Result<()>,
    ) -> Done<WccData> {
        let dir = self.begin()?;
        remove(&dir.node).detail(|| dir.wcc())?;
        out.put(&Outcome::<_, ()>::Ok(dir.wcc()));
        Ok(())
    }

    /// The handle of an entry that is about to lose its name. If somebody else is faster and it is
    /// another one that loses it, nothing is lost: this one is opened anew when it is needed, and
    /// that one's space comes back when the cache hears of it otherwise.
    fn identify(&self, dir: &Node, name: Name<'_>) -> Option<FileHandle> {
        if !self.files().are_kept() {
            return None;
        }
        let id = self.volume().identify(self.caller, dir, name).ok()??;
        Some(self.seal(&id))
    }

    fn has_lost_a_name(&self, object: Option<FileHandle>) {
        if let Some(handle) = object {
            self.files().changed(&handle);
        }
    }

    fn other_directory(&self, place: &DirOpArgs<'_>, first: &Around<'_>) -> Result<Around<'_>> {
        self.around_another(self.open_other(place)?, first)
    }

    /// Opens the second directory of a call, which has to be of the same export.
    fn open_other(&self, place: &DirOpArgs<'_>) -> Result<HeldNode<'_>> {
        let (handle, export) = self.attended.admit(&place.dir)?;
        if export.id() != self.export.id() {
            return Err(Status::XDev);
        }
        self.files().only_node(self.caller, self.volume(), &handle)
    }
}

fn entry<'a>(place: &DirOpArgs<'a>) -> Result<Name<'a>> {
    Component::parse(place.name.bytes())?.to_change()
}
