//! File handles: what a client keeps, and gives back.
//!
//! ```text
//!  0        version, 1
//!  1        which store the node is of
//!  2..4     volume: which mounted file system of the export
//!  4..8     export
//!  8..16    MAC: SipHash-2-4 over all other bytes
//! 16..      node: what the store knows the object by, at most 48 bytes
//! ```
//!
//! Numbers are big-endian. A [`FileHandle`] exists only if its MAC is right: it was made by
//! [`FileHandle::seal`] or came through [`FileHandle::verify`]. What a client invents, changes, or
//! brings along from another namespace never gets as far as a look-up.

use crate::{Result, Status};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;

/// The longest handle, in bytes (RFC 1813: `NFS3_FHSIZE`).
pub const MAX_HANDLE: usize = 64;
/// The longest [`NodeId`], in bytes.
pub const MAX_NODE: usize = MAX_HANDLE - HEADER;

/// The key of one incarnation of a namespace.
///
/// Keep it as long as the namespace lives, over restarts too, and no longer: without it no handle
/// that was ever given out is good again.
#[derive(Clone, PartialEq, Eq)]
pub struct HandleKey([u8; 16]);

impl HandleKey {
    /// A new key from the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// [`Status::ServerFault`] if the kernel gives none.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 16];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(16) => Ok(Self(bytes)),
            _ => Err(Status::ServerFault),
        }
    }

    /// A key that was kept.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep, where nobody else can read them.
    pub fn to_bytes(&self) -> [u8; 16] {
        self.0
    }

    /// A key for another purpose, from which this one cannot be found.
    pub(crate) fn derive(&self, purpose: &[u8]) -> [u8; 16] {
        siphasher::sip128::SipHasher24::new_with_key(&self.0).hash(purpose).as_bytes()
    }

    fn mac(&self, handle: &[u8; MAX_HANDLE], length: usize) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&handle[..MAC_AT]);
        hasher.write(&handle[HEADER..length]);
        hasher.finish()
    }
}

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleKey(..)")
    }
}

/// Which kind of store a node is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StoreKind {
    /// The file system's own handles.
    Kernel = 1,
    /// Paths that the server remembers.
    Path = 2,
}

/// What a store knows an object by: a few bytes that mean nothing to anyone else.
#[derive(Clone, Copy)]
pub struct NodeId {
    store: StoreKind,
    length: u8,
    bytes: [u8; MAX_NODE],
}

impl NodeId {
    /// A node of a store; `None` if it is longer than [`MAX_NODE`].
    pub fn new(store: StoreKind, parts: &[&[u8]]) -> Option<Self> {
        let mut bytes = [0; MAX_NODE];
        let mut length = 0;
        for part in parts {
            bytes.get_mut(length..length + part.len())?.copy_from_slice(part);
            length += part.len();
        }
        Some(Self { store, length: length as u8, bytes })
    }

    pub(crate) fn of_path(digest: &[u8; 16]) -> Self {
        let mut bytes = [0; MAX_NODE];
        bytes[..16].copy_from_slice(digest);
        Self { store: StoreKind::Path, length: 16, bytes }
    }

