//! Acting as the caller.
//!
//! The kernel checks every operation against the caller's identity, not ours. A worker has one
//! [`Session`]; within it, [`Session::run_as`] runs a closure as somebody:
//!
//! ```
//! use holm_nfsd::identity::{Credentials, Privileges, Session};
//!
//! let privileges = Privileges::detect()?;
//! let mut session = Session::begin(&privileges)?;
//! let somebody = Credentials::new(1000, 1000, &[]);
//! session.run_as(&somebody, |caller| {
//!     // What is opened here, is opened as user 1000, or as ourselves if we are an ordinary user.
//!     caller.credentials().uid()
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Identities are those of the **thread**: `setfsuid`, `setfsgid` and `setgroups` as raw system
//!   calls (libc's `setgroups` changes every thread), each read back.
//! - A closure gets a [`Caller`], which operations ask for: none runs as somebody by accident.
//! - After `run_as` the thread stays who it was, so that the next call of the same caller costs
//!   nothing. The session's end, by a panic too, gives the thread its own identity back.
//! - With another user go the capabilities over files, among them `CAP_DAC_OVERRIDE`. The kernel
//!   does that when user 0 becomes another; where we are not user 0 but have capabilities, we do.
//!   `CAP_SYS_RESOURCE`, which opens the blocks reserved for root, is given up for good.

use crate::volume::Flusher;
use crate::{Result, Status, sys};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    set_capabilities,
};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;

/// The most supplementary groups that a caller has (RFC 5531: AUTH_SYS).
pub const MAX_GROUPS: usize = 16;

/// A user, a group and supplementary groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credentials {
    uid: u32,
    gid: u32,
    count: u8,
    groups: [u32; MAX_GROUPS],
}

impl Credentials {
    /// Credentials; groups beyond [`MAX_GROUPS`] are left out, which can only take rights away.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Self {
        let mut kept = [0; MAX_GROUPS];
        let count = groups.len().min(MAX_GROUPS);
        kept[..count].copy_from_slice(&groups[..count]);
        Self { uid, gid, count: count as u8, groups: kept }
    }

    /// The user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The supplementary groups.
    pub fn groups(&self) -> &[u32] {
        &self.groups[..usize::from(self.count)]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:?}", self.uid, self.gid, self.groups())
    }
}

/// Which callers an export takes at their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquashWho {
    /// All of them.
    Nobody,
    /// All but user 0 and group 0.
    Root,
    /// None of them.
    Everybody,
}

/// Which callers are somebody else on an export, and who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squash {
    /// Whom it changes.
    pub who: SquashWho,
    /// The user they become.
    pub uid: u32,
    /// The group they become.
    pub gid: u32,
}

impl Default for Squash {
    /// Root becomes user and group 65534.
    fn default() -> Self {
        Self { who: SquashWho::Root, uid: 65534, gid: 65534 }
    }
}

impl Squash {
    /// Who the caller is on this export. The number that stands for "no such user" is squashed
    /// always.
    pub fn apply(&self, caller: &Credentials) -> Credentials {
        let (uid, gid) = match self.who {
            SquashWho::Everybody => return self.anonymous(),
            SquashWho::Root => (caller.uid == 0, true),
            SquashWho::Nobody => (false, false),
        };
        let user = if uid || caller.uid == NO_ID { self.uid } else { caller.uid };
        let group = |id: u32| if id == NO_ID || (gid && id == 0) { self.gid } else { id };
        let mut squashed = *caller;
        squashed.uid = user;
        squashed.gid = group(caller.gid);
        for id in &mut squashed.groups[..usize::from(caller.count)] {
            *id = group(*id);
        }
        squashed
    }

    /// Who a caller without credentials is (AUTH_NONE).
    pub fn anonymous(&self) -> Credentials {
        Credentials::new(self.uid, self.gid, &[])
    }
}

/// Why the thread's privileges could not be found out or set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} of this thread: {source}")]
pub struct IdentityError {
    what: &'static str,
    source: io::Error,
}

/// What the process may do about identities.
#[derive(Clone, Debug)]
pub struct Privileges {
    mode: Mode,
    own: Credentials,
    /// More than `own` can hold.
    own_groups: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// User 0: the kernel takes capabilities over files away with `setfsuid`, and gives them back.
    Root,
    /// Another user who has the capabilities.
    Capable(CapabilitySets),
    /// Everybody is us.
    Ordinary,
}

