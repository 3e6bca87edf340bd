//! Paths that the server remembers.

use super::database::{Change, Digest, Location};
use super::{Found, PathDatabase, Store};
use crate::attributes::Kind;
use crate::beneath::{Mounts, Root, RootError};
use crate::handle::{HandleKey, NodeId, StoreKind};
use crate::sys::{self, HANDLE_IDENTIFIER, KernelHandle};
use crate::{Result, Status};
use rustix::fs::{FileType, StatxFlags};
use rustix::io::Errno;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::ffi::OsString;
use std::hash::Hasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Nodes are digests of what identifies an object; the database says where it was last seen.
///
/// To open a node is to go where the object was last seen, and to check that what is there has the
/// digest. What identifies an object depends on the file system ([`Evidence`]), always with its
/// inode number and kind, and the device if the export crosses mounts:
///
/// - A handle that the kernel gives to anybody, though it may not open it for everybody: inode and
///   generation. Nothing is ever taken for another.
/// - The time of its birth: an inode number that is used again is told apart, unless within the
///   same tick of the file system's clock.
/// - Nothing more (some FUSE file systems): a file that was replaced, in the same place, by another
///   with the same inode number is **not** told apart. Such file systems give no way to.
///
/// It follows that an object is stale when it was renamed, or a directory above it was, by somebody
/// else, until it is seen in its new place; and that on a union file system a file may become
/// stale when it is copied to the upper layer and then forgotten by the kernel.
#[derive(Debug)]
pub struct PathStore {
    root: Arc<Root>,
    export: u32,
    key: [u8; 16],
    evidence: Evidence,
    root_digest: Digest,
    database: Arc<PathDatabase>,
}

/// What objects are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The kernel's handle, at least as an identifier.
    Handle,
    /// The time of birth.
    BirthTime,
    /// The inode number alone.
    InodeOnly,
}

impl PathStore {
    /// A store for `root`, whose entries in the database are those of `export`.
    ///
    /// # Errors
    ///
    /// If the root cannot be examined.
    pub fn new(
        root: &Arc<Root>,
        export: u32,
        key: &HandleKey,
        database: &Arc<PathDatabase>,
    ) -> std::result::Result<Self, RootError> {
        let key = key.derive(b"what identifies an object");
        let examined = Evidence::of(root.directory())
            .and_then(|evidence| Ok((evidence, digest(root, &key, evidence, root.directory())?.0)));
        let (evidence, root_digest) = examined.map_err(|errno| root.failed(errno))?;
        Ok(Self {
            root: root.clone(),
            export,
            key,
            evidence,
            root_digest,
            database: database.clone(),
        })
    }

