//! Procedures on names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.

use super::{
    CreateVerifier, DeviceNumber, DirOpArgs, FileHandle, FileType, Outcome, Path, PostOpAttributes,
    SetAttributes, WccData,
};
use holm_xdr::{Decode, Encode};

/// CREATE, section 3.3.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CreateArgs<'a> {
    /// The name to create (`where`).
    pub place: DirOpArgs<'a>,
    /// What to do if it exists.
    pub how: CreateHow,
}

/// How CREATE treats a file that exists (`createhow3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum CreateHow {
    /// Take it, and set these attributes.
    #[xdr(case = 0)]
    Unchecked(SetAttributes),
    /// Fail with `NFS3ERR_EXIST`.
    #[xdr(case = 1)]
    Guarded(SetAttributes),
    /// Fail with `NFS3ERR_EXIST` unless it was created by a CREATE with this verifier, of which
    /// this one is a retransmission.
    #[xdr(case = 2)]
    Exclusive(CreateVerifier),
}

/// What CREATE, MKDIR, SYMLINK and MKNOD give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CreateOk<'a> {
    /// The new file, if the server can name it (`post_op_fh3`); else the client looks it up.
    pub object: Option<FileHandle<'a>>,
    /// Its attributes.
    pub object_attributes: PostOpAttributes,
    /// Those of the directory around it.
    pub dir_wcc: WccData,
}

/// The result of CREATE, MKDIR, SYMLINK and MKNOD; with a failure the attributes of the directory
/// around it.
pub type CreateRes<'a> = Outcome<CreateOk<'a>, WccData>;

/// MKDIR, section 3.3.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MkDirArgs<'a> {
    /// The name to create (`where`).
    pub place: DirOpArgs<'a>,
    /// With these attributes.
    pub attributes: SetAttributes,
}

/// SYMLINK, section 3.3.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SymLinkArgs<'a> {
    /// The name to create (`where`).
    pub place: DirOpArgs<'a>,
    /// With these attributes.
    pub symlink_attributes: SetAttributes,
    /// Where the link points to.
    pub symlink_data: Path<'a>,
}

/// MKNOD, section 3.3.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MkNodArgs<'a> {
    /// The name to create (`where`).
    pub place: DirOpArgs<'a>,
    /// What to create.
    pub what: MkNodData,
}

/// What MKNOD shall create (`mknoddata3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum MkNodData {
    /// A character device.
    #[xdr(case = FileType::Character)]
    Character(DeviceData),
    /// A block device.
    #[xdr(case = FileType::Block)]
    Block(DeviceData),
    /// A socket.
    #[xdr(case = FileType::Socket)]
    Socket(SetAttributes),
    /// A named pipe.
    #[xdr(case = FileType::Fifo)]
    Fifo(SetAttributes),
    /// Another type, known or not: `NFS3ERR_BADTYPE`.
    #[xdr(default)]
    Other(u32),
}

/// A device to create (`devicedata3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DeviceData {
    /// With these attributes.
    pub attributes: SetAttributes,
    /// Which device it stands for.
    pub device: DeviceNumber,
}

/// REMOVE, section 3.3.12, and RMDIR, section 3.3.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RemoveArgs<'a> {
    /// The name to remove.
    pub object: DirOpArgs<'a>,
}

/// The result of REMOVE and RMDIR: the attributes of the directory around it, either way.
pub type RemoveRes = Outcome<WccData, WccData>;

/// RENAME, section 3.3.14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RenameArgs<'a> {
    /// The old name.
    pub from: DirOpArgs<'a>,
    /// The new name.
    pub to: DirOpArgs<'a>,
}

/// The attributes of both directories around a RENAME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct RenameWcc {
    /// Those of the old one.
    pub from_dir_wcc: WccData,
    /// Those of the new one.
    pub to_dir_wcc: WccData,
}

/// The result of RENAME.
pub type RenameRes = Outcome<RenameWcc, RenameWcc>;

/// LINK, section 3.3.15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LinkArgs<'a> {
    /// The file that exists.
    pub file: FileHandle<'a>,
    /// Its further name.
    pub link: DirOpArgs<'a>,
}

/// Attributes that LINK gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct LinkWcc {
    /// Those of the file.
    pub file_attributes: PostOpAttributes,
    /// Those of the directory around it.
    pub link_dir_wcc: WccData,
}

/// The result of LINK.
pub type LinkRes = Outcome<LinkWcc, LinkWcc>;