impl Privileges {
    /// Finds out what the calling thread may do, and clears the `umask` **of the process**: the
    /// modes of what is created come from clients, who have applied their own.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn detect() -> std::result::Result<Self, IdentityError> {
        rustix::process::umask(rustix::fs::Mode::empty());
        let mut sets = capabilities(None).map_err(failed("read the capabilities"))?;
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        let fixed = capabilities_secure_bits().map_err(failed("read the securebits"))?;
        let own_groups = sys::groups().map_err(failed("read the groups"))?;
        let uid = sys::set_fs_uid(NO_ID);
        let gid = sys::set_fs_gid(NO_ID);
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
        let mode = if !sets.effective.contains(needed) {
            Mode::Ordinary
        } else if uid == 0
            && sets.effective.contains(OVER_FILES.intersection(sets.permitted))
            && !fixed.contains(CapabilitiesSecureBits::NO_SETUID_FIXUP)
        {
            Mode::Root
        } else {
            Mode::Capable(sets)
        };
        Ok(Self { mode, own: Credentials::new(uid, gid, &own_groups), own_groups })
    }

    /// Whether everybody is squashed to ourselves, because we may not be anybody else.
    pub fn is_ordinary(&self) -> bool {
        self.mode == Mode::Ordinary
    }

    /// Who a caller with these credentials will be: the same, or ourselves.
    pub fn effective(&self, wanted: &Credentials) -> Credentials {
        if self.is_ordinary() { self.own } else { *wanted }
    }
}

/// A thread that acts for callers; one at a time per thread.
#[derive(Debug)]
pub struct Session<'p> {
    privileges: &'p Privileges,
    identity: Cell<Identity>,
    _this_thread_only: PhantomData<*const ()>,
}

/// Who the thread is for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Server,
    Caller(Credentials),
    /// A change failed half way. Nothing runs before another change has succeeded.
    Unknown,
}

thread_local! {
    static IN_SESSION: Cell<bool> = const { Cell::new(false) };
}

impl<'p> Session<'p> {
    /// Begins a session on this thread, which must have the privileges that were detected.
    ///
    /// # Errors
    ///
    /// If there is one already, or the thread cannot give up `CAP_SYS_RESOURCE`.
    pub fn begin(privileges: &'p Privileges) -> std::result::Result<Self, IdentityError> {
        if IN_SESSION.get() {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(IdentityError { what: "begin a second session", source });
        }
        if !privileges.is_ordinary() {
            give_up_reserves().map_err(failed("reduce the capabilities"))?;
        }
        IN_SESSION.set(true);
        let identity = Cell::new(Identity::Server);
        Ok(Self { privileges, identity, _this_thread_only: PhantomData })
    }

    /// Runs `work` as the caller with these credentials, squashed already.
    ///
    /// # Errors
    ///
    /// [`Status::ServerFault`] if the thread could not become that caller; `work` did not run.
    pub fn run_as<T>(
        &mut self,
        credentials: &Credentials,
        work: impl FnOnce(&Caller<'_>) -> T,
    ) -> Result<T> {
        let credentials = self.privileges.effective(credentials);
        self.change_to(Identity::Caller(credentials))?;
        Ok(work(&Caller { session: self, credentials, claimed: None, flusher: None }))
    }

    /// Who a caller with these credentials, squashed already, is here.
    pub fn effective(&self, credentials: &Credentials) -> Credentials {
        self.privileges.effective(credentials)
    }

    /// Runs `work` as ourselves.
    ///
    /// # Errors
    ///
    /// [`Status::ServerFault`] if the thread could not become itself again; `work` did not run.
    pub fn run_as_server<T>(&mut self, work: impl FnOnce() -> T) -> Result<T> {
        self.change_to(Identity::Server)?;
        Ok(work())
    }

    fn change_to(&self, wanted: Identity) -> Result<()> {
        if self.privileges.is_ordinary() || self.identity.get() == wanted {
            return Ok(());
        }
        let known = self.identity.replace(Identity::Unknown);
        if known != Identity::Server {
            self.privileges.become_server()?;
        }
        if let Identity::Caller(credentials) = wanted {
            self.privileges.become_caller(&credentials)?;
        }
        self.identity.set(wanted);
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.change_to(Identity::Server).is_ok() {
            IN_SESSION.set(false);
        }
        // Otherwise the thread is somebody else for good, and no session begins on it again.
    }
}

/// Proof that the thread acts as this caller.
pub struct Caller<'s> {
    session: &'s Session<'s>,
    credentials: Credentials,
    /// The user and the group that it says it is.
    claimed: Option<(u32, u32)>,
    /// Who flushes what it changes; none: the operations do it.
    flusher: Option<&'s dyn Flusher>,
}