    /// What objects are told apart by on this file system.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    fn digest(&self, object: BorrowedFd<'_>) -> Result<(Digest, Kind)> {
        digest(&self.root, &self.key, self.evidence, object).map_err(|errno| match errno {
            Errno::NOENT => Status::Stale,
            errno => errno.into(),
        })
    }

    fn location(found: &Found<'_>) -> Result<Location> {
        let parent = digest_of(found.parent).ok_or(Status::BadHandle)?;
        Ok(Location { parent, name: found.name.as_bytes().to_vec() })
    }

    fn places(&self, digest: &Digest) -> Result<Vec<Location>> {
        self.database.places(self.export, digest).map_err(|_| Status::ServerFault)
    }

    /// The newest places of an object and of every directory above it, as a path.
    fn newest_path(&self, wanted: &Digest) -> Result<Option<Vec<u8>>> {
        let mut path = Vec::new();
        let mut at = *wanted;
        while at != self.root_digest {
            let Some(place) = self.places(&at)?.into_iter().next() else { return Ok(None) };
            if path.len() + place.name.len() > MAX_PATH {
                return Ok(None);
            }
            path.extend(place.name.iter().rev());
            path.push(b'/');
            at = place.parent;
        }
        path.pop();
        path.reverse();
        Ok(Some(path))
    }

    /// Tries the newest place of every directory on the way, which is nearly always right.
    fn open_newest(&self, wanted: &Digest) -> Result<Option<OwnedFd>> {
        let Some(path) = self.newest_path(wanted)? else { return Ok(None) };
        match self.root.resolve(self.root.directory(), &path) {
            Ok(opened) if self.digest(opened.as_fd())?.0 == *wanted => Ok(Some(opened)),
            Ok(_) => Ok(None),
            Err(errno) if is_elsewhere(errno) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Tries all places, of the object and of the directories above it, checking every step.
    fn open_any(
        &self,
        wanted: &Digest,
        below: Option<&Step<'_>>,
        budget: &mut usize,
    ) -> Result<Option<Reached>> {
        if *wanted == self.root_digest {
            return Ok(Some(Reached { object: self.clone_root()?, parent: None }));
        }
        let step = Step { digest: wanted, below };
        if step.goes_in_a_circle() {
            return Ok(None);
        }
        for place in self.places(wanted)? {
            let Some(less) = budget.checked_sub(1) else { return Ok(None) };
            *budget = less;
            let above = self.open_any(&place.parent, Some(&step), budget)?;
            let Some(Reached { object: parent, .. }) = above else { continue };
            match self.root.resolve(parent.as_fd(), &place.name) {
                Ok(object) if self.digest(object.as_fd())?.0 == *wanted => {
                    return Ok(Some(Reached { object, parent: Some(parent) }));
                }
                Ok(_) => {}
                Err(errno) if is_elsewhere(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(None)
    }

    fn clone_root(&self) -> Result<OwnedFd> {
        self.root.directory().try_clone_to_owned().map_err(|_| Status::Jukebox)
    }
}

impl Store for PathStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Path
    }

    fn root_node(&self) -> NodeId {
        node_of(&self.root_digest)
    }

    fn encode(&self, found: &Found<'_>) -> Result<NodeId> {
        self.encode_all(std::slice::from_ref(found)).pop().unwrap_or(Err(Status::ServerFault))
    }

    fn encode_all(&self, found: &[Found<'_>]) -> Vec<Result<NodeId>> {
        let mut changes = Vec::with_capacity(found.len());
        let mut encode_one = |found: &Found<'_>| {
            let digest = self.digest(found.object)?.0;
            if digest != self.root_digest {
                changes.push((digest, Change::Seen(Self::location(found)?)));
            }
            Ok(node_of(&digest))
        };
        let nodes = found.iter().map(&mut encode_one).collect();
        match self.database.change(self.export, &changes) {
            Ok(()) => nodes,
            Err(_) => found.iter().map(|_| Err(Status::ServerFault)).collect(),
        }
    }

    fn encode_above(&self, dir: BorrowedFd<'_>) -> Result<NodeId> {
        let digest = self.digest(dir)?.0;
        if digest != self.root_digest && self.places(&digest)?.is_empty() {
            return Err(Status::Stale);
        }
        Ok(node_of(&digest))
    }

    fn open(&self, node: &NodeId) -> Result<OwnedFd> {
        if node.store() != StoreKind::Path {
            // Sealed when the export had the other store.
            return Err(Status::Stale);
        }
        let wanted = digest_of(node).ok_or(Status::BadHandle)?;
        if wanted == self.root_digest {
            return self.clone_root();
        }
        if let Some(opened) = self.open_newest(&wanted)? {
            return Ok(opened);
        }
        let mut budget = MAX_STEPS;
        let Reached { object, parent } =
            self.open_any(&wanted, None, &mut budget)?.ok_or(Status::Stale)?;
        // It was reached step by step: a directory that was passed may have left the export since.
        match parent {
            Some(parent) if !self.root.contains(parent.as_fd())? => Err(Status::Stale),
            _ => Ok(object),
        }
    }

    fn last_seen(&self, node: &NodeId) -> Option<PathBuf> {
        let path = self.newest_path(&digest_of(node)?).ok()??;
        Some(OsString::from_vec(path).into())
    }

    fn follows_names(&self) -> bool {
        true
    }

    fn will_move(&self, found: &Found<'_>) -> Result<()> {
        self.encode(found).map(drop)
    }

    fn removed(&self, found: &Found<'_>) {
        let forget = || -> Result<()> {
            let digest = self.digest(found.object)?.0;
            let change = Change::Gone(Self::location(found)?);
            self.database.change(self.export, &[(digest, change)]).map_err(|_| Status::ServerFault)
        };
        // What is not forgotten leads nowhere.
        let _ = forget();
    }
}

/// What was opened step by step, and the directory it was in.
struct Reached {
    object: OwnedFd,
    parent: Option<OwnedFd>,
}

/// A directory on the way up, and where we came from.
struct Step<'a> {
    digest: &'a Digest,
    below: Option<&'a Step<'a>>,
}

impl Step<'_> {
    fn goes_in_a_circle(&self) -> bool {
        std::iter::successors(self.below, |step| step.below).any(|step| step.digest == self.digest)
    }
}

