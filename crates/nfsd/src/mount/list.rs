//! Who has mounted what, as far as clients tell: some never say that they are gone.

use super::Host;
use std::collections::VecDeque;

/// Mounts, the oldest first; no mount twice.
#[derive(Debug, Default)]
pub(crate) struct MountList {
    mounts: VecDeque<(Host, Box<[u8]>)>,
}

impl MountList {
    /// A client mounts a path. If there are too many, of its own or in all, the oldest is forgotten.
    pub(crate) fn add(&mut self, host: Host, path: &[u8]) {
        self.remove(host, path);
        if self.mounts.iter().filter(|(known, _)| *known == host).count() >= OF_HOST_MAX {
            let oldest = self.mounts.iter().position(|(known, _)| *known == host);
            oldest.and_then(|index| self.mounts.remove(index));
        }
        if self.mounts.len() >= MAX {
            self.mounts.pop_front();
        }
        self.mounts.push_back((host, path.into()));
    }

    /// It has unmounted the path.
    pub(crate) fn remove(&mut self, host: Host, path: &[u8]) {
        self.mounts.retain(|(known, mounted)| *known != host || **mounted != *path);
        self.shrink();
    }

    /// It has unmounted everything.
    pub(crate) fn remove_all(&mut self, host: Host) {
        self.mounts.retain(|(known, _)| *known != host);
        self.shrink();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Host, &[u8])> {
        self.mounts.iter().map(|(host, path)| (*host, &**path))
    }

    pub(crate) fn len(&self) -> usize {
        self.mounts.len()
    }

    fn shrink(&mut self) {
        if self.mounts.is_empty() {
            self.mounts = VecDeque::new();
        }
    }
}

/// Most mounts that are listed: with paths of 1 KiB, 1 MiB.
const MAX: usize = 1024;
/// Most of one client.
const OF_HOST_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Host {
        Host::from([10, 0, 0, last])
    }

    #[test]
    fn a_mount_is_listed_once_until_it_is_taken_back() {
        let mut list = MountList::default();
        list.add(host(1), b"/a");
        list.add(host(1), b"/a");
        list.add(host(1), b"/b");
        list.add(host(2), b"/a");
        assert_eq!(list.len(), 3);
        list.remove(host(1), b"/a");
        let rest: Vec<_> = list.iter().collect();
        assert_eq!(rest, [(host(1), &b"/b"[..]), (host(2), &b"/a"[..])]);
        list.remove_all(host(1));
        assert_eq!(list.iter().collect::<Vec<_>>(), [(host(2), &b"/a"[..])]);
    }

    #[test]
    fn neither_one_client_nor_many_make_it_grow_without_end() {
        let mut list = MountList::default();
        list.add(host(0), b"/of another");
        for mount in 0..10_000 {
            list.add(host(1), format!("/{mount}").as_bytes());
        }
        assert_eq!(list.len(), 1 + OF_HOST_MAX, "and the other's is still there");
        for last in 2..=255 {
            for mount in 0..10 {
                list.add(host(last), format!("/{mount}").as_bytes());
            }
        }
        assert_eq!(list.len(), MAX);
    }
}
