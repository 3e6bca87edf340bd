//! What the program may do, cut down to what it needs.
//!
//! Which capabilities are needed follows from what is to be served ([`Needs`]), so that has to be known
//! first. [`reduce`] gives up all others, for good, before there is a second thread: threads have what
//! the one that starts them has. Whatever is asked for later and takes more
//! ([`Needs::missing`]) takes a restart.

use crate::model::{
    ExportSpec, LinkKind, LinkSpec, ListenSpec, LocalSpec, NamespaceSpec, NetnsRef, Squash,
};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Capabilities that something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs(CapabilitySet);

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("could not give up privileges that are not needed: {what}: {error}")]
pub struct ReduceError {
    what: &'static str,
    error: io::Error,
}

impl Needs {
    /// What it takes to act as the callers, who may be anybody, and to find files by their handles.
    ///
    /// Watching files (fanotify) takes none: the kernel lets everybody mark single inodes.
    pub fn of_exports() -> Self {
        Self(
            CapabilitySet::SETUID
                | CapabilitySet::SETGID
                // What user 0 may do to files, where it is not squashed; and what we do ourselves, by
                // our own rules, for the owner of a file.
                | CapabilitySet::CHOWN
                | CapabilitySet::DAC_OVERRIDE
                | CapabilitySet::FOWNER
                | CapabilitySet::FSETID
                | CapabilitySet::MKNOD
                // open_by_handle_at(2).
                | CapabilitySet::DAC_READ_SEARCH,
        )
    }

    /// What it takes to open these sockets.
    pub fn of_listener(listen: &ListenSpec) -> Self {
        let mut needs = CapabilitySet::empty();
        if listen.addr.port() != 0 && listen.addr.port() < PRIVILEGED_PORTS {
            needs |= CapabilitySet::NET_BIND_SERVICE;
        }
        Self(needs).and(Self::of_entering(listen.netns.as_ref()))
    }

    /// What it takes to make this interface.
    pub fn of_link(link: &LinkSpec) -> Self {
        let needs = match link.kind {
            LinkKind::Tap => CapabilitySet::NET_ADMIN,
            LinkKind::Packet => CapabilitySet::NET_RAW,
            _ => CapabilitySet::empty(),
        };
        Self(needs).and(Self::of_entering(link.netns.as_ref()))
    }

    /// What it takes to hand out files of an export, or of a whole namespace, past the network: those that
    /// are for reading are opened in a mount of their own that nobody can write to.
    pub fn of_local(local: &LocalSpec) -> Self {
        Self(if local.is_on() { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() })
    }

    /// What it takes to go into a network namespace of the kernel.
    fn of_entering(netns: Option<&NetnsRef>) -> Self {
        Self(match netns {
            None => CapabilitySet::empty(),
            Some(NetnsRef::Path(path)) if !path.starts_with("/proc/") => CapabilitySet::SYS_ADMIN,
            // Who looks for a namespace by a process has to be allowed to look at the process.
            Some(_) => CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE,
        })
    }

    /// What it takes to serve these namespaces.
    pub fn of(namespaces: &[NamespaceSpec]) -> Self {
        let listeners = namespaces.iter().flat_map(|ns| &ns.listen);
        let links = namespaces.iter().flat_map(|ns| &ns.link).map(Self::of_link);
        let local = namespaces.iter().map(|ns| Self::of_local(&ns.local));
        let all = listeners.map(Self::of_listener).chain(links).chain(local);
        all.fold(Self::of_exports(), Self::and)
    }

    /// What it takes to listen, or to have interfaces, in whatever network namespace of the kernel is asked
    /// for later.
    pub fn of_containers() -> Self {
        Self(
            CapabilitySet::SYS_ADMIN
                | CapabilitySet::SYS_PTRACE
                | CapabilitySet::NET_BIND_SERVICE
                | CapabilitySet::NET_ADMIN
                | CapabilitySet::NET_RAW,
        )
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of it we may not do now, although a restart as root may: none if we are an ordinary user,
    /// who never may.
    ///
    /// # Errors
    ///
    /// If the kernel does not say what we may.
    pub fn missing(self) -> io::Result<Option<Self>> {
        let permitted = capabilities(None)?.permitted;
        let missing = self.0.difference(permitted);
        Ok((!permitted.is_empty() && !missing.is_empty()).then_some(Self(missing)))
    }
}

/// Gives up, for good, all capabilities of this process that are not needed, and that programs may
/// give it more.
///
/// # Errors
///
/// [`ReduceError`]: also if there are other threads already, which would keep theirs.
pub fn reduce(needs: Needs) -> Result<(), ReduceError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(failed("there are other threads already")(Errno::BUSY));
    }
    set_no_new_privs(true).map_err(failed("setting no_new_privs"))?;
    let before = capabilities(None).map_err(failed("reading the capabilities"))?;
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(needs.0).iter() {
            // One that the kernel does not know can't be had either.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)
                    .map_err(failed("reducing the bounding set"))?;
            }
        }
    }
    clear_ambient_capability_set().map_err(failed("clearing the ambient set"))?;
    let kept = before.permitted & needs.0;
    let inheritable = CapabilitySet::empty();
    let after = CapabilitySets { effective: kept, permitted: kept, inheritable };
    set_capabilities(None, after).map_err(failed("reducing the capabilities"))
}

