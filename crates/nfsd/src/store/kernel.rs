//! The file system's own handles.

use super::{Found, Store};
use crate::attributes::Kind;
use crate::beneath::{Mounts, Place, Root};
use crate::handle::{MAX_NODE, NodeId, StoreKind};
use crate::name::Name;
use crate::sys::{self, HANDLE_CONNECTABLE, KernelHandle, TYPE_CONNECTED};
use crate::{Result, Status};
use rustix::io::Errno;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Nodes are the handles of the file system at the export's root.
///
/// A handle names an inode and its generation: an inode number that is used again is not taken for
/// the file that had it before. How it is made sure that the object lies beneath the root depends
/// on what the root is:
///
/// - **A whole file system.** Nothing on it can be elsewhere, so what opens is inside. Handles of
///   files hold for as long as the file exists.
/// - **A directory** of a file system whose handles can include the parent directory (Linux 6.13;
///   ext4, xfs, btrfs and others). The handle of a file then does, and the kernel opens it only if
///   it can connect it to the root through some directory. A file that was moved out of the export
///   is stale at once. A file that was moved to another directory *within* it is found as long as
///   the kernel remembers its new place (while it is open, or was looked up not long ago); then,
///   until it is looked up there, it is stale too. Hard links of one file in two directories have
///   two handles with one inode number.
/// - **A directory of a tmpfs.** The kernel keeps all places in memory: the same check, without
///   those limits.
///
/// - In both of the latter, a file whose names within the export were all removed, and that has one
///   outside, is stale as soon as nobody has it open.
///
/// Directories are always found, wherever beneath the root they were moved.
#[derive(Debug)]
pub struct KernelStore {
    root: Arc<Root>,
    check: Check,
    root_node: NodeId,
    tells_of_renames: bool,
}

/// How an object is known to be beneath the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    WholeFileSystem,
    ParentInHandle,
    PlacesInMemory,
}

/// Why kernel handles cannot be used for an export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// The process may not open handles.
    #[error("opening file handles needs CAP_DAC_READ_SEARCH")]
    NotPermitted,
    /// The file system does not give handles.
    #[error("the file system has no file handles ({0})")]
    NoHandles(Errno),
    /// They do not fit into a handle of the protocol.
    #[error("the file system's handles are too long ({0} bytes)")]
    TooLong(usize),
    /// Handles name what the file system happens to have in memory.
    #[error("the file system's handles do not last")]
    NotLasting,
    /// The export crosses mounts; a handle names an object of one mount only.
    #[error("the export crosses mounts")]
    CrossesMounts,
    /// The export is a directory, and kernel and file system cannot tell what is beneath it.
    #[error(
        "the export is not a whole file system, and handles cannot be checked to be beneath it"
    )]
    Unconfined,
    /// A handle of the root did not open the root.
    #[error("a handle of the root does not open the root")]
    Broken,
}

impl KernelStore {
    /// Finds out whether kernel handles can be used for this export, by trying.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn probe(root: &Arc<Root>) -> std::result::Result<Self, Unsuitable> {
        if root.mounts() == Mounts::Crossed {
            return Err(Unsuitable::CrossesMounts);
        }
        let directory = root.directory();
        let kind = sys::file_system(directory).map_err(Unsuitable::NoHandles)?;
        if kind == FUSE {
            return Err(Unsuitable::NotLasting);
        }
        let plain = sys::name_to_handle(directory, 0).map_err(Unsuitable::NoHandles)?;
        let root_node = node_of(&plain).ok_or(Unsuitable::TooLong(plain.bytes().len()))?;