impl Caller<'_> {
    /// Who it is, for the kernel.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether everybody is we, because we may not be anybody else.
    pub(crate) fn is_ourselves(&self) -> bool {
        self.session.privileges.is_ordinary()
    }

    /// The same caller, for whom another sees to flushes.
    pub(crate) fn flushed_by<'f>(&'f self, flusher: &'f dyn Flusher) -> Caller<'f> {
        Caller { flusher: Some(flusher), ..*self }
    }

    /// The same caller, who says that it is this user and this group.
    pub(crate) fn claiming(&self, claimed: Option<(u32, u32)>) -> Caller<'_> {
        Caller { claimed, ..*self }
    }

    /// Who the user is here as whom the caller names itself; none for others.
    pub(crate) fn own_user(&self, uid: u32) -> Option<u32> {
        self.claimed.filter(|(own, _)| *own == uid).map(|_| self.credentials.uid)
    }

    /// The same for its group.
    pub(crate) fn own_group(&self, gid: u32) -> Option<u32> {
        self.claimed.filter(|(_, own)| *own == gid).map(|_| self.credentials.gid)
    }

    /// Who sees to flushes of what it changes.
    pub(crate) fn flusher(&self) -> Option<&dyn Flusher> {
        self.flusher
    }

    /// Runs `work` with our user and our capabilities, for what the caller is entitled to by our
    /// own rules. The groups stay the caller's: they give no rights that the capabilities do not.
    pub(crate) fn as_server<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let back = Back(self);
        self.session.privileges.raise(&self.credentials)?;
        let result = work();
        drop(back);
        Ok(result)
    }
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.credentials).finish()
    }
}

/// Makes the thread the caller again, whatever happens.
struct Back<'c>(&'c Caller<'c>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if self.0.session.privileges.lower(&self.0.credentials).is_err() {
            // Whoever holds the `Caller` would go on with our privileges.
            std::process::abort();
        }
    }
}

impl Privileges {
    fn become_caller(&self, who: &Credentials) -> Result<()> {
        if who.uid == NO_ID || who.gid == NO_ID {
            return Err(Status::ServerFault);
        }
        sys::set_groups(who.groups()).map_err(|_| Status::ServerFault)?;
        self.set_ids(who)?;
        match self.mode {
            Mode::Capable(own) => lower_capabilities(own, who),
            Mode::Root | Mode::Ordinary => Ok(()),
        }
    }

    fn raise(&self, from: &Credentials) -> Result<()> {
        match self.mode {
            Mode::Ordinary => Ok(()),
            Mode::Root if from.uid == self.own.uid => Ok(()),
            Mode::Root => set_user(self.own.uid),
            Mode::Capable(own) => set_capabilities(None, own).map_err(|_| Status::ServerFault),
        }
    }

    /// Undoes [`raise`](Self::raise), or part of it.
    fn lower(&self, to: &Credentials) -> Result<()> {
        match self.mode {
            Mode::Ordinary => Ok(()),
            Mode::Root if to.uid == self.own.uid => Ok(()),
            Mode::Root => set_user(to.uid),
            Mode::Capable(own) => lower_capabilities(own, to),
        }
    }

    fn become_server(&self) -> Result<()> {
        if let Mode::Capable(own) = self.mode {
            set_capabilities(None, own).map_err(|_| Status::ServerFault)?;
        }
        self.set_ids(&self.own)?;
        if let Mode::Capable(own) = self.mode {
            // Leaving user 0 has cost the capabilities over files.
            set_capabilities(None, own).map_err(|_| Status::ServerFault)?;
        }
        sys::set_groups(&self.own_groups).map_err(|_| Status::ServerFault)
    }

    /// The calls cannot fail and say so: they are read back.
    fn set_ids(&self, who: &Credentials) -> Result<()> {
        sys::set_fs_gid(who.gid);
        if sys::set_fs_gid(NO_ID) != who.gid {
            return Err(Status::ServerFault);
        }
        set_user(who.uid)
    }
}

fn set_user(uid: u32) -> Result<()> {
    sys::set_fs_uid(uid);
    if sys::set_fs_uid(NO_ID) == uid { Ok(()) } else { Err(Status::ServerFault) }
}

/// User 0 who is not squashed may what we may; everybody else, what files say.
fn lower_capabilities(own: CapabilitySets, who: &Credentials) -> Result<()> {
    let effective = if who.uid == 0 { own.effective } else { own.effective.difference(OVER_FILES) };
    let sets = CapabilitySets { effective, ..own };
    set_capabilities(None, sets).map_err(|_| Status::ServerFault)
}

fn give_up_reserves() -> rustix::io::Result<()> {
    let mut sets = capabilities(None)?;
    if sets.effective.contains(CapabilitySet::SYS_RESOURCE) {
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        set_capabilities(None, sets)?;
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(rustix::io::Errno) -> IdentityError {
    move |errno| IdentityError { what, source: errno.into() }
}

/// Stands for no user or group; `setfsuid` takes it as a question.
const NO_ID: u32 = u32::MAX;

/// What a privileged process may do to files of others.
const OVER_FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::MAC_OVERRIDE);