/// What to say to somebody who starts as root what does not take root.
pub fn root_without_need(namespaces: &[NamespaceSpec]) -> Option<String> {
    let listeners = namespaces.iter().flat_map(|ns| &ns.listen);
    let exports = || namespaces.iter().flat_map(|ns| &ns.export);
    let links = namespaces.iter().flat_map(|ns| &ns.link);
    let mut needs = listeners.map(Needs::of_listener).chain(links.map(Needs::of_link));
    let takes_root = needs.any(|needs| needs.0 != CapabilitySet::empty());
    if !rustix::process::geteuid().is_root() || takes_root {
        return None;
    }
    // Whose files they are, or whom everybody acts as.
    let user = |export: &ExportSpec| {
        let owner = std::fs::metadata(&export.dir).ok()?.uid();
        match export.squash {
            Squash::All => (owner == export.anon_uid).then_some(owner),
            Squash::Root | Squash::None => Some(owner),
        }
    };
    let users: Option<BTreeSet<u32>> = exports().map(user).collect();
    let [user] = users?.into_iter().collect::<Vec<_>>()[..] else { return None };
    if user == 0 {
        return None;
    }
    let all_squashed = exports().all(|export| export.squash == Squash::All);
    let why = if all_squashed {
        format!("everybody acts as user {user}")
    } else {
        format!("what is exported belongs to user {user}")
    };
    let unless = if all_squashed { "" } else { ", unless others are to act as themselves" };
    Some(format!(
        "running as root without need: {why}; start holm as that user (setpriv --reuid={user} \
         --clear-groups, or User= in a unit){unless}"
    ))
}

fn failed(what: &'static str) -> impl Fn(Errno) -> ReduceError {
    move |error| ReduceError { what, error: error.into() }
}

/// Below it, ports are for those who may.
const PRIVILEGED_PORTS: u16 = 1024;

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(addr: &str, netns: Option<NetnsRef>) -> NamespaceSpec {
        let listen = vec![ListenSpec { netns, ..ListenSpec::new(addr.parse().unwrap()) }];
        NamespaceSpec { name: "blue".into(), listen, ..NamespaceSpec::default() }
    }

    #[test]
    fn needs_follow_from_what_is_served() {
        let more = |ns: NamespaceSpec| Needs::of(&[ns]).0.difference(Needs::of_exports().0);
        let path = |path: &str| Some(NetnsRef::Path(path.into()));
        assert_eq!(more(listener("127.0.0.1:2049", None)), CapabilitySet::empty());
        assert_eq!(more(listener("127.0.0.1:0", None)), CapabilitySet::empty());
        assert_eq!(more(listener("[::1]:111", None)), CapabilitySet::NET_BIND_SERVICE);
        let by_path = more(listener("127.0.0.1:2049", path("/run/netns/blue")));
        assert_eq!(by_path, CapabilitySet::SYS_ADMIN);
        let local = LocalSpec { users: [7].into(), ..LocalSpec::default() };
        let by_door = more(NamespaceSpec { local, ..listener("127.0.0.1:2049", None) });
        assert_eq!(by_door, CapabilitySet::SYS_ADMIN);
        for netns in [path("/proc/7/ns/net"), Some(NetnsRef::Pid(7))] {
            let by_process = more(listener("127.0.0.1:2049", netns));
            assert_eq!(by_process, CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE);
            assert_eq!(Needs(by_process).to_string(), "CAP_SYS_PTRACE, CAP_SYS_ADMIN");
        }
    }

    /// Capabilities are the thread's, so that this one can be without.
    #[test]
    fn what_is_missing_is_said_where_it_could_be_had() {
        let needs = Needs::of(&[listener("127.0.0.1:2049", Some(NetnsRef::Pid(7)))]);
        let have = |permitted: CapabilitySet| {
            let sets = capabilities(None).unwrap();
            let effective = permitted;
            set_capabilities(None, CapabilitySets { effective, permitted, ..sets }).unwrap();
            needs.missing().unwrap().map(|missing| missing.to_string())
        };
        let said = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let exports = have(Needs::of_exports().0 & capabilities(None).unwrap().permitted);
                [exports, have(CapabilitySet::empty())]
            });
            thread.join().unwrap()
        });
        if rustix::process::geteuid().is_root() {
            assert_eq!(said[0].as_deref(), Some("CAP_SYS_PTRACE, CAP_SYS_ADMIN"));
        }
        assert_eq!(said[1], None, "an ordinary user can't have it");
    }

    #[test]
    fn threads_that_would_keep_theirs_are_noticed() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || ended.recv());
        let refused = reduce(Needs::of_exports()).unwrap_err().to_string();
        assert!(refused.contains("other threads"), "{refused}");
        drop(end);
        other.join().unwrap().unwrap_err();
    }
}