        let check = if is_whole_file_system(root) {
            Check::WholeFileSystem
        } else if kind == TMPFS || kind == RAMFS {
            Check::PlacesInMemory
        } else if kind != OVERLAYFS && sys::name_to_handle(directory, HANDLE_CONNECTABLE).is_ok() {
            Check::ParentInHandle
        } else {
            return Err(Unsuitable::Unconfined);
        };
        // The handle of a file then names two inodes.
        let longest = plain.bytes().len() * if check == Check::ParentInHandle { 2 } else { 1 };
        if longest > MAX_NODE - 2 {
            return Err(Unsuitable::TooLong(longest));
        }
        let tells_of_renames = matches!(kind, BTRFS | EXT4 | TMPFS | XFS);
        let store = Self { root: root.clone(), check, root_node, tells_of_renames };
        match store.open_raw(root.directory(), &root_node) {
            Ok(opened) if Place::of(opened.as_fd()) == Ok(root.place()) => Ok(store),
            Ok(_) => Err(Unsuitable::Broken),
            Err(Errno::PERM | Errno::ACCESS) => Err(Unsuitable::NotPermitted),
            // Kernels before 6.13 do not know the flag that confines a handle.
            Err(Errno::INVAL) if check != Check::WholeFileSystem => Err(Unsuitable::Unconfined),
            Err(errno) => Err(Unsuitable::NoHandles(errno)),
        }
    }

    fn encode_one(&self, object: BorrowedFd<'_>, kind: Kind) -> Result<NodeId> {
        let with_parent = self.check == Check::ParentInHandle && kind != Kind::Directory;
        let flags = if with_parent { HANDLE_CONNECTABLE } else { 0 };
        let handle = sys::name_to_handle(object, flags).map_err(|errno| match errno {
            // Removed, or mounted over, before it was encoded.
            Errno::NOENT | Errno::XDEV => Status::Stale,
            errno => errno.into(),
        })?;
        node_of(&handle).ok_or(Status::ServerFault)
    }

    fn open_beneath(&self, root: BorrowedFd<'_>, node: &NodeId) -> Result<OwnedFd> {
        if node.store() != StoreKind::Kernel {
            // Sealed when the export had the other store.
            return Err(Status::Stale);
        }
        self.open_raw(root, node).map_err(|errno| match errno {
            // Sealed when the export was another directory, or the kernel another.
            Errno::INVAL | Errno::NOTDIR | Errno::XDEV | Errno::NOENT => Status::Stale,
            errno => errno.into(),
        })
    }

    fn open_raw(&self, root: BorrowedFd<'_>, node: &NodeId) -> std::result::Result<OwnedFd, Errno> {
        let (kind, handle) = node.as_bytes().split_at_checked(2).ok_or(Errno::INVAL)?;
        let kind = u32::from(u16::from_be_bytes([kind[0], kind[1]]));
        let handle = KernelHandle::new(kind, handle).ok_or(Errno::INVAL)?;
        let demands = match self.check {
            Check::WholeFileSystem => 0,
            Check::ParentInHandle | Check::PlacesInMemory => TYPE_CONNECTED,
        };
        sys::open_by_handle(root, &handle, demands)
    }
}

impl Store for KernelStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Kernel
    }

    fn root_node(&self) -> NodeId {
        self.root_node
    }

    fn encode(&self, found: &Found<'_>) -> Result<NodeId> {
        self.encode_one(found.object, found.kind)
    }

    fn encode_entry(&self, dir: BorrowedFd<'_>, name: Name<'_>) -> Result<Option<NodeId>> {
        // For a directory the kernel leaves the parent out by itself.
        let with_parent = self.check == Check::ParentInHandle;
        let flags = if with_parent { HANDLE_CONNECTABLE } else { 0 };
        match sys::entry_to_handle(dir, name.as_bytes(), flags) {
            Ok((handle, mount)) if mount == self.root.place().mount => Ok(node_of(&handle)),
            // Another file system is mounted there.
            Ok(_) | Err(Errno::OVERFLOW | Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV) => {
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn tells_of_renames(&self) -> bool {
        self.tells_of_renames
    }

    fn may_lose_objects(&self) -> bool {
        self.check != Check::WholeFileSystem
    }

    fn encode_above(&self, dir: BorrowedFd<'_>) -> Result<NodeId> {
        self.encode_one(dir, Kind::Directory)
    }

    fn open(&self, node: &NodeId) -> Result<OwnedFd> {
        self.open_beneath(self.root.directory(), node)
    }

    fn open_in(&self, root: BorrowedFd<'_>, node: &NodeId) -> Option<Result<OwnedFd>> {
        Some(self.open_beneath(root, node))
    }
}

fn node_of(handle: &KernelHandle) -> Option<NodeId> {
    let kind = u16::try_from(handle.kind).ok()?;
    NodeId::new(StoreKind::Kernel, &[&kind.to_be_bytes(), handle.bytes()])
}

/// Whether the root is the top of its file system, not a directory that is mounted elsewhere too.
fn is_whole_file_system(root: &Root) -> bool {
    if !root.is_mount_root() {
        return false;
    }
    let Ok(mounts) = fs::read("/proc/thread-self/mountinfo") else { return false };
    // Fields: mount id, parent id, major:minor, which directory of the file system, ...
    mounts.split(|&byte| byte == b'\n').any(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = fields.next().and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        id == Some(root.place().mount) && fields.nth(2) == Some(b"/")
    })
}

const BTRFS: u32 = 0x9123_683e;
const EXT4: u32 = 0xef53;
const FUSE: u32 = 0x6573_5546;
const OVERLAYFS: u32 = 0x794c_7630;
const RAMFS: u32 = 0x8584_58f6;
const TMPFS: u32 = 0x0102_1994;
const XFS: u32 = 0x5846_5342;