impl Evidence {
    fn of(object: BorrowedFd<'_>) -> std::result::Result<Self, Errno> {
        // Its handles name what it has in memory.
        if sys::file_system(object)? != FUSE && identifier(object).is_ok() {
            return Ok(Self::Handle);
        }
        let statx = sys::statx(object, StatxFlags::BTIME)?;
        let born = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(if born { Self::BirthTime } else { Self::InodeOnly })
    }
}

fn identifier(object: BorrowedFd<'_>) -> std::result::Result<KernelHandle, Errno> {
    match sys::name_to_handle(object, HANDLE_IDENTIFIER) {
        // Kernels before 6.5 have only handles that can be opened.
        Err(Errno::INVAL) => sys::name_to_handle(object, 0),
        result => result,
    }
}

fn digest(
    root: &Root,
    key: &[u8; 16],
    evidence: Evidence,
    object: BorrowedFd<'_>,
) -> std::result::Result<(Digest, Kind), Errno> {
    let mask = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::BTIME;
    let statx = sys::statx(object, mask)?;
    let file_type = FileType::from_raw_mode(u32::from(statx.stx_mode));
    let kind = Kind::from_file_type(file_type).ok_or(Errno::STALE)?;
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write_u8(kind as u8);
    hasher.write_u64(statx.stx_ino);
    let mut evidence = evidence;
    let device = (statx.stx_dev_major, statx.stx_dev_minor);
    if root.mounts() == Mounts::Crossed && device != root.place().device {
        hasher.write_u32(device.0);
        hasher.write_u32(device.1);
        evidence = Evidence::of(object)?;
    }
    match evidence {
        Evidence::Handle => {
            let handle = identifier(object)?;
            hasher.write_u32(handle.kind);
            hasher.write(handle.bytes());
        }
        Evidence::BirthTime => {
            hasher.write_i64(statx.stx_btime.tv_sec);
            hasher.write_u32(statx.stx_btime.tv_nsec);
        }
        Evidence::InodeOnly => {}
    }
    Ok((hasher.finish128().as_bytes(), kind))
}

/// The object is not at this place, whatever else is.
fn is_elsewhere(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::STALE
            | Errno::NAMETOOLONG
    )
}

fn node_of(digest: &Digest) -> NodeId {
    NodeId::of_path(digest)
}

fn digest_of(node: &NodeId) -> Option<Digest> {
    if node.store() != StoreKind::Path {
        return None;
    }
    node.as_bytes().try_into().ok()
}

const FUSE: u32 = 0x6573_5546;
/// Longer paths are taken step by step: the kernel takes 4095 bytes.
const MAX_PATH: usize = 3800;
/// Bounds the work for a handle, and the depth of the search.
const MAX_STEPS: usize = 1024;