    /// Which store it is of.
    pub fn store(&self) -> StoreKind {
        self.store
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        self.store == other.store && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NodeId {}

impl std::hash::Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.store.hash(state);
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({:?}:", self.store)?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A handle whose MAC is right.
#[derive(Clone, Copy)]
pub struct FileHandle {
    length: u8,
    bytes: [u8; MAX_HANDLE],
    node: NodeId,
}

impl FileHandle {
    /// Makes the handle of `node`, on file system `volume` of `export`.
    pub fn seal(key: &HandleKey, export: u32, volume: u16, node: NodeId) -> Self {
        let mut bytes = [0; MAX_HANDLE];
        let length = HEADER + node.as_bytes().len();
        bytes[0] = VERSION;
        bytes[1] = node.store as u8;
        bytes[2..4].copy_from_slice(&volume.to_be_bytes());
        bytes[4..MAC_AT].copy_from_slice(&export.to_be_bytes());
        bytes[HEADER..length].copy_from_slice(node.as_bytes());
        let mac = key.mac(&bytes, length);
        bytes[MAC_AT..HEADER].copy_from_slice(&mac.to_be_bytes());
        Self { length: length as u8, bytes, node }
    }

    /// Checks what a client sent.
    ///
    /// # Errors
    ///
    /// - [`Status::BadHandle`]: it does not have the form of a handle.
    /// - [`Status::Stale`]: it has, but not our MAC. It may be an honest one, of a namespace that
    ///   was deleted and made again, whose clients need to hear just that.
    pub fn verify(key: &HandleKey, sent: &[u8]) -> Result<Self> {
        let node = sent.get(HEADER..).ok_or(Status::BadHandle)?;
        let store = match sent {
            [VERSION, 1, ..] => StoreKind::Kernel,
            [VERSION, 2, ..] => StoreKind::Path,
            _ => return Err(Status::BadHandle),
        };
        let node = NodeId::new(store, &[node]).ok_or(Status::BadHandle)?;
        let mut bytes = [0; MAX_HANDLE];
        bytes.get_mut(..sent.len()).ok_or(Status::BadHandle)?.copy_from_slice(sent);

        let mut claimed = [0; 8];
        claimed.copy_from_slice(&bytes[MAC_AT..HEADER]);
        // One comparison of a whole word: how long it takes says nothing of where they differ.
        let difference = key.mac(&bytes, sent.len()) ^ u64::from_be_bytes(claimed);
        if std::hint::black_box(difference) != 0 {
            return Err(Status::Stale);
        }
        Ok(Self { length: sent.len() as u8, bytes, node })
    }

    /// The bytes for the client.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The MAC.
    pub(crate) fn mac(&self) -> u64 {
        let mut mac = [0; 8];
        mac.copy_from_slice(&self.bytes[MAC_AT..HEADER]);
        u64::from_be_bytes(mac)
    }

    /// The export that it is of.
    pub fn export(&self) -> u32 {
        u32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    /// Which mounted file system of the export.
    pub fn volume(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// What the store knows the object by.
    pub fn node(&self) -> &NodeId {
        &self.node
    }
}

impl PartialEq for FileHandle {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for FileHandle {}

impl std::hash::Hash for FileHandle {
    /// The MAC is a hash already, which nobody without the key can choose.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.mac());
    }
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHandle")
            .field("export", &self.export())
            .field("volume", &self.volume())
            .field("node", &self.node)
            .finish()
    }
}

const VERSION: u8 = 1;
const MAC_AT: usize = 8;
const HEADER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> HandleKey {
        HandleKey::from_bytes([seed; 16])
    }

    fn node_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=MAX_NODE)
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_verified_and_says_the_same(
            export: u32, volume: u16, bytes in node_bytes(), kernel: bool,
        ) {
            let store = if kernel { StoreKind::Kernel } else { StoreKind::Path };
            let node = NodeId::new(store, &[&bytes]).unwrap();
            let sealed = FileHandle::seal(&key(1), export, volume, node);
            prop_assert!(sealed.as_bytes().len() <= MAX_HANDLE);
            let verified = FileHandle::verify(&key(1), sealed.as_bytes()).unwrap();
            prop_assert_eq!(verified, sealed);
            prop_assert_eq!(verified.export(), export);
            prop_assert_eq!(verified.volume(), volume);
            prop_assert_eq!(*verified.node(), node);
            prop_assert_eq!(verified.node().as_bytes(), &bytes[..]);
        }

        #[test]
        fn no_changed_bit_no_other_length_and_no_other_key_is_accepted(
            export: u32, volume: u16, bytes in node_bytes(), more: u8,
        ) {
            let node = NodeId::new(StoreKind::Kernel, &[&bytes]).unwrap();
            let sealed = FileHandle::seal(&key(1), export, volume, node);
            for bit in 0..sealed.as_bytes().len() * 8 {
                let mut forged = sealed.as_bytes().to_vec();
                forged[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(FileHandle::verify(&key(1), &forged).is_err());
            }
            for length in 0..sealed.as_bytes().len() {
                prop_assert!(FileHandle::verify(&key(1), &sealed.as_bytes()[..length]).is_err());
            }
            let mut longer = sealed.as_bytes().to_vec();
            longer.push(more);
            prop_assert!(FileHandle::verify(&key(1), &longer).is_err());
            prop_assert_eq!(FileHandle::verify(&key(2), sealed.as_bytes()), Err(Status::Stale));
        }

        #[test]
        fn nothing_that_a_client_invents_is_accepted(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            prop_assert!(FileHandle::verify(&key(1), &bytes).is_err());
        }
    }

    #[test]
    fn the_layout_does_not_change_unnoticed() {
        let node = NodeId::new(StoreKind::Path, &[b"node"]).unwrap();
        let handle = FileHandle::seal(&key(7), 0x0102_0304, 0x0506, node);
        assert_eq!(handle.as_bytes()[..8], [1, 2, 5, 6, 1, 2, 3, 4]);
        assert_eq!(&handle.as_bytes()[16..], b"node");
        assert_eq!(handle.as_bytes()[8..16], [25, 200, 122, 112, 246, 73, 26, 193]);
    }
}
